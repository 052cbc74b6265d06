// SPDX-License-Identifier: Apache-2.0
#include "commands.h"

#include <fmt/format.h>
#include <larder/clock.h>
#include <larder/log.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "hand_over.h"

namespace larder::fuse {
namespace {

using Json = nlohmann::json;

constexpr unsigned kConnectionsMax = 64;
constexpr Nanoseconds kPatience_ns = 30 * kSecond;
constexpr Nanoseconds kStopGrace_ns = kSecond;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Best effort: who asked may have gone.
void say(LocalSocket& socket, const Json& json) { static_cast<void>(socket.send(dump(json))); }
void say_no(LocalSocket& socket, std::string_view line) {
  say(socket, {{"ok", false}, {"line", line}});
}

struct Context {
  Host& host;
  Mounts& mounts;
  LocalSocket& socket;
  const Json& request;
  std::string_view packet;
  int stop_fd;
  const std::string& socket_path;

  std::string text(const char* name) const {
    const auto found = request.find(name);
    return found != request.end() && found->is_string() ? found->get<std::string>() : "";
  }
};

void read(Context& c) {
  const MountRef entry = c.mounts.find(c.text("mountpoint"));
  if (!entry) return say_no(c.socket, "it is not mounted there any more");
  Pager pager = entry->mount->control_file(c.text("file"));
  if (!pager) return say_no(c.socket, fmt::format("there is no control file {}", c.text("file")));
  say(c.socket, {{"ok", true}});
  std::string text;
  for (bool more = true; more;) {
    more = pager(text);
    std::string_view left = text;
    while (left.size() >= LocalSocket::kPacketMax || (!more && !left.empty())) {
      const std::string_view part = left.substr(0, LocalSocket::kPacketMax);
      if (!c.socket.send(part)) return;
      left.remove_prefix(part.size());
    }
    text = std::string(left);
  }
}

void mounts(Context& c) {
  say(c.socket, {{"ok", true}, {"mountpoints", c.mounts.mountpoints()}, {"pid", ::getpid()}});
}

void debug(Context& c) {
  const auto mask = c.request.find("mask");
  if (mask != c.request.end()) {
    if (!mask->is_number_unsigned() || mask->get<std::uint64_t>() > UINT32_MAX)
      return say_no(c.socket, "the mask is a number of 32 bits");
    set_debug_mask(mask->get<std::uint32_t>());
  }
  say(c.socket, {{"ok", true}, {"mask", debug_mask()}});
}

void answer_with(Context& c, const SetUp<std::string>& done) {
  if (!done) return say_no(c.socket, done.error().line);
  say(c.socket, {{"ok", true}, {"line", *done}});
}

void add_cache(Context& c) {
  const std::string text = c.text("cache");
  const std::optional<CacheSpec> wanted = parse_cache(text);
  if (!wanted)
    return say_no(c.socket, fmt::format("`{}` is no cache; it is TAG:STORE or TAG:STORE:SIZE, such "
                                        "as disk:/var/cache/big.store:100G",
                                        text));
  const SetUp<std::string> added = c.host.add_cache(*wanted);
  const std::string link = added ? link_of_store(wanted->store) : "";
  if (!link.empty() && !make_link(link, c.socket_path))
    log(LogLevel::kWarn, "{} has no link to it: no other mount can share the store", wanted->store);
  answer_with(c, added);
}

void withdraw_cache(Context& c) {
  // It may be gone only when the answer has been given.
  const auto gone = [&host = c.host, before = c.host.stores(), path = c.socket_path] {
    const std::vector<std::string> after = host.stores();
    for (const std::string& store : before) {
      if (std::find(after.begin(), after.end(), store) == after.end())
        drop_link(link_of_store(store), path);
    }
  };
  answer_with(c, c.host.withdraw_cache(c.text("tag"), gone));
}

void make_room(Context& c) {
  const auto bytes = c.request.find("bytes");
  if (bytes == c.request.end() || !bytes->is_number_unsigned())
    return say_no(c.socket, "how many bytes are to be free is a number");
  answer_with(c, c.host.make_room(ByteCount{bytes->get<std::uint64_t>()}));
}

void resize(Context& c) {
  const auto bytes = c.request.find("bytes");
  if (bytes == c.request.end() || !bytes->is_number_unsigned())
    return say_no(c.socket, "the new size is a number of bytes");
  answer_with(c, c.host.resize(c.text("tag"), ByteCount{bytes->get<std::uint64_t>()}));
}

void clear(Context& c) { answer_with(c, c.host.clear(c.text("tag"))); }

// Behind the answer: with a client that stays, the mount lasts as long as the connection.
void stay_with(Context& c, const MountRef& entry) {
  std::array<pollfd, 3> waiting{pollfd{entry->ended_fd.get(), POLLIN, 0},
                                pollfd{c.socket.fd(), POLLIN, 0}, pollfd{c.stop_fd, POLLIN, 0}};
  while (waiting[0].revents == 0 && waiting[2].revents == 0) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[1].revents == 0) continue;
    waiting[1].fd = -1;  // it asks for the end, or is gone, which is the same
    waiting[1].revents = 0;
    // Taken from the socket: what is unread when it is closed would break the answer off.
    static_cast<void>(c.socket.receive());
    c.mounts.unmount(entry);
  }
  say(c.socket, {{"ok", true}});
}

void mount(Context& c) {
  const SetUp<MountOptions> options = read_mount_request(c.packet);
  if (!options) return say_no(c.socket, options.error().line);
  c.socket.set_patience(options->share_deadline_ns + kPatience_ns);
  const SetUp<MountRef> entry = c.mounts.add(*options, [&c]() -> SetUp<Fd> {
    say(c.socket, {{"ok", true}});
    auto packet = c.socket.receive();
    if (!packet || !*packet || !(*packet)->fd.valid())
      return complain(ErrorCode::kSystem, "the larder that wanted to mount has gone");
    return std::move((*packet)->fd);
  });
  if (!entry)
    return say(c.socket, {{"ok", false},
                          {"line", entry.error().line},
                          {"ending", entry.error().error.code == ErrorCode::kShutdown}});
  log(LogLevel::kInfo, "{} is mounted at {}", options->share, options->mountpoint);
  say(c.socket, {{"ok", true}, {"notes", (*entry)->mount->notes()}});
  if (c.request.value("stays", false)) stay_with(c, *entry);
}

struct Command {
  std::string_view name;
  void (*run)(Context& context);
};
constexpr auto kCommands = std::to_array<Command>({
    {"read", read},
    {"mounts", mounts},
    {"debug", debug},
    {"mount", mount},
    {"add cache", add_cache},
    {"withdraw cache", withdraw_cache},
    {"make room", make_room},
    {"resize", resize},
    {"clear", clear},
});

}  // namespace

SetUp<std::unique_ptr<Commands>> Commands::start(Host& host, Mounts& mounts) {
  TRY_OK(make_run_directory());
  clean_run_directory();
  TRY(LocalListener listener, LocalListener::open(socket_of_process(::getpid())));
  std::unique_ptr<Commands> self(new Commands(host, mounts, std::move(listener)));
  const std::string& path = self->listener_.path();
  for (const std::string& store : host.stores()) {
    const std::string link = link_of_store(store);
    if (link.empty() || make_link(link, path)) continue;
    log(LogLevel::kWarn, "{} has no link to it: no other mount can share the store", path);
  }
  mounts.announce_at(path);
  return self;
}

Commands::Commands(Host& host, Mounts& mounts, LocalListener listener)
    : host_(host),
      mounts_(mounts),
      listener_(std::move(listener)),
      stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { accept_all(); }) {}

Commands::~Commands() { check(connections_.load() == 0, "all connections have ended"); }

void Commands::stop() {
  ::eventfd_write(stop_fd_.get(), 1);
  thread_.join();
  listener_.close();
  for (const std::string& store : host_.stores()) drop_link(link_of_store(store), listener_.path());
  const Nanoseconds until_ns = system_clock().mono_ns() + kStopGrace_ns;
  while (connections_.load() != 0 && system_clock().mono_ns() < until_ns)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Commands::accept_all() {
  pthread_setname_np(pthread_self(), "control");
  std::array<pollfd, 2> waiting{pollfd{listener_.fd(), POLLIN, 0},
                                pollfd{stop_fd_.get(), POLLIN, 0}};
  while (true) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[1].revents != 0) return;
    std::optional<LocalSocket> socket = listener_.accept();
    if (!socket) continue;
    if (connections_.load() >= kConnectionsMax) {
      say_no(*socket, "too many programs ask this larder at once");
      continue;
    }
    connections_.fetch_add(1);
    std::thread([this, connection = std::move(*socket)]() mutable {
      pthread_setname_np(pthread_self(), "control");
      answer(std::move(connection));
      connections_.fetch_sub(1);
    }).detach();
  }
}

void Commands::answer(LocalSocket socket) {
  socket.set_patience(kPatience_ns);
  const std::optional<uid_t> peer = socket.peer();
  if (!peer || (*peer != ::geteuid() && *peer != 0))
    return say_no(socket, "only the user who mounted it, and root, are answered");
  const auto packet = socket.receive();
  if (!packet || !*packet) return;
  const std::string& text = (*packet)->text;
  const Json request = Json::parse(text, nullptr, false);
  Context context{host_, mounts_, socket, request, text, stop_fd_.get(), listener_.path()};
  if (!request.is_object()) return say_no(socket, "a request is a JSON object");
  const std::string wanted = context.text("do");
  for (const Command& command : kCommands)
    if (command.name == wanted) return command.run(context);
  say_no(socket, fmt::format("this larder does not know `{}`", wanted));
}

}  // namespace larder::fuse
