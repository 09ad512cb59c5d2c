// Whole runs: what they find out is what happened.

#include "perf/control/runner.hpp"

#include <gtest/gtest.h>

#include "tests/perf/control/run_rig.hpp"

namespace shmif::perf {

namespace {

using test::pair;
using test::passed;
using test::run;

struct Over {
  EngineKind engine;
};
void PrintTo(const Over& over, std::ostream* out) {
  *out << name_of(over.engine);
}

class RunOver : public testing::TestWithParam<Over> {};

TEST_P(RunOver, SenderReceiverAndWireCountTheSame) {
  auto plan = pair(Role::tx, GetParam().engine);
  plan[0].options.rate_fps.tx = 10000;
  const RunResult result = run(plan);
  EXPECT_TRUE(passed(result));
  const JobResult& tx = result.jobs[0];
  const JobResult& rx = result.jobs[1];
  EXPECT_GT(tx.tx.frames, 0U);
  ASSERT_EQ(rx.flows.size(), 1U);
  EXPECT_EQ(rx.flows[0].sent, tx.tx.frames);
  EXPECT_EQ(rx.flows[0].received + rx.flows[0].lost, tx.tx.frames);
  EXPECT_EQ(rx.rx.frames, rx.flows[0].received);
  EXPECT_EQ(tx.tx.offered_frames, 2000U);
  EXPECT_EQ(rx.latency->count(), rx.rx.frames);
}

TEST_P(RunOver, FlatOutEveryFrameIsReceivedOrLost) {
  const RunResult result = run(pair(Role::tx, GetParam().engine));
  EXPECT_TRUE(passed(result));
  const FlowResult& flow = result.jobs[1].flows[0];
  EXPECT_GT(flow.sent, 1000U);
  EXPECT_EQ(flow.received + flow.lost, flow.sent);
}

TEST_P(RunOver, PingPongTimesEveryRoundTrip) {
  auto plan = pair(Role::pingpong, GetParam().engine);
  plan[0].options.runtime = {};
  plan[0].options.number_ios = 100;
  const RunResult result = run(plan);
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(result.jobs[0].tx.frames, 100U);
  EXPECT_EQ(result.jobs[0].rx.frames, 100U);
  EXPECT_EQ(result.jobs[0].latency->count(), 100U);
  EXPECT_EQ(result.jobs[1].tx.frames, 100U);
}

TEST_P(RunOver, BothWaysAtOnce) {
  auto plan = pair(Role::txrx, GetParam().engine);
  for (auto& job : plan) {
    job.options.rate_fps.tx = 1000;
    job.options.runtime = {};
    job.options.number_ios = 200;
  }
  const RunResult result = run(plan);
  EXPECT_TRUE(passed(result));
  for (const JobResult& job : result.jobs) {
    EXPECT_EQ(job.tx.offered_frames, 200U);
    ASSERT_EQ(job.flows.size(), 1U);
    EXPECT_EQ(job.flows[0].received, 200U);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, RunOver,
                         testing::Values(Over{EngineKind::bus}, Over{EngineKind::unix_pair},
                                         Over{EngineKind::udp}),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace shmif::perf
