// What keeps a sender from going as fast as it is paced: windows, weights, engines that refuse
// frames, stalls; and what it does afterwards.

#include "perf/control/campaign.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf {
namespace {

/// Stops a process job for 150 ms once it has moved `after` frames, once.
test::Meddler::Deed freeze(std::size_t job, std::uint64_t after) {
  return [=, done = false](const RunProgress& progress) mutable {
    const JobProgress& p = progress.jobs[job];
    if (done || p.pid == 0 || p.tx_frames + p.rx_frames < after) return;
    done = true;
    test::freeze(p, std::chrono::milliseconds(150));
  };
}

/// Most frames within so many ns.
std::size_t max_within(const std::vector<Witnessed>& frames, std::uint64_t ns) {
  std::size_t max = 0;
  for (std::size_t from = 0, to = 0; to < frames.size(); ++to) {
    while (frames[to].probe().sent_ns - frames[from].probe().sent_ns > ns) ++from;
    max = std::max(max, to - from + 1);
  }
  return max;
}

struct AfterAStall {
  RunResult result;
  std::vector<Witnessed> frames;
};
/// 1000 frames a second, 150 ms of which the sender misses.
AfterAStall stalled(const std::string& options) {
  const test::TempBus bus(test::roomy(4));
  RunResult result =
      run_text("[j]\nbus=" + bus.path() + "\nrate_iops=1000\n" + options, freeze(0, 50));
  return {std::move(result), witnessed(bus.path())};
}

TEST(RunCatchUp, ABurstKeepsTheOfferedLoad) {
  const auto [result, frames] = stalled("number_ios=600\nrate_catchup=burst\n");
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j").tx.offered_frames, 600U);
  EXPECT_EQ(frames.size(), 600U);
  EXPECT_GE(max_within(frames, 20'000'000), 100U);
  EXPECT_EQ(job_of(result, "j").tx.skipped_frames, 0U);
  // The whole stall is seen from the intended times.
  EXPECT_GE(job_of(result, "j.sink").latency->percentile(99.9), 130'000'000U);
  EXPECT_LT(job_of(result, "j.sink").service->percentile(50), 100'000'000U);
}

TEST(RunCatchUp, SkippedFramesWereOfferedAndNotSent) {
  const auto [result, frames] = stalled("runtime=600ms\nrate_catchup=skip\n");
  EXPECT_TRUE(passed(result));
  const TrafficResult& tx = job_of(result, "j").tx;
  EXPECT_EQ(tx.offered_frames, 600U);
  EXPECT_GE(tx.skipped_frames, 130U);
  EXPECT_LE(tx.frames + tx.skipped_frames, 600U) << "what was due as it ended is neither";
  EXPECT_EQ(frames.size(), tx.frames);
  EXPECT_EQ(flow_to(result, "j.sink").sent, tx.frames);
  EXPECT_EQ(flow_to(result, "j.sink").lost, 0U) << "what was never sent is not lost";
}

bool was_refused(const RunResult& result) {
  return job_of(result, "j").tx.refused_frames > 0;
}

/// A receiver without a CPU for longer than the patience of a paused bus (10 ms) is overrun.
bool kept_up(const RunResult& result) {
  return job_of(result, "j.sink").overruns.value_or(0) == 0;
}

/// A receiver that is slower than its sender, or stands still meanwhile.
void expect_order_is_kept(const std::string& engine, const test::Meddler::Deed& deed) {
  const RunResult result =
      test::run_until([&] { return run_text("[j]\nbs=500\nnumber_ios=30000\n" + engine, deed); },
                      [](const RunResult& tried) { return was_refused(tried) && kept_up(tried); });
  EXPECT_TRUE(passed(result));
  EXPECT_GT(job_of(result, "j").tx.refused_frames, 0U) << engine;
  EXPECT_EQ(job_of(result, "j").tx.errors, 0U);
  EXPECT_EQ(flow_to(result, "j.sink").received, 30000U) << engine;
  EXPECT_EQ(flow_to(result, "j.sink").reordered, 0U);
  EXPECT_EQ(flow_to(result, "j.sink").duplicates, 0U);
}

TEST(RunRefusal, FramesThatASocketRefusesGoAgainInOrderWithTheirNumbers) {
  expect_order_is_kept("engine=unix\nrate_iops=50k\n", freeze(1, 1000));
}

TEST(RunRefusal, FramesThatAPausedBusRefusesGoAgainInOrderWithTheirNumbers) {
  // Flat out into a small ring, so that it is full for short times, not for a whole patience.
  expect_order_is_kept("bus_pause\nbus_size=64k\ncontinue_on_error=overrun\n",
                       [](const RunProgress&) {});
}

TEST(RunRefusal, OffloadedFramesKeepTheirOrderToo) {
  expect_order_is_kept("engine=unix\nrate_iops=50k\nio_submit_mode=offload\n", freeze(1, 1000));
}

/// The most requests that were without their reply at once, as seen on the bus.
std::int64_t max_open(const std::string& options) {
  const test::TempBus bus(test::roomy(4));
  const RunResult result =
      run_text("[j]\nrw=pingpong\nto=e\nnumber_ios=200\n" + options + "bus=" + bus.path() +
               "\n[e]\nrw=echo\nbus=" + bus.path() + "\nfault=delay=2ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j").rx.frames, 200U);
  std::int64_t open = 0;
  std::int64_t max = 0;
  for (const Witnessed& w : witnessed(bus.path())) {
    open += w.probe().kind == Probe::Kind::request ? 1 : -1;
    max = std::max(max, open);
  }
  return max;
}

TEST(RunWindow, AtMostSoManyRequestsAreOpen) {
  EXPECT_EQ(max_open("iodepth=1\n"), 1);
  EXPECT_EQ(max_open("iodepth=8\niodepth_batch=32\n"), 8);
}

TEST(RunWindow, TakesNoMoreRepliesAtOnceThanItWasAllowed) {
  const auto batches = [](const std::string& most) {
    const RunResult result = run_text(
        "[j]\nrw=pingpong\niodepth=32\niodepth_batch=32\nnumber_ios=3200\n"
        "iodepth_batch_complete_min=1\n" +
        most);
    EXPECT_TRUE(passed(result));
    EXPECT_EQ(job_of(result, "j").rx.frames, 3200U);
    return job_of(result, "j").rx.batches;
  };
  EXPECT_EQ(batches("iodepth_batch_complete_max=1\n"), 3200U);
  EXPECT_GE(batches("iodepth_batch_complete_max=4\n"), 800U);
  // Some run without the option takes several at once.
  EXPECT_LT(test::run_until([&] { return batches(""); }, [](std::uint64_t n) { return n < 3200; }),
            3200U);
}

/// How often a job slept that sent 100 requests one at a time, each of which takes a millisecond.
std::uint64_t slept(const std::string& option) {
  const RunResult result =
      run_text("[j]\nrw=pingpong\nnumber_ios=100\n" + option + "fault=delay=1ms\n");
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j").rx.frames, 100U);
  return job_of(result, "j").cpu->voluntary_switches;
}

TEST(RunWindow, AJobThatPollsDoesNotSleepWhileARequestWaits) {
  // A job that was taken off its CPU may find its reply there, and need not sleep for it.
  EXPECT_GE(test::run_until([] { return slept(""); }, [](std::uint64_t n) { return n >= 50; }),
            50U);
  EXPECT_LT(test::run_until([] { return slept("iodepth_batch_complete_min=0\n"); },
                            [](std::uint64_t n) { return n < 25; }),
            25U);
}

TEST(RunFlow, AMixAtFullSpeedIsOfTheFramesAtEveryMoment) {
  for (const std::int64_t each : {3, 1}) {  // frames of the job for one of its peer
    const test::TempBus bus(test::roomy(32));
    const RunResult result =
        run_text("[j]\nrw=txrx\nrwmixtx=" + std::to_string(100 * each / (each + 1)) +
                 "\nnumber_ios=30000\nbus=" + bus.path() + '\n');
    EXPECT_TRUE(passed(result));
    // The one that sends less ends with the other, and not with 30,000 frames of its own.
    const auto sent = static_cast<std::int64_t>(job_of(result, "j").tx.frames);
    const auto back = static_cast<std::int64_t>(job_of(result, "j.peer").tx.frames);
    EXPECT_EQ(std::max(sent, back), 30'000);
    EXPECT_LE(std::abs(sent - each * back), each * 100);
    std::map<std::uint32_t, std::int64_t> count;
    for (const Witnessed& w : witnessed(bus.path())) {
      ++count[w.probe().flow];
      ASSERT_LE(std::abs(count[0] - each * count[1]), each * 100) << count[0] << ' ' << count[1];
    }
  }
}

TEST(RunFlow, WeightsHoldAtEveryMoment) {
  const test::TempBus bus(test::roomy(32));
  const RunResult result = run_text("[global]\nbus=" + bus.path() +
                                    "\n[a]\nflow=3\nnumber_ios=30000\n"
                                    "[b]\nflow=1\nnumber_ios=30000\n");
  EXPECT_TRUE(passed(result));
  const auto frames = witnessed(bus.path());
  ASSERT_FALSE(frames.empty());
  const std::uint32_t first = frames.front().probe().flow;
  std::map<std::uint32_t, std::int64_t> count;
  for (const Witnessed& w : frames) {
    ++count[w.probe().flow];
    const std::int64_t a = count[std::min(first, w.probe().flow)];
    if (count.size() < 2) {
      ASSERT_LE(a, 3 * 70) << "one goes on without the other";
      continue;
    }
    const std::int64_t ahead = count.begin()->second - 3 * count.rbegin()->second;
    if (count.begin()->second == 30000) break;  // from then on nobody is waited for
    ASSERT_LE(std::abs(ahead), 3 * 70) << a;
  }
}

TEST(RunFlow, ALatencyBeyondItsMaximumFailsTheJobByFrameAndTime) {
  const std::string job =
      "[j]\nengine=unix\nrate_iops=500\nnumber_ios=20\nfault=delay=20ms\nmax_latency=";
  const RunResult late = run_text(job + "5ms\n");
  EXPECT_TRUE(failed(late, "job \"j.sink\": frame 0 of j took "));
  EXPECT_TRUE(failed(late, "longer than max_latency (5ms)"));
  EXPECT_TRUE(passed(run_text(job + "1m\n")));
  // Of a round trip, who asked has the time.
  EXPECT_TRUE(failed(run_text("[p]\nrw=pingpong\n" + job.substr(4) + "5ms\n"),
                     "job \"p\": frame 0 of p took "));
}

}  // namespace
}  // namespace shmif::perf
