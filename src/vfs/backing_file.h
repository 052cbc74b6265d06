// SPDX-License-Identifier: Apache-2.0
// BackingFile: a file of the share that the kernel reads and writes by itself, for as long as an
// inode is open.
//
// The kernel gives it up before the share's file may go: so what the kernel lets go of is never the
// last that holds the file, and nothing of the share is asked there.
#pragma once

#include <larder/filesystem.h>
#include <larder/netfs.h>

#include <memory>
#include <utility>

namespace larder {

class BackingFile {
 public:
  BackingFile(std::shared_ptr<PassThrough> kernel, BackingId id, std::shared_ptr<NetfsFile> file)
      : file_(std::move(file)), kernel_(std::move(kernel)), id_(id) {}
  ~BackingFile() { kernel_->close(id_); }
  BackingFile(const BackingFile&) = delete;
  BackingFile& operator=(const BackingFile&) = delete;

  BackingId id() const { return id_; }

 private:
  const std::shared_ptr<NetfsFile> file_;  // goes behind close()
  const std::shared_ptr<PassThrough> kernel_;
  const BackingId id_;
};

}  // namespace larder
