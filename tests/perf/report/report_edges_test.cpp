// Reports of what only few results have: where a count, a word or a table changes for one more.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "perf/compare/compare.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/text.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::report_edges {
namespace {

Report report_of(const RunResult& run, const std::string& name = "sample") {
  return Report::parse(to_json(run, Bins::without), name).value();
}
std::string text_of(const RunResult& run) {
  return to_text(report_of(run));
}

/// The first line that has `what`; empty when there is none.
std::string line_with(const std::string& text, const std::string& what) {
  const auto at = text.find(what);
  if (at == std::string::npos) return {};
  const auto begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

// ---- Searches and repetitions ----

SearchResult search_of(std::uint32_t bytes, const std::vector<std::pair<double, bool>>& trials) {
  SearchResult search;
  search.job = "bulk";
  search.frame_bytes = bytes;
  for (const auto& [fps, passed] : trials) {
    TrialResult& trial = search.trials.emplace_back();
    trial.job = "bulk";
    trial.frame_bytes = bytes;
    trial.offered_fps = trial.achieved_fps = fps;
    trial.passed = passed;
    if (passed) search.found_fps = std::max(search.found_fps.value_or(0), fps);
  }
  return search;
}

TEST(SearchText, TheFirstRateThatIsTooHighLiesAboveTheFoundOne) {
  RunResult run = test::quiet_sample();
  // 3,000 failed at first, and passed when it was tried again; 2,000 failed by a stall.
  run.searches = {
      search_of(594, {{9000, false}, {3000, false}, {2000, false}, {3000, true}, {5000, false}})};
  const std::string row = line_with(text_of(run), "594 B");
  EXPECT_NE(row.find("3.00 k/s"), std::string::npos) << row;
  EXPECT_NE(row.find("5.00 k/s"), std::string::npos) << row;
  EXPECT_EQ(row.find("2.00 k/s"), std::string::npos) << row;
}

TEST(SearchText, FramesOfSeveralSizesAreAMix) {
  RunResult run = test::quiet_sample();
  run.searches = {search_of(0, {{7000, true}})};
  const std::string row = line_with(text_of(run), "7.00 k/s");
  EXPECT_EQ(row.substr(0, row.find("  bulk")), "  mix  ") << row;
}

TEST(RepeatText, CountsTheRunsOfTheFigureThatMostHave) {
  RunResult run = test::quiet_sample();
  RepeatFigure often;
  often.job = "bulk";
  often.figure = "tx_fps";
  often.values = {1, 2, 3, 4};
  RepeatFigure seldom = often;
  seldom.figure = "lost_share";
  seldom.values = {0.5, 0.25};
  run.repeats = {often, seldom};
  run.repetitions = {run, run, run, run};
  EXPECT_NE(line_with(text_of(run), "4 runs: rates"), "") << text_of(run);
}

// ---- Blocks of jobs ----

TEST(JobText, CopiesThatWereCutShortAreToldOfAlsoWithoutCorruptOnes) {
  for (const auto& [corrupt, truncated] : {std::pair{0U, 7U}, {5U, 0U}, {5U, 7U}}) {
    RunResult run = test::quiet_sample();
    run.jobs[1].flows[0].corrupt_copies = corrupt;
    run.jobs[1].flows[0].truncated_copies = truncated;
    EXPECT_NE(
        line_with(text_of(run), "damaged copies, not counted above: " + std::to_string(corrupt) +
                                    " corrupt, " + std::to_string(truncated) + " truncated"),
        "");
  }
  EXPECT_EQ(line_with(text_of(test::quiet_sample()), "damaged copies"), "");
}

TEST(JobText, OneThatAnswersNeedsNoReasonForHavingNoLatency) {
  RunResult run = test::quiet_sample();
  run.jobs[1].latency = std::make_shared<LatencyHistogram>();
  EXPECT_NE(line_with(text_of(run), "bulk.peer latency  -  ("), "");
  run.jobs[1].role = Role::echo;  // who asked has the times
  EXPECT_EQ(line_with(text_of(run), "bulk.peer latency  -  ("), "");
}

// ---- Warnings ----

// ---- Comparisons ----

Comparison compared(const RunResult& before, const RunResult& after, CompareOptions options = {}) {
  return compare(report_of(before, "before"), report_of(after, "after"), options).value();
}

/// `run` with the values of one figure of "bulk".
RunResult repeated(const char* figure, const std::vector<double>& values) {
  RunResult run = test::quiet_sample();
  for (JobResult& job : run.jobs) job.intervals.clear();
  RepeatFigure repeat;
  repeat.job = "bulk";
  repeat.figure = figure;
  repeat.values = values;
  run.repeats = {repeat};
  return run;
}

TEST(CompareText, CountsWhatBecameWorseFiguresThatDecideAndFailures) {
  RunResult before = test::quiet_sample();
  for (JobResult& job : before.jobs) job.intervals.clear();
  EXPECT_NE(to_text(compared(before, before)).find("\nnothing became worse by more than "),
            std::string::npos);
  RunResult after = before;
  after.jobs[0].tx.frames /= 2;
  // A tail that is worse decides nothing.
  after.jobs[1].latency = std::make_shared<LatencyHistogram>(*before.jobs[1].latency);
  after.jobs[1].latency->record(3'000'000);
  EXPECT_NE(to_text(compared(before, after)).find("(worse)"), std::string::npos);
  EXPECT_NE(to_text(compared(before, after)).find("\n1 became worse by more than "),
            std::string::npos)
      << to_text(compared(before, after));
  after.jobs[0].passed = false;
  EXPECT_NE(to_text(compared(before, after)).find("\n2 became worse by more than "),
            std::string::npos)
      << to_text(compared(before, after));
}

TEST(CompareText, AChanceOfLessThanAThousandthIsSaidToBeThat) {
  const RunResult before = repeated("tx_fps", {1000, 1001, 999, 1000, 1002});
  const std::string text = to_text(compared(before, repeated("tx_fps", {500, 501, 499, 500, 502})));
  EXPECT_NE(line_with(text, "bulk tx_fps").find("  < 0.001  repeats"), std::string::npos) << text;
  // Without any spread, the chance is 0.
  const std::string sure =
      to_text(compared(repeated("tx_fps", {1000, 1000}), repeated("tx_fps", {500, 500})));
  EXPECT_NE(line_with(sure, "bulk tx_fps").find("  < 0.001  repeats"), std::string::npos) << sure;
}

TEST(Compare, TheConfidenceAskedForDecides) {
  const RunResult before = repeated("tx_fps", {100, 110, 90, 105, 95});
  const RunResult after = repeated("tx_fps", {88, 98, 78, 93, 83});  // p is about 0.04
  double widths[2] = {};
  for (const auto& [i, confidence, verdict] : {std::tuple{0, 0.95, ComparedFigure::Verdict::worse},
                                               {1, 0.99, ComparedFigure::Verdict::same}}) {
    const Comparison c = compared(before, after, {.confidence = confidence});
    const auto found = std::ranges::find_if(
        c.figures, [](const ComparedFigure& f) { return f.job == "bulk" && f.from == "repeats"; });
    ASSERT_NE(found, c.figures.end());
    EXPECT_EQ(found->verdict, verdict) << confidence;
    widths[i] = *found->half_width_share;
  }
  EXPECT_GT(widths[1], 1.3 * widths[0]);
}

// ---- While it lasts ----

JobProgress progress_of(const std::string& name, std::uint64_t tx_frames) {
  JobProgress job;
  job.name = job.group = name;
  job.state = JobState::running;
  job.tx_frames = tx_frames;
  return job;
}

RunProgress progress_at(double seconds, const JobProgress& job) {
  RunProgress progress;
  progress.at_seconds = seconds;
  progress.jobs = {job};
  return progress;
}

TEST(Progress, ARateIsOverAWholeSecondAndNotOverTheLastStep) {
  ProgressLines lines;
  // Frames go in bursts: 1,000 in the first eighth of each second.
  std::string line;
  for (int eighth = 0; eighth <= 30; ++eighth) {
    const auto frames = static_cast<std::uint64_t>(1000 * ((eighth + 7) / 8));
    line = lines.lines(progress_at(eighth * 0.125, progress_of("a", frames)))[0];
  }
  EXPECT_NE(line.find("tx 1.00 k/s"), std::string::npos) << line;
}

TEST(Progress, ANameIsCutBetweenLettersAndNotWithinOne) {
  const auto shown = [](const std::string& name) {
    const std::string line = ProgressLines().lines(progress_at(0, progress_of(name, 0)))[0];
    return line.substr(0, line.find(' '));
  };
  EXPECT_EQ(shown("abcdefghijkl"), "abcdefghijkl");
  EXPECT_EQ(shown("abcdefghijklm"), "abcdefghijk~");
  EXPECT_EQ(shown("abcdefghij\u00fcklm"), "abcdefghij~") << "the letter has two bytes";
  EXPECT_EQ(shown("abcdefgh\u20acijklm"), "abcdefgh\u20ac~") << "the letter has three";
}

TEST(Progress, AGroupLastsAsLongAsTheJobThatLastsLongest) {
  RunProgress progress = progress_at(1, progress_of("a", 0));
  for (const auto& [left, share] : {std::pair{90.0, 0.3}, {30.0, 0.75}}) {
    JobProgress job = progress_of("a", 0);
    job.left_seconds = left;
    job.share = share;
    progress.jobs.push_back(job);
  }
  const std::string line = ProgressLines().lines(progress)[0];
  EXPECT_NE(line.find("30 %  eta 1m30s"), std::string::npos) << line;
}

TEST(StatusText, OfAJobThatReceivesNothingNoLossIsKnown) {
  JobProgress job = progress_of("sender", 1234);
  const std::string text = to_status(progress_at(1, job), 0);
  const std::string row = line_with(text, "sender");
  EXPECT_NE(row.find("1,234"), std::string::npos) << row;
  EXPECT_EQ(row.find(" 0"), std::string::npos) << row;
  job.rx_frames = 1;
  EXPECT_NE(line_with(to_status(progress_at(1, job), 0), "sender").find(" 0  "), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf::report_edges
