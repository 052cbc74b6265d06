// SPDX-License-Identifier: Apache-2.0
// The state tables as questions: what an event comes to in a state.
#include <array>

#include "cache/states.h"

namespace larder::cache {
namespace {

constexpr std::array<std::string_view, kEvents> kEventNames = {
    "REQUEUE", "UPDATE", "INVALIDATE", "CLEARED", "ERROR", "RELEASE", "WITHDRAW", "RETIRE"};

constexpr std::array<std::string_view, kEvents> kRaisedBy = {
    "whoever needs the object up; the parent that is; the death of who held its place",
    "update: new aux data for the same content",
    "invalidate: the content changed",
    "the last operation or child that held it",
    "a look-up or creation that failed; an operation that found it broken",
    "relinquish or disable, keeping the data",
    "the withdrawal of its cache; a parent that dies",
    "relinquish or disable, deleting the data; a rename over it"};

}  // namespace

OutOfBand out_of_band_in(State state) {
  switch (state) {
    case State::kInit:
      return OutOfBand::kInit;
    case State::kLookingUp:
    case State::kCreating:
      return OutOfBand::kLookUp;
    case State::kAvailable:
    case State::kActive:
    case State::kInvalidating:
    case State::kUpdating:
      return OutOfBand::kRun;
    case State::kDying:
    case State::kLcDying:
    case State::kAbortInit:
    case State::kReleasing:
    case State::kRecycling:
    case State::kWithdrawing:
    case State::kDead:
      return OutOfBand::kNone;
  }
  return OutOfBand::kNone;
}

Decision decide(State state, Event event, When when) {
  const OutOfBandTable& out_of_band = table_of(out_of_band_in(state));
  if (out_of_band.events & bit(event)) return {Decision::Kind::kMove, out_of_band.next};
  for (const Row& row : table_of(state).rows) {
    if (row.event == event && (row.when == When::kAlways || row.when == when)) {
      return {Decision::Kind::kMove, row.next};
    }
  }
  return {Decision::Kind::kRemember, state};
}

std::string_view to_text(State state) { return table_of(state).name; }
std::string_view to_text(Event event) { return kEventNames[static_cast<std::size_t>(event)]; }

std::string_view raised_by(Event event) { return kRaisedBy[static_cast<std::size_t>(event)]; }

}  // namespace larder::cache
