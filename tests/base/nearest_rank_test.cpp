#include "base/nearest_rank.hpp"

#include <gtest/gtest.h>

namespace shmif::base {
namespace {

TEST(NearestRank, IsTheLeastThatTheShareDoesNotExceed) {
  EXPECT_EQ(nearest_rank(60, 99), 60U) << "59 of 60 are less than 99 %";
  EXPECT_EQ(nearest_rank(200, 99), 198U);
  EXPECT_EQ(nearest_rank(60, 50), 30U);
  EXPECT_EQ(nearest_rank(61, 50), 31U);
  EXPECT_EQ(nearest_rank(1, 50), 1U);
  EXPECT_EQ(nearest_rank(1000, 99.9), 999U) << "whatever binary fractions make of it";
  EXPECT_EQ(nearest_rank(5, 100), 5U);
}

TEST(NearestRank, IsAlwaysThatOfAValue) {
  EXPECT_EQ(nearest_rank(5, 0), 1U);
  EXPECT_EQ(nearest_rank(5, -1), 1U);
  EXPECT_EQ(nearest_rank(5, 101), 5U);
  EXPECT_EQ(nearest_rank(0, 50), 0U) << "there is none";
}

/// Compares with the definition, for up to 200 values and every whole percentage.
TEST(NearestRank, AgreesWithCounting) {
  for (std::uint64_t count = 1; count <= 200; ++count) {
    for (unsigned per_cent = 0; per_cent <= 100; ++per_cent) {
      std::uint64_t rank = 1;
      while (rank * 100 < per_cent * count) ++rank;
      ASSERT_EQ(nearest_rank(count, per_cent), rank) << per_cent << " % of " << count;
    }
  }
}

}  // namespace
}  // namespace shmif::base
