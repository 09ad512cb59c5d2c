#pragma once
// CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of every probe.

#include <cstddef>
#include <cstdint>
#include <span>

/// Stands before a function that computes the CRC by instructions of the CPU (crc32c_cpu.hpp).
#if defined(__x86_64__)
#define SHMIF_CRC32C_BY_CPU [[gnu::target("sse4.2,pclmul")]]
#else
#define SHMIF_CRC32C_BY_CPU
#endif

namespace shmif::perf {

/// The CRC of `bytes`, at most 2 GiB of them. With the CRC of preceding bytes in `before`, the CRC
/// of both together. Uses the CPU's instruction if there is one. Threads: any. Blocks: never.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

/// Joins the CRCs of two byte strings. If one string follows many others, its CRC is computed only
/// once. Threads: any. Blocks: never.
class Crc32cJoin {
 public:
  Crc32cJoin() = default;
  /// For second strings of `bytes`. Takes a microsecond.
  explicit Crc32cJoin(std::size_t bytes) noexcept;
  /// The CRC of both strings, one after the other. `first`, `second`: that of each.
  std::uint32_t operator()(std::uint32_t first, std::uint32_t second) const noexcept;
  /// x^(8 * bytes - 33) modulo the polynomial, its highest power in the least significant bit.
  std::uint32_t factor() const noexcept { return factor_; }

 private:
  std::uint32_t factor_ = 0;
};

}  // namespace shmif::perf
