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

MacAddress some_mac(unsigned number) {
  return MacAddress::from_u64(0x02'00'00'00'00'00ULL + number);
}

void send_as_host(Port& port, MacAddress from) {
  std::array<std::byte, 60> bytes{};
  bytes.fill(std::byte{0xff});
  std::memcpy(bytes.data() + 6, from.bytes.data(), 6);
  const FrameView view(bytes);
  EXPECT_FALSE(port.send({&view, 1}).error);
}

TEST(PortName, OfADeadPortIsFreeAlsoForOneThatDoesNotCareForItsName) {
  const TempBus bus;
  const RawBus raw(bus.path());
  raw.slot(3).state = bus::slot_state(bus::SlotState::live, 1);
  std::strcpy(raw.slot(3).name, "port0");
  raw.header().slots_used = 4;
  EXPECT_EQ(port_on(bus.path()).name(), "port0");
}

/// It still lives, but is no longer in the way.
TEST(PortAddress, IsFreeForWhoWaitsWhenItsOwnerTakesAnother) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port first = port_on(bus.path(), {.mac = some_mac(1)});
  Port second({.mac = some_mac(1), .name_patience = std::chrono::seconds(10)});
  std::jthread changes([&] {
    // The other one has looked at least once when it has taken a slot and left the address.
    EXPECT_TRUE(eventually([&] { return bus::load_seq_cst(raw.header().slots_used) == 2; }));
    EXPECT_FALSE(first.set_mac(some_mac(2)));
  });
  ASSERT_TRUE(second.attach(bus.path()));
  EXPECT_EQ(second.mac(), some_mac(1));
}

/// Senders that remember whom its address reached before ask again.
TEST(PortAddress, OfANewPortIsToldToSendersBeforeItLives) {
  const TempBus bus;
  const RawBus raw(bus.path());
  const std::uint64_t before = raw.header().filter_changes;
  const auto owned = bus::take_slot(raw.ring(), raw.fd(), bus.path(), {});
  ASSERT_TRUE(owned);
  EXPECT_GT(raw.header().filter_changes, before);
}

/// A port sends for hosts behind it. One of them may have an address that was the port's own.
TEST(PortAddress, ThatWasThePortsOwnIsLearnedWhenAHostSendsFromItAgain) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port bridge = port_on(bus.path(), {.learn = true});
  send_as_host(bridge, some_mac(1));
  EXPECT_FALSE(bridge.set_mac(some_mac(1)));
  EXPECT_FALSE(bridge.set_mac(some_mac(2)));
  EXPECT_EQ(heard(bridge), 0U);
  EXPECT_FALSE(send_one(peer, some_mac(1)));
  EXPECT_EQ(heard(bridge), 0U);
  send_as_host(bridge, some_mac(1));
  EXPECT_FALSE(send_one(peer, some_mac(1)));
  EXPECT_EQ(heard(bridge), 1U);
}

/// A sender that reads the list meanwhile would miss an address that moves.
TEST(PortAddress, ThatStaysAmongTheOthersStaysInItsPlace) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port port = port_on(bus.path());
  const auto place_of = [&](MacAddress mac) {
    const auto& learned = raw.slot(port.slot()).learned;
    return std::find(std::begin(learned), std::end(learned), mac.to_u64()) - std::begin(learned);
  };
  EXPECT_FALSE(port.set_other_macs(std::array{some_mac(1), some_mac(2), some_mac(3)}));
  for (unsigned i = 1; i <= 3; ++i) EXPECT_EQ(place_of(some_mac(i)), i - 1);
  EXPECT_FALSE(port.set_other_macs(std::array{some_mac(3), some_mac(2)}));
  EXPECT_EQ(place_of(some_mac(2)), 1);
  EXPECT_EQ(place_of(some_mac(3)), 2);
  EXPECT_FALSE(port.set_other_macs(std::array{some_mac(4), some_mac(3), some_mac(2)}));
  EXPECT_EQ(place_of(some_mac(4)), 0) << "where there was room";
  EXPECT_EQ(place_of(some_mac(2)), 1);
  EXPECT_FALSE(port.set_other_macs(std::array{some_mac(3)}));
  EXPECT_EQ(place_of(some_mac(3)), 2);
  Port peer = port_on(bus.path());
  EXPECT_FALSE(send_one(peer, some_mac(3)));
  EXPECT_FALSE(send_one(peer, some_mac(2)));
  EXPECT_EQ(heard(port), 1U) << "behind the places that are vacant";
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

TEST(PortCounts, OfASendOnlyTheSleepsOfThatSendAreAdded) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  raw.lock_as(77);  // no such port
  EXPECT_FALSE(send_one(sender));
  const std::uint64_t sleeps = sender.counters().lock_sleeps;
  EXPECT_GT(sleeps, 0U);
  for (unsigned i = 0; i < 3; ++i) EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(sender.counters().lock_sleeps, sleeps) << "the lock was free";
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

/// What is for others, and comes in front of lent frames, stays with the loan until that ends.
TEST(PortCounts, ALoanOfAPortWithALevelDescriptorCountsEachFrameOnce) {
  const TempBus bus(small_ring());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  ASSERT_TRUE(port.level_descriptor());
  for (unsigned round = 1; round <= 2; ++round) {
    EXPECT_FALSE(send_one(sender, some_mac(99)));
    EXPECT_FALSE(send_one(sender));
    FrameBatch in;
    EXPECT_EQ(port.receive_in_place(in).frames, 1U);
    EXPECT_EQ(port.release(), 0U);
    const PortCounters counted = port.counters();
    EXPECT_EQ(counted.rx_frames, round);
    EXPECT_EQ(counted.filtered_frames, round);
    EXPECT_EQ(counted.lost_frames, 0U);
  }
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
