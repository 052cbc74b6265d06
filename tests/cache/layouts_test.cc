// SPDX-License-Identifier: Apache-2.0
// The kernel's layouts, byte for byte: `stats` (4.19), `histogram` (HZ = 250), `objects` (2.6.32
// names, later columns).
#include "cache/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

TEST_CASE("stats has the lines of the kernel, each figure where it belongs") {
  Counters c;
  std::uint64_t next =
      100;  // each counter another figure, so that none can stand in another's place
#define X(member, unit, text) c.member.set(next++);
  LARDER_CACHE_COUNTERS(X)
#undef X
  c.allocs.set(900);  // more than those of them that were not taken
  std::uint64_t base = 0;
  for (KindCounters& kind : c.kinds) {
    base += 1000;
    kind.submitted.set(base + 500);
    kind.started.set(base + 300);
    std::uint64_t n = 0;
    for (auto* counter : {&kind.refused, &kind.waited_look_up, &kind.waited_behind, &kind.no_data,
                          &kind.taken_back, &kind.cancelled}) {
      counter->set(base / 100 + ++n);
    }
  }
  CHECK(stats_text(c, {71, 72}) ==
        R"(FS-Cache statistics
Cookies: idx=100 dat=101 spc=147
Objects: alc=103 nal=104 avl=105 ded=106
ChkAux : non=108 ok=109 upd=110 obs=111
Pages  : mrk=71 unc=72
Acquire: n=112 nul=113 noc=114 ok=115 nbf=116 oom=0
Lookups: n=118 neg=119 pos=120 crt=121 tmo=122
Invals : n=124 run=125
Updates: n=126 nul=127 run=128
Relinqs: n=129 nul=130 wcr=131 rtr=132
AttrChg: n=10000 ok=9908 nbf=92 oom=0 run=9600
Allocs : n=900 ok=589 wt=156 nbf=155 int=0
Allocs : ops=589 owt=0 abt=0
Retrvls: n=1500 ok=1286 wt=12 nod=14 nbf=11 int=15 oom=0
Retrvls: ops=1489 owt=13 abt=16
Stores : n=2500 ok=2479 agn=158 nbf=21 oom=0
Stores : ops=2479 run=2300 pgs=71 rxd=71 olm=163
VmScan : nos=159 gon=0 bsy=160 can=161 wt=0
Ops    : pend=450 run=22800 enq=137 can=486 rej=216
Ops    : ini=24000 dfr=0 rel=840 gc=0
CacheOp: alo=0 luo=143 luc=0 gro=0
CacheOp: inv=144 upo=145 dro=146 pto=0 atc=0 syn=0
CacheOp: rap=0 ras=0 alp=0 als=0 wrp=0 ucp=0 dsp=0
CacheEv: nsp=139 stl=140 rtr=141 cul=142
)");
}

TEST_CASE("histogram has one row per 4 ms that holds anything, the last for all that is longer") {
  Histograms h;
  const std::string header =
      "JIFS  SECS  OBJ INST  OP RUNS   OBJ RUNS  RETRV DLY RETRIEVLS\n"
      "===== ===== ========= ========= ========= ========= =========\n";
  CHECK(histogram_text(h) == header);
  h.object_instantiate.record(3 * kMillisecond);
  h.object_instantiate.record(4 * kMillisecond);
  h.operation_runs.record(7'999'999);
  h.object_runs.record(500 * kMillisecond);
  for (int i = 0; i < 12; ++i) h.retrieval_delays.record(996 * kMillisecond);
  h.retrievals.record(3600 * kSecond);
  h.retrievals.record(-1);
  CHECK(histogram_text(h) == header +
                                 "   0  0.000         1         0         0         0         1\n"
                                 "   1  0.004         1         1         0         0         0\n"
                                 " 125  0.500         0         0         1         0         0\n"
                                 " 249  0.996         0         0         0        12         1\n");
}

namespace {
const std::string kHeader =
    "OBJECT   PARENT   STAT CHLDN OPS OOP IPR EX READS EM EV FL S | NETFS_COOKIE_DEF TY FL "
    "NETFS_DATA";
const std::string kRule =
    "======== ======== ==== ===== === === === == ===== == == == = | ================ == == "
    "================";
}  // namespace

TEST_CASE("objects has the kernel's columns, with key and aux where they are asked for") {
  World world;
  const CookieRef share = world.index(world.netfs, "share");
  const CookieRef file = world.data(share, "f");
  CookieRef gone = world.data(share, "g", "");
  world.settle();
  const CookieRef fresh = world.data(share, "h");
  NotedOperation read;
  NotedOperation fill(OperationType::kSlow, Sharing::kExclusive, OperationKind::kFill);
  NotedOperation holds;
  REQUIRE(world.fs.submit(file, read) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, fill) == Submitted::kLater);
  REQUIRE(world.fs.submit(gone, holds) == Submitted::kNow);
  world.fs.relinquish(std::move(gone), Retire::kNo);
  while (world.machine.size() > 1) world.machine.run_one();
  world.machine.run_one();  // the fresh one and the dying one

  const std::string text = read_all(world.fs.objects(""));
  const std::string full =
      kHeader + "       OBJECT_KEY, AUX_DATA\n" + kRule + " ================\n" +
      R"(       1 ffffffff ACTV     1   0   0   0  0     0 f6  0 38 0 | .FS-Cache        IX 220           (null)
       2        1 ACTV     1   0   0   0  0     0 f6  0 38 0 | FSDEF.netfs      IX 222           (null) 706f736978, 01000000
       3        2 ACTV     3   0   0   0  0     0 f6  0 38 0 | test.index       IX 222                2 7368617265
       4        3 ACTV     0   2   0   1  1     1 f6  0 3a 0 | test.data        DT 222                3 66, 7631
       5        3 DYNG     0   1   0   1  0     1  8 20  0 0 | <no_cookie>
       6        3 ACTV     0   0   0   0  0     0 f6  0 38 0 | test.data        DT 222                3 68, 7631
)";
  CHECK(text == full);
  CHECK(read_all(world.fs.objects("xyzKA")) == full);  // what is unknown is ignored
  CHECK(
      read_all(world.fs.objects("K")) ==
      kHeader + "       OBJECT_KEY\n" + kRule + " ================\n" +
          R"(       1 ffffffff ACTV     1   0   0   0  0     0 f6  0 38 0 | .FS-Cache        IX 220           (null)
       2        1 ACTV     1   0   0   0  0     0 f6  0 38 0 | FSDEF.netfs      IX 222           (null) 706f736978
       3        2 ACTV     3   0   0   0  0     0 f6  0 38 0 | test.index       IX 222                2 7368617265
       4        3 ACTV     0   2   0   1  1     1 f6  0 3a 0 | test.data        DT 222                3 66
       5        3 DYNG     0   1   0   1  0     1  8 20  0 0 | <no_cookie>
       6        3 ACTV     0   0   0   0  0     0 f6  0 38 0 | test.data        DT 222                3 68
)");
  CHECK(
      read_all(world.fs.objects("A")) ==
      kHeader + "       AUX_DATA\n" + kRule + " ================\n" +
          R"(       1 ffffffff ACTV     1   0   0   0  0     0 f6  0 38 0 | .FS-Cache        IX 220           (null)
       2        1 ACTV     1   0   0   0  0     0 f6  0 38 0 | FSDEF.netfs      IX 222           (null) 01000000
       3        2 ACTV     3   0   0   0  0     0 f6  0 38 0 | test.index       IX 222                2
       4        3 ACTV     0   2   0   1  1     1 f6  0 3a 0 | test.data        DT 222                3 7631
       5        3 DYNG     0   1   0   1  0     1  8 20  0 0 | <no_cookie>
       6        3 ACTV     0   0   0   0  0     0 f6  0 38 0 | test.data        DT 222                3 7631
)");
  CHECK(
      read_all(world.fs.objects("C")) ==
      kHeader + "\n" + kRule + "\n" +
          R"(       1 ffffffff ACTV     1   0   0   0  0     0 f6  0 38 0 | .FS-Cache        IX 220           (null)
       2        1 ACTV     1   0   0   0  0     0 f6  0 38 0 | FSDEF.netfs      IX 222           (null)
       3        2 ACTV     3   0   0   0  0     0 f6  0 38 0 | test.index       IX 222                2
       4        3 ACTV     0   2   0   1  1     1 f6  0 3a 0 | test.data        DT 222                3
       6        3 ACTV     0   0   0   0  0     0 f6  0 38 0 | test.data        DT 222                3
)");
  world.fs.complete(read);
  world.fs.complete(holds);
  world.settle();
  world.fs.complete(fill);
}

TEST_CASE("objects takes the kernel's filter letters") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  const CookieRef other = world.data(world.netfs, "o");
  CookieRef gone = world.data(world.netfs, "g");
  world.settle();
  NotedOperation read;
  NotedOperation fill(OperationType::kMyThread, Sharing::kShareable, OperationKind::kFill);
  NotedOperation holds(OperationType::kMyThread, Sharing::kShareable, OperationKind::kOther);
  REQUIRE(world.fs.submit(file, read) == Submitted::kNow);
  REQUIRE(world.fs.submit(other, fill) == Submitted::kNow);
  REQUIRE(world.fs.submit(gone, holds) == Submitted::kNow);
  world.fs.relinquish(std::move(gone), Retire::kNo);
  // The ids of the objects shown: 1 the root, 2 the netfs, 3 the file, 4 the other, 5 the one that
  // goes.
  const auto shown = [&](std::string_view letters) {
    const std::string text = read_all(world.fs.objects(letters));
    std::string ids;
    for (std::size_t at = text.find('\n', text.find('\n') + 1) + 1; at < text.size();
         at = text.find('\n', at) + 1) {
      ids += text[at + 7];
    }
    return ids;
  };
  CHECK(shown("S") == "5");
  CHECK(shown("s") == "1234");
  world.settle();
  CHECK(shown("K") == "12345");
  CHECK(shown("Cc") == "12345");
  CHECK(shown("C") == "1234");
  CHECK(shown("c") == "5");
  CHECK(shown("B") == "345");
  CHECK(shown("b") == "12");
  CHECK(shown("W") == "4");
  CHECK(shown("w") == "1235");
  CHECK(shown("R") == "3");
  CHECK(shown("r") == "1245");
  CHECK(shown("CBr") == "4");
  CHECK(shown("?!") == "12345");
  CHECK(read_all(world.fs.objects("?")).starts_with(kHeader + "\n" + kRule + "\n"));
  CHECK(read_all(world.fs.objects("K")).starts_with(kHeader + "       OBJECT_KEY\n"));
  CHECK(read_all(world.fs.objects("A")).starts_with(kHeader + "       AUX_DATA\n"));
  CHECK(read_all(world.fs.objects("A")).find(" 7631\n") != std::string::npos);
  world.fs.complete(read);
  world.fs.complete(fill);
  world.fs.complete(holds);
}

TEST_CASE("ops tells of each operation what it is, how old, and what it waits for") {
  World world;
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation early(OperationType::kFast, Sharing::kShareable, OperationKind::kRead);
  REQUIRE(world.fs.submit(file, early) == Submitted::kLater);
  const std::string header =
      "OP       OBJECT   KIND         TYPE     X STATE         AGE_MS WAITS FOR\n"
      "======== ======== ============ ======== = =========== ========= =========\n";
  CHECK(read_all(world.fs.operations()) ==
        header +
            "       1        3 read         fast     S pending             0 look-up of its "
            "object\n");
  while (world.machine.run_all() > 0) {
  }
  world.clock.advance(7 * kMillisecond);
  NotedOperation mine(OperationType::kMyThread, Sharing::kShareable, OperationKind::kRead);
  NotedOperation fill(OperationType::kSlow, Sharing::kShareable, OperationKind::kFill);
  NotedOperation alone(OperationType::kSlow, Sharing::kExclusive, OperationKind::kTruncate);
  NotedOperation behind(OperationType::kSlow, Sharing::kShareable, OperationKind::kOther);
  REQUIRE(world.fs.submit(file, mine) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, fill) == Submitted::kNow);
  REQUIRE(world.fs.submit(file, alone) == Submitted::kLater);
  REQUIRE(world.fs.submit(file, behind) == Submitted::kLater);
  CHECK(read_all(world.fs.operations()) ==
        header +
            R"(       3        3 fill         slow     S in progress         0 a machine thread
       2        3 read         mythread S in progress         0 -
       1        3 read         fast     S in progress         7 an answer thread
       4        3 truncate     slow     E pending             0 operation 3
       5        3 other        slow     S pending             0 operation 4
)");
  world.settle();
  CHECK(read_all(world.fs.operations())
            .find("fill         slow     S in progress         0 the "
                  "store\n") != std::string::npos);
  for (NotedOperation* one : {&mine, &fill, &early}) world.fs.complete(*one);
  world.settle();
  world.fs.complete(alone);
  world.settle();
  world.fs.complete(behind);
  CHECK(read_all(world.fs.operations()) == header);
}

TEST_CASE("netfs shows each netfs with its shares") {
  World world;
  const CookieRef b = world.index(world.netfs, "share b");
  const CookieRef a = world.index(world.netfs, "share\na");
  CHECK(world.fs.netfs_text() ==
        R"(NETFS            VERSION COOKIES OBJECT   STAT SHARE
================ ======= ======= ======== ==== =====
posix                  1       2        -    -
posix                  1       0        -    - share b
posix                  1       0        -    - share\x0aa
)");
  const CookieRef file = world.data(b, "f");
  world.settle();
  CHECK(world.fs.netfs_text().find("posix                  1       1        3 ACTV share b\n") !=
        std::string::npos);
  world.fs.relinquish(a, Retire::kNo);
  CHECK(world.fs.netfs_text().find("x0aa") == std::string::npos);
}

TEST_CASE("a long list comes in pieces, and shows what stays exactly once") {
  World world;
  std::vector<CookieRef> files;
  for (int i = 0; i < 1000; ++i) files.push_back(world.data(world.netfs, "f" + std::to_string(i)));
  world.settle();
  Pager pager = world.fs.objects("K");
  std::string text;
  std::size_t pieces = 0, longest = 0;
  for (bool more = true; more; ++pieces) {
    const std::size_t before = text.size();
    more = pager(text);
    longest = std::max(longest, text.size() - before);
    // Between two pieces objects come and go, before and behind what has been shown.
    if (pieces % 2 == 0) world.fs.relinquish(std::exchange(files[pieces], nullptr), Retire::kNo);
    files.push_back(world.data(world.netfs, "late" + std::to_string(pieces)));
    world.settle();
  }
  CHECK(pieces >= 8);
  CHECK(longest < 32768);
  for (int i = 20; i < 1000; ++i) {
    const std::string row = " " + [&] {
      std::string hex;
      for (const char c : "f" + std::to_string(i)) hex += fmt::format("{:02x}", c);
      return hex;
    }() + "\n";
    const std::size_t at = text.find(row);
    REQUIRE(at != std::string::npos);
    REQUIRE(text.find(row, at + 1) == std::string::npos);
  }
}

TEST_CASE("a long list of objects is shown whole, and each object once") {
  World world;
  std::vector<CookieRef> files;
  for (int i = 0; i < 1000; ++i) files.push_back(world.data(world.netfs, "f" + std::to_string(i)));
  world.settle();
  const std::string text = read_all(world.fs.objects("b"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 2 + 1002);
}

TEST_CASE("the counters are registered by name and live") {
  World world;
  stats::Registry registry;
  world.fs.register_in(registry);
  const auto value = [&](const std::string& name) {
    for (const auto& entry : registry.entries()) {
      if (entry.name == name) return entry.read();
    }
    FAIL("no counter " << name);
    return std::uint64_t{0};
  };
  const CookieRef file = world.data(world.netfs, "f");
  NotedOperation read;
  REQUIRE(world.fs.submit(file, read) == Submitted::kLater);
  CHECK(value("cache.objects_live") == 3);
  CHECK(value("cache.ops_pending") == 1);
  world.settle();
  CHECK(value("cache.ops_pending") == 0);
  CHECK(value("cache.lookups") == 3);
  CHECK(value("cache.read_started") == 1);
  world.fs.complete(read);
  world.fs.withdraw();
  CHECK(value("cache.objects_live") == 0);
}
