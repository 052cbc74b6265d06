// SPDX-License-Identifier: Apache-2.0
#include "vfs/leaving.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace larder {
namespace {

constexpr Nanoseconds kLookAgain_ns = 100 * kMillisecond;

// "SigPnd:\t0000000000000100"
std::uint64_t mask_of(std::string_view status, std::string_view name) {
  const std::size_t at = status.find(name);
  if (at == std::string_view::npos) return 0;
  const std::string_view rest = status.substr(at + name.size());
  const std::size_t digits = rest.find_first_not_of(" \t");
  std::uint64_t mask = 0;
  if (digits != std::string_view::npos)
    std::from_chars(rest.data() + digits, rest.data() + rest.size(), mask, 16);
  return mask;
}

std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

// `thread`: of whoever asks, as this process numbers it; 0: not to be seen from here.
Signalled signalled_now(std::uint32_t thread) {
  if (thread == 0) return Signalled::kCaught;
  std::ifstream file(fmt::format("/proc/{}/status", thread));
  std::ostringstream text;
  text << file.rdbuf();
  return signalled(text.str());
}

}  // namespace

Signalled signalled(std::string_view status) {
  if (status.find("SigPnd:") == std::string_view::npos) return Signalled::kCaught;
  const std::uint64_t pending = mask_of(status, "SigPnd:") | mask_of(status, "ShdPnd:");
  if ((pending & bit(SIGKILL)) != 0) return Signalled::kEnds;
  const std::uint64_t noticed =
      pending & ~mask_of(status, "SigBlk:") & ~mask_of(status, "SigIgn:") & ~bit(SIGSTOP);
  const std::uint64_t caught = noticed & mask_of(status, "SigCgt:");
  const std::uint64_t ends_nobody = bit(SIGCHLD) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGCONT) |
                                    bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
  if ((noticed & ~caught & ~ends_nobody) != 0) return Signalled::kEnds;
  return caught != 0 ? Signalled::kCaught : Signalled::kNothing;
}

struct Leaving::Core : Timer, std::enable_shared_from_this<Core> {
  Core(const Clock& c, Timers& t, WorkQueue& a, Nanoseconds p, stats::Counter& l)
      : clock(c), timers(t), answers(a), patience_ns(p), left(l) {
    fire = [](Timer& self) {
      const std::shared_ptr<Core> me = static_cast<Core&>(self).taken_from_timers();
      me->look_again();
    };
  }
  std::shared_ptr<Core> taken_from_timers() {
    const MutexLock lock(mutex);
    return std::move(for_timers);
  }
  void look_again();
  void arm_locked() REQUIRES(mutex);

  const Clock& clock;
  Timers& timers;
  WorkQueue& answers;
  const Nanoseconds patience_ns;
  stats::Counter& left;
  Mutex mutex{Rank::kShareCalls};
  std::vector<Guarded*> stayers GUARDED_BY(mutex);  // interrupted, and waiting on
  bool ended GUARDED_BY(mutex) = false;
  std::shared_ptr<Core> for_timers GUARDED_BY(mutex);  // while the timer waits
};

// One reference is the owner's Reply, one the answer's that is on its way.
class Leaving::Guarded final : public ReplySlot {
 public:
  Guarded(std::shared_ptr<Core> core, Reply inner)
      : core_(std::move(core)), since_ns_(core_->clock.mono_ns()), inner_(std::move(inner)) {
    ear_.heard = [](Listener& self) { static_cast<Ear&>(self).whose.interrupt(); };
  }
  // Apart: the listener may be called before this returns.
  void begin() { inner_.slot().listen(&ear_); }

  bool may_leave(Nanoseconds now_ns) const {
    const Signalled by = signalled_now(inner_thread_);
    return by == Signalled::kEnds ||
           (by == Signalled::kCaught && now_ns - since_ns_ >= core_->patience_ns);
  }
  void leave_locked() REQUIRES(core_->mutex) {
    state_ = State::kLeft;
    references_.fetch_add(1);
    core_->left.add();
    larder::post(core_->answers, [this] {
      inner_.slot().listen(nullptr);  // behind it nobody is in interrupt()
      inner_.error({ErrorCode::kShareAnswer, EINTR});
      let_go();
    });
  }

  bool stay() override {
    {
      const MutexLock lock(core_->mutex);
      if (state_ != State::kWaits) return state_ == State::kStays;
      state_ = State::kStays;
      std::erase(core_->stayers, this);
    }
    inner_.slot().listen(nullptr);
    return true;
  }

  std::span<std::byte> payload() override { return inner_.payload(); }
  bool park() override { return true; }
  bool interrupted() override { return inner_.interrupted(); }
  std::uint32_t asker() override { return inner_thread_; }
  CredentialsRef caller() override {
    const MutexLock lock(core_->mutex);
    check(state_ == State::kStays, "who asked is known before he may leave");
    return inner_.caller();
  }
  void error(Error e) override {
    if (stay()) inner_.error(e);
  }
  void ok() override {
    if (stay()) inner_.ok();
  }
  void entry(const Entry& e) override {
    if (stay()) inner_.entry(e);
  }
  void attributes(std::uint64_t inode, const Attributes& a, Nanoseconds ttl_ns) override {
    if (stay()) inner_.attributes(inode, a, ttl_ns);
  }
  void opened(const OpenReply& o) override {
    if (stay()) inner_.opened(o);
  }
  void created(const Entry& e, const OpenReply& o) override {
    if (stay()) inner_.created(e, o);
  }
  void data(std::size_t skip, ByteCount count) override {
    if (stay()) inner_.data(skip, count);
  }
  void written(ByteCount count) override {
    if (stay()) inner_.written(count);
  }
  void position(ByteOffset offset) override {
    if (stay()) inner_.position(offset);
  }
  void lock(const LockRange& range) override {
    if (stay()) inner_.lock(range);
  }
  void link(std::string_view target) override {
    if (stay()) inner_.link(target);
  }
  void xattr_size(ByteCount size) override {
    if (stay()) inner_.xattr_size(size);
  }
  void stat_fs(const struct statvfs& figures) override {
    if (stay()) inner_.stat_fs(figures);
  }
  bool add_dirent(std::size_t& used, std::size_t limit, std::string_view name, std::uint64_t inode,
                  std::uint32_t mode, std::uint64_t next) override {
    return inner_.slot().add_dirent(used, limit, name, inode, mode, next);
  }
  bool add_dirent_plus(std::size_t& used, std::size_t limit, std::string_view name,
                       const Entry& entry, std::uint64_t next) override {
    return inner_.slot().add_dirent_plus(used, limit, name, entry, next);
  }
  void recycle() override { let_go(); }

 private:
  enum class State : std::uint8_t { kWaits, kLeft, kStays };
  struct Ear : Listener {
    explicit Ear(Guarded& g) : whose(g) {}
    Guarded& whose;
  };

  void interrupt() {
    const Nanoseconds now_ns = core_->clock.mono_ns();
    const bool leaves = may_leave(now_ns);
    const MutexLock lock(core_->mutex);
    if (state_ != State::kWaits || core_->ended) return;
    if (leaves) return leave_locked();
    if (std::find(core_->stayers.begin(), core_->stayers.end(), this) != core_->stayers.end())
      return;
    core_->stayers.push_back(this);
    core_->arm_locked();
  }
  void let_go() {
    if (references_.fetch_sub(1) == 1) delete this;
  }

  const std::shared_ptr<Core> core_;
  const Nanoseconds since_ns_;
  Ear ear_{*this};
  Reply inner_;
  const std::uint32_t inner_thread_ = inner_.slot().asker();
  State state_ GUARDED_BY(core_->mutex) = State::kWaits;
  std::atomic<int> references_{1};
};

void Leaving::Core::arm_locked() {
  if (for_timers) return;
  for_timers = shared_from_this();
  timers.add(*this, clock.mono_ns() + kLookAgain_ns);
}

// The analysis does not see that a stayer's core is this one.
void Leaving::Core::look_again() NO_THREAD_SAFETY_ANALYSIS {
  const Nanoseconds now_ns = clock.mono_ns();
  const MutexLock lock(mutex);
  if (ended) return;
  for (std::size_t i = 0; i < stayers.size();) {
    Guarded& one = *stayers[i];
    if (!one.may_leave(now_ns)) {
      ++i;
      continue;
    }
    stayers.erase(stayers.begin() + static_cast<std::ptrdiff_t>(i));
    one.leave_locked();
  }
  if (!stayers.empty()) arm_locked();
}

Leaving::Leaving(const Clock& clock, Timers& timers, WorkQueue& answers, Nanoseconds patience_ns,
                 stats::Counter& left)
    : core_(std::make_shared<Core>(clock, timers, answers, patience_ns, left)) {}

Leaving::~Leaving() { end(); }

void Leaving::guard(Reply& reply) {
  auto* guarded = new Guarded(core_, std::move(reply));
  Reply outer(*guarded);
  reply.swap(outer);  // NOLINT(bugprone-use-after-move): empty, and gets another
  guarded->begin();
}

void Leaving::end() {
  std::shared_ptr<Core> waited;
  const MutexLock lock(core_->mutex);
  core_->ended = true;
  core_->stayers.clear();
  // One that is firing lets go of its reference itself.
  if (core_->for_timers && core_->timers.cancel(*core_)) waited = std::move(core_->for_timers);
}

}  // namespace larder
