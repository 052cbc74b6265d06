// SPDX-License-Identifier: Apache-2.0
// Invariants: the numbered ones of store.h, as functions of what is in memory. They add a line for
// each breach. For the checks of store_check.h.
//
// A debug build calls all of them when a store is closed, and stops where one is broken.
//
// Thread: the index's lock, or an index that nobody else has.
#pragma once

#include <string>
#include <vector>

#include "store/allocator.h"
#include "store/index.h"
#include "store/layout.h"

namespace larder::store {

using Lines = std::vector<std::string>;

// 1, and 3 in so far as nothing that waits is free. What a fill in flight has is what is left over.
enum class Fills : std::uint8_t { kNone, kInFlight };
void check_blocks(const Allocator& allocator, Index& index, const Layout& layout, Fills fills,
                  Lines& lines);
// 4, and that what is counted agrees with what is there.
void check_index(Index& index, Lines& lines);

#ifdef LARDER_CHECKED
inline constexpr bool kChecked = true;
#else
inline constexpr bool kChecked = false;
#endif

}  // namespace larder::store
