#include "tap/offload.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace shmif::tap {
namespace {

using Bytes = std::vector<std::byte>;

unsigned u8(const Bytes& b, std::size_t at) {
  return std::to_integer<unsigned>(b.at(at));
}
unsigned u16(const Bytes& b, std::size_t at) {
  return u8(b, at) << 8U | u8(b, at + 1);
}
unsigned u32(const Bytes& b, std::size_t at) {
  return u16(b, at) << 16U | u16(b, at + 2);
}
void set16(Bytes& b, std::size_t at, std::size_t v) {
  b.at(at) = static_cast<std::byte>(v >> 8U);
  b.at(at + 1) = static_cast<std::byte>(v);
}
void set32(Bytes& b, std::size_t at, unsigned v) {
  set16(b, at, v >> 16U);
  set16(b, at + 2, v & 0xffffU);
}

/// RFC 1071 as its text says it: 16-bit words, most significant byte first, end-around carry.
unsigned plain_sum(const Bytes& b, std::size_t from, std::size_t to, unsigned sum = 0) {
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

unsigned pseudo_sum(const Shape& s, const Bytes& f) {
  const std::size_t length = f.size() - s.l4();
  const std::size_t addresses = s.l3() + (s.v6 ? 8 : 12);
  const unsigned sum = plain_sum(f, addresses, addresses + (s.v6 ? 32 : 8));
  return sum + static_cast<unsigned>(length) + (s.tcp ? 6U : 17U);
}

bool transport_checksum_holds(const Shape& s, const Bytes& f) {
  return plain_sum(f, s.l4(), f.size(), pseudo_sum(s, f)) == 0xffff;
}

bool header_checksum_holds(const Shape& s, const Bytes& f) {
  return s.v6 || plain_sum(f, s.l3(), s.l4()) == 0xffff;
}

/// A frame as the kernel hands it over: right headers, checksum unfinished.
Bytes build(const Shape& s, std::size_t payload_bytes, unsigned seed) {
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

VnetHeader header_for(const Shape& s, std::uint16_t gso_size) {
  VnetHeader h;
  h.flags = VnetHeader::kNeedsChecksum;
  h.gso_type = gso_size == 0 ? VnetHeader::kGsoNone
               : !s.tcp      ? VnetHeader::kGsoUdp
               : s.v6        ? VnetHeader::kGsoTcp6
                             : VnetHeader::kGsoTcp4;
  h.gso_size = gso_size;
  h.csum_start = static_cast<std::uint16_t>(s.l4());
  h.csum_offset = s.tcp ? 16 : 6;
  return h;
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const bool v6 : {false, true}) {
    for (const bool tcp : {false, true}) {
      for (const unsigned tags : {0U, 1U, 2U}) {
        for (const unsigned options : {0U, 8U, 24U}) {
          all.push_back(
              {.v6 = v6, .tcp = tcp, .tags = tags, .l4_options = 0, .ip_options = options});
          if (tcp)
            all.push_back(
                {.v6 = v6, .tcp = true, .tags = tags, .l4_options = 12, .ip_options = options});
        }
      }
    }
  }
  return all;
}

TEST(InternetSum, AgreesWithTheRfcForEveryLengthAndAlignment) {
  std::mt19937 random(1);
  Bytes b(200);
  for (std::byte& x : b) x = static_cast<std::byte>(random());
  for (std::size_t from = 0; from < 8; ++from) {
    for (std::size_t size = 0; from + size <= b.size(); ++size) {
      const std::uint16_t sum = internet_sum(std::span(b).subspan(from, size));
      std::array<std::byte, 2> wire{};
      std::memcpy(wire.data(), &sum, 2);
      const unsigned got =
          std::to_integer<unsigned>(wire[0]) << 8U | std::to_integer<unsigned>(wire[1]);
      ASSERT_EQ(got % 0xffff, plain_sum(b, from, from + size) % 0xffff) << from << " " << size;
    }
  }
}

TEST(FinishChecksum, MakesEveryUnfinishedFrameValid) {
  for (const Shape& s : shapes()) {
    for (std::size_t payload = 0; payload < 70; ++payload) {
      Bytes f = build(s, payload, static_cast<unsigned>(payload));
      const Bytes before = f;
      ASSERT_TRUE(finish_checksum(f, header_for(s, 0)));
      ASSERT_TRUE(transport_checksum_holds(s, f));
      set16(f, s.l4() + (s.tcp ? 16 : 6), u16(before, s.l4() + (s.tcp ? 16 : 6)));
      ASSERT_EQ(f, before) << "nothing but the checksum may change";
    }
  }
}

TEST(FinishChecksum, NeverWritesAUdpChecksumThatMeansNone) {
  const Shape s{.v6 = false, .tcp = false};
  for (unsigned last = 0; last < 0x10000; ++last) {
    Bytes f = build(s, 2, 7);
    set16(f, s.payload(), last);
    ASSERT_TRUE(finish_checksum(f, header_for(s, 0)));
    ASSERT_NE(u16(f, s.l4() + 6), 0U);
  }
}

TEST(FinishChecksum, ComputesTheCrcOfSctp) {
  // The check value of CRC-32C for "123456789" is 0xe3069283 (RFC 3720 appendix B.4 polynomial).
  // Here the nine digits follow a common header whose CRC is known from an independent bitwise
  // computation.
  Shape s{.v6 = false, .tcp = false};
  Bytes f = build(s, 9 + 4, 3);
  f[s.l3() + 9] = std::byte{IPPROTO_SCTP};
  const std::size_t l4 = s.l4();
  std::memcpy(f.data() + l4 + 12, "123456789", 9);
  VnetHeader h = header_for(s, 0);
  h.csum_offset = 8;
  ASSERT_TRUE(finish_checksum(f, h));
  Bytes zeroed = f;
  set32(zeroed, l4 + 8, 0);
  std::uint32_t crc = 0xffffffffU;
  for (std::size_t i = l4; i < zeroed.size(); ++i) {
    crc ^= u8(zeroed, i);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  std::uint32_t got = 0;
  std::memcpy(&got, f.data() + l4 + 8, 4);
  EXPECT_EQ(got, ~crc);
}

TEST(FinishChecksum, RefusesAFieldOutsideTheFrame) {
  Bytes f(60);
  VnetHeader h;
  h.csum_start = 50;
  h.csum_offset = 9;
  EXPECT_FALSE(finish_checksum(f, h));
  h.csum_start = 0xffff;
  h.csum_offset = 0xffff;
  EXPECT_FALSE(finish_checksum(f, h));
  EXPECT_EQ(f, Bytes(60));
}

TEST(Segmenter, MakesValidFramesThatCarryEveryByteOnceInOrder) {
  for (const Shape& s : shapes()) {
    for (const std::size_t payload : {1U, 99U, 100U, 101U, 1000U, 65000U}) {
      for (const std::uint16_t gso : {std::uint16_t{100}, std::uint16_t{1448}}) {
        const Bytes big = build(s, payload, 5);
        Segmenter cutter;
        ASSERT_TRUE(cutter.begin(big, header_for(s, gso)));
        std::size_t at = 0;
        unsigned index = 0;
        while (!cutter.done()) {
          Bytes f(cutter.next_bytes());
          ASSERT_EQ(cutter.next(f), f.size());
          const std::size_t carried = f.size() - s.payload();
          const bool last = at + carried == payload;
          ASSERT_EQ(carried, last ? payload - at : gso);
          ASSERT_TRUE(transport_checksum_holds(s, f));
          ASSERT_TRUE(header_checksum_holds(s, f));
          ASSERT_TRUE(std::equal(f.begin() + static_cast<std::ptrdiff_t>(s.payload()), f.end(),
                                 big.begin() + static_cast<std::ptrdiff_t>(s.payload() + at)));
          ASSERT_TRUE(
              std::equal(f.begin(), f.begin() + static_cast<std::ptrdiff_t>(s.l3()), big.begin()));
          if (s.v6) {
            ASSERT_EQ(u16(f, s.l3() + 4), f.size() - s.l3() - 40);
          } else {
            ASSERT_EQ(u16(f, s.l3() + 2), f.size() - s.l3());
            ASSERT_EQ(u16(f, s.l3() + 4), (u16(big, s.l3() + 4) + index) & 0xffffU);
          }
          if (s.tcp) {
            ASSERT_EQ(u32(f, s.l4() + 4), u32(big, s.l4() + 4) + at);
            const unsigned flags = u8(f, s.l4() + 13);
            ASSERT_EQ(flags, 0x10U | (last ? 0x09U : 0U) | (at == 0 ? 0x80U : 0U));
          } else {
            ASSERT_EQ(u16(f, s.l4() + 4), f.size() - s.l4());
          }
          at += carried;
          ++index;
        }
        ASSERT_EQ(at, payload);
        ASSERT_EQ(cutter.next_bytes(), 0U);
      }
    }
  }
}

TEST(Segmenter, WaitsForRoom) {
  const Shape s;
  const Bytes big = build(s, 300, 1);
  Segmenter cutter;
  ASSERT_TRUE(cutter.begin(big, header_for(s, 100)));
  Bytes small(cutter.next_bytes() - 1);
  EXPECT_EQ(cutter.next(small), 0U);
  EXPECT_FALSE(cutter.done());
}

TEST(Segmenter, RefusesWhatTheHeaderDoesNotDescribe) {
  const Shape s;
  const Bytes big = build(s, 300, 1);
  Segmenter cutter;
  const auto refused = [&](auto change) {
    VnetHeader h = header_for(s, 100);
    Bytes f = big;
    change(h, f);
    return !cutter.begin(f, h) && cutter.done();
  };
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_size = 0; }));
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_type = VnetHeader::kGsoTcp6; }));
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_type = VnetHeader::kGsoUdp; }));
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_type = 3; }));  // UFO, gone from Linux since 4.14
  EXPECT_TRUE(refused([](auto& h, auto&) { h.csum_start = 33; }));
  EXPECT_TRUE(refused([](auto&, auto& f) { f.resize(54); }));  // no payload
  EXPECT_TRUE(refused([](auto&, auto& f) { f.resize(13); }));
  EXPECT_TRUE(refused([](auto&, auto& f) { f[14] = std::byte{0x44}; }));  // IPv4 header of 16 bytes
  EXPECT_TRUE(refused([](auto&, auto& f) { f[46] = std::byte{0x40}; }));  // TCP header of 16 bytes
  EXPECT_TRUE(refused([](auto&, auto& f) {
    f[46] = std::byte{0xf0};
    f.resize(93);
  }));
}

TEST(Offload, SurvivesEveryHeaderOverEveryBytes) {
  std::mt19937 random(20240701);
  unsigned cut = 0;
  for (int round = 0; round < 200000; ++round) {
    const auto all = shapes();
    const Shape& s = all[random() % all.size()];
    Bytes f = build(s, random() % 200, static_cast<unsigned>(random()));
    f.resize(random() % (f.size() + 1));
    for (unsigned i = random() % 4; i > 0 && !f.empty(); --i) {
      f[random() % std::min<std::size_t>(f.size(), 64)] = static_cast<std::byte>(random());
    }
    VnetHeader h = header_for(s, static_cast<std::uint16_t>(random() % 300));
    if (random() % 4 == 0) h.csum_start = static_cast<std::uint16_t>(random());
    if (random() % 4 == 0) h.gso_type = static_cast<std::uint8_t>(random());
    Segmenter cutter;
    if (cutter.begin(f, h)) {
      Bytes out;
      for (int limit = 0; !cutter.done() && limit < 1000; ++limit) {
        out.assign(cutter.next_bytes(), std::byte{});
        ASSERT_GT(cutter.next(out), 0U);
        ++cut;
      }
      ASSERT_TRUE(cutter.done());
    }
    (void)finish_checksum(f, h);
  }
  EXPECT_GT(cut, 1000U) << "the generator makes frames that are cut at all";
}

}  // namespace
}  // namespace shmif::tap
