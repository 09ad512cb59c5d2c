// Flow control as it sees the slots of several ports: who holds a sender up, which of them is told,
// and for how long a dead one counts.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <utility>

#include "bus/file/liveness.hpp"
#include "bus/ring/flow.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using bus::FlowControl;
using std::chrono::milliseconds;

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
