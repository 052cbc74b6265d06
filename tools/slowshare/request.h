// SPDX-License-Identifier: Apache-2.0
// Request: one request on its way through the Gate; made first thing in each operation.
//
//   Request request(req, Call::getattr, Names{...});
//   if (request.refused()) return;      // the wanted error has been answered
//
// Thread: the one that took the request.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <cerrno>
#include <string>
#include <utility>

#include "slowshare/source.h"

namespace larder::slowshare {

inline Source& source_of(fuse_req_t req) { return *static_cast<Source*>(fuse_req_userdata(req)); }

class Request {
 public:
  // About the inode itself, by the name it was last seen under.
  Request(fuse_req_t req, Call call, fuse_ino_t ino)
      : Request(req, call, source_of(req).name_of(ino)) {}
  // About a name in a directory (two for rename).
  Request(fuse_req_t req, Call call, std::string first, const std::string& second = {})
      : source(source_of(req)), name(std::move(first)), req_(req) {
    error_ = source.gate().enter(call, Names{name, second});
    if (error_ != 0) fuse_reply_err(req, error_);
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request() { source.gate().leave(); }

  bool refused() const { return error_ != 0; }
  // Answers with success or the present errno, as the result of a system call says.
  void answer(int result) const { fuse_reply_err(req_, result < 0 ? errno : 0); }

  Source& source;
  const std::string name;

 private:
  const fuse_req_t req_;
  int error_ = 0;
};

inline int fd_of(const fuse_file_info* file) { return static_cast<int>(file->fh); }

// The three groups of operations, each in a file of its own.
void add_name_operations(fuse_lowlevel_ops& ops);
void add_inode_operations(fuse_lowlevel_ops& ops);
void add_file_operations(fuse_lowlevel_ops& ops);
void add_directory_operations(fuse_lowlevel_ops& ops);

// Looks `name` up and answers with the entry: the end of look-up and of all that make a name.
void answer_entry(fuse_req_t req, Source& source, fuse_ino_t parent, const char* name);
// Root makes files for others: gives what was made to the caller. `made` is relative to
// `parent_fd`.
void give_to_caller(fuse_req_t req, int parent_fd, const char* made);

}  // namespace larder::slowshare
