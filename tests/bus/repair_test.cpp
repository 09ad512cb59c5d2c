// Audit finds what a scribbler did, and repair joins what survived.

#include <gtest/gtest.h>

#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr std::uint32_t kFrames = 100;

/// A bus with a hundred frames in it, a reader that has read none of them, and a way to spoil it.
class Repair : public ::testing::Test {
 protected:
  void SetUp() override {
    NumberedBatch frames(200);
    for (std::uint32_t n = 0; n < kFrames; n += 10) {
      ASSERT_FALSE(sender_.send(frames.make(1, n, 10)).error);
    }
  }

  /// The position of frame number `n`.
  std::uint64_t position_of(std::uint64_t n) const {
    std::uint64_t p = raw_.header().first;
    while (raw_.ring().number_at(p) < n) p += raw_.ring().step(raw_.ring().word_at(p), p);
    return p;
  }

  std::vector<std::uint32_t> read_all() {
    std::vector<std::uint32_t> numbers;
    for (;;) {
      batch_.clear();
      const ReceiveResult got = reader_.receive(batch_);
      EXPECT_FALSE(got.error) << got.error.message();
      if (batch_.empty()) return numbers;
      for (const FrameView& f : batch_.frames()) {
        const auto n = check_numbered(f);
        EXPECT_TRUE(n) << "a torn frame";
        if (n) numbers.push_back(n->sequence);
      }
    }
  }

  RepairReport repair() {
    return Bus::open(bus_.path(), Access::read_write).value().repair().value();
  }
  AuditReport audit() const { return Bus::open(bus_.path()).value().audit(); }

  /// After a repair the bus is sound, and what is sent then arrives.
  void expect_traffic() {
    EXPECT_TRUE(audit().clean()) << audit().findings.front().what;
    NumberedBatch frames(200);
    ASSERT_FALSE(sender_.send(frames.make(2, 7, 1)).error);
    EXPECT_EQ(read_all(), std::vector<std::uint32_t>{7});
    EXPECT_TRUE(audit().clean());
    const PortCounters c = reader_.counters();
    EXPECT_EQ(c.rx_frames + c.lost_frames, raw_.ring().number_at(raw_.header().last));
  }

  TempBus bus_{BusOptions{.ring_bytes = 64U << 10U}};
  RawBus raw_{bus_.path()};
  Port sender_ = port_on(bus_.path(), {.name = "sender"});
  Port reader_ = port_on(bus_.path(), {.name = "reader"});
  FrameBatch batch_;
};

std::vector<std::uint32_t> all_but(std::uint32_t missing) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t n = 0; n < kFrames; ++n) {
    if (n != missing) numbers.push_back(n);
  }
  return numbers;
}

TEST_F(Repair, LosesOnlyTheFrameWhoseHeaderWasSpoiled) {
  raw_.ring().record(position_of(50)).word = 0x123456789;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(audit().findings.front().invariant, "I5");
  const RepairReport done = repair();
  EXPECT_TRUE(done.ring_rebuilt);
  EXPECT_EQ(done.frames_kept, kFrames - 1);
  EXPECT_EQ(done.epoch, 1U);
  EXPECT_EQ(read_all(), all_but(50));
  EXPECT_EQ(reader_.counters().lost_frames, 1U);
  expect_traffic();
}

TEST_F(Repair, FindsTheOldestFrameAgainWhenFirstWasSpoiled) {
  raw_.header().first = 0xdeadbeef;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

TEST_F(Repair, FindsTheEndAgainWhenLastWasSpoiled) {
  raw_.header().last = std::uint64_t{1} << 40U;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

TEST_F(Repair, DeliversNothingThatWasNeverSent) {
  // A batch that its writer did not live to commit: its second record stands whole behind the end.
  const std::uint64_t end = raw_.header().last;
  const std::uint64_t behind = end + bus::record_bytes(100);
  raw_.ring().record(behind).word = bus::word::frame(behind, 100);
  raw_.ring().record(behind).number = kFrames + 1;
  raw_.ring().record(position_of(50)).word = 0;
  EXPECT_EQ(repair().frames_kept, kFrames - 1);
  EXPECT_EQ(read_all(), all_but(50));
  expect_traffic();
}

TEST_F(Repair, KeepsOutOfTheClaimsOfLivingWriters) {
  const std::uint64_t end = raw_.header().last;
  raw_.claim(sender_.slot(), end, end, end + 4096);
  raw_.ring().record(position_of(50)).word = 0;
  repair();
  const std::uint64_t fresh = raw_.header().last;
  EXPECT_GE(fresh, end + 4096) << "EMPTY would be in the claim";
  EXPECT_EQ(read_all(), all_but(50));
  EXPECT_TRUE(audit().clean());
}

TEST_F(Repair, GoesOnAfterTheLastNumberWhenNothingSurvived) {
  std::memset(raw_.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw_.ring().bytes());
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(repair().frames_kept, 0U);
  EXPECT_TRUE(read_all().empty());
  EXPECT_TRUE(audit().clean());
  NumberedBatch frames(200);
  ASSERT_FALSE(sender_.send(frames.make(2, 7, 1)).error);
  EXPECT_EQ(read_all(), std::vector<std::uint32_t>{7});
}

TEST_F(Repair, LeavesASoundBusAlone) {
  const std::uint64_t last = raw_.header().last;
  const RepairReport done = repair();
  EXPECT_FALSE(done.ring_rebuilt);
  EXPECT_EQ(done.epoch, 0U);
  EXPECT_EQ(raw_.header().last, last);
  EXPECT_EQ(read_all(), all_but(kFrames));
}

}  // namespace
}  // namespace shmif::test
