#pragma once
// Files: of others, of the kernel about processes (/proc, see proc(5)), and of one process alone.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::base {

/// The text of a regular file whose place others choose, such as /etc/hosts of a container. Result:
/// empty for a file that cannot be read and for one of another kind, such as a FIFO, whose writer
/// may never come. Threads: any. Blocks: for the disk.
std::string text_of_regular_file(const std::string& path);

/// The range of addresses in one line of /proc/PID/maps.
struct MappedRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;  ///< the first address after the range
  bool is_shared = false;
  /// Device and inode, as text from that line. On some file systems stat(2) gives other numbers.
  std::string file;
};

/// Takes the first word off `line`, with the spaces before it. Result: empty if there is none.
/// Threads: any.
std::string_view take_word(std::string_view& line);

/// Result: empty if `line` has another format. Threads: any.
std::optional<MappedRange> read_maps_line(std::string_view line);

/// The numbers after `name` in `status`, the text of a /proc/PID/status. "Uid" has four: real,
/// effective, saved and file-system user ID. Result: empty if there is no such line. Threads: any.
std::vector<std::uint64_t> status_numbers(const std::string& status, std::string_view name);

/// A new folder for the sockets and files of one process, which only this user can enter, in
/// $TMPDIR or /tmp. A lock tells that its process, or a child that it has forked, still lives:
/// after a SIGKILL, the next process that makes such a folder removes the old one. Threads: one at
/// a time.
class TemporaryFolder {
 public:
  /// Makes PREFIX-XXXXXX, with at most 60 bytes before PREFIX, for paths of sockets have at most
  /// 107. Errors: an errno. Blocks: for the disk.
  static Result<TemporaryFolder> make(const std::string& prefix);

  TemporaryFolder(TemporaryFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();  ///< removes the folder, with all that is in it

  const std::string& path() const noexcept { return path_; }

 private:
  TemporaryFolder(std::string path, UniqueFd lock) noexcept
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  UniqueFd lock_;
};

}  // namespace shmif::base
