#include "perf/frame/schedule.hpp"

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

}  // namespace
}  // namespace shmif::perf
