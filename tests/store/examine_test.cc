// SPDX-License-Identifier: Apache-2.0
// What fsck says of a store on a file: sound, damaged, in use, no store; and what repair leaves.
#include <fcntl.h>
#include <fmt/format.h>
#include <larder/device.h>
#include <larder/store_check.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "io/thread_pool.h"
#include "rig.h"
#include "store/layout.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

class StoreFile {
 public:
  StoreFile() {
    directory_ = (std::filesystem::temp_directory_path() / "larder-examine.XXXXXX").string();
    REQUIRE(::mkdtemp(directory_.data()) != nullptr);
  }
  ~StoreFile() { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/store"; }

  // The image of a simulated device, as a file.
  void take(const SimImage& image) const {
    const Fd fd(::open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(fd.valid());
    AlignedBuffer block(kBlockSize);
    const AlignedBuffer zeros(kBlockSize);
    const std::uint64_t end = layout_for(image.size()).file_bytes().value();
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(end)) == 0);
    for (std::uint64_t at = 0; at < end; at += kBlockSize) {
      image.read(ByteOffset{at}, block.span());
      if (std::memcmp(block.data(), zeros.data(), kBlockSize) == 0) continue;
      REQUIRE(::pwrite(fd.get(), block.data(), kBlockSize, static_cast<off_t>(at)) ==
              static_cast<ssize_t>(kBlockSize));
    }
  }

 private:
  std::string directory_;
};

SimImage filled() {
  Rig rig;
  for (int i = 0; i < 4; ++i) {
    const ObjectRef file = rig.make(fmt::format("file{}", i), ByteCount{64 * kPageSize});
    REQUIRE(rig.fill(file, 0, 64, 1));
    rig.store->put_name(rig.store->root(), fmt::format("name{}", i), {});
  }
  REQUIRE(rig.store->sync());
  return rig.engine->image();
}

Examined look(const StoreFile& file) {
  auto all = examine(file.path(), Depth::kPages, nullptr);
  if (!all) FAIL(all.error().line);
  return std::move(*all);
}

}  // namespace

TEST_CASE("a sound store has no breach, and its regions make up the file") {
  const StoreFile file;
  file.take(filled());
  const auto before = std::filesystem::last_write_time(file.path());
  const Examined all = look(file);
  for (const std::string& line : all.breaches) FAIL_CHECK(line);
  CHECK(all.notes.empty());
  CHECK(all.objects == 5);
  CHECK(all.names == 4);
  CHECK(all.pages == 4 * 64);
  std::uint64_t next = 0, used = 0;
  for (const Region& region : all.regions) {
    CHECK(region.at.value() == next);
    next += region.bytes.value();
    if (region.use == Use::kUsed) used += region.bytes.value();
  }
  CHECK(next == layout_for(kSmallestStore).file_bytes().value());
  CHECK(used == 4 * 64 * kPageSize);
  CHECK(std::filesystem::last_write_time(file.path()) == before);
}

TEST_CASE("wrong pages are breaches; repair drops them and nothing else") {
  const StoreFile file;
  SimImage image = filled();
  image.flip_bit(layout_for(kSmallestStore).data + ByteCount{5 * kPageSize + 17}, 3);
  file.take(image);
  const Examined damaged = look(file);
  REQUIRE(damaged.breaches.size() == 1);
  CHECK(damaged.breaches[0].starts_with("4: "));
  CHECK(damaged.wrong_pages == 1);
  const auto done = repair(file.path(), nullptr);
  REQUIRE(done);
  CHECK_FALSE(done->empty());
  const Examined after = look(file);
  CHECK(after.breaches.empty());
  CHECK(after.objects == damaged.objects);
  CHECK(after.pages == damaged.pages - 64);
  const auto again = repair(file.path(), nullptr);
  REQUIRE(again);
  CHECK(again->empty());
}

TEST_CASE("the metadata alone tell nothing of the pages") {
  const StoreFile file;
  SimImage image = filled();
  image.flip_bit(layout_for(kSmallestStore).data, 0);
  file.take(image);
  const auto all = examine(file.path(), Depth::kMetadata, nullptr);
  REQUIRE(all);
  CHECK(all->breaches.empty());
}

TEST_CASE("a store in use, no store and no file are refused, each with its line") {
  const StoreFile file;
  CHECK(examine(file.path(), Depth::kPages, nullptr).error().error.code == ErrorCode::kStoreIo);
  CHECK_FALSE(repair(file.path(), nullptr));
  CHECK_FALSE(std::filesystem::exists(file.path()));
  file.take(filled());
  {
    auto device = open_device({.path = file.path(), .size = ByteCount{0}, .forbidden = {}});
    REQUIRE(device);
    const auto refused = examine(file.path(), Depth::kPages, nullptr);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().error.code == ErrorCode::kStoreLocked);
    CHECK(refused.error().line.find(file.path()) != std::string::npos);
  }
  std::filesystem::remove(file.path());
  const Fd other(::open(file.path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(::pwrite(other.get(), "somebody's letters", 18, 0) == 18);
  CHECK(examine(file.path(), Depth::kPages, nullptr).error().error.code == ErrorCode::kStoreFormat);
}

TEST_CASE("progress may stop it, and the dump names what is there") {
  const StoreFile file;
  file.take(filled());
  int calls = 0;
  const auto all = examine(file.path(), Depth::kPages, [&](ByteCount, ByteCount) {
    ++calls;
    return false;
  });
  CHECK(all);
  CHECK(calls == 1);
  std::string text;
  REQUIRE(dump(file.path(), [&](std::string_view part) { text += part; }));
  for (const char* word : {"superblock 0", "journal block 0", "key file3", "name name2", "uuid: "})
    CHECK(text.find(word) != std::string::npos);
}
