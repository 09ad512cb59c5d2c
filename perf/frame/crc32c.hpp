#pragma once
// CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of every probe.

#include <cstddef>
#include <cstdint>
#include <span>

namespace shmif::perf {

/// The CRC of `bytes`. With the CRC of preceding bytes in `before`, the CRC of both together. Uses
/// the CPU's instruction if there is one (SSE 4.2, three lanes in parallel; ARMv8 CRC). Threads:
/// any. Blocks: never.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

/// The same without special instructions, eight bytes at a time with tables. For CPUs without the
/// instruction, and for tests.
std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

/// What crc32c() uses here: "SSE 4.2", "ARMv8 CRC" or "tables".
const char* crc32c_means() noexcept;

}  // namespace shmif::perf
