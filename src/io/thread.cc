// SPDX-License-Identifier: Apache-2.0
#include "io/thread.h"

#include <larder/log.h>
#include <larder/result.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <utility>

namespace larder {
namespace {

struct Start {
  std::string name;
  Callback<> body;
};

void* run_thread(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  ::pthread_setname_np(::pthread_self(), start->name.c_str());
  std::move(start->body)();
  return nullptr;
}

}  // namespace

Thread::Thread(const std::string& name, Callback<> body) {
  auto start = std::make_unique<Start>(Start{name.substr(0, 15), std::move(body)});
  // A new thread inherits the mask: none of them is ever without it, not even for a moment.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = ::pthread_create(&id_, nullptr, run_thread, start.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) log(LogLevel::kError, "thread {}: {}", name, std::strerror(error));
  check(error == 0, "the system gives larder the threads it needs");
  start.release();
}

Thread::~Thread() { check(joined_, "a thread is joined before it is forgotten"); }

void Thread::join() {
  check(!joined_ && !is_current(), "a thread is joined once, by another");
  check(::pthread_join(id_, nullptr) == 0, "a thread can be joined");
  joined_ = true;
}

void Thread::leave() {
  check(!joined_, "a thread is joined or left, once");
  check(::pthread_detach(id_) == 0, "a thread can be left");
  joined_ = true;
}

}  // namespace larder
