// SPDX-License-Identifier: Apache-2.0
#include "ctl/resize.h"

#include <fmt/format.h>
#include <larder/options.h>

#include <memory>

#include "ctl/control.h"

namespace larder::ctl {
namespace {

// What is cached moves within the store: a disk takes its time.
constexpr Nanoseconds kPatience_ns = 1800 * kSecond;

struct Request {
  std::string mountpoint, size, tag, directory = ".larder";
};

SetUp<std::string> resize(const Request& request) {
  const std::optional<ByteCount> size = parse_size(request.size);
  if (!size)
    return complain(ErrorCode::kInvalid,
                    fmt::format("`{}` is no size, such as 512M or 10G", request.size));
  TRY(const nlohmann::json answer,
      Control(request.mountpoint, request.directory)
          .ask({{"do", "resize"}, {"bytes", size->value()}, {"tag", request.tag}}, kPatience_ns));
  return answer.value("line", "") + "\n";
}

SetUp<std::string> clear(const Request& request) {
  TRY(const nlohmann::json answer, Control(request.mountpoint, request.directory)
                                       .ask({{"do", "clear"}, {"tag", request.tag}}, kPatience_ns));
  return answer.value("line", "") + "\n";
}

using Requested = std::shared_ptr<Request>;

// What is common to both; the caller adds what is its own.
CLI::App* add(CLI::App& app, const char* name, const char* description, const Requested& request,
              SetUp<std::string> (*run)(const Request&), Change& chosen) {
  CLI::App* sub = app.add_subcommand(name, description);
  sub->add_option("MOUNTPOINT", request->mountpoint, "where larder is mounted")->required();
  sub->add_option("--tag", request->tag, "which cache, where there are several");
  sub->add_option("--control", request->directory, "the mount's control=NAME")
      ->capture_default_str();
  sub->callback([&chosen, request, run] {
    in_either_order(request->size, request->mountpoint);
    chosen = [request, run] { return run(*request); };
  });
  return sub;
}

}  // namespace

void add_resize(CLI::App& app, Change& chosen) {
  const auto request = std::make_shared<Request>();
  add(app, "resize", "Lets the store of a running mount grow or shrink.", request, resize, chosen)
      ->add_option("SIZE", request->size, "how large the store may be from now on, such as 20G")
      ->required();
  add(app, "clear", "Empties the store of a running mount; readers go on.",
      std::make_shared<Request>(), clear, chosen);
}

}  // namespace larder::ctl
