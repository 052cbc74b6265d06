// SPDX-License-Identifier: Apache-2.0
#include <larder/units.h>

#include "support/catch.h"

using namespace larder;

namespace {
template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};
}  // namespace

TEST_CASE("only sums that mean something compile") {
  STATIC_REQUIRE(Addable<ByteOffset, ByteCount>);
  STATIC_REQUIRE(Addable<PageCount, PageCount>);
  STATIC_REQUIRE_FALSE(Addable<ByteOffset, ByteOffset>);
  STATIC_REQUIRE_FALSE(Addable<ByteOffset, PageCount>);
  STATIC_REQUIRE_FALSE(Addable<PageIndex, BlockCount>);
}

TEST_CASE("the pages that bytes touch") {
  CHECK(pages_touching(ByteOffset{0}, ByteCount{0}).empty());
  CHECK(pages_touching(ByteOffset{4095}, ByteCount{1}) == PageRange{PageIndex{0}, PageCount{1}});
  CHECK(pages_touching(ByteOffset{4095}, ByteCount{2}) == PageRange{PageIndex{0}, PageCount{2}});
  CHECK(pages_touching(ByteOffset{8192}, ByteCount{4096}) == PageRange{PageIndex{2}, PageCount{1}});
}

TEST_CASE("runs intersect") {
  const PageRange a{PageIndex{2}, PageCount{4}};
  CHECK(intersect(a, {PageIndex{4}, PageCount{9}}) == PageRange{PageIndex{4}, PageCount{2}});
  CHECK(intersect(a, {PageIndex{6}, PageCount{1}}).empty());
}
