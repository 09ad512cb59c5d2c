// Searches and repetitions: what they find is what the link can do.

#include "perf/run/campaign.hpp"
#include "perf/run/harness_limit.hpp"

#include <gtest/gtest.h>

#include "tests/perf/run_rig.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using test::pair;

RunResult campaign(const std::vector<PlannedJob>& plan, const RunOptions& options = {}) {
  RunControl control;
  bool stuck = false;
  RunResult result = run_campaign(options, plan, nullptr, control, stuck).value();
  EXPECT_FALSE(stuck);
  return result;
}

TEST(Campaign, ASearchFindsTheRateOfALinkWithinOnePerCent) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  JobOptions& o = plan[0].options;
  o.bs.tx.parts = {{.least = 1000, .most = 1000, .weight = 1}};
  o.runtime = {};  // which would bound all of it
  o.search = Search::ndr;
  o.search_max_fps = 12000;
  o.search_resolution = 0.004;
  o.search_trial = 2s;
  o.drain_time = 50ms;
  // 10,000 frames a second. The queue takes what a sender that was off its CPU for some
  // milliseconds makes up for, and not what half a per cent too much is in a second.
  o.fault = parse_faults("rate=80Mbit,queue=150").value();
  const RunResult result = campaign(plan);
  ASSERT_EQ(result.searches.size(), 1U);
  const SearchResult& found = result.searches[0];
  ASSERT_TRUE(found.found_fps.has_value()) << found.why_none;
  EXPECT_NEAR(*found.found_fps, 10000, 100);
  EXPECT_GT(found.trials.size(), 5U);
}

TEST(Campaign, RepetitionsGiveMedianAndSpread) {
  auto plan = pair(Role::tx, EngineKind::bus);
  plan[0].options.rate_fps.tx = 1000;
  RunOptions options;
  options.repeat = 3;
  const RunResult result = campaign(plan, options);
  EXPECT_TRUE(test::passed(result));
  bool seen = false;
  for (const RepeatFigure& figure : result.repeats) {
    EXPECT_EQ(figure.values.size(), 3U);
    EXPECT_LE(figure.least, figure.median);
    EXPECT_LE(figure.median, figure.most);
    seen |= figure.job == "second" && figure.figure == "rx_fps";
  }
  EXPECT_TRUE(seen);
}

TEST(Campaign, TheHarnessKnowsItsOwnLimit) {
  const HarnessLimit limit = measure_limit(JobOptions{});
  EXPECT_GT(limit.tx_fps.value_or(0), 0);
  EXPECT_GT(limit.rx_fps.value_or(0), 0);
}

}  // namespace
}  // namespace shmif::perf
