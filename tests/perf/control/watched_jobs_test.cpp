// What the controller makes of the counts of its jobs: steady states, how far the run is,
// logs of intervals, and what becomes of the frames of a receiver that was killed. The tests set
// the counts and the time.

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/control/gather.hpp"
#include "perf/control/interval_log.hpp"
#include "perf/control/rate_watch.hpp"
#include "perf/control/trigger.hpp"
#include "perf/plan/curve_interval.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "tests/perf/control/watched_jobs.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::watched_jobs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using test::kBegin;
using test::kSecond;
using test::Watched;

// ---- Steady states ----

TEST(SteadyStates, AreOfTheGreaterDirectionOncePerSecondAndOfEachJobThatAsked) {
  Watched run;
  run.options(0).steadystate = "iops:5";
  run.options(0).ss_dur = seconds(2);
  run.options(0).ss_ramp = seconds(1);
  run.options(1).steadystate = "bw_slope:10%";
  run.options(1).ss_dur = seconds(3);
  SteadyWatch watch(run.jobs);
  JobBlock& a = *run.jobs[0].block;
  JobBlock& b = *run.jobs[1].block;
  std::vector<std::vector<std::size_t>> reached;
  for (std::uint64_t s = 0; s <= 4; ++s) {
    a.all_tx_frames.set(100 * s);
    a.all_rx_frames.set(50 * s * s);
    b.all_rx_bytes.set(1000 * s);
    b.all_tx_bytes.set(10 * s * s);
    reached.push_back(watch.check(kBegin + s * kSecond));
    EXPECT_TRUE(watch.check(kBegin + s * kSecond + kSecond - 1).empty()) << "once a second";
  }
  using Places = std::vector<std::size_t>;
  // "a" is looked at from its second second on, and "b" from its first one.
  EXPECT_EQ(reached, (std::vector<Places>{{}, {}, {}, {1}, {}}));
  const auto results = watch.results();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].job, "a");
  EXPECT_EQ(results[0].figure, "iops");
  EXPECT_EQ(results[0].limit, 5);
  EXPECT_FALSE(results[0].limit_is_share);
  EXPECT_EQ(results[0].window_seconds, 2U);
  EXPECT_EQ(results[0].ramp_seconds, 1U);
  // In its third and fourth second 250 and 350 frames were received, more than were sent.
  EXPECT_EQ(results[0].value, 50);
  EXPECT_FALSE(results[0].reached_at_seconds);
  EXPECT_EQ(results[1].job, "b");
  EXPECT_EQ(results[1].figure, "bw_slope");
  EXPECT_TRUE(results[1].limit_is_share);
  EXPECT_EQ(results[1].window_seconds, 3U);
  EXPECT_EQ(results[1].ramp_seconds, 0U);
  EXPECT_EQ(results[1].value, 0);
  EXPECT_EQ(results[1].reached_at_seconds, 3U);
  EXPECT_EQ(watch.describe(),
            "a: not reached: iops deviation 50 (limit 5, over 2 s); "
            "b: reached at 3 s: bw slope 0 % a second (limit 10 %, over 3 s)");
  run.options(1).steadystate = "";
  EXPECT_EQ(SteadyWatch(run.jobs).describe(),
            "not reached: there were never 2 s with traffic after a ramp of 1 s");
  run.options(0).steadystate = "";
  EXPECT_EQ(SteadyWatch(run.jobs).describe(), std::nullopt);
}

TEST(SteadyStates, AreOfJobsThatRunAndBeginWithTheirWindow) {
  for (const JobState state : {JobState::ramp, JobState::draining}) {
    Watched run;
    run.options(0).steadystate = "iops:1";
    run.options(0).ss_dur = seconds(2);
    run.jobs[0].block->state = state;
    SteadyWatch watch(run.jobs);
    const auto check = [&](std::uint64_t s) {
      run.jobs[0].block->all_tx_frames.set(100 * s);
      return !watch.check(kBegin + s * kSecond).empty();
    };
    for (std::uint64_t s = 0; s <= 5; ++s) EXPECT_FALSE(check(s));
    run.jobs[0].block->state = JobState::running;
    EXPECT_FALSE(check(6));
    EXPECT_FALSE(check(7)) << "one second of it";
    run.jobs[0].phase = ControlledJob::Phase::over;
    EXPECT_FALSE(check(8));
    run.jobs[0].phase = ControlledJob::Phase::going;
    EXPECT_TRUE(check(9));
    EXPECT_EQ(watch.results().at(0).reached_at_seconds, 2U);
  }
}

// A job is in the state "running" before the common start, and during its delay.
TEST(SteadyStates, AreOfSecondsAfterTheStartAndTheDelay) {
  Watched run;
  run.options(0).steadystate = "iops:1";
  run.options(0).ss_dur = seconds(2);
  run.options(0).start_delay = seconds(3);
  SteadyWatch watch(run.jobs);
  const std::uint64_t starts = kBegin + 3 * kSecond;
  const auto check = [&](std::uint64_t now) {
    run.jobs[0].block->all_tx_frames.set(now < starts ? 0 : (now - starts) / (kSecond / 100));
    return !watch.check(now).empty();
  };
  EXPECT_FALSE(check(kBegin));
  EXPECT_FALSE(check(starts - 20'000));
  EXPECT_FALSE(check(starts));
  EXPECT_FALSE(check(starts + kSecond));
  EXPECT_FALSE(check(starts + 2 * kSecond - 20'000)) << "its window has not lasted that long";
  EXPECT_TRUE(check(starts + 2 * kSecond));
  EXPECT_EQ(watch.results().at(0).reached_at_seconds, 2U);
}

TEST(SteadyStates, BitsAreEightOfAByte) {
  Watched run;
  run.options(0).steadystate = "bw:1";
  run.options(0).ss_dur = seconds(2);
  SteadyWatch watch(run.jobs);
  for (std::uint64_t s = 0; s <= 2; ++s) {
    run.jobs[0].block->all_tx_bytes.set(s == 1 ? 1000 : 1500 * s);
    (void)watch.check(kBegin + s * kSecond);
  }
  EXPECT_EQ(watch.results()[0].value, 4000) << "1000 and 2000 bytes are 500 from their mean";
}

// ---- How far the run is ----

TEST(TimeLeft, IsThatOfWhoSendsAndOfThoseWhoWaitForHim) {
  Watched run;
  run.options(0).runtime = seconds(20);
  run.options(2).runtime = seconds(30);
  run.plan[2].waits_for = {0};
  run.jobs[2].phase = ControlledJob::Phase::waiting;
  run.jobs[2].block->start_ns = 0;
  const auto at = [&](std::uint64_t s) {
    return progress_of(run.jobs, static_cast<double>(s), kBegin + s * kSecond);
  };
  RunProgress p = at(5);
  EXPECT_EQ(p.jobs[0].left_seconds, 15);
  EXPECT_EQ(p.jobs[0].share, 0.25);
  EXPECT_EQ(p.jobs[2].left_seconds, 45) << "it has not begun";
  EXPECT_EQ(p.jobs[2].share, 0);
  EXPECT_EQ(p.jobs[1].left_seconds, std::nullopt) << "who receives ends when the others have";
  EXPECT_EQ(p.left_seconds, 45);
  EXPECT_EQ(p.share, 0.1);
  run.plan[2].waits_for = {0, 1};
  EXPECT_EQ(at(5).jobs[2].left_seconds, 45) << "who receives ends with those who send to him";
  run.options(1).rw = Role::tx;
  run.options(1).runtime = seconds(10);
  EXPECT_EQ(at(5).jobs[2].left_seconds, 45) << "the longer of the two that it waits for";
  run.options(1).rw = Role::rx;
  run.options(1).runtime = {};
  run.plan[2].waits_for = {0};
  p = at(25);
  EXPECT_EQ(p.jobs[0].left_seconds, 0) << "it drains";
  EXPECT_EQ(p.jobs[0].share, 1);
  run.jobs[0].phase = ControlledJob::Phase::over;
  run.jobs[2].block->start_ns = kBegin + 25 * kSecond;
  p = at(35);
  EXPECT_EQ(p.jobs[0].left_seconds, 0);
  EXPECT_EQ(p.jobs[0].share, 1);
  EXPECT_EQ(p.jobs[0].state, JobState::reaped);
  EXPECT_EQ(p.jobs[2].left_seconds, 20);
  EXPECT_EQ(p.left_seconds, 20);
  // One of whom nobody knows when he ends, and one who keeps nobody.
  run.options(2).runtime = {};
  EXPECT_EQ(at(35).left_seconds, std::nullopt);
  EXPECT_EQ(at(35).share, std::nullopt);
  run.options(2).background = true;
  EXPECT_EQ(at(35).left_seconds, 0);
  EXPECT_EQ(at(35).share, 1);
  EXPECT_FALSE(at(35).jobs[1].failed);
  run.jobs[1].fail("x");
  run.jobs[2].block->failed = true;
  EXPECT_TRUE(at(35).jobs[1].failed);
  EXPECT_TRUE(at(35).jobs[2].failed);
  EXPECT_FALSE(at(35).jobs[0].failed);
}

TEST(TimeLeft, GoesByTheLimitThatIsReachedFirst) {
  struct Case {
    const char* what;
    std::optional<double> share, left;
    void (*set)(JobOptions&);
  };
  // 250 frames of 40 bytes in ten seconds.
  for (const Case& c : {
           Case{"nothing", {}, {}, [](JobOptions&) {}},
           Case{"frames", 0.25, 30, [](JobOptions& o) { o.number_ios = 1000; }},
           Case{"bytes of a loop", 0.5, 10, [](JobOptions& o) { o.size_bytes = 20'000; }},
           Case{"of two loops", 0.25, 30,
                [](JobOptions& o) {
                  o.size_bytes = 20'000;
                  o.loops = 2;
                }},
           Case{"all bytes", 0.2, 40, [](JobOptions& o) { o.io_limit_bytes = 50'000; }},
           Case{"frames before bytes", 0.5, 10,
                [](JobOptions& o) {
                  o.number_ios = 500;
                  o.io_limit_bytes = 50'000;
                }},
           Case{"time before frames", 0.5, 10,
                [](JobOptions& o) {
                  o.number_ios = 1000;
                  o.runtime = seconds(20);
                }},
           Case{"frames before time", 0.25, 30,
                [](JobOptions& o) {
                  o.number_ios = 1000;
                  o.runtime = seconds(100);
                }},
           Case{"time alone", 0.1, 90,
                [](JobOptions& o) {
                  o.size_bytes = 20'000;
                  o.runtime = seconds(100);
                  o.time_based = true;
                }},
           Case{"more than asked for", 1, 0, [](JobOptions& o) { o.number_ios = 100; }},
           Case{"too early to say", 0.01, {}, [](JobOptions& o) { o.number_ios = 25'000; }},
       }) {
    SCOPED_TRACE(c.what);
    Watched run;
    c.set(run.options(2));
    run.jobs[2].block->all_tx_frames.set(250);
    run.jobs[2].block->all_tx_bytes.set(10'000);
    const RunProgress p = progress_of(run.jobs, 10, kBegin + 10 * kSecond);
    EXPECT_EQ(p.jobs[2].share.has_value(), c.share.has_value());
    EXPECT_NEAR(p.jobs[2].share.value_or(0), c.share.value_or(0), 1e-9);
    EXPECT_EQ(p.jobs[2].left_seconds.has_value(), c.left.has_value());
    EXPECT_NEAR(p.jobs[2].left_seconds.value_or(0), c.left.value_or(0), 1e-9);
  }
}

// ---- Intervals ----

TEST(IntervalsOfAJob, AfterAStallThereIsALongOneAndThenTheBeatGoesOn) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  IntervalRecorder recorder(job, kBegin, 100);
  EXPECT_EQ(recorder.next_ns(), kBegin + 100);
  EXPECT_FALSE(recorder.is_over(kBegin + 99));
  EXPECT_TRUE(recorder.is_over(kBegin + 100));
  recorder.close(kBegin + 103);
  EXPECT_EQ(recorder.next_ns(), kBegin + 200);
  recorder.close(kBegin + 570);
  EXPECT_EQ(recorder.next_ns(), kBegin + 600);
  recorder.close(kBegin + 570);
  EXPECT_EQ(job.intervals_written.load(), 2U) << "one without any time is none";
  recorder.close(kBegin + 600);
  EXPECT_EQ(recorder.next_ns(), kBegin + 700);
  const IntervalResult last = job.intervals[2].get();
  EXPECT_DOUBLE_EQ(last.at_seconds, 600e-9);
  EXPECT_DOUBLE_EQ(last.seconds, 30e-9);
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}
using Lines = std::vector<std::string>;

/// The half of a second that ends at `at_seconds`.
IntervalResult half_until(double at_seconds, std::uint64_t tx, std::uint64_t rx) {
  IntervalResult i;
  i.at_seconds = at_seconds;
  i.seconds = 0.5;
  i.tx_frames = tx;
  i.tx_bytes = tx * 1024;
  i.rx_frames = rx;
  i.rx_bytes = rx * 2048;
  return i;
}

TEST(LogsOfAJob, HaveALineForEachDirectionAndTheLatenciesOfItsPeerAsSent) {
  const test::TempDir dir;
  RunOptions run;
  run.aux_path = dir.path();
  std::vector<PlannedJob> plan(4);
  const char* const names[] = {"s", "s.peer", "r", "no"};
  for (std::size_t i = 0; i < plan.size(); ++i) {
    JobOptions& o = plan[i].options;
    o.name = names[i];
    o.rw = i < 2 ? Role::txrx : Role::rx;
    o.log_avg = seconds(1);
    if (i == 3) continue;
    o.write_bw_log = i == 2 ? dir.file("whole") : "x";
    if (i == 2) continue;
    o.write_iops_log = "x";
    o.write_lat_log = "x";
  }
  plan[1].peer_of = "s";
  auto logs = IntervalLogs::open(plan, run).value();
  // Whole intervals make a line, none of them longer than those of the curve.
  EXPECT_EQ(interval_of(log_options(plan, plan[0]), milliseconds(100)), milliseconds(100));
  EXPECT_EQ(interval_of(log_options(plan, plan[1]), milliseconds(300)), milliseconds(250));
  EXPECT_EQ(interval_of(log_options(plan, plan[2]), seconds(2)), seconds(1));
  EXPECT_EQ(interval_of(log_options(plan, plan[3]), milliseconds(100)), milliseconds(100));
  EXPECT_TRUE(logs->with_histograms().empty());
  const auto latency = [](IntervalResult i, double mean) {
    i.latency_count = 2;
    i.latency_mean_ns = mean;
    return i;
  };
  logs->add(0, latency(half_until(0.5, 10, 20), 100), 0, nullptr);
  logs->add(1, latency(half_until(0.5, 7, 7), 500), 0, nullptr);
  EXPECT_EQ(lines_of(dir.file("x_iops.s.log")), Lines{}) << "half a line";
  logs->add(0, latency(half_until(1, 30, 60), 300), 0, nullptr);
  logs->add(1, latency(half_until(1, 7, 7), 900), 0, nullptr);
  EXPECT_EQ(lines_of(dir.file("x_iops.s.log")), (Lines{"1000, 80, 0, 0, 0", "1000, 40, 1, 0, 0"}))
      << "at once, for who follows it";
  // A border of the window ends a line, and the end of the run the last one.
  IntervalResult border = half_until(1.5, 5, 6);
  border.ends_at_border = true;
  logs->add(0, border, 0, nullptr);
  logs->add(0, half_until(2, 1, 2), 0, nullptr);
  logs->add(2, half_until(0.5, 0, 9), 0, nullptr);
  logs->add(3, half_until(0.5, 1, 1), 0, nullptr);
  EXPECT_EQ(logs->finish(), Lines{});
  EXPECT_EQ(lines_of(dir.file("x_iops.s.log")),
            (Lines{"1000, 80, 0, 0, 0", "1000, 40, 1, 0, 0", "1500, 12, 0, 0, 0",
                   "1500, 10, 1, 0, 0", "2000, 4, 0, 0, 0", "2000, 2, 1, 0, 0"}));
  EXPECT_EQ(lines_of(dir.file("x_bw.s.log")),
            (Lines{"1000, 160, 0, 0, 0", "1000, 40, 1, 0, 0", "1500, 24, 0, 0, 0",
                   "1500, 10, 1, 0, 0", "2000, 8, 0, 0, 0", "2000, 2, 1, 0, 0"}))
      << "KiB per second";
  EXPECT_EQ(lines_of(dir.file("x_lat.s.log")), (Lines{"1000, 200, 0, 0, 0", "1000, 700, 1, 0, 0"}));
  EXPECT_EQ(lines_of(dir.file("whole_bw.r.log")), Lines{"500, 36, 0, 0, 0"})
      << "who receives alone has one direction; a whole path is not below aux-path";
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator(dir.path())) ++files;
  EXPECT_EQ(files, 4U);
}

TEST(LogsOfAJob, HaveTheDirectionsOfItsRoleAndRepliesAreSent) {
  for (const auto& [role, lines] :
       {std::pair{Role::tx, Lines{"1000, 10, 1, 0, 0"}},
        {Role::rx, Lines{"1000, 20, 0, 0, 0"}},
        {Role::echo, Lines{"1000, 20, 0, 0, 0", "1000, 10, 1, 0, 0"}},
        {Role::pingpong, Lines{"1000, 20, 0, 0, 0", "1000, 10, 1, 0, 0"}}}) {
    const test::TempDir dir;
    std::vector<PlannedJob> plan(1);
    plan[0].options.name = "j";
    plan[0].options.rw = role;
    plan[0].options.log_avg = seconds(1);
    plan[0].options.write_iops_log = dir.file("x");
    auto logs = IntervalLogs::open(plan, {}).value();
    logs->add(0, half_until(0.5, 5, 10), 0, nullptr);
    logs->add(0, half_until(1, 5, 10), 0, nullptr);
    EXPECT_EQ(logs->finish(), Lines{});
    EXPECT_EQ(lines_of(dir.file("x_iops.j.log")), lines) << static_cast<int>(role);
  }
}

TEST(LogsOfAJob, HistogramsAreOfTheirOwnIntervalsAndOfTheMeanSizeThatCame) {
  const test::TempDir dir;
  RunOptions run;
  run.aux_path = dir.path();
  std::vector<PlannedJob> plan(2);
  plan[0].options.name = "s/1";
  plan[0].options.write_hist_log = "h";
  plan[0].options.log_hist = seconds(1);
  plan[0].options.log_hist_coarseness = 10;
  plan[1].options.name = "s/1.sink";
  plan[1].options.rw = Role::rx;
  plan[1].peer_of = "s/1";
  auto logs = IntervalLogs::open(plan, run).value();
  EXPECT_EQ(logs->with_histograms(), (std::vector<std::size_t>{0, 1}));
  EXPECT_EQ(interval_of(log_options(plan, plan[1]), milliseconds(300)), milliseconds(250));
  const auto counts = std::make_unique<HistogramBlock>();
  const auto add = [&](double at, std::uint64_t low, std::uint64_t high) {
    IntervalResult i = half_until(at, 0, low + high);
    i.latency_count = low + high;
    (*counts)[5] = static_cast<std::uint32_t>(low);
    (*counts)[kHistogramBins - 1] = static_cast<std::uint32_t>(high);
    logs->add(1, i, 0, counts.get());
  };
  add(0.5, 3, 1);
  add(1, 4, 0);
  add(1.5, 0, 0);
  add(2, 0, 0);
  add(2.5, 2, 9);
  EXPECT_EQ(logs->finish(), Lines{});
  // Bins of 1024 each: the 1856 of an interval are two.
  EXPECT_EQ(lines_of(dir.file("h_clat_hist.s_1.log")),
            (Lines{"1000, 1, 2048, 7, 1", "2500, 1, 2048, 2, 9"}))
      << "nothing of an interval without latencies";
}

// ---- The trigger ----

TEST(FiredTrigger, FiresOnceByTheFirstOfItsReasonsAndTakesItsFileAway) {
  const test::TempDir dir;
  RunOptions options;
  options.trigger_file = dir.file("now");
  options.trigger_timeout = seconds(2);
  options.trigger_match = "arp";
  const auto why = [&](std::uint64_t since_ns, bool matched) {
    return Trigger(options).check(since_ns, matched);
  };
  EXPECT_EQ(why(2 * kSecond - 1, false), std::nullopt);
  EXPECT_EQ(why(2 * kSecond, false), "trigger-timeout has passed");
  EXPECT_EQ(why(0, true), "a frame matched \"arp\"");
  std::ofstream{options.trigger_file};
  EXPECT_EQ(why(0, false), "file " + options.trigger_file + " appeared");
  EXPECT_FALSE(std::filesystem::exists(options.trigger_file));
  EXPECT_EQ(Trigger(options).check(0, false, true), "it fired on another server, or on the client");
  options.trigger_timeout = {};
  EXPECT_EQ(why(UINT64_MAX, false), std::nullopt);
  EXPECT_EQ(Trigger(RunOptions{}).check(0, false, true), std::nullopt) << "there is none to fire";
  Trigger once(options);
  options.trigger_command = {"false"};
  EXPECT_EQ(once.run_command([] { return false; }), std::nullopt) << "it has not fired";
  EXPECT_TRUE(once.check(0, true));
  EXPECT_EQ(once.check(0, true), std::nullopt);
  options.allow_exec = false;
  EXPECT_EQ(once.run_command([] { return false; }),
            "the trigger's command was not run: this server runs no commands (start it with "
            "--allow-exec)");
  options.allow_exec = true;
  EXPECT_EQ(once.run_command([] { return false; }),
            "the trigger's command: false ended with status 1");
}

// ---- What is left of a job ----

/// "a" has sent a hundred frames to "b". Both have ended.
struct Left : Watched {
  Left() {
    plan[0].group = plan[1].group = plan[2].group = "g";
    for (ControlledJob& job : jobs) {
      job.phase = ControlledJob::Phase::over;
      job.block->state = JobState::exited;
      job.stop_ns = 1;  // that "c" moved nothing is no failure
    }
    jobs[0].block->all_tx_frames.set(100);
    jobs[1].block->all_rx_frames.set(60);
    memory->flow(0).all_sent.set(100);
  }
  RunResult gathered() {
    RunResult result;
    gather(jobs, result);
    return result;
  }
};

TEST(LeftBehind, OfAReceiverThatWasKilledEachFrameHasOneFateAllTheSame) {
  const auto fates = [](std::uint64_t received, std::uint64_t late, std::uint64_t corrupt,
                        std::uint64_t truncated, std::uint64_t missed) {
    Left left;
    FlowBlock& flow = left.memory->flow(0);
    flow.received.set(received);
    flow.late.set(late);
    flow.corrupt.set(corrupt);
    flow.truncated.set(truncated);
    flow.lost_so_far.set(missed);
    flow.all_judged.set(77);  // it was to say that at its end
    left.jobs[1].block->state = JobState::running;
    const FlowResult r = left.gathered().jobs.at(1).flows.at(0);
    EXPECT_FALSE(r.verification_complete);
    EXPECT_EQ(r.sent, 100U);
    EXPECT_EQ(r.received + r.late + r.corrupt + r.truncated + r.lost + r.cancelled, r.sent);
    return std::array{r.corrupt,          r.corrupt_copies, r.truncated,
                      r.truncated_copies, r.lost,           r.cancelled};
  };
  using Fates = std::array<std::uint64_t, 6>;
  EXPECT_EQ(fates(60, 5, 0, 0, 0), (Fates{0, 0, 0, 0, 0, 35}));
  EXPECT_EQ(fates(60, 5, 4, 3, 20), (Fates{4, 0, 3, 0, 13, 15})) << "damaged ones are not lost";
  EXPECT_EQ(fates(60, 5, 4, 3, 5), (Fates{4, 0, 3, 0, 0, 28}));
  EXPECT_EQ(fates(60, 5, 30, 9, 99), (Fates{30, 0, 5, 4, 0, 0})) << "the rest are copies";
  EXPECT_EQ(fates(98, 0, 7, 6, 1), (Fates{2, 5, 0, 6, 0, 0}));
  EXPECT_EQ(fates(60, 5, 0, 0, 50), (Fates{0, 0, 0, 0, 35, 0}));
}

TEST(LeftBehind, WhatAHostsKernelDroppedIsDroppedAndNoCountThatDiffers) {
  const auto counts = [](std::uint64_t tx_drops, std::uint64_t rx_drops) {
    Left left;
    JobBlock& b = *left.jobs[0].block;
    left.options(0).engine = EngineKind::host;
    b.all_rx_frames.set(40);
    b.all_foreign.set(3);
    // 98 of 100, and 45 of which 40 came through.
    b.wire.set({.tx_frames = 98, .rx_frames = 45, .dropped_frames = 1});
    b.wire_foreign.set(7);
    b.kernel_tx_drops.set(tx_drops);
    b.kernel_rx_drops.set(rx_drops);
    b.port_overruns.set(11);
    b.port_lost_frames.set(13);
    b.received[Period::window].overruns.set(17);
    const JobResult job = left.gathered().jobs.at(0);
    EXPECT_EQ(job.overruns, 11U) << "those of its port";
    EXPECT_EQ(job.overrun_frames, 13U);
    return job.counts;
  };
  const CountsResult all = counts(2, 5);
  EXPECT_EQ(all.agree, true);
  EXPECT_EQ(all.wire.dropped_frames, 1U + 2 + 5);
  EXPECT_EQ(all.receiver_foreign, 10U) << "and what passed its port beside its own";
  EXPECT_EQ(all.receiver_others, 3U);
  EXPECT_EQ(counts(1, 5).agree, false);
  EXPECT_EQ(counts(2, 4).agree, false);
  EXPECT_EQ(counts(9, 9).agree, true) << "they may be others', too";
}

TEST(LeftBehind, EachLinkHasTheFaultsThatWereAskedForOnItsWay) {
  Left left;
  left.options(0).fault.loss = 0.25;
  left.options(0).fault_rx.duplicate = 0.5;
  JobBlock& b = *left.jobs[0].block;
  b.address.set("bus:/x");
  b.has_faults_sent = b.has_faults_received = true;
  b.warning.set("w");
  left.options(2).rate_fps.tx = 7;
  left.options(2).rate_catchup = CatchUp::skip;
  left.options(1).rate_catchup = CatchUp::skip;
  const RunResult result = left.gathered();
  ASSERT_EQ(result.links.size(), 2U);
  for (const LinkResult& link : result.links) {
    EXPECT_EQ(link.wire, "bus:/x");
    EXPECT_EQ(link.job, "a");
  }
  EXPECT_EQ(result.links[0].options, to_string(left.options(0).fault));
  EXPECT_EQ(result.links[1].options, to_string(left.options(0).fault_rx));
  EXPECT_NE(result.links[0].options, result.links[1].options);
  EXPECT_EQ(result.warnings, Lines{"a: w"});
  // Who has a pace, and how late a frame of it may be.
  EXPECT_FALSE(result.jobs[0].tx.paced);
  EXPECT_TRUE(result.jobs[2].tx.paced);
  EXPECT_EQ(result.jobs[2].tx.catchup_tolerance_ns, 100'000U);
  EXPECT_EQ(result.jobs[1].tx.catchup_tolerance_ns, std::nullopt);
  EXPECT_TRUE(result.groups.at(0).tx.paced) << "one of them has";
  EXPECT_FALSE(result.groups.at(0).rx.paced);
  left.options(2).rate_catchup = CatchUp::burst;
  left.options(2).exec = {"true"};
  const RunResult other = left.gathered();
  EXPECT_EQ(other.jobs[2].tx.catchup_tolerance_ns, std::nullopt);
  EXPECT_TRUE(other.jobs[2].tx.of_program && other.jobs[2].rx.of_program);
  EXPECT_TRUE(other.groups.at(0).tx.of_program && other.groups.at(0).rx.of_program);
  EXPECT_FALSE(other.jobs[0].tx.of_program);
}

TEST(LeftBehind, IntervalsOfRampDrainAndStubsAreNotMeasured) {
  Left left;
  JobBlock& b = *left.jobs[2].block;
  b.window_begin_ns = kBegin + 2 * kSecond;
  b.window_end_ns = kBegin + 6 * kSecond;
  // Ends and lengths. Jobs close intervals a little after their time.
  const std::vector<std::pair<double, double>> times{{1, 1},         {2, 1},         {3, 1},
                                                     {4.015, 1.015}, {5, 0.985},     {5.5, 0.5},
                                                     {5.55, 0.05},   {6.008, 0.458}, {7.008, 1}};
  for (const auto& [at, length] : times) {
    IntervalResult& i = left.jobs[2].intervals.emplace_back();
    i.at_seconds = at;
    i.seconds = length;
    i.tx_frames = static_cast<std::uint64_t>(1000 * length);
  }
  std::string measured;
  const JobResult job = left.gathered().jobs.at(2);
  for (const IntervalResult& i : job.intervals) measured += i.measured ? 'x' : '-';
  EXPECT_EQ(measured, "--xxxx-x-");
  EXPECT_TRUE(job.rate_ci_share);
  left.jobs[2].intervals.resize(4);  // two of them
  EXPECT_FALSE(left.gathered().jobs.at(2).rate_ci_share)
      << "of two values nobody believes a spread";
  left.jobs[2].intervals.push_back(job.intervals[4]);
  EXPECT_TRUE(left.gathered().jobs.at(2).rate_ci_share);
}

}  // namespace
}  // namespace shmif::perf::watched_jobs
