// SPDX-License-Identifier: Apache-2.0
// A world that is driven by actions from outside, one at a time: a call of the netfs, a fault, a
// step of one worker. A machine takes one step at a time (Tree::steps_per_run), so a sequence of
// actions is an interleaving of all threads; whoever chooses them (every order of them in
// exploration_test.cc, a seed in random_worlds_test.cc) runs production code above the queues.
//
// What is stored is of before an invalidation until the store has been told: its keys are noted,
// and nothing below them may be served.
//
// The tree: netfs - index 0 - index 1 ... each with files below it. What must hold in every state
// is broken_rule(): it says what does not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cache/world.h"

namespace larder::test {

enum class Do : std::uint8_t {
  kMachine,  // runs the piece of work of that number in the queue
  kAnswer,
  kAcquire,  // file n
  kRelinquish,
  kRetire,
  kAcquireIndex,
  kRelinquishIndex,
  kRetireIndex,
  kInvalidate,
  kUpdate,
  kRename,      // file n to a key of its own below the last index, and back
  kRenameOver,  // file n to the place of the next
  kDisable,
  kEnable,
  kSubmit,  // the next operation, to file n
  kComplete,
  kAbort,
  kCancel,
  kAttrChanged,
  kFaults,    // the store's look-ups and creations fail, or do so no longer
  kAbsent,    // the next look-up finds an obsolete version, or the right one
  kWithdraw,  // begins
  kComeBack,  // the withdrawn cache's last object is gone; an empty one comes
  kTime,      // a minute passes
};
inline constexpr std::size_t kDos = 24;
std::string_view to_text(Do what);

struct Action {
  Do what;
  std::uint8_t number;
};

struct DrivenOptions {
  unsigned indices = 1;
  unsigned files = 2;
  unsigned operations = 2;
  unsigned steps_per_run = 1;
  // How often each may be done; machine and answer steps as often as there are any.
  std::array<unsigned, kDos> budget{};
  // Kinds that are one for the budget, which is that of the first: any of them as often in all.
  std::vector<std::vector<Do>> either;
  // How many in all, whatever they are. Steps, the ends of operations, and a cache that comes back
  // are not counted.
  unsigned events = ~0u;
  // Done before all else, and until no worker has anything to do.
  std::vector<Action> beginning;
  bool begins_settled = false;
  // For who tries every order: leaves out those that come to the same. Two files are each other's
  // mirror images, so a state and the one with their names exchanged are one. And the run of an
  // operation that a queue holds notes that it ran and touches nothing else, so it makes no
  // difference when that is: at once.
  bool leaves_out_mirrors = false;
  // The objects of the root and of the netfs take their steps at once, before all else can happen:
  // what may come between a parent and its child is tried with those below. So a withdrawal, which
  // takes all of them down, and a cache that comes back can meet everything else.
  bool above_at_once = false;
  bool comes_back = true;  // a withdrawn cache may
  // For a test of the tests: a rule of its own, that no object comes to this state.
  std::optional<cache::State> never;
};

// Two states are the same where these are; 128 bits, since the texts of millions are too long.
using Fingerprint = std::pair<std::uint64_t, std::uint64_t>;

// With the names of the two files exchanged?
enum class Mirror : std::uint8_t { kNo, kYes };

class DrivenWorld {
 public:
  explicit DrivenWorld(const DrivenOptions& options);
  ~DrivenWorld();

  std::vector<Action> possible();
  bool has_work() const { return world_.machine.size() + world_.answer.size() > 0; }
  void act(Action action);
  // Empty where all is well.
  std::string broken_rule();
  // What the world will do from here on depends on this alone.
  Fingerprint fingerprint();
  // Ends everything in order; what is then left that should not be.
  std::string wind_down();

 private:
  struct Noted : NotedOperation {
    using NotedOperation::NotedOperation;
    cache::Submitted answer = cache::Submitted::kNever;
    bool was_submitted = false, completed = false, taken_back = false;
    bool runs_here() const {
      return answer == cache::Submitted::kNow && type == cache::OperationType::kMyThread;
    }
    bool may_complete() const { return !completed && !taken_back && (runs_here() || runs == 1); }
  };

  unsigned& left(Do what);
  bool is_operation(const Work& work) const;
  std::vector<Action> runs_of_operations() const;
  std::vector<Action> steps_above() const;
  cache::CookieRef& index_of_file(unsigned file) { return indices_[file % indices_.size()]; }
  void submit(unsigned file);
  void run_machine(std::size_t number);
  std::string place_of(const cache::Object& object);
  static std::string place_locked(const cache::Object& object);
  static std::string place_locked(const cache::Cookie& cookie);
  void is_lost(const cache::Cookie& cookie);
  bool is_dying_above_locked(const cache::Cookie& cookie);
  void relinquish(cache::CookieRef file, cache::Retire retire);
  void is_outdated(const cache::CookieRef& cookie);
  void begin_withdrawal();
  std::string state_text(Mirror mirror);
  std::string rule_of_object(cache::Object& object);
  std::string rule_of_cookie(cache::Cookie& cookie);

  const DrivenOptions options_;
  std::array<unsigned, kDos> budget_;
  unsigned events_left_;
  World world_;
  std::shared_ptr<cache::Tree> tree_;
  std::vector<cache::CookieRef> indices_, files_;
  std::vector<bool> renamed_;
  std::vector<std::unique_ptr<Noted>> operations_;
  bool withdrawing_ = false;
};

}  // namespace larder::test
