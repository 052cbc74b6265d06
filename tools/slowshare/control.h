// SPDX-License-Identifier: Apache-2.0
// Control: a unix socket outside of the mount, so that a mount that hangs can still be steered. One
// command per connection: a line comes in; "ok\n" and the text, or "error SENTENCE\n", goes out.
//
// Thread: the server has one of its own; a client that says nothing is dropped after a second.
#pragma once

#include <larder/fd.h>
#include <larder/result.h>

#include <memory>
#include <string>
#include <thread>

#include "slowshare/gate.h"

namespace larder::slowshare {

// What the command did: the text to answer, or the complaint.
SetUp<std::string> obey(Gate& gate, const std::string& command);

class ControlServer {
 public:
  static SetUp<std::unique_ptr<ControlServer>> listen(Gate& gate, const std::string& path);
  ~ControlServer();  // removes the socket

  // After the fork that makes a daemon.
  void start();

 private:
  ControlServer(Gate& gate, std::string path, Fd listener, Fd stop);
  void serve();
  void answer(const Fd& client);

  Gate& gate_;
  const std::string path_;
  const Fd listener_;
  const Fd stop_;
  std::thread thread_;
};

// `slowshare --ctl`: prints the answer. The program's exit code.
int run_client(const std::string& path, const std::string& command);

}  // namespace larder::slowshare
