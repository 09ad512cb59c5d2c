#pragma once
// Receiver: a thread that hands a port's frames to a callback.

#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <system_error>

#include "shmif/port.hpp"

namespace shmif {

/// Runs a callback for every batch that arrives at a port.
/// Threads: stop() from any thread, also from inside the callback (then it does not join; the
/// destructor or a later stop() does). No callback runs after a stop() from another thread has
/// returned.
class Receiver {
 public:
  using Callback = std::function<void(std::span<const FrameView>)>;

  /// Starts the thread. `port` must outlive the receiver, and must be neither moved nor detached
  /// before stop(). It may go down and up meanwhile.
  Receiver(Port& port, Callback callback);
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  ~Receiver();  ///< stop()

  void stop() noexcept;
  std::stop_token stop_token() const noexcept;
  bool running() const noexcept;
  /// Why the thread ended by itself: the port's error, or Errc::link_ended after a callback that
  /// threw (its text is logged). Empty while it runs, or after stop().
  std::error_code error() const noexcept;
  /// Waits that failed and were tried again after a pause.
  std::uint64_t failed_waits() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
