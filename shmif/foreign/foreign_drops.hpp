#pragma once
// What the links to programs that share their memory have dropped.

#include <cstdint>

namespace shmif {

/// Frames that were dropped. A protocol without a reason for one of them leaves it at 0.
struct ForeignDrops {
  std::uint64_t too_long = 0;   ///< received; longer than max_frame_bytes
  std::uint64_t too_short = 0;  ///< received; shorter than an Ethernet header
  /// Received; the header requests a feature that was not negotiated, or contradicts itself.
  std::uint64_t bad_header = 0;
  std::uint64_t discarded = 0;  ///< received; the program had disabled the queue
  std::uint64_t not_ready = 0;  ///< sent before the program had said where its buffers are
  std::uint64_t no_room = 0;    ///< sent; longer than the buffers that one frame may have
};

}  // namespace shmif
