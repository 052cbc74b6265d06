// SPDX-License-Identifier: Apache-2.0
// Random operations through larder and behind its back, against what docs/semantics.md promises of
// each level of coherency, with faults, restarts, kills and every order of the queues in between:
//
//   strict, cto   what is opened shows what the share holds at that moment
//   strict        a handle that was opened before does too
//   ttl           what is opened shows what the share held at some moment of the last N seconds
//   immutable     the same, of files that nobody else changes
//   all           whatever is read is one version that the share held, whole; never a mix of two. A
//                 share that fails or is away makes an error or an older version, never a third
//                 thing. Our own changes are seen at once
//
// LARDER_SEED=7 repeats a run, LARDER_SEED=7-99 makes many, LARDER_PROFILE=sshfs and
// LARDER_LEVEL=cto choose among them; LARDER_LONG makes 2000 of each.
#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "support/catch.h"
#include "support/seeds.h"
#include "vfs/history.h"
#include "vfs/world.h"

using namespace larder;
using namespace larder::test;

namespace {

constexpr Nanoseconds kTtl = 5 * kSecond;

WorldOptions options_of(SimProfile profile, Coherency level, std::uint64_t seed) {
  WorldOptions options{.profile = profile, .verify = seed % 8 == 3, .waits_every = seed % 3};
  options.reader = seed % 4 < 2 ? SimEngine::Reader::kRing : SimEngine::Reader::kThread;
  options.settings.coherency = level;
  options.settings.ttl_ns = kTtl;
  return options;
}

struct OpenFile {
  std::string file;  // Run::file_of(); "(gone)" where it has no name any more
  NodeId node;
  HandleId handle;
  bool writes = false;
};

class Run {
 public:
  Run(SimProfile profile, Coherency level, std::uint64_t seed)
      : level_(level),
        random_(Seed{seed}),
        faulty_(random_.one_in(3)),
        world_(options_of(profile, level, seed)),
        links_(profile == SimProfile::kNfs || profile == SimProfile::kSmb) {
    // A client below that keeps attributes itself can only delay what is seen (docs/semantics.md).
    world_.share.keep_attributes_for(0);
    for (const char* name : kNames) world_.share.put(name, text());
    record();
  }

  void steps(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      step();
      record();
      if (random_.one_in(3))
        world_.clock.advance(static_cast<Nanoseconds>(random_.below(3 * kSecond)));
      if (random_.one_in(4)) {
        tell("-- all is read");
        check_all();
      }
    }
    close_all();
    record();
    check_all();
  }

 private:
  static constexpr const char* kNames[] = {"a", "b", "c", "s/a", "s/b"};

  std::string name() { return kNames[random_.below(std::size(kNames))]; }
  std::string text() {
    std::string bytes(random_.below(40'000), '\0');
    const std::uint64_t salt = random_.next();
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<char>('a' + (i / 61 + salt) % 26);
    return bytes;
  }

  // -- what the share held, and when

  void record() {
    for (const char* n : kNames) history_.record(n);
  }
  Content truth(const std::string& n) const { return history_.truth(n); }

  // Which file a name is and what the file holds are trusted each for itself: a name that was
  // another link of a file shows what the file holds by now, under its other names.
  bool may_be_shown(const std::string& n, const Content& shown) const {
    const Nanoseconds since = world_.clock.mono_ns() - kTtl;
    if (history_.held_since(n, shown, since)) return true;
    return links_ && shown &&
           std::any_of(std::begin(kNames), std::end(kNames),
                       [&](const char* other) { return history_.held_since(other, shown, since); });
  }
  // Close-to-open asks about the file, by any name of it: a name that has just become another
  // file's or none, and is still trusted, leads to the file under its other names.
  bool is_another_link(const std::string& n, const Content& shown) const {
    const Nanoseconds age_ns = history_.unchanged_for_ns(n);
    if (level_ != Coherency::kCloseToOpen || !links_ || !shown || age_ns > Settings{}.entry_ttl_ns)
      return false;
    return std::any_of(std::begin(kNames), std::end(kNames),
                       [&](const char* other) { return n != other && truth(other) == shown; });
  }
  // -- names

  struct Place {
    NodeId parent;
    std::string leaf;
  };
  std::optional<Place> place_of(const std::string& n, Answer* looked = nullptr) {
    const std::size_t slash = n.find('/');
    if (slash == n.npos) return Place{kRootNode, spelled(n)};
    const Answer parent = world_.lookup(spelled(n.substr(0, slash)));
    if (looked != nullptr) *looked = parent;
    if (!parent.ok() || parent.entry.node.value() == 0) return std::nullopt;
    return Place{parent.entry.node, spelled(n.substr(slash + 1))};
  }
  // As users of a share that folds case do: one way or another.
  std::string spelled(std::string part) {
    const bool swaps = world_.share.traits().folds_case && random_.one_in(3);
    if (swaps) part.front() = static_cast<char>(part.front() ^ 0x20);
    return part;
  }
  // Which file a name is now, as far as a client can know: where numbers are stable the number, so
  // that a handle stays with its file under whatever names; else the name itself ("files go by
  // their names").
  std::string file_of(const std::string& n) const {
    if (!links_) return n;
    if (!world_.share.exists(n)) return "(none)";
    return numbered(world_.share.attributes(n).inode);
  }
  static std::string numbered(std::uint64_t inode) { return '#' + std::to_string(inode); }
  bool same_file(const std::string& a, const std::string& b) const {
    return file_of(a) == file_of(b) && world_.share.exists(a);
  }
  std::vector<std::string> names_of(const OpenFile& file) const {
    std::vector<std::string> names;
    for (const char* n : kNames)
      if (file_of(n) == file.file) names.emplace_back(n);
    return names;
  }
  std::string to_text(const OpenFile& file) const {
    std::string text;
    for (const std::string& n : names_of(file)) text += (text.empty() ? "" : "=") + n;
    return text.empty() ? "(gone)" : text;
  }
  bool being_written(const std::string& n) const {
    return std::any_of(open_.begin(), open_.end(), [&](const OpenFile& file) {
      return file.writes && file.file == file_of(n);
    });
  }
  // Without numbers a handle of before is one on what its name leads to.
  bool is_open(NodeId node) const {
    return std::any_of(open_.begin(), open_.end(),
                       [&](const OpenFile& file) { return file.node == node; });
  }
  bool is_untold(const std::string& n) const {
    return untold_.contains(file_of(n)) || is_taken_for_ours(n);
  }
  // "Pages written through larder stay cached when the share shows a size and time that our own
  // writes explain": a change that bears the very stamp of our last write is taken for that. Not on
  // shares with coarse stamps: there they are dropped.
  bool is_taken_for_ours(const std::string& n) const {
    const auto change = taken_for_ours_.find(file_of(n));
    return change != taken_for_ours_.end() && change->second == shown(n);
  }
  void note_own_write(const std::string& n) {
    if (links_ && world_.share.exists(n)) own_[file_of(n)] = shown(n);
  }
  void note_open(const std::string& n, const Entry& found, HandleId handle, bool writes) {
    // Within ttl a name is opened that may be none by now.
    std::string file = links_ ? numbered(found.inode) : world_.share.exists(n) ? n : "(gone)";
    open_.push_back({std::move(file), found.node, handle, writes});
  }
  Identity shown(const std::string& n) const {
    return identity_of(world_.share.attributes(n), world_.share.traits());
  }

  // What was done so far, for who reads a failure.
  void tell(std::string_view what, const std::string& n = "", const std::string& other = "") {
    story_ += std::string(what) + ' ' + n + ' ' + other + '\n';
  }

  // -- steps

  void step() {
    switch (random_.below(faulty_ ? 18 : 15)) {
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
      case 12:
        return link_one();
      case 13:
        return read_open();
      case 14:
        return change_under_a_read();
      case 15:
        return fail_some();
      case 16:
        return be_away();
      case 17:
        return world_.share.cut_next_reads(1);
    }
  }

  // The same size: only the time stamps tell, where they are fine enough.
  void put_same_size(const std::string& n) {
    if (!world_.share.exists(n)) return;
    std::string same = world_.share.content(n);
    if (same.empty()) return;
    same[random_.below(same.size())] ^= 1;
    const Identity before = shown(n);
    world_.share.put(n, same);
    if (shown(n) == before) untold_.insert(file_of(n));
    const auto own = own_.find(file_of(n));
    if (own != own_.end() && own->second == shown(n)) taken_for_ours_[file_of(n)] = shown(n);
    tell("share: another byte in", n, shown(n) == before ? "untold" : "");
  }

  void behind_the_back() {
    const std::string n = name();
    if (level_ == Coherency::kImmutable) return;
    if (being_written(n)) return;  // who writes at the same time as others is promised nothing
    switch (random_.below(4)) {
      case 0:
        tell("share: other content in", n);
        return world_.share.put(n, text());
      case 1:
        tell("share: another file is", n);
        forget(n);
        return world_.share.replace(n, text());
      case 2:
        tell("share: removes", n);
        forget(n);
        if (world_.share.exists(n)) world_.share.erase(n);
        return;
      case 3:
        return put_same_size(n);
    }
  }

  // As the kernel does: once more where the name turns out to be another file's.
  Answer open_at(const std::string& n, int flags, Answer& found) {
    Answer opened;
    for (int attempt = 0; attempt < 2; ++attempt) {
      const auto place = place_of(n, &found);
      if (!place) return found;
      found = world_.lookup(place->leaf, place->parent);
      if (!found.ok() || found.entry.node.value() == 0) return found;
      opened = world_.open(found.entry.node, flags);
      if (!opened.error || opened.error->code != ErrorCode::kShareStale) break;
    }
    return opened;
  }

  void open_one() {
    if (open_.size() == 4) return;
    const std::string n = name();
    const bool writes = random_.one_in(2);
    const int truncates = writes && random_.one_in(4) ? O_TRUNC : 0;
    tell(writes ? "open to write" : "open", n, truncates != 0 ? "truncated" : "");
    Answer found;
    const Answer opened = open_at(n, (writes ? O_RDWR : O_RDONLY) | truncates, found);
    if (opened.ok() && opened.open.handle != kNoHandle)
      note_open(n, found.entry, opened.open.handle, writes);
  }

  void write_one() {
    for (const OpenFile& file : open_) {
      if (!file.writes) continue;
      const std::string data = text();
      if (data.empty()) return;
      const std::uint64_t at = random_.below(50'000);
      tell("write", to_text(file), std::to_string(at) + " + " + std::to_string(data.size()));
      const Asked written = world_.start_write(file.node, file.handle, at, data);
      const std::uint64_t from = random_.below(40'000);
      const Asked read = world_.start_read(file.node, file.handle, from, 5'000);
      while (!written->done || !read->done) world_.step(random_);
      tell(written->ok() ? "  written" : "  refused");
      for (const std::string& n : names_of(file)) note_own_write(n);
      INFO(story_ << (written->error ? larder::to_text(*written->error) : ""));
      if (!faulty_) REQUIRE(written->ok());
      return;
    }
  }

  void truncate_one() {
    const std::string n = name();
    const auto place = place_of(n);
    if (!place) return;
    const std::uint64_t size = random_.below(30'000);
    tell("truncate", n, std::to_string(size));
    const Answer found = world_.lookup(place->leaf, place->parent);
    if (found.ok() && found.entry.node.value() != 0) world_.truncate(found.entry.node, size);
    note_own_write(n);
  }

  void make_one() {
    const std::string n = name();
    const auto place = place_of(n);
    if (!place || open_.size() == 4) return;
    tell("create", n);
    const Answer made = world_.create(place->leaf, O_RDWR, place->parent);
    if (made.ok()) note_open(n, made.entry, made.open.handle, true);
  }

  void rename_or_remove() {
    const std::string from = name(), to = name();
    const auto source = place_of(from), target = place_of(to);
    if (from == to || !source || !target) return;
    if (random_.one_in(2)) {
      tell("remove", from);
      const Answer removed = world_.run(
          [&](Reply r) { world_.vfs->remove_file(source->parent, source->leaf, std::move(r)); });
      if (removed.ok()) forget(from);
      return;
    }
    // Two names of one file: rename(2) does nothing.
    const bool nothing = same_file(from, to);
    tell("rename", from, to);
    const Answer moved = world_.run([&](Reply r) {
      world_.vfs->rename(source->parent, source->leaf, target->parent, target->leaf, 0,
                         std::move(r));
    });
    if (!moved.ok() || nothing) return;
    forget(to);
    if (links_) return;
    if (untold_.erase(from) != 0) untold_.insert(to);
    for (OpenFile& file : open_)
      if (file.file == from) file.file = to;
  }

  void link_one() {
    const std::string from = name(), to = name();
    const auto source = place_of(from), target = place_of(to);
    if (!links_ || from == to || !source || !target) return;
    const Answer found = world_.lookup(source->leaf, source->parent);
    if (!found.ok() || found.entry.node.value() == 0) return;
    tell("link", from, to);
    world_.run([&](Reply r) {
      world_.vfs->make_link(found.entry.node, target->parent, target->leaf, std::move(r));
    });
  }

  // The name is another file's now. Files with numbers go on under their other names.
  void forget(const std::string& n) {
    if (links_) return;
    untold_.erase(n);
    for (OpenFile& file : open_)
      if (file.file == n) file.file = "(gone)";
  }

  // A handle shows one version, whole: the current one, or one that it was opened on or moved to.
  void read_open() {
    for (const OpenFile& file : open_) {
      const std::vector<std::string> names = names_of(file);
      if (names.empty()) continue;
      const Answer read = world_.read(file.node, file.handle, 0, 1 << 20);
      INFO(story_ << "handle on " << to_text(file) << ' '
                  << (read.error ? larder::to_text(*read.error) : ""));
      if (!faulty_) REQUIRE(read.ok());
      if (!read.ok() || is_untold(names.front())) continue;
      INFO((history_.ever_held(read.data) ? "" : history_.nearest(read.data)));
      CHECK(history_.ever_held(read.data));
      if (level_ == Coherency::kStrict && leads_to(names.front(), file))
        CHECK((read.data == truth(names.front())));
    }
  }
  bool leads_to(const std::string& n, const OpenFile& file) {
    const auto place = place_of(n);
    if (!place) return false;
    const Answer found = world_.lookup(place->leaf, place->parent);
    return found.ok() && found.entry.node == file.node;
  }

  void change_under_a_read() {
    const std::string n = name();
    if (level_ == Coherency::kImmutable || being_written(n)) return;
    const std::string later = text();
    tell("share: changes under a read", n);
    bool changed = false;
    world_.share.during_next(SimCall::kRead, [&] {
      if (!world_.share.exists(n)) return;
      world_.clock.advance(3 * kSecond);
      world_.share.put(n, later);
      changed = true;
      record();
    });
    Answer found;
    const Answer read = cat(n);
    world_.share.during_next(SimCall::kRead, nullptr);
    INFO(
        story_ << "file " << n << " changed under the read: " << changed << ' '
               << (read.ok() && !history_.ever_held(read.data) ? history_.nearest(read.data) : ""));
    if (read.ok() && !is_untold(n)) CHECK(history_.ever_held(read.data));
  }

  // -- faults

  void fail_some() {
    static constexpr SimCall kCalls[] = {
        SimCall::kStat,  SimCall::kOpen,     SimCall::kRead, SimCall::kWrite,
        SimCall::kFlush, SimCall::kFileStat, SimCall::kList, SimCall::kSetAttributes};
    const SimCall call = kCalls[random_.below(std::size(kCalls))];
    tell("a call fails:", std::to_string(static_cast<int>(call)));
    world_.share.fail_next(call, EIO);
  }

  void be_away() {
    tell("away and back");
    world_.share.go_away();
    for (const char* n : kNames) {
      const Answer read = cat(n);
      INFO(n << " while away");
      if (read.error) {
        // Never "deleted", unless it is known to be.
        const bool gone = read.error->sys_errno == ENOENT;
        CHECK((!gone || history_.held_since(n, std::nullopt, 0)));
      } else if (!is_untold(n)) {
        CHECK(history_.ever_held(read.data));
      }
    }
    world_.share.come_back();
    world_.clock.advance(2 * kSecond);
    world_.settle();
  }

  // -- ends

  void close_one() {
    if (open_.empty()) return;
    const std::size_t i = random_.below(open_.size());
    const OpenFile file = open_[i];
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
    tell("close", to_text(file));
    world_.release(file.node, file.handle);
  }
  void close_all() {
    while (!open_.empty()) close_one();
  }

  void restart() {
    if (!random_.one_in(4)) return;
    tell("restart");
    close_all();
    record();
    if (random_.one_in(2)) REQUIRE(world_.store->sync());
    world_.restart(random_.one_in(2) ? World::Ending::kKill : World::Ending::kUnmount);
    world_.share.remount();
    world_.share.keep_attributes_for(0);
  }

  // -- the promises

  Answer cat(const std::string& n) {
    Answer found;
    Answer opened = open_at(n, O_RDONLY, found);
    // The name, or the directory that it is in, is known to be none.
    if (opened.ok() && opened.open.handle == kNoHandle)
      opened.error = Error{ErrorCode::kShareAnswer, ENOENT};
    if (!opened.ok()) return opened;
    Answer all = world_.read(found.entry.node, opened.open.handle, 0, 1 << 20);
    world_.release(found.entry.node, opened.open.handle);
    all.entry = found.entry;
    return all;
  }

  void check_all() {
    for (const char* n : kNames) check_one(n);
    if (level_ == Coherency::kStrict || level_ == Coherency::kCloseToOpen) check_listing();
  }

  void check_one(const std::string& n) {
    // A question that was not taken up while time went by has made the share slow: "what is known
    // is served as it was, except under strict".
    const auto is_slow = [&] {
      return level_ != Coherency::kStrict && world_.calls->state() != ShareState::kOk;
    };
    bool slow = is_slow();
    const Answer read = cat(n);
    slow = slow || is_slow();
    INFO(story_ << "file " << n << ' ' << (read.error ? larder::to_text(*read.error) : ""));
    const bool absent = read.error && read.error->sys_errno == ENOENT;
    if (read.error && !absent) {
      if (faulty_) return;  // the share's error
      // Its file went while the name was still trusted.
      const bool may_be_stale = level_ == Coherency::kTtl || level_ == Coherency::kImmutable;
      REQUIRE((may_be_stale && read.error->code == ErrorCode::kShareStale));
      return;
    }
    if (is_taken_for_ours(n)) return;
    if (slow) {
      CHECK((absent || is_untold(n) || history_.ever_held(read.data)));
      return;
    }
    // A change that leaves every stamp as it was is not seen while a handle keeps the version of
    // before, or while nothing is asked.
    const bool asks = level_ == Coherency::kStrict || level_ == Coherency::kCloseToOpen;
    if (is_untold(n) && (is_open(read.entry.node) || !asks)) return;
    untold_.erase(file_of(n));
    const Content shown = absent ? std::nullopt : Content(read.data);
    if (!asks) {
      INFO("shows " << (shown ? std::to_string(shown->size()) + " bytes" : "no such name") << "; "
                    << history_.lately(n));
      CHECK(may_be_shown(n, shown));
      return;
    }
    if (is_another_link(n, shown)) return;
    const Content held = truth(n);
    REQUIRE(shown.has_value() == held.has_value());
    if (!held) return;
    CHECK(shown->size() == held->size());
    const auto differs = std::mismatch(shown->begin(), shown->end(), held->begin(), held->end());
    const auto agrees = std::mismatch(shown->rbegin(), shown->rend(), held->rbegin(), held->rend());
    INFO("differs from byte " << differs.first - shown->begin() << " to the "
                              << agrees.first - shown->rbegin() << "th from the end of "
                              << held->size());
    CHECK((*shown == *held));
  }

  // Opening a directory asks for its names.
  void check_listing() {
    const Answer listed = world_.list();
    if (faulty_ && !listed.ok()) return;
    REQUIRE(listed.ok());
    std::set<std::string> names;
    for (std::string n : listed.names) {
      if (world_.share.traits().folds_case && n.front() >= 'A' && n.front() <= 'Z')
        n.front() = static_cast<char>(n.front() ^ 0x20);
      names.insert(std::move(n));
    }
    for (const char* n : {"a", "b", "c"}) {
      INFO("name " << n);
      CHECK(names.contains(n) == world_.share.exists(n));
    }
  }

  const Coherency level_;
  Random random_;
  const bool faulty_;
  World world_;
  const bool links_;
  History history_{world_.share, world_.clock};
  std::vector<OpenFile> open_;
  std::set<std::string> untold_;         // files (file_of()) that changed, and nothing tells
  std::map<std::string, Identity> own_;  // of files: as they were shown behind our write
  std::map<std::string, Identity> taken_for_ours_;  // changed by others, and show the same
  std::string story_;
};

}  // namespace

TEST_CASE("what is read is what the level of coherency promises, whatever happened before") {
  const Seeds seeds = chosen_seeds({1, 30}, {1, 2'000});
  constexpr Coherency kLevels[] = {Coherency::kCloseToOpen, Coherency::kStrict, Coherency::kTtl,
                                   Coherency::kImmutable};
  for (const SimProfile profile : kAllProfiles) {
    for (const Coherency level : kLevels) {
      if (!is_chosen("LARDER_PROFILE", to_text(profile))) continue;
      if (!is_chosen("LARDER_LEVEL", to_text(level))) continue;
      DYNAMIC_SECTION(to_text(profile) << ", " << to_text(level)) {
        for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
          INFO("LARDER_SEED=" << seed << " LARDER_PROFILE=" << to_text(profile)
                              << " LARDER_LEVEL=" << to_text(level));
          Run(profile, level, seed).steps(60);
        }
        SUCCEED();
      }
    }
  }
}
