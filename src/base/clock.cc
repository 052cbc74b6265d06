// SPDX-License-Identifier: Apache-2.0
#include <larder/clock.h>

#include <ctime>

namespace larder {
namespace {

class SystemClock final : public Clock {
 public:
  Nanoseconds mono_ns() const override { return read(CLOCK_MONOTONIC); }
  Nanoseconds wall_ns() const override { return read(CLOCK_REALTIME); }

 private:
  static Nanoseconds read(clockid_t id) {
    timespec t{};
    ::clock_gettime(id, &t);
    return Nanoseconds{t.tv_sec} * kSecond + t.tv_nsec;
  }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace larder
