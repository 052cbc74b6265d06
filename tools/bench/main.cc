// SPDX-License-Identifier: Apache-2.0
// larder-bench: measures larder against yardsticks on this machine and says which marks it meets.
//
// Exit code: 0 measured; 1 not, and a line says why; with --strict 2 when a mark is short.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "bench/janitor.h"
#include "bench/rows.h"
#include "bench/rows_store.h"

namespace larder::bench {
namespace {

using MeasureAll = SetUp<Outcome> (*)(const Plan&);

// FUSE over io_uring is on while we measure, as far as that is ours to say.
class UringSwitch {
 public:
  UringSwitch() {
    char now = 'Y';
    std::ifstream(kPath) >> now;
    if (now == 'N') turned_ = static_cast<bool>(std::ofstream(kPath) << 'Y' << std::flush);
  }
  ~UringSwitch() {
    if (turned_) std::ofstream(kPath) << 'N';
  }
  UringSwitch(const UringSwitch&) = delete;
  UringSwitch& operator=(const UringSwitch&) = delete;

 private:
  static constexpr const char* kPath = "/sys/module/fuse/parameters/enable_uring";
  bool turned_ = false;
};

int report(const SetUp<Outcome>& outcome, bool strict) {
  if (!outcome) {
    fmt::print(stderr, "larder-bench: {}\n", outcome.error().line);
    return 1;
  }
  fmt::print("{}", to_text(*outcome));
  const bool all_hold = std::ranges::all_of(outcome->marks, &Mark::holds);
  return strict && !all_hold ? 2 : 0;
}

int main_of(int argc, char** argv) {
  CLI::App app{"Measures larder against yardsticks on this machine.", "larder-bench"};
  app.require_subcommand(1);
  Plan plan;
  plan.programs = programs_of_build();
  const char* temporary = std::getenv("TMPDIR");
  std::string base = temporary != nullptr ? temporary : "/tmp";
  bool quick = false, strict = false;
  MeasureAll measure = nullptr;
  const auto add = [&](const char* name, const char* what, MeasureAll all,
                       const std::vector<std::string>& parts = {}) {
    CLI::App* sub = app.add_subcommand(name, what);
    sub->add_flag("--quick", quick, "smaller files, shorter rounds: a minute or so");
    sub->add_flag("--strict", strict, "exit code 2 when a mark is short");
    sub->add_option("--dir", base, "everything happens in a fresh directory below this one")
        ->capture_default_str();
    sub->add_option("--larder", plan.programs.larder, "the larder to measure")
        ->capture_default_str();
    sub->add_option("--slowshare", plan.programs.slowshare, "the slow share")
        ->capture_default_str();
    sub->add_option("--rounds", plan.rounds, "how often each side is measured")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    if (!parts.empty())
      sub->add_option("--only", plan.only, "one part")->check(CLI::IsMember(parts));
    sub->callback([&measure, all] { measure = all; });
  };
  add("fuse", "Hot and warm reads, against the local file system and passthrough_ll.", measure_fuse,
      {"hot", "through", "warm", "classic", "disk", "sums", "memory", "peers"});
  add("cold", "Reads of what is not in the store, against cp from the same slow share.",
      measure_cold);
  add("meta", "Names and small files: stat, open, git status and find, as they are trusted.",
      measure_meta);
  add("cache", "What the cache floor costs by itself: operations, objects, memory.", measure_cache);
  add("store", "The store without a mount, against raw I/O, LMDB, RocksDB and exact LRU.",
      measure_store, {"reads", "fills", "peers", "eviction", "index", "commits"});
  ProbeOptions probe;
  CLI::App* prober = app.add_subcommand("store-probe", "Opens a large store.")->group("");
  prober->add_option("store", probe.store)->required();
  prober->add_option("what", probe.what)->required();
  prober->add_option("objects", probe.objects)->required();
  prober->add_option("memory", probe.memory_mib)->required();
  prober->add_option("from", probe.from)->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  if (*prober) return store_probe(probe);
  // The many rows of `fuse`, each side seven times, are to fit into a minute.
  plan.seconds = !quick ? 2 : app.got_subcommand("fuse") ? 0.1 : 0.3;
  plan.file_mib = quick ? 128 : 512;
  plan.cold_mib = quick ? 24 : 128;
  plan.meta_files = quick ? 20'000 : 100'000;
  const UringSwitch uring;
  return with_janitor(base, [&](const std::string& directory) {
    plan.directory = directory;
    return report(measure(plan), strict);
  });
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::main_of(argc, argv); }
