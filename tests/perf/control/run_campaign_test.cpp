// Campaigns: what they say before each run, how they end, and what of their runs is kept. Where a
// search ends up on a real line is told by search_rate_test.cpp.

#include "perf/control/campaign.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "perf/control/harness_limit.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/debug_lines.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::run_campaigns {
namespace {

using test::failed;
using test::passed;
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
/// A search that finds its highest rate at once: a frame at the beginning of its trial, which is
/// waited for.
const std::string kFinds = "search=ndr\nsearch_max_iops=10\ndrain_time=5\n";
/// One whose trials all fail.
const std::string kFails =
    "bs=1000\nsearch=ndr\nsearch_max_iops=1000\nfault=rate=100kbit,queue=1\n";

TEST(CampaignOfSearches, TellsBeforeEachRunWhatItTries) {
  const Ended twice = campaign(kGlobal + "repeat=2\n[s]\n" + kFinds);
  EXPECT_EQ(twice.names, (Words{"run 1 of 2", "search of s, trial at 10/s", "run 2 of 2",
                                "search of s, trial at 10/s"}));
  EXPECT_EQ(twice.result.repetitions.size(), 2U);
  const Ended flat_out = campaign(kGlobal + "[s]\nsearch=ndr\nfault=loss=50%\n",
                                  [](std::size_t run, RunControl& control) {
                                    if (run < 3) return;
                                    control.signal = SIGTERM;
                                    control.stops = 1;
                                  });
  ASSERT_EQ(flat_out.names.size(), 3U);
  EXPECT_EQ(flat_out.names[0], "search of s, trial at full speed");
  EXPECT_EQ(flat_out.names[1].find("search of s, trial at "), 0U);
  const auto rate =
      static_cast<std::uint64_t>(flat_out.result.searches.at(0).trials.at(0).offered_fps);
  EXPECT_EQ(flat_out.names[1], "search of s, trial at " + std::to_string(rate) + "/s");
  EXPECT_EQ(flat_out.result.exit_code, 128 + SIGTERM);
  EXPECT_TRUE(passed(flat_out.result)) << "one who was stopped has not failed to find a rate";
}

TEST(CampaignOfSearches, KnowsWhatTheCpusDidMeanwhile) {
  std::vector<CpuShare> window;
  // On a busy machine a short run may be over when it is first looked at.
  for (int i = 0; i < 20 && window.empty(); ++i) {
    window = campaign(kGlobal + "[s]\n" + kFinds).result.machine.window;
  }
  EXPECT_FALSE(window.empty());
}

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

TEST(CampaignOfSearches, KeepsWhatTrialsThatAreNotShownLostAndWarnedOf) {
  const test::TempDir dir;
  const std::string log = dir.file("x_bw.s.log");
  // The first trial fails, and is shown, because none passes. The log of the second is on a full
  // disk.
  const Ended ended =
      campaign(kGlobal + "aux-path=" + dir.path() +
                   "\n[s]\nsearch=ndr\nsearch_max_iops=1000\nfault=loss=50%\nwrite_bw_log=x\n",
               [&](std::size_t run, RunControl& control) {
                 std::filesystem::remove(log);
                 if (run == 2) std::filesystem::create_symlink("/dev/full", log);
                 if (run < 3) return;
                 control.signal = SIGTERM;
                 control.stops = 1;
               });
  ASSERT_EQ(ended.result.searches.size(), 1U);
  EXPECT_EQ(ended.result.searches[0].found_fps, std::nullopt);
  ASSERT_EQ(ended.result.lost_outputs.size(), 1U);
  EXPECT_NE(ended.result.lost_outputs[0].find("x_bw.s.log is not complete"), std::string::npos);
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

TEST(CampaignOfSearches, EndsAndFailsWithItsTrialAtFullSpeedToo) {
  const test::TempDir dir;
  const std::string count = dir.file("count");
  // Only the first run fails. At a lower rate every run would pass.
  const Ended ended = campaign(kGlobal + "aux-path=" + dir.path() +
                               "\n[s]\nsearch=ndr\nexec_postrun=sh -c 'echo >>" + count +
                               "; test $(wc -l <" + count + ") != 1'\n");
  EXPECT_EQ(ended.names, Words{"search of s, trial at full speed"});
  EXPECT_TRUE(failed(ended.result, "exec_postrun"));
  EXPECT_EQ(ended.result.exit_code, 1);
}

TEST(CampaignOfSearches, RunsTheTrialsOfAJobThatWaitsForAnother) {
  const Ended both = campaign(kGlobal + "[s]\n" + kFinds + "[t]\nstonewall\n" + kFinds);
  EXPECT_TRUE(passed(both.result));
  EXPECT_EQ(both.names, (Words{"search of s, trial at 10/s", "search of t, trial at 10/s"}));
  ASSERT_EQ(both.result.searches.size(), 2U);
  EXPECT_EQ(both.result.searches[1].found_fps, 10);
}

TEST(CampaignOfSearches, KeepsWhatTheFirstFoundIfTheNextCannotBeSetUp) {
  const test::TempDir dir;
  std::filesystem::create_directory(dir.file("logs"));
  const Ended ended =
      campaign(kGlobal + "[s]\n" + kFinds + "[t]\nstonewall\n" + kFinds +
                   "write_bw_log=" + dir.file("logs") + "/t\n[u]\nstonewall\n" + kFinds,
               [&](std::size_t run, RunControl&) {
                 if (run == 2) std::filesystem::remove_all(dir.file("logs"));
               });
  EXPECT_TRUE(failed(ended.result, "job \"t\": its search could not be set up: "));
  EXPECT_EQ(ended.result.failures.size(), 1U);
  ASSERT_EQ(ended.result.searches.size(), 2U);
  EXPECT_EQ(ended.result.searches[0].job, "s");
  EXPECT_EQ(ended.result.searches[1].job, "u") << "those behind it are made all the same";
  EXPECT_EQ(ended.result.exit_code, 1);
}

TEST(CampaignOfSearches, SendsInATrialForItsTimeAndByItsRateAlone) {
  using Change = void (*)(JobOptions&);
  for (const auto& [what, change] : std::vector<std::pair<const char*, Change>>{
           {"frames", [](JobOptions& o) { o.number_ios = 2; }},
           {"bytes of a loop", [](JobOptions& o) { o.size_bytes = 200; }},
           {"bytes", [](JobOptions& o) { o.io_limit_bytes = 200; }},
           {"a rate in bits", [](JobOptions& o) { o.rate_bps.tx = 8'000; }}}) {
    const JobSet set = test::set_of(
        kGlobal + "[s]\nbs=100\nsearch=ndr\nsearch_max_iops=1000\nfault=rate=100kbit,queue=1\n");
    std::vector<PlannedJob> plan = expand(set).value();
    change(plan[0].options);
    RunControl control;
    // After its first trial it is stopped.
    Names names([&](std::size_t run) {
      if (run < 2) return;
      control.signal = SIGTERM;
      control.stops = 1;
    });
    bool stuck = false;
    const RunResult result = run_campaign(set.run, plan, &names, control, stuck).value();
    EXPECT_EQ(result.jobs.at(0).tx.offered_frames, 100U) << what;
    EXPECT_FALSE(result.jobs[0].limit_fps) << "one that was stopped takes no time to measure that";
  }
}

TEST(CampaignOfSearches, KeepsWhatATriggerSaidInWhicheverTrialItFires) {
  // The first trial lasts until the trigger fires. Of shorter ones, it fires in the second or one
  // behind it: on a busy machine a trial may be over before the controller looks for the file.
  for (const auto& [at, time] : {std::pair{1U, "20"}, {2U, "100ms"}}) {
    const test::TempDir dir;
    const Ended ended = campaign(kGlobal + "search_trial=" + time + "\naux-path=" + dir.path() +
                                     "\ntrigger-file=" + dir.file("now") + "\n[s]\n" + kFails,
                                 [&, first = at](std::size_t run, RunControl&) {
                                   if (run == first) std::ofstream(dir.file("now")) << "!";
                                 });
    EXPECT_GE(ended.names.size(), at);
    EXPECT_EQ(std::ranges::count(ended.result.warnings,
                                 "the trigger fired: file " + dir.file("now") + " appeared"),
              1);
    EXPECT_EQ(ended.result.searches.at(0).trials.size(), ended.names.size() - 1)
        << "the trial that it cut off is none";
    EXPECT_EQ(ended.result.options.at("trigger-file"), dir.file("now"));
  }
}

TEST(TimeOfSearches, IsThatOfAllTheirPartsAndOfEveryRepetition) {
  const JobSet set = test::set_of(
      "[global]\nengine=unix\nsearch=ndr\nrepeat=3\n"
      "[a]\nsearch_trial=2\nramp_time=1\ndrain_time=500ms\n"
      "[b]\nsearch_trial=1\ndrain_time=250ms\n");
  const auto time = search_time(set.run, expand(set).value());
  ASSERT_TRUE(time);
  EXPECT_EQ(time->searches, 2U);
  EXPECT_EQ(time->trial_seconds, 3.5) << "the longest";
  EXPECT_EQ(time->min_seconds, 3 * 4 * (3.5 + 1.25));
  EXPECT_EQ(time->max_seconds, 3 * 16 * (3.5 + 1.25));
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

struct Kind {
  const char* job;
  void (*change)(JobOptions&);
};

/// The jobs for whose frames a limit was measured, if each of them has sent.
Words measured(const std::vector<Kind>& kinds) {
  std::vector<PlannedJob> plan;
  RunResult result;
  for (const Kind& kind : kinds) {
    plan.push_back(test::job(kind.job, Role::tx, EngineKind::unix_pair));
    kind.change(plan.back().options);
    JobResult& job = result.jobs.emplace_back();
    job.name = kind.job;
    job.tx.frames = 1;
    job.tx.seconds = 1;
  }
  const std::string lines =
      shmif::test::debug_lines_of("search", [&] { add_limits(plan, result); });
  const std::string before = "with frames as of ";
  Words names;
  for (std::size_t at = 0; (at = lines.find(before, at)) != std::string::npos;) {
    at += before.size();
    names.push_back(lines.substr(at, lines.find('\n', at) - at));
  }
  return names;
}

TEST(LimitOfTheHarness, IsMeasuredOnceForEachKindOfFramesUpToEight) {
  const Kind usual{"usual", [](JobOptions&) {}};
  const Kind alike{"alike", [](JobOptions& o) {
                     o.rw = Role::rx;
                     o.randseed = 4711;
                   }};
  EXPECT_EQ(measured({usual,
                      {"unverified", [](JobOptions& o) { o.verify = false; }},
                      {"unchecked", [](JobOptions& o) { o.do_verify = false; }},
                      {"regenerated", [](JobOptions& o) { o.verify_regenerate = true; }},
                      alike,
                      {"without times", [](JobOptions& o) { o.disable_lat = true; }},
                      {"checked later", [](JobOptions& o) { o.verify_backlog = 1; }},
                      {"checked elsewhere", [](JobOptions& o) { o.verify_async = 1; }},
                      {"small MTU", [](JobOptions& o) { o.mtu = 1400; }},
                      {"the ninth", [](JobOptions& o) { o.mtu = 1401; }}}),
            (Words{"usual", "unverified", "unchecked", "regenerated", "without times",
                   "checked later", "checked elsewhere", "small MTU"}));
  EXPECT_EQ(measured({usual,
                      {"zeros", [](JobOptions& o) { o.payload = Payload::zero; }},
                      {"frames", [](JobOptions& o) { o.rate_fps.tx = 5; }},
                      {"more frames", [](JobOptions& o) { o.rate_fps.tx = 6; }},
                      {"bits", [](JobOptions& o) { o.rate_bps.tx = 5; }},
                      {"Poisson",
                       [](JobOptions& o) {
                         o.rate_fps.tx = 5;
                         o.rate_process = RateProcess::poisson;
                       }}}),
            (Words{"usual", "zeros", "frames", "bits", "Poisson"}));
}

TEST(LimitOfTheHarness, StandsInEveryRepetition) {
  Limited limited;
  limited.result.searches.clear();
  RunResult other;
  other.jobs = limited.result.jobs;
  limited.result.repetitions = {other, other};
  add_limits(limited.plan, limited.result);
  ASSERT_TRUE(limited.result.jobs[0].limit_fps);
  for (const RunResult& each : limited.result.repetitions) {
    EXPECT_EQ(each.jobs[0].limit_fps, limited.result.jobs[0].limit_fps);
  }
}

}  // namespace
}  // namespace shmif::perf::run_campaigns
