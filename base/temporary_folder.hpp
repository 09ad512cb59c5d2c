#pragma once
// TemporaryFolder: a folder for the sockets and files of one process.

#include <string>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::base {

/// A new folder that only this user can enter, in $TMPDIR or /tmp. A lock tells that its process,
/// or a child that it has forked, still lives: after a SIGKILL, the next process that makes such a
/// folder removes the old one. Threads: one at a time.
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
