// SPDX-License-Identifier: Apache-2.0
#include "ctl/changes.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "ctl/control.h"

namespace larder::ctl {
namespace {

using Json = nlohmann::json;

// A store may have much to replay; larder itself says what became of a withdrawal after 10 s.
constexpr Nanoseconds kPatienceToAdd_ns = 600 * kSecond;
constexpr Nanoseconds kPatienceToWithdraw_ns = 60 * kSecond;

struct Request {
  std::string mountpoint, directory = ".larder";
  std::string argument;

  SetUp<Json> ask(Json what, Nanoseconds patience_ns = 0) const {
    return Control(mountpoint, directory).ask(std::move(what), patience_ns);
  }
};

SetUp<std::string> line_of(const SetUp<Json>& answer) {
  if (!answer) return tl::make_unexpected(answer.error());
  return answer->value("line", "") + "\n";
}

// Relative to where larderctl runs, not to where the daemon does.
std::string absolute(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos || colon + 1 >= text.size() || text[colon + 1] == '/') return text;
  std::error_code error;
  const auto here = std::filesystem::current_path(error);
  if (error) return text;
  return text.substr(0, colon + 1) + here.string() + "/" + text.substr(colon + 1);
}

SetUp<std::string> cache_add(const Request& request) {
  return line_of(
      request.ask({{"do", "add cache"}, {"cache", absolute(request.argument)}}, kPatienceToAdd_ns));
}

SetUp<std::string> cache_withdraw(const Request& request) {
  return line_of(
      request.ask({{"do", "withdraw cache"}, {"tag", request.argument}}, kPatienceToWithdraw_ns));
}

SetUp<std::string> debug(const Request& request) {
  std::string_view digits = request.argument;
  const int base = digits.starts_with("0x") ? 16 : 10;
  if (base == 16) digits.remove_prefix(2);
  std::uint32_t mask = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), mask, base);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    return complain(ErrorCode::kInvalid,
                    fmt::format("`{}` is no mask; it is a number of 32 bits, decimal or with 0x",
                                request.argument));
  }
  TRY(const Json answer, request.ask({{"do", "debug"}, {"mask", mask}}));
  return fmt::format("debug={:#x}\n", answer.value("mask", 0u));
}

void add(CLI::App& in, const char* name, const char* description, const char* argument,
         const char* what, SetUp<std::string> (*run)(const Request&), Change& chosen) {
  auto request = std::make_shared<Request>();
  CLI::App* sub = in.add_subcommand(name, description);
  sub->add_option(argument, request->argument, what)->required();
  sub->add_option("MOUNTPOINT", request->mountpoint, "where larder is mounted")->required();
  sub->add_option("--control", request->directory, "the mount's control=NAME")
      ->capture_default_str();
  sub->callback([&chosen, request, run] {
    in_either_order(request->argument, request->mountpoint);
    chosen = [request, run] { return run(*request); };
  });
}

}  // namespace

void add_changes(CLI::App& app, Change& chosen) {
  CLI::App* cache =
      app.add_subcommand("cache", "Adds a cache to a running mount, or takes one away.");
  cache->require_subcommand(1);
  add(*cache, "add", "Adds a cache; what is cached there already is used again.",
      "TAG:STORE[:SIZE]", "its tag, its file, and how large it may grow", cache_add, chosen);
  add(*cache, "withdraw", "Takes a cache away; its store keeps what is cached.", "TAG", "its tag",
      cache_withdraw, chosen);
  add(app, "debug", "Sets which parts of larder trace what they do.", "MASK",
      "FS-Cache's bits: cache 1 2 4, cookie 8 16 32, page 64 128 256, operation 512 1024 2048",
      debug, chosen);
}

}  // namespace larder::ctl
