// SPDX-License-Identifier: Apache-2.0
// larderctl: shows what a running mount says of itself, and changes what can be changed. It asks
// the larder that serves it over the control socket, and where it may not or cannot, reads the
// control files, which anyone can with cat as well. It looks into stores that are not mounted, too
// (ctl/store_commands.h).
//
// Exit code: 0 shown, 1 not; then one line on standard error says why. `fsck` has more.
#include <fmt/format.h>
#include <larder/result.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "ctl/changes.h"
#include "ctl/control.h"
#include "ctl/cull.h"
#include "ctl/figures.h"
#include "ctl/resize.h"
#include "ctl/status.h"
#include "ctl/store_commands.h"
#include "ctl/top.h"

namespace larder::ctl {
namespace {

enum class Form { kText, kJson };

struct Request {
  std::string mountpoint;
  std::string directory = ".larder";
  Form form = Form::kText;
  std::string filter;
  TopOptions top;

  Control control() const { return {mountpoint, directory}; }
};

// Names may hold any byte; JSON may not.
std::string dump(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

SetUp<Figures> figures_of(const Control& control) {
  TRY(const std::string text, control.read("stats.json"));
  return Figures::parse(text);
}

SetUp<std::string> status(const Request& request) {
  const Control control = request.control();
  TRY(const Figures figures, figures_of(control));
  TRY(const std::string options, control.read("options"));
  if (request.form == Form::kText) return status_page(figures, options, request.mountpoint);
  nlohmann::json all = figures.all();
  all["options"] = options_object(options);
  return dump(all);
}

SetUp<std::string> stats(const Request& request) {
  if (request.form == Form::kText) return request.control().read("stats");
  TRY(const Figures figures, figures_of(request.control()));
  return dump(figures.all());
}

// The kernel ignores letters that it does not know; here a slip of the finger is worth a line.
SetUp<std::string> objects(const Request& request) {
  constexpr std::string_view kLetters = "KACcBbWwRrSs";
  for (const char letter : request.filter) {
    if (kLetters.find(letter) != std::string_view::npos) continue;
    return complain(
        ErrorCode::kInvalid,
        fmt::format("--filter: there is no letter `{}`; there are K (keys), A (aux data), C/c "
                    "(with, without a cookie), B/b (busy, idle), W/w (pending writes or none), "
                    "R/r (reads or none), S/s (work queued or none)",
                    letter));
  }
  return request.control().read(request.filter.empty() ? "objects" : "objects:" + request.filter);
}

SetUp<std::string> options(const Request& request) {
  TRY(std::string text, request.control().read("options"));
  return request.form == Form::kText ? text : dump(options_object(text));
}

SetUp<std::string> version(const Request& request) {
  TRY(std::string text, request.control().read("version"));
  if (request.form == Form::kText) return text;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  constexpr std::string_view kName = "larder ";
  if (text.starts_with(kName)) text.erase(0, kName.size());
  return dump(nlohmann::json{{"version", text}});
}

SetUp<std::string> histogram(const Request& r) { return r.control().read("histogram"); }
SetUp<std::string> ops(const Request& r) { return r.control().read("ops"); }
SetUp<std::string> caches(const Request& r) { return r.control().read("caches"); }
SetUp<std::string> netfs(const Request& r) { return r.control().read("netfs"); }
SetUp<std::string> metrics(const Request& r) { return r.control().read("metrics"); }
SetUp<std::string> show_top(const Request& request) { return top(request.control(), request.top); }

using Show = SetUp<std::string> (*)(const Request&);

struct Command {
  const char* name;
  const char* description;
  Show show;
  enum class Extra { kNone, kJson, kFilter, kLive } extra;
};
constexpr Command kCommands[] = {
    {"status", "How the mount does: share, store, hits, calls, errors.", status,
     Command::Extra::kJson},
    {"stats", "All counters, in the layout of FS-Cache and larder's own below.", stats,
     Command::Extra::kJson},
    {"objects", "The cache's objects, one per line.", objects, Command::Extra::kFilter},
    {"ops", "The operations that are under way, and what each waits for.", ops,
     Command::Extra::kNone},
    {"caches", "The caches: state, objects, how full.", caches, Command::Extra::kNone},
    {"netfs", "The netfses and their shares.", netfs, Command::Extra::kNone},
    {"histogram", "How long look-ups, operations and reads took.", histogram,
     Command::Extra::kNone},
    {"metrics", "The counters for Prometheus.", metrics, Command::Extra::kNone},
    {"options", "The options that the mount runs with.", options, Command::Extra::kJson},
    {"top", "What the mount does, second by second, until it is interrupted.", show_top,
     Command::Extra::kLive},
    {"version", "The version of the larder that is mounted.", version, Command::Extra::kJson},
};

int run(int argc, char** argv) {
  CLI::App app{"Shows what a mounted larder says of itself, and what lies in a store.",
               "larderctl"};
  app.require_subcommand(1);
  Request request;
  Show show = nullptr;
  Change change;
  bool json = false;
  for (const Command& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.description);
    sub->add_option("MOUNTPOINT", request.mountpoint, "where larder is mounted")->required();
    sub->add_option("--control", request.directory, "the mount's control=NAME")
        ->capture_default_str();
    if (command.extra == Command::Extra::kJson) sub->add_flag("--json", json, "as JSON");
    if (command.extra == Command::Extra::kFilter) {
      sub->add_option("--filter", request.filter,
                      "which objects and columns: letters of KACcBbWwRrSs");
    }
    if (command.extra == Command::Extra::kLive) {
      sub->add_option("--interval", request.top.interval_s, "seconds from page to page")
          ->check(CLI::Range(0.1, 3600.0))
          ->capture_default_str();
      sub->add_option("--count", request.top.count, "pages; 0: until it is interrupted")
          ->capture_default_str();
    }
    sub->callback([&show, &command] { show = command.show; });
  }
  add_changes(app, change);
  std::function<int()> of_store;
  add_store_commands(app, of_store);
  add_cull(app, change);
  add_resize(app, change);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  if (of_store) return of_store();
  request.form = json ? Form::kJson : Form::kText;
  const SetUp<std::string> shown = change ? change() : show(request);
  if (!shown) {
    fmt::print(stderr, "larderctl: {}\n", shown.error().line);
    return 1;
  }
  if (std::fwrite(shown->data(), 1, shown->size(), stdout) != shown->size() ||
      std::fflush(stdout) != 0) {
    fmt::print(stderr, "larderctl: cannot write the answer\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace larder::ctl

int main(int argc, char** argv) { return larder::ctl::run(argc, argv); }
