// What becomes of the counts that jobs leave behind: windows that never ended, receivers and senders
// that were killed, replies, links with faults, kernels that drop frames.

#include "perf/run/gather.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace shmif::perf::gathering {
namespace {

using Words = std::vector<std::string>;

constexpr std::uint64_t kSecond = 1'000'000'000;

/// Jobs "a", "b", ... as their processes left them: each ran its course and moved a frame.
struct Left {
  std::vector<PlannedJob> plan;
  std::unique_ptr<RunMemory> memory;
  std::vector<ControlledJob> jobs;

  explicit Left(const std::vector<Role>& roles)
      : plan(roles.size()), memory(RunMemory::create(roles.size()).value()) {
    for (std::size_t i = 0; i < roles.size(); ++i) {
      plan[i].options.name = std::string(1, static_cast<char>('a' + i));
      plan[i].options.rw = roles[i];
      plan[i].options.engine = EngineKind::unix_pair;
      plan[i].group = "group";
      jobs.push_back({.plan = plan[i],
                      .block = &memory->job(i),
                      .flow = &memory->flow(i),
                      .echo = &memory->echo(i)});
      jobs[i].phase = ControlledJob::Phase::over;
      block(i).state = JobState::exited;
      block(i).all_tx_frames.set(1);
    }
  }
  JobBlock& block(std::size_t i) const { return memory->job(i); }
  FlowBlock& flow(std::size_t i) const { return memory->flow(i); }
  EchoBlock& echo(std::size_t i) const { return memory->echo(i); }
  void connect(std::size_t from, std::size_t to) {
    plan[from].to = to;
    jobs[to].senders.push_back(from);
  }
  RunResult gathered() const {
    RunResult result;
    gather(jobs, *memory, result);
    return result;
  }
};

// ---- Windows ----

void set_window(JobBlock& job, std::uint64_t begin_s, std::uint64_t end_s) {
  job.window_begin_ns = begin_s * kSecond;
  job.window_end_ns = end_s * kSecond;
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

TEST(GatheredWindows, OfAReceiverEndWithTheLastOfItsFlowsWhicheverSaysSo) {
  struct Case {
    std::array<std::uint64_t, 3> ends_s;  // window_end, rate_end, last_arrival
    double seconds;
  };
  for (const Case& c : {Case{{15, 14, 13}, 8}, {{14, 16, 13}, 9}, {{14, 13, 17}, 10}}) {
    Left left({Role::tx, Role::tx, Role::tx, Role::rx});
    for (const std::size_t from : {0U, 1U, 2U}) left.connect(from, 3);
    // The first never began, the third began last and ended first.
    left.flow(0).window_end_ns = 99 * kSecond;
    left.flow(1).measure_from_ns = 7 * kSecond;
    left.flow(1).window_end_ns = c.ends_s[0] * kSecond;
    left.flow(1).rate_end_ns.set(c.ends_s[1] * kSecond);
    left.flow(1).last_arrival_ns.set(c.ends_s[2] * kSecond);
    left.flow(2).measure_from_ns = 9 * kSecond;
    left.flow(2).window_end_ns = 10 * kSecond;
    const RunResult result = left.gathered();
    EXPECT_DOUBLE_EQ(result.jobs[3].rx.seconds, c.seconds);
    EXPECT_EQ(result.jobs[3].tx.seconds, 0);
  }
}

TEST(GatheredWindows, WhoEchoesSendsAsLongAsItIsAsked) {
  Left left({Role::pingpong, Role::echo});
  left.connect(0, 1);
  left.flow(0).measure_from_ns = 5 * kSecond;
  left.flow(0).window_end_ns = 8 * kSecond;
  const RunResult result = left.gathered();
  EXPECT_DOUBLE_EQ(result.jobs[1].rx.seconds, 3);
  EXPECT_DOUBLE_EQ(result.jobs[1].tx.seconds, 3);
  EXPECT_DOUBLE_EQ(result.jobs[1].tx.offered_seconds, 3);
}

/// Intervals that end at these seconds after the start, each `long_s` long.
std::vector<IntervalResult> intervals(const std::vector<std::pair<double, double>>& ends) {
  std::vector<IntervalResult> all;
  for (const auto& [at, seconds] : ends) {
    IntervalResult& interval = all.emplace_back();
    interval.at_seconds = at;
    interval.seconds = seconds;
  }
  return all;
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

// ---- What was offered ----

TEST(GatheredPace, IsThatOfARateOrOfACaptureThatKeepsItsTimes) {
  struct Case {
    std::uint64_t fps, bps;
    bool replay, no_stall, paced;
  };
  for (const Case& c : {Case{0, 0, false, false, false},
                        {1, 0, false, false, true},
                        {0, 1, false, false, true},
                        {0, 0, true, false, true},
                        {0, 0, true, true, false},
                        {1, 0, true, true, true}}) {
    for (const CatchUp catch_up : {CatchUp::burst, CatchUp::limited, CatchUp::skip}) {
      Left left({Role::tx});
      JobOptions& o = left.plan[0].options;
      o.rate_fps.tx = c.fps;
      o.rate_bps.tx = c.bps;
      if (c.replay) o.replay = "capture";
      o.replay_no_stall = c.no_stall;
      o.rate_catchup = catch_up;
      o.rate_fps.rx = o.rate_bps.rx = 9;  // of the other direction
      const RunResult result = left.gathered();
      EXPECT_EQ(result.jobs[0].tx.paced, c.paced);
      EXPECT_EQ(result.groups[0].tx.paced, c.paced);
      const bool tolerates = c.paced && catch_up != CatchUp::burst;
      EXPECT_EQ(result.jobs[0].tx.catchup_tolerance_ns,
                tolerates ? std::optional<std::uint64_t>(100'000) : std::nullopt);
    }
  }
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

TEST(GatheredFlows, OfAKilledSenderWhatItCouldNotCountIsGuessedFromWhatCame) {
  LeftFlow left;
  left.flow(0).complete = true;
  left.flow(0).ramp_sent.set(200);  // written before the number of all
  EXPECT_EQ(left.result().sent, 0U) << "it said that it counted all";
  left.block(0).state = JobState::running;
  EXPECT_EQ(left.result().sent, 32U);
  EXPECT_EQ(left.result().cancelled, 0U);
}

TEST(GatheredFlows, WhereNothingWasSentThereIsNothingToVerify) {
  LeftFlow left;
  EXPECT_FALSE(left.result().verification_complete);
  left.flow(0).all_sent.set(1000);
  EXPECT_TRUE(left.result().verification_complete);
  EXPECT_EQ(left.result().jitter_ns, std::nullopt);
  left.flow(0).jitter_ps.set(1);
  EXPECT_EQ(left.result().jitter_ns, 0);
  left.flow(0).jitter_ps.set(1501);
  EXPECT_EQ(left.result().jitter_ns, 1.5);
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

TEST(GatheredFlows, WithoutAJobThatEchoesEachRequestShouldHaveHadAReply) {
  Left left({Role::pingpong});
  left.flow(0).all_sent.set(100);
  left.flow(0).all_judged.set(90);
  left.flow(0).complete = true;
  left.echo(0).replies[Period::window].set(3);
  const FlowResult replies = left.gathered().jobs[0].flows.at(0);
  EXPECT_EQ(replies.kind, FlowResult::Kind::reply);
  EXPECT_EQ(replies.from, "a") << "of whoever answers, no name is known";
  EXPECT_EQ(replies.sent, 100U);
  EXPECT_EQ(replies.cancelled, 10U);
}

TEST(GatheredFlows, OfARecordAreFromAnEarlierRun) {
  Left left({Role::tx, Role::rx});
  left.plan[1].options.verify_only = true;
  left.connect(0, 1);
  left.flow(1).all_sent.set(7);
  left.flow(1).complete = true;
  const JobResult job = left.gathered().jobs[1];
  ASSERT_EQ(job.flows.size(), 1U);
  EXPECT_EQ(job.flows[0].from, "an earlier run");
  EXPECT_EQ(job.flows[0].flow, 1U);
  EXPECT_EQ(job.flows[0].sent, 7U);
  EXPECT_EQ(job.flows[0].kind, FlowResult::Kind::data);
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
    EXPECT_EQ(agree([&](JobBlock& b) {
                b.wire_tx_frames.set(c.tx);
                b.wire_rx_frames.set(c.rx);
              }),
              c.agree)
        << c.tx << ' ' << c.rx;
  }
  EXPECT_EQ(agree([](JobBlock& b) { b.wire_rx_frames.set(200); }), true);
  EXPECT_EQ(agree([](JobBlock& b) { b.wire_tx_frames.set(99); }), false);
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
                b.wire_tx_frames.set(100 + 30 - 11 - 5 - 2 + off);
              }),
              off == 0);
    EXPECT_EQ(agree([&](JobBlock& b) {
                b.faults_received = faults(188);
                b.has_faults_received = true;
                b.wire_rx_frames.set(188 - off);  // of which 200 came
              }),
              off == 0);
  }
}

TEST(GatheredCounts, OfAHostMayLackWhatItsKernelDropped) {
  const auto host = [](std::uint64_t tx, std::uint64_t rx) {
    return agree([&](JobBlock& b) {
      b.wire_tx_frames.set(tx);
      b.wire_rx_frames.set(rx);
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
  const auto counts = [](bool datagrams, bool drops) {
    Left left({Role::txrx});
    left.block(0).all_foreign.set(7);
    left.block(0).wire_foreign.set(20);
    if (datagrams) left.block(0).wire_tx_frames.set(1);
    if (drops) {
      left.block(0).kernel_tx_drops.set(3);
      left.block(0).kernel_rx_drops.set(8);
    }
    return left.gathered().jobs[0].counts;
  };
  EXPECT_EQ(counts(true, true).wire.dropped_frames, 11U);
  EXPECT_EQ(counts(true, true).receiver_foreign, 27U);
  EXPECT_EQ(counts(true, true).receiver_others, 7U);
  EXPECT_EQ(counts(false, true).receiver_foreign, 7U) << "all segments of TCP are the kernel's";
  EXPECT_EQ(counts(true, false).receiver_foreign, 7U);
  EXPECT_EQ(counts(true, false).wire.dropped_frames, std::nullopt);
  Left both({Role::txrx});
  both.block(0).wire_dropped_frames.set(5);
  both.block(0).kernel_tx_drops.set(3);
  EXPECT_EQ(both.gathered().jobs[0].counts.wire.dropped_frames, 5U) << "one of two is not told";
  both.block(0).kernel_rx_drops.set(8);
  EXPECT_EQ(both.gathered().jobs[0].counts.wire.dropped_frames, 16U);
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

TEST(GatheredJobs, AreWhatTheirPlansSay) {
  Left left({Role::tx, Role::txrx});
  left.plan[0].peer_of = "other";
  left.plan[0].group = "one";
  left.plan[1].options.thread = true;
  left.plan[1].options.exec = {"true"};
  left.plan[1].options.engine = EngineKind::host;
  left.plan[1].options.percentile_list = {12, 34};
  left.plan[0].options.given = {{"bs", "70"}, {"rate", "1m"}};
  left.jobs[1].never_started = true;
  left.block(1).state = JobState::created;
  left.block(1).start_skew_ns = 0;
  left.jobs[1].errors = {"first", "second"};
  const RunResult result = left.gathered();
  const JobResult& a = result.jobs[0];
  const JobResult& b = result.jobs[1];
  EXPECT_EQ(a.peer_of, "other");
  EXPECT_EQ(b.peer_of, "");
  EXPECT_EQ(a.role, Role::tx);
  EXPECT_EQ(b.role, Role::txrx);
  EXPECT_EQ(b.engine, EngineKind::host);
  EXPECT_EQ(a.thread, false);
  EXPECT_EQ(b.thread, true);
  EXPECT_EQ(a.options, (std::map<std::string, std::string>{{"bs", "70"}, {"rate", "1m"}}));
  EXPECT_EQ(b.percentile_list, (std::vector<double>{12, 34}));
  EXPECT_EQ(a.state, JobState::reaped);
  EXPECT_EQ(b.state, JobState::created);
  EXPECT_FALSE(a.tx.of_program || a.rx.of_program);
  EXPECT_TRUE(b.tx.of_program && b.rx.of_program);
  EXPECT_FALSE(a.cpu || a.tcp || a.exit_status || a.exit_signal);
  EXPECT_EQ(a.start_skew_ns, std::nullopt);
  EXPECT_EQ(b.start_skew_ns, 0U);
  EXPECT_TRUE(a.passed);
  EXPECT_FALSE(b.passed);
  EXPECT_EQ(result.failures, (Words{"job \"b\": first", "job \"b\": second"}));
  ASSERT_EQ(result.groups.size(), 2U);
  EXPECT_EQ(result.groups[0].start_skew_ns, std::nullopt);
  EXPECT_EQ(result.groups[1].start_skew_ns, 0U);
  EXPECT_FALSE(result.groups[0].tx.of_program);
  EXPECT_TRUE(result.groups[1].rx.of_program);
}

TEST(GatheredJobs, EachWarningIsNamedAndEachLinkHasItsOwnFaults) {
  Left left({Role::tx, Role::txrx, Role::rx});
  for (std::size_t i = 0; i < 3; ++i) {
    left.block(i).address.set("unix:" + std::to_string(i));
    left.plan[i].options.fault.loss = 0.125;
    left.plan[i].options.fault_rx.duplicate = 0.25;
  }
  left.block(1).warning.set("slow");
  left.block(2).warning.set("old");
  left.block(0).has_faults_received = true;
  left.block(2).has_faults_sent = true;
  left.block(0).faults_received.corrupted = 3;
  left.block(2).faults_sent.corrupted = 4;
  const RunResult result = left.gathered();
  EXPECT_EQ(result.warnings, (Words{"b: slow", "c: old"}));
  ASSERT_EQ(result.links.size(), 2U);
  const LinkResult& received = result.links[0];
  EXPECT_EQ(received.job + ' ' + received.wire + ' ' + received.direction, "a unix:0 received");
  EXPECT_EQ(received.options, to_string(left.plan[0].options.fault_rx));
  EXPECT_EQ(received.faults.corrupted, 3U);
  const LinkResult& sent = result.links[1];
  EXPECT_EQ(sent.job + ' ' + sent.wire + ' ' + sent.direction, "c unix:2 sent");
  EXPECT_EQ(sent.options, to_string(left.plan[2].options.fault));
  EXPECT_EQ(sent.faults.corrupted, 4U);
  EXPECT_NE(sent.options, received.options);
}

TEST(GatheredJobs, TheFirstErrorOfAGroupIsThatOfItsFirstJobThatHadOne) {
  Left left({Role::txrx, Role::txrx, Role::txrx});
  left.block(1).first_tx_error.set("second");
  left.block(2).first_tx_error.set("third");
  left.block(2).first_rx_error.set("came");
  const GroupResult group = left.gathered().groups.at(0);
  EXPECT_EQ(group.tx.first_error, "second");
  EXPECT_EQ(group.rx.first_error, "came");
}

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

// ---- The memory ----

TEST(RunMemoryOfJobs, EachWithALogHasHistogramsOfItsOwn) {
  const std::array<std::size_t, 2> with{0, 2};
  const auto memory = RunMemory::create(3, with).value();
  ASSERT_EQ(memory->size(), 3U);
  HistogramBlock* const first = memory->job(0).histograms;
  HistogramBlock* const second = memory->job(2).histograms;
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(memory->job(1).histograms, nullptr);
  EXPECT_GE(static_cast<std::size_t>(std::max(first, second) - std::min(first, second)),
            kHistogramBlocks);
  first[kHistogramBlocks - 1][kHistogramBins - 1] = 3;
  second[kHistogramBlocks - 1][kHistogramBins - 1] = 4;
  second[0][0] = 5;
  memory->echo(2).replies[Period::window].set(6);
  EXPECT_EQ(first[kHistogramBlocks - 1][kHistogramBins - 1], 3U);
  EXPECT_EQ(second[0][0], 5U);
}

TEST(RunMemoryOfJobs, ATextIsWrittenOnceAndAsFarAsItFits) {
  const auto memory = RunMemory::create(1).value();
  SharedText<128>& text = memory->job(0).address;
  text.set("");
  EXPECT_TRUE(text.empty());
  text.set(std::string(127, 'a') + "bc");
  EXPECT_EQ(text.get(), std::string(127, 'a') + 'b');
  text.set("again");
  EXPECT_EQ(text.get().size(), 128U);
}

TEST(RunMemoryOfJobs, AnErrorOfTheRampIsCountedThereAndIsNotTheFirstOfTheWindow) {
  const auto memory = RunMemory::create(1).value();
  JobBlock& job = memory->job(0);
  const std::error_code early(EIO, std::generic_category());
  const std::error_code later(EPERM, std::generic_category());
  job.note_tx_error(Period::ramp, early);
  job.note_rx_error(Period::ramp, early);
  EXPECT_TRUE(job.first_tx_error.empty());
  EXPECT_TRUE(job.first_rx_error.empty());
  job.note_tx_error(Period::window, later);
  job.note_rx_error(Period::window, later);
  job.note_rx_error(Period::window, early);
  EXPECT_EQ(job.first_tx_error.get(), later.message());
  EXPECT_EQ(job.first_rx_error.get(), later.message());
  EXPECT_EQ(job.sent[Period::ramp].errors.get(), 1U);
  EXPECT_EQ(job.sent[Period::window].errors.get(), 1U);
  EXPECT_EQ(job.received[Period::ramp].errors.get(), 1U);
  EXPECT_EQ(job.received[Period::window].errors.get(), 2U);
}

}  // namespace
}  // namespace shmif::perf::gathering
