// SPDX-License-Identifier: Apache-2.0
#include "notifier.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace larder::fuse {

// ENOENT means that the kernel does not know it any more, which is what was wanted.
void tell_kernel(fuse_session* session, const Notice& notice) {
  switch (notice.what) {
    case Notice::What::kPages:
      fuse_lowlevel_notify_inval_inode(session, notice.node.value(), 0, 0);
      return;
    case Notice::What::kAttributes:
      fuse_lowlevel_notify_inval_inode(session, notice.node.value(), -1, 0);
      return;
    case Notice::What::kName:
      fuse_lowlevel_notify_inval_entry(session, notice.node.value(), notice.name.data(),
                                       notice.name.size());
      return;
  }
}

Notifier::~Notifier() { check(threads_.empty(), "the notifier is stopped before it goes"); }

void Notifier::start(fuse_session* session) {
  const std::lock_guard lock(mutex_);
  session_ = session;
  running_ = true;
  start_thread_locked();
}

void Notifier::stop() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    running_ = false;
    threads.swap(threads_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void Notifier::drop_pages(NodeId node) { queue({Notice::What::kPages, node, {}}); }
void Notifier::drop_attributes(NodeId node) { queue({Notice::What::kAttributes, node, {}}); }
void Notifier::drop_attributes_of_opening(NodeId node) {
  tell_(session_, {Notice::What::kAttributes, node, {}});
}
void Notifier::drop_name(NodeId parent, std::string_view name) {
  queue({Notice::What::kName, parent, std::string(name)});
}

std::size_t Notifier::threads() const {
  const std::lock_guard lock(mutex_);
  return threads_.size();
}

void Notifier::queue(Notice notice) {
  {
    const std::lock_guard lock(mutex_);
    if (!running_) return;
    const auto [place, is_new] = waiting_.try_emplace(notice.node);
    std::deque<Notice>& same_inode = place->second;
    // Names come by the thousand, and each once.
    const bool is_waiting =
        notice.what != Notice::What::kName &&
        std::find(same_inode.begin(), same_inode.end(), notice) != same_inode.end();
    if (is_waiting) return;
    same_inode.push_back(std::move(notice));
    if (is_new) ready_.push_back(place->first);
    if (idle_ < ready_.size() && threads_.size() < kThreadsMax) start_thread_locked();
  }
  changed_.notify_one();
}

void Notifier::start_thread_locked() {
  threads_.emplace_back([this] {
    pthread_setname_np(pthread_self(), "notifier");
    run();
  });
  ++idle_;
}

void Notifier::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !running_ || !ready_.empty(); });
    --idle_;
    if (!running_) return;
    const auto place = waiting_.find(ready_.front());
    ready_.pop_front();
    const Notice notice = std::move(place->second.front());
    place->second.pop_front();
    lock.unlock();
    tell_(session_, notice);
    lock.lock();
    ++idle_;
    if (place->second.empty())
      waiting_.erase(place);
    else
      ready_.push_back(place->first);
  }
}

}  // namespace larder::fuse
