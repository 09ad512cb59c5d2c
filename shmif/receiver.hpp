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
/// Threads: stop() from any thread, also from inside the callback. (There it does not join; the
/// destructor or a later stop() does.) After a stop() from another thread has returned, no callback
/// runs.
class Receiver {
 public:
  /// The frames are valid until the callback returns.
  using Callback = std::function<void(std::span<const FrameView>)>;

  /// Starts the thread. `port` must outlive the receiver, and must not be moved or detached before
  /// stop(). It may go down and up meanwhile.
  Receiver(Port& port, Callback callback);
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  ~Receiver();  ///< stop()

  /// Ends the thread. Blocks: until a callback that runs has returned, except inside the callback.
  void stop() noexcept;
  /// Tells a callback that takes long that stop() was called.
  std::stop_token stop_token() const noexcept;
  /// Whether the thread still receives. False once it has ended, by itself or by stop(). Threads:
  /// any.
  bool running() const noexcept;
  /// Why the thread ended by itself: the port's error, or Errc::link_ended if a callback threw
  /// (then the exception's text is logged). Empty while the thread runs, or after stop().
  std::error_code error() const noexcept;
  /// How often the port's receive() failed. While the bus is corrupt, the thread pauses and tries
  /// again, because somebody may repair the bus. It ends after 100 failures in a row, and after any
  /// other error.
  std::uint64_t failed_receives() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
