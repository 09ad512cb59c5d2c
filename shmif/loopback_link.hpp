#pragma once
// LoopbackLink: frames sent are received again, in the same process. For tests, and for programs
// that try their own code without a bus.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// The sizes of a LoopbackLink, for each of its queues.
struct LoopbackOptions {
  std::size_t queue_frames = 1024;      ///< further frames are dropped when this many wait
  std::size_t queue_bytes = 1U << 20U;  ///< the same for bytes; at least max_frame_bytes
  std::size_t max_frame_bytes = 1522;   ///< 14 to kMaxFrameBytes; longer ones: an error
};

/// One end of an Ethernet cable whose other end is another LoopbackLink, or itself. Each end has a
/// bounded queue for arriving frames. When the queue is full, send() accepts further frames and
/// drops them, as a network device does.
/// Threads: send from any number of threads; receive and the wait calls from one at a time.
/// Blocks: never, except while another thread copies one frame.
class LoopbackLink {
 public:
  /// One link that receives what it sends. Errors: bad_argument, or an errno (no descriptor).
  static Result<LoopbackLink> self(const LoopbackOptions& options = {});
  /// Two links, each receiving what the other sends. When one is destroyed or closed, the
  /// other receives what is still queued and then ends. Errors: as self().
  static Result<std::pair<LoopbackLink, LoopbackLink>> pair(const LoopbackOptions& options = {});

  LoopbackLink(LoopbackLink&&) noexcept;  ///< the other may then only be assigned to or destroyed
  LoopbackLink& operator=(LoopbackLink&&) noexcept;  ///< close() of the link that it was
  ~LoopbackLink();                                   ///< close()

  /// Ends this link and its peer, and wakes waiting threads. Threads: any.
  void close() noexcept;

  /// Errors: frame_too_short, frame_too_long, link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  /// Errors: link_ended after close(), once the queue is empty.
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;               ///< as Link
  WaitHint prepare_wait() noexcept;        ///< as Link
  void finish_wait() noexcept;             ///< as Link
  std::size_t max_frame_bytes() noexcept;  ///< LoopbackOptions::max_frame_bytes
  std::string address();                   ///< "loopback:"

  /// Frames sent from here and dropped because the receiver's queue was full. Threads: any.
  std::uint64_t dropped() const noexcept;

 private:
  class Queue;
  LoopbackLink(std::shared_ptr<Queue> in, std::shared_ptr<Queue> out) noexcept;
  std::shared_ptr<Queue> in_, out_;
};

static_assert(Link<LoopbackLink>);

}  // namespace shmif
