// SPDX-License-Identifier: Apache-2.0
#include "courtesy.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <thread>

namespace larder::fuse {
namespace {

constexpr Nanoseconds kLookAgain_ns = 4 * kMillisecond;

bool adopt(int policy) {
  const sched_param priority{};
  return ::pthread_setschedparam(::pthread_self(), policy, &priority) == 0;
}

// Tried out on a thread that ends: it may not come back.
bool there_and_back() {
  bool allowed = false;
  std::thread([&] { allowed = adopt(SCHED_IDLE) && adopt(SCHED_OTHER); }).join();
  return allowed;
}

std::optional<ProcessorWaits> read_waits(int fd) {
  std::array<char, 80> text;
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  if (n <= 0) return std::nullopt;
  return parse_schedstat({text.data(), static_cast<std::size_t>(n)});
}

}  // namespace

std::optional<ProcessorWaits> parse_schedstat(std::string_view text) {
  std::array<std::uint64_t, 3> numbers{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::uint64_t& number : numbers) {
    while (at != end && *at == ' ') ++at;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc()) return std::nullopt;
    at = next;
  }
  return ProcessorWaits{static_cast<Nanoseconds>(numbers[1]), numbers[2]};
}

bool Patience::stands_back(Nanoseconds now_ns, const ProcessorWaits& waits) {
  const Nanoseconds waited_ns = waits.waited_ns - seen_.waited_ns;
  const std::uint64_t runs = waits.runs - seen_.runs;
  seen_ = waits;
  const bool kept_waiting = waited_ns > kMost_ns * static_cast<Nanoseconds>(std::max(runs, 1UL));
  if (kept_waiting) {
    if (stands_back_) rest_ns_ = std::min(2 * rest_ns_, kRestMost_ns);
    stands_back_ = false;
    until_ns_ = now_ns + rest_ns_;
  } else if (!stands_back_ && now_ns >= until_ns_) {
    stands_back_ = true;
    since_ns_ = now_ns;
  } else if (stands_back_ && now_ns - since_ns_ > rest_ns_) {
    rest_ns_ = kRestLeast_ns / 2;
  }
  return stands_back_;
}

Courtesy::Courtesy(TransportStats& stats) : stats_(stats) {
  static const bool allowed = there_and_back();
  if (!allowed) return;
  schedstat_ = Fd(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  const auto waits = schedstat_.valid() ? read_waits(schedstat_.get()) : std::nullopt;
  if (!waits) {
    schedstat_.reset();
    return;
  }
  patience_ = Patience(*waits);
  take(Stand::kBack);
}

Courtesy::~Courtesy() {
  if (stand_ == Stand::kBack) stats_.standing_back.sub();
}

void Courtesy::look() {
  if (!schedstat_.valid()) return;
  const Nanoseconds now_ns = system_clock().mono_ns();
  if (now_ns - looked_ns_ < kLookAgain_ns) return;
  looked_ns_ = now_ns;
  if (const auto waits = read_waits(schedstat_.get()))
    take(patience_.stands_back(now_ns, *waits) ? Stand::kBack : Stand::kOrdinary);
}

void Courtesy::take(Stand stand) {
  if (stand == stand_ || !adopt(stand == Stand::kBack ? SCHED_IDLE : SCHED_OTHER)) return;
  stand_ = stand;
  if (stand == Stand::kBack) return stats_.standing_back.add();
  stats_.standing_back.sub();
  stats_.kept_waiting.add();
}

const cpu_set_t& allowed_processors() {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  return allowed;
}

void be_ordinary() {
  adopt(SCHED_OTHER);
  ::pthread_setaffinity_np(::pthread_self(), sizeof(cpu_set_t), &allowed_processors());
}

}  // namespace larder::fuse
