// SPDX-License-Identifier: Apache-2.0
// The operation manager against its rules: random submit, complete, cancel, invalidate, update,
// relinquish, withdraw, in any order of the queues' steps. After each step the invariants of
// operation.cc hold, and in the end each operation had exactly one fate. LARDER_SEED=n runs one
// seed.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "base/random.h"
#include "cache/operation.h"
#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

struct ModelOperation : NotedOperation {
  using NotedOperation::NotedOperation;
  Submitted answer = Submitted::kNever;
  bool taken_back = false;
  bool completed = false;
  bool runs_here() const { return answer == Submitted::kNow && type == OperationType::kMyThread; }
  bool may_complete() const { return !completed && (runs_here() || runs == 1); }
};

class Model {
 public:
  explicit Model(Seed seed) : random_(seed) {
    share_ = world_.index(world_.netfs, "share");
    files_.resize(3);
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check_rules();
    }
    finish();
  }

 private:
  void step() {
    CookieRef& file = files_[random_.below(files_.size())];
    switch (random_.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        submit(file);
        break;
      case 4:
      case 5:
      case 6:
        complete_one();
        break;
      case 7:
        cancel_one();
        break;
      case 8:
        if (random_.one_in(2)) {
          world_.fs.invalidate(file, bytes_of("v"), ByteCount{1});
        } else {
          world_.fs.update(file, bytes_of("u"), ByteCount{1});
        }
        break;
      case 9:
        acquire_or_relinquish(file);
        break;
      case 10:
        if (random_.one_in(8)) withdraw();
        break;
      case 11:
        world_.backend->fail_finds = random_.one_in(8);
        break;
      case 12:
      case 13:
        world_.answer.run_one(random_);
        break;
      default:
        world_.machine.run_one(random_);
        break;
    }
  }

  void acquire_or_relinquish(CookieRef& file) {
    if (file) {
      world_.fs.relinquish(std::move(file), random_.one_in(2) ? Retire::kYes : Retire::kNo);
      file = nullptr;
      return;
    }
    const auto key = "f" + std::to_string(&file - files_.data());
    world_.answer_to_check = static_cast<AuxCheck>(random_.below(3));
    file = world_.data(share_, key);
    CHECK(file);
    if (const ObjectPtr object = World::object_of(file)) objects_.push_back(object);
  }

  void submit(const CookieRef& file) {
    auto operation = std::make_unique<ModelOperation>(
        static_cast<OperationType>(random_.below(3)),
        random_.one_in(4) ? Sharing::kExclusive : Sharing::kShareable,
        static_cast<OperationKind>(random_.below(kOperationKinds)));
    operation->answer = world_.fs.submit(file, *operation);
    const bool could = file && World::object_of(file) && !file->has(kCookieInvalidating) &&
                       World::object_of(file)->state() < State::kDying;
    if (operation->answer != Submitted::kNever) CHECK(could);
    if (operation->answer == Submitted::kLater) {
      CHECK(operation->state == OperationState::kPending);
    }
    if (operation->answer == Submitted::kNow) {
      CHECK(operation->state == OperationState::kInProgress);
    }
    operations_.push_back(std::move(operation));
  }

  template <class Wanted>
  ModelOperation* one(Wanted wanted) {
    std::vector<ModelOperation*> some;
    for (auto& operation : operations_) {
      if (wanted(*operation)) some.push_back(operation.get());
    }
    return some.empty() ? nullptr : some[random_.below(some.size())];
  }

  void complete_one() {
    ModelOperation* operation = one([](const ModelOperation& o) { return o.may_complete(); });
    if (operation == nullptr) return;
    operation->completed = true;
    world_.fs.complete(*operation);
  }

  void cancel_one() {
    ModelOperation* operation =
        one([](const ModelOperation& o) { return o.answer != Submitted::kNever && !o.completed; });
    if (operation == nullptr) return;
    const bool pending = operation->state == OperationState::kPending;
    const bool taken_back = world_.fs.cancel(*operation);
    CHECK(taken_back == pending);
    if (taken_back) operation->taken_back = true;
  }

  // With operations in progress it would wait for ever: this is one thread.
  void withdraw() {
    settle();
    world_.fs.withdraw();
    for (const ObjectPtr& object : objects_) CHECK(object->is_dead());
    auto made = std::make_unique<ScriptedBackend>();
    world_.backend = made.get();
    REQUIRE(world_.fs.add_backend(std::move(made)));
  }

  void settle() {
    do {
      world_.settle();
      while (one([](const ModelOperation& o) { return o.may_complete(); })) complete_one();
    } while (world_.machine.size() + world_.answer.size() > 0);
  }

  void check_rules() {
    for (const ObjectPtr& object : objects_) {
      std::uint32_t last_started = 0, first_pending = ~0u;
      unsigned in_progress = 0, exclusive_in_progress = 0, pending = 0, exclusive = 0;
      for (const auto& operation : operations_) {
        if (operation->answer == Submitted::kNever || operation->object != object) continue;
        const OperationState state = operation->state;
        const bool is_exclusive = operation->sharing == Sharing::kExclusive;
        if (state == OperationState::kInProgress || state == OperationState::kComplete) {
          last_started = std::max(last_started, operation->id);
        }
        if (state == OperationState::kPending) {
          first_pending = std::min(first_pending, operation->id);
          ++pending;
          exclusive += is_exclusive;
        }
        if (state == OperationState::kInProgress) {
          ++in_progress;
          exclusive += is_exclusive;
          exclusive_in_progress += is_exclusive;
        }
      }
      CHECK(last_started < first_pending);                      // rule 1
      CHECK((exclusive_in_progress == 0 || in_progress == 1));  // rule 2
      const Object::Figures figures = object->figures();
      CHECK(figures.n_in_progress == in_progress);
      CHECK(figures.n_ops == in_progress + pending + figures.n_obj_ops);
      CHECK(figures.n_exclusive == exclusive);
      if (pending > 0) CHECK(figures.state < State::kDying);  // rule 3
      if (pending > 0 && figures.state == State::kActive && (figures.events & 4) == 0) {
        CHECK(in_progress > 0);  // rule 6
      }
    }
  }

  void finish() {
    for (CookieRef& file : files_) {
      if (file) world_.fs.relinquish(std::move(file), Retire::kNo);
      file = nullptr;
    }
    settle();
    check_rules();
    world_.fs.relinquish(share_, Retire::kNo);
    settle();
    for (const ObjectPtr& object : objects_) {
      CHECK(object->is_dead());
      CHECK(object->is_idle());
    }
    for (const auto& operation : operations_) {  // rule 4
      const ModelOperation& o = *operation;
      const int fates =
          (o.answer == Submitted::kNever) + o.runs_here() + o.runs + o.cancels + o.taken_back;
      INFO("operation " << o.id << " " << to_text(o.state));
      CHECK(fates == 1);
      CHECK(o.completed == (o.runs_here() || o.runs == 1));
    }
  }

  Random random_;
  World world_;
  CookieRef share_;
  std::vector<CookieRef> files_;
  std::vector<ObjectPtr> objects_;
  std::vector<std::unique_ptr<ModelOperation>> operations_;
};

}  // namespace

TEST_CASE("random operations and events keep the rules, and every operation has one fate") {
  const char* chosen = std::getenv("LARDER_SEED");
  const std::uint64_t first = chosen ? std::strtoull(chosen, nullptr, 10) : 1;
  const std::uint64_t last = chosen ? first : 300;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    INFO("LARDER_SEED=" << seed);
    Model(Seed{seed}).run(250);
  }
}
