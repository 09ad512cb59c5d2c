#include "bus/offload.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "bus/network_bytes.hpp"

namespace shmif::bus {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the CRC of SCTP is stored as it is in memory");

constexpr std::size_t kTcpChecksumOffset = 16;
constexpr std::size_t kUdpChecksumOffset = 6;
constexpr std::size_t kSctpChecksumOffset = 8;
constexpr std::uint8_t kTcpFin = 0x01;
constexpr std::uint8_t kTcpPush = 0x08;
constexpr std::uint8_t kTcpCwr = 0x80;

/// Writes the checksum that completes `sum`. In UDP, 0 means "no checksum", so 0 is written as the
/// other zero of one's complement (RFC 768). In TCP that would look wrong to some receivers.
void put_checksum(std::span<std::byte> b, std::size_t at, bool udp, std::uint16_t sum) {
  const auto checksum = static_cast<std::uint16_t>(~sum);
  put_sum(b, at, udp && checksum == 0 ? 0xffff : checksum);
}

/// Where the headers of an IP frame are.
struct Headers {
  bool ok = false;
  bool v6 = false;
  std::uint8_t protocol = 0;
  std::size_t l3 = 0;
  std::size_t l4 = 0;
};

/// Walks IPv6's extension headers to the transport header (RFC 8200 section 4). Bounded: each step
/// advances at least 8 bytes. Stops at a routing header that still has hops to go, because the
/// pseudo header then has another destination than the IPv6 header.
void find_transport6(std::span<const std::byte> f, Headers& h) {
  h.protocol = get8(f, h.l3 + 6);
  h.l4 = h.l3 + kIpv6Bytes;
  while (h.protocol == IPPROTO_HOPOPTS || h.protocol == IPPROTO_ROUTING ||
         h.protocol == IPPROTO_DSTOPTS) {
    if (h.l4 + 8 > f.size()) return;
    if (h.protocol == IPPROTO_ROUTING && get8(f, h.l4 + 3) != 0) return;
    h.protocol = get8(f, h.l4);
    h.l4 += std::size_t{8} * (1U + get8(f, h.l4 + 1));
  }
  h.ok = h.l4 <= f.size();
}

Headers find_headers(std::span<const std::byte> f) {
  Headers h;
  if (f.size() < kEthernetHeaderBytes) return h;
  const std::size_t type_at = ether_type_at(f);
  const std::uint16_t type = get16(f, type_at);
  h.l3 = type_at + 2;
  if (type == 0x0800 && h.l3 + kIpv4MinBytes <= f.size() && get8(f, h.l3) >> 4U == 4) {
    const std::size_t header_bytes = std::size_t{4} * (get8(f, h.l3) & 15U);
    h.protocol = get8(f, h.l3 + 9);
    h.l4 = h.l3 + header_bytes;
    h.ok = header_bytes >= kIpv4MinBytes && h.l4 <= f.size();
  } else if (type == 0x86dd && h.l3 + kIpv6Bytes <= f.size() && get8(f, h.l3) >> 4U == 6) {
    h.v6 = true;
    find_transport6(f, h);
  }
  return h;
}

/// CRC32c (RFC 9260 appendix A), one nibble at a time: SCTP without offloads is rare here.
std::uint32_t crc32c(std::span<const std::byte> bytes) {
  static constexpr std::array<std::uint32_t, 16> kTable = [] {
    std::array<std::uint32_t, 16> t{};
    for (std::uint32_t i = 0; i < 16; ++i) {
      std::uint32_t v = i;
      for (int bit = 0; bit < 4; ++bit) v = (v >> 1U) ^ ((v & 1U) != 0 ? 0x82f63b78U : 0U);
      t[i] = v;
    }
    return t;
  }();
  std::uint32_t crc = 0xffffffffU;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    crc = (crc >> 4U) ^ kTable[crc & 15U];
    crc = (crc >> 4U) ^ kTable[crc & 15U];
  }
  return ~crc;
}

/// The sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
std::uint32_t pseudo_header_sum(std::span<const std::byte> f, std::size_t l3, bool v6,
                                std::uint8_t protocol, std::size_t l4_bytes) {
  const std::span<const std::byte> addresses = v6 ? f.subspan(l3 + 8, 32) : f.subspan(l3 + 12, 8);
  std::array<std::byte, 4> rest{};
  put16(rest, 0, l4_bytes);  // at most 65535 here
  rest[3] = static_cast<std::byte>(protocol);
  return std::uint32_t{internet_sum(addresses)} + internet_sum(rest);
}

}  // namespace

std::uint16_t internet_sum(std::span<const std::byte> bytes, std::uint32_t start) noexcept {
  // Sums of 32-bit words in 64 bits cannot overflow below 16 GiB. One's complement addition works
  // with any word size and byte order (RFC 1071 section 2).
  std::uint64_t sum = start;
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 4; left -= 4, p += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, p, sizeof word);
    sum += word;
  }
  if (left > 0) {
    std::uint32_t word = 0;
    std::memcpy(&word, p, left);
    sum += word;
  }
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(sum);
}

bool finish_checksum(std::span<std::byte> frame, const Offload& offload) noexcept {
  const std::size_t start = offload.csum_start;
  const std::size_t field = start + offload.csum_offset;
  if (field + 2 > frame.size()) return false;
  if (offload.csum_offset == kSctpChecksumOffset && field + 4 <= frame.size()) {
    const Headers h = find_headers(frame);
    if (h.ok && h.l4 == start && h.protocol == IPPROTO_SCTP) {
      std::memset(frame.data() + field, 0, 4);
      const std::uint32_t crc = crc32c(frame.subspan(start));
      std::memcpy(frame.data() + field, &crc, sizeof crc);  // least significant byte first
      return true;
    }
  }
  put_checksum(frame, field, offload.csum_offset == kUdpChecksumOffset,
               internet_sum(frame.subspan(start)));
  return true;
}

bool Segmenter::begin(std::span<const std::byte> frame, const Offload& offload) noexcept {
  frame_ = {};
  next_ = 0;
  const std::uint8_t type = offload.gso_type & static_cast<std::uint8_t>(~Offload::kGsoEcn);
  const Headers h = find_headers(frame);
  if (!h.ok || offload.gso_size == 0) return false;
  if (offload.needs_checksum() && offload.csum_start != h.l4) return false;
  tcp_ = type == Offload::kGsoTcp4 || type == Offload::kGsoTcp6;
  if (!tcp_ && type != Offload::kGsoUdp) return false;
  if (tcp_ && h.v6 != (type == Offload::kGsoTcp6)) return false;
  if (h.protocol != (tcp_ ? IPPROTO_TCP : IPPROTO_UDP)) return false;
  if (offload.needs_checksum() &&
      offload.csum_offset != (tcp_ ? kTcpChecksumOffset : kUdpChecksumOffset))
    return false;

  std::size_t l4_bytes = kUdpBytes;
  if (tcp_) {
    if (h.l4 + kTcpMinBytes > frame.size()) return false;
    l4_bytes = std::size_t{4} * (get8(frame, h.l4 + 12) >> 4U);
    if (l4_bytes < kTcpMinBytes) return false;
  }
  payload_ = h.l4 + l4_bytes;
  if (payload_ >= frame.size()) return false;  // also if the payload is empty
  const std::size_t payload_bytes = frame.size() - payload_;
  const std::size_t mss = offload.gso_size + (tcp_ ? l4_bytes - kTcpMinBytes : 0);
  const bool small = !tcp_ || mss < kMinTcpMss;
  if (small && payload_bytes > kMaxSegments * offload.gso_size) return false;
  gso_size_ = std::min<std::size_t>(offload.gso_size, payload_bytes);
  // The lengths that next() writes must fit 16 bits.
  if (payload_ - h.l3 + gso_size_ > 0xffff) return false;
  frame_ = frame;
  l3_ = h.l3;
  l4_ = h.l4;
  v6_ = h.v6;
  next_ = payload_;
  index_ = 0;
  return true;
}

std::size_t Segmenter::next_bytes() const noexcept {
  if (done()) return 0;
  return payload_ + std::min(gso_size_, frame_.size() - next_);
}

std::size_t Segmenter::next(std::span<std::byte> into) noexcept {
  const std::size_t size = next_bytes();
  if (size == 0 || into.size() < size) return 0;
  const std::size_t payload_bytes = size - payload_;
  const std::span<std::byte> out = into.first(size);
  std::memcpy(out.data(), frame_.data(), payload_);
  std::memcpy(out.data() + payload_, frame_.data() + next_, payload_bytes);
  const bool first = next_ == payload_;
  const bool last = next_ + payload_bytes == frame_.size();

  if (v6_) {
    put16(out, l3_ + 4, size - l3_ - kIpv6Bytes);
  } else {
    put16(out, l3_ + 2, size - l3_);
    put16(out, l3_ + 4, get16(frame_, l3_ + 4) + std::size_t{index_});
    put_sum(out, l3_ + 10, 0);
    put_sum(out, l3_ + 10, static_cast<std::uint16_t>(~internet_sum(out.subspan(l3_, l4_ - l3_))));
  }

  std::size_t checksum_at = l4_ + 6;
  if (tcp_) {
    checksum_at = l4_ + 16;
    put32(out, l4_ + 4, get32(frame_, l4_ + 4) + static_cast<std::uint32_t>(next_ - payload_));
    std::uint8_t flags = get8(frame_, l4_ + 13);
    if (!last) flags &= static_cast<std::uint8_t>(~(kTcpFin | kTcpPush));
    if (!first) flags &= static_cast<std::uint8_t>(~kTcpCwr);
    out[l4_ + 13] = static_cast<std::byte>(flags);
  } else {
    put16(out, l4_ + 4, size - l4_);
  }
  put_sum(out, checksum_at, 0);
  const std::uint8_t protocol = tcp_ ? IPPROTO_TCP : IPPROTO_UDP;
  const std::uint32_t pseudo = pseudo_header_sum(frame_, l3_, v6_, protocol, size - l4_);
  put_checksum(out, checksum_at, !tcp_, internet_sum(out.subspan(l4_), pseudo));

  next_ += payload_bytes;
  ++index_;
  return size;
}

bool is_unfinished_datagram(const FrameView& frame) noexcept {
  const Offload& left = frame.offload;
  if (!left.needs_checksum() || left.is_super_frame() || left.csum_offset != kUdpChecksumOffset ||
      frame.size() > kMaxSmallDatagram || frame.truncated()) {
    return false;
  }
  const Headers h = find_headers(frame.bytes);
  return h.ok && h.protocol == IPPROTO_UDP && h.l4 == left.csum_start &&
         h.l4 + kUdpBytes <= frame.size();
}

FinishedDatagram finish_datagram(const FrameView& frame) noexcept {
  const std::size_t start = frame.offload.csum_start;
  const std::size_t field = start + kUdpChecksumOffset;
  const auto checksum = static_cast<std::uint16_t>(~internet_sum(frame.bytes.subspan(start)));
  return {.before = frame.bytes.first(field),
          .after = frame.bytes.subspan(field + 2),
          .checksum = checksum == 0 ? std::uint16_t{0xffff} : checksum};
}

std::size_t segments_of_super_frame(const FrameView& frame) noexcept {
  Segmenter segments;
  return segments.begin(frame.bytes, frame.offload) ? segments.remaining() : 1;
}

bool is_deliverable(std::span<const std::byte> frame, const Offload& offload,
                    std::size_t longest) noexcept {
  if (!offload.is_super_frame()) return frame.size() <= longest;
  Segmenter segments;
  return segments.begin(frame, offload) && segments.next_bytes() <= longest;
}

}  // namespace shmif::bus
