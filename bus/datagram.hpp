#pragma once
// Small UDP datagrams whose checksum is unfinished. Programs that read packet sockets, such as DHCP
// clients, check it, and do not ask the kernel whether it is finished. So links finish it before
// they hand such a frame to a kernel. They leave other work, which the kernel can still use:
// super-frames, TCP, and what is inside a tunnel.

#include <cstddef>
#include <cstdint>
#include <span>

#include "bus/frame.hpp"

namespace shmif::bus {

/// Longer datagrams are for programs that expect offloads; finishing them would cost more.
inline constexpr std::size_t kMaxSmallDatagram = 2048;

/// Whether the frame has at most that many bytes, is one UDP datagram outside of any tunnel, and
/// lacks only its own checksum.
/// Threads: safe. Blocks: never.
bool is_unfinished_datagram(const FrameView& frame) noexcept;

/// A frame in three pieces: a finished checksum replaces the unfinished one.
struct FinishedDatagram {
  std::span<const std::byte> before, after;  ///< the bytes of the frame around it
  std::uint16_t checksum = 0;                ///< as memcpy writes it into the frame

  std::span<const std::byte> checksum_bytes() const noexcept {
    return std::as_bytes(std::span(&checksum, 1));
  }
};

/// Only for a frame for which is_unfinished_datagram() is true. Threads: safe. Blocks: never.
FinishedDatagram finish_datagram(const FrameView& frame) noexcept;

}  // namespace shmif::bus
