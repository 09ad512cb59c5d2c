#pragma once
// Addresses in PortSlot::learned.

#include <cstdint>

namespace shmif::bus {

/// The word that stores an address. The word 0 is unused, so the address 00:00:00:00:00:00, from
/// which some hosts send, is stored as a number that is not a MAC address.
constexpr std::uint64_t learned_word(std::uint64_t mac) noexcept {
  constexpr std::uint64_t kZeroAddress = std::uint64_t{1} << 48U;
  return mac == 0 ? kZeroAddress : mac;
}

/// Replaces an address that was removed. So the addresses behind it need not move: a sender that
/// reads the list meanwhile would miss one that moves.
inline constexpr std::uint64_t kVacantWord = (std::uint64_t{1} << 48U) + 1;

}  // namespace shmif::bus
