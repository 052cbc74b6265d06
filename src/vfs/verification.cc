// SPDX-License-Identifier: Apache-2.0
#include "vfs/verification.h"

#include <fmt/format.h>
#include <larder/store_check.h>

#include <chrono>

namespace larder {

Verification::~Verification() {
  const MutexLock lock(mutex_);
  check(thread_ == nullptr, "a verification is stopped before it goes");
}

void Verification::start(std::vector<std::shared_ptr<store::Store>> stores) {
  const MutexLock lock(mutex_);
  if (under_way_ || stopping_) return;
  if (thread_) thread_->join();  // it has ended
  under_way_ = true;
  before_ = ByteCount{0};
  began_ns_ = clock_.mono_ns();
  done_bytes_.set(0);
  all_bytes_.set(0);
  running_.set(1);
  thread_ =
      std::make_unique<Thread>("larder-verify", [this, all = std::move(stores)] { run(all); });
}

void Verification::stop() {
  std::unique_ptr<Thread> thread;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
    thread = std::move(thread_);
  }
  if (thread) thread->join();
}

void Verification::run(const std::vector<std::shared_ptr<store::Store>>& stores) {
  bool all_read = true;
  for (const auto& store : stores) {
    store::read_all_pages(*store,
                          [this](ByteCount done, ByteCount all) { return goes_on(done, all); });
    all_read = all_read && store->state() == store::State::kOpen;
    before_ = ByteCount{done_bytes_.value()};
  }
  const MutexLock lock(mutex_);
  if (all_read && !stopping_) runs_.add();
  running_.set(0);
  under_way_ = false;
}

// Waits for as long as so many bytes take at the rate. False: it is to stop.
bool Verification::goes_on(ByteCount done, ByteCount all) {
  done_bytes_.set((before_ + done).value());
  all_bytes_.set((before_ + all).value());
  const double seconds = static_cast<double>((before_ + done).value()) / kRate.value();
  const Nanoseconds due_ns = began_ns_ + static_cast<Nanoseconds>(seconds * 1e9);
  const MutexLock lock(mutex_);
  while (!stopping_) {
    const Nanoseconds left_ns = due_ns - clock_.mono_ns();
    if (left_ns <= 0) return true;
    wake_.wait_for(mutex_, std::chrono::nanoseconds(left_ns));
  }
  return false;
}

void Verification::register_in(stats::Registry& registry) {
  using stats::Unit;
  registry.add("store.verify_runs", Unit::kCount,
               "Times that every page was read and compared with its sum", runs_);
  registry.add("store.verify_running", Unit::kGauge, "1 while that is under way", running_);
  registry.add("store.verify_done_bytes", Unit::kGauge, "Bytes that it has read so far",
               done_bytes_);
  registry.add("store.verify_all_bytes", Unit::kGauge, "Bytes that it has to read, near enough",
               all_bytes_);
}

std::string Verification::to_text() const {
  return fmt::format("{}: {} of {} bytes read\n", running_.value() != 0 ? "running" : "done",
                     done_bytes_.value(), all_bytes_.value());
}

}  // namespace larder
