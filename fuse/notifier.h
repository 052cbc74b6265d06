// SPDX-License-Identifier: Apache-2.0
// Notifier: tells the kernel to forget pages, attributes and names.
//
// On a thread of its own: the kernel may hold a lock that a request is being answered under, and a
// notice sent from a request would wait for it for ever. No reply waits for a notice. Notices for
// the same inode that have not been sent are one.
#pragma once

#include <larder/filesystem.h>

#include "request.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace larder::fuse {

class Notifier final : public KernelCache {
 public:
  Notifier() = default;
  ~Notifier() override;  // REQUIRES: stop() was called if start() was

  void start(fuse_session* session);
  void stop();

  void drop_pages(NodeId node) override;
  void drop_attributes(NodeId node) override;
  void drop_attributes_of_opening(NodeId node) override;
  void drop_name(NodeId parent, std::string_view name) override;

 private:
  enum class What : std::uint8_t { kPages, kAttributes, kName };
  struct Notice {
    What what;
    NodeId node;
    std::string name;
    friend bool operator==(const Notice&, const Notice&) = default;
  };
  void queue(Notice notice);
  void run();
  void send(const Notice& notice);

  fuse_session* session_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Notice> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace larder::fuse
