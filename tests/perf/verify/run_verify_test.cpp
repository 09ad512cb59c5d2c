// What a run says of the frames it verified, in whichever mode, and what a later run knows of them.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <vector>

#include "perf/verify/verify_state.hpp"
#include "shmif/ping.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;
using test::witnessed;
using test::Witnessed;

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
}  // namespace shmif::perf
