// SPDX-License-Identifier: Apache-2.0
#include "slowshare/control.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <sstream>
#include <utility>
#include <vector>

#include "slowshare/options.h"

namespace larder::slowshare {
namespace {

constexpr std::size_t kLongestCommand = 4096;

std::vector<std::string> split(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::optional<std::uint64_t> parse_whole(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

Fd connect_to(const std::string& path) {
  const std::optional<sockaddr_un> address = address_of(path);
  if (!address) return Fd{};
  Fd fd{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const auto* generic = reinterpret_cast<const sockaddr*>(&*address);
  if (!fd.valid() || connect(fd.get(), generic, sizeof *address) != 0) return Fd{};
  return fd;
}

bool send_all(const Fd& fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Until the end of the line or of the stream; what came.
std::string receive_until(const Fd& fd, char end, std::size_t most) {
  std::string text;
  std::array<char, 4096> part;
  while (text.size() < most && (text.empty() || text.back() != end)) {
    const ssize_t got = recv(fd.get(), part.data(), part.size(), 0);
    if (got <= 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

SetUp<std::string> obey_one_word(Gate& gate, const std::string& verb) {
  if (verb == "stats") return render(gate.counts(), Rendering::kText);
  if (verb == "release") {
    gate.release();
  } else if (verb == "clear") {
    gate.clear();
  } else if (verb == "reset") {
    gate.reset();
  } else {
    return complain(ErrorCode::kInvalid, fmt::format("unknown command '{}'", verb));
  }
  return std::string{};
}

SetUp<std::string> obey_with_value(Gate& gate, const std::string& verb, const std::string& value) {
  const auto bad = [&] {
    return complain(ErrorCode::kInvalid, fmt::format("'{}' is no value for '{}'", value, verb));
  };
  if (verb == "stats") {
    if (value != "json" && value != "--json") return bad();
    return render(gate.counts(), Rendering::kJson);
  }
  if (verb == "short") {
    gate.shorten(value);
  } else if (verb == "hang-next") {
    const auto requests = parse_whole(value);
    if (!requests) return bad();
    gate.hang_next(*requests);
  } else if (verb == "latency") {
    const auto latency_ns = parse_duration(value);
    if (!latency_ns) return bad();
    gate.set_latency(*latency_ns);
  } else if (verb == "bandwidth") {
    const auto bytes_per_s = parse_bytes(value);
    if (!bytes_per_s) return bad();
    gate.set_bandwidth(*bytes_per_s);
  } else {
    return complain(ErrorCode::kInvalid, fmt::format("unknown command '{} {}'", verb, value));
  }
  return std::string{};
}

// NAME [CALL]
SetUp<Target> parse_target(std::span<const std::string> words) {
  if (words.empty() || words.size() > 2) {
    return complain(ErrorCode::kInvalid, "a name and at most one kind of call are needed");
  }
  Target target{words[0]};
  if (words.size() == 2) {
    target.call = call_named(words[1]);
    if (!target.call) {
      return complain(ErrorCode::kInvalid, fmt::format("'{}' is no kind of call", words[1]));
    }
  }
  return target;
}

SetUp<std::string> obey_hang(Gate& gate, std::span<const std::string> words) {
  TRY(Target target, parse_target(words.subspan(1)));
  gate.hang(std::move(target));
  return std::string{};
}

SetUp<std::string> obey_error(Gate& gate, std::span<const std::string> words) {
  const int error = words.size() > 1 ? errno_of(words[1]) : 0;
  if (error == 0) return complain(ErrorCode::kInvalid, "error needs an errno (EIO, or its number)");
  TRY(Target target, parse_target(words.subspan(2)));
  gate.fail(error, std::move(target));
  return std::string{};
}

}  // namespace

SetUp<std::string> obey(Gate& gate, const std::string& command) {
  const std::vector<std::string> words = split(command);
  if (words.empty()) return complain(ErrorCode::kInvalid, "no command");
  if (words[0] == "hang") return obey_hang(gate, words);
  if (words[0] == "error") return obey_error(gate, words);
  if (words.size() == 1) return obey_one_word(gate, words[0]);
  if (words.size() == 2) return obey_with_value(gate, words[0], words[1]);
  return complain(ErrorCode::kInvalid, fmt::format("'{}' takes one value", words[0]));
}

SetUp<std::unique_ptr<ControlServer>> ControlServer::listen(Gate& gate, const std::string& path) {
  const std::optional<sockaddr_un> address = address_of(path);
  if (!address) return complain(ErrorCode::kInvalid, fmt::format("control={} is too long", path));
  // What a slowshare that was killed left behind is in the way; one that lives is not ours to push
  // aside.
  struct stat there = {};
  if (lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode)) {
    if (connect_to(path).valid()) {
      return complain(ErrorCode::kInvalid, fmt::format("control={} is in use", path));
    }
    unlink(path.c_str());
  }
  Fd listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Fd stop{eventfd(0, EFD_CLOEXEC)};
  const mode_t mask = umask(0177);
  const bool bound =
      listener.valid() && stop.valid() &&
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0 &&
      ::listen(listener.get(), 64) == 0;
  const int error = errno;
  umask(mask);
  if (!bound) {
    return complain(ErrorCode::kSystem, fmt::format("control={}: {}", path, std::strerror(error)),
                    error);
  }
  return std::unique_ptr<ControlServer>(
      new ControlServer(gate, path, std::move(listener), std::move(stop)));
}

ControlServer::ControlServer(Gate& gate, std::string path, Fd listener, Fd stop)
    : gate_(gate), path_(std::move(path)), listener_(std::move(listener)), stop_(std::move(stop)) {}

ControlServer::~ControlServer() {
  const std::uint64_t one = 1;
  if (thread_.joinable() && write(stop_.get(), &one, sizeof one) > 0) thread_.join();
  unlink(path_.c_str());
}

void ControlServer::start() {
  thread_ = std::thread([this] { serve(); });
}

void ControlServer::serve() {
  while (true) {
    std::array<pollfd, 2> wanted = {{{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    if (poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) return;
    if (wanted[1].revents != 0) return;
    if (wanted[0].revents == 0) continue;
    const Fd client{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    if (client.valid()) answer(client);
  }
}

void ControlServer::answer(const Fd& client) {
  const timeval patience = {1, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const std::string command = receive_until(client, '\n', kLongestCommand);
  if (command.empty() || command.back() != '\n') return;
  const SetUp<std::string> done = obey(gate_, command);
  send_all(client, done ? "ok\n" + *done : fmt::format("error {}\n", done.error().line));
}

int run_client(const std::string& path, const std::string& command) {
  const Fd server = connect_to(path);
  if (!server.valid()) {
    fmt::print(stderr, "slowshare: {}: {}\n", path, std::strerror(errno));
    return 1;
  }
  if (!send_all(server, command + "\n")) {
    fmt::print(stderr, "slowshare: {}: the command could not be sent\n", path);
    return 1;
  }
  const std::string answer = receive_until(server, '\0', 1U << 20);
  if (answer.starts_with("ok\n")) {
    fmt::print("{}", std::string_view(answer).substr(3));
    return 0;
  }
  fmt::print(stderr, "slowshare: {}",
             answer.starts_with("error ") ? answer.substr(6) : "no answer\n");
  return 1;
}

}  // namespace larder::slowshare
