// SPDX-License-Identifier: Apache-2.0
// Telling the states of a driven world apart.
//
// The objects are numbered by their places, and in the line of one place by their age, so that two
// worlds that differ in which file came first are the same with the names of the files exchanged.
// What has no order is sorted: the works in a queue (any may be run next) and who waits for a
// parent.
#include <absl/hash/hash.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "cache/driven_world.h"
#include "cache/probe.h"

namespace larder::test {

using namespace larder::cache;

namespace {

struct Text {
  std::string bytes;

  void one(std::string_view value) {
    bytes += value;
    bytes += '\0';
  }
  template <class T>
  requires std::is_integral_v<T>
  void one(T value) {
    const auto number = static_cast<std::uint32_t>(value);
    bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  void put(const auto&... values) { (one(values), ...); }
  void sorted(std::vector<unsigned>& numbers) {
    std::sort(numbers.begin(), numbers.end());
    put(numbers.size());
    for (const unsigned number : numbers) put(number);
  }
};

// A kick that came while an object was coming up: it is remembered, and no later state asks for it.
Events never_asked_for(State state) {
  return state >= State::kAvailable ? bit(Event::kRequeue) : Events{0};
}

// The two files' keys are "a" and "b", or behind a rename "to-a" and "to-b".
std::string as_seen(std::string_view key, Mirror mirror) {
  std::string seen(key);
  const bool is_of_file = key.size() == 1 || key.starts_with("to-");
  if (mirror == Mirror::kYes && is_of_file) seen.back() = seen.back() == 'a' ? 'b' : 'a';
  return seen;
}

}  // namespace

Fingerprint DrivenWorld::fingerprint() {
  const auto of = [this](Mirror mirror) {
    const std::string text = state_text(mirror);
    return Fingerprint(absl::HashOf(1, text), absl::HashOf(2, text));
  };
  const Fingerprint plain = of(Mirror::kNo);
  return options_.leaves_out_mirrors && files_.size() == 2 ? std::min(plain, of(Mirror::kYes))
                                                           : plain;
}

std::string DrivenWorld::state_text(Mirror mirror) NO_THREAD_SAFETY_ANALYSIS {
  MutexLock lock(tree_->mutex);
  Text text;
  std::vector<std::pair<std::string, Object*>> objects;  // stays in the order of age in each place
  for (const auto& [id, object] : tree_->objects) {
    objects.emplace_back(as_seen(object->place().key, mirror), object);
  }
  std::stable_sort(objects.begin(), objects.end(),
                   [](const auto& one, const auto& other) { return one.first < other.first; });
  const auto number = [&](const Object* object) {
    const auto at = std::find_if(objects.begin(), objects.end(),
                                 [&](const auto& one) { return one.second == object; });
    return at == objects.end() ? 99u : static_cast<unsigned>(at - objects.begin());
  };

  for (const auto& [key, object] : objects) {
    const Object::Figures f = object->figures_locked();
    const Probe p(*object);
    const std::vector<ObjectPtr> of_cookie = object->cookie().all_objects();
    text.put(key, number(object->parent_locked().get()), static_cast<unsigned>(f.state), p.gate(),
             p.is_up(), p.pins_parent(), p.out_of_band(), p.has_handle(), f.work_state,
             f.events & ~never_asked_for(f.state), f.mask, f.n_children, f.n_ops, f.n_obj_ops,
             f.n_in_progress, f.n_exclusive, object->cookie().flags.load(), number(p.predecessor()),
             p.watchers(),
             std::find(of_cookie.begin(), of_cookie.end(), object) != of_cookie.end());
    std::vector<unsigned> dependents;
    for (const Object* waiting : p.dependents()) dependents.push_back(number(waiting));
    text.sorted(dependents);
  }
  const auto put_cookie = [&](const CookieRef& cookie) {
    text.bytes += '\n';
    if (!cookie) return;
    MutexLock cookie_lock(cookie->mutex);
    const bool is_early = static_cast<std::int32_t>(mono_ms(*tree_) - cookie->retry_mono_ms) < 0;
    text.put(as_seen(cookie->key.view(), mirror), cookie->flags.load(),
             cookie->object() ? number(cookie->object()) : 98u, cookie->aux.view(),
             cookie->failures, cookie->retry_mono_ms != 0 && is_early);
  };
  for (const CookieRef& index : indices_) put_cookie(index);
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const std::size_t n = mirror == Mirror::kYes ? files_.size() - 1 - i : i;
    put_cookie(files_[n]);
    text.put(bool{renamed_[n]});
  }
  for (const auto& o : operations_) {
    text.put(static_cast<unsigned>(o->state.load()), static_cast<unsigned>(o->answer), o->runs,
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
      for (std::size_t n = 0; n < objects.size(); ++n) {
        if (&Probe(*objects[n].second).work() == &work) name = static_cast<unsigned>(n);
      }
      waiting.push_back(name);
    }
    text.sorted(waiting);
  }
  std::map<std::string, std::string_view> kept;
  for (const auto& [key, one] : world_.backend->kept) kept.emplace(as_seen(key, mirror), one.aux);
  for (const auto& [key, aux] : kept) text.put(key, aux);
  std::set<std::string> outdated;
  for (const std::string& place : world_.backend->outdated) {
    const std::size_t key = place.rfind('/') + 1;
    outdated.insert(place.substr(0, key) + as_seen(place.substr(key), mirror));
  }
  for (const std::string& place : outdated) text.put(place);
  text.put(world_.backend->fail_finds, static_cast<unsigned>(world_.answer_to_check), withdrawing_);
  for (const unsigned budget : budget_) text.put(budget);
  text.put(events_left_);
  return std::move(text.bytes);
}

}  // namespace larder::test
