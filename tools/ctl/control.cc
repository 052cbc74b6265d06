// SPDX-License-Identifier: Apache-2.0
#include "ctl/control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/fd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <larder/mount_table.h>

namespace larder::ctl {

Complaint Control::explain(int error, std::string_view file) const {
  const auto say = [&](std::string line) {
    return Complaint{Error{ErrorCode::kSystem, error}, std::move(line)};
  };
  const std::string& at = mountpoint_;
  if (error == ENOTCONN || error == ECONNABORTED) {
    return say(
        fmt::format("{0}: the larder mounted there has ended; unmount it with `umount {0}`", at));
  }
  if (error == EACCES || error == EPERM) {
    return say(fmt::format(
        "{}: {} may not be read by this user; try as the one who mounted it, or as root", at,
        file));
  }
  if (error != ENOENT && error != ENOTDIR) {
    return say(fmt::format("{}: cannot read {}: {}", at, file, std::strerror(error)));
  }
  const std::string type = type_mounted_at(resolved_mountpoint(at));
  if (type.empty()) {
    struct stat info {};
    if (::lstat(at.c_str(), &info) != 0) {
      return say(fmt::format("{}: {}; give the directory on which larder is mounted", at,
                             std::strerror(errno)));
    }
    return say(fmt::format(
        "{}: nothing is mounted there; give the directory on which larder is mounted", at));
  }
  if (type.find("larder") == std::string::npos) {
    return say(fmt::format("{}: the file system there is {}, not larder", at, type));
  }
  return say(fmt::format(
      "{}: this larder has no {}/{}; if it was mounted with control=NAME, say --control NAME", at,
      directory_, file));
}

namespace {

using Json = nlohmann::json;

// A larder that hangs itself is told from one that has much to say.
constexpr Nanoseconds kPatience_ns = 10 * kSecond;

std::string absolute(const std::string& path) {
  std::error_code error;
  const std::string text = std::filesystem::absolute(path, error).lexically_normal().string();
  return error || path.empty() ? path : text;
}

// nullopt: nobody listens there, or not for us.
std::optional<LocalSocket> connect_to(const std::string& mountpoint) {
  auto socket = LocalSocket::connect(link_of_mount(mountpoint));
  if (!socket) return std::nullopt;
  socket->set_patience(kPatience_ns);
  return std::move(*socket);
}

// Sends the request and reads the object that answers it.
SetUp<Json> converse(LocalSocket& socket, const std::string& mountpoint, const Json& request) {
  const auto lost = [&] {
    return complain(ErrorCode::kSystem,
                    fmt::format("{}: the larder that serves it does not answer", mountpoint));
  };
  if (!socket.send(request.dump(-1, ' ', false, Json::error_handler_t::replace))) return lost();
  const auto packet = socket.receive();
  if (!packet || !*packet) return lost();
  Json answer = Json::parse((*packet)->text, nullptr, false);
  if (!answer.is_object()) return lost();
  if (answer.value("ok", false)) return answer;
  return complain(ErrorCode::kInvalid,
                  fmt::format("{}: {}", mountpoint, answer.value("line", "it refused")));
}

}  // namespace

SetUp<Json> Control::ask(Json request, Nanoseconds patience_ns) const {
  const std::string place = absolute(mountpoint_);
  std::optional<LocalSocket> socket = connect_to(place);
  if (!socket) {
    // Is there a mount at all? The reading of a file says so best.
    TRY_OK(read_from_mount("version"));
    return complain(ErrorCode::kSystem,
                    fmt::format("{}: its control socket cannot be reached; ask as the user who "
                                "mounted it, or as root",
                                mountpoint_));
  }
  request["mountpoint"] = place;
  if (patience_ns != 0) socket->set_patience(patience_ns);
  return converse(*socket, mountpoint_, request);
}

std::optional<SetUp<std::string>> Control::read_from_socket(std::string_view file) const {
  const std::string place = absolute(mountpoint_);
  std::optional<LocalSocket> socket = connect_to(place);
  if (!socket) return std::nullopt;
  const auto answer =
      converse(*socket, mountpoint_, {{"do", "read"}, {"mountpoint", place}, {"file", file}});
  if (!answer) return SetUp<std::string>(tl::make_unexpected(answer.error()));
  std::string text;
  while (true) {
    const auto packet = socket->receive();
    if (!packet)
      return SetUp<std::string>(complain(
          ErrorCode::kSystem,
          fmt::format("{}: reading {} broke off: {}", mountpoint_, file, to_text(packet.error()))));
    if (!*packet) return SetUp<std::string>(std::move(text));
    text += (*packet)->text;
  }
}

SetUp<std::string> Control::read(std::string_view file) const {
  if (auto answered = read_from_socket(file)) return std::move(*answered);
  return read_from_mount(file);
}

SetUp<std::string> Control::read_from_mount(std::string_view file) const {
  const std::string path = fmt::format("{}/{}/{}", mountpoint_, directory_, file);
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  if (!fd.valid()) return tl::make_unexpected(explain(errno, file));
  std::string text;
  std::array<char, 65536> block{};
  for (;;) {
    const ssize_t got = ::read(fd.get(), block.data(), block.size());
    if (got == 0) return text;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::make_unexpected(explain(errno, file));
    text.append(block.data(), static_cast<std::size_t>(got));
  }
}

void in_either_order(std::string& word, std::string& mountpoint) {
  std::error_code error;
  if (std::filesystem::is_directory(word, error) &&
      !std::filesystem::is_directory(mountpoint, error))
    word.swap(mountpoint);
}

}  // namespace larder::ctl
