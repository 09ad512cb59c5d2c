#include "perf/frame/header_template.hpp"

#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/quantity.hpp"
#include "bus/network_bytes.hpp"
#include "perf/frame/probe.hpp"
#include "perf/frame/random.hpp"
#include "shmif/capture/pcap_link.hpp"
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

// The syntax of headers, as in scapy, with TRex's words for fields that vary:
//
//   eth(dst=02:00:00:00:00:01)/vlan(id=inc(100,199),prio=5)/ipv4(src=random(198.18.0.1,198.18.0.9))
//     /udp(dport=53)
//   pcap(dns.pcap,3)/ipv4(src=inc(198.18.0.1,198.18.0.254))
//
//   headers  [pcap(PATH[,NUMBER]) /] LAYER [/ LAYER]...
//   LAYER    eth, vlan, ipv4, ipv6, udp or tcp, then its fields in parentheses
//   value    V, inc(A,B[,STEP]), dec(A,B[,STEP]) or random(A,B[,STEP])

namespace {

enum class Layer : std::uint8_t { eth, vlan, ipv4, ipv6, udp, tcp };
enum class Type : std::uint8_t { number, mac, ip4, ip6, flags };

constexpr std::pair<std::string_view, Layer> kLayers[] = {
    {"eth", Layer::eth},    {"ether", Layer::eth}, {"vlan", Layer::vlan},
    {"dot1q", Layer::vlan}, {"ipv4", Layer::ipv4}, {"ip", Layer::ipv4},
    {"ipv6", Layer::ipv6},  {"udp", Layer::udp},   {"tcp", Layer::tcp}};
/// Names in error messages.
constexpr const char* kLayerNames[] = {"eth", "vlan", "ipv4", "ipv6", "udp", "tcp"};

/// A field: its bytes within the layer, and a mask of its bits in them.
struct Spec {
  Layer layer;
  const char* name;
  std::size_t at, bytes;
  std::uint64_t mask;
  unsigned shift = 0;
  Type type = Type::number;
  bool varies = true;  ///< false: the receiver could not find the probe
};
constexpr std::uint64_t kAll = UINT64_MAX;
constexpr Spec kFields[] = {
    {Layer::eth, "dst", 0, 6, kAll >> 16U, 0, Type::mac},
    {Layer::eth, "src", 6, 6, kAll >> 16U, 0, Type::mac},
    {Layer::eth, "type", 12, 2, 0xffff, 0, Type::number, false},
    {Layer::vlan, "tpid", 0, 2, 0xffff, 0, Type::number, false},
    {Layer::vlan, "prio", 2, 2, 0xe000, 13},
    {Layer::vlan, "dei", 2, 2, 0x1000, 12},
    {Layer::vlan, "id", 2, 2, 0x0fff},
    {Layer::ipv4, "dscp", 1, 1, 0xfc, 2},
    {Layer::ipv4, "ecn", 1, 1, 0x03},
    {Layer::ipv4, "id", 4, 2, 0xffff},
    {Layer::ipv4, "df", 6, 1, 0x40, 6},
    {Layer::ipv4, "ttl", 8, 1, 0xff},
    {Layer::ipv4, "proto", 9, 1, 0xff, 0, Type::number, false},
    {Layer::ipv4, "src", 12, 4, 0xffffffff, 0, Type::ip4},
    {Layer::ipv4, "dst", 16, 4, 0xffffffff, 0, Type::ip4},
    {Layer::ipv6, "dscp", 0, 4, 0x0fc00000, 22},
    {Layer::ipv6, "ecn", 0, 4, 0x00300000, 20},
    {Layer::ipv6, "flow", 0, 4, 0x000fffff},
    {Layer::ipv6, "next", 6, 1, 0xff, 0, Type::number, false},
    {Layer::ipv6, "hlim", 7, 1, 0xff},
    {Layer::ipv6, "src", 8, 16, kAll, 0, Type::ip6},
    {Layer::ipv6, "dst", 24, 16, kAll, 0, Type::ip6},
    {Layer::udp, "sport", 0, 2, 0xffff},
    {Layer::udp, "dport", 2, 2, 0xffff},
    {Layer::tcp, "sport", 0, 2, 0xffff},
    {Layer::tcp, "dport", 2, 2, 0xffff},
    {Layer::tcp, "seq", 4, 4, 0xffffffff},
    {Layer::tcp, "ack", 8, 4, 0xffffffff},
    {Layer::tcp, "flags", 13, 1, 0xff, 0, Type::flags},
    {Layer::tcp, "window", 14, 2, 0xffff},
};

/// The parts of `text` between `at`s that are not in parentheses.
std::vector<std::string_view> parts_of(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == at && depth == 0)) {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return parts;
}

std::string lower(std::string_view text) {
  std::string low(text);
  std::transform(low.begin(), low.end(), low.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return low;
}

/// "name(inside)" or "name".
struct Call {
  std::string name;
  std::string_view inside;
  bool has_inside = false;
};
std::optional<Call> call_of(std::string_view text) {
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos) return Call{lower(text), {}};
  if (!text.ends_with(')')) return std::nullopt;
  return Call{lower(text.substr(0, open)), text.substr(open + 1, text.size() - open - 2), true};
}

bool is_capture(const Call& call) {
  return call.name == "pcap";
}

/// A value in `low`; `high` has the first 64 bits of an IPv6 address.
struct Value {
  std::uint64_t low = 0, high = 0;
};

std::uint64_t wide(const std::uint8_t* bytes, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8U | bytes[i];
  return value;
}

std::optional<Value> number_of(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const auto number = base::read_digits(hex ? text.substr(2) : text, hex ? 16 : 10);
  if (!number) return std::nullopt;
  return Value{*number};
}

std::optional<Value> value_of(Type type, std::string_view text) {
  const std::string word(text);
  std::array<std::uint8_t, 16> address{};
  switch (type) {
    case Type::number: return number_of(text);
    case Type::mac: {
      const auto mac = MacAddress::parse(text);
      if (!mac) return std::nullopt;
      return Value{mac->to_u64()};
    }
    case Type::ip4:
      if (::inet_pton(AF_INET, word.c_str(), address.data()) != 1) return std::nullopt;
      return Value{wide(address.data(), 4)};
    case Type::ip6:
      if (::inet_pton(AF_INET6, word.c_str(), address.data()) != 1) return std::nullopt;
      return Value{wide(&address[8], 8), wide(address.data(), 8)};
    case Type::flags: break;
  }
  if (const auto number = number_of(text)) return number;
  constexpr std::string_view kFlags = "FSRPAUEC";
  std::uint64_t flags = 0;
  for (const char c : text) {
    const std::size_t bit = kFlags.find(c);
    if (bit == std::string_view::npos) return std::nullopt;
    flags |= std::uint64_t{1} << bit;
  }
  return text.empty() ? std::nullopt : std::optional(Value{flags});
}

constexpr const char* kForms[] = {"a number, as 100 or 0x64", "a MAC address, as 02:00:00:00:00:01",
                                  "an IPv4 address, as 198.18.0.1", "an IPv6 address, as fd00::1",
                                  "a number, or some of the letters FSRPAUEC"};

}  // namespace

class HeaderReader {
 public:
  Result<HeaderTemplate> read(std::string_view text);

 private:
  /// A layer in the frame: its kind and its offset.
  struct Place {
    Layer layer;
    std::size_t at;
    bool fields_read = false;
  };

  Error refuse(const std::string& why) const { return {Errc::bad_argument, "headers: " + why}; }
  Result<void> lay_out(const std::vector<Layer>& layers);
  Result<void> take_capture(std::string_view inside);
  Result<void> read_fields(Place& place, std::string_view inside);
  Result<void> read_field(const Place& place, const Spec& spec, std::string_view text);
  Result<void> read_varying(const Place& place, const Spec& spec, const Call& call);
  void put(std::size_t at, std::size_t bytes, std::uint64_t value, std::uint64_t mask,
           unsigned shift);
  std::size_t append(std::size_t bytes) {
    made_.bytes_.resize(made_.bytes_.size() + bytes);
    return made_.bytes_.size() - bytes;
  }

  HeaderTemplate made_;
  std::vector<Place> layout_;
};

void HeaderReader::put(std::size_t at, std::size_t bytes, std::uint64_t value, std::uint64_t mask,
                       unsigned shift) {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    all = all << 8U | std::to_integer<unsigned>(made_.bytes_[at + i]);
  }
  all = (all & ~mask) | (value << shift & mask);
  for (std::size_t i = bytes; i-- > 0; all >>= 8U) {
    made_.bytes_[at + i] = static_cast<std::byte>(all & 0xffU);
  }
}

/// Puts the headers one behind the other, with default values.
Result<void> HeaderReader::lay_out(const std::vector<Layer>& layers) {
  const auto count = [&](Layer layer) { return std::ranges::count(layers, layer); };
  const auto vlans = static_cast<std::size_t>(count(Layer::vlan));
  const auto ips = count(Layer::ipv4) + count(Layer::ipv6);
  const auto transports = count(Layer::udp) + count(Layer::tcp);
  if (!std::ranges::is_sorted(layers) || count(Layer::eth) > 1 || ips > 1 || transports > 1 ||
      vlans > 8 || (transports == 1 && ips == 0)) {
    return refuse(
        "the layers do not fit together (write eth, up to 8 vlan, ipv4 or ipv6, udp or tcp, in "
        "that order)");
  }
  std::vector<std::byte>& bytes = made_.bytes_;
  bytes.assign(12, std::byte{0});
  layout_.push_back({Layer::eth, 0});
  for (std::size_t i = 0; i < vlans; ++i) {
    layout_.push_back({Layer::vlan, append(kVlanTagBytes)});
    // The outer tags of a stack are 802.1ad tags.
    put(layout_.back().at, 2, i + 1 < vlans ? 0x88a8 : 0x8100, 0xffff, 0);
    put(layout_.back().at + 2, 2, 1, 0x0fff, 0);
  }
  const std::size_t type = append(2);
  const bool tcp = count(Layer::tcp) == 1;
  const std::uint64_t protocol = transports == 0 ? 253 : tcp ? 6 : 17;  // 253: RFC 3692
  put(type, 2, kProbeEtherType, 0xffff, 0);
  if (count(Layer::ipv4) == 1) {
    put(type, 2, 0x0800, 0xffff, 0);
    const std::size_t at = append(20);
    layout_.push_back({Layer::ipv4, at});
    put(at, 1, 0x45, 0xff, 0);
    put(at + 8, 1, 64, 0xff, 0);
    put(at + 9, 1, protocol, 0xff, 0);
    put(at + 12, 4, 0xc6120001, 0xffffffff, 0);  // RFC 2544, appendix C.2.2
    put(at + 16, 4, 0xc6130001, 0xffffffff, 0);
  } else if (ips == 1) {
    put(type, 2, 0x86dd, 0xffff, 0);
    const std::size_t at = append(40);
    layout_.push_back({Layer::ipv6, at});
    put(at, 1, 0x60, 0xff, 0);
    put(at + 6, 1, protocol, 0xff, 0);
    put(at + 7, 1, 64, 0xff, 0);
    for (std::size_t i = 0; i < 2; ++i) {  // 2001:2::/48, RFC 5180, section 8
      put(at + 8 + 16 * i, 8, 0x2001000200000000, kAll, 0);
      put(at + 16 + 16 * i, 8, i + 1, kAll, 0);
    }
  }
  if (transports == 0) return {};
  const std::size_t at = append(tcp ? 20 : 8);
  layout_.push_back({tcp ? Layer::tcp : Layer::udp, at});
  put(at, 2, 1024, 0xffff, 0);
  put(at + 2, 2, 9, 0xffff, 0);  // discard (RFC 863)
  if (tcp) {
    put(at + 12, 2, 0x5010, 0xffff, 0);  // 20 bytes, ACK
    put(at + 14, 2, 65535, 0xffff, 0);
  }
  return {};
}

/// Takes the headers of a frame of a capture, without its Ethernet addresses.
Result<void> HeaderReader::take_capture(std::string_view inside) {
  const auto parts = parts_of(inside, ',');
  const auto number = parts.size() == 2 ? base::read_digits(parts[1]) : std::uint64_t{1};
  if (parts.empty() || parts[0].empty() || parts.size() > 2 || !number || *number == 0) {
    return refuse("pcap needs a path and the number of a frame (such as pcap(dns.pcap,1))");
  }
  const std::string path(parts[0]);
  const std::string which = "frame " + std::to_string(*number) + " of \"" + path + '"';
  auto reader = PcapReader::open(path);
  if (!reader) return std::move(reader).error();
  FrameBatch batch(1, kMaxSuperFrameBytes);
  std::vector<std::byte> frame;
  for (std::uint64_t seen = 0; seen < *number;) {
    batch.clear();
    const ReceiveResult got = reader->receive(batch);
    seen += got.frames;
    if (got.frames == 0 && got.error) return refuse("there is no " + which);
    if (!batch.frames().empty()) {
      const auto bytes = batch.frames()[0].bytes;
      frame.assign(bytes.begin(), bytes.end());
    }
  }
  const HeaderPlaces p = places_of(frame);
  const std::size_t vlans = ((p.ip == 0 ? p.probe : p.ip) - kEthernetHeaderBytes) / kVlanTagBytes;
  const bool fragment =
      p.ip != 0 && !p.v6 && ((frame[p.ip + 6] & std::byte{0xbf}) | frame[p.ip + 7]) != std::byte{0};
  if (p.ip == 0 || p.transport == 0 || fragment) {
    return refuse(which + " is not UDP or TCP over IPv4 or IPv6 without options and fragments");
  }
  std::vector<Layer> layers(vlans, Layer::vlan);
  layers.push_back(p.v6 ? Layer::ipv6 : Layer::ipv4);
  layers.push_back(p.tcp ? Layer::tcp : Layer::udp);
  if (auto done = lay_out(layers); !done) return done;
  made_.bytes_.assign(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(p.probe));
  made_.places_.transport_checksum = p.transport_checksum;
  return {};
}

Result<void> HeaderReader::read_varying(const Place& place, const Spec& spec, const Call& call) {
  using Order = HeaderTemplate::Field::Order;
  const std::string name = std::string(kLayerNames[static_cast<int>(spec.layer)]) + '.' + spec.name;
  const auto parts = parts_of(call.inside, ',');
  const auto refuse_form = [&] {
    return refuse(name + ": " + call.name +
                  " needs the least and the greatest value; a step is optional (such as " +
                  call.name + "(1,10) or " + call.name + "(1,10,2)); each is " +
                  kForms[static_cast<int>(spec.type)]);
  };
  if (!spec.varies) return refuse(name + " must be the same in all frames (write one value)");
  if (parts.size() < 2 || parts.size() > 3) return refuse_form();
  const auto min = value_of(spec.type, parts[0]);
  const auto max = value_of(spec.type, parts[1]);
  const auto step = parts.size() == 3 ? base::read_digits(parts[2]) : std::uint64_t{1};
  if (!min || !max || !step || *step == 0 || min->low > max->low) return refuse_form();
  if (min->high != max->high) {
    return refuse(name + ": both addresses must begin with the same 64 bits");
  }
  const std::uint64_t largest = spec.mask >> spec.shift;
  if (max->low > largest) {
    return refuse(name + " is at most " + std::to_string(largest));
  }
  std::size_t at = place.at + spec.at;
  if (spec.type == Type::ip6) {
    put(at, 8, min->high, kAll, 0);
    at += 8;
  }
  HeaderTemplate::Field field;
  field.at = at;
  field.bytes = std::min<std::size_t>(spec.bytes, 8);
  field.mask = spec.mask;
  field.shift = spec.shift;
  field.min = min->low;
  field.step = *step;
  field.count = (max->low - min->low) / *step;
  if (field.count == kAll) return refuse_form();
  ++field.count;
  field.order = call.name == "inc" ? Order::inc : call.name == "dec" ? Order::dec : Order::random;
  made_.fields_.push_back(field);
  return {};
}

Result<void> HeaderReader::read_field(const Place& place, const Spec& spec, std::string_view text) {
  const std::string name = std::string(kLayerNames[static_cast<int>(spec.layer)]) + '.' + spec.name;
  const auto call = call_of(text);
  if (call && call->has_inside &&
      (call->name == "inc" || call->name == "dec" || call->name == "random")) {
    return read_varying(place, spec, *call);
  }
  const auto value = value_of(spec.type, text);
  const std::uint64_t largest = spec.mask >> spec.shift;
  if (!value) {
    return refuse(name + ": \"" + std::string(text) + "\" is not a value (" +
                  kForms[static_cast<int>(spec.type)] + "; or inc, dec or random with two values)");
  }
  if (value->low > largest) return refuse(name + " is at most " + std::to_string(largest));
  std::size_t at = place.at + spec.at;
  if (spec.type == Type::ip6) {
    put(at, 8, value->high, kAll, 0);
    at += 8;
  }
  put(at, std::min<std::size_t>(spec.bytes, 8), value->low, spec.mask, spec.shift);
  return {};
}

Result<void> HeaderReader::read_fields(Place& place, std::string_view inside) {
  const std::string layer = kLayerNames[static_cast<int>(place.layer)];
  for (const std::string_view part : parts_of(inside, ',')) {
    const std::size_t equals = part.find('=');
    const std::string name = lower(part.substr(0, equals));
    const std::string_view text =
        equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1);
    if (place.layer == Layer::udp && name == "checksum" && (text == "0" || text == "1")) {
      made_.places_.transport_checksum = text == "0" ? 0 : place.at + 6;
      continue;
    }
    std::vector<std::string> known;
    const Spec* found = nullptr;
    for (const Spec& spec : kFields) {
      if (spec.layer != place.layer) continue;
      known.emplace_back(spec.name);
      if (name == spec.name) found = &spec;
    }
    if (place.layer == Layer::udp) known.emplace_back("checksum");
    if (found == nullptr || equals == std::string_view::npos) {
      std::string why = '"' + std::string(part) + "\" is not a field of ";
      why.append(layer);
      const char* before = " (";
      for (const std::string& each : known) why.append(std::exchange(before, ", ")).append(each);
      return refuse(why + "; write NAME=VALUE)");
    }
    Place at = place;
    // The type follows the tags.
    if (place.layer == Layer::eth && found->at == 12) {
      at.at = 4 * static_cast<std::size_t>(std::ranges::count(layout_, Layer::vlan, &Place::layer));
    }
    if (auto done = read_field(at, *found, text); !done) return done;
    if (place.layer == Layer::eth && found->at == 0) made_.own_destination_ = true;
    if (place.layer == Layer::eth && found->at == 6) made_.own_source_ = true;
  }
  return {};
}

Result<HeaderTemplate> HeaderReader::read(std::string_view text) {
  std::vector<Call> calls;
  for (const std::string_view part : parts_of(text, '/')) {
    const auto call = call_of(part);
    if (!call) return refuse("\"" + std::string(part) + "\" has no closing parenthesis");
    calls.push_back(*call);
  }
  std::vector<Layer> layers;
  const bool captured = is_capture(calls.front());
  for (std::size_t i = captured ? 1 : 0; i < calls.size(); ++i) {
    const auto* const known =
        std::ranges::find(kLayers, calls[i].name, &std::pair<std::string_view, Layer>::first);
    if (known == std::end(kLayers)) {
      return refuse('"' + calls[i].name +
                    "\" is not a layer (eth, vlan, ipv4, ipv6, udp, tcp, or pcap as the first)");
    }
    layers.push_back(known->second);
  }
  if (auto done = captured ? take_capture(calls.front().inside) : lay_out(layers); !done) {
    return std::move(done).error();
  }
  const HeaderPlaces given = made_.places_;
  made_.places_ = places_of(made_.bytes_);
  HeaderPlaces& p = made_.places_;
  if (p.transport != 0) p.transport_checksum = p.tcp ? p.transport + 16 : p.transport + 6;
  if (captured) p.transport_checksum = given.transport_checksum;
  for (std::size_t i = captured ? 1 : 0; i < calls.size(); ++i) {
    const Layer layer = layers[captured ? i - 1 : i];
    // If there are several tags, each text sets the next one.
    const auto place = std::ranges::find_if(
        layout_, [&](const Place& each) { return each.layer == layer && !each.fields_read; });
    if (place == layout_.end()) {
      return refuse(std::string("the frame of the capture has too few layers of type ") +
                    kLayerNames[static_cast<int>(layer)] + " (write no more than it has)");
    }
    place->fields_read = true;
    if (!calls[i].has_inside || calls[i].inside.empty()) continue;
    if (auto done = read_fields(*place, calls[i].inside); !done) return std::move(done).error();
  }
  if (p.transport_checksum == 0 && p.v6 && p.transport != 0) {
    return refuse("udp.checksum: UDP over IPv6 always has a checksum (RFC 8200, section 8.1)");
  }
  if (p.transport != 0) put(p.tcp ? p.transport + 16 : p.transport + 6, 2, 0, 0xffff, 0);
  if (places_of(made_.bytes_).probe != made_.bytes_.size()) {
    return refuse(
        "eth.type, vlan.tpid, ipv4.proto and ipv6.next must name the next header (leave them out "
        "if another layer follows)");
  }
  return std::move(made_);
}

std::string_view HeaderTemplate::capture_in(std::string_view text) {
  const auto first = call_of(parts_of(text, '/').front());
  if (!first || !is_capture(*first)) return {};
  return parts_of(first->inside, ',').front();
}

Result<HeaderTemplate> HeaderTemplate::parse(std::string_view text) {
  return HeaderReader().read(text);
}

}  // namespace shmif::perf
