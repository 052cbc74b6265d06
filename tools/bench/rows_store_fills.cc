// SPDX-License-Identifier: Apache-2.0
// Fills of `larder-bench store`: a file's pages into a fresh store, durable at the end, against the
// same bytes written to a fresh file in the same pieces and fdatasync(2). Both end with all of it
// on the device; the time of neither holds the creation of its file.
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/fd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bench/rows_store.h"
#include "bench/store_rig.h"

namespace larder::bench {
namespace {

constexpr std::size_t kBuffers = 16u << 20;  // bytes of what is fetched

double rate_since(Nanoseconds start_ns, std::uint64_t bytes) {
  return static_cast<double>(bytes) * 1e9 /
         static_cast<double>(system_clock().mono_ns() - start_ns);
}

SetUp<double> fill_store(const Plan& plan, std::size_t piece, std::uint64_t bytes) {
  const std::string path = plan.directory + "/fill.store";
  double rate = 0;
  {
    TRY(OpenStore opened, OpenStore::open(path, {ByteCount{bytes * 5 / 4}}));
    store::Store& store = opened.store();
    auto object =
        store.create(store.root(), ObjectType::kData, key_bytes("file"), {}, ByteCount{bytes});
    check(object.has_value(), "a new store takes an object");
    const auto buffers = static_cast<unsigned>(kBuffers / piece);
    Filler filler(store, piece, buffers);
    for (unsigned i = 0; i < buffers; ++i) paint(filler.buffer(), i + 1);  // not in the time
    const Nanoseconds start_ns = system_clock().mono_ns();
    for (std::uint64_t at = 0; at < bytes; at += piece) {
      // As a fetch would leave it there: other bytes each time, at no cost.
      std::memcpy(filler.buffer().data(), &at, sizeof at);
      filler.put(*object, PageIndex{at / kPageSize}, piece, ByteCount{bytes});
    }
    filler.wait();
    const bool durable = store.sync().has_value();
    rate = rate_since(start_ns, bytes);
    if (!durable || filler.refused() != 0)
      return complain(ErrorCode::kStoreIo, "the store did not take all fills");
  }
  ::unlink(path.c_str());
  return rate;
}

SetUp<double> write_file(const Plan& plan, std::size_t piece, std::uint64_t bytes) {
  const std::string path = plan.directory + "/fill.raw";
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  bool good = file.valid() && ::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0;
  AlignedBuffer all(kBuffers);  // as large as those of the other side
  paint(all.span(), 1);
  const Nanoseconds start_ns = system_clock().mono_ns();
  for (std::uint64_t at = 0; good && at < bytes; at += piece) {
    const auto from = all.span().subspan(at % kBuffers, piece);
    std::memcpy(from.data(), &at, sizeof at);
    good = ::pwrite(file.get(), from.data(), piece, static_cast<off_t>(at)) ==
           static_cast<ssize_t>(piece);
  }
  good = good && ::fdatasync(file.get()) == 0;
  const double rate = rate_since(start_ns, bytes);
  const int sys_errno = errno;
  ::unlink(path.c_str());
  if (good) return rate;
  return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, std::strerror(sys_errno)));
}

}  // namespace

SetUp<Outcome> measure_store_fills(const Plan& plan) {
  Outcome outcome;
  const std::uint64_t bytes = plan.file_mib << 20;
  struct Case {
    const char* name;
    std::size_t piece;
  };
  for (const Case& one : {Case{"fill_1m", 1u << 20}, Case{"fill_64k", 64u << 10}}) {
    TRY(const Comparison rates,
        compare(
            plan.rounds, [&](unsigned) { return fill_store(plan, one.piece, bytes); },
            [&](unsigned) { return write_file(plan, one.piece, bytes); }));
    outcome.rows.push_back({one.name, "MB/s", "write, fdatasync", 1e6, rates, {}});
    outcome.marks.push_back({one.name, rates.ratio.median, Mark::Bound::kAtLeast, 0.90});
  }
  return outcome;
}

}  // namespace larder::bench
