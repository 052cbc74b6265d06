// SPDX-License-Identifier: Apache-2.0
// Repair: what an open mends, and the pages that it does not look at.
#include <fmt/format.h>
#include <larder/buffer.h>
#include <larder/device.h>
#include <larder/store_check.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/random.h"
#include "io/thread_pool.h"
#include "store/store_impl.h"

namespace larder::store {
namespace {

constexpr PageCount kAtOnce{kExtentPages};

struct Part {
  ObjectRef object;
  PageRange range;
  std::uint64_t block;
};

std::vector<Part> parts_of(Store::Impl& impl) {
  std::vector<Part> parts;
  const MutexLock lock(impl.mutex);
  impl.index->for_each_extent([&](Object& object, const Extent& extent) {
    if (!extent.zeros()) parts.push_back({ObjectRef(&object), extent.range(), extent.block()});
  });
  std::sort(parts.begin(), parts.end(),
            [](const Part& a, const Part& b) { return a.block < b.block; });
  return parts;
}

}  // namespace

// Reads every page, in the order of the file; a page that does not match its sum is dropped by the
// read itself.
void read_all_pages(Store& store, const Progress& progress) {
  AlignedBuffer buffer(to_bytes(kAtOnce).value());
  std::uint64_t all = 0, done = 0;
  const auto parts = parts_of(*store.impl_);
  for (const Part& part : parts) all += to_bytes(part.range.count).value();
  for (const Part& part : parts) {
    if (progress && !progress(ByteCount{done}, ByteCount{all})) return;
    store.read_now(part.object, part.range, buffer.span());
    done += to_bytes(part.range.count).value();
  }
  if (progress) progress(ByteCount{all}, ByteCount{all});
}

SetUp<std::vector<std::string>> repair(const std::string& path, const Progress& progress) {
  struct stat stat {};
  if (::stat(path.c_str(), &stat) != 0)
    return complain(ErrorCode::kStoreIo, fmt::format("{}: {}", path, std::strerror(errno)), errno);
  TRY(Device device, open_device({.path = path, .size = ByteCount{0}, .forbidden = {}}));
  TRY(const OpenedEngine engine, open_engine({.choice = EngineChoice::kThreads, .threads = 1}));
  ThreadPool machine({.name = "repair", .threads = 1});
  std::vector<std::string> done;
  if (!device.note.empty()) done.push_back(device.note);
  TRY(const auto store, Store::open(std::move(device), {.commit_by = CommitBy::kSync},
                                    *engine.engine, machine, system_clock(), Seed{}));
  read_all_pages(*store, progress);
  const Counters& counters = store->counters();
  if (counters.discarded_records.value() != 0) {
    done.push_back(fmt::format("{} records that made no sense were discarded",
                               counters.discarded_records.value()));
  }
  if (counters.quarantined_bytes.value() != 0) {
    done.push_back(fmt::format("{} bytes in extents with wrong pages were dropped",
                               counters.quarantined_bytes.value()));
  }
  store->close();
  if (store->state() != State::kClosed)
    return complain(ErrorCode::kStoreIo, fmt::format("{}: it could not be written", path));
  return done;
}

}  // namespace larder::store
