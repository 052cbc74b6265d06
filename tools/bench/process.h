// SPDX-License-Identifier: Apache-2.0
// Child: a process of ours, ended by its id. Its output goes to a log file, whose end is shown when
// it fails. Thread: one at a time.
#pragma once

#include <larder/fd.h>
#include <larder/result.h>
#include <larder/units.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace larder::bench {

class Child {
 public:
  // argv[0] is looked up in PATH.
  static SetUp<Child> start(const std::vector<std::string>& argv, const std::string& log);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();  // ends it: SIGTERM, and SIGKILL where that does not help within 10 s

  pid_t pid() const { return pid_; }
  // The exit code (128 + signal where a signal ended it); nothing while it still runs after `wait`.
  std::optional<int> wait(Nanoseconds wait);
  // Processor time that it has used, all threads.
  double processor_s() const;
  // Memory that it holds now, of its own and of files.
  double resident_mib() const;
  // The last lines that it wrote, as one line.
  std::string last_words() const;

 private:
  Child(pid_t pid, Fd watch, std::string log);
  pid_t pid_ = -1;
  Fd watch_;
  std::string log_;
  std::optional<int> code_;
};

// Runs it to its end; a complaint where that is not exit code 0.
SetUp<std::monostate> run(const std::vector<std::string>& argv, const std::string& log);

}  // namespace larder::bench
