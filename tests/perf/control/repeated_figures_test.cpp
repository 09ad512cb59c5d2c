// Each figure of repeated runs comes from the right one of them.

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

}  // namespace
}  // namespace shmif::perf::repeated_figures
