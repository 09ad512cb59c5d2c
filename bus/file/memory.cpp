#include "bus/file/memory.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>

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

Result<void> lock_in_memory(const std::byte* base, std::size_t bytes) {
  if (mlock(base, bytes) == 0) return {};
  const int number = errno;
  constexpr std::size_t kKib = 1024;
  const std::string enough = std::to_string((bytes + kKib - 1) / kKib);
  rlimit limit{};
  std::string allowed;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    allowed = "this process may lock " + std::to_string(limit.rlim_cur / kKib) + " KiB in all; ";
  }
  return Error::from_errno(
      number, "cannot lock " + std::to_string(bytes) + " bytes of the bus in memory",
      allowed + "raise the limit, as by 'ulimit -l " + enough + "', or use a smaller bus");
}

}  // namespace shmif::bus
