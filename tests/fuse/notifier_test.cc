// SPDX-License-Identifier: Apache-2.0
#include <future>
#include <set>

#include "notifier.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::fuse;

namespace {

// A kernel in which notices for some inodes wait until they are let go.
class FakeKernel {
 public:
  Notifier::Tell tell() {
    return [this](fuse_session*, const Notice& notice) {
      std::unique_lock lock(mutex_);
      entered_.push_back(notice);
      changed_.notify_all();
      changed_.wait(lock, [&] { return !hung_.contains(notice.node); });
      ++told_;
      changed_.notify_all();
    };
  }
  void hang(NodeId node) {
    const std::lock_guard lock(mutex_);
    hung_.insert(node);
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    hung_.clear();
    changed_.notify_all();
  }
  void wait_until_entered(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entered_.size() >= count; });
  }
  void wait_until_told(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return told_ >= count; });
  }
  std::vector<Notice> entered() {
    const std::lock_guard lock(mutex_);
    return entered_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<NodeId> hung_;
  std::vector<Notice> entered_;
  std::size_t told_ = 0;
};

struct World {
  World() { notifier.start(nullptr); }
  ~World() {
    kernel.let_go();
    notifier.stop();
  }
  FakeKernel kernel;
  Notifier notifier{kernel.tell()};
};

}  // namespace

TEST_CASE("a look-up that hangs in one directory holds up no other notice") {
  World world;
  const NodeId hung{7};
  world.kernel.hang(hung);
  for (int i = 0; i < 1'000; ++i) world.notifier.drop_name(hung, "name" + std::to_string(i));
  world.kernel.wait_until_entered(1);
  world.notifier.drop_pages(NodeId{8});
  world.notifier.drop_name(NodeId{9}, "name");
  world.kernel.wait_until_told(2);
  // One thread waits, however many names of the directory there are.
  CHECK(world.notifier.threads() <= 3);
  CHECK(world.kernel.entered().size() == 3);
  world.kernel.let_go();
  world.kernel.wait_until_told(1'002);
  CHECK(world.kernel.entered()[3].name == "name1");
}

TEST_CASE("many inodes may hang, and threads are bounded") {
  World world;
  for (std::uint64_t n = 0; n < Notifier::kThreadsMax - 1; ++n) {
    world.kernel.hang(NodeId{n});
    world.notifier.drop_pages(NodeId{n});
  }
  world.kernel.wait_until_entered(Notifier::kThreadsMax - 1);
  world.notifier.drop_pages(NodeId{100});
  world.kernel.wait_until_told(1);
  for (std::uint64_t n = 200; n < 300; ++n) world.notifier.drop_pages(NodeId{n});
  world.kernel.wait_until_told(101);
  CHECK(world.notifier.threads() <= Notifier::kThreadsMax);
}

TEST_CASE("what was not sent yet of one inode's pages is sent once") {
  World world;
  const NodeId node{5};
  world.kernel.hang(node);
  world.notifier.drop_pages(node);
  world.kernel.wait_until_entered(1);
  // The kernel may have passed some pages by: one more, for all that came behind.
  for (int i = 0; i < 10; ++i) world.notifier.drop_pages(node);
  world.kernel.let_go();
  world.kernel.wait_until_told(2);
  world.notifier.drop_pages(NodeId{6});
  world.kernel.wait_until_told(3);
  CHECK(world.kernel.entered().size() == 3);
}
