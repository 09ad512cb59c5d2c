#pragma once
// CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of every probe.

#include <cstddef>
#include <cstdint>
#include <span>

namespace shmif::perf {

/// The CRC of `bytes`, at most 2 GiB of them. With the CRC of preceding bytes in `before`, the CRC
/// of both together. Uses the CPU's instruction if there is one. Threads: any. Blocks: never.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

}  // namespace shmif::perf
