// SPDX-License-Identifier: Apache-2.0
// The state machine: the whole grid of state x event, as a table and driven, against an expectation
// that is written here from the specification and not taken from the tables under test.
#include "cache/states.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

using enum State;

constexpr std::size_t kRows = kStates + 1;
// The last row is DYING with nothing left that holds it. kInit stands for "remembered" where it is
// no move: no event leads back to INIT.
constexpr State keep = kInit;
struct Expected {
  State state;
  When when;
  // REQUEUE     UPDATE     INVALIDATE     CLEARED ERROR      RELEASE    WITHDRAW      RETIRE
  State next[kEvents];
};
// clang-format off
constexpr Expected kGrid[kRows] = {
    {kInit, When::kClear, {kLookingUp, keep, keep, keep, kAbortInit, kAbortInit, kAbortInit, kAbortInit}},
    {kLookingUp, When::kClear, {keep, keep, keep, keep, kLcDying, kLcDying, kLcDying, kLcDying}},
    {kCreating, When::kClear, {keep, keep, keep, keep, kLcDying, kLcDying, kLcDying, kLcDying}},
    {kAvailable, When::kClear, {keep, keep, keep, keep, kDying, kDying, kDying, kDying}},
    {kActive, When::kClear, {keep, kUpdating, kInvalidating, keep, kDying, kDying, kDying, kDying}},
    {kInvalidating, When::kClear, {keep, keep, keep, keep, kDying, kDying, kDying, kDying}},
    {kUpdating, When::kClear, {keep, keep, keep, keep, kDying, kDying, kDying, kDying}},
    {kDying, When::kBusy, {keep, keep, keep, kDying, keep, keep, keep, keep}},
    {kDying, When::kClear, {keep, keep, keep, keep, kWithdrawing, kReleasing, kWithdrawing, kRecycling}},
    {kLcDying, When::kClear, {keep, keep, keep, keep, keep, keep, keep, keep}},
    {kAbortInit, When::kClear, {keep, keep, keep, keep, keep, keep, keep, keep}},
    {kReleasing, When::kClear, {keep, keep, keep, keep, keep, keep, keep, keep}},
    {kRecycling, When::kClear, {keep, keep, keep, keep, keep, keep, keep, keep}},
    {kWithdrawing, When::kClear, {keep, keep, keep, keep, keep, keep, keep, keep}},
    {kDead, When::kClear, {keep, keep, keep, keep, keep, keep, keep, keep}},
};
// clang-format on

// What a machine went through.
struct Trail {
  std::vector<State> states;
  bool holds(State state) const {
    return std::find(states.begin(), states.end(), state) != states.end();
  }
  // The state `steps` behind the first `state`; kDead where there is none.
  State behind(State state, std::size_t steps = 1) const {
    const auto at = std::find(states.begin(), states.end(), state);
    const auto left = static_cast<std::size_t>(states.end() - at);
    return left <= steps ? kDead : at[static_cast<std::ptrdiff_t>(steps)];
  }
};

// Leads a fresh data object into `state`; whatever it arrives in is noted, and `there` is called at
// the first arrival in `state`.
struct Guided {
  Guided(State state, std::function<void(Object&)> there) {
    tree = World::tree_of(index_with_object()).shared_from_this();
    if (state == kAvailable || state == kActive || state == kInvalidating || state == kUpdating) {
      world.backend->kept["f"] = {ObjectType::kData, "v1", 1};
    }
    tree->trace = [this, state, there](Object& who, State now) {
      if (who.figures().key != "f") return;
      trail.states.push_back(now);
      if (now == state && !was_there) {
        was_there = true;
        there(who);
      }
    };
  }
  ~Guided() { tree->trace = nullptr; }

  CookieRef index_with_object() {
    share = world.index(world.netfs, "share");
    world.fs.index_of(share);
    world.settle();
    return share;
  }
  void acquire() {
    cookie = world.data(share, "f");
    object = World::object_of(cookie);
  }

  World world;
  std::shared_ptr<Tree> tree;
  CookieRef share;
  CookieRef cookie;
  ObjectPtr object;
  Trail trail;
  bool was_there = false;
};

// What brings a living object on its way to `state`.
void lead_to(Guided& guided, State state) {
  guided.acquire();
  Object& object = *guided.object;
  switch (state) {
    case kInit:
    case kLookingUp:
    case kCreating:
    case kAvailable:
    case kActive:
      break;
    case kInvalidating:
      object.raise(Event::kInvalidate);
      break;
    case kUpdating:
      object.raise(Event::kUpdate);
      break;
    case kLcDying:
      guided.world.backend->fail_finds = true;
      break;
    case kAbortInit:
      object.raise(Event::kRelease);
      break;
    case kDying:
    case kReleasing:
      guided.world.settle();
      object.raise(Event::kRelease);
      break;
    case kRecycling:
      guided.world.settle();
      object.raise(Event::kRetire);
      break;
    case kWithdrawing:
    case kDead:
      guided.world.settle();
      object.raise(Event::kWithdraw);
      break;
  }
}

bool is_terminal(Event event) { return (bit(event) & kTerminalEvents) != 0; }

}  // namespace

TEST_CASE("every event in every state is decided as the specification says") {
  for (const Expected& row : kGrid) {
    for (std::size_t e = 0; e < kEvents; ++e) {
      const Event event = static_cast<Event>(e);
      INFO(to_text(row.state) << " x " << to_text(event));
      const Decision decision = decide(row.state, event, row.when);
      if (row.next[e] == keep) {
        CHECK(decision.kind == Decision::Kind::kRemember);
      } else {
        CHECK(decision.kind == Decision::Kind::kMove);
        CHECK(decision.next == row.next[e]);
      }
    }
  }
}

TEST_CASE("an object driven into each state and given each event goes where the grid says") {
  for (const Expected& row : kGrid) {
    // DYING that is held: below. INIT is where an object waits before anything: raised before it
    // runs.
    if (row.state == kDying && row.when == When::kBusy) continue;
    for (std::size_t e = 0; e < kEvents; ++e) {
      const Event event = static_cast<Event>(e);
      INFO(to_text(row.state) << " x " << to_text(event));
      Guided guided(row.state, [&](Object& object) { object.raise(event); });
      lead_to(guided, row.state);
      if (row.state == kInit) guided.object->raise(event);
      guided.world.settle();

      const std::vector<State>& states = guided.trail.states;
      REQUIRE((row.state == kInit || guided.was_there));
      if (row.next[e] != keep) {
        // Among the terminal events the one that led here may be as strong; what the grid says of
        // this event alone is then covered by the decision itself.
        const bool dying_clear = row.state == kDying;
        if (!dying_clear) CHECK(guided.trail.holds(row.next[e]));
        if (row.state != kInit && !dying_clear) {
          // Straight on: a work state is left for it at once, by way of the wait state behind it at
          // most.
          CHECK((guided.trail.behind(row.state) == row.next[e] ||
                 guided.trail.behind(row.state, 2) == row.next[e]));
        }
      } else if (!guided.object->is_dead()) {
        // Remembered: what it means happens later, if it means anything to a living object.
        const Events events = guided.object->figures().events;
        const bool done = (event == Event::kUpdate && guided.trail.holds(kUpdating)) ||
                          (event == Event::kInvalidate && guided.trail.holds(kInvalidating));
        CHECK(((events & bit(event)) != 0 || done));
        CHECK_FALSE(is_terminal(event));
      }
      if (is_terminal(event)) CHECK(guided.object->is_dead());
      CHECK((states.empty() || table_of(states.back()).kind == StateKind::kWait));
      CHECK(guided.object->is_idle());
    }
  }
}

TEST_CASE("the terminal events in DYING: retire beats withdraw beats release beats error") {
  const std::vector<std::pair<Event, State>> order = {{Event::kError, kWithdrawing},
                                                      {Event::kRelease, kReleasing},
                                                      {Event::kWithdraw, kWithdrawing},
                                                      {Event::kRetire, kRecycling}};
  for (unsigned set = 1; set < 16; ++set) {
    Guided guided(kDead, [](Object&) {});
    guided.acquire();
    guided.world.settle();
    State expected = kDead;
    for (unsigned i = 0; i < 4; ++i) {
      if (!(set & (1u << i))) continue;
      guided.object->raise(order[i].first);
      expected = order[i].second;
    }
    guided.world.settle();
    INFO("set " << set);
    CHECK(guided.trail.behind(kDying) == expected);
    CHECK(guided.object->is_dead());
  }
}

TEST_CASE("an object that something holds stays in DYING and goes when it is cleared") {
  Guided guided(kDead, [](Object&) {});
  guided.acquire();
  guided.world.settle();
  NotedOperation operation;
  REQUIRE(guided.world.fs.submit(guided.cookie, operation) == Submitted::kNow);
  guided.object->raise(Event::kRelease);
  guided.world.settle();
  CHECK(guided.object->state() == kDying);
  CHECK(guided.object->figures().mask == bit(Event::kCleared));
  for (const Event event : {Event::kUpdate, Event::kInvalidate, Event::kError, Event::kRequeue}) {
    guided.object->raise(event);
    guided.world.settle();
    CHECK(guided.object->state() == kDying);
  }
  guided.object->raise(Event::kCleared);  // a false one: looked at again, and held still
  guided.world.settle();
  CHECK(guided.object->state() == kDying);
  guided.world.fs.complete(operation);
  guided.world.settle();
  CHECK(guided.object->is_dead());
}

TEST_CASE("the event masks of sleeping objects are those of their tables") {
  Guided guided(kDead, [](Object&) {});
  guided.acquire();
  CHECK(guided.object->figures().mask == 0xf1);  // INIT: REQUEUE and the terminal ones
  guided.world.settle();
  CHECK(guided.object->state() == kActive);
  CHECK(guided.object->figures().mask == 0xf6);
  guided.object->raise(Event::kRelease);
  guided.world.settle();
  CHECK(guided.object->figures().mask == 0);
}

namespace {

// With LARDER_WRITE_DOCS=1 the file is written first.
std::string page_of_docs(const std::string& name, const std::string& text) {
  const std::string path = std::string(LARDER_SOURCE_ROOT) + "/docs/" + name;
  if (std::getenv("LARDER_WRITE_DOCS") != nullptr) std::ofstream(path) << text;
  std::ifstream in(path);
  std::ostringstream page;
  page << in.rdbuf();
  return page.str();
}

}  // namespace

TEST_CASE("docs/object-states.md and its picture are what the tables say") {
  INFO("LARDER_WRITE_DOCS=1 writes them");
  CHECK(page_of_docs("object-states.md", object_states_page()) == object_states_page());
  CHECK(page_of_docs("object-states.svg", object_states_picture()) == object_states_picture());
}

TEST_CASE("the page lists every state, every event and every cell of the grid") {
  const std::string page = object_states_page();
  for (const Expected& row : kGrid) {
    std::string line = "| " + std::string(to_text(row.state));
    if (row.state == kDying) line += row.when == When::kBusy ? " (held)" : " (clear)";
    line += " |";
    for (const State next : row.next) {
      line += next == keep ? " - |" : " " + std::string(to_text(next)) + " |";
    }
    INFO(line);
    CHECK(page.find("\n" + line + "\n") != std::string::npos);
  }
}
