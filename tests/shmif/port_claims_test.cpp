// What a port has for itself, in states that come seldom: its name and address when another port
// gives them up, the addresses that it hears, and what it counts of its doorbells.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "bus/port/port_table.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

/// Senders that remember whom its address reached before ask again.
TEST(PortAddress, OfANewPortIsToldToSendersBeforeItLives) {
  const TempBus bus;
  const RawBus raw(bus.path());
  const std::uint64_t before = raw.header().filter_changes;
  const auto owned = bus::take_slot(raw.ring(), raw.fd(), bus.path(), {});
  ASSERT_TRUE(owned);
  EXPECT_GT(raw.header().filter_changes, before);
}

/// A batch counts once, whomever it wakes, and one that wakes nobody does not count.
TEST(PortCounts, EachBatchThatWakesAPortIsOneDoorbell) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  std::array sleepers{port_on(bus.path()), port_on(bus.path())};
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(sender.counters().doorbells, 0U);
  for (Port& port : sleepers) EXPECT_EQ(heard(port), 1U);
  for (unsigned round = 1; round <= 2; ++round) {
    for (Port& port : sleepers) EXPECT_FALSE(port.prepare_wait().ready);
    for (const Port& port : sleepers) {
      ASSERT_FALSE(is_set(raw.header().deep_sleepers, port.slot()));
    }
    for (unsigned i = 0; i < 3; ++i) EXPECT_FALSE(send_one(sender));
    EXPECT_EQ(sender.counters().doorbells, round);
    for (Port& port : sleepers) {
      port.finish_wait();
      EXPECT_EQ(port.counters().wakeups, round);
      EXPECT_EQ(heard(port), 3U);
    }
  }
}

/// Frames that it does not look at do not keep it awake, and those that it took do.
TEST(PortCounts, APortGoesDeepOnlyWhenNoFrameHasComeForAWhile) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  const auto goes_deep = [&] {
    EXPECT_FALSE(port.prepare_wait().ready);
    const bool deep = is_set(raw.header().deep_sleepers, port.slot());
    port.finish_wait();
    return deep;
  };
  ASSERT_TRUE(eventually([&] { return goes_deep(); }));
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(heard(port), 1U);
  EXPECT_FALSE(goes_deep());
}

/// What the next owner of the slot would otherwise find, and senders look at.
TEST(PortSleep, APortThatLeavesIsNoSleeperAnyMore) {
  const TempBus bus;
  const RawBus raw(bus.path());
  {
    Port port = port_on(bus.path());
    EXPECT_FALSE(port.prepare_wait().ready);
    EXPECT_TRUE(is_set(raw.header().sleepers, port.slot()));
  }
  for (const std::uint64_t bits : raw.header().sleepers) EXPECT_EQ(bits, 0U);
}

/// The next owner counts on from there, so no frame of the dead is taken for one of its own.
TEST(PortSlot, ThatIsTakenFromADeadPortKeepsTheCountOfItsOwners) {
  const TempBus bus;
  const RawBus raw(bus.path());
  raw.slot(0).state = bus::slot_state(bus::SlotState::live, 5);
  raw.header().slots_used = 1;
  const bus::Reaped reaped = bus::reap_if_dead(raw.ring(), 0, raw.fd());
  EXPECT_TRUE(reaped.slot);
  EXPECT_FALSE(reaped.claim);
  EXPECT_EQ(raw.slot(0).state, bus::slot_state(bus::SlotState::free, 5));
  for (std::uint64_t owner = 6; owner <= 7; ++owner) {
    const Port port = port_on(bus.path());
    ASSERT_EQ(port.slot(), 0U);
    EXPECT_EQ(raw.slot(0).state, bus::slot_state(bus::SlotState::live, owner));
  }
}

}  // namespace
}  // namespace shmif::test
