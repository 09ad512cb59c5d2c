#pragma once
// How the kernel keeps the pages of a bus: huge, and in memory.
//
// Huge pages: a copy of a super-frame touches sixteen small pages on either side. On a
// busy machine, most of them have left the TLB since the last copy (docs/decisions.md).

#include <cstddef>
#include <cstdint>

#include "base/result.hpp"

namespace shmif::bus {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20U;

/// The first address from `at` on at which the mapping of a file may begin, so that its huge pages
/// are mapped as such.
inline std::byte* align_for_huge_pages(std::byte* at) noexcept {
  return at + (-reinterpret_cast<std::uintptr_t>(at) & (kHugePageBytes - 1));
}

/// Moves a file's blocks into huge pages if the file is large enough and on tmpfs, and the kernel
/// is able to (Linux 6.1). Otherwise the bus works too, only slower, so nothing is reported.
/// Processes that have mapped the file may go on using it meanwhile. Blocks: about a millisecond
/// for 4 MiB.
void gather_in_huge_pages(int fd, std::uint64_t bytes) noexcept;

/// mlock() of `bytes` at `base`, the mapping of a bus. Errors: those of mlock(); the message says
/// how much the process may lock, and what to do. Threads: any. Blocks: while pages are read in.
Result<void> lock_in_memory(const std::byte* base, std::size_t bytes);

}  // namespace shmif::bus
