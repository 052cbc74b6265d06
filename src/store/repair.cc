// SPDX-License-Identifier: Apache-2.0
// Repair: what an open mends, and the pages that it does not look at.
#include <fmt/format.h>
#include <larder/device.h>
#include <larder/store_check.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/random.h"
#include "io/thread_pool.h"
#include "store/store_impl.h"

namespace larder::store {
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
