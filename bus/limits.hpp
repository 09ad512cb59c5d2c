#pragma once
// How large the ring, the MTU and the frames of a bus of our own format may be. Knows no layout.

#include <cstdint>

namespace shmif::bus {

inline constexpr std::uint64_t kMinRingBytes = 64U << 10U;
inline constexpr std::uint64_t kMaxRingBytes = 1U << 30U;
inline constexpr std::uint64_t kDefaultRingBytes = 4U << 20U;
inline constexpr std::uint32_t kMinMtu = 68;      // RFC 791
inline constexpr std::uint32_t kMaxMtu = 65521;   // what a TAP device takes
inline constexpr std::uint32_t kMtuToFrame = 22;  // Ethernet header and two VLAN tags
inline constexpr std::uint32_t kMinFrameBytes = 14;

/// Largest frame on a bus of this MTU: the MTU, Ethernet header and two VLAN tags.
constexpr std::uint32_t max_frame_bytes(std::uint32_t mtu) noexcept {
  return mtu + kMtuToFrame;
}

}  // namespace shmif::bus
