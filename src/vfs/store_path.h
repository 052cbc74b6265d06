// SPDX-License-Identifier: Apache-2.0
// Where a share's store lies when nobody said so, and the key of the share's cookie.
#pragma once

#include <larder/netfs.h>
#include <larder/result.h>

#include <string>

namespace larder {

// Below /var/cache/larder for root, else below $XDG_CACHE_HOME/larder or ~/.cache/larder; one file
// a share, named by its path. Makes the directory (0700). Errors: kStorePlace.
SetUp<std::string> default_store_path(const std::string& share);

// The share's identity as a cookie key, which holds 255 bytes: a longer one is cut and told apart
// by a sum.
std::string share_key(const ShareIdentity& identity);

}  // namespace larder
