// Faults at the ends of their ranges: each has its plain meaning, or is refused by name.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "shmif/faults.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;
using Time = Faults::Time;

constexpr Time kStart{1h};

Faults faults_of_text(const std::string& text) {
  return Faults(parse_faults(text).value());
}

void put_frame(Faults& faults, const Bytes& bytes) {
  faults.put(FrameView(bytes.data(), bytes.size()), kStart);
}

/// When each frame that waits is due, in the order in which they go.
std::vector<std::chrono::nanoseconds> due_times(Faults& faults) {
  std::vector<std::chrono::nanoseconds> times;
  while (const std::optional<Time> due = faults.due()) {
    times.emplace_back(*due - kStart);
    FrameView view;
    EXPECT_EQ(faults.ready({&view, 1}, *due), 1U);
    EXPECT_EQ(faults.ready({&view, 1}, *due - 1ns), 0U) << "and not before";
    faults.pop(1);
  }
  return times;
}

TEST(FaultsAtTheirEnds, LossOfAllLosesEachFrameWhichThenTakesNoTime) {
  Faults faults = faults_of_text("loss=100%,delay=1h,rate=1bit,queue=1");
  for (int i = 0; i < 1000; ++i) put_frame(faults, make_frame(60, 1));
  EXPECT_EQ(faults.counters().lost, 1000U);
  EXPECT_EQ(faults.counters().queue_full, 0U);
  EXPECT_FALSE(faults.due());
}

TEST(FaultsAtTheirEnds, LossOfNothingLosesNothing) {
  Faults faults = faults_of_text("loss=0%,burst=0%:100%,corrupt=0%,delay=0,drop=2000");
  for (int i = 0; i < 1000; ++i) put_frame(faults, make_frame(60, 1));
  EXPECT_EQ(due_times(faults), std::vector<std::chrono::nanoseconds>(1000, 0ns));
  EXPECT_EQ(faults.counters().lost, 0U);
  EXPECT_EQ(faults.counters().corrupted, 0U);
}

TEST(FaultsAtTheirEnds, ARateOfLessThanOneFrameASecondSendsOneAfterAnother) {
  Faults faults = faults_of_text("rate=1bit");
  for (const std::size_t bytes : {60U, 100U, 60U}) put_frame(faults, make_frame(bytes, 1));
  EXPECT_EQ(due_times(faults), (std::vector<std::chrono::nanoseconds>{480s, 1280s, 1760s}));
}

/// With 10 million frames of 64 KiB, the last one would be due in 160,000 years, which overflows a
/// 64-bit number of nanoseconds, and all of them would take 600 GiB.
TEST(FaultsAtTheirEnds, TheLongestQueueOfTheSlowestLineTakesNoMoreThanTheMemoryForFaults) {
  for (const char* const text : {"rate=1bit,queue=10000000", "rate=1bit,delay=1h,queue=10000000"}) {
    Faults faults = faults_of_text(text);
    const Bytes frame = make_frame(65'535, 1);
    constexpr std::uint64_t kFrames = 2000;
    for (std::uint64_t i = 0; i < kFrames; ++i) put_frame(faults, frame);
    const std::uint64_t waiting = faults.waiting();
    EXPECT_LE(waiting * frame.size(), kMaxFaultBytes);
    EXPECT_GT(waiting * frame.size(), kMaxFaultBytes - 2 * 65'535 - waiting * 256);
    EXPECT_EQ(faults.counters().queue_full, kFrames - waiting);
    const auto times = due_times(faults);
    ASSERT_EQ(times.size(), waiting);
    for (std::size_t i = 1; i < times.size(); ++i)
      ASSERT_EQ(times[i] - times[i - 1], std::chrono::seconds(8 * 65'535)) << i;
    put_frame(faults, frame);
    EXPECT_EQ(faults.waiting(), 1U) << "there is room again";
  }
}

TEST(FaultsAtTheirEnds, AQueueOfOneFrameHoldsOneAndNoCopyOfIt) {
  Faults faults = faults_of_text("delay=5ms,duplicate=100%,reorder=100%,queue=1");
  for (int i = 0; i < 3; ++i) put_frame(faults, make_frame(60, 1));
  EXPECT_EQ(faults.counters().queue_full, 2U);
  EXPECT_EQ(faults.counters().duplicated, 0U);
  EXPECT_EQ(due_times(faults), std::vector<std::chrono::nanoseconds>{5ms});
}

TEST(FaultsAtTheirEnds, JitterAsLongAsTheDelayNeverMakesAFrameEarlierThanItCame) {
  Faults faults = faults_of_text("delay=1ms±1ms");
  for (int i = 0; i < 2000; ++i) put_frame(faults, make_frame(60, 1));
  const auto times = due_times(faults);
  ASSERT_EQ(times.size(), 2000U);
  EXPECT_GE(times.front(), 0ns);
  EXPECT_LT(times.front(), 20us);
  EXPECT_LE(times.back(), 2ms);
  EXPECT_GT(times.back(), 1980us);
}

TEST(FaultsAtTheirEnds, DropCanNameEveryFrameThatWillEverCome) {
  Faults all = faults_of_text("drop=1-18446744073709551615");
  Faults late = faults_of_text("drop=18446744073709551615,18446744073709551614");
  for (int i = 0; i < 100; ++i) {
    put_frame(all, make_frame(60, 1));
    put_frame(late, make_frame(60, 1));
  }
  EXPECT_EQ(all.counters().lost, 100U);
  EXPECT_EQ(late.counters().lost, 0U);
  EXPECT_EQ(late.options().drop.size(), 1U) << "neighbours are one range";
}

TEST(FaultsAtTheirEnds, WhatIsBeyondThemIsRefusedByName) {
  for (const auto& [text, why] :
       {std::pair{"delay=3600001ms", "fault \"delay=3600001ms\" is longer than an hour"},
        {"delay=1ms+-2ms", "fault \"delay=1ms\" varies by more than the delay itself"},
        {"delay=0±1ms", "fault \"delay=0\" varies by more than the delay itself"},
        {"rate=0bit", "fault \"rate=0bit\" is out of range (1bit to 1000Gbit)"},
        {"queue=0", "fault \"queue=0\" is out of range (1 to 10000000 frames)"},
        {"drop=0", "fault \"drop=0\" is out of range (the first frame has the number 1)"},
        {"drop=9-8", "fault \"drop=9-8\" has a range whose end is before its beginning"},
        {"loss=100.1%",
         "fault \"loss=100.1%\" is not a share (such as 1% or 0.5%, from 0% to 100%)"}}) {
    const auto parsed = parse_faults(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().message, why);
  }
  EXPECT_FALSE(parse_faults("drop=18446744073709551616"));
  EXPECT_FALSE(parse_faults("delay=-1ms"));
}

}  // namespace
}  // namespace shmif::test
