// What a run measures beside its traffic: its own limit, a steady state, when its jobs began; and
// frames of earlier runs, checked again.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "perf/control/campaign.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;
using test::failed;
using test::job;
using test::job_of;
using test::pair;
using test::passed;
using test::run;
using test::run_text;

RunResult campaign(const std::vector<PlannedJob>& plan) {
  RunControl control;
  bool stuck = false;
  return run_campaign({}, plan, nullptr, control, stuck).value();
}

// ---- What fio's users ask for ----

/// The lines of a log of the run below `dir`: numbers.
std::vector<std::vector<std::uint64_t>> log_lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::vector<std::uint64_t>> lines;
  for (std::string text; std::getline(file, text);) {
    std::istringstream numbers(text);
    std::vector<std::uint64_t>& line = lines.emplace_back();
    for (std::uint64_t n = 0; numbers >> n; numbers.ignore(1)) line.push_back(n);
  }
  return lines;
}

/// fio's bin of a latency, by its own words: 64 bins to each power of two from 128 on.
std::size_t fio_bin(std::uint64_t ns) {
  std::size_t group = 0;
  for (; ns >= 128; ns >>= 1U) ++group;
  return group * 64 + ns;
}

TEST(RunMeasure, HistogramLogsAddUpToTheLatenciesOfTheRunInFiosBins) {
  const test::TempDir dir;
  const RunResult result = run_text(
      "[global]\naux-path=" + dir.path() +
      "\n[j]\nengine=unix\nbs=100\nrate_iops=1000\nnumber_ios=300\nfault=delay=3ms±2ms\n"
      "write_hist_log=h\nlog_hist_msec=50\n[k]\nengine=unix\nrate_iops=1000\nnumber_ios=100\n"
      "write_hist_log=c\nlog_hist_coarseness=6\nwrite_lat_log=l\nlog_avg_msec=100\n");
  ASSERT_TRUE(passed(result));
  const LatencyHistogram& all = *job_of(result, "j.sink").latency;
  std::vector<std::uint64_t> bins(1856);
  const auto lines = log_lines(dir.file("h_clat_hist.j.log"));
  EXPECT_GE(lines.size(), 3U) << "300 ms have several of 50 ms";
  for (const auto& line : lines) {
    ASSERT_EQ(line.size(), 3 + bins.size());
    EXPECT_EQ(line[1], 1U) << "of frames that it sent";
    EXPECT_EQ(line[2], 100U);
    for (std::size_t i = 0; i < bins.size(); ++i) bins[i] += line[3 + i];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t count : bins) sum += count;
  EXPECT_EQ(sum, 300U);
  EXPECT_EQ(sum, all.count());
  EXPECT_EQ(bins[fio_bin(all.min())] > 0, true);
  EXPECT_EQ(bins[fio_bin(all.max())] > 0, true);
  const auto first = std::ranges::find_if(bins, [](std::uint64_t n) { return n != 0; });
  EXPECT_EQ(static_cast<std::size_t>(first - bins.begin()), fio_bin(all.min()));

  sum = 0;
  for (const auto& line : log_lines(dir.file("c_clat_hist.k.log"))) {
    ASSERT_EQ(line.size(), 3U + 29U) << "64 bins in one";
    for (std::size_t i = 3; i < line.size(); ++i) sum += line[i];
  }
  EXPECT_EQ(sum, 100U);
}

TEST(RunMeasure, ALatencyBeyondItsMaximumFailsTheJobByFrameAndTime) {
  const std::string job =
      "[j]\nengine=unix\nrate_iops=500\nnumber_ios=20\nfault=delay=20ms\nmax_latency=";
  const RunResult late = run_text(job + "5ms\n");
  EXPECT_TRUE(failed(late, "job \"j.sink\": frame 0 of j took "));
  EXPECT_TRUE(failed(late, "longer than max_latency (5ms)"));
  EXPECT_TRUE(passed(run_text(job + "1m\n")));
  // Of a round trip, who asked has the time.
  EXPECT_TRUE(failed(run_text("[p]\nrw=pingpong\n" + job.substr(4) + "5ms\n"),
                     "job \"p\": frame 0 of p took "));
}

TEST(RunMeasure, AReceiverWaitsAsLongAsItsSenderSaysForLateFrames) {
  const RunResult result = run_text(
      "[a]\nto=b\nengine=unix\nnumber_ios=20\nfault=delay=300ms\ndrain_time=5\n"
      "[b]\nrw=rx\nengine=unix\ndrain_time=1ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(test::flow_to(result, "b").received, 20U);
  EXPECT_EQ(test::flow_to(result, "b").late, 0U);
}

TEST(RunMeasure, TheHarnessesOwnLimitStandsBesideEachRate) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  const RunResult result = campaign(plan);
  ASSERT_TRUE(passed(result));
  ASSERT_TRUE(result.jobs[0].limit_fps && result.jobs[1].limit_fps);
  EXPECT_GT(*result.jobs[0].limit_fps, 100'000);
  EXPECT_GT(*result.jobs[1].limit_fps, 100'000);
}

TEST(RunMeasure, ASteadyRateEndsTheJobAndTheReportSaysWhen) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  plan[0].options.rate_fps.tx = 2000;
  plan[0].options.runtime = 60s;
  plan[0].options.steadystate = "iops:20%";
  plan[0].options.ss_dur = 2s;
  const RunResult result = run(plan);
  ASSERT_TRUE(passed(result));
  EXPECT_LT(result.jobs[0].tx.seconds, 30);
  ASSERT_TRUE(result.steady_state);
  EXPECT_EQ(result.steady_state->rfind("reached at ", 0), 0U) << *result.steady_state;
  ASSERT_EQ(result.steady_states.size(), 1U);
  const SteadyStateResult& data = result.steady_states[0];
  EXPECT_EQ(data.job, "first");
  EXPECT_EQ(data.figure, "iops");
  EXPECT_EQ(data.limit, 0.2);
  EXPECT_TRUE(data.limit_is_share);
  EXPECT_EQ(data.window_seconds, 2U);
  ASSERT_TRUE(data.value && data.reached_at_seconds);
  EXPECT_LE(*data.value, 0.2);
  EXPECT_GE(*data.reached_at_seconds, 2U);
}

/// A run whose frames are recorded.
std::string record(const test::TempDir& directory, std::uint64_t seed) {
  auto plan = pair(Role::tx, EngineKind::unix_pair);
  plan[0].options.runtime = {};
  plan[0].options.number_ios = 1000;
  plan[0].options.randseed = seed;
  plan[0].options.bs.tx = FrameSizes{{{.min = 64, .max = 900}}};
  plan[0].options.write_pcap = directory.file("sent.pcapng");
  EXPECT_TRUE(passed(run(plan)));
  return plan[0].options.write_pcap;
}

/// A job that checks a capture.
std::vector<PlannedJob> checker(const std::string& capture) {
  auto plan = std::vector{job("checker", Role::rx, EngineKind::pcap)};
  plan[0].options.filename = capture;
  plan[0].options.verify_only = true;
  return plan;
}

TEST(RunMeasure, ARecordIsCheckedLaterFrameByFrame) {
  const test::TempDir directory;
  const RunResult result = run(checker(record(directory, 5)));
  ASSERT_TRUE(passed(result));
  const FlowResult& flow = result.jobs[0].flows.at(0);
  EXPECT_EQ(flow.received, 1000U);
  EXPECT_EQ(flow.lost + flow.duplicates + flow.corrupt + flow.truncated, 0U);
  EXPECT_EQ(flow.sent, 1000U);
  EXPECT_EQ(flow.cancelled, 0U) << "all that is in a record was waited for";
  EXPECT_TRUE(result.jobs[0].latency->empty());
}

TEST(RunMeasure, ARecordThatLacksFramesIsFoundOut) {
  const test::TempDir directory;
  const std::string whole = record(directory, 5);
  // What another job receives of a replay over a line with losses, it records by sending it on: the
  // capture of an independent tool, here the engine that writes captures.
  auto plan = std::vector{job("copy", Role::tx, EngineKind::pcap)};
  plan[0].options.replay = whole;
  plan[0].options.replay_no_stall = true;
  plan[0].options.runtime = {};
  plan[0].options.filename = directory.file("lossy.pcapng");
  plan[0].options.fault = parse_faults("loss=5%,seed=3").value();
  const RunResult copied = run(plan);
  const std::uint64_t lost = copied.links.at(0).faults.lost;
  ASSERT_GT(lost, 10U);
  const RunResult result = run(checker(directory.file("lossy.pcapng")));
  const FlowResult& flow = result.jobs[0].flows.at(0);
  EXPECT_EQ(flow.received, 1000 - lost);
  // Of those before the first and after the last that came, the record knows nothing.
  EXPECT_LE(flow.lost, lost);
  EXPECT_GE(flow.lost + 20, lost);
}

TEST(RunMeasure, ADamagedFrameFailsTheRunThoughItIsCheckedAfterTheLastOne) {
  const test::TempDir directory;
  const std::string capture = record(directory, 5);
  std::stringstream bytes;
  bytes << std::ifstream(capture, std::ios::binary).rdbuf();
  std::string changed = bytes.str();
  changed.at(changed.rfind("\x88\xb5sp") + 30) ^= 1;  // in the last probe
  std::ofstream(capture, std::ios::binary) << changed;
  for (const std::uint64_t backlog : {0U, 100'000U}) {
    auto plan = checker(capture);
    plan[0].options.verify_backlog = backlog;
    EXPECT_TRUE(failed(run(plan), "a corrupt frame was received")) << backlog;
  }
}

TEST(RunMeasure, FramesAreComparedWithWhatTheirSeedMakes) {
  const test::TempDir directory;
  auto plan = checker(record(directory, 5));
  plan[0].options.verify_regenerate = true;
  plan[0].options.randseed = 5;
  EXPECT_TRUE(passed(run(plan)));
  // The checksums are right; but these are not the frames that seed 6 makes.
  plan[0].options.randseed = 6;
  EXPECT_TRUE(failed(run(plan), "a corrupt frame was received"));
}

TEST(RunMeasure, ARunComparesItsOwnFramesWithTheirSeedToo) {
  for (const Role role : {Role::tx, Role::pingpong, Role::txrx}) {
    auto plan = pair(role, EngineKind::bus);
    for (PlannedJob& each : plan) each.options.verify_regenerate = true;
    plan[1].options.randseed = 77;  // of what it sends itself
    EXPECT_TRUE(passed(run(plan))) << static_cast<int>(role);
  }
}

TEST(RunMeasure, ARecordWithoutItsEndIsNotTakenForAWholeOne) {
  const test::TempDir directory;
  const std::string capture = record(directory, 5);
  std::filesystem::resize_file(capture, std::filesystem::file_size(capture) - 5);
  const RunResult result = run(checker(capture));
  EXPECT_TRUE(failed(result, "the capture is damaged"));
  EXPECT_EQ(result.jobs[0].flows.at(0).received, 999U) << "what was whole is counted";
}

}  // namespace
}  // namespace shmif::perf
