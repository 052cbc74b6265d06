// SPDX-License-Identifier: Apache-2.0
#include "notifier.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace larder::fuse {

Notifier::~Notifier() { check(!thread_.joinable(), "the notifier is stopped before it goes"); }

void Notifier::start(fuse_session* session) {
  session_ = session;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "notifier");
    run();
  });
}

void Notifier::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Notifier::drop_pages(NodeId node) { queue({What::kPages, node, {}}); }
void Notifier::drop_attributes(NodeId node) { queue({What::kAttributes, node, {}}); }
void Notifier::drop_attributes_of_opening(NodeId node) { send({What::kAttributes, node, {}}); }
void Notifier::drop_name(NodeId parent, std::string_view name) {
  queue({What::kName, parent, std::string(name)});
}

void Notifier::queue(Notice notice) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    // Names come by the thousand, and each once.
    const bool is_waiting = notice.what != What::kName &&
                            std::find(waiting_.begin(), waiting_.end(), notice) != waiting_.end();
    if (is_waiting) return;
    waiting_.push_back(std::move(notice));
  }
  changed_.notify_one();
}

void Notifier::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const Notice notice = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    send(notice);
    lock.lock();
  }
}

// ENOENT means that the kernel does not know it any more, which is what was wanted.
void Notifier::send(const Notice& notice) {
  switch (notice.what) {
    case What::kPages:
      fuse_lowlevel_notify_inval_inode(session_, notice.node.value(), 0, 0);
      return;
    case What::kAttributes:
      fuse_lowlevel_notify_inval_inode(session_, notice.node.value(), -1, 0);
      return;
    case What::kName:
      fuse_lowlevel_notify_inval_entry(session_, notice.node.value(), notice.name.data(),
                                       notice.name.size());
      return;
  }
}

}  // namespace larder::fuse
