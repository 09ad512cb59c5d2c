// Measurements that another program would falsify: the rate that a search finds, and what pacing
// costs.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <vector>

#include "perf/control/campaign.hpp"
#include "perf/control/harness_limit.hpp"
#include "perf/control/search.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

TEST(SearchRate, IsThatOfTheLinkWithinOnePerCent) {
  auto plan = test::pair(Role::tx, EngineKind::unix_pair);
  JobOptions& o = plan[0].options;
  o.bs.tx.parts = {{.min = 1000, .max = 1000, .weight = 1}};
  o.runtime = {};  // which would bound all of it
  o.search = Search::ndr;
  o.search_max_fps = 12000;
  o.search_resolution = 0.004;
  o.search_trial = 2s;
  o.drain_time = 50ms;
  // 10,000 frames a second. The queue takes what a sender that was off its CPU for some
  // milliseconds makes up for, and not what one per cent too much is in a trial.
  o.fault = parse_faults("rate=80Mbit,queue=150").value();
  const auto search = [&] {
    RunControl control;
    bool stuck = false;
    return run_campaign({}, plan, nullptr, control, stuck).value();
  };
  const auto is_near = [](const SearchResult& found) {
    return found.found_fps && std::abs(*found.found_fps - 10000) <= 100;
  };
  // A machine that stood still for longer than the queue holds lowers what a search finds. The
  // search then says so, however busy the machine is.
  RunResult result = search();
  if (result.searches.size() == 1 && !is_near(result.searches[0])) result = search();
  ASSERT_EQ(result.searches.size(), 1U);
  const SearchResult& found = result.searches[0];
  EXPECT_GT(found.trials.size(), 2U);
  if (!found.found_fps) {
    EXPECT_THAT(found.why_none, testing::HasSubstr("the sender")) << "not that the link loses";
    return;
  }
  EXPECT_LE(*found.found_fps, 10100);
  if (doubt_of(found).empty()) {
    EXPECT_GE(*found.found_fps, 9900) << "and it does not say that its sender misled it";
  }
}

TEST(SearchRate, OfASlowLineIsFoundFromFlatOut) {
  // 20 Mbit/s are 2500 of these frames a second, and a sender flat out sends a thousand times that.
  const JobSet set = test::set_of(
      "[s]\nengine=unix\nbs=1000\nsearch=ndr\nsearch_trial=300ms\ndrain_time=30ms\n"
      "fault=rate=20Mbit,queue=30\n");
  RunControl control;
  bool stuck = false;
  const RunResult result =
      run_campaign(set.run, expand(set).value(), nullptr, control, stuck).value();
  ASSERT_EQ(result.searches.size(), 1U);
  const SearchResult& found = result.searches[0];
  ASSERT_TRUE(found.found_fps.has_value()) << found.why_none;
  EXPECT_EQ(result.exit_code, 0);
  // Where exactly it ends is told by link_of() and line_of() of search_test.cpp; here a sender that
  // was off its CPU sends bursts that the line loses.
  EXPECT_LE(*found.found_fps, 2750);
  EXPECT_GE(*found.found_fps, 250);
  EXPECT_LT(found.trials.size(), 25U);
}

/// A rate that no trial reaches. Sent at full speed, it proves that the limit is not below it; a
/// pace proves nothing of the limit.
TEST(HarnessLimit, OfAPacedJobIsNotItsPace) {
  constexpr double kBeyondAllTrials = 1e12;
  const auto limit_at = [](bool paced) {
    std::vector<PlannedJob> plan{test::job("j", Role::tx, EngineKind::unix_pair)};
    if (paced) plan[0].options.rate_fps.tx = 1000;
    RunResult result;
    JobResult& job = result.jobs.emplace_back();
    job.name = "j";
    job.tx.seconds = 1;
    job.tx.frames = static_cast<std::uint64_t>(kBeyondAllTrials);
    add_limits(plan, result);
    return result.jobs[0].limit_fps;
  };
  EXPECT_EQ(limit_at(false), kBeyondAllTrials);
  EXPECT_EQ(limit_at(true), std::nullopt);
}

}  // namespace
}  // namespace shmif::perf
