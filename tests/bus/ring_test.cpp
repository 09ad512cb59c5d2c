// The ring by itself: one mapping, a writer and readers in one thread, so that every state can be
// reached on purpose.

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/support/numbered_frames.hpp"
#include "tests/support/ring_rig.hpp"

namespace shmif::test {
namespace {

using bus::AppendStatus;
using bus::ReadStatus;
using bus::ReadTally;

class RingStart : public testing::TestWithParam<std::uint64_t> {};

TEST_P(RingStart, EveryFrameSizeCrossesTheSmallestRingInOrderAndWhole) {
  RingRig rig(small_ring(), GetParam(), GetParam() / 32);
  std::uint32_t read = 0;
  for (std::size_t size = 14; size <= rig.raw.ring().max_frame(); ++size) {
    ASSERT_EQ(rig.append_one(size), AppendStatus::done);
    read = rig.read_all(read);
  }
  EXPECT_EQ(read, rig.next);
  EXPECT_EQ(rig.tally.frames, rig.next);
  EXPECT_EQ(rig.tally.lost_frames + rig.tally.corrupt, 0U);
  EXPECT_GE(rig.raw.header().last - GetParam(), 15 * rig.raw.ring().bytes()) << "it wrapped";
  EXPECT_TRUE(is_clean(rig.file.audit()));
}

TEST_P(RingStart, BatchesOfManySizesCrossInOrderAndWhole) {
  RingRig rig(small_ring(), GetParam(), 5);
  NumberedBatch short_ones(560);  // most of them share records
  std::uint32_t read = 0;
  for (unsigned round = 0; round < 500; ++round) {
    const std::size_t count = 1 + round % 8;
    NumberedBatch& frames = round % 3 == 0 ? rig.frames : short_ones;
    ASSERT_EQ(rig.append(frames.make(1, rig.next, count)), AppendStatus::done);
    rig.next += static_cast<std::uint32_t>(count);
    read = rig.read_all(read);
  }
  EXPECT_EQ(read, rig.next);
  EXPECT_EQ(rig.reader.next_number(), 5U + rig.next);
  EXPECT_TRUE(is_clean(rig.file.audit()));
}

// Each just below a power of two at which a narrower counter would wrap: 32 bits, a signed 32-bit
// count of 16-byte units, the 39 bits that a pad knows of its position, the 46 of a frame, 62 bits.
INSTANTIATE_TEST_SUITE_P(Positions, RingStart,
                         testing::Values(0, (1ULL << 32U) - 4096, (1ULL << 35U) - 4096,
                                         (1ULL << 39U) - 4096, (1ULL << 46U) - 4096,
                                         (1ULL << 62U) - 4096));

TEST(Ring, AReaderThatWasLappedGoesOnAtTheOldestWholeFrameAndKnowsHowManyItLost) {
  RingRig rig;
  for (unsigned i = 0; i < 500; ++i) ASSERT_EQ(rig.append_one(1000), AppendStatus::done);
  FrameBatch batch;
  EXPECT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::overrun);
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(rig.tally.overruns, 1U);
  EXPECT_EQ(rig.tally.lost_bytes, rig.raw.header().first);
  const auto oldest = static_cast<std::uint32_t>(rig.tally.lost_frames);
  EXPECT_GT(oldest, 0U);
  EXPECT_EQ(rig.read_all(oldest), 500U);
  EXPECT_EQ(rig.tally.frames + rig.tally.lost_frames, 500U);
}

TEST(Ring, AReaderOneLapBehindIsNotFooledByTheOldEndOfChainAtItsPlace) {
  RingRig rig;
  // The reader stands at position 0, where EMPTY(0) is. A lap later the same word must not mean
  // "nothing new": fill the ring so that `first` passes 0 while the word there is a payload's.
  const std::uint64_t word = bus::word::empty(0);
  std::vector<std::byte> imitation(1000);
  for (std::size_t i = 14; i + 8 <= imitation.size(); ++i) {
    if (i % 8 == 0) std::memcpy(imitation.data() + i, &word, 8);
  }
  const FrameView frame(imitation);
  for (unsigned i = 0; i < 70; ++i) ASSERT_EQ(rig.append({&frame, 1}), AppendStatus::done);
  EXPECT_TRUE(rig.reader.ready());
  FrameBatch batch;
  EXPECT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::overrun);
}

/// A peer makes the chain end where a reader has been before. The reader meets what is no record,
/// or an old EMPTY, at which nobody would ever commit.
TEST(Ring, ACursorPastTheEndIsCountedAsCorruptAndTheReaderGoesOnAtTheEnd) {
  enum class How : std::uint8_t { read, lent, before_sleep };
  for (const How how : {How::read, How::lent, How::before_sleep}) {
    SCOPED_TRACE(static_cast<int>(how));
    RingRig rig;
    ASSERT_EQ(rig.append_one(200), AppendStatus::done);
    const std::uint64_t end = rig.raw.header().last;
    for (int i = 0; i < 2; ++i) ASSERT_EQ(rig.append_one(200), AppendStatus::done);
    ASSERT_EQ(rig.read_all(0), 3U);
    const std::uint64_t cursor = rig.reader.position();
    ASSERT_EQ(cursor, rig.raw.header().last);
    rig.raw.begin_at(end, 1);
    if (how == How::before_sleep) {
      ASSERT_FALSE(rig.reader.ready());
      EXPECT_TRUE(rig.reader.leave_place_past_end(rig.tally));
    } else {
      rig.raw.ring().record(cursor).word = 0;
      FrameBatch batch;
      EXPECT_EQ(
          how == How::read ? rig.reader.read(batch, rig.tally) : rig.reader.lend(batch, rig.tally),
          ReadStatus::corrupt);
      EXPECT_TRUE(batch.empty());
    }
    EXPECT_EQ(rig.tally.corrupt, 1U);
    EXPECT_EQ(rig.tally.lost_frames, 0U);
    EXPECT_EQ(rig.tally.lost_bytes, 0U);
    EXPECT_EQ(rig.tally.overruns, 0U);
    EXPECT_EQ(rig.reader.position(), end);
    EXPECT_EQ(rig.reader.next_number(), 1U);
    ASSERT_EQ(rig.append_one(200), AppendStatus::done);
    EXPECT_EQ(rig.read_all(3), 4U);
    EXPECT_EQ(rig.tally.frames, 4U);
    EXPECT_EQ(rig.tally.corrupt, 1U);
  }
}

/// A sender may have committed and not yet moved `last`.
TEST(Ring, ACursorPastALastThatLagsIsAtTheEndAndStaysThere) {
  RingRig rig;
  for (int i = 0; i < 3; ++i) ASSERT_EQ(rig.append_one(200), AppendStatus::done);
  ASSERT_EQ(rig.read_all(0), 3U);
  const bus::RingReader::Place place = rig.reader.place();
  const std::uint64_t last = rig.raw.header().last;
  EXPECT_FALSE(rig.reader.leave_place_past_end(rig.tally));
  rig.raw.header().last = 0;
  EXPECT_FALSE(rig.reader.leave_place_past_end(rig.tally));
  EXPECT_EQ(rig.reader.place(), place);
  // A frame came since the reader looked, which it must not leave out.
  rig.raw.header().last = last;
  ASSERT_EQ(rig.append_one(200), AppendStatus::done);
  rig.raw.header().last = 0;
  EXPECT_FALSE(rig.reader.leave_place_past_end(rig.tally));
  EXPECT_EQ(rig.reader.place(), place);
  EXPECT_EQ(rig.tally.corrupt, 0U);
  EXPECT_EQ(rig.read_all(3), 4U);
}

TEST(Ring, ARecordWhoseLengthDoesNotFitTheBusIsCorruptToReadersAndToTheWriter) {
  const RingRig any;
  const std::uint64_t ring = any.raw.ring().bytes();
  const std::uint32_t max = any.raw.ring().max_frame();
  for (const std::uint64_t word :
       {bus::word::frame(0, bus::kMinFrameBytes - 1), bus::word::frame(0, max + 1),
        bus::word::frame(0, 65562), bus::word::pad(0, 16), bus::word::pad(0, 0),
        bus::word::pad(0, ring), bus::word::pad(0, 2 * ring)}) {
    RingRig rig;
    EXPECT_EQ(rig.raw.ring().step(word, 0), 0U) << std::hex << word;
    ASSERT_EQ(rig.append_one(200), AppendStatus::done);
    rig.raw.ring().record(0).word = word;
    FrameBatch batch;
    EXPECT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::corrupt) << std::hex << word;
    EXPECT_TRUE(batch.empty()) << std::hex << word;
    EXPECT_FALSE(rig.clean()) << std::hex << word;
    rig.raw.header().last = 0;  // then the way to the end of the chain leads over it
    EXPECT_EQ(rig.append_one(200), AppendStatus::corrupt) << std::hex << word;
  }
}

TEST(Ring, AReaderInsideOfARecordThatWasMadeShorterReadsNothingBehindItsEnd) {
  RingRig rig;
  const std::uint64_t position = rig.raw.header().last;
  rig.frames.fix_size(60);
  ASSERT_EQ(rig.append(rig.frames.make(1, 0, 10)), AppendStatus::done);
  FrameBatch batch(3);
  ASSERT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::more);
  ASSERT_EQ(rig.reader.place().position, position);
  ASSERT_EQ(rig.reader.place().entries, 3U);
  ASSERT_EQ(rig.reader.place().offset, 192U);

  rig.raw.ring().record(position).word = bus::word::shared(position, 100);
  rig.raw.ring().record(position).frames = 5;
  ASSERT_EQ(rig.raw.ring().frames_of(rig.raw.ring().word_at(position), position), 5U);
  batch.clear();
  EXPECT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::corrupt);
  EXPECT_EQ(batch.size(), 0U);
  EXPECT_EQ(rig.tally.frames, 3U);
  EXPECT_EQ(rig.reader.position(), rig.raw.header().last);
}

TEST(Ring, AReaderInsideOfARecordWhoseBytesFirstNamesCountsNothingAsLost) {
  RingRig rig;
  const std::uint64_t position = rig.raw.header().last;
  rig.frames.fix_size(60);
  ASSERT_EQ(rig.append(rig.frames.make(1, 0, 10)), AppendStatus::done);
  FrameBatch batch(3);
  ASSERT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::more);
  ASSERT_EQ(rig.reader.place().passed(), 224U);

  const std::uint64_t inside = position + 64;
  rig.raw.ring().record(inside).word = bus::word::frame(inside, 60);
  rig.raw.ring().record(inside).number = 5;
  rig.raw.header().first = inside;
  batch.clear();
  EXPECT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::corrupt);
  EXPECT_EQ(rig.tally.corrupt, 1U);
  EXPECT_EQ(rig.tally.lost_frames, 0U);
  EXPECT_EQ(rig.tally.lost_bytes, 0U);
}

TEST(Ring, AFrameNumberThatSkipsIsCorrupt) {
  RingRig rig;
  ASSERT_EQ(rig.append_one(200), AppendStatus::done);
  rig.raw.ring().record(0).number = 41;
  FrameBatch batch;
  EXPECT_EQ(rig.reader.read(batch, rig.tally), ReadStatus::corrupt);
  EXPECT_TRUE(batch.empty());
}

TEST(Ring, ALaggingLastIsHelpedForwardByTheNextWriter) {
  RingRig rig;
  ASSERT_EQ(rig.append_one(300), AppendStatus::done);
  const std::uint64_t end = rig.raw.header().last;
  rig.raw.header().last = 0;  // as by a writer killed right after its commit
  ASSERT_EQ(rig.append_one(300), AppendStatus::done);
  EXPECT_EQ(rig.raw.header().last, 2 * end);
  EXPECT_EQ(rig.read_all(0), 2U);
}

TEST(Ring, SeekingTheEndFindsItBehindALaggingLast) {
  RingRig rig;
  ASSERT_EQ(rig.append_one(300), AppendStatus::done);
  const std::uint64_t end = rig.raw.header().last;
  rig.raw.header().last = 0;
  ASSERT_TRUE(rig.reader.seek_end());
  EXPECT_EQ(rig.reader.position(), end);
  EXPECT_EQ(rig.reader.next_number(), 1U);
}

// Claims of writers that were stopped in the middle.

/// The second one lies across the ring's edge.
TEST(Claims, WritersStepAroundAStandingClaimForLapsAndItsBytesStayUntouched) {
  for (const auto& [start, begin, bytes] :
       {std::array<std::uint64_t, 3>{0, 9'984, 9'000}, {16'384, (64U << 10U) - 4096, 8'192}}) {
    RingRig rig(small_ring(), start);
    rig.raw.claim(3, begin, begin, begin + bytes);
    // What the stopped writer has written so far. It must find it again.
    std::byte* const claimed = rig.raw.ring().payload(begin - bus::kRecordHeaderBytes);
    std::memset(claimed, 0xcc, bytes);
    std::uint32_t read = 0;
    for (unsigned i = 0; i < 1000; ++i) {
      ASSERT_EQ(rig.append(rig.frames.make(1, rig.next, 3)), AppendStatus::done);
      rig.next += 3;
      read = rig.read_all(read);
    }
    EXPECT_EQ(read, rig.next);
    for (std::uint64_t i = 0; i < bytes; ++i) ASSERT_EQ(claimed[i], std::byte{0xcc}) << i;
    EXPECT_TRUE(is_clean(rig.file.audit()));
  }
}
TEST(Claims, TheWordThatAStoppedWriterWillCommitByIsNeverOverwrittenByAFrame) {
  RingRig rig;
  ASSERT_EQ(rig.append_one(500), AppendStatus::done);
  const std::uint64_t commit = rig.raw.header().last;
  // Its batch begins further on, since another claim was in its way.
  rig.raw.claim(3, commit, commit + 20'000 / 32 * 32, commit + 20'000 / 32 * 32 + 2'000);
  std::uint32_t read = rig.read_all(0);
  const std::uint64_t word = bus::word::empty(commit);
  std::vector<std::byte> imitation(1400, std::byte{0});
  for (std::size_t i = 16; i + 8 <= imitation.size(); i += 8) {
    std::memcpy(imitation.data() + i, &word, 8);
  }
  for (unsigned i = 0; i < 300; ++i) {
    const FrameView frame(std::span<const std::byte>(imitation).first(600 + i));
    ASSERT_EQ(rig.append({&frame, 1}), AppendStatus::done);
    // The late commit: a CAS that must fail for ever.
    ASSERT_FALSE(bus::compare_and_swap(rig.raw.ring().record(commit).word, word, std::uint64_t{1}));
    FrameBatch batch;
    while (rig.reader.read(batch, rig.tally) == ReadStatus::more) batch.clear();
    ++read;
  }
  EXPECT_EQ(rig.tally.frames, read);
  EXPECT_EQ(rig.tally.corrupt + rig.tally.lost_frames, 0U);
}

TEST(Claims, AWriterKnowsOfThoseThatStandNowAndNotOfThoseBefore) {
  RingRig rig;
  EXPECT_FALSE(rig.writer.met_claims());
  for (unsigned round = 0; round < 3; ++round) {
    const std::uint64_t end = rig.raw.header().last;
    const unsigned slot = 3 + round;
    rig.raw.claim(slot, end, end, end + 512);
    ASSERT_EQ(rig.append_one(300), AppendStatus::done);
    EXPECT_TRUE(rig.writer.met_claims());
    ASSERT_EQ(rig.writer.standing_slots().size(), 1U) << "round " << round;
    EXPECT_EQ(rig.writer.standing_slots()[0], slot);
    EXPECT_EQ(rig.writer.needed_bytes(), 512 + bus::record_bytes(300) + bus::kTailBytes);
    bus::store_seq_cst(rig.raw.slot(slot).claim_owner, std::uint64_t{0});
    ASSERT_EQ(rig.append_one(300), AppendStatus::done);
    EXPECT_FALSE(rig.writer.met_claims());
    EXPECT_EQ(rig.writer.needed_bytes(), bus::record_bytes(300) + bus::kTailBytes);
  }
}

TEST(Claims, AScribbledClaimLongerThanAnyWriterMakesIsNotHeeded) {
  RingRig rig;
  rig.raw.claim(3, 0, 0, rig.raw.ring().bytes());
  rig.raw.claim(4, 0, 5000, 100);
  EXPECT_EQ(rig.append_one(1500), AppendStatus::done);
}

TEST(Claims, AWriterThatLostTheLockBeforeItsCommitWritesNothingAnybodySees) {
  RingRig rig;
  const std::uint64_t mine = rig.lock.acquire();
  rig.raw.lock_as(9);  // taken over
  const auto batch = rig.frames.make(1, 0, 1);
  EXPECT_EQ(rig.writer.append(mine, plan_batch(batch), 1), AppendStatus::lost_lock);
  EXPECT_EQ(rig.raw.header().last, 0U);
  EXPECT_EQ(rig.raw.ring().word_at(0), bus::word::empty(0));
  EXPECT_EQ(rig.raw.slot(kRigSender).claim_owner, 0U);
}

// Accounting, over random schedules: every number is delivered, own, filtered or lost, once.
TEST(Accounting, NumbersPassedAreDeliveredOwnFilteredOrLostForRandomSchedules) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    RingRig rig(small_ring(), (1ULL << 32U) - 64 * 1024, 1000);
    bus::PortSlot& me = rig.raw.slot(20);
    me.mac = 0x02'00'00'00'00'14;
    const bool newest = seed % 2 == 0;
    bus::RingReader listener(rig.raw.ring(), &me, kRigSender, 1, newest);
    bus::RingReader stranger(rig.raw.ring(), &me, 20, 1, newest);
    ASSERT_TRUE(listener.seek_end());
    ASSERT_TRUE(stranger.seek_end());
    ReadTally own;
    ReadTally tally;
    FrameBatch batch(16);
    NumberedBatch short_ones(560);
    std::uint64_t sent = 0;
    for (unsigned step = 0; step < 400; ++step) {
      const std::size_t count = 1 + random() % 8;
      const MacAddress to = random() % 3 == 0   ? MacAddress::from_u64(me.mac)
                            : random() % 2 == 0 ? MacAddress::from_u64(0x02'00'00'00'00'15)
                                                : kBroadcast;
      if (random() % 14 != 0) {
        NumberedBatch& frames = random() % 2 == 0 ? rig.frames : short_ones;
        ASSERT_EQ(rig.append(frames.make(1, rig.next, count, to)), AppendStatus::done);
        rig.next += static_cast<std::uint32_t>(count);
        sent += count;
      } else {
        for (auto reads = random() % 6; reads > 0; --reads) {
          batch.clear();
          stranger.read(batch, tally);
        }
        batch.clear();
        listener.read(batch, own);
      }
    }
    const auto drain = [&](bus::RingReader& r, ReadTally& t) {
      for (ReadStatus s = ReadStatus::more; s != ReadStatus::empty;) {
        batch.clear();
        s = r.read(batch, t);
      }
    };
    drain(stranger, tally);
    drain(listener, own);
    EXPECT_EQ(tally.frames + tally.own + tally.filtered + tally.lost_frames, sent);
    EXPECT_EQ(tally.own, 0U);
    EXPECT_GT(tally.filtered, 0U);
    EXPECT_GT(tally.lost_frames, 0U);
    EXPECT_EQ(own.own + own.lost_frames, sent);
    EXPECT_EQ(own.frames + own.filtered, 0U);
    EXPECT_EQ(tally.corrupt + own.corrupt, 0U);
  }
}

// What the writer answers where it cannot append: each reason by its own name, and not a byte too
// early.

/// A batch of frames with records of their own, which fill so many bytes of the ring.
std::vector<std::size_t> sizes_for(std::uint64_t bytes) {
  constexpr std::uint64_t kRecord = 1024;
  std::vector<std::size_t> sizes(bytes / kRecord, kRecord - bus::kRecordHeaderBytes);
  if (bytes % kRecord != 0) sizes.push_back(bytes % kRecord - bus::kRecordHeaderBytes);
  return sizes;
}

/// Three claims of a quarter of the ring each. In front of them is only the end of the chain.
void claim_three_quarters(const RawBus& raw) {
  const std::uint64_t quarter = raw.ring().bytes() / 4;
  for (unsigned i = 0; i < 3; ++i) {
    const std::uint64_t begin = i == 0 ? bus::kRecordAlign : i * quarter;
    raw.claim(i, begin, begin, (i + 1) * quarter);
  }
}

/// The end of the chain lies right behind the room that claims leave.
TEST(Writer, UsesTheRoomBetweenClaimsToItsLastByteAndNoFurther) {
  RingRig rig;
  const std::uint64_t quarter = rig.raw.ring().bytes() / 4;
  claim_three_quarters(rig.raw);
  SizedBatch batch;
  EXPECT_EQ(rig.append(batch.make(1, 0, sizes_for(quarter))), AppendStatus::no_room);
  EXPECT_EQ(rig.raw.ring().word_at(0), bus::word::empty(0)) << "the chain still ends there";
  EXPECT_EQ(rig.append(batch.make(1, 0, sizes_for(quarter - bus::kRecordAlign))),
            AppendStatus::done);
  EXPECT_EQ(rig.raw.header().last, 4 * quarter - bus::kRecordAlign);
}

/// What it reads without the lock was written at different moments, so it shows nothing but that.
TEST(Writer, ThatHasLostTheLockSaysSoWhateverItFinds) {
  enum class Ring { sound, broken, full };
  for (const Ring ring : {Ring::sound, Ring::broken, Ring::full}) {
    for (const bool holds : {true, false}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(ring) << holds);
      RingRig rig;
      if (ring == Ring::broken) rig.raw.ring().record(0).word = 0x5a5a5a5a;
      if (ring == Ring::full) claim_three_quarters(rig.raw);
      const std::uint64_t mine = rig.raw.lock_as(kRigSender);
      if (!holds) rig.raw.lock_as(5);
      SizedBatch batch;
      const auto frames = batch.make(1, 0, sizes_for(rig.raw.ring().bytes() / 4));
      const AppendStatus found = ring == Ring::sound    ? AppendStatus::done
                                 : ring == Ring::broken ? AppendStatus::corrupt
                                                        : AppendStatus::no_room;
      EXPECT_EQ(rig.writer.append(mine, plan_batch(frames), 1),
                holds ? found : AppendStatus::lost_lock);
    }
  }
}

}  // namespace
}  // namespace shmif::test
