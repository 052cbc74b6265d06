// SPDX-License-Identifier: Apache-2.0
// Probe: all of an object, for the rules that must hold and for telling states apart.
#pragma once

#include <vector>

#include "cache/object.h"

namespace larder::cache {

// Friend of Object: sees all of it.
struct Probe {
  explicit Probe(Object& object) : o(object) {}
  const Work& work() const { return o; }
  // Null: it is an operation's.
  static Object* machine_of(Work& work) {
    return work.run == Object::run_work ? &static_cast<Object&>(work) : nullptr;
  }

  unsigned gate() const NO_THREAD_SAFETY_ANALYSIS { return static_cast<unsigned>(o.gate_); }
  bool is_queued() const NO_THREAD_SAFETY_ANALYSIS { return o.queued_; }
  bool is_up() const { return o.is_up_; }
  bool is_dying() const { return o.is_dying_; }
  bool pins_parent() const { return o.pins_parent_; }
  unsigned out_of_band() const { return static_cast<unsigned>(o.out_of_band_); }
  bool has_handle() const { return o.has_handle_; }
  const Object* predecessor() const { return o.rare_ ? o.rare_->predecessor.get() : nullptr; }
  const Object* successor() const { return o.rare_ ? o.rare_->successor : nullptr; }
  std::vector<const Object*> dependents() const {
    std::vector<const Object*> all;
    if (o.rare_) {
      for (const ObjectPtr& at : o.rare_->dependents) all.push_back(at.get());
    }
    return all;
  }
  std::size_t watchers() const { return o.rare_ ? o.rare_->death_watch.size() : 0; }
  Events open_mask() const { return o.open_mask(); }
  bool has_empty_rare() const { return o.rare_ && o.rare_->is_empty(); }

  Object& o;
};

}  // namespace larder::cache
