#pragma once
// FaultLink: another link, with faults on the way (shmif/faults.hpp).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "bus/result.hpp"
#include "shmif/faults.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// Wraps any link. What comes from it passes one set of faults, what is sent to it another.
///
/// Frames that are under way to the link go out while this one is used: in send, receive or
/// prepare_wait. So a loop that waits as Link says keeps their time; its descriptor becomes
/// readable when one is due. When the link has ended, what is still under way from it is received
/// first. Takes no frames that leave work to others (FrameView::offload). Threads: one at a time.
/// Blocks: as the link does.
class FaultLink {
 public:
  /// Errors: the system's, when no descriptor can be had.
  static Result<FaultLink> wrap(AnyLink link, const FaultOptions& received,
                                const FaultOptions& sent);
  FaultLink(FaultLink&&) noexcept;
  FaultLink& operator=(FaultLink&&) noexcept;
  ~FaultLink();  ///< what is still under way is lost

  /// Errors: frame_too_short, frame_too_long, not_supported for a frame that leaves work to others;
  /// and the link's, when it can never take a frame again.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< the link's

  /// Other faults from now on, in each direction. Frames that are under way keep their time; the
  /// counters go on. Threads: as the other calls, so while a bridge runs, from inside its loop (a
  /// watch of it, or an interceptor). Blocks: never.
  void set_faults(const FaultOptions& received, const FaultOptions& sent);
  const FaultCounters& received() const noexcept;
  const FaultCounters& sent() const noexcept;
  /// Frames that the link would not take when they were due, as a port that is down.
  std::uint64_t refused() const noexcept;
  /// Frames that have come in, in either direction, and not yet gone out.
  std::size_t under_way() const noexcept;
  /// Those of them that receive() will bring.
  std::size_t to_receive() const noexcept;

 private:
  struct Impl;
  explicit FaultLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<FaultLink>);

}  // namespace shmif
