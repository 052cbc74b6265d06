// SPDX-License-Identifier: Apache-2.0
// What the table of options needs beyond <larder/options.h> to read and print values. See the .cc.
// Thread: any.
#pragma once

#include <larder/options.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace larder {

// Digits of `base` and nothing else: no sign, no blank, no prefix.
std::optional<std::uint64_t> parse_number(std::string_view text, int base);
// Decimal, from `least` to `most`.
std::optional<std::uint64_t> parse_number_within(std::string_view text, std::uint64_t least,
                                                 std::uint64_t most);
// As parse_duration(); a number without a unit counts `bare`.
std::optional<Nanoseconds> parse_duration_in(std::string_view text, Nanoseconds bare);

// "a:b:c", none of them empty; "none" is no pattern.
std::optional<std::vector<std::string>> parse_patterns(std::string_view text);
std::string patterns_text(const std::vector<std::string>& patterns);

// The name of a cache: 1 to 32 letters, digits, dots, dashes and underscores.
bool is_tag(std::string_view text);

}  // namespace larder
