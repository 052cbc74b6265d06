// SPDX-License-Identifier: Apache-2.0
// Source: the directory that is passed through, and the inodes of it that the kernel knows.
//
// An inode holds an O_PATH descriptor, so it stays itself over renames and after its last unlink,
// and the system cannot give its number to another file meanwhile. It goes when the kernel has
// forgotten it as often as it was told of it. The name is the last one it was seen under: fault
// rules match on it.
//
// Thread: any.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <dirent.h>
#include <fuse3/fuse_lowlevel.h>
#include <larder/fd.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "slowshare/gate.h"

namespace larder::slowshare {

struct CloseDir {
  void operator()(DIR* stream) const { closedir(stream); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDir>;
// Of a directory's descriptor, which may be O_PATH. Null: errno says why.
DirectoryStream open_stream(int directory);

struct Inode {
  Fd fd;
  std::pair<dev_t, ino_t> key;
  std::string name;               // by Source::mutex_
  std::uint64_t told = 0;         // by Source::mutex_
  std::string proc_path() const;  // leads to the file whatever its name is now
};

struct Timeouts {
  double entry_s = 0;
  double attr_s = 0;
};

enum class Caching : std::uint8_t { kPages, kDirect };
// kFolds: a name is one however its ASCII letters are spelled, and keeps the first spelling.
enum class NameCase : std::uint8_t { kTells, kFolds };

class Source {
 public:
  Source(Fd root, Gate& gate, Timeouts timeouts, Caching caching, NameCase name_case);

  Gate& gate() { return gate_; }
  const Timeouts& timeouts() const { return timeouts_; }
  Caching caching() const { return caching_; }

  Inode& inode(fuse_ino_t ino);
  std::string name_of(fuse_ino_t ino);
  // As the source spells it; as it is where the source has no such name.
  std::string spelled(fuse_ino_t parent, const char* name);

  // errno or 0. Tells the kernel of the inode once more, so the answer must reach it or forget()
  // must follow.
  int lookup(fuse_ino_t parent, const char* asked, fuse_entry_param& entry);
  void forget(fuse_ino_t ino, std::uint64_t times);
  // After a rename: the inode there goes by that name now.
  void renamed(fuse_ino_t parent, const char* name);

 private:
  Gate& gate_;
  const Timeouts timeouts_;
  const Caching caching_;
  const NameCase name_case_;
  Inode root_;
  std::mutex mutex_;
  absl::flat_hash_map<std::pair<dev_t, ino_t>, std::unique_ptr<Inode>> inodes_;
};

// The low-level operations; their userdata is a Source.
const fuse_lowlevel_ops& operations();

}  // namespace larder::slowshare
