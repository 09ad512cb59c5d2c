// What each end notes of a flow whose other end is on another server.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "perf/worker/run_memory.hpp"
#include "tests/perf/worker/sender_rig.hpp"
#include "tests/perf/worker/sink_rig.hpp"

namespace shmif::perf {
namespace {

// ---- The sender ----

/// The least number of frames that may have been sent before that time.
std::uint64_t sent_before(const SentLog& log, std::uint64_t time_ns, std::uint64_t all) {
  for (const SentMark& mark : log.marks()) {
    if (mark.time_ns >= time_ns) all = std::min(all, mark.frames);
  }
  return all;
}

TEST(SentLog, LaterKnowsEachTimeToWithinAFewThousandthsAndIsNeverTooLow) {
  SentLog log;
  constexpr std::uint64_t kFrames = 1'000'000;
  for (std::uint64_t i = 0; i < kFrames; i += 3) log.note(10 * i, i);
  EXPECT_LE(log.marks().size(), 1024U);
  for (std::uint64_t time = 0; time < 10 * kFrames; time += 9'999) {
    const std::uint64_t before = (time + 9) / 10;
    ASSERT_GE(sent_before(log, time, kFrames), before) << time;
    ASSERT_LE(sent_before(log, time, kFrames), before + kFrames / 400) << time;
  }
}

}  // namespace

namespace sender_counts {
namespace {}  // namespace
}  // namespace sender_counts

// ---- The receiver ----

namespace sinks {
namespace {

/// A receiver of frames of flow 3 of run 7.
struct FarSink {
  SinkRig rig;
  std::unique_ptr<Sink> sink;

  FarSink() {
    rig.options.verify_only = rig.options.other_end_elsewhere = true;
    Sink::Setup setup{.options = rig.options, .flows = {}};
    setup.recorded = &rig.flow;
    sink = std::make_unique<Sink>(std::move(setup), rig.end, rig.job);
    sink->begin(rig.recorder);
  }
  void take(const Bytes& frame) {
    rig.end.next = {frame};
    EXPECT_TRUE(sink->step());
  }
  void take(std::uint64_t number) { take(frame_of(3, 7, number)); }
};

TEST(FarFlow, WhatComesADrainTimeAfterTheEndOfTheSenderIsLate) {
  FarSink far;
  far.take(0);
  far.sink->sender_ends(clock_ns() - 10, 3'600'000'000'000);
  far.take(1);
  far.sink->sender_ends(clock_ns() - 10, 5);  // it was stopped earlier
  far.take(2);
  far.take(4);
  far.take(frame_of(4, 7, 0));
  far.sink->finish();
  EXPECT_EQ(far.rig.flow.received.get(), 2U);
  EXPECT_EQ(far.rig.flow.late.get(), 3U) << "also of a flow that begins then";
  EXPECT_EQ(far.rig.flow.lost.get(), 1U);
}

TEST(FarFlow, DamageBehindTheFramesThatCameMayBeTheirFateAndTheSenderKnows) {
  FarSink far;
  far.take(corrupt(frame_of(3, 7, 0)));  // no flow is known yet
  for (const std::uint64_t number : {1U, 2U, 4U}) far.take(number);
  far.take(corrupt(frame_of(3, 7, 2)));    // it came whole
  far.take(truncated(frame_of(3, 7, 3)));  // the only one that is missing
  far.take(corrupt(frame_of(3, 7, 5)));
  far.take(truncated(frame_of(3, 7, 6)));
  far.sink->finish();
  EXPECT_EQ(far.rig.flow.corrupt.get(), 0U);
  EXPECT_EQ(far.rig.flow.truncated.get(), 1U);
  EXPECT_EQ(far.rig.flow.corrupt_copies.get(), 3U);
  EXPECT_EQ(far.rig.flow.corrupt_apart.get(), 2U) << "numbers 0 and 5";
  EXPECT_EQ(far.rig.flow.truncated_copies.get(), 1U);
  EXPECT_EQ(far.rig.flow.truncated_apart.get(), 1U);
}

TEST(FarFlow, TheReceiverTellsWhichNumbersItMissedAndItsJitterWithoutACommonClock) {
  FarSink far;
  EXPECT_FALSE(far.rig.options.clock_shift_ns);
  for (const std::uint64_t number : {2U, 3U, 6U, 9U}) far.take(number);
  EXPECT_EQ(far.rig.flow.end_number.get(), 0U) << "not before the end";
  far.sink->finish();
  EXPECT_EQ(far.rig.flow.first_number.get(), 2U);
  EXPECT_EQ(far.rig.flow.end_number.get(), 10U);
  ASSERT_EQ(far.rig.flow.gap_count.get(), 2U);
  EXPECT_EQ(far.rig.flow.gaps[0], (std::array<std::uint64_t, 2>{4, 6}));
  EXPECT_EQ(far.rig.flow.gaps[1], (std::array<std::uint64_t, 2>{7, 9}));
  EXPECT_NE(far.rig.flow.jitter_ps.get(), 0U);
  EXPECT_EQ(far.rig.job.latency.count(), 0U);
}

TEST(FarFlow, AllHaveComeWhenAsManyHaveComeAsThereWere) {
  FarSink far;
  EXPECT_TRUE(far.sink->has_all_of(0));
  EXPECT_FALSE(far.sink->has_all_of(1));
  for (const std::uint64_t number : {0U, 0U, 2U}) far.take(number);
  EXPECT_TRUE(far.sink->has_all_of(2)) << "and a duplicate";
  EXPECT_FALSE(far.sink->has_all_of(3));
  far.sink->sender_ends(clock_ns() - 10, 5);
  far.take(1);
  EXPECT_EQ(far.rig.flow.late.get(), 1U);
  EXPECT_TRUE(far.sink->has_all_of(3)) << "one came late";
  far.take(frame_of(4, 7, 0));
  EXPECT_FALSE(far.sink->has_all_of(3)) << "of whom, is not known";
}

}  // namespace
}  // namespace sinks
}  // namespace shmif::perf
