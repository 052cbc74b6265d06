// SPDX-License-Identifier: Apache-2.0
// CRC32C (Castagnoli), by ISA-L. 0.13 us per 4 KiB page where the processor has PCLMUL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace larder {

// `seed` continues a sum or starts one apart from others. Source: RFC 3720, appendix B.4, without
// the final inversion when chained.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0);

}  // namespace larder
