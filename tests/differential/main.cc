// SPDX-License-Identifier: Apache-2.0
// differ: does a program see a difference between a plain directory and the same through larder?
//
// Both directories must be empty and are left empty. The same system calls, chosen by the seed, are
// made on both; the first difference in result, errno or effect ends the run.
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/fd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "content.h"
#include "names.h"

namespace larder::differ {
namespace {

Fd open_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    fmt::print(stderr, "{} cannot be opened: {}\n", path, std::strerror(errno));
    std::exit(2);
  }
  return fd;
}

int run(int argc, char** argv) {
  CLI::App app("Compares a plain directory with another, system call by system call.");
  std::string part, plain, other, behind;
  std::uint64_t seed = 0, steps = 1000, runs = 1;
  bool several_users = false, no_unnamed = false;
  app.add_option("part", part, "names or content")
      ->required()
      ->check(CLI::IsMember({"names", "content"}));
  app.add_option("--plain", plain, "an empty directory")->required();
  app.add_option("--other", other, "an empty directory of larder's")->required();
  app.add_option("--behind", behind, "the share below the other, where it can be seen");
  app.add_option("--seed", seed, "0: a fresh one");
  app.add_option("--steps", steps, "of each run");
  app.add_option("--runs", runs, "one after the other, with the seeds that follow");
  app.add_flag("--users", several_users, "root and three others take turns (names)");
  app.add_flag("--no-tmpfile", no_unnamed, "no file without a name is made (names)");
  CLI11_PARSE(app, argc, argv);

  const Fd plain_fd = open_directory(plain), other_fd = open_directory(other);
  const Fd behind_fd = behind.empty() ? Fd() : open_directory(behind);
  const Sides sides = {Side{plain_fd.get(), plain}, Side{other_fd.get(), other}};
  const Seed first = fresh_if_zero(Seed{seed});
  ::umask(022);
  ::signal(SIGPIPE, SIG_IGN);  // that nobody reads a FIFO is an outcome, and compared
  for (std::uint64_t n = 0; n < runs; ++n) {
    const Seed now{first.value + n};
    if (part == "names")
      compare_names(sides, {.seed = now,
                            .steps = steps,
                            .several_users = several_users,
                            .unnamed_files = !no_unnamed,
                            .behind = behind_fd.get()});
    else
      compare_content(sides, {.seed = now, .steps = steps, .behind = behind_fd.get()});
  }
  fmt::print("{} steps from seed {}: no difference\n", steps * runs, first.value);
  return 0;
}

}  // namespace
}  // namespace larder::differ

int main(int argc, char** argv) { return larder::differ::run(argc, argv); }
