// Each figure and message of repeated runs comes from the right one of them.

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "perf/control/campaign.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::repeated_figures {
namespace {

/// A run of a sender and its receiver. Its figures are those of a basic run multiplied by `times`;
/// only the rate of the sender is multiplied by `sent_times`.
RunResult run_times(double times, double sent_times) {
  const auto count = [&](double n) { return static_cast<std::uint64_t>(n * times); };
  RunResult run;
  for (const char* name : {"tx", "rx"}) {
    JobResult job;
    job.name = name;
    job.latency = std::make_shared<LatencyHistogram>();
    job.service = job.spacing_error = job.latency;
    run.jobs.push_back(job);
  }
  run.jobs[0].tx.frames = static_cast<std::uint64_t>(7'000 * sent_times);
  run.jobs[0].tx.seconds = 10;
  TrafficResult& rx = run.jobs[1].rx;
  rx.frames = count(5'000);
  rx.seconds = 20;
  FlowResult flow;
  flow.sent = 100'000;
  flow.received = 10;
  flow.corrupt = 11;
  flow.lost = count(1'300);
  run.jobs[1].flows = {flow, flow};
  // Percentiles are exact below 256 ns.
  record(*run.jobs[1].latency, count(17), 60);
  record(*run.jobs[1].latency, count(19), 39);
  run.jobs[1].latency->record(count(23));
  run.began = std::chrono::system_clock::time_point(std::chrono::seconds(count(100)));
  run.ended = run.began + std::chrono::seconds(1);
  return run;
}

constexpr std::array<double, 5> kTimes{2, 5, 3, 1, 9};
constexpr std::array<double, 5> kSentTimes{5, 9, 1, 2, 3};

RunResult five_runs() {
  std::vector<RunResult> runs;
  for (std::size_t i = 0; i < kTimes.size(); ++i) {
    runs.push_back(run_times(kTimes.at(i), kSentTimes.at(i)));
  }
  return all_of_repetitions(std::move(runs));
}

const RepeatFigure& repeat_of(const RunResult& run, const std::string& job,
                              const std::string& figure) {
  for (const RepeatFigure& each : run.repeats) {
    if (each.job == job && each.figure == figure) return each;
  }
  throw std::runtime_error("no repetitions of " + job + ' ' + figure);
}

TEST(RepeatedFigures, AreTheMedianAndTheEndsOfAllRunsInTheirOrder) {
  const RunResult run = five_runs();
  struct Row {
    const char *job, *figure;
    double once;
  };
  const double mean = (17 * 60 + 19 * 39 + 23) / 100.0;
  const std::vector<Row> rows{{"tx", "tx_fps", 700},        {"rx", "rx_fps", 250},
                              {"rx", "lost_share", 0.013},  {"rx", "latency_ns_mean", mean},
                              {"rx", "latency_ns_p50", 17}, {"rx", "latency_ns_p99", 19}};
  EXPECT_EQ(run.repeats.size(), rows.size());
  for (const Row& row : rows) {
    const RepeatFigure& figure = repeat_of(run, row.job, row.figure);
    ASSERT_EQ(figure.values.size(), 5U) << row.figure;
    const auto& times = row.job == std::string("tx") ? kSentTimes : kTimes;
    for (std::size_t i = 0; i < times.size(); ++i) {
      EXPECT_NEAR(figure.values[i], row.once * times.at(i), 1e-9) << row.figure;
    }
    EXPECT_NEAR(figure.median, row.once * 3, 1e-9) << row.figure;
    EXPECT_NEAR(figure.min, row.once, 1e-9) << row.figure;
    EXPECT_NEAR(figure.max, row.once * 9, 1e-9) << row.figure;
  }
}

TEST(RepeatedFigures, CountsAreThoseOfTheRunWithTheMedianRate) {
  const RunResult run = five_runs();
  EXPECT_EQ(run.shown_run, 2U);
  EXPECT_EQ(run.jobs.at(1).rx.frames, 15'000U);
  ASSERT_EQ(run.repetitions.size(), 5U);
  EXPECT_EQ(run.repetitions[4].jobs.at(1).rx.frames, 45'000U);
  EXPECT_EQ(run.began, std::chrono::system_clock::time_point(std::chrono::seconds(200)));
  EXPECT_EQ(run.ended, std::chrono::system_clock::time_point(std::chrono::seconds(901)));
}

TEST(RepeatedFigures, OfSearchesARunIsChosenByWhatItFound) {
  std::vector<RunResult> runs;
  for (const double found : {40.0, 20.0, 30.0}) {
    // By the rate of its traffic, another run would be chosen.
    const double times = found == 40 ? 2 : found == 20 ? 3 : 9;
    runs.push_back(run_times(times, times));
    SearchResult& search = runs.back().searches.emplace_back();
    search.job = "tx";
    search.found_fps = found;
  }
  const RunResult run = all_of_repetitions(std::move(runs));
  EXPECT_EQ(run.shown_run, 2U);
  const RepeatFigure& figure = repeat_of(run, "tx", "found_fps");
  EXPECT_EQ(figure.values, (std::vector<double>{40, 20, 30}));
  EXPECT_EQ(figure.median, 30);
  EXPECT_EQ(figure.min, 20);
  EXPECT_EQ(figure.max, 40);
}

// ---- Messages, causes, and which run is shown ----

using Words = std::vector<std::string>;

/// A run with that rate, and messages of its own besides one that each has.
RunResult run_of(std::uint64_t frames, const std::string& name) {
  RunResult run;
  JobResult& job = run.jobs.emplace_back();
  job.name = "a";
  job.tx.frames = frames;
  job.tx.seconds = 1;
  job.latency = job.service = job.spacing_error = std::make_shared<LatencyHistogram>();
  job.intervals.resize(3);
  run.groups.emplace_back().name = name;
  run.warnings = {"each", name};
  run.failures = {"failure of " + name};
  run.lost_outputs = {"output of " + name};
  return run;
}

TEST(RunsAsOne, KeepTheMessagesOfEachAndTheGroupsForMedians) {
  std::vector<RunResult> runs;
  runs.push_back(run_of(100, "slow"));
  runs.push_back(run_of(300, "fast"));
  runs.push_back(run_of(200, "middle"));
  const RunResult all = all_of_repetitions(std::move(runs));
  EXPECT_EQ(all.shown_run, 2U);
  EXPECT_EQ(all.jobs.at(0).intervals.size(), 3U);
  EXPECT_EQ(all.warnings, (Words{"each", "middle", "slow", "fast"}));
  EXPECT_EQ(all.failures, (Words{"failure of middle", "failure of slow", "failure of fast"}));
  EXPECT_EQ(all.lost_outputs, (Words{"output of middle", "output of slow", "output of fast"}));
  ASSERT_EQ(all.repetitions.size(), 3U);
  Words groups;
  for (const RunResult& run : all.repetitions) {
    EXPECT_TRUE(run.jobs.at(0).intervals.empty()) << "no median is made of them";
    for (const GroupResult& group : run.groups) groups.push_back(group.name);
  }
  EXPECT_EQ(groups, (Words{"slow", "fast", "middle"}));
}

/// What held the jobs of a run back, that somebody looked at so often for so long.
RunCauses causes_of(std::size_t looks, double seconds, double own_share, double share) {
  RunCauses causes;
  causes.why_unknown.clear();
  causes.looks = looks;
  causes.seconds = seconds;
  causes.own_share = own_share;
  Cause& cause = causes.causes.emplace_back();
  cause.share = share;
  cause.end_s = 1;
  return causes;
}

TEST(RunsAsOne, HaveTheCausesOfAllTheHeaviestFirst) {
  RunCauses all;
  add_causes(all, causes_of(3, 1, 0.5, 0.2));
  EXPECT_EQ(all.why_unknown, "") << "it was of none before";
  RunCauses second = causes_of(4, 3, 0.1, 0.6);
  second.missing = {{.source = "x", .reason = "a"}, {.source = "y", .reason = "b"}};
  add_causes(all, std::move(second));
  RunCauses third = causes_of(5, 4, 0.4, 0.4);
  third.missing = {{.source = "y", .reason = "c"}, {.source = "z", .reason = "d"}};
  add_causes(all, std::move(third));
  EXPECT_EQ(all.looks, 12U);
  EXPECT_EQ(all.seconds, 8);
  EXPECT_DOUBLE_EQ(all.own_share, (0.5 + 3 * 0.1 + 4 * 0.4) / 8);
  std::vector<double> shares;
  for (const Cause& cause : all.causes) shares.push_back(cause.share);
  EXPECT_EQ(shares, (std::vector<double>{0.6, 0.4, 0.2}));
  Words missing;
  for (const MissingSource& each : all.missing) missing.push_back(each.source + ' ' + each.reason);
  EXPECT_EQ(missing, (Words{"x a", "y b", "z d"})) << "each once, with its first reason";
}

TEST(RunsAsOne, HaveEachKindOfWarningOfEachJobOnce) {
  RunResult all = run_of(100, "a");
  all.warnings = {"a.1: late 3 times in 0.2 s"};
  RunResult more = run_of(100, "b");
  more.warnings = {"a.1: late 4,711 times in 1.25 s", "a.2: late 3 times in 0.2 s", "a.1: lost 3"};
  more.lost_outputs = {"output of a", "output of b"};
  keep_messages(all, std::move(more));
  EXPECT_EQ(all.warnings,
            (Words{"a.1: late 3 times in 0.2 s", "a.2: late 3 times in 0.2 s", "a.1: lost 3"}));
  EXPECT_EQ(all.lost_outputs, (Words{"output of a", "output of b"}));
}

}  // namespace
}  // namespace shmif::perf::repeated_figures
