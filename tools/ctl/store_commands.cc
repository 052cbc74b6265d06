// SPDX-License-Identifier: Apache-2.0
#include "ctl/store_commands.h"

#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/device.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "ctl/progress.h"
#include "ctl/status.h"

namespace larder::ctl {
namespace {

struct Request {
  std::string path;
  std::string svg;
  bool repair = false;
  bool metadata = false;
  bool quiet = false;
  bool pages = false;
};

int complain_of(const Complaint& complaint, int exit_code) {
  fmt::print(stderr, "larderctl: {}\n", complaint.line);
  return exit_code;
}

void print_lines(const std::vector<std::string>& lines, std::string_view before) {
  constexpr std::size_t kMost = 100;
  for (std::size_t i = 0; i < lines.size() && i < kMost; ++i)
    fmt::print("{}{}\n", before, lines[i]);
  if (lines.size() > kMost) fmt::print("{}and {} more\n", before, lines.size() - kMost);
}

SetUp<store::Examined> examine(const Request& request) {
  ProgressBar bar("checking", request.quiet);
  const auto depth = request.metadata ? store::Depth::kMetadata : store::Depth::kPages;
  return store::wait_for_lock(system_clock(), [&] {
    return store::examine(request.path, depth, [&](ByteCount done, ByteCount all) {
      bar.show(done.value(), all.value());
      return true;
    });
  });
}

int report(const Request& request, const store::Examined& all) {
  print_lines(all.notes, "note: ");
  print_lines(all.breaches, "breach of invariant ");
  fmt::print("{}: {} objects, {} names, {} extents, {} in {} pages{}: {}\n", request.path,
             all.objects, all.names, all.extents, bytes_text(all.pages * kPageSize), all.pages,
             request.metadata ? " (not read)" : "",
             all.breaches.empty() ? "sound" : fmt::format("{} breaches", all.breaches.size()));
  return all.breaches.empty() ? kSound : kUnsound;
}

int repair(const Request& request) {
  ProgressBar bar("repairing", request.quiet);
  const auto done = store::repair(request.path, [&](ByteCount part, ByteCount all) {
    bar.show(part.value(), all.value());
    return true;
  });
  bar.end();
  if (!done) return complain_of(done.error(), kNotChecked);
  print_lines(*done, "repaired: ");
  const auto after = examine(request);
  if (!after) return complain_of(after.error(), kNotChecked);
  const int left = report(request, *after);
  if (left != kSound) return left;
  return done->empty() ? kSound : kRepaired;
}

int fsck(const Request& request) {
  // What is no store, or is in use, is not repaired either.
  const auto all = examine(request);
  if (!all) return complain_of(all.error(), kNotChecked);
  const int found = report(request, *all);
  const bool to_mend = found != kSound || !all->notes.empty();
  return request.repair && to_mend ? repair(request) : found;
}

int dump(const Request& request) {
  const auto done = store::dump(request.path, [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
  });
  if (!done) return complain_of(done.error(), 1);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  fmt::print(stderr, "larderctl: cannot write the answer\n");
  return 1;
}

bool write_file(const std::string& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return false;
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return (std::fclose(file) == 0) && written;
}

int map(const Request& request) {
  Request what = request;
  what.metadata = !request.pages;
  const auto all = examine(what);
  if (!all) return complain_of(all.error(), 1);
  if (request.svg.empty()) {
    fmt::print("{}", map_text(all->regions, 64, 32));
    return 0;
  }
  const std::string picture = map_svg(all->regions, request.path);
  if (request.svg == "-") {
    fmt::print("{}", picture);
  } else if (!write_file(request.svg, picture)) {
    fmt::print(stderr, "larderctl: --svg {}: cannot be written\n", request.svg);
    return 1;
  }
  return 0;
}

}  // namespace

void add_store_commands(CLI::App& app, std::function<int()>& chosen) {
  const auto request = std::make_shared<Request>();
  const auto add = [&](CLI::App& parent, const char* name, const char* what,
                       int (*run)(const Request&)) {
    CLI::App* sub = parent.add_subcommand(name, what);
    sub->add_option("STORE", request->path, "the backing file or block device; not mounted")
        ->required();
    sub->callback([&chosen, request, run] { chosen = [request, run] { return run(*request); }; });
    return sub;
  };
  CLI::App* check =
      add(app, "fsck",
          "Checks a store that is not mounted. Exit code: 0 sound, 1 repaired, 4 breaches are "
          "left, 8 it could not be checked.",
          fsck);
  check->add_flag("--repair", request->repair,
                  "discard what makes no sense and drop pages that do not match their sums");
  check->add_flag("--metadata", request->metadata, "do not read the pages");
  check->add_flag("--quiet", request->quiet, "no progress bar");
  const auto online = std::make_shared<VerifyRequest>();
  CLI::App* sub = app.add_subcommand(
      "verify",
      "Reads every page of a mount's stores and compares it with its sum, while they are in use. "
      "Exit code: 0 sound, 4 something was wrong (it is dropped, and fetched again), 8 not "
      "checked.");
  sub->add_option("MOUNTPOINT", online->mountpoint, "where larder is mounted")->required();
  sub->add_option("--control", online->directory, "the mount's control=NAME")
      ->capture_default_str();
  sub->add_flag("--quiet", online->quiet, "no progress bar");
  sub->callback([&chosen, online] { chosen = [online] { return verify(*online); }; });
  CLI::App* inside = app.add_subcommand("store", "Looks into a store that is not mounted.");
  inside->require_subcommand(1);
  add(*inside, "dump", "Its structures as text.", dump);
  CLI::App* drawn = add(*inside, "map", "What its parts are used for.", map);
  drawn->add_option("--svg", request->svg, "a picture, into this file (-: standard output)");
  drawn->add_flag(
      "--pages", request->pages,
      "read the pages too: those that do not match their sums are shown as quarantined");
}

}  // namespace larder::ctl
