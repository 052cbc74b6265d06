// SPDX-License-Identifier: Apache-2.0
// A path is culled, or pinned, by an extended attribute that the mount takes: the kernel resolves
// the path and checks the right to write there. A directory is walked.
#include "ctl/cull.h"

#include <fmt/format.h>
#include <larder/options.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "ctl/control.h"

namespace larder::ctl {
namespace {

constexpr const char* kCull = "user.larder.cull";
constexpr const char* kPin = "user.larder.pin";
constexpr const char* kOfLarder = "user.larder.source";  // which only larder answers

constexpr Nanoseconds kPatience_ns = 600 * kSecond;  // of who has much evicted

struct Request {
  std::string place, directory = ".larder", free;
};

// What is set of each file, and what is said of it.
struct Deed {
  const char* attribute;
  const char* value;
  const char* done;
};
constexpr Deed kCulls{kCull, "", "culled"};
constexpr Deed kPins{kPin, "1", "pinned"};
constexpr Deed kUnpins{kPin, "0", "unpinned"};

struct Count {
  std::size_t done = 0, busy = 0;
};

// Another file system would just keep the attribute.
SetUp<std::monostate> check_mount(const std::string& path) {
  if (::getxattr(path.c_str(), kOfLarder, nullptr, 0) >= 0) return std::monostate{};
  return complain(ErrorCode::kInvalid,
                  fmt::format("{}: this does not lie in a larder mount", path));
}

SetUp<std::monostate> do_to_file(const std::string& path, const Deed& deed, Count& count) {
  TRY_OK(check_mount(path));
  if (::setxattr(path.c_str(), deed.attribute, deed.value, std::strlen(deed.value), 0) == 0) {
    ++count.done;
    return std::monostate{};
  }
  if (errno == EBUSY || errno == EAGAIN) {
    ++count.busy;
    return std::monostate{};
  }
  return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, std::strerror(errno)), errno);
}

SetUp<std::string> do_to_path(const std::string& path, const Deed& deed) {
  namespace fs = std::filesystem;
  Count count;
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0)
    return complain(ErrorCode::kInvalid, fmt::format("{}: {}", path, std::strerror(errno)), errno);
  if (S_ISDIR(info.st_mode)) {
    TRY_OK(check_mount(path));
    std::error_code error;
    fs::recursive_directory_iterator at(path, error);
    for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
      std::error_code type;
      if (at->symlink_status(type).type() == fs::file_type::regular)
        TRY_OK(do_to_file(at->path().string(), deed, count));
    }
    if (error) return complain(ErrorCode::kSystem, fmt::format("{}: {}", path, error.message()));
  } else {
    TRY_OK(do_to_file(path, deed, count));
    if (count.busy != 0)
      return complain(ErrorCode::kInvalid, fmt::format("{}: it is in use", path), EBUSY);
  }
  std::string text =
      fmt::format("{} {} {}", deed.done, count.done, count.done == 1 ? "file" : "files");
  if (count.busy != 0)
    text += fmt::format(", {} {} in use", count.busy, count.busy == 1 ? "is" : "are");
  return text + "\n";
}

SetUp<std::string> cull_bytes(const Request& request) {
  const std::optional<ByteCount> size = parse_size(request.free);
  if (!size)
    return complain(ErrorCode::kInvalid,
                    fmt::format("--free: `{}` is no size, such as 512M or 10G", request.free));
  TRY(const nlohmann::json answer,
      Control(request.place, request.directory)
          .ask({{"do", "make room"}, {"bytes", size->value()}}, kPatience_ns));
  return answer.value("line", "") + "\n";
}

}  // namespace

void add_cull(CLI::App& app, Change& chosen) {
  auto request = std::make_shared<Request>();
  CLI::App* sub = app.add_subcommand(
      "cull", "Lets go of what is cached: of a file or a directory, or until so much is free.");
  sub->add_option("PATH", request->place,
                  "a path in a mount; with --free the directory on which larder is mounted")
      ->required();
  sub->add_option("--free", request->free, "SIZE: evict what goes next until so much is free");
  sub->add_option("--control", request->directory, "the mount's control=NAME")
      ->capture_default_str();
  sub->callback([&chosen, request] {
    chosen = [request] {
      return request->free.empty() ? do_to_path(request->place, kCulls) : cull_bytes(*request);
    };
  });
  const auto add = [&](const char* name, const char* description, const Deed& deed) {
    auto place = std::make_shared<std::string>();
    CLI::App* one = app.add_subcommand(name, description);
    one->add_option("PATH", *place, "a file in a mount, or a directory: all files below it")
        ->required();
    one->callback(
        [&chosen, place, &deed] { chosen = [place, &deed] { return do_to_path(*place, deed); }; });
  };
  add("pin", "Keeps what is cached of a file, or of all below a directory, while others can go.",
      kPins);
  add("unpin", "Takes that back.", kUnpins);
}

}  // namespace larder::ctl
