// Positions, frame numbers and counts that pass the widths at which something narrower would wrap.
// A bus that runs for years gets there; here it begins just before.

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "bus/ring/counts.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

namespace lock_word = bus::lock_word;

constexpr std::uint64_t kRing = 64U << 10U;
/// The positions end here: 2 GiB before 2^64, so that no sum of a few lengths overflows.
constexpr std::uint64_t kEndOfPositions = UINT64_MAX - 2 * bus::kMaxRingBytes;

struct Boundary {
  const char* name;
  std::uint64_t position;
  std::uint64_t number;
};

void PrintTo(const Boundary& b, std::ostream* out) {
  *out << b.name;
}

constexpr std::size_t kFrameBytes = 200;
constexpr std::uint64_t kRecordBytes = bus::record_bytes(kFrameBytes);
constexpr std::uint32_t kHistory = 100;  // frames that stand in the ring, half before the boundary

/// A bus that passes the boundary after kHistory / 2 frames, with two senders and a reader.
class Passing : public testing::TestWithParam<Boundary> {
 protected:
  Passing() : bus_(BusOptions{.ring_bytes = kRing}), raw_(bus_.path()) {
    start_ = (GetParam().position - kHistory / 2 * kRecordBytes) & ~std::uint64_t{31};
    number_ = GetParam().number - kHistory / 2;
    raw_.begin_at(start_, number_);
    frames_.fix_size(kFrameBytes);
    reader_ = port_on(bus_.path(), {.name = "reader"});
    for (Port& s : senders_) s = port_on(bus_.path());
  }

  /// Sends the next `count` frames, the senders taking turns.
  void send(std::uint32_t count) {
    for (; count > 0; --count) {
      Port& from = senders_[next_ % 2];
      ASSERT_FALSE(from.send(frames_.make(1, next_, 1)).error) << "frame " << next_;
      ++next_;
    }
  }
  /// What the reader gets, each checked: whole, and with the number that belongs to it.
  std::vector<std::uint32_t> read_all() {
    std::vector<std::uint32_t> sequences;
    for (;;) {
      batch_.clear();
      const ReceiveResult got = reader_.receive(batch_);
      EXPECT_FALSE(got.error) << got.error.message();
      if (batch_.empty()) return sequences;
      for (const FrameView& f : batch_.frames()) {
        const auto n = check_numbered(f);
        EXPECT_TRUE(n) << "a torn frame";
        if (!n) continue;
        EXPECT_EQ(f.number, number_ + n->sequence);
        sequences.push_back(n->sequence);
      }
    }
  }
  std::vector<std::uint32_t> sent(std::uint32_t from = 0) const {
    std::vector<std::uint32_t> all;
    for (std::uint32_t n = from; n < next_; ++n) all.push_back(n);
    return all;
  }
  std::uint64_t position_of(std::uint32_t sequence) const {
    return start_ + sequence * kRecordBytes;
  }
  RepairReport repair() const {
    return Bus::open(bus_.path(), Access::read_write).value().repair().value();
  }

  TempBus bus_;
  RawBus raw_;
  std::uint64_t start_ = 0;
  std::uint64_t number_ = 0;
  Port reader_;
  std::array<Port, 2> senders_;
  NumberedBatch frames_{kFrameBytes};
  FrameBatch batch_;
  std::uint32_t next_ = 0;
};

TEST_P(Passing, FramesCrossWholeInOrderAndOnceAndTheBusIsSound) {
  for (unsigned round = 0; round < 200; ++round) {
    send(10);
    ASSERT_EQ(read_all(), sent(next_ - 10));
  }
  EXPECT_GT(raw_.header().last, GetParam().position + 5 * kRing);
  EXPECT_TRUE(is_clean(bus_.audit()));
  EXPECT_EQ(bus_.info().frames, number_ + next_);
  EXPECT_EQ(bus_.info().generation, raw_.header().last / kRing);
  const PortCounters c = reader_.counters();
  EXPECT_EQ(c.rx_frames, next_);
  EXPECT_EQ(passed(c), next_);
  EXPECT_EQ(c.corrupt, 0U);
}

TEST_P(Passing, FramesThatShareRecordsCrossItForReadersThatStopInsideOfThem) {
  frames_.fix_size(61);
  std::uint32_t read = 0;
  for (unsigned round = 0; round < 300; ++round) {
    const std::uint32_t count = 2 + round % 30;
    const std::uint64_t begin = raw_.header().last;
    ASSERT_FALSE(senders_[round % 2].send(frames_.make(1, next_, count)).error);
    ASSERT_EQ(raw_.ring().frames_of(raw_.ring().word_at(begin), begin), count);
    next_ += count;
    while (read < next_) {
      FrameBatch few(1 + round % 7);
      ASSERT_NE(reader_.receive(few).frames, 0U);
      for (const FrameView& f : few.frames()) {
        ASSERT_EQ(check_numbered(f).value().sequence, read);
        ASSERT_EQ(f.number, number_ + read);
        ++read;
      }
    }
  }
  EXPECT_GT(raw_.header().last, GetParam().position + 4 * kRing);
  EXPECT_TRUE(is_clean(bus_.audit()));
  EXPECT_EQ(bus_.info().frames, number_ + next_);
  const PortCounters c = reader_.counters();
  EXPECT_EQ(c.rx_frames, next_);
  EXPECT_EQ(passed(c), next_);
  EXPECT_EQ(c.corrupt, 0U);
}

TEST_P(Passing, AnOverrunOfAReaderInsideOfARecordAcrossItIsCountedToTheFrame) {
  frames_.fix_size(61);
  const auto send_shared = [&] {
    ASSERT_FALSE(senders_[0].send(frames_.make(1, next_, 20)).error);
    next_ += 20;
  };
  send_shared();
  FrameBatch seven(7);
  ASSERT_EQ(reader_.receive(seven).frames, 7U);
  for (unsigned i = 0; i < 100; ++i) send_shared();
  const auto after = read_all();
  EXPECT_EQ(after, sent(after.front()));
  const PortCounters c = reader_.counters();
  EXPECT_EQ(c.overruns, 1U);
  EXPECT_EQ(c.lost_frames, after.front() - 7U);
  EXPECT_EQ(c.lost_bytes, after.front() / 20 * bus::record_bytes(20 * bus::entry_bytes(61)) -
                              bus::kRecordHeaderBytes - 7 * bus::entry_bytes(61));
  EXPECT_EQ(c.corrupt, 0U);
}

TEST_P(Passing, ARepairAcrossItKeepsTheSharedRecordsThatWereNotSpoiled) {
  frames_.fix_size(61);
  std::uint64_t spoiled = 0;
  for (unsigned record = 0; record < 8; ++record) {
    if (record == 5) spoiled = raw_.header().last;
    ASSERT_FALSE(senders_[0].send(frames_.make(1, next_, 20)).error);
    next_ += 20;
  }
  FrameBatch seven(7);
  ASSERT_EQ(reader_.receive(seven).frames, 7U);
  raw_.ring().record(spoiled).frames = 21;
  EXPECT_EQ(repair().frames_kept, 140U);
  auto expected = sent(7);
  std::erase_if(expected, [](std::uint32_t n) { return n / 20 == 5; });
  EXPECT_EQ(read_all(), expected);
  EXPECT_EQ(reader_.counters().lost_frames, 20U);
  EXPECT_TRUE(is_clean(bus_.audit()));
}

TEST_P(Passing, AnOverrunAcrossItIsCountedToTheFrame) {
  send(kHistory / 2 - 10);
  const auto before = read_all();
  send(1000);
  const auto after = read_all();
  EXPECT_EQ(after.back(), next_ - 1);
  const PortCounters c = reader_.counters();
  EXPECT_EQ(c.overruns, 1U);
  EXPECT_EQ(c.lost_frames, next_ - before.size() - after.size());
  EXPECT_EQ(c.lost_bytes, position_of(after.front()) - position_of(kHistory / 2 - 10));
}

TEST_P(Passing, AClaimThatStandsAcrossItIsSteppedAroundForLaps) {
  const Port stopped = port_on(bus_.path());
  const std::uint64_t begin = position_of(kHistory / 2) - 1024;
  raw_.claim(stopped.slot(), begin, begin, begin + 2048);
  for (unsigned round = 0; round < 100; ++round) {
    send(10);
    ASSERT_EQ(read_all(), sent(next_ - 10));
  }
  const AuditReport report = bus_.audit();
  EXPECT_TRUE(is_clean(report));
  EXPECT_GT(report.pads, 0U);
}

TEST_P(Passing, TheLockOfADeadWriterIsTakenOver) {
  for (unsigned round = 0; round < 20; ++round) {
    raw_.lock_as(77);  // nobody
    send(5);
    ASSERT_EQ(read_all(), sent(next_ - 5));
  }
  EXPECT_EQ(bus_.info().takeovers_dead, 20U);
}

TEST_P(Passing, AuditNamesASpoiledFrameAndRepairLosesOnlyThat) {
  constexpr std::uint32_t kSpoiled = kHistory / 2;  // the first one behind the boundary
  send(kHistory);
  raw_.ring().record(position_of(kSpoiled)).word = 0x123456789;
  const AuditReport found = bus_.audit();
  ASSERT_FALSE(found.clean());
  EXPECT_NE(found.findings[0].what.find(std::to_string(position_of(kSpoiled))), std::string::npos)
      << found.findings[0].what;
  EXPECT_EQ(repair().frames_kept, kHistory - 1);
  auto expected = sent();
  std::erase(expected, kSpoiled);
  EXPECT_EQ(read_all(), expected);
  EXPECT_TRUE(is_clean(bus_.audit()));
  send(10);
  EXPECT_EQ(read_all(), sent(kHistory));
  EXPECT_EQ(reader_.counters().lost_frames, 1U);
}

TEST_P(Passing, RepairFindsFirstAndLastAgain) {
  send(kHistory);
  for (std::uint64_t* word : {&raw_.header().first, &raw_.header().last}) {
    bus::store_seq_cst(*word, std::uint64_t{12345});  // where no record can begin
    EXPECT_FALSE(bus_.audit().clean());
    EXPECT_EQ(repair().frames_kept, kHistory);
    EXPECT_TRUE(is_clean(bus_.audit()));
  }
  EXPECT_EQ(read_all(), sent());
  send(10);
  EXPECT_EQ(read_all(), sent(kHistory));
  EXPECT_EQ(reader_.counters().lost_frames, 0U);
}

TEST_P(Passing, AFollowerAndALatePortHearTheWholeHistory) {
  send(kHistory);
  Follower follower = Follower::open(bus_.path(), Start::oldest).value();
  Port late = port_on(bus_.path(), {.start = Start::oldest});
  std::size_t followed = 0;
  std::size_t heard = 0;
  for (unsigned i = 0; i < 10; ++i) {
    batch_.clear();
    followed += follower.receive(batch_).frames;
    batch_.clear();
    heard += late.receive(batch_).frames;
  }
  EXPECT_EQ(followed, kHistory);
  EXPECT_EQ(heard, kHistory);
}

INSTANTIATE_TEST_SUITE_P(
    LongRun, Passing,
    testing::Values(Boundary{"TwoTo32", 1ULL << 32U, 1ULL << 32U},
                    Boundary{"HalfOfWhatAPadKnows", 1ULL << 38U, 1ULL << 31U},
                    Boundary{"AllThatAPadKnows", 1ULL << 39U, 1ULL << 32U},
                    Boundary{"HalfOfWhatAFrameKnows", 1ULL << 45U, 1ULL << 40U},
                    Boundary{"AllThatAFrameKnows", 1ULL << 46U, 1ULL << 53U},
                    Boundary{"TwoTo62", 1ULL << 62U, 1ULL << 62U},
                    Boundary{"TwoTo63", 1ULL << 63U, 1ULL << 63U},
                    Boundary{"NearTheEnd", kEndOfPositions - 64 * kRing, UINT64_MAX - 10'000}),
    [](const auto& boundary) { return std::string(boundary.param.name); });

TEST(LongRun, WherePositionsEndABusSaysCorruptInsteadOfWrapping) {
  const TempBus bus(BusOptions{.ring_bytes = kRing});
  const RawBus raw(bus.path());
  raw.begin_at((kEndOfPositions - kRing) & ~std::uint64_t{31}, 7);
  Port sender = port_on(bus.path());
  Port reader = port_on(bus.path());
  NumberedBatch frames(1000);
  frames.fix_size(1000);
  std::uint32_t sent = 0;
  std::error_code error;
  std::uint64_t heard = 0;
  FrameBatch batch;
  for (; !error && sent < 1000; ++sent) {
    error = sender.send(frames.make(1, sent, 1)).error;
    batch.clear();
    heard += reader.receive(batch).frames;
  }
  EXPECT_EQ(error, Errc::corrupt);
  EXPECT_EQ(heard, sent - 1) << "and all before that arrived";
  EXPECT_FALSE(bus.audit().clean());
}

TEST(LongRun, WherePositionsAreUsedUpARepairBeginsThemAnew) {
  const TempBus bus(BusOptions{.ring_bytes = kRing});
  const RawBus raw(bus.path());
  raw.begin_at((kEndOfPositions - kRing) & ~std::uint64_t{31}, 7);
  Port sender = port_on(bus.path());
  Port reader = port_on(bus.path());
  Port slow = port_on(bus.path());
  NumberedBatch frames(1000);
  frames.fix_size(1000);
  FrameBatch batch;
  std::uint32_t sent = 0;
  for (; !sender.send(frames.make(1, sent, 1)).error; ++sent) {
    ASSERT_LT(sent, 1000U);
    batch.clear();
    EXPECT_FALSE(reader.receive(batch).error);
  }
  ASSERT_TRUE(Bus::open(bus.path(), Access::read_write).value().repair());
  EXPECT_TRUE(is_clean(bus.audit()));
  for (unsigned n = 0; n < 1000; ++n) {  // many laps
    ASSERT_FALSE(sender.send(frames.make(1, sent + n, 1)).error);
    batch.clear();
    ASSERT_EQ(reader.receive(batch).frames, 1U) << n;
    EXPECT_EQ(check_numbered(batch.frames()[0])->sequence, sent + n);
  }
  EXPECT_EQ(reader.counters().lost_frames, 0U);
  EXPECT_EQ(passed(reader.counters()), sent + 1000U);
  batch.clear();
  EXPECT_FALSE(slow.receive(batch).error);  // it had read nothing, and its place is gone
  const PortCounters c = slow.counters();
  EXPECT_TRUE(c.lost_is_lower_bound() || passed(c) >= sent) << passed(c);
  EXPECT_TRUE(is_clean(bus.audit()));
}

TEST(LongRun, AnOverrunByMoreFramesThan32BitsCountIsCountedExactly) {
  const TempBus bus(BusOptions{.ring_bytes = kRing});
  const RawBus raw(bus.path());
  Port reader = port_on(bus.path());
  raw.begin_at(5ULL << 40U, 3ULL << 33U);  // all that came by while the reader slept
  FrameBatch batch;
  EXPECT_EQ(reader.receive(batch).lost, 3ULL << 33U);
  EXPECT_EQ(reader.counters().lost_frames, 3ULL << 33U);
  EXPECT_EQ(reader.counters().lost_bytes, 5ULL << 40U);
  EXPECT_EQ(bus.info().ports.at(0).lost_frames, 3ULL << 33U);
}

TEST(LongRun, CountersOfAPortPass32BitsAndComeNear63) {
  for (const std::uint64_t start : {(1ULL << 32U) - 2, (1ULL << 63U) - 2}) {
    bus::Counts counts;
    bus::PortSlot slot{};
    bus::ReadTally tally;
    tally.frames = tally.bytes = tally.own = tally.filtered = start;
    tally.overruns = tally.lost_frames = tally.lost_bytes = tally.corrupt = start;
    counts.add(tally, slot);
    tally = {4, 4, 4, 4, 4, 4, 4, 4};
    counts.add(tally, slot);
    const PortCounters c = counts.get();
    for (const std::uint64_t value :
         {c.rx_frames, c.rx_bytes, c.own_frames, c.filtered_frames, c.overruns, c.lost_frames,
          c.lost_bytes, c.corrupt, slot.rx_frames, slot.rx_bytes, slot.own_frames,
          slot.filtered_frames, slot.overruns, slot.lost_frames, slot.lost_bytes, slot.corrupt}) {
      EXPECT_EQ(value, start + 4);
    }
  }
}

TEST(LongRun, TheLocksCountPassesEveryWidthAndWrapsAtItsOwn) {
  for (const std::uint64_t count : {(1ULL << 32U) - 3, (1ULL << 53U) - 3, (1ULL << 54U) - 3}) {
    SCOPED_TRACE(count);
    const TempBus bus(BusOptions{.ring_bytes = kRing});
    const RawBus raw(bus.path());
    bus::store_seq_cst(raw.header().lock, count << lock_word::kSlotBits);
    Port sender = port_on(bus.path());
    Port other = port_on(bus.path());
    NumberedBatch frames(60);
    for (std::uint32_t n = 0; n < 10; ++n) {
      if (n % 2 == 1) raw.lock_as(77);  // a holder that is gone
      const std::uint64_t before = bus::load_seq_cst(raw.header().lock);
      ASSERT_FALSE((n % 3 == 0 ? sender : other).send(frames.make(1, n, 1)).error);
      EXPECT_TRUE(lock_word::is_free(raw.header().lock));
      EXPECT_EQ(lock_word::acquisitions(bus::load_seq_cst(raw.header().lock)),
                (lock_word::acquisitions(before) + 1) % (1ULL << 54U));
    }
    EXPECT_EQ(bus.info().frames, 10U);
    EXPECT_EQ(bus.info().takeovers_dead, 5U);
    EXPECT_TRUE(is_clean(bus.audit()));
  }
}

TEST(LongRun, CountsOfTakeoversAndRepairsPass32BitsAndComeNear63) {
  for (const std::uint64_t count : {(1ULL << 32U) - 2, (1ULL << 63U) - 2}) {
    SCOPED_TRACE(count);
    const TempBus bus(BusOptions{.ring_bytes = kRing});
    const RawBus raw(bus.path());
    bus::BusHeader& h = raw.header();
    for (std::uint64_t* word :
         {&h.takeovers, &h.takeovers_dead, &h.repairs, &h.epoch, &h.claims_freed})
      *word = count;
    Port sender = port_on(bus.path());
    Port reader = port_on(bus.path());
    const Port idle = port_on(bus.path());
    NumberedBatch frames(60);
    FrameBatch batch;
    for (std::uint32_t n = 0; n < 4; ++n) {
      raw.lock_as(77);
      ASSERT_FALSE(sender.send(frames.make(1, n, 1)).error);
      // A claim is seen after each takeover, or the next batch would go over it.
      const std::uint64_t begin = raw.header().last + 64;
      raw.claim(idle.slot(), begin, begin, begin + 512);
      ASSERT_FALSE(sender.send(frames.make(1, 100 + n, 1)).error);
      EXPECT_GE(raw.header().last, begin + 512);
      bus::store_seq_cst(raw.slot(idle.slot()).claim_owner, std::uint64_t{0});
      batch.clear();
      EXPECT_EQ(reader.receive(batch).frames, 2U);
      bus::store_seq_cst(h.first, std::uint64_t{12345});
      ASSERT_TRUE(Bus::open(bus.path(), Access::read_write).value().repair());
    }
    EXPECT_EQ(bus.info().takeovers_dead, count + 4);
    EXPECT_EQ(bus.info().repairs, count + 4);
    EXPECT_GE(bus.info().epoch, count + 4);
    EXPECT_EQ(reader.counters().lost_frames, 0U);
  }
}

/// Sends one frame from a port in slot 0 of that incarnation, which then leaves.
void send_as(const TempBus& bus, const RawBus& raw, std::uint64_t incarnation) {
  raw.slot(0).state = bus::slot_state(bus::SlotState::free, incarnation - 1);
  Port port = port_on(bus.path());
  ASSERT_EQ(port.slot(), 0U);
  ASSERT_EQ(bus::incarnation_of(raw.slot(0).state), incarnation);
  NumberedBatch frames(60);
  ASSERT_FALSE(port.send(frames.make(1, 0, 1)).error);
  FrameBatch batch;
  EXPECT_EQ(port.receive(batch).frames, 0U) << "its own";
  EXPECT_EQ(port.counters().own_frames, 1U);
}

TEST(LongRun, ASlotsIncarnationPassesThe32BitsThatARecordKeepsOfIt) {
  for (const std::uint64_t incarnation : {1ULL << 32U, 1ULL << 55U}) {
    SCOPED_TRACE(incarnation);
    const TempBus bus(BusOptions{.ring_bytes = kRing});
    const RawBus raw(bus.path());
    send_as(bus, raw, incarnation - 1);
    send_as(bus, raw, incarnation);
    Port next = port_on(bus.path(), {.start = Start::oldest});
    ASSERT_EQ(next.slot(), 0U);
    FrameBatch batch;
    EXPECT_EQ(next.receive(batch).frames, 2U) << "of the slot's owners before";
  }
}

TEST(LongRun, TheFutexWordWrapsUnderAWaitingThread) {
  const TempBus bus(BusOptions{.ring_bytes = kRing});
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port sleeper = port_on(bus.path());
  bus::store_seq_cst(raw.slot(sleeper.slot()).futex, UINT32_MAX - 3);
  NumberedBatch frames(60);
  FrameBatch batch;
  const auto asleep = [&] {
    return bus::load_seq_cst(raw.header().sleepers[0]) >> sleeper.slot() & 1U;
  };
  // A sleeper that looks up just when the frame comes need not be rung. Eight times it was.
  for (std::uint32_t n = 0; sleeper.counters().wakeups < 8; ++n) {
    ASSERT_LT(n, 200U) << "nobody rings";
    std::jthread rings([&, n] {
      EXPECT_TRUE(eventually(asleep));
      EXPECT_FALSE(sender.send(frames.make(1, n, 1)).error);
    });
    EXPECT_TRUE(sleeper.wait(std::chrono::nanoseconds::max()));
    rings.join();
    batch.clear();
    EXPECT_EQ(sleeper.receive(batch).frames, 1U);
  }
  EXPECT_LT(bus::load_seq_cst(raw.slot(sleeper.slot()).futex), 100U) << "it wrapped";
}

TEST(LongRun, ADeepSleeperIsWokenAcrossTheWrapOfItsFutexWord) {
  const TempBus bus(BusOptions{.ring_bytes = kRing});
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port sleeper = port_on(bus.path());
  const auto deep = [&] {
    return bus::load_seq_cst(raw.header().deep_sleepers[0]) >> sleeper.slot() & 1U;
  };
  NumberedBatch frames(60);
  FrameBatch batch;
  bus::store_seq_cst(raw.slot(sleeper.slot()).futex, UINT32_MAX - 1);
  for (std::uint32_t n = 0; n < 2; ++n) {
    std::jthread waiter([&] { EXPECT_TRUE(sleeper.wait(std::chrono::nanoseconds::max())); });
    ASSERT_TRUE(eventually(deep));
    EXPECT_FALSE(sender.send(frames.make(1, n, 1)).error);
    waiter.join();
    batch.clear();
    EXPECT_EQ(sleeper.receive(batch).frames, 1U);
  }
  EXPECT_LT(bus::load_seq_cst(raw.slot(sleeper.slot()).futex), 100U) << "it wrapped";
}

}  // namespace
}  // namespace shmif::test
