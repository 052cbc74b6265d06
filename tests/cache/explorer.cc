// SPDX-License-Identifier: Apache-2.0
#include "cache/explorer.h"

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace larder::test {
namespace {

// A state on the way to where we are.
struct Place {
  Fingerprint print;
  std::vector<Action> possible;
  std::size_t tried = 0;
};

class Exploration {
 public:
  explicit Exploration(const DrivenOptions& options) : options_(options) {}

  Explored run() {
    world_ = std::make_unique<DrivenWorld>(options_);
    arrive(world_->fingerprint());
    while (!way_.empty() && found_.broken.empty()) {
      Place& here = way_.back();
      if (here.tried == here.possible.size()) {
        world_ = nullptr;
        way_.pop_back();
        continue;
      }
      ++here.tried;
      go_on();
    }
    // A world that is broken might not end. One that only comes where it may not be does.
    if (!found_.broken.empty() && !options_.never) static_cast<void>(world_.release());
    found_.states = seen_.size();
    return std::move(found_);
  }

 private:
  // By the action of the last place that was tried last.
  void go_on() {
    if (!world_) lead_here();
    world_->act(last_of(way_.back()));
    ++found_.actions;
    arrive(world_->fingerprint());
  }

  void arrive(const Fingerprint& print) {
    if (!seen_.insert(print).second) {
      const bool is_on_way =
          std::any_of(way_.begin(), way_.end(), [&](const Place& at) { return at.print == print; });
      if (is_on_way) return fail("the workers' steps have no end");
      world_ = nullptr;
      return;
    }
    std::string broken = world_->broken_rule();
    if (!broken.empty()) return fail(broken);
    way_.push_back({print, world_->possible(), 0});
    found_.deepest = std::max(found_.deepest, way_.size() - 1);
    if (world_->has_work()) return;
    found_.at_rest.insert(print);
    broken = world_->wind_down();
    if (!broken.empty()) return fail(broken);
    world_ = nullptr;
  }

  void lead_here() {
    world_ = std::make_unique<DrivenWorld>(options_);
    for (std::size_t i = 0; i + 1 < way_.size(); ++i) world_->act(last_of(way_[i]));
  }

  void fail(const std::string& what) { found_.broken = what + "\nby " + told(); }
  std::string told() const {
    std::string text;
    for (const Place& at : way_) {
      if (at.tried == 0) continue;
      text += fmt::format("{} {}; ", to_text(last_of(at).what), last_of(at).number);
    }
    return text;
  }

  static const Action& last_of(const Place& at) { return at.possible[at.tried - 1]; }

  const DrivenOptions options_;
  Explored found_;
  absl::flat_hash_set<Fingerprint> seen_;
  std::vector<Place> way_;
  std::unique_ptr<DrivenWorld> world_;  // at the last place of the way; null: nowhere
};

}  // namespace

Explored explore(const DrivenOptions& options) { return Exploration(options).run(); }

}  // namespace larder::test
