// Long frames of one length for one address, whose records are alike (I10): what senders write
// about them, and what readers, audit and repair make of it.

#include <gtest/gtest.h>

#include "bus/repair/audit.hpp"
#include "tests/support/shared_record_rig.hpp"

namespace shmif::test {
namespace {

using bus::ReadStatus;
using bus::ReadTally;

constexpr std::size_t kAlike = 1000;

class AlikeRecords : public SharedRecord {
 protected:
  AlikeRecords() : SharedRecord({.ring_bytes = 4U << 20U}) {}
  static constexpr std::uint64_t kStep = bus::record_bytes(kAlike);

  /// Makes `mine_` the sender of a record.
  void make_own(std::uint64_t position) const {
    record(position).slot = kMe;
    record(position).incarnation = 1;
  }
  /// Takes all there is, in as many calls as that needs. Result: the frames that were whole.
  static std::vector<std::uint32_t> take_all(bus::RingReader& reader, bool lends,
                                             ReadTally& tally) {
    std::vector<std::uint32_t> all;
    ReadStatus status = ReadStatus::more;
    while (status == ReadStatus::more || status == ReadStatus::overrun) {
      FrameBatch in;
      std::size_t torn = 0;
      status = lends ? reader.lend(in, tally) : reader.read(in, tally);
      const std::vector<std::uint32_t> taken = whole_sequences(in);
      if (reader.lent() != 0) status = reader.release(tally, torn);
      all.insert(all.end(), taken.begin() + static_cast<std::ptrdiff_t>(torn), taken.end());
    }
    return all;
  }

  /// RecordHeader::frames of each record from `position` on.
  std::vector<unsigned> counts(std::uint64_t position) const {
    std::vector<unsigned> out;
    while (const std::uint64_t step = ring().step(ring().word_at(position), position)) {
      out.push_back(record(position).frames);
      position += step;
    }
    return out;
  }
};

TEST_F(AlikeRecords, SendersCountTheMostOfABatchThatStandTogether) {
  EXPECT_EQ(counts(append_equal(4, kAlike)), (std::vector{4U, 3U, 2U, 1U}));
  EXPECT_EQ(counts(append({kAlike})), (std::vector{0U}));
  EXPECT_EQ(counts(append({kAlike, 1001, kAlike})), (std::vector{0U, 0U, 0U})) << "lengths";
  EXPECT_EQ(counts(append({60, kAlike, kAlike, 900, 900, 900, 60, 60, kAlike, kAlike})),
            (std::vector{0U, 0U, 0U, 3U, 2U, 1U, 2U, 0U, 0U}))
      << "behind a short frame, between others, and in front of a shared record";
  const MacAddress one_then_other[] = {kMine, kMine, kForOthers, kForOthers, kForOthers};
  EXPECT_EQ(counts(append(Sizes(5, kAlike), one_then_other)), (std::vector{0U, 0U, 3U, 2U, 1U}))
      << "addresses";
}

TEST_F(AlikeRecords, EachReaderGetsEachFrameHoweverLittleRoomItHas) {
  for (const bool lends : {false, true}) {
    for (const std::size_t most : {1U, 2U, 3U, 10U, 64U}) {
      for (const std::size_t arena : {std::size_t{1100}, std::size_t{3 * 1008}, kAlike * 64}) {
        SCOPED_TRACE(testing::Message() << lends << ' ' << most << ' ' << arena);
        bus::RingReader reader = reader_of_all();
        const std::uint32_t first = next_;
        append_equal(10, kAlike);
        append({60, kAlike});
        Taking taking(reader, lends);
        std::vector<std::uint32_t> all;
        while (all.size() < 12) {
          const auto taken = taking.take(most, arena);
          ASSERT_FALSE(taken.empty());
          all.insert(all.end(), taken.begin(), taken.end());
        }
        EXPECT_EQ(all, numbers(first, next_));
        EXPECT_EQ(taking.tally.frames, 12U);
        EXPECT_EQ(taking.tally.bytes, 11 * kAlike + 60);
        EXPECT_EQ(taking.numbers_seen.back(), reader.next_number() - 1);
      }
    }
  }
}

TEST_F(AlikeRecords, AFrameThatIsLongerThanTheRoomIsCut) {
  append_equal(3, kAlike);
  FrameBatch in(8, 500);
  EXPECT_EQ(rig_.reader.read(in, rig_.tally), ReadStatus::more);
  ASSERT_EQ(in.size(), 1U);
  EXPECT_EQ(in.frames()[0].size(), 500U);
  EXPECT_EQ(in.frames()[0].true_bytes, kAlike);
}

TEST_F(AlikeRecords, PortsCountThoseForOthersAndTheirOwn) {
  append(Sizes(5, kAlike), {&kForOthers, 1});
  append(Sizes(4, kAlike), {&kMine, 1});
  const std::uint64_t own = append_equal(3, kAlike);
  for (std::uint64_t i = 0; i < 3; ++i) make_own(own + i * kStep);
  ReadTally tally;
  EXPECT_EQ(take(mine_, 64, tally), numbers(5, 9));
  EXPECT_EQ(tally.filtered, 5U);
  EXPECT_EQ(tally.own, 3U);
  EXPECT_EQ(tally.lost_frames + tally.corrupt, 0U);
}

/// A reader that is lapped among them keeps those that are left, and its count is exact.
TEST_F(AlikeRecords, AReaderThatIsLappedAmongThemGetsTheRest) {
  for (const bool lends : {false, true}) {
    for (std::uint64_t lapped = 1; lapped < 10; ++lapped) {
      SCOPED_TRACE((lends ? "lends " : "copies ") + std::to_string(lapped));
      bus::RingReader reader = reader_of_all();
      bus::RingReader newest = reader_of_all(true);
      const std::uint64_t begin = append_equal(10, kAlike);
      append({60});
      FrameBatch in(64);
      ReadTally tally;
      std::size_t torn = 0;
      const std::uint64_t before = rig_.raw.header().first;
      if (lends) {
        ASSERT_EQ(reader.lend(in, tally), ReadStatus::more);
        rig_.raw.header().first = begin + lapped * kStep;
        EXPECT_EQ(reader.release(tally, torn), ReadStatus::empty);
        EXPECT_EQ(torn, lapped);
      } else {
        rig_.raw.header().first = begin + lapped * kStep;
        EXPECT_EQ(reader.read(in, tally), ReadStatus::empty);
        EXPECT_EQ(whole_sequences(in),
                  numbers(next_ - 11 + static_cast<std::uint32_t>(lapped), next_));
      }
      EXPECT_EQ(tally.frames, 11 - lapped);
      EXPECT_EQ(tally.bytes, (10 - lapped) * kAlike + 60);
      EXPECT_EQ(tally.lost_frames, lapped);
      EXPECT_EQ(tally.lost_bytes, lapped * kStep);
      EXPECT_EQ(tally.corrupt, 0U);
      FrameBatch none;
      ReadTally of_newest;
      EXPECT_EQ(newest.read(none, of_newest), ReadStatus::overrun);
      EXPECT_EQ(of_newest.lost_frames, 11U);
      rig_.raw.header().first = before;
    }
  }
}

/// The same for those that are not delivered: they are counted in the same way.
TEST_F(AlikeRecords, APortThatIsLappedAmongThoseThatItDoesNotTakeCountsTheRest) {
  for (const bool own : {false, true}) {
    for (std::uint64_t lapped = 1; lapped < 10; ++lapped) {
      SCOPED_TRACE((own ? "own " : "filtered ") + std::to_string(lapped));
      ASSERT_TRUE(mine_.seek_end());
      const std::uint64_t begin = append(Sizes(10, kAlike), {&kForOthers, 1});
      for (std::uint64_t i = 0; i < 10 && own; ++i) make_own(begin + i * kStep);
      append({60});
      const std::uint64_t before = rig_.raw.header().first;
      FrameBatch in;
      ReadTally tally;
      std::size_t torn = 0;
      ASSERT_EQ(mine_.lend(in, tally), ReadStatus::more);
      rig_.raw.header().first = begin + lapped * kStep;
      EXPECT_EQ(mine_.release(tally, torn), ReadStatus::empty);
      EXPECT_EQ(torn, 0U);
      EXPECT_EQ(tally.frames, 1U);
      EXPECT_EQ(tally.own, own ? 10 - lapped : 0);
      EXPECT_EQ(tally.filtered, own ? 0 : 10 - lapped);
      EXPECT_EQ(tally.lost_frames, lapped);
      rig_.raw.header().first = before;
    }
  }
}

/// A reader that stops in front of a count, and is lapped, reads anything there. What it then takes
/// for the rest of a run may be other frames: of another sender, for another port, or none at all.
TEST_F(AlikeRecords, AReaderBelievesNoCountThatMayBeOverwritten) {
  for (const bool lends : {false, true}) {
    for (const bool own : {false, true}) {  // the lapped ones, which `mine_` then does not deliver
      for (const std::uint16_t stale : {std::uint16_t{10}, std::uint16_t{40}}) {
        SCOPED_TRACE(testing::Message()
                     << (lends ? "lends " : "copies ") << (own ? "own " : "others' ") << stale);
        bus::RingReader all = reader_of_all();
        ASSERT_TRUE(mine_.seek_end());
        const std::uint32_t first = next_;
        const std::uint64_t begin = append(Sizes(2, kAlike), {own ? &kForOthers : &kMine, 1});
        append(Sizes(8, kAlike), {own ? &kMine : &kForOthers, 1});
        if (own) make_own(begin);
        const std::uint64_t before = rig_.raw.header().first;
        record(begin).frames = stale;  // overwritten, after the reader has seen the word
        rig_.raw.header().first = begin + 2 * kStep;
        for (bus::RingReader* reader : {&mine_, &all}) {
          ReadTally tally;
          const bool filters = reader == &mine_ && !own;
          EXPECT_EQ(take_all(*reader, lends, tally),
                    filters ? std::vector<std::uint32_t>{} : numbers(first + 2, next_));
          EXPECT_EQ(tally.filtered, filters ? 8U : 0U);
          EXPECT_EQ(tally.frames, filters ? 0U : 8U);
          EXPECT_EQ(tally.own, 0U);
          EXPECT_EQ(tally.lost_frames, 2U);
          EXPECT_EQ(tally.corrupt, 0U);
          EXPECT_EQ(reader->position(), here());
        }
        rig_.raw.header().first = before;
      }
    }
  }
}

/// The chunk limit holds for them, too: a reader that copies too much at once is lapped meanwhile.
TEST_F(AlikeRecords, AReaderTakesNoMoreAtOnceThanAChunk) {
  for (const bool lends : {false, true}) {
    bus::RingReader all = reader_of_all();
    ASSERT_TRUE(mine_.seek_end());
    const std::uint64_t begin = append(Sizes(600, kAlike), {&kForOthers, 1});
    for (bus::RingReader* reader : {&all, &mine_}) {
      FrameBatch in(1000, 1U << 20U);
      ReadTally tally;
      std::size_t torn = 0;
      EXPECT_EQ(lends ? reader->lend(in, tally) : reader->read(in, tally), ReadStatus::more);
      if (reader->lent() != 0) {
        EXPECT_EQ(reader->release(tally, torn), ReadStatus::more);
      }
      const std::uint64_t most = lends ? ring().bytes() / 16 : ring().bytes() / 128 + 4096;
      EXPECT_GT(reader->position(), begin + most);
      EXPECT_LE(reader->position(), begin + most + kStep);
      if (lends) break;  // the other goes on until there is something to lend
    }
  }
}

/// Senders that make room step over them, and stop at the record that they need.
TEST_F(AlikeRecords, ASenderFreesNoMoreOfThemThanWithoutCounts) {
  std::vector<std::uint64_t> freed[2];
  for (const bool counts : {true, false}) {
    RingRig rig;
    SizedBatch batch;
    for (std::uint32_t i = 0; i < 60; ++i) {
      const std::uint64_t begin = rig.raw.header().last;
      ASSERT_EQ(rig.append(batch.make_equal(1, i, 7, kAlike), i), bus::AppendStatus::done);
      for (std::uint64_t k = 0; k < 7 && !counts; ++k)
        rig.raw.ring().record(begin + k * kStep).frames = 0;
      freed[counts ? 0 : 1].push_back(rig.raw.header().first);
    }
  }
  EXPECT_GT(freed[0].back(), 0U);
  EXPECT_EQ(freed[0], freed[1]);
}

/// On a bus that pauses, `first` must not pass what a port has yet to read, also among them (W1).
TEST_F(AlikeRecords, ASenderFreesNoneThatAPortHasYetToRead) {
  constexpr std::uint64_t kRun = 7;
  for (std::uint64_t read = 0; read <= kRun; ++read) {
    SCOPED_TRACE(read);
    RingRig rig;
    SizedBatch batch;
    const auto append_run = [&](std::uint64_t limit) {
      const std::uint64_t mine = rig.lock.acquire();
      const bus::AppendStatus status =
          rig.writer.append(mine, plan_batch(batch.make_equal(1, 0, kRun, kAlike)), 1, limit);
      rig.lock.release(mine);
      return status;
    };
    const std::uint64_t limit = kRun * kStep + read * kStep;  // in the second run, or at its ends
    bus::AppendStatus status = bus::AppendStatus::done;
    for (int i = 0; i < 20 && status == bus::AppendStatus::done; ++i) {
      status = append_run(limit);
      EXPECT_LE(rig.raw.header().first, limit);
    }
    EXPECT_EQ(status, bus::AppendStatus::full);
    EXPECT_EQ(append_run(limit + kRun * kStep), bus::AppendStatus::done);
    EXPECT_TRUE(rig.clean());
  }
}

/// A neighbour may write any count, but a sender that makes room still stops where a record begins.
TEST_F(AlikeRecords, AWrongCountLeadsNoSenderOutOfTheChain) {
  RingRig rig;
  SizedBatch batch;
  for (std::uint32_t i = 0; i < 20; ++i) {
    Sizes sizes(7, kAlike);
    sizes.push_back(700);
    ASSERT_EQ(rig.append(batch.make(1, 8 * i, sizes), i), bus::AppendStatus::done);
    if (i == 0) rig.raw.ring().record(0).frames = 9;
  }
  EXPECT_TRUE(rig.clean());
}

TEST_F(AlikeRecords, AuditFindsAnotherAddress) {
  const std::uint64_t begin = append_equal(3, kAlike);
  EXPECT_FALSE(bus::walk_chain(ring()).broken);
  ring().payload(begin + kStep)[5] ^= std::byte{1};
  EXPECT_EQ(bus::walk_chain(ring()).finding.invariant, "I10");
}

TEST_F(AlikeRecords, AuditFindsACountThatReachesPastTheEnd) {
  const std::uint64_t begin = append_equal(3, kAlike);
  record(begin + 2 * kStep).frames = 2;
  EXPECT_EQ(bus::walk_chain(ring()).finding.invariant, "I10");
}

/// A neighbour may write any count. It costs frames, and is counted; nothing else is read.
TEST_F(AlikeRecords, AWrongCountIsFoundBehindThem) {
  for (const unsigned count : {4U, 11U, 12U, 13U, 30U, 65535U}) {
    for (const bool lends : {false, true}) {
      SCOPED_TRACE(testing::Message() << count << (lends ? " lends" : " copies"));
      bus::RingReader reader = reader_of_all();
      const std::uint64_t begin = append_equal(10, kAlike);
      append({700, 60});
      record(begin).frames = static_cast<std::uint16_t>(count);
      Taking taking(reader, lends);
      std::size_t seen = 0;
      do seen += taking.take(64).size();
      while (taking.status == ReadStatus::more);
      const bool impossible = count * kStep > ring().bytes() / 4;
      EXPECT_EQ(taking.tally.corrupt, count < 10 || impossible ? 0U : 1U);
      EXPECT_EQ(seen, count < 10 || impossible ? 12U : 10U);
      EXPECT_EQ(reader.next_number(), next_);
      EXPECT_EQ(reader.place().position, here());
      append_equal(2, kAlike);
      EXPECT_EQ(taking.take(64).size(), 2U);
    }
  }
}

}  // namespace
}  // namespace shmif::test
