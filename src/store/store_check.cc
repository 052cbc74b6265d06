// SPDX-License-Identifier: Apache-2.0
#include <larder/store_check.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "store/invariants.h"
#include "store/store_impl.h"

namespace larder::store {
namespace {

// Records as sorted bytes, so that two indexes can be compared.
std::vector<std::string> records_of(Index& index, const std::vector<ObjectId>& but_pages_of) {
  std::vector<std::string> all;
  index.for_each_record([&](const Record& record) {
    Record plain = record;
    if (auto* extent = std::get_if<ExtentRecord>(&plain)) {
      const auto& skip = but_pages_of;
      if (std::find(skip.begin(), skip.end(), extent->object) != skip.end()) return;
    }
    std::vector<std::byte> bytes;
    encode(plain, bytes);
    all.emplace_back(view(bytes));
  });
  std::sort(all.begin(), all.end());
  return all;
}

// Invariant 5 for the whole journal: what lies on the device is what is in memory.
void check_device(IoEngine& engine, int fd, const Superblock& superblock, Index& index,
                  Lines& lines) {
  const auto loaded = load(engine, fd, superblock);
  if (!loaded) {
    lines.emplace_back("5: the store cannot be loaded from the device");
    return;
  }
  if (loaded->discarded != 0)
    lines.push_back(fmt::format("5: {} records make no sense", loaded->discarded));
  std::vector<ObjectId> in_session;
  index.for_each_object([&](Object& object) {
    if (object.in_session) in_session.push_back(object.id);
  });
  if (records_of(index, in_session) != records_of(*loaded->index, in_session)) {
    lines.emplace_back("5: what the journal says is not what is in memory");
  }
}

}  // namespace

std::vector<std::string> check_store(Store& store) {
  Store::Impl& impl = *store.impl_;
  Lines lines;
  const MutexLock lock(impl.mutex);
  const bool in_flight = impl.counters.fill_in_flight_bytes.value() != 0;
  const Fills fills = in_flight ? Fills::kInFlight : Fills::kNone;
  check_blocks(impl.allocator, *impl.index, impl.layout, fills, lines);
  check_index(*impl.index, lines);
  const bool quiet = impl.is_open() && impl.durable.load() >= impl.journal.appended();
  if (quiet) check_device(impl.engine, impl.device.fd.get(), impl.superblock, *impl.index, lines);
  struct stat stat {};
  const bool regular = ::fstat(impl.device.fd.get(), &stat) == 0 && S_ISREG(stat.st_mode);
  if (regular && static_cast<std::uint64_t>(stat.st_size) > impl.device.size.value()) {
    lines.emplace_back("6: the file is longer than its size");
  }
  return lines;
}

}  // namespace larder::store
