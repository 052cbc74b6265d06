// SPDX-License-Identifier: Apache-2.0
// Examine: the checks of store_check.h on what was loaded from a device, real or simulated.
// Thread: one; all of it blocks.
#pragma once

#include <larder/fd.h>
#include <larder/store_check.h>

#include "store/load.h"

namespace larder::store {

// A device that is read only, and that no mount has meanwhile.
struct OpenedStore {
  Fd fd;
  ByteCount size;
  std::unique_ptr<IoEngine> engine;
};
SetUp<OpenedStore> open_to_look(const std::string& path);
tl::unexpected<Complaint> no_store(const std::string& path, const Found& found);

// REQUIRES: found.loaded.
Examined examine_loaded(IoEngine& engine, int fd, Found& found, Depth depth,
                        const Progress& progress);

}  // namespace larder::store
