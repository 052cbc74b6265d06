// SPDX-License-Identifier: Apache-2.0
// OpenStore: a store on a file of its own, with the engine and the queue that it needs, for rows
// that measure it without a mount.
// Thread: one at a time, except where it says otherwise.
#pragma once

#include <larder/buffer.h>
#include <larder/store.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

namespace larder::bench {

// A queue with one thread.
class Worker final : public WorkQueue {
 public:
  Worker();
  ~Worker() override;  // when all is done
  void post(larder::Work& work) override;

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable wake_;
  larder::Work* first_ = nullptr;
  larder::Work** last_ = &first_;
  bool stopping_ = false;
  std::thread thread_;
};

struct StoreShape {
  ByteCount size;
  store::Options options = {};
  // In place of the real engine: for stores that are larger than any disk.
  std::function<std::unique_ptr<IoEngine>(std::unique_ptr<IoEngine> real, ByteCount size)> wrap =
      {};
};

class OpenStore {
 public:
  // Creates the file, or opens what is there.
  static SetUp<OpenStore> open(const std::string& path, const StoreShape& shape);
  OpenStore(OpenStore&&) = default;
  OpenStore& operator=(OpenStore&&) = delete;
  ~OpenStore();  // closes the store

  store::Store& store() { return *store_; }
  IoEngine& engine() { return *engine_; }
  // The store's file.
  int fd() const { return fd_; }
  // From here on reads and writes of the file go past the page cache. REQUIRES: nothing is written
  // to the store any more but by close().
  SetUp<std::monostate> set_direct(bool direct);

 private:
  OpenStore() = default;
  int fd_ = -1;  // the device's
  std::unique_ptr<IoEngine> engine_;
  std::unique_ptr<Worker> machine_;
  std::unique_ptr<store::Store> store_;
};

// Fills with several in flight, each with its own buffer.
class Filler {
 public:
  Filler(store::Store& store, std::size_t bytes, unsigned depth);
  ~Filler();
  // The buffer of the next fill: its content is the caller's. Waits for one to come back.
  std::span<std::byte> buffer();
  // Fills `count` bytes of that buffer at `first`, of a file of `file_size`.
  void put(const store::ObjectRef& object, PageIndex first, std::size_t count, ByteCount file_size);
  void wait();  // for all, and lets go of their objects
  void wait_keeping_objects();
  std::uint64_t refused() const { return refused_; }

 private:
  struct Slot : store::Fill {
    AlignedBuffer memory;
    Filler* filler = nullptr;
    bool busy = false;
  };
  store::Store& store_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::mutex mutex_;
  std::condition_variable back_;
  std::size_t next_ = 0;
  std::uint64_t refused_ = 0;
};

// Noise that no two pages share: `seed` tells them apart.
void paint(std::span<std::byte> bytes, std::uint64_t seed);

inline std::span<const std::byte> key_bytes(const std::string& key) {
  return std::as_bytes(std::span{key.data(), key.size()});
}

}  // namespace larder::bench
