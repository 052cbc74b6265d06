// SPDX-License-Identifier: Apache-2.0
#include "request.h"

#include <larder/flock.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "protocol.h"
#include "to_errno.h"

namespace larder::fuse {
namespace {

thread_local int answer_to = -1;
constexpr std::size_t kGroupsMax = 1024;

timespec to_timespec(std::int64_t ns) {
  timespec t{};
  t.tv_sec = ns / kSecond;
  t.tv_nsec = ns % kSecond;
  if (t.tv_nsec < 0) {
    t.tv_nsec += kSecond;
    --t.tv_sec;
  }
  return t;
}

double to_seconds(Nanoseconds ns) { return static_cast<double>(ns) / 1e9; }

struct stat to_stat(std::uint64_t inode, const Attributes& a) {
  struct stat s {};
  s.st_ino = inode;
  s.st_mode = a.mode;
  s.st_nlink = a.nlink;
  s.st_uid = a.uid;
  s.st_gid = a.gid;
  s.st_rdev = a.rdev;
  s.st_size = static_cast<off_t>(a.size);
  s.st_blocks = static_cast<blkcnt_t>(a.blocks_512);
  s.st_blksize = static_cast<blksize_t>(a.block_size);
  s.st_atim = to_timespec(a.atime_ns);
  s.st_mtim = to_timespec(a.mtime_ns);
  s.st_ctim = to_timespec(a.ctime_ns);
  return s;
}

StatxTime to_statx_time(std::int64_t ns) {
  const timespec time = to_timespec(ns);
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec), 0};
}

StatxOut to_statx(std::uint64_t inode, const Attributes& a, Nanoseconds ttl_ns) {
  StatxOut out{};
  out.valid_seconds = static_cast<std::uint64_t>(ttl_ns / kSecond);
  out.valid_nanoseconds = static_cast<std::uint32_t>(ttl_ns % kSecond);
  out.mask = STATX_BASIC_STATS | (a.btime_ns != 0 ? STATX_BTIME : 0);
  out.block_size = a.block_size;
  out.nlink = a.nlink;
  out.uid = a.uid;
  out.gid = a.gid;
  out.mode = static_cast<std::uint16_t>(a.mode);
  out.inode = inode;
  out.size = a.size;
  out.blocks_512 = a.blocks_512;
  out.atime = to_statx_time(a.atime_ns);
  out.btime = to_statx_time(a.btime_ns);
  out.ctime = to_statx_time(a.ctime_ns);
  out.mtime = to_statx_time(a.mtime_ns);
  out.rdev_major = gnu_dev_major(a.rdev);
  out.rdev_minor = gnu_dev_minor(a.rdev);
  return out;
}

fuse_entry_param to_param(const Entry& e) {
  fuse_entry_param p{};
  p.ino = e.node.value();
  p.generation = e.generation;
  p.attr = to_stat(e.inode, e.attributes);
  p.attr_timeout = to_seconds(e.attr_ttl_ns);
  p.entry_timeout = to_seconds(e.entry_ttl_ns);
  return p;
}

fuse_file_info to_file_info(const OpenReply& open) {
  fuse_file_info info{};
  info.fh = open.handle.value();
  info.keep_cache = open.keep_cache;
  info.direct_io = open.direct_io;
  info.cache_readdir = open.cache_dir;
  info.noflush = open.no_flush;
  return info;
}

}  // namespace

Request*& current() {
  thread_local Request* here = nullptr;
  return here;
}

int& answer_fd() { return answer_to; }

BackingId& answer_backing() {
  thread_local BackingId backing = kNoBacking;
  return backing;
}

Reply Request::take(fuse_req_t request) {
  check(current() == this, "a request is taken once, on the thread that hands it to libfuse");
  current() = nullptr;
  request_ = request;
  caller_.reset();
  return Reply(*this);
}

void Request::count(TransportStats& stats, std::uint32_t opcode) {
  stats_ = &stats;
  is_statx_ = opcode == kStatxOpcode;
  operation_ = TransportStats::slot_of(opcode);
  stats.operations[operation_].add();
  thread_local unsigned counted = 0;
  began_ns_ = is_timed(counted) ? system_clock().mono_ns() : 0;
}

std::uint32_t Request::opcode_for_libfuse(std::uint32_t opcode) {
  if (opcode == kTmpfileOpcode) return kCreateOpcode;
  return opcode == kStatxOpcode ? kGetAttributesOpcode : opcode;
}

void Request::waited_since(Nanoseconds since_ns) {
  if (began_ns_ == 0) return;
  const Nanoseconds waited_ns = since_ns == 0 ? 0 : began_ns_ - since_ns;
  stats_->queue_ns.record(static_cast<std::uint64_t>(waited_ns));
}

// The answer goes to the descriptor that brought the request: the kernel looks for it there only.
template <class Answer>
void Request::answer(Answer answer) {
  const int before = std::exchange(answer_to, device_fd());
  const Nanoseconds answered_ns = began_ns_ != 0 ? system_clock().mono_ns() : 0;
  answer(std::exchange(request_, nullptr));
  answer_to = before;
  if (answered_ns == 0) return;
  const Nanoseconds now_ns = system_clock().mono_ns();
  stats_->reply_ns.record(static_cast<std::uint64_t>(now_ns - answered_ns));
  stats_->operation_ns[operation_].record(static_cast<std::uint64_t>(now_ns - began_ns_));
}

void Request::listen(Listener* listener) {
  const auto heard = [](fuse_req_t, void* whose) {
    Listener& one = *static_cast<Listener*>(whose);
    one.heard(one);
  };
  // libfuse calls it under the request's own lock, and takes that lock here.
  fuse_req_interrupt_func(request_, listener != nullptr ? +heard : nullptr, listener);
}

std::uint32_t Request::asker() { return static_cast<std::uint32_t>(fuse_req_ctx(request_)->pid); }

CredentialsRef Request::caller() {
  if (caller_) return caller_;
  const fuse_ctx* context = fuse_req_ctx(request_);
  auto caller = std::make_shared<Credentials>();
  caller->uid = context->uid;
  caller->gid = context->gid;
  std::array<gid_t, kGroupsMax> groups;
  const int count = fuse_req_getgroups(request_, static_cast<int>(groups.size()), groups.data());
  // A caller of another name space, or one that has gone, has no groups that we could know.
  const auto known = static_cast<std::size_t>(std::clamp(count, 0, static_cast<int>(kGroupsMax)));
  caller->groups.assign(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(known));
  caller_ = std::move(caller);
  return caller_;
}

// What libfuse reports of an answer is of no use: the request is gone either way.
void Request::error(Error e) {
  const int error = to_errno(e);
  if (error == EIO && stats_ != nullptr) stats_->io_errors.add();
  answer([&](fuse_req_t r) { fuse_reply_err(r, error); });
}
void Request::ok() {
  answer([](fuse_req_t r) { fuse_reply_err(r, 0); });
}
void Request::entry(const Entry& e) {
  handed_out(e);
  const fuse_entry_param param = to_param(e);
  answer([&](fuse_req_t r) { fuse_reply_entry(r, &param); });
}
void Request::attributes(std::uint64_t inode, const Attributes& a, Nanoseconds ttl_ns) {
  if (is_statx_) {
    const StatxOut out = to_statx(inode, a, ttl_ns);
    return answer(
        [&](fuse_req_t r) { fuse_reply_buf(r, reinterpret_cast<const char*>(&out), sizeof out); });
  }
  const struct stat s = to_stat(inode, a);
  answer([&](fuse_req_t r) { fuse_reply_attr(r, &s, to_seconds(ttl_ns)); });
}
void Request::opened(const OpenReply& open) {
  const fuse_file_info info = to_file_info(open);
  answer_backing() = open.backing;
  answer([&](fuse_req_t r) { fuse_reply_open(r, &info); });
  answer_backing() = kNoBacking;
}
void Request::created(const Entry& e, const OpenReply& open) {
  handed_out(e);
  const fuse_entry_param param = to_param(e);
  const fuse_file_info info = to_file_info(open);
  answer_backing() = open.backing;
  answer([&](fuse_req_t r) { fuse_reply_create(r, &param, &info); });
  answer_backing() = kNoBacking;
}
void Request::data(std::size_t skip, ByteCount count) {
  const auto* from = reinterpret_cast<const char*>(payload().data()) + skip;
  answer([&](fuse_req_t r) { fuse_reply_buf(r, from, count.value()); });
}
void Request::written(ByteCount count) {
  answer([&](fuse_req_t r) { fuse_reply_write(r, count.value()); });
}
void Request::position(ByteOffset offset) {
  answer([&](fuse_req_t r) { fuse_reply_lseek(r, static_cast<off_t>(offset.value())); });
}
void Request::lock(const LockRange& range) {
  struct flock found = to_flock(range);
  found.l_pid = static_cast<pid_t>(range.pid);
  answer([&](fuse_req_t r) { fuse_reply_lock(r, &found); });
}
void Request::link(std::string_view target) {
  const std::string text(target);
  answer([&](fuse_req_t r) { fuse_reply_readlink(r, text.c_str()); });
}
void Request::xattr_size(ByteCount size) {
  answer([&](fuse_req_t r) { fuse_reply_xattr(r, size.value()); });
}
void Request::stat_fs(const struct statvfs& figures) {
  answer([&](fuse_req_t r) { fuse_reply_statfs(r, &figures); });
}

bool Request::add_dirent(std::size_t& used, std::size_t limit, std::string_view name,
                         std::uint64_t inode, std::uint32_t mode, std::uint64_t next) {
  struct stat s {};
  s.st_ino = inode;
  s.st_mode = mode;
  const std::string text(name);
  auto* at = reinterpret_cast<char*>(payload().data()) + used;
  const std::size_t room = std::min(limit, payload().size()) - used;
  const std::size_t needs =
      fuse_add_direntry(request_, at, room, text.c_str(), &s, static_cast<off_t>(next));
  if (needs > room) return false;
  used += needs;
  return true;
}

bool Request::add_dirent_plus(std::size_t& used, std::size_t limit, std::string_view name,
                              const Entry& entry, std::uint64_t next) {
  const fuse_entry_param param = to_param(entry);
  if (param.ino != 0) handed_out(entry);
  const std::string text(name);
  auto* at = reinterpret_cast<char*>(payload().data()) + used;
  const std::size_t room = std::min(limit, payload().size()) - used;
  const std::size_t needs =
      fuse_add_direntry_plus(request_, at, room, text.c_str(), &param, static_cast<off_t>(next));
  if (needs > room) return false;
  used += needs;
  return true;
}

}  // namespace larder::fuse
