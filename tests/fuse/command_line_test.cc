// SPDX-License-Identifier: Apache-2.0
#include "command_line.h"

#include <algorithm>
#include <vector>

#include "support/catch.h"

using namespace larder;
using namespace larder::fuse;

namespace {

std::variant<CommandLine, Goodbye> parse(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

CommandLine accepted(const std::vector<std::string>& words) {
  const auto parsed = parse(words);
  REQUIRE(std::holds_alternative<CommandLine>(parsed));
  return std::get<CommandLine>(parsed);
}

std::string refused(const std::vector<std::string>& words) {
  const auto parsed = parse(words);
  REQUIRE(std::holds_alternative<Goodbye>(parsed));
  const Goodbye& goodbye = std::get<Goodbye>(parsed);
  CHECK(goodbye.code == 1);
  CHECK(std::count(goodbye.text.begin(), goodbye.text.end(), '\n') == 1);
  return goodbye.text;
}

}  // namespace

TEST_CASE("share and mount point become absolute, and options may come anywhere") {
  const CommandLine line =
      accepted({"larder", "/net/share/", "-o", "size=64M", "mnt", "-f", "-o", "ro"});
  CHECK(line.options.share == "/net/share");
  CHECK(line.options.mountpoint.starts_with('/'));
  CHECK(line.options.mountpoint.ends_with("/mnt"));
  CHECK(line.options.size == ByteCount{64 << 20});
  CHECK(line.options.settings.read_only);
  CHECK(line.foreground);
}

TEST_CASE("as a helper of mount, -f pretends and mount's own letters are taken") {
  const CommandLine line =
      accepted({"/sbin/mount.larder", "/net/share", "/mnt", "-s", "-f", "-n", "-v", "-t", "larder",
                "-o", "rw,_netdev,nofail,x-systemd.automount,size=64M"});
  CHECK(line.pretend);
  CHECK_FALSE(line.foreground);
  CHECK(line.options.size == ByteCount{64 << 20});
  CHECK_FALSE(accepted({"larder", "-f", "/net/share", "/mnt"}).pretend);
}

TEST_CASE("a wrong call gets one line and 1") {
  CHECK(refused({"larder"}).starts_with("larder: "));
  CHECK(refused({"larder", "/net/share"}).starts_with("larder: "));
  CHECK(refused({"larder", "/a", "/b", "/c"}).starts_with("larder: "));
  CHECK(refused({"larder", "--wrong", "/a", "/b"}).starts_with("larder: "));
  CHECK(refused({"larder", "", ""}).find("SHARE") != std::string::npos);
  CHECK(refused({"larder", "-o", "sice=64M", "/a", "/b"}).find("size") != std::string::npos);
}

TEST_CASE("help and version are answers, not errors") {
  for (const char* word : {"--help", "--version"}) {
    const auto parsed = parse({"larder", word});
    REQUIRE(std::holds_alternative<Goodbye>(parsed));
    CHECK(std::get<Goodbye>(parsed).code == 0);
  }
}
