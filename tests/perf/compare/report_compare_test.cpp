// What is worse, what is the same, and what chance can make.

#include <functional>
#include <sstream>

#include "tests/perf/compare/compare_rig.hpp"

namespace shmif::perf::report_compare {
namespace {

using namespace compare_rig;  // NOLINT(google-build-using-namespace): the rig of this folder

TEST(Compare, FindsARunThatIsSlowerByMoreThanTheThreshold) {
  const RunResult before = test::quiet_sample(1);
  for (std::uint64_t seed = 2; seed < 12; ++seed) {
    const Comparison c = compared(before, test::quiet_sample(seed));
    EXPECT_FALSE(c.worse()) << to_text(c);
  }
  const RunResult slower = test::quiet_sample(2, 0.1);
  const Comparison c = compared(before, slower);
  EXPECT_TRUE(c.worse());
  EXPECT_EQ(figure_of(c, "bulk.peer", "rx_fps").verdict, Verdict::worse);
  EXPECT_EQ(figure_of(c, "bulk.peer", "latency_ns_p50").verdict, Verdict::worse);
  EXPECT_NEAR(*figure_of(c, "bulk", "tx_fps").change_share, -0.1, 0.01);
  EXPECT_LT(*figure_of(c, "bulk", "tx_fps").p, 0.001);
  EXPECT_FALSE(compared(before, slower, {.threshold = 0.2}).worse());
  EXPECT_TRUE(compared(before, slower, {.threshold = 0.02}).worse());
  const Comparison faster = compared(before, test::quiet_sample(2, -0.1));
  EXPECT_FALSE(faster.worse());
  EXPECT_EQ(figure_of(faster, "bulk.peer", "rx_fps").verdict, Verdict::better);
}

TEST(Compare, WithoutIntervalsTheSizeAloneDecidesAndTheThresholdItselfIsTheSame) {
  RunResult before = test::quiet_sample(1);
  for (JobResult& job : before.jobs) job.intervals.clear();
  before.jobs[0].tx.frames = 10'000;
  before.jobs[0].tx.seconds = 10;
  for (const auto& [frames, verdict] : {std::pair{7'500U, Verdict::same},
                                        {7'499U, Verdict::worse},
                                        {12'500U, Verdict::same},
                                        {12'501U, Verdict::better}}) {
    RunResult after = before;
    after.jobs[0].tx.frames = frames;
    const Comparison c = compared(before, after, {.threshold = 0.25});
    EXPECT_EQ(figure_of(c, "bulk", "tx_fps").verdict, verdict) << frames;
    EXPECT_FALSE(figure_of(c, "bulk", "tx_fps").p);
    EXPECT_EQ(c.worse(), verdict == Verdict::worse);
  }
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
                                repeated({61000, 60000, 59000, 60500, 90000}), {.threshold = 0.25});
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

// Losses are far below what would matter of a rate, and have a threshold of their own.
TEST(Compare, LossThatBeginsIsFound) {
  const RunResult before = test::quiet_sample(1);
  RunResult after = before;
  JobResult& peer = after.jobs[1];
  for (IntervalResult& i : peer.intervals) {
    i.lost_frames = i.rx_frames / 100;
    peer.flows[0].lost += i.lost_frames;
  }
  const ComparedFigure found = figure_of(compared(before, after), "bulk.peer", "lost_share");
  EXPECT_EQ(found.verdict, Verdict::worse);
  EXPECT_FALSE(found.change_share);
  EXPECT_EQ(figure_of(compared(before, after, {.loss_threshold = 0.02}), "bulk.peer", "lost_share")
                .verdict,
            Verdict::same);
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

TEST(Compare, WhatIsGoneOrFailsNowIsWorse) {
  const auto failures = [](const std::function<void(RunResult&)>& change_before,
                           const std::function<void(RunResult&)>& change_after) {
    RunResult before = test::failed_sample();
    RunResult after = test::failed_sample();
    change_before(before);
    change_after(after);
    const Comparison c = compared(before, after);
    EXPECT_EQ(c.worse(), !c.failures.empty());
    return c.failures.size();
  };
  const auto same = [](RunResult&) {};
  const auto fails = [](RunResult& run) { run.jobs[0].passed = false; };
  const auto fewer = [](RunResult& run) { run.jobs.pop_back(); };
  const auto search = [](std::optional<double> fps, std::uint32_t bytes) {
    return [=](RunResult& run) {
      SearchResult& s = run.searches.emplace_back();
      s.job = "bulk";
      s.frame_bytes = bytes;
      s.found_fps = fps;
      s.why_none = fps ? "" : "no";
    };
  };
  EXPECT_EQ(failures(same, same), 0U);
  EXPECT_EQ(failures(same, fails), 1U);
  EXPECT_EQ(failures(fails, same), 0U);
  EXPECT_EQ(failures(fails, fails), 0U);
  EXPECT_EQ(failures(same, fewer), 1U);
  EXPECT_EQ(failures(fewer, same), 0U);
  EXPECT_EQ(failures(search(10, 64), search(std::nullopt, 64)), 1U);
  EXPECT_EQ(failures(search(10, 64), search(std::nullopt, 128)), 0U) << "another size";
}

TEST(Compare, NotesWhatElseIsNotTheSame) {
  const RunResult before = test::quiet_sample();
  EXPECT_TRUE(compared(before, before).notes.empty());
  RunResult after = before;
  after.version = "the-version";
  after.machine.hostname = "the-host";
  after.machine.cpu_model = "the-model";
  after.machine.kernel = "the-kernel";
  after.machine.clock_source = "the-clock";
  after.jobs[0].options["bs"] = "63";
  after.jobs[1].role = Role::txrx;
  after.jobs.push_back(after.jobs[0]);
  after.jobs.back().name = "one-more";
  const auto notes = compared(before, after).notes;
  const char* words[] = {"the-version", "the-host", "the-model",     "the-kernel",
                         "the-clock",   "job bulk", "job bulk.peer", "job one-more"};
  ASSERT_EQ(notes.size(), std::size(words));
  for (std::size_t i = 0; i < notes.size(); ++i) {
    EXPECT_NE(notes[i].find(words[i]), std::string::npos) << notes[i];
  }
}

TEST(Compare, RefusesRunsThatHaveNoJobInCommon) {
  const auto refused = compare(report_of(json_of(test::quiet_sample()), "a.json"),
                               report_of(json_of(test::engines_sample()), "b.json"), {});
  ASSERT_FALSE(refused);
  for (const char* word : {"a.json with b.json", "the same names"}) {
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace shmif::perf::report_compare
