// SPDX-License-Identifier: Apache-2.0
// ProgressBar: how far something is, on standard error, where that is a terminal.
// Thread: one.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace larder::ctl {

class ProgressBar {
 public:
  ProgressBar(std::string what, bool quiet)
      : what_(std::move(what)), shown_(!quiet && ::isatty(STDERR_FILENO) != 0) {}
  ~ProgressBar() { end(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::uint64_t done, std::uint64_t all) {
    const int percent = all == 0 ? 100 : static_cast<int>(100 * done / all);
    if (!shown_ || percent == last_) return;
    last_ = percent;
    fmt::print(stderr, "\r{}", text(what_, percent));
    std::fflush(stderr);
  }
  void end() {
    if (last_ >= 0) fmt::print(stderr, "\n");
    last_ = -1;
  }

  // "checking [#####.....]  50 %"
  static std::string text(const std::string& what, int percent) {
    constexpr int kWidth = 40;
    const auto full = static_cast<std::size_t>(kWidth * percent / 100);
    return fmt::format("{} [{}{}] {:3} %", what, std::string(full, '#'),
                       std::string(kWidth - full, '.'), percent);
  }

 private:
  const std::string what_;
  const bool shown_;
  int last_ = -1;
};

}  // namespace larder::ctl
