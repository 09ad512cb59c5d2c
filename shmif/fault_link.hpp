#pragma once
// FaultLink: wraps another link and adds faults (shmif/faults.hpp).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "shmif/faults.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// Wraps any link. It applies one set of faults to the frames that it receives from the wrapped
/// link, and another set to the frames that it sends to that link.
///
/// A FaultLink has no thread of its own. It passes due frames on to the wrapped link only during
/// calls of send(), receive() and prepare_wait(). Its descriptor becomes readable when a frame is
/// due, and when the wrapped link has frames. So frames go out on time if the loop waits as Link
/// describes. After the wrapped link has ended, receive() first returns the frames that are still
/// under way from it. send() refuses unfinished checksums and super-frames (FrameView::offload).
/// Threads: one at a time, also for send() and receive(). Blocks: as the wrapped link does.
class FaultLink {
 public:
  /// Errors: an errno, if no descriptor is available.
  static Result<FaultLink> wrap(AnyLink link, const FaultOptions& received,
                                const FaultOptions& sent);
  FaultLink(FaultLink&&) noexcept;
  FaultLink& operator=(FaultLink&&) noexcept;
  ~FaultLink();  ///< frames still under way are lost

  /// Errors: frame_too_short, frame_too_long, not_supported for an unfinished checksum or a
  /// super-frame; and the wrapped link's error, if that link can never take a frame again.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  /// patience(), max_frame_bytes() and address() return the values of the wrapped link.
  std::chrono::nanoseconds patience() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();

  /// Replaces the faults of both directions, for frames that come in from now on. Frames under way
  /// keep their due time; the counters continue. Threads: as the other calls. A tap::Bridge
  /// (tap/bridge.hpp) is a loop that copies frames between links. While one uses this link, call
  /// set_faults() only from a function that the loop calls: one given to Bridge::watch(), or an
  /// Interceptor given to Bridge::add(). Blocks: never.
  void set_faults(const FaultOptions& received, const FaultOptions& sent);
  /// Counters of the faults on frames received from the wrapped link, and on frames sent to it.
  const FaultCounters& received() const noexcept;
  const FaultCounters& sent() const noexcept;
  /// Frames that were due, but that the wrapped link's send() refused with an error (for example a
  /// port that is down). They are lost.
  std::uint64_t refused() const noexcept;
  /// Frames that have come in but not yet gone out, in both directions.
  std::size_t under_way() const noexcept;
  /// How many of them receive() will return.
  std::size_t to_receive() const noexcept;

 private:
  struct Impl;
  explicit FaultLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<FaultLink>);

}  // namespace shmif
