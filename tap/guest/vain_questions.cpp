#include "tap/guest/vain_questions.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "bus/network_bytes.hpp"
#include "tap/guest/neighbour_frames.hpp"

namespace shmif::tap {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint16_t kRequest = 1;  // an ARP operation

/// Whether the frame is an ARP packet for IPv4 on Ethernet.
bool is_arp(Bytes f) noexcept {
  return f.size() >= kArpBytes && bus::get16(f, 12) == 0x0806 && bus::get32(f, 14) == 0x00010800 &&
         bus::get16(f, 18) == 0x0604;
}

/// Whether the frame is a message of that type of neighbour discovery.
bool is_neighbour(Bytes f, unsigned type) noexcept {
  return f.size() >= kNeighbourBytes && bus::get16(f, 12) == 0x86dd &&
         bus::get8(f, kIpAt + 6) == IPPROTO_ICMPV6 && bus::get8(f, kIpAt + 7) == 255 &&
         bus::get16(f, kIcmpAt) == type << 8U;
}

/// The address that a frame to a group asks for, and nothing else. Result: whether there is one.
bool asks_for(Bytes f, std::span<std::byte, 16> address) noexcept {
  std::ranges::fill(address, std::byte{0});
  if (is_arp(f) && bus::get16(f, 20) == kRequest) {
    std::memcpy(address.data(), &f[kArpTargetAt], 4);
    // An announcement asks for the sender's own address. It changes what others know.
    return std::memcmp(&f[kArpSenderAt], &f[kArpTargetAt], 4) != 0;
  }
  if (!is_neighbour(f, kSolicitation)) return false;
  std::memcpy(address.data(), &f[kNeighbourTargetAt], address.size());
  return true;
}

}  // namespace

VainQuestions::Known& VainQuestions::place_of(const Address& address) noexcept {
  std::uint64_t halves[2];
  std::memcpy(halves, address.data(), sizeof halves);
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15U;  // spreads addresses that are neighbours
  return known_[((halves[0] ^ halves[1] * 3) * kGolden) >> 55U];
}

/// What is known of the address that the frame asks for, if the host was asked for it in vain not
/// long ago. Otherwise notes that the host sees the question, and returns nullptr.
VainQuestions::Known* VainQuestions::asked_in_vain(const FrameView& frame) noexcept {
  Address address;
  if (!asks_for(frame.bytes, address)) return nullptr;
  Known& known = place_of(address);
  if (known.first == 0 || known.address != address)
    known = {address, seen_, frame.time_ns, /*is_own=*/false};
  if (known.is_own) return nullptr;
  // A time before the last one comes from another clock, so it tells nothing.
  const bool is_soon = frame.time_ns >= known.last_ns && frame.time_ns - known.last_ns < kAgainNs;
  if (is_soon && seen_ - known.first >= kFramesToAnswer) return &known;
  known.last_ns = frame.time_ns;
  return nullptr;
}

void VainQuestions::learn(const FrameView& frame) noexcept {
  const Bytes f = frame.bytes;
  Address address{};
  if (is_arp(f)) {
    std::memcpy(address.data(), &f[kArpSenderAt], 4);
    note_own(address);
  } else if (is_neighbour(f, kAdvertisement)) {
    std::memcpy(address.data(), &f[kNeighbourTargetAt], address.size());
    note_own(address);
  }
}

void VainQuestions::note_own(const Address& address) noexcept {
  place_of(address) = {address, 1, 0, /*is_own=*/true};
}

}  // namespace shmif::tap
