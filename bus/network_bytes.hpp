#pragma once
// Reads and writes the fields of frames: most significant byte first, at any offset. Callers have
// checked that the bytes are there. Also has the lengths of the headers in frames.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "bus/frame.hpp"

namespace shmif::bus {

// Headers without options.
inline constexpr std::size_t kIpv4MinBytes = 20;
inline constexpr std::size_t kIpv6Bytes = 40;
inline constexpr std::size_t kTcpMinBytes = 20;
inline constexpr std::size_t kUdpBytes = 8;

inline std::uint8_t get8(std::span<const std::byte> b, std::size_t at) noexcept {
  return std::to_integer<std::uint8_t>(b[at]);
}
inline std::uint16_t get16(std::span<const std::byte> b, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(get8(b, at) << 8U | get8(b, at + 1));
}
inline std::uint32_t get32(std::span<const std::byte> b, std::size_t at) noexcept {
  return std::uint32_t{get16(b, at)} << 16U | get16(b, at + 2);
}
inline void put16(std::span<std::byte> b, std::size_t at, std::size_t v) noexcept {
  b[at] = static_cast<std::byte>(v >> 8U);
  b[at + 1] = static_cast<std::byte>(v);
}
inline void put32(std::span<std::byte> b, std::size_t at, std::uint32_t v) noexcept {
  put16(b, at, v >> 16U);
  put16(b, at + 2, v & 0xffffU);
}
/// Writes a folded sum as it is, since it is already in the machine's byte order.
inline void put_sum(std::span<std::byte> b, std::size_t at, std::uint16_t v) noexcept {
  std::memcpy(b.data() + at, &v, sizeof v);
}

/// The offset of the EtherType in a frame of at least 14 bytes: behind at most two tags (802.1Q,
/// 802.1ad). A tag is skipped only if the frame still has an EtherType behind it.
inline std::size_t ether_type_at(std::span<const std::byte> frame) noexcept {
  std::size_t at = kEthernetHeaderBytes - 2;
  for (int tags = 0; tags < 2 && at + 6 <= frame.size(); ++tags) {
    const std::uint16_t type = get16(frame, at);
    if (type != 0x8100 && type != 0x88a8) break;
    at += kVlanTagBytes;
  }
  return at;
}

}  // namespace shmif::bus
