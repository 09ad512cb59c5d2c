// Minimum rates: who must keep one, from when on, and what is said of one who does not.

#include "perf/control/rate_watch.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/perf/control/watched_jobs.hpp"

namespace shmif::perf::minimum_rate {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::kBegin;
using test::kSecond;
using test::Watched;

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

}  // namespace
}  // namespace shmif::perf::minimum_rate
