// Readers that writers lap: inside of a record that frames share (I9), and again and again.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/ring_rig.hpp"

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

// What hostile words can do in a record that frames share (I9).

constexpr std::uint64_t kBody = 5 * bus::entry_bytes(60);

TEST_F(SharedRecord, OfARecordWithASpoiledLengthTheRestIsRefusedOnceAndTheChainGoesOn) {
  const std::uint32_t max = ring().max_frame();
  for (const bool lends : {false, true}) {
    for (const std::uint32_t value : {0U, 13U, 400U, max + 1, UINT32_MAX}) {
      for (std::uint32_t bad = 0; bad < 5; ++bad) {
        for (std::uint32_t read = 0; read <= bad; ++read) {
          SCOPED_TRACE(std::to_string(value) + " at " + std::to_string(bad) +
                       ", read before: " + std::to_string(read) + (lends ? ", lent" : ""));
          bus::RingReader reader = reader_of_all();
          Taking taking(reader, lends);
          const std::uint32_t base = next_;
          const std::uint64_t begin = append_equal(5);
          append_equal(2);
          if (read != 0) {
            ASSERT_EQ(taking.take(read), numbers(base, base + read));
          }
          entry(begin, bad) = value;
          std::vector<std::uint32_t> expected = numbers(base + read, base + bad);
          expected.push_back(base + 5);
          expected.push_back(base + 6);
          EXPECT_EQ(taking.take(64), expected);
          EXPECT_EQ(taking.status, ReadStatus::empty);
          EXPECT_EQ(taking.tally.corrupt, 1U);
          EXPECT_EQ(taking.tally.lost_frames, 5 - bad);
          EXPECT_EQ(taking.tally.frames, bad + 2);
          EXPECT_EQ(taking.tally.overruns, 0U);
          EXPECT_EQ(reader.position(), here());
        }
      }
    }
  }
}

TEST_F(SharedRecord, OfARecordWithASpoiledWordOrCountNothingIsDeliveredAndTheReaderGoesToTheEnd) {
  using Spoil = std::function<void(std::uint64_t)>;
  const struct {
    const char* what;
    Spoil spoil;
  } kDamages[] = {
      {"no frame", [&](std::uint64_t p) { record(p).frames = 0; }},
      {"one frame", [&](std::uint64_t p) { record(p).frames = 1; }},
      {"more frames than fit", [&](std::uint64_t p) { record(p).frames = 17; }},
      {"the most frames", [&](std::uint64_t p) { record(p).frames = 65535; }},
      {"a body of one entry", [&](std::uint64_t p) { record(p).word = bus::word::shared(p, 36); }},
      {"no body", [&](std::uint64_t p) { record(p).word = bus::word::shared(p, 0); }},
      {"too long a body", [&](std::uint64_t p) { record(p).word = bus::word::shared(p, 4068); }},
      {"both marks", [&](std::uint64_t p) { record(p).word |= bus::word::kVnet; }},
      {"another number", [&](std::uint64_t p) { record(p).number += 1; }},
  };
  for (const auto& damage : kDamages) {
    for (const std::uint32_t read : {0U, 3U}) {
      SCOPED_TRACE(std::string(damage.what) + ", read before: " + std::to_string(read));
      bus::RingReader reader = reader_of_all();
      const std::uint32_t base = next_;
      const std::uint64_t begin = append_equal(5);
      append_equal(2);
      ReadTally tally;
      if (read != 0) {
        ASSERT_EQ(take(reader, read, tally), numbers(base, base + read));
      }
      const bus::RecordHeader before = record(begin);
      damage.spoil(begin);
      FrameBatch in;
      EXPECT_EQ(reader.read(in, tally), ReadStatus::corrupt);
      EXPECT_EQ(in.size(), 0U);
      EXPECT_EQ(tally.corrupt, 1U);
      EXPECT_EQ(tally.lost_frames, 7 - read);
      EXPECT_EQ(
          tally.lost_bytes,
          here() - begin - (read == 0 ? 0 : bus::kRecordHeaderBytes + read * bus::entry_bytes(60)));
      EXPECT_EQ(reader.place(), (bus::RingReader::Place{here(), next_, 0, 0}));
      record(begin) = before;
    }
  }
}

TEST_F(SharedRecord, ACountThatIsNotTheOneOfTheEntriesIsFoundOut) {
  for (const std::uint16_t count : {std::uint16_t{3}, std::uint16_t{6}, std::uint16_t{16}}) {
    SCOPED_TRACE(count);
    bus::RingReader reader = reader_of_all();
    const std::uint32_t base = next_;
    const std::uint64_t begin = append_equal(5);
    append_equal(2);
    record(begin).frames = count;
    EXPECT_FALSE(rig_.clean());
    EXPECT_EQ(ring().contents_of(record(begin).word, begin).longest, 0U);
    FrameBatch in;
    ReadTally tally;
    EXPECT_EQ(reader.read(in, tally), ReadStatus::corrupt) << "the next number does not fit";
    EXPECT_EQ(whole_sequences(in), numbers(base, base + std::min<std::uint32_t>(count, 5)));
    EXPECT_EQ(tally.corrupt, count > 5 ? 2U : 1U);
    EXPECT_EQ(reader.position(), here());
    record(begin).frames = 5;
  }
}

/// The record under a reader that stopped inside of it becomes shorter than what it has passed.
TEST_F(SharedRecord, ABodyThatShrinksUnderAReaderDeliversNothingFromBehindIt) {
  for (const bool lends : {false, true}) {
    bus::RingReader reader = reader_of_all();
    Taking taking(reader, lends);
    const std::uint32_t base = next_;
    const std::uint64_t begin = append(Sizes(7, 508));
    const std::uint64_t body = 7 * bus::entry_bytes(508);
    append_equal(2);
    ASSERT_EQ(taking.take(5), numbers(base, base + 5));
    record(begin).word = bus::word::shared(begin, 512);
    EXPECT_EQ(taking.take(64), numbers(0, 0));
    EXPECT_EQ(taking.status, ReadStatus::corrupt);
    EXPECT_EQ(taking.tally.frames, 5U);
    EXPECT_EQ(taking.tally.corrupt, 2U) << "of the rest, and of what seems to be behind it";
    EXPECT_EQ(reader.position(), here());
    record(begin).word = bus::word::shared(begin, body);
  }
}

/// Lengths behind the body would lead it out of the ring, 144 times the longest frame further on.
TEST_F(SharedRecord, ABodyThatShrinksUnderAReaderDoesNotLeadItOutOfTheRing) {
  append(Sizes(7, 508));
  ReadTally tally;
  ASSERT_EQ(take(rig_.reader, 7 - 1, tally).size(), 6U);
  ASSERT_EQ(rig_.reader.place().offset, 3072U);
  for (std::uint64_t at = bus::kRecordHeaderBytes + 3072; at < ring().bytes(); at += 4) {
    *reinterpret_cast<std::uint32_t*>(ring().payload(at - bus::kRecordHeaderBytes)) =
        ring().max_frame();
  }
  record(0).frames = 150;
  record(0).word = bus::word::shared(0, 3000);
  FrameBatch in(512, 1U << 20U);
  EXPECT_EQ(rig_.reader.read(in, tally), ReadStatus::broken);
  EXPECT_EQ(in.size(), 0U);
  EXPECT_EQ(tally.lost_frames, 144U) << "as many as it is said to have had";
}

TEST_F(SharedRecord, ACountThatShrinksUnderAReaderIsCorrupt) {
  for (const std::uint16_t count : {std::uint16_t{2}, std::uint16_t{3}}) {
    bus::RingReader reader = reader_of_all();
    const std::uint64_t begin = append_equal(5);
    ReadTally tally;
    ASSERT_EQ(take(reader, 3, tally).size(), 3U);
    record(begin).frames = count;
    FrameBatch in;
    EXPECT_EQ(reader.read(in, tally), ReadStatus::corrupt);
    EXPECT_EQ(tally.lost_frames, 2U);
    EXPECT_EQ(in.size(), 0U);
    record(begin).frames = 5;
  }
}

TEST_F(SharedRecord, ACountThatShrinksUnderAReaderEndsTheRecordThere) {
  for (const bool lends : {false, true}) {
    SCOPED_TRACE(lends);
    bus::RingReader reader = reader_of_all();
    Taking taking(reader, lends);
    const std::uint32_t base = next_;
    const std::uint64_t begin = append_equal(5);
    append_equal(2);
    ASSERT_EQ(taking.take(2), numbers(base, base + 2));
    record(begin).frames = 4;
    EXPECT_EQ(taking.take(64), numbers(base + 2, base + 4));
    EXPECT_EQ(taking.status, ReadStatus::corrupt) << "the next number does not fit";
    EXPECT_EQ(taking.tally.frames, 4U);
    EXPECT_EQ(taking.tally.corrupt, 1U);
    EXPECT_EQ(taking.tally.lost_frames, 3U);
    record(begin).frames = 5;
  }
}

TEST_F(SharedRecord, AFrameLongerThanAnyOfTheBusIsRefusedAlsoIfTheBodyHoldsIt) {
  const std::uint32_t too_long = ring().max_frame() + 1;
  ASSERT_LT(bus::entry_bytes(too_long), 6 * bus::entry_bytes(508));
  for (const bool lends : {false, true}) {
    SCOPED_TRACE(lends);
    bus::RingReader reader = reader_of_all();
    Taking taking(reader, lends);
    const std::uint32_t base = next_;
    const std::uint64_t begin = append(Sizes(7, 508));
    append_equal(2);
    entry(begin, 1, 508) = too_long;
    EXPECT_EQ(taking.take(64), (std::vector{base, base + 7, base + 8}));
    EXPECT_EQ(taking.tally.frames, 3U);
    EXPECT_EQ(taking.tally.corrupt, 1U);
    EXPECT_EQ(taking.tally.lost_frames, 6U);
  }
}

/// However its header changes, each number is counted once.
TEST_F(SharedRecord, ARecordThatBecomesItsOwnUnderAReaderIsOwnOnlyFromThereOn) {
  const std::uint64_t begin = append_equal(5);
  ReadTally tally;
  ASSERT_EQ(take(mine_, 3, tally), numbers(0, 3));
  record(begin).slot = kMe;
  EXPECT_EQ(take(mine_, 64, tally), numbers(0, 0));
  EXPECT_EQ(tally.frames, 3U);
  EXPECT_EQ(tally.own, 2U);
  EXPECT_EQ(tally.lost_frames, 0U);
}

/// An entry ends at a multiple of four bytes, also the last one.
TEST_F(SharedRecord, AnEntryWhosePaddingLeavesTheBodyIsNone) {
  const std::uint32_t body = 2 * bus::entry_bytes(61) - 1;
  for (const bool lends : {false, true}) {
    bus::RingReader reader = reader_of_all();
    Taking taking(reader, lends);
    const std::uint32_t base = next_;
    const std::uint64_t begin = append_equal(2, 61);
    record(begin).word = bus::word::shared(begin, body);
    ASSERT_FALSE(rig_.clean());
    EXPECT_EQ(ring().entry_at(begin, 68, body), 0U);
    EXPECT_EQ(taking.take(64), numbers(base, base + 1));
    EXPECT_EQ(taking.tally.corrupt, 1U);
    EXPECT_EQ(taking.tally.lost_frames, 1U);
    record(begin).word = bus::word::shared(begin, body + 1);
  }
}

}  // namespace
}  // namespace shmif::test
