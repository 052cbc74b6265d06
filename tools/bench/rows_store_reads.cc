// SPDX-License-Identifier: Apache-2.0
// Reads of `larder-bench store`: pages of one object, sums checked, against reads of the very same
// blocks of the very same file in the same mode.
//
//   direct   O_DIRECT on the store's file: from the device
//   cached   the file is in the page cache
#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/reactor.h>
#include <unistd.h>

#include <algorithm>

#include "bench/raw_ring.h"
#include "bench/rows_store.h"
#include "bench/store_rig.h"

namespace larder::bench {
namespace {

constexpr std::size_t kBig = 1u << 20;
constexpr std::uint64_t kBigPages = kBig / kPageSize;
constexpr unsigned kBatch = 64;  // reads between two looks at the clock

// The pages of one object, and where each lies in the file.
struct Target {
  OpenStore store;
  store::ObjectRef object;
  std::vector<ByteOffset> places;

  PageCount pages() const { return PageCount{places.size()}; }
};

SetUp<Target> make_target(const Plan& plan) {
  const ByteCount bytes{plan.file_mib << 20};
  TRY(OpenStore opened,
      OpenStore::open(plan.directory + "/reads.store", {ByteCount{bytes.value() * 5 / 4}}));
  store::Store& store = opened.store();
  auto object = store.create(store.root(), ObjectType::kData, key_bytes("file"), {}, bytes);
  check(object.has_value(), "a new store takes an object");
  {
    Filler filler(store, kBig, 8);
    for (std::uint64_t at = 0; at < bytes.value(); at += kBig) {
      paint(filler.buffer(), at + 1);
      filler.put(*object, PageIndex{at / kPageSize}, kBig, bytes);
    }
    filler.wait();
    if (filler.refused() != 0)
      return complain(ErrorCode::kStoreFull, "the store did not take the file");
  }
  if (!store.sync()) return complain(ErrorCode::kStoreIo, "the store cannot be written");
  std::vector<ByteOffset> places;
  AlignedBuffer into(kPageSize);
  for (std::uint64_t page = 0; page < bytes.value() / kPageSize; ++page) {
    store::ReadPlan one;
    store.plan_read(*object, {PageIndex{page}, PageCount{1}}, into.span(), one);
    check(one.segments().size() == 1, "a page of noise is in one block");
    places.push_back(one.segments().front().at);
    TRY_OK(opened.engine()
               .read_now(opened.fd(), places.back(), into.span())
               .map_error([](Error error) {
                 return Complaint{error, to_text(error)};
               }));
    const bool good = store.finish_read(one, {}).has_value();
    check(good, "what was filled can be read");
  }
  return Target{std::move(opened), *object, std::move(places)};
}

// Which page is next; the same for both sides of a round.
class Places {
 public:
  Places(const Target& target, std::uint64_t pages_at_once, bool random, std::uint64_t seed)
      : runs_(target.places.size() / pages_at_once),
        length_(pages_at_once),
        random_(random),
        state_(seed * 0x9E3779B97F4A7C15ull) {}
  PageIndex next() {
    state_ = random_ ? state_ * 6364136223846793005ull + 1442695040888963407ull : state_ + 1;
    return PageIndex{(random_ ? state_ >> 33 : state_) % runs_ * length_};
  }

 private:
  std::uint64_t runs_, length_;
  bool random_;
  std::uint64_t state_;
};

template <class Once>
SetUp<double> rate_of(double seconds, unsigned batch, Once once) {
  const Nanoseconds start_ns = system_clock().mono_ns();
  const auto length_ns = static_cast<Nanoseconds>(seconds * 1e9);
  std::uint64_t done = 0;
  for (;;) {
    for (unsigned i = 0; i < batch; ++i) {
      if (!once()) return complain(ErrorCode::kStoreIo, "a read of the bench failed");
    }
    done += batch;
    const Nanoseconds passed_ns = system_clock().mono_ns() - start_ns;
    if (passed_ns >= length_ns)
      return static_cast<double>(done) * 1e9 / static_cast<double>(passed_ns);
  }
}

SetUp<double> one_by_one(Target& target, Places places, std::uint64_t pages, double seconds) {
  AlignedBuffer into(pages * kPageSize);
  const PageCount wanted{pages};
  return rate_of(seconds, pages == 1 ? kBatch : 4, [&] {
    return target.store.store().read_now(target.object, {places.next(), wanted}, into.span()) ==
           wanted;
  });
}

SetUp<double> raw_one_by_one(Target& target, Places places, std::uint64_t pages, double seconds) {
  AlignedBuffer into(pages * kPageSize);
  return rate_of(seconds, pages == 1 ? kBatch : 4, [&] {
    const ByteOffset at = target.places[places.next().value()];
    return ::pread(target.store.fd(), into.data(), into.size(), static_cast<off_t>(at.value())) ==
           static_cast<ssize_t>(into.size());
  });
}

// Reads of the store with several at the device, as a request thread of the mount makes them: on a
// ring of its own, where they are also verified.
class ManyReads {
 public:
  static SetUp<std::unique_ptr<ManyReads>> open(Target& target, std::uint64_t pages,
                                                unsigned depth) {
    TRY(std::unique_ptr<Reactor> reactor, open_reactor({}));
    if (!reactor->begin()) return complain(ErrorCode::kSystem, "the ring cannot be begun");
    return std::unique_ptr<ManyReads>(new ManyReads(target, std::move(reactor), pages, depth));
  }

  SetUp<double> rate(Places places, double seconds) {
    places_ = places;
    start_ns_ = system_clock().mono_ns();
    end_ns_ = start_ns_ + static_cast<Nanoseconds>(seconds * 1e9);
    done_ = 0;
    for (auto& read : reads_) start(*read);
    while (under_way_ != 0) reactor_->turn();
    if (failed_) return complain(ErrorCode::kStoreIo, "a read of the bench failed");
    const auto passed_ns = static_cast<double>(system_clock().mono_ns() - start_ns_);
    return static_cast<double>(done_) * 1e9 / passed_ns;
  }

 private:
  struct Read : store::StoreRead {
    AlignedBuffer memory;
    ManyReads* owner = nullptr;
  };

  ManyReads(Target& target, std::unique_ptr<Reactor> reactor, std::uint64_t pages, unsigned depth)
      : target_(target), reactor_(std::move(reactor)), places_(target, pages, false, 0) {
    for (unsigned i = 0; i < depth; ++i) {
      auto read = std::make_unique<Read>();
      read->memory = AlignedBuffer(pages * kPageSize);
      read->object = target.object;
      read->range.count = PageCount{pages};
      read->into = read->memory.span();
      read->mode = ReadMode::kDirect;
      read->owner = this;
      read->done = [](store::StoreRead& self, PageCount served) {
        Read& whose = static_cast<Read&>(self);
        whose.owner->came(whose, served == whose.range.count);
      };
      reads_.push_back(std::move(read));
    }
  }

  void start(Read& read) {
    ++under_way_;
    read.range.first = places_.next();
    target_.store.store().start_read(read);
  }
  void came(Read& read, bool good) {
    --under_way_;
    ++done_;
    failed_ = failed_ || !good;
    if (!failed_ && system_clock().mono_ns() < end_ns_) start(read);
  }

  Target& target_;
  std::unique_ptr<Reactor> reactor_;
  Places places_;
  std::vector<std::unique_ptr<Read>> reads_;
  Nanoseconds start_ns_ = 0, end_ns_ = 0;
  std::uint64_t done_ = 0;
  std::size_t under_way_ = 0;
  bool failed_ = false;
};

SetUp<double> raw_many(Target& target, Places places, std::uint64_t pages, unsigned depth,
                       double seconds) {
  TRY(RawRing ring, RawRing::open(depth));
  std::vector<AlignedBuffer> memory;
  for (unsigned i = 0; i < depth; ++i) memory.emplace_back(pages * kPageSize);
  const Nanoseconds start_ns = system_clock().mono_ns();
  const Nanoseconds end_ns = start_ns + static_cast<Nanoseconds>(seconds * 1e9);
  const auto start = [&](std::uint64_t tag) {
    ring.read(target.store.fd(), target.places[places.next().value()], memory[tag].span(), tag);
  };
  for (unsigned i = 0; i < depth; ++i) start(i);
  std::uint64_t done = 0;
  bool going = true;
  for (std::size_t left = depth; left != 0;) {
    TRY(const std::uint64_t tag, ring.wait());
    ++done;
    going = going && system_clock().mono_ns() < end_ns;
    if (going) {
      start(tag);
    } else {
      --left;
    }
  }
  const auto passed_ns = static_cast<double>(system_clock().mono_ns() - start_ns);
  return static_cast<double>(done) * 1e9 / passed_ns;
}

}  // namespace

SetUp<Outcome> measure_store_reads(const Plan& plan) {
  TRY(Target target, make_target(plan));
  Outcome outcome;
  const double seconds = plan.seconds / 2;
  const auto places = [&](std::uint64_t pages, bool random) {
    return [&target, pages, random](unsigned round) {
      return Places(target, pages, random, round + 1);
    };
  };
  const auto single = [&](const char* name, std::uint64_t pages, bool random) -> SetUp<Comparison> {
    TRY(const Comparison rates,
        compare(
            plan.rounds,
            [&](unsigned round) {
              return one_by_one(target, places(pages, random)(round), pages, seconds);
            },
            [&](unsigned round) {
              return raw_one_by_one(target, places(pages, random)(round), pages, seconds);
            }));
    const double scale = pages == 1 ? 1 : 1e6 / static_cast<double>(pages * kPageSize);
    outcome.rows.push_back({name, pages == 1 ? "reads/s" : "MB/s", "pread", scale, rates, {}});
    return rates;
  };
  const auto many = [&](const char* name, std::uint64_t pages, bool random,
                        unsigned depth) -> SetUp<Comparison> {
    TRY(const std::unique_ptr<ManyReads> reads, ManyReads::open(target, pages, depth));
    TRY(const Comparison rates,
        compare(
            plan.rounds,
            [&](unsigned round) { return reads->rate(places(pages, random)(round), seconds); },
            [&](unsigned round) {
              return raw_many(target, places(pages, random)(round), pages, depth, seconds);
            }));
    const double scale = pages == 1 ? 1 : 1e6 / static_cast<double>(pages * kPageSize);
    outcome.rows.push_back({name, pages == 1 ? "reads/s" : "MB/s", "io_uring", scale, rates, {}});
    return rates;
  };

  // The first pass over the file brings it into the page cache.
  TRY_OK(one_by_one(target, Places(target, kBigPages, false, 0), kBigPages, 0.2));
  TRY(const Comparison page, single("cached_4k", 1, true));
  outcome.marks.push_back({"cached_4k_more_us",
                           1e6 / page.larder.median - 1e6 / page.yardstick.median,
                           Mark::Bound::kAtMost, 0.6});
  TRY(const Comparison big, single("cached_1m", kBigPages, false));
  outcome.marks.push_back({"cached_1m", big.ratio.median, Mark::Bound::kAtLeast, 0.65});

  if (auto direct = target.store.set_direct(true); !direct)
    return tl::make_unexpected(direct.error());
  TRY(const Comparison alone, single("direct_4k_1", 1, true));
  outcome.marks.push_back({"direct_4k_1_time", 1 / alone.ratio.median, Mark::Bound::kAtMost, 1.10});
  TRY(const Comparison deep, many("direct_4k_32", 1, true, 32));
  outcome.marks.push_back({"direct_4k_32", deep.ratio.median, Mark::Bound::kAtLeast, 0.90});
  TRY(const Comparison stream, many("direct_1m_4", kBigPages, false, 4));
  outcome.marks.push_back({"direct_1m_4", stream.ratio.median, Mark::Bound::kAtLeast, 0.95});
  return outcome;
}

}  // namespace larder::bench
