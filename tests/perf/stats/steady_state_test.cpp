#include "perf/stats/confidence.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

SteadyState wanted(std::string_view text) {
  return parse_steady_state(text).value();
}

/// The second in which it was reached; 0: never.
unsigned reached_at(SteadyStateDetector& state, const std::vector<double>& frames) {
  for (unsigned second = 1; second <= frames.size(); ++second) {
    if (state.note(frames[second - 1], frames[second - 1] * 512)) return second;
  }
  return 0;
}

TEST(SteadyStateDetector, IsReachedWhenNoRateOfTheWindowIsFarFromTheirMean) {
  SteadyStateDetector state(wanted("iops:10%"), 3s, 0s);
  EXPECT_EQ(reached_at(state, {1000, 1000, 500, 800, 1000, 990, 1010}), 7U);
  EXPECT_TRUE(state.reached());
  EXPECT_NEAR(*state.figure(), 0.01, 1e-9);
  EXPECT_EQ(state.describe(), "reached at 7 s: iops deviation 1 % (limit 10 %, over 3 s)");
}

TEST(SteadyStateDetector, IsReachedWhenTheLineThroughTheRatesIsFlat) {
  SteadyStateDetector state(wanted("iops_slope:1%"), 4s, 0s);
  // Rising by 100 a second, then to and fro around 1000: a slope forgives that.
  EXPECT_EQ(reached_at(state, {700, 800, 900, 1000, 1100, 900, 900, 1100}), 8U);
  EXPECT_EQ(*state.figure(), 0);
  SteadyStateDetector deviation(wanted("iops:1%"), 4s, 0s);
  EXPECT_EQ(reached_at(deviation, {700, 800, 900, 1000, 1100, 900, 900, 1100}), 0U);
}

TEST(SteadyStateDetector, FallingIsNotFlat) {
  SteadyStateDetector state(wanted("iops_slope:1%"), 3s, 0s);
  EXPECT_EQ(reached_at(state, {1000, 900, 800, 700}), 0U);
  EXPECT_NEAR(*state.figure(), 0.125, 1e-9);
  EXPECT_EQ(state.describe(), "not reached: iops slope 12.5 % a second (limit 1 %, over 3 s)");
}

TEST(SteadyStateDetector, LimitsWithoutPerCentAreRates) {
  SteadyStateDetector frames(wanted("iops:15"), 2s, 0s);
  EXPECT_EQ(reached_at(frames, {1000, 1040, 1010}), 3U);
  EXPECT_EQ(*frames.figure(), 15) << "on the limit is within it";
  SteadyStateDetector bits(wanted("bw:7681"), 2s, 0s);
  EXPECT_EQ(reached_at(bits, {1000, 1040, 1010}), 3U) << "64 bytes of 8 bits for each frame";
  EXPECT_EQ(*bits.figure(), 7680);
}

TEST(SteadyStateDetector, ASlopeIsBelowItsLimitAndADeviationUpToIt) {
  SteadyStateDetector slope(wanted("iops_slope:10"), 3s, 0s);
  EXPECT_EQ(reached_at(slope, {1000, 1010, 1020, 1029}), 4U);
  EXPECT_EQ(*slope.figure(), 9.5);
  SteadyStateDetector deviation(wanted("iops:10"), 3s, 0s);
  EXPECT_EQ(reached_at(deviation, {989, 1000, 1011}), 0U);
  SteadyStateDetector equal(wanted("iops:10"), 3s, 0s);
  EXPECT_EQ(reached_at(equal, {990, 1000, 1010}), 3U);
  EXPECT_EQ(*equal.figure(), 10);
}

TEST(SteadyStateDetector, TheRampIsNotLookedAt) {
  SteadyStateDetector state(wanted("iops:1%"), 2s, 3s);
  EXPECT_EQ(reached_at(state, {5, 5, 5, 5, 5}), 5U);
}

TEST(SteadyStateDetector, AWindowThatIsNotFullOrWithoutTrafficHasNotSettled) {
  SteadyStateDetector state(wanted("iops:50%"), 3s, 0s);
  EXPECT_EQ(reached_at(state, {100, 100}), 0U);
  EXPECT_FALSE(state.figure());
  EXPECT_EQ(state.describe(), "not reached: there were never 3 s with traffic after a ramp of 0 s");
  SteadyStateDetector stalled(wanted("iops_slope:50%"), 3s, 0s);
  EXPECT_EQ(reached_at(stalled, {0, 0, 0, 0, 0, 0}), 0U) << "a total stall is as flat as can be";
}

TEST(SteadyStateDetector, PartsOfASecondAreWholeOnes) {
  const auto seconds = [](std::chrono::nanoseconds window, std::chrono::nanoseconds ramp) {
    const SteadyStateDetector state(wanted("iops:1%"), window, ramp);
    return std::pair(state.window_seconds(), state.ramp_seconds());
  };
  EXPECT_EQ(seconds(2500ms, 1ns), (std::pair<std::uint64_t, std::uint64_t>(3, 1)));
  EXPECT_EQ(seconds(3s, 1s), (std::pair<std::uint64_t, std::uint64_t>(3, 1)));
  EXPECT_EQ(seconds(3001ms, 1001ms), (std::pair<std::uint64_t, std::uint64_t>(4, 2)));
  EXPECT_EQ(seconds(1ms, 0s), (std::pair<std::uint64_t, std::uint64_t>(2, 0)));
}

TEST(SteadyStateDetector, AfterAStallTheLastFigureIsThatOfTrafficAndTheWindowGoesOn) {
  SteadyStateDetector state(wanted("bw:1%"), 2s, 0s);
  EXPECT_EQ(reached_at(state, {100, 300, 0, 0}), 0U);
  EXPECT_DOUBLE_EQ(*state.figure(), 1) << "of 300 and 0";
  EXPECT_EQ(state.describe(), "not reached: bw deviation 100 % (limit 1 %, over 2 s)");
  EXPECT_EQ(reached_at(state, {0, 200, 200}), 3U);
  EXPECT_EQ(state.reached_at_seconds(), 7U);
}

TEST(SteadyStateDetector, OnceReachedItStays) {
  SteadyStateDetector state(wanted("iops:1%"), 2s, 0s);
  EXPECT_EQ(reached_at(state, {5, 5}), 2U);
  EXPECT_TRUE(state.note(500, 0));
  EXPECT_EQ(*state.figure(), 0);
}

}  // namespace
}  // namespace shmif::perf
