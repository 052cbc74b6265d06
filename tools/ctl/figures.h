// SPDX-License-Identifier: Apache-2.0
// Figures: `stats.json` of a mount: counters by their dotted names, and groups of words ("share",
// "store"). What is not there is zero or nothing. Versions of larder differ in what they count, so
// a reader asks by name and never fails for the lack of one. Thread: any; immutable.
#pragma once

#include <larder/result.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace larder::ctl {

class Figures {
 public:
  static SetUp<Figures> parse(const std::string& text);

  // "store.reads"; nothing where it is not counted.
  std::optional<std::uint64_t> find(std::string_view counter) const;
  std::uint64_t counter(std::string_view name) const { return find(name).value_or(0); }
  // A percentile ("p50", "p99", ...) of a histogram.
  std::optional<std::uint64_t> percentile(std::string_view histogram, std::string_view mark) const;
  // "share", "path"; with an empty group a word of the top. Numbers as text; "" where there is
  // none.
  std::string text(std::string_view group, std::string_view name) const;
  const nlohmann::json& all() const { return all_; }

 private:
  explicit Figures(nlohmann::json all) : all_(std::move(all)) {}
  nlohmann::json all_;
};

}  // namespace larder::ctl
