#include "tap/guest/address_claim.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>

#include "bus/offload.hpp"
#include "tap/guest/neighbour_frames.hpp"

namespace shmif::tap {
namespace {

/// A small frame that is written from front to back.
class ClaimFrame {
 public:
  void bytes(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) frame_.at(size_++) = static_cast<std::byte>(value);
  }
  void mac(MacAddress mac) { copy(mac.bytes); }
  void copy(std::span<const std::uint8_t> from) {
    std::memcpy(&frame_.at(size_ + from.size() - 1) + 1 - from.size(), from.data(), from.size());
    size_ += from.size();
  }
  std::span<std::byte> written() { return std::span(frame_).first(size_); }
  void send(Port& port) {
    const FrameView frame(frame_.data(), size_);
    static_cast<void>(port.try_send({&frame, 1}));
  }

 private:
  std::array<std::byte, 128> frame_{};
  std::size_t size_ = 0;
};

constexpr MacAddress kEverybody = MacAddress::from_u64(0xffffffffffffU);

/// An ARP request for `wanted`. `sender`: all zeros in a probe.
void send_arp(Port& port, MacAddress to, std::span<const std::uint8_t> sender,
              std::span<const std::uint8_t> wanted) {
  ClaimFrame frame;
  frame.mac(to);
  frame.mac(port.mac());
  frame.bytes({8, 6, 0, 1, 8, 0, 6, 4, 0, 1});
  frame.mac(port.mac());
  frame.copy(sender);
  frame.mac({});
  frame.copy(wanted);
  frame.send(port);
}

using Ipv6 = std::array<std::uint8_t, 16>;
constexpr Ipv6 kAllNodes{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr unsigned kOverride = 0x20;

/// Whether a message of neighbour discovery has the option that carries our MAC address.
enum class OurAddress : std::uint8_t { told, left_out };

/// The MAC address of an IPv6 group (RFC 2464).
MacAddress mac_of_group(const Ipv6& group) {
  return MacAddress{.bytes = {0x33, 0x33, group[12], group[13], group[14], group[15]}};
}

/// A message of neighbour discovery about `target`.
void send_neighbour(Port& port, MacAddress mac, std::uint8_t type, unsigned flags, const Ipv6& from,
                    const Ipv6& to, const Ipv6& target, OurAddress our_address) {
  ClaimFrame frame;
  frame.mac(mac);
  frame.mac(port.mac());
  const bool with_address = our_address == OurAddress::told;
  const unsigned payload = with_address ? 32 : 24;
  frame.bytes({0x86, 0xdd, 0x60, 0, 0, 0, 0, payload, IPPROTO_ICMPV6, 255});
  frame.copy(from);
  frame.copy(to);
  frame.bytes({type, 0, 0, 0, flags, 0, 0, 0});
  frame.copy(target);
  if (with_address) {
    frame.bytes({2, 1});  // the target's link-layer address
    frame.mac(port.mac());
  }
  // The sum of the pseudo header. finish_checksum() completes it.
  const std::array<std::byte, 4> rest{std::byte{0}, static_cast<std::byte>(payload), std::byte{0},
                                      std::byte{IPPROTO_ICMPV6}};
  const std::span<std::byte> all = frame.written();
  const std::uint16_t sum = bus::internet_sum(all.subspan(kIpAt + 8, 32), bus::internet_sum(rest));
  std::memcpy(&all[kIcmpAt + 2], &sum, sizeof sum);
  const Offload work{.flags = Offload::kNeedsChecksum, .csum_start = kIcmpAt, .csum_offset = 2};
  if (bus::finish_checksum(all, work)) frame.send(port);
}

/// Says that this host has the address: to `only`, or to everybody.
void say_to(Port& port, const IpAddress& address, std::optional<MacAddress> only) {
  const auto& bytes = address.bytes;
  if (address.is_v6()) {
    send_neighbour(port, only.value_or(mac_of_group(kAllNodes)), kAdvertisement, kOverride, bytes,
                   kAllNodes, bytes, OurAddress::told);
  } else {
    const auto v4 = std::span(bytes).first(4);
    send_arp(port, only.value_or(kEverybody), v4, v4);
  }
}

}  // namespace

AddressClaim::AddressClaim(const std::vector<Cidr>& addresses, Listener on_conflict)
    : on_conflict_(std::move(on_conflict)) {
  for (const Cidr& each : addresses) all_.push_back({each.address});
}

void AddressClaim::probe(Port& port) const {
  for (const Claimed& each : all_) {
    const auto& bytes = each.address.bytes;
    if (each.address.is_v6()) {
      Ipv6 group{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};  // RFC 4291 section 2.7.1
      std::copy_n(bytes.begin() + 13, 3, group.begin() + 13);
      send_neighbour(port, mac_of_group(group), kSolicitation, 0, {}, group, bytes,
                     OurAddress::left_out);
    } else {
      send_arp(port, kEverybody, std::array<std::uint8_t, 4>{}, std::span(bytes).first(4));
    }
  }
}

void AddressClaim::announce(Port& port) const {
  for (const Claimed& each : all_) {
    if (!each.disputed) say_to(port, each.address, std::nullopt);
  }
}

void AddressClaim::tell(Port& port, const IpAddress& address, MacAddress owner) {
  say_to(port, address, owner);
}

bool AddressClaim::look(const FrameView& frame, MacAddress own) {
  if (all_.empty() || frame.size() < kArpBytes || frame.source() == own) return false;
  const std::span<const std::byte> f = frame.bytes;
  const bool to_us = frame.destination() == own;
  const auto is = [&](std::size_t at, std::initializer_list<unsigned> values) {
    return std::equal(values.begin(), values.end(), f.begin() + static_cast<std::ptrdiff_t>(at),
                      [](unsigned v, std::byte b) { return std::to_integer<unsigned>(b) == v; });
  };
  if (is(12, {8, 6, 0, 1, 8, 0, 6, 4, 0})) {
    const MacAddress owner = MacAddress::read(&f[kArpSenderMacAt]);
    const bool is_about_sender = std::memcmp(&f[kArpSenderAt], &f[kArpTargetAt], 4) == 0;
    const Heard how = is_about_sender && to_us ? Heard::told : Heard::claimed;
    return owner != own && hear_of(f.subspan(kArpSenderAt, 4), owner, how) && how == Heard::told;
  }
  if (f.size() >= kNeighbourBytes && is(12, {0x86, 0xdd}) && is(kIpAt + 6, {IPPROTO_ICMPV6, 255}) &&
      is(kIcmpAt, {kAdvertisement, 0})) {
    const Heard how = to_us ? Heard::told : Heard::claimed;
    return hear_of(f.subspan(kNeighbourTargetAt, 16), frame.source(), how) && to_us;
  }
  return false;
}

bool AddressClaim::defend(const FrameView& frame, Port& port) const {
  const std::span<const std::byte> f = frame.bytes;
  if (all_.empty() || f.size() < kNeighbourBytes || frame.source() == port.mac()) return false;
  constexpr std::array<std::byte, 16> kNobody{};
  const auto is = [&](std::size_t at, std::uint8_t value) { return f[at] == std::byte{value}; };
  if (!is(12, 0x86) || !is(13, 0xdd) || !is(kIpAt + 6, IPPROTO_ICMPV6) || !is(kIpAt + 7, 255) ||
      !is(kIcmpAt, kSolicitation) || std::memcmp(&f[kIpAt + 8], kNobody.data(), 16) != 0) {
    return false;
  }
  for (const Claimed& each : all_) {
    const auto& bytes = each.address.bytes;
    if (each.disputed || !each.address.is_v6() ||
        std::memcmp(bytes.data(), &f[kNeighbourTargetAt], bytes.size()) != 0) {
      continue;
    }
    say_to(port, each.address, std::nullopt);
    return true;
  }
  return false;
}

/// Result: whether this host claims the address.
bool AddressClaim::hear_of(std::span<const std::byte> address, MacAddress owner, Heard how) {
  const bool v6 = address.size() == std::tuple_size_v<Ipv6>;
  bool is_ours = false;
  for (Claimed& each : all_) {
    if (each.address.is_v6() != v6 ||
        std::memcmp(each.address.bytes.data(), address.data(), address.size()) != 0) {
      continue;
    }
    is_ours = true;
    if (!each.disputed && !each.told) each.told = on_conflict_(each.address, owner);
    // A host that was told came first. It goes on to defend the address, so that the kernel of the
    // later one gives it up.
    if (how == Heard::claimed) each.disputed = each.disputed || each.told;
  }
  return is_ours;
}

}  // namespace shmif::tap
