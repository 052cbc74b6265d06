// SPDX-License-Identifier: Apache-2.0
// The page of `larderctl status`: how the mount does, for a human, on one screen.
// Thread: any; pure functions of what was read.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "ctl/figures.h"

namespace larder::ctl {

// `options`: the control file of that name, "name=value" lines.
std::string status_page(const Figures& figures, const std::string& options,
                        const std::string& mountpoint);

// "name=value" lines as an object.
nlohmann::json options_object(const std::string& options);

// "0 B", "4.0 KiB", "1.2 GiB"
std::string bytes_text(std::uint64_t bytes);

}  // namespace larder::ctl
