// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <larder/log.h>
#include <larder/mount_table.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>
#include <vector>

#include "introduction.h"

namespace larder::fuse {
namespace {

constexpr Nanoseconds kAnswerGrace_ns = kSecond;
constexpr Nanoseconds kIntroduction_ns = kSecond;

// ECONNABORTED: it died over this very question.
bool is_death(int number) { return number == ENOTCONN || number == ECONNABORTED; }

std::string message(int number) { return std::generic_category().message(number); }

// INIT can only lower what the kernel reads ahead; more is a setting of the mount's device. Where
// it is refused the kernel's own stays: nothing but speed depends on it.
void set_read_ahead(const MountOptions& options, const std::string& device) {
  const std::uint64_t kib = options.kernel.read_ahead.value() >> 10;
  if (kib == 0) return;
  std::ofstream file(fmt::format("/sys/class/bdi/{}/read_ahead_kb", device));
  file << kib << std::flush;
  if (!file) log(LogLevel::kWarn, "read_ahead={}K cannot be set; it takes root", kib);
}

class Arguments {
 public:
  explicit Arguments(const MountOptions& options) {
    add("larder");
    add("-o");
    std::string list = fmt::format("fsname={},subtype=larder", escape_option(options.share));
    if (options.allow_other) list += ",allow_other";
    if (options.permissions == Permissions::kLocal) list += ",default_permissions";
    if (options.settings.read_only) list += ",ro";
    for (const std::string& word : options.kernel_words) list += "," + word;
    add(list);
  }
  ~Arguments() { fuse_opt_free_args(&args_); }
  fuse_args* get() { return &args_; }

 private:
  void add(const std::string& word) { fuse_opt_add_arg(&args_, word.c_str()); }
  fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

void unmount_lazily(const std::string& mountpoint) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0)
      ::execlp("umount", "umount", "-l", mountpoint.c_str(), nullptr);
    else
      ::execlp("fusermount3", "fusermount3", "-uz", mountpoint.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  if (child > 0) ::waitpid(child, &status, 0);
}

}  // namespace

std::string escape_option(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

void clear_dead_mount(const std::string& mountpoint) {
  if (type_mounted_at(mountpoint) != "fuse.larder") return;
  // Not stat(2): the kernel may still trust the attributes that the dead one gave it.
  struct statvfs figures {};
  if (::statvfs(mountpoint.c_str(), &figures) == 0) return;
  if (!is_death(errno)) return;
  log(LogLevel::kInfo, "{} is the mount of a larder that died: unmounting it", mountpoint);
  unmount_lazily(mountpoint);
}

SetUp<std::monostate> check_mountpoint(const MountOptions& options) {
  const std::string& mountpoint = options.mountpoint;
  const std::string below = options.share == "/" ? "/" : options.share + "/";
  if (mountpoint != options.share && mountpoint.starts_with(below))
    return complain(
        ErrorCode::kInvalid,
        fmt::format("the mount point {} lies inside the share {}, which would then hold itself; "
                    "mount beside it, or on it",
                    mountpoint, options.share));
  struct stat s {};
  int found = ::stat(mountpoint.c_str(), &s);
  if (found != 0 && is_death(errno)) {
    // One that was still dying when it was looked for.
    clear_dead_mount(mountpoint);
    found = ::stat(mountpoint.c_str(), &s);
  }
  if (found != 0)
    return complain(
        ErrorCode::kInvalid,
        fmt::format("the mount point {} cannot be used: {}", mountpoint, message(errno)), errno);
  if (!S_ISDIR(s.st_mode))
    return complain(ErrorCode::kInvalid,
                    fmt::format("the mount point {} is not a directory", mountpoint));
  return std::monostate{};
}

Session::Session(const MountOptions& options, Mount& mount)
    : mount_(mount), options_(options), ended_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  served_.filesystem = &mount.filesystem();
  served_.kernel = options.kernel;
  served_.share_locks = options.locks == Locks::kShare;
  served_.writeback_cache = options.writeback_cache;
  served_.checks_access_lists = options.permissions == Permissions::kLocal;
}

Session::~Session() { check(session_ == nullptr, "a session is ended before it goes"); }

namespace {

tl::unexpected<Complaint> refused(const MountOptions& options, int number) {
  return complain(
      ErrorCode::kSystem,
      fmt::format("mounting at {} was refused; is /dev/fuse there, and allowed?{}",
                  options.mountpoint,
                  options.allow_other ? " (allow_other needs root or user_allow_other in "
                                        "/etc/fuse.conf)"
                                      : ""),
      number);
}

// What another process mounted libfuse does not unmount. Not where the kernel has ended it: by now
// something else may be mounted there.
void unmount_of_another(const std::string& mountpoint, int device) {
  pollfd ended{device, 0, 0};
  if (::poll(&ended, 1, 0) == 1 && (ended.revents & POLLERR) != 0) return;
  if (::geteuid() == 0) {
    ::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    return;
  }
  unmount_lazily(mountpoint);
}

}  // namespace

SetUp<Fd> mount_device(const MountOptions& options) {
  Arguments arguments(options);
  fuse_session* session =
      fuse_session_new(arguments.get(), &operations(), sizeof(fuse_lowlevel_ops), nullptr);
  if (!session) return complain(ErrorCode::kSystem, "libfuse refused the mount options");
  if (fuse_session_mount(session, options.mountpoint.c_str()) != 0) {
    const int number = errno;
    fuse_session_destroy(session);
    return refused(options, number);
  }
  Fd device(::fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 3));
  fuse_session_destroy(session);  // lets the mount be
  return device;
}

SetUp<std::unique_ptr<Session>> Session::mount(const MountOptions& options, Mount& mount,
                                               Fd device) {
  std::unique_ptr<Session> self(new Session(options, mount));
  mount.set_kernel_cache(self->notifier_);
  Arguments arguments(options);
  self->session_ =
      fuse_session_new(arguments.get(), &operations(), sizeof(fuse_lowlevel_ops), &self->served_);
  if (!self->session_) return complain(ErrorCode::kSystem, "libfuse refused the mount options");
  const auto give_up = [&](const std::string& line, int number) {
    if (self->transport_) self->transport_->stop();
    self->unmount();
    fuse_session_destroy(self->session_);
    self->session_ = nullptr;
    return complain(ErrorCode::kSystem, line, number);
  };
  self->mounted_by_another_ = device.valid();
  const std::string place =
      device.valid() ? fmt::format("/dev/fd/{}", device.get()) : options.mountpoint;
  if (fuse_session_mount(self->session_, place.c_str()) != 0) {
    const auto complaint = refused(options, errno);
    return give_up(complaint.value().line, complaint.value().error.sys_errno);
  }
  static_cast<void>(device.release());  // libfuse closes it
  self->transport_ =
      std::make_unique<Transport>(self->session_, self->options_, mount, self->ended_fd_.get());
  self->served_.transport = self->transport_.get();
  const std::string number = mounted_at(options.mountpoint).value_or(MountEntry{}).device;
  self->connection_ = Entrusted(number);
  self->notifier_.start(self->session_);
  const Status served = self->transport_->start();
  if (!served) {
    self->notifier_.stop();
    return give_up("the kernel's FUSE did not answer: " + to_text(served.error()),
                   served.error().sys_errno);
  }
  if (self->transport_->over_rings())
    introduce(fmt::format("{}/{}/version", options.mountpoint, options.control), kIntroduction_ns);
  set_read_ahead(options, number);
  return self;
}

void Session::unmount() {
  fuse_session_unmount(session_);
  if (mounted_by_another_) unmount_of_another(mount_.mountpoint(), fuse_session_fd(session_));
}

void Session::end() {
  // First the name goes, so that nobody new comes in; requests that are being served go on.
  unmount();
  transport_->stop();
  mount_.stop_answering_later();
  notifier_.stop();
  // Who waited has been told so, and is answered on other threads: libfuse's session goes behind
  // the last of them. Where a disk holds one up it stays, and the end of the process is its end.
  if (transport_->wait_until_answered(kAnswerGrace_ns)) fuse_session_destroy(session_);
  session_ = nullptr;
  connection_ = Entrusted();
}

}  // namespace larder::fuse
