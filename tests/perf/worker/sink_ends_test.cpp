// How a receiver comes to its end: when its senders have ended, what of their frames is late or
// never came, which errors and overruns it survives.

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "tests/perf/worker/sink_rig.hpp"

namespace shmif::perf::sinks {
namespace {

/// A receiver of the flows 0 and 1, of the jobs "a" and "b"; it has a drain time of 100 ns each.
struct TwoFlows : SinkRig {
  std::unique_ptr<RunMemory> senders = RunMemory::create(2).value();
  std::optional<Sink> sink;

  FlowBlock& of(std::size_t i) const { return senders->flow(i); }
  Sink::Setup setup() {
    Sink::Setup setup{.options = options, .flows = {}, .nonce = 7};
    for (const std::uint32_t i : {0U, 1U}) {
      ExpectedFlow expected;
      expected.flow = i;
      expected.name = i == 0 ? "a" : "b";
      expected.from = MacAddress::from_u64(0xb2a000000000 + i);
      expected.block = &of(i);
      expected.nonce = 7;
      expected.drain_ns = 100;
      setup.flows.push_back(std::move(expected));
    }
    return setup;
  }
  Sink& begin(Sink::Setup setup) {
    sink.emplace(std::move(setup), end, job);
    sink->begin(recorder);
    return *sink;
  }
  /// The sender of flow `i` has sent so many frames, the last of them then.
  void ends(std::size_t i, std::uint64_t sent, std::uint64_t at_ns) const {
    of(i).all_sent.set(of(i).first.get() + sent);
    of(i).window_end_ns = at_ns;
    of(i).tx_done = true;
  }
};

TEST(SinkEnds, WhenEachFlowHasComeOrHasBeenWaitedForTwice) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  const std::uint64_t later = clock_ns() + kHour;  // frames that come now come in time
  TwoFlows rig;
  rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
  Sink& sink = rig.begin(rig.setup());
  EXPECT_FALSE(sink.is_draining());
  EXPECT_FALSE(sink.drained(later + 1'000));
  rig.ends(0, 2, later + 1'000);
  EXPECT_FALSE(sink.is_draining()) << "the other one goes on";
  EXPECT_FALSE(sink.drained(later + 1'050));
  rig.of(1).first.set(50);
  rig.ends(1, 1, later + 800);
  EXPECT_TRUE(sink.is_draining());
  EXPECT_EQ(sink.window_end_ns(), later + 1'000) << "the later one";
  rig.end.next = {frame_of(1, 7, 50)};
  (void)sink.step();
  EXPECT_FALSE(sink.drained(later + 1'199));
  EXPECT_FALSE(rig.of(0).drained) << "both of its frames are missing";
  EXPECT_TRUE(rig.of(1).drained) << "it is whole";
  EXPECT_TRUE(sink.drained(later + 1'200));
  EXPECT_TRUE(rig.of(0).drained);
  sink.finish();
  EXPECT_EQ(rig.of(0).lost.get(), 2U);
  EXPECT_EQ(rig.of(0).all_judged.get(), 2U);
  EXPECT_EQ(rig.of(1).received.get(), 1U);
  EXPECT_EQ(rig.of(1).lost.get(), 0U);
  EXPECT_EQ(rig.of(1).all_judged.get(), 51U);
  EXPECT_TRUE(rig.of(0).complete && rig.of(1).complete);
}

TEST(SinkEnds, AFrameIsLateThatComesWhenTheDrainIsOver) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  struct Case {
    bool over, looked_before;  // a sink that was off its CPU has not looked before the frame comes
  };
  for (const Case& c : {Case{false, false}, {false, true}, {true, false}, {true, true}}) {
    SCOPED_TRACE(testing::Message() << c.over << c.looked_before);
    TwoFlows rig;
    rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
    Sink::Setup setup = rig.setup();
    setup.flows[0].drain_ns = kSecond;
    Sink& sink = rig.begin(std::move(setup));
    rig.ends(1, 0, 1'000);
    const std::uint64_t end = c.over ? clock_ns() - kSecond * 3 / 2 : clock_ns() + 3600 * kSecond;
    rig.ends(0, 1, end);
    if (c.looked_before) {
      EXPECT_FALSE(sink.drained(c.over ? end + kSecond : end + kSecond - 1));
    }
    rig.end.next = {frame_of(0, 7, 0)};
    (void)sink.step();
    EXPECT_TRUE(sink.drained(end + 2 * kSecond));
    sink.finish();
    EXPECT_EQ(rig.of(0).late.get(), c.over ? 1U : 0U);
    EXPECT_EQ(rig.of(0).received.get(), c.over ? 0U : 1U);
    EXPECT_EQ(rig.of(0).lost.get(), 0U);
  }
}

TEST(SinkEnds, AFrameOfASenderThatEndedLongAgoIsLateThoughAnotherSends) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  TwoFlows rig;
  rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
  Sink::Setup setup = rig.setup();
  setup.flows[1].drain_ns = kHour;
  Sink& sink = rig.begin(std::move(setup));
  rig.of(1).all_sent.set(2);
  rig.end.next = {frame_of(0, 7, 0), frame_of(1, 7, 0)};
  rig.of(0).all_sent.set(2);
  (void)sink.step();
  rig.ends(0, 2, clock_ns() - 1'000);  // and its drain time of 100 ns has ended, too
  rig.end.next = {frame_of(0, 7, 1), frame_of(1, 7, 1)};
  (void)sink.step();
  rig.ends(1, 2, clock_ns());
  EXPECT_TRUE(sink.drained(clock_ns()));
  sink.finish();
  EXPECT_EQ(rig.of(0).received.get(), 1U);
  EXPECT_EQ(rig.of(0).late.get(), 1U);
  EXPECT_EQ(rig.of(1).received.get(), 2U);
  EXPECT_EQ(rig.of(1).late.get(), 0U);
}

TEST(SinkEnds, ASenderThatWasKilledHasEndedWhenThatIsNoticed) {
  TwoFlows rig;
  Sink& sink = rig.begin(rig.setup());
  rig.ends(0, 3, 0);
  rig.ends(1, 0, 500);
  EXPECT_FALSE(sink.drained(10'000));
  EXPECT_EQ(rig.of(0).window_end_ns, 10'000U);
  EXPECT_FALSE(sink.drained(10'199));
  EXPECT_TRUE(sink.drained(10'200));
}

TEST(SinkEnds, TheGapsOfAFlowAreTheFirstSixteen) {
  for (const std::uint64_t gaps : {15U, 16U, 17U}) {
    TwoFlows rig;
    rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
    Sink& sink = rig.begin(rig.setup());
    for (std::uint64_t i = 0; i <= gaps; ++i) rig.end.next.push_back(frame_of(0, 7, 10 * i));
    (void)sink.step();
    rig.ends(0, 10 * gaps + 1, 1'000);
    sink.finish();
    ASSERT_EQ(rig.of(0).gap_count.get(), std::min<std::uint64_t>(gaps, 16));
    for (std::uint64_t i = 0; i < rig.of(0).gap_count.get(); ++i) {
      EXPECT_EQ(rig.of(0).gaps[i], (std::array<std::uint64_t, 2>{10 * i + 1, 10 * i + 10}));
    }
    EXPECT_EQ(rig.of(0).lost.get(), 9 * gaps);
    EXPECT_EQ(rig.of(1).gap_count.get(), 0U);
  }
}

TEST(SinkEnds, ASenderThatWasKilledCountsAtLeastTheFramesThatCame) {
  TwoFlows rig;
  rig.of(0).measure_from_ns = 1;
  Sink& sink = rig.begin(rig.setup());
  for (const std::uint64_t n : {0U, 1U, 2U, 3U, 4U}) rig.end.next.push_back(frame_of(0, 7, n));
  (void)sink.step();
  rig.ends(0, 3, 0);  // it could not say when
  sink.finish();
  EXPECT_EQ(rig.of(0).received.get(), 5U);
  EXPECT_EQ(rig.of(0).all_judged.get(), 5U);
}

TEST(SinkEnds, OfAReplayTheFramesAreCountedAndThoseBeyondThatAreCopies) {
  struct Case {
    std::uint64_t sent, came, received, duplicates, lost;
  };
  for (const Case& c : {Case{5, 5, 5, 0, 0}, {5, 3, 3, 0, 2}, {5, 9, 5, 4, 0}}) {
    SinkRig rig;
    Sink::Setup setup = rig.with_flow(1);
    setup.flows[0].replayed = true;
    setup.flows[0].drain_ns = 1'000'000'000;
    Sink sink(std::move(setup), rig.end, rig.job);
    sink.begin(rig.recorder);
    rig.flow.first.set(2);
    for (std::uint64_t i = 0; i < c.came; ++i) {
      // Those of an earlier run, and of programs.
      rig.end.next.push_back(i == 0 ? Bytes(60) : frame_of(3, 9, i));
    }
    (void)sink.step();
    EXPECT_EQ(rig.flow.received.get(), c.came) << "so far";
    const std::uint64_t came_ns = rig.flow.last_arrival_ns.get();
    rig.flow.all_sent.set(2 + c.sent);
    rig.flow.window_end_ns = came_ns;
    rig.flow.tx_done = true;
    EXPECT_FALSE(sink.drained(came_ns + 9'999'999)) << "copies may still follow";
    EXPECT_EQ(sink.drained(came_ns + 10'000'000), c.came >= c.sent);
    EXPECT_TRUE(sink.drained(came_ns + 2'000'000'000));
    sink.finish();
    EXPECT_EQ(rig.flow.received.get(), c.received);
    EXPECT_EQ(rig.flow.duplicates.get(), c.duplicates);
    EXPECT_EQ(rig.flow.lost.get(), c.lost);
    EXPECT_EQ(rig.flow.all_judged.get(), 2 + c.sent);
    const ReceivedCounts& counts = rig.job.received[Period::window];
    EXPECT_EQ(counts[&TrafficResult::frames].get(), c.came);
    EXPECT_EQ(counts[&TrafficResult::bytes].get(), 60 + (c.came - 1) * 200);
    EXPECT_EQ(
        counts[&TrafficResult::foreign_frames].get() + counts[&TrafficResult::stale_frames].get(),
        0U);
    EXPECT_EQ(rig.job.all_rx_frames.get(), c.came);
    EXPECT_EQ(rig.job.all_foreign.get(), 0U);
  }
}

TEST(SinkCounts, AreOfThePeriodInWhichOthersSent) {
  SinkRig rig;
  Sink sink(rig.with_flow(UINT64_MAX / 2), rig.end, rig.job);
  sink.begin(rig.recorder);
  const auto receive = [&](std::size_t strange, std::size_t stale) {
    for (std::size_t i = 0; i < strange; ++i) rig.end.next.emplace_back(60);
    for (std::size_t i = 0; i < stale; ++i) rig.end.next.push_back(frame_of(0, 8, i));
    (void)sink.step();
  };
  receive(2, 3);
  rig.flow.measure_from_ns = 1;
  receive(5, 7);
  rig.end.next = {frame_of(4, 7, 0)};  // of this run, and of no flow that it expects
  (void)sink.step();
  const ByPeriod<ReceivedCounts>& counts = rig.job.received;
  EXPECT_EQ(counts[Period::ramp][&TrafficResult::foreign_frames].get(), 2U);
  EXPECT_EQ(counts[Period::ramp][&TrafficResult::stale_frames].get(), 3U);
  EXPECT_EQ(counts[Period::window][&TrafficResult::foreign_frames].get(), 6U);
  EXPECT_EQ(counts[Period::window][&TrafficResult::stale_frames].get(), 7U);
  EXPECT_EQ(counts[Period::ramp][&TrafficResult::batches].get(), 1U);
  EXPECT_EQ(counts[Period::window][&TrafficResult::batches].get(), 2U);
  EXPECT_EQ(counts[Period::window][&TrafficResult::frames].get(), 0U);
  EXPECT_EQ(rig.job.all_foreign.get(), 18U);
  EXPECT_EQ(rig.job.all_rx_frames.get(), 18U);
  EXPECT_EQ(rig.job.all_rx_bytes.get(), 7 * 60 + 11 * 200U);
}

TEST(SinkCounts, ADamagedFrameThatNamesNoFlowIsOfWhoeverSentIt) {
  TwoFlows rig;
  rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
  Sink& sink = rig.begin(rig.setup());
  const auto nameless = [](std::uint32_t from) {
    Bytes frame = corrupt(frame_of(9, 7, 0));  // a flow that nobody has
    frame[11] = static_cast<std::byte>(from);
    return frame;
  };
  rig.end.next = {nameless(1), nameless(1), nameless(0), nameless(5)};
  (void)sink.step();
  EXPECT_EQ(rig.of(0).corrupt.get(), 1U);
  EXPECT_EQ(rig.of(1).corrupt.get(), 2U);
  EXPECT_EQ(sink.error(), "");
}

TEST(SinkCounts, TellHowLongTheFirstAndTheLastFrameOfTheWindowWereUnderWay) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  const std::uint64_t now = clock_ns();
  SinkRig rig;
  Sink sink(rig.with_flow(now - 10 * kSecond), rig.end, rig.job);
  sink.begin(rig.recorder);
  const auto receive = [&](std::uint64_t number, std::uint64_t seconds_ago) {
    rig.end.next = {frame_of(0, 7, number, now - seconds_ago * kSecond)};
    (void)sink.step();
  };
  receive(0, 11);
  EXPECT_EQ(rig.flow.first_transit_ns.get(), 0U) << "a frame of the ramp";
  for (const auto& [number, ago] : {std::pair{1, 9}, {2, 5}, {3, 2}, {1, 9}}) {
    receive(static_cast<std::uint64_t>(number), static_cast<std::uint64_t>(ago));
  }
  EXPECT_GE(rig.flow.first_transit_ns.get(), 9 * kSecond);
  EXPECT_GE(rig.flow.last_transit_ns.get(), 2 * kSecond);
  EXPECT_LT(rig.flow.last_transit_ns.get(), rig.flow.first_transit_ns.get());
  // Frames of a capture do not tell: the first was due with the window.
  SinkRig replay;
  Sink::Setup setup = replay.with_flow(now - 4 * kSecond);
  setup.flows[0].replayed = true;
  Sink replayed(std::move(setup), replay.end, replay.job);
  replayed.begin(replay.recorder);
  for (int i = 0; i < 2; ++i) {
    replay.end.next = {Bytes(60)};
    (void)replayed.step();
  }
  EXPECT_GE(replay.flow.first_transit_ns.get(), 4 * kSecond);
  EXPECT_EQ(replay.flow.last_transit_ns.get(), replay.flow.first_transit_ns.get());
}

TEST(SinkCounts, TheFirstWindowOfAllSendersIsTheirs) {
  TwoFlows rig;
  Sink& sink = rig.begin(rig.setup());
  EXPECT_EQ(sink.window_begin_ns(), UINT64_MAX) << "nobody knows yet";
  rig.of(1).measure_from_ns = 900;
  EXPECT_EQ(sink.window_begin_ns(), 900U);
  rig.of(0).measure_from_ns = 700;
  EXPECT_EQ(sink.window_begin_ns(), 700U);
}

TEST(SinkCounts, WhatAnIntervalHasLostIsWhatWasNewlyMissed) {
  TwoFlows rig;
  rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
  Sink& sink = rig.begin(rig.setup());
  const auto lost_by = [&](const std::vector<Bytes>& frames) {
    rig.end.next = frames;
    (void)sink.step();
    return rig.close_interval().get().lost_frames;
  };
  EXPECT_EQ(lost_by({frame_of(0, 7, 0), frame_of(0, 7, 5), frame_of(1, 7, 0)}), 4U);
  EXPECT_EQ(lost_by({frame_of(0, 7, 1), frame_of(0, 7, 2)}), 0U) << "two were only late";
  EXPECT_EQ(lost_by({frame_of(1, 7, 4)}), 3U);
  EXPECT_EQ(rig.of(0).lost_so_far.get(), 2U);
  EXPECT_EQ(rig.of(1).lost_so_far.get(), 3U);
}

TEST(SinkCounts, HaveNoTimesWhereNoneAreWanted) {
  for (const bool disable_lat : {false, true}) {
    SinkRig rig;
    rig.options.disable_lat = disable_lat;
    Sink sink(rig.with_flow(1, 1), rig.end, rig.job);
    sink.begin(rig.recorder);
    rig.end.next = {frame_of(0, 7, 0)};
    (void)sink.step();
    EXPECT_EQ(rig.job.received[Period::window][&TrafficResult::frames].get(), 1U);
    EXPECT_EQ(rig.job.latency.count(), disable_lat ? 0U : 1U);
    EXPECT_EQ(rig.job.service.count(), disable_lat ? 0U : 1U);
    EXPECT_EQ(sink.error().empty(), disable_lat);
    rig.end.next = {frame_of(0, 7, 1), frame_of(0, 7, 2, 2)};
    (void)sink.step();
    sink.finish();
    EXPECT_EQ(rig.flow.jitter_ps.get() == 0, disable_lat) << "nor a jitter";
  }
}

TEST(SinkCounts, RepliesThatCouldNotBeSentWereOfferedToo) {
  SinkRig rig;
  Echoer echoer(rig.end, rig.job);
  rig.job.order = Order::stop;  // it does not wait for room
  rig.end.takes = 1;
  const Bytes bytes = frame_of(0, 7, 0);
  for (const Period period : {Period::ramp, Period::ramp, Period::window}) {
    echoer.add(FrameView(bytes.data(), bytes.size()), 14, Probe{}, period);
  }
  EXPECT_EQ(echoer.flush(rig.recorder).size(), 1U);
  const ByPeriod<SentCounts>& sent = rig.job.sent;
  EXPECT_EQ(sent[Period::ramp][&TrafficResult::offered_frames].get(), 2U);
  EXPECT_EQ(sent[Period::ramp][&TrafficResult::offered_bytes].get(), 400U);
  EXPECT_EQ(sent[Period::ramp][&TrafficResult::frames].get(), 1U);
  EXPECT_EQ(sent[Period::ramp][&TrafficResult::bytes].get(), 200U);
  EXPECT_EQ(sent[Period::window][&TrafficResult::offered_frames].get(), 1U);
  EXPECT_EQ(sent[Period::window][&TrafficResult::offered_bytes].get(), 200U);
  EXPECT_EQ(sent[Period::window][&TrafficResult::frames].get(), 0U);
}

TEST(SinkCounts, TheFirstReplyToARequestIsItsAndTheOthersAreCopies) {
  SinkRig rig;
  rig.options.rw = Role::echo;
  Sink::Setup setup = rig.with_flow(1000);
  setup.echoes = true;
  EchoBlock& echo = rig.memory->echo(0);
  setup.flows[0].echo = &echo;
  setup.flows[0].arrivals = &echo.requests;
  Sink sink(std::move(setup), rig.end, rig.job);
  sink.begin(rig.recorder);
  const auto request = [](std::uint64_t number, std::uint64_t intended_ns) {
    FrameMaker maker(FrameMakerOptions{});
    Probe probe;
    probe.kind = Probe::Kind::request;
    probe.nonce = 7;
    probe.intended_ns = probe.sent_ns = intended_ns;
    const FrameView frame = maker.make(number, 200, probe);
    return Bytes(frame.bytes.begin(), frame.bytes.end());
  };
  rig.end.takes = 9;
  rig.end.next = {request(0, 500), request(1, 1500), request(1, 1500), request(2, 1500)};
  EXPECT_TRUE(sink.step());
  rig.end.next = {request(1, 1500), request(0, 500)};
  EXPECT_TRUE(sink.step());
  EXPECT_EQ(echo.replies[Period::ramp].get(), 1U);
  EXPECT_EQ(echo.replies[Period::window].get(), 2U);
  // All of them went out.
  EXPECT_EQ(rig.job.all_tx_frames.get(), 6U);
}

TEST(Sink, OnlyOfRepliesTakesNoMoreAtOnceThanWanted) {
  for (const auto& [role, wish, room] :
       {std::tuple{Role::pingpong, 3U, 3U}, {Role::pingpong, 0U, 64U}, {Role::rx, 3U, 64U}}) {
    SinkRig rig;
    rig.options.rw = role;
    rig.options.iodepth_batch_complete_max = wish;
    Sink sink(rig.with_flow(1), rig.end, rig.job);
    sink.begin(rig.recorder);
    (void)sink.step();
    EXPECT_EQ(rig.end.room, room) << wish;
  }
}

TEST(SinkCounts, AJitterOfNothingIsOne) {
  SinkRig rig;
  Sink sink(rig.with_flow(1), rig.end, rig.job);
  sink.begin(rig.recorder);
  rig.end.next = {frame_of(0, 7, 0)};
  (void)sink.step();
  sink.finish();
  EXPECT_EQ(rig.flow.jitter_ps.get(), 1U) << "known, and 0: one transit differs from none";
}

// ---- Errors ----

/// What a receiver says of an error, and of the next; "" if it goes on.
struct Failing : SinkRig {
  bool draining = false;
  bool flows = true;
  Failing() { flow.measure_from_ns = 1; }
  std::pair<std::string, bool> after(std::error_code error) {
    Sink::Setup setup = with_flow(1);
    if (!flows) setup.flows.clear();
    Sink sink(std::move(setup), end, job);
    sink.begin(recorder);
    flow.tx_done = draining;
    flow.window_end_ns = draining ? 1'000 : 0;
    end.error = error;
    (void)sink.step();
    return {sink.error(), sink.ended_normally()};
  }
};

using Verdict = std::pair<std::string, bool>;

TEST(SinkErrors, EndAJobThatWasNotToldToGoOnOrWhoseMediumIsGone) {
  const std::error_code broken(EIO, std::generic_category());
  const std::string hint = " (with continue_on_error=rx the job goes on)";
  for (const bool goes_on : {false, true}) {
    Failing rig;
    rig.options.continue_on_error.rx = goes_on;
    rig.options.continue_on_error.tx = !goes_on;
    EXPECT_EQ(
        rig.after(broken),
        Verdict(goes_on ? "" : "cannot receive on scripted: " + broken.message() + hint, false));
    EXPECT_EQ(rig.job.received[Period::window][&TrafficResult::errors].get(), 1U);
    EXPECT_EQ(rig.job.first_rx_error.get(), broken.message());
    for (const Errc fatal : {Errc::bus_lost, Errc::corrupt, Errc::link_ended}) {
      const std::string why = make_error_code(fatal).message();
      EXPECT_EQ(rig.after(fatal), Verdict("cannot receive on scripted: " + why, false));
    }
    EXPECT_EQ(rig.job.received[Period::window][&TrafficResult::errors].get(), 4U);
  }
}

TEST(SinkErrors, TheEndOfAConnectionIsNoneOnceAllHasBeenSent) {
  Failing rig;
  rig.draining = true;
  EXPECT_EQ(rig.after(Errc::link_ended), Verdict("", false));
  EXPECT_EQ(rig.job.received[Period::window][&TrafficResult::errors].get(), 0U);
  rig.flows = false;
  EXPECT_NE(rig.after(Errc::link_ended).first, "") << "there it is not known";
  EXPECT_NE(rig.after(Errc::bus_lost).first, "");
  // Nobody waits for frames that cannot come any more.
  TwoFlows two;
  Sink& sink = two.begin(two.setup());
  const std::uint64_t now = clock_ns();
  two.ends(0, 4, now);
  two.ends(1, 4, now);
  EXPECT_FALSE(sink.drained(now));
  two.end.error = Errc::link_ended;
  (void)sink.step();
  EXPECT_TRUE(sink.drained(now));
}

TEST(SinkErrors, OfACaptureTheEndIsNoneAndDamageIsNamed) {
  Failing rig;
  rig.options.engine = EngineKind::pcap;
  rig.options.continue_on_error.rx = true;
  rig.flows = false;
  EXPECT_EQ(rig.after(Errc::link_ended), Verdict("the end of the capture", true));
  EXPECT_EQ(rig.job.received[Period::window][&TrafficResult::errors].get(), 0U);
  EXPECT_EQ(
      rig.after(Errc::corrupt),
      Verdict("cannot receive on scripted: the capture is damaged, and the rest cannot be read",
              false));
  EXPECT_EQ(rig.job.received[Period::window][&TrafficResult::errors].get() +
                rig.job.received[Period::ramp][&TrafficResult::errors].get(),
            1U);
}

TEST(SinkErrors, AnOverrunEndsAJobThatIsToEndWithItOrThatShouldHaveNone) {
  struct Case {
    bool end_on, pauses, goes_on;
    Verdict verdict;
  };
  const std::string text =
      "an overrun, although senders wait for slow receivers on scripted: the job read nothing "
      "for longer than they wait, because it had no CPU, or was busy checking frames (with "
      "continue_on_error=overrun it goes on)";
  for (const Case& c : {Case{false, false, false, {"", false}},
                        {true, false, false, {"an overrun", true}},
                        {true, true, false, {"an overrun", true}},
                        {false, true, false, {text, false}},
                        {false, true, true, {"", false}},
                        {true, true, true, {"an overrun", true}}}) {
    SinkRig rig;
    rig.options.end_on_overrun = c.end_on;
    rig.options.continue_on_error.overrun = c.goes_on;
    Sink::Setup setup = rig.with_flow(1);
    setup.pauses = c.pauses;
    Sink sink(std::move(setup), rig.end, rig.job);
    sink.begin(rig.recorder);
    rig.end.lost = 3;
    (void)sink.step();
    EXPECT_EQ(Verdict(sink.error(), sink.ended_normally()), c.verdict);
    EXPECT_EQ(rig.job.received[Period::window].overruns.get(), 1U);
    EXPECT_EQ(rig.job.received[Period::window].overrun_frames.get(), 3U);
  }
}

TEST(SinkErrors, ADamagedFrameEndsAJobThatVerifiesUnlessToldOtherwise) {
  const std::string hint = " (with continue_on_error=verify the job goes on and counts them)";
  for (const bool verify : {false, true}) {
    for (const bool goes_on : {false, true}) {
      for (const bool cut : {false, true}) {
        SinkRig rig;
        rig.options.verify = verify;
        rig.options.continue_on_error.verify = goes_on;
        Sink sink(rig.with_flow(1), rig.end, rig.job);
        sink.begin(rig.recorder);
        const Bytes whole = frame_of(0, 7, 0);
        rig.end.next = {cut ? truncated(whole) : corrupt(whole)};
        (void)sink.step();
        const std::string what = cut ? "a truncated" : "a corrupt";
        EXPECT_EQ(sink.error(),
                  verify && !goes_on ? what + " frame was received" + hint : std::string());
        EXPECT_EQ(rig.flow.corrupt.get(), cut ? 0U : 1U);
        EXPECT_EQ(rig.flow.truncated.get(), cut ? 1U : 0U);
      }
    }
  }
}

/// The count and the first error of a class.
std::pair<std::uint64_t, std::string> errors_of(const JobBlock& job, ErrorClass error) {
  const ErrorBlock& of = job.errors_by_class[static_cast<std::size_t>(error)];
  return {of.count.get(), of.first.get()};
}
using Errors = std::pair<std::uint64_t, std::string>;

TEST(SinkErrors, EachClassHasItsCountAndItsFirstError) {
  const std::error_code broken(EIO, std::generic_category());
  const std::error_code later(EPERM, std::generic_category());
  for (const bool pauses : {false, true}) {
    SinkRig rig;
    rig.options.continue_on_error = {.rx = true, .verify = true, .overrun = true};
    Sink::Setup setup = rig.with_flow(1);
    setup.pauses = pauses;
    setup.flows.front().name = "job \"s\"";
    Sink sink(std::move(setup), rig.end, rig.job);
    sink.begin(rig.recorder);
    rig.flow.all_sent.set(20);
    const auto comes = [&](std::vector<Bytes> frames, std::uint64_t lost, std::error_code error) {
      rig.end.next = std::move(frames);
      rig.end.lost = lost;
      rig.end.error = error;
      (void)sink.step();
    };
    comes({frame_of(0, 7, 0), truncated(frame_of(0, 7, 5)), corrupt(frame_of(0, 7, 6))}, 3, broken);
    comes({corrupt(frame_of(0, 7, 8))}, 1, later);
    comes({}, 0, later);
    EXPECT_EQ(sink.error(), "");
    EXPECT_EQ(errors_of(rig.job, ErrorClass::rx), Errors(3, broken.message()));
    EXPECT_EQ(errors_of(rig.job, ErrorClass::verify),
              Errors(3, "frame 5 of job \"s\" was truncated"));
    EXPECT_EQ(errors_of(rig.job, ErrorClass::overrun),
              pauses ? Errors(2, "3 frames were overwritten before the job had read them")
                     : Errors(0, ""));
    EXPECT_EQ(rig.job.overruns_are_errors.load(), pauses);
  }
}

TEST(SinkErrors, ACorruptBusIsOneAndNoOverrunThoughFramesAreMissing) {
  SinkRig rig;
  rig.options.engine = EngineKind::bus;
  rig.options.continue_on_error = {.rx = true, .verify = true, .overrun = true};
  Sink::Setup setup = rig.with_flow(1);
  setup.pauses = true;
  Sink sink(std::move(setup), rig.end, rig.job);
  sink.begin(rig.recorder);
  rig.end.lost = 3;
  (void)sink.step();
  EXPECT_EQ(rig.job.received[Period::window].overruns.get(), 1U);
  EXPECT_EQ(sink.error(), "");
  rig.end.lost = 4;
  rig.end.corrupt = 1;
  (void)sink.step();
  EXPECT_EQ(sink.error(), "cannot receive on scripted: the shared memory is corrupt");
  EXPECT_FALSE(sink.ended_normally());
  EXPECT_EQ(rig.job.received[Period::window].overruns.get(), 1U);
  EXPECT_EQ(rig.job.received[Period::window].overrun_frames.get(), 3U);
  EXPECT_EQ(errors_of(rig.job, ErrorClass::rx), Errors(1, "the shared memory is corrupt"));
}

/// What a receiver says of these frames of a sender that has sent ten, if the sender told it so
/// itself.
struct Unsent {
  std::uint64_t received, lost, foreign;
  Errors errors;
  std::string error;
  bool operator==(const Unsent&) const = default;
};
Unsent after(const std::vector<std::uint64_t>& numbers, bool killed, bool goes_on) {
  TwoFlows rig;
  rig.options.continue_on_error.verify = goes_on;
  rig.of(0).measure_from_ns = rig.of(1).measure_from_ns = 1;
  Sink& sink = rig.begin(rig.setup());
  rig.of(0).all_sent.set(10);
  for (const std::uint64_t number : numbers) rig.end.next.push_back(frame_of(0, 7, number));
  (void)sink.step();
  rig.ends(0, 10, killed ? 0 : 1'000);
  (void)sink.drained(2'000);
  sink.finish();
  const auto foreign = rig.job.received[Period::window][&TrafficResult::foreign_frames].get();
  return {rig.of(0).received.get(), rig.of(0).lost.get(), foreign,
          errors_of(rig.job, ErrorClass::verify), sink.error()};
}

TEST(SinkErrors, FramesThatTheSenderHasNotReachedAreOneAndHideNoLoss) {
  const std::vector<std::uint64_t> near{0, 1, 2, 10, 500, 12};
  EXPECT_EQ(after(near, false, true), (Unsent{3, 7, 0, {3, "a frame was not sent by a"}, ""}));
  EXPECT_EQ(after(near, true, true), (Unsent{6, 4, 0, {0, ""}, ""}))
      << "a killed sender may have sent them, and not told";
  const std::vector<std::uint64_t> far{0, 1, 1034, UINT64_MAX, 2};
  EXPECT_EQ(after(far, false, true), (Unsent{3, 7, 2, {2, "frame 1034 was not sent by a"}, ""}));
  EXPECT_EQ(after(far, true, true), (Unsent{3, 7, 2, {2, "frame 1034 was not sent by a"}, ""}));
  const std::string text =
      "a frame was received that a has not sent (with continue_on_error=verify the job goes on and "
      "counts them)";
  EXPECT_EQ(after(near, false, false).error, text);
  EXPECT_EQ(after(far, false, false).error, text);
}

TEST(SinkErrors, DamageIsNoErrorOfAJobThatDoesNotVerify) {
  SinkRig rig;
  rig.options.verify = false;
  Sink sink(rig.with_flow(1), rig.end, rig.job);
  sink.begin(rig.recorder);
  rig.end.next = {truncated(frame_of(0, 7, 0))};
  (void)sink.step();
  EXPECT_EQ(rig.flow.truncated.get(), 1U);
  EXPECT_EQ(errors_of(rig.job, ErrorClass::verify), Errors(0, ""));
}

TEST(SinkErrors, DamageIsAnErrorThoughTheJobWasToEndForAnOverrun) {
  SinkRig rig;
  rig.options.end_on_overrun = true;
  rig.options.continue_on_error.verify = false;
  Sink sink(rig.with_flow(1), rig.end, rig.job);
  sink.begin(rig.recorder);
  rig.end.lost = 3;
  rig.end.next = {corrupt(frame_of(0, 7, 0)), truncated(frame_of(0, 7, 1))};
  (void)sink.step();
  EXPECT_EQ(sink.error().find("a corrupt frame was received"), 0U) << "the first one";
  EXPECT_FALSE(sink.ended_normally());
  rig.end.lost = 3;
  (void)sink.step();
  EXPECT_FALSE(sink.ended_normally()) << "that is still an error";
}

TEST(SinkErrors, ALatencyWithinItsLimitIsNone) {
  SinkRig rig;
  Sink sink(rig.with_flow(1, 30'000'000'000), rig.end, rig.job);
  sink.begin(rig.recorder);
  const std::uint64_t now = clock_ns();
  rig.end.next = {frame_of(0, 7, 0, now), frame_of(0, 7, 1, now - 10'000'000'000)};
  (void)sink.step();
  EXPECT_EQ(sink.error(), "");
  rig.end.next = {frame_of(0, 7, 2, now - 31'000'000'000)};
  (void)sink.step();
  EXPECT_EQ(sink.error().find("frame 2 of a took "), 0U) << sink.error();
}

}  // namespace
}  // namespace shmif::perf::sinks
