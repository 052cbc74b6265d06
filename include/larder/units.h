// SPDX-License-Identifier: Apache-2.0
// Units: an offset, a count of bytes, a page number and a block number are different types.
//
// Mixing an index with an offset or a size is the classic bug of a store, so each has a type of its
// own. A value enters by its explicit constructor and leaves by `.value()`. Only sums that mean
// something compile: offset + count is an offset, offset - offset is a count, and so for pages.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

namespace larder {

template <class Tag, class Rep = std::uint64_t>
class Strong {
 public:
  using rep = Rep;
  constexpr Strong() = default;
  explicit constexpr Strong(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  friend constexpr auto operator<=>(Strong, Strong) = default;

 private:
  Rep value_ = 0;
};

// A position or number (Point) and the distance between two of them (Count).
template <class Point, class Count>
struct IsAffine : std::false_type {};

template <class P, class C>
requires IsAffine<P, C>::value constexpr P operator+(P point, C count) {
  return P{point.value() + count.value()};
}
template <class P, class C>
requires IsAffine<P, C>::value constexpr P& operator+=(P& point, C count) {
  return point = point + count;
}

template <class C>
concept AdditiveCount = requires {
  typename C::rep;
}
&&std::is_same_v<typename C::rep, std::uint64_t>&& requires { C::kIsCount; };

struct ByteOffset : Strong<ByteOffset> {
  using Strong::Strong;
};
struct ByteCount : Strong<ByteCount> {
  using Strong::Strong;
  static constexpr bool kIsCount = true;
};
// A page is 4 KiB of a file; the unit in which content is cached, summed and dropped.
struct PageIndex : Strong<PageIndex> {
  using Strong::Strong;
};
struct PageCount : Strong<PageCount> {
  using Strong::Strong;
  static constexpr bool kIsCount = true;
};
// A block is 4 KiB of the store.
struct BlockIndex : Strong<BlockIndex> {
  using Strong::Strong;
};
struct BlockCount : Strong<BlockCount> {
  using Strong::Strong;
  static constexpr bool kIsCount = true;
};

template <>
struct IsAffine<ByteOffset, ByteCount> : std::true_type {};
template <>
struct IsAffine<PageIndex, PageCount> : std::true_type {};
template <>
struct IsAffine<BlockIndex, BlockCount> : std::true_type {};

// point - point = count; REQUIRES: a >= b.
constexpr ByteCount operator-(ByteOffset a, ByteOffset b) {
  return ByteCount{a.value() - b.value()};
}
constexpr PageCount operator-(PageIndex a, PageIndex b) { return PageCount{a.value() - b.value()}; }
constexpr BlockCount operator-(BlockIndex a, BlockIndex b) {
  return BlockCount{a.value() - b.value()};
}

template <AdditiveCount C>
constexpr C operator+(C a, C b) {
  return C{a.value() + b.value()};
}
template <AdditiveCount C>
constexpr C operator-(C a, C b) {
  return C{a.value() - b.value()};
}
template <AdditiveCount C>
constexpr C& operator+=(C& a, C b) {
  return a = a + b;
}
template <AdditiveCount C>
constexpr C& operator-=(C& a, C b) {
  return a = a - b;
}

inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::size_t kBlockSize = 4096;

constexpr PageIndex page_of(ByteOffset offset) { return PageIndex{offset.value() / kPageSize}; }
constexpr PageCount pages_for(ByteCount bytes) {
  return PageCount{(bytes.value() + kPageSize - 1) / kPageSize};
}
constexpr ByteOffset to_bytes(PageIndex page) { return ByteOffset{page.value() * kPageSize}; }
constexpr ByteCount to_bytes(PageCount pages) { return ByteCount{pages.value() * kPageSize}; }
constexpr ByteOffset to_bytes(BlockIndex block) { return ByteOffset{block.value() * kBlockSize}; }
constexpr ByteCount to_bytes(BlockCount blocks) { return ByteCount{blocks.value() * kBlockSize}; }

// A run of pages of one file: [first, first + count).
struct PageRange {
  PageIndex first;
  PageCount count;

  constexpr PageIndex end() const { return first + count; }
  constexpr bool empty() const { return count.value() == 0; }
  constexpr bool contains(PageIndex page) const { return first <= page && page < end(); }
  friend constexpr bool operator==(const PageRange&, const PageRange&) = default;
};

// The pages that the bytes [offset, offset + count) touch.
constexpr PageRange pages_touching(ByteOffset offset, ByteCount count) {
  if (count.value() == 0) return {page_of(offset), PageCount{0}};
  const PageIndex first = page_of(offset);
  const PageIndex last = page_of(ByteOffset{offset.value() + count.value() - 1});
  return {first, PageCount{last.value() - first.value() + 1}};
}

// The pages that two runs share; empty where they share none.
constexpr PageRange intersect(PageRange a, PageRange b) {
  const PageIndex first = a.first > b.first ? a.first : b.first;
  const PageIndex end = a.end() < b.end() ? a.end() : b.end();
  return first < end ? PageRange{first, end - first} : PageRange{first, PageCount{0}};
}

// Nanoseconds on the clock that the name of the variable says: mono_ns, wall_ns.
using Nanoseconds = std::int64_t;
inline constexpr Nanoseconds kMillisecond = 1'000'000;
inline constexpr Nanoseconds kSecond = 1'000'000'000;

static_assert(sizeof(PageRange) == 16 && std::is_trivially_copyable_v<PageRange>);

}  // namespace larder

template <class T>
requires std::is_base_of_v<larder::Strong<T, typename T::rep>, T>
struct std::hash<T> {
  std::size_t operator()(T t) const noexcept { return std::hash<typename T::rep>{}(t.value()); }
};
