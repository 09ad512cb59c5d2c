#pragma once
// Reads what the kernel says about processes under /proc: see proc(5).
//
// Threads: any. Blocks: never.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::base {

/// The range of addresses in one line of /proc/PID/maps.
struct MappedRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;  ///< the first address after the range
  bool is_shared = false;
  /// Device and inode, as text from that line. On some file systems stat(2) gives other numbers.
  std::string file;
};

/// Takes the first word off `line`, with the spaces before it. Result: empty if there is none.
std::string_view take_word(std::string_view& line);

/// Result: empty if `line` has another format.
std::optional<MappedRange> read_maps_line(std::string_view line);

/// The numbers after `name` in `status`, the text of a /proc/PID/status. "Uid" has four: real,
/// effective, saved and file-system user ID. Result: empty if there is no such line.
std::vector<std::uint64_t> status_numbers(const std::string& status, std::string_view name);

}  // namespace shmif::base
