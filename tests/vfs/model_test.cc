// SPDX-License-Identifier: Apache-2.0
// Random operations through larder and behind its back, against the one sentence that close-to-open
// is: an open shows what the share holds. Restarts, kills and every order of the queues in between.
//
// LARDER_SEED repeats a run; LARDER_LONG makes many more.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "support/catch.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

struct OpenFile {
  std::string name;
  NodeId node;
  HandleId handle;
  bool writes = false;
};

class Run {
 public:
  Run(SimProfile profile, std::uint64_t seed) : random_(Seed{seed}), world_({.profile = profile}) {
    // A client below that keeps attributes itself can only delay what is seen (docs/semantics.md).
    world_.share.keep_attributes_for(0);
    for (const char* name : kNames) world_.share.put(name, text());
  }

  void steps(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      step();
      if (random_.one_in(3))
        world_.clock.advance(static_cast<Nanoseconds>(random_.below(3 * kSecond)));
      if (random_.one_in(4)) check_all();
    }
    close_all();
    check_all();
  }

 private:
  static constexpr const char* kNames[] = {"a", "b", "c", "d"};

  std::string name() { return kNames[random_.below(4)]; }
  std::string text() {
    std::string bytes(random_.below(40'000), '\0');
    const std::uint64_t salt = random_.next();
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>('a' + (i / 61 + salt) % 26);
    return bytes;
  }
  Identity shown(const std::string& n) const {
    return identity_of(world_.share.attributes(n), world_.share.traits());
  }
  bool being_written(const std::string& n) const {
    for (const OpenFile& file : open_)
      if (file.name == n && file.writes) return true;
    return false;
  }
  bool is_open(const std::string& n) const {
    for (const OpenFile& file : open_)
      if (file.name == n) return true;
    return false;
  }

  void step() {
    switch (random_.below(12)) {
      case 0:
      case 1:
        return behind_the_back();
      case 2:
      case 3:
        return open_one();
      case 4:
      case 5:
      case 6:
        return write_one();
      case 7:
        return close_one();
      case 8:
        return truncate_one();
      case 9:
        return rename_or_remove();
      case 10:
        return make_one();
      case 11:
        return restart();
    }
  }

  void behind_the_back() {
    const std::string n = name();
    if (being_written(n)) return;  // who writes at the same time as others is promised nothing
    switch (random_.below(4)) {
      case 0:
        return world_.share.put(n, text());
      case 1:
        return world_.share.replace(n, text());
      case 2:
        if (world_.share.exists(n)) world_.share.erase(n);
        return;
      case 3: {
        // The same size: only the time stamps tell, where they are fine enough.
        if (!world_.share.exists(n)) return;
        std::string same = world_.share.content(n);
        if (same.empty()) return;
        same[random_.below(same.size())] ^= 1;
        const Identity before = shown(n);
        world_.share.put(n, same);
        if (shown(n) == before) untold_.insert(n);
        return;
      }
    }
  }

  void open_one() {
    if (open_.size() == 4) return;
    const std::string n = name();
    const bool writes = random_.one_in(2);
    const int truncates = writes && random_.one_in(4) ? O_TRUNC : 0;
    Answer found;
    const Answer opened = world_.find_and_open(n, found, (writes ? O_RDWR : O_RDONLY) | truncates);
    if (opened.ok()) open_.push_back({n, found.entry.node, opened.open.handle, writes});
  }

  void write_one() {
    for (const OpenFile& file : open_) {
      if (!file.writes) continue;
      const std::string data = text();
      if (data.empty()) return;
      const Asked written = world_.start_write(file.node, file.handle, random_.below(50'000), data);
      const Asked read = world_.start_read(file.node, file.handle, random_.below(40'000), 5'000);
      while (!written->done || !read->done) world_.step(random_);
      REQUIRE(written->ok());
      return;
    }
  }

  void truncate_one() {
    const Answer found = world_.lookup(name());
    if (found.ok()) world_.truncate(found.entry.node, random_.below(30'000));
  }

  void make_one() {
    const std::string n = name();
    const Answer made = world_.create(n);
    if (made.ok()) open_.push_back({n, made.entry.node, made.open.handle, true});
  }

  void rename_or_remove() {
    const std::string from = name(), to = name();
    if (from == to) return;
    if (random_.one_in(2)) {
      world_.run([&](Reply r) { world_.vfs->remove_file(kRootNode, from, std::move(r)); });
      forget(from);
      return;
    }
    const Answer moved = world_.run(
        [&](Reply r) { world_.vfs->rename(kRootNode, from, kRootNode, to, 0, std::move(r)); });
    if (!moved.ok()) return;
    forget(to);
    if (untold_.erase(from) != 0) untold_.insert(to);
    for (OpenFile& file : open_)
      if (file.name == from) file.name = to;
  }
  // The name is another file's now; the handle goes on without one.
  void forget(const std::string& n) {
    for (OpenFile& file : open_)
      if (file.name == n) file.name = "(gone)";
  }

  void close_one() {
    if (open_.empty()) return;
    const std::size_t i = random_.below(open_.size());
    const OpenFile file = open_[i];
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
    world_.release(file.node, file.handle);
  }
  void close_all() {
    while (!open_.empty()) close_one();
  }

  void restart() {
    if (!random_.one_in(4)) return;
    close_all();
    if (random_.one_in(2)) REQUIRE(world_.store->sync());
    world_.restart(random_.one_in(2) ? World::Ending::kKill : World::Ending::kUnmount);
    world_.share.remount();
    world_.share.keep_attributes_for(0);
  }

  void check_all() {
    for (const char* n : kNames) {
      const Answer read = world_.cat(n);
      INFO("file " << n);
      if (!world_.share.exists(n)) {
        CHECK_FALSE(read.ok());
        continue;
      }
      const std::string error = read.error ? to_text(*read.error) : "";
      INFO(error);
      REQUIRE(read.ok());
      // A change that leaves every stamp as it was is not seen while a handle keeps the version of
      // before.
      if (is_open(n) && untold_.contains(n)) continue;
      untold_.erase(n);
      const std::string truth = world_.share.content(n);
      CHECK(read.data.size() == truth.size());
      const auto differs =
          std::mismatch(read.data.begin(), read.data.end(), truth.begin(), truth.end());
      INFO("differs from byte " << differs.first - read.data.begin());
      CHECK((read.data == truth));
    }
  }

  Random random_;
  World world_;
  std::vector<OpenFile> open_;
  std::set<std::string> untold_;  // changed, and nothing tells
};

}  // namespace

TEST_CASE("an open shows what the share holds, whatever happened before") {
  const char* chosen = std::getenv("LARDER_SEED");
  const std::uint64_t first = chosen ? std::strtoull(chosen, nullptr, 0) : 1;
  const std::uint64_t seeds = chosen ? 1 : std::getenv("LARDER_LONG") ? 2'000 : 60;
  for (const SimProfile profile : kAllProfiles) {
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
      INFO("LARDER_SEED=" << seed << " on " << to_text(profile));
      Run(profile, seed).steps(60);
    }
  }
}
