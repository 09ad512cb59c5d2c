// Each figure of a trial of a search comes from the right jobs and flows of its run.

#include <gtest/gtest.h>

#include <memory>

#include "perf/control/search.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::trial_figures {
namespace {

/// 1000 frames were sent. Each way in which frames can end has a number of its own.
FlowResult flow_of_trial() {
  FlowResult flow;
  flow.from = "s";
  flow.to = "s.sink";
  flow.sent = 1000;
  flow.received = 900;
  flow.lost = 41;
  flow.corrupt = 23;
  flow.truncated = 13;
  flow.late = 11;
  flow.cancelled = 7;
  flow.unverified = 5;
  flow.duplicates = 300;
  flow.corrupt_copies = 200;
  return flow;
}

/// A trial of "s" and its receiver, with two other jobs in the same run.
RunResult run_of_trial() {
  RunResult run;
  for (const char* name : {"other", "s", "s.sink", "other.sink"}) {
    JobResult job;
    job.name = name;
    job.latency = std::make_shared<LatencyHistogram>();
    job.service = std::make_shared<LatencyHistogram>();
    job.spacing_error = std::make_shared<LatencyHistogram>();
    run.jobs.push_back(job);
  }
  run.jobs[1].tx.frames = 1000;
  run.jobs[1].tx.offered_frames = 1200;
  run.jobs[1].tx.seconds = 4;
  run.jobs[1].tx.offered_seconds = 5;
  run.jobs[1].spacing_error->record(70);
  run.jobs[1].spacing_error->record(90);
  run.jobs[2].flows = {flow_of_trial()};
  for (std::uint64_t i = 1; i <= 90; ++i) record(*run.jobs[2].latency, i, 10);
  run.jobs[0].tx.frames = 77;
  run.jobs[0].tx.seconds = 1;
  run.jobs[0].spacing_error->record(1'000'000);
  run.jobs[3].flows = {flow_of_trial()};
  run.jobs[3].flows[0].from = "other";
  run.jobs[3].flows[0].received = 0;
  record(*run.jobs[3].latency, 1'000'000, 100'000);
  return run;
}

TEST(TrialFigures, OnlyAFrameThatCameWholeAndInTimeIsDelivered) {
  JobOptions job;
  job.name = "s";
  job.latency_percentile = 50;
  const TrialResult trial = figures_of_trial(run_of_trial(), job, 300);
  EXPECT_EQ(trial.job, "s");
  EXPECT_EQ(trial.offered_fps, 300);
  EXPECT_EQ(trial.achieved_fps, 250);
  EXPECT_EQ(trial.loss_share, 0.1) << "900 of 1000 were received";
  EXPECT_EQ(trial.latency_percentile_ns, 50) << "of all that were sent, half took so long";
  EXPECT_EQ(trial.sender_late_ns, 90);
}

TEST(TrialFigures, OfOneThatAsksRequestsAndRepliesCount) {
  RunResult run = run_of_trial();
  // Replies also count: "s" asks and receives them itself.
  FlowResult replies = flow_of_trial();
  replies.from = "s.sink";
  replies.to = "s";
  replies.received = 800;
  run.jobs[1].flows = {replies};
  JobOptions job;
  job.name = "s";
  EXPECT_EQ(figures_of_trial(run, job, 300).loss_share, 0.15);
}

}  // namespace
}  // namespace shmif::perf::trial_figures
