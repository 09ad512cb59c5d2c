#include "tap/expectation.hpp"

#include <gtest/gtest.h>

namespace shmif::tap::test {
namespace {

/// How many occasions it lets pass before it looks again; more than it may: `max`.
unsigned skipped(Expectation& expectation, unsigned max = 2 * Expectation::kMaxSkipped) {
  unsigned count = 0;
  while (count < max && !expectation.is_worth_a_look()) ++count;
  return count;
}

TEST(Expectation, LooksAtEachOccasionWhileAnswersCome) {
  Expectation expectation;
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(skipped(expectation), 0U) << i;
    expectation.learn(true);
  }
}

TEST(Expectation, LooksMoreSeldomEachTimeThatNoneCameButNeverGivesUp) {
  Expectation expectation;
  EXPECT_EQ(skipped(expectation), 0U);
  for (const unsigned expected : {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 256U, 256U, 256U}) {
    expectation.learn(false);
    EXPECT_EQ(skipped(expectation), expected);
  }
}

TEST(Expectation, OneAnswerMakesUpForAllThatDidNotCome) {
  Expectation expectation;
  for (unsigned i = 0; i < 20; ++i) {
    expectation.learn(false);
    skipped(expectation);
  }
  expectation.learn(true);
  EXPECT_EQ(skipped(expectation), 0U);
  expectation.learn(false);
  EXPECT_EQ(skipped(expectation), 1U);
}

}  // namespace
}  // namespace shmif::tap::test
