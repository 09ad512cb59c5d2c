// Searches and repetitions: what of them is in the result, and what ends them.

#include "perf/control/campaign.hpp"
#include "perf/control/harness_limit.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include "perf/compare/compare.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

TEST(Campaign, RepetitionsGiveMedianAndSpread) {
  auto plan = test::pair(Role::tx, EngineKind::bus);
  plan[0].options.rate_fps.tx = 1000;
  RunOptions options;
  options.repeat = 3;
  RunControl control;
  bool stuck = false;
  const RunResult result = run_campaign(options, plan, nullptr, control, stuck).value();
  EXPECT_TRUE(test::passed(result));
  bool seen = false;
  for (const RepeatFigure& figure : result.repeats) {
    ASSERT_EQ(figure.values.size(), 3U);
    std::vector<double> sorted = figure.values;
    std::ranges::sort(sorted);
    EXPECT_EQ((std::vector{figure.min, figure.median, figure.max}), sorted) << figure.figure;
    seen |= figure.job == "second" && figure.figure == "rx_fps";
  }
  EXPECT_TRUE(seen);
  EXPECT_GE(result.ended - result.began, 600ms) << "of all three";
}

/// Does something when run number `at` of a campaign begins, from 1.
class AtRun final : public RunObserver {
 public:
  AtRun(int at, std::function<void()> deed) : at_(at), deed_(std::move(deed)) {}
  void on_run(const std::string&) override {
    if (++runs_ == at_) deed_();
  }
  void on_progress(const RunProgress&) override {}
  void on_interval(const RunProgress&) override {}

 private:
  int at_;
  int runs_ = 0;
  std::function<void()> deed_;
};

/// A campaign by a job file, to which `deed` happens when run number `at` of it begins.
RunResult campaign_of(
    const std::string& text, int at = 0,
    const std::function<void(RunControl&)>& deed = [](RunControl&) {}) {
  const JobSet set = test::set_of(text);
  RunControl control;
  AtRun observer(at, [&] { deed(control); });
  bool stuck = false;
  return run_campaign(set.run, expand(set).value(), &observer, control, stuck).value();
}

void stop(RunControl& control) {
  control.signal = SIGINT;
  control.stops = 1;
}

const std::string kRepeat =
    "[global]\nrepeat=3\nrate_iops=1000\nruntime=100ms\ndrain_time=50ms\nengine=unix\n";
/// Of trials that fail, one after the other.
const std::string kSearch =
    "[global]\nengine=unix\nsearch_max_iops=1000\nsearch_trial=100ms\ndrain_time=10ms\n"
    "[s]\nbs=1000\nsearch=ndr\nfault=rate=100kbit,queue=1\n";

TEST(Campaign, WhatEachSearchLeavesBesideItsRateIsInTheResult) {
  const test::TempDir dir;
  for (const char* log : {"x_bw.s.log", "x_bw.t.log"}) {
    std::filesystem::create_symlink("/dev/full", dir.file(log));
  }
  // The highest rate passes at once. The faults cost no frame.
  const RunResult result = campaign_of(
      "[global]\naux-path=" + dir.path() +
      "\nengine=unix\nsearch=ndr\nsearch_max_iops=200\nsearch_trial=100ms\ndrain_time=50ms\n"
      "write_bw_log=x\nlog_avg_msec=50\n[s]\nfault=delay=1ms\n[t]\nnew_group\nfault=delay=2ms\n");
  ASSERT_EQ(result.searches.size(), 2U);
  std::vector<std::string> found;
  for (const JobResult& job : result.jobs) found.push_back(job.name);
  EXPECT_EQ(found, (std::vector<std::string>{"s", "s.sink", "t", "t.sink"}));
  ASSERT_EQ(result.groups.size(), 2U);
  EXPECT_EQ(result.groups[1].jobs, (std::vector<std::string>{"t", "t.sink"}));
  ASSERT_EQ(result.links.size(), 2U);
  EXPECT_EQ(result.links[1].job, "t");
  ASSERT_EQ(result.lost_outputs.size(), 2U);
  EXPECT_NE(result.lost_outputs[1].find("x_bw.t.log is not complete"), std::string::npos);
  EXPECT_TRUE(test::passed(result));
  EXPECT_EQ(result.exit_code, 1) << "for the logs";
}

TEST(Campaign, EveryFigureOfRepetitionsIsCompared) {
  const RunResult result = campaign_of(
      "[global]\nengine=unix\nrepeat=2\ndrain_time=50ms\n[s]\nsearch=ndr\nsearch_max_iops=200\n"
      "search_trial=200ms\n");
  ASSERT_TRUE(test::passed(result));
  const auto report = [&] { return Report::parse(to_json(result, Bins::without), "r").value(); };
  const Comparison compared = compare(report(), report(), {}).value();
  std::set<std::string> names;
  for (const RepeatFigure& figure : result.repeats) {
    names.insert(figure.figure);
    EXPECT_EQ(std::ranges::count_if(compared.figures,
                                    [&](const ComparedFigure& f) {
                                      return f.job == figure.job && f.figure == figure.figure &&
                                             f.from == "repeats";
                                    }),
              1)
        << figure.job << ' ' << figure.figure;
  }
  EXPECT_TRUE(names.contains("lost_share"));
  EXPECT_TRUE(names.contains("found_fps"));
}

TEST(Campaign, TheLossOfAReceiverIsThatOfAllItsFlows) {
  // As many frames of each, however much CPU time each has.
  const RunResult result = campaign_of(
      kRepeat +
      "engine=bus\nruntime=0\n[rx]\nrw=rx\n[a]\nto=rx\nnumber_ios=100\nfault=loss=100%\n"
      "[b]\nto=rx\nnumber_ios=100\n");
  const auto loss = std::ranges::find(result.repeats, "lost_share", &RepeatFigure::figure);
  ASSERT_NE(loss, result.repeats.end());
  EXPECT_NEAR(loss->median, 0.5, 0.1);
}

TEST(Campaign, ARepetitionThatIsCutOffIsInNoFigure) {
  std::chrono::system_clock::time_point stopped;
  const RunResult result = campaign_of(kRepeat + "[j]\n", 3, [&](RunControl& control) {
    stopped = std::chrono::system_clock::now();
    stop(control);
  });
  EXPECT_GE(result.ended, stopped) << "that was the end of all";
  ASSERT_FALSE(result.repeats.empty());
  EXPECT_EQ(result.repeats.front().values.size(), 2U);
  EXPECT_EQ(result.stopped_by_signal, SIGINT);
  EXPECT_GE(result.ended - result.began, 200ms) << "it took as long as all of them";
}

TEST(Campaign, ARepetitionThatATriggerCutsOffIsInNoFigureEither) {
  const test::TempDir dir;
  const RunResult result = campaign_of(
      kRepeat + "trigger-file=" + dir.file("now") + "\naux-path=" + dir.path() + "\n[j]\n", 3,
      [&](RunControl&) { std::ofstream(dir.file("now")) << "!"; });
  ASSERT_FALSE(result.repeats.empty());
  for (const RepeatFigure& figure : result.repeats) EXPECT_EQ(figure.values.size(), 2U);
  EXPECT_EQ(result.repetitions.size(), 2U);
  EXPECT_LT(result.shown_run, 2U);
  EXPECT_TRUE(std::ranges::any_of(result.warnings, [](const std::string& warning) {
    return warning.starts_with("the trigger fired: ");
  })) << "what it said is kept";
}

TEST(Campaign, ATrialThatIsCutOffIsInNoSearch) {
  const RunResult result = campaign_of(kSearch, 2, stop);
  ASSERT_EQ(result.searches.size(), 1U);
  EXPECT_EQ(result.searches[0].trials.size(), 1U);
  EXPECT_FALSE(result.searches[0].found_fps);
  EXPECT_EQ(result.searches[0].shown->number, 1U) << "the one that was not cut off";
  const RunResult first = campaign_of(kSearch, 1, stop);
  ASSERT_EQ(first.searches.size(), 1U);
  EXPECT_TRUE(first.searches[0].trials.empty());
  EXPECT_EQ(first.searches[0].shown->number, std::nullopt) << "it was not judged";
  EXPECT_EQ(first.searches[0].shown->offered_fps, 1000);
}

/// At what rate the first job of a run was to send.
double offered_fps(const RunResult& run) {
  const TrafficResult& tx = run.jobs.at(0).tx;
  return static_cast<double>(tx.offered_frames) / tx.offered_seconds;
}

TEST(Campaign, TheJobsOfASearchAreThoseOfTheTrialThatItNames) {
  // A line for 100 frames a second. The last trial is rarely the best one.
  const RunResult result = campaign_of(
      "[global]\nengine=unix\nsearch_max_iops=1000\nsearch_trial=200ms\ndrain_time=50ms\n"
      "search_resolution=20%\n[s]\nbs=1000\nsearch=ndr\nfault=rate=800kbit,queue=3\n");
  const SearchResult& search = result.searches.at(0);
  ASSERT_TRUE(search.shown && search.shown->number && search.shown->offered_fps);
  const TrialResult& trial = search.trials.at(*search.shown->number - 1);
  EXPECT_EQ(trial.offered_fps, *search.shown->offered_fps);
  EXPECT_EQ(trial.passed, search.found_fps.has_value());
  EXPECT_EQ(trial.offered_fps, search.found_fps.value_or(search.trials.at(0).offered_fps));
  // Frames are whole, and a trial of a low rate has few of them.
  constexpr double kFewFrames = 1.5 / 0.2;
  EXPECT_NEAR(offered_fps(result), trial.offered_fps, std::max(trial.offered_fps / 10, kFewFrames));
}

TEST(Campaign, ASearchThatHadTimeForItsFirstTrialAloneNamesFullSpeed) {
  const RunResult result = campaign_of(
      "[global]\nengine=unix\nsearch_trial=100ms\ndrain_time=10ms\nruntime=1ms\n"
      "[s]\nbs=1000\nsearch=ndr\n");
  const SearchResult& search = result.searches.at(0);
  EXPECT_TRUE(search.trials.empty());
  ASSERT_TRUE(search.shown.has_value());
  EXPECT_FALSE(search.shown->number);
  EXPECT_FALSE(search.shown->offered_fps);
  EXPECT_TRUE(test::failed(result, "its runtime (1ms) was over after 1 trial of 100ms"));
}

TEST(Campaign, ATrialThatFailsEndsItsSearchAndFailsIt) {
  for (const int failing : {1, 2}) {
    const test::TempDir dir;
    const std::string count = dir.file("count");
    const RunResult result = campaign_of("[global]\naux-path=" + dir.path() + "\n" + kSearch +
                                         "exec_prerun=sh -c 'echo >>" + count + "; test $(wc -l <" +
                                         count + ") != " + std::to_string(failing) + "'\n");
    EXPECT_TRUE(std::ranges::any_of(result.failures, [](const std::string& failure) {
      return failure.find("exec_prerun") != std::string::npos;
    })) << failing;
    std::ifstream file(count);
    EXPECT_EQ(std::count(std::istreambuf_iterator<char>(file), {}, '\n'), failing)
        << "no trial follows one that failed";
  }
}

TEST(Campaign, ATriggerFiresOnceAndEndsAllOfIt) {
  const test::TempDir dir;
  const std::string log = dir.file("fired");
  const std::string trigger = "[global]\naux-path=" + dir.path() +
                              "\ntrigger-timeout=50ms\ntrigger=sh -c 'echo fired >>" + log + "'\n";
  const auto fired = [&] {
    std::ifstream file(log);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const RunResult repeated = campaign_of(trigger + kRepeat + "[j]\n");
  EXPECT_EQ(fired(), "fired\n");
  EXPECT_TRUE(repeated.repeats.empty());
  std::filesystem::remove(log);
  const RunResult searched = campaign_of(trigger + kSearch);
  EXPECT_EQ(fired(), "fired\n");
  EXPECT_TRUE(searched.searches.at(0).trials.empty());
}

TEST(Campaign, ATriggersTimeIsThatOfAllRunsTogether) {
  const test::TempDir dir;
  const RunResult result = campaign_of(kRepeat + "aux-path=" + dir.path() +
                                       "\nrepeat=1000\ntrigger-timeout=500ms\n[j]\n");
  EXPECT_TRUE(std::ranges::count(result.warnings, "the trigger fired: trigger-timeout has passed"));
  // None at all on a machine so busy that not even the first has ended by then.
  const std::size_t ended = result.repeats.empty() ? 0 : result.repeats.front().values.size();
  EXPECT_LT(ended, 900U) << "of 100 ms each";
}

TEST(Campaign, WhatWasFoundBeforeARunThatCannotBeSetUpIsKept) {
  const test::TempDir dir;
  std::filesystem::create_directory(dir.file("logs"));
  const std::string log = "write_bw_log=" + dir.file("logs") + "/j\n";
  const auto spoil = [&](RunControl&) { std::filesystem::remove_all(dir.file("logs")); };
  const RunResult repeated = campaign_of(kRepeat + "[j]\n" + log, 3, spoil);
  EXPECT_TRUE(test::failed(repeated, "run 3 of 3 could not be set up: "));
  ASSERT_FALSE(repeated.repeats.empty());
  EXPECT_EQ(repeated.repeats.front().values.size(), 2U);
  EXPECT_EQ(repeated.exit_code, 1);
  std::filesystem::create_directory(dir.file("logs"));
  const RunResult searched = campaign_of(kSearch + log, 2, spoil);
  EXPECT_TRUE(test::failed(searched, "job \"s\": its search ended early"));
  EXPECT_EQ(searched.searches.at(0).trials.size(), 1U);
}

TEST(Campaign, WhoIsSentToInATrialHasTheOneItSendsToItself) {
  const RunResult result = campaign_of(
      "[global]\nengine=bus\nsearch_trial=200ms\nsearch_max_iops=200\ndrain_time=50ms\n"
      "[s]\nsearch=ndr\nto=both\n[both]\nrw=txrx\nto=c\nrate_iops=100\nruntime=1\n[c]\nrw=rx\n");
  EXPECT_TRUE(test::passed(result));
  EXPECT_EQ(result.jobs.size(), 3U);
  EXPECT_TRUE(result.searches.at(0).found_fps.has_value());
}

TEST(Campaign, TheHarnessKnowsItsOwnLimit) {
  const HarnessLimit limit = measure_limit(JobOptions{});
  EXPECT_GT(limit.tx_fps.value_or(0), 0);
  EXPECT_GT(limit.rx_fps.value_or(0), 0);
}

TEST(Campaign, ALimitIsNotMeasuredByAMomentOfCpuTime) {
  TrafficResult sent;
  sent.frames = 22'000;
  sent.seconds = 0.015;
  CpuResult cpu;
  EXPECT_EQ(limit_by(sent, cpu), std::nullopt) << "it had no time at all";
  cpu.user_seconds = 1e-5;
  EXPECT_EQ(limit_by(sent, cpu), std::nullopt) << "2.2 G frames/s, of 10 us";
  cpu.user_seconds = 0.002;
  EXPECT_EQ(limit_by(sent, cpu), 22'000 / 0.002);
  cpu.system_seconds = 1;
  EXPECT_EQ(limit_by(sent, cpu), 22'000 / 0.015);
  EXPECT_EQ(limit_by(sent, std::nullopt), 22'000 / 0.015);
  sent.frames = 0;
  EXPECT_EQ(limit_by(sent, std::nullopt), std::nullopt);
}

TEST(Campaign, NoRateIsAboveTheHarnesssLimit) {
  auto plan = test::pair(Role::tx, EngineKind::unix_pair);
  plan[0].options.search = Search::ndr;
  RunResult result;
  result.jobs.resize(2);
  for (const std::size_t i : {0U, 1U}) result.jobs[i].name = plan[i].options.name;
  result.jobs[0].tx.frames = 5'000'000'000;
  result.jobs[1].rx.frames = 4'000'000'000;
  result.jobs[0].tx.seconds = result.jobs[1].rx.seconds = 1;
  result.searches.resize(1);
  result.searches[0].job = plan[0].options.name;
  result.searches[0].found_fps = 6e9;
  result.searches[0].trials.resize(1);
  add_limits(plan, result);
  EXPECT_GE(result.jobs[0].limit_fps.value_or(0), 5e9);
  EXPECT_GE(result.jobs[1].limit_fps.value_or(0), 4e9);
  EXPECT_GE(result.searches[0].limit_fps.value_or(0), 6e9);
}

TEST(Campaign, TheHarnesssLimitOfASearchIsThatOfAPacedJob) {
  auto plan = test::pair(Role::tx, EngineKind::unix_pair);
  plan.push_back(plan[0]);
  plan[0].options.search = Search::ndr;
  plan[2].options.name = "paced";
  plan[2].options.rate_fps.tx = 1000;
  RunResult result;
  result.searches.resize(1);
  result.searches[0].job = plan[0].options.name;
  result.searches[0].trials.resize(1);
  result.jobs.resize(1);
  result.jobs[0].name = "paced";
  result.jobs[0].tx.frames = 1;
  add_limits(plan, result);
  ASSERT_TRUE(result.jobs[0].limit_fps);
  // To the last digit, since it is measured once for jobs that are alike.
  EXPECT_EQ(result.searches[0].limit_fps, result.jobs[0].limit_fps);
}

TEST(Campaign, ItIsKnownBeforeHowLongSearchesTake) {
  const JobSet set = test::set_of(
      "[global]\nengine=unix\nsearch=ndr\nsearch_trial=2\ndrain_time=0\n[a]\n[b]\nruntime=5\n");
  const auto time = search_time(set.run, expand(set).value());
  ASSERT_TRUE(time);
  EXPECT_EQ(time->searches, 2U);
  EXPECT_EQ(time->trial_seconds, 2);
  EXPECT_EQ(time->min_seconds, 8 + 7) << "four trials, and what runtime lets begin";
  EXPECT_EQ(time->max_seconds, 32 + 7);
  EXPECT_FALSE(time->bounded) << "a has no runtime";
  EXPECT_FALSE(search_time(set.run, test::pair(Role::tx, EngineKind::bus)));
  const auto is_bounded = [](const std::string& runtime) {
    const JobSet ends = test::set_of(
        "[a]\nengine=unix\nsearch=ndr\nsearch_trial=2\ndrain_time=0\nruntime=" + runtime);
    return search_time(ends.run, expand(ends).value())->bounded;
  };
  EXPECT_TRUE(is_bounded("5"));
  EXPECT_TRUE(is_bounded("30")) << "and a trial, which is as long as sixteen of them";
  EXPECT_FALSE(is_bounded("60")) << "repeated trials would have time to last longer than 32 s";
}

}  // namespace
}  // namespace shmif::perf
