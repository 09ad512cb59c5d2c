#pragma once
// Small UDP datagrams whose checksum is unfinished. Programs that read packet sockets, such as DHCP
// clients, check it, and do not ask the kernel whether it is finished. So links finish it before
// they hand such a frame to a kernel. Work that the kernel can still use is left: super-frames,
// TCP, and what is inside a tunnel.

#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"

namespace shmif::bus {

/// Longer datagrams are for programs that expect offloads; finishing them would cost more.
inline constexpr std::size_t kMaxSmallDatagram = 2048;

/// Whether the frame has at most that many bytes, is one UDP datagram that is not inside a tunnel,
/// and its own checksum is all that is left to do.
/// Threads: safe. Blocks: never.
bool is_unfinished_datagram(const FrameView& frame) noexcept;

/// A frame in pieces, with a finished checksum in the place of the unfinished one.
struct FinishedDatagram {
  std::span<const std::byte> before, after;  ///< of the frame
  std::uint16_t checksum = 0;                ///< as memcpy puts it into the frame

  std::span<const std::byte> checksum_bytes() const noexcept {
    return std::as_bytes(std::span(&checksum, 1));
  }
};

/// Only for a frame for which is_unfinished_datagram() is true. Threads: safe. Blocks: never.
FinishedDatagram finish_datagram(const FrameView& frame) noexcept;

}  // namespace shmif::bus
