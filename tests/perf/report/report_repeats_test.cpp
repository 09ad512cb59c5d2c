// With repetitions, which figures of a result are medians of all runs, and of which elements.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/report.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::report_repeats {
namespace {

using Json = nlohmann::json;
using test::Figures;

std::shared_ptr<LatencyHistogram> few_times(std::uint64_t ns) {
  auto times = std::make_shared<LatencyHistogram>();
  for (std::uint64_t i = 1; i <= 10; ++i) record(*times, ns * i, ns);
  return times;
}

/// A run of two jobs, whose figures and counts are those of no other one.
RunResult run_number(std::size_t number) {
  const auto n = static_cast<double>(number);
  static const RunResult kQuiet = test::quiet_sample();
  RunResult run = kQuiet;
  std::size_t count = 1;
  // So that the middle of two whole numbers is not whole.
  const std::uint64_t odd = number == 2 ? 1 : 0;
  for (JobResult& job : run.jobs) {
    for (TrafficResult* const traffic : {&job.tx, &job.rx}) {
      traffic->frames *= number;
      traffic->bytes *= number + 1;
      traffic->offered_frames *= number + 2;
      traffic->offered_bytes *= number + 3;
    }
    for (auto* const times : {&job.latency, &job.service, &job.spacing_error}) {
      *times = few_times(1000 * number + 100 * ++count + odd);
    }
    job.limit_fps = 1e6 * n + static_cast<double>(++count);
    job.cpu->user_seconds = 3 + n / static_cast<double>(++count);
    job.cpu->system_seconds = 1 + n * static_cast<double>(++count);
    job.percentile_list = {30, 70};
  }
  JobResult& receiver = run.jobs[1];
  receiver.flows.push_back(receiver.flows[0]);
  for (FlowResult& flow : receiver.flows) {
    flow.lost = 100 * number * ++count;
    flow.jitter_ns = 1000 * n * n + static_cast<double>(count);
  }
  for (GroupResult& group : run.groups) {
    group.tx.frames *= number;
    group.rx.bytes *= number;
    group.latency = few_times(2000 * number);
    group.service = few_times(3000 * number);
    group.loss.jitter_ns = 50 * n;
    group.loss.lost = 7 * number;
  }
  for (const std::uint32_t bytes : {64U, 128U}) {
    for (const char* job : {"bulk", "other"}) {
      SearchResult& search = run.searches.emplace_back();
      search.job = job;
      search.frame_bytes = bytes;
      search.found_fps = 1000 * n + static_cast<double>(++count);
      search.found_bps = 9000 * n + static_cast<double>(++count);
      search.limit_fps = 1e5 * n + static_cast<double>(++count);
    }
  }
  return run;
}

Json json_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::with));
}

bool is_median(const std::string& place) {
  static const std::set<std::string> kFigures{"rate_fps",
                                              "rate_bps",
                                              "offered_fps",
                                              "offered_bps",
                                              "lost_share",
                                              "jitter_ns",
                                              "found_fps",
                                              "found_bps",
                                              "user_seconds",
                                              "system_seconds",
                                              "limit_fps",
                                              "limit_share",
                                              "frames_per_busy_second"};
  if (place.find(".intervals.") != std::string::npos) return false;
  const std::string key = place.substr(place.rfind('.') + 1);
  for (const char* times : {".latency_ns.", ".service_ns.", ".spacing_error_ns."}) {
    if (place.find(times) == std::string::npos) continue;
    return key != "count" && place.find(".bins.") == std::string::npos;
  }
  return kFigures.contains(key);
}

/// What stands there in each run, as its own result has it.
std::vector<double> values_at(const std::vector<Figures>& runs, const std::string& place) {
  std::vector<double> values;
  for (const Figures& run : runs) {
    const auto found = run.find(place);
    if (found != run.end() && found->second.is_number()) values.push_back(found->second);
  }
  std::ranges::sort(values);
  return values;
}

Json median(const std::vector<double>& values, bool whole) {
  const std::size_t half = values.size() / 2;
  const double middle =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return whole ? Json(std::llround(middle)) : Json(middle);
}

/// Expects that the result of these runs, of which `shown` is shown, has the medians.
void expect_medians(const RunResult& shown, std::vector<RunResult> runs) {
  std::vector<Figures> figures;
  for (const RunResult& run : runs) figures.push_back(test::flattened(json_of(run)));
  // The order in the others does not matter.
  std::ranges::reverse(runs.at(0).jobs);
  std::ranges::reverse(runs.at(1).searches);
  RunResult all = shown;
  all.repetitions = runs;
  const Json json = json_of(all);
  EXPECT_TRUE(Report::parse(json.dump(), "all"));
  const Figures together = test::flattened(json);
  std::size_t medians = 0;
  for (const auto& [place, alone] : test::flattened(json_of(shown))) {
    if (place == "shown_run") continue;
    const bool of_part = place.starts_with("jobs.") || place.starts_with("groups.") ||
                         place.starts_with("searches.");
    const Json& value = together.at(place);
    if (!of_part || !is_median(place) || !alone.is_number()) {
      EXPECT_EQ(value, alone) << place;
      continue;
    }
    ++medians;
    const Json wanted = median(values_at(figures, place), alone.is_number_integer());
    EXPECT_TRUE(test::is_alike(value, wanted)) << place << ": " << value << ", not " << wanted;
  }
  EXPECT_GT(medians, 100U);
}

TEST(Repetitions, EachRateShareAndTimeIsTheMedianAndEverythingElseOfTheRunThatIsShown) {
  std::vector<RunResult> runs;
  for (const std::size_t number : {4U, 1U, 5U, 2U, 3U}) runs.push_back(run_number(number));
  expect_medians(runs[1], runs);
  runs.pop_back();  // of an even number it is between the middle ones
  expect_medians(runs[2], runs);
}

TEST(Repetitions, WhatTheShownRunDoesNotKnowStaysUnknownAndOneWithFewerFlowsIsNone) {
  std::vector<RunResult> runs;
  for (const std::size_t number : {1U, 2U, 3U}) runs.push_back(run_number(number));
  RunResult shown = runs[0];
  shown.jobs[0].limit_fps.reset();
  runs[2].jobs[1].flows.pop_back();
  runs[2].jobs[0].limit_fps.reset();
  expect_medians(shown, runs);
}

}  // namespace
}  // namespace shmif::perf::report_repeats
