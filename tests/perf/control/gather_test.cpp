// What becomes of the windows and flows that jobs leave behind: windows that never ended, receivers
// and senders that were killed, replies, records.

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <optional>
#include <utility>

#include "tests/perf/control/gather_rig.hpp"

namespace shmif::perf::gathering {
namespace {

// ---- Windows ----

void set_window(JobBlock& job, std::uint64_t begin_s, std::uint64_t end_s) {
  job.window_begin_ns = begin_s * kSecond;
  job.window_end_ns = end_s * kSecond;
}

/// Intervals: when each ends, in seconds after the start, and how many seconds it lasts.
std::vector<IntervalResult> intervals(const std::vector<std::pair<double, double>>& ends) {
  std::vector<IntervalResult> all;
  for (const auto& [at, seconds] : ends) {
    IntervalResult& interval = all.emplace_back();
    interval.at_seconds = at;
    interval.seconds = seconds;
  }
  return all;
}

TEST(GatheredWindows, OneThatNeverEndedIsNoneAndNoneOfItsGroup) {
  Left left({Role::tx, Role::tx, Role::tx});
  set_window(left.block(0), 10, 0);  // it was killed
  set_window(left.block(1), 21, 25);
  set_window(left.block(2), 20, 23);
  left.block(2).offered_until_ns.set(22 * kSecond);
  const RunResult result = left.gathered();
  EXPECT_EQ(result.jobs[0].tx.seconds, 0);
  EXPECT_EQ(result.jobs[0].tx.begin_ns, 0U);
  EXPECT_EQ(result.jobs[0].runtime_seconds, std::nullopt);
  EXPECT_DOUBLE_EQ(result.jobs[2].tx.seconds, 3);
  EXPECT_DOUBLE_EQ(result.jobs[2].tx.offered_seconds, 2);
  EXPECT_DOUBLE_EQ(result.jobs[1].tx.offered_seconds, 4) << "nothing else is known";
  EXPECT_EQ(result.jobs[1].runtime_seconds, 4);
  EXPECT_DOUBLE_EQ(result.groups.at(0).tx.seconds, 5) << "from 20 to 25";
  EXPECT_DOUBLE_EQ(result.groups.at(0).tx.offered_seconds, 4) << "the longest";
}

TEST(GatheredWindows, OfAReceiverAreAsLongAsItsSendersHoweverLongFramesAreUnderWay) {
  // 8 Mbit/s for a second, over a line that delays: first and last by so many seconds.
  struct Case {
    std::uint64_t first_s, last_s;
    double seconds;
  };
  for (const Case& c : {Case{0, 0, 1}, {1, 1, 1}, {4, 4, 1}, {0, 2, 3}, {2, 5, 4}}) {
    Left left({Role::tx, Role::rx});
    left.connect(0, 1);
    left.block(0).start_ns = left.block(1).start_ns = 100 * kSecond;
    set_window(left.block(0), 103, 104);
    left.flow(0).measure_from_ns = 103 * kSecond;
    left.flow(0).window_end_ns = 104 * kSecond - 1;
    left.flow(0).rate_end_ns.set(104 * kSecond);
    left.flow(0).first_transit_ns.set(c.first_s * kSecond);
    left.flow(0).last_transit_ns.set(c.last_s * kSecond);
    left.flow(0).last_arrival_ns.set((104 + c.last_s) * kSecond - 1);
    ReceivedCounts& received = left.block(1).received[Period::window];
    received[&TrafficResult::frames].set(1000);
    received[&TrafficResult::bytes].set(1'000'000);
    // Its intervals: the line is silent until the first frame, and after the last.
    const auto begin = 3 + static_cast<double>(c.first_s);
    left.jobs[1].intervals =
        intervals({{3, 3}, {begin, begin - 3}, {begin + c.seconds, c.seconds}, {99, 1}});
    left.jobs[1].intervals[2].rx_frames = 1000;
    const RunResult result = left.gathered();
    const JobResult& sink = result.jobs[1];
    EXPECT_DOUBLE_EQ(sink.rx.seconds, c.seconds) << c.first_s << ' ' << c.last_s;
    EXPECT_DOUBLE_EQ(result.jobs[0].tx.seconds, 1);
    EXPECT_DOUBLE_EQ(*sink.runtime_seconds, c.seconds);
    double seconds = 0;
    std::uint64_t frames = 0;
    for (const IntervalResult& each : sink.intervals) {
      seconds += each.measured ? each.seconds : 0;
      frames += each.measured ? each.rx_frames : 0;
    }
    EXPECT_DOUBLE_EQ(static_cast<double>(frames) / seconds, 1000 / sink.rx.seconds)
        << "the intervals have the same rate";
  }
}

std::vector<bool> measured(const JobResult& job) {
  std::vector<bool> all;
  for (const IntervalResult& each : job.intervals) all.push_back(each.measured);
  return all;
}

TEST(GatheredWindows, AnIntervalIsMeasuredIfItLiesInTheWindowButForALittle) {
  Left left({Role::tx, Role::rx});
  left.connect(0, 1);
  // The first jobs of the run began at 100 s, and these ones' window is from 2 s to 6 s after that.
  left.block(0).start_ns = 101 * kSecond;
  left.block(1).start_ns = 100 * kSecond;
  set_window(left.block(0), 102, 104);
  left.flow(0).measure_from_ns = 102 * kSecond;
  left.flow(0).last_arrival_ns.set(106 * kSecond);
  for (ControlledJob& job : left.jobs) {
    job.intervals = intervals({{2, 1},          // before it
                               {2.97, 1},       // begins too early
                               {2.985, 1},      // by 15 ms of 1 s
                               {4, 1},          // in the midst
                               {4.099, 0.099},  // less than a tenth of the longest
                               {4.201, 0.101},
                               {6.019, 1},
                               {6.03, 1}});
  }
  left.jobs[0].intervals[3].measured = false;  // as its job says
  const RunResult result = left.gathered();
  EXPECT_EQ(measured(result.jobs[0]),
            (std::vector<bool>{false, false, true, false, false, false, false, false}))
      << "of its own frames, to 4 s";
  EXPECT_EQ(measured(result.jobs[1]),
            (std::vector<bool>{false, false, true, true, false, true, true, false}));
}

TEST(GatheredWindows, ARateIsOfTheMeasuredIntervalsWithFramesIfThereAreThree) {
  const auto share = [](std::size_t idle, std::size_t busy) {
    Left left({Role::tx});
    left.block(0).start_ns = 100 * kSecond;
    set_window(left.block(0), 100, 200);
    for (std::size_t i = 0; i < idle + busy; ++i) {
      IntervalResult interval;
      interval.seconds = 2;
      interval.at_seconds = 2 * static_cast<double>(i + 1);
      // The same rate each, whichever direction has the more frames.
      if (i >= idle) {
        interval.tx_frames = i % 2 == 0 ? 100 : 7;
        interval.rx_frames = i % 2 == 0 ? 7 : 100;
      }
      left.jobs[0].intervals.push_back(interval);
    }
    IntervalResult ramp;
    ramp.measured = false;
    ramp.seconds = 2;
    ramp.tx_frames = 5000;
    left.jobs[0].intervals.push_back(ramp);
    return left.gathered().jobs[0].rate_ci_share;
  };
  EXPECT_EQ(share(4, 2), std::nullopt);
  EXPECT_EQ(share(0, 3), 0);
  EXPECT_EQ(share(4, 3), 0) << "no frame is no rate";
}

// ---- Flows ----

/// "a" has sent 100 numbers to "b", from 1000 on; the first ten were of the ramp.
struct LeftFlow : Left {
  LeftFlow() : Left({Role::tx, Role::rx}) {
    connect(0, 1);
    flow(0).first.set(1000);
    flow(0).ramp_sent.set(10);
    flow(0).all_sent.set(1100);
    flow(0).all_judged.set(1100);
    flow(0).received.set(30);
    flow(0).late.set(2);
  }
  FlowResult result() const { return gathered().jobs.at(1).flows.at(0); }
};

TEST(GatheredFlows, OfAKilledReceiverTheRestIsNobodys) {
  struct Case {
    std::uint64_t corrupt, truncated, missed;
    std::array<std::uint64_t, 6> fates;  // corrupt, truncated, their copies, lost, cancelled
  };
  for (const Case& c : {Case{0, 0, 0, {0, 0, 0, 0, 0, 58}},
                        {5, 4, 20, {5, 4, 0, 0, 11, 38}},
                        {5, 4, 8, {5, 4, 0, 0, 0, 49}},
                        {5, 4, 500, {5, 4, 0, 0, 49, 0}},
                        {60, 7, 70, {58, 0, 2, 7, 0, 0}},
                        {50, 9, 80, {50, 8, 0, 1, 0, 0}}}) {
    LeftFlow left;
    left.flow(0).corrupt.set(c.corrupt);
    left.flow(0).truncated.set(c.truncated);
    left.flow(0).lost_so_far.set(c.missed);
    left.flow(0).lost.set(77);  // not valid yet
    const FlowResult r = left.result();
    EXPECT_EQ((std::array<std::uint64_t, 6>{r.corrupt, r.truncated, r.corrupt_copies,
                                            r.truncated_copies, r.lost, r.cancelled}),
              c.fates);
    EXPECT_EQ(r.sent, 90U);
    EXPECT_FALSE(r.verification_complete);
  }
}

TEST(GatheredFlows, OfAReceiverThatHadMoreToReadAreToldAsSuch) {
  const auto warnings = [](std::uint64_t unread, std::uint64_t lost) {
    LeftFlow left;
    left.flow(0).complete = true;
    left.flow(0).lost.set(lost);
    left.flow(0).received.set(90 - 2 - lost);
    left.block(1).address.set("bus:/b");
    left.block(1).unread_frames.set(unread);
    const RunResult result = left.gathered();
    EXPECT_EQ(result.failures, std::vector<std::string>{});
    return result.warnings;
  };
  EXPECT_EQ(warnings(0, 7), std::vector<std::string>{});
  EXPECT_EQ(warnings(9, 0), std::vector<std::string>{}) << "frames for others";
  const std::vector<std::string> told = warnings(9, 7);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].substr(told[0].find(": ")),
            ": lost 7 frames; when its drain_time ended, it had 9 frames of bus:/b still to read "
            "(give a longer drain_time)");
}

TEST(GatheredFlows, OfAKilledSenderWhatItCouldNotCountIsGuessedFromWhatCame) {
  LeftFlow left;
  left.flow(0).complete = true;
  left.flow(0).ramp_sent.set(200);  // written before the number of all
  EXPECT_EQ(left.result().sent, 0U) << "it said that it counted all";
  left.block(0).state = JobState::running;
  EXPECT_EQ(left.result().sent, 32U);
  EXPECT_EQ(left.result().cancelled, 0U);
}

TEST(GatheredFlows, OfRepliesWereSentByWhoEchoesAndOfRequestsByWhoAsks) {
  Left left({Role::pingpong, Role::echo});
  left.connect(0, 1);
  left.flow(0).first.set(5);
  left.flow(0).all_sent.set(105);
  left.flow(0).all_judged.set(60);
  left.flow(0).received.set(61);
  left.flow(0).complete = true;
  left.echo(0).replies[Period::ramp].set(9);
  left.echo(0).replies[Period::window].set(70);
  left.echo(0).requests.all_judged.set(95);
  left.echo(0).requests.received.set(80);
  left.echo(0).requests.complete = true;
  RunResult result = left.gathered();
  const FlowResult& replies = result.jobs[0].flows.at(0);
  EXPECT_EQ(replies.kind, FlowResult::Kind::reply);
  EXPECT_EQ(replies.from + replies.to, "ba");
  EXPECT_EQ(replies.sent, 70U);
  EXPECT_EQ(replies.received, 61U);
  EXPECT_EQ(replies.cancelled, 10U);
  const FlowResult& requests = result.jobs[1].flows.at(0);
  EXPECT_EQ(requests.kind, FlowResult::Kind::request);
  EXPECT_EQ(requests.from + requests.to, "ab");
  EXPECT_EQ(requests.sent, 100U);
  EXPECT_EQ(requests.received, 80U);
  EXPECT_EQ(requests.cancelled, 10U);
  // What one of them could not count when it was killed was sent all the same.
  left.block(1).state = JobState::running;
  left.flow(0).received.set(75);
  left.echo(0).requests.received.set(103);
  result = left.gathered();
  EXPECT_EQ(result.jobs[0].flows[0].sent, 75U);
  EXPECT_EQ(result.jobs[1].flows[0].sent, 100U) << "who asked was not killed";
  left.block(1).state = JobState::exited;
  left.block(0).state = JobState::running;
  result = left.gathered();
  EXPECT_EQ(result.jobs[0].flows[0].sent, 70U);
  EXPECT_EQ(result.jobs[1].flows[0].sent, 103U);
}

TEST(GatheredFlows, OfAReceiverWhoseSenderIsElsewhereAreWhatItKnows) {
  Left left({Role::rx});
  left.plan[0].options.other_end_elsewhere = left.plan[0].options.verify_only = true;
  left.jobs[0].ended_ns = 99;
  left.flow(0).first_arrival_ns.set(11);
  left.flow(0).last_arrival_ns.set(12);
  left.flow(0).first_number.set(13);
  left.flow(0).end_number.set(14);
  HalfFlow half{.listened_until_ns = 99, .first_arrival_ns = 11, .last_arrival_ns = 12};
  half.first_number = 13;
  half.end_number = 14;
  EXPECT_TRUE(left.gathered().jobs[0].half == half) << "it was killed";
  left.flow(0).listened_until_ns.set(77);
  half.listened_until_ns = 77;
  EXPECT_TRUE(left.gathered().jobs[0].half == half);
}

// ---- Counts side by side ----

/// Whether the counts of a job agree that has sent 100 and received 200 frames.
std::optional<bool> agree(const std::function<void(JobBlock&)>& change) {
  Left left({Role::txrx});
  left.block(0).all_tx_frames.set(100);
  left.block(0).all_rx_frames.set(200);
  change(left.block(0));
  return left.gathered().jobs[0].counts.agree;
}

TEST(GatheredCounts, AgreeIfBothDirectionsDo) {
  EXPECT_EQ(agree([](JobBlock&) {}), std::nullopt) << "the medium counts nothing";
  struct Case {
    std::uint64_t tx, rx;
    bool agree;
  };
  for (const Case& c : {Case{100, 200, true},
                        {99, 200, false},
                        {101, 200, false},
                        {100, 199, false},
                        {100, 201, false}}) {
    EXPECT_EQ(agree([&](JobBlock& b) { b.wire.set({.tx_frames = c.tx, .rx_frames = c.rx}); }),
              c.agree)
        << c.tx << ' ' << c.rx;
  }
  EXPECT_EQ(agree([](JobBlock& b) { b.wire.set({.rx_frames = 200}); }), true);
  EXPECT_EQ(agree([](JobBlock& b) { b.wire.set({.tx_frames = 99}); }), false);
  EXPECT_EQ(agree([](JobBlock& b) {
              b.wire.set({.tx_frames = 100, .rx_frames = 200, .lost_is_lower_bound = true});
            }),
            std::nullopt)
      << "nobody knows how many frames were lost";
  EXPECT_EQ(agree([](JobBlock& b) { b.wire.set({.tx_frames = 99, .lost_is_lower_bound = true}); }),
            false);
}

TEST(GatheredCounts, OfALinkWithFaultsAreComparedBehindIt) {
  const auto faults = [](std::uint64_t frames) {
    FaultsMade made;
    made.frames = frames;
    made.duplicated = 30;
    made.lost = 11;
    made.queue_full = 5;
    made.under_way = 2;
    made.reordered = made.corrupted = made.truncated = 50;  // which change no number
    return made;
  };
  for (const std::uint64_t off : {0U, 1U}) {
    EXPECT_EQ(agree([&](JobBlock& b) {
                b.faults_sent = faults(100);
                b.has_faults_sent = true;
                b.wire.set({.tx_frames = 100 + 30 - 11 - 5 - 2 + off});
              }),
              off == 0);
    EXPECT_EQ(agree([&](JobBlock& b) {
                b.faults_received = faults(188);
                b.has_faults_received = true;
                b.wire.set({.rx_frames = 188 - off});  // of which 200 came
              }),
              off == 0);
  }
}

TEST(GatheredCounts, OfAHostMayLackWhatItsKernelDropped) {
  const auto host = [](std::uint64_t tx, std::uint64_t rx) {
    return agree([&](JobBlock& b) {
      b.wire.set({.tx_frames = tx, .rx_frames = rx});
      b.kernel_tx_drops.set(3);
      b.kernel_rx_drops.set(8);
    });
  };
  EXPECT_EQ(host(100, 200), true);
  EXPECT_EQ(host(97, 208), true);
  EXPECT_EQ(host(96, 208), false);
  EXPECT_EQ(host(97, 209), false);
  EXPECT_EQ(host(101, 200), false) << "none is made";
  EXPECT_EQ(host(100, 199), false);
}

TEST(GatheredCounts, OfAHostHaveTheDropsOfItsKernelAndTheFramesOfOthers) {
  Left left({Role::txrx});
  left.block(0).all_foreign.set(7);
  left.block(0).wire_foreign.set(20);
  left.block(0).wire.set({.tx_frames = 1, .dropped_frames = 5});
  left.block(0).kernel_tx_drops.set(3);
  EXPECT_EQ(left.gathered().jobs[0].counts.wire.dropped_frames, 5U) << "one of two is not told";
  left.block(0).kernel_rx_drops.set(8);
  const CountsResult counts = left.gathered().jobs[0].counts;
  EXPECT_EQ(counts.wire.dropped_frames, 16U);
  EXPECT_EQ(counts.receiver_foreign, 27U);
  EXPECT_EQ(counts.receiver_others, 7U);
}

TEST(GatheredCounts, OverrunsAreThoseThatTheMediumTellsOf) {
  struct Case {
    EngineKind engine;
    Role role;
    std::optional<std::uint64_t> overruns, frames;
  };
  for (const Case& c : {Case{EngineKind::bus, Role::rx, 5, 50},
                        {EngineKind::bus, Role::echo, 5, 50},
                        {EngineKind::bus, Role::tx, std::nullopt, std::nullopt},
                        {EngineKind::unix_pair, Role::rx, std::nullopt, std::nullopt},
                        {EngineKind::host, Role::rx, 6, 60}}) {
    Left left({c.role});
    left.plan[0].options.engine = c.engine;
    left.block(0).received[Period::ramp].overruns.set(1);
    left.block(0).received[Period::window].overruns.set(5);
    left.block(0).received[Period::window].overrun_frames.set(50);
    left.block(0).port_overruns.set(6);
    left.block(0).port_lost_frames.set(60);
    const JobResult job = left.gathered().jobs[0];
    EXPECT_EQ(job.overruns, c.overruns);
    EXPECT_EQ(job.overrun_frames, c.frames);
  }
}

// ---- Jobs, links and messages ----

TEST(GatheredJobs, OfOneThatHasNotEndedNoHistogramIsRead) {
  Left left({Role::tx, Role::tx});
  for (const std::size_t i : {0U, 1U}) {
    left.block(i).latency.record(77);
    left.block(i).service.record(78);
    left.block(i).spacing_error.record(79);
  }
  left.jobs[0].runner = JobRunner::start(false, [] {
                          for (;;) ::pause();
                          return 0;
                        }).value();
  const RunResult result = left.gathered();
  EXPECT_EQ(result.jobs[0].latency->count(), 0U);
  EXPECT_EQ(result.jobs[0].service->count(), 0U);
  EXPECT_EQ(result.jobs[0].spacing_error->count(), 0U);
  EXPECT_EQ(result.jobs[0].pid, left.jobs[0].runner->pid());
  EXPECT_EQ(result.jobs[1].latency->max(), 77U);
  EXPECT_EQ(result.jobs[1].service->max(), 78U);
  EXPECT_EQ(result.jobs[1].spacing_error->max(), 79U);
  EXPECT_EQ(result.jobs[1].pid, 0);
}

}  // namespace
}  // namespace shmif::perf::gathering
