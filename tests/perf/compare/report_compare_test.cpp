// Two runs beside each other.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "perf/compare/compare.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;
using Verdict = ComparedFigure::Verdict;

Report report_of(const RunResult& run, const std::string& name) {
  return Report::parse(to_json(run, Bins::without), name).value();
}

Comparison compared(const RunResult& before, const RunResult& after, double threshold = 0.05) {
  return compare(report_of(before, "before.json"), report_of(after, "after.json"),
                 {.threshold = threshold})
      .value();
}

const ComparedFigure& figure_of(const Comparison& c, const std::string& job,
                                const std::string& name) {
  for (const ComparedFigure& f : c.figures) {
    if (f.job == job && f.figure == name) return f;
  }
  throw std::runtime_error("no figure " + name + " of " + job);
}

TEST(Compare, FindsNothingInTwoRunsOfTheSame) {
  for (std::uint64_t seed = 2; seed < 12; ++seed) {
    const Comparison c = compared(test::quiet_sample(1), test::quiet_sample(seed));
    EXPECT_FALSE(c.worse()) << to_text(c);
  }
}

TEST(Compare, FindsARunThatIsSlower) {
  const Comparison c = compared(test::quiet_sample(1), test::quiet_sample(2, 0.1));
  EXPECT_TRUE(c.worse());
  EXPECT_EQ(figure_of(c, "bulk.peer", "rx_fps").verdict, Verdict::worse);
  EXPECT_EQ(figure_of(c, "bulk.peer", "latency_ns_p50").verdict, Verdict::worse);
  EXPECT_NEAR(*figure_of(c, "bulk", "tx_fps").change_share, -0.1, 0.01);
  EXPECT_LT(*figure_of(c, "bulk", "tx_fps").p, 0.001);
  EXPECT_NE(to_text(c).find("WORSE"), std::string::npos);
}

TEST(Compare, ARunThatIsFasterIsNotWorse) {
  const Comparison c = compared(test::quiet_sample(1), test::quiet_sample(2, -0.1));
  EXPECT_FALSE(c.worse());
  EXPECT_EQ(figure_of(c, "bulk.peer", "rx_fps").verdict, Verdict::better);
}

TEST(Compare, WhatIsWithinTheThresholdIsTheSame) {
  EXPECT_FALSE(compared(test::quiet_sample(1), test::quiet_sample(2, 0.1), 0.2).worse());
  EXPECT_TRUE(compared(test::quiet_sample(1), test::quiet_sample(2, 0.1), 0.02).worse());
}

TEST(Compare, ADifferenceThatChanceCanMakeIsNone) {
  // A tenth slower, but intervals that are all over the place.
  RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(2, 0.1);
  for (RunResult* run : {&before, &after}) {
    auto& intervals = run->jobs[0].intervals;
    for (std::size_t i = 0; i < intervals.size(); ++i) {
      intervals[i].tx_frames = i % 2 == 0 ? 0 : intervals[i].tx_frames * 2;
    }
  }
  const Comparison c = compared(before, after);
  EXPECT_EQ(figure_of(c, "bulk", "tx_fps").verdict, Verdict::same);
  EXPECT_GT(*figure_of(c, "bulk", "tx_fps").p, 0.05);
}

TEST(Compare, RepetitionsSpeakLouderThanIntervals) {
  RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(2, 0.1);
  const auto repeat = [](RunResult& run, std::vector<double> values) {
    RepeatFigure figure;
    figure.job = "bulk";
    figure.figure = "tx_fps";
    figure.values = std::move(values);
    run.repeats = {figure};
  };
  repeat(before, {100000, 60000, 140000});
  repeat(after, {90000, 50000, 130000});
  const Comparison c = compared(before, after);
  EXPECT_EQ(figure_of(c, "bulk", "tx_fps").from, "repeats");
  EXPECT_EQ(figure_of(c, "bulk", "tx_fps").verdict, Verdict::same);
  EXPECT_EQ(figure_of(c, "bulk.peer", "rx_fps").from, "intervals");
}

/// Runs whose rates are these, one after the other, and whose first one is shown.
RunResult repeated(const std::vector<double>& rates) {
  RunResult all = test::quiet_sample(1);
  for (const double rate : rates) {
    RunResult run = test::quiet_sample(1);
    for (TrafficResult* traffic : {&run.jobs[0].tx, &run.jobs[1].rx}) {
      traffic->frames = static_cast<std::uint64_t>(rate * traffic->seconds);
    }
    all.repetitions.push_back(run);
  }
  RepeatFigure figure;
  figure.job = "bulk";
  figure.figure = "tx_fps";
  figure.values = rates;
  all.repeats = {figure};
  return all;
}

TEST(Compare, FiguresOfRepetitionsAreMediansAndNotThoseOfOneRun) {
  // The run that is shown is the same in both.
  const Comparison c = compared(repeated({101000, 100000, 99000, 100500, 99500}),
                                repeated({61000, 60000, 59000, 60500, 90000}), 0.25);
  const ComparedFigure& f = figure_of(c, "bulk", "tx_fps");
  EXPECT_EQ(f.before, 100000);
  EXPECT_EQ(f.after, 60500);
  // What changed is said of the means, as the interval around it is.
  EXPECT_NEAR(f.change, -33900, 1e-6);
  EXPECT_NEAR(*f.change_share, -0.339, 1e-9);
  EXPECT_NEAR(*f.spread_before, 0.02, 1e-9);
  EXPECT_EQ(f.verdict, Verdict::worse);
  // What is in no list of repetitions is a median by itself.
  EXPECT_NEAR(figure_of(c, "bulk.peer", "rx_fps").after, 60500, 1);
  const Json json = Json::parse(to_json(c));
  EXPECT_NEAR(json["figures"][0]["spread_before_share"].get<double>(), 0.02, 1e-9);
}

TEST(Compare, TheChangeOfRepetitionsLiesInTheIntervalThatIsPrintedBesideIt) {
  // Their medians are the same and their means are not: the interval is around the means.
  const Comparison c = compared(repeated({100000, 100000, 100000, 100000, 100000}),
                                repeated({100000, 100000, 100000, 60000, 60000}));
  const ComparedFigure& f = figure_of(c, "bulk", "tx_fps");
  EXPECT_EQ(f.after, f.before);
  EXPECT_NEAR(*f.change_share, -0.16, 1e-9);
  EXPECT_NEAR(*f.half_width_share, 0.272, 0.001) << "0 is in it, as p says";
  EXPECT_GT(*f.p, 0.05);
  EXPECT_NE(to_text(c).find("-16.00 %"), std::string::npos) << to_text(c);
  EXPECT_NE(to_text(c).find("medians; change, +- and p compare the means"), std::string::npos);
  EXPECT_EQ(to_text(compared(test::quiet_sample(1), test::quiet_sample(2))).find("medians"),
            std::string::npos);
}

std::size_t longest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t longest = 0;
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, line.size());
  return longest;
}

TEST(Compare, NoLineOfItIsWiderThanThePlaceForIt) {
  RunResult before = repeated({101000, 100000, 99000});
  RunResult after = repeated({61000, 60000, 59000});
  after.machine.cpu_model = "A processor whose name is longer than most that there are";
  after.jobs[0].passed = false;
  for (const RunResult* run : {&before, &after}) {
    const Comparison c = compared(*run, after);
    EXPECT_GT(longest_line(to_text(c)), 80U) << "it would fit as it is";
    EXPECT_LE(longest_line(to_text(c, 80)), 80U) << to_text(c, 80);
  }
}

TEST(Compare, IntervalsThatHangTogetherDecideNothing) {
  RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(2, 0.1);
  double drift = 0.5;
  for (RunResult* run : {&before, &after}) {
    for (IntervalResult& i : run->jobs[0].intervals) {
      i.tx_frames = static_cast<std::uint64_t>(static_cast<double>(i.tx_frames) * drift);
      drift += 0.05;
    }
    drift = 0.5;
  }
  const Comparison c = compared(before, after);
  EXPECT_EQ(figure_of(c, "bulk", "tx_fps").verdict, Verdict::same);
  EXPECT_FALSE(figure_of(c, "bulk", "tx_fps").p);
  EXPECT_TRUE(c.undecided);
  EXPECT_NE(to_text(c).find("--repeat"), std::string::npos);
}

TEST(Compare, IntervalsOutsideTheMeasuredWindowAreNotCompared) {
  const RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(2);
  const Comparison measured = compared(before, after);
  for (JobResult& job : after.jobs) {
    IntervalResult ramp = job.intervals.front();
    ramp.tx_frames = ramp.rx_frames = 0;
    ramp.measured = false;
    job.intervals.insert(job.intervals.begin(), 10, ramp);
  }
  const Comparison c = compared(before, after);
  ASSERT_EQ(c.figures.size(), measured.figures.size());
  ASSERT_TRUE(figure_of(measured, "bulk", "tx_fps").p);
  for (std::size_t i = 0; i < c.figures.size(); ++i) {
    EXPECT_EQ(c.figures[i].p, measured.figures[i].p) << c.figures[i].figure;
  }
}

TEST(Compare, ASearchIsComparedWithThatForFramesOfTheSameSize) {
  RunResult after = test::search_sample();
  after.searches[2].found_fps = *after.searches[2].found_fps / 2;
  const Comparison c = compared(test::search_sample(), after);
  EXPECT_TRUE(c.worse());
  std::size_t found = 0;
  std::size_t same = 0;
  for (const ComparedFigure& f : c.figures) {
    if (f.figure != "found_fps") continue;
    ++found;
    same += f.before == f.after ? 1U : 0U;
    if (f.before != f.after) {
      EXPECT_EQ(f.after, f.before / 2);
    }
  }
  EXPECT_EQ(found, 7U);
  EXPECT_EQ(same, 6U);
}

TEST(Compare, WithoutIntervalsTheSizeAloneDecides) {
  RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(2, 0.1);
  for (RunResult* run : {&before, &after}) {
    for (JobResult& job : run->jobs) job.intervals.clear();
  }
  const Comparison c = compared(before, after);
  EXPECT_FALSE(figure_of(c, "bulk", "tx_fps").p.has_value());
  EXPECT_TRUE(c.worse());
}

TEST(Compare, LossThatBeginsIsFound) {
  const RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(1);
  JobResult& peer = after.jobs[1];
  for (IntervalResult& i : peer.intervals) {
    i.lost_frames = i.rx_frames / 10;
    i.rx_frames -= i.lost_frames;
    peer.flows[0].lost += i.lost_frames;
    peer.flows[0].received -= i.lost_frames;
  }
  const Comparison c = compared(before, after);
  EXPECT_EQ(figure_of(c, "bulk.peer", "lost_share").verdict, Verdict::worse);
  EXPECT_FALSE(figure_of(c, "bulk.peer", "lost_share").change_share.has_value());
}

// Losses are far below what would matter of a rate.
TEST(Compare, LossesHaveAThresholdOfTheirOwn) {
  const RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(1);
  JobResult& peer = after.jobs[1];
  for (IntervalResult& i : peer.intervals) {
    i.lost_frames = i.rx_frames / 100;
    peer.flows[0].lost += i.lost_frames;
  }
  EXPECT_EQ(figure_of(compared(before, after), "bulk.peer", "lost_share").verdict, Verdict::worse);
  const Comparison lenient =
      compare(report_of(before, "before"), report_of(after, "after"), {.loss_threshold = 0.02})
          .value();
  EXPECT_EQ(figure_of(lenient, "bulk.peer", "lost_share").verdict, Verdict::same);
}

TEST(Compare, TailsAreShownAndDecideNothing) {
  const RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(1);
  after.jobs[1].latency->record(3'000'000'000);
  const Comparison c = compared(before, after);
  EXPECT_EQ(figure_of(c, "bulk.peer", "latency_ns_max").verdict, Verdict::worse);
  EXPECT_FALSE(figure_of(c, "bulk.peer", "latency_ns_max").decides);
  EXPECT_FALSE(c.worse());
}

TEST(Compare, AJobThatIsGoneOrFailsNowIsWorse) {
  const RunResult before = test::failed_sample();
  RunResult after = test::failed_sample();
  EXPECT_FALSE(compared(before, after).worse());
  after.jobs[0].passed = false;
  EXPECT_EQ(compared(before, after).failures.size(), 1U);
  after = test::failed_sample();
  after.jobs.pop_back();
  EXPECT_TRUE(compared(before, after).worse());
  // One more than before is worth a note only.
  const Comparison more = compared(after, before);
  EXPECT_FALSE(more.worse());
  EXPECT_EQ(more.notes.size(), 1U);
}

TEST(Compare, AnotherMachineIsNoted) {
  RunResult after = test::quiet_sample(2);
  after.machine.cpu_model = "Another";
  const Comparison c = compared(test::quiet_sample(1), after);
  ASSERT_EQ(c.notes.size(), 1U);
  EXPECT_NE(c.notes[0].find("Another"), std::string::npos);
}

TEST(Compare, RefusesRunsThatHaveNoJobInCommon) {
  const auto refused = compare(report_of(test::quiet_sample(), "a.json"),
                               report_of(test::engines_sample(), "b.json"), {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("a.json with b.json"), std::string::npos);
  EXPECT_NE(refused.error().message.find("give the jobs the same names"), std::string::npos);
}

TEST(Compare, AsJsonHasWhatTheTableHas) {
  const Comparison c = compared(test::quiet_sample(1), test::quiet_sample(2, 0.1));
  const Json json = Json::parse(to_json(c));
  EXPECT_EQ(json["worse"], true);
  EXPECT_EQ(json["threshold"], 0.05);
  ASSERT_EQ(json["figures"].size(), c.figures.size());
  EXPECT_EQ(json["figures"][0]["verdict"], "worse");
  EXPECT_EQ(json["figures"][0]["from"], "intervals");
}

}  // namespace
}  // namespace shmif::perf
