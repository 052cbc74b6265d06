// SPDX-License-Identifier: Apache-2.0
// The words of the object state machine: states, events, and the tables that object_states.cc fills
// in.
//
// States and events are those of FS-Cache 2.6.30, with 3.8's invalidation; the values are ordered
// as there and compared (up to kUpdating an object lives, from kDying on it does not). Tables only:
// nothing here knows what an object is. Not here: what the states do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace larder::cache {

class Object;

// clang-format off
enum class State : std::uint8_t {
  kInit, kLookingUp, kCreating, kAvailable, kActive, kInvalidating, kUpdating,
  kDying, kLcDying, kAbortInit, kReleasing, kRecycling, kWithdrawing, kDead,
};
// clang-format on
inline constexpr std::size_t kStates = 14;

// Bit numbers. Terminal events of a higher number beat those of a lower one: a retired object is
// deleted also when its cache is withdrawn at the same time.
enum class Event : std::uint8_t {
  kRequeue,
  kUpdate,
  kInvalidate,
  kCleared,
  kError,
  kRelease,
  kWithdraw,
  kRetire,
};
inline constexpr std::size_t kEvents = 8;

using Events = std::uint32_t;
using EventBits = std::uint8_t;  // as an object keeps them
static_assert(kEvents <= 8);
constexpr Events bit(Event event) { return Events{1} << static_cast<unsigned>(event); }
inline constexpr Events kTerminalEvents =
    bit(Event::kError) | bit(Event::kRelease) | bit(Event::kWithdraw) | bit(Event::kRetire);

// A row of a wait state counts always, or only while operations or children hold the object, or
// only while none do.
enum class When : std::uint8_t { kAlways, kBusy, kClear };

struct Row {
  Event event;
  When when;
  State next;
};

enum class StateKind : std::uint8_t { kWork, kWait };

struct StateTable {
  State state;
  std::string_view name;
  std::string_view short_name;  // the STAT column of `objects`
  StateKind kind;
  State (*work)(Object&);     // of a work state: does it and says what comes next
  void (*arrive)(Object&);    // of a wait state: done whenever it is entered; null: nothing
  std::span<const Row> rows;  // of a wait state: the first that matches wins
  std::uint16_t leads_to;     // of a work state: bits of State; the dispatcher holds it to them
  std::string_view meaning;   // what happens there
};

// What terminal events do at once, whatever the state was about to do. One is installed at a time.
enum class OutOfBand : std::uint8_t { kNone, kInit, kLookUp, kRun };

struct OutOfBandTable {
  std::string_view name;
  Events events;
  State next;
};

const StateTable& table_of(State state);
const OutOfBandTable& table_of(OutOfBand table);
// Which out-of-band table is installed once the state has begun.
OutOfBand out_of_band_in(State state);

// What an event comes to in a state: a move, or it is remembered until a state asks for it.
struct Decision {
  enum class Kind : std::uint8_t { kMove, kRemember } kind;
  State next;  // of a move
};
// `when` is kBusy or kClear.
Decision decide(State state, Event event, When when);

std::string_view to_text(State state);
std::string_view to_text(Event event);
std::string_view raised_by(Event event);
// docs/object-states.md and its picture (state_page.cc).
std::string object_states_page();
std::string object_states_picture();

}  // namespace larder::cache
