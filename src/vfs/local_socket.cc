// SPDX-License-Identifier: Apache-2.0
#include <larder/local_socket.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace larder {
namespace {

constexpr int kBacklog = 16;

// False: too long for a socket's name.
bool set_address(const std::string& path, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  return true;
}

const sockaddr* plain(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Fd new_socket() { return Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)); }

union Control {
  cmsghdr header;
  std::array<char, CMSG_SPACE(sizeof(int))> room;
};

// The descriptor that came along; others, of which there should be none, are closed.
Fd take_descriptor(msghdr& message) {
  Fd taken;
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
    if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(at), sizeof fd);
    taken.reset(fd);
  }
  return taken;
}

}  // namespace

Result<LocalSocket> LocalSocket::connect(const std::string& path) {
  sockaddr_un address{};
  if (!set_address(path, address)) return fail(ErrorCode::kNotFound, ENAMETOOLONG);
  Fd fd = new_socket();
  if (!fd.valid()) return fail(ErrorCode::kSystem, errno);
  if (::connect(fd.get(), plain(address), sizeof address) == 0) return LocalSocket(std::move(fd));
  const int number = errno;
  if (number == ENOENT || number == ECONNREFUSED || number == ENOTDIR)
    return fail(ErrorCode::kNotFound, number);
  return fail(number == EACCES ? ErrorCode::kPermission : ErrorCode::kSystem, number);
}

Status LocalSocket::send(std::string_view text, int fd) {
  check(!text.empty() && text.size() <= kPacketMax, "a packet has 1 byte to 64 KiB");
  iovec part{const_cast<char*>(text.data()), text.size()};
  Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.room.data();
    message.msg_controllen = control.room.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  ssize_t n = 0;
  do {
    n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return fail(ErrorCode::kSystem, errno == EAGAIN ? ETIMEDOUT : errno);
  return {};
}

Result<std::optional<Packet>> LocalSocket::receive() {
  Packet packet;
  packet.text.resize(kPacketMax);
  iovec part{packet.text.data(), packet.text.size()};
  Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.room.data();
  message.msg_controllen = control.room.size();
  ssize_t n = 0;
  do {
    n = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return fail(ErrorCode::kSystem, errno == EAGAIN ? ETIMEDOUT : errno);
  packet.fd = take_descriptor(message);
  if (n == 0) return std::optional<Packet>();
  packet.text.resize(static_cast<std::size_t>(n));
  return std::optional<Packet>(std::move(packet));
}

void LocalSocket::set_patience(Nanoseconds time_ns) {
  timeval time{};
  time.tv_sec = time_ns / kSecond;
  time.tv_usec = time_ns % kSecond / 1000;
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

std::optional<uid_t> LocalSocket::peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return std::nullopt;
  return credentials.uid;
}

SetUp<LocalListener> LocalListener::open(std::string path) {
  const auto refused = [&](int number) {
    return complain(ErrorCode::kSystem,
                    "the control socket " + path +
                        " cannot be made: " + to_text(Error{ErrorCode::kSystem, number}),
                    number);
  };
  // Under its name only when it listens: what does not is taken for a dead one's.
  const std::string fresh = path + ".new";
  sockaddr_un address{};
  if (!set_address(fresh, address)) return refused(ENAMETOOLONG);
  Fd fd = new_socket();
  if (!fd.valid()) return refused(errno);
  ::unlink(fresh.c_str());
  if (::bind(fd.get(), plain(address), sizeof address) != 0) return refused(errno);
  if (::chmod(fresh.c_str(), 0600) != 0) return refused(errno);
  if (::listen(fd.get(), kBacklog) != 0) return refused(errno);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return refused(errno);
  return LocalListener(std::move(fd), std::move(path));
}

LocalListener::~LocalListener() { close(); }

void LocalListener::close() {
  if (!fd_.valid()) return;
  ::unlink(path_.c_str());
  fd_.reset();
}

std::optional<LocalSocket> LocalListener::accept() {
  Fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  return LocalSocket(std::move(fd));
}

}  // namespace larder
