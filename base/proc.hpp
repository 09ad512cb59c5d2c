#pragma once
// What the kernel tells of processes under /proc: see proc(5).
//
// Threads: any. Blocks: never.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::base {

/// What one line of /proc/PID/maps is about.
struct MappedRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;  ///< the first address behind it
  bool is_shared = false;
  /// Device and inode, as they stand there: on some file systems stat(2) has other numbers.
  std::string file;
};

/// Nothing: it is no such line.
std::optional<MappedRange> read_maps_line(const std::string& line);

/// The numbers behind `name` in `status`, the text of a /proc/PID/status: of "Uid" the real, the
/// effective, the saved and the one of the file system. None: there is no such line.
std::vector<std::uint64_t> status_numbers(const std::string& status, std::string_view name);

}  // namespace shmif::base
