// SPDX-License-Identifier: Apache-2.0
// What the states of an object do; object_states.cc says when. Each runs on the object's worker,
// with no lock held, and a work state's returns the state that comes next. Not here: any decision
// by events.
#pragma once

#include <larder/result.h>

#include <string>

#include "cache/object.h"
#include "cache/states.h"

namespace larder::cache {

struct Actions {
  static State look_up(Object& o);
  static State create(Object& o);
  static State become_available(Object& o);
  static State invalidate(Object& o);
  static State update(Object& o);
  static State abort_init(Object& o);
  static State abort_look_up(Object& o);
  static State release(Object& o);
  static State recycle(Object& o);
  static State withdraw(Object& o);
  static void begin_dying(Object& o);

 private:
  enum class Parent { kReady, kWait, kGone };
  static Parent pin_parent(Object& o);
  static void unpin_parent(Object& o);
  static State judge(Object& o, store::ObjectRef found);
  static State fail(Object& o, Error error);
  static void take_handle(Object& o, store::ObjectRef handle);
  static void write_what_is_due(Object& o);
  static Result<store::ObjectRef> find_in_store(Object& o);
  static void let_go(Object& o, std::uint32_t cookie_flags);
  static std::string key_of(Object& o);
  static Version version_of(Object& o);
};

}  // namespace larder::cache
