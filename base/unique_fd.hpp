#pragma once
// UniqueFd: a file descriptor that is closed when its owner goes.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace shmif {

namespace base {

/// A descriptor with the number of a standard stream gets a higher number instead
/// (base/standard_streams.hpp says why); any other one, and -1, stay as they are. Result: -1, and
/// errno, if there is no free number.
inline int above_standard_streams(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = errno;
  ::close(fd);
  errno = error;
  return moved;
}

}  // namespace base

/// Owns one descriptor, or is empty (-1). It never has the number of a standard stream: get() may
/// differ from the number that was given. Threads: as safe as an int. Blocks: never.
class UniqueFd {
 public:
  UniqueFd() = default;  ///< empty
  /// Takes over `fd`; -1 makes it empty.
  explicit UniqueFd(int fd) noexcept : fd_(base::above_standard_streams(fd)) {}
  /// `other` is empty afterwards.
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  /// Closes the descriptor that it owned. `other` is empty afterwards.
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  /// Closes the descriptor.
  ~UniqueFd() { reset(); }

  /// The descriptor, which stays owned; -1 if empty.
  int get() const noexcept { return fd_; }
  /// Whether it owns a descriptor.
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor to the caller, who then closes it.
  int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes the descriptor that it owned, and takes over `fd`; -1: it is empty then.
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = base::above_standard_streams(fd);
  }

 private:
  int fd_ = -1;
};

}  // namespace shmif
