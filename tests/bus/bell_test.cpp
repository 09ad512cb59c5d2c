// The writers' side of the doorbell by itself: whom it finds, what it tells them, and that it rings
// each of several deep sleepers once.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "bus/doorbell.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr std::array kSleepers{3U, 70U, 255U};  // in three words of the bitmaps

class BellTest : public testing::Test {
 protected:
  BellTest() {
    broadcast_.fill(std::byte{0xff});
    raw_.header().slots_used = bus::kSlots;
    for (const unsigned slot : kSleepers) {
      raw_.slot(slot).state = bus::slot_state(bus::SlotState::live, 1);
      raw_.slot(slot).rung_position = bus::kAsleep;
    }
  }
  static void set(std::uint64_t* bits, unsigned slot) { bits[slot / 64] |= 1ULL << (slot % 64); }
  std::uint32_t rings(unsigned slot) const { return bus::load_seq_cst(raw_.slot(slot).futex); }
  bool wakes_deep() {
    const FrameView frame(broadcast_);
    return bell_.wake_deep({&frame, 1});
  }

  TempBus file_{small_ring()};
  RawBus raw_{file_.path()};
  bus::Bell bell_{raw_.ring(), 9, raw_.fd()};
  std::array<std::byte, 60> broadcast_{};
};

TEST_F(BellTest, EachDeepSleeperIsRungOnceForEachOfItsSleeps) {
  EXPECT_FALSE(wakes_deep()) << "nobody sleeps";
  std::uint32_t ticket = 10;
  for (const unsigned slot : kSleepers) {
    set(raw_.header().deep_sleepers, slot);
    raw_.slot(slot).deep_ticket = ticket++;
  }
  for (unsigned round = 1; round <= 3; ++round) {
    SCOPED_TRACE(round);
    EXPECT_TRUE(wakes_deep());
    EXPECT_FALSE(wakes_deep()) << "they are rung already";
    for (const unsigned slot : kSleepers) {
      EXPECT_EQ(rings(slot), round) << slot;
      EXPECT_TRUE(is_set(raw_.header().deep_sleepers, slot)) << "only the sleeper takes it back";
      ++raw_.slot(slot).deep_ticket;  // it sleeps again
    }
  }
  // One of them alone sleeps again, with the ticket that its neighbour had.
  EXPECT_TRUE(wakes_deep());
  raw_.slot(3).deep_ticket = raw_.slot(70).deep_ticket;
  EXPECT_TRUE(wakes_deep());
  EXPECT_EQ(rings(3), 5U);
  EXPECT_EQ(rings(70), 4U);
}

TEST_F(BellTest, SleepersLearnWhereTheBatchBeganAndWhetherTheyWereStillLooking) {
  for (const unsigned slot : kSleepers) set(raw_.header().sleepers, slot);
  set(raw_.header().sleepers, 9);   // the sender itself
  set(raw_.header().sleepers, 10);  // nobody's slot
  raw_.slot(70).rung_position = bus::kLooksForFrames;
  const FrameView frame(broadcast_);
  const bus::Wanted found = bell_.collect({&frame, 1}, 4096, 55);
  EXPECT_TRUE(found.any);
  for (unsigned slot = 0; slot < bus::kSlots; ++slot) {
    const bool sleeps = std::ranges::find(kSleepers, slot) != kSleepers.end();
    EXPECT_EQ(is_set(found.slots.data(), slot), sleeps) << slot;
    EXPECT_EQ(is_set(raw_.header().sleepers, slot), slot == 9 || slot == 10) << slot;
    EXPECT_EQ(raw_.slot(slot).rung_number, sleeps ? 55U : 0U) << slot;
  }
  EXPECT_EQ(raw_.slot(3).rung_position, 4096U);
  EXPECT_EQ(raw_.slot(70).rung_position, 4096U | bus::kRungEarly);
  EXPECT_EQ(raw_.slot(255).rung_position, 4096U);
  bell_.wake(found);
  for (const unsigned slot : kSleepers) EXPECT_EQ(rings(slot), 1U) << slot;
  const bus::Wanted again = bell_.collect({&frame, 1}, 8192, 56);
  EXPECT_FALSE(again.any);
  EXPECT_EQ(raw_.slot(3).rung_position, 4096U) << "of the batch that rang it";
}

TEST_F(BellTest, AfterARepairEverySlotIsRungWhateverItSays) {
  bus::wake_everybody(raw_.ring(), raw_.fd());
  for (unsigned slot = 0; slot < bus::kSlots; ++slot) EXPECT_EQ(rings(slot), 1U) << slot;
}

}  // namespace
}  // namespace shmif::test
