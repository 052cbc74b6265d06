// SPDX-License-Identifier: Apache-2.0
#include "slowshare/crew.h"

#include <larder/result.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace larder::slowshare {

Crew::Crew(fuse_session* session, Gate& gate, unsigned parallel)
    : session_(session), gate_(gate), parallel_(parallel), over_(eventfd(0, EFD_CLOEXEC)) {
  check(over_.valid(), "an eventfd can be made");
  // Only to break off read(2) of the device; the handler has nothing to do.
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  check(sigaction(SIGUSR1, &action, nullptr) == 0, "SIGUSR1 can be handled");
}

void Crew::start() {
  const std::lock_guard lock(mutex_);
  for (unsigned i = 0; i < parallel_; ++i) hire_locked();
}

void Crew::replace_parked() {
  const std::lock_guard lock(mutex_);
  if (fuse_session_exited(session_) == 0) hire_locked();
}

bool Crew::stop() {
  fuse_session_exit(session_);
  gate_.close();
  std::unique_lock lock(mutex_);
  // A thread may be just before its read(2) when the signal comes, so it is sent again until all
  // have gone.
  for (int tries = 0; tries < 200 && !threads_.empty(); ++tries) {
    for (const pthread_t thread : threads_) pthread_kill(thread, SIGUSR1);
    retired_.wait_for(lock, std::chrono::milliseconds(10), [&] { return threads_.empty(); });
  }
  return threads_.empty();
}

void Crew::hire_locked() {
  std::thread thread([this] { work(); });
  threads_.push_back(thread.native_handle());
  thread.detach();
}

void Crew::work() {
  struct Buffer : fuse_buf {
    Buffer() : fuse_buf{} {}
    ~Buffer() { std::free(mem); }
  } buffer;
  while (fuse_session_exited(session_) == 0) {
    const int size = fuse_session_receive_buf(session_, &buffer);
    if (size == -EINTR || size == -EAGAIN) continue;
    if (size <= 0) break;
    fuse_session_process_buf(session_, &buffer);
    if (one_too_many()) return;
  }
  // Here the session is over for all: unmounted, or stopped.
  fuse_session_exit(session_);
  const std::uint64_t one = 1;
  if (write(over_.get(), &one, sizeof one) < 0) perror("slowshare: eventfd");
  retire();
}

bool Crew::one_too_many() {
  const std::lock_guard lock(mutex_);
  if (threads_.size() <= parallel_ + gate_.parked()) return false;
  std::erase(threads_, pthread_self());
  retired_.notify_all();
  return true;
}

void Crew::retire() {
  const std::lock_guard lock(mutex_);
  std::erase(threads_, pthread_self());
  retired_.notify_all();
}

}  // namespace larder::slowshare
