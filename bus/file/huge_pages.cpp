#include "bus/file/huge_pages.hpp"

#include <sys/mman.h>

#include <cerrno>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace shmif::bus {

void gather_in_huge_pages(int fd, std::uint64_t bytes) noexcept {
  if (bytes < kHugePageBytes) return;
  const std::size_t reserved_bytes = bytes + kHugePageBytes;
  void* const reserved =
      mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return;
  std::byte* const view = align_for_huge_pages(static_cast<std::byte*>(reserved));
  if (mmap(view, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED) {
    // Unlike khugepaged, this ignores the mount option huge= and the settings in /sys.
    for (std::uint64_t at = 0; at + kHugePageBytes <= bytes; at += kHugePageBytes) {
      // If nobody has touched the pages, Debian's 6.1 answers EINVAL the first time.
      if (madvise(view + at, kHugePageBytes, MADV_COLLAPSE) != 0 && errno == EINVAL) {
        static_cast<void>(madvise(view + at, kHugePageBytes, MADV_COLLAPSE));
      }
    }
  }
  munmap(reserved, reserved_bytes);
}

}  // namespace shmif::bus
