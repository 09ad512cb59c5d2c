// Frames that a receiver may take together: exactly those that read_probe() calls whole.

#include "perf/frame/probe.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "perf/frame/frame_maker.hpp"

namespace shmif::perf {
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

}  // namespace
}  // namespace shmif::perf
