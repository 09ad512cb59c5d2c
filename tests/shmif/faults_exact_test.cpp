// Faults that hit exactly the frames that were named, the queue in front of a bottleneck, and what
// becomes of frames that wait when faults end.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "shmif/faults.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;
using Time = Faults::Time;

/// An Ethernet frame with an IPv4 packet of UDP to `port`, and a number in it.
Bytes datagram_to(std::uint16_t port, std::uint32_t number) {
  Bytes frame(100);
  const auto put = [&](std::size_t at, unsigned value) {
    frame[at] = static_cast<std::byte>(value);
  };
  put(12, 0x08);
  put(14, 0x45);
  put(17, 86);
  put(22, 64);
  put(23, 17);
  put(26, 198);
  put(30, 198);
  put(36, port >> 8U);
  put(37, port & 0xffU);
  put(39, 66);
  std::memcpy(frame.data() + 42, &number, sizeof number);
  return frame;
}

/// The numbers of the frames that are due, in their order; they are then gone.
std::vector<std::uint32_t> due_numbers(Faults& faults, Time now) {
  std::vector<std::uint32_t> numbers;
  FrameView view;
  while (faults.ready({&view, 1}, now) == 1) {
    std::uint32_t number = 0;
    std::memcpy(&number, view.bytes.data() + 42, sizeof number);
    numbers.push_back(number);
    faults.pop(1);
  }
  return numbers;
}

void put(Faults& faults, const Bytes& frame, Time now) {
  faults.put(FrameView(frame.data(), frame.size()), now);
}

constexpr Time kBegin{1h};

TEST(FaultsExactly, TheFramesThatAreNamedAreLostAndNoOthers) {
  Faults faults(parse_faults("drop=1,4-5,9").value());
  for (std::uint32_t i = 1; i <= 10; ++i) put(faults, datagram_to(1, i), kBegin);
  EXPECT_EQ(due_numbers(faults, kBegin), (std::vector<std::uint32_t>{2, 3, 6, 7, 8, 10}));
  EXPECT_EQ(faults.counters().lost, 4U);
  EXPECT_EQ(faults.counters().frames, 10U);
}

TEST(FaultsExactly, OnlyFramesThatTheFilterMatchesAreCountedAndLost) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  Faults faults(parse_faults("match='udp dst port 80',drop=2,4").value());
  for (std::uint32_t i = 1; i <= 5; ++i) {
    put(faults, datagram_to(80, i), kBegin);
    put(faults, datagram_to(81, 100 + i), kBegin);
  }
  EXPECT_EQ(due_numbers(faults, kBegin),
            (std::vector<std::uint32_t>{1, 101, 102, 3, 103, 104, 5, 105}));
  EXPECT_EQ(faults.counters().lost, 2U);
  EXPECT_EQ(faults.counters().frames, 10U);
  faults.change(parse_faults("match='udp dst port 80',drop=2,queue=2").value());
  put(faults, datagram_to(81, 106), kBegin);
  EXPECT_EQ(faults.discard(), 1U);
  for (std::uint32_t i = 6; i <= 8; ++i) put(faults, datagram_to(80, i), kBegin);
  EXPECT_EQ(due_numbers(faults, kBegin), (std::vector<std::uint32_t>{6, 8})) << "the second anew";
}

TEST(FaultsExactly, FramesThatDoNotMatchNeitherWaitNorTakeTimeOfTheBottleneckNorRandomNumbers) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  // 1 ms for a frame.
  Faults faults(parse_faults("match='udp dst port 80',delay=5ms,rate=800kbit,loss=30%").value());
  Faults alone(parse_faults("delay=5ms,rate=800kbit,loss=30%").value());
  std::vector<std::uint32_t> passed;
  for (std::uint32_t i = 0; i < 200; ++i) {
    put(faults, datagram_to(80, i), kBegin);
    put(alone, datagram_to(80, i), kBegin);
    put(faults, datagram_to(81, 1000 + i), kBegin);
    passed.push_back(1000 + i);
  }
  EXPECT_EQ(due_numbers(faults, kBegin), passed) << "they overtake what waits";
  EXPECT_EQ(faults.due(), kBegin + 6ms);
  EXPECT_EQ(due_numbers(faults, kBegin + 1s), due_numbers(alone, kBegin + 1s));
  EXPECT_EQ(faults.counters().reordered, 0U) << "nobody asked for this kind of fault";
  EXPECT_GT(faults.counters().lost, 0U);
}

TEST(FaultsExactly, FramesThatDoNotMatchTakeNoPlaceOfAShortQueue) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  Faults faults(parse_faults("match='udp dst port 80',delay=5ms,queue=1").value());
  for (std::uint32_t i = 0; i < 5; ++i) put(faults, datagram_to(81, i), kBegin);
  put(faults, datagram_to(80, 5), kBegin);
  EXPECT_EQ(faults.counters().queue_full, 0U);
  put(faults, datagram_to(80, 6), kBegin);
  EXPECT_EQ(faults.counters().queue_full, 1U);
}

TEST(FaultsQueue, ABottleneckThatEndedIsFreeWhenItBeginsAgain) {
  // 1 ms for a frame.
  Faults faults(parse_faults("rate=800kbit").value());
  for (std::uint32_t i = 0; i < 100; ++i) put(faults, datagram_to(1, i), kBegin);
  faults.change({});
  faults.hurry(kBegin);
  EXPECT_EQ(due_numbers(faults, kBegin).size(), 100U);
  faults.change(parse_faults("rate=800kbit").value());
  put(faults, datagram_to(1, 100), kBegin);
  EXPECT_EQ(faults.due(), kBegin + 1ms);
}

TEST(FaultsQueue, ABottleneckHasRoomForItsRateTimesTheDelay) {
  // 8 us for a frame of 100 bytes, so 100 ms are 12,500 frames.
  Faults faults(parse_faults("delay=100ms,rate=100Mbit").value());
  for (std::uint32_t i = 0; i < 20'000; ++i) put(faults, datagram_to(1, i), kBegin);
  EXPECT_EQ(faults.counters().queue_full, 20'000U - 12'501U) << "12,500 wait, and one is sent";
  EXPECT_EQ(due_numbers(faults, kBegin + 1s).size(), 12'501U);
  // 1,000 frames are more than rate times delay here.
  Faults narrow(parse_faults("delay=1ms,rate=100Mbit").value());
  for (std::uint32_t i = 0; i < 2000; ++i) put(narrow, datagram_to(1, i), kBegin);
  EXPECT_EQ(narrow.counters().queue_full, 1000U);
}

TEST(FaultsChange, HurriedFramesGoAtOnceInTheirOrderWithTheTimeAtWhichTheyGo) {
  FaultOptions options = parse_faults("delay=1h,rate=8Mbit").value();
  Faults faults(options);
  const Bytes bytes = datagram_to(1, 0);
  FrameView frame(bytes.data(), bytes.size());
  frame.time_ns = 1'000'000'000;
  faults.put(frame, kBegin);
  for (std::uint32_t i = 1; i < 5; ++i) put(faults, datagram_to(1, i), kBegin);
  faults.hurry(kBegin + 1ms);
  EXPECT_EQ(faults.waiting(), 5U);
  FrameView first;
  ASSERT_EQ(faults.ready({&first, 1}, kBegin + 1ms), 1U);
  EXPECT_EQ(first.time_ns, 1'001'000'000U);
  EXPECT_EQ(due_numbers(faults, kBegin + 1ms), (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
  faults.change({});
  put(faults, datagram_to(1, 5), kBegin + 1ms);
  EXPECT_EQ(faults.due(), kBegin + 1ms) << "the bottleneck is free";
}

TEST(FaultsChange, DiscardedFramesAreGoneAndTakeNoTimeOfLaterOnes) {
  Faults faults(parse_faults("delay=1h,rate=64kbit").value());
  for (std::uint32_t i = 0; i < 7; ++i) put(faults, datagram_to(1, i), kBegin);
  EXPECT_EQ(faults.discard(), 7U);
  EXPECT_EQ(faults.waiting(), 0U);
  EXPECT_FALSE(faults.due());
  faults.change(parse_faults("delay=5ms").value());
  put(faults, datagram_to(1, 7), kBegin);
  EXPECT_EQ(faults.due(), kBegin + 5ms);
}

Faults faults_of_text(const std::string& text) {
  return Faults(parse_faults(text).value());
}

/// When each frame that waits is due, in the order in which they go.
std::vector<std::chrono::nanoseconds> due_times(Faults& faults) {
  std::vector<std::chrono::nanoseconds> times;
  while (const std::optional<Time> due = faults.due()) {
    times.emplace_back(*due - kBegin);
    FrameView view;
    EXPECT_EQ(faults.ready({&view, 1}, *due), 1U);
    EXPECT_EQ(faults.ready({&view, 1}, *due - 1ns), 0U) << "and not before";
    faults.pop(1);
  }
  return times;
}

TEST(FaultsAtTheirEnds, ARateOfLessThanOneFrameASecondSendsOneAfterAnother) {
  Faults faults = faults_of_text("rate=1bit");
  for (const std::size_t bytes : {60U, 100U, 60U}) put(faults, make_frame(bytes, 1), kBegin);
  EXPECT_EQ(due_times(faults), (std::vector<std::chrono::nanoseconds>{480s, 1280s, 1760s}));
}

/// With 10 million frames of 64 KiB, the last one would be due in 160,000 years, which overflows a
/// 64-bit number of nanoseconds, and all of them would take 600 GiB.
TEST(FaultsAtTheirEnds, TheLongestQueueOfTheSlowestLineTakesNoMoreThanTheMemoryForFaults) {
  for (const char* const text : {"rate=1bit,queue=10000000", "rate=1bit,delay=1h,queue=10000000"}) {
    Faults faults = faults_of_text(text);
    const Bytes frame = make_frame(65'535, 1);
    constexpr std::uint64_t kFrames = 2000;
    for (std::uint64_t i = 0; i < kFrames; ++i) put(faults, frame, kBegin);
    const std::uint64_t waiting = faults.waiting();
    EXPECT_LE(waiting * frame.size(), kMaxFaultBytes);
    EXPECT_GT(waiting * frame.size(), kMaxFaultBytes - 2 * 65'535 - waiting * 256);
    EXPECT_EQ(faults.counters().queue_full, kFrames - waiting);
    const auto times = due_times(faults);
    ASSERT_EQ(times.size(), waiting);
    for (std::size_t i = 1; i < times.size(); ++i)
      ASSERT_EQ(times[i] - times[i - 1], std::chrono::seconds(8 * 65'535)) << i;
    put(faults, frame, kBegin);
    EXPECT_EQ(faults.waiting(), 1U) << "there is room again";
  }
}

}  // namespace
}  // namespace shmif::test
