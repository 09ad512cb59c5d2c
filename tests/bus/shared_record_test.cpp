// Short frames that share a record (I9): which do, what a reader makes of them that stops between
// two, and what hostile words can do.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/ring_rig.hpp"
#include "tests/support/sized_batch.hpp"

namespace shmif::test {
namespace {

using bus::AppendStatus;
using bus::ReadStatus;
using bus::ReadTally;

using Sizes = std::vector<std::size_t>;

constexpr unsigned kMe = 20;
constexpr std::uint64_t kMyMac = 0x02'00'00'00'00'14;
const MacAddress kMine = MacAddress::from_u64(kMyMac);
const MacAddress kForOthers = MacAddress::from_u64(0x02'00'00'00'00'15);

/// Frames in each record from `position` on.
std::vector<std::uint64_t> frames_of_records(const bus::Ring& ring, std::uint64_t position) {
  std::vector<std::uint64_t> out;
  while (const std::uint64_t step = ring.step(ring.word_at(position), position)) {
    out.push_back(ring.frames_of(ring.word_at(position), position));
    position += step;
  }
  return out;
}

class SharedRecord : public testing::Test {
 protected:
  SharedRecord() {
    rig_.raw.slot(kMe).mac = kMyMac;
    EXPECT_TRUE(mine_.seek_end());
  }
  bus::RingReader reader_of_all(bool resume_newest = false) const {
    bus::RingReader reader(rig_.raw.ring(), nullptr, 0, 0, resume_newest);
    EXPECT_TRUE(reader.seek_end());
    return reader;
  }
  const bus::Ring& ring() const { return rig_.raw.ring(); }
  std::uint64_t here() const { return rig_.raw.header().last; }
  bus::RecordHeader& record(std::uint64_t position) const { return ring().record(position); }
  /// The length of entry `i` of a record whose frames all have `size`.
  std::uint32_t& entry(std::uint64_t position, std::uint64_t i, std::size_t size = 60) const {
    return *reinterpret_cast<std::uint32_t*>(ring().payload(position) + i * bus::entry_bytes(size));
  }
  /// Appends a batch. Result: where it begins.
  std::uint64_t append(const Sizes& sizes, std::span<const MacAddress> to = {&kBroadcast, 1}) {
    const std::uint64_t begin = here();
    EXPECT_EQ(rig_.append(batch_.make(1, next_, sizes, to), ++time_), AppendStatus::done);
    next_ += static_cast<std::uint32_t>(sizes.size());
    return begin;
  }
  std::uint64_t append_equal(std::size_t count, std::size_t size = 60) {
    return append(Sizes(count, size));
  }
  /// Reads up to `max` frames in calls of read(), which it expects to be enough.
  static std::vector<std::uint32_t> take(bus::RingReader& reader, std::size_t max,
                                         ReadTally& tally) {
    FrameBatch in(max);
    static_cast<void>(reader.read_all(in, tally));
    return whole_sequences(in);
  }

  RingRig rig_;
  bus::RingReader mine_{rig_.raw.ring(), &rig_.raw.slot(kMe), kMe, 1, false};
  SizedBatch batch_;
  std::uint32_t next_ = 0;
  std::uint64_t time_ = 100;
};

// Which frames share a record.

TEST_F(SharedRecord, ShortNeighboursOfABatchShareItAndNoOthers) {
  const struct {
    const char* what;
    Sizes sizes;
    std::vector<std::uint64_t> frames;  // of each record
  } kCases[] = {
      {"a batch of one", {60}, {1}},
      {"two", {60, 61}, {2}},
      {"the shortest", {14, 14, 14}, {3}},
      {"the longest that share", {512, 512}, {2}},
      {"one byte more", {513, 513}, {1, 1}},
      {"a long one before", {513, 60, 60}, {1, 2}},
      {"a long one between", {60, 513, 60}, {1, 1, 1}},
      {"a long one behind", {60, 512, 513}, {2, 1}},
      {"short ones round a long one", {14, 60, 1514, 60, 14, 15}, {2, 1, 3}},
      {"the body just filled", Sizes(8, 504), {8}},
      {"the body just filled, and one more", Sizes(9, 504), {8, 1}},
      {"four bytes too many", {504, 504, 504, 504, 504, 504, 504, 505}, {7, 1}},
      {"four bytes too many, and one more", {504, 504, 504, 504, 504, 504, 504, 505, 14}, {7, 2}},
      {"as many as fit", Sizes(203, 14), {203}},
      {"one more than fit", Sizes(204, 14), {203, 1}},
      {"two more than fit", Sizes(205, 14), {203, 2}},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.what);
    const std::uint64_t begin = append(c.sizes);
    EXPECT_EQ(frames_of_records(ring(), begin), c.frames);
    EXPECT_EQ(here() - begin, bus::batch_bytes(batch_.make(1, 0, c.sizes)));
  }
  EXPECT_TRUE(is_clean(rig_.file.audit()));
}

TEST_F(SharedRecord, AFrameAloneHasARecordAsBefore) {
  append_equal(3);  // leaves a count, and a lap later the record of a frame alone lies over it
  while (here() % ring().bytes() != 0 || here() == 0) {
    const std::uint64_t left = ring().bytes() - here() % ring().bytes();
    append({std::min<std::uint64_t>(left, 1056) - bus::kRecordHeaderBytes});
  }
  const std::uint64_t begin = append({60});
  const bus::RecordHeader& r = record(begin);
  EXPECT_EQ(r.word, bus::word::frame(begin, 60));
  EXPECT_EQ(r.frames, 0U);
  EXPECT_EQ(here() - begin, bus::record_bytes(60));
  EXPECT_EQ(ring().frames_of(r.word, begin), 1U);
  EXPECT_EQ(ring().contents_of(r.word, begin).longest, 60U);
}

TEST_F(SharedRecord, LiesInTheRingAsTheFormatSays) {
  const std::uint64_t begin = append({17, 60, 14});
  const bus::RecordHeader& r = record(begin);
  EXPECT_EQ(r.word, bus::word::shared(begin, 24 + 64 + 20));
  EXPECT_EQ(r.number, 0U);
  EXPECT_EQ(r.time_ns, time_);
  EXPECT_EQ(r.slot, kRigSender);
  EXPECT_EQ(r.frames, 3U);
  EXPECT_EQ(r.incarnation, 1U);
  EXPECT_EQ(here() - begin, bus::record_bytes(24 + 64 + 20));
  EXPECT_EQ(ring().number_at(here()), 3U);
  EXPECT_EQ(ring().contents_of(r.word, begin).longest, 60U);
  const std::byte* body = ring().payload(begin);
  std::uint32_t at = 0;
  for (const FrameView& frame : batch_.make(1, 0, {17, 60, 14})) {
    EXPECT_EQ(ring().entry_at(begin, at, 24 + 64 + 20), frame.size());
    EXPECT_EQ(std::memcmp(body + at + 4, frame.bytes.data(), frame.size()), 0);
    at += static_cast<std::uint32_t>(bus::entry_bytes(frame.size()));
  }
}

TEST(SharedRecordPlan, AFrameThatLeavesWorkHasARecordOfItsOwn) {
  RingRig rig({.ring_bytes = 1U << 20U});
  SizedBatch batch;
  const auto frames = batch.make(1, 0, {60, 60, 61, 62, 63});
  frames[2].offload = {.flags = Offload::kNeedsChecksum, .csum_start = 14, .csum_offset = 0};
  ASSERT_EQ(rig.append(frames), AppendStatus::done);
  EXPECT_EQ(frames_of_records(rig.raw.ring(), 0), (std::vector<std::uint64_t>{2, 1, 2}));
  EXPECT_EQ(rig.raw.header().last, bus::record_bytes(2 * bus::entry_bytes(60)) +
                                       bus::record_bytes(61 + bus::kVnetBytes) +
                                       bus::record_bytes(66 + 68 - 2));
  frames[2].offload = {};
  frames[0].offload = {.flags = Offload::kNeedsChecksum, .csum_start = 14, .csum_offset = 0};
  const std::uint64_t begin = rig.raw.header().last;
  ASSERT_EQ(rig.append(frames), AppendStatus::done);
  EXPECT_EQ(frames_of_records(rig.raw.ring(), begin), (std::vector<std::uint64_t>{1, 4}));
}

/// Whoever reserves room and whoever writes agree, for every mix of up to four frames.
TEST(SharedRecordPlan, WhatIsReservedIsWrittenAndEachFrameOfAnyMixArrives) {
  constexpr std::size_t kPending = 1;
  const std::size_t kinds[] = {14, 15, 60, 511, 512, 513, 1514, kPending};
  RingRig rig({.ring_bytes = 1U << 20U});
  SizedBatch batch;
  std::uint64_t time = 0;
  for (unsigned count = 1; count <= 4; ++count) {
    for (unsigned mix = 0; mix < 1U << 3U * count; ++mix) {
      Sizes sizes;
      for (unsigned i = 0; i < count; ++i) sizes.push_back(kinds[mix >> 3U * i & 7U]);
      Sizes real = sizes;
      std::replace(real.begin(), real.end(), kPending, std::size_t{61});
      const auto frames = batch.make(1, rig.next, real);
      for (unsigned i = 0; i < count; ++i) {
        if (sizes[i] != kPending) continue;
        // Its checksum is finished in place: it lies behind what the check needs.
        frames[i].offload = {.flags = Offload::kNeedsChecksum, .csum_start = 60};
      }
      const std::uint64_t begin = rig.raw.header().last;
      ASSERT_EQ(rig.append(frames, ++time), AppendStatus::done);
      ASSERT_EQ(rig.raw.header().last - begin, bus::batch_bytes(frames)) << mix;
      FrameBatch in(8);
      ASSERT_EQ(rig.reader.read(in, rig.tally), ReadStatus::empty);
      ASSERT_EQ(in.size(), count);
      for (unsigned i = 0; i < count; ++i) {
        ASSERT_EQ(in[i].size(), real[i]);
        ASSERT_EQ(in[i].number, rig.next + i);
        ASSERT_EQ(in[i].time_ns, time);
        ASSERT_TRUE(std::ranges::equal(in[i].bytes, frames[i].bytes));
      }
      rig.next += count;
    }
  }
  EXPECT_EQ(rig.tally.frames, rig.next);
  EXPECT_TRUE(is_clean(rig.file.audit()));
}

// Readers that stop between two frames.

/// Takes frames with calls of read() or lend().
class Taking {
 public:
  Taking(bus::RingReader& reader, bool lends) : reader_(&reader), lends_(lends) {}
  std::vector<std::uint32_t> take(std::size_t max, std::size_t arena = 1U << 16U) {
    FrameBatch in(max, arena);
    status = lends_ ? reader_->lend(in, tally) : reader_->read(in, tally);
    for (const FrameView& frame : in.frames()) numbers_seen.push_back(frame.number);
    std::vector<std::uint32_t> taken = whole_sequences(in);
    if (lends_) {
      std::size_t torn = 0;
      if (reader_->lent() != 0) status = reader_->release(tally, torn);
      EXPECT_EQ(torn, 0U);
    }
    return taken;
  }

  ReadStatus status = ReadStatus::more;
  ReadTally tally;
  std::vector<std::uint64_t> numbers_seen;

 private:
  bus::RingReader* reader_;
  bool lends_;
};

TEST_F(SharedRecord, AReaderWhoseBatchIsFullGoesOnAtTheNextFrame) {
  for (const bool lends : {false, true}) {
    for (std::size_t first = 1; first <= 10; ++first) {
      SCOPED_TRACE((lends ? "lends " : "copies ") + std::to_string(first));
      bus::RingReader reader = reader_of_all();
      Taking taking(reader, lends);
      const std::uint32_t base = next_;
      const std::uint64_t begin = append({60, 14, 15, 16, 17, 512, 61, 62, 63, 64});
      append({1000});
      ASSERT_EQ(taking.take(first), numbers(base, base + static_cast<std::uint32_t>(first)));
      if (first < 10) {
        EXPECT_EQ(reader.position(), begin);
        EXPECT_EQ(reader.place().entries, first);
      } else {
        EXPECT_EQ(reader.place().entries, 0U);
      }
      EXPECT_EQ(reader.next_number(), base + first);
      EXPECT_EQ(taking.tally.frames, first);
      EXPECT_TRUE(reader.ready());
      ASSERT_EQ(taking.take(64), numbers(base + static_cast<std::uint32_t>(first), next_));
      EXPECT_EQ(taking.status, ReadStatus::empty);
      EXPECT_FALSE(reader.ready());
      EXPECT_EQ(taking.tally.frames, 11U);
      EXPECT_EQ(taking.tally.bytes, 60U + 14 + 15 + 16 + 17 + 512 + 61 + 62 + 63 + 64 + 1000);
      EXPECT_EQ(taking.tally.lost_frames + taking.tally.corrupt, 0U);
    }
  }
}

TEST_F(SharedRecord, OneFrameAtATimeEachComesOnceWithItsNumber) {
  bus::RingReader lender = reader_of_all();
  Taking copies(rig_.reader, false);
  Taking lends(lender, true);
  append_equal(203, 14);
  append({60, 61, 600, 62, 63});
  for (std::uint32_t n = 0; n < next_; ++n) {
    ASSERT_EQ(copies.take(1), numbers(n, n + 1));
    ASSERT_EQ(lends.take(1), numbers(n, n + 1));
  }
  for (std::uint64_t n = 0; n < next_; ++n) {
    EXPECT_EQ(copies.numbers_seen[n], n);
    EXPECT_EQ(lends.numbers_seen[n], n);
  }
  EXPECT_EQ(copies.take(1), numbers(0, 0));
  EXPECT_EQ(copies.status, ReadStatus::empty);
}

TEST_F(SharedRecord, AFrameForWhichTheArenaIsTooSmallComesFirstWithTheNextBatch) {
  append({100, 200, 300, 60});
  Taking taking(rig_.reader, false);
  EXPECT_EQ(taking.take(8, 320), numbers(0, 2));  // 112 and 200 bytes, with their alignment
  EXPECT_EQ(taking.take(8, 320), numbers(2, 3));
  EXPECT_EQ(taking.take(8, 320), numbers(3, 4));
  EXPECT_EQ(taking.tally.frames, 4U);
}

TEST_F(SharedRecord, AFrameLongerThanTheArenaIsCutShortAndTheNextIsWhole) {
  append({300, 60});
  FrameBatch in(8, 100);
  ReadTally tally;
  EXPECT_EQ(rig_.reader.read(in, tally), ReadStatus::more);
  ASSERT_EQ(in.size(), 1U);
  EXPECT_EQ(in[0].size(), 100U);
  EXPECT_TRUE(in[0].truncated());
  EXPECT_EQ(in[0].true_bytes, 300U);
  EXPECT_EQ(tally.bytes, 300U);
  in.clear();
  EXPECT_EQ(rig_.reader.read(in, tally), ReadStatus::empty);
  EXPECT_EQ(whole_sequences(in), numbers(1, 2));
}

/// One chunk of a walk keeps 32 changes between own, delivered and filtered frames. A record may
/// have more, and may begin anywhere in a chunk.
TEST_F(SharedRecord, ManyChangesBetweenFramesForItAndForOthersAreEachCountedAsWhatTheyAre) {
  const MacAddress alternating[] = {kMine, kForOthers};
  for (const bool lends : {false, true}) {
    for (std::size_t before = 0; before < 34; ++before) {
      SCOPED_TRACE((lends ? "lends " : "copies ") + std::to_string(before));
      ASSERT_TRUE(mine_.seek_end());
      for (std::size_t i = 0; i < before; ++i) append({14});
      const std::uint32_t base = next_;
      append(Sizes(101, 20), alternating);
      Taking taking(mine_, lends);
      std::vector<std::uint32_t> got;
      do {
        for (const std::uint32_t n : taking.take(256)) got.push_back(n);
      } while (taking.status == ReadStatus::more);
      std::vector<std::uint32_t> expected =
          numbers(base - static_cast<std::uint32_t>(before), base);
      for (std::uint32_t n = base; n < base + 101; n += 2) expected.push_back(n);
      EXPECT_EQ(got, expected);
      EXPECT_EQ(taking.status, ReadStatus::empty);
      EXPECT_EQ(taking.tally.frames, before + 51);
      EXPECT_EQ(taking.tally.bytes, before * 14 + 51 * 20);
      EXPECT_EQ(taking.tally.filtered, 50U);
      EXPECT_EQ(taking.tally.lost_frames + taking.tally.corrupt + taking.tally.own, 0U);
    }
  }
}

TEST_F(SharedRecord, WhoStoppedInARecordHearsOfItsRestOnlyWhatIsForIt) {
  const MacAddress to[] = {kMine, kForOthers, kForOthers, kMine};
  append(Sizes(8, 60), to);
  Taking taking(mine_, false);
  EXPECT_EQ(taking.take(1), numbers(0, 1));
  EXPECT_EQ(mine_.next_number(), 3U) << "those for others are passed, too";
  EXPECT_EQ(taking.tally.filtered, 2U);
  FrameBatch nothing(0, 0);
  EXPECT_EQ(mine_.read(nothing, taking.tally), ReadStatus::more) << "one is for it";
  EXPECT_EQ(taking.take(2), numbers(3, 5));
  EXPECT_EQ(taking.take(8), numbers(7, 8));
  EXPECT_EQ(taking.tally.frames, 4U);
  EXPECT_EQ(taking.tally.filtered, 4U);
}

TEST_F(SharedRecord, OfItsOwnRecordsAPortCountsEveryFrame) {
  bus::RingReader sender(ring(), &rig_.raw.slot(kRigSender), kRigSender, 1, false);
  ASSERT_TRUE(sender.seek_end());
  append_equal(10);
  append({60});
  append_equal(203, 14);
  FrameBatch in;
  ReadTally tally;
  EXPECT_EQ(sender.read_all(in, tally), ReadStatus::empty);
  EXPECT_EQ(in.size(), 0U);
  EXPECT_EQ(tally.own, 214U);
  EXPECT_EQ(tally.frames + tally.filtered + tally.lost_frames, 0U);
}

// Lapped inside of a record.

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

// Places that are found again.

TEST_F(SharedRecord, AfterARepairThatKeptTheRecordAReaderGoesOnInsideOfIt) {
  append_equal(10);
  append_equal(2);
  ReadTally tally;
  ASSERT_EQ(take(rig_.reader, 4, tally), numbers(0, 4));
  const bus::RingReader::Place before = rig_.reader.place();
  tally = {};
  ASSERT_TRUE(rig_.reader.find_place_again(tally));
  EXPECT_EQ(rig_.reader.place(), before);
  EXPECT_EQ(take(rig_.reader, 64, tally), numbers(4, 12));
  EXPECT_EQ(tally.lost_frames + tally.corrupt + tally.overruns, 0U);
}

TEST_F(SharedRecord, AfterARepairThatLeftItBehindItLostTheRestOfTheRecord) {
  const std::uint64_t begin = append_equal(10);
  const std::uint64_t oldest = append_equal(2);
  ReadTally tally;
  ASSERT_EQ(take(rig_.reader, 4, tally), numbers(0, 4));
  rig_.raw.header().first = oldest;
  tally = {};
  ASSERT_TRUE(rig_.reader.find_place_again(tally));
  EXPECT_EQ(tally.overruns, 1U);
  EXPECT_EQ(tally.lost_frames, 6U);
  EXPECT_EQ(tally.lost_bytes, oldest - begin - bus::kRecordHeaderBytes - 4 * bus::entry_bytes(60));
  EXPECT_EQ(take(rig_.reader, 64, tally), numbers(10, 12));
}

TEST_F(SharedRecord, WhereAnotherRecordIsNowAReaderBeginsAtItsFirstFrame) {
  append_equal(10);
  ReadTally tally;
  ASSERT_EQ(take(rig_.reader, 4, tally), numbers(0, 4));
  const bus::RingReader::Place before = rig_.reader.place();
  record(0).number = 1000;
  ASSERT_TRUE(rig_.reader.seek_to(before));
  EXPECT_EQ(rig_.reader.place(), (bus::RingReader::Place{0, 1000, 0, 0}));
}

/// Numbers may be missing behind a pad, as many as could have stood in a ring (I8).
TEST_F(SharedRecord, BehindAPadAsManyNumbersMayBeMissingAsShortFramesFitInTheRing) {
  const std::uint64_t most = bus::frames_in(ring().bytes());
  for (const std::uint64_t missing : {most, most + 1}) {
    SCOPED_TRACE(missing);
    RingRig rig;
    rig.raw.begin_at(64, missing);
    rig.raw.ring().record(0).number = 0;
    rig.raw.ring().record(0).word = bus::word::pad(0, 64);
    rig.raw.header().first = 0;
    ASSERT_TRUE(rig.reader.seek_oldest());
    SizedBatch batch;
    ASSERT_EQ(rig.append(batch.make_equal(1, 0, 5, 60)), AppendStatus::done);
    const std::uint64_t next = rig.raw.header().last;
    ASSERT_EQ(rig.append(batch.make_equal(1, 5, 5, 60)), AppendStatus::done);
    EXPECT_EQ(rig.clean(), missing == most);
    FrameBatch in(7);
    ReadTally tally;
    EXPECT_EQ(rig.reader.read(in, tally), missing == most ? ReadStatus::more : ReadStatus::corrupt);
    EXPECT_EQ(in.size(), missing == most ? 7U : 0U);
    EXPECT_EQ(tally.corrupt, missing == most ? 0U : 1U);
    if (missing != most) continue;
    EXPECT_EQ(in[0].number, most);
    EXPECT_EQ(in[6].number, most + 6);
    EXPECT_EQ(tally.lost_frames, most);
    // The pad excuses the record behind it, and no other.
    rig.raw.ring().record(next).number += 1;
    EXPECT_FALSE(rig.clean());
    EXPECT_EQ(rig.reader.read(in, tally), ReadStatus::corrupt);
  }
}

/// The pad excuses numbers also for who stops inside of the record behind it, and only once.
TEST_F(SharedRecord, WhatIsMissingBehindAPadIsLostOnceForWhoReadsFrameByFrame) {
  RingRig rig;
  rig.raw.begin_at(64, 50);
  rig.raw.ring().record(0).number = 0;
  rig.raw.ring().record(0).word = bus::word::pad(0, 64);
  rig.raw.header().first = 0;
  ASSERT_TRUE(rig.reader.seek_oldest());
  ASSERT_EQ(rig.append(batch_.make_equal(1, 0, 5, 60)), AppendStatus::done);
  ASSERT_EQ(rig.append(batch_.make_equal(1, 5, 5, 60)), AppendStatus::done);
  Taking taking(rig.reader, false);
  for (std::uint32_t n = 0; n < 10; ++n) ASSERT_EQ(taking.take(1), numbers(n, n + 1));
  EXPECT_EQ(taking.tally.lost_frames, 50U);
  EXPECT_EQ(taking.tally.corrupt, 0U);
}

// Hostile values.

constexpr std::uint64_t kBody = 5 * bus::entry_bytes(60);

TEST_F(SharedRecord, AWordOfAnImpossibleBodyIsNoRecord) {
  const std::uint64_t two = 2 * bus::entry_bytes(14);
  const std::uint64_t max = bus::kMaxSharedBytes;
  EXPECT_EQ(ring().step(bus::word::shared(0, two), 0), bus::record_bytes(two));
  EXPECT_EQ(ring().step(bus::word::shared(0, max), 0), bus::record_bytes(max));
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{13}, two - 4, two - 1, max + 1,
                                    max + 4, max + 32, (std::uint64_t{1} << 18U) - 1}) {
    EXPECT_EQ(ring().step(bus::word::shared(0, bytes), 0), 0U) << bytes;
  }
  for (const std::uint64_t bytes : {two, std::uint64_t{100}, max}) {
    EXPECT_EQ(ring().step(bus::word::shared(0, bytes) | bus::word::kVnet, 0), 0U) << bytes;
  }
  const RingRig large({.ring_bytes = 1U << 20U});
  EXPECT_EQ(large.raw.ring().step(bus::word::shared(0, 100) | bus::word::kVnet, 0), 0U);
  EXPECT_EQ(large.raw.ring().step(bus::word::shared(0, max + 32), 0), 0U);
}

TEST_F(SharedRecord, ACountThatTheBodyCannotHoldIsNoCount) {
  const std::uint64_t w = bus::word::shared(0, 100);
  const struct {
    std::uint16_t said;
    std::uint64_t is;
  } kCounts[] = {{0, 0}, {1, 0}, {2, 2}, {5, 5}, {6, 0}, {65535, 0}};
  for (const auto& c : kCounts) {
    record(0).frames = c.said;
    EXPECT_EQ(ring().frames_of(w, 0), c.is) << c.said;
    EXPECT_EQ(ring().frames_of(bus::word::frame(0, 100), 0), 1U) << "of a frame alone";
  }
}

TEST_F(SharedRecord, ALengthThatLeavesTheBodyIsNoLength) {
  const auto length = [&](std::uint32_t value, std::uint32_t offset, std::uint32_t body) {
    *reinterpret_cast<std::uint32_t*>(ring().payload(0) + offset) = value;
    return ring().entry_at(0, offset, body);
  };
  EXPECT_EQ(length(14, 0, 40), 14U);
  EXPECT_EQ(length(36, 0, 40), 36U);
  EXPECT_EQ(length(37, 0, 40), 0U);
  EXPECT_EQ(length(38, 0, 40), 0U);
  EXPECT_EQ(length(40, 0, 40), 0U);
  for (const std::uint32_t value : {0U, 1U, 13U, 0x80000000U, UINT32_MAX - 3, UINT32_MAX}) {
    EXPECT_EQ(length(value, 0, 4064), 0U) << value;
  }
  EXPECT_EQ(length(ring().max_frame(), 0, 4064), ring().max_frame());
  EXPECT_EQ(length(ring().max_frame() + 1, 0, 4064), 0U);
  EXPECT_EQ(length(14, 20, 40), 14U);
  EXPECT_EQ(length(14, 24, 40), 0U);
  EXPECT_EQ(length(14, 40, 40), 0U);
  EXPECT_EQ(length(14, 44, 40), 0U) << "the body has become shorter than what was passed of it";
  EXPECT_EQ(length(14, 4000, 40), 0U);
}

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

TEST_F(SharedRecord, TheLongestFrameIsThatOfAnyEntry) {
  const Sizes sizes[] = {{60, 14, 20}, {14, 60, 20}, {14, 20, 60}};
  for (const Sizes& each : sizes) {
    const std::uint64_t begin = append(each);
    EXPECT_EQ(ring().contents_of(record(begin).word, begin).longest, 60U);
  }
  const std::uint64_t begin = append_equal(5);
  record(begin).word = bus::word::shared(begin, kBody + 4);
  EXPECT_EQ(ring().contents_of(record(begin).word, begin).longest, 0U) << "four bytes are left";
}

}  // namespace
}  // namespace shmif::test
