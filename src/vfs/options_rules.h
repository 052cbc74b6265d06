// SPDX-License-Identifier: Apache-2.0
// Options with rules of their own: set_X() says false to what it does not take and leaves `options`
// as they were; get_X() prints what set_X() takes.
#pragma once

#include <larder/options.h>

#include <string>
#include <string_view>

namespace larder::option {

bool set_store(MountOptions& options, std::string_view value);
std::string get_store(const MountOptions& options);
bool set_tag(MountOptions& options, std::string_view value);
bool set_select_cache(MountOptions& options, std::string_view value);
bool set_cache(MountOptions& options, std::string_view value);
std::string get_caches(const MountOptions& options);
bool set_coherency(MountOptions& options, std::string_view value);
std::string get_coherency(const MountOptions& options);
bool set_umask(MountOptions& options, std::string_view value);
bool set_factor(MountOptions& options, std::string_view value);
bool set_threads(MountOptions& options, std::string_view value);
bool set_share_id(MountOptions& options, std::string_view value);
bool set_commit(MountOptions& options, std::string_view value);
bool set_control(MountOptions& options, std::string_view value);
bool set_debug(MountOptions& options, std::string_view value);

}  // namespace larder::option
