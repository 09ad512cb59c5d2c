// Flow control against peers that scribble and stop: what holds a sender up, and for how long
// (bus/ring/flow.hpp, W3).

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bus/file/liveness.hpp"
#include "bus/port/doorbell.hpp"
#include "bus/ring/flow.hpp"
#include "shmif/receiver.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using bus::FlowControl;
using std::chrono::milliseconds;

constexpr std::uint64_t kFlowRing = 64U << 10U;
constexpr std::uint32_t kListens = bus::kFlagUp | bus::kFlagPause;

class FlowTest : public ::testing::Test {
 protected:
  TempBus bus{
      BusOptions{.ring_bytes = kFlowRing, .flow = Flow::pause, .patience = milliseconds(10)}};
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
  /// A port that reads nothing while three rings are sent. Nobody waits for it any more.
  Port overrun_port() {
    Port port = port_on(bus.path(), {.name = "overrun"});
    while (raw.header().last < 3 * kFlowRing) try_send(1);
    return port;
  }
  /// Makes senders wait for an overrun port again. Result: its slot.
  bus::PortSlot& listens_again(const Port& port) const {
    bus::PortSlot& slot = raw.slot(port.slot());
    bus::fetch_or(slot.flags, kListens);
    return slot;
  }
  /// The same, and only 512 bytes of the ring are free before its place. No other port holds
  /// senders up.
  bus::PortSlot& listens_again_far_behind(const Port& port) const {
    bus::PortSlot& slot = listens_again(port);
    raw.header().first = raw.header().last - kFlowRing + 512;
    bus::store_relaxed(slot.position, raw.header().first);
    bus::store_relaxed(raw.slot(sender.slot()).position, raw.header().last + 256 * kFlowRing);
    return slot;
  }
  /// A port reads 2048 bytes, and others fill that room at once.
  void reads_and_others_write(bus::PortSlot& slot) const {
    slot.position += 2048;
    raw.header().last += 2048;
    raw.header().first += 2048;
  }
  /// Makes senders wait for an overrun port until that is in vain, which begins its rest, and then
  /// takes the room that they got. Result: its slot.
  bus::PortSlot& begin_rest(const Port& port, FlowControl& flow) const {
    bus::PortSlot& slot = listens_again(port);
    const std::uint64_t stalls = slot.stalls;
    while (!flow.admits(16'000)) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_EQ(slot.stalls, stalls + 1);
    EXPECT_EQ(slot.flags & bus::kFlagPause, 0U);
    raw.header().last += kFlowRing / 2;
    return slot;
  }
};

TEST_F(FlowTest, APortThatRaisesItsFlagAgainIsNotWaitedForBeforeItsRestIsOver) {
  const Port port = overrun_port();
  FlowControl flow(raw.ring(), sender.slot(), raw.fd(), milliseconds(1000));  // rests for 9 s
  const std::uint64_t stalls = begin_rest(port, flow).stalls;
  const bus::PortSlot& slot = listens_again(port);
  EXPECT_TRUE(flow.admits(16'000));
  // Nor is it taken away again, which some ports that go on raising it could make an endless task.
  EXPECT_EQ(slot.stalls, stalls);
}

TEST_F(FlowTest, APortThatGoesBackHasReadNothing) {
  constexpr milliseconds kPatience(40);
  const Port idler = overrun_port();
  bus::PortSlot& slot = raw.slot(idler.slot());
  const std::uint64_t first = raw.header().first;
  // How far from the oldest record it seems to be in the first wait, in the second, and from then
  // on. It goes back to before where the window began, and to between there and the furthest.
  for (const auto& shown : {std::array<unsigned, 3>{4096, 0, 0}, {0, 4096, 2048}}) {
    // Within one window of ten times the patience. Where this machine was so slow that another
    // began, nothing is shown.
    bool in_time = false;
    for (unsigned tries = 0; tries < 50 && !in_time; ++tries) {
      FlowControl flow(raw.ring(), sender.slot(), raw.fd(), kPatience);
      const auto began = FlowControl::Clock::now();
      const std::uint64_t stalls = listens_again(idler).stalls;
      for (unsigned waits = 0; waits < 8 && slot.stalls == stalls; ++waits) {
        bus::store_relaxed(slot.position, first + shown.at(std::min(waits, 2U)));
        for (unsigned looks = 0; looks < 3; ++looks) {  // less than patience is, altogether
          if (flow.admits(16'000)) break;
          std::this_thread::sleep_for(kPatience / 4);
        }
        bus::store_relaxed(slot.position, raw.header().last);
        EXPECT_TRUE(flow.admits(16'000)) << "nobody is behind";
        raw.header().last += kFlowRing / 2;  // used up
        bus::store_relaxed(raw.slot(sender.slot()).position, raw.header().last);
      }
      in_time = FlowControl::Clock::now() - began < (FlowControl::kRest + 1) * kPatience;
      if (!in_time) continue;
      EXPECT_GT(slot.stalls, stalls) << "it was waited for again and again, and read nothing";
    }
    EXPECT_TRUE(in_time) << "this machine is too slow to tell";
  }
}

TEST_F(FlowTest, ALimitFromBeforeARepairThatBeganThePositionsAnewIsNone) {
  FlowControl flow(raw.ring(), 7, raw.fd(), milliseconds(10));
  raw.begin_at(std::uint64_t{1} << 40U, 0);
  EXPECT_GE(flow.room(1000), 1000U);
  bus::store_relaxed(raw.slot(sender.slot()).position, std::uint64_t{0});
  raw.begin_at(kFlowRing - 64, 0);
  raw.header().first = 0;
  EXPECT_EQ(flow.room(1000), 64U);
}

TEST_F(FlowTest, TheOldestRecordNeverPassesAPortThatIsWaitedFor) {
  Port idler = port_on(bus.path(), {.name = "idler"});
  FrameBatch some(7, 8192);
  for (unsigned round = 0; round < 20; ++round) {
    for (unsigned sent = 0; try_send(1) == 1; ++sent)
      ASSERT_LT(sent, 2 * kFlowRing / 512) << "nobody is waited for";
    const bus::PortSlot& slot = raw.slot(idler.slot());
    ASSERT_NE(slot.flags & bus::kFlagPause, 0U) << "it has read in every round";
    EXPECT_LE(raw.header().first, slot.position);
    some.clear();
    EXPECT_EQ(idler.receive(some).lost, 0U);
  }
}

TEST_F(FlowTest, WhatAPortHasNotReadIsWaitedForAlsoWhenItIsRungBeforeItsLook) {
  const Port busy = overrun_port();
  bus::PortSlot& slot = listens_again_far_behind(busy);
  bus::Sleeper sleeper(raw.ring(), busy.slot());
  const auto room = [&] {
    return FlowControl(raw.ring(), sender.slot(), raw.fd(), milliseconds(10)).room(16'000);
  };
  // Its last look is yet to come, and there is much to read.
  sleeper.announce(false);
  bus::Bell bell(raw.ring(), sender.slot(), raw.fd());
  const std::uint64_t last = raw.header().last;
  EXPECT_TRUE(bell.collect(batch.make(1, 0, 1), last, 1).any);
  EXPECT_EQ(room(), 512U);
  sleeper.found_nothing();  // too late: it was rung
  EXPECT_EQ(room(), 512U);
  const bus::Woken woken = sleeper.withdraw();
  EXPECT_EQ(bus::load_relaxed(slot.rung_position), last | bus::kRungEarly);
  EXPECT_LE(woken.position, raw.header().first);

  // The same after a look that found nothing: all before the batch is read.
  sleeper.announce(false);
  sleeper.found_nothing();
  EXPECT_GE(room(), 16'000U) << "it is asleep";
  EXPECT_TRUE(bell.collect(batch.make(1, 0, 1), last, 1).any);
  EXPECT_EQ(bus::load_relaxed(slot.rung_position), last);
  EXPECT_GE(room(), 16'000U);
  static_cast<void>(sleeper.withdraw());
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
  fill_to(kFlowRing - 4096);
  const std::uint64_t end = raw.header().last;
  raw.claim(stopped.slot(), end, end + 256, end + 4000);  // there is room before and behind it
  EXPECT_TRUE(gets_one_through());
  EXPECT_GE(raw.slot(idler.slot()).stalls, 1U);
}

TEST_F(FlowTest, ClaimsOverMoreThanHalfOfTheRingHoldNobodyUp) {
  std::array<Port, 3> stopped;
  fill_to(2 * kFlowRing);
  std::uint64_t at = raw.header().last;
  for (Port& port : stopped) {
    port.attach(bus.path()).value();
    raw.claim(port.slot(), at, at, at + kFlowRing / 4);
    at += kFlowRing / 4;
  }
  EXPECT_TRUE(gets_one_through());
}

TEST_F(FlowTest, TheClaimOfADeadWriterIsFreedWhereItsRoomIsMissing) {
  constexpr unsigned kDead = 9;
  Port idler = port_on(bus.path(), {.name = "idler"});
  fill_to(kFlowRing - 4096);
  const std::uint64_t end = raw.header().last;
  raw.slot(kDead).state = bus::slot_state(bus::SlotState::live, 5);
  raw.claim(kDead, end, end + 256, end + 4000);
  EXPECT_EQ(try_send(1), 1U);
  EXPECT_EQ(raw.slot(kDead).claim_owner, 0U);
  EXPECT_EQ(raw.slot(idler.slot()).stalls, 0U) << "there was room without that claim";
}

/// Who waits for room, and how that ends. The patience is longer than any of these tests takes.
class WaitForRoom : public ::testing::Test {
 protected:
  TempBus bus{
      BusOptions{.ring_bytes = kFlowRing, .flow = Flow::pause, .patience = milliseconds(1000)}};
  RawBus raw{bus.path()};
  Port idler = port_on(bus.path(), {.name = "idler"});
  Port sender = port_on(bus.path(), {.name = "sender"});
  NumberedBatch batch{500};

  bool somebody_waits() const { return bus::load_relaxed(raw.slot(sender.slot()).waits_for) != 0; }
  std::uint64_t stalls() const {
    return bus::load_relaxed(raw.slot(idler.slot()).stalls) +
           bus::load_relaxed(raw.slot(sender.slot()).stalls);
  }
  /// Up to where the next frame finds no room.
  void fill() {
    batch.fix_size(480);  // 512 bytes of the ring
    for (unsigned i = 0; i < kFlowRing / 512 - 1; ++i)
      ASSERT_EQ(sender.try_send(batch.make(1, 0, 1)).taken, 1U);
  }
  /// What send() answers where there is no room, when `end` is called while it waits.
  template <class End>
  SendResult ended_by(End end) {
    fill();
    SendResult result;
    NumberedBatch frames(500);
    frames.fix_size(480);
    std::jthread waiter([&] { result = sender.send(frames.make(1, 0, 1)); });
    EXPECT_TRUE(eventually([&] { return somebody_waits(); }));
    end();
    waiter.join();
    return result;
  }
};

TEST_F(WaitForRoom, EndsWhenThePortGoesDown) {
  const SendResult result = ended_by([&] { EXPECT_FALSE(sender.down()); });
  EXPECT_EQ(result.error, make_error_code(Errc::port_down));
  EXPECT_EQ(result.taken, 0U);
  EXPECT_EQ(stalls(), 0U) << "it waited to the end of its patience";
  EXPECT_FALSE(somebody_waits());
}

TEST_F(WaitForRoom, EndsWhenItIsInterrupted) {
  const SendResult result = ended_by([&] { sender.interrupt(); });
  EXPECT_EQ(result.error, make_error_code(Errc::interrupted));
  EXPECT_EQ(result.taken, 0U);
  EXPECT_EQ(stalls(), 0U) << "it waited to the end of its patience";
  // One interrupt ends no wait that begins later.
  FrameBatch in(64, 256U << 10U);
  static_cast<void>(idler.receive(in));
  static_cast<void>(sender.receive(in));
  EXPECT_FALSE(sender.send(batch.make(1, 0, 1)).error);
}

TEST_F(WaitForRoom, GoesOnWhenAReceiverOfThePortStops) {
  Receiver receiver(sender, [](std::span<const FrameView>) {});
  const SendResult result = ended_by([&] {
    receiver.stop();
    FrameBatch in(64, 256U << 10U);
    while (idler.receive(in).frames != 0) in.clear();
  });
  EXPECT_FALSE(result.error) << result.error.message();
  EXPECT_EQ(result.taken, 1U);
}

TEST_F(WaitForRoom, DoesNotHoldUpTrySendOfAnotherThread) {
  const SendResult result = ended_by([&] {
    const SendResult tried = sender.try_send(batch.make(1, 0, 1));
    EXPECT_EQ(tried.taken, 0U);
    EXPECT_FALSE(tried.error);
    EXPECT_EQ(stalls(), 0U) << "it waited together with the other thread";
    EXPECT_TRUE(somebody_waits()) << "the other thread still waits";
    sender.interrupt();
  });
  EXPECT_EQ(result.error, make_error_code(Errc::interrupted));
}

/// Ports that read nothing, and the time that they cost a sender.
class IdlePorts : public ::testing::Test {
 protected:
  static constexpr milliseconds kPatience{20};
  static constexpr unsigned kIdle = 60;
  TempBus bus{BusOptions{.ring_bytes = kFlowRing, .flow = Flow::pause, .patience = kPatience}};
  Port sender = port_on(bus.path(), {.name = "sender"});
  std::vector<Port> idle;
  NumberedBatch batch{500};

  void send(std::uint64_t bytes) {
    batch.fix_size(480);  // 512 bytes of the ring
    for (std::uint64_t sent = 0; sent < bytes; sent += 512)
      ASSERT_FALSE(sender.send(batch.make(1, 0, 1)).error);
  }
  /// In times the patience. One look costs a quarter of it at most, however long the machine takes.
  double paused() const {
    return static_cast<double>(sender.counters().paused_ns) /
           static_cast<double>(std::chrono::nanoseconds(kPatience).count());
  }
};

TEST_F(IdlePorts, ThatAreBehindTogetherCostOnePatienceHoweverManyTheyAre) {
  for (unsigned i = 0; i < kIdle; ++i) idle.push_back(port_on(bus.path()));
  send(2 * kFlowRing);
  EXPECT_GE(paused(), 1.0) << "nobody was waited for";
  EXPECT_LE(paused(), 1.3);
  const BusInfo info = bus.info();
  for (const PortInfo& port : info.ports) EXPECT_EQ(port.stalls, 1U) << port.name;
}

TEST_F(IdlePorts, ThatBeganToListenOneAfterTheOtherCostAPatienceForEachHalfOfTheRing) {
  for (unsigned i = 0; i < kIdle; ++i) {
    idle.push_back(port_on(bus.path()));
    send(kFlowRing / kIdle);
  }
  send(2 * kFlowRing);
  EXPECT_GE(paused(), 1.0) << "nobody was waited for";
  EXPECT_LE(paused(), 3.9);
}

TEST_F(FlowTest, ARefusedTrySendIsNoChargeOnceThereIsRoom) {
  Port reader = port_on(bus.path(), {.name = "reader"});
  FrameBatch in(64, 256U << 10U);
  // Ten times the patience in all, in which the port is waited for next to nothing.
  for (unsigned round = 0; round < 10; ++round) {
    for (unsigned sent = 0; sent < 200 && try_send(1) == 1;) ++sent;
    while (in.clear(), reader.receive(in).frames != 0) {
    }
    std::this_thread::sleep_for(milliseconds(10));  // nobody waits for anybody
  }
  EXPECT_EQ(raw.slot(reader.slot()).stalls, 0U);
  EXPECT_EQ(raw.slot(sender.slot()).stalls, 0U);
  EXPECT_EQ(reader.counters().lost_frames, 0U);
  EXPECT_EQ(try_send(1), 1U);
  EXPECT_EQ(raw.slot(sender.slot()).waits_for, 0U) << "it has room";
}

/// `first` cannot pass a part of a record. A port that takes few frames at a time stays at the same
/// record for long.
TEST_F(FlowTest, APortThatReadsInsideOfARecordIsWaitedForAndOneThatDoesNotIsOverrun) {
  const Port port = overrun_port();
  for (const bool reads : {true, false}) {
    FlowControl flow(raw.ring(), sender.slot(), raw.fd(), milliseconds(20));
    bus::PortSlot& slot = listens_again_far_behind(port);
    bus::store_relaxed(slot.read_inside, std::uint64_t{32});
    const std::uint64_t stalls = slot.stalls;
    milliseconds next_read(0);
    while (slot.stalls == stalls && flow.paused() < milliseconds(60)) {
      if (reads && flow.paused() >= next_read) {  // half of the patience is over
        slot.read_inside += 600;                  // as much as the next frame needs
        next_read += milliseconds(10);
      }
      const bool admitted = flow.admits(600);
      EXPECT_EQ(admitted, slot.stalls != stalls);
      std::this_thread::sleep_for(milliseconds(1));
    }
    EXPECT_EQ(slot.stalls != stalls, !reads);
  }
}

TEST_F(FlowTest, WhatAWindowHasCostIsNotChargedToThePortInTheNext) {
  constexpr milliseconds kPatience(20);
  const Port reader = overrun_port();
  bus::PortSlot& slot = listens_again_far_behind(reader);
  const std::uint64_t stalls = slot.stalls;
  FlowControl flow(raw.ring(), 200, raw.fd(), kPatience);
  const auto window = (FlowControl::kRest + 1) * kPatience;
  const auto begin = FlowControl::Clock::now();
  while (FlowControl::Clock::now() - begin < 2 * window) {
    EXPECT_FALSE(flow.admits(1024));
    std::this_thread::sleep_for(kPatience / 4);
    reads_and_others_write(slot);
  }
  EXPECT_EQ(slot.stalls, stalls);
}

TEST_F(FlowTest, ASenderThatWasStoppedDoesNotHoldThatTimeAgainstAPort) {
  constexpr milliseconds kPatience(20);
  const Port idler = overrun_port();
  const bus::PortSlot& slot = listens_again_far_behind(idler);
  const std::uint64_t stalls = slot.stalls;
  FlowControl flow(raw.ring(), 200, raw.fd(), kPatience);
  EXPECT_FALSE(flow.admits(16'000));
  std::this_thread::sleep_for(3 * kPatience);
  EXPECT_FALSE(flow.admits(16'000));
  EXPECT_EQ(slot.stalls, stalls);
  EXPECT_LE(flow.paused(), kPatience / 4);
}

TEST_F(FlowTest, ASendThatMustStepAroundAClaimWaitsUntilItGoesThrough) {
  const Port idler = port_on(bus.path(), {.name = "idler"});
  Port stopped;
  stopped.attach(bus.path()).value();
  fill_to(kFlowRing - 4096);
  const std::uint64_t end = raw.header().last;
  raw.claim(stopped.slot(), end, end + 256, end + 4000);
  const SendResult sent = sender.send(batch.make(1, next, 1));
  EXPECT_FALSE(sent.error) << sent.error.message();
  EXPECT_EQ(sent.taken, 1U);
}

TEST_F(WaitForRoom, IsNotEndedByAnInterruptFromBeforeIt) {
  sender.interrupt();
  const SendResult result = ended_by([&] {
    FrameBatch in(64, 256U << 10U);
    while (sender.receive(in).frames != 0) in.clear();
    while (idler.receive(in).frames != 0) in.clear();
  });
  EXPECT_FALSE(result.error) << result.error.message();
  EXPECT_EQ(result.taken, 1U);
}

/// Room for all of a batch is better, but not worth the whole patience.
TEST_F(WaitForRoom, OfABatchIsOverWhenOneFrameFits) {
  fill();
  const std::uint64_t full = raw.header().last;
  bus::store_relaxed(raw.slot(sender.slot()).position, full + 256 * kFlowRing);
  NumberedBatch frames(500);
  frames.fix_size(480);
  SendResult result;
  std::jthread waiter([&] { result = sender.send(frames.make(1, 0, 4)); });
  EXPECT_TRUE(eventually([&] { return somebody_waits(); }));
  bus::store_relaxed(raw.slot(idler.slot()).position, std::uint64_t{512});
  EXPECT_TRUE(eventually([&] { return bus::load_relaxed(raw.header().last) != full; }));
  EXPECT_EQ(bus::load_relaxed(raw.header().last), full + 512);
  EXPECT_EQ(stalls(), 0U);
  bus::store_relaxed(raw.slot(idler.slot()).position, full);
  waiter.join();
  EXPECT_EQ(result.taken, 4U);
}

/// A port that receives nothing only waits. It has caught up all the time.
TEST(FlowOfIdlers, APortThatOnlyWaitsIsHeededAgain) {
  const TempBus bus(
      BusOptions{.ring_bytes = kFlowRing, .flow = Flow::pause, .patience = milliseconds(1)});
  const RawBus raw(bus.path());
  for (const std::string way : {"waits", "polls", "has a level descriptor"}) {
    SCOPED_TRACE(way);
    Port port = port_on(bus.path());
    std::uint32_t& flags = raw.slot(port.slot()).flags;
    bus::fetch_and(flags, ~bus::kFlagPause);
    if (way.starts_with("has")) {
      ASSERT_TRUE(port.level_descriptor());
    }
    EXPECT_TRUE(eventually([&] {
      if (way == "polls") {
        EXPECT_FALSE(port.prepare_wait().ready);
        port.finish_wait();
      } else if (way == "waits") {
        EXPECT_FALSE(port.wait(milliseconds(1)));
      }
      return (bus::load_relaxed(flags) & bus::kFlagPause) != 0;
    }));
  }
}

/// A port that reads after a repair that began the positions again reads, whatever it showed
/// before.
TEST(FlowOfIdlers, AfterARepairAPortIsJudgedByWhatItReadsFromThenOn) {
  constexpr milliseconds kPatience(20);
  const TempBus bus(
      BusOptions{.ring_bytes = kFlowRing, .flow = Flow::pause, .patience = kPatience});
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  const Port reader = port_on(bus.path());
  bus::PortSlot& slot = raw.slot(reader.slot());
  NumberedBatch batch(1000);
  batch.fix_size(990);
  const auto show_ring = [&](std::uint64_t last) {
    raw.header().last = last;
    raw.header().first = last - kFlowRing + 512;
    slot.position = raw.header().first;
    raw.slot(sender.slot()).position = last + 256 * kFlowRing;
  };
  show_ring(100 * kFlowRing);
  EXPECT_EQ(sender.try_send(batch.make(1, 0, 1)).taken, 0U);
  show_ring(2 * kFlowRing);
  raw.header().epoch += 1;
  for (unsigned looks = 0; looks < 12; ++looks) {  // three times the patience
    EXPECT_EQ(sender.try_send(batch.make(1, 0, 1)).taken, 0U) << looks;
    std::this_thread::sleep_for(kPatience / 4);
    slot.position += 2048;
    raw.header().last += 2048;
    raw.header().first += 2048;
  }
  EXPECT_EQ(slot.stalls, 0U);
}

// Flow control as it sees the slots of several ports: who holds a sender up, which of them is told,
// and for how long a dead one counts.

constexpr std::uint64_t kSlotsRing = 64U << 10U;
constexpr unsigned kFlowSender = 200;

class FlowSlots : public testing::Test {
 protected:
  FlowSlots() {
    raw_.header().slots_used = bus::kSlots;
    show_ring(100 * kSlotsRing);
  }
  /// The chain ends here, and the ring is full but for 512 bytes.
  void show_ring(std::uint64_t last) const {
    raw_.header().last = last;
    raw_.header().first = last - kSlotsRing + 512;
  }
  /// A port that listens, this far behind the oldest record.
  bus::PortSlot& listener(unsigned slot, std::uint64_t behind_first) const {
    bus::PortSlot& s = raw_.slot(slot);
    s.state = bus::slot_state(bus::SlotState::live, 1);
    s.flags = bus::kFlagUp | bus::kFlagPause;
    s.rung_position = 0;
    s.position = raw_.header().first + behind_first;
    return s;
  }
  void make_live(unsigned slot) const { ASSERT_TRUE(bus::take_liveness(life_.get(), slot)); }
  FlowControl flow(milliseconds patience) const {
    return {raw_.ring(), kFlowSender, raw_.fd(), patience};
  }
  std::uint32_t waits_for() const { return raw_.slot(kFlowSender).waits_for; }

  TempBus file_{small_ring()};
  RawBus raw_{file_.path()};
  UniqueFd life_{::open(file_.path().c_str(), O_RDWR | O_CLOEXEC)};
};

TEST_F(FlowSlots, TheSlowestOfSeveralIsTheOneThatIsToldWhereverItsSlotIs) {
  for (const auto& [slow, slowest] : {std::pair{3U, 70U}, std::pair{70U, 3U}}) {
    FlowControl control = flow(milliseconds(1000));
    listener(slow, 4096);
    listener(slowest, 1024);
    EXPECT_FALSE(control.admits(8192));
    EXPECT_EQ(waits_for(), slowest + 1);
    EXPECT_EQ(control.limit(), raw_.header().first + 1024);
    EXPECT_EQ(control.room(2048), 512U + 1024);
    raw_.slot(slowest).position = raw_.header().last;
    EXPECT_FALSE(control.admits(8192));
    EXPECT_EQ(waits_for(), slow + 1) << "that one is the slowest now";
    raw_.slot(slow).position = raw_.header().last;
    EXPECT_TRUE(control.admits(8192));
    EXPECT_EQ(waits_for(), 0U);
    EXPECT_EQ(control.pauses(), 1U);
  }
}

/// Both flags, and neither for itself.
TEST_F(FlowSlots, OnlyAPortThatIsUpAndAsksForItIsWaitedFor) {
  bus::PortSlot& s = listener(3, 0);
  for (const std::uint32_t flags : {0U, bus::kFlagUp, bus::kFlagPause}) {
    s.flags = flags;
    EXPECT_TRUE(flow(milliseconds(1000)).admits(8192)) << flags;
  }
  s.flags = bus::kFlagUp | bus::kFlagPause;
  EXPECT_FALSE(flow(milliseconds(1000)).admits(8192));
  s.state = bus::slot_state(bus::SlotState::attaching, 1);
  EXPECT_TRUE(flow(milliseconds(1000)).admits(8192));
}

TEST_F(FlowSlots, ADeadPortIsForgottenLongBeforeThePatienceIsOver) {
  constexpr milliseconds kPatience(200);
  const bus::PortSlot& dead = listener(3, 0);
  FlowControl control = flow(kPatience);
  while (!control.admits(8192)) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_LT(control.paused(), kPatience * 3 / 4) << "a look counts for a quarter at most";
  EXPECT_EQ(dead.flags, bus::kFlagUp);
  EXPECT_EQ(dead.stalls, 1U);
}

/// Its slot may be written by anybody. Of a record it has not left, no port can have read more than
/// the record has.
TEST_F(FlowSlots, APortThatOnlySaysThatItReadsOnInsideOfARecordIsOverrun) {
  constexpr milliseconds kPatience(20);
  bus::PortSlot& liar = listener(3, 0);
  make_live(3);
  FlowControl control = flow(kPatience);
  unsigned looks = 0;
  for (; looks < 200 && !control.admits(1024); ++looks) {
    std::this_thread::sleep_for(kPatience / 4);
    liar.read_inside += 2048;  // more than the next frame needs
  }
  EXPECT_LT(looks, 200U);
  EXPECT_EQ(liar.flags, bus::kFlagUp);
  EXPECT_EQ(liar.stalls, 1U);
}

/// A port that others ring further and further passes over what is not for it, though it shows an
/// older place.
TEST_F(FlowSlots, APortThatIsRungFurtherOnCountsAsOneThatReads) {
  constexpr milliseconds kPatience(20);
  bus::PortSlot& s = listener(3, 0);
  make_live(3);
  s.position = 64;
  FlowControl control = flow(kPatience);
  s.rung_position = raw_.header().first + 1024;
  for (unsigned looks = 0; looks < 12; ++looks) {  // three times the patience
    EXPECT_FALSE(control.admits(4096)) << looks;
    std::this_thread::sleep_for(kPatience / 4);
    s.rung_position += 4096;
    raw_.header().last += 4096;
    raw_.header().first += 4096;
  }
  EXPECT_EQ(s.stalls, 0U);
}

/// It is charged with those that are, but it is overrun only where its place is needed.
TEST_F(FlowSlots, APortThatIsBehindButNotInTheWayIsNotOverrun) {
  constexpr milliseconds kPatience(20);
  const bus::PortSlot& slowest = listener(3, 0);
  const bus::PortSlot& slow = listener(4, 4096);
  make_live(3);
  make_live(4);
  FlowControl control = flow(kPatience);
  for (unsigned looks = 0; looks < 200 && !control.admits(1024); ++looks)
    std::this_thread::sleep_for(kPatience / 4);
  EXPECT_EQ(slowest.stalls, 1U);
  EXPECT_EQ(slow.stalls, 0U);
  EXPECT_EQ(slow.flags, bus::kFlagUp | bus::kFlagPause);
}

/// Within one pause, what it reads must make room for the next frame.
TEST_F(FlowSlots, APortThatReadsLessThanTheNextFrameNeedsIsOverrun) {
  constexpr milliseconds kPatience(20);
  constexpr unsigned kReads = 20;
  bus::PortSlot& s = listener(3, 0);
  make_live(3);
  FlowControl control = flow(kPatience);
  unsigned looks = 0;
  for (; looks < kReads && !control.admits(8192); ++looks) {
    std::this_thread::sleep_for(kPatience / 4);
    s.position += 256;
  }
  EXPECT_LT(looks, kReads);
  EXPECT_EQ(s.stalls, 1U);
}

/// Each wait is short and it has moved since the last, but all of that is next to nothing.
TEST_F(FlowSlots, APortThatReadsNextToNothingInManyShortWaitsIsOverrun) {
  constexpr milliseconds kPatience(20);
  bus::PortSlot& s = listener(3, 0);
  make_live(3);
  raw_.header().first = raw_.header().last - kSlotsRing + 64;
  s.position = raw_.header().first;
  FlowControl control = flow(kPatience);
  for (unsigned pause = 0; pause < 20 && s.stalls == 0; ++pause) {
    for (unsigned looks = 0; looks < 3 && !control.admits(96); ++looks)
      std::this_thread::sleep_for(kPatience / 4);
    s.position += 64;
    EXPECT_TRUE(control.admits(96));
    raw_.header().last += 64;
  }
  EXPECT_EQ(s.stalls, 1U);
}

TEST_F(FlowSlots, WhatOneThreadSendsDoesNotEndThePauseOfAnother) {
  FlowControl control = flow(milliseconds(1000));
  listener(3, 0);
  control.begin_wait();
  EXPECT_FALSE(control.admits(8192));
  EXPECT_TRUE(control.admits(256));
  EXPECT_EQ(waits_for(), 4U);
  EXPECT_FALSE(control.admits(8192));
  EXPECT_EQ(control.pauses(), 1U);
  control.end_wait();
  EXPECT_EQ(waits_for(), 0U);
  EXPECT_FALSE(control.admits(8192));
  EXPECT_EQ(control.pauses(), 2U);
}

TEST_F(FlowSlots, ThePortInTheLastSlotIsWaitedForToo) {
  FlowControl control = flow(milliseconds(1000));
  listener(bus::kSlots - 1, 0);
  EXPECT_FALSE(control.admits(8192));
  EXPECT_EQ(waits_for(), bus::kSlots);
}

}  // namespace
}  // namespace shmif::test
