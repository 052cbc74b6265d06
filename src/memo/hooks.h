// SPDX-License-Identifier: Apache-2.0
// Hooks: who wants to hear that a kept value is no longer true.
//
// A hook is told apart by its address: one that is attached twice to the same value runs once. It
// runs when the value is invalidated or evicted, or when what it waited for is not kept at all;
// with no lock of the memo held, so it may call the memo again (chained invalidation does).
#pragma once

#include <absl/functional/any_invocable.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace larder::memo {

using Hook = std::shared_ptr<absl::AnyInvocable<void()>>;

inline Hook make_hook(absl::AnyInvocable<void()> run) {
  return std::make_shared<absl::AnyInvocable<void()>>(std::move(run));
}

// The hooks of one value. Guarded by whoever keeps the value, except run().
class Hooks {
 public:
  void add(Hook hook) {
    if (hook != nullptr && std::find(hooks_.begin(), hooks_.end(), hook) == hooks_.end())
      hooks_.push_back(std::move(hook));
  }
  void add(Hooks more) {
    for (Hook& hook : more.hooks_) add(std::move(hook));
  }
  // Each once; then there are none.
  void run() {
    for (const Hook& hook : std::exchange(hooks_, {})) (*hook)();
  }

 private:
  std::vector<Hook> hooks_;
};

}  // namespace larder::memo
