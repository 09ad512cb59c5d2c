// Which results fail a job, and how it is said.

#include "perf/run/job_verdict.hpp"

#include <gtest/gtest.h>

namespace shmif::perf {
namespace {

/// A job that has sent and received, and what is judged of it.
struct Judged {
  PlannedJob plan;
  ControlledJob job{.plan = plan};
  JobResult result;

  Judged() {
    result.counts.generator_tx = result.counts.receiver_rx = 10;
    FlowResult& flow = result.flows.emplace_back();
    flow.from = "a";
    flow.sent = flow.received = 10;
  }
  std::string verdict() {
    judge(job, result);
    EXPECT_EQ(result.passed, result.errors.empty());
    return result.errors.empty() ? "" : result.errors.front();
  }
};

TEST(JobVerdict, PassesWhatAddsUp) {
  EXPECT_EQ(Judged().verdict(), "");
  Judged lossy;
  lossy.result.flows[0].received = 4;
  lossy.result.flows[0].lost = 3;
  lossy.result.flows[0].late = 2;
  lossy.result.flows[0].cancelled = 1;
  EXPECT_EQ(lossy.verdict(), "") << "losses are a result, no failure";
}

TEST(JobVerdict, CountsThatDifferFailTheJobAndAreShownSideBySide) {
  Judged judged;
  judged.result.counts.wire.tx_frames = 9;
  judged.result.counts.wire.rx_frames = 10;
  judged.result.counts.agree = false;
  EXPECT_EQ(judged.verdict(), "counts differ: sent 10, of which the wire counted 9");
}

TEST(JobVerdict, FramesThatDoNotAddUpFailTheJob) {
  Judged judged;
  judged.result.flows[0].received = 9;
  EXPECT_EQ(judged.verdict(), "frames from \"a\" do not add up: sent 10, accounted for 9");
  Judged more;
  more.result.flows[0].received = 11;
  EXPECT_EQ(more.verdict(), "more frames of \"a\" were received than it sent: 11 of 10");
  Judged twice;
  twice.result.flows[0].cancelled = 1;
  EXPECT_EQ(twice.verdict(), "frames from \"a\" do not add up: sent 10, accounted for 11");
}

TEST(JobVerdict, FramesThatWereNotCheckedFailTheJob) {
  Judged judged;
  judged.result.flows[0].verification_complete = false;
  EXPECT_EQ(judged.verdict(), "the verification of frames from \"a\" is incomplete");
}

TEST(JobVerdict, WhoMovedNothingFailsUnlessItWasStopped) {
  const auto idle = [](auto change) {
    Judged judged;
    judged.result = {};
    change(judged);
    return judged.verdict();
  };
  EXPECT_EQ(idle([](Judged& j) { j.plan.options.rate_fps.tx = 1; }),
            "moved no frame (at this rate no frame may have been due: see rate, rate_iops and "
            "runtime)");
  EXPECT_EQ(idle([](Judged& j) { j.result.tx.refused_frames = 1; }),
            "moved no frame (the engine took no frame; is it up?)");
  EXPECT_EQ(idle([](Judged& j) {
              j.plan.options.rw = Role::rx;
              j.result.rx.foreign_frames = 3;
            }),
            "moved no frame (only frames of others came)");
  EXPECT_EQ(idle([](Judged& j) { j.job.stop_ns = 1; }), "");
  EXPECT_EQ(idle([](Judged& j) { j.plan.options.background = true; }), "");
}

TEST(JobVerdict, WhoNeverStartedHasNotPassed) {
  Judged judged;
  judged.job.never_started = true;
  judge(judged.job, judged.result);
  EXPECT_FALSE(judged.result.passed);
}

}  // namespace
}  // namespace shmif::perf
