// SPDX-License-Identifier: Apache-2.0
#include "slowshare/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <numeric>
#include <utility>
#include <vector>

namespace larder::slowshare {
namespace {

std::uint64_t& count_of(Counts& counts, Call call) {
  return counts.by_call.at(static_cast<std::size_t>(call));
}

}  // namespace

std::string render(const Counts& counts, Rendering rendering) {
  std::vector<std::pair<std::string_view, std::uint64_t>> lines;
  const auto& calls = counts.by_call;
  lines.emplace_back("calls", std::accumulate(calls.begin(), calls.end(), std::uint64_t{0}));
  for (std::size_t i = 0; i < kCalls; ++i) lines.emplace_back(kCallNames.at(i), calls.at(i));
  lines.emplace_back("read_bytes", counts.read_bytes);
  lines.emplace_back("write_bytes", counts.write_bytes);
  lines.emplace_back("active", counts.active);
  lines.emplace_back("most_active", counts.most_active);
  lines.emplace_back("parked", counts.parked);
  lines.emplace_back("hung", counts.hung);
  lines.emplace_back("failed", counts.failed);
  lines.emplace_back("shortened", counts.shortened);
  lines.emplace_back("latency_ns", counts.latency_ns);
  lines.emplace_back("bandwidth", counts.bandwidth_bytes_per_s);

  std::string text;
  const bool json = rendering == Rendering::kJson;
  for (const auto& [name, value] : lines) {
    if (json) {
      fmt::format_to(std::back_inserter(text), "{}\"{}\": {}", text.empty() ? "{" : ", ", name,
                     value);
    } else {
      fmt::format_to(std::back_inserter(text), "{} {}\n", name, value);
    }
  }
  return json ? text + "}\n" : text;
}

template <class DueNs>
void Gate::wait_locked(std::unique_lock<std::mutex>& lock, DueNs due_mono_ns) {
  while (!closed_) {
    const Nanoseconds left_ns = due_mono_ns() - clock_.mono_ns();
    if (left_ns <= 0) return;
    changed_.wait_for(lock, std::chrono::nanoseconds(left_ns));
  }
}

int Gate::enter(Call call, Names names) {
  std::unique_lock lock(mutex_);
  ++count_of(counts_, call);
  ++counts_.active;
  counts_.most_active = std::max(counts_.most_active, counts_.active);
  const Verdict verdict = faults_.judge(call, names);
  if (verdict.hangs) park_locked(lock);
  const Nanoseconds came_ns = clock_.mono_ns();
  wait_locked(lock, [&] { return pace_.call_due(came_ns); });
  if (closed_) return ENODEV;
  if (verdict.error != 0) ++counts_.failed;
  return verdict.error;
}

void Gate::leave() {
  const std::lock_guard lock(mutex_);
  --counts_.active;
}

void Gate::note(Call call, std::uint64_t times) {
  const std::lock_guard lock(mutex_);
  count_of(counts_, call) += times;
}

void Gate::transfer(Way way, std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  (way == Way::kRead ? counts_.read_bytes : counts_.write_bytes) += bytes;
  const Nanoseconds due_ns = pace_.transfer_due(clock_.mono_ns(), bytes);
  wait_locked(lock, [&] { return due_ns; });
}

std::size_t Gate::read_size(std::string_view name, std::size_t wanted) {
  const std::lock_guard lock(mutex_);
  if (wanted < 2 || !faults_.shortens(name)) return wanted;
  ++counts_.shortened;
  return wanted / 2;
}

void Gate::hang(Target target) {
  const std::lock_guard lock(mutex_);
  faults_.hang(std::move(target));
}

void Gate::hang_next(std::uint64_t requests) {
  const std::lock_guard lock(mutex_);
  faults_.hang_next(requests);
}

void Gate::fail(int error, Target target) {
  const std::lock_guard lock(mutex_);
  faults_.fail(error, std::move(target));
}

void Gate::shorten(std::string pattern) {
  const std::lock_guard lock(mutex_);
  faults_.shorten(std::move(pattern));
}

void Gate::release() {
  const std::lock_guard lock(mutex_);
  faults_.release();
  ++releases_;
  changed_.notify_all();
}

void Gate::clear() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
  ++releases_;
  changed_.notify_all();
}

void Gate::set_latency(Nanoseconds latency_ns) {
  const std::lock_guard lock(mutex_);
  pace_.set_latency(latency_ns);
  changed_.notify_all();
}

void Gate::set_bandwidth(std::uint64_t bytes_per_s) {
  const std::lock_guard lock(mutex_);
  pace_.set_bandwidth(bytes_per_s);
}

void Gate::reset() {
  const std::lock_guard lock(mutex_);
  Counts fresh;
  fresh.active = counts_.active;
  fresh.most_active = counts_.active;
  fresh.parked = counts_.parked;
  counts_ = fresh;
}

void Gate::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

Counts Gate::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.latency_ns = static_cast<std::uint64_t>(pace_.latency_ns());
  counts.bandwidth_bytes_per_s = pace_.bandwidth_bytes_per_s();
  return counts;
}

void Gate::park_locked(std::unique_lock<std::mutex>& lock) {
  --counts_.active;
  ++counts_.parked;
  ++counts_.hung;
  const std::uint64_t before = releases_;
  lock.unlock();
  parked_();
  lock.lock();
  changed_.wait(lock, [&] { return closed_ || releases_ != before; });
  --counts_.parked;
  ++counts_.active;
}

}  // namespace larder::slowshare
