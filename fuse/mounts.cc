// SPDX-License-Identifier: Apache-2.0
#include "mounts.h"

#include <larder/local_socket.h>
#include <larder/log.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace larder::fuse {

Mounts::Mounts(Host& host) : host_(host), changed_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

SetUp<MountRef> Mounts::add(const MountOptions& options, const std::function<SetUp<Fd>()>& device) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_)
      return complain(ErrorCode::kShutdown, "the larder that has the store is about to end");
    ++coming_;
  }
  const auto open = [&]() -> SetUp<MountRef> {
    auto entry = std::make_shared<ServedMount>();
    entry->link = link_of_mount(options.mountpoint);
    entry->ended_fd.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    TRY(entry->mount, Mount::open(host_, options));
    SetUp<Fd> given = device ? device() : SetUp<Fd>(Fd());
    SetUp<std::unique_ptr<Session>> session =
        given ? Session::mount(options, *entry->mount, std::move(*given))
              : SetUp<std::unique_ptr<Session>>(tl::make_unexpected(given.error()));
    if (!session) {
      entry->mount->close();
      return tl::make_unexpected(session.error());
    }
    entry->session = std::move(*session);
    return entry;
  };
  SetUp<MountRef> entry = open();
  came(entry ? *entry : nullptr);
  return entry;
}

void Mounts::came(const MountRef& entry) {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    --coming_;
    if (entry) serving_.push_back(entry);
    path = socket_path_;
  }
  if (entry && !path.empty()) announce(entry, path);
  ::eventfd_write(changed_fd_.get(), 1);
}

// A mount without a link is reached through its control files alone.
void Mounts::announce(const MountRef& mount, const std::string& path) const {
  const Status linked = make_link(mount->link, path);
  if (!linked) log(LogLevel::kWarn, "no link to {}: {}", path, to_text(linked.error()));
}

void Mounts::announce_at(const std::string& path) {
  std::vector<MountRef> now;
  {
    const std::lock_guard lock(mutex_);
    socket_path_ = path;
    now = serving_;
  }
  for (const MountRef& entry : now) announce(entry, path);
}

MountRef Mounts::find(const std::string& mountpoint) const {
  const std::string link = link_of_mount(mountpoint);
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(serving_.begin(), serving_.end(),
                                  [&](const MountRef& entry) { return entry->link == link; });
  return found == serving_.end() ? nullptr : *found;
}

std::vector<std::string> Mounts::mountpoints() const {
  std::vector<std::string> all;
  for (const MountRef& entry : serving()) all.push_back(entry->mount->mountpoint());
  return all;
}

std::vector<MountRef> Mounts::serving() const {
  const std::lock_guard lock(mutex_);
  return serving_;
}

void Mounts::unmount(const MountRef& mount) {
  {
    const std::lock_guard lock(mutex_);
    leaving_.push_back(mount);
  }
  ::eventfd_write(changed_fd_.get(), 1);
}

bool Mounts::closes() {
  const std::lock_guard lock(mutex_);
  closed_ = serving_.empty() && coming_ == 0;
  return closed_;
}

void Mounts::end(const MountRef& mount) {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    path = socket_path_;
    const auto found = std::find(serving_.begin(), serving_.end(), mount);
    if (found == serving_.end()) return;
    serving_.erase(found);
    ended_.push_back(mount);
  }
  if (!path.empty()) drop_link(mount->link, path);
  const bool is_whole = host_.ends([mount] {
    mount->session->end();
    mount->mount->close();
  });
  log(is_whole ? LogLevel::kInfo : LogLevel::kWarn, "{} is unmounted{}", mount->mount->mountpoint(),
      is_whole ? "" : ", while something of it still waits for a store that does not answer");
  ::eventfd_write(mount->ended_fd.get(), 1);
}

void Mounts::run(int signals_fd) {
  while (!closes()) {
    const std::vector<MountRef> now = serving();
    std::vector<pollfd> waiting{{signals_fd, POLLIN, 0}, {changed_fd_.get(), POLLIN, 0}};
    for (const MountRef& entry : now) waiting.push_back({entry->session->ended_fd(), POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    if (waiting[0].revents != 0) break;
    std::vector<MountRef> over;
    if (waiting[1].revents != 0) {
      eventfd_t n = 0;
      ::eventfd_read(changed_fd_.get(), &n);
      const std::lock_guard lock(mutex_);
      over.swap(leaving_);
    }
    for (std::size_t i = 0; i < now.size(); ++i)
      if (waiting[i + 2].revents != 0) over.push_back(now[i]);
    for (const MountRef& entry : over) end(entry);
  }
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wait_for_those_that_come();
  for (const MountRef& entry : serving()) end(entry);
}

// They wait for their share, no longer than its deadline.
void Mounts::wait_for_those_that_come() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (coming_ == 0) return;
    }
    pollfd changed{changed_fd_.get(), POLLIN, 0};
    ::poll(&changed, 1, -1);
    eventfd_t n = 0;
    ::eventfd_read(changed_fd_.get(), &n);
  }
}

}  // namespace larder::fuse
