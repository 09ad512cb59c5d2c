#include "bus/file/memory_lock.hpp"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>

namespace shmif::bus {

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
