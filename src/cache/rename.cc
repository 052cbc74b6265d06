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
//
// An index without an object gets one, since what the store holds under the old name must move.
#include <memory>
#include <utility>

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
ObjectPtr bar_locked(Cookie& cookie) {
  cookie.replaced = true;
  return detach(cookie, nullptr, kCookieUnavailable);
}

}  // namespace

struct RenameRecord : Operation {
  std::shared_ptr<Tree> tree;
  CookieRef cookie;
  CookieRef new_parent;
  std::string new_key;
  std::function<ObjectPtr(Cookie&)> bring_up;
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
    ObjectPtr lost;
    {
      MutexLock tree_lock(record.tree->mutex);
      if (record.cookie->has(kCookieRelinquished)) {
        lost = record.object;
      } else {
        lost = detach(*record.cookie, nullptr, kCookieUnavailable);
        record.cookie->replaced = true;
        record.tree->cookies.erase(record.cookie);
      }
    }
    if (lost) lost->raise(Event::kRetire);
  }

  static Step move(RenameRecord& record) {
    Tree& tree = *record.tree;
    Object& object = *record.object;
    const ObjectPtr parent = record.bring_up(*record.new_parent);
    if (!parent) return Step::kFailed;
    {
      MutexLock tree_lock(tree.mutex);
      const auto slot = tree.slots.find({parent.get(), record.new_key});
      if (slot != tree.slots.end() && slot->second != &object) {
        slot->second->raise(Event::kRetire);
        slot->second->death_watch_.push_back(&record.work);
        return Step::kWait;
      }
    }
    const store::ObjectRef to = parent->handle_if_up();
    if (!tree.backend->rename(object.handle(), to, to_bytes(record.new_key))) return Step::kFailed;

    ObjectPtr old_parent;
    {
      MutexLock tree_lock(tree.mutex);
      if (parent->is_dying_) return Step::kFailed;
      object.leave_slot_locked();
      {
        MutexLock lock(parent->mutex_);
        ++parent->n_children_;
      }
      old_parent = std::exchange(object.parent_, parent);
      object.key_ = record.new_key;
      tree.slots.try_emplace({parent.get(), record.new_key}, &object);
    }
    if (old_parent) old_parent->child_gone();
    return Step::kDone;
  }
};

void start_rename(const std::shared_ptr<Tree>& tree, const CookieRef& cookie,
                  const CookieRef& new_parent, Bytes new_key,
                  std::function<ObjectPtr(Cookie&)> bring_up) {
  auto record = std::make_unique<RenameRecord>();
  record->type = OperationType::kSlow;
  record->sharing = Sharing::kExclusive;
  record->run = RenameSteps::run;
  record->cancelled = RenameSteps::cancelled;
  record->tree = tree;
  record->cookie = cookie;
  record->new_parent = new_parent;
  record->new_key = to_key(new_key);
  record->bring_up = std::move(bring_up);

  ObjectPtr object;
  ObjectPtr replaced;
  {
    MutexLock tree_lock(tree->mutex);
    if (cookie->replaced || cookie->has(kCookieRelinquished) ||
        new_parent->has(kCookieRelinquished) || lies_below_locked(*new_parent, *cookie)) {
      return;
    }
    const auto there = tree->cookies.find(CookiePlace{new_parent.get(), record->new_key});
    if (there != tree->cookies.end()) {
      if (*there == cookie) return;
      replaced = bar_locked(**there);
      tree->cookies.erase(there);
    }
    object = tree->attach_locked(*cookie);  // under its old key
    tree->cookies.erase(cookie);
    --cookie->parent->n_children;
    cookie->parent = new_parent;
    cookie->key = record->new_key;
    ++new_parent->n_children;
    tree->cookies.insert(cookie);
  }
  if (replaced) replaced->raise(Event::kRetire);
  if (!object) return;  // no cache: there is nothing to move
  object->raise(Event::kRequeue);
  record->object = object;
  if (object->submit(*record) == Submitted::kNever) {
    RenameSteps::give_up(*record);
  } else {
    record.release();
  }
}

}  // namespace larder::cache
