// SPDX-License-Identifier: Apache-2.0
// Notifier: tells the kernel to forget pages, attributes and names.
//
// On threads of its own: the kernel may hold a lock that a request is being answered under, and a
// notice sent from a request would wait for it for ever. No reply waits for a notice.
//
// The kernel takes the lock of a page, or of a directory for a name in it, and a read or a look-up
// that the share does not answer holds it up to share_deadline. So:
//   1. Of one inode (for a name: of its directory) at most one notice is with the kernel; the
//   others
//      wait behind it, in order.
//   2. Where all threads wait in the kernel another one is started, up to kThreadsMax: as many hung
//      inodes hold up nobody else's notices.
//   3. Notices for pages or attributes of the same inode that have not been sent are one.
#pragma once

#include <larder/filesystem.h>

#include "request.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace larder::fuse {

struct Notice {
  enum class What : std::uint8_t { kPages, kAttributes, kName };
  What what = What::kPages;
  NodeId node;       // of a name: its directory
  std::string name;  // of a name
  friend bool operator==(const Notice&, const Notice&) = default;
};

// May block for as long as the kernel does. Thread: any.
void tell_kernel(fuse_session* session, const Notice& notice);

class Notifier final : public KernelCache {
 public:
  static constexpr std::size_t kThreadsMax = 16;
  using Tell = std::function<void(fuse_session*, const Notice&)>;

  explicit Notifier(Tell tell = tell_kernel) : tell_(std::move(tell)) {}
  ~Notifier() override;  // REQUIRES: stop() was called if start() was

  void start(fuse_session* session);
  void stop();

  void drop_pages(NodeId node) override;
  void drop_attributes(NodeId node) override;
  void drop_attributes_of_opening(NodeId node) override;
  void drop_name(NodeId parent, std::string_view name) override;
  std::size_t threads() const;

 private:
  void queue(Notice notice);
  void start_thread_locked();
  void run();

  const Tell tell_;
  fuse_session* session_ = nullptr;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // By inode, also of those with one with the kernel; `ready_`: the others.
  std::map<NodeId, std::deque<Notice>> waiting_;
  std::deque<NodeId> ready_;
  std::size_t idle_ = 0;  // threads
  bool running_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace larder::fuse
