// How a thread spent its time, from counters that the kernel advances late.

#include "instruments/why/analysis.hpp"

#include <gtest/gtest.h>

#include "instruments/why/evidence.hpp"
#include "tests/instruments/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

/// A thread that waits for 350 ms: the kernel counts that when it runs again.
TEST(Account, PutsAWaitWhereItWas) {
  WhySeries series = quiet_series(6);
  auto& steps = series.tasks[0].steps;
  for (const std::size_t i : {1, 2, 3}) {
    steps[i] = {.cpu = 1, .state = 'R'};
  }
  steps[1].run_us = 20'000;  // it slept and ran, and waits from the middle of this interval on
  steps[1].voluntary = 1;
  steps[4].run_us = 10'000;
  steps[4].wait_us = 350'000;
  const auto times = account_of(series, series.tasks[0]);
  EXPECT_NEAR(times[4].waiting, 0.9, 1e-9);
  EXPECT_NEAR(times[3].waiting, 1.0, 1e-9);
  EXPECT_NEAR(times[2].waiting, 1.0, 1e-9);
  EXPECT_NEAR(times[1].waiting, 0.6, 1e-9);
  EXPECT_NEAR(times[1].asleep, 0.2, 1e-9);
  EXPECT_NEAR(times[0].waiting, 0.005, 1e-9) << "it was asleep at this border";
}

TEST(Account, TakesATracedThreadForStoppedAlsoBeforeTheFirstInterval) {
  WhySeries series = quiet_series(2);
  TaskSeries& task = series.tasks[0];
  task.state_before = 't';
  task.steps[0] = {.run_us = 20'000, .cpu = 1, .state = 'T'};
  auto times = account_of(series, task);
  EXPECT_NEAR(times[0].stopped, 0.8, 1e-9);
  EXPECT_NEAR(times[0].asleep, 0, 1e-9);
  EXPECT_NEAR(times[1].stopped, 0.945 / 2, 1e-9) << "it ended somewhere in the interval";
  EXPECT_NEAR(times[1].asleep, 0.945 / 2, 1e-9);
  task.steps[0] = {.run_us = 20'000, .cpu = 1, .state = 'R'};
  task.state_before = 'R';
  EXPECT_NEAR(account_of(series, task)[0].held, 0.8, 1e-9);
  task.state_before = 'S';
  EXPECT_NEAR(account_of(series, task)[0].asleep, 0.8, 1e-9);
}

TEST(Account, PutsNoTimeIntoIntervalsThatWereNotSeen) {
  WhySeries series = quiet_series(4);
  auto& steps = series.tasks[0].steps;
  steps[0].state = steps[2].state = 'R';
  steps[1] = {.cpu = 1, .state = 'R', .known = false};
  steps[2].wait_us = 350'000;
  const auto times = account_of(series, series.tasks[0]);
  EXPECT_NEAR(times[2].waiting, 0.95, 1e-9);
  EXPECT_EQ(times[1].waiting + times[1].running + times[1].asleep, 0);
  EXPECT_NEAR(times[0].waiting, 0.005, 1e-9);
}

TEST(Account, PutsARunIntoTheIntervalsBeforeItWasCounted) {
  WhySeries series = quiet_series(3);
  auto& steps = series.tasks[0].steps;
  steps[0] = {.cpu = 1, .state = 'R'};
  steps[1] = {.cpu = 1, .state = 'R'};
  steps[2] = {.run_us = 170'000, .wait_us = 30'000, .cpu = 1, .state = 'R'};
  const auto times = account_of(series, series.tasks[0]);
  EXPECT_NEAR(times[2].running, 1, 1e-9);
  EXPECT_NEAR(times[2].waiting, 0, 1e-9);
  EXPECT_NEAR(times[1].running, 0.7, 1e-9);
  EXPECT_NEAR(times[1].waiting, 0.3, 1e-9);
  EXPECT_EQ(times[0].running + times[0].waiting, 0);
}

std::vector<std::pair<std::size_t, std::size_t>> borders(const std::vector<double>& values) {
  const WhySeries series = quiet_series(values.size());
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (const CauseWindow& window : windows_of(series, 0, values, 0.1)) {
    found.emplace_back(window.begin, window.end);
  }
  return found;
}

TEST(Windows, JoinIntervalsThatAreCloseAndAlike) {
  using Borders = std::vector<std::pair<std::size_t, std::size_t>>;
  for (const auto& [values, wanted] : std::vector<std::pair<std::vector<double>, Borders>>{
           {{0, 0, 0}, {}},
           {{0.0999, 0.1, 0.0999}, {{1, 2}}},
           {{.5, 0, 0, 0, .5, 0}, {{0, 5}}},
           {{.5, 0, 0, 0, 0, .5}, {{0, 1}, {5, 6}}},
           {{.4, 0, .8}, {{0, 3}}},  // half as strong
           {{.39, 0, .8}, {{0, 1}, {2, 3}}},
           {{.12, 0, 0, .9, .9, .9}, {{0, 1}, {3, 6}}},
           {{.12, .9, .9}, {{0, 3}}},
           {{.3, .3, .3, .9, .9, .9, .9, .2, .3}, {{0, 3}, {3, 7}, {7, 9}}},
           {{kUnknown, .5, kUnknown, .5}, {{1, 4}}}}) {
    EXPECT_EQ(borders(values), wanted) << testing::PrintToString(values);
  }
}

TEST(Windows, HaveTheMeanOfTheTimeThatWasSeen) {
  WhySeries series = quiet_series(4);
  series.ends_s = {0.1, 0.2, 0.5, 0.5};
  const auto windows = windows_of(series, 0, std::vector{kUnknown, 0.8, 0.4, 0.9}, 0.1);
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].begin, 1U);
  EXPECT_EQ(windows[0].end, 3U) << "the last interval has no length";
  EXPECT_NEAR(windows[0].share, 0.5, 1e-9);
  EXPECT_NEAR(windows[0].held_s, 0.2, 1e-9);
}

}  // namespace
}  // namespace shmif::perf::test
