// What a run says of frames that were lost, damaged or late is what happened to them.

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using test::pair;
using test::passed;
using test::run;

/// So many frames over a line with faults, on which the receiver goes on after bad ones.
std::vector<PlannedJob> over_faults(const std::string& faults, std::uint64_t frames = 20000) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  plan[0].options.runtime = {};
  plan[0].options.number_ios = frames;
  plan[0].options.rate_fps.tx = 100000;
  plan[0].options.drain_time = 200ms;
  plan[0].options.fault = parse_faults(faults).value();
  plan[1].options.continue_on_error.verify = true;
  return plan;
}

/// A fault, what a link counts of it, and what the receiver of a flow does.
struct Fault {
  const char* name;
  const char* options;
  std::uint64_t FaultCounters::* made;
  std::uint64_t FlowResult::* found;
};
void PrintTo(const Fault& fault, std::ostream* out) {
  *out << fault.name;
}

const Fault kFaults[] = {
    {"Lost", "loss=2%,burst=0.1%:20%,seed=7", &FaultCounters::lost, &FlowResult::lost},
    {"Duplicate", "duplicate=2%,seed=7", &FaultCounters::duplicated, &FlowResult::duplicates},
    {"Reordered", "reorder=2%,seed=7", &FaultCounters::reordered, &FlowResult::reordered},
    {"Corrupt", "corrupt=2%,seed=7", &FaultCounters::corrupted, &FlowResult::corrupt},
    {"Truncated", "truncate=2%,seed=7", &FaultCounters::truncated, &FlowResult::truncated},
};

class RunTruthOf : public testing::TestWithParam<Fault> {};

TEST_P(RunTruthOf, EveryFaultyFrameIsFoundAndNoOther) {
  const RunResult result = run(over_faults(GetParam().options));
  EXPECT_TRUE(passed(result));
  ASSERT_EQ(result.links.size(), 1U);
  const FaultCounters& made = result.links[0].faults;
  const FlowResult& found = result.jobs[1].flows[0];
  EXPECT_GT(made.*GetParam().made, 100U);
  for (const Fault& fault : kFaults) {
    const bool meant = fault.found == GetParam().found;
    EXPECT_EQ(found.*fault.found, meant ? made.*GetParam().made : 0) << fault.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, RunTruthOf, testing::ValuesIn(kFaults),
                         [](const auto& fault) { return std::string(fault.param.name); });

std::uint64_t lost_in_intervals(const JobResult& job) {
  std::uint64_t lost = 0;
  for (const IntervalResult& each : job.intervals) lost += each.lost_frames;
  return lost;
}

TEST(RunTruth, IntervalsTellEachLostFrameOnceTheLastOnesToo) {
  const RunResult result = run(over_faults("loss=2%,seed=7"));
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(lost_in_intervals(result.jobs[1]), result.links.at(0).faults.lost);
  EXPECT_EQ(lost_in_intervals(result.jobs[1]), result.jobs[1].flows[0].lost);
}

TEST(RunTruth, IntervalsOfARoundTripTellWhichWayAFrameWasLost) {
  auto plan = pair(Role::pingpong, EngineKind::unix_pair);
  plan[0].options.runtime = {};
  plan[0].options.number_ios = 2000;
  plan[0].options.iodepth = 2000;
  plan[0].options.drain_time = 200ms;
  plan[0].options.fault = parse_faults("loss=10%,seed=7").value();
  plan[0].options.fault_rx = parse_faults("loss=10%,seed=8").value();
  const RunResult result = run(plan);
  EXPECT_TRUE(passed(result));
  EXPECT_GT(result.jobs[1].flows[0].lost, 100U) << "requests";
  EXPECT_GT(result.jobs[0].flows[0].lost, 100U) << "replies";
  for (const JobResult& job : result.jobs)
    EXPECT_EQ(lost_in_intervals(job), job.flows[0].lost) << job.name;
}

TEST(RunTruth, ACorruptFrameFailsTheRunUnlessToldOtherwise) {
  auto plan = over_faults("corrupt=2%,seed=7");
  plan[1].options.continue_on_error.verify = false;
  EXPECT_TRUE(test::failed(run(plan), "job \"second\": a corrupt frame was received"));
}

TEST(RunTruth, FramesAfterTheDrainAreLateAndNotLost) {
  FlowResult flow;
  // Frames come 1.5 drain times after they were sent. A sender that stands still for half of one
  // sends the first frames before the drain, and a receiver that does reads no more of the last
  // ones. So the times grow until they are longer than the machine stands still.
  for (auto drain = 200ms; flow.late != 100 && drain < 7s; drain *= 2) {
    auto plan = over_faults("delay=" + std::to_string((drain * 3 / 2).count()) + "ms", 100);
    plan[0].options.drain_time = drain;
    const RunResult result = run(plan);
    EXPECT_TRUE(passed(result));
    flow = result.jobs[1].flows[0];
    EXPECT_EQ(flow.received + flow.late + flow.lost, 100U);
  }
  EXPECT_EQ(flow.late, 100U);
  EXPECT_EQ(flow.lost, 0U);
}

std::uint64_t fates(const FlowResult& r) {
  return r.received + r.lost + r.corrupt + r.truncated + r.late + r.cancelled + r.unverified;
}

TEST(RunTruth, EachFrameHasOneFateUnderAllFaultsTogether) {
  for (const char* const faults :
       {"duplicate=20%,corrupt=5%,seed=7", "duplicate=20%,truncate=5%,seed=8",
        "duplicate=10%,corrupt=10%,truncate=10%,loss=5%,reorder=5%,seed=9"}) {
    SCOPED_TRACE(faults);
    const RunResult result = run(over_faults(faults, 10'000));
    EXPECT_TRUE(passed(result));
    const FlowResult& flow = result.jobs[1].flows[0];
    const FaultCounters& made = result.links.at(0).faults;
    EXPECT_EQ(flow.sent, 10'000U);
    EXPECT_EQ(fates(flow), flow.sent);
    const std::uint64_t damaged =
        flow.corrupt + flow.corrupt_copies + flow.truncated + flow.truncated_copies;
    const std::uint64_t arrivals = flow.received + flow.duplicates + damaged;
    EXPECT_GT(flow.corrupt_copies + flow.truncated_copies, 10U);
    // Each arrival is the fate of a frame or a copy, and none is both.
    const std::uint64_t came = flow.sent + made.duplicated - made.lost;
    EXPECT_LE(arrivals, came);
    if (made.corrupted != 0 && made.truncated != 0) continue;  // some are both, and not known
    EXPECT_EQ(damaged, made.corrupted + made.truncated);
    EXPECT_EQ(arrivals, came);
  }
}

TEST(RunTruth, DamageInTheRampHidesNoLossInTheWindow) {
  auto plan = over_faults("loss=10%,corrupt=30%,seed=7");
  plan[0].options.number_ios = 0;
  plan[0].options.runtime = 200ms;
  plan[0].options.ramp_time = 400ms;
  plan[0].options.rate_fps.tx = 25000;
  RunResult result = run(plan);
  // A sender that cannot keep its pace still sends frames of the ramp in the window. So the same
  // frames are sent more slowly, until those of the window go in it, too.
  while (result.jobs[1].flows[0].sent < 4000 && plan[0].options.runtime < 6s) {
    plan[0].options.runtime *= 2;
    plan[0].options.ramp_time *= 2;
    plan[0].options.rate_fps.tx /= 2;
    result = run(plan);
  }
  ASSERT_TRUE(passed(result));
  const FlowResult& flow = result.jobs[1].flows[0];
  const auto share = [&](std::uint64_t frames) {
    return static_cast<double>(frames) / static_cast<double>(flow.sent);
  };
  // Twice as many are damaged before the window as in it, which would explain every loss. The
  // bounds are five standard deviations of 4000 frames.
  EXPECT_NEAR(share(flow.lost), 0.10, 0.025);
  EXPECT_NEAR(share(flow.corrupt), 0.27, 0.036);
}

TEST(RunTruth, AReceiverThatIsFrozenIsSeenWholeInTheLatency) {
  auto plan = pair(Role::tx, EngineKind::bus);
  plan[0].options.rate_fps.tx = 1000;
  plan[0].options.runtime = 1s;
  bool frozen = false;
  const RunResult result = run(plan, {}, [&](const RunProgress& progress) {
    const JobProgress& receiver = progress.jobs[1];
    if (frozen || receiver.rx_frames < 100 || receiver.pid == 0) return;
    frozen = true;
    test::freeze(receiver, 100ms);
  });
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(result.jobs[1].flows[0].received, result.jobs[0].tx.frames);
  // Whoever came while it stood waited for the rest of it: the first one for all.
  EXPECT_GE(result.jobs[1].latency->percentile(99.9), 95'000'000U);
  EXPECT_GE(result.jobs[1].latency->percentile(95), 40'000'000U);
}

}  // namespace
}  // namespace shmif::perf
