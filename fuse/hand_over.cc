// SPDX-License-Identifier: Apache-2.0
#include "hand_over.h"

#include <fmt/format.h>
#include <larder/host.h>
#include <larder/mount.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "session.h"

namespace larder::fuse {
namespace {

using Json = nlohmann::json;

// Beyond what the share may take.
constexpr Nanoseconds kPatience_ns = 30 * kSecond;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Which tree of mounts this process sees: in another one, a path means something else.
std::string mount_namespace() {
  std::array<char, PATH_MAX> name{};
  const ssize_t n = ::readlink("/proc/self/ns/mnt", name.data(), name.size());
  return n < 0 ? "" : std::string(name.data(), static_cast<std::size_t>(n));
}

tl::unexpected<Complaint> ill(std::string_view what) {
  return complain(ErrorCode::kInvalid, fmt::format("the request makes no sense: {}", what));
}

// The answer's object; a complaint where it says no. kShutdown: it is about to end, or has ended.
SetUp<Json> answer_of(LocalSocket& socket) {
  const auto packet = socket.receive();
  if (packet ? !packet->has_value() : packet.error().sys_errno == ECONNRESET)
    return complain(ErrorCode::kShutdown, "the larder that had the store has ended; mount again");
  if (!packet)
    return complain(ErrorCode::kSystem, "the larder that has the store did not answer",
                    packet.error().sys_errno);
  Json answer = Json::parse((*packet)->text, nullptr, false);
  if (!answer.is_object() || !answer.contains("ok"))
    return complain(ErrorCode::kSystem, "the larder that has the store gave no sense");
  if (answer["ok"] == true) return answer;
  const bool ending = answer.value("ending", false);
  return complain(ending ? ErrorCode::kShutdown : ErrorCode::kInvalid, answer.value("line", ""));
}

}  // namespace

std::string mount_request(const MountOptions& options, bool stays) {
  return dump({{"do", "mount"},
               {"version", kVersion},
               {"namespace", mount_namespace()},
               {"share", options.share},
               {"mountpoint", options.mountpoint},
               {"options", options_text(options)},
               {"kernel_words", options.kernel_words},
               {"stays", stays}});
}

SetUp<MountOptions> read_mount_request(std::string_view packet) {
  const Json request = Json::parse(packet, nullptr, false);
  if (!request.is_object()) return ill("no object");
  for (const char* word : {"version", "namespace", "share", "mountpoint", "options"})
    if (!request.contains(word) || !request[word].is_string()) return ill(word);
  if (request["version"] != kVersion)
    return complain(ErrorCode::kInvalid,
                    fmt::format("the larder that has the store is of version {}, and this one of "
                                "{}: unmount, and mount all again with one of them",
                                kVersion, request["version"].get<std::string>()));
  if (request["namespace"] != mount_namespace())
    return complain(ErrorCode::kInvalid,
                    "the larder that has the store sees other mounts than this one (a container?): "
                    "give this mount a store of its own");
  MountOptions options;
  std::istringstream lines(request["options"].get<std::string>());
  for (std::string line; std::getline(lines, line);)
    TRY_OK(parse_options(escape_option(line), options));
  options.share = request["share"].get<std::string>();
  options.mountpoint = request["mountpoint"].get<std::string>();
  for (const Json& word : request.value("kernel_words", Json::array()))
    if (word.is_string()) options.kernel_words.push_back(word.get<std::string>());
  return options;
}

SetUp<std::optional<HandedOver>> HandedOver::offer(const MountOptions& options, Stay stay) {
  TRY(const std::string path, Host::store_of(options));
  const std::string link = link_of_store(path);
  if (link.empty()) return std::optional<HandedOver>();
  auto connected = LocalSocket::connect(link);
  if (!connected) return std::optional<HandedOver>();
  LocalSocket& socket = *connected;
  socket.set_patience(options.share_deadline_ns + kPatience_ns);
  if (!socket.send(mount_request(options, stay == Stay::kYes)))
    return std::optional<HandedOver>();  // it ended just now
  const auto admitted = answer_of(socket);
  if (!admitted && admitted.error().error.code == ErrorCode::kShutdown)
    return std::optional<HandedOver>();
  if (!admitted) return tl::make_unexpected(admitted.error());
  TRY(const Fd device, mount_device(options));
  const Status sent = socket.send("{}", device.get());
  if (!sent)
    return complain(ErrorCode::kSystem,
                    "the larder that has the store has ended meanwhile; mount "
                    "again");
  TRY(const Json served, answer_of(socket));
  std::vector<std::string> notes;
  for (const Json& note : served.value("notes", Json::array()))
    notes.push_back(note.get<std::string>());
  socket.set_patience(0);
  return std::optional<HandedOver>(HandedOver(std::move(socket), std::move(notes)));
}

bool HandedOver::wait_for_the_end(int signals_fd) {
  std::array<pollfd, 2> waiting{pollfd{socket_.fd(), POLLIN, 0}, pollfd{signals_fd, POLLIN, 0}};
  while (true) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[0].revents != 0) break;
    if (waiting[1].revents == 0) continue;
    waiting[1].fd = -1;  // once is enough
    if (!socket_.send(R"({"do":"unmount"})")) break;
  }
  const auto packet = socket_.receive();
  return packet && packet->has_value();
}

}  // namespace larder::fuse
