// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cache/driven_world.h"
#include "cache/operation.h"
#include "cache/probe.h"

namespace larder::test {

using namespace larder::cache;

std::string_view to_text(Do what) {
  static constexpr std::array<std::string_view, kDos> kNames = {
      "machine",          "answer",       "acquire",    "relinquish", "retire",    "acquire-index",
      "relinquish-index", "retire-index", "invalidate", "update",     "rename",    "rename-over",
      "disable",          "enable",       "submit",     "complete",   "abort",     "cancel",
      "attr-changed",     "faults",       "absent",     "withdraw",   "come-back", "time"};
  return kNames[static_cast<std::size_t>(what)];
}

DrivenWorld::DrivenWorld(const DrivenOptions& options)
    : options_(options),
      budget_(options.budget),
      events_left_(options.events),
      indices_(options.indices),
      files_(options.files),
      renamed_(options.files) {
  world_.fs.index_of(world_.netfs);
  world_.settle();
  tree_ = World::tree_of(world_.netfs).shared_from_this();
  tree_->steps_per_run = options.steps_per_run;
  act({Do::kAcquireIndex, 0});
  for (const Action& action : options.beginning) act(action);
  if (options.begins_settled) world_.settle();
  events_left_ = options.events;
}

DrivenWorld::~DrivenWorld() { wind_down(); }

unsigned& DrivenWorld::left(Do what) {
  for (const std::vector<Do>& kinds : options_.either) {
    if (std::find(kinds.begin(), kinds.end(), what) != kinds.end()) what = kinds.front();
  }
  return budget_[static_cast<std::size_t>(what)];
}

bool DrivenWorld::is_operation(const Work& work) const {
  return std::any_of(operations_.begin(), operations_.end(),
                     [&](const auto& operation) { return &operation->work == &work; });
}

// The first of them.
std::vector<Action> DrivenWorld::runs_of_operations() const {
  for (std::size_t i = 0; i < world_.machine.size(); ++i) {
    if (is_operation(*world_.machine.at(i))) return {{Do::kMachine, static_cast<std::uint8_t>(i)}};
  }
  for (std::size_t i = 0; i < world_.answer.size(); ++i) {
    if (is_operation(*world_.answer.at(i))) return {{Do::kAnswer, static_cast<std::uint8_t>(i)}};
  }
  return {};
}

// The first of them.
std::vector<Action> DrivenWorld::steps_above() const NO_THREAD_SAFETY_ANALYSIS {
  for (std::size_t i = 0; i < world_.machine.size(); ++i) {
    Work& work = *world_.machine.at(i);
    for (const auto& [id, object] : tree_->objects) {
      const Cookie& cookie = object->cookie();
      const bool is_above = !cookie.parent || !cookie.parent->parent;
      if (&work == &Probe(*object).work() && is_above)
        return {{Do::kMachine, static_cast<std::uint8_t>(i)}};
    }
  }
  return {};
}

std::vector<Action> DrivenWorld::possible() {
  std::vector<Action> actions;
  if (options_.leaves_out_mirrors) actions = runs_of_operations();
  if (actions.empty() && options_.above_at_once) actions = steps_above();
  if (!actions.empty()) return actions;
  const auto add = [&](Do what, std::size_t number) {
    actions.push_back({what, static_cast<std::uint8_t>(number)});
  };
  const auto may = [&](Do what) { return left(what) > 0 && events_left_ > 0; };
  for (std::size_t i = 0; i < world_.machine.size(); ++i) add(Do::kMachine, i);
  for (std::size_t i = 0; i < world_.answer.size(); ++i) add(Do::kAnswer, i);
  for (unsigned i = 0; i < files_.size(); ++i) {
    const CookieRef& file = files_[i];
    if (!file) {
      if (may(Do::kAcquire) && index_of_file(i)) add(Do::kAcquire, i);
      continue;
    }
    for (const Do what : {Do::kRelinquish, Do::kRetire, Do::kInvalidate, Do::kUpdate, Do::kRename,
                          Do::kAttrChanged}) {
      if (may(what)) add(what, i);
    }
    if (may(Do::kRenameOver) && files_.size() > 1) add(Do::kRenameOver, i);
    const Do turn = file->has(kCookieEnabled) ? Do::kDisable : Do::kEnable;
    if (may(turn)) add(turn, i);
    if (may(Do::kSubmit) && operations_.size() < options_.operations) add(Do::kSubmit, i);
  }
  for (unsigned i = 0; i < indices_.size(); ++i) {
    if (!indices_[i]) {
      if (may(Do::kAcquireIndex) && (i == 0 || indices_[i - 1])) add(Do::kAcquireIndex, i);
    } else if (indices_[i]->n_children == 0) {
      if (may(Do::kRelinquishIndex)) add(Do::kRelinquishIndex, i);
      if (may(Do::kRetireIndex)) add(Do::kRetireIndex, i);
    }
  }
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    if (operations_[i]->may_complete()) {
      add(Do::kComplete, i);
      if (may(Do::kAbort)) add(Do::kAbort, i);
    }
    if (may(Do::kCancel) && operations_[i]->state == OperationState::kPending) add(Do::kCancel, i);
  }
  for (const Do what : {Do::kFaults, Do::kAbsent, Do::kTime}) {
    if (may(what)) add(what, 0);
  }
  if (may(Do::kWithdraw) && !withdrawing_) add(Do::kWithdraw, 0);
  if (withdrawing_ && options_.comes_back) {
    MutexLock lock(tree_->mutex);
    if (tree_->objects.empty()) add(Do::kComeBack, 0);
  }
  return actions;
}

void DrivenWorld::act(Action action) {
  const unsigned n = action.number;
  if (unsigned& budget = left(action.what); budget > 0) --budget;
  const bool is_counted = action.what != Do::kMachine && action.what != Do::kAnswer &&
                          action.what != Do::kComplete && action.what != Do::kComeBack;
  if (is_counted && events_left_ > 0) --events_left_;
  FsCache& fs = world_.fs;
  const auto key_of = [&](unsigned file) { return std::string(1, static_cast<char>('a' + file)); };
  switch (action.what) {
    case Do::kMachine:
      run_machine(n);
      break;
    case Do::kAnswer:
      world_.answer.run_at(n);
      break;
    case Do::kAcquire:
      files_[n] = world_.data(index_of_file(n), key_of(n));
      renamed_[n] = false;
      break;
    case Do::kRelinquish:
      relinquish(std::exchange(files_[n], nullptr), Retire::kNo);
      break;
    case Do::kRetire:
      is_outdated(files_[n]);
      relinquish(std::exchange(files_[n], nullptr), Retire::kYes);
      break;
    case Do::kAcquireIndex:
      indices_[n] = world_.index(n == 0 ? world_.netfs : indices_[n - 1], "p" + std::to_string(n));
      break;
    case Do::kRelinquishIndex:
      fs.relinquish(std::exchange(indices_[n], nullptr), Retire::kNo);
      break;
    case Do::kRetireIndex:
      fs.relinquish(std::exchange(indices_[n], nullptr), Retire::kYes);
      break;
    case Do::kInvalidate:
      is_outdated(files_[n]);
      fs.invalidate(files_[n], bytes_of("v2"), ByteCount{1});
      break;
    case Do::kUpdate:
      fs.update(files_[n], bytes_of("u"), ByteCount{1});
      break;
    case Do::kRename:
      renamed_[n] = !renamed_[n];
      fs.rename(files_[n], indices_.back() ? indices_.back() : indices_.front(),
                bytes_of(renamed_[n] ? "to-" + key_of(n) : key_of(n)));
      break;
    case Do::kRenameOver:
      fs.rename(files_[n], index_of_file(n),
                bytes_of(key_of((n + 1) % static_cast<unsigned>(files_.size()))));
      break;
    case Do::kDisable:
      fs.disable(files_[n], left(Do::kDisable) % 2 == 0 ? Retire::kNo : Retire::kYes);
      break;
    case Do::kEnable:
      fs.enable(files_[n], bytes_of("v3"), ByteCount{1});
      break;
    case Do::kSubmit:
      submit(n);
      break;
    case Do::kComplete:
      operations_[n]->completed = true;
      fs.complete(*operations_[n]);
      break;
    case Do::kAbort:
      operations_[n]->completed = true;
      fs.abort(*operations_[n]);
      break;
    case Do::kCancel:
      operations_[n]->taken_back = fs.cancel(*operations_[n]);
      break;
    case Do::kAttrChanged:
      static_cast<void>(fs.attr_changed(files_[n], ByteCount{7}));
      break;
    case Do::kFaults:
      world_.backend->fail_finds = world_.backend->fail_creates = !world_.backend->fail_finds;
      break;
    case Do::kAbsent:
      world_.answer_to_check =
          world_.answer_to_check == AuxCheck::kOkay ? AuxCheck::kObsolete : AuxCheck::kOkay;
      break;
    case Do::kWithdraw:
      begin_withdrawal();
      break;
    case Do::kComeBack: {
      fs.withdraw();
      auto made = std::make_unique<ScriptedBackend>();
      world_.backend = made.get();
      static_cast<void>(fs.add_backend(std::move(made)));
      withdrawing_ = false;
      break;
    }
    case Do::kTime:
      world_.clock.advance(60 * kSecond);
      break;
  }
}

// One step of a machine, or the work of an operation.
void DrivenWorld::run_machine(std::size_t number) {
  Work& work = *world_.machine.at(number);
  ObjectPtr object = Probe::machine_of(work);
  const bool may_move = !object;
  if (!object) object = operation_of(work).object;
  world_.backend->at_work = place_of(*object);
  world_.machine.run_at(number);
  if (object->is_dead() && world_.backend->fail_finds) is_lost(object->cookie());
  if (!may_move || object->is_dead()) return;
  const std::string before = std::exchange(world_.backend->at_work, place_of(*object));
  if (before == world_.backend->at_work) return;
  world_.backend->outdated.erase(world_.backend->at_work);
  if (world_.backend->outdated.erase(before) > 0)
    world_.backend->outdated.insert(world_.backend->at_work);
}

std::string DrivenWorld::place_of(const Object& object) {
  MutexLock lock(tree_->mutex);
  return place_locked(object);
}

std::string DrivenWorld::place_locked(const Object& object) {
  const ObjectPtr& parent = object.parent_locked();
  return parent ? fmt::format("{}/{}", place_locked(*parent), object.place().key) : "";
}

// A store that fails cannot be told; of the object's place, that is lost where its cookie is not
// there to tell it later.
void DrivenWorld::is_lost(const Cookie& cookie) {
  MutexLock tree_lock(tree_->mutex);
  const bool is_nobodys = cookie.has(kCookieRelinquished) || cookie.has(kCookieReplaced) ||
                          place_locked(cookie) != world_.backend->at_work;
  if (is_nobodys) world_.backend->outdated.erase(world_.backend->at_work);
}

// Where nothing can be made that would do what is owed, it stays undone: what lies above is dying
// itself, or there is no cache.
void DrivenWorld::relinquish(CookieRef file, Retire retire) {
  const Cookie& cookie = *file;
  const CookieRef keep = file;
  world_.fs.relinquish(std::move(file), retire);
  if (!cookie.has(kCookieOwesInvalidation)) return;
  MutexLock tree_lock(tree_->mutex);
  if (withdrawing_ || is_dying_above_locked(cookie))
    world_.backend->outdated.erase(place_locked(cookie));
}

bool DrivenWorld::is_dying_above_locked(const Cookie& cookie) {
  for (const Cookie* at = cookie.parent.get(); at != nullptr; at = at->parent.get()) {
    for (const auto& [id, object] : tree_->objects) {
      if (&object->cookie() == at && Probe(*object).is_dying()) return true;
    }
  }
  return false;
}

std::string DrivenWorld::place_locked(const Cookie& cookie) {
  return cookie.parent ? fmt::format("{}/{}", place_locked(*cookie.parent), cookie.key.view()) : "";
}

// What is stored of the content of `cookie`, from here on.
void DrivenWorld::is_outdated(const CookieRef& cookie) {
  MutexLock tree_lock(tree_->mutex);
  if (cookie->has(kCookieReplaced)) return;
  MutexLock lock(cookie->mutex);
  const Object* const object = cookie->object();
  world_.backend->outdated.insert(object ? place_locked(*object) : place_locked(*cookie));
}

// The first operation is a warm read, the next a barrier, then one that is posted, ...
void DrivenWorld::submit(unsigned file) {
  static constexpr std::array<std::pair<OperationType, Sharing>, 4> kShapes = {{
      {OperationType::kMyThread, Sharing::kShareable},
      {OperationType::kSlow, Sharing::kExclusive},
      {OperationType::kFast, Sharing::kShareable},
      {OperationType::kMyThread, Sharing::kExclusive},
  }};
  const auto [type, sharing] = kShapes[operations_.size() % kShapes.size()];
  operations_.push_back(std::make_unique<Noted>(
      type, sharing, sharing == Sharing::kExclusive ? OperationKind::kFill : OperationKind::kRead));
  Noted& operation = *operations_.back();
  operation.was_submitted = true;
  operation.answer = world_.fs.submit(files_[file], operation);
}

// As FsCache::withdraw begins; that waits for the end, here somebody else takes the steps.
void DrivenWorld::begin_withdrawal() {
  withdrawing_ = true;
  std::vector<ObjectPtr> all;
  {
    MutexLock lock(tree_->mutex);
    tree_->caches.front()->withdrawing = true;
    tree_->n_caches.fetch_sub(1);
    for (const auto& [id, object] : tree_->objects) all.emplace_back(object);
  }
  for (const ObjectPtr& object : all) object->raise(Event::kWithdraw);
}

std::string DrivenWorld::wind_down() {
  world_.backend->fail_finds = world_.backend->fail_creates = false;
  const auto settle = [&] {
    for (bool more = true; more;) {
      world_.settle();
      more = false;
      for (std::size_t i = 0; i < operations_.size(); ++i) {
        if (!operations_[i]->may_complete()) continue;
        act({Do::kComplete, static_cast<std::uint8_t>(i)});
        more = true;
      }
    }
  };
  settle();
  for (CookieRef& file : files_) {
    if (file) world_.fs.relinquish(std::exchange(file, nullptr), Retire::kNo);
  }
  settle();
  for (auto at = indices_.rbegin(); at != indices_.rend(); ++at) {
    if (*at) world_.fs.relinquish(std::exchange(*at, nullptr), Retire::kNo);
  }
  settle();
  MutexLock lock(tree_->mutex);
  for (Object* const object : tree_->lingering) {
    return fmt::format("object {:x} (at {}, cookie {}, {}) lingers for ever", object->id(),
                       object->place().key, object->cookie().key.view(),
                       cache::to_text(object->state()));
  }
  for (const auto& [id, object] : tree_->objects) {
    if (object->cookie().parent && object->cookie().parent->parent) {
      return fmt::format("object {:x} ({}, {}) does not die", id, object->place().key,
                         cache::to_text(object->state()));
    }
  }
  for (const auto& operation : operations_) {
    const Noted& o = *operation;
    const int fates =
        (o.answer == Submitted::kNever) + o.runs_here() + o.runs + o.cancels + o.taken_back;
    if (fates != 1) return "an operation has one fate";
  }
  if (tree_->operations_held.load() != 0) return "room that was taken is given back";
  if (tree_->counters.ops_pending.value() != 0) return "what pended has ended";
  return {};
}

}  // namespace larder::test
