#pragma once
// A doorbell that every watcher of the bus's file hears: a write of four bytes.

#include <cstdint>

#include "bus/file/file_id.hpp"

namespace shmif::bus {

/// Writes `value` at `offset` of the file behind `fd`, so that those who watch the file with
/// inotify wake up. Does nothing if `fd` is no longer `file` (as same_file() says), or if somebody
/// has truncated the file, because the write would make it grow. It still grows if it is truncated
/// between the check and the write. Threads: safe. Blocks: never.
void set_off_watches(int fd, const FileId& file, std::uint64_t offset,
                     std::uint32_t value) noexcept;

}  // namespace shmif::bus
