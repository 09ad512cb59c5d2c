#pragma once
// TCP and UDP frames as a kernel hands them to a network card: whole, with an unfinished checksum,
// or as a super-frame; and checks of what a receiver gets.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "bus/frame.hpp"

namespace shmif::test {

using Bytes = std::vector<std::byte>;

inline unsigned u8(const Bytes& b, std::size_t at) {
  return std::to_integer<unsigned>(b.at(at));
}
inline unsigned u16(const Bytes& b, std::size_t at) {
  return u8(b, at) << 8U | u8(b, at + 1);
}
inline unsigned u32(const Bytes& b, std::size_t at) {
  return u16(b, at) << 16U | u16(b, at + 2);
}
inline void set16(Bytes& b, std::size_t at, std::size_t v) {
  b.at(at) = static_cast<std::byte>(v >> 8U);
  b.at(at + 1) = static_cast<std::byte>(v);
}
inline void set32(Bytes& b, std::size_t at, unsigned v) {
  set16(b, at, v >> 16U);
  set16(b, at + 2, v & 0xffffU);
}

/// RFC 1071 as its text says it: 16-bit words, most significant byte first, end-around carry.
inline unsigned plain_sum(const Bytes& b, std::size_t from, std::size_t to, unsigned sum = 0) {
  for (std::size_t i = from; i < to; i += 2) {
    sum += u8(b, i) << 8U | (i + 1 < to ? u8(b, i + 1) : 0U);
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return sum;
}

struct Shape {
  bool v6 = false;
  bool tcp = true;
  unsigned tags = 0;
  unsigned l4_options = 0;  ///< bytes of TCP options
  unsigned ip_options = 0;  ///< bytes of IPv4 options, or of one IPv6 extension header
  std::size_t l3() const { return 14 + 4 * tags; }
  std::size_t l4() const { return l3() + (v6 ? 40 : 20) + ip_options; }
  std::size_t payload() const { return l4() + (tcp ? 20 + l4_options : 8); }
};

inline unsigned pseudo_sum(const Shape& s, const Bytes& f) {
  const std::size_t length = f.size() - s.l4();
  const std::size_t addresses = s.l3() + (s.v6 ? 8 : 12);
  const unsigned sum = plain_sum(f, addresses, addresses + (s.v6 ? 32 : 8));
  return sum + static_cast<unsigned>(length) + (s.tcp ? 6U : 17U);
}

inline bool transport_checksum_holds(const Shape& s, const Bytes& f) {
  return plain_sum(f, s.l4(), f.size(), pseudo_sum(s, f)) == 0xffff;
}

inline bool header_checksum_holds(const Shape& s, const Bytes& f) {
  return s.v6 || plain_sum(f, s.l3(), s.l4()) == 0xffff;
}

/// A frame as the kernel hands it over: right headers, checksum unfinished.
inline Bytes build(const Shape& s, std::size_t payload_bytes, unsigned seed) {
  std::mt19937 random(seed);
  Bytes f(s.payload() + payload_bytes);
  for (std::byte& b : f) b = static_cast<std::byte>(random());
  std::size_t at = 12;
  for (unsigned t = 0; t < s.tags; ++t, at += 4) set16(f, at, t + 1 < s.tags ? 0x88a8 : 0x8100);
  set16(f, at, s.v6 ? 0x86dd : 0x0800);
  const unsigned protocol = s.tcp ? 6U : 17U;
  if (s.v6) {
    f[s.l3()] = std::byte{0x60};
    set16(f, s.l3() + 4, f.size() - s.l3() - 40);
    f[s.l3() + 6] = static_cast<std::byte>(s.ip_options > 0 ? 60U : protocol);
    if (s.ip_options > 0) {
      f[s.l3() + 40] = static_cast<std::byte>(protocol);
      f[s.l3() + 41] = static_cast<std::byte>(s.ip_options / 8 - 1);
    }
  } else {
    f[s.l3()] = static_cast<std::byte>(0x40 | (20 + s.ip_options) / 4);
    set16(f, s.l3() + 2, std::min<std::size_t>(f.size() - s.l3(), 0xffff));
    f[s.l3() + 9] = static_cast<std::byte>(protocol);
    set16(f, s.l3() + 10, 0);
    set16(f, s.l3() + 10, ~plain_sum(f, s.l3(), s.l4()) & 0xffffU);
  }
  if (s.tcp) {
    f[s.l4() + 12] = static_cast<std::byte>((20 + s.l4_options) / 4 << 4U);
    f[s.l4() + 13] = std::byte{0x99};  // CWR, ACK, PSH, FIN
  } else {
    set16(f, s.l4() + 4, f.size() - s.l4());
  }
  const unsigned pseudo = pseudo_sum(s, f);
  set16(f, s.l4() + (s.tcp ? 16 : 6), (pseudo & 0xffffU) + (pseudo >> 16U));
  return f;
}

inline Offload header_for(const Shape& s, std::uint16_t gso_size) {
  Offload h;
  h.flags = Offload::kNeedsChecksum;
  h.gso_type = gso_size == 0 ? Offload::kGsoNone
               : !s.tcp      ? Offload::kGsoUdp
               : s.v6        ? Offload::kGsoTcp6
                             : Offload::kGsoTcp4;
  h.gso_size = gso_size;
  h.csum_start = static_cast<std::uint16_t>(s.l4());
  h.csum_offset = s.tcp ? 16 : 6;
  return h;
}

}  // namespace shmif::test
