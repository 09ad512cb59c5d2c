#include "tap/guest/neighbours.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "bus/frame.hpp"
#include "bus/network_bytes.hpp"
#include "bus/offload.hpp"

namespace shmif::tap {
namespace {

// Where the fields of ARP packets (RFC 826) and of messages of neighbour discovery (RFC 4861) are,
// in frames without tags.

constexpr std::size_t kIpAt = kEthernetHeaderBytes;

constexpr std::size_t kArpBytes = 42;  ///< for IPv4 on Ethernet
constexpr std::size_t kArpSenderMacAt = 22;
constexpr std::size_t kArpSenderAt = 28;
constexpr std::size_t kArpTargetAt = 38;

constexpr std::size_t kIcmpAt = kIpAt + bus::kIpv6Bytes;
constexpr std::size_t kNeighbourTargetAt = kIcmpAt + 8;
constexpr std::size_t kNeighbourBytes = kNeighbourTargetAt + 16;  ///< without options
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;

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
