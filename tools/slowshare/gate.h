// SPDX-License-Identifier: Apache-2.0
// Gate: every request passes here before it is carried out. It counts the request, lets it hang or
// fail where a rule says so, and keeps it waiting for its latency.
//
// 1. A request waits on its own thread, so none waits for another one's latency; how many are let
// in at
//    once is the Crew's affair.
// 2. A request that hangs is parked: it holds a thread that the Crew replaces, and leaves only by
//    `release`, `clear` or the end of the mount. An interrupt does not free it: it really hangs.
// 3. After close() nobody waits any more; requests are refused.
//
// Thread: any.
#pragma once

#include <larder/clock.h>

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "slowshare/calls.h"
#include "slowshare/faults.h"
#include "slowshare/pace.h"

namespace larder::slowshare {

struct Counts {
  std::array<std::uint64_t, kCalls> by_call{};
  std::uint64_t read_bytes = 0;
  std::uint64_t write_bytes = 0;
  std::uint64_t active = 0;       // in slowshare now, parked ones not counted
  std::uint64_t most_active = 0;  // most at once since the last reset
  std::uint64_t parked = 0;       // hanging now
  std::uint64_t hung = 0;         // that ever hung
  std::uint64_t failed = 0;       // answered with a wanted error
  std::uint64_t shortened = 0;    // reads cut short
  std::uint64_t latency_ns = 0;
  std::uint64_t bandwidth_bytes_per_s = 0;
};

enum class Rendering : std::uint8_t { kText, kJson };
// `name value` lines, or one JSON object with the same names.
std::string render(const Counts& counts, Rendering rendering);

class Gate {
 public:
  Gate(const Clock& clock, Pace pace) : clock_(clock), pace_(pace) {}

  // Called whenever a request is parked, without a lock. Set before the first request.
  void on_parked(std::function<void()> parked) { parked_ = std::move(parked); }

  // Counts the request and keeps it waiting. The errno to answer with; 0: carry it out.
  [[nodiscard]] int enter(Call call, Names names);
  // For each enter().
  void leave();
  // Calls that are not answered and so cannot wait.
  void note(Call call, std::uint64_t times);

  // Waits until `bytes` went over the line.
  enum class Way : std::uint8_t { kRead, kWrite };
  void transfer(Way way, std::uint64_t bytes);

  // How many bytes of `wanted` a read of `name` gets: all, or half where a rule cuts it short.
  std::size_t read_size(std::string_view name, std::size_t wanted);

  // The control commands.
  void hang(Target target);
  void hang_next(std::uint64_t requests);
  void fail(int error, Target target);
  void shorten(std::string pattern);
  void release();
  void clear();
  void set_latency(Nanoseconds latency_ns);  // also for those that wait now
  void set_bandwidth(std::uint64_t bytes_per_s);
  void reset();

  void close();
  Counts counts() const;
  std::uint64_t parked() const { return counts().parked; }

 private:
  // `due_mono_ns` is asked again whenever something changed.
  template <class DueNs>
  void wait_locked(std::unique_lock<std::mutex>& lock, DueNs due_mono_ns);
  void park_locked(std::unique_lock<std::mutex>& lock);

  const Clock& clock_;
  std::function<void()> parked_ = [] {};

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // closed_, releases_ or the latency
  Pace pace_;
  Faults faults_;
  Counts counts_;
  std::uint64_t releases_ = 0;
  bool closed_ = false;
};

}  // namespace larder::slowshare
