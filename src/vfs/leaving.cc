// SPDX-License-Identifier: Apache-2.0
#include "vfs/leaving.h"

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cerrno>
#include <utility>

#include "vfs/rounds.h"
#include "vfs/signalled.h"

namespace larder {
namespace {

constexpr Nanoseconds kLook_ns = 100 * kMillisecond;

struct Waiter : boost::intrusive::list_base_hook<> {};  // a Guarded

}  // namespace

struct Leaving::Core final : Rounds {
  Core(const Clock& c, Timers& t, WorkQueue& a, Nanoseconds p, stats::Counter& l)
      : Rounds(c, t, kLook_ns), answers(a), patience_ns(p), left(l) {}
  using Rounds::ask_locked, Rounds::ended_locked, Rounds::now_ns;
  void look() override;

  WorkQueue& answers;
  const Nanoseconds patience_ns;
  stats::Counter& left;
  boost::intrusive::list<Waiter> waiting GUARDED_BY(mutex);
};

// One reference is the owner's Reply, one the answer's that is on its way.
class Leaving::Guarded final : public ReplySlot, public Waiter {
 public:
  Guarded(std::shared_ptr<Core> core, Reply inner)
      : core_(std::move(core)), since_ns_(core_->now_ns()), inner_(std::move(inner)) {
    ear_.heard = [](Listener& self) { static_cast<Ear&>(self).whose.interrupt(); };
  }
  // Apart: the listener may be called before this returns. Behind it: who is among those that wait
  // may be answered.
  void begin() {
    inner_.slot().listen(&ear_);
    const MutexLock lock(core_->mutex);
    if (state_ != State::kWaits || core_->ended_locked()) return;
    core_->waiting.push_back(*this);
    core_->ask_locked();
  }

  // True: there is nothing more to look for, unless an interrupt comes.
  bool look_locked(Nanoseconds now_ns) REQUIRES(core_->mutex) {
    if (notice_ == Notice::kLookedAt) return true;
    if (notice_ == Notice::kNone && now_ns - since_ns_ < kLook_ns) return false;
    const bool told = notice_ == Notice::kTold;
    const Signalled by =
        signalled_now(inner_thread_).value_or(told ? Signalled::kCaught : Signalled::kNothing);
    if (by == Signalled::kEnds ||
        (by == Signalled::kCaught && now_ns - since_ns_ >= core_->patience_ns)) {
      leave_locked();
      return true;
    }
    notice_ = told || by == Signalled::kCaught ? Notice::kTold : Notice::kLookedAt;
    return notice_ == Notice::kLookedAt;
  }
  void leave_locked() REQUIRES(core_->mutex) {
    state_ = State::kLeft;
    no_longer_waits_locked();
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
      no_longer_waits_locked();
    }
    inner_.slot().listen(nullptr);
    return true;
  }

  bool is_guarded() const override { return true; }
  void may_leave() override {
    {
      const MutexLock lock(core_->mutex);
      if (state_ != State::kStays) return;
      state_ = State::kWaits;
    }
    begin();
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
  enum class Notice : std::uint8_t { kNone, kLookedAt, kTold };
  struct Ear : Listener {
    explicit Ear(Guarded& g) : whose(g) {}
    Guarded& whose;
  };

  void interrupt() {
    const Nanoseconds now_ns = core_->now_ns();
    const MutexLock lock(core_->mutex);
    if (state_ != State::kWaits || core_->ended_locked()) return;
    notice_ = Notice::kTold;
    if (!look_locked(now_ns)) core_->ask_locked();
  }
  void no_longer_waits_locked() REQUIRES(core_->mutex) {
    if (is_linked()) core_->waiting.erase(core_->waiting.iterator_to(*this));
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
  Notice notice_ GUARDED_BY(core_->mutex) = Notice::kNone;
  std::atomic<int> references_{1};
};

// The analysis does not see that the core of one who waits is this one.
void Leaving::Core::look() NO_THREAD_SAFETY_ANALYSIS {
  const Nanoseconds now = now_ns();
  const MutexLock lock(mutex);
  bool again = false;
  for (auto at = waiting.begin(); at != waiting.end();) {
    auto& one = static_cast<Guarded&>(*at++);  // it may leave
    again = !one.look_locked(now) || again;
  }
  if (again) ask_locked();
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
  core_->end();
  const MutexLock lock(core_->mutex);
  core_->waiting.clear();
}

}  // namespace larder
