// SPDX-License-Identifier: Apache-2.0
// Place: may a store lie there? For device.cc.
#pragma once

#include <larder/result.h>

#include <string>
#include <vector>

namespace larder::store {

// A path of which all but the last part is real, without links; errors: kStorePlace.
SetUp<std::string> real_place(const std::string& path);
// Whether the real path `inner` is `outer` or below it.
bool lies_in(const std::string& inner, const std::string& outer);
// Refuses places inside the forbidden directories.
SetUp<bool> check_forbidden(const std::string& real_path,
                            const std::vector<std::string>& forbidden);
// The name of a file system on which a store may not lie, from statfs f_type; "" where it may.
std::string refused_file_system(long type);
// " by process N" where some process of this machine can be seen to have the file open; else "".
std::string holder_of(int fd);

}  // namespace larder::store
