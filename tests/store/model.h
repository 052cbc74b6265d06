// SPDX-License-Identifier: Apache-2.0
// A naive model of a store, and a workload from a seed that drives both.
//
// The model knows, for each object, which version of which page the object's present content has,
// and for each version number that was ever written into the aux data what every page of it was. So
// whatever a store remembers after whatever happened to it, its aux data name the one content that
// its pages may have.
#pragma once

#include <fmt/format.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "rig.h"

namespace larder::store::test {

inline constexpr std::uint64_t kFilePages = 40;

class Workload {
 public:
  // `eager`: commits all the time, so that the journal comes round and checkpoints are made.
  enum class Pace : std::uint8_t { kLazy, kEager };
  Workload(Rig& rig, Seed seed, Pace pace = Pace::kLazy) : rig_(rig), random_(seed), pace_(pace) {}

  // Sizes that a step may give the store; none: it keeps its own.
  void resize_to(std::vector<ByteCount> sizes) { sizes_ = std::move(sizes); }
  std::uint64_t resizes() const { return resizes_; }

  // One step. Errors of the device make the store forget; the model goes on.
  void step() {
    if (!under_way_.empty() && random_.one_in(2)) let_one_through();
    if (pace_ == Pace::kEager && random_.one_in(2)) sync();
    if (files_.size() < 3) return make();
    if (!sizes_.empty() && random_.one_in(24)) return resize();
    switch (random_.below(20)) {
      case 0:
        return make();
      case 1:
        return invalidate();
      case 2:
        return drop();
      case 3:
        return truncate();
      case 4:
        return retire();
      case 5:
        return rename();
      case 6:
        return put_name();
      case 7:
        return move_name();
      case 8:
        return remove_name();
      case 9:
        return begin();
      case 10:
      case 11:
        return end();
      case 12:
      case 13:
        return sync();
      case 14:
        return stale_fill();
      default:
        return fill();
    }
  }

  // Every page that can be read is of the version that the aux data name; while the store is up, of
  // the object's present content.
  void read_all() {
    for (auto& [key, file] : files_) read_present(file);
    names_agree();
  }

  // What the store had reported as durable at some moment, but for what was changed since: that may
  // be there or not.
  struct Synced {
    std::uint64_t version = 0;
    std::vector<bool> cached;
  };
  struct Reported {
    std::map<std::string, Synced> files;
    std::map<std::string, std::uint64_t> names;
    std::set<std::string> touched;  // files and names
  };
  const Reported& reported() const { return reported_; }

  // After a crash (the store is a new one): what it has may be old, but never mixed, never wrong;
  // and what was in it at the last sync is there, unless something happened to it since.
  void read_after_crash() { read_after_crash(reported_); }
  void read_after_crash(const Reported& reported) {
    for (const auto& [key, synced] : reported.files) {
      CAPTURE(key);
      if (reported.touched.count(key) != 0) continue;
      const ObjectRef object = find(key);
      if (!object) CHECK(object);
      if (object) lost_nothing(object, synced);
    }
    for (const auto& [name, inode] : reported.names) {
      if (reported.touched.count(name) != 0) continue;
      const auto found = rig_.store->find_name(rig_.store->root(), name);
      CAPTURE(name, inode);
      if (!found || found->file.inode != inode) CHECK(found);
      if (found) CHECK(found->file.inode == inode);
    }
    std::set<std::string> keys;
    for (const auto& [version, history] : history_)
      keys.insert(history.keys.begin(), history.keys.end());
    for (const std::string& key : keys) {
      if (const ObjectRef object = find(key)) read_old(object);
    }
    rig_.store->for_each_name(rig_.store->root(),
                              [&](std::string_view name, const NameRecord& record) {
                                CAPTURE(name, record.file.inode);
                                if (!name_history_[std::string(name)].count(record.file.inode))
                                  CHECK(name.empty());
                              });
  }

  // Before the store goes.
  void let_go() {
    while (!under_way_.empty()) let_one_through();
    for (auto& [key, file] : files_) file.object.reset();
  }
  // For the next workload on the same store.
  void clear_store() {
    for (int i = 0; i < 6; ++i) {
      if (const ObjectRef object = find(fmt::format("file{}", i))) rig_.store->retire(object);
    }
    for (int i = 0; i < 8; ++i)
      rig_.store->remove_name(rig_.store->root(), fmt::format("name{}", i));
  }
  // The store was closed and opened in order, with no session open: it has all.
  void reopened() {
    for (auto& [key, file] : files_) {
      file.object = find(key);
      CAPTURE(key);
      REQUIRE(file.object);
      CHECK(rig_.aux(file.object) == aux_of(file.version));
    }
  }
  void end_all_sessions() {
    for (std::size_t i = files_.size(); i > 0; --i) end();
  }
  std::uint64_t syncs() const { return syncs_; }
  std::uint64_t pages_read() const { return pages_read_; }  // and found right

 private:
  struct File {
    ObjectRef object;
    std::string key;
    std::uint64_t version = 0;         // in the aux data
    std::vector<std::uint64_t> pages;  // what each page's content is now
    bool in_session = false;
  };
  struct History {
    std::set<std::string> keys;
    std::vector<std::uint64_t> pages;
  };

  static std::string aux_of(std::uint64_t version) { return fmt::format("v{}", version); }
  static ByteCount size_of(std::size_t pages) { return ByteCount{pages * kPageSize}; }

  void touch(const std::string& what) { reported_.touched.insert(what); }
  ObjectRef find(const std::string& key) { return rig_.find(key); }

  File* any_file() {
    if (files_.empty()) return nullptr;
    auto at = files_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_.below(files_.size())));
    touch(at->first);
    return &at->second;
  }
  void remember(const File& file) {
    History& history = history_[file.version];
    history.keys.insert(file.key);
    history.pages = file.pages;
  }
  // A content as the share might have it: some pages of zeros.
  std::vector<std::uint64_t> content(std::size_t pages) {
    std::vector<std::uint64_t> all(pages);
    for (auto& page : all) page = random_.one_in(6) ? 0 : ++content_;
    return all;
  }

  void make() {
    const std::string key = fmt::format("file{}", random_.below(6));
    touch(key);
    File file;
    file.key = key;
    file.version = ++version_;
    file.pages = content(1 + random_.below(kFilePages));
    auto made = rig_.store->create(rig_.store->root(), ObjectType::kData, bytes(key),
                                   bytes(aux_of(file.version)), size_of(file.pages.size()));
    CHECK((made || files_.count(key) != 0 || rig_.store->state() != State::kOpen));
    if (!made) return;
    CHECK(files_.count(key) == 0);
    file.object = *made;
    remember(file);
    files_[key] = file;
  }

  std::unique_ptr<TestFill> painted(const File& file, std::uint64_t first, std::uint64_t count) {
    auto one = std::make_unique<TestFill>(file.object, rig_.store->generation(file.object), first,
                                          count, size_of(file.pages.size()), 0);
    for (std::uint64_t i = 0; i < count; ++i) {
      paint(one->buffer.span().subspan(i * kPageSize, kPageSize), 0, first + i,
            file.pages[first + i]);
    }
    return one;
  }

  void fill() {
    File* file = any_file();
    if (file == nullptr || file->pages.empty()) return;
    const std::uint64_t first = random_.below(file->pages.size());
    const std::uint64_t count = 1 + random_.below(file->pages.size() - first);
    if (file->in_session && random_.one_in(2)) {
      // A write: the share's content changes, and what was cached of it goes first.
      rig_.store->drop(file->object, {PageIndex{first}, PageCount{count}});
      for (std::uint64_t i = 0; i < count; ++i) file->pages[first + i] = ++content_;
    }
    auto one = painted(*file, first, count);
    rig_.store->fill(*one);
    rig_.machine.run_all();
    if (!one->told) under_way_.push_back(std::move(one));
  }
  // Where the device holds writes back: one of them goes on, in any order.
  void let_one_through() {
    const bool released = rig_.engine->release_any(random_);
    rig_.machine.run_all();
    std::erase_if(under_way_, [](const auto& fill) { return fill->told; });
    REQUIRE((released || under_way_.empty()));
  }

  // A fetch that an invalidation overtakes.
  void stale_fill() {
    File* file = any_file();
    if (file == nullptr || file->pages.empty() || file->in_session) return;
    auto one = painted(*file, 0, file->pages.size());
    rig_.store->fill(*one);
    renew(*file);
    do {
      rig_.machine.run_all();
    } while (!one->told && rig_.engine->release_any(random_));
    REQUIRE(one->told);
    CHECK_FALSE(one->answer);
  }

  void renew(File& file) {
    file.version = ++version_;
    file.pages = content(1 + random_.below(kFilePages));
    rig_.store->invalidate(file.object, bytes(aux_of(file.version)), size_of(file.pages.size()));
    remember(file);
  }
  void invalidate() {
    if (File* file = any_file(); file != nullptr && !file->in_session) renew(*file);
  }

  void drop() {
    File* file = any_file();
    if (file == nullptr) return;
    rig_.store->drop(file->object,
                     {PageIndex{random_.below(kFilePages)}, PageCount{1 + random_.below(20)}});
  }

  void truncate() {
    File* file = any_file();
    if (file == nullptr || !file->in_session) return;
    const std::size_t pages = 1 + random_.below(kFilePages);
    rig_.store->truncate(file->object, size_of(pages));
    file->pages.resize(pages, 0);
  }

  void retire() {
    if (!random_.one_in(4)) return;
    File* file = any_file();
    if (file == nullptr) return;
    rig_.store->retire(file->object);
    files_.erase(file->key);
  }

  void rename() {
    File* file = any_file();
    if (file == nullptr) return;
    const std::string key = fmt::format("file{}", random_.below(6));
    touch(key);
    if (!rig_.store->rename(file->object, rig_.store->root(), bytes(key)) || key == file->key)
      return;
    File moved = *file;
    files_.erase(moved.key);
    moved.key = key;
    if (!moved.in_session) remember(moved);
    // In a session the aux data name the content of before; it may be found under the new key too.
    history_[moved.version].keys.insert(key);
    files_[key] = moved;
  }

  void begin() {
    File* file = any_file();
    if (file == nullptr) return;
    rig_.store->begin_session(file->object);
    file->in_session = true;
  }
  void end() {
    for (auto& [key, file] : files_) {
      if (!file.in_session) continue;
      touch(key);
      file.version = ++version_;
      file.in_session = false;
      remember(file);
      rig_.store->end_session(file.object, bytes(aux_of(file.version)), size_of(file.pages.size()));
      return;
    }
  }

  // What moves is what it was; what is evicted for it is not cached any more.
  void resize() {
    while (!under_way_.empty()) let_one_through();
    for (const auto& [key, file] : files_) touch(key);
    if (rig_.store->resize(sizes_[random_.below(sizes_.size())])) ++resizes_;
    read_all();
  }

  void sync() {
    const bool done = rig_.store->sync().has_value();
    if (!done) return;
    ++syncs_;
    reported_ = {};
    reported_.names = names_;
    for (const auto& [key, file] : files_) {
      if (file.in_session) {
        touch(key);
        continue;
      }
      Synced& synced = reported_.files[key];
      synced.version = file.version;
      synced.cached.assign(file.pages.size(), true);
      for (const PageRange& run :
           rig_.store->missing(file.object, {PageIndex{0}, PageCount{file.pages.size()}})) {
        for (PageIndex page = run.first; page < run.end(); page += PageCount{1})
          synced.cached[page.value()] = false;
      }
    }
  }

  // -- names: of the root -----------------------------------------------------------------------
  std::string any_name() { return fmt::format("name{}", random_.below(8)); }
  void put_name() {
    const std::string name = any_name();
    NameRecord record;
    record.file.inode = ++content_;
    touch(name);
    name_history_[name].insert(record.file.inode);
    rig_.store->put_name(rig_.store->root(), name, record);
    names_[name] = record.file.inode;
  }
  void move_name() {
    const std::string from = any_name(), to = any_name();
    const auto found = names_.find(from);
    touch(from);
    touch(to);
    if (found != names_.end()) name_history_[to].insert(found->second);
    rig_.store->move_name(rig_.store->root(), from, rig_.store->root(), to);
    if (from == to) return;
    if (found == names_.end()) {
      names_.erase(to);
    } else {
      names_[to] = found->second;
      names_.erase(from);
    }
  }
  void remove_name() {
    const std::string name = any_name();
    touch(name);
    rig_.store->remove_name(rig_.store->root(), name);
    names_.erase(name);
  }
  void names_agree() {
    if (rig_.store->state() != State::kOpen) return;
    std::map<std::string, std::uint64_t> seen;
    rig_.store->for_each_name(rig_.store->root(),
                              [&](std::string_view name, const NameRecord& record) {
                                seen[std::string(name)] = record.file.inode;
                              });
    CHECK(seen == names_);
  }

  // -- reading -----------------------------------------------------------------------------------
  // Every page that is cached is what it should be, and none lies behind the end.
  void expect(const ObjectRef& object, const std::vector<std::uint64_t>& pages) {
    AlignedBuffer into(kFilePages * kPageSize), expected(kPageSize);
    for (std::uint64_t page = 0; page < kFilePages;) {
      const PageRange rest{PageIndex{page}, PageCount{kFilePages - page}};
      const std::uint64_t got = rig_.store->read_now(object, rest, into.span()).value();
      for (std::uint64_t i = 0; i < got; ++i) {
        const auto content = into.span().subspan(i * kPageSize, kPageSize);
        const bool inside = page + i < pages.size();
        if (inside) paint(expected.span(), 0, page + i, pages[page + i]);
        if (inside && std::memcmp(content.data(), expected.data(), kPageSize) == 0) continue;
        CAPTURE(page + i, pages.size());
        FAIL_CHECK("a byte that was not put there");
      }
      pages_read_ += got;
      page += got + 1;
    }
  }
  void read_present(File& file) {
    CAPTURE(file.key, file.version);
    expect(file.object, file.pages);
  }
  void read_old(const ObjectRef& object) {
    const std::string aux = rig_.aux(object);
    CAPTURE(aux);
    REQUIRE(aux.size() > 1);
    const auto found = history_.find(std::stoull(aux.substr(1)));
    REQUIRE(found != history_.end());
    expect(object, found->second.pages);
  }
  void lost_nothing(const ObjectRef& object, const Synced& synced) {
    CHECK(rig_.aux(object) == aux_of(synced.version));
    if (rig_.aux(object) != aux_of(synced.version)) return;
    const auto& pages = history_.at(synced.version).pages;
    for (std::uint64_t page = 0; page < synced.cached.size(); ++page) {
      if (!synced.cached[page]) continue;
      const int got = rig_.good(object, page, 1, pages[page]);
      CAPTURE(page);
      if (got != 1) CHECK(got == 1);
    }
  }

  Rig& rig_;
  Random random_;
  const Pace pace_;
  std::map<std::string, File> files_;
  std::map<std::uint64_t, History> history_;
  std::vector<std::unique_ptr<TestFill>> under_way_;
  Reported reported_;
  std::map<std::string, std::uint64_t> names_;
  std::map<std::string, std::set<std::uint64_t>> name_history_;
  std::vector<ByteCount> sizes_;
  std::uint64_t resizes_ = 0;
  std::uint64_t version_ = 0, content_ = 0, syncs_ = 0, pages_read_ = 0;
};

}  // namespace larder::store::test
