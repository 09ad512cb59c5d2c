#include "bus/file/file_id.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/signals.hpp"

namespace shmif::bus {

void set_off_watches(int fd, const FileId& file, std::uint64_t offset,
                     std::uint32_t value) noexcept {
  const std::uint64_t end = offset + sizeof value;
  struct stat status{};
  if (fd < 0 || fstat(fd, &status) != 0 || FileId::of(status) != file) return;
  if (static_cast<std::uint64_t>(status.st_size) < end) return;
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= end) {
    static_cast<void>(pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)) == sizeof value);
    return;
  }
  // In a sandbox that may not write files, pwrite would end the process. Setting the file's present
  // size also triggers the watches, and the file does not grow.
  const base::SignalGuard guard(SIGXFSZ);
  static_cast<void>(ftruncate(fd, status.st_size) == 0);
}

}  // namespace shmif::bus
