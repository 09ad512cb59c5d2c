// What the controller makes of the counts of its jobs: steady states, and how far the run is. The
// tests set the counts and the time.

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/control/gather.hpp"
#include "perf/control/run_state.hpp"
#include "perf/control/run_watch.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf::watched_jobs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kBegin = 100 * kSecond;

/// Jobs that run since kBegin: "a" sends to "b", "c" is alone.
struct Watched {
  std::vector<PlannedJob> plan = std::vector<PlannedJob>(3);
  std::unique_ptr<RunMemory> memory = RunMemory::create(3).value();
  std::vector<ControlledJob> jobs;

  Watched() {
    for (std::size_t i = 0; i < plan.size(); ++i) {
      plan[i].options.name = std::string(1, static_cast<char>('a' + i));
      plan[i].options.rw = i == 1 ? Role::rx : Role::tx;
      jobs.push_back({.plan = plan[i], .block = &memory->job(i), .flow = &memory->flow(i)});
      jobs[i].phase = ControlledJob::Phase::going;
      jobs[i].block->state = JobState::running;
      jobs[i].block->start_ns = kBegin;
    }
    plan[0].to = 1;
    jobs[1].senders = {0};
  }
  JobOptions& options(std::size_t job) { return plan[job].options; }
};

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
  run.jobs[1].fail("x");
  EXPECT_TRUE(at(35).jobs[1].failed);
  EXPECT_FALSE(at(35).jobs[0].failed);
}

TEST(TimeLeft, GoesByTheLimitThatIsReachedFirst) {
  struct Limits {
    std::uint64_t frames = 0, bytes = 0, loops = 1, all_bytes = 0;
    seconds runtime{};
    bool time_based = false;
  };
  struct Case {
    const char* what;
    std::optional<double> share, left;
    Limits limits;
  };
  // 250 frames of 40 bytes in ten seconds.
  for (const Case& c :
       {Case{"nothing", {}, {}, {}},
        {"frames", 0.25, 30, {.frames = 1000}},
        {"bytes of a loop", 0.5, 10, {.bytes = 20'000}},
        {"of two loops", 0.25, 30, {.bytes = 20'000, .loops = 2}},
        {"all bytes", 0.2, 40, {.all_bytes = 50'000}},
        {"frames before bytes", 0.5, 10, {.frames = 500, .all_bytes = 50'000}},
        {"time before frames", 0.5, 10, {.frames = 1000, .runtime = seconds(20)}},
        {"frames before time", 0.25, 30, {.frames = 1000, .runtime = seconds(100)}},
        {"time alone", 0.1, 90, {.bytes = 20'000, .runtime = seconds(100), .time_based = true}},
        {"more than asked for", 1, 0, {.frames = 100}},
        {"too early to say", 0.01, {}, {.frames = 25'000}}}) {
    SCOPED_TRACE(c.what);
    Watched run;
    JobOptions& o = run.options(2);
    o.number_ios = c.limits.frames;
    o.size_bytes = c.limits.bytes;
    o.loops = c.limits.loops;
    o.io_limit_bytes = c.limits.all_bytes;
    o.runtime = c.limits.runtime;
    o.time_based = c.limits.time_based;
    run.jobs[2].block->all_tx_frames.set(250);
    run.jobs[2].block->all_tx_bytes.set(10'000);
    const RunProgress p = progress_of(run.jobs, 10, kBegin + 10 * kSecond);
    EXPECT_EQ(p.jobs[2].share.has_value(), c.share.has_value());
    EXPECT_NEAR(p.jobs[2].share.value_or(0), c.share.value_or(0), 1e-9);
    EXPECT_EQ(p.jobs[2].left_seconds.has_value(), c.left.has_value());
    EXPECT_NEAR(p.jobs[2].left_seconds.value_or(0), c.left.value_or(0), 1e-9);
  }
}

// ---- Minimum rates ----

/// The only message of a look, with the name of its job before it; empty: there was none.
std::string trip(RateWatch& watch, const Watched& run, std::uint64_t now) {
  const auto trips = watch.check(now);
  EXPECT_LE(trips.size(), 1U);
  return trips.empty() ? "" : run.plan[trips[0].job].options.name + ' ' + trips[0].message;
}

TEST(MinimumRate, IsThatOfEachWholeCycleInItsDirectionAndUnit) {
  struct Case {
    bool tx, bits;
    const char* message;
  };
  for (const Case& c :
       {Case{true, true, "a tx: wanted at least 8000 bit/s (rate_min), got 7992 bit/s"},
        {true, false, "a tx: wanted at least 1000 frames/s (rate_iops_min), got 999 frames/s"},
        {false, true, "b rx: wanted at least 8000 bit/s (rate_min), got 7992 bit/s"},
        {false, false, "b rx: wanted at least 1000 frames/s (rate_iops_min), got 999 frames/s"}}) {
    SCOPED_TRACE(c.message);
    Watched run;
    const std::size_t of = c.tx ? 0 : 1;
    JobOptions& o = run.options(of);
    auto& min = c.bits ? o.rate_min_bps : o.rate_min_fps;
    (c.tx ? min.tx : min.rx) = c.bits ? 8000 : 1000;
    o.ramp_time = milliseconds(1500);
    o.start_delay = milliseconds(500);
    o.rate_cycle = seconds(2);
    // What the other direction and the other unit count is far from enough, or of no interest.
    JobBlock& block = *run.jobs[of].block;
    Tally& count = c.tx ? (c.bits ? block.all_tx_bytes : block.all_tx_frames)
                        : (c.bits ? block.all_rx_bytes : block.all_rx_frames);
    RateWatch watch(run.jobs);
    count.set(50);
    EXPECT_EQ(trip(watch, run, kBegin + 2 * kSecond - 1), "") << "not settled";
    EXPECT_EQ(trip(watch, run, kBegin + 2 * kSecond), "") << "the first cycle begins";
    EXPECT_EQ(trip(watch, run, kBegin + 4 * kSecond - 1), "") << "it is not over";
    count.set(50 + 2000);
    EXPECT_EQ(trip(watch, run, kBegin + 4 * kSecond), "") << "just enough";
    count.set(50 + 2000 + 1998);
    EXPECT_EQ(trip(watch, run, kBegin + 6 * kSecond), c.message);
    EXPECT_EQ(trip(watch, run, kBegin + 8 * kSecond), "") << "it is said once";
  }
}

TEST(MinimumRate, IsOfNobodyWhoHasNothingToSendOrReceiveAnyMore) {
  const auto expect = [](bool trips, const char* what, const auto& change) {
    Watched run;
    run.options(0).rate_min_fps.tx = 1;
    run.options(1).rate_min_fps.rx = 1;
    RateWatch watch(run.jobs);
    EXPECT_TRUE(watch.check(kBegin + kSecond).empty());
    change(run);
    EXPECT_EQ(watch.check(kBegin + 2 * kSecond).size(), trips ? 2U : 0U) << what;
  };
  expect(true, "both idle", [](Watched&) {});
  expect(false, "both told to stop", [](Watched& r) { r.jobs[0].stop_ns = r.jobs[1].stop_ns = 1; });
  expect(false, "all was sent", [](Watched& r) { r.memory->flow(0).tx_done = true; });
  expect(false, "they drain",
         [](Watched& r) { r.jobs[0].block->state = r.jobs[1].block->state = JobState::draining; });
  // One that begins late is not waited for in vain.
  Watched run;
  run.options(1).rate_min_fps.rx = 1;
  run.options(0).start_delay = seconds(5);
  RateWatch watch(run.jobs);
  for (std::uint64_t s = 1; s <= 6; ++s) EXPECT_TRUE(watch.check(kBegin + s * kSecond).empty());
  EXPECT_EQ(watch.check(kBegin + 7 * kSecond).size(), 1U);
}

TEST(MinimumRate, BeginsAnewAfterATimeInWhichNothingWasToCome) {
  // "b" receives from "a", which ends, and from "c", which begins later.
  Watched run;
  run.options(1).rate_min_fps.rx = 100;
  run.options(2).start_delay = seconds(5);
  run.jobs[1].senders = {0, 2};
  Tally& received = run.jobs[1].block->all_rx_frames;
  RateWatch watch(run.jobs);
  received.set(10);
  EXPECT_EQ(trip(watch, run, kBegin + kSecond), "") << "the first cycle begins";
  received.set(110);
  EXPECT_EQ(trip(watch, run, kBegin + 2 * kSecond), "") << "just enough";
  run.memory->flow(0).tx_done = true;
  for (std::uint64_t s = 3; s < 6; ++s) EXPECT_EQ(trip(watch, run, kBegin + s * kSecond), "");
  received.set(140);
  EXPECT_EQ(trip(watch, run, kBegin + 6 * kSecond), "") << "the time between is of no cycle";
  received.set(239);
  EXPECT_EQ(trip(watch, run, kBegin + 7 * kSecond),
            "b rx: wanted at least 100 frames/s (rate_iops_min), got 99 frames/s")
      << "what came before is not of it";
}

// ---- Losses that no later frame showed ----

TEST(TrafficOfIntervals, GetsTheLossesThatNoLaterFrameShowed) {
  IntervalResult interval;
  interval.lost_frames = 7;
  JobTraffic traffic = traffic_of("rx", {interval, interval});
  add_unnoticed(traffic, 14, 9);
  EXPECT_EQ(traffic.steps[1].lost, 7U);
  add_unnoticed(traffic, 20, 9);
  EXPECT_EQ(traffic.steps[0].lost, 7U);
  EXPECT_EQ(traffic.steps[1].lost, 13U);
  JobTraffic none;
  add_unnoticed(none, 3, 9);
  ASSERT_EQ(none.steps.size(), 1U);
  EXPECT_EQ(none.steps[0].lost, 3U);
  EXPECT_EQ(none.steps[0].end_s, 9);
}

}  // namespace
}  // namespace shmif::perf::watched_jobs
