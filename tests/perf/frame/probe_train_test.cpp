// Frames that a receiver may take together: exactly those that read_probe() calls whole.

#include "perf/frame/probe_train.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "perf/frame/frame_maker.hpp"

namespace shmif::perf {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kProbeAt = 14;

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

TEST(ProbeTrain, HasFramesOfEachSize) {
  for (std::size_t size = 60; size <= 1600; ++size) {
    FrameMakerOptions options = maker_options_of(5);
    options.max_bytes = size;
    Frames frames(options);
    frames.add(7, size);
    ASSERT_EQ(frames.read().frames(), 1U) << size;
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

TEST(ProbeTrain, EndsBeforeAFrameOfAnotherFlow) {
  Frames frames;
  frames.add(10, 64);
  Frames other(maker_options_of(6));
  other.add(11, 64);
  Frames both;
  both.add(10, 64);
  both.add(11, 64);
  both[1] = other[0];
  EXPECT_EQ(both.read().frames(), 1U);
  EXPECT_EQ(both.read().flow, 5U);
}

TEST(ProbeTrain, HasNoFrameWithAChangedBit) {
  for (const std::size_t size : {60U, 67U, 400U}) {
    Frames frames;
    frames.add(12, size);
    ASSERT_EQ(frames.read().frames(), 1U);
    for (std::size_t bit = 0; bit < size * 8; ++bit) {
      frames[0][bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      ASSERT_EQ(frames.read().frames(), 0U) << size << " bytes, bit " << bit;
      frames[0][bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    }
  }
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

/// A CRC may be 0, and "nc" may stand behind another CRC, if somebody changed a bit.
TEST(ProbeTrain, ACrcIsOnlyMissingIfBothItsMarksSaySo) {
  constexpr std::size_t kCrcAt = kProbeAt + 40;
  FrameMakerOptions options = maker_options_of(5);
  options.checksum = Checksum::none;
  for (std::size_t bit = 0; bit < 48; ++bit) {
    Frames frames(options);
    frames.add(10, 100);
    frames[0][kCrcAt + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_EQ(frames.read().frames(), 0U) << bit;
  }
}

TEST(ProbeTrain, HasNoFrameWithHeaders) {
  FrameMakerOptions options = maker_options_of(5);
  options.headers = HeaderTemplate::parse("ipv4(src=198.18.0.1,dst=198.18.0.2)/udp").value();
  Frames with_headers(options);
  with_headers.add(1, 100);
  EXPECT_EQ(with_headers.read().frames(), 0U);
  Frames foreign;
  foreign.add(1, 100);
  foreign[0][kProbeAt - 2] = std::byte{8};
  EXPECT_EQ(foreign.read().frames(), 0U);
}

TEST(ProbeTrain, IsNoLongerThanTheRoomForItsTimes) {
  Frames frames;
  for (std::uint64_t n = 0; n < 12; ++n) frames.add(n, 64);
  EXPECT_EQ(frames.read().frames(), 8U);
  EXPECT_EQ(read_train({}, {}).frames(), 0U);
}

TEST(ProbeTrain, GroupsOfEqualTimesAreNoticedOnce) {
  const std::vector<ProbeTimes> times{{1, 9}, {1, 9}, {1, 8}, {2, 8}, {2, 8}, {2, 8}, {1, 9}};
  std::vector<std::pair<ProbeTimes, std::size_t>> groups;
  by_equal_times(
      times, [&](const ProbeTimes& each, std::size_t count) { groups.emplace_back(each, count); });
  const std::vector<std::pair<ProbeTimes, std::size_t>> expected{
      {{1, 9}, 2}, {{1, 8}, 1}, {{2, 8}, 3}, {{1, 9}, 1}};
  EXPECT_EQ(groups, expected);
  by_equal_times({}, [](const ProbeTimes&, std::size_t) { FAIL(); });
}

}  // namespace
}  // namespace shmif::perf
