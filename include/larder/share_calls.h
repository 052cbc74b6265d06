// SPDX-License-Identifier: Apache-2.0
// ShareCalls: every call to the share, asynchronous, under a deadline, and one can walk away from
// it.
//
// A call runs on a thread of the `share` pool. Those threads live in a descriptor table of their
// own (src/netfs/share_pool.h), so that one that hangs for ever in the kernel holds neither the
// store's lock nor /dev/fuse. `done` is called exactly once, on the `answer` queue: with what the
// share said, or with kShareDeadline when it did not in time, or with kShareAway. After a deadline
// the call is *abandoned*: its thread stays lost until the share answers, what it brings back is
// thrown away, and all that it touches (paths, buffers, file) belongs to the call, not to whoever
// asked.
//
// A call without a deadline (a write: its payload is the requester's own buffer) is answered only
// when the share has returned.
//
// State of the share, for `stats` and for those who may answer without asking:
//   ok    the last calls answered
//   slow  a call has been out, or has waited for a thread, for longer than share_slow; back when
//         one returns in less and none but abandoned ones are over it
//   away  the Netfs says that the share is not there; every call probes again
#pragma once

#include <larder/netfs.h>
#include <larder/stats.h>
#include <larder/timers.h>
#include <larder/work_queue.h>

#include <memory>
#include <utility>

namespace larder {

enum class ShareState : std::uint8_t { kOk, kSlow, kAway };
std::string_view to_text(ShareState state);

struct ShareCallsOptions {
  Nanoseconds deadline_ns = 30 * kSecond;  // share_deadline=
  Nanoseconds slow_ns = 2 * kSecond;       // share_slow=
  unsigned queue_limit = 4096;  // calls that wait for a thread; above: kShareBusy at once
};

// What who asks can do without an answer.
enum class Fallback : std::uint8_t {
  kNone,
  kKnown,  // answer from what is known: told kShareDeadline as soon as the share turns slow
};

struct CallOptions {
  static constexpr Nanoseconds kDefault = 0, kNone = -1;
  Nanoseconds deadline_ns = kDefault;  // from now; kDefault: the share's, kNone: waits for ever
  Fallback fallback = Fallback::kNone;
  CredentialsRef as = {};  // who asks; where larder cannot act as them the answer is EPERM
};

// bytes_read and bytes_written are added by those who read and write: a call's result says no bytes
// here.
struct ShareCounters {
  stats::Counter calls, data_calls, bytes_read, bytes_written;
  stats::Counter deadlines, abandoned_answers, refused, slow_trips, away_trips;
  stats::Counter in_flight;  // gauge: on a share thread now, abandoned ones too
  stats::Histogram latency_ns;
  void register_in(stats::Registry& registry);
};

// What a call does to the share; only for counting.
enum class CallKind : std::uint8_t { kNames, kData };

class ShareCalls {
 public:
  // `pool` runs the calls, `answers` the callbacks. All outlive this, except as drain() says.
  ShareCalls(std::shared_ptr<Netfs> netfs, WorkQueue& pool, WorkQueue& answers, Timers& timers,
             const Clock& clock, ShareCallsOptions options);
  ~ShareCalls();  // REQUIRES: drain() was called

  // Runs `work` on a share thread and then `done` on the answer queue; never before this returns.
  // `work` owns or shares all that it touches; what it owns is destroyed on the share thread.
  // Thread: any.
  template <class T>
  void call(CallKind kind, CallOptions options, absl::AnyInvocable<Result<T>(Netfs&)> work,
            Callback<Result<T>> done);

  ShareState state() const;
  const Traits& traits() const;
  ShareCounters& counters();

  // Unmount: answers every call that is out with kShutdown; later ones as soon as the answer queue
  // runs. After it no timer and no clock is touched; calls that hang in the kernel keep the Netfs
  // alive (shared) and nothing else.
  void drain();

  // One call in flight: what it does and whom it tells, apart from when (which is ShareCalls'
  // business).
  class Call {
   public:
    virtual ~Call() = default;
    virtual void run(Netfs& netfs) = 0;      // share thread, once; keeps the answer inside
    virtual bool share_is_away() const = 0;  // after run(): the answer was kShareAway
    virtual void skip() = 0;  // share thread, instead of run(): lets go of what it owns
    virtual void tell() = 0;  // answer queue, after run()
    virtual void tell(
        Error error) = 0;  // answer queue, instead of the above; run() may be under way
  };

 private:
  struct Core;
  void submit(CallKind kind, CallOptions options, std::shared_ptr<Call> call);
  std::shared_ptr<Core> core_;
};

template <class T>
void ShareCalls::call(CallKind kind,
                      CallOptions options,  // NOLINT(performance-unnecessary-value-param): moved
                      absl::AnyInvocable<Result<T>(Netfs&)> work, Callback<Result<T>> done) {
  class Typed final : public Call {
   public:
    Typed(absl::AnyInvocable<Result<T>(Netfs&)> w, Callback<Result<T>> d)
        : work_(std::move(w)), done_(std::move(d)) {}
    void run(Netfs& netfs) override {
      answer_.emplace(work_(netfs));
      work_ = nullptr;
    }
    bool share_is_away() const override {
      return !*answer_ && answer_->error().code == ErrorCode::kShareAway;
    }
    void skip() override { work_ = nullptr; }
    // The callback is taken out, so that a call which hangs for ever does not keep what it holds.
    void tell() override {
      auto done = std::move(done_);
      std::move(done)(std::move(*answer_));
    }
    void tell(Error error) override {
      auto done = std::move(done_);
      std::move(done)(fail(error));
    }

   private:
    absl::AnyInvocable<Result<T>(Netfs&)> work_;
    Callback<Result<T>> done_;
    std::optional<Result<T>> answer_;
  };
  submit(kind, std::move(options), std::make_shared<Typed>(std::move(work), std::move(done)));
}

}  // namespace larder
