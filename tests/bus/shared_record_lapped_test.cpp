// Readers that writers lap: inside of a record that frames share (I9), and again and again.

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/shared_record_rig.hpp"

namespace shmif::test {
namespace {

using bus::ReadStatus;
using bus::ReadTally;

TEST_F(SharedRecord, WhoWasLappedInsideOfItLostItsRestAndNotWhatWasRead) {
  for (const bool lends : {false, true}) {
    for (std::uint32_t read = 1; read < 10; ++read) {
      SCOPED_TRACE((lends ? "lends " : "copies ") + std::to_string(read));
      bus::RingReader reader = reader_of_all();
      Taking taking(reader, lends);
      const std::uint64_t begin = append_equal(10);
      append({60});
      const std::uint64_t oldest = append_equal(3);
      ASSERT_EQ(taking.take(read).size(), read);
      rig_.raw.header().first = oldest;
      FrameBatch in(64);
      std::size_t torn = 0;
      ReadTally tally;
      if (lends) {
        ASSERT_EQ(reader.lend(in, tally), ReadStatus::more);
        EXPECT_EQ(reader.release(tally, torn), ReadStatus::empty);
        EXPECT_EQ(torn, 10 - read + 1);
      } else {
        EXPECT_EQ(reader.read(in, tally), ReadStatus::empty);
        EXPECT_EQ(whole_sequences(in), numbers(next_ - 3, next_));
      }
      EXPECT_EQ(tally.frames, 3U);
      EXPECT_EQ(tally.bytes, 180U);
      EXPECT_EQ(tally.overruns, 1U);
      EXPECT_EQ(tally.lost_frames, 10 - read + 1);
      EXPECT_EQ(tally.lost_bytes,
                oldest - begin - bus::kRecordHeaderBytes - read * bus::entry_bytes(60));
      EXPECT_EQ(tally.corrupt, 0U);
      EXPECT_EQ(reader.next_number(), next_);
    }
  }
}

TEST_F(SharedRecord, WhoStandsInFrontOfItLosesItWithItsHeader) {
  const std::uint64_t begin = append_equal(10);
  const std::uint64_t oldest = append_equal(3);
  rig_.raw.header().first = oldest;
  ReadTally tally;
  EXPECT_EQ(take(rig_.reader, 64, tally), numbers(10, 13));
  EXPECT_EQ(tally.lost_frames, 10U);
  EXPECT_EQ(tally.lost_bytes, oldest - begin);
}

TEST_F(SharedRecord, WritersThatLapAReaderInsideOfItLeaveItAnExactCount) {
  bus::RingReader newest = reader_of_all(true);
  append_equal(10);
  ReadTally tally;
  ReadTally tally_of_newest;
  ASSERT_EQ(take(rig_.reader, 4, tally), numbers(0, 4));
  ASSERT_EQ(take(newest, 4, tally_of_newest), numbers(0, 4));
  for (unsigned i = 0; i < 200; ++i) append_equal(10);
  const std::uint64_t first = rig_.raw.header().first;
  const std::uint64_t oldest = ring().number_at(first);
  ASSERT_GT(oldest, 10U);
  const std::uint64_t read = bus::kRecordHeaderBytes + 4 * bus::entry_bytes(60);
  FrameBatch in;
  EXPECT_EQ(rig_.reader.read(in, tally), ReadStatus::overrun);
  EXPECT_EQ(in.size(), 0U);
  EXPECT_EQ(rig_.reader.place(), (bus::RingReader::Place{first, oldest, 0, 0}));
  EXPECT_EQ(tally.overruns, 1U);
  EXPECT_EQ(tally.lost_frames, oldest - 4);
  EXPECT_EQ(tally.lost_bytes, first - read);
  EXPECT_EQ(newest.read(in, tally_of_newest), ReadStatus::overrun);
  EXPECT_EQ(newest.place(), (bus::RingReader::Place{here(), next_, 0, 0}));
  EXPECT_EQ(tally_of_newest.lost_frames, next_ - 4);
  EXPECT_EQ(tally_of_newest.lost_bytes, here() - read);
  EXPECT_EQ(tally.corrupt + tally_of_newest.corrupt, 0U);
}

/// As many of the shortest frames as a ring can hold are lost, and known.
TEST_F(SharedRecord, AnOverrunByTheShortestFramesIsCountedToTheFrame) {
  for (unsigned i = 0; i < 40; ++i) append_equal(203, 14);
  const std::uint64_t oldest = ring().number_at(rig_.raw.header().first);
  ASSERT_GT(oldest, rig_.raw.header().first / bus::kRecordAlign) << "more than one in 32 bytes";
  FrameBatch in;
  EXPECT_EQ(rig_.reader.read(in, rig_.tally), ReadStatus::overrun);
  EXPECT_EQ(rig_.tally.lost_frames, oldest);
  EXPECT_EQ(rig_.tally.corrupt, 0U);
  EXPECT_EQ(rig_.reader.next_number(), oldest);
}

/// What is not possible is not believed: so many numbers do not fit between two places.
TEST_F(SharedRecord, AnOverrunByMoreFramesThanFitIsCorrupt) {
  append_equal(10);
  const std::uint64_t oldest = append_equal(10);
  const std::uint64_t most = bus::frames_in(oldest);
  for (const std::uint64_t number : {most, most + 1}) {
    bus::RingReader reader(ring(), nullptr, 0, 0, false);
    rig_.raw.header().first = 0;
    ASSERT_TRUE(reader.seek_oldest());
    record(0).word = 0;  // so that the walk does not meet `oldest`
    record(oldest).number = number;
    rig_.raw.header().first = oldest;
    FrameBatch in;
    ReadTally tally;
    EXPECT_EQ(reader.read(in, tally), number == most ? ReadStatus::overrun : ReadStatus::corrupt);
    EXPECT_EQ(tally.lost_frames, number == most ? most : 0U);
    EXPECT_EQ(tally.corrupt, number == most ? 0U : 1U);
    record(0).word = bus::word::shared(0, 10 * bus::entry_bytes(60));
  }
}

// Lapped again and again.

/// A ring of records of 1 KiB, of which an eighth holds eight.
class LappedAgain : public SharedRecord {
 protected:
  static constexpr std::uint64_t kRecord = 1024;
  static constexpr std::uint64_t kEighth = 8 * kRecord;

  void fill(unsigned records) {
    for (unsigned i = 0; i < records; ++i) append({kRecord - bus::kRecordHeaderBytes});
  }
  std::uint64_t first() const { return rig_.raw.header().first; }
  /// A read that finds that it was lapped.
  void expect_overrun(std::uint64_t to) {
    const std::uint64_t from = reader.position();
    const ReadTally before = tally;
    FrameBatch in;
    EXPECT_EQ(reader.read(in, tally), ReadStatus::overrun);
    EXPECT_EQ(in.size(), 0U);
    EXPECT_EQ(reader.position(), to);
    EXPECT_EQ(tally.overruns - before.overruns, 1U);
    EXPECT_EQ(tally.lost_bytes - before.lost_bytes, to - from);
    EXPECT_EQ(tally.lost_frames - before.lost_frames, (to - from) / kRecord);
    EXPECT_EQ(reader.next_number(), to / kRecord);
    EXPECT_EQ(tally.corrupt, 0U);
  }
  void read_to(std::uint64_t position) {
    while (reader.position() < position) {
      FrameBatch one(1);
      static_cast<void>(reader.read(one, tally));
      ASSERT_EQ(one.size(), 1U);
    }
  }

  bus::RingReader reader = reader_of_all();
  ReadTally tally;
};

TEST_F(LappedAgain, AReaderThatIsLappedSoonAgainLeavesAnEighthOutAndCountsIt) {
  fill(100);
  expect_overrun(first());
  fill(30);
  expect_overrun(first() + kEighth);
  fill(60);
  expect_overrun(first() + kEighth);
  const auto next = static_cast<std::uint32_t>(reader.next_number());
  EXPECT_EQ(take(reader, 64, tally), numbers(next, next_));
}

TEST_F(LappedAgain, AReaderThatIsLappedLaterGoesOnAtTheOldest) {
  fill(100);
  expect_overrun(first());
  read_to(first() + kEighth);
  fill(80);
  expect_overrun(first());
  read_to(first() + kEighth - kRecord);  // not quite an eighth
  fill(80);
  expect_overrun(first() + kEighth);
  read_to(first() + 2 * kEighth);
  fill(80);
  expect_overrun(first());
}

TEST_F(LappedAgain, ALapInTheMiddleOfWhatIsReadCountsAsOneToo) {
  fill(40);
  rig_.raw.header().first = 2 * kRecord;
  FrameBatch in;
  EXPECT_EQ(reader.read(in, tally), ReadStatus::more);
  EXPECT_EQ(tally.lost_frames, 2U);
  const std::uint64_t place = reader.position();
  ASSERT_EQ(in.size(), place / kRecord - 2);
  ASSERT_LT(place, 2 * kRecord + kEighth);
  rig_.raw.header().first = 20 * kRecord;
  expect_overrun(20 * kRecord + kEighth);
}

TEST_F(LappedAgain, WhereTheOldestIsNotOneOfTheRecordsThatItWalkedNothingOfThemIsDelivered) {
  fill(5);
  rig_.raw.header().first = kRecord + bus::kRecordAlign;
  expect_overrun(here());
}

TEST_F(LappedAgain, ItGoesOnAtTheFirstRecordThatBeginsThere) {
  fill(100);
  expect_overrun(first());
  append({100});  // from here on, records do not begin at multiples of 1 KiB
  const std::uint64_t shift = bus::record_bytes(100);
  fill(70);
  const std::uint64_t from = reader.position();
  const std::uint64_t oldest = first();
  ASSERT_EQ(oldest % kRecord, shift);
  FrameBatch in;
  rig_.raw.header().first = oldest - shift + kRecord + shift;
  EXPECT_EQ(reader.read(in, tally), ReadStatus::overrun);
  EXPECT_EQ(reader.position(), oldest + kRecord + kEighth);
  EXPECT_EQ(tally.lost_bytes, reader.position());
  EXPECT_GT(reader.position(), from);
}

TEST_F(LappedAgain, WhereLessThanAnEighthIsLeftItGoesToTheEnd) {
  fill(100);
  expect_overrun(first());
  fill(100);
  for (const std::uint64_t left : {7 * kRecord, std::uint64_t{0}}) {
    rig_.raw.header().first = here() - left;
    expect_overrun(here());
    fill(20);
  }
  read_to(here());
  EXPECT_FALSE(reader.ready());
}

TEST_F(LappedAgain, WhereTheChainIsBrokenWithinThatEighthItGoesToTheEnd) {
  fill(100);
  expect_overrun(first());
  fill(70);
  record(first() + 3 * kRecord).word = 0x5a5a5a5a;
  expect_overrun(here());
}

TEST_F(LappedAgain, ARepairMakesItForgetWhereItWasLapped) {
  fill(100);
  expect_overrun(first());
  ASSERT_TRUE(reader.find_place_again(tally));
  fill(80);
  expect_overrun(first());
}

/// Positions that began again say nothing of those before.
TEST(LappedAfterPositionsBeganAgain, ItGoesOnAtTheOldest) {
  constexpr unsigned kLaps = 1000;
  RingRig rig(small_ring(), 1U << 20U, 0);
  const auto append_laps = [&rig] {
    for (unsigned i = 0; i < kLaps; ++i) ASSERT_EQ(rig.append_one(60), bus::AppendStatus::done);
  };
  append_laps();
  FrameBatch in(kLaps, 1U << 20U);
  static_cast<void>(rig.reader.read_all(in, rig.tally));
  ASSERT_EQ(rig.tally.overruns, 1U);
  std::memset(rig.raw.ring().byte_at(0), 0, rig.raw.ring().bytes());
  rig.raw.begin_at(0, 0);
  ASSERT_TRUE(rig.reader.seek_oldest());
  ASSERT_EQ(rig.reader.position(), 0U);
  append_laps();
  const std::uint64_t oldest = rig.raw.ring().number_at(rig.raw.header().first);
  ReadTally tally;
  in.clear();
  static_cast<void>(rig.reader.read_all(in, tally));
  EXPECT_EQ(tally.overruns, 1U);
  EXPECT_EQ(tally.lost_frames, oldest) << "it left out more than was overwritten";
}

TEST_F(LappedAgain, WhoGoesOnAtTheNewestIsAlwaysAtTheEnd) {
  bus::RingReader newest = reader_of_all(true);
  for (int lap = 0; lap < 3; ++lap) {
    fill(70);
    FrameBatch in;
    ReadTally lost;
    EXPECT_EQ(newest.read(in, lost), ReadStatus::overrun);
    EXPECT_EQ(newest.position(), here());
    EXPECT_EQ(lost.lost_frames, 70U);
  }
}

/// A batch may hold frames of an earlier chunk.
TEST_F(LappedAgain, OfABatchOnlyWhatTheTornChunkBroughtIsTakenBack) {
  fill(40);
  FrameBatch in(64);
  ASSERT_EQ(reader.read(in, tally), ReadStatus::more);
  const auto whole = static_cast<std::uint32_t>(in.size());
  ASSERT_GT(whole, 2U);
  rig_.raw.header().first = reader.position() + 2 * kRecord;
  static_cast<void>(reader.read(in, tally));
  ASSERT_GT(in.size(), whole);
  std::vector<std::uint32_t> expected = numbers(0, whole);
  for (const std::uint32_t n : numbers(whole + 2, static_cast<std::uint32_t>(in.size()) + 2))
    expected.push_back(n);
  EXPECT_EQ(whole_sequences(in), expected);
}

}  // namespace
}  // namespace shmif::test
