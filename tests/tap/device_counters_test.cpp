#include "tap/device_counters.hpp"

#include <gtest/gtest.h>

namespace shmif::tap {
namespace {

TEST(DeviceCounters, EachStandsUnderItsNameAndCorruptFramesAreThoseOfBothDirections) {
  DeviceCounts counts;
  counts.sent_frames.add(1);
  counts.sent_bytes.add(2);
  counts.received_frames.add(3);
  counts.received_bytes.add(4);
  counts.dropped_down.add(5);
  counts.dropped_full.add(6);
  counts.corrupt_sent.add(70);
  counts.corrupt_received.add(700);
  counts.missed.add(8);
  counts.missed.add();
  const DeviceCounters all = counts.snapshot();
  EXPECT_EQ(all.sent_frames, 1U);
  EXPECT_EQ(all.sent_bytes, 2U);
  EXPECT_EQ(all.received_frames, 3U);
  EXPECT_EQ(all.received_bytes, 4U);
  EXPECT_EQ(all.dropped_down, 5U);
  EXPECT_EQ(all.dropped_full, 6U);
  EXPECT_EQ(all.dropped_corrupt, 770U);
  EXPECT_EQ(all.missed, 9U);
}

}  // namespace
}  // namespace shmif::tap
