// SPDX-License-Identifier: Apache-2.0
// Where a store may lie, who may open it, and that its size is exact: on real files in a directory
// of our own.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <mutex>

#include "rig.h"
#include "store/checkpoint.h"
#include "store/layout.h"
#include "store/place.h"

using namespace larder;
using namespace larder::store;
using namespace larder::store::test;

namespace {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-store-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "a temporary folder can be made");
    path_ = std::filesystem::canonical(name).string();
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return fmt::format("{}/{}", path_, name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

SetUp<Device> open_at(const std::string& path, ByteCount size = kSmallestStore) {
  DeviceOptions options;
  options.path = path;
  options.size = size;
  return open_device(options);
}

void refused(const SetUp<Device>& opened, ErrorCode code, std::string_view word) {
  REQUIRE_FALSE(opened);
  CAPTURE(opened.error().line);
  CHECK(opened.error().error.code == code);
  CHECK(opened.error().line.find(word) != std::string::npos);
  CHECK(opened.error().line.find('\n') == std::string::npos);
}

// The engine's threads post, the test runs.
class LockedQueue final : public WorkQueue {
 public:
  void post(Work& work) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(&work);
    posted_.notify_one();
  }
  void run_one() {
    std::unique_lock<std::mutex> lock(mutex_);
    posted_.wait(lock, [this] { return !waiting_.empty(); });
    Work* work = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    work->run(*work);
  }

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<Work*> waiting_;
};

struct RealStore {
  OpenedEngine engine;
  LockedQueue machine;
  SimClock clock;
  std::unique_ptr<Store> store;

  RealStore() {
    auto opened = open_engine({.choice = EngineChoice::kThreads, .threads = 1});
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  void open(Device device, Options options = {}) {
    options.commit_by = CommitBy::kSync;
    auto opened = Store::open(std::move(device), options, *engine.engine, machine, clock, Seed{3});
    REQUIRE(opened);
    store = std::move(*opened);
  }
  bool fill(const ObjectRef& object, std::uint64_t first, std::uint64_t pages) {
    TestFill one(object, store->generation(object), first, pages, store->record(object).size, 1);
    store->fill(one);
    while (!one.told) machine.run_one();
    return one.answer.has_value();
  }
};

}  // namespace

TEST_CASE("a store is created with its size, for its owner alone") {
  const TempFolder folder;
  auto device = open_at(folder / "store");
  REQUIRE(device);
  CHECK(device->size == kSmallestStore);
  CHECK(device->note.empty());
  struct stat stat {};
  REQUIRE(::stat((folder / "store").c_str(), &stat) == 0);
  CHECK((stat.st_mode & 0777) == 0600);
  CHECK(static_cast<std::uint64_t>(stat.st_size) <= kSmallestStore.value());
  CHECK(static_cast<std::uint64_t>(stat.st_size) > kSmallestStore.value() * 98 / 100);
}

TEST_CASE(
    "the size is not exceeded by one byte, in length or in blocks, however the store is filled") {
  const TempFolder folder;
  const std::uint64_t mib = GENERATE(16, 40);
  const std::uint64_t pages = GENERATE(1, 64);
  CAPTURE(mib, pages);
  const ByteCount size{(mib << 20) + 12345};
  RealStore real;
  auto device = open_at(folder / "store", size);
  REQUIRE(device);
  real.open(std::move(*device));
  auto file = real.store->create(real.store->root(), ObjectType::kData, bytes("f"), {},
                                 ByteCount{1u << 30});
  REQUIRE(file);
  const std::uint64_t all = 2 * size.value() / kPageSize;
  // Every other place first, so that the file system cannot keep one long run.
  std::uint64_t filled = 0;
  for (std::uint64_t first = 0; first < all; first += pages) {
    if (real.fill(*file, (first * 7919) % all, pages)) ++filled;
    if (filled % 64 == 63) REQUIRE(real.store->sync());
  }
  REQUIRE(real.store->sync());
  struct stat stat {};
  REQUIRE(::stat((folder / "store").c_str(), &stat) == 0);
  CHECK(static_cast<std::uint64_t>(stat.st_size) <= size.value());
  CHECK(static_cast<std::uint64_t>(stat.st_blocks) * 512 <= size.value());
  CHECK(static_cast<std::uint64_t>(stat.st_blocks) * 512 > size.value() / 2);
  CHECK(check_store(*real.store).empty());
  real.store->close();
}

TEST_CASE("what exists is opened with its own size, whatever was asked for") {
  const TempFolder folder;
  {
    RealStore real;
    auto device = open_at(folder / "store", ByteCount{20u << 20});
    REQUIRE(device);
    real.open(std::move(*device));
    real.store->close();
  }
  auto other = open_at(folder / "store", ByteCount{64u << 20});
  REQUIRE(other);
  CHECK(other->size == ByteCount{20u << 20});
  CHECK(other->note.empty());
}

TEST_CASE("a file that was cut short is opened, and what was lost is a miss") {
  const TempFolder folder;
  const off_t length = GENERATE(4096, 8192, 70000, 400000, 1 << 20, 8 << 20);
  CAPTURE(length);
  {
    RealStore real;
    auto device = open_at(folder / "store");
    REQUIRE(device);
    real.open(std::move(*device));
    auto file = real.store->create(real.store->root(), ObjectType::kData, bytes("f"), {},
                                   ByteCount{1u << 30});
    REQUIRE(file);
    for (std::uint64_t i = 0; i < 10; ++i) CHECK(real.fill(*file, i * 256, 256));
    real.store->close();
  }
  REQUIRE(::truncate((folder / "store").c_str(), length) == 0);
  RealStore real;
  auto device = open_at(folder / "store");
  REQUIRE(device);
  CHECK(device->note.find("cut short") != std::string::npos);
  real.open(std::move(*device));
  auto file = real.store->find(real.store->root(), bytes("f"));
  if (file) {
    AlignedBuffer into(kPageSize), expected(kPageSize);
    for (std::uint64_t page = 0; page < 2560; ++page) {
      if (real.store->read_now(*file, {PageIndex{page}, PageCount{1}}, into.span()).value() == 0)
        continue;
      paint(expected.span(), 0, page, 1);
      REQUIRE(std::memcmp(into.data(), expected.data(), kPageSize) == 0);
    }
  }
  CHECK((file.has_value() || length < (2 << 20)));
  real.store->close();
}

TEST_CASE("a store whose creation was cut off is created") {
  const TempFolder folder;
  CHECK(open_at(folder / "store"));
  auto again = open_at(folder / "store", ByteCount{20u << 20});
  REQUIRE(again);
  CHECK(again->size == ByteCount{20u << 20});
  RealStore real;
  real.open(std::move(*again));
  real.store->close();
}

TEST_CASE("a second opener is told who has it, and gets it when the first lets go") {
  const TempFolder folder;
  {
    auto first = open_at(folder / "store");
    REQUIRE(first);
    refused(open_at(folder / "store"), ErrorCode::kStoreLocked, "in use");
  }
  CHECK(open_at(folder / "store"));

  std::array<int, 2> ready{}, end{};
  REQUIRE(::pipe(ready.data()) == 0);
  REQUIRE(::pipe(end.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    const auto held = open_at(folder / "store");
    const bool told = ::write(ready[1], held ? "y" : "n", 1) == 1;
    ::close(end[1]);
    ::_exit(told && ::read(end[0], &byte, 1) == 0 ? 0 : 1);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(byte == 'y');
  refused(open_at(folder / "store"), ErrorCode::kStoreLocked, fmt::format("process {}", child));
  for (const int fd : {ready[0], ready[1], end[0], end[1]}) ::close(fd);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(open_at(folder / "store"));
}

TEST_CASE("places that are refused") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "dir");
  std::filesystem::create_directory(folder / "share");
  std::filesystem::create_directory_symlink(folder / "share", folder / "link");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  std::filesystem::create_symlink(folder / "elsewhere", folder / "symlink");
  refused(open_at(folder / "dir"), ErrorCode::kStorePlace, "directory");
  refused(open_at(folder / "fifo"), ErrorCode::kStorePlace, "neither");
  refused(open_at(folder / "symlink"), ErrorCode::kStorePlace, "symbolic link");
  refused(open_at(folder / "none/store"), ErrorCode::kStorePlace, "none");
  refused(open_at(folder / "dir/"), ErrorCode::kStorePlace, "directory");
  refused(open_at("/dev/null"), ErrorCode::kStorePlace, "neither");
  refused(open_at("/proc/self/comm"), ErrorCode::kStorePlace, "proc");
  refused(open_at(folder / "store", ByteCount{(16u << 20) - 1}), ErrorCode::kInvalid, "16 MiB");
  CHECK_FALSE(std::filesystem::exists(folder / "elsewhere"));

  DeviceOptions options;
  options.size = kSmallestStore;
  options.forbidden = {folder / "share", folder / "mountpoint"};
  for (const char* path :
       {"share/store", "link/store", "share/../share/store", "dir/../link/store"}) {
    CAPTURE(path);
    options.path = folder / path;
    refused(open_device(options), ErrorCode::kStorePlace, "inside");
  }
  options.forbidden = {folder / "link"};
  options.path = folder / "share/store";
  refused(open_device(options), ErrorCode::kStorePlace, "inside");
  options.forbidden = {folder / "shar", folder / "share/store/below"};
  CHECK(open_device(options));
}

TEST_CASE("a file of somebody's is refused and stays as it is") {
  const TempFolder folder;
  const std::string path = folder / "letter";
  {
    const Fd fd(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
    REQUIRE(::write(fd.get(), "dear", 4) == 4);
  }
  refused(open_at(path), ErrorCode::kInvalid, "too small");
  std::filesystem::create_hard_link(path, folder / "other");
  refused(open_at(path), ErrorCode::kStorePlace, "other names");
  CHECK(std::filesystem::file_size(path) == 4);
  if (::geteuid() == 0) {
    std::filesystem::remove(folder / "other");
    REQUIRE(::chown(path.c_str(), 12345, 12345) == 0);
    refused(open_at(path), ErrorCode::kStorePlace, "another user");
  }
}

TEST_CASE("file systems that are of the network or of FUSE are refused by their numbers") {
  for (const long type : {0x6969L, 0xff534d42L, 0xfe534d42L, 0x517bL, 0x65735546L, 0x01021997L,
                          0x5346414fL, 0x00c36400L}) {
    CHECK_FALSE(refused_file_system(type).empty());
  }
  for (const long type : {0xef53L, 0x01021994L, 0x9123683eL, 0x58465342L, 0x794c7630L}) {
    CHECK(refused_file_system(type).empty());
  }
}

TEST_CASE(
    "the parts of a store of any size lie one behind the other and leave most of it to data") {
  for (const std::uint64_t mib : {16u, 17u, 100u, 256u, 1024u, 32768u, 1u << 20, 16u << 20}) {
    CAPTURE(mib);
    const Layout layout = layout_for(ByteCount{std::uint64_t{mib} << 20});
    CHECK(layout.journal == ByteOffset{kJournalOffset});
    CHECK(layout.checkpoint[0] == layout.journal + ByteCount{layout.journal_blocks * kBlockSize});
    CHECK(layout.checkpoint[1] == layout.checkpoint[0] + layout.checkpoint_bytes());
    CHECK(layout.sums == layout.checkpoint[1] + layout.checkpoint_bytes());
    CHECK(layout.sum_chunks * 1024 >= layout.data_blocks);
    CHECK(layout.home_of_sums(layout.sum_chunks, 2) <= layout.data);
    CHECK(layout.home_of_sums(0, 2) == layout.home_of_sums(layout.sum_chunks, 1));
    CHECK(layout.data.value() % (64u << 10) == 0);
    CHECK(layout.file_bytes() < layout.size);
    CHECK(layout.capacity().value() > layout.size.value() * 9 / 10);
    // A store full of 64 KiB extents fits.
    CHECK(checkpoint_limit(layout) > layout.capacity().value() / 65536 * extent_size(16, 0));
  }
}

namespace {

std::uint64_t disk_bytes(const std::string& path) {
  struct stat stat {};
  REQUIRE(::stat(path.c_str(), &stat) == 0);
  return static_cast<std::uint64_t>(stat.st_blocks) * 512;
}
std::uint64_t file_bytes(const std::string& path) {
  struct stat stat {};
  REQUIRE(::stat(path.c_str(), &stat) == 0);
  return static_cast<std::uint64_t>(stat.st_size);
}

constexpr std::uint64_t kMany = 40;  // files of 1 MiB

void fill_many(RealStore& real) {
  for (std::uint64_t i = 0; i < kMany; ++i) {
    const auto file =
        real.store->create(real.store->root(), ObjectType::kData, bytes(fmt::format("file{}", i)),
                           bytes("v1"), ByteCount{256 * kPageSize});
    REQUIRE(file);
    REQUIRE(real.fill(*file, 0, 256));
  }
  REQUIRE(real.store->sync());
}

}  // namespace

TEST_CASE("a real file gives back what is free when the disk below fills up") {
  const TempFolder folder;
  const std::string path = folder / "store";
  RealStore real;
  auto device = open_at(path, ByteCount{64u << 20});
  REQUIRE(device);
  std::uint64_t free = 1u << 30;
  device->disk_free = [&free] { return ByteCount{free}; };
  Options options;
  options.min_free = ByteCount{100u << 20};
  real.open(std::move(*device), options);
  fill_many(real);
  const std::uint64_t before = disk_bytes(path);
  CHECK(before > kMany << 20);
  free = 95u << 20;
  for (int i = 0; i < 6; ++i) {
    real.clock.advance(kSecond);
    real.store->put_name(real.store->root(), fmt::format("name{}", i), {});
    REQUIRE(real.store->sync());
  }
  const std::uint64_t after = disk_bytes(path);
  CHECK(after + (5u << 20) <= before);
  CHECK(real.store->counters().given_back_bytes.value() >= 5u << 20);
  CHECK(check_store(*real.store).empty());
  real.store->close();
}

TEST_CASE("a real file is as long as its size says, when it grew and when it shrank") {
  const TempFolder folder;
  const std::string path = folder / "store";
  RealStore real;
  auto device = open_at(path, ByteCount{64u << 20});
  REQUIRE(device);
  real.open(std::move(*device));
  fill_many(real);
  const std::uint64_t before = disk_bytes(path);
  for (const std::uint64_t mib : {200u, 48u, 20u, 300u}) {
    const ByteCount size{mib << 20};
    REQUIRE(real.store->resize(size));
    CHECK(file_bytes(path) <= size.value());
    CHECK(file_bytes(path) > size.value() / 10 * 9);
    CHECK(disk_bytes(path) <= size.value());
    CHECK(check_store(*real.store).empty());
  }
  CHECK(disk_bytes(path) < before);
  REQUIRE(real.store->resize(ByteCount{40u << 20}));
  real.store->close();
  real.store.reset();
  // As a crash between the superblock and the cut leaves it.
  REQUIRE(::truncate(path.c_str(), 60 << 20) == 0);
  auto again = open_at(path, ByteCount{0});
  REQUIRE(again);
  CHECK(again->size == ByteCount{40u << 20});
  CHECK(file_bytes(path) <= 40u << 20);
  real.open(std::move(*again));
  CHECK(check_store(*real.store).empty());
  real.store->close();
}
