// SPDX-License-Identifier: Apache-2.0
// `larderctl verify MOUNTPOINT`: the control file `verify` begins it, the counters say how far it
// is.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "ctl/control.h"
#include "ctl/figures.h"
#include "ctl/progress.h"
#include "ctl/status.h"
#include "ctl/store_commands.h"

namespace larder::ctl {
namespace {

constexpr std::chrono::milliseconds kLook{100};

SetUp<Figures> figures_of(const Control& control) {
  TRY(const std::string text, control.read("stats.json"));
  return Figures::parse(text);
}

std::uint64_t figure(const Figures& figures, const char* name) {
  return figures.find(std::string("store.") + name).value_or(0);
}
std::uint64_t wrong_so_far(const Figures& figures) {
  return figure(figures, "sum_errors") + figure(figures, "read_errors");
}

SetUp<int> run(const VerifyRequest& request) {
  const Control control(request.mountpoint, request.directory);
  TRY(const Figures before, figures_of(control));
  if (!before.find("store.verify_runs"))
    return complain(ErrorCode::kInvalid,
                    "the larder that is mounted there cannot verify its store");
  TRY(const std::string begun, control.read("verify"));
  TRY(Figures now, figures_of(control));
  {
    ProgressBar bar("verifying", request.quiet);
    while (figure(now, "verify_running") != 0) {
      bar.show(std::min(figure(now, "verify_done_bytes"), figure(now, "verify_all_bytes")),
               figure(now, "verify_all_bytes"));
      std::this_thread::sleep_for(kLook);
      TRY(now, figures_of(control));
    }
    bar.show(1, 1);
  }
  if (figure(now, "verify_runs") == figure(before, "verify_runs"))
    return complain(ErrorCode::kStoreIo, "it ended before all was read: the store was closed");
  const std::uint64_t wrong = wrong_so_far(now) - wrong_so_far(before);
  fmt::print(
      "{}: {} read: {}\n", request.mountpoint, bytes_text(figure(now, "verify_done_bytes")),
      wrong == 0 ? "sound" : fmt::format("{} runs of pages were wrong and are dropped", wrong));
  return wrong == 0 ? kSound : kUnsound;
}

}  // namespace

int verify(const VerifyRequest& request) {
  const SetUp<int> code = run(request);
  if (code) return *code;
  fmt::print(stderr, "larderctl: {}\n", code.error().line);
  return kNotChecked;
}

}  // namespace larder::ctl
