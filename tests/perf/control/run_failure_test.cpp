// What must fail a run does, and says so; and what did run is told all the same.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "perf/control/runner.hpp"
#include "tests/perf/control/run_rig.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using test::failed;
using test::pair;
using test::passed;
using test::run;
using test::signal_in;

/// A pair over a bus that would run for long.
std::vector<PlannedJob> long_pair(Role role = Role::tx) {
  auto plan = pair(role, EngineKind::bus);
  plan[0].options.rate_fps.tx = 1000;
  plan[0].options.runtime = 30s;
  plan[0].options.drain_time = 100ms;
  return plan;
}

RunOptions stuck_after(std::chrono::nanoseconds time) {
  RunOptions options;
  options.stuck_timeout = time;
  return options;
}

RunOptions going_on() {
  RunOptions options;
  options.continue_on_start_error = true;
  return options;
}

TEST(RunFailure, AKilledSenderFailsTheRunAndItsFramesAreStillCounted) {
  const RunResult result = run(long_pair(), {}, signal_in(JobState::running, 0, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"first\": was killed by signal 9"));
  EXPECT_EQ(result.jobs[0].exit_signal, SIGKILL);
  const FlowResult& flow = result.jobs[1].flows[0];
  EXPECT_GT(flow.received, 0U);
  EXPECT_EQ(flow.received, flow.sent);
  EXPECT_TRUE(result.jobs[1].passed);
  // What it could not tell any more is not known, and not 0.
  EXPECT_FALSE(result.jobs[0].cpu);
  EXPECT_FALSE(result.jobs[0].runtime_seconds);
}

TEST(RunFailure, WhoEchoesEndsWithAKilledOneWhoAsked) {
  const RunResult result =
      run(long_pair(Role::pingpong), stuck_after(5s), signal_in(JobState::running, 0, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"first\": was killed by signal 9"));
  EXPECT_TRUE(result.jobs[1].passed) << testing::PrintToString(result.jobs[1].errors);
}

TEST(RunFailure, AKilledReceiverFailsTheRunAndItsFramesAreStillCounted) {
  const RunResult result = run(long_pair(), {}, signal_in(JobState::running, 1, SIGKILL));
  EXPECT_TRUE(failed(result, "job \"second\": was killed by signal 9"));
  EXPECT_GT(result.jobs[1].flows[0].received, 0U);
  // Whoever sent to it is stopped: nothing of it can be verified any more.
  EXPECT_TRUE(result.jobs[0].passed);
  EXPECT_LT(result.jobs[0].tx.frames, 30000U);
}

TEST(RunFailure, AJobThatCannotStartStopsTheRunAndIsNamed) {
  auto plan = long_pair();
  plan[1].options.exec_prerun = {"false"};
  const RunResult result = run(plan);
  EXPECT_TRUE(
      failed(result, "job \"second\": did not start: exec_prerun: false ended with status 1"));
  EXPECT_EQ(result.jobs[0].tx.frames, 0U);
}

TEST(RunFailure, WithContinueOnStartErrorTheOthersRun) {
  auto plan = long_pair();
  plan[0].options.number_ios = 100;
  plan.push_back(test::job("third", Role::tx, EngineKind::bus));
  plan[2].options.exec_prerun = {"false"};
  plan[2].to = 1;
  const RunResult result = run(plan, going_on());
  EXPECT_TRUE(failed(result, "job \"third\": did not start"));
  EXPECT_EQ(result.jobs[1].flows[0].received, 100U);
}

TEST(RunMinimumRate, ATotalStallOfTheSenderTripsIt) {
  auto plan = long_pair();
  plan[0].options.rate_min_fps.tx = 1;
  plan[0].options.rate_settle = 100ms;
  plan[0].options.rate_cycle = 200ms;
  const RunResult result = run(plan, stuck_after(200ms), signal_in(JobState::running, 0, SIGSTOP));
  EXPECT_TRUE(
      failed(result, "job \"first\": tx: wanted at least 1 frames/s (rate_iops_min), got 0"));
  EXPECT_TRUE(failed(result, "job \"first\": is stuck"));
}

TEST(RunFailure, AReceiverBelowItsMinimumEndsThoseThatSendToItToo) {
  auto plan = long_pair();
  plan[1].options.rate_min_fps.rx = 1'000'000;
  plan[1].options.rate_settle = 100ms;
  plan[1].options.rate_cycle = 100ms;
  const RunResult result = run(plan);
  EXPECT_TRUE(
      failed(result, "job \"second\": rx: wanted at least 1000000 frames/s (rate_iops_min), "));
  EXPECT_GT(result.jobs.at(0).tx.frames, 0U);
  EXPECT_LT(result.jobs.at(0).tx.frames, 30000U);
}

TEST(RunFailure, AFailedPostrunFailsTheJob) {
  auto plan = long_pair();
  plan[0].options.number_ios = 10;
  plan[0].options.exec_postrun = {"sh", "-c", "exit 3"};
  EXPECT_TRUE(failed(run(plan), "job \"first\": exec_postrun: sh ended with status 3"));
}

TEST(RunStop, AStopDrainsAndReports) {
  RunControl control;
  test::Meddler meddler([&](const RunProgress& progress) {
    if (progress.jobs[1].rx_frames < 100) return;
    control.signal = SIGINT;
    control.stops = 1;
  });
  const RunResult result = Runner::create({}, long_pair()).value()->run(&meddler, control);
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(result.stopped_by_signal, SIGINT);
  const FlowResult& flow = result.jobs[1].flows[0];
  EXPECT_GE(flow.sent, 100U);
  EXPECT_EQ(flow.received, flow.sent);
}

TEST(RunStop, ASecondStopEndsAJobThatDoesNotListen) {
  RunControl control;
  auto stop = signal_in(JobState::running, 1, SIGSTOP);
  test::Meddler meddler([&](const RunProgress& progress) {
    stop(progress);
    if (progress.jobs[0].tx_frames < 300) return;
    control.signal = SIGINT;
    control.stops = 2;
  });
  const RunResult result = Runner::create({}, long_pair()).value()->run(&meddler, control);
  EXPECT_TRUE(failed(result, "job \"second\": did not end within a second of a hard stop"));
}

TEST(RunStop, AfterASecondStopAJobHasASecondToEnd) {
  RunControl control;
  test::Meddler meddler([&](const RunProgress& progress) {
    if (control.stops != 0) return test::send_signal(progress.jobs[1], SIGCONT);
    if (progress.jobs[1].rx_frames == 0) return;
    test::send_signal(progress.jobs[1], SIGSTOP);
    control.signal = SIGINT;
    control.stops = 2;
  });
  // A hard stop leaves frames on their way, but the job ended by itself.
  const RunResult result = Runner::create({}, long_pair()).value()->run(&meddler, control);
  EXPECT_FALSE(failed(result, "hard stop"));
  EXPECT_FALSE(result.jobs[1].exit_signal);
}

TEST(RunOrder, AJobThatStoodStillFromTheStartToTheStopReceivesAllThatWasSentToIt) {
  auto plan = long_pair();
  plan.push_back(test::job("third", Role::tx, EngineKind::unix_pair));
  plan.push_back(test::job("fourth", Role::rx, EngineKind::unix_pair));
  plan[2].to = 3;
  plan[2].options.number_ios = 10;
  plan[2].options.exitall = true;
  plan[0].options.drain_time = 10s;  // a busy machine lets it go on later
  const test::TempDir aux;
  RunOptions options;
  options.aux_path = aux.path();
  RunControl control;
  control.start_at_ns = RunControl::kHeld;
  enum class Step { ready, started, stopped, continued } step = Step::ready;
  test::Meddler meddler([&](const RunProgress& progress) {
    if (step == Step::ready && control.ready) {
      test::send_signal(progress.jobs[1], SIGSTOP);
      control.start_at_ns = 0;
      step = Step::started;
    } else if (step == Step::started && progress.jobs[2].state == JobState::reaped) {
      step = Step::stopped;  // by the next look at the latest
    } else if (step == Step::stopped) {
      test::send_signal(progress.jobs[1], SIGCONT);
      step = Step::continued;
    }
  });
  const RunResult result = Runner::create(options, std::move(plan)).value()->run(&meddler, control);
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(step, Step::continued);
  const FlowResult& flow = result.jobs[1].flows[0];
  EXPECT_GT(flow.sent, 0U);
  EXPECT_EQ(flow.received, flow.sent);
}

}  // namespace
}  // namespace shmif::perf
