// Two results beside each other: each figure is that of its name, from the right job, interval or
// repetition, and each column and key holds the figure that it is named for.

#include <cmath>
#include <set>

#include "tests/perf/compare/compare_rig.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/report_rig.hpp"

namespace shmif::perf::figures_compare {
namespace {

using namespace compare_rig;  // NOLINT(google-build-using-namespace): the rig of this folder
using report_rig::Cells;

TEST(CompareFigures, OfAJobAreThoseOfItsResult) {
  Json json = json_of(test::distinct_sample().run);
  json.at("repeats") = json.at("searches") = Json::array();
  for (Json& job : json.at("jobs")) job.at("intervals") = Json::array();
  const Comparison c = compared(json, json);
  auto next = c.figures.begin();
  for (const Json& job : json.at("jobs")) {
    const auto expect = [&](const char* name, const char* object, const char* key, bool decides) {
      ASSERT_NE(next, c.figures.end());
      EXPECT_EQ(next->job, job.at("jobname").get<std::string>());
      EXPECT_EQ(next->figure, name);
      EXPECT_EQ(next->before, job.at(object).at(key).get<double>()) << name;
      EXPECT_EQ(next->after, next->before) << name;
      EXPECT_EQ(next->decides, decides) << name;
      EXPECT_EQ(next->verdict, Verdict::same) << name;
      ++next;
    };
    expect("tx_fps", "tx", "rate_fps", true);
    expect("rx_fps", "rx", "rate_fps", true);
    expect("lost_share", "loss", "lost_share", true);
    expect("latency_ns_mean", "latency_ns", "mean", true);
    expect("latency_ns_p50", "latency_ns", "p50", true);
    expect("latency_ns_p99", "latency_ns", "p99", true);
    expect("latency_ns_p99_9", "latency_ns", "p99_9", false);
    expect("latency_ns_p99_99", "latency_ns", "p99_99", false);
    expect("latency_ns_max", "latency_ns", "max", false);
  }
  EXPECT_EQ(next, c.figures.end());
}

/// The figures whose chance is another when the intervals of the second run are changed so.
Cells moved_by(const std::function<void(IntervalResult&)>& change) {
  const RunResult before = test::quiet_sample(1);
  RunResult after = test::quiet_sample(2);
  const Comparison same = compared(before, after);
  for (JobResult& job : after.jobs) {
    for (IntervalResult& interval : job.intervals) change(interval);
  }
  const Comparison c = compared(before, after);
  Cells moved;
  for (std::size_t i = 0; i < c.figures.size(); ++i) {
    if (c.figures[i].p != same.figures.at(i).p) {
      moved.push_back(c.figures[i].job + ' ' + c.figures[i].figure);
    }
  }
  return moved;
}

TEST(CompareFigures, HaveTheirChanceFromTheFigureOfTheSameNameInTheIntervals) {
  const auto longer = [](std::optional<double> IntervalResult::* latency) {
    return [=](IntervalResult& i) {
      if (i.*latency) *(i.*latency) *= 1.5;
    };
  };
  EXPECT_EQ(moved_by([](IntervalResult& i) { i.tx_frames += i.tx_frames / 2; }),
            Cells{"bulk tx_fps"});
  EXPECT_EQ(moved_by([](IntervalResult& i) { i.rx_frames += i.rx_frames / 2; }),
            Cells{"bulk.peer rx_fps"});
  EXPECT_EQ(moved_by([](IntervalResult& i) { i.lost_frames += i.rx_frames / 10; }),
            Cells{"bulk.peer lost_share"});
  EXPECT_EQ(moved_by(longer(&IntervalResult::latency_mean_ns)), Cells{"bulk.peer latency_ns_mean"});
  EXPECT_EQ(moved_by(longer(&IntervalResult::latency_p50_ns)), Cells{"bulk.peer latency_ns_p50"});
  EXPECT_EQ(moved_by(longer(&IntervalResult::latency_p99_ns)), Cells{"bulk.peer latency_ns_p99"});
  EXPECT_EQ(moved_by(longer(&IntervalResult::latency_max_ns)), Cells{});
  // The same rates, in intervals of twice the length.
  EXPECT_EQ(moved_by([](IntervalResult& i) {
              i.seconds *= 2;
              i.tx_frames *= 2;
              i.rx_frames *= 2;
            }),
            Cells{});
}

// ---- Repetitions and searches ----

TEST(CompareFigures, OfRepetitionsAreThoseOfTheJobAndFigureWithTheirSpread) {
  RunResult before = test::quiet_sample();
  RunResult after = before;
  before.repeats = {repeat("bulk.peer", "tx_fps", {1, 2, 3}), repeat("bulk", "rx_fps", {4, 5, 6}),
                    repeat("bulk", "tx_fps", {90, 100, 110})};
  after.repeats = {repeat("bulk.peer", "tx_fps", {7, 8, 9}),
                   repeat("bulk", "tx_fps", {150, 200, 250})};
  const ComparedFigure f = figure_of(compared(before, after), "bulk", "tx_fps");
  EXPECT_EQ(f.before, 100);
  EXPECT_EQ(f.after, 200);
  EXPECT_DOUBLE_EQ(f.spread_before.value_or(0), 0.2);
  EXPECT_DOUBLE_EQ(f.spread_after.value_or(0), 0.5);
  EXPECT_EQ(f.from, "repeats");
  // One alone has no spread to judge by, on either side.
  for (const auto& [first, second] : {std::pair{2U, 1U}, {1U, 2U}}) {
    before.repeats[2].values.resize(first, 100);
    after.repeats[1].values.resize(second, 200);
    EXPECT_EQ(figure_of(compared(before, after), "bulk", "tx_fps").from, "intervals");
  }
}

TEST(CompareFigures, OfASearchAreThoseOfTheSameJobAndSize) {
  RunResult before = test::quiet_sample();
  const auto search = [](const char* job, std::uint32_t bytes, double found) {
    SearchResult s;
    s.job = job;
    s.frame_bytes = bytes;
    s.found_fps = found;
    return s;
  };
  before.searches = {search("j", 64, 10), search("k", 64, 20), search("j", 128, 30)};
  RunResult after = before;
  std::ranges::reverse(after.searches);
  const Comparison c = compared(before, after);
  std::set<double> found;
  for (const ComparedFigure& f : c.figures) {
    if (f.figure != "found_fps") continue;
    found.insert(f.before);
    EXPECT_EQ(f.before, f.after) << f.job;
  }
  EXPECT_EQ(found, (std::set<double>{10, 20, 30}));
}

TEST(CompareFigures, WhatWasNothingBeforeGrowsWithoutASize) {
  RunResult before = test::quiet_sample();
  for (JobResult& job : before.jobs) job.intervals.clear();
  RunResult after = before;
  for (const auto& [run, ns] : {std::pair{&before, 0U}, {&after, 1000U}}) {
    run->jobs[1].latency = std::make_shared<LatencyHistogram>();
    run->jobs[1].latency->record(ns);
  }
  const ComparedFigure f = figure_of(compared(before, after), "bulk.peer", "latency_ns_p50");
  EXPECT_EQ(f.before, 0);
  EXPECT_FALSE(f.change_share);
  EXPECT_EQ(f.verdict, Verdict::worse);
  EXPECT_EQ(figure_of(compared(before, before), "bulk.peer", "latency_ns_p50").verdict,
            Verdict::same);
}

/// A result whose receiver has these medians in its intervals, and their mean as its own.
RunResult with_medians(const std::vector<double>& medians_ns) {
  RunResult run = test::quiet_sample();
  JobResult& job = run.jobs[1];
  const IntervalResult one = job.intervals.at(1);
  job.intervals.clear();
  double sum = 0;
  for (const double ns : medians_ns) {
    job.intervals.push_back(one);
    job.intervals.back().latency_p50_ns = ns;
    sum += ns;
  }
  job.latency = std::make_shared<LatencyHistogram>();
  job.latency->record(static_cast<std::uint64_t>(sum / static_cast<double>(medians_ns.size())));
  return run;
}

TEST(CompareFigures, AChangeByAFactorHasAVerdictHoweverFewOrDependentItsIntervalsAre) {
  struct Case {
    std::vector<double> before, after;
    Verdict verdict;
  };
  for (const Case& c :
       {Case{{12'000, 13'000}, {29e6, 21e6}, Verdict::worse},
        {{29e6, 21e6}, {12'000, 13'000}, Verdict::better},
        // A queue that fills: no two intervals are independent.
        {{12'000, 12'000, 12'100, 12'100, 12'200, 12'200},
         {1e6, 7e6, 14e6, 21e6, 28e6, 35e6},
         Verdict::worse},
        // The same, but the ranges overlap.
        {{1e6, 2e6, 3e6, 4e6, 5e6, 6e6}, {2e6, 3e6, 4e6, 5e6, 6e6, 7e6}, Verdict::same},
        // Chance can make such factors.
        {{10, 1000}, {5000, 20}, Verdict::same}}) {
    const Comparison compared_c = compared(with_medians(c.before), with_medians(c.after));
    const ComparedFigure f = figure_of(compared_c, "bulk.peer", "latency_ns_p50");
    EXPECT_EQ(f.verdict, c.verdict) << c.before[0] << ' ' << c.after[0] << ' ' << f.p.value_or(-1);
    EXPECT_NEAR(f.factor.value_or(0), f.after / f.before, 1e-9);
  }
}

TEST(CompareFigures, TheConfidenceDecidesOfFactorsAsOfDifferences) {
  RunResult before = test::quiet_sample();
  RunResult after = before;
  const auto set = [](RunResult& run, const std::vector<double>& logs) {
    run.repeats = {repeat("bulk.peer", "latency_ns_p50", {})};
    for (const double each : logs) run.repeats[0].values.push_back(std::exp(each));
  };
  set(before, {11, 13, 12});
  set(after, {15, 18, 15});
  const auto figure = [&](double confidence) {
    return figure_of(compared(before, after, {.confidence = confidence}), "bulk.peer",
                     "latency_ns_p50");
  };
  EXPECT_EQ(figure(0.95).verdict, Verdict::worse) << figure(0.95).p.value_or(-1);
  EXPECT_EQ(figure(0.999).verdict, Verdict::same);
  EXPECT_NEAR(*figure(0.95).p, 0.0366, 0.0005) << "of the logarithms";
}

TEST(CompareOutputs, ALargeChangeIsAFactor) {
  const auto text = [](double before, double after) {
    ComparedFigure f;
    f.job = "j";
    f.figure = "latency_ns_p50";
    f.before = before;
    f.after = after;
    f.change_share = (after - before) / before;
    f.factor = after / before;
    f.half_width_share = 0.5;
    Comparison c;
    c.figures = {f};
    return to_text(c);
  };
  for (const auto& [after, words] : {std::pair{2343.2, "x2343 "},
                                     {23.42, "x23.4 "},
                                     {2.0, "x2.00 "},
                                     {1.99, "+99.00 %"},
                                     {0.01, "-99.00 %"}}) {
    EXPECT_NE(text(1, after).find(words), std::string::npos) << text(1, after);
    EXPECT_EQ(text(1, after).find("50.0 %") == std::string::npos, after >= 2) << text(1, after);
  }
}

// ---- Outputs ----

/// A comparison in which every value is another one.
Comparison made() {
  ComparedFigure rate;
  rate.job = "j";
  rate.figure = "tx_fps";
  rate.before = 1110;
  rate.after = 2220;
  rate.spread_before = 0.033;
  rate.spread_after = 0.044;
  rate.change = 555;
  rate.change_share = 0.066;
  rate.factor = 1.066;
  rate.half_width_share = 0.077;
  rate.p = 0.088;
  rate.from = "repeats";
  rate.verdict = Verdict::better;
  ComparedFigure loss;
  loss.job = "k";
  loss.figure = "lost_share";
  loss.before = 0.0111;
  loss.after = 0.0222;
  loss.change = 0.0333;
  loss.from = "intervals";
  loss.verdict = Verdict::worse;
  ComparedFigure tail;
  tail.job = "l";
  tail.figure = "latency_ns_max";
  tail.before = 12'300;
  tail.after = 45'600;
  tail.decides = false;
  tail.verdict = Verdict::worse;
  return {.before = "old",
          .after = "new",
          .options = {.threshold = 0.11, .loss_threshold = 0.022, .confidence = 0.93},
          .figures = {rate, loss, tail},
          .notes = {"a note"},
          .undecided = true,
          .failures = {"a failure", "another"}};
}

TEST(CompareOutputs, EachKeyOfTheJsonHoldsItsFigure) {
  const Json wanted = Json::parse(R"({
    "before": "old", "after": "new", "threshold": 0.11, "loss_threshold": 0.022,
    "confidence": 0.93, "test": "Welch's t-test", "undecided": true, "worse": true,
    "failures": ["a failure", "another"], "notes": ["a note"],
    "figures": [
     {"jobname": "j", "figure": "tx_fps", "before": 1110.0, "after": 2220.0,
      "spread_before_share": 0.033, "spread_after_share": 0.044, "change": 555.0,
      "change_share": 0.066, "factor": 1.066, "half_width_share": 0.077, "p": 0.088,
      "from": "repeats", "decides": true, "verdict": "better"},
     {"jobname": "k", "figure": "lost_share", "before": 0.0111, "after": 0.0222,
      "spread_before_share": null, "spread_after_share": null, "change": 0.0333,
      "change_share": null, "factor": null, "half_width_share": null, "p": null,
      "from": "intervals", "decides": true, "verdict": "worse"},
     {"jobname": "l", "figure": "latency_ns_max", "before": 12300.0, "after": 45600.0,
      "spread_before_share": null, "spread_after_share": null, "change": 0.0,
      "change_share": null, "factor": null, "half_width_share": null, "p": null, "from": null,
      "decides": false, "verdict": "worse"}]})");
  EXPECT_EQ(Json::parse(to_json(made())), wanted);
}

TEST(CompareOutputs, NamesOfOthersAreShownAsTheyCanBePrinted) {
  Comparison c = made();
  c.before = "old\x1b";
  c.after = "new\x07";
  c.notes = {"a\x1bnote"};
  c.failures = {
      "a\x1b"
      "failure"};
  for (ComparedFigure& f : c.figures) f.job += '\x1b';
  const std::string text = to_text(c);
  for (const char* const shown :
       {"before old?, after new?", "note: a?note", "WORSE: a?failure", "j? tx_fps"}) {
    EXPECT_NE(text.find(shown), std::string::npos) << shown << " in " << text;
  }
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(CompareOutputs, AProbabilityBelowAThousandthIsOnlySaidToBeThat) {
  Comparison c = made();
  const auto text = [&](double p) {
    c.figures[0].p = p;
    return to_text(c);
  };
  EXPECT_EQ(text(0.001).find("<"), std::string::npos);
  EXPECT_NE(text(0.001).find(" 0.001 "), std::string::npos);
  EXPECT_NE(text(0.000999).find("< 0.001"), std::string::npos);
}

TEST(CompareOutputs, EachLineAndColumnOfTheTextHoldsItsFigure) {
  std::vector<Cells> lines;
  for (const std::string& line : report_rig::lines_of(to_text(made()))) {
    lines.push_back(report_rig::cells_of(line));
  }
  const std::vector<Cells> wanted{
      {"before old, after new"},
      {"note: a note"},
      {"WORSE: a failure"},
      {"WORSE: another"},
      {"figure", "before", "spread", "after", "spread", "change", "+-", "p", "from"},
      {"j tx_fps", "1.11 k/s", "3.30 %", "2.22 k/s", "4.40 %", "+6.60 %", "7.70 %", "0.088",
       "repeats", "better"},
      {"k lost_share", "1.11 %", "-", "2.22 %", "-", "-", "-", "-", "intervals", "WORSE"},
      {"l latency_ns_max", "12.3 us", "-", "45.6 us", "-", "-", "-", "-", "-", "(worse)"},
      {"for repeats, before and after are medians; change, +- and p compare the means"},
      {"p is \"-\" if too few intervals are independent of each other, and such a figure counts "
       "as the same if values of both runs overlap: compare longer runs, or runs with --repeat"},
      {"3 became worse by more than 11.0 %, losses 2.20 % of all frames (Welch's t-test, 93.0 % "
       "confidence)"}};
  EXPECT_EQ(lines, wanted);
}

}  // namespace
}  // namespace shmif::perf::figures_compare
