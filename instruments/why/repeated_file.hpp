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

/// The file stays open from the first read on. So a file of a process never becomes the file of a
/// later process with the same number. Threads: one at a time.
class RepeatedFile {
 public:
  RepeatedFile() = default;
  explicit RepeatedFile(std::string path) : path_(std::move(path)) {}

  /// Reads the whole text into `buffer`, which grows as needed. Result: the text in `buffer`; empty
  /// if it cannot be read, and error() then says why. Blocks: while the kernel reads the file.
  std::optional<std::string_view> read(std::vector<char>& buffer);
  /// The errno of the last read; 0 if it succeeded.
  int error() const noexcept { return error_; }
  /// Why the last read failed, in words.
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
