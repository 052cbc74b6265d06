// SPDX-License-Identifier: Apache-2.0
// Handing over: a larder that is started for a store which another has open gives its mount to that
// one. It mounts here, with the rights and in the place of its caller, and passes the device along;
// the other serves it from there. docs/architecture.md, One process, many mounts.
#pragma once

#include <larder/local_socket.h>
#include <larder/options.h>
#include <larder/result.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace larder::fuse {

// What the two say to each other, one JSON object a packet.
std::string mount_request(const MountOptions& options, bool stays);
SetUp<MountOptions> read_mount_request(std::string_view packet);

class HandedOver {
 public:
  // Offers the mount to whoever has the store. nullopt: nobody has, or who has it is about to end.
  // `stays`: this process stays, and the mount ends with it. Blocks, as long as the share does.
  // Errors: with a line, of the other larder or of the mounting.
  enum class Stay : bool { kNo, kYes };
  static SetUp<std::optional<HandedOver>> offer(const MountOptions& options, Stay stay);

  const std::vector<std::string>& notes() const { return notes_; }
  // Waits for the mount's end; a signal (readable `signals_fd`) unmounts it. False: the larder that
  // served it has died.
  bool wait_for_the_end(int signals_fd);

 private:
  HandedOver(LocalSocket socket, std::vector<std::string> notes)
      : socket_(std::move(socket)), notes_(std::move(notes)) {}
  LocalSocket socket_;
  std::vector<std::string> notes_;
};

}  // namespace larder::fuse
