// SPDX-License-Identifier: Apache-2.0
// The table of options: what is read, what is refused and with which words, and that
// docs/options.md is what the table says. LARDER_SEED repeats a run of the random part;
// LARDER_WRITE_DOCS=1 writes the page.
#include <larder/options.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/random.h"
#include "support/catch.h"

using namespace larder;

namespace {

MountOptions read(std::string_view list) {
  MountOptions options;
  const auto done = parse_options(list, options);
  INFO(list);
  INFO((done ? "" : done.error().line));
  REQUIRE(done.has_value());
  return options;
}

// The complaint about `list`; it must be one line and must leave the options alone.
std::string complaint(std::string_view list) {
  MountOptions options;
  const auto done = parse_options(list, options);
  INFO(list);
  REQUIRE_FALSE(done.has_value());
  CHECK(done.error().error.code == ErrorCode::kInvalid);
  const std::string line = done.error().line;
  CHECK_FALSE(line.empty());
  CHECK(std::none_of(line.begin(), line.end(), [](char c) { return c == '\n' || c == '\0'; }));
  CHECK(options_text(options) == options_text(MountOptions{}));
  return line;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == ',' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

// "name=value" lines as a list for parse_options().
std::string as_list(const std::string& lines) {
  std::istringstream in(lines);
  std::string list, line;
  while (std::getline(in, line)) list += escaped(line) + ",";
  return list;
}

const OptionSpec& spec_of(std::string_view name) {
  const auto table = option_table();
  const auto found = std::ranges::find(table, name, &OptionSpec::name);
  REQUIRE(found != table.end());
  return *found;
}

Seed seed_of_run() {
  const char* given = std::getenv("LARDER_SEED");
  return fresh_if_zero(Seed{given != nullptr ? std::strtoull(given, nullptr, 0) : 0});
}

}  // namespace

TEST_CASE("each option sets what it says") {
  CHECK(read("store=/var/cache/x.larder").store == "/var/cache/x.larder");
  CHECK(read("size=10G").size == ByteCount{10ull << 30});
  CHECK(read("tag=nas-1").tag == "nas-1");
  CHECK(read("attr_timeout=60").settings.attr_ttl_ns == 60 * kSecond);
  CHECK(read("entry_timeout=1.5").settings.entry_ttl_ns == 1500 * kMillisecond);
  CHECK(read("negative_timeout=10m").settings.negative_ttl_ns == 600 * kSecond);
  CHECK(read("ro").settings.read_only);
  CHECK(read("allow_other").allow_other);
  CHECK(read("permissions=share").permissions == Permissions::kShare);
  CHECK(read("uid=1000").settings.uid == 1000u);
  CHECK(read("gid=0").settings.gid == 0u);
  CHECK(read("umask=027").settings.umask == 027u);
  CHECK(read("threads=64").threads == 64u);
  CHECK(read("share_threads=1024").share_threads == 1024u);
  CHECK(read("share_deadline=5").share_deadline_ns == 5 * kSecond);
  CHECK(read("share_slow=250ms").share_slow_ns == 250 * kMillisecond);
  CHECK(read("share_id=nas:/export").share_id == "nas:/export");
  CHECK(read("share_ino=unstable").share_inodes == ShareInodes::kUnstable);
  CHECK(read("engine=threads").engine == EngineChoice::kThreads);
  CHECK(read("commit=1").commit_ns == kMillisecond);
  CHECK(read("commit=2s").commit_ns == 2 * kSecond);
  CHECK(read("control=.cache").control == ".cache");
  CHECK(read("log=error").log == LogLevel::kError);
  CHECK(read("debug=0x1F").debug == 31u);
  CHECK(read("debug=31").debug == 31u);
  CHECK(read("direct_io").direct_io);
  CHECK(read("verify").verify);
  CHECK_FALSE(read("verify,verify=no").verify);
}

TEST_CASE("coherency is close-to-open or a time to live") {
  CHECK(read("coherency=cto").settings.coherency == Coherency::kCloseToOpen);
  CHECK(read("coherency=strict").settings.coherency == Coherency::kStrict);
  CHECK(read("coherency=immutable").settings.coherency == Coherency::kImmutable);
  const MountOptions ttl = read("coherency=ttl=60");
  CHECK(ttl.settings.coherency == Coherency::kTtl);
  CHECK(ttl.settings.ttl_ns == 60 * kSecond);
  CHECK(read("coherency=ttl=1h").settings.ttl_ns == 3600 * kSecond);
  CHECK(read("coherency=ttl=60,coherency=cto").settings.coherency == Coherency::kCloseToOpen);
  CHECK(has(complaint("ttl=60"), "unknown option"));
}

TEST_CASE("the defaults of the table are those of the structure") {
  for (const OptionSpec& spec : option_table()) {
    INFO(spec.name);
    CHECK(spec.get(MountOptions{}) == spec.fallback);
  }
}

TEST_CASE("of two that say the same the last holds, and rw undoes ro") {
  CHECK(read("tag=a,tag=b").tag == "b");
  CHECK_FALSE(read("ro,rw").settings.read_only);
  CHECK(read("rw,ro").settings.read_only);
  CHECK_FALSE(read("allow_other,allow_other=no").allow_other);
}

TEST_CASE("what an earlier list said stays where a later one is silent") {
  MountOptions options;
  REQUIRE(parse_options("tag=a,ro", options).has_value());
  REQUIRE(parse_options("size=64M", options).has_value());
  CHECK(options.tag == "a");
  CHECK(options.settings.read_only);
  CHECK(options.size == ByteCount{64u << 20});
}

TEST_CASE("a list with one bad option changes nothing") {
  MountOptions options;
  CHECK_FALSE(parse_options("tag=a,ro,threads=0,size=64M", options).has_value());
  CHECK(options_text(options) == options_text(MountOptions{}));
}

TEST_CASE("the generic words of mount are accepted and change nothing") {
  const std::string text = options_text(MountOptions{});
  for (const std::string_view word :
       {"",
        ",",
        ",,",
        "defaults",
        "_netdev",
        "_rnetdev",
        "nofail",
        "noauto",
        "auto",
        "user",
        "users",
        "nouser",
        "owner",
        "group",
        "nodev",
        "dev",
        "nosuid",
        "suid",
        "noexec",
        "exec",
        "noatime",
        "atime",
        "relatime",
        "norelatime",
        "strictatime",
        "nodiratime",
        "diratime",
        "lazytime",
        "nolazytime",
        "sync",
        "async",
        "dirsync",
        "rw",
        "x-systemd.automount",
        "x-systemd.requires-mounts-for=/net/share",
        "X-mount.mkdir",
        "comment=our nas",
        "fsname=x",
        "rw,nosuid,nodev,noexec,relatime,_netdev,nofail,x-gvfs-show,"}) {
    INFO(word);
    CHECK(options_text(read(word)) == text);
  }
}

TEST_CASE("a backslash keeps a comma") {
  CHECK(read("store=/a\\,b,tag=t").store == "/a,b");
  CHECK(read("store=/a\\,b,tag=t").tag == "t");
  CHECK(read("store=/a\\\\,tag=t").store == "/a\\");
  CHECK(read("store=/a\\b").store == "/a\\b");
  CHECK(read("store=/a\\").store == "/a\\");
  CHECK(read("share_id=a=b=c").share_id == "a=b=c");
}

TEST_CASE("a relative store is made absolute, because a daemon leaves the directory") {
  const std::string store = read("store=x/y.larder").store;
  CHECK(store.front() == '/');
  CHECK(store.ends_with("/x/y.larder"));
}

TEST_CASE("malformed values are refused with what would be right") {
  for (const std::string_view bad : {"store",
                                     "store=",
                                     "store=/a/",
                                     "size",
                                     "size=",
                                     "size=0",
                                     "size=1",
                                     "size=16383K",
                                     "size=15M",
                                     "size=-1G",
                                     "size=+1G",
                                     "size= 1G",
                                     "size=1G ",
                                     "size=1GG",
                                     "size=1.5G",
                                     "size=1Gi",
                                     "size=G",
                                     "size=10%",
                                     "size=0x10G",
                                     "size=99999999999999999999",
                                     "size=9223372036854775808",
                                     "size=8388608T",
                                     "size=ten",
                                     "tag",
                                     "tag=",
                                     "tag=a b",
                                     "tag=a/b",
                                     "tag=abcdefghijklmnopqrstuvwxyz0123456789",
                                     "attr_timeout",
                                     "attr_timeout=",
                                     "attr_timeout=-1",
                                     "attr_timeout=1\\,5",
                                     "attr_timeout=1.",
                                     "attr_timeout=.5",
                                     "attr_timeout=1.2.3",
                                     "attr_timeout=1e3",
                                     "attr_timeout=1 s",
                                     "attr_timeout=s",
                                     "attr_timeout=5w",
                                     "attr_timeout=0.5ns",
                                     "attr_timeout=0.0000000001",
                                     "attr_timeout=99999999999999999999",
                                     "attr_timeout=1000000h",
                                     "attr_timeout=nan",
                                     "attr_timeout=inf",
                                     "entry_timeout=x",
                                     "negative_timeout=-0",
                                     "coherency",
                                     "coherency=",
                                     "coherency=ttl",
                                     "coherency=ttl=",
                                     "coherency=ttl=x",
                                     "coherency=ttl=-1",
                                     "coherency=CTO",
                                     "coherency=none",
                                     "coherency=cto=1",
                                     "ro=",
                                     "ro=1",
                                     "ro=true",
                                     "allow_other=",
                                     "allow_other=5",
                                     "permissions=",
                                     "permissions=both",
                                     "uid=",
                                     "uid=-1",
                                     "uid=4294967295",
                                     "uid=root",
                                     "uid=1.5",
                                     "gid=0x10",
                                     "gid=99999999999",
                                     "umask=8",
                                     "umask=1000",
                                     "umask=-1",
                                     "umask=",
                                     "threads=0",
                                     "threads=65",
                                     "threads=-1",
                                     "threads=4 ",
                                     "threads=many",
                                     "threads",
                                     "share_threads=0",
                                     "share_threads=1025",
                                     "share_threads=auto",
                                     "share_deadline=0",
                                     "share_deadline=-5",
                                     "share_slow=0",
                                     "share_slow=0ms",
                                     "share_slow",
                                     "share_id=",
                                     "share_id",
                                     "share_ino=maybe",
                                     "share_ino=",
                                     "engine=io_uring",
                                     "engine=",
                                     "engine=AUTO",
                                     "commit=0",
                                     "commit=0.5",
                                     "commit=61s",
                                     "commit=60001",
                                     "commit=999us",
                                     "commit=",
                                     "control=",
                                     "control=.",
                                     "control=..",
                                     "control=a/b",
                                     "control=/",
                                     "log=",
                                     "log=trace",
                                     "log=5",
                                     "debug",
                                     "debug=",
                                     "debug=0x",
                                     "debug=-1",
                                     "debug=0x100000000",
                                     "debug=4294967296",
                                     "debug=1f",
                                     "direct_io=maybe",
                                     "tag=a\nb",
                                     "share_id=a\tb",
                                     "comment=a\nb"}) {
    const std::string line = complaint(bad);
    INFO(line);
    const std::string_view name = bad.substr(0, bad.find('='));
    CHECK(has(line, std::string("`") + std::string(name)));
  }
  CHECK(has(complaint(std::string_view("tag=a\0b", 7)), "control character"));
}

TEST_CASE("complaints say what is wrong and what would be right") {
  CHECK(complaint("threads=65") ==
        "option `threads` cannot be `65`: it takes a number from 1 to 64, or `auto`");
  CHECK(
      complaint("size") ==
      "option `size` needs a value: size=SIZE, where that is a size of 16M or more, such as 512M, "
      "10G or 1T, or `auto`");
  CHECK(complaint("ro=") == "option `ro` takes no value: write ro");
  CHECK(has(complaint("=5"), "without a name"));
}

TEST_CASE("an unknown option names the nearest that exists") {
  const std::vector<std::pair<std::string_view, std::string_view>> cases{
      {"attr_timout=5", "`attr_timeout=SECONDS`"},
      {"entrytimeout=5", "`entry_timeout=SECONDS`"},
      {"thread=4", "`threads=N`"},
      {"alow_other", "`allow_other`"},
      {"coherence=cto", "`coherency=strict|cto|ttl=N|immutable`"},
      {"sharethreads=4", "`share_threads=N`"},
      {"Size=1G", "`size=SIZE`"},
      {"stor=/x", "`store=PATH`"}};
  for (const auto& [given, wanted] : cases) {
    INFO(given);
    CHECK(has(complaint(given), wanted));
  }
  CHECK(complaint(std::string(5000, 'x') + "=1").size() < 300);
}

TEST_CASE("durations are read exactly") {
  CHECK(parse_duration("0") == 0);
  CHECK(parse_duration("5") == 5 * kSecond);
  CHECK(parse_duration("0.25s") == 250 * kMillisecond);
  CHECK(parse_duration("0.05m") == 3 * kSecond);
  CHECK(parse_duration("1.5h") == 5400 * kSecond);
  CHECK(parse_duration("2d") == 172800 * kSecond);
  CHECK(parse_duration("7us") == 7000);
  CHECK(parse_duration("7ns") == 7);
  CHECK(parse_duration("1.000000000000000") == kSecond);
  CHECK(parse_duration("36500d").has_value());
  CHECK_FALSE(parse_duration("36501d").has_value());
  CHECK_FALSE(parse_duration("36500.1d").has_value());
  CHECK_FALSE(parse_duration("").has_value());
  CHECK(duration_text(0) == "0");
  CHECK(duration_text(90 * kSecond) == "90s");
  CHECK(duration_text(600 * kSecond) == "10m");
  CHECK(duration_text(7200 * kSecond) == "2h");
  CHECK(duration_text(1500 * kMillisecond) == "1500ms");
  CHECK(duration_text(1) == "1ns");
}

TEST_CASE("sizes are read exactly") {
  CHECK(parse_size("0") == ByteCount{0});
  CHECK(parse_size("512") == ByteCount{512});
  CHECK(parse_size("4k") == ByteCount{4096});
  CHECK(parse_size("64M") == ByteCount{64ull << 20});
  CHECK(parse_size("1T") == ByteCount{1ull << 40});
  CHECK(parse_size("9223372036854775807") == ByteCount{9223372036854775807ull});
  CHECK_FALSE(parse_size("8388608T").has_value());
  CHECK(size_text(ByteCount{0}) == "0");
  CHECK(size_text(ByteCount{1536}) == "1536");
  CHECK(size_text(ByteCount{1536ull << 10}) == "1536K");
  CHECK(size_text(ByteCount{10ull << 30}) == "10G");
}

TEST_CASE("durations and sizes of any value are printed as what reads back") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  for (int i = 0; i < 20000; ++i) {
    const auto time = static_cast<Nanoseconds>(random.next() >> (2 + random.below(60)));
    if (const auto again = parse_duration(duration_text(time))) CHECK(*again == time);
    const ByteCount size{random.next() >> (1 + random.below(62))};
    CHECK(parse_size(size_text(size)) == size);
  }
}

TEST_CASE("a mount's options as text are a list that gives the same options") {
  const std::string text = options_text(
      read("store=/a\\,b,size=1G,tag=x,attr_timeout=7,entry_timeout=1.25,negative_timeout=1ns,ro,"
           "coherency=ttl=90,allow_other,permissions=share,uid=1,gid=2,umask=22,threads=3,"
           "share_threads=5,share_deadline=9,share_slow=1ms,share_id=a\\,\\\\b,share_ino=stable,"
           "engine=uring,commit=77,control=c,log=warn,debug=0xff,direct_io"));
  CHECK(options_text(read(as_list(text))) == text);
  CHECK(has(text, "coherency=ttl=90s\n"));
  CHECK(has(text, "debug=0xff\n"));
  CHECK(has(text, "umask=022\n"));
  const std::string defaults = options_text(MountOptions{});
  CHECK(options_text(read(as_list(defaults))) == defaults);
}

TEST_CASE("random text never crashes, and what is accepted is printed back as the same") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  const std::vector<std::string> parts{
      "0",     "1",     "9",      "64",       "1024", "99999999999999999999",
      ".",     "-",     "+",      " ",        "K",    "M",
      "G",     "T",     "s",      "ms",       "us",   "ns",
      "m",     "h",     "d",      "0x",       "ff",   ",",
      "\\",    "=",     "/",      "..",       "auto", "share",
      "yes",   "no",    "ttl=",   "cto",      "\n",   "\x80",
      "local", "uring", "stable", "\xc3\xa4", "7",    "5",
      "%",     "debug"};
  std::size_t accepted = 0;
  for (int i = 0; i < 60000; ++i) {
    const OptionSpec& spec = option_table()[random.below(option_table().size())];
    std::string value;
    for (std::uint64_t n = random.below(5); n > 0; --n) {
      value += random.one_in(6) ? std::string(1, static_cast<char>(random.below(256)))
                                : parts[random.below(parts.size())];
    }
    const std::string item = random.one_in(12) ? value : std::string(spec.name) + "=" + value;
    MountOptions options;
    const auto done = parse_options(item, options);
    const std::string text = options_text(options);
    INFO(item);
    if (!done) {
      CHECK(text == options_text(MountOptions{}));
      CHECK(done.error().line.find('\n') == std::string::npos);
      continue;
    }
    ++accepted;
    MountOptions again;
    const auto repeated = parse_options(as_list(text), again);
    if (!repeated || options_text(again) != text) {
      INFO(text);
      FAIL("accepted, but not printed back as the same");
    }
  }
  CHECK(accepted > 1000);  // else the loop has proved nothing
}

TEST_CASE("random values set directly are refused or printed back") {
  const Seed seed = seed_of_run();
  INFO("LARDER_SEED=" << seed.value);
  Random random(seed);
  constexpr std::string_view kLetters = "0123456789.-xKMGTsmhdun=/aeo ";
  for (int i = 0; i < 100000; ++i) {
    std::string value;
    for (std::uint64_t n = random.below(8); n > 0; --n)
      value += kLetters[random.below(kLetters.size())];
    const OptionSpec& spec = option_table()[random.below(option_table().size())];
    MountOptions options;
    if (!spec.set(options, value)) continue;
    const std::string text = spec.get(options);
    MountOptions again;
    if (!spec.set(again, text) || spec.get(again) != text)
      FAIL(spec.name << "=" << value << ": " << text);
  }
}

TEST_CASE("the table is in order") {
  std::set<std::string_view> names, groups;
  std::string_view group;
  for (const OptionSpec& spec : option_table()) {
    INFO(spec.name);
    CHECK(names.insert(spec.name).second);
    if (spec.group != group) CHECK(groups.insert(spec.group).second);  // a group stands together
    group = spec.group;
    CHECK(spec.description.ends_with('.'));
    CHECK_FALSE(spec.accepts.empty());
  }
  CHECK(names.size() >= 24);
}

TEST_CASE("the help names every option in aligned columns of at most 100 letters") {
  const std::string help = options_help();
  for (const OptionSpec& spec : option_table()) CHECK(has(help, "\n  " + std::string(spec.name)));
  std::istringstream lines(help);
  std::string line;
  std::size_t column = 0;
  while (std::getline(lines, line)) {
    INFO(line);
    CHECK(line.size() <= 100);
    if (line.empty() || line[0] != ' ') continue;
    const std::size_t gap = line.find("  ", line.find_first_not_of(' '));
    const std::size_t at =
        line.starts_with("   ") ? line.find_first_not_of(' ') : line.find_first_not_of(' ', gap);
    if (column == 0) column = at;
    CHECK(at == column);
  }
  CHECK(has(help, "Coherency:\n"));
  CHECK(has(spec_of("size").accepts.data(), "16M"));
}

TEST_CASE("docs/options.md is what the table says") {
  const std::string path = std::string(LARDER_SOURCE_ROOT) + "/docs/options.md";
  if (std::getenv("LARDER_WRITE_DOCS") != nullptr) std::ofstream(path) << options_markdown();
  std::ifstream in(path);
  std::ostringstream page;
  page << in.rdbuf();
  INFO("run this test with LARDER_WRITE_DOCS=1 to write " << path);
  CHECK(page.str() == options_markdown());
}

TEST_CASE("what the kernel heeds of the mount's words is kept for it") {
  MountOptions options;
  REQUIRE(parse_options("rw,noexec,_netdev,noatime,size=64M", options));
  CHECK(options.kernel_words == std::vector<std::string>{"noexec", "noatime"});
}
