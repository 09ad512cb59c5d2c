#include "perf/frame/probe.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "perf/frame/crc32c.hpp"

namespace shmif::perf {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kHeader = 14;

const Probe kProbe{.kind = Probe::Kind::request,
                   .flow = 0x01020304,
                   .nonce = 0xa0b0c0d0,
                   .sequence = 0x1122334455667788,
                   .intended_ns = 0x0fedcba987654321,
                   .sent_ns = 0x0fedcba987654333};

/// An Ethernet frame with a probe and random payload.
Bytes frame_with(const Probe& probe, std::size_t size, Checksum checksum = Checksum::crc) {
  std::mt19937_64 random(size);
  Bytes frame(size);
  for (std::byte& b : frame) b = static_cast<std::byte>(random());
  frame[12] = std::byte{kProbeEtherType >> 8U};
  frame[13] = std::byte{kProbeEtherType & 0xffU};
  write_probe(frame, kHeader, probe, checksum);
  return frame;
}

TEST(Probe, IsReadAsItWasWrittenInFramesOfEverySize) {
  for (std::size_t size = kHeader + kProbeBytes; size <= 1600; ++size) {
    const ProbeReading reading = read_probe(frame_with(kProbe, size), kHeader);
    ASSERT_EQ(reading.finding, Finding::whole) << size;
    ASSERT_EQ(reading.probe, kProbe) << size;
  }
  EXPECT_EQ(read_probe(frame_with(kProbe, 65535), kHeader).probe, kProbe);
  Bytes datagram(kProbeBytes);
  write_probe(datagram, 0, kProbe);
  EXPECT_EQ(read_probe(datagram, 0).probe, kProbe);
}

TEST(Probe, StandsInTheFrameAsDocumented) {
  const Bytes frame = frame_with(kProbe, 60);
  const unsigned expected[] = {'s',  'p',  1,    1,    60,   0,    0xc3, 0xff, 4,    3,
                               2,    1,    0xd0, 0xc0, 0xb0, 0xa0, 0x88, 0x77, 0x66, 0x55,
                               0x44, 0x33, 0x22, 0x11, 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb,
                               0xed, 0x0f, 0x33, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed, 0x0f};
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(std::to_integer<unsigned>(frame[kHeader + i]), expected[i]) << "byte " << i;
  }
  EXPECT_EQ(frame[kHeader + 44], std::byte{0});
  EXPECT_EQ(frame[kHeader + 45], std::byte{0});
  Bytes without_crc = frame;
  without_crc.erase(without_crc.begin() + kHeader + 40, without_crc.begin() + kHeader + 44);
  std::uint32_t crc = 0;
  std::memcpy(&crc, frame.data() + kHeader + 40, sizeof crc);
  EXPECT_EQ(crc, crc32c(without_crc));
}

TEST(Probe, EveryBitThatChangesIsFoundAndNothingElseIsSuspected) {
  for (const std::size_t size : {60U, 61U, 300U}) {
    Bytes frame = frame_with(kProbe, size);
    for (std::size_t bit = 0; bit < size * 8; ++bit) {
      const auto flip = static_cast<std::byte>(1U << bit % 8);
      frame[bit / 8] ^= flip;
      ASSERT_EQ(read_probe(frame, kHeader).finding, Finding::corrupt) << size << ", bit " << bit;
      frame[bit / 8] ^= flip;
    }
    EXPECT_EQ(read_probe(frame, kHeader).finding, Finding::whole);
  }
}

TEST(Probe, WithoutACrcItIsReadTooAndSaysSo) {
  for (const std::size_t size : {60U, 64U, 1514U}) {
    Bytes frame = frame_with(kProbe, size, Checksum::none);
    const ProbeReading reading = read_probe(frame, kHeader);
    EXPECT_EQ(reading.finding, Finding::whole);
    EXPECT_EQ(reading.probe, kProbe);
    EXPECT_EQ(reading.checksum, Checksum::none);
    frame.back() ^= std::byte{1};
    EXPECT_EQ(read_probe(frame, kHeader).finding, size == 60 ? Finding::corrupt : Finding::whole)
        << "payload is not covered; the two bytes that say so are";
    EXPECT_EQ(read_probe(std::span(frame).first(size - 1), kHeader).finding, Finding::truncated);
  }
  EXPECT_EQ(read_probe(frame_with(kProbe, 60), kHeader).checksum, Checksum::crc);
}

TEST(Probe, NoTwoChangedBitsMakeACheckedFrameAnUncheckedOne) {
  Bytes frame = frame_with(kProbe, 60);
  const auto flip = [&](std::size_t bit) {
    frame[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  };
  for (std::size_t one = 0; one < frame.size() * 8; ++one) {
    flip(one);
    for (std::size_t two = one + 1; two < frame.size() * 8; ++two) {
      flip(two);
      const ProbeReading reading = read_probe(frame, kHeader);
      ASSERT_FALSE(reading.finding == Finding::whole && reading.checksum == Checksum::none)
          << one << " and " << two;
      flip(two);
    }
    flip(one);
  }
}

TEST(Probe, OfALongWriteHasALengthWhoseEveryBitIsChecked) {
  for (const std::size_t size : {65535U, 65536U, 0x123456U}) {
    Bytes frame(size);
    write_probe(frame, 0, kProbe);
    EXPECT_EQ(probe_length(frame.data()), size);
    EXPECT_EQ(read_probe(frame, 0).probe, kProbe);
    for (std::size_t bit = 4 * 8; bit < 8 * 8; ++bit) {
      const auto flip = static_cast<std::byte>(1U << bit % 8);
      frame[bit / 8] ^= flip;
      EXPECT_FALSE(probe_length(frame.data())) << size << ", bit " << bit;
      frame[bit / 8] ^= flip;
    }
  }
}

TEST(Probe, NoBytesMakeItReadPastTheEnd) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    Bytes frame(random() % 80);
    for (std::byte& b : frame) b = static_cast<std::byte>(random());
    if (frame.size() > kHeader && i % 2 == 0) {
      frame[12] = std::byte{kProbeEtherType >> 8U};
      frame[13] = std::byte{kProbeEtherType & 0xffU};
    }
    EXPECT_NE(read_probe(frame, kHeader).finding, Finding::whole);
    EXPECT_NE(read_probe(frame, 0).finding, Finding::whole);
  }
}

/// A frame with a payload, and what it says.
std::vector<std::byte> frame_of(const Probe& probe) {
  std::vector<std::byte> frame(200, std::byte{0x5a});
  write_probe(frame, 14, probe);
  return frame;
}

const Probe kSaid{.flow = 12, .nonce = 7, .sequence = 99, .intended_ns = 1000, .sent_ns = 1500};

TEST(MendProbe, AnyOneBitOfTheProbeIsPutRight) {
  for (std::size_t bit = 0; bit < kProbeBytes * 8; ++bit) {
    std::vector<std::byte> frame = frame_of(kSaid);
    frame[14 + bit / 8] ^= std::byte{static_cast<std::uint8_t>(1U << bit % 8)};
    ASSERT_NE(read_probe(frame, 14).finding, Finding::whole) << bit;
    // Which bit it was the checksum tells, but of the mark without which it is no probe.
    EXPECT_EQ(mend_probe(frame, 14), kSaid) << bit;
  }
}

TEST(MendProbe, DamageElsewhereLeavesWhatItSays) {
  std::vector<std::byte> frame = frame_of(kSaid);
  frame[120] ^= std::byte{0x10};
  frame[130] ^= std::byte{0x01};
  EXPECT_EQ(mend_probe(frame, 14), kSaid);
  frame = frame_of(kSaid);
  frame.resize(100);
  EXPECT_EQ(mend_probe(frame, 14), kSaid) << "cut short";
}

}  // namespace
}  // namespace shmif::perf
