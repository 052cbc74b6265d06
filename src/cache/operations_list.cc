// SPDX-License-Identifier: Apache-2.0
// `ops`: one line per operation that is under way, with what it waits for, so that a mount that
// seems stuck can be explained from outside.
//
//   OP        its number           OBJECT  that of its object, as in `objects` (both in hex)
//   X         E exclusive, S shareable
//   AGE_MS    since it was submitted
//
// Read in batches of objects, as `objects` is.
#include "cache/operation.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>
#include <vector>

#include "cache/impl.h"
#include "cache/object.h"

namespace larder::cache {
namespace {

constexpr std::size_t kBatch = 256;

constexpr std::string_view kHeader =
    "OP       OBJECT   KIND         TYPE     X STATE         AGE_MS WAITS FOR\n"
    "======== ======== ============ ======== = =========== ========= =========\n";

std::string waits_text(const OperationFigures& f) {
  switch (f.waits) {
    case Waits::kNothing:
      return "-";
    case Waits::kLookUp:
      return "look-up of its object";
    case Waits::kOperation:
      return fmt::format("operation {:x}", f.behind);
    case Waits::kMachine:
      return "a machine thread";
    case Waits::kAnswer:
      return "an answer thread";
    case Waits::kStore:
      return "the store";
  }
  return "?";
}

void append_row(std::string& text, const OperationFigures& f, Nanoseconds now_ns) {
  fmt::format_to(std::back_inserter(text), "{:8x} {:8x} {:<12} {:<8} {} {:<11} {:9} {}\n", f.id,
                 f.object_id, to_text(f.kind), to_text(f.type),
                 f.sharing == Sharing::kExclusive ? 'E' : 'S', to_text(f.state),
                 (now_ns - f.submitted_mono_ns) / kMillisecond, waits_text(f));
}

// As in `objects`. False: no more.
bool append_batch(Tree& tree, std::uint32_t& last_id, std::string& text) {
  std::vector<ObjectPtr> batch;
  bool more = false;
  {
    MutexLock lock(tree.mutex);
    auto at = tree.objects.upper_bound(last_id);
    for (; at != tree.objects.end() && batch.size() < kBatch; ++at) {
      batch.emplace_back(at->second);
      last_id = at->first;
    }
    more = at != tree.objects.end();
  }
  std::vector<OperationFigures> operations;
  for (const ObjectPtr& object : batch) object->list_operations(operations);
  const Nanoseconds now_ns = tree.clock.mono_ns();
  for (const OperationFigures& f : operations) append_row(text, f, now_ns);
  return more;
}

}  // namespace

OperationFigures Object::figures_locked(const Operation& operation) const {
  OperationFigures f{};
  f.id = operation.id;
  f.object_id = id_;
  f.kind = operation.kind;
  f.type = operation.type;
  f.sharing = operation.sharing;
  f.state = operation.state.load(std::memory_order_relaxed);
  f.submitted_mono_ns = operation.submitted_mono_ns;
  return f;
}

void Object::list_operations(std::vector<OperationFigures>& into) {
  MutexLock lock(mutex_);
  for (const Operation* at = going_first_; at != nullptr; at = at->next) {
    OperationFigures f = figures_locked(*at);
    const bool begun = at->begun.load(std::memory_order_relaxed);
    const bool queued = !begun && at->work.run != nullptr;
    if (queued) {
      f.waits = at->type == OperationType::kSlow ? Waits::kMachine : Waits::kAnswer;
    } else if (begun && at->kind == OperationKind::kFill) {
      f.waits = Waits::kStore;
    }
    into.push_back(f);
  }
  // The first waits for look-up or for one in progress; each other one for the one before it.
  const Operation* before = going_first_;
  for_each_pending_locked([&](const Operation& at) REQUIRES(mutex_) {
    OperationFigures f = figures_locked(at);
    f.waits = gate_ == Gate::kQueue || before == nullptr ? Waits::kLookUp : Waits::kOperation;
    f.behind = before != nullptr ? before->id : 0;
    into.push_back(f);
    before = &at;
  });
}

Pager FsCache::operations() const {
  return [tree = impl_->tree, last_id = std::uint32_t{0}](std::string& text) mutable {
    if (last_id == 0) text += kHeader;
    return append_batch(*tree, last_id, text);
  };
}

}  // namespace larder::cache
