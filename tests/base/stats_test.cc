// SPDX-License-Identifier: Apache-2.0
#include <larder/stats.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/random.h"
#include "support/catch.h"

using namespace larder;
using stats::Counter;
using stats::Histogram;
using stats::PrometheusText;
using stats::Registry;
using stats::Unit;

namespace {
Seed seed_of_run() {
  const char* text = std::getenv("LARDER_SEED");
  return fresh_if_zero(Seed{text == nullptr ? 0 : std::strtoull(text, nullptr, 0)});
}
}  // namespace

TEST_CASE(
    "the buckets of a histogram lie side by side and none is wider than an eighth of its value") {
  std::uint64_t next = 0;
  for (unsigned bucket = 0; bucket < Histogram::kBuckets; ++bucket) {
    const std::uint64_t edge = Histogram::upper_edge(bucket);
    REQUIRE(edge >= next);
    REQUIRE(Histogram::bucket_of(next) == bucket);
    REQUIRE(Histogram::bucket_of(edge) == bucket);
    REQUIRE((edge - next) * 8 <= next);
    next = edge + 1;
  }
  CHECK(next > std::uint64_t{1} << 40);
}

TEST_CASE("what is beyond the last edge is counted in the last bucket") {
  CHECK(Histogram::bucket_of(~std::uint64_t{0}) == Histogram::kBuckets - 1);
  Histogram histogram;
  histogram.record(~std::uint64_t{0});
  CHECK(histogram.count() == 1);
  CHECK(histogram.percentile(1) == Histogram::upper_edge(Histogram::kBuckets - 1));
}

TEST_CASE("percentiles are those of the sorted values, up to the edge of the bucket") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  Histogram histogram;
  CHECK(histogram.percentile(0.5) == 0);
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 2000; ++i) {
    values.push_back(random.next() >> (24 + random.below(40)));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  CHECK(histogram.count() == values.size());
  for (const double share : {0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 1.0}) {
    const auto rank = static_cast<std::size_t>(
        std::max(1.0, std::ceil(share * static_cast<double>(values.size()))));
    const std::uint64_t exact = values[rank - 1];
    CHECK(histogram.percentile(share) == Histogram::upper_edge(Histogram::bucket_of(exact)));
  }
}

TEST_CASE("counters and histograms lose nothing under many threads") {
  Counter counter;
  Histogram histogram;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 10000; ++i) {
        counter.add(2);
        counter.sub();
        histogram.record(t * 1000 + i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(counter.value() == 40000);
  CHECK(histogram.count() == 40000);
}

TEST_CASE("Prometheus gets base units, totals, and buckets that add up") {
  Counter fills, held;
  Histogram wait;
  fills.add(3);
  held.set(4096);
  for (int i = 0; i < 10; ++i) wait.record(3000);
  wait.record(std::uint64_t{1} << 40);  // above the last edge shown
  Registry registry;
  registry.add("store.fills", Unit::kCount, "fills that were \\kept", fills);
  registry.add("store.held_bytes", Unit::kGauge, "bytes \"held\"", held);
  registry.add("io.wait_ns", Unit::kNanoseconds, "wait for the device", wait);
  PrometheusText text(PrometheusText::label("mountpoint", "/a \"b\"\\"));
  text.counter("x_ops_total", "Requests", 1, "op=\"read\"");
  text.counter("x_ops_total", "Requests", 2, "op=\"write\"");
  text.registry("larder", registry);
  const std::string& all = text.text();
  const std::string mount = R"(mountpoint="/a \"b\"\\")";
  CHECK(all.starts_with("# HELP x_ops_total Requests\n# TYPE x_ops_total counter\nx_ops_total{" +
                        mount + ",op=\"read\"} 1\nx_ops_total{" + mount +
                        ",op=\"write\"} 2\n# HELP larder_store_fills_total "));
  const auto has = [&](const std::string& line) {
    return all.find(line + "\n") != std::string::npos;
  };
  CHECK(has("# HELP larder_store_fills_total fills that were \\\\kept"));
  CHECK(has("# TYPE larder_store_held_bytes gauge"));
  CHECK(has("larder_store_held_bytes{" + mount + "} 4096"));
  CHECK(has("# TYPE larder_io_wait_seconds histogram"));
  CHECK(has("larder_io_wait_seconds_bucket{" + mount + ",le=\"2.048e-06\"} 0"));
  CHECK(has("larder_io_wait_seconds_bucket{" + mount + ",le=\"4.096e-06\"} 10"));
  CHECK(has("larder_io_wait_seconds_bucket{" + mount + ",le=\"68.7194767\"} 10"));
  CHECK(has("larder_io_wait_seconds_bucket{" + mount + ",le=\"+Inf\"} 11"));
  CHECK(has("larder_io_wait_seconds_count{" + mount + "} 11"));
  const std::size_t at = all.find("larder_io_wait_seconds_sum{" + mount + "} ");
  REQUIRE(at != std::string::npos);
  const double sum = std::stod(all.substr(at + 29 + mount.size()));
  CHECK(sum > 0.94 * 1099.5);
  CHECK(sum < 1.07 * 1099.6);
}

TEST_CASE("the registry renders every figure by name, with its unit and sentence") {
  Counter fills, bytes;
  Histogram wait;
  fills.add(3);
  bytes.set(4096);
  wait.record(1000);
  Registry registry;
  registry.add("store.fills", Unit::kCount, "fills that were kept", fills);
  registry.add("store.fill_bytes", Unit::kBytes, "bytes of \"fills\"", bytes);
  registry.add("io.wait_ns", Unit::kNanoseconds, "wait for the device", wait);
  std::uint64_t asked = 0;
  registry.add("cache.objects", Unit::kGauge, "objects now", [&asked] { return ++asked; });

  CHECK(registry.to_text() ==
        "cache.objects 1 gauge  objects now\n"
        "io.wait_ns.count 1 count  wait for the device\n"
        "io.wait_ns.p50 1023 ns  wait for the device\n"
        "io.wait_ns.p90 1023 ns  wait for the device\n"
        "io.wait_ns.p99 1023 ns  wait for the device\n"
        "io.wait_ns.p999 1023 ns  wait for the device\n"
        "store.fill_bytes 4096 bytes  bytes of \"fills\"\n"
        "store.fills 3 count  fills that were kept\n");

  const nlohmann::json all = nlohmann::json::parse(registry.to_json());
  CHECK(all.size() == 4);
  CHECK(all["cache.objects"]["value"] == 2);
  CHECK(all["store.fill_bytes"]["value"] == 4096);
  CHECK(all["store.fill_bytes"]["unit"] == "bytes");
  CHECK(all["store.fill_bytes"]["description"] == "bytes of \"fills\"");
  CHECK(all["io.wait_ns"]["count"] == 1);
  CHECK(all["io.wait_ns"]["p99"] == 1023);

  fills.add();
  CHECK(registry.entries().front().read() == 4);
  CHECK(registry.histograms().front().histogram == &wait);
}
