// SPDX-License-Identifier: Apache-2.0
// Eviction in `larder-bench store`.
//
//   hit ratio  64 KiB pieces, popular by Zipf's law with exponent 0.9, ten times as many bytes as
//              the store holds. The yardstick is exact LRU of the same bytes. Then all pieces are
//              read once, as a backup does, and the popular ones again: what is left of the ratio.
//   size       24 threads fill for as long as they may, and the file is looked at all the while.
#include <fmt/format.h>
#include <larder/clock.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <list>
#include <thread>
#include <unordered_map>

#include "bench/no_data.h"
#include "bench/rows_store.h"
#include "bench/store_rig.h"

namespace larder::bench {
namespace {

constexpr std::size_t kPiece = 64u << 10;
constexpr std::uint64_t kPiecePages = kPiece / kPageSize;
constexpr double kExponent = 0.9;

class Zipf {
 public:
  Zipf(std::uint64_t count, std::uint64_t seed) : state_(seed) {
    sums_.reserve(count);
    double sum = 0;
    for (std::uint64_t i = 0; i < count; ++i)
      sums_.push_back(sum += 1 / std::pow(static_cast<double>(i + 1), kExponent));
  }
  // Popular ones lie all over the file.
  std::uint64_t next() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    const double at = static_cast<double>(state_ >> 11) / static_cast<double>(1ull << 53);
    const auto found = std::lower_bound(sums_.begin(), sums_.end(), at * sums_.back());
    const auto rank = static_cast<std::uint64_t>(found - sums_.begin());
    return rank * 7919 % sums_.size();
  }

 private:
  std::uint64_t state_;
  std::vector<double> sums_;
};

class Lru {
 public:
  explicit Lru(std::uint64_t room) : room_(room) {}
  bool hit(std::uint64_t piece) {
    const auto found = where_.find(piece);
    if (found != where_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return true;
    }
    order_.push_front(piece);
    where_[piece] = order_.begin();
    if (order_.size() > room_) {
      where_.erase(order_.back());
      order_.pop_back();
    }
    return false;
  }

 private:
  const std::uint64_t room_;
  std::list<std::uint64_t> order_;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> where_;
};

// A file in pieces, read through the store and filled where it is not there.
class Pieces {
 public:
  Pieces(store::Store& store, std::uint64_t count)
      : store_(store),
        size_(count * kPiece),
        object_(*store.create(store.root(), ObjectType::kData, key_bytes("file"), {}, size_)),
        filler_(store, kPiece, 1),
        into_(kPiece) {
    const auto bytes = filler_.buffer();
    for (std::size_t at = 0; at < kPiece; at += kPageSize)
      std::memcpy(bytes.data() + at, NoData::page().data(), kPageSize);
  }
  bool hit(std::uint64_t piece) {
    const PageIndex first{piece * kPiecePages};
    const PageCount pages{kPiecePages};
    if (store_.read_now(object_, {first, pages}, into_.span()) == pages) return true;
    filler_.buffer();
    filler_.put(object_, first, kPiece, size_);
    filler_.wait_keeping_objects();
    return false;
  }

 private:
  store::Store& store_;
  const ByteCount size_;
  store::ObjectRef object_;
  Filler filler_;
  AlignedBuffer into_;
};

template <class Cache>
double ratio_of(Cache& cache, Zipf& zipf, std::uint64_t requests) {
  std::uint64_t hits = 0;
  for (std::uint64_t i = 0; i < requests; ++i) hits += cache.hit(zipf.next()) ? 1 : 0;
  return static_cast<double>(hits) / static_cast<double>(requests);
}

Comparison once(double ours, double theirs) {
  const auto spread = [](double value) { return Spread{value, value, value}; };
  return {spread(ours), spread(theirs), spread(ours / theirs)};
}

SetUp<std::monostate> measure_hits(const Plan& plan, Outcome& outcome) {
  const ByteCount size{plan.file_mib << 20};
  const auto wrap = [](std::unique_ptr<IoEngine> real, ByteCount) -> std::unique_ptr<IoEngine> {
    return std::make_unique<NoData>(std::move(real));
  };
  TRY(OpenStore opened, OpenStore::open(plan.directory + "/hits.store", {size, {}, wrap}));
  const std::uint64_t room = opened.store().capacity().value() / kPiece;
  const std::uint64_t count = room * 10;
  {
    Pieces ours(opened.store(), count);
    Lru theirs(room);
    Zipf zipf(count, 1), same(count, 1);
    ratio_of(ours, zipf, count * 2);  // until they are full of what is popular
    ratio_of(theirs, same, count * 2);
    const double our = ratio_of(ours, zipf, count), their = ratio_of(theirs, same, count);
    for (std::uint64_t piece = 0; piece < count; ++piece) {
      ours.hit(piece);
      theirs.hit(piece);
    }
    const double our_after = ratio_of(ours, zipf, count / 10);
    const double their_after = ratio_of(theirs, same, count / 10);
    outcome.rows.push_back({"zipf", "% hits", "exact LRU", 0.01, once(our, their), {}});
    outcome.rows.push_back(
        {"zipf_after_scan", "% hits", "exact LRU", 0.01, once(our_after, their_after), {}});
    outcome.marks.push_back({"zipf", our / their, Mark::Bound::kAtLeast, 1});
    outcome.marks.push_back({"zipf_after_scan", our_after / our, Mark::Bound::kAtLeast, 0.9});
  }
  return std::monostate{};
}

SetUp<std::monostate> measure_size(const Plan& plan, Outcome& outcome) {
  constexpr unsigned kWriters = 24;
  const ByteCount size{std::uint64_t{64} << 20};
  TRY(OpenStore opened, OpenStore::open(plan.directory + "/size.store", {size}));
  store::Store& store = opened.store();
  const double seconds = plan.seconds < 1 ? 5 : 60;
  const Nanoseconds end_ns = system_clock().mono_ns() + static_cast<Nanoseconds>(seconds * 1e9);
  std::atomic<std::uint64_t> largest{0}, filled{0};
  const auto write = [&](unsigned number) {
    constexpr std::uint64_t kFile = 64u << 20;
    const std::string key = fmt::format("file{}", number);
    const auto object =
        store.create(store.root(), ObjectType::kData, key_bytes(key), {}, ByteCount{kFile});
    if (!object) return;
    Filler filler(store, 1u << 20, 2);
    std::uint64_t state = number;
    while (system_clock().mono_ns() < end_ns) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      const std::uint64_t pages = (state >> 20) % 256 + 1;
      const std::uint64_t first = (state >> 33) % (kFile / kPageSize - pages);
      paint(filler.buffer().first(pages * kPageSize), state);
      filler.put(*object, PageIndex{first}, pages * kPageSize, ByteCount{kFile});
      filled += pages * kPageSize;
      struct stat now {};
      if (::fstat(opened.fd(), &now) != 0) continue;
      const auto bytes = std::max(static_cast<std::uint64_t>(now.st_size),
                                  static_cast<std::uint64_t>(now.st_blocks) * 512);
      std::uint64_t before = largest.load();
      while (before < bytes && !largest.compare_exchange_weak(before, bytes)) {
      }
    }
  };
  std::vector<std::thread> writers;
  for (unsigned i = 0; i < kWriters; ++i) writers.emplace_back(write, i);
  for (std::thread& writer : writers) writer.join();
  fmt::print(stderr, "larder-bench: {} MB through a store of {} MB\n", filled.load() / 1'000'000,
             size.value() / 1'000'000);
  const std::uint64_t over = largest.load() > size.value() ? largest.load() - size.value() : 0;
  outcome.marks.push_back({"overshoot_bytes", static_cast<double>(over), Mark::Bound::kAtMost, 0});
  return std::monostate{};
}

}  // namespace

SetUp<Outcome> measure_store_eviction(const Plan& plan) {
  Outcome outcome;
  TRY_OK(measure_hits(plan, outcome));
  TRY_OK(measure_size(plan, outcome));
  return outcome;
}

}  // namespace larder::bench
