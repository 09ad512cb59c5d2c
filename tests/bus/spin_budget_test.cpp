// How often a wait looks before it sleeps: what it learns from the waits before.

#include "bus/port/spin_budget.hpp"

#include <gtest/gtest.h>

namespace shmif::bus {
namespace {

/// Waits that look in vain until none looks any more. Result: how many there were.
unsigned wait_in_vain_until_it_stops(SpinBudget& budget) {
  for (unsigned waits = 0; waits < 100; ++waits) {
    if (budget.looks() == 0) return waits;
    budget.was_in_vain();
  }
  return 100;
}

/// Waits that come to nothing. Result: how many did not look until one did.
unsigned waits_until_it_tries(SpinBudget& budget) {
  for (unsigned waits = 0; waits < 100'000; ++waits) {
    if (budget.looks() != 0) return waits;
    budget.was_in_vain();
  }
  return 100'000;
}

TEST(SpinBudget, StopsLookingAfterAFewTimesInARow) {
  SpinBudget budget;
  EXPECT_LE(wait_in_vain_until_it_stops(budget), 8U);
  EXPECT_EQ(budget.looks(), 0U);
}

TEST(SpinBudget, TriesTheMostNowAndThen) {
  SpinBudget budget;
  wait_in_vain_until_it_stops(budget);
  EXPECT_LE(waits_until_it_tries(budget), SpinBudget::kFirstGap);
  EXPECT_EQ(budget.looks(), SpinBudget::kMax);
}

TEST(SpinBudget, TriesSeldomerEachTimeItWasInVainButNeverGivesUp) {
  SpinBudget budget;
  wait_in_vain_until_it_stops(budget);
  unsigned before = waits_until_it_tries(budget);
  for (unsigned trials = 0; trials < 20; ++trials) {
    budget.was_in_vain();
    const unsigned gap = waits_until_it_tries(budget);
    EXPECT_GE(gap, before);
    EXPECT_LE(gap, SpinBudget::kLongestGap);
    before = gap;
  }
  EXPECT_GE(before, SpinBudget::kLongestGap - 1);
}

TEST(SpinBudget, ATrialThatPaidBringsTheLooksBack) {
  SpinBudget budget;
  wait_in_vain_until_it_stops(budget);
  waits_until_it_tries(budget);
  budget.paid(1200);
  EXPECT_EQ(budget.looks(), SpinBudget::kMax);
  budget.was_in_vain();
  EXPECT_GT(budget.looks(), 0U) << "a trial that paid is over";
}

}  // namespace
}  // namespace shmif::bus
