// SPDX-License-Identifier: Apache-2.0
// Rename: the cookies move at once, under the tree's mutex; the store's object follows in an
// exclusive operation, behind all that was accepted before.
//
//   1. From the call on, the old key is free for others and the new one is ours. A cookie that had
//      the new key is out of the tree of cookies; its object is retired, and nothing is cached for
//      it any more.
//   2. The store's rename waits for the death of whatever object still holds the new place (it asks
//      to be told, no thread waits), so what is retired there can never be us.
//   3. What cannot be renamed is retired, and its cookie caches nothing until it is acquired again:
//      data under a name that is not theirs are worse than no data.
//   4. A rename that was overtaken (its cookie was renamed again, or lost its new place) takes
//      nothing from anybody, and one whose object is to be deleted waits for nobody: two that
//      waited for each other's death would wait for ever.
//
// An index without an object gets one, since what the store holds under the old name must move.
#include <memory>
#include <utility>
#include <vector>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

// The tree must stay one, whatever we are asked.
bool lies_below_locked(const Cookie& cookie, const Cookie& above) {
  const Cookie* at = &cookie;
  while (at != nullptr && at != &above) at = at->parent.get();
  return at != nullptr;
}

// Nothing is cached for it any more, nor below it. Returns what is to be retired.
std::vector<ObjectPtr> bar_locked(Tree& tree, Cookie& cookie) REQUIRES(tree.mutex) {
  // Once only: by then another may have its place.
  if (!cookie.has(kCookieReplaced)) tree.cookies.erase(&cookie);
  cookie.set(kCookieReplaced);
  cookie.set(kCookieUnavailable);
  return tree.detach_all_locked(cookie);
}

void retire_all(const std::vector<ObjectPtr>& objects) {
  for (const ObjectPtr& object : objects) object->raise(Event::kRetire);
}

}  // namespace

struct RenameRecord : Operation {
  std::shared_ptr<Tree> tree;
  CookieRef cookie;
  CookieRef new_parent;
  std::string new_key;
  std::function<ObjectPtr(Cookie&, Cache&)> bring_up;
};

// Friend of Object: what of a rename touches its place.
struct RenameSteps {
  enum class Step { kDone, kWait, kFailed };

  static void run(Operation& operation) {
    auto& record = static_cast<RenameRecord&>(operation);
    switch (move(record)) {
      case Step::kWait:
        return;  // the holder's death posts us again
      case Step::kDone:
        record.tree->counters.renames_run.add();
        break;
      case Step::kFailed:
        give_up(record);
        break;
    }
    record.object->complete(record);
    const std::unique_ptr<RenameRecord> last(&record);
  }

  static void cancelled(Operation& operation) {
    auto& record = static_cast<RenameRecord&>(operation);
    give_up(record);
    const std::unique_ptr<RenameRecord> last(&record);
  }

  static void give_up(RenameRecord& record) {
    record.tree->counters.renames_failed.add();
    {
      MutexLock tree_lock(record.tree->mutex);
      if (!record.cookie->has(kCookieRelinquished)) {
        retire_all(bar_locked(*record.tree, *record.cookie));
      }
    }
    record.object->raise(Event::kRetire);
  }

  // What has become of the cookie since it was renamed.
  enum class Since : std::uint8_t {
    kThere,         // it stands where the record says
    kMovedOn,       // it was renamed again, and another record follows
    kRelinquished,  // what is stored moves all the same
    kReplaced,      // it lost its place to another: what is stored is nobody's
  };
  static Since since_locked([[maybe_unused]] const Tree& tree, const RenameRecord& record)
      REQUIRES(tree.mutex) {
    const Cookie& cookie = *record.cookie;
    if (cookie.has(kCookieReplaced)) return Since::kReplaced;
    if (cookie.has(kCookieRelinquished)) return Since::kRelinquished;
    const bool is_there = cookie.parent == record.new_parent && cookie.key.view() == record.new_key;
    return is_there ? Since::kThere : Since::kMovedOn;
  }

  // Who is at our place to be: what lingers there, or what its cookie has there.
  static Object* holder_locked(const Tree& tree, RenameRecord& record, const ObjectPtr& parent)
      REQUIRES(tree.mutex) {
    const auto lingering = tree.lingering.find(ObjectPlace{parent.get(), record.new_key});
    if (lingering != tree.lingering.end()) return *lingering;
    const auto there = tree.cookies.find(CookiePlace{record.new_parent.get(), record.new_key});
    if (there == tree.cookies.end()) return nullptr;
    Cookie& cookie = **there;
    MutexLock lock(cookie.mutex);
    Object* const object = cookie.object_in(record.object->cache());
    const ObjectPlace wanted{parent.get(), record.new_key};
    return object != nullptr && object->place() == wanted ? object : nullptr;
  }

  // What a holder means. Only who has a right to the place takes it from a living one: another
  // waits for us, perhaps, or will be there when we are long gone.
  static Step step_against_locked(const Tree& tree, Object& holder, RenameRecord& record)
      REQUIRES(tree.mutex) {
    const Since since = since_locked(tree, record);
    if (since == Since::kMovedOn) return Step::kDone;
    if (since == Since::kRelinquished && !holder.is_dying_) return Step::kFailed;
    holder.raise(Event::kRetire);
    holder.rare_locked().death_watch.push_back(&record.work);
    return Step::kWait;
  }

  static Step move(RenameRecord& record) {
    Tree& tree = *record.tree;
    Object& object = *record.object;
    const ObjectPtr parent = record.bring_up(*record.new_parent, object.cache());
    if (!parent) return Step::kFailed;
    store::ObjectRef to;
    {
      MutexLock tree_lock(tree.mutex);
      if (parent->is_dying_) return Step::kFailed;
      to = parent->handle();
      if (since_locked(tree, record) == Since::kReplaced) return Step::kFailed;
      if (object.events() & bit(Event::kRetire)) return Step::kFailed;
      Object* const holder = holder_locked(tree, record, parent);
      if (holder != nullptr && holder != &object) return step_against_locked(tree, *holder, record);
    }
    if (!object.cache().backend->rename(object.handle(), to, to_bytes(record.new_key))) {
      return Step::kFailed;
    }
    ObjectPtr old_parent;
    {
      MutexLock tree_lock(tree.mutex);
      if (parent->is_dying_) return Step::kFailed;
      object.leave_place_locked();
      {
        MutexLock lock(parent->mutex_);
        ++parent->n_children_;
      }
      old_parent = std::exchange(object.parent_, parent);
      object.rare_locked().old_key = ShortBytes(to_bytes(record.new_key));
      Cookie& cookie = *record.cookie;
      MutexLock lock(cookie.mutex);
      if (cookie.object_in(object.cache()) == &object && cookie.parent == record.new_parent &&
          cookie.key.view() == record.new_key) {
        object.rare_->old_key = ShortBytes();
        object.tidy_locked();
      } else {
        tree.lingering.insert(&object);  // our cookie let go of us meanwhile, or moved on
      }
    }
    if (old_parent) old_parent->child_gone();
    return Step::kDone;
  }
};

void start_rename(const std::shared_ptr<Tree>& tree, const CookieRef& cookie,
                  const CookieRef& new_parent, Bytes new_key,
                  const std::function<ObjectPtr(Cookie&, Cache&)>& bring_up) {
  std::vector<ObjectPtr> objects;
  std::vector<ObjectPtr> replaced;
  {
    MutexLock tree_lock(tree->mutex);
    if (cookie->has(kCookieReplaced) || cookie->has(kCookieRelinquished) ||
        new_parent->has(kCookieRelinquished) || lies_below_locked(*new_parent, *cookie)) {
      return;
    }
    const auto there = tree->cookies.find(CookiePlace{new_parent.get(), to_key(new_key)});
    if (there != tree->cookies.end()) {
      if (*there == cookie) return;
      replaced = bar_locked(*tree, *CookieRef(*there));
    }
    // Under its old key, and an index in each cache: what any holds under the old name must move.
    if (cookie->is_index()) {
      for (const CachePtr& cache : tree->caches) {
        if (ObjectPtr object = tree->attach_locked(*cookie, *cache)) {
          objects.push_back(std::move(object));
        }
      }
    } else if (ObjectPtr object = tree->attach_locked(*cookie)) {
      objects.push_back(std::move(object));
    }
    for (const ObjectPtr& object : cookie->all_objects()) tree->linger_locked(*object);
    tree->cookies.erase(cookie);
    --cookie->parent->n_children;
    cookie->parent = new_parent;
    cookie->key = ShortBytes(new_key);
    ++new_parent->n_children;
    tree->cookies.insert(cookie);
  }
  retire_all(replaced);
  for (const ObjectPtr& object : objects) {
    auto record = std::make_unique<RenameRecord>();
    record->type = OperationType::kSlow;
    record->sharing = Sharing::kExclusive;
    record->run = RenameSteps::run;
    record->cancelled = RenameSteps::cancelled;
    record->tree = tree;
    record->cookie = cookie;
    record->new_parent = new_parent;
    record->new_key = to_key(new_key);
    record->bring_up = bring_up;
    record->object = object;
    object->raise(Event::kRequeue);
    if (object->submit(*record) == Submitted::kNever) {
      RenameSteps::give_up(*record);
    } else {
      record.release();
    }
  }
}

}  // namespace larder::cache
