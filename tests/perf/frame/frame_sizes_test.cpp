#include "perf/frame/frame_sizes.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace shmif::perf {
namespace {

std::map<std::uint32_t, std::uint64_t> count(SizeChooser& sizes, std::uint64_t frames) {
  std::map<std::uint32_t, std::uint64_t> seen;
  for (std::uint64_t i = 0; i < frames; ++i) ++seen[sizes.next()];
  return seen;
}

/// So far a count may be from its expectation: five standard deviations.
double margin(double frames, double share) {
  return 5 * std::sqrt(frames * share * (1 - share));
}

TEST(FrameSizes, AFixedSizeDrawsNoRandomNumber) {
  SizeChooser sizes({{{.min = 64, .max = 64, .weight = 3}}}, 1);
  EXPECT_TRUE(sizes.is_fixed());
  EXPECT_EQ(count(sizes, 1000), (std::map<std::uint32_t, std::uint64_t>{{64, 1000}}));
  EXPECT_EQ(sizes.position(), 0U);
  EXPECT_EQ(sizes.mean(), 64);
}

TEST(FrameSizes, PartsOfOneSizeAreFixedToo) {
  SizeChooser sizes({{{.min = 80, .max = 80}, {.min = 80, .max = 80, .weight = 9}}}, 1);
  EXPECT_TRUE(sizes.is_fixed());
  EXPECT_EQ(sizes.next(), 80U);
  EXPECT_EQ(sizes.position(), 0U);
}

TEST(FrameSizes, EachSizeOfARangeComesAsOftenAsAnyOther) {
  SizeChooser sizes({{{.min = 64, .max = 73}}}, 2);
  constexpr double kFrames = 200'000;
  const auto seen = count(sizes, static_cast<std::uint64_t>(kFrames));
  ASSERT_EQ(seen.size(), 10U);
  EXPECT_EQ(seen.begin()->first, 64U);
  EXPECT_EQ(seen.rbegin()->first, 73U);
  for (const auto& [size, times] : seen) {
    EXPECT_NEAR(static_cast<double>(times), kFrames / 10, margin(kFrames, 0.1)) << size;
  }
  EXPECT_EQ(sizes.mean(), 68.5);
  EXPECT_FALSE(sizes.is_fixed());
}

TEST(FrameSizes, TheMixOfTheInternetIsSevenFourOne) {
  SizeChooser sizes(imix_sizes(), 3);
  constexpr double kFrames = 240'000;
  const auto seen = count(sizes, static_cast<std::uint64_t>(kFrames));
  const std::map<std::uint32_t, double> expected{{60, 7.0 / 12}, {590, 4.0 / 12}, {1514, 1.0 / 12}};
  ASSERT_EQ(seen.size(), expected.size());
  for (const auto& [size, share] : expected) {
    EXPECT_NEAR(static_cast<double>(seen.at(size)), kFrames * share, margin(kFrames, share));
  }
  EXPECT_DOUBLE_EQ(sizes.mean(), (7 * 60 + 4 * 590 + 1514) / 12.0);
  EXPECT_EQ(sizes.min(), 60U);
  EXPECT_EQ(sizes.max(), 1514U);
}

TEST(FrameSizes, AWeightIsOfThePartNotOfItsSizes) {
  SizeChooser sizes({{{.min = 100, .max = 199, .weight = 1},
                      {.min = 1000, .max = 1000, .weight = 3},
                      {.min = 5, .max = 5, .weight = 0}}},
                    4);
  constexpr double kFrames = 100'000;
  auto seen = count(sizes, static_cast<std::uint64_t>(kFrames));
  EXPECT_NEAR(static_cast<double>(seen[1000]), kFrames * 0.75, margin(kFrames, 0.75));
  EXPECT_FALSE(seen.contains(5)) << "a part of weight 0";
  EXPECT_EQ(sizes.min(), 100U);
}

TEST(FrameSizes, PartsMayStandInAnyOrder) {
  SizeChooser sizes({{{.min = 1514, .max = 1514, .weight = 2},
                      {.min = 60, .max = 70, .weight = 1},
                      {.min = 590, .max = 590, .weight = 1}}},
                    6);
  EXPECT_EQ(sizes.min(), 60U);
  EXPECT_EQ(sizes.max(), 1514U);
  EXPECT_FALSE(sizes.is_fixed());
  EXPECT_EQ(count(sizes, 10'000).size(), 13U) << "each size of each part";
  EXPECT_DOUBLE_EQ(sizes.mean(), (2 * 1514 + 65 + 590) / 4.0);
}

TEST(FrameSizes, TheSeedMakesTheStreamAndThePositionTakesItUpAgain) {
  const FrameSizes range{{{.min = 64, .max = 1500}, {.min = 60, .max = 60}}};
  SizeChooser one(range, 7);
  SizeChooser same(range, 7);
  SizeChooser other(range, 8);
  unsigned differences = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t size = one.next();
    ASSERT_EQ(size, same.next());
    differences += size != other.next() ? 1 : 0;
  }
  EXPECT_GT(differences, 400U);
  SizeChooser resumed(range, 7, one.position());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(resumed.next(), one.next());
}

TEST(FrameSizes, DrawsWithoutBiasWhereARemainderWouldHaveALot) {
  // Of a remainder of 64 bits by 3 * 2^62, a third of the numbers would come twice as often.
  Random random(5);
  constexpr std::uint64_t kThird = std::uint64_t{1} << 62U;
  double lowest = 0;
  constexpr double kDraws = 90'000;
  for (int i = 0; i < static_cast<int>(kDraws); ++i) {
    lowest += random.below(3 * kThird) < kThird ? 1 : 0;
  }
  EXPECT_NEAR(lowest, kDraws / 3, margin(kDraws, 1.0 / 3));
}

}  // namespace
}  // namespace shmif::perf
