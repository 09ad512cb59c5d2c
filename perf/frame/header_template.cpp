#include "perf/frame/header_template.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "bus/network_bytes.hpp"
#include "perf/frame/random.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kTcp = 6;

std::uint16_t get16(const std::byte* from) noexcept {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(from[0]) << 8U |
                                    std::to_integer<unsigned>(from[1]));
}
void put16(std::byte* to, std::size_t value) noexcept {
  to[0] = static_cast<std::byte>(value >> 8U & 0xffU);
  to[1] = static_cast<std::byte>(value & 0xffU);
}

std::uint64_t get_wide(const std::byte* from, std::size_t bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value = value << 8U | std::to_integer<unsigned>(from[i]);
  return value;
}

/// Uses one or two stores, so that reading the bytes soon after does not stall.
void put_wide(std::byte* to, std::size_t bytes, std::uint64_t value) noexcept {
  const std::uint64_t swapped = __builtin_bswap64(value);
  const auto* const all = reinterpret_cast<const std::byte*>(&swapped);
  switch (bytes) {
    case 1: std::memcpy(to, all + 7, 1); break;
    case 2: std::memcpy(to, all + 6, 2); break;
    case 4: std::memcpy(to, all + 4, 4); break;
    case 6: std::memcpy(to, all + 2, 6); break;
    default: std::memcpy(to, all, 8); break;
  }
}

/// A field's part of a sum of 16-bit words in network byte order. A field of several bytes has an
/// even offset; a single byte may have an odd one.
std::uint32_t share_of_sum(std::size_t at, std::size_t bytes, std::uint64_t value) noexcept {
  if (bytes == 1) return static_cast<std::uint32_t>(at % 2 == 0 ? value << 8U : value);
  std::uint32_t sum = 0;
  for (; value != 0; value >>= 16U) sum += static_cast<std::uint32_t>(value & 0xffffU);
  return sum;
}

/// A folded sum in network byte order.
std::uint32_t network_sum(std::span<const std::byte> bytes) noexcept {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += get16(&bytes[i]);
  return (sum >> 16U) + (sum & 0xffffU);
}

std::uint32_t fold_network(std::uint32_t sum) noexcept {
  sum = (sum >> 16U) + (sum & 0xffffU);
  return (sum >> 16U) + (sum & 0xffffU);
}

std::uint16_t fold(std::uint64_t sum) noexcept {
  sum = (sum >> 32U) + (sum & 0xffffffffU);
  sum = (sum >> 32U) + (sum & 0xffffffffU);
  sum = (sum >> 16U) + (sum & 0xffffU);
  sum = (sum >> 16U) + (sum & 0xffffU);
  return static_cast<std::uint16_t>(sum);
}

/// Not folded. In either byte order the sum is the same, except for the order of its own bytes.
std::uint64_t wide_sum(const std::byte* bytes, std::size_t size) noexcept {
  std::uint64_t sum = 0;
  std::size_t at = 0;
  for (; at + 4 <= size; at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + at, sizeof word);
    sum += word;
  }
  if (at < size) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + at, size - at);
    sum += word;
  }
  return sum;
}

/// The sum of addresses, length and protocol (RFC 768, RFC 9293, RFC 8200 section 8.1).
std::uint64_t pseudo_sum(const std::byte* frame, const HeaderPlaces& p,
                         std::size_t length) noexcept {
  const std::uint64_t addresses =
      p.v6 ? wide_sum(frame + p.ip + 8, 32) : wide_sum(frame + p.ip + 12, 8);
  std::array<std::byte, 4> rest{};
  put16(rest.data(), length);
  put16(rest.data() + 2, p.tcp ? kTcp : kUdp);
  return addresses + wide_sum(rest.data(), rest.size());
}

}  // namespace

std::uint16_t internet_sum(std::span<const std::byte> bytes) noexcept {
  return fold(wide_sum(bytes.data(), bytes.size()));
}

HeaderPlaces places_of(std::span<const std::byte> frame) noexcept {
  HeaderPlaces p;
  p.probe = kEthernetHeaderBytes;
  if (frame.size() < kEthernetHeaderBytes) return p;
  std::uint16_t type = get16(&frame[12]);
  while ((type == 0x8100 || type == 0x88a8) && frame.size() >= p.probe + kVlanTagBytes) {
    type = get16(&frame[p.probe + 2]);
    p.probe += kVlanTagBytes;
  }
  std::uint8_t protocol = 0;
  const std::size_t left = frame.size() - p.probe;
  if (type == 0x0800 && left >= bus::kIpv4MinBytes && frame[p.probe] == std::byte{0x45}) {
    protocol = std::to_integer<std::uint8_t>(frame[p.probe + 9]);
    p.ip = p.probe;
    p.probe += bus::kIpv4MinBytes;
  } else if (type == 0x86dd && left >= bus::kIpv6Bytes) {
    protocol = std::to_integer<std::uint8_t>(frame[p.probe + 6]);
    p.ip = p.probe;
    p.v6 = true;
    p.probe += bus::kIpv6Bytes;
  } else {
    return p;
  }
  const std::size_t behind = frame.size() - p.probe;
  if (protocol == kUdp && behind >= bus::kUdpBytes) {
    p.transport = p.probe;
    p.transport_checksum = get16(&frame[p.probe + 6]) == 0 ? 0 : p.probe + 6;
    p.probe += bus::kUdpBytes;
  } else if (protocol == kTcp && behind >= bus::kTcpMinBytes &&
             std::to_integer<unsigned>(frame[p.probe + 12]) >> 4U == bus::kTcpMinBytes / 4) {
    p.transport = p.probe;
    p.tcp = true;
    p.transport_checksum = p.probe + 16;
    p.probe += bus::kTcpMinBytes;
  }
  return p;
}

bool transport_checksum_is_right(std::span<const std::byte> frame, const HeaderPlaces& p) noexcept {
  if (p.transport_checksum == 0 || frame.size() < p.probe) return true;
  // Uses the length in the IP header: bytes that a link has added at the end are not summed.
  const std::size_t ip_bytes =
      p.v6 ? bus::kIpv6Bytes + get16(&frame[p.ip + 4]) : std::size_t{get16(&frame[p.ip + 2])};
  const std::size_t end = p.ip + ip_bytes;
  if (end > frame.size() || end < p.probe) return false;
  const std::size_t length = end - p.transport;
  const std::uint64_t sum =
      pseudo_sum(frame.data(), p, length) + wide_sum(frame.data() + p.transport, length);
  return fold(sum) == 0xffff;
}

std::uint64_t HeaderTemplate::Field::value(std::uint64_t sequence,
                                           std::uint64_t salt) const noexcept {
  __extension__ using Wide = unsigned __int128;
  const auto high = [](Wide product) { return static_cast<std::uint64_t>(product >> 64U); };
  if (order == Order::random) {
    const std::uint64_t drawn = Random::derive(salt, sequence);
    return min + step * high(Wide{drawn} * count);
  }
  std::uint64_t place = sequence;
  if (sequence >= count) {
    // Two multiplications instead of a division (Lemire, Kaser, Kurz 2019).
    const bool small = inverse != 0 && (sequence | count) >> 32U == 0;
    const std::uint64_t fraction = inverse * sequence;  // modulo 2^64, intended
    place = small ? high(Wide{fraction} * count) : sequence % count;
  }
  return min + step * (order == Order::inc ? place : count - 1 - place);
}

void HeaderTemplate::complete(MacAddress destination, MacAddress source,
                              std::uint64_t seed) noexcept {
  seed_ = seed;
  if (!own_destination_) std::memcpy(bytes_.data(), destination.bytes.data(), 6);
  if (!own_source_) std::memcpy(bytes_.data() + 6, source.bytes.data(), 6);
  const HeaderPlaces& p = places_;
  const std::size_t addresses = p.ip + (p.v6 ? 8 : 12);
  for (Field& field : fields_) {
    field.inverse = UINT64_MAX / field.count + 1;  // 0 for a count of 1, where it is not needed
    field.shares_bytes = field.mask != UINT64_MAX >> (64 - 8 * field.bytes);
    std::byte* const at = bytes_.data() + field.at;
    put_wide(at, field.bytes, get_wide(at, field.bytes) & ~field.mask);
    field.in_ip = p.ip != 0 && !p.v6 && field.at >= p.ip && field.at < p.ip + bus::kIpv4MinBytes;
    field.in_transport = p.transport_checksum != 0 && field.at >= addresses;
  }
  if (p.ip == 0) return;
  const std::span all(bytes_);
  if (!p.v6) {
    put16(&bytes_[p.ip + 2], 0);
    put16(&bytes_[p.ip + 10], 0);
    ip_sum_ = network_sum(all.subspan(p.ip, bus::kIpv4MinBytes));
  }
  if (p.transport == 0) return;
  if (!p.tcp) put16(&bytes_[p.transport + 4], 0);
  transport_sum_ = network_sum(all.subspan(addresses, p.v6 ? 32 : 8)) +
                   network_sum(all.subspan(p.transport)) + (p.tcp ? kTcp : kUdp);
}

std::uint32_t HeaderTemplate::write(std::byte* frame, std::size_t frame_bytes,
                                    std::uint64_t sequence) const noexcept {
  const HeaderPlaces& p = places_;
  std::memcpy(frame, bytes_.data(), bytes_.size());
  std::uint32_t ip_sum = ip_sum_;
  std::uint32_t transport_sum = transport_sum_;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const Field& field = fields_[i];
    const std::uint64_t bits = field.value(sequence, seed_ + i) << field.shift & field.mask;
    std::byte* const at = frame + field.at;
    // If two fields share bytes, as id and prio of a tag do, each keeps the other's bits.
    put_wide(at, field.bytes, field.shares_bytes ? get_wide(at, field.bytes) | bits : bits);
    const std::uint32_t share = share_of_sum(field.at - p.ip, field.bytes, bits);
    if (field.in_ip) ip_sum += share;
    if (field.in_transport) transport_sum += share;
  }
  if (p.ip == 0) return 0;
  std::byte* const ip = frame + p.ip;
  const std::size_t length = frame_bytes - p.ip;
  if (p.v6) {
    put16(ip + 4, length - bus::kIpv6Bytes);
  } else {
    put16(ip + 2, length);
    put16(ip + 10, ~fold_network(ip_sum + static_cast<std::uint32_t>(length)) & 0xffffU);
  }
  if (p.transport == 0) return 0;
  const std::size_t transport_length = frame_bytes - p.transport;
  transport_sum += static_cast<std::uint32_t>(transport_length);  // in the pseudo header
  if (!p.tcp) {
    put16(frame + p.transport + 4, transport_length);
    transport_sum += static_cast<std::uint32_t>(transport_length);
  }
  return fold_network(transport_sum);
}

void HeaderTemplate::write_checksum(std::byte* frame, std::uint32_t header_sum, std::size_t summed,
                                    std::uint16_t rest_sum) const noexcept {
  if (places_.transport_checksum == 0) return;
  // The other sums are in the machine's byte order.
  const std::uint64_t sum = wide_sum(frame + places_.probe, summed - places_.probe) + rest_sum +
                            __builtin_bswap16(static_cast<std::uint16_t>(header_sum));
  auto checksum = static_cast<std::uint16_t>(~fold(sum));
  if (checksum == 0 && !places_.tcp) checksum = 0xffff;  // 0 would mean no checksum
  std::memcpy(frame + places_.transport_checksum, &checksum, sizeof checksum);
}

}  // namespace shmif::perf
