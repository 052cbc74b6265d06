// SPDX-License-Identifier: Apache-2.0
// `objects` and `ops` of very many objects, read piece by piece while they are used, come and go:
// the order is stable, whatever lives all the time is shown once, and no piece holds the lock for
// more than a few. 100,000 objects, a million with LARDER_LONG.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "cache/world.h"
#include "support/catch.h"

using namespace larder;
using namespace larder::cache;
using namespace larder::test;

namespace {

constexpr std::size_t kMostInPiece = 256;

std::size_t how_many() { return std::getenv("LARDER_LONG") != nullptr ? 1'000'000 : 100'000; }

struct Crowd : World {
  Crowd() {
    for (std::size_t i = 0; i < how_many(); ++i) {
      files.push_back(data(netfs, std::to_string(i)));
      if (i % 512 == 0) settle();
    }
    settle();
    next = files.size();
  }
  ~Crowd() {
    for (CookieRef& file : files) fs.relinquish(std::move(file), Retire::kNo);
  }

  // What a mount does meanwhile.
  void go_on(Random& random) {
    Operation operation;
    CookieRef& used = files[random.below(files.size())];
    if (fs.submit(used, operation) != Submitted::kNow)
      ++not_served;
    else
      fs.complete(operation);
    CookieRef& goes = files[random.below(files.size())];
    went.push_back(FsCache::object_number(goes));
    fs.relinquish(std::move(goes), Retire::kNo);
    goes = data(netfs, std::to_string(next++));
    settle();
  }

  std::vector<CookieRef> files;
  std::vector<std::uint32_t> went;  // objects
  std::size_t next = 0, not_served = 0;
};

// The numbers of the rows, in their order; `objects` or `ops`.
void append_numbers(std::vector<std::uint32_t>& numbers, std::string_view text, bool has_header) {
  std::size_t line = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (!has_header || ++line > 2) {
      numbers.push_back(static_cast<std::uint32_t>(
          std::strtoul(std::string(text.substr(0, 8)).c_str(), nullptr, 16)));
    }
    text.remove_prefix(end + 1);
  }
}

}  // namespace

TEST_CASE("objects of a crowd that comes and goes: in order, each once, a few at a time") {
  Crowd crowd;
  Random random(Seed{3});
  const std::uint32_t last_before = FsCache::object_number(crowd.files.back());
  Pager pager = crowd.fs.objects("KA");
  std::vector<std::uint32_t> shown;
  std::size_t pieces = 0, largest = 0;
  for (bool more = true; more; ++pieces) {
    std::string text;
    more = pager(text);
    const std::size_t before = shown.size();
    append_numbers(shown, text, pieces == 0);
    largest = std::max(largest, shown.size() - before);
    crowd.go_on(random);
  }
  CHECK(crowd.not_served == 0);
  CHECK(largest <= kMostInPiece);
  CHECK(pieces >= how_many() / kMostInPiece);
  CHECK(std::is_sorted(shown.begin(), shown.end(), std::less_equal<>()));  // none twice
  // Who was there before and is there still was shown.
  std::vector<bool> missing(last_before + 1, true);
  for (const std::uint32_t id : shown) {
    if (id <= last_before) missing[id] = false;
  }
  for (const std::uint32_t id : crowd.went) {
    if (id <= last_before) missing[id] = false;
  }
  CHECK(std::count(missing.begin() + 1, missing.end(), true) == 0);
}

TEST_CASE("a filter that takes none of a crowd looks at a few at a time, too") {
  Crowd crowd;
  for (const char* const filter : {"W", "R", "c"}) {
    Pager pager = crowd.fs.objects(filter);
    std::size_t pieces = 0, bytes = 0;
    for (bool more = true; more; ++pieces) {
      std::string text;
      more = pager(text);
      bytes += text.size();
    }
    CHECK(pieces >= how_many() / kMostInPiece);
    CHECK(bytes < 400);  // the header
  }
}

TEST_CASE("ops of a crowd: each operation once, whatever comes and goes") {
  Crowd crowd;
  std::vector<NotedOperation> held(300);
  for (std::size_t i = 0; i < held.size(); ++i) {
    REQUIRE(crowd.fs.submit(crowd.files[i * (how_many() / 300)], held[i]) == Submitted::kNow);
  }
  Pager pager = crowd.fs.operations();
  std::vector<std::uint32_t> shown;
  std::size_t pieces = 0;
  for (bool more = true; more; ++pieces) {
    std::string text;
    more = pager(text);
    append_numbers(shown, text, pieces == 0);
    NotedOperation passing;
    REQUIRE(crowd.fs.submit(crowd.files.back(), passing) == Submitted::kNow);
    crowd.fs.complete(passing);
  }
  CHECK(pieces >= how_many() / kMostInPiece);
  CHECK(shown.size() == held.size());
  for (NotedOperation& operation : held) {
    CHECK(std::count(shown.begin(), shown.end(), operation.id) == 1);
    crowd.fs.complete(operation);
  }
}
