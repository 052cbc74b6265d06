// SPDX-License-Identifier: Apache-2.0
// The control socket: how programs reach a running larder beside the mount, so also when the mount
// does not answer. Packets of text over a Unix socket; a packet may carry a descriptor.
//
// Each larder process listens on one socket in the *run directory*: /run/larder for root, else
// $XDG_RUNTIME_DIR/larder, or $LARDER_RUN where that is set. Beside it lie symbolic links to it,
// one for each mount point and one for each store that the process has, so that it is found by
// either without asking a file system that might hang.
//
// The conversation: the client sends one packet, a JSON object ("do" says what). The answer is a
// JSON object too: {"ok": true, ...}, or {"ok": false, "line": why}. What is long follows in
// packets of plain text until the connection is closed. Only the user that runs the process, and
// root, are answered (SO_PEERCRED).
#pragma once

#include <larder/fd.h>
#include <larder/result.h>
#include <larder/units.h>

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace larder {

struct Packet {
  std::string text;
  Fd fd;  // where one came along
};

// One end of a connection. Thread: one at a time.
class LocalSocket {
 public:
  explicit LocalSocket(Fd fd) : fd_(std::move(fd)) {}
  // Errors: kNotFound (nobody listens there), kPermission, kSystem.
  static Result<LocalSocket> connect(const std::string& path);

  static constexpr std::size_t kPacketMax = 64 << 10;
  // REQUIRES: 1 to kPacketMax bytes. `fd`: -1, or one that the other end gets a copy of. Errors:
  // kSystem (the other end is gone, or did not take it in time).
  Status send(std::string_view text, int fd = -1);
  // nullopt: the other end has closed. Errors: kSystem; ETIMEDOUT behind patience.
  Result<std::optional<Packet>> receive();
  // How long send() and receive() wait.
  void set_patience(Nanoseconds time_ns);
  // Of the process that connected.
  std::optional<uid_t> peer() const;
  int fd() const { return fd_.get(); }

 private:
  Fd fd_;
};

// Listens at PATH; takes the name away again with its end.
class LocalListener {
 public:
  // What lies there is replaced: nobody listened on it when this was called, or it is ours.
  static SetUp<LocalListener> open(std::string path);
  LocalListener(LocalListener&&) noexcept = default;
  LocalListener& operator=(LocalListener&&) = delete;
  ~LocalListener();
  // Listens no more.
  void close();

  // Waits; nullopt behind an error that may pass.
  std::optional<LocalSocket> accept();
  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }

 private:
  LocalListener(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::string path_;
};

// The run directory, made (0700) where it is not there. Errors: kSystem, where it is somebody
// else's or open to others.
SetUp<std::string> make_run_directory();
std::string run_directory();
// Names in it.
std::string socket_of_process(pid_t pid);
// `mountpoint` is absolute. Its parent is resolved, what is mounted at it is not asked.
std::string link_of_mount(const std::string& mountpoint);
// By device and inode, so that each path of the file leads there; empty: there is no such file.
std::string link_of_store(const std::string& path);
// Points `name` (in the run directory) at `target` (in it, too), replacing what was there.
Status make_link(const std::string& name, const std::string& target);
// Takes `name` away if it points at `target`.
void drop_link(const std::string& name, const std::string& target);
// Takes away what processes that died have left behind.
void clean_run_directory();

}  // namespace larder
