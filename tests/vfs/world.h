// SPDX-License-Identifier: Apache-2.0
// World: the whole file system on one thread, over a simulated share and a simulated device.
//
// Requests are started by the calls below and go on when settle() runs the queues; `step()` runs
// one piece of work of a queue that a seed chooses. Nothing here is a fake of larder's own.
#pragma once

#include <larder/cookie.h>
#include <larder/mount.h>
#include <larder/share_calls.h>
#include <larder/store.h>
#include <larder/timers.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/sim_clock.h"
#include "support/sim_engine.h"
#include "support/sim_netfs.h"
#include "support/step_queue.h"
#include "vfs/vfs.h"

namespace larder::test {

// What a request was answered.
struct Answer {
  bool done = false;
  bool interrupted = false;  // set by a test
  CredentialsRef caller;
  LockRange lock;
  std::optional<Error> error;
  Entry entry;
  OpenReply open;
  Attributes attributes;
  std::string data;
  std::uint64_t count = 0;
  std::vector<std::string> names;  // of a listing
  std::vector<Entry> entries;      // of one with attributes
  bool recycled = false;           // the request's memory may be used again
  bool ok() const { return done && !error; }
};

class Slot final : public ReplySlot {
 public:
  explicit Slot(std::shared_ptr<Answer> answer) : answer_(std::move(answer)) {}

  std::span<std::byte> payload() override { return memory_.span(); }
  bool park() override { return true; }
  void error(Error e) override {
    answer_->error = e;
    finish();
  }
  void ok() override { finish(); }
  void entry(const Entry& e) override {
    answer_->entry = e;
    finish();
  }
  void attributes(std::uint64_t, const Attributes& a, Nanoseconds) override {
    answer_->attributes = a;
    finish();
  }
  void opened(const OpenReply& o) override {
    answer_->open = o;
    finish();
  }
  void created(const Entry& e, const OpenReply& o) override {
    answer_->entry = e;
    answer_->open = o;
    finish();
  }
  void data(std::size_t skip, ByteCount count) override {
    answer_->data.assign(reinterpret_cast<const char*>(memory_.data()) + skip, count.value());
    finish();
  }
  void written(ByteCount count) override {
    answer_->count = count.value();
    finish();
  }
  CredentialsRef caller() override { return answer_->caller; }
  bool interrupted() override { return answer_->interrupted; }
  void lock(const LockRange& range) override {
    answer_->lock = range;
    finish();
  }
  void position(ByteOffset offset) override {
    answer_->count = offset.value();
    finish();
  }
  void link(std::string_view target) override {
    answer_->data = target;
    finish();
  }
  void xattr_size(ByteCount size) override {
    answer_->count = size.value();
    finish();
  }
  void stat_fs(const struct statvfs&) override { finish(); }
  bool add_dirent(std::size_t&, std::size_t, std::string_view name, std::uint64_t, std::uint32_t,
                  std::uint64_t) override {
    answer_->names.emplace_back(name);
    return true;
  }
  bool add_dirent_plus(std::size_t&, std::size_t, std::string_view name, const Entry& entry,
                       std::uint64_t) override {
    answer_->names.emplace_back(name);
    answer_->entries.push_back(entry);
    return true;
  }
  void recycle() override {
    answer_->recycled = true;
    const std::unique_ptr<Slot> gone(this);
  }

 private:
  void finish() {
    check(!answer_->done, "a request is answered once");
    answer_->done = true;
  }
  std::shared_ptr<Answer> answer_;
  AlignedBuffer memory_{(2 << 20) + kPageSize};
};

using Asked = std::shared_ptr<const Answer>;

inline std::string_view to_text(Coherency level) {
  switch (level) {
    case Coherency::kStrict:
      return "strict";
    case Coherency::kCloseToOpen:
      return "cto";
    case Coherency::kTtl:
      return "ttl";
    case Coherency::kImmutable:
      return "immutable";
  }
  return "";
}

// Content that tells by each byte where it is, and by `salt` which file's.
inline std::string pattern(std::size_t size, unsigned salt) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    text[i] = static_cast<char>('a' + (i * 7 + i / 4096 + salt * 13) % 26);
  return text;
}

inline Settings trusting_for_a_minute() {
  Settings settings;
  settings.coherency = Coherency::kTtl;
  settings.ttl_ns = 60 * kSecond;
  return settings;
}

struct WorldOptions {
  SimProfile profile = SimProfile::kNfs;
  Settings settings{};
  ByteCount store_size{64u << 20};
  std::uint64_t memory_bytes = 256 << 20;
  bool as_caller = false;
  bool verify = false;
  std::vector<std::string> nocache{};  // what the kernel may serve by itself where it takes it
  // Each so many reads of the store would wait for the device, if any.
  std::uint64_t waits_every = 0;
  SimEngine::Reader reader = SimEngine::Reader::kThread;
};

// The files that the kernel was given.
struct Backings final : PassThrough {
  bool available() const override { return true; }
  Result<BackingId> open(const Fd& file) override {
    check(file.valid(), "the kernel is given a file");
    if (refuses) return fail(ErrorCode::kSystem, 40);
    now.push_back(++last);
    return BackingId{last};
  }
  void close(BackingId id) override {
    check(std::erase(now, id.value()) == 1, "a file is taken back once");
  }
  bool refuses = false;
  std::vector<std::uint64_t> now;
  std::uint64_t last = 0;
};

class World {
 public:
  explicit World(WorldOptions options = {})
      : options_(options),
        share(options.profile, clock),
        engine(std::in_place, options.store_size) {
    start();
  }
  ~World() { stop(); }

  // -- running
  bool step(Random& random) {
    StepQueue* queues[] = {&pool, &answer, &machine};
    timers.run_due();
    const std::uint64_t which = random.below(4);
    return which == 3 ? engine->release_any(random) : queues[which]->run_one(random);
  }
  void settle() {
    std::size_t ran = 0;
    do {
      timers.run_due();
      ran = pool.run_all() + answer.run_all() + machine.run_all() + engine->held();
      engine->release_all();
    } while (ran != 0);
  }
  void settle_but_for_the_device() {
    do timers.run_due();
    while (pool.run_all() + answer.run_all() + machine.run_all() != 0);
  }
  // Unmounts and mounts again on the same store; as a kill, what was not committed is lost.
  enum class Ending : bool { kUnmount, kKill };
  void restart(Ending ending) {
    const SimImage before = engine->image();
    stop();
    if (ending == Ending::kKill) engine.emplace(before);
    start();
  }

  // -- requests, started
  template <class Start>
  Asked ask(Start start) {
    auto answer_to = std::make_shared<Answer>();
    answer_to->caller = caller;
    auto slot = std::make_unique<Slot>(answer_to);
    start(Reply(*slot.release()));
    return answer_to;
  }
  Asked start_read(NodeId node, HandleId handle, std::uint64_t offset, std::uint64_t count) {
    return ask([&](Reply r) {
      vfs->read(node, handle, ByteOffset{offset}, ByteCount{count}, std::move(r));
    });
  }
  // The payload must stay where it is until the answer.
  Asked start_write(NodeId node, HandleId handle, std::uint64_t offset, const std::string& data) {
    return ask([&](Reply r) {
      vfs->write(node, handle, ByteOffset{offset}, std::as_bytes(std::span(data)), WrittenBy::kCall,
                 std::move(r));
    });
  }

  // -- requests, answered
  template <class Start>
  Answer run(Start start) {
    const Asked asked = ask(start);
    settle();
    return *asked;
  }
  Answer lookup(const std::string& name, NodeId parent = kRootNode) {
    return run([&](Reply r) { vfs->lookup(parent, name, std::move(r)); });
  }
  Answer open(NodeId node, int flags = O_RDONLY) {
    return noted(node, run([&](Reply r) { vfs->open(node, flags, {}, std::move(r)); }));
  }
  Answer create(const std::string& name, int flags = O_RDWR, NodeId parent = kRootNode) {
    const Answer made =
        run([&](Reply r) { vfs->create(parent, name, flags | O_CREAT, 0644, {}, std::move(r)); });
    return noted(made.entry.node, made);
  }
  Answer read(NodeId node, HandleId handle, std::uint64_t offset, std::uint64_t count) {
    const Asked asked = start_read(node, handle, offset, count);
    settle();
    return *asked;
  }
  Answer write(NodeId node, HandleId handle, std::uint64_t offset, const std::string& data) {
    const Asked asked = start_write(node, handle, offset, data);
    settle();
    return *asked;
  }
  Answer truncate(NodeId node, std::uint64_t size, HandleId handle = kNoHandle) {
    SetAttributes change;
    change.size = size;
    change.handle = handle;
    return run([&](Reply r) { vfs->set_attributes(node, change, std::move(r)); });
  }
  Answer stat(NodeId node) {
    return run([&](Reply r) { vfs->get_attributes(node, kNoHandle, std::move(r)); });
  }
  Answer flush(NodeId node, HandleId handle) {
    return run([&](Reply r) { vfs->flush(node, handle, LockOwner{1}, std::move(r)); });
  }
  void release(NodeId node, HandleId handle) {
    std::erase(open_, std::pair(node, handle));
    run([&](Reply r) { vfs->release(node, handle, std::move(r)); });
  }
  Answer list() {
    const Answer opened = run([&](Reply r) { vfs->open_directory(kRootNode, std::move(r)); });
    Answer all = run([&](Reply r) {
      vfs->read_directory(kRootNode, opened.open.handle, 0, 1 << 20, std::move(r));
    });
    run([&](Reply r) { vfs->release_directory(kRootNode, opened.open.handle, std::move(r)); });
    return all;
  }
  // Looks up and opens; as the kernel does, once more where the name turns out to be another
  // file's.
  Answer find_and_open(const std::string& name, Answer& found, int flags = O_RDONLY) {
    Answer opened;
    for (int attempt = 0; attempt < 2; ++attempt) {
      found = lookup(name);
      if (!found.ok()) return found;
      opened = open(found.entry.node, flags);
      if (!opened.error || opened.error->code != ErrorCode::kShareStale) break;
    }
    return opened;
  }
  // Looks up, opens, reads all, releases: as `cat` does. The error where one of them fails.
  Answer cat(const std::string& name) {
    Answer found;
    const Answer opened = find_and_open(name, found);
    if (!opened.ok()) return opened;
    Answer all = read(found.entry.node, opened.open.handle, 0, 1 << 20);
    release(found.entry.node, opened.open.handle);
    return all;
  }

  // Versions made before are old enough to be told from those that come.
  void age() { clock.advance(10 * kSecond); }
  std::uint64_t data_calls() const { return share.data_calls(); }

 private:
  // Nobody tells a kernel here; what was told is counted.
  struct Kernel final : KernelCache {
    void drop_pages(NodeId) override { ++drops; }
    void drop_attributes(NodeId) override {}
    void drop_attributes_of_opening(NodeId) override { ++attribute_drops; }
    void drop_name(NodeId parent, std::string_view name) override {
      asked_to_drop.emplace_back(parent, std::string(name));
    }
    std::vector<std::pair<NodeId, std::string>> asked_to_drop;
    std::uint64_t drops = 0;
    std::uint64_t attribute_drops = 0;
  };

  void start() {
    engine->delay_reads(options_.waits_every, options_.reader);
    policy.emplace(options_.settings);
    calls.emplace(std::shared_ptr<Netfs>(&share, [](Netfs*) {}), pool, answer, timers, clock,
                  ShareCallsOptions{});
    auto opened =
        store::Store::open({Fd(), options_.store_size, "simulated", "", false, nullptr},
                           {.commit_by = store::CommitBy::kSync}, *engine, machine, clock, Seed{1});
    check(opened.has_value(), "the simulated store opens");
    store = std::move(*opened);
    cache.emplace(machine, answer, clock, cache::FsCacheOptions{});
    check(cache->add_cache(*store).has_value(), "the cache takes its store");
    netfs_cookie = *cache->register_netfs("sim", 0);
    static const cache::CookieDefinition kShare{"larder.share", ObjectType::kIndex, nullptr};
    share_cookie = cache->acquire(netfs_cookie, kShare, std::as_bytes(std::span("share", 5)), {},
                                  ByteCount{0}, nullptr, 1);
    control.emplace(".larder", 0u, 0u, clock);
    vfs.emplace(VfsParts{*calls, *cache, share_cookie, answer, timers, clock, *policy, *control},
                VfsOptions{.share = "simulated",
                           .memory_bytes = options_.memory_bytes,
                           .as_caller = options_.as_caller,
                           .nocache = {options_.nocache, share.traits().folds_case
                                                             ? PathPatterns::Case::kFolds
                                                             : PathPatterns::Case::kTells},
                           .passes_through = !options_.nocache.empty(),
                           .verify = options_.verify},
                *share.stat("", Freshness::kServer), *share.stat_fs());
    vfs->set_kernel_cache(kernel);
    vfs->set_pass_through(backings);
    settle();
  }
  Answer noted(NodeId node, const Answer& opened) {
    if (opened.ok()) open_.emplace_back(node, opened.open.handle);
    return opened;
  }
  void stop() {
    // As the kernel does for who ended without closing.
    while (!open_.empty()) {
      const auto [node, handle] = open_.back();
      release(node, handle);
    }
    settle();
    calls->drain();
    settle();
    vfs->close();
    cache->relinquish(std::move(share_cookie), cache::Retire::kNo);
    settle();
    cache->withdraw();
    settle();
    store->close();
    vfs.reset();
    control.reset();
    netfs_cookie.reset();
    cache.reset();
    store.reset();
    calls.reset();
  }

  const WorldOptions options_;
  std::vector<std::pair<NodeId, HandleId>> open_;

 public:
  SimClock clock;
  SimNetfs share;
  std::optional<SimEngine> engine;
  StepQueue pool, answer, machine;
  CredentialsRef caller;  // of the requests that follow
  Timers timers{clock};
  Kernel kernel;
  std::shared_ptr<Backings> backings = std::make_shared<Backings>();
  std::optional<Policy> policy;
  std::optional<ShareCalls> calls;
  std::unique_ptr<store::Store> store;
  std::optional<cache::FsCache> cache;
  cache::CookieRef netfs_cookie, share_cookie;
  std::optional<Control> control;
  std::optional<Vfs> vfs;
};

}  // namespace larder::test
