// SPDX-License-Identifier: Apache-2.0
#include "netfs/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <variant>

#include "netfs/posix_netfs.h"
#include "netfs/share_traits.h"

namespace larder::netfs {
namespace {

std::string errno_text(int sys_errno) { return std::generic_category().message(sys_errno); }

// Looks up a name of the root with its case swapped: one file by both names is a share that folds
// case. Read-only. A root without letters tells nothing; then by kind, as a wrong "no" would hide
// files.
bool folds_case(const ShareRoot::Root& root, std::string_view type) {
  const CaseOfKind kind = case_of(type);
  if (kind == CaseOfKind::kTells) return false;
  const bool unless_shown = kind == CaseOfKind::kFoldsUnlessShown;
  const auto names = list_at(root.fd.get(), ".");
  if (!names) return unless_shown;
  const auto pair = names_that_tell_case(*names);
  if (!pair) return unless_shown;
  const auto ask = [&](const std::string& name) {
    return stat_at(root.device, root.fd.get(), name.c_str(), AT_SYMLINK_NOFOLLOW,
                   Freshness::kServer);
  };
  const auto one = ask(pair->first), other = ask(pair->second);
  return one && other && one->inode == other->inode && one->device == other->device;
}

// A directory that exists, by its canonical name.
SetUp<std::string> canonical(const std::string& share) {
  const std::unique_ptr<char, decltype(&std::free)> path(::realpath(share.c_str(), nullptr),
                                                         &std::free);
  const int error = errno;
  if (path == nullptr) {
    const std::string hint =
        error == ENOTCONN ? ": what was mounted there has died; unmount it" : "";
    return complain(ErrorCode::kShareAnswer,
                    fmt::format("cannot open the share {}: {}{}", share, errno_text(error), hint),
                    error);
  }
  struct stat attributes {};
  if (::stat(path.get(), &attributes) != 0) {
    return complain(ErrorCode::kShareAnswer,
                    fmt::format("cannot open the share {}: {}", share, errno_text(errno)), errno);
  }
  if (!S_ISDIR(attributes.st_mode)) {
    return complain(ErrorCode::kShareAnswer, fmt::format("the share {} is not a directory", share),
                    ENOTDIR);
  }
  return std::string(path.get());
}

SetUp<std::shared_ptr<Netfs>> open_here(const PosixOptions& options,
                                        const SharePool::Keeper& keeper) {
  auto path = canonical(options.share);
  if (!path) return tl::make_unexpected(path.error());
  auto root = ShareRoot::open({.path = std::move(*path),
                               .share_id = options.share_id,
                               .own_mountpoint = options.own_mountpoint},
                              keeper);
  if (!root) return tl::make_unexpected(root.error());
  const auto held = (*root)->current();
  if (!held) {
    return complain(held.error().code, fmt::format("cannot open the share {}: {}", options.share,
                                                   (*root)->why_away()));
  }
  const MountEntry& mount = (*root)->mount();
  Traits traits;
  traits.share = (*root)->identity();
  traits.inode_numbers = inode_numbers_of(mount.type, &mount, options.inodes);
  traits.has_ctime = has_own_ctime(mount.type);
  traits.folds_case = folds_case(**held, mount.type);
  traits.sends_late = sends_late(mount.type);
  traits.tells_writer = tells_writer(mount.type);
  return std::shared_ptr<Netfs>(
      keeper.adopt(std::make_unique<PosixNetfs>(std::move(*root), std::move(traits), keeper)));
}

}  // namespace

SetUp<std::shared_ptr<Netfs>> open_posix(const PosixOptions& options, SharePool& pool) {
  using Opened = SetUp<std::shared_ptr<Netfs>>;
  auto opened = pool.run_and_wait<Opened>(
      [options, keeper = pool.keeper()] { return open_here(options, keeper); },
      options.open_within_ns);
  if (!opened) {
    return complain(ErrorCode::kShareDeadline,
                    fmt::format("the share {} did not answer within {} s", options.share,
                                options.open_within_ns / kSecond));
  }
  return std::move(*opened);
}

}  // namespace larder::netfs
