// SPDX-License-Identifier: Apache-2.0
// Transport: how a session's requests come and its answers go. It answers INIT, and with that
// decides: over io_uring (rings.h), or over /dev/fuse (classic.h). Both end in the same libfuse
// operations (ops.h).
//
// Each rung of the ladder that fails leads to /dev/fuse, with one line that says why and what would
// help: not asked for; not offered by the kernel; rings, memory or threads that cannot be had; an
// entry that the kernel does not take.
#pragma once

#include <larder/mount.h>
#include <larder/options.h>
#include <larder/result.h>
#include <larder/transport_stats.h>

#include <memory>
#include <string>

#include "backing_files.h"
#include "classic.h"
#include "init_reply.h"
#include "rings.h"

namespace larder::fuse {

class Transport {
 public:
  // REQUIRES: `session` is mounted, and its userdata is a Served that points here. `ended_fd`: as
  // in classic.h.
  Transport(fuse_session* session, const MountOptions& options, Mount& mount, int ended_fd);
  ~Transport();  // REQUIRES: stop() was called

  // Reads and answers INIT on this thread; requests are served from here on. Errors: kSystem.
  Status start();
  bool over_rings() const { return rings_ != nullptr; }
  // A line for the user: which transport, and why.
  const std::string& note() const { return note_; }

  // Takes no more requests; those that are out may still be answered.
  void stop();
  // Behind stop(): until all that is out has been answered; then the session may go. False: not
  // within that time.
  bool wait_until_answered(Nanoseconds at_most_ns);

  // libfuse's answers, from any thread.
  ssize_t write(const iovec* parts, int count);

 private:
  Status serve_init();
  ssize_t answer_init(const iovec* parts);
  // Sets up the rings where they are wanted and can be had.
  void choose(const InitOffer& offer);
  void fall_back(int sys_errno);
  void name(std::string name, std::string note);
  unsigned classic_threads() const;

  fuse_session* const session_;
  const MountOptions& options_;
  Mount& mount_;
  const ByteCount memory_;
  ClassicTransport classic_;
  std::unique_ptr<Rings> rings_;
  const std::shared_ptr<BackingFiles> backing_files_ = std::make_shared<BackingFiles>();
  std::string note_;
  InitOffer offer_;  // of the INIT that is being answered
  bool init_pending_ = false;
  int init_errno_ = 0;  // of its answer
};

}  // namespace larder::fuse
