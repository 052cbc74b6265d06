// SPDX-License-Identifier: Apache-2.0
// SafePath: how a path of the share becomes a system call without ever leaving the share's root.
//
// The directory above the last part is opened by openat2(2) with RESOLVE_BENEATH, NO_SYMLINKS and
// NO_MAGICLINKS; the call itself is made on (that directory, last part) in its form that follows no
// link. So somebody who can write to the share cannot send larder, which may be root, to a file of
// the machine.
//
// Thread: share threads only; it holds a descriptor (share_pool.h, P2).
#pragma once

#include <larder/fd.h>
#include <larder/result.h>

#include <string>

namespace larder::netfs {

// The error of a call to the share: errno as the share gave it.
tl::unexpected<Error> share_error(int sys_errno);
// The same of `errno`.
tl::unexpected<Error> share_error();

// "" , "a", "a/b": no leading or trailing slash, no empty part, no ".", no "..", no NUL, no part
// over 255.
Status check_path(const std::string& path);

class SafePath {
 public:
  // `root` and `path` must outlive this.
  static Result<SafePath> resolve(int root, const std::string& path);

  bool is_root() const { return *name_ == '\0'; }
  // For *at(2) calls. For the root: its own descriptor and "", for use with AT_EMPTY_PATH.
  int directory() const { return directory_; }
  const char* name() const { return name_; }
  // AT_SYMLINK_NOFOLLOW, or AT_EMPTY_PATH for the root.
  int at_flags() const;

  // The very file, without opening it: an O_PATH descriptor, of a symbolic link too.
  Result<Fd> hold() const;

 private:
  SafePath(Fd parent, int directory, const char* name)
      : parent_(std::move(parent)), directory_(directory), name_(name) {}
  Fd parent_;
  int directory_;
  const char* name_;
};

// Names the file behind a descriptor of THIS thread for calls that take a path only.
class HeldName {
 public:
  explicit HeldName(int fd);
  const char* c_str() const { return text_; }

 private:
  char text_[40];
};

}  // namespace larder::netfs
