// SPDX-License-Identifier: Apache-2.0
#include "cache/driven_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "cache/operation.h"

namespace larder::cache {

// Friend of Object: sees all of it.
struct Probe {
  explicit Probe(Object& object) : o(object) {}
  static Object& object_of(Work& work) { return static_cast<Object&>(work); }

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
      renamed_(options.files),
      was_acquired_(options.files) {
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

std::vector<Action> DrivenWorld::possible() {
  std::vector<Action> actions;
  if (options_.leaves_out_mirrors) actions = runs_of_operations();
  if (!actions.empty()) return actions;
  const auto add = [&](Do what, std::size_t number) {
    actions.push_back({what, static_cast<std::uint8_t>(number)});
  };
  const auto may = [&](Do what) { return left(what) > 0 && events_left_ > 0; };
  const auto is_mirrored = [&](std::size_t file) {
    return options_.leaves_out_mirrors && file > 0 && !was_acquired_[file - 1];
  };
  for (std::size_t i = 0; i < world_.machine.size(); ++i) add(Do::kMachine, i);
  for (std::size_t i = 0; i < world_.answer.size(); ++i) add(Do::kAnswer, i);
  for (unsigned i = 0; i < files_.size(); ++i) {
    const CookieRef& file = files_[i];
    if (!file) {
      if (may(Do::kAcquire) && index_of_file(i) && !is_mirrored(i)) add(Do::kAcquire, i);
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
  if (withdrawing_) {
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
      world_.machine.run_at(n);
      break;
    case Do::kAnswer:
      world_.answer.run_at(n);
      break;
    case Do::kAcquire:
      files_[n] = world_.data(index_of_file(n), key_of(n));
      renamed_[n] = false;
      was_acquired_[n] = true;
      break;
    case Do::kRelinquish:
      fs.relinquish(std::exchange(files_[n], nullptr), Retire::kNo);
      break;
    case Do::kRetire:
      fs.relinquish(std::exchange(files_[n], nullptr), Retire::kYes);
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
      fs.disable(files_[n], budget_[static_cast<std::size_t>(Do::kDisable)] % 2 == 0
                                ? Retire::kNo
                                : Retire::kYes);
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

// -- what must hold -------------------------------------------------------------------------------

std::string DrivenWorld::rule_of_object(Object& object) NO_THREAD_SAFETY_ANALYSIS {
  const Object::Figures f = object.figures_locked();
  const Probe probe(object);
  std::uint32_t children = 0, pins = 0;
  bool child_queued = false;
  for (const auto& [id, other] : tree_->objects) {
    if (other->parent_locked().get() == &object) {
      ++children;
      pins += Probe(*other).pins_parent();
    }
    for (const Object* at = other; at != nullptr; at = at->parent_locked().get()) {
      if (at->parent_locked().get() == &object) child_queued |= Probe(*other).is_queued();
    }
  }
  if (f.n_children != children) return "n_children counts the children that are not dead";
  if (f.n_obj_ops != pins) return "n_obj_ops counts the children that look up";

  std::vector<OperationFigures> listed;
  object.list_operations(listed);
  std::uint32_t in_progress = 0, exclusive = 0, exclusive_going = 0, first_pending = ~0u,
                last_going = 0;
  for (const OperationFigures& o : listed) {
    const bool going = o.state == OperationState::kInProgress;
    in_progress += going;
    exclusive += o.sharing == Sharing::kExclusive;
    exclusive_going += going && o.sharing == Sharing::kExclusive;
    if (going) last_going = std::max(last_going, o.id);
    if (!going) first_pending = std::min(first_pending, o.id);
  }
  if (f.n_ops != listed.size() + f.n_obj_ops)
    return "n_ops counts what was taken and has not ended";
  if (f.n_in_progress != in_progress) return "n_in_progress counts what has the go";
  if (f.n_exclusive != exclusive) return "n_exclusive counts the exclusive ones";
  if (exclusive_going > 0 && in_progress != 1) return "an exclusive operation is alone";
  if (last_going > first_pending) return "first come, first served";
  const bool is_open = probe.gate() == static_cast<unsigned>(Gate::kOpen);
  const bool pends = first_pending != ~0u;
  if (pends && is_open && in_progress == 0) return "a pending operation waits for something";
  if (pends && probe.is_dying()) return "nothing pends on a dying object";
  if (is_open && !probe.is_up()) return "the gate of what is not up is not open";
  if ((probe.gate() == static_cast<unsigned>(Gate::kRefuse)) != probe.is_dying()) {
    return "a dying object refuses";
  }
  if (probe.is_dying() != (f.state >= State::kDying)) return "dying is a matter of the state";

  const bool lives = f.state > State::kInit && f.state < State::kDying;
  if (lives && object.parent_locked() && !probe.is_up() && !probe.pins_parent()) {
    return "who looks up holds the parent";
  }
  if (object.parent_locked()) {
    if (object.parent_locked()->is_dead()) return "parents go behind their children";
    if (lives && object.parent_locked()->state() < State::kAvailable) {
      return "parents come before their children";
    }
  }
  if ((f.events & f.mask) != 0 && !probe.is_queued()) return "an event that is asked for is seen";
  if (f.mask == 0 && !probe.is_queued()) return "a machine that has begun goes on";
  if (!probe.is_queued()) {
    if (table_of(f.state).kind != StateKind::kWait) return "only a wait state sleeps";
    if (probe.open_mask() != f.mask) return "the mask of a sleeper is its tables'";
    // An index that nobody needs may sleep in INIT as long as it likes.
    const bool is_needed = !probe.dependents().empty() || !object.cookie().is_index();
    if (f.state == State::kInit && is_needed && probe.predecessor() == nullptr && !child_queued) {
      if (!object.parent_locked()) return "what is needed comes up";
      const auto waiting = Probe(*object.parent_locked()).dependents();
      if (std::find(waiting.begin(), waiting.end(), &object) == waiting.end()) {
        return "who sleeps in INIT waits for somebody";
      }
    }
    if (f.state == State::kDying && f.n_ops == 0 && f.n_children == 0) {
      return "a dying object that nothing holds goes";
    }
  }
  if (const Object* before = probe.predecessor()) {
    if (before->is_dead()) return "the holder of a place is not dead";
    if (Probe(const_cast<Object&>(*before)).successor() != &object) return "a line has no branches";
    if (!(before->place() == object.place())) return "a line is of one place";
    if (f.state > State::kInit && f.state < State::kDying) return "one at a time has a place";
  }
  if (probe.has_empty_rare()) return "what is rare is not kept";

  // Its cookie has it, or it lingers.
  Cookie& cookie = object.cookie();
  const std::vector<ObjectPtr> of_cookie = cookie.all_objects();
  const bool is_attached =
      std::find(of_cookie.begin(), of_cookie.end(), &object) != of_cookie.end();
  const auto last = tree_->lingering.find(object.place());
  const Cookie* const above =
      object.parent_locked() ? &object.parent_locked()->cookie() : cookie.parent.get();
  if (!is_attached || object.place().key != cookie.key.view() || above != cookie.parent.get()) {
    if (last == tree_->lingering.end()) return "what its cookie let go of lingers";
    const Object* at = *last;
    while (at != nullptr && at != &object) at = Probe(const_cast<Object&>(*at)).predecessor();
    if (at == nullptr) return "what lingers is in the line of its place";
  }
  return {};
}

std::string DrivenWorld::rule_of_cookie(Cookie& cookie) {
  const std::vector<ObjectPtr> objects = cookie.all_objects();
  std::set<const Cache*> caches;
  bool all_up = true;
  for (const ObjectPtr& object : objects) {
    if (&object->cookie() != &cookie) return "a cookie has its own objects";
    if (object->is_dead()) return "a cookie has no dead object";
    if (!caches.insert(&object->cache()).second) return "a cookie has one object in a cache";
    all_up &= Probe(*object).is_up();
  }
  if (objects.empty() && (cookie.has(kCookieLookingUp) || cookie.has(kCookieInvalidating))) {
    return "nobody waits for an object that is not there";
  }
  if (!objects.empty() && !cookie.has(kCookieEnabled)) return "what is disabled caches nothing";
  if (!cookie.is_index() && objects.size() > 1) return "data have one object";
  if (cookie.has(kCookieInvalidating)) {
    const Object::Figures f = objects.front()->figures_locked();
    if ((f.events & bit(Event::kInvalidate)) == 0 && f.state != State::kInvalidating &&
        f.state < State::kDying) {
      return "an invalidation is under way until it is done";
    }
  }
  return {};
}

std::string DrivenWorld::broken_rule() {
  MutexLock lock(tree_->mutex);
  for (const auto& [id, object] : tree_->objects) {
    if (object->is_dead()) return "a dead object is on no list";
    if (std::string broken = rule_of_object(*object); !broken.empty()) {
      return fmt::format("object {:x} ({}): {}", id, cache::to_text(object->state()), broken);
    }
  }
  for (const Object* object : tree_->lingering) {
    if (object->is_dead()) return "what is dead does not linger";
  }
  for (const CookieRef& cookie : tree_->cookies) {
    if (std::string broken = rule_of_cookie(*cookie); !broken.empty()) {
      return fmt::format("cookie {}: {}", cookie->key.view(), broken);
    }
  }
  for (const auto& operation : operations_) {
    const Noted& o = *operation;
    const int fates =
        (o.answer == Submitted::kNever) + o.runs_here() + o.runs + o.cancels + o.taken_back;
    if (fates > 1) return "an operation has one fate";
  }
  return {};
}

// -- telling states apart -------------------------------------------------------------------------

std::string DrivenWorld::fingerprint() NO_THREAD_SAFETY_ANALYSIS {
  MutexLock lock(tree_->mutex);
  std::string text;
  const auto put_one = [&text]<class T>(const T& value) {
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      text += std::string_view(value);
      text += '\0';
    } else {
      const auto number = static_cast<std::uint32_t>(value);
      text.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
  };
  const auto put = [&put_one](const auto&... values) { (put_one(values), ...); };
  std::map<const Object*, unsigned> numbers;
  for (const auto& [id, object] : tree_->objects) {
    numbers.emplace(object, static_cast<unsigned>(numbers.size()));
  }
  const auto number = [&](const Object* object) {
    const auto at = numbers.find(object);
    return at == numbers.end() ? 99u : at->second;
  };

  for (const auto& [id, object] : tree_->objects) {
    const Object::Figures f = object->figures_locked();
    const Probe p(*object);
    const std::vector<ObjectPtr> of_cookie = object->cookie().all_objects();
    put(f.key, number(object->parent_locked().get()), static_cast<unsigned>(f.state), p.gate(),
        p.is_up(), p.pins_parent(), p.out_of_band(), p.has_handle(), f.work_state, f.events, f.mask,
        f.n_children, f.n_ops, f.n_obj_ops, f.n_in_progress, f.n_exclusive,
        object->cookie().flags.load(), number(p.predecessor()), p.watchers(),
        std::find(of_cookie.begin(), of_cookie.end(), object) != of_cookie.end());
    for (const Object* waiting : p.dependents()) put(number(waiting));
    text += '\n';
  }
  for (const auto* cookies : {&indices_, &files_}) {
    for (const CookieRef& cookie : *cookies) {
      text += '\n';
      if (!cookie) continue;
      MutexLock cookie_lock(cookie->mutex);
      const bool is_early = static_cast<std::int32_t>(mono_ms(*tree_) - cookie->retry_mono_ms) < 0;
      put(cookie->key.view(), cookie->flags.load(),
          cookie->object() ? number(cookie->object()) : 98u, cookie->aux.view(), cookie->failures,
          cookie->retry_mono_ms != 0 && is_early);
    }
  }
  for (const auto& o : operations_) {
    put(static_cast<unsigned>(o->state.load()), static_cast<unsigned>(o->answer), o->runs,
        o->cancels, o->completed, o->taken_back, o->object ? number(o->object.get()) : 98u);
  }
  for (const StepQueue* queue : {&world_.machine, &world_.answer}) {
    std::vector<unsigned> waiting;
    for (std::size_t i = 0; i < queue->size(); ++i) {
      Work& work = *queue->at(i);
      unsigned name = 1000;
      for (std::size_t n = 0; n < operations_.size(); ++n) {
        if (&operations_[n]->work == &work) name = 1001 + static_cast<unsigned>(n);
      }
      for (const auto& [object, n] : numbers) {
        if (&Probe::object_of(work) == object) name = n;
      }
      waiting.push_back(name);
    }
    std::sort(waiting.begin(), waiting.end());
    text += '\n';
    for (const unsigned name : waiting) put(name);
  }
  text += '\n';
  for (const auto& [key, kept] : world_.backend->kept) put(key, kept.aux);
  put(world_.backend->fail_finds, static_cast<unsigned>(world_.answer_to_check), withdrawing_);
  for (const unsigned budget : budget_) put(budget);
  put(events_left_);
  for (const bool was : was_acquired_) put(was);
  return text;
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
