// SPDX-License-Identifier: Apache-2.0
// Explorer: every state that a driven world can come to, by every order of its actions.
//
// Depth first: an action is taken in the world at hand, and where it led to a state that was seen
// before, the world is made anew and led to where the next choice is. In each state the rules hold.
// From each the world winds down to nothing: that is done from those in which no worker has
// anything to do, since from any other the first that a winding down does is to take the workers'
// steps, and these lead through states of the same exploration to such a one. That they end is seen
// too: a way back to a state that the way came through would be one of steps alone.
#pragma once

#include <cstddef>
#include <set>
#include <string>

#include "cache/driven_world.h"

namespace larder::test {

struct Explored {
  std::size_t states = 0;
  std::set<Fingerprint> at_rest;  // of these: no worker has anything to do
  std::size_t actions = 0;
  std::size_t deepest = 0;
  std::string broken;  // what is wrong, and by which actions; empty: nothing
};

Explored explore(const DrivenOptions& options);

}  // namespace larder::test
