// Campaigns: what they say before each run, what ends them, and what of their runs is in the
// result. Where a search ends up on a real line is told by search_rate_test.cpp.

#include "perf/control/campaign.hpp"

#include <filesystem>
#include <fstream>

#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf::run_campaigns {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

/// Keeps the names of the runs, and does something at each.
class Names final : public RunObserver {
 public:
  explicit Names(std::function<void(std::size_t)> deed) : deed_(std::move(deed)) {}
  void on_run(const std::string& what) override {
    names.push_back(what);
    deed_(names.size());
  }
  void on_progress(const RunProgress&) override {}
  void on_interval(const RunProgress&) override {}

  Words names;

 private:
  std::function<void(std::size_t)> deed_;
};

struct Ended {
  RunResult result;
  Words names;
};

/// A campaign by a job file, to which `deed` happens when a run begins, with its number from 1.
Ended campaign(
    const std::string& text,
    const std::function<void(std::size_t, RunControl&)>& deed = [](std::size_t, RunControl&) {}) {
  const JobSet set = test::set_of(text);
  RunControl control;
  Names names([&](std::size_t run) { deed(run, control); });
  bool stuck = false;
  RunResult result = run_campaign(set.run, expand(set).value(), &names, control, stuck).value();
  EXPECT_FALSE(stuck);
  return {std::move(result), std::move(names.names)};
}

const std::string kGlobal = "[global]\nengine=unix\nsearch_trial=100ms\ndrain_time=10ms\n";
/// One whose trials all fail.
const std::string kFails =
    "bs=1000\nsearch=ndr\nsearch_max_iops=1000\nfault=rate=100kbit,queue=1\n";

TEST(CampaignOfSearches, BeginsNoTrialWhenTheRuntimeOfTheSearchIsOver) {
  const Ended bounded = campaign(kGlobal + "[s]\nruntime=50ms\n" + kFails);
  EXPECT_EQ(bounded.names.size(), 1U);
  ASSERT_EQ(bounded.result.searches.size(), 1U);
  EXPECT_EQ(bounded.result.searches[0].trials.size(), 1U);
  EXPECT_TRUE(
      failed(bounded.result,
             "job \"s\": the search found no rate: its runtime (50ms) was over after 1 trial "
             "of 100ms (runtime is for the whole search: give it more time, or a shorter "
             "search_trial)"));
  EXPECT_EQ(bounded.result.failures.size(), 1U);
  EXPECT_EQ(bounded.result.exit_code, 1);
}

TEST(CampaignOfSearches, FailsWithALaterTrialAndKeepsWhatTheFirstLost) {
  const test::TempDir dir;
  const std::string log = dir.file("x_bw.s.log");
  std::filesystem::create_symlink("/dev/full", log);
  const std::string count = dir.file("count");
  const Ended ended = campaign(kGlobal + "aux-path=" + dir.path() + "\n[s]\n" + kFails +
                                   "write_bw_log=x\nexec_postrun=sh -c 'echo >>" + count +
                                   "; test $(wc -l <" + count + ") != 2'\n",
                               [&](std::size_t run, RunControl&) {
                                 if (run == 2) std::filesystem::remove(log);
                               });
  EXPECT_EQ(ended.names.size(), 2U) << "the search ends with it";
  EXPECT_TRUE(failed(ended.result, "exec_postrun"));
  EXPECT_EQ(std::ranges::count_if(ended.result.failures,
                                  [](const std::string& text) {
                                    return text.find("exec_postrun") != std::string::npos;
                                  }),
            1);
  ASSERT_EQ(ended.result.lost_outputs.size(), 1U);
  EXPECT_NE(ended.result.lost_outputs[0].find("x_bw.s.log is not complete"), std::string::npos);
  ASSERT_TRUE(ended.result.searches.at(0).shown);
  EXPECT_EQ(ended.result.searches[0].shown->number, 2U);
  EXPECT_EQ(ended.result.exit_code, 1);
}

// ---- Repetitions, triggers, and what of a search is shown ----

/// The result of a campaign, to which `deed` happens when run number `at` of it begins.
RunResult campaign_of(
    const std::string& text, std::size_t at = 0,
    const std::function<void(RunControl&)>& deed = [](RunControl&) {}) {
  return campaign(text,
                  [&](std::size_t run, RunControl& control) {
                    if (run == at) deed(control);
                  })
      .result;
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
  EXPECT_TRUE(
      std::ranges::count(repeated.warnings, "the trigger fired: trigger-timeout has passed"))
      << "what it said is kept";
  std::filesystem::remove(log);
  const RunResult searched = campaign_of(trigger + kSearch);
  EXPECT_EQ(fired(), "fired\n");
  EXPECT_TRUE(searched.searches.at(0).trials.empty());
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

// ---- The limit of the harness ----

/// A plan of one job, and a result in which it has sent and received.
struct Limited {
  std::vector<PlannedJob> plan{test::job("j", Role::tx, EngineKind::unix_pair)};
  RunResult result;

  Limited() {
    JobResult& job = result.jobs.emplace_back();
    job.name = "j";
    job.tx.frames = job.rx.frames = 1000;
    job.tx.seconds = job.rx.seconds = 1;
    result.searches.resize(1);
    result.searches[0].job = "j";
    result.searches[0].trials.resize(1);
  }
  bool has_any() {
    add_limits(plan, result);
    return result.jobs[0].limit_fps || result.searches[0].limit_fps;
  }
};

TEST(LimitOfTheHarness, IsNotThatOfFramesItDoesNotMake) {
  using Change = void (*)(Limited&);
  for (const auto& [what, change] : std::vector<std::pair<const char*, Change>>{
           {"a replay", [](Limited& l) { l.plan[0].options.replay = "x"; }},
           {"a program", [](Limited& l) { l.plan[0].options.exec = {"x"}; }},
           {"a check of a record", [](Limited& l) { l.plan[0].options.verify_only = true; }},
           {"an asker", [](Limited& l) { l.plan[0].options.rw = Role::pingpong; }},
           {"one who answers", [](Limited& l) { l.plan[0].options.rw = Role::echo; }},
           {"one of whom nothing is planned", [](Limited& l) { l.plan[0].options.name = "other"; }},
           {"one who moved nothing", [](Limited& l) {
              l.result.jobs[0].tx.frames = l.result.jobs[0].rx.frames = 0;
              l.result.searches[0].trials.clear();
            }}}) {
    Limited limited;
    change(limited);
    EXPECT_FALSE(limited.has_any()) << what;
  }
}

TEST(LimitOfTheHarness, ALimitIsNotMeasuredByAMomentOfCpuTime) {
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

TEST(LimitOfTheHarness, NoRateIsAboveTheHarnesssLimit) {
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

}  // namespace
}  // namespace shmif::perf::run_campaigns
