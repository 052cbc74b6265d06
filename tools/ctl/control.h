// SPDX-License-Identifier: Apache-2.0
// Control: the control files of a running mount, MOUNTPOINT/.larder/..., read from outside.
//
// The file itself is opened first and the mount point is looked at only when that fails: an open of
// a control file never waits for the share, and a look at the root may. What went wrong becomes one
// line. Thread: any.
#pragma once

#include <larder/result.h>

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
  const std::string& mountpoint() const { return mountpoint_; }

 private:
  Complaint explain(int error, std::string_view file) const;

  std::string mountpoint_;
  std::string directory_;
};

}  // namespace larder::ctl
