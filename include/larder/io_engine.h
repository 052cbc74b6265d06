// SPDX-License-Identifier: Apache-2.0
// IoEngine: reads, writes and flushes of the store's file. One of the five seams.
//
// Two in production, chosen by probing (io_engine `auto`): io_uring, and a pool of threads for
// where io_uring is forbidden (containers). Tests put a simulated device here, with a stated fault
// model.
//
// A request is owned by its caller, who keeps it and its memory alive until `done` is called; so no
// I/O allocates. Short transfers are carried on inside the engine: `done` hears all or an error.
#pragma once

#include <larder/reactor.h>
#include <larder/result.h>
#include <larder/units.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace larder {

// What a read leaves behind in the system's page cache.
enum class ReadMode : std::uint8_t {
  kBuffered,    // the pages that it read
  kDropBehind,  // only what was there before (RWF_DONTCACHE; as kBuffered where it is unknown)
  kDirect,      // nothing, and takes nothing from it: `fd` was opened with O_DIRECT
};

struct IoRequest {
  enum class Kind : std::uint8_t {
    kRead,
    kWrite,
    kFlush,      // what was written before is on the device when it is done
    kWriteback,  // a hint: the system may begin to write out what it holds of the file
  };

  Kind kind = Kind::kRead;
  int fd = -1;
  ByteOffset offset{};
  std::byte* data = nullptr;  // kWrite only reads it
  std::size_t length = 0;     // bytes; kFlush, kWriteback: unused
  ReadMode mode = ReadMode::kBuffered;
  // Called once, on a thread of the engine; must not block, may submit. The request may be reused
  // in it.
  void (*done)(IoRequest& self, Status status) = nullptr;

  // The engine's.
  std::size_t moved = 0;
  IoRequest* next = nullptr;
  struct OnRing : Completion {
    IoRequest* request = nullptr;
  } on_ring;
};

class IoEngine {
 public:
  virtual ~IoEngine() = default;  // REQUIRES: nothing is in flight

  // Starts `request`. Errors: kStoreIo with the errno (EIO for an end of file inside a read).
  // Thread: any. Never blocks on the device, never fails.
  virtual void submit(IoRequest& request) = 0;

  // Reads on the calling thread, without a hand-off: the warm read of the classic transport.
  // Errors: kStoreIo. Thread: any.
  virtual Status read_now(int fd, ByteOffset offset, std::span<std::byte> into,
                          ReadMode mode = ReadMode::kBuffered) = 0;

  // Must the calling thread not wait, and is its submit() of a read no hand-off? Then it has a
  // reactor, and `done` is called on the thread itself, in its next turn.
  virtual bool reads_on_this_ring() const { return false; }
  // What read_now() does, but for waiting: false where the device would have to be asked; what
  // `into` holds then is not known. Errors: kStoreIo. Thread: any.
  virtual Result<bool> read_at_once(int fd, ByteOffset offset, std::span<std::byte> into,
                                    ReadMode mode);

  // "io_uring" or "threads"
  virtual std::string name() const = 0;
};

// Submits and waits. Not for request threads.
Status write_and_wait(IoEngine& engine, int fd, ByteOffset offset, std::span<const std::byte> data);
Status flush_and_wait(IoEngine& engine, int fd);

enum class EngineChoice : std::uint8_t { kAuto, kUring, kThreads };

struct EngineOptions {
  EngineChoice choice = EngineChoice::kAuto;
  unsigned depth = 64;   // requests in flight at the device
  unsigned threads = 4;  // of the thread engine
};

struct OpenedEngine {
  std::unique_ptr<IoEngine> engine;
  std::string reason;  // why it is this one: "io_uring: 64 entries" or "threads: io_uring_setup:
                       // Operation not permitted"
};

// kAuto probes io_uring and falls back; kUring complains where it cannot be had.
SetUp<OpenedEngine> open_engine(const EngineOptions& options);

}  // namespace larder
