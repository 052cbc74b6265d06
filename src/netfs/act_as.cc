// SPDX-License-Identifier: Apache-2.0
#include "netfs/act_as.h"

#include <larder/result.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

namespace larder::netfs {
namespace {

thread_local const Credentials* acting_as = nullptr;

constexpr std::uint32_t kAsk = UINT32_MAX;  // no id: the call changes nothing and returns what is

bool set_fs_id(long call, std::uint32_t id) {
  ::syscall(call, id);
  return static_cast<std::uint32_t>(::syscall(call, kAsk)) == id;
}

bool set_groups(const std::vector<std::uint32_t>& groups) {
  return ::syscall(SYS_setgroups, groups.size(), groups.data()) == 0;
}

// The process's, of before any thread acted as somebody.
const std::vector<std::uint32_t>& own_groups() {
  static const std::vector<std::uint32_t> groups = [] {
    std::array<gid_t, 1024> found;
    const int count = ::getgroups(static_cast<int>(found.size()), found.data());
    return std::vector<std::uint32_t>(found.begin(), found.begin() + (count > 0 ? count : 0));
  }();
  return groups;
}

// The user last: with it goes the right to change the rest.
bool become(const Credentials& who) {
  return set_groups(who.groups) && set_fs_id(SYS_setfsgid, who.gid) &&
         set_fs_id(SYS_setfsuid, who.uid);
}

void become_larder() {
  const bool is = set_fs_id(SYS_setfsuid, ::geteuid()) && set_fs_id(SYS_setfsgid, ::getegid()) &&
                  (::geteuid() != 0 || set_groups(own_groups()));
  check(is, "a share thread is itself again");
}

}  // namespace

bool act_as(const Credentials* who) {
  own_groups();
  if (who == nullptr) {
    if (acting_as != nullptr) become_larder();
    acting_as = nullptr;
    return true;
  }
  if (!become(*who)) {
    become_larder();
    acting_as = nullptr;
    return false;
  }
  acting_as = who;
  return true;
}

AsLarder::AsLarder() : before_(acting_as) {
  if (before_ != nullptr) act_as(nullptr);
}

AsLarder::~AsLarder() {
  if (before_ != nullptr) check(act_as(before_), "a share thread acts on as whom it did");
}

}  // namespace larder::netfs
