// SPDX-License-Identifier: Apache-2.0
// History: what a simulated share held under each name, and since when. What is read through larder
// is measured against it.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "support/sim_clock.h"
#include "support/sim_netfs.h"

namespace larder::test {

using Content = std::optional<std::string>;  // nullopt: no such name

class History {
 public:
  History(const SimNetfs& share, const SimClock& clock) : share_(share), clock_(clock) {}

  Content truth(const std::string& n) const {
    return share_.exists(n) ? Content(share_.content(n)) : std::nullopt;
  }
  void record(const std::string& n) {
    std::vector<Moment>& moments = moments_[n];
    Content now = truth(n);
    if (now) ever_.insert(*now);
    if (moments.empty() || moments.back().content != now)
      moments.push_back({clock_.mono_ns(), std::move(now)});
  }

  // Under any name, at any time.
  bool ever_held(const std::string& content) const { return ever_.contains(content); }
  bool held_since(const std::string& n, const Content& content, Nanoseconds since) const {
    const std::vector<Moment>& moments = moments_.at(n);
    for (std::size_t i = moments.size(); i-- > 0;) {
      if (moments[i].content == content) return true;
      if (moments[i].from_mono_ns < since) return false;
    }
    return false;
  }
  Nanoseconds unchanged_for_ns(const std::string& n) const {
    return clock_.mono_ns() - moments_.at(n).back().from_mono_ns;
  }

  // -- for who reads a failure

  // What was read and never held: beside which version does it stand?
  std::string nearest(const std::string& read) const {
    std::string text = std::to_string(read.size()) + " bytes;";
    for (const auto& [n, moments] : moments_) {
      for (const Moment& m : moments) {
        if (!m.content) continue;
        const std::size_t common = std::min(read.size(), m.content->size());
        std::size_t first = 0, last = common;
        while (first < common && read[first] == (*m.content)[first]) ++first;
        while (last > first && read[last - 1] == (*m.content)[last - 1]) --last;
        if (last - first == common && common != 0) continue;
        text += " of " + n + ", " + std::to_string(m.content->size()) + " bytes: differs from " +
                std::to_string(first) + " to " + std::to_string(last) + ";";
      }
    }
    return text;
  }
  std::string lately(const std::string& n) const {
    std::string text = "the share held, by age:";
    const std::vector<Moment>& moments = moments_.at(n);
    for (std::size_t i = moments.size(); i-- > 0 && moments.size() - i < 5;) {
      const Nanoseconds age_ns = clock_.mono_ns() - moments[i].from_mono_ns;
      text += ' ' + std::to_string(age_ns / kMillisecond) + " ms ";
      text += moments[i].content ? std::to_string(moments[i].content->size()) + " bytes," : "none,";
    }
    return text;
  }

 private:
  struct Moment {
    Nanoseconds from_mono_ns = 0;
    Content content;
  };

  const SimNetfs& share_;
  const SimClock& clock_;
  std::map<std::string, std::vector<Moment>> moments_;
  std::set<std::string> ever_;
};

}  // namespace larder::test
