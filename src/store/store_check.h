// SPDX-License-Identifier: Apache-2.0
// Check: are the invariants of store.h kept? For tests, debug builds and looking at a store in
// trouble.
#pragma once

#include <larder/store.h>

#include <string>
#include <vector>

namespace larder::store {

// One line per breach, with the invariant's number; empty: all is well. Where nothing waits for a
// commit, what lies on the device is loaded too and compared (invariant 5). REQUIRES: nothing else
// uses the store meanwhile. Blocks.
std::vector<std::string> check_store(Store& store);

}  // namespace larder::store
