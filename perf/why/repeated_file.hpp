#pragma once
// A file of the kernel that is read many times a second. KernelFiles opens a file for each read,
// which costs more than most of these reads.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::perf {

/// Stays open from the first read on, so a file of a process never becomes that of a later process
/// of the same number. Threads: one at a time.
class RepeatedFile {
 public:
  RepeatedFile() = default;
  explicit RepeatedFile(std::string path) : path_(std::move(path)) {}

  /// The whole text, from its begin. It stands in `buffer`, which grows as needed. Result: empty if
  /// it cannot be read; error() then says why. Blocks: as the kernel does for such a file.
  std::optional<std::string_view> read(std::vector<char>& buffer);
  /// Errno of the last read; 0: it succeeded.
  int error() const noexcept { return error_; }
  /// Why the last read gave nothing, in words.
  std::string why() const;
  const std::string& path() const noexcept { return path_; }
  /// The next read opens the file again.
  void close() noexcept { file_.reset(); }

 private:
  std::string path_;
  UniqueFd file_;
  int error_ = 0;
};

}  // namespace shmif::perf
