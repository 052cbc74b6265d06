// SPDX-License-Identifier: Apache-2.0
// `larder-bench store` against other stores: values of one size, put under new keys and durable
// after each 64, then got in random order into the caller's buffer. For larder a key is an object
// and the value its pages. Everything is in the page cache when it is got.
#include <fmt/format.h>
#include <larder/clock.h>

#include <filesystem>

#include "bench/peers.h"
#include "bench/rows_store.h"
#include "bench/store_rig.h"

namespace larder::bench {
namespace {

constexpr std::uint64_t kCommit = 64;  // puts

std::string key_of(std::uint64_t number) {
  return fmt::format("{:016x}", number * 0x9E3779B97F4A7C15ull);
}

// The store behind the same calls.
class Ours final : public Peer {
 public:
  Ours(OpenStore opened, std::size_t value)
      : opened_(std::move(opened)),
        filler_(std::make_unique<Filler>(opened_.store(), value, static_cast<unsigned>(kCommit))) {}
  ~Ours() override { filler_.reset(); }

  SetUp<std::monostate> put(const std::string& key, std::span<const std::byte> value) override {
    store::Store& store = opened_.store();
    const ByteCount size{value.size()};
    auto object = store.create(store.root(), ObjectType::kData, key_bytes(key), {}, size);
    if (!object) return complain(ErrorCode::kStoreFull, "the store takes no more objects");
    const auto into = filler_->buffer();
    std::memcpy(into.data(), value.data(), value.size());
    filler_->put(*object, PageIndex{0}, value.size(), size);
    return std::monostate{};
  }
  SetUp<std::monostate> commit() override {
    filler_->wait();
    if (filler_->refused() != 0) return complain(ErrorCode::kStoreFull, "the store is full");
    if (!opened_.store().sync()) return complain(ErrorCode::kStoreIo, "the store failed");
    return std::monostate{};
  }
  SetUp<std::monostate> get(const std::string& key, std::span<std::byte> into) override {
    store::Store& store = opened_.store();
    auto object = store.find(store.root(), key_bytes(key));
    const PageCount pages{into.size() / kPageSize};
    if (!object || store.read_now(*object, {PageIndex{0}, pages}, into) != pages)
      return complain(ErrorCode::kNotFound, "the store lost a value");
    return std::monostate{};
  }

 private:
  OpenStore opened_;
  std::unique_ptr<Filler> filler_;
};

SetUp<std::unique_ptr<Peer>> open_ours(const std::string& directory, std::uint64_t bytes,
                                       std::size_t value) {
  std::error_code error;
  std::filesystem::create_directory(directory, error);
  TRY(OpenStore opened,
      OpenStore::open(directory + "/store", {ByteCount{bytes * 4 + (32u << 20)}}));
  return std::make_unique<Ours>(std::move(opened), value);
}

SetUp<double> puts(Peer& peer, std::size_t value, std::uint64_t first, std::uint64_t count) {
  AlignedBuffer from(value);
  paint(from.span(), first + 1);
  const Nanoseconds start_ns = system_clock().mono_ns();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = first + i;
    std::memcpy(from.data(), &number, sizeof number);
    TRY_OK(peer.put(key_of(number), from.span().first(value)));
    if ((i + 1) % kCommit == 0) {
      TRY_OK(peer.commit());
    }
  }
  return static_cast<double>(count) * 1e9 /
         static_cast<double>(system_clock().mono_ns() - start_ns);
}

SetUp<double> gets(Peer& peer, std::size_t value, std::uint64_t count, std::uint64_t seed,
                   double seconds) {
  AlignedBuffer into(value);
  const Nanoseconds start_ns = system_clock().mono_ns();
  const auto length_ns = static_cast<Nanoseconds>(seconds * 1e9);
  std::uint64_t state = seed, done = 0;
  Nanoseconds passed_ns = 0;
  while (passed_ns < length_ns) {
    for (unsigned i = 0; i < 16; ++i, ++done) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      const std::uint64_t number = (state >> 33) % count;
      TRY_OK(peer.get(key_of(number), into.span().first(value)));
      std::uint64_t found = 0;
      std::memcpy(&found, into.data(), sizeof found);
      if (found != number) return complain(ErrorCode::kInvalid, "a get gave another value");
    }
    passed_ns = system_clock().mono_ns() - start_ns;
  }
  return static_cast<double>(done) * 1e9 / static_cast<double>(passed_ns);
}

SetUp<std::monostate> compare_with(const Plan& plan, const PeerKind& kind, std::size_t value,
                                   Outcome& outcome) {
  // The same bytes for each size, as far as whole commits go.
  const std::uint64_t budget = plan.file_mib << 20;
  const std::uint64_t per_round =
      std::max<std::uint64_t>(budget / 4 / plan.rounds / value / kCommit, 1) * kCommit;
  const std::uint64_t all = per_round * plan.rounds;
  const std::string ours_at = plan.directory + "/ours", theirs_at = plan.directory + "/theirs";
  const std::string size = value < (1u << 20) ? fmt::format("{}k", value >> 10) : "1m";
  std::string peer_name = kind.name;
  for (char& c : peer_name) c = static_cast<char>(std::tolower(c));
  {
    TRY(const std::unique_ptr<Peer> ours, open_ours(ours_at, all * value, value));
    TRY(const std::unique_ptr<Peer> theirs, kind.open(theirs_at, all * value));
    TRY(const Comparison put,
        compare(
            plan.rounds,
            [&](unsigned round) { return puts(*ours, value, round * per_round, per_round); },
            [&](unsigned round) { return puts(*theirs, value, round * per_round, per_round); }));
    const std::string put_name = fmt::format("put_{}_{}", size, peer_name);
    outcome.rows.push_back({put_name, "puts/s", kind.name, 1, put, {}});
    outcome.marks.push_back({put_name, put.ratio.median, Mark::Bound::kAtLeast, 1});
    TRY(const Comparison get,
        compare(
            plan.rounds,
            [&](unsigned round) { return gets(*ours, value, all, round + 1, plan.seconds / 4); },
            [&](unsigned round) {
              return gets(*theirs, value, all, round + 1, plan.seconds / 4);
            }));
    const std::string get_name = fmt::format("get_{}_{}", size, peer_name);
    outcome.rows.push_back({get_name, "gets/s", kind.name, 1, get, {}});
    if (value >= (64u << 10))
      outcome.marks.push_back({get_name, get.ratio.median, Mark::Bound::kAtLeast, 1});
    else if (value == 4096 && kind.name == "LMDB")
      outcome.marks.push_back({get_name, get.ratio.median, Mark::Bound::kAtLeast, 0.5});
  }
  std::error_code error;
  std::filesystem::remove_all(ours_at, error);
  std::filesystem::remove_all(theirs_at, error);
  return std::monostate{};
}

}  // namespace

SetUp<Outcome> measure_store_peers(const Plan& plan) {
  Outcome outcome;
  const auto kinds = peers();
  if (kinds.empty()) {
    fmt::print(stderr,
               "larder-bench: no rows against LMDB and RocksDB: it was built without them "
               "(tools/setup bench, then build again)\n");
  }
  for (const PeerKind& kind : kinds) {
    for (const std::size_t kib : {4u, 16u, 64u, 256u, 1024u}) {
      TRY_OK(compare_with(plan, kind, kib << 10, outcome));
    }
  }
  return outcome;
}

}  // namespace larder::bench
