// LineBudget: twenty lines at once, and then one a second.

#include "tools/relay/line_budget.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

using std::chrono::milliseconds;

unsigned taken_at(LineBudget& budget, LineBudget::Clock::time_point now) {
  unsigned taken = 0;
  while (budget.take(now)) ++taken;
  return taken;
}

TEST(LineBudget, AllowsTwentyAtOnceAndThenOneASecond) {
  // Also right after the machine was started, when its clock begins.
  for (const LineBudget::Clock::time_point begin :
       {LineBudget::Clock::time_point{}, LineBudget::Clock::now()}) {
    LineBudget budget;
    EXPECT_EQ(budget.left(begin), std::chrono::seconds(0));
    EXPECT_EQ(taken_at(budget, begin), 20U);
    EXPECT_EQ(budget.left(begin), std::chrono::seconds(1));
    EXPECT_EQ(taken_at(budget, begin + milliseconds(999)), 0U);
    EXPECT_EQ(budget.left(begin + milliseconds(999)), milliseconds(1));
    EXPECT_EQ(taken_at(budget, begin + std::chrono::seconds(1)), 1U);
    EXPECT_EQ(taken_at(budget, begin + std::chrono::seconds(6)), 5U);
  }
}

TEST(LineBudget, AllowsNoMoreThanTwentyAfterALongQuietTime) {
  LineBudget budget;
  const auto begin = LineBudget::Clock::now();
  EXPECT_EQ(taken_at(budget, begin), 20U);
  EXPECT_EQ(taken_at(budget, begin + std::chrono::hours(1)), 20U);
}

}  // namespace
}  // namespace shmif::tools
