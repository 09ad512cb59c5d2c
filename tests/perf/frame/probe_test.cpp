#include <gtest/gtest.h>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "perf/frame/crc32c.hpp"
#include "perf/frame/crc32c_cpu.hpp"
#include "perf/frame/frame_maker.hpp"
#include "perf/frame/probe.hpp"

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

// Frames that a receiver may take together: exactly those that read_probe() calls whole.

namespace {

using Bytes = std::vector<std::byte>;

FrameMakerOptions maker_options_of(std::uint32_t flow) {
  FrameMakerOptions options;
  options.destination = MacAddress::from_u64(0xb2a000000001);
  options.source = MacAddress::from_u64(0xb2a000000002);
  options.flow = flow;
  return options;
}

/// Frames with their own memory.
class Frames {
 public:
  explicit Frames(FrameMakerOptions options = maker_options_of(5)) : maker_(std::move(options)) {}

  void add(std::uint64_t number, std::size_t bytes, std::uint32_t nonce = 77,
           Probe::Kind kind = Probe::Kind::data) {
    const FrameView made = maker_.make(
        number, bytes,
        {.kind = kind, .nonce = nonce, .intended_ns = 1000 + number, .sent_ns = 2000 + number / 4});
    bytes_.emplace_back(made.bytes.begin(), made.bytes.end());
  }
  Bytes& operator[](std::size_t i) { return bytes_[i]; }

  ProbeTrain read() {
    std::vector<FrameView> views;
    for (const Bytes& each : bytes_) views.emplace_back(each.data(), each.size());
    return read_train(views, times_);
  }

 private:
  FrameMaker maker_;
  std::vector<Bytes> bytes_;
  std::vector<ProbeTimes> times_ = std::vector<ProbeTimes>(8);
};

TEST(ProbeTrain, IsWhatTheFramesContain) {
  for (const bool tagged : {false, true}) {
    FrameMakerOptions options = maker_options_of(5);
    if (tagged) options.vlan = 0x123;
    Frames train(options);
    std::uint64_t bytes = 0;
    std::uint64_t number = 1000;
    for (const std::size_t size : {64U, 65U, 70U, 313U, 314U, 1514U}) {
      train.add(number++, size);
      bytes += size;
    }
    const ProbeTrain read = train.read();
    ASSERT_EQ(read.frames(), 6U);
    EXPECT_EQ(read.flow, 5U);
    EXPECT_EQ(read.nonce, 77U);
    EXPECT_EQ(read.first, 1000U);
    EXPECT_EQ(read.bytes, bytes);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(read.times[i].intended_ns, 2000 + i);
      EXPECT_EQ(read.times[i].sent_ns, 2000 + (1000 + i) / 4);
      const Probe expected{.flow = 5,
                           .nonce = 77,
                           .sequence = 1000 + i,
                           .intended_ns = 2000 + i,
                           .sent_ns = 2000 + (1000 + i) / 4};
      EXPECT_EQ(read.probe(i), expected);
    }
    const ProbeTrain rest = read.behind(2, 64 + 65);
    EXPECT_EQ(rest.first, 1002U);
    EXPECT_EQ(rest.frames(), 4U);
    EXPECT_EQ(rest.bytes, bytes - 64 - 65);
    EXPECT_EQ(rest.probe(0), read.probe(2));
  }
}

/// The frames in front of the one that is changed are in the train, and no other.
void ends_before_the_third(const std::string& why, const std::function<void(Frames&)>& add_third) {
  Frames frames;
  frames.add(10, 64);
  frames.add(11, 64);
  add_third(frames);
  frames.add(13, 64);
  const ProbeTrain train = frames.read();
  EXPECT_EQ(train.frames(), 2U) << why;
  EXPECT_EQ(train.bytes, 128U) << why;
}

TEST(ProbeTrain, EndsBeforeAFrameThatIsToBeTakenByItself) {
  ends_before_the_third("a gap", [](Frames& frames) { frames.add(13, 64); });
  ends_before_the_third("a copy", [](Frames& frames) { frames.add(11, 64); });
  ends_before_the_third("another run", [](Frames& frames) { frames.add(12, 64, 78); });
  for (const Probe::Kind kind : {Probe::Kind::request, Probe::Kind::reply}) {
    ends_before_the_third("another kind", [&](Frames& frames) { frames.add(12, 64, 77, kind); });
  }
  ends_before_the_third("cut short", [](Frames& frames) {
    frames.add(12, 64);
    frames[2].pop_back();
  });
  ends_before_the_third("padded", [](Frames& frames) {
    frames.add(12, 64);
    frames[2].push_back(std::byte{0});
  });
  ends_before_the_third("too short for a probe", [](Frames& frames) {
    frames.add(12, 64);
    frames[2].resize(59);
  });
}

TEST(ProbeTrain, HasFramesWithACrcOrFramesWithoutOneButNotBoth) {
  FrameMakerOptions options = maker_options_of(5);
  options.checksum = Checksum::none;
  Frames without(options);
  for (const std::uint64_t number : {10U, 11U, 12U}) without.add(number, 1400);
  without[1].back() ^= std::byte{1};  // which nobody can know
  EXPECT_EQ(without.read().checksum, Checksum::none);
  EXPECT_EQ(without.read().frames(), 3U);
  EXPECT_EQ(without.read().bytes, 3 * 1400U);
  EXPECT_EQ(without.read().probe(2),
            (Probe{.flow = 5, .nonce = 77, .sequence = 12, .intended_ns = 1012, .sent_ns = 2003}));
  Frames with;
  for (const std::uint64_t number : {10U, 11U, 12U}) with.add(number, 1400);
  EXPECT_EQ(with.read().checksum, Checksum::crc);
  std::swap(with[2], without[2]);
  EXPECT_EQ(with.read().frames(), 2U);
  EXPECT_EQ(without.read().frames(), 2U);
}

std::vector<std::byte> random_bytes(std::size_t size) {
  std::mt19937_64 random(size);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// By the definition, a bit at a time.
std::uint32_t plain(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

/// The CRC of both byte strings, by instructions of this CPU if it has them.
SHMIF_CRC32C_BY_CPU std::uint32_t by_cpu(const Crc32cJoin& join, std::span<const std::byte> front,
                                         std::span<const std::byte> back) {
  if (!crc32c_cpu::is_there()) return join(crc32c(front), crc32c(back));
  crc32c_cpu::Sum sum;
  std::size_t at = 0;
  const auto next = [&](auto value) {
    std::memcpy(&value, &front[at], sizeof value);
    at += sizeof value;
    return value;
  };
  while (front.size() - at >= 15) {
    sum.add(next(std::uint64_t{}));
    sum.add(next(std::uint32_t{}));
    sum.add(next(std::uint16_t{}));
    sum.add(next(std::uint8_t{}));
  }
  while (at < front.size()) sum.add(next(std::uint8_t{}));
  return crc32c_cpu::join(join, sum.crc(), crc32c(back));
}

TEST(Crc32c, IsThatOfRfc3720) {
  std::vector<std::byte> bytes(32, std::byte{0});
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
  bytes.assign(32, std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(crc32c(bytes), 0x113fdb5cU);
  EXPECT_EQ(crc32c(std::as_bytes(std::span(std::string_view("123456789")))), 0xe3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, IsThatOfItsDefinitionForEveryLengthOfAFrameAtEveryAlignment) {
  const std::vector<std::byte> bytes = random_bytes(9100);
  for (std::size_t size = 0; size <= 1600; ++size) {
    const auto part = std::span(bytes).subspan(size % 9, size);
    ASSERT_EQ(crc32c(part), plain(part)) << size;
  }
  for (const std::size_t size : {4095U, 4096U, 6143U, 6144U, 6145U, 9018U}) {
    const auto part = std::span(bytes).first(size);
    ASSERT_EQ(crc32c(part), plain(part)) << size;
  }
}

TEST(Crc32c, OfTwoTextsIsJoinedFromThatOfEach) {
  const std::vector<std::byte> bytes = random_bytes(9100);
  for (std::size_t size = 0; size <= 1600; ++size) {
    const auto front = std::span(bytes).first(50 + size % 7);
    const auto back = std::span(bytes).subspan(front.size(), size);
    const std::uint32_t whole = crc32c(std::span(bytes).first(front.size() + size));
    const Crc32cJoin join(size);
    ASSERT_EQ(join(crc32c(front), crc32c(back)), whole) << size;
    ASSERT_EQ(by_cpu(join, front, back), whole) << size;
  }
  const auto front = std::span(bytes).first(100);
  const auto back = std::span(bytes).subspan(100);
  EXPECT_EQ(Crc32cJoin(9000)(crc32c(front), crc32c(back)), crc32c(bytes));
}

}  // namespace

}  // namespace shmif::perf
