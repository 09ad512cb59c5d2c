#pragma once
// FileId: which file a descriptor leads to. Two tmpfs can have files with the same inode number, so
// the id contains the device, too.

#include <sys/stat.h>

#include <cstdint>

namespace shmif::bus {

struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;  ///< 0: no file is known

  static FileId of(const struct stat& status) noexcept {
    return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)};
  }
  /// The id of an open file; its inode is 0 if `fd` is not open.
  static FileId of(int fd) noexcept {
    struct stat status{};
    return fd >= 0 && fstat(fd, &status) == 0 ? of(status) : FileId{};
  }
  explicit operator bool() const noexcept { return inode != 0; }
  bool operator==(const FileId&) const = default;
};

/// A doorbell that every watcher of the bus's file hears: writes `value` at `offset` of the file
/// behind `fd`, so that those who watch the file with inotify wake up. Does nothing if `fd` is no
/// longer `file` (as same_file() says), or if somebody has truncated the file, because the write
/// would make it grow. It still grows if it is truncated between the check and the write. Threads:
/// safe. Blocks: never.
void set_off_watches(int fd, const FileId& file, std::uint64_t offset,
                     std::uint32_t value) noexcept;

}  // namespace shmif::bus
