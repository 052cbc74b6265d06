// SPDX-License-Identifier: Apache-2.0
// A large index in `larder-bench store`: a million objects with keys and identities as larder gives
// them, in four million extents of 64 KiB. (A tenth of it with --quick, and a tenth of the marks.)
// The pages are not kept (no_data.h), the metadata are real and in the page cache.
//
// Each opening is a process of its own, which says how long it took, and what memory it has when it
// has read from every object.
#include <fmt/format.h>
#include <larder/clock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "bench/no_data.h"
#include "bench/process.h"
#include "bench/rows_store.h"
#include "bench/store_rig.h"

namespace larder::bench {
namespace {

constexpr std::size_t kPiece = 64u << 10;
constexpr std::uint64_t kPieces = 4;  // extents of an object
constexpr ByteCount kFile{kPieces * kPiece};

std::string key_of(std::uint64_t number) {  // as long as a file's id
  return fmt::format("{:024}", number);
}

std::uint64_t status_kib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":"))
      return std::strtoull(line.c_str() + field.size() + 1, nullptr, 10);
  }
  return 0;
}

void fill_objects(store::Store& store, std::uint64_t first, std::uint64_t count) {
  const std::string identity(40, 'i');
  Filler filler(store, kPiece, 8);
  for (unsigned i = 0; i < 8; ++i) {
    const auto bytes = filler.buffer();
    for (std::size_t at = 0; at < kPiece; at += kPageSize)
      std::memcpy(bytes.data() + at, NoData::page().data(), kPageSize);
  }
  for (std::uint64_t number = first; number < first + count; ++number) {
    const auto object = store.create(store.root(), ObjectType::kData, key_bytes(key_of(number)),
                                     key_bytes(identity), kFile);
    if (!object) continue;
    for (std::uint64_t piece = 0; piece < kPieces; ++piece) {
      filler.buffer();
      filler.put(*object, PageIndex{piece * kPiece / kPageSize}, kPiece, kFile);
    }
  }
  filler.wait();
}

// One page of every object. How many could be had.
std::uint64_t read_objects(store::Store& store, std::uint64_t count) {
  AlignedBuffer into(kPageSize);
  std::uint64_t good = 0;
  for (std::uint64_t number = 0; number < count; ++number) {
    const auto object = store.find(store.root(), key_bytes(key_of(number)));
    if (!object) continue;
    const PageIndex page{number % (kFile.value() / kPageSize)};
    good += store.read_now(*object, {page, PageCount{1}}, into.span()).value();
  }
  return good;
}

struct Probe {
  const Plan& plan;
  std::string store;
  std::uint64_t objects;
  std::uint64_t from;  // where the data begin

  // What the process printed, by name.
  SetUp<std::map<std::string, double>> run(const std::string& what, std::uint64_t memory_mib) {
    const std::string log = plan.directory + "/probe.log";
    TRY_OK(bench::run({"/proc/self/exe", "store-probe", store, what, std::to_string(objects),
                       std::to_string(memory_mib), std::to_string(from)},
                      log));
    std::map<std::string, double> figures;
    std::ifstream lines(log);
    std::string name;
    for (double value = 0; lines >> name >> value;) figures[name] = value;
    return figures;
  }
};

}  // namespace

int store_probe(const ProbeOptions& options) {
  const ByteCount size{options.objects * kFile.value() * 9 / 8 + (std::uint64_t{64} << 20)};
  NoData* data = nullptr;
  const auto wrap = [&](std::unique_ptr<IoEngine> real, ByteCount) -> std::unique_ptr<IoEngine> {
    const ByteOffset from{options.from == 0 ? ~std::uint64_t{0} : options.from};
    auto made = std::make_unique<NoData>(std::move(real), from);
    data = made.get();
    return made;
  };
  StoreShape shape{size, {}, wrap};
  shape.options.index_memory = ByteCount{options.memory_mib << 20};
  const Nanoseconds start_ns = system_clock().mono_ns();
  auto opened = OpenStore::open(options.store, shape);
  if (!opened) {
    fmt::print(stderr, "larder-bench: {}\n", opened.error().line);
    return 1;
  }
  store::Store& store = opened->store();
  fmt::print("open_s {:.3f}\n", static_cast<double>(system_clock().mono_ns() - start_ns) / 1e9);
  if (options.what == "fill") {
    fill_objects(store, 0, options.objects);
    fmt::print("from {}\n", data->from().value());
  } else if (options.what == "kill") {
    // As much as the journal takes before a checkpoint is due, or nearly.
    fill_objects(store, options.objects, options.objects / 16);
    if (!store.sync()) return 1;
    std::fflush(stdout);
    ::_exit(0);
  } else {
    fmt::print("good {}\n", read_objects(store, options.objects));
    fmt::print("sum_reads {}\n", store.counters().sum_reads.value());
  }
  fmt::print("extents {}\nrss_mib {:.1f}\n", store.counters().extents.value(),
             static_cast<double>(status_kib("VmRSS")) / 1024);
  std::fflush(stdout);
  return 0;
}

SetUp<Outcome> measure_store_index(const Plan& plan) {
  const bool whole = plan.seconds >= 1;
  const double part = whole ? 1 : 0.1;
  Probe probe{plan, plan.directory + "/index.store", whole ? 1'000'000u : 100'000u, 0};
  TRY(auto filled, probe.run("fill", 0));
  probe.from = static_cast<std::uint64_t>(filled["from"]);
  const auto best_of = [&](std::uint64_t memory_mib) -> SetUp<std::map<std::string, double>> {
    TRY(auto best, probe.run("read", memory_mib));
    for (unsigned i = 1; i < 3; ++i) {
      TRY(auto again, probe.run("read", memory_mib));
      if (again["open_s"] < best["open_s"]) best = again;
    }
    return best;
  };
  TRY(auto all, best_of(0));
  TRY(auto bounded, probe.run("read", static_cast<std::uint64_t>(350 * part)));
  TRY_OK(probe.run("kill", 0));
  TRY(auto killed, probe.run("read", 0));
  const auto objects = static_cast<double>(probe.objects);
  if (all["good"] < objects)
    return complain(ErrorCode::kInvalid,
                    fmt::format("of {} objects only {} can be read", objects, all["good"]));
  Outcome outcome;
  const auto at_most = [&](const char* name, double value, double bound) {
    outcome.marks.push_back({name, value, Mark::Bound::kAtMost, bound});
  };
  const std::string tail = whole ? "" : "_tenth";
  // The program itself takes some MiB of any process.
  const double program = whole ? 0 : 10;
  at_most(("index_open_clean_s" + tail).c_str(), all["open_s"], 1 * part);
  at_most(("index_open_killed_s" + tail).c_str(), killed["open_s"], 2 * part);
  at_most(("index_process_mib" + tail).c_str(), all["rss_mib"], 700 * part + program);
  at_most(("index_process_mib_350m" + tail).c_str(), bounded["rss_mib"], 400 * part + program);
  outcome.marks.push_back(
      {"index_kept_at_350m" + tail, bounded["good"] / objects, Mark::Bound::kAtLeast, 1});
  return outcome;
}

}  // namespace larder::bench
