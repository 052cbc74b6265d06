// SPDX-License-Identifier: Apache-2.0
// Crew: a few threads for requests whose work would hold up a ring on which others wait. First in,
// first out; they end with stop(), behind what is queued.
#pragma once

#include <larder/work_queue.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace larder::fuse {

class Crew final : public WorkQueue {
 public:
  // The threads are started by the first post.
  explicit Crew(unsigned threads) : thread_count_(threads) {}
  ~Crew() override { stop(); }

  void post(Work& work) override;
  void stop();

 private:
  void run();

  const unsigned thread_count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Work* first_ = nullptr;
  Work* last_ = nullptr;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace larder::fuse
