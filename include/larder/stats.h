// SPDX-License-Identifier: Apache-2.0
// Counters and histograms: every distinct path of the program is counted, with a unit and a
// sentence.
//
// A floor declares its counters as members of a struct and registers each with a name; the registry
// renders them all (`.larder/stats`, `stats.json`) and tests wait on them by name instead of
// sleeping.
#pragma once

#include <larder/units.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace larder::stats {

enum class Unit : std::uint8_t { kCount, kBytes, kNanoseconds, kGauge };
std::string_view to_text(Unit unit);

// Thread: any; relaxed, so a reader sees each counter right but not all at one instant.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  void sub(std::uint64_t n = 1) { value_.fetch_sub(n, std::memory_order_relaxed); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Log-linear: exact below 16, then 8 steps per power of two up to 2^43 (ns: 2.4 hours); a value's
// bucket is at most 12.5 % wide. record() is one relaxed add. Thread: any.
class Histogram {
 public:
  static constexpr unsigned kStepsLog2 = 3;
  static constexpr unsigned kPowers = 41;
  static constexpr unsigned kBuckets = kPowers << kStepsLog2;

  void record(std::uint64_t value);
  std::uint64_t count() const;
  // The upper edge of the bucket that holds the given share (0 to 1) of all values; 0 where there
  // are none.
  std::uint64_t percentile(double share) const;

  std::uint64_t in_bucket(unsigned bucket) const {
    return buckets_[bucket].load(std::memory_order_relaxed);
  }
  static unsigned bucket_of(std::uint64_t value);
  static std::uint64_t upper_edge(unsigned bucket);

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets> buckets_{};
};

// Names what exists; owns nothing. What is registered must outlive the registry.
class Registry {
 public:
  struct Entry {
    std::string name;  // "store.fill_bytes": floor, dot, words
    Unit unit;
    std::string description;  // one sentence, no full stop
    std::function<std::uint64_t()> read;
  };
  struct HistogramEntry {
    std::string name;
    Unit unit;
    std::string description;
    const Histogram* histogram;
  };

  void add(std::string name, Unit unit, std::string description, const Counter& counter);
  // For figures that are computed when asked; `read` must not block. Thread: it is called from any.
  void add(std::string name, Unit unit, std::string description,
           std::function<std::uint64_t()> read);
  void add(std::string name, Unit unit, std::string description, const Histogram& histogram);

  std::vector<Entry> entries() const;
  std::vector<HistogramEntry> histograms() const;

  // "name value unit  description" lines, sorted by name; and as one JSON object.
  std::string to_text() const;
  std::string to_json() const;

 private:
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  std::vector<HistogramEntry> histograms_;
};

// Writes the text format 0.0.4 of Prometheus. Samples of one name follow each other.
class PrometheusText {
 public:
  // `labels`: on each sample; made of label(), with commas between.
  explicit PrometheusText(std::string labels) : labels_(std::move(labels)) {}
  static std::string label(std::string_view name, std::string_view value);

  // `extra`: labels of this sample alone.
  void counter(std::string_view name, std::string_view help, std::uint64_t value,
               std::string_view extra = {});
  void gauge(std::string_view name, std::string_view help, std::uint64_t value,
             std::string_view extra = {});
  // Of nanoseconds, shown in seconds.
  void histogram(std::string_view name, std::string_view help, const Histogram& histogram,
                 std::string_view extra = {});
  // All of it: "store.fill_bytes" becomes PREFIX_store_fill_bytes_total.
  void registry(std::string_view prefix, const Registry& registry);

  const std::string& text() const { return text_; }

 private:
  void head(std::string_view name, std::string_view type, std::string_view help);
  std::string labels(std::string_view extra) const;

  const std::string labels_;
  std::string text_;
  std::string last_;
};

}  // namespace larder::stats
