// What a run says of the frames it verified, in whichever mode, and what a later run knows of them.

#include <fstream>

#include "perf/verify/verify_state.hpp"
#include "shmif/ping.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

/// Everything that can happen to a frame, at once, always the same.
RunResult over_all_faults(const std::string& mode) {
  return run_text(
      "[j]\nengine=unix\nnumber_ios=4000\nbs=64-1500\ndrain_time=200ms\n"
      "continue_on_error=verify\nrate_iops=40k\n"
      "fault=loss=1%,duplicate=1%,reorder=1%,corrupt=1%,truncate=1%,seed=11\n" +
      mode);
}

class VerifyMode : public testing::TestWithParam<const char*> {};

TEST_P(VerifyMode, FindsExactlyWhatCheckingEachFrameAtOnceFinds) {
  const RunResult at_once = over_all_faults("");
  const RunResult result = over_all_faults(GetParam());
  const FaultCounters& done = result.links.at(0).faults;
  const FlowResult& expected = flow_to(at_once, "j.sink");
  const FlowResult& found = flow_to(result, "j.sink");
  EXPECT_GT(done.corrupted, 10U);
  EXPECT_EQ(found.sent, 4000U);
  EXPECT_EQ(found.received, expected.received);
  EXPECT_EQ(found.lost, expected.lost);
  EXPECT_EQ(found.duplicates, expected.duplicates);
  // On a busy machine, a frame that is held back may leave before another overtakes it.
  const std::uint64_t held = at_once.links.at(0).faults.reordered;
  const std::uint64_t fewer = std::max(held, done.reordered) - std::min(held, done.reordered);
  EXPECT_LE(
      std::max(found.reordered, expected.reordered) - std::min(found.reordered, expected.reordered),
      fewer);
  EXPECT_EQ(found.corrupt, expected.corrupt);
  EXPECT_EQ(found.truncated, expected.truncated);
  EXPECT_EQ(found.gaps, expected.gaps);
  EXPECT_TRUE(found.verification_complete);
  EXPECT_EQ(found.unverified, 0U);
}

INSTANTIATE_TEST_SUITE_P(Of, VerifyMode,
                         testing::Values("verify_backlog=500\n", "verify_async=2\n",
                                         "verify_backlog=64\nverify_async=3\n"));

TEST(RunVerify, WithoutACrcANumberThatNoFrameHadIsNoticedAllTheSame) {
  // One in three probes of these small frames is hit in its number, mostly far beyond the last one.
  for (const char* option : {"do_verify=0\n", "verify=0\n"}) {
    const RunResult result = run_text(
        "[j]\nengine=unix\nbs=64\nnumber_ios=20000\nrate_iops=40k\ndrain_time=100ms\n"
        "fault=corrupt=1%,seed=3\ncontinue_on_error=verify\n" +
        std::string(option));
    ASSERT_GT(result.links.at(0).faults.corrupted, 100U);
    const FlowResult& flow = flow_to(result, "j.sink");
    // By a number taken for the greatest, all that come behind it would be reordered.
    EXPECT_LT(flow.reordered, 2000U) << option;
    EXPECT_GT(flow.corrupt, 5U) << option;
    EXPECT_LT(flow.corrupt, result.links[0].faults.corrupted) << "not by a CRC: " << option;
  }
}

TEST(RunVerify, RequestsAndRepliesAreMadeAgainAsWhoSentThemMadeThem) {
  const RunResult result =
      run_text("[j]\nengine=unix\nrw=pingpong\nverify=regenerate\nnumber_ios=20\n");
  EXPECT_TRUE(passed(result));
  for (const char* job : {"j", "j.echo"}) EXPECT_EQ(flow_to(result, job).received, 20U) << job;
}

TEST(RunVerify, AReceiverThatWasKilledLeavesVerificationIncomplete) {
  bool stopped = false;
  bool killed = false;
  const auto stop_and_kill = [&](const RunProgress& progress) {
    const JobProgress& sink = progress.jobs[1];
    if (sink.pid == 0 || sink.rx_frames == 0) return;
    if (!stopped) {
      test::send_signal(sink, SIGSTOP);
      stopped = true;
    } else if (!killed && progress.jobs[0].tx_frames > sink.rx_frames) {
      // Now frames are on their way that the sink will not receive.
      test::send_signal(sink, SIGKILL);
      killed = true;
    }
  };
  const RunResult result =
      run_text("[j]\nrate_iops=1000\nruntime=20\ndrain_time=50ms\n", stop_and_kill);
  EXPECT_TRUE(failed(result, "was killed by signal 9"));
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_FALSE(flow.verification_complete);
  EXPECT_EQ(flow.lost, 0U) << "it missed nothing while it was there";
  EXPECT_GT(flow.cancelled, 0U) << "nobody received what was sent after its end";
  EXPECT_EQ(flow.received + flow.cancelled, flow.sent);
}

/// Sends frames of others to everybody on a bus, once a job there has received something.
test::Meddler::Deed others_send(const std::string& bus,
                                std::vector<std::vector<std::byte>> frames) {
  return [bus, frames = std::move(frames), done = false](const RunProgress& progress) mutable {
    if (done || progress.jobs[1].rx_frames == 0) return;
    done = true;
    Port port = test::port_on(bus);
    for (const auto& frame : frames) {
      const FrameView view{std::span<const std::byte>(frame)};
      EXPECT_EQ(port.send({&view, 1}).taken, 1U);
    }
  };
}

TEST(RunVerify, FramesOfAnotherRunAreStaleAndNoDuplicates) {
  const test::TempBus bus(test::roomy(4));
  const std::string job = "[j]\nrate_iops=500\nbus=" + bus.path();
  EXPECT_TRUE(passed(run_text(job + "\nnumber_ios=20\n")));
  std::vector<std::vector<std::byte>> old;
  for (Witnessed& w : witnessed(bus.path())) {
    std::fill_n(w.bytes.begin(), 6, std::byte{0xff});
    write_probe(w.bytes, probe_offset(w.bytes), w.probe());
    old.push_back(w.bytes);
  }
  const RunResult result = run_text(job + "\nnumber_ios=200\n", others_send(bus.path(), old));
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j.sink").rx.stale_frames, 20U);
  EXPECT_EQ(flow_to(result, "j.sink").received, 200U);
  EXPECT_EQ(flow_to(result, "j.sink").duplicates, 0U);
}

TEST(RunVerify, WhatElseWasOnTheWireIsForeignAndDisturbsNoCount) {
  const test::TempBus bus(test::roomy(4));
  std::vector<std::vector<std::byte>> others(7, std::vector<std::byte>(100, std::byte{0x55}));
  for (auto& frame : others) std::fill_n(frame.begin(), 6, std::byte{0xff});
  // Pings have the EtherType of probes.
  for (std::uint32_t i = 0; i < 3; ++i) {
    std::vector<std::byte>& ping = others.emplace_back(kPingFrameBytes);
    write_ping({.destination = MacAddress::from_u64(0xffffffffffff),
                .source = MacAddress::from_u64(0x020000000001),
                .sequence = i},
               std::span(ping).first<kPingFrameBytes>());
  }
  const RunResult result = run_text("[j]\nrate_iops=500\nnumber_ios=200\nbus=" + bus.path(),
                                    others_send(bus.path(), others));
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j.sink").rx.foreign_frames, 10U);
  EXPECT_EQ(job_of(result, "j.sink").counts.receiver_foreign, 10U);
  EXPECT_EQ(job_of(result, "j.sink").counts.agree, true);
  EXPECT_EQ(flow_to(result, "j.sink").received, 200U);
  EXPECT_EQ(flow_to(result, "j.sink").corrupt + flow_to(result, "j.sink").truncated, 0U);
}

/// Runs that save their state, and go on from it.
class RunState : public testing::Test {
 protected:
  std::string global() const {
    return "[global]\naux-path=" + dir_.path() +
           "\nbs=60-800\nnumber_ios=100\nengine=bus\nbus=" + bus_.path() + '\n';
  }
  std::string state_of(const std::string& job) const { return verify_state_path(dir_.path(), job); }

  test::TempDir dir_;
  test::TempBus bus_{test::roomy(4)};
};

TEST_F(RunState, ALaterRunGoesOnWithNumbersAndSizesWhereTheFirstOneEnded) {
  EXPECT_TRUE(passed(run_text(global() + "verify_state_save\n[a]\nto=b\n[b]\nrw=rx\n")));
  EXPECT_TRUE(passed(run_text(global() + "[a]\nto=b\nverify_state_load=" + state_of("a") +
                              "\n[b]\nrw=rx\nverify_state_load=" + state_of("b") + '\n')));
  EXPECT_TRUE(passed(run_text(global() + "[a]\nto=b\nnumber_ios=200\n[b]\nrw=rx\n")));
  const auto frames = witnessed(bus_.path());
  ASSERT_EQ(frames.size(), 400U);
  for (std::size_t n = 0; n < 200; ++n) {
    EXPECT_EQ(frames[n].probe().sequence, n);
    EXPECT_EQ(frames[n].bytes.size(), frames[200 + n].bytes.size()) << "as in one run of both";
  }
}

TEST_F(RunState, OfAReceiverWhoseSenderBeginsAnewLeavesEachFrameOneFate) {
  EXPECT_TRUE(passed(run_text(global() + "verify_state_save\n[a]\nto=b\n[b]\nrw=rx\n")));
  const auto flow_with = [&](const std::string& options) {
    const RunResult result =
        run_text(global() + "number_ios=40\n" + options + "[a]\nto=b\n[b]\nrw=rx\n" +
                 "verify_state_load=" + state_of("b") + '\n');
    return job_of(result, "b").flows.at(0);
  };
  const FlowResult whole = flow_with("");
  EXPECT_EQ(whole.received, 40U);
  EXPECT_EQ(whole.lost + whole.duplicates + whole.reordered, 0U);
  const FlowResult lost = flow_with("fault=loss=100%\n");
  EXPECT_EQ(lost.lost, 40U);
  EXPECT_EQ(lost.received + lost.duplicates, 0U);
  EXPECT_EQ(lost.gaps, (decltype(lost.gaps){{0, 40}}));
}

TEST_F(RunState, AStateOfAnotherJobOrVersionIsRefusedByName) {
  EXPECT_TRUE(passed(run_text(global() + "verify_state_save\n[a]\n")));
  const RunResult other = run_text(global() + "[c]\nverify_state_load=" + state_of("a") + '\n');
  EXPECT_TRUE(failed(other, "job \"c\": did not start"));
  EXPECT_TRUE(failed(other, "it is of job \"a\""));
  const std::string receiver = "\n[a.sink]\nrw=rx\nverify_state_load=" + state_of("a.sink") + '\n';
  EXPECT_TRUE(failed(run_text(global() + "[d]\nto=a.sink" + receiver),
                     "it has frames from job \"a\", which sends nothing to job \"a.sink\""));
  EXPECT_TRUE(failed(run_text(global() + "[a]\nbs=200\nverify_state_load=" + state_of("a") + '\n'),
                     "different frames"));
  {
    std::fstream file(state_of("a"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8);
    file.put(9);
  }
  const RunResult version = run_text(global() + "[a]\nverify_state_load=" + state_of("a") + '\n');
  EXPECT_TRUE(failed(version, "version 9"));
  EXPECT_EQ(job_of(version, "a").tx.frames, 0U);
  EXPECT_TRUE(
      failed(run_text(global() + "[a]\nverify_state_load=/no/such/file\n"), "/no/such/file"));
}

TEST_F(RunState, IsSavedByARunThatASignalStopped) {
  const std::string jobs =
      global() + "number_ios=0\nruntime=20\nrate_iops=1000\nverify_state_save\n[a]\n";
  const RunResult result = test::run_stopped(
      jobs, SIGTERM, 1, [](const auto& progress) { return progress.jobs[1].rx_frames >= 50; });
  EXPECT_TRUE(passed(result));
  const VerifyState state =
      load_verify_state(state_of("a"), "a", options_hash(test::set_of(jobs).jobs[0])).value();
  EXPECT_EQ(state.flows.at(0).next_sequence, job_of(result, "a").tx.frames);
}

TEST_F(RunState, KnowsSendersByTheirNamesWhateverTheirOrder) {
  const std::string jobs = "[a]\nto=r\n[b]\nto=r\nnumber_ios=40\n[r]\nrw=rx\n";
  EXPECT_TRUE(passed(run_text(global() + "verify_state_save\n" + jobs)));
  // All three go on, and the senders have changed places.
  const RunResult swapped =
      run_text(global() + "[b]\nto=r\nnumber_ios=40\nverify_state_load=" + state_of("b") +
               "\n[a]\nto=r\nverify_state_load=" + state_of("a") +
               "\n[r]\nrw=rx\nverify_state_load=" + state_of("r") + '\n');
  EXPECT_TRUE(passed(swapped));
  for (const FlowResult& flow : job_of(swapped, "r").flows) {
    EXPECT_EQ(flow.received, flow.from == "a" ? 100U : 40U);
    EXPECT_EQ(flow.duplicates + flow.reordered + flow.lost, 0U) << flow.from;
  }
}

}  // namespace

// What a run says of frames that were lost, damaged or late is what happened to them.

namespace {

using namespace std::chrono_literals;
using test::pair;
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
