// What a receiver makes of the frames that come to it. The tests say which those are.

#include <gtest/gtest.h>

#include "tests/perf/worker/sink_rig.hpp"

namespace shmif::perf::sinks {
namespace {

TEST(Sink, OfARecordEachFateIsTheSumOverTheFlowsOfAllRuns) {
  SinkRig rig;
  Sink::Setup setup{.options = rig.options, .flows = {}};
  setup.recorded = &rig.flow;
  Sink sink(std::move(setup), rig.end, rig.job);
  sink.begin(rig.recorder);
  // Of flow 3 of run 7 numbers 0 to 39, but for seven that came damaged alone and 20 to 29.
  for (std::uint64_t number = 0; number < 40; ++number) {
    const Bytes frame = frame_of(3, 7, number);
    if (number >= 20 && number < 30) continue;
    const bool is_corrupt = number >= 10 && number < 13;
    const bool is_truncated = number >= 13 && number < 17;
    rig.end.next.push_back(is_corrupt ? corrupt(frame) : is_truncated ? truncated(frame) : frame);
  }
  std::swap(rig.end.next[1], rig.end.next[2]);
  std::swap(rig.end.next[4], rig.end.next[5]);
  // Copies: 8 whole, 5 corrupt, 6 truncated.
  for (std::uint64_t i = 0; i < 8; ++i) rig.end.next.push_back(frame_of(3, 7, i));
  for (std::uint64_t i = 0; i < 5; ++i) rig.end.next.push_back(corrupt(frame_of(3, 7, i)));
  for (std::uint64_t i = 0; i < 6; ++i) rig.end.next.push_back(truncated(frame_of(3, 7, i)));
  EXPECT_TRUE(sink.step());
  // The same flow of another run, and another one of the same: 100, 101 twice, 103.
  for (const auto& [flow, nonce] : {std::pair{3U, 8U}, {4U, 7U}}) {
    for (const std::uint64_t number : {100U, 101U, 101U, 103U}) {
      rig.end.next.push_back(frame_of(flow, nonce, number));
    }
  }
  EXPECT_TRUE(sink.step());
  EXPECT_FALSE(sink.step());
  sink.finish();
  const FlowBlock& f = rig.flow;
  EXPECT_EQ(f.all_sent.get(), 40U + 4 + 4);
  EXPECT_EQ(f.all_judged.get(), 48U);
  EXPECT_EQ(f.received.get(), 23U + 3 + 3);
  EXPECT_EQ(f.lost.get(), 10U + 1 + 1);
  EXPECT_EQ(f.duplicates.get(), 8U + 1 + 1);
  EXPECT_EQ(f.reordered.get(), 2U);
  EXPECT_EQ(f.corrupt.get(), 3U);
  EXPECT_EQ(f.truncated.get(), 4U);
  EXPECT_EQ(f.corrupt_copies.get(), 5U);
  EXPECT_EQ(f.truncated_copies.get(), 6U);
  EXPECT_TRUE(f.complete.load());
  EXPECT_EQ(sink.error(), "");
}

TEST(Sink, WithoutFlowsAnOverrunTellsOfTheFramesThatItsIntervalLost) {
  SinkRig rig;
  Sink sink({.options = rig.options, .flows = {}}, rig.end, rig.job);
  sink.begin(rig.recorder, 1);
  for (const std::uint64_t lost : {5U, 7U}) {
    rig.end.lost = lost;
    (void)sink.step();
  }
  const ReceivedCounts& counts = rig.job.received[Period::window];
  EXPECT_EQ(counts.overruns.get(), 2U);
  EXPECT_EQ(counts.overrun_frames.get(), 12U);
  rig.recorder.close(clock_ns() + 1'000'000'000);
  EXPECT_EQ(rig.job.intervals[0].overruns.get(), 2U);
  EXPECT_EQ(rig.job.intervals[0].lost_frames.get(), 12U);
}

TEST(Sink, AnOverrunBehindAFrameOfTheRampIsOfTheRamp) {
  SinkRig rig;
  const std::uint64_t window = clock_ns() - 1'000'000;
  Sink sink(rig.with_flow(window), rig.end, rig.job);
  sink.begin(rig.recorder);
  const auto receive = [&](std::uint64_t number, std::uint64_t intended_ns) {
    rig.end.next = {frame_of(0, 7, number, intended_ns)};
    EXPECT_TRUE(sink.step());
    rig.end.lost = 10;
    EXPECT_FALSE(sink.step());
  };
  const ByPeriod<ReceivedCounts>& counts = rig.job.received;
  receive(0, window - 1);  // it was under way for long
  EXPECT_EQ(counts[Period::ramp].frames.get(), 1U);
  EXPECT_EQ(counts[Period::ramp].batches.get(), 1U);
  EXPECT_EQ(counts[Period::ramp].overruns.get(), 1U);
  EXPECT_EQ(counts[Period::ramp].overrun_frames.get(), 10U);
  EXPECT_EQ(counts[Period::window].overruns.get(), 0U);
  receive(11, window);
  EXPECT_EQ(counts[Period::window].frames.get(), 1U);
  EXPECT_EQ(counts[Period::window].batches.get(), 1U);
  EXPECT_EQ(counts[Period::window].overruns.get(), 1U);
  EXPECT_EQ(counts[Period::ramp].overruns.get(), 1U);
  // Within the window the gap in the numbers tells of what was lost, and of nothing twice.
  receive(22, window);
  receive(23, window);
  rig.recorder.close(clock_ns() + 1'000'000'000);
  EXPECT_EQ(rig.job.intervals[0].lost_frames.get(), 10U);
  EXPECT_EQ(rig.job.intervals[0].overruns.get(), 4U);
}

TEST(Sink, TheFirstFrameThatTookTooLongIsNamed) {
  SinkRig rig;
  const std::uint64_t now = clock_ns();
  Sink sink(rig.with_flow(1, 1'000'000), rig.end, rig.job);
  sink.begin(rig.recorder);
  rig.end.next = {frame_of(0, 7, 0, now + 60'000'000'000), frame_of(0, 7, 1, now - 2'000'000),
                  frame_of(0, 7, 2, now - 9'000'000)};
  EXPECT_TRUE(sink.step());
  EXPECT_EQ(sink.error().find("frame 1 of a took "), 0U) << sink.error();
  EXPECT_NE(sink.error().find(", longer than max_latency (1ms)"), std::string::npos)
      << sink.error();
}

}  // namespace
}  // namespace shmif::perf::sinks
