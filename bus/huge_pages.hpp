#pragma once
// Huge pages for the bus: a copy of a super-frame touches sixteen small pages on either side, and
// on a busy machine most of them have left the TLB since the last one (docs/performance.md).

#include <cstddef>
#include <cstdint>

namespace shmif::bus {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20U;

/// The first address from `at` on where the mapping of a file may begin for its huge pages to be
/// mapped as such.
inline std::byte* align_for_huge_pages(std::byte* at) noexcept {
  return at + (-reinterpret_cast<std::uintptr_t>(at) & (kHugePageBytes - 1));
}

/// Moves a file's blocks into huge pages, where the file has blocks enough, is on tmpfs and the
/// kernel is able to (Linux 6.1). Small pages do all the same, only slower, so nothing is reported.
/// Who maps the file already may go on using it meanwhile.
/// Blocks: about a millisecond for 4 MiB.
void gather_in_huge_pages(int fd, std::uint64_t bytes) noexcept;

}  // namespace shmif::bus
