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

TEST(FaultsExactly, TheyAreCountedFromTheChangeThatNamesThem) {
  Faults faults(parse_faults("drop=2").value());
  for (std::uint32_t i = 1; i <= 3; ++i) put(faults, datagram_to(1, i), kBegin);
  faults.change(parse_faults("drop=2").value());
  for (std::uint32_t i = 4; i <= 6; ++i) put(faults, datagram_to(1, i), kBegin);
  EXPECT_EQ(due_numbers(faults, kBegin), (std::vector<std::uint32_t>{1, 3, 4, 6}));
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

TEST(FaultsQueue, HoldsTenThousandFramesThatADelayOf100MillisecondsNeeds) {
  Faults faults(parse_faults("delay=100ms").value());
  for (std::uint32_t i = 0; i < 10'000; ++i) put(faults, datagram_to(1, i), kBegin);
  EXPECT_EQ(faults.counters().queue_full, 0U);
  EXPECT_EQ(due_numbers(faults, kBegin + 100ms).size(), 10'000U);
}

TEST(FaultsQueue, FramesThatDidNotMatchAndAreDiscardedTakeNoPlaceEither) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  Faults faults(parse_faults("match='udp dst port 80',delay=5ms,queue=1").value());
  for (std::uint32_t i = 0; i < 5; ++i) put(faults, datagram_to(81, i), kBegin);
  EXPECT_EQ(faults.discard(), 5U);
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

TEST(FaultsQueue, OfABottleneckThatIsNoMoreLosesNothing) {
  Faults faults(parse_faults("rate=64kbit").value());
  for (std::uint32_t i = 0; i < 1000; ++i) put(faults, datagram_to(1, i), kBegin);
  faults.change(parse_faults("delay=1ms").value());
  for (std::uint32_t i = 1000; i < 2000; ++i) put(faults, datagram_to(1, i), kBegin);
  EXPECT_EQ(faults.counters().queue_full, 0U);
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

TEST(FaultsChange, AHeldBackFrameIsHurriedToo) {
  Faults faults({.reorder = 1});
  put(faults, datagram_to(1, 0), kBegin);
  EXPECT_GT(*faults.due(), kBegin);
  faults.hurry(kBegin);
  EXPECT_EQ(due_numbers(faults, kBegin).size(), 1U);
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

TEST(FaultsChange, TheRandomNumbersStartAgain) {
  const FaultOptions lossy = parse_faults("loss=30%,burst=2%:0%,seed=5").value();
  const auto heard = [&](Faults& faults) {
    for (std::uint32_t i = 0; i < 300; ++i) put(faults, datagram_to(1, i), kBegin);
    return due_numbers(faults, kBegin);
  };
  Faults faults(lossy);
  const std::vector<std::uint32_t> first = heard(faults);
  FaultOptions none;
  none.seed = 5;
  faults.change(none);
  EXPECT_EQ(heard(faults).size(), 300U);
  faults.change(lossy);
  EXPECT_EQ(heard(faults), first) << "after none";
  faults.change(lossy);
  EXPECT_EQ(heard(faults), first) << "after the same";
}

}  // namespace
}  // namespace shmif::test
