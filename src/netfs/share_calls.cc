// SPDX-License-Identifier: Apache-2.0
// How a call is told exactly once, and what stays alive until when.
//
// Three can end a call: the share thread that brings its answer, the timer at its deadline,
// drain(). Each takes the Core's lock and looks at `told`; the first sets it and posts the answer,
// the others let go.
//
//   C1 a call is in the list `out` exactly while it is not told
//   C2 an Out lives as long as one of pool, timers and answer queue may still run it: each of them
//   has a
//      reference of its own, given right before it is handed over and taken back when it runs
//   C3 pool, timers, answers and clock are touched only under the lock and only for a call that is
//   not
//      told; drain() tells all. So after drain() none of them is touched, however late a share
//      answers
//   C4 what waits in the pool when it is told stays there and is skipped: it counts as waiting
//   until then,
//      so a share whose threads all hang refuses calls instead of collecting them for ever
//
// Slow: a call that is not told `slow_ns` after it was submitted trips it, whether it waits for a
// thread or runs. Abandoned calls do not hold it: one file that hangs for ever must not keep all
// others from being asked about.
#include <larder/log.h>
#include <larder/share_calls.h>

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cerrno>
#include <limits>

#include "base/mutex.h"
#include "netfs/share_identity.h"

namespace larder {
namespace {

constexpr Nanoseconds kNever = std::numeric_limits<Nanoseconds>::max();

Nanoseconds later(Nanoseconds now_ns, Nanoseconds by_ns) {
  return by_ns >= kNever - now_ns ? kNever : now_ns + by_ns;
}

}  // namespace

std::string_view to_text(ShareState state) {
  switch (state) {
    case ShareState::kOk:
      return "ok";
    case ShareState::kSlow:
      return "slow";
    case ShareState::kAway:
      return "away";
  }
  return "?";
}

void ShareCounters::register_in(stats::Registry& registry) {
  using stats::Unit;
  registry.add("netfs.calls", Unit::kCount, "calls that reached the share", calls);
  registry.add("netfs.data_calls", Unit::kCount, "of these, calls that read or write content",
               data_calls);
  registry.add("netfs.bytes_read", Unit::kBytes, "content read from the share", bytes_read);
  registry.add("netfs.bytes_written", Unit::kBytes, "content written to the share", bytes_written);
  registry.add("netfs.deadlines", Unit::kCount, "calls that the share did not answer in time",
               deadlines);
  registry.add("netfs.abandoned_answers", Unit::kCount, "answers that came after that",
               abandoned_answers);
  registry.add("netfs.refused", Unit::kCount, "calls refused because too many waited", refused);
  registry.add("netfs.slow_trips", Unit::kCount, "times the share became slow", slow_trips);
  registry.add("netfs.away_trips", Unit::kCount, "times the share went away", away_trips);
  registry.add("netfs.in_flight", Unit::kGauge, "calls on a share thread now, abandoned ones too",
               in_flight);
  registry.add("netfs.latency", Unit::kNanoseconds, "from submitting a call to its answer",
               latency_ns);
}

struct ShareCalls::Core : std::enable_shared_from_this<Core> {
  // One call, from submit() to the last of its references.
  struct Out : Work, Timer, boost::intrusive::list_base_hook<>, std::enable_shared_from_this<Out> {
    struct Answer : Work {
      Out* out = nullptr;
    };
    Out(std::shared_ptr<Core> core, CallKind kind, std::shared_ptr<Call> call);

    const std::shared_ptr<Core> core;
    const std::shared_ptr<Call> call;
    const CallKind kind;
    Fallback fallback = Fallback::kNone;
    CredentialsRef as;
    Nanoseconds submitted_mono_ns = 0;
    Nanoseconds deadline_mono_ns = kNever;
    bool told = false;  // the Core's lock, as all that follows
    bool is_slow = false;
    std::optional<Error> error;  // what is told instead of the share's answer
    Answer answer;
    std::shared_ptr<Out> for_pool, for_timers, for_answers;  // C2
  };

  Core(std::shared_ptr<Netfs> n, WorkQueue& p, WorkQueue& a, Timers& t, const Clock& c,
       ShareCallsOptions o)
      : netfs(std::move(n)), pool(p), answers(a), timers(t), clock(c), options(o) {}

  void submit(CallKind kind, CallOptions call_options, std::shared_ptr<Call> call);
  void run(Out& call);     // share thread
  bool begin(Out& call);   // share thread; false: it was told already (C4)
  void finish(Out& call);  // share thread
  void cannot_act(Out& call);
  void fire(Out& call);  // the timers' thread
  void drain();

  void arm_locked(Out& call, Nanoseconds due_mono_ns) REQUIRES(mutex);
  // Ends the call. The timers' reference comes back, to be let go without the lock.
  std::shared_ptr<Out> tell_locked(Out& call, std::optional<Error> error) REQUIRES(mutex);
  void post_answer_locked(Out& call) REQUIRES(mutex);
  void tell_those_who_know_locked(std::vector<std::shared_ptr<Out>>& references) REQUIRES(mutex);
  void refuse_locked(Out& call, ErrorCode code) REQUIRES(mutex);
  void set_slow_locked(bool now_slow) REQUIRES(mutex);
  void set_away_locked(bool now_away) REQUIRES(mutex);
  void announce_locked(LogLevel level, std::string line) REQUIRES(mutex);

  const std::shared_ptr<Netfs> netfs;
  WorkQueue& pool;
  WorkQueue& answers;
  Timers& timers;
  const Clock& clock;
  const ShareCallsOptions options;
  ShareCounters counters;
  std::atomic<ShareState> state{ShareState::kOk};

  Mutex mutex{Rank::kShareCalls};
  boost::intrusive::list<Out> out GUARDED_BY(mutex);  // C1
  unsigned waiting GUARDED_BY(mutex) = 0;             // in the pool, not begun
  unsigned slow_out GUARDED_BY(mutex) = 0;            // in `out` and over slow_ns
  bool slow GUARDED_BY(mutex) = false;
  bool away GUARDED_BY(mutex) = false;
  bool drained GUARDED_BY(mutex) = false;
};

ShareCalls::Core::Out::Out(std::shared_ptr<Core> its_core, CallKind its_kind,
                           std::shared_ptr<Call> its_call)
    : core(std::move(its_core)), call(std::move(its_call)), kind(its_kind) {
  // Each of these takes its reference back first, so that it is the last to let go if it has to be.
  Work::run = [](Work& self) {
    const auto me = std::move(static_cast<Out&>(self).for_pool);
    me->core->run(*me);
  };
  fire = [](Timer& self) {
    const auto me = std::move(static_cast<Out&>(self).for_timers);
    me->core->fire(*me);
  };
  answer.out = this;
  answer.run = [](Work& self) {
    const auto me = std::move(static_cast<Answer&>(self).out->for_answers);
    me->error ? me->call->tell(*me->error) : me->call->tell();
  };
}

void ShareCalls::Core::submit(CallKind kind, CallOptions call_options, std::shared_ptr<Call> call) {
  const auto made = std::make_shared<Out>(shared_from_this(), kind, std::move(call));
  const MutexLock lock(mutex);
  if (drained) return refuse_locked(*made, ErrorCode::kShutdown);
  if (waiting >= options.queue_limit) {
    counters.refused.add();
    return refuse_locked(*made, ErrorCode::kShareBusy);
  }
  const Nanoseconds deadline_ns = call_options.deadline_ns == CallOptions::kDefault
                                      ? options.deadline_ns
                                      : call_options.deadline_ns;
  made->submitted_mono_ns = clock.mono_ns();
  made->fallback = call_options.fallback;
  made->as = std::move(call_options.as);
  if (deadline_ns != CallOptions::kNone) {
    made->deadline_mono_ns = later(made->submitted_mono_ns, deadline_ns);
  }
  out.push_back(*made);
  ++waiting;
  arm_locked(*made,
             std::min(made->deadline_mono_ns, later(made->submitted_mono_ns, options.slow_ns)));
  made->for_pool = made;
  pool.post(*made);
}

void ShareCalls::Core::run(Out& call) {
  if (!begin(call)) return call.call->skip();
  counters.calls.add();
  if (call.kind == CallKind::kData) counters.data_calls.add();
  counters.in_flight.add();
  const bool acts = !call.as || netfs->act_as(call.as.get());
  acts ? call.call->run(*netfs) : call.call->skip();
  if (call.as) netfs->act_as(nullptr);
  counters.in_flight.sub();
  acts ? finish(call) : cannot_act(call);
}

void ShareCalls::Core::cannot_act(Out& call) {
  std::shared_ptr<Out> timers_reference;
  const MutexLock lock(mutex);
  if (!call.told) timers_reference = tell_locked(call, Error{ErrorCode::kShareAnswer, EPERM});
}

bool ShareCalls::Core::begin(Out& call) {
  const MutexLock lock(mutex);
  --waiting;
  return !call.told;
}

void ShareCalls::Core::finish(Out& call) {
  const bool is_away = call.call->share_is_away();
  std::shared_ptr<Out> timers_reference;
  const MutexLock lock(mutex);
  if (call.told) {
    counters.abandoned_answers.add();
    return;
  }
  const Nanoseconds took_ns = std::max<Nanoseconds>(clock.mono_ns() - call.submitted_mono_ns, 0);
  counters.latency_ns.record(static_cast<std::uint64_t>(took_ns));
  timers_reference = tell_locked(call, std::nullopt);
  set_away_locked(is_away);
  if (took_ns < options.slow_ns && slow_out == 0) set_slow_locked(false);
}

void ShareCalls::Core::fire(Out& call) {
  std::vector<std::shared_ptr<Out>> timers_references;
  const MutexLock lock(mutex);
  if (call.told) return;
  const Nanoseconds now_mono_ns = clock.mono_ns();
  if (!call.is_slow && now_mono_ns >= later(call.submitted_mono_ns, options.slow_ns)) {
    call.is_slow = true;
    ++slow_out;
    set_slow_locked(true);
    tell_those_who_know_locked(timers_references);
    if (call.told) return;
  }
  if (now_mono_ns >= call.deadline_mono_ns) {
    counters.deadlines.add();
    tell_locked(call, Error{ErrorCode::kShareDeadline, 0});
    return;
  }
  if (call.deadline_mono_ns != kNever) arm_locked(call, call.deadline_mono_ns);
}

// Who can answer from what is known waits no longer for a share that is slow.
void ShareCalls::Core::tell_those_who_know_locked(std::vector<std::shared_ptr<Out>>& references) {
  for (auto at = out.begin(); at != out.end();) {
    Out& waiting_one = *at++;
    if (waiting_one.fallback == Fallback::kNone) continue;
    counters.deadlines.add();
    references.push_back(tell_locked(waiting_one, Error{ErrorCode::kShareDeadline, 0}));
  }
}

void ShareCalls::Core::drain() {
  std::vector<std::shared_ptr<Out>> timers_references;
  const MutexLock lock(mutex);
  drained = true;
  while (!out.empty()) {
    timers_references.push_back(tell_locked(out.front(), Error{ErrorCode::kShutdown, 0}));
  }
}

void ShareCalls::Core::arm_locked(Out& call, Nanoseconds due_mono_ns) {
  call.for_timers = call.shared_from_this();
  timers.add(call, due_mono_ns);
}

std::shared_ptr<ShareCalls::Core::Out> ShareCalls::Core::tell_locked(Out& call,
                                                                     std::optional<Error> error) {
  check(!call.told, "a call is told once");
  call.told = true;
  call.error = error;
  out.erase(out.iterator_to(call));
  if (call.is_slow) --slow_out;
  post_answer_locked(call);
  // Where the timer is firing it finds the call told, and lets go of its reference itself.
  return timers.cancel(call) ? std::move(call.for_timers) : nullptr;
}

void ShareCalls::Core::refuse_locked(Out& call, ErrorCode code) {
  call.told = true;
  call.error = Error{code, 0};
  post_answer_locked(call);
}

void ShareCalls::Core::post_answer_locked(Out& call) {
  call.for_answers = call.shared_from_this();
  answers.post(call.answer);
}

void ShareCalls::Core::set_slow_locked(bool now_slow) {
  if (slow == now_slow) return;
  slow = now_slow;
  if (slow) counters.slow_trips.add();
  if (!away) state.store(slow ? ShareState::kSlow : ShareState::kOk);
  announce_locked(slow ? LogLevel::kWarn : LogLevel::kInfo,
                  fmt::format("the share ({}) {}", netfs::to_text(netfs->traits().share),
                              slow ? "answers slowly" : "answers in time again"));
}

void ShareCalls::Core::set_away_locked(bool now_away) {
  if (away == now_away) return;
  away = now_away;
  if (away) counters.away_trips.add();
  state.store(away ? ShareState::kAway : slow ? ShareState::kSlow : ShareState::kOk);
  const std::string share = netfs::to_text(netfs->traits().share);
  announce_locked(LogLevel::kWarn,
                  away ? fmt::format("the share ({}) is away: {}", share, netfs->why_away())
                       : fmt::format("the share ({}) is back", share));
}

// Neither a share thread nor the timers' may wait for a log.
void ShareCalls::Core::announce_locked(LogLevel level, std::string line) {
  post(answers, [level, line = std::move(line)] { log_line(level, line); });
}

ShareCalls::ShareCalls(std::shared_ptr<Netfs> netfs, WorkQueue& pool, WorkQueue& answers,
                       Timers& timers, const Clock& clock, ShareCallsOptions options)
    : core_(std::make_shared<Core>(std::move(netfs), pool, answers, timers, clock, options)) {}

ShareCalls::~ShareCalls() {
  const MutexLock lock(core_->mutex);
  check(core_->drained, "the calls to the share are drained before they end");
}

void ShareCalls::submit(CallKind kind, CallOptions options, std::shared_ptr<Call> call) {
  core_->submit(kind, std::move(options), std::move(call));
}

ShareState ShareCalls::state() const { return core_->state.load(); }
const Traits& ShareCalls::traits() const { return core_->netfs->traits(); }
ShareCounters& ShareCalls::counters() { return core_->counters; }
void ShareCalls::drain() { core_->drain(); }

}  // namespace larder
