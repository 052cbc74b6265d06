// SPDX-License-Identifier: Apache-2.0
// The entries and queues of the uring transport against a fake ring; libfuse is the real one.
#include <fcntl.h>
#include <larder/fd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>

#include "backing_files.h"
#include "fake_ring.h"
#include "init_reply.h"
#include "ops.h"
#include "rings.h"

namespace larder::fuse {
namespace {

constexpr std::uint32_t kLookup = 1, kForget = 2, kGetattr = 3, kRead = 15, kStatfs = 17,
                        kUnknown = 4000;

struct World;
World* world = nullptr;  // libfuse's hooks are plain functions

// A queue on a fake ring, and a libfuse session that answers INIT by itself.
struct World {
  explicit World(std::int64_t entries_most = 16, unsigned depth = 2) {
    world = this;
    static const std::array<char*, 1> words{const_cast<char*>("test")};
    fuse_args args = FUSE_ARGS_INIT(1, const_cast<char**>(words.data()));
    fuse_lowlevel_ops ops{};
    ops.lookup = [](fuse_req_t r, fuse_ino_t, const char* name) {
      world->seen_name = name;
      world->taken.push_back(current()->take(r));
    };
    ops.getattr = [](fuse_req_t r, fuse_ino_t, fuse_file_info*) {
      current()->take(r).attributes(5, {}, 0);
    };
    ops.read = [](fuse_req_t r, fuse_ino_t, std::size_t size, off_t, fuse_file_info*) {
      Reply reply = current()->take(r);
      std::memset(reply.payload().data(), 'r', size);
      if (world->park_reads && !reply.park()) return reply.error({ErrorCode::kShareBusy});
      if (world->park_reads) return world->taken.push_back(std::move(reply));
      reply.data(world->skip, ByteCount{size});
    };
    session = fuse_session_new(&args, &ops, sizeof ops, nullptr);
    fuse_opt_free_args(&args);
    REQUIRE(session != nullptr);
    static const fuse_custom_io io = [] {
      fuse_custom_io hooks{};
      hooks.writev = [](int, iovec* parts, int count, void*) { return world->write(parts, count); };
      hooks.read = [](int, void*, std::size_t, void*) -> ssize_t { return -1; };
      return hooks;
    }();
    null = Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
    REQUIRE(fuse_session_custom_io(session, &io, null.get()) == 0);
    init();
    commons.session = session;
    commons.payload_bytes = 64 << 10;
    commons.entries_left.store(entries_most);
    commons.on_refused = [this](int error) { refused = error; };
    queue = std::make_unique<RingQueue>(commons, ring, std::uint16_t{3}, live);
    queue->start(depth);
  }
  ~World() {
    for (Reply& reply : taken) reply.error({ErrorCode::kShutdown});
    taken.clear();
    ring.turn();
    fuse_session_destroy(session);
  }

  void init() {
    struct {
      InHeader head;
      InitIn in;
      std::array<std::uint32_t, 11> unused;
    } request{};
    request.head.length = sizeof request;
    request.head.opcode = kInitOpcode;
    request.head.unique = 2;
    request.in = {7, 45, 128 << 10, 0, 0};
    fuse_buf buffer{};
    buffer.mem = &request;
    buffer.size = sizeof request;
    fuse_session_process_buf(session, &buffer);
  }
  ssize_t write(const iovec* parts, int count) {
    OutHeader head{};
    std::memcpy(&head, parts[0].iov_base, sizeof head);
    last_tag = head.unique;
    if (!RingTag::is_tag(head.unique)) return static_cast<ssize_t>(head.length);
    RingEntry* entry = queue->entry(RingTag::index(head.unique));
    if (entry == nullptr || !entry->answer(head.unique, parts, count)) ++stale;
    return static_cast<ssize_t>(head.length);
  }
  // A request, the turn in which it is served, and the one in which an answer is committed: this
  // thread does not own the ring, so answers are posted.
  void serve(std::uint32_t opcode, std::uint64_t unique, std::string_view operation,
             std::string_view payload = {}) {
    ring.request(opcode, unique, operation, payload);
    ring.turn();
    ring.turn();
  }
  void read(std::uint64_t unique, std::uint32_t size) {
    std::string operation(40, '\0');
    std::memcpy(operation.data() + 16, &size, sizeof size);
    serve(kRead, unique, operation);
  }
  const test::FakeRing::Answer& answer(std::uint64_t unique) {
    REQUIRE(ring.answers().count(unique) == 1);
    return ring.answers().at(unique);
  }

  TransportStats stats;
  test::FakeRing ring;
  fuse_session* session = nullptr;
  Fd null;
  RingCommons commons{.stats = stats};
  std::size_t live = 0;
  std::unique_ptr<RingQueue> queue;
  std::vector<Reply> taken;
  std::string seen_name;
  bool park_reads = false, taking_nudges = true;
  std::size_t skip = 0;
  int refused = 0;
  unsigned stale = 0;
  std::uint64_t last_tag = 0;
};

TEST_CASE("a request is rebuilt for libfuse and its answer committed under its own number") {
  World w;
  w.serve(kGetattr, 40, std::string(16, '\0'));
  CHECK(w.answer(40).error == 0);
  CHECK(w.answer(40).payload.size() == 104);
  CHECK(w.ring.idle() == 2);

  SECTION("a name lies in the payload") {
    w.serve(kLookup, 42, "", std::string("some-name\0", 10));
    CHECK(w.seen_name == "some-name");
    CHECK(w.ring.answers().count(42) == 0);  // parked
    Entry entry;
    entry.node = NodeId{99};
    w.taken.back().entry(entry);
    w.taken.clear();
    CHECK(w.ring.answers().count(42) == 0);  // no owner's thread: posted
    w.ring.turn();
    CHECK(w.answer(42).payload.size() == 128);
  }
  SECTION("what libfuse answers by itself comes back too") {
    w.serve(kUnknown, 44, "");
    CHECK(w.answer(44).error == -ENOSYS);
    CHECK(w.ring.idle() == 2);
  }
  SECTION("a request that needs no answer does not cost its entry") {
    w.serve(kForget, 46, std::string(8, '\0'));  // which should not come this way
    w.ring.turn();
    CHECK(w.ring.idle() == 2);
  }
}

TEST_CASE("a read is answered from where it was read to, without a copy") {
  World w;
  const auto before = w.stats.copied_bytes.value();
  w.read(50, 4096);
  CHECK(w.answer(50).payload == std::string(4096, 'r'));
  CHECK(w.stats.copied_bytes.value() == before);
  w.read(52, 64 << 10);
  CHECK(w.answer(52).payload.size() == 64 << 10);

  SECTION("one that begins inside a page is moved to its place") {
    w.skip = 100;
    w.read(54, 1000);
    CHECK(w.answer(54).payload == std::string(900, 'r') + w.answer(54).payload.substr(900));
    CHECK(w.stats.copied_bytes.value() == before + 1000);
  }
}

TEST_CASE("an answer that comes twice or too late is passed over") {
  World w;
  w.serve(kGetattr, 60, std::string(16, '\0'));
  const std::uint64_t old_tag = w.last_tag;
  const OutHeader head{sizeof head, 0, old_tag};
  const iovec part{const_cast<OutHeader*>(&head), sizeof head};

  SECTION("its entry is idle") {
    w.write(&part, 1);
    CHECK(w.stale == 1);
  }
  SECTION("its entry holds the next request") {
    w.park_reads = true;
    w.read(62, 100);
    w.write(&part, 1);
    CHECK(w.stale == 1);
    w.ring.turn();
    CHECK(w.ring.answers().count(62) == 0);
    w.taken.back().data(ByteCount{100});
    w.taken.clear();
    w.ring.turn();
    CHECK(w.answer(62).payload.size() == 100);
  }
  SECTION("twice for one request") {
    w.serve(kLookup, 64, "", std::string("n\0", 2));
    RingEntry* entry = nullptr;
    for (std::size_t i = 0; i < w.queue->size(); ++i)
      if (w.queue->entry(i)->tag_of(64) != 0) entry = w.queue->entry(i);
    REQUIRE(entry != nullptr);
    const std::uint64_t tag = entry->tag_of(64);
    const OutHeader first{sizeof first, -ENOENT, tag};
    const iovec only{const_cast<OutHeader*>(&first), sizeof first};
    CHECK(w.write(&only, 1) == sizeof first);
    CHECK(w.stale == 0);
    w.write(&only, 1);
    CHECK(w.stale == 1);
  }
}

TEST_CASE("an interrupted request is found by the kernel's number as long as it is under way") {
  World w;
  w.serve(kLookup, 70, "", std::string("n\0", 2));
  RingEntry* entry = nullptr;
  for (std::size_t i = 0; i < w.queue->size(); ++i)
    if (w.queue->entry(i)->tag_of(70) != 0) entry = w.queue->entry(i);
  REQUIRE(entry != nullptr);
  CHECK(RingTag::is_tag(entry->tag_of(70)));
  CHECK(RingTag::queue(entry->tag_of(70)) == 3);
  CHECK(entry->tag_of(71) == 0);
  w.taken.back().error({ErrorCode::kNotFound});
  w.taken.clear();
  w.ring.turn();
  CHECK(w.answer(70).error == -ENOENT);
  CHECK(entry->tag_of(70) == 0);
}

// As the classic thread hands it on, with the tag in the place of the kernel's number.
void interrupt(World& w, std::uint64_t tag, std::uint64_t unique) {
  struct {
    InHeader head;
    std::uint64_t whose;
  } request{};
  request.head.length = sizeof request;
  request.head.opcode = kInterruptOpcode;
  request.head.unique = unique | 1;  // as the kernel numbers them
  request.whose = tag;
  fuse_buf buffer{};
  buffer.mem = &request;
  buffer.size = sizeof request;
  fuse_session_process_buf(w.session, &buffer);
}

TEST_CASE("an interrupt is heard once it is listened for, and as long as it is") {
  World w;
  struct Ear : ReplySlot::Listener {
    Ear() {
      heard = [](Listener& self) { ++static_cast<Ear&>(self).count; };
    }
    int count = 0;
  } ear;
  w.serve(kLookup, 70, "", std::string("n\0", 2));
  std::uint64_t tag = 0;
  for (std::size_t i = 0; i < w.queue->size(); ++i)
    tag = std::max(tag, w.queue->entry(i)->tag_of(70));
  REQUIRE(RingTag::is_tag(tag));
  Reply& reply = w.taken.back();

  SECTION("while it waits") {
    reply.slot().listen(&ear);
    CHECK_FALSE(reply.interrupted());
    interrupt(w, tag, 70);
    CHECK(ear.count == 1);
    CHECK(reply.interrupted());
  }
  SECTION("before it is listened for") {
    interrupt(w, tag, 70);
    reply.slot().listen(&ear);
    CHECK(ear.count == 1);
  }
  SECTION("twice") {
    reply.slot().listen(&ear);
    interrupt(w, tag, 70);
    interrupt(w, tag, 70);
    CHECK(ear.count == 2);
    CHECK(w.ring.answers().count(70) == 0);
  }
  SECTION("behind the end of listening") {
    reply.slot().listen(&ear);
    reply.slot().listen(nullptr);
    interrupt(w, tag, 70);
    CHECK(ear.count == 0);
  }
  SECTION("of a request that has been answered") {
    reply.slot().listen(&ear);
    reply.error({ErrorCode::kNotFound});
    w.taken.clear();
    w.ring.turn();
    interrupt(w, tag, 70);
    CHECK(ear.count == 0);
    // Its entry serves the next one undisturbed.
    w.serve(kLookup, 72, "", std::string("n\0", 2));
    CHECK_FALSE(w.taken.back().interrupted());
    w.taken.back().error({ErrorCode::kShareAnswer, EINTR});
    w.taken.clear();
    w.ring.turn();
    CHECK(w.answer(72).error == -EINTR);
    return;
  }
  reply.error({ErrorCode::kShareAnswer, EINTR});
  w.taken.clear();
  w.ring.turn();
  CHECK(w.answer(70).error == -EINTR);
  CHECK(w.ring.idle() == 2);
}

TEST_CASE("requests that wait get the queue more entries, as far as the memory goes") {
  World w(6, 2);
  w.park_reads = true;
  for (std::uint64_t n = 0; n < 6; ++n) {
    INFO(n);
    REQUIRE(w.ring.idle() > 0);
    w.read(100 + n * 2, 10);
    w.ring.turn();
  }
  // No owner's thread here, so growth is posted; the last entry is never given to one that waits.
  CHECK(w.ring.registered() == 6);
  CHECK(w.stats.refused.value() == 1);
  CHECK(w.answer(110).error != 0);
  CHECK(w.ring.idle() == 1);
  for (Reply& reply : w.taken) reply.data(ByteCount{10});
  w.taken.clear();
  w.ring.turn();
  CHECK(w.ring.idle() == 6);
  CHECK(w.ring.answers().size() == 6);
}

TEST_CASE("where as many wait as there were entries, the kernel is nudged to look at its queue") {
  World w(16, 2);
  int nudges = 0;
  w.commons.nudge = [&](std::uint16_t processor) {
    CHECK(processor == 3);
    ++nudges;
    return w.taking_nudges;
  };
  w.park_reads = true;
  w.read(100, 10);
  for (int turn = 0; turn < 4; ++turn) w.ring.turn();
  CHECK(nudges == 0);  // an entry is left that will commit
  w.read(102, 10);
  // The new entries first, or the nudge would wait behind what it is to bring.
  CHECK(w.ring.registered() > 2);
  for (int turn = 0; turn < 4; ++turn) w.ring.turn();
  CHECK(nudges == 1);
  w.read(104, 10);
  for (int turn = 0; turn < 4; ++turn) w.ring.turn();
  CHECK(nudges == 2);

  SECTION("the nudge's request is committed at once, and nobody sees it") {
    w.serve(kNotifyReplyOpcode, 106, std::string(40, '\0'));
    CHECK(w.answer(106).error == 0);
    CHECK(w.answer(106).payload.empty());
  }
  SECTION("a nudge that is lost is followed by another where nothing comes") {
    w.taking_nudges = false;
    CHECK(w.queue->is_starved());
    w.queue->nudge_again();
    w.queue->nudge_again();  // one at a time
    for (int turn = 0; turn < 4; ++turn) w.ring.turn();
    CHECK(nudges == 3);
    CHECK(w.stats.nudges.value() == 2);
    CHECK(w.stats.nudges_lost.value() == 1);
  }
  SECTION("when they have been answered there is none any more") {
    for (Reply& reply : w.taken) reply.data(ByteCount{10});
    w.taken.clear();
    w.ring.turn();
    w.read(108, 10);
    for (int turn = 0; turn < 4; ++turn) w.ring.turn();
    CHECK(nudges == 2);
  }
}

TEST_CASE("a nudge names a regular file that the kernel was told of last") {
  KnownFiles files;
  const auto offered = [&] {
    std::vector<std::uint64_t> nodes;
    CHECK_FALSE(files.offer([&](std::uint64_t node) {
      nodes.push_back(node);
      return false;
    }));
    return nodes;
  };
  CHECK(offered().empty());
  for (const std::uint64_t node : {7, 8, 8, 9}) files.note(node);
  CHECK(offered() == std::vector<std::uint64_t>{9, 8, 7});
  for (std::uint64_t node = 100; node < 200; ++node) files.note(node);
  CHECK(offered().size() == 16);
  CHECK(offered().front() == 199);
  CHECK(files.offer([](std::uint64_t node) { return node == 190; }));

  World w;
  const auto latest = [&] {
    std::uint64_t node = 0;
    w.commons.known_files.offer([&](std::uint64_t one) { return (node = one) != 0; });
    return node;
  };
  Entry entry;
  entry.node = NodeId{99};
  entry.attributes.mode = S_IFDIR | 0755;
  w.serve(kLookup, 42, "", std::string("some-name\0", 10));
  w.taken.back().entry(entry);
  w.taken.clear();
  CHECK(latest() == 0);
  w.ring.turn();
  entry.attributes.mode = S_IFREG | 0644;
  w.serve(kLookup, 44, "", std::string("some-name\0", 10));
  w.taken.back().entry(entry);
  w.taken.clear();
  CHECK(latest() == 99);
  w.ring.turn();
  w.park_reads = true;
  w.read(46, 10);  // of node 1, as all of the fake ring's
  CHECK(latest() == 1);
}

TEST_CASE("how long requests waited behind those that came with them is counted") {
  World w;
  for (std::uint64_t n = 0; n < 8; ++n) {  // one of eight is timed
    w.queue->new_turn();
    w.serve(kGetattr, 200 + 2 * n, std::string(16, '\0'));
  }
  CHECK(w.stats.queue_ns.count() == 1);
  CHECK(w.queue->came_ns() == 0);  // each was alone
  w.ring.say_waiting(1);
  w.queue->new_turn();
  const Nanoseconds came_ns = w.queue->came_ns();
  CHECK(came_ns != 0);
  CHECK(w.queue->came_ns() == came_ns);  // of all in this turn
  w.ring.say_waiting(0);
  CHECK(w.queue->came_ns() == came_ns);
}

TEST_CASE("a disturbed command is submitted again, and nothing is lost") {
  World w;
  const int result = GENERATE(-EAGAIN, -EINTR);
  w.ring.disturb_once(result);
  w.serve(kGetattr, 80, std::string(16, '\0'));
  w.ring.turn();
  CHECK(w.answer(80).error == 0);
  CHECK(w.ring.idle() == 2);
}

TEST_CASE("when the kernel ends the session the entries go, those under way with their answers") {
  World w;
  w.park_reads = true;
  w.read(90, 10);
  const int result = GENERATE(-ENOTCONN, -ECONNABORTED, -ECANCELED);
  w.ring.end_all(result);
  w.ring.turn();
  CHECK(w.live == 1);
  w.taken.back().data(ByteCount{10});
  w.taken.clear();
  w.ring.turn();
  w.ring.end_all(result);
  w.ring.turn();
  CHECK(w.live == 0);
  CHECK(w.refused == 0);
}

TEST_CASE("a kernel that takes no entries is told of") {
  World w(16, 0);
  w.ring.refuse_registrations(-EINVAL);
  w.queue->start(2);
  w.ring.turn();
  CHECK(w.live == 0);
  CHECK(w.refused == EINVAL);
}

TEST_CASE("what the kernel says of lengths is checked") {
  World w;
  w.ring.lie_about_payload(GENERATE(5000u, 1u << 30));
  w.serve(kGetattr, 96, std::string(16, '\0'));
  CHECK(w.answer(96).error == -EIO);
}

TEST_CASE("at the end new requests are answered ENOTCONN") {
  World w;
  w.commons.refuses.store(true);
  w.serve(kGetattr, 98, std::string(16, '\0'));
  CHECK(w.answer(98).error == -ENOTCONN);
}

TEST_CASE("the memory is dealt out for 2 and for 128 processors") {
  const auto two = plan_rings(ByteCount{1 << 30}, 2);
  REQUIRE(two);
  CHECK(two->payload_bytes == 1 << 20);
  CHECK(two->depth == 32);
  CHECK(two->entries_most > 1000);
  const auto many = plan_rings(ByteCount{1 << 30}, 128);
  REQUIRE(many);
  CHECK(many->depth >= 4);
  CHECK(many->payload_bytes >= 256 << 10);
  CHECK(many->depth * 128 * RingEntry::memory_bytes(many->payload_bytes) <= (1u << 29));
  const auto small = plan_rings(ByteCount{1 << 20}, 2);
  REQUIRE(small);
  CHECK(small->depth >= 1);
  CHECK_FALSE(plan_rings(ByteCount{1 << 20}, 128));
}

TEST_CASE("a large read leaves a ring on which others wait") {
  World w;
  struct Later final : WorkQueue {
    void post(Work& work) override { works.push_back(&work); }
    std::vector<Work*> works;
  } crew;
  w.commons.crew = &crew;
  w.ring.say_waiting(1);
  w.read(110, 4096);
  CHECK(w.answer(110).error == 0);  // small: at once
  w.read(112, 64 << 10);
  CHECK(w.ring.answers().count(112) == 0);
  REQUIRE(crew.works.size() == 1);
  std::thread other([&] { crew.works[0]->run(*crew.works[0]); });
  other.join();
  w.ring.turn();
  CHECK(w.answer(112).payload.size() == 64 << 10);
  CHECK(w.stats.handed_over.value() == 1);
  w.ring.say_waiting(0);
  w.read(114, 64 << 10);
  CHECK(w.answer(114).error == 0);  // alone: at once
}

TEST_CASE("processors are counted as the kernel lists them") {
  CHECK(count_processors("0-1") == 2);
  CHECK(count_processors("0") == 1);
  CHECK(count_processors("0-3,8,10-11") == 7);
  CHECK(count_processors("") == 0);
  CHECK(count_processors("3-1") == 0);
  CHECK(count_processors("x") == 0);
}

TEST_CASE("INIT is read and its answer amended") {
  struct {
    InHeader head;
    InitIn in;
  } request{};
  request.head.unique = 2;
  request.in.flags = static_cast<std::uint32_t>(kInitExtended | kParallelDirops);
  request.in.flags2 = 1u << 9;
  const auto bytes = std::as_bytes(std::span(&request, 1));
  CHECK(read_init(bytes).unique == 2);
  CHECK((read_init(bytes).flags & kOverRing) != 0);
  CHECK(read_init(bytes.first(10)).flags == 0);
  request.in.flags = 0;  // then flags2 says nothing
  CHECK(read_init(bytes).flags == 0);

  InitOut answer{};
  answer.flags = 1;
  answer.max_write = 1 << 20;
  const auto plain = amend(std::as_bytes(std::span(&answer, 1)), {});
  CHECK(plain.flags == 1);
  CHECK(plain.max_write == 1 << 20);
  const auto ring = amend(std::as_bytes(std::span(&answer, 1)),
                          {.flags = kOverRing | kParallelDirops, .max_bytes = 256 << 10});
  CHECK(ring.flags2 == 1u << 9);
  CHECK((ring.flags & kInitExtended) != 0);
  CHECK(ring.max_write == 256 << 10);
  CHECK(ring.max_pages == 64);
  const auto through = amend(std::as_bytes(std::span(&answer, 1)),
                             {.flags = kPassThrough, .stack_depth = BackingFiles::kStackDepth});
  CHECK(through.flags2 == 1u << 5);
  CHECK(through.max_stack_depth == 1);
  // Of an old libfuse, which says less.
  CHECK(amend(std::as_bytes(std::span(&answer, 1)).first(24), {}).max_write == 1 << 20);
}

}  // namespace
}  // namespace larder::fuse
