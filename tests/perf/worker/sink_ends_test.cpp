// How a receiver comes to its end: when its senders have ended, what of their frames is late or
// never came, which errors and overruns it survives.

#include <gtest/gtest.h>

#include <optional>
#include <system_error>

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
    const char* word;  ///< of the error; none: it goes on
    bool normally;
  };
  for (const Case& c : {Case{false, false, false, nullptr, false},
                        {true, true, false, "an overrun", true},
                        {false, true, false, "continue_on_error=overrun", false},
                        {false, true, true, nullptr, false},
                        {true, true, true, "an overrun", true}}) {
    SinkRig rig;
    rig.options.end_on_overrun = c.end_on;
    rig.options.continue_on_error.overrun = c.goes_on;
    Sink::Setup setup = rig.with_flow(1);
    setup.pauses = c.pauses;
    Sink sink(std::move(setup), rig.end, rig.job);
    sink.begin(rig.recorder);
    rig.end.lost = 3;
    (void)sink.step();
    EXPECT_EQ(sink.error().empty(), c.word == nullptr);
    EXPECT_NE(sink.error().find(c.word == nullptr ? "" : c.word), std::string::npos);
    EXPECT_EQ(sink.ended_normally(), c.normally);
    EXPECT_EQ(rig.job.received[Period::window].overruns.get(), 1U);
    EXPECT_EQ(rig.job.received[Period::window].overrun_frames.get(), 3U);
  }
}

/// The count and the first error of a class.
std::pair<std::uint64_t, std::string> errors_of(const JobBlock& job, ErrorClass error) {
  const ErrorBlock& of = job.errors_by_class[static_cast<std::size_t>(error)];
  return {of.count.get(), of.first.get()};
}
using Errors = std::pair<std::uint64_t, std::string>;

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

}  // namespace
}  // namespace shmif::perf::sinks
