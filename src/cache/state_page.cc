// SPDX-License-Identifier: Apache-2.0
// docs/object-states.md and docs/object-states.svg, made from the tables: what is drawn and listed
// there is what the dispatcher does. Only where a state stands in the picture is decided here.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

#include "cache/states.h"

namespace larder::cache {
namespace {

using enum State;

// -- the page -------------------------------------------------------------------------------------

constexpr std::string_view kIntroduction = R"(# Object states

Behind a cookie is an object, one in each cache that holds something for it. Its machine finds or creates it in the
store, opens it to operations, and lets it go again. The netfs and the cache only raise *events*; the machine, run
by one worker at a time, picks the order. `src/cache/object_states.cc` is the machine, and this page and its picture
are made from its tables by the test `cache-states` (`LARDER_WRITE_DOCS=1` writes them; else it fails where they
differ).

![the states of an object](object-states.svg)

A *work* state does something and leads on. In a *wait* state the object sleeps until an event comes that the state
has a row for. Terminal events are *out of band*: they take effect whatever the state was about to lead to, once.

)";

std::string_view to_text(StateKind kind) { return kind == StateKind::kWork ? "work" : "wait"; }

std::string names_of(std::uint16_t states) {
  std::string text;
  for (std::size_t s = 0; s < kStates; ++s) {
    if (!(states & (1u << s))) continue;
    if (!text.empty()) text += ", ";
    text += to_text(static_cast<State>(s));
  }
  return text;
}

std::string names_of_events(Events events) {
  std::string text;
  for (std::size_t e = 0; e < kEvents; ++e) {
    if (!(events & (1u << e))) continue;
    if (!text.empty()) text += ", ";
    text += to_text(static_cast<Event>(e));
  }
  return text;
}

std::string states_table() {
  std::string text =
      "## States\n\n| # | state | shown | kind | what it does | leads to |\n"
      "|---|---|---|---|---|---|\n";
  for (std::size_t s = 0; s < kStates; ++s) {
    const StateTable& table = table_of(static_cast<State>(s));
    text += fmt::format("| {} | {} | {} | {} | {} | {} |\n", s, table.name, table.short_name,
                        to_text(table.kind), table.meaning,
                        table.kind == StateKind::kWork ? names_of(table.leads_to) : "by event");
  }
  return text;
}

std::string events_table() {
  std::string text =
      "\n## Events\n\nBits, never lost: what no state asks for now is remembered. The "
      "last four are terminal and stay set; of several,\nthe one further down wins. An INVALIDATE "
      "that an object did not come to do is its cookie's, which gives it to its\nnext object; so "
      "is one that comes while the cookie has none.\n\n"
      "| bit | event | raised by |\n|---|---|---|\n";
  for (std::size_t e = 0; e < kEvents; ++e) {
    const Event event = static_cast<Event>(e);
    text += fmt::format("| {} | {} | {} |\n", e, to_text(event), raised_by(event));
  }
  return text;
}

std::string out_of_band_table() {
  std::string text =
      "\n## Out of band\n\n| table | while in | events | lead to |\n|---|---|---|---|\n";
  for (const OutOfBand band : {OutOfBand::kInit, OutOfBand::kLookUp, OutOfBand::kRun}) {
    std::uint16_t states = 0;
    for (std::size_t s = 0; s < kStates; ++s) {
      if (out_of_band_in(static_cast<State>(s)) == band)
        states |= static_cast<std::uint16_t>(1u << s);
    }
    const OutOfBandTable& table = table_of(band);
    text += fmt::format("| {} | {} | {} | {} |\n", table.name, names_of(states),
                        names_of_events(table.events), to_text(table.next));
  }
  return text;
}

// One row of the grid. DYING has two: held by operations or children, and clear.
std::string grid_row(State state, When when, std::string_view suffix) {
  std::string text = fmt::format("| {}{} |", to_text(state), suffix);
  for (std::size_t e = 0; e < kEvents; ++e) {
    const Decision decision = decide(state, static_cast<Event>(e), when);
    const bool moves = decision.kind == Decision::Kind::kMove;
    text += fmt::format(" {} |", moves ? to_text(decision.next) : "-");
  }
  return text + "\n";
}

std::string grid() {
  std::string text =
      "\n## Every event in every state\n\nA state: the event leads there. `-`: it is "
      "remembered until a state asks for it.\n\n| state |";
  for (std::size_t e = 0; e < kEvents; ++e)
    text += fmt::format(" {} |", to_text(static_cast<Event>(e)));
  text += "\n|---|---|---|---|---|---|---|---|---|\n";
  for (std::size_t s = 0; s < kStates; ++s) {
    const State state = static_cast<State>(s);
    if (state == kDying) {
      text += grid_row(state, When::kBusy, " (held)");
      text += grid_row(state, When::kClear, " (clear)");
    } else {
      text += grid_row(state, When::kClear, "");
    }
  }
  return text;
}

// -- the picture ----------------------------------------------------------------------------------

struct Point {
  double x, y;
};
constexpr Point kHalf{62, 19};  // of a box

Point place_of(State state) {
  switch (state) {
    case kInit:
      return {90, 190};
    case kLookingUp:
      return {270, 190};
    case kCreating:
      return {390, 80};
    case kAvailable:
      return {510, 190};
    case kActive:
      return {720, 190};
    case kInvalidating:
      return {610, 50};
    case kUpdating:
      return {850, 50};
    case kAbortInit:
      return {90, 360};
    case kLcDying:
      return {330, 360};
    case kDying:
      return {620, 360};
    case kReleasing:
      return {470, 500};
    case kWithdrawing:
      return {660, 500};
    case kRecycling:
      return {850, 500};
    case kDead:
      return {660, 620};
  }
  return {0, 0};
}

// Where the line from the middle of a box towards `to` leaves it, a little outside.
Point border(Point from, Point to) {
  const double dx = to.x - from.x, dy = to.y - from.y;
  const double by_x = dx == 0 ? 1e9 : (kHalf.x + 3) / std::abs(dx);
  const double by_y = dy == 0 ? 1e9 : (kHalf.y + 3) / std::abs(dy);
  const double t = std::min(by_x, by_y);
  return {from.x + dx * t, from.y + dy * t};
}

// `lean` moves the line to its left, so that there and back are two lines.
std::string arrow(State from, State to, std::string_view label, std::string_view style) {
  Point a = place_of(from), b = place_of(to);
  const double length = std::hypot(b.x - a.x, b.y - a.y);
  constexpr double kLean = 7;
  const Point side{(b.y - a.y) / length * kLean, -(b.x - a.x) / length * kLean};
  const Point start = border(a, b), end = border(b, a);
  a = {start.x + side.x, start.y + side.y};
  b = {end.x + side.x, end.y + side.y};
  std::string text = fmt::format(
      "<path class=\"{}\" marker-end=\"url(#tip)\" d=\"M{:.0f},{:.0f} L{:.0f},{:.0f}\"/>\n", style,
      a.x, a.y, b.x, b.y);
  if (!label.empty()) {
    text += fmt::format("<text class=\"label\" x=\"{:.0f}\" y=\"{:.0f}\">{}</text>\n",
                        (a.x + b.x) / 2 + side.x, (a.y + b.y) / 2 + side.y + 3, label);
  }
  return text;
}

std::string arrows_from(State state) {
  const StateTable& table = table_of(state);
  std::string text;
  for (std::size_t s = 0; s < kStates; ++s) {
    const State to = static_cast<State>(s);
    if (to == state) continue;
    std::string events;
    for (const Row& row : table.rows) {
      if (row.next != to) continue;
      if (!events.empty()) events += ", ";
      events += to_text(row.event);
    }
    if (!events.empty()) text += arrow(state, to, events, "event");
    if (table.leads_to & (1u << s)) text += arrow(state, to, "", "work");
    const OutOfBandTable& band = table_of(out_of_band_in(state));
    if (band.events != 0 && band.next == to) text += arrow(state, to, "", "band");
  }
  return text;
}

std::string box(State state) {
  const Point at = place_of(state);
  const StateTable& table = table_of(state);
  return fmt::format(
      "<rect class=\"{}\" x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" "
      "rx=\"{}\"/>\n"
      "<text x=\"{:.0f}\" y=\"{:.0f}\">{}</text>\n",
      to_text(table.kind), at.x - kHalf.x, at.y - kHalf.y, 2 * kHalf.x, 2 * kHalf.y,
      table.kind == StateKind::kWait ? 18 : 3, at.x, at.y + 4, table.name);
}

constexpr std::string_view kPictureHead =
    R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 940 670" font-family="sans-serif" font-size="12" text-anchor="middle">
<style>
rect { stroke: #333; fill: #fff } rect.wait { fill: #e4eefb } path { fill: none; stroke: #333 }
path.band { stroke: #b33; stroke-dasharray: 5 4 } path.event { stroke: #26a } .label { font-size: 10px; fill: #26a }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8" fill="none" stroke="context-stroke"/></marker></defs>
<rect x="0" y="0" width="940" height="670" stroke="none"/>
)";
constexpr std::string_view kPictureFoot =
    "<text x=\"20\" y=\"620\" text-anchor=\"start\">round: waits for an event; square: works and "
    "leads on</text>\n"
    "<text x=\"20\" y=\"640\" text-anchor=\"start\">blue: by that event; dashed: at once, by "
    "ERROR, "
    "RELEASE, WITHDRAW or RETIRE</text>\n</svg>\n";

}  // namespace

std::string object_states_page() {
  return std::string(kIntroduction) + states_table() + events_table() + out_of_band_table() +
         grid();
}

std::string object_states_picture() {
  std::string text(kPictureHead);
  for (std::size_t s = 0; s < kStates; ++s) text += arrows_from(static_cast<State>(s));
  for (std::size_t s = 0; s < kStates; ++s) text += box(static_cast<State>(s));
  text += kPictureFoot;
  return text;
}

}  // namespace larder::cache
