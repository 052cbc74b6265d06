// SPDX-License-Identifier: Apache-2.0
// The tree behind the sequence guard; its invariants are S1 to S4 of <larder/flight.h>.
#include <absl/container/flat_hash_map.h>
#include <larder/flight.h>
#include <larder/result.h>

#include <algorithm>

#include "base/mutex.h"

namespace larder::memo {

bool TreeKey::begins_with(const TreeKey& prefix) const {
  return prefix.parts_.size() <= parts_.size() &&
         std::equal(prefix.parts_.begin(), prefix.parts_.end(), parts_.begin());
}

struct SequenceGuard::Node {
  Node(Node* above, const KeyPart& last) : parent(above), part(last) {}

  Node* const parent;  // of the root: nullptr
  const KeyPart part;  // its name among the parent's children
  std::uint64_t number = 0;
  std::size_t stamps = 0;  // of this very key
  absl::flat_hash_map<KeyPart, std::unique_ptr<Node>> children;

  std::uint64_t sum_to_root() const {
    std::uint64_t sum = 0;
    for (const Node* node = this; node != nullptr; node = node->parent) sum += node->number;
    return sum;
  }
};

struct SequenceGuard::Impl {
  Node* reach_locked(const TreeKey& key) REQUIRES(mutex) {
    Node* node = &root;
    for (const KeyPart& part : key.parts()) {
      std::unique_ptr<Node>& child = node->children[part];
      if (child == nullptr) {
        child = std::make_unique<Node>(node, part);
        ++nodes;
      }
      node = child.get();
    }
    return node;
  }

  Node* find_locked(const TreeKey& key) REQUIRES(mutex) {
    Node* node = &root;
    for (const KeyPart& part : key.parts()) {
      const auto child = node->children.find(part);
      if (child == node->children.end()) return nullptr;
      node = child->second.get();
    }
    return node;
  }

  // S3: what no stamp needs goes, up to the first node that one does.
  void let_go_locked(Node* node) REQUIRES(mutex) {
    --node->stamps;
    while (node->parent != nullptr && node->stamps == 0 && node->children.empty()) {
      Node* const parent = node->parent;
      parent->children.erase(parent->children.find(node->part));
      --nodes;
      node = parent;
    }
  }

  mutable Mutex mutex{Rank::kSequence};
  Node root GUARDED_BY(mutex){nullptr, KeyPart(0u)};
  std::size_t nodes GUARDED_BY(mutex) = 0;
  std::size_t stamps GUARDED_BY(mutex) = 0;
};

SequenceGuard::SequenceGuard() : impl_(std::make_unique<Impl>()) {}

SequenceGuard::~SequenceGuard() {
  const MutexLock lock(impl_->mutex);
  check(impl_->stamps == 0 && impl_->nodes == 0, "no stamp outlives its guard");
}

SequenceGuard::Stamp SequenceGuard::begin(const TreeKey& key) {
  const MutexLock lock(impl_->mutex);
  Node* const node = impl_->reach_locked(key);
  ++node->stamps;
  ++impl_->stamps;
  return {impl_.get(), node, node->sum_to_root()};
}

void SequenceGuard::Stamp::reset() {
  if (guard_ == nullptr) return;
  const MutexLock lock(guard_->mutex);
  guard_->let_go_locked(node_);
  --guard_->stamps;
  guard_ = nullptr;
  node_ = nullptr;
}

void SequenceGuard::invalidate(const TreeKey& prefix) {
  const MutexLock lock(impl_->mutex);
  if (Node* const node = impl_->find_locked(prefix)) ++node->number;
}

bool SequenceGuard::unchanged(const Stamp& stamp) const {
  return keep_if_unchanged(stamp, [] {});
}

bool SequenceGuard::keep_if_unchanged(const Stamp& stamp, absl::FunctionRef<void()> keep) const {
  check(stamp.guard_ == impl_.get(), "a stamp is asked of the guard that gave it");
  const MutexLock lock(impl_->mutex);
  if (stamp.node_->sum_to_root() != stamp.sum_) return false;
  keep();
  return true;
}

std::size_t SequenceGuard::nodes() const {
  const MutexLock lock(impl_->mutex);
  return impl_->nodes;
}

}  // namespace larder::memo
