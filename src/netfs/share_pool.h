// SPDX-License-Identifier: Apache-2.0
// SharePool: the `share` work queue: threads that may hang in the kernel for ever.
//
// After kill -9 a thread that hangs in the kernel keeps its whole descriptor table. Were that the
// program's, the store's lock would stay held and the mount would hang instead of answering
// ENOTCONN. So:
//
//   P1 one mother thread leaves the program's descriptor table, closes all but 0, 1 and 2 in its
//   copy, and
//      starts all others, which share that table. The mother itself never calls a share.
//   P2 a descriptor of this table means another file, or none, in the program's. So a descriptor of
//   the
//      share is opened, used AND CLOSED on these threads only: adopt() makes shared pointers for
//      that.
//   P3 code on these threads does not log: syslog(3) keeps its descriptor in a global variable, and
//   would
//      send to, and close, whatever has that number here. And it never says /proc/self/fd/N, which
//      is the program's table; /proc/thread-self/fd/N is this one. (glibc's fchmodat does say it.)
//   P4 each has a umask (0 between calls) and a working directory (/) of its own, too.
//   P5 threads are started when work waits and none is idle, up to the limit. A thread that hangs
//   is lost
//      until the share answers and counts against the limit.
//   P6 what the threads touch is in a Core that they share: a pool may end while threads of it
//   hang.
//
// Where the system refuses a table of their own (a sandbox), one line says so and they share the
// program's.
#pragma once

#include <larder/clock.h>
#include <larder/fd.h>
#include <larder/result.h>
#include <larder/work_queue.h>
#include <pthread.h>

#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"

namespace larder::netfs {

struct SharePoolOptions {
  unsigned threads = 32;
  std::string name = "share";
  // How long stop() waits for threads that are in a call.
  Nanoseconds stop_grace_ns = 200 * kMillisecond;
};

// Whether umask(2) on this thread is about this thread alone: on share threads, where the system
// lets them.
bool thread_has_own_umask();

class SharePool final : public WorkQueue {
 public:
  explicit SharePool(SharePoolOptions options);
  ~SharePool() override;  // calls stop() where nobody did

  void post(Work& work) override;

  // Runs `function` on a share thread and waits for it, at most `at_most_ns`. nullopt: it has not
  // come back; it goes on, with all it owns, and what it returns is thrown away. REQUIRES: not on a
  // share thread.
  template <class T>
  std::optional<T> run_and_wait(absl::AnyInvocable<T()> function, Nanoseconds at_most_ns);

  struct Core;

  // Makes shared pointers whose object is destroyed on a share thread, wherever its last reference
  // goes. After stop() there is no such thread: then it stays, and the end of the process is its
  // end. May outlive the pool, as a call that hangs does.
  class Keeper {
   public:
    template <class T>
    std::shared_ptr<T> adopt(std::unique_ptr<T> object) const;
    // A descriptor of the share threads' table, in the program's. Errors: kSystem; kNotSupported
    // before Linux 6.9. Thread: any but the pool's own.
    Result<Fd> fetch(int share_descriptor) const;

   private:
    friend class SharePool;
    explicit Keeper(std::shared_ptr<Core> core) : core_(std::move(core)) {}
    std::shared_ptr<Core> core_;
  };
  Keeper keeper() const { return Keeper(core_); }

  // Takes what is queued to its end and ends the threads. How many were left behind, hanging.
  unsigned stop();

  // Threads alive; of these, in a call; and work that waits for one. For `stats` and tests. Thread:
  // any.
  struct Figures {
    unsigned threads = 0, busy = 0, waiting = 0;
    bool own_table = false;
  };
  Figures figures() const;

 private:
  static void let_go(Core& core, Callback<> destroy);
  // True where `done` was set in time.
  struct Waiting {
    Mutex mutex{Rank::kLeaf};
    CondVar condition;
    bool done GUARDED_BY(mutex) = false;
  };
  static bool wait_for(Waiting& waiting, Nanoseconds at_most_ns);
  static void set_done(Waiting& waiting);

  std::shared_ptr<Core> core_;
  pthread_t mother_{};
};

template <class T>
std::optional<T> SharePool::run_and_wait(absl::AnyInvocable<T()> function, Nanoseconds at_most_ns) {
  struct Run : Waiting {
    std::optional<T> value;
  };
  const auto run = std::make_shared<Run>();
  larder::post(*this, [run, function = std::move(function)]() mutable {
    run->value.emplace(function());
    function = nullptr;
    set_done(*run);
  });
  if (!wait_for(*run, at_most_ns)) return std::nullopt;
  return std::move(run->value);
}

template <class T>
std::shared_ptr<T> SharePool::Keeper::adopt(std::unique_ptr<T> object) const {
  T* const raw = object.get();
  std::shared_ptr<T> shared(raw, [core = core_](T* last) {
    let_go(*core, [last] { std::unique_ptr<T>{last}.reset(); });
  });
  static_cast<void>(object.release());
  return shared;
}

}  // namespace larder::netfs
