#include "tap/guest/vain_questions.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <span>
#include <utility>

#include "bus/network_bytes.hpp"
#include "tap/guest/neighbour_frames.hpp"

namespace shmif::tap {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint16_t kRequest = 1;  // an ARP operation
constexpr std::size_t kIpv6SenderAt = kIpAt + 8;

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

VainQuestions::Address address4(Bytes f, std::size_t at) noexcept {
  VainQuestions::Address address{};
  std::memcpy(address.data(), &f[at], 4);
  return address;
}

VainQuestions::Address address6(Bytes f, std::size_t at) noexcept {
  VainQuestions::Address address;
  std::memcpy(address.data(), &f[at], address.size());
  return address;
}

bool is_zero(const VainQuestions::Address& address) noexcept {
  return address == VainQuestions::Address{};
}

/// The address that a frame to a group asks for, and nothing else; zeros if there is none.
VainQuestions::Address asked_for(Bytes f) noexcept {
  if (is_arp(f) && bus::get16(f, 20) == kRequest) {
    const VainQuestions::Address sender = address4(f, kArpSenderAt);
    const VainQuestions::Address target = address4(f, kArpTargetAt);
    // An announcement asks for the sender's own address. It changes what others know.
    if (sender != target) return target;
  } else if (is_neighbour(f, kSolicitation) && !is_zero(address6(f, kIpv6SenderAt))) {
    return address6(f, kNeighbourTargetAt);
  }
  return {};
}

std::size_t place_of(const VainQuestions::Address& address) noexcept {
  std::uint64_t halves[2];
  std::memcpy(halves, address.data(), sizeof halves);
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15U;  // spreads addresses that are neighbours
  return ((halves[0] ^ halves[1] * 3) * kGolden) >> 55U;
}

}  // namespace

/// What is known of the address that the frame asks for, if the host was asked for it in vain not
/// long ago. Otherwise notes that the host sees the question, and returns nullptr.
VainQuestions::Known* VainQuestions::asked_in_vain(const FrameView& frame) noexcept {
  const Address address = asked_for(frame.bytes);
  if (is_zero(address) || may_be_own(address)) return nullptr;
  const bool is_news = is_news_of_sender(frame);
  Known& known = known_[place_of(address)];
  if (known.first == 0 || known.address != address) known = {address, seen_, frame.time_ns};
  // A time before the last one comes from another clock, so it tells nothing.
  const bool is_soon = frame.time_ns >= known.last_ns && frame.time_ns - known.last_ns < kAgainNs;
  if (is_soon && !is_news && seen_ - known.first >= kFramesToAnswer) return &known;
  known.last_ns = frame.time_ns;
  return nullptr;
}

/// Whether an ARP request says something new about where its sender is.
bool VainQuestions::is_news_of_sender(const FrameView& frame) noexcept {
  if (!is_arp(frame.bytes)) return false;  // a solicitation tells only the host that has the target
  const Address address = address4(frame.bytes, kArpSenderAt);
  if (is_zero(address)) return false;
  const MacAddress mac = MacAddress::read(&frame.bytes[kArpSenderMacAt]);
  const auto places = std::span(senders_).subspan(place_of(address) / kWays * kWays, kWays);
  const auto known = std::ranges::find(places, address, &Sender::address);
  if (known != places.end()) return std::exchange(known->mac, mac) != mac;
  places[next_way_++ % kWays] = {address, mac};
  return true;
}

void VainQuestions::learn(const FrameView& frame) noexcept {
  const Bytes f = frame.bytes;
  if (is_arp(f)) {
    note_own(address4(f, kArpSenderAt));
  } else if (is_neighbour(f, kAdvertisement)) {
    note_own(address6(f, kNeighbourTargetAt));
  } else if (is_neighbour(f, kSolicitation)) {
    // A host that looks for a duplicate of an address will have it soon.
    const Address sender = address6(f, kIpv6SenderAt);
    note_own(is_zero(sender) ? address6(f, kNeighbourTargetAt) : sender);
  }
}

bool VainQuestions::may_be_own(const Address& address) const noexcept {
  return has_more_ || std::ranges::binary_search(std::span(own_).first(own_count_), address);
}

void VainQuestions::note_own(const Address& address) noexcept {
  if (may_be_own(address)) return;
  if (own_count_ == own_.size()) {
    has_more_ = true;
    return;
  }
  const auto end = own_.begin() + static_cast<std::ptrdiff_t>(own_count_++);
  *end = address;
  std::rotate(std::upper_bound(own_.begin(), end, address), end, std::next(end));
}

}  // namespace shmif::tap
