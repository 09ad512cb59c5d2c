#include "bus/offload.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/super_frames.hpp"

namespace shmif::bus {
namespace {

using namespace shmif::test;

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

TEST(FinishDatagram, FinishesSmallDatagramsAndNothingElse) {
  for (const Shape& s : shapes()) {
    for (const std::size_t payload : {0U, 1U, 2U, 300U, 1472U}) {
      const Bytes f = build(s, payload, static_cast<unsigned>(payload));
      FrameView view(f.data(), f.size());
      view.offload = header_for(s, 0);
      ASSERT_EQ(is_unfinished_datagram(view), !s.tcp);
      if (s.tcp) continue;
      const FinishedDatagram parts = finish_datagram(view);
      Bytes whole(parts.before.begin(), parts.before.end());
      for (const std::byte b : parts.checksum_bytes()) whole.push_back(b);
      whole.insert(whole.end(), parts.after.begin(), parts.after.end());
      Bytes expected = f;
      ASSERT_TRUE(finish_checksum(expected, view.offload));
      EXPECT_EQ(whole, expected);
      const auto with = [&](auto change) {
        FrameView other = view;
        change(other.offload);
        return is_unfinished_datagram(other);
      };
      EXPECT_FALSE(with([](Offload& o) { o = {}; })) << "it is finished";
      EXPECT_FALSE(with([](Offload& o) { o.gso_type = Offload::kGsoUdp; })) << "a super-frame";
      EXPECT_FALSE(with([](Offload& o) { o.csum_start += 8; })) << "inside a tunnel";
      EXPECT_FALSE(with([](Offload& o) { o.csum_offset = 16; })) << "TCP inside a tunnel";
      EXPECT_FALSE(with([](Offload& o) { o.csum_start = 0xffff; }));
      FrameView shortened(f.data(), s.payload() - 1);
      shortened.offload = view.offload;
      EXPECT_FALSE(is_unfinished_datagram(shortened)) << "no whole header";
    }
    const Bytes large = build(s, kMaxSmallDatagram, 1);
    FrameView view(large.data(), large.size());
    view.offload = header_for(s, 0);
    EXPECT_FALSE(is_unfinished_datagram(view)) << "too large to be small";
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
  Bytes unfinished = build(s, 2, 7);
  unsigned zeros = 0;
  for (unsigned last = 0; last < 0x10000; ++last) {
    set16(unfinished, s.payload(), last);
    Bytes f = unfinished;
    ASSERT_TRUE(finish_checksum(f, header_for(s, 0)));
    ASSERT_NE(u16(f, s.l4() + 6), 0U);
    if (u16(f, s.l4() + 6) != 0xffff) continue;
    // The two other ways that a datagram is finished.
    ++zeros;
    FrameView view(unfinished.data(), unfinished.size());
    view.offload = header_for(s, 0);
    const FinishedDatagram parts = finish_datagram(view);
    EXPECT_EQ(u16(Bytes(parts.checksum_bytes().begin(), parts.checksum_bytes().end()), 0), 0xffffU);
    Bytes segment(unfinished.size());
    Segmenter segments;
    ASSERT_TRUE(segments.begin(unfinished, header_for(s, 2)));
    segments.next(segment);
    EXPECT_EQ(u16(segment, s.l4() + 6), 0xffffU);
  }
  EXPECT_GT(zeros, 0U);
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
  Offload h = header_for(s, 0);
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
  Offload h;
  h.csum_start = 50;
  h.csum_offset = 9;
  EXPECT_FALSE(finish_checksum(f, h));
  h.csum_start = 0xffff;
  h.csum_offset = 0xffff;
  EXPECT_FALSE(finish_checksum(f, h));
  EXPECT_EQ(f, Bytes(60));
  h.csum_start = 50;
  h.csum_offset = 8;
  EXPECT_TRUE(finish_checksum(f, h)) << "the last two bytes are inside";
  EXPECT_EQ(f[57], std::byte{0});
  EXPECT_EQ(f[58], std::byte{0xff});
  EXPECT_EQ(f[59], std::byte{0xff});
}

TEST(Segmenter, MakesValidFramesThatCarryEveryByteOnceInOrder) {
  for (const Shape& s : shapes()) {
    for (const std::size_t payload : {1U, 99U, 100U, 101U, 1000U, 65000U}) {
      for (const std::uint16_t gso : {std::uint16_t{100}, std::uint16_t{1448}}) {
        if (!s.tcp && payload > kMaxSegments * gso) continue;
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

TEST(Segmenter, MakesNoMoreFramesOfOneThanLinuxWould) {
  const auto pieces = [](const Shape& s, std::size_t payload, std::uint16_t gso) {
    const Bytes big = build(s, payload, 1);
    Segmenter cutter;
    if (!cutter.begin(big, header_for(s, gso))) return std::size_t{0};
    std::size_t count = 0;
    for (Bytes out(big.size()); cutter.next(out) != 0;) ++count;
    return count;
  };
  const Shape udp{.tcp = false};
  EXPECT_EQ(pieces(udp, 128 * 500, 500), 128U);
  EXPECT_EQ(pieces(udp, 128 * 500 + 1, 500), 0U);
  EXPECT_EQ(pieces(udp, 128, 1), 128U);
  // The least MSS of Linux is 48 bytes, options included.
  const Shape tcp{};
  const Shape timestamps{.l4_options = 12};
  const Shape all_options{.l4_options = 40};
  EXPECT_EQ(pieces(tcp, 65'000, 48), 1'355U);
  EXPECT_EQ(pieces(tcp, 65'000, 47), 0U);
  EXPECT_EQ(pieces(timestamps, 65'000, 36), 1'806U);
  EXPECT_EQ(pieces(timestamps, 65'000, 35), 0U);
  EXPECT_EQ(pieces(all_options, 65'000, 8), 8'125U);
  EXPECT_EQ(pieces(all_options, 65'000, 7), 0U);
  // What a network card merged: few, but they may be smaller than any MSS.
  EXPECT_EQ(pieces(tcp, 128, 1), 128U);
  EXPECT_EQ(pieces(tcp, 129, 1), 0U);
}

TEST(Segmenter, RefusesARoutingHeaderThatNamesAnotherDestination) {
  const Shape shape{.v6 = true, .ip_options = 8};
  Bytes frame = build(shape, 300, 1);
  const std::size_t extension = shape.l3() + 40;
  frame[shape.l3() + 6] = std::byte{43};  // it is a routing header now
  Segmenter cutter;
  frame[extension + 3] = std::byte{0};  // the number of segments left
  EXPECT_TRUE(cutter.begin(frame, header_for(shape, 100)));
  frame[extension + 3] = std::byte{1};
  EXPECT_FALSE(cutter.begin(frame, header_for(shape, 100)));
}

/// One Segmenter serves all super-frames of a port, one after the other, some not to their end.
TEST(Segmenter, TakesASuperFrameOfAConnectionWithEcnLikeAnyOther) {
  for (const Shape& s : shapes()) {
    if (!s.tcp) continue;
    const Bytes big = build(s, 250, 1);
    const auto pieces = [&](const Offload& header) {
      Segmenter cutter;
      std::vector<Bytes> all;
      EXPECT_TRUE(cutter.begin(big, header));
      while (!cutter.done()) {
        Bytes& out = all.emplace_back(cutter.next_bytes());
        EXPECT_EQ(cutter.next(out), out.size());
      }
      return all;
    };
    const Offload plain = header_for(s, 100);
    Offload marked = plain;
    marked.gso_type |= Offload::kGsoEcn;
    EXPECT_EQ(pieces(plain).size(), 3U);
    EXPECT_EQ(pieces(marked), pieces(plain));
  }
}

TEST(Segmenter, BeginsEachSuperFrameAnew) {
  const Shape s;
  const auto pieces = [&s](Segmenter& cutter, std::size_t max) {
    const Bytes big = build(s, 300, 1);
    std::vector<Bytes> all;
    EXPECT_TRUE(cutter.begin(big, header_for(s, 100)));
    for (Bytes out(cutter.next_bytes()); all.size() < max && cutter.next(out) != 0;) {
      all.push_back(out);
    }
    return all;
  };
  Segmenter fresh;
  const std::vector<Bytes> should = pieces(fresh, 3);
  ASSERT_EQ(should.size(), 3U);
  Segmenter used;
  for (const std::size_t max : {3U, 2U, 3U}) {
    const std::vector<Bytes> is = pieces(used, max);
    EXPECT_EQ(is, std::vector<Bytes>(should.begin(), should.begin() + std::ssize(is)));
  }
  const Bytes nonsense(60);
  EXPECT_FALSE(used.begin(nonsense, header_for(s, 100)));
  EXPECT_TRUE(used.done()) << "nothing of the last one is left";
}

TEST(Segmenter, RefusesWhatTheHeaderDoesNotDescribe) {
  const Shape s;
  const Bytes big = build(s, 300, 1);
  Segmenter cutter;
  const auto refused = [&](auto change) {
    Offload h = header_for(s, 100);
    Bytes f = big;
    change(h, f);
    return !cutter.begin(f, h) && cutter.done();
  };
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_size = 0; }));
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_type = Offload::kGsoTcp6; }));
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_type = Offload::kGsoUdp; }));
  EXPECT_TRUE(refused([](auto& h, auto&) { h.gso_type = 3; }));  // UFO, gone from Linux since 4.14
  EXPECT_TRUE(refused([](auto& h, auto&) { h.csum_start = 33; }));
  for (const unsigned offset : {0U, 6U, 8U, 15U, 17U, 0xffffU})
    EXPECT_TRUE(refused([&](auto& h, auto&) {
      h.csum_offset = static_cast<std::uint16_t>(offset);
    })) << offset;
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
  const auto all = shapes();
  for (int round = 0; round < (kSanitized ? 20'000 : 200'000); ++round) {
    const Shape& s = all[random() % all.size()];
    Bytes f = build(s, random() % 200, static_cast<unsigned>(random()));
    f.resize(random() % (f.size() + 1));
    for (unsigned i = random() % 4; i > 0 && !f.empty(); --i) {
      f[random() % std::min<std::size_t>(f.size(), 64)] = static_cast<std::byte>(random());
    }
    Offload h = header_for(s, static_cast<std::uint16_t>(random() % 300));
    if (random() % 4 == 0) h.csum_start = static_cast<std::uint16_t>(random());
    if (random() % 4 == 0) h.gso_type = static_cast<std::uint8_t>(random());
    if (random() % 8 == 0) h.csum_offset = static_cast<std::uint16_t>(random());
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
}  // namespace shmif::bus
