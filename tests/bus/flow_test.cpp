// Flow control against peers that scribble and stop: what holds a sender up, and for how long
// (bus/flow.hpp, W3).

#include "bus/flow.hpp"

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using bus::FlowControl;
using std::chrono::milliseconds;

constexpr std::uint64_t kRing = 64U << 10U;
constexpr std::uint32_t kListens = bus::kFlagUp | bus::kFlagPause;

class FlowTest : public ::testing::Test {
 protected:
  TempBus bus{BusOptions{.ring_bytes = kRing, .flow = Flow::pause, .patience = milliseconds(10)}};
  RawBus raw{bus.path()};
  Port sender = port_on(bus.path(), {.name = "sender"});
  NumberedBatch batch{500};
  FrameBatch own{64, 256U << 10U};
  std::uint32_t next = 0;

  std::size_t try_send(std::size_t count) {
    own.clear();
    static_cast<void>(sender.receive(own));  // as a port it is waited for, too
    batch.fix_size(480);                     // 512 bytes of the ring
    const SendResult sent = sender.try_send(batch.make(1, next, count));
    EXPECT_FALSE(sent.error) << sent.error.message();
    next += static_cast<std::uint32_t>(sent.taken);
    return sent.taken;
  }
  /// Sends until the ring holds so many bytes.
  void fill_to(std::uint64_t bytes) {
    while (raw.header().last < bytes) ASSERT_EQ(try_send(1), 1U);
  }
  bool gets_one_through() {
    return eventually([&] { return try_send(1) == 1; });
  }
};

TEST_F(FlowTest, APortThatRaisesItsFlagAgainIsNotWaitedForBeforeItsRestIsOver) {
  Port idler = port_on(bus.path(), {.name = "idler"});
  while (raw.header().last < 3 * kRing) try_send(1);
  bus::PortSlot& slot = raw.slot(idler.slot());
  FlowControl flow(raw.ring(), sender.slot(), raw.fd(), milliseconds(1000));  // rests for 9 s
  bus::fetch_or(slot.flags, kListens);
  const std::uint64_t stalls = slot.stalls;
  flow.wait_for_room(16'000, 16'000);
  EXPECT_EQ(slot.stalls, stalls + 1);
  EXPECT_EQ(slot.flags & bus::kFlagPause, 0U);
  bus::fetch_or(slot.flags, kListens);
  raw.header().last += kRing / 2;  // the room is used up
  EXPECT_TRUE(flow.admits(16'000));
  // Nor is it taken away again, which some ports that go on raising it could make an endless task.
  EXPECT_EQ(slot.stalls, stalls + 1);
}

TEST_F(FlowTest, APortThatGoesBackHasReadNothing) {
  constexpr milliseconds kPatience(40);
  Port idler = port_on(bus.path(), {.name = "idler"});
  while (raw.header().last < 3 * kRing) try_send(1);
  bus::PortSlot& slot = raw.slot(idler.slot());
  const std::uint64_t first = raw.header().first;
  // Within one window of ten times the patience. Where this machine was so slow that another began,
  // nothing is shown.
  bool in_time = false;
  for (unsigned tries = 0; tries < 50 && !in_time; ++tries) {
    FlowControl flow(raw.ring(), sender.slot(), raw.fd(), kPatience);
    const auto began = FlowControl::Clock::now();
    bus::fetch_or(slot.flags, kListens);
    bus::store_relaxed(slot.position, first + 4096);
    const std::uint64_t stalls = slot.stalls;
    for (unsigned waits = 0; waits < 8 && slot.stalls == stalls; ++waits) {
      for (unsigned looks = 0; looks < 3; ++looks) {  // less than patience is, altogether
        if (flow.admits(16'000)) break;
        bus::store_relaxed(slot.position, first);
        std::this_thread::sleep_for(kPatience / 4);
      }
      bus::store_relaxed(slot.position, raw.header().last);
      EXPECT_TRUE(flow.admits(16'000)) << "nobody is behind";
      bus::store_relaxed(slot.position, first);
      raw.header().last += kRing / 2;  // used up
      bus::store_relaxed(raw.slot(sender.slot()).position, raw.header().last);
    }
    in_time = FlowControl::Clock::now() - began < (FlowControl::kRest + 1) * kPatience;
    if (!in_time) continue;
    EXPECT_GT(slot.stalls, stalls) << "it was waited for again and again, and read nothing";
  }
  EXPECT_TRUE(in_time) << "this machine is too slow to tell";
}

TEST_F(FlowTest, ALimitFromBeforeARepairThatBeganThePositionsAnewIsNone) {
  FlowControl flow(raw.ring(), 7, raw.fd(), milliseconds(10));
  raw.begin_at(std::uint64_t{1} << 40U, 0);
  EXPECT_GE(flow.room(1000), 1000U);
  bus::store_relaxed(raw.slot(sender.slot()).position, std::uint64_t{0});
  raw.begin_at(kRing - 64, 0);
  raw.header().first = 0;
  EXPECT_EQ(flow.room(1000), 64U);
}

TEST_F(FlowTest, TheOldestRecordNeverPassesAPortThatIsWaitedFor) {
  Port idler = port_on(bus.path(), {.name = "idler"});
  FrameBatch some(7, 8192);
  for (unsigned round = 0; round < 20; ++round) {
    while (try_send(1) == 1) {
    }
    const bus::PortSlot& slot = raw.slot(idler.slot());
    if ((slot.flags & bus::kFlagPause) == 0) break;
    EXPECT_LE(raw.header().first, slot.position);
    some.clear();
    EXPECT_EQ(idler.receive(some).lost, 0U);
  }
}

TEST_F(FlowTest, OfAPortThatWasRungNothingBeforeThatIsWaitedFor) {
  Port idler = port_on(bus.path(), {.name = "idler"});
  while (raw.header().last < 3 * kRing) try_send(1);
  bus::PortSlot& slot = raw.slot(idler.slot());
  bus::fetch_or(slot.flags, kListens);
  FlowControl flow(raw.ring(), sender.slot(), raw.fd(), milliseconds(10));
  EXPECT_LT(flow.room(16'000), 16'000U);
  bus::store_relaxed(slot.rung_position, raw.header().last);
  EXPECT_GE(flow.room(16'000), 16'000U);
}

TEST_F(FlowTest, AScribbledEndOfTheChainIsAnErrorAndNoEndlessWait) {
  raw.header().last = UINT64_MAX - 31;
  // At first it seems that ports have far to read, even the sender's own.
  EXPECT_TRUE(eventually([&] {
    return sender.try_send(batch.make(1, 0, 1)).error == make_error_code(Errc::corrupt);
  }));
}

TEST_F(FlowTest, AStoppedWriterAndAPortThatDoesNotReadTogetherHoldNobodyUp) {
  Port idler = port_on(bus.path(), {.name = "idler"});
  Port stopped;
  stopped.attach(bus.path()).value();
  fill_to(kRing - 4096);
  const std::uint64_t end = raw.header().last;
  raw.claim(stopped.slot(), end, end + 256, end + 4000);  // there is room before and behind it
  EXPECT_TRUE(gets_one_through());
  EXPECT_GE(raw.slot(idler.slot()).stalls, 1U);
}

TEST_F(FlowTest, ClaimsOverMoreThanHalfOfTheRingHoldNobodyUp) {
  std::array<Port, 3> stopped;
  fill_to(2 * kRing);
  std::uint64_t at = raw.header().last;
  for (Port& port : stopped) {
    port.attach(bus.path()).value();
    raw.claim(port.slot(), at, at, at + kRing / 4);
    at += kRing / 4;
  }
  EXPECT_TRUE(gets_one_through());
}

TEST_F(FlowTest, TheClaimOfADeadWriterIsFreedWhereItsRoomIsMissing) {
  constexpr unsigned kDead = 9;
  Port idler = port_on(bus.path(), {.name = "idler"});
  fill_to(kRing - 4096);
  const std::uint64_t end = raw.header().last;
  raw.slot(kDead).state = bus::slot_state(bus::SlotState::live, 5);
  raw.claim(kDead, end, end + 256, end + 4000);
  EXPECT_EQ(try_send(1), 1U);
  EXPECT_EQ(raw.slot(kDead).claim_owner, 0U);
  EXPECT_EQ(raw.slot(idler.slot()).stalls, 0U) << "there was room without that claim";
}

}  // namespace
}  // namespace shmif::test
