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
/// under way from it.
///
/// Faults hit frames as a wire would carry them: checksums are finished, and super-frames cut into
/// segments, before a fault sees them, in both directions. So send() takes such frames whether or
/// not the wrapped link does, and neither that link nor the caller of receive() gets any.
/// Threads: one at a time, also for send() and receive(). Blocks: as the wrapped link does.
class FaultLink {
 public:
  /// Errors: an errno, if no descriptor is available.
  static Result<FaultLink> wrap(AnyLink link, const FaultOptions& received,
                                const FaultOptions& sent);
  FaultLink(FaultLink&&) noexcept;  ///< the other may then only be assigned to or destroyed
  FaultLink& operator=(FaultLink&&) noexcept;  ///< loses the frames that are still under way
  ~FaultLink();                                ///< frames still under way are lost

  /// Errors: frame_too_short, frame_too_long, bad_argument for offload fields that make no sense;
  /// and the wrapped link's error, if that link can never take a frame again.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;  ///< those that are due; then the link's error
  int descriptor() noexcept;                         ///< readable also when a frame is due
  WaitHint prepare_wait() noexcept;                  ///< also passes due frames on
  void finish_wait() noexcept;                       ///< as Link
  /// Always: it finishes checksums and splits super-frames itself.
  bool takes_offloads() const noexcept { return true; }
  /// patience(), bus_frames(), max_frame_bytes() and address() return the values of the wrapped
  /// link.
  std::chrono::nanoseconds patience() noexcept;
  std::uint64_t bus_frames() noexcept;     ///< of the wrapped link
  std::size_t max_frame_bytes() noexcept;  ///< of the wrapped link
  std::string address();                   ///< of the wrapped link

  /// Replaces the faults of both directions, for frames that come in from now on. Frames under way
  /// keep their due time; the counters continue. Threads: as the other calls. A tap::Bridge
  /// (tap/bridge.hpp) is a loop that copies frames between links. While one uses this link, call
  /// set_faults() only from a function that the loop calls: one given to Bridge::watch(), or an
  /// Interceptor given to Bridge::add(). Blocks: never.
  void set_faults(const FaultOptions& received, const FaultOptions& sent);
  /// Makes the frames that wait due at once, in their order, for each way whose parameter is true.
  /// Threads and Blocks: as set_faults().
  void hurry(bool received, bool sent) noexcept;
  /// Frames that wait are lost. Result: how many, in both directions. Threads and Blocks: as
  /// set_faults().
  std::size_t discard() noexcept;
  /// Counters of the faults on frames received from the wrapped link, and on frames sent to it.
  const FaultCounters& received() const noexcept;
  const FaultCounters& sent() const noexcept;  ///< the same for frames sent to it
  /// Frames that were due, but that the wrapped link's send() refused with an error (for example a
  /// port that is down). They are lost.
  std::uint64_t refused() const noexcept;
  /// How many more frames send() made of super-frames than it took, so that
  /// sent().frames is the sum of this and of the frames that were taken.
  std::uint64_t segments_made() const noexcept;
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
