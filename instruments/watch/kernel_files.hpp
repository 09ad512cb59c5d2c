#pragma once
// The files in which the kernel describes itself and the machine (/proc, /sys). They lie below a
// root directory: "/" for this machine, or a recorded tree for tests and for other machines.
//
// Threads: any. Blocks: while the kernel reads or writes the file.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::perf {

class FileHelper;

/// What helps if a call failed because file descriptors ran out; empty for every other errno.
const char* descriptor_remedy(int number) noexcept;

/// The files in which the kernel describes itself (/proc, /sys), below one root directory. Threads:
/// any. Blocks: while the kernel reads or writes the file.
class KernelFiles {
 public:
  /// `root`: the directory that stands for "/". It need not exist: then no file does.
  explicit KernelFiles(std::string root = "/");

  /// The same files, but a child process reads, writes and opens them, because what another process
  /// made or named can keep the caller waiting forever (FileHelper in kernel_files.cpp).
  /// `stops`: whether to give up such a wait, at once; otherwise it ends after five seconds. Copies
  /// share the child.
  KernelFiles by_helper(std::function<bool()> stops) const;

  /// Where `name` is: "/proc/stat" is "/tmp/tree/proc/stat" for the root "/tmp/tree".
  std::string path(std::string_view name) const;
  /// Whether there is such a file or directory. False also if it cannot be looked at.
  bool has(std::string_view name) const;

  /// Reads the whole text of a file of at most 16 MiB. Errors: the errno of the call that failed;
  /// Errc::bad_argument for a larger file; Errc::timed_out with by_helper().
  Result<std::string> read(std::string_view name) const;
  /// Reads a file that contains only a number in decimal digits. Errors: those of read();
  /// Errc::bad_argument for other text and for an empty file.
  Result<std::uint64_t> read_number(std::string_view name) const;
  /// The same for a number that may be below 0.
  Result<std::int64_t> read_signed(std::string_view name) const;
  /// Writes `text` in one call, as such files need it. Errors: the errno, also if the kernel took
  /// only a part.
  Result<void> write(std::string_view name, std::string_view text) const;
  /// Opens a directory by O_PATH, only to find files in it. Errors: the errno; with by_helper(),
  /// also Errc::unsupported_file_system for a directory of FUSE.
  Result<UniqueFd> open_folder(std::string_view name) const;
  /// The names in a directory, sorted, without "." and "..".
  Result<std::vector<std::string>> list(std::string_view name) const;

 private:
  std::string root_;  ///< without a slash at its end
  std::shared_ptr<FileHelper> helper_;
};

}  // namespace shmif::perf
