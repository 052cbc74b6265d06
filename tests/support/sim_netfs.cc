// SPDX-License-Identifier: Apache-2.0
// The tree of a SimNetfs, what another client does to it, faults and counters.
#include "support/sim_netfs.h"

#include <larder/result.h>

#include <utility>

#include "support/sim_netfs_node.h"

namespace larder::test {
namespace {

Nanoseconds kept_of(SimProfile profile) {
  switch (profile) {
    case SimProfile::kNfs:
      return 3 * kSecond;
    case SimProfile::kSmb:
      return kSecond;
    case SimProfile::kSshfs:
      return 20 * kSecond;
    case SimProfile::kS3:
      return 0;
  }
  return 0;
}

}  // namespace

std::string_view to_text(SimProfile profile) {
  switch (profile) {
    case SimProfile::kNfs:
      return "nfs";
    case SimProfile::kSmb:
      return "smb";
    case SimProfile::kSshfs:
      return "sshfs";
    case SimProfile::kS3:
      return "s3";
  }
  return "?";
}

SimNetfs::SimNetfs(SimProfile profile, const Clock& clock)
    : profile_(profile), clock_(clock), keep_ns_(kept_of(profile)) {
  const bool stable = profile == SimProfile::kNfs || profile == SimProfile::kSmb;
  traits_.netfs = "sim";
  traits_.share = {.type = std::string(to_text(profile)),
                   .source = "server:/share",
                   .root = "/",
                   .below = {},
                   .is_mount_point = true};
  traits_.inode_numbers = stable ? InodeNumbers::kStable : InodeNumbers::kUnstable;
  traits_.has_ctime = stable;
  traits_.folds_case = profile == SimProfile::kSmb;
  const MutexLock lock(mutex_);
  root_ = new_node_locked(S_IFDIR | 0755);
}

SimNetfs::~SimNetfs() = default;

Status SimNetfs::begin(SimCall call) {
  std::function<void()> hook;
  {
    const MutexLock lock(mutex_);
    ++counts_[index(call)];
    if (away_) return fail(ErrorCode::kShareAway);
    if (refused_ && acting_as_ == refused_) return no(EACCES);
    Fault& fault = faults_[index(call)];
    if (fault.times > 0) {
      --fault.times;
      return no(fault.sys_errno);
    }
    // A read runs its hook between its halves.
    if (call != SimCall::kRead) hook = std::exchange(hooks_[index(call)], nullptr);
  }
  if (hook) hook();
  return {};
}

std::string SimNetfs::key_of(std::string_view name) const {
  std::string key(name);
  if (traits_.folds_case) {
    std::ranges::transform(key, key.begin(), [](unsigned char c) {
      return static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    });
  }
  return key;
}

Nanoseconds SimNetfs::now_ns() const {
  const Nanoseconds now = clock_.wall_ns();
  return now - now % step_of(profile_);
}

Result<SimNetfs::Place> SimNetfs::find_locked(const std::string& path) const {
  Place place{.parent = nullptr, .key = {}, .name = {}, .node = root_};
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    if (part.empty() || part == "." || part == "..") return fail(ErrorCode::kInvalid, EINVAL);
    if (place.node == nullptr) return no(ENOENT);
    if (!place.node->is(S_IFDIR)) return no(ENOTDIR);
    if (acting_as_.value_or(0) != 0 && (place.node->mode & S_IXOTH) == 0) return no(EACCES);
    place.parent = place.node;
    place.name = part;
    place.key = key_of(part);
    const auto found = place.parent->children.find(place.key);
    place.node = found == place.parent->children.end() ? nullptr : found->second.node;
  }
  return place;
}

Result<SimNetfs::NodeRef> SimNetfs::node_locked(const std::string& path) const {
  TRY(const Place place, find_locked(path));
  if (place.node == nullptr) return no(ENOENT);
  return place.node;
}

SimNetfs::Place SimNetfs::make_way_locked(const std::string& path) {
  for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string directory = path.substr(0, at);
    const auto found = find_locked(directory);
    if (found && found->node == nullptr) {
      check(add_locked(directory, S_IFDIR | 0755, [](Node&) {}).has_value(), "a parent is made");
    }
  }
  auto place = find_locked(path);
  check(place.has_value(), "the test's path is good");
  return *place;
}

SimNetfs::NodeRef SimNetfs::new_node_locked(std::uint32_t mode) {
  auto node = std::make_shared<Node>();
  node->inode = next_inode_++;
  node->mode = mode;
  node->nlink = node->is(S_IFDIR) ? 2 : 1;
  node->atime_ns = node->mtime_ns = node->ctime_ns = node->btime_ns = now_ns();
  return node;
}

Result<Attributes> SimNetfs::add_locked(const std::string& path, std::uint32_t mode,
                                        const std::function<void(Node&)>& fill) {
  TRY(const Place place, find_locked(path));
  if (place.node != nullptr) return no(EEXIST);
  const NodeRef node = new_node_locked(mode);
  fill(*node);
  place.parent->children[place.key] = {.name = place.name, .node = node};
  if (node->is(S_IFDIR)) ++place.parent->nlink;
  changed_locked(*place.parent);
  return attributes_locked(*node);
}

Status SimNetfs::unlink_locked(const Place& place) {
  if (place.node->is(S_IFDIR)) {
    if (!place.node->children.empty()) return no(ENOTEMPTY);
    --place.parent->nlink;
  }
  place.parent->children.erase(place.key);
  --place.node->nlink;
  changed_locked(*place.parent);
  recorded_locked(*place.node);
  return {};
}

Attributes SimNetfs::attributes_locked(const Node& node) const {
  Attributes a;
  switch (profile_) {
    case SimProfile::kNfs:
    case SimProfile::kSmb:
      a.inode = node.inode;
      break;
    case SimProfile::kSshfs:
      a.inode = node.inode + mounts_ * 1'000'003;
      break;
    case SimProfile::kS3:
      a.change = node.is(S_IFREG) ? std::hash<std::string>{}(node.content) | 1 : 0;
      break;
  }
  a.mode = node.mode;
  a.nlink = traits_.inode_numbers == InodeNumbers::kStable ? node.nlink : 1;
  a.uid = node.uid;
  a.gid = node.gid;
  a.rdev = node.rdev;
  a.size = node.is(S_IFDIR) ? 4096 : node.content.size();
  a.blocks_512 = (a.size + 511) / 512;
  a.atime_ns = node.atime_ns;
  a.mtime_ns = node.mtime_ns;
  a.ctime_ns = traits_.has_ctime ? node.ctime_ns : node.mtime_ns;
  a.btime_ns = profile_ == SimProfile::kSmb ? node.btime_ns : 0;
  return a;
}

Attributes SimNetfs::answer_locked(Node& node, Freshness fresh) {
  const bool must_ask = fresh == Freshness::kServer && profile_ != SimProfile::kSshfs;
  const Nanoseconds now_mono_ns = clock_.mono_ns();
  if (!must_ask && node.kept && now_mono_ns < node.kept_until_mono_ns) return *node.kept;
  node.kept = attributes_locked(node);
  node.kept_until_mono_ns = now_mono_ns + keep_ns_;
  return *node.kept;
}

Result<SimNetfs::NodeRef> SimNetfs::open_node_locked(NetfsFile& file) const {
  const NodeRef& node = static_cast<File&>(file).node;
  if (node->gone && profile_ == SimProfile::kNfs) return fail(ErrorCode::kShareStale);
  return node;
}

void SimNetfs::changed_locked(Node& node) {
  node.mtime_ns = now_ns();
  recorded_locked(node);
}

void SimNetfs::recorded_locked(Node& node) { node.ctime_ns = now_ns(); }

// --- as another client

void SimNetfs::put(const std::string& path, std::string_view content) {
  const MutexLock lock(mutex_);
  const Place place = make_way_locked(path);
  if (place.node == nullptr) {
    check(add_locked(path, S_IFREG | 0644, [&](Node& n) { n.content = content; }).has_value(),
          "the test's file is made");
    return;
  }
  place.node->content = content;
  changed_locked(*place.node);
}

void SimNetfs::replace(const std::string& path, std::string_view content) {
  if (exists(path)) erase(path);
  put(path, content);
}

void SimNetfs::put_quietly(const std::string& path, std::string_view content) {
  const MutexLock lock(mutex_);
  const auto node = node_locked(path);
  check(node.has_value(), "the test's file is there");
  (*node)->content = content;
}

void SimNetfs::make_dir(const std::string& path) {
  const MutexLock lock(mutex_);
  if (make_way_locked(path).node != nullptr) return;
  check(add_locked(path, S_IFDIR | 0755, [](Node&) {}).has_value(), "the test's directory is made");
}

void SimNetfs::make_link_to(const std::string& path, const std::string& target) {
  const MutexLock lock(mutex_);
  make_way_locked(path);
  check(add_locked(path, S_IFLNK | 0777, [&](Node& n) { n.content = target; }).has_value(),
        "the test's link is made");
}

void SimNetfs::erase(const std::string& path) {
  const MutexLock lock(mutex_);
  const auto place = find_locked(path);
  check(place && place->node != nullptr && unlink_locked(*place), "the test's name goes");
  place->node->gone = place->node->nlink == 0 || place->node->is(S_IFDIR);
}

void SimNetfs::move(const std::string& from, const std::string& to) {
  const MutexLock lock(mutex_);
  const auto old = find_locked(from);
  check(old && old->node != nullptr && old->parent != nullptr, "the test's name is there");
  const Place place = make_way_locked(to);
  old->parent->children.erase(old->key);
  place.parent->children[place.key] = {.name = place.name, .node = old->node};
  changed_locked(*old->parent);
  changed_locked(*place.parent);
  recorded_locked(*old->node);
}

void SimNetfs::set_inode(const std::string& path, std::uint64_t inode) {
  const MutexLock lock(mutex_);
  const auto node = node_locked(path);
  check(node.has_value(), "the test's file is there");
  (*node)->inode = inode;
  (*node)->kept.reset();
}

void SimNetfs::set_mtime(const std::string& path, std::int64_t mtime_ns) {
  const MutexLock lock(mutex_);
  const auto node = node_locked(path);
  check(node.has_value(), "the test's file is there");
  recorded_locked(**node);
  (*node)->mtime_ns = mtime_ns - mtime_ns % step_of(profile_);
}

bool SimNetfs::exists(const std::string& path) const {
  const MutexLock lock(mutex_);
  return node_locked(path).has_value();
}

std::string SimNetfs::content(const std::string& path) const {
  const MutexLock lock(mutex_);
  const auto node = node_locked(path);
  check(node.has_value(), "the test's file is there");
  return (*node)->content;
}

Attributes SimNetfs::attributes(const std::string& path) const {
  const MutexLock lock(mutex_);
  const auto node = node_locked(path);
  check(node.has_value(), "the test's file is there");
  return attributes_locked(**node);
}

void SimNetfs::remount() {
  const MutexLock lock(mutex_);
  ++mounts_;
  std::vector<Node*> below = {root_.get()};
  while (!below.empty()) {
    Node* const node = below.back();
    below.pop_back();
    node->kept.reset();
    for (const auto& [key, child] : node->children) below.push_back(child.node.get());
  }
}

void SimNetfs::keep_attributes_for(Nanoseconds time_ns) {
  const MutexLock lock(mutex_);
  keep_ns_ = time_ns;
}

// --- faults and counters

void SimNetfs::fail_next(SimCall call, int sys_errno, unsigned times) {
  const MutexLock lock(mutex_);
  faults_[index(call)] = {.sys_errno = sys_errno, .times = times};
}

void SimNetfs::go_away() {
  const MutexLock lock(mutex_);
  away_ = true;
}

void SimNetfs::refuse(std::uint32_t uid) {
  const MutexLock lock(mutex_);
  refused_ = uid;
}

bool SimNetfs::act_as(const Credentials* who) {
  const MutexLock lock(mutex_);
  acting_as_ = who != nullptr ? std::optional(who->uid) : std::nullopt;
  return true;
}

void SimNetfs::come_back() {
  const MutexLock lock(mutex_);
  away_ = false;
}

void SimNetfs::cut_next_reads(unsigned times) {
  const MutexLock lock(mutex_);
  cut_reads_ = times;
}

void SimNetfs::during_next(SimCall call, std::function<void()> hook) {
  const MutexLock lock(mutex_);
  hooks_[index(call)] = std::move(hook);
}

std::uint64_t SimNetfs::calls(SimCall call) const {
  const MutexLock lock(mutex_);
  return counts_[index(call)];
}

std::uint64_t SimNetfs::calls() const {
  const MutexLock lock(mutex_);
  std::uint64_t all = 0;
  for (const std::uint64_t n : counts_) all += n;
  return all;
}

std::uint64_t SimNetfs::bytes_read() const {
  const MutexLock lock(mutex_);
  return bytes_read_;
}

std::uint64_t SimNetfs::open_files() const { return open_files_->load(); }

}  // namespace larder::test
