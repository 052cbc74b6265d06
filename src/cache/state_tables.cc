// SPDX-License-Identifier: Apache-2.0
// The state tables as questions and as text: what an event comes to in a state, and the whole grid.
#include <fmt/format.h>

#include <array>

#include "cache/states.h"

namespace larder::cache {
namespace {

constexpr std::array<std::string_view, kEvents> kEventNames = {
    "REQUEUE", "UPDATE", "INVALIDATE", "CLEARED", "ERROR", "RELEASE", "WITHDRAW", "RETIRE"};

std::string cell(State state, Event event, When when) {
  const Decision decision = decide(state, event, when);
  return std::string(decision.kind == Decision::Kind::kMove ? to_text(decision.next) : "-");
}

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

std::string state_tables_text() {
  std::string text = "State x event -> next; '-': remembered. DYING is shown held and clear.\n\n";
  text += fmt::format("{:<18}{:<5}{:<5}", "", "", "");
  for (const std::string_view event : kEventNames) text += fmt::format("{:<13}", event);
  while (text.back() == ' ') text.pop_back();
  text += '\n';
  const auto line = [&text](State state, When when, std::string_view suffix) {
    const StateTable& table = table_of(state);
    text += fmt::format("{:<18}{:<5}{:<5}", std::string(table.name) + std::string(suffix),
                        table.short_name, table.kind == StateKind::kWork ? "work" : "wait");
    for (std::size_t e = 0; e < kEvents; ++e) {
      text += fmt::format("{:<13}", cell(state, static_cast<Event>(e), when));
    }
    while (text.back() == ' ') text.pop_back();
    text += '\n';
  };
  for (std::size_t s = 0; s < kStates; ++s) {
    const State state = static_cast<State>(s);
    if (state == State::kDying) {
      line(state, When::kBusy, " (held)");
      line(state, When::kClear, " (clear)");
    } else {
      line(state, When::kClear, "");
    }
  }
  return text;
}

}  // namespace larder::cache
