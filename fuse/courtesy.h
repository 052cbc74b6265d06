// SPDX-License-Identifier: Apache-2.0
// Courtesy: a thread that serves requests stands back from its processor, so that callers stay
// where they are.
//
// Over rings a caller is woken by the thread of its own processor, while that runs there. To the
// kernel's scheduler that processor is busy; where another is idle it moves the caller over, and
// the next request comes from there, to be answered there, and so on: an interrupt and an idle
// processor woken for every read, 20 us and more in a virtual machine. A processor that runs
// nothing but SCHED_IDLE threads counts as idle (select_idle_sibling() and sched_idle_cpu() of
// kernel/sched/fair.c): under that policy the caller is woken where it was. Threads at /dev/fuse
// run on any processor, so it is the same for those of them that share one with their caller.
//
//   C1 what it may cost: SCHED_IDLE weighs 3 where an ordinary thread weighs 1024, and takes the
//      processor from nobody when it wakes. How long it waited the kernel tells (schedstat); where
//      that was long, on the average of some milliseconds, no processor is idle and nothing is
//      gained: the thread is ordinary again for a while, and for twice as long each time that it
//      comes back to be kept waiting
//   C2 the way back to an ordinary thread needs CAP_SYS_NICE or RLIMIT_NICE. Who would have no way
//      back does not go
//   C3 threads inherit the policy, and on which processor they are to run: one that a ring starts
//      makes itself ordinary
#pragma once

#include <larder/clock.h>
#include <larder/fd.h>
#include <larder/transport_stats.h>
#include <sched.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace larder::fuse {

// What a thread has waited for a processor since it began: /proc/thread-self/schedstat.
struct ProcessorWaits {
  Nanoseconds waited_ns = 0;
  std::uint64_t runs = 0;
};
// "RUN_NS WAITED_NS RUNS\n"; nothing: malformed.
std::optional<ProcessorWaits> parse_schedstat(std::string_view text);

// The rule alone, without a system call.
class Patience {
 public:
  static constexpr Nanoseconds kMost_ns = 100'000;  // of one wait, on the average
  static constexpr Nanoseconds kRestLeast_ns = 500 * kMillisecond;
  static constexpr Nanoseconds kRestMost_ns = 10 * kSecond;

  // `seen`: what was waited until now.
  explicit Patience(const ProcessorWaits& seen = {}) : seen_(seen) {}
  // Whether to stand back from now on. Times only grow.
  bool stands_back(Nanoseconds now_ns, const ProcessorWaits& waits);

 private:
  ProcessorWaits seen_;
  bool stands_back_ = true;
  Nanoseconds since_ns_ = 0, until_ns_ = 0;  // of standing back; of the rest
  Nanoseconds rest_ns_ = kRestLeast_ns / 2;
};

class Courtesy {
 public:
  // For the thread that makes it, which is the only one to use it. Where the kernel does not allow
  // it, it does nothing.
  explicit Courtesy(TransportStats& stats);
  ~Courtesy();
  Courtesy(const Courtesy&) = delete;
  Courtesy& operator=(const Courtesy&) = delete;

  // Once a turn; a system call each few milliseconds.
  void look();

 private:
  enum class Stand : std::uint8_t { kOrdinary, kBack };
  void take(Stand stand);

  TransportStats& stats_;
  Fd schedstat_;  // invalid: an ordinary thread for good
  Stand stand_ = Stand::kOrdinary;
  Nanoseconds looked_ns_ = 0;
  Patience patience_;
};

// The processors that larder was started for. REQUIRES: first called by a thread that is not
// pinned.
const cpu_set_t& allowed_processors();

// This thread is an ordinary one from here on, and runs on any of those: it may have been started
// by a ring's thread, and inherited what that is.
void be_ordinary();

}  // namespace larder::fuse
