// SPDX-License-Identifier: Apache-2.0
#include "netfs/share_pool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/log.h>
#include <larder/result.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <vector>

#include "io/fifo.h"

namespace larder::netfs {

struct SharePool::Core : std::enable_shared_from_this<Core> {
  explicit Core(SharePoolOptions o) : options(std::move(o)) {}

  void run_mother();
  void run_thread();
  // Starts a pthread that keeps the Core alive. REQUIRES: signals are as the thread shall have
  // them.
  int start(const std::string& name, void (Core::*body)(), pthread_t& id);
  bool wants_thread_locked() const REQUIRES(mutex) {
    return waiting > idle && threads.size() < options.threads && !refused;
  }

  const SharePoolOptions options;
  mutable Mutex mutex{Rank::kQueue};
  CondVar work, mother_work, changed;
  Fifo<Work> queue GUARDED_BY(mutex);
  unsigned waiting GUARDED_BY(mutex) = 0;
  unsigned idle GUARDED_BY(mutex) = 0;     // wait for work, or are about to
  unsigned alive GUARDED_BY(mutex) = 0;    // share threads that have not ended
  bool refused GUARDED_BY(mutex) = false;  // the system gave no more threads
  bool stopping GUARDED_BY(mutex) = false;
  bool stopped GUARDED_BY(mutex) = false;
  std::optional<int> unshare_errno GUARDED_BY(mutex);  // set when the mother is ready
  pid_t mother_thread GUARDED_BY(mutex) = 0;
  Fd mother;  // a pidfd of hers: constant once she is ready; invalid before Linux 6.9
  std::vector<pthread_t> threads GUARDED_BY(mutex);
  std::vector<pthread_t> ended GUARDED_BY(mutex);
};

namespace {

// The pool whose thread this is.
thread_local const SharePool::Core* current_pool = nullptr;
thread_local bool own_umask = false;

// Blocks what others send; a fault of the thread itself must still be heard.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
      sigdelset(&all, fault);
    }
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// Gives the calling thread a descriptor table, a umask and a working directory of its own. 0 or an
// errno.
int leave_table() {
  if (::unshare(CLONE_FILES | CLONE_FS) != 0) return errno;
  // A kernel without close_range(2) would leave the store's lock in here.
  const int error = ::close_range(3, ~0U, 0) == 0 ? 0 : errno;
  ::umask(0);
  static_cast<void>(::chdir("/") == 0);
  return error;
}

// PIDFD_THREAD, of Linux 6.9.
constexpr unsigned kOfThread = O_EXCL;

Fd thread_descriptor(pid_t thread) {
  return Fd(static_cast<int>(::syscall(SYS_pidfd_open, thread, kOfThread)));
}

struct Start {
  std::shared_ptr<SharePool::Core> core;
  void (SharePool::Core::*body)();
};

void* begin(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  current_pool = start->core.get();
  (start->core.get()->*start->body)();
  return nullptr;
}

}  // namespace

int SharePool::Core::start(const std::string& name, void (Core::*body)(), pthread_t& id) {
  auto argument = std::make_unique<Start>(Start{shared_from_this(), body});
  const int error = ::pthread_create(&id, nullptr, begin, argument.get());
  if (error != 0) return error;
  static_cast<void>(argument.release());
  ::pthread_setname_np(id, name.substr(0, 15).c_str());
  return 0;
}

void SharePool::Core::run_mother() {
  const pid_t self = ::gettid();
  const int error = leave_table();
  MutexLock lock(mutex);
  unshare_errno = error;
  mother_thread = self;
  changed.notify_all();
  for (;;) {
    while (!stopping && !wants_thread_locked()) mother_work.wait(mutex);
    // Work that waits at the end is still done: by threads that are there, or by a first one.
    if (!wants_thread_locked()) break;
    // It counts as idle from now on, so that one piece of work starts one thread.
    const std::string name = fmt::format("{}-{}", options.name, threads.size());
    pthread_t id{};
    if (start(name, &Core::run_thread, id) != 0) {
      // Those that run go on; none at all would be a hang that nobody can explain.
      check(alive > 0, "the system gives no thread for the share");
      refused = true;
      continue;
    }
    threads.push_back(id);
    ++alive;
    ++idle;
  }
}

void SharePool::Core::run_thread() {
  own_umask = ::unshare(CLONE_FS) == 0;
  MutexLock lock(mutex);
  for (;;) {
    while (queue.empty() && !stopping) work.wait(mutex);
    Work* const next = queue.pop();
    if (next == nullptr) break;
    --waiting;
    --idle;
    refused = false;  // this thread may be lost now: ask the system again
    lock.unlock();
    next->run(*next);
    lock.lock();
    ++idle;
  }
  --idle;
  --alive;
  ended.push_back(::pthread_self());
  changed.notify_all();
}

SharePool::SharePool(SharePoolOptions options) : core_(std::make_shared<Core>(std::move(options))) {
  check(core_->options.threads > 0, "a share pool has a thread");
  int error = 0;
  {
    const SignalsBlocked blocked;
    check(core_->start(core_->options.name + "-mother", &Core::run_mother, mother_) == 0,
          "the system gives no thread for the share");
  }
  {
    const MutexLock lock(core_->mutex);
    while (!core_->unshare_errno) core_->changed.wait(core_->mutex);
    error = *core_->unshare_errno;
    core_->mother = thread_descriptor(core_->mother_thread);
  }
  if (error == 0) return;
  log(LogLevel::kWarn,
      "the share's threads have no descriptor table of their own ({}): after kill -9 a share that "
      "hangs keeps the store locked",
      std::generic_category().message(error));
}

// Also where the table is the program's own.
Result<Fd> SharePool::Keeper::fetch(int share_descriptor) const {
  if (!core_->mother.valid()) return fail(ErrorCode::kNotSupported);
  Fd fetched(
      static_cast<int>(::syscall(SYS_pidfd_getfd, core_->mother.get(), share_descriptor, 0)));
  if (!fetched.valid()) return fail(ErrorCode::kSystem, errno);
  return fetched;
}

bool thread_has_own_umask() { return own_umask; }

SharePool::~SharePool() { stop(); }

void SharePool::post(Work& work) {
  Core& core = *core_;
  const MutexLock lock(core.mutex);
  core.queue.push(work);
  ++core.waiting;
  core.work.notify_one();
  if (core.wants_thread_locked()) core.mother_work.notify_one();
}

unsigned SharePool::stop() {
  Core& core = *core_;
  std::vector<pthread_t> to_join;
  MutexLock lock(core.mutex);
  if (core.stopped) return core.alive;
  core.stopping = true;
  core.work.notify_all();
  core.mother_work.notify_one();
  // Real time: what hangs in the kernel can only be waited for, and not for long.
  const Nanoseconds until_ns = system_clock().mono_ns() + core.options.stop_grace_ns;
  while (core.alive > 0 || core.waiting > 0) {
    const Nanoseconds left_ns = until_ns - system_clock().mono_ns();
    if (left_ns <= 0) break;
    core.changed.wait_for(core.mutex, std::chrono::nanoseconds(left_ns));
  }
  core.stopped = true;
  to_join.swap(core.ended);
  for (const pthread_t id : core.threads) {
    bool is_ended = false;
    for (const pthread_t other : to_join) is_ended |= pthread_equal(id, other) != 0;
    if (!is_ended) ::pthread_detach(id);
  }
  const unsigned left_behind = core.alive;
  lock.unlock();
  ::pthread_join(mother_, nullptr);
  for (const pthread_t id : to_join) ::pthread_join(id, nullptr);
  return left_behind;
}

SharePool::Figures SharePool::figures() const {
  const MutexLock lock(core_->mutex);
  return Figures{.threads = core_->alive,
                 .busy = core_->alive - core_->idle,
                 .waiting = core_->waiting,
                 .own_table = core_->unshare_errno == 0};
}

void SharePool::let_go(Core& core, Callback<> destroy) {
  if (current_pool == &core) return std::move(destroy)();
  struct Last : Work {
    explicit Last(Callback<> d) : destroy(std::move(d)) {
      run = [](Work& self) {
        const std::unique_ptr<Last> last(static_cast<Last*>(&self));
        std::move(last->destroy)();
      };
    }
    Callback<> destroy;
  };
  auto last = std::make_unique<Last>(std::move(destroy));
  const MutexLock lock(core.mutex);
  if (core.stopped) {
    static_cast<void>(last.release());  // P2: nobody is left who could close it
    return;
  }
  core.queue.push(*last.release());
  ++core.waiting;
  core.work.notify_one();
  if (core.wants_thread_locked()) core.mother_work.notify_one();
}

bool SharePool::wait_for(Waiting& waiting, Nanoseconds at_most_ns) {
  const Nanoseconds began_ns = system_clock().mono_ns();
  const MutexLock lock(waiting.mutex);
  while (!waiting.done) {
    const Nanoseconds left_ns = at_most_ns - (system_clock().mono_ns() - began_ns);
    if (left_ns <= 0) return false;
    waiting.condition.wait_for(waiting.mutex, std::chrono::nanoseconds(left_ns));
  }
  return true;
}

void SharePool::set_done(Waiting& waiting) {
  const MutexLock lock(waiting.mutex);
  waiting.done = true;
  waiting.condition.notify_all();
}

}  // namespace larder::netfs
