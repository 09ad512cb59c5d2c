#include "perf/frame/schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

std::vector<nanoseconds> times(Pacer& pacer, std::size_t count, std::size_t bytes = 60) {
  std::vector<nanoseconds> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(pacer.due());
    pacer.advance(bytes);
  }
  return out;
}

TEST(Pacer, FramesPerSecondAreExactInTheLongRunAndToANanosecondAtEachFrame) {
  for (const std::uint64_t rate : {1ULL, 3ULL, 7ULL, 1'000ULL, 999'983ULL, 14'880'952ULL,
                                   1'000'000'000ULL, 3'000'000'000ULL}) {
    Pacer pacer({.frames_per_s = rate});
    const std::uint64_t count = std::min<std::uint64_t>(rate, 200'000);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t exact = i * 1'000'000'000 / rate;
      ASSERT_EQ(pacer.due(), nanoseconds(exact)) << rate << " frame " << i;
      pacer.advance(60);
    }
  }
}

TEST(Pacer, BitsPerSecondCountEachFrameAtItsSize) {
  Pacer pacer({.bits_per_s = 1'000'000'000});
  EXPECT_EQ(pacer.due(), 0ns);
  pacer.advance(1250);
  EXPECT_EQ(pacer.due(), 10us);
  pacer.advance(125);
  EXPECT_EQ(pacer.due(), 11us);
  Pacer odd({.bits_per_s = 3});
  odd.advance(1);  // 8 bits at 3 a second
  EXPECT_EQ(odd.due(), 2'666'666'666ns);
  odd.advance(1);
  EXPECT_EQ(odd.due(), 5'333'333'333ns);
  odd.advance(1);
  EXPECT_EQ(odd.due(), 8s) << "the rests come to a whole";
}

TEST(Pacer, OfTwoRatesTheSlowerOneSetsThePace) {
  Pacer pacer({.frames_per_s = 1000, .bits_per_s = 8'000'000});
  pacer.advance(100);  // 0.1 ms of bits, 1 ms of frames
  EXPECT_EQ(pacer.due(), 1ms);
  pacer.advance(5000);  // 5 ms more of bits
  EXPECT_EQ(pacer.due(), 5100us);
}

TEST(Pacer, APoissonStreamHasItsRateAndIndependentExponentialGaps) {
  Pacer pacer({.frames_per_s = 1'000'000, .process = PaceOptions::Process::poisson, .seed = 11});
  constexpr std::size_t kFrames = 400'000;
  const auto t = times(pacer, kFrames + 1);
  const double n = kFrames;
  const double seconds = std::chrono::duration<double>(t.back()).count();
  EXPECT_NEAR(n / seconds, 1e6, 1e6 * 4 / std::sqrt(n));
  double squares = 0;
  double products = 0;
  std::size_t long_ones = 0;
  for (std::size_t i = 1; i <= kFrames; ++i) {
    const double gap = static_cast<double>((t[i] - t[i - 1]).count()) / 1000 - 1;
    squares += gap * gap;
    if (i > 1) products += gap * (static_cast<double>((t[i - 1] - t[i - 2]).count()) / 1000 - 1);
    long_ones += gap > 2 ? 1 : 0;
  }
  EXPECT_NEAR(std::sqrt(squares / n), 1, 0.02) << "as much spread as mean";
  EXPECT_NEAR(products / n, 0, 0.02) << "a gap says nothing of the next";
  EXPECT_NEAR(static_cast<double>(long_ones) / n, std::exp(-3), 0.003);
}

TEST(Pacer, SkippingAtOnceIsAsSkippingOneByOne) {
  const std::vector<PaceOptions> all{
      {.frames_per_s = 7},
      {.frames_per_s = 999'983},
      {.bits_per_s = 1'000'003},
      {.frames_per_s = 3000, .bits_per_s = 2'000'000, .overhead_bytes = 24},
      {.frames_per_s = 3000, .process = PaceOptions::Process::poisson},
  };
  for (const PaceOptions& options : all) {
    Pacer at_once(options);
    Pacer one_by_one(options);
    for (const nanoseconds now :
         std::initializer_list<nanoseconds>{1us, 700ms, 700ms, 701ms, 3s, 3'000'000'001ns}) {
      std::uint64_t count = 0;
      for (; one_by_one.due() < now; ++count) one_by_one.advance(99);
      ASSERT_EQ(at_once.skip_to(now, 99), count);
      ASSERT_EQ(at_once.due(), one_by_one.due());
    }
  }
  Pacer fast({.frames_per_s = 1'000'000'000});
  EXPECT_EQ(fast.skip_to(std::chrono::hours(24), 60), 86'400'000'000'000U);
}

}  // namespace
}  // namespace shmif::perf
