// SPDX-License-Identifier: Apache-2.0
// Control: the control files of a running mount, and what else it does when asked.
//
// The larder that serves the mount is asked over its control socket (<larder/local_socket.h>), so
// that a mount which does not answer is no obstacle. Where that cannot be had (another user's
// mount, another machine's view) the file MOUNTPOINT/.larder/... is read: it is opened before the
// mount point is looked at, since an open of it never waits for the share, and a look at the root
// may. What went wrong becomes one line. Thread: any.
#pragma once

#include <larder/local_socket.h>
#include <larder/result.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace larder::ctl {

class Control {
 public:
  // `directory` is the name of the control directory (control=NAME).
  Control(std::string mountpoint, std::string directory)
      : mountpoint_(std::move(mountpoint)), directory_(std::move(directory)) {}

  // All of a control file.
  SetUp<std::string> read(std::string_view file) const;
  // Has the larder that serves the mount do something: `request` without "mountpoint", which is
  // added. Its answer. Errors: with a line of its own, or that it cannot be reached.
  // `patience_ns`: how long it may take; 0: what answers at once.
  SetUp<nlohmann::json> ask(nlohmann::json request, Nanoseconds patience_ns = 0) const;
  const std::string& mountpoint() const { return mountpoint_; }

 private:
  Complaint explain(int error, std::string_view file) const;
  SetUp<std::string> read_from_mount(std::string_view file) const;
  // nullopt: nobody can be asked.
  std::optional<SetUp<std::string>> read_from_socket(std::string_view file) const;

  std::string mountpoint_;
  std::string directory_;
};

// Whichever of the two words is a directory is the mount point: some name it first. A mount point
// that is where it should be is not looked at, for it may not answer.
void in_either_order(std::string& word, std::string& mountpoint);

}  // namespace larder::ctl
