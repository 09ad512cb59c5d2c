#pragma once
// Wakeups on a NetBSD bus: a sender writes four bytes of the header by pwrite, and readers watch
// the file with inotify. Readers do not announce that they sleep, so senders always write, and all
// readers wake up, and so does the sender itself.
//
// No wakeup is lost: the kernel queues the event of a write, so a reader that empties the queue
// first and looks at the ring afterwards finds the frame, or its event later. One case remains: a
// sender that is killed between the frame and the write. For that the reader looks now and then.

#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/file_id.hpp"

namespace shmif::bus {

/// Threads: ring and wake from any, the others one at a time.
class NetbsdBell {
 public:
  NetbsdBell() = default;
  /// Watches the file behind `fd`, which is at `path` if /proc is not mounted. Without inotify,
  /// error() says why, and the bell has no descriptor. Errors: an errno, if this process cannot
  /// even wake itself.
  static Result<NetbsdBell> open(int fd, const std::string& path);

  /// Wakes all processes that watch the file behind `fd`.
  void ring(std::uint32_t version) const noexcept;
  /// Wakes this reader alone. Also for signal handlers.
  void wake() const noexcept;
  /// Also makes the descriptor readable `after` that time.
  void wake_later(std::chrono::nanoseconds after) const noexcept;
  /// Makes the descriptor quiet. Look at the ring afterwards.
  void drain() const noexcept;
  /// Sleeps until it rings, at most `timeout`.
  void sleep(std::chrono::nanoseconds timeout) const noexcept;

  /// Readable after a ring, until drain(). -1: see error().
  int descriptor() const noexcept { return error_ ? -1 : all_.get(); }
  std::error_code error() const noexcept { return error_; }

 private:
  int fd_ = -1;
  FileId file_;
  UniqueFd watch_, own_, timer_;
  UniqueFd all_;  ///< readable when one of these is
  std::error_code error_;
};

}  // namespace shmif::bus
