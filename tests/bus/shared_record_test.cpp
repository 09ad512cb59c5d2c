// Short frames that share a record (I9): which do, and what a reader makes of them that stops
// between two.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "tests/support/numbered_frames.hpp"
#include "tests/support/ring_rig.hpp"

namespace shmif::test {
namespace {

using bus::AppendStatus;
using bus::ReadStatus;
using bus::ReadTally;

/// Bytes of the ring that `frames` take as one batch, without the end of the chain, by
/// the rule of docs/bus-format.md and not by the library's code.
std::uint64_t batch_bytes(std::span<const FrameView> frames) {
  const auto rounded = [](std::uint64_t bytes, std::uint64_t to) {
    return (bytes + to - 1) / to * to;
  };
  const auto shares = [](const FrameView& frame) {
    return frame.size() <= 512 && !frame.offload.pending();
  };
  const auto entry = [&](const FrameView& frame) { return rounded(4 + frame.size(), 4); };
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < frames.size();) {
    std::uint64_t body = frames[i].size() + (frames[i].offload.pending() ? 12 : 0);
    std::uint64_t together = entry(frames[i]);
    std::size_t next = i + 1;
    while (shares(frames[i]) && next < frames.size() && shares(frames[next]) &&
           32 + together + entry(frames[next]) <= 4096) {
      together += entry(frames[next++]);
    }
    if (next > i + 1) body = together;
    bytes += rounded(32 + body, 32);
    i = next;
  }
  return bytes;
}

/// A pad stands before the first record, whose frames have the numbers from 50 on. The reader is in
/// front of the pad.
void begin_behind_a_pad(RingRig& rig) {
  rig.raw.begin_at(64, 50);
  rig.raw.ring().record(0).number = 0;
  rig.raw.ring().record(0).word = bus::word::pad(0, 64);
  rig.raw.header().first = 0;
  ASSERT_TRUE(rig.reader.seek_oldest());
}

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
    EXPECT_EQ(here() - begin, batch_bytes(batch_.make(1, 0, c.sizes)));
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
      std::vector<std::size_t> sizes;
      for (unsigned i = 0; i < count; ++i) sizes.push_back(kinds[mix >> 3U * i & 7U]);
      std::vector<std::size_t> real = sizes;
      std::replace(real.begin(), real.end(), kPending, std::size_t{61});
      const auto frames = batch.make(1, rig.next, real);
      for (unsigned i = 0; i < count; ++i) {
        if (sizes[i] != kPending) continue;
        // Its checksum is finished in place: it lies behind what the check needs.
        frames[i].offload = {.flags = Offload::kNeedsChecksum, .csum_start = 60};
      }
      const std::uint64_t begin = rig.raw.header().last;
      ASSERT_EQ(rig.append(frames, ++time), AppendStatus::done);
      ASSERT_EQ(rig.raw.header().last - begin, batch_bytes(frames)) << mix;
      ASSERT_EQ(plan_batch(frames).bytes, batch_bytes(frames)) << mix;
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

/// What a writer gets with a batch is what it would find out by itself, wherever the room ends.
TEST(SharedRecordPlan, ABatchThatIsCutShortIsPlannedAsIfNoFrameFollowed) {
  const std::array<std::byte, 1514> payload{};
  std::vector<FrameView> kinds;
  constexpr std::size_t kSizes[] = {14, 60, 512, 513, 1514};
  for (const std::size_t size : kSizes) kinds.emplace_back(payload.data(), size);
  kinds.push_back(kinds[1]);
  kinds.back().offload = {.flags = Offload::kNeedsChecksum, .csum_start = 14};
  const auto kind = [&](std::size_t number) { return kinds[number % kinds.size()]; };
  for (std::size_t mix = 0; mix < 6 * 6 * 6; ++mix) {
    const std::array frames{kind(mix), kind(mix / 6), kind(mix / 36), kind(mix)};
    const std::uint64_t all = plan_batch(frames).bytes + bus::kTailBytes;
    for (std::uint64_t max = 0; max <= all; max += 16) {
      SCOPED_TRACE(std::to_string(mix) + ", " + std::to_string(max));
      bus::BatchPlan plan;
      std::size_t added = 0;
      while (added < frames.size() && plan.add(frames[added], max)) ++added;
      const bus::Batch batch = plan.of(frames);
      ASSERT_EQ(batch.frames.size(), added);
      const auto kept = std::span(frames).first(added);
      const bus::RecordPlan first = bus::plan_record(kept);
      ASSERT_EQ(batch.first.frames(), first.frames());
      ASSERT_EQ(batch.first.body(), first.body());
      ASSERT_EQ(batch.bytes, plan_batch(kept).bytes);
      ASSERT_TRUE(added == 0 || batch.bytes + bus::kTailBytes <= max);
      if (added == frames.size()) continue;
      const bus::Batch more = plan_batch(std::span(frames).first(added + 1));
      ASSERT_GT(more.bytes + bus::kTailBytes, max);
    }
  }
}

/// Frames that join a record at once are planned as one after the other.
TEST(SharedRecordPlan, FramesThatJoinAtOnceArePlannedAsOneByOne) {
  const std::array<std::byte, 1514> payload{};
  std::vector<FrameView> kinds;
  constexpr std::size_t kSizes[] = {13, 14, 60, 300, 301, 512, 513};
  for (const std::size_t size : kSizes) kinds.emplace_back(payload.data(), size);
  kinds.push_back(kinds[2]);
  kinds.back().offload = {.flags = Offload::kNeedsChecksum, .csum_start = 14};
  std::size_t joined_in_all = 0;
  for (std::size_t mix = 0; mix < 8 * 8 * 8 * 8; ++mix) {
    const std::array frames{kinds[2], kinds[mix % 8], kinds[mix / 8 % 8], kinds[mix / 64 % 8],
                            kinds[mix / 512]};
    SCOPED_TRACE(mix);
    for (std::size_t max_frame = 300; max_frame <= 512; max_frame += 212) {
      for (std::uint64_t max = 0; max <= 1200; max += 16) {
        bus::BatchPlan one_by_one;
        bus::BatchPlan at_once;
        ASSERT_EQ(at_once.add_all_that_join(frames, max_frame, max).frames, 0U);
        if (!one_by_one.add(frames[0], max)) continue;
        at_once.add(frames[0], max);
        std::size_t joined = 0;
        std::uint64_t bytes = 0;
        // Of the same record: the next one is begun by add() alone.
        for (const FrameView& frame : std::span(frames).subspan(1)) {
          const bool may = frame.size() >= 14 && frame.size() <= max_frame;
          if (!may || frame.size() > 512 || frame.offload.pending()) break;
          if (!one_by_one.add(frame, max)) break;
          ++joined;
          bytes += frame.size();
        }
        const auto got = at_once.add_all_that_join(std::span(frames).subspan(1), max_frame, max);
        ASSERT_EQ(got.frames, joined);
        ASSERT_EQ(got.bytes, bytes);
        const bus::Batch a = one_by_one.of(frames);
        const bus::Batch b = at_once.of(frames);
        ASSERT_EQ(a.frames.size(), b.frames.size());
        ASSERT_EQ(a.bytes, b.bytes);
        ASSERT_EQ(a.first.frames(), b.first.frames());
        ASSERT_EQ(a.first.body(), b.first.body());
        joined_in_all += joined;
      }
    }
  }
  EXPECT_GT(joined_in_all, 100000U);
}

/// A record that is full is not joined: the next frame begins another.
TEST(SharedRecordPlan, NoFrameJoinsAFullRecord) {
  const std::array<std::byte, 512> payload{};
  const std::vector<FrameView> frames(10, FrameView(payload.data(), 504));
  bus::BatchPlan plan;
  ASSERT_TRUE(plan.add(frames[0], UINT64_MAX));
  EXPECT_EQ(plan.add_all_that_join(std::span(frames).subspan(1), 1514, UINT64_MAX).frames, 7U);
  EXPECT_EQ(plan.of(frames).frames.size(), 8U);
  EXPECT_EQ(plan.of(frames).bytes, plan_batch(std::span(frames).first(8)).bytes);
  ASSERT_TRUE(plan.add(frames[8], UINT64_MAX));
  EXPECT_EQ(plan.add_all_that_join(std::span(frames).subspan(9), 1514, UINT64_MAX).frames, 1U);
  EXPECT_EQ(plan.of(frames).bytes, plan_batch(frames).bytes);
  EXPECT_EQ(plan.of(frames).first.frames(), 8U);
}

/// A record that is not the first of its batch takes no more than what those before it left.
TEST(SharedRecordPlan, FramesThatJoinALaterRecordKeepWithinTheRoomThatIsLeft) {
  const std::array<std::byte, 1514> payload{};
  std::vector<FrameView> frames;
  constexpr std::size_t kSizes[] = {513, 60, 61, 62, 513};
  for (const std::size_t size : kSizes) frames.emplace_back(payload.data(), size);
  std::size_t most = 0;
  for (std::uint64_t max = 0; max <= 2048; max += 4) {
    SCOPED_TRACE(max);
    bus::BatchPlan one_by_one;
    bus::BatchPlan at_once;
    for (bus::BatchPlan* const plan : {&one_by_one, &at_once}) {
      ASSERT_TRUE(plan->add(frames[0], UINT64_MAX));
      ASSERT_TRUE(plan->add(frames[1], UINT64_MAX));
    }
    std::size_t joined = 0;
    std::uint64_t bytes = 0;
    while (joined < 2 && one_by_one.add(frames[2 + joined], max)) bytes += 61 + joined++;
    const auto got = at_once.add_all_that_join(std::span(frames).subspan(2), 1514, max);
    ASSERT_EQ(got.frames, joined) << "a frame of 513 bytes has a record of its own";
    ASSERT_EQ(got.bytes, bytes);
    ASSERT_EQ(at_once.of(frames).bytes, one_by_one.of(frames).bytes);
    ASSERT_EQ(at_once.of(frames).first.frames(), 1U);
    most = std::max(most, joined);
  }
  EXPECT_EQ(most, 2U);
}

/// A port counts and refuses frames that would join a record as it does all others.
TEST(SharedRecordPlan, OfFramesThatJoinAPortCountsBytesAndRefusesThoseOfAnImpossibleLength) {
  const TempBus bus({.ring_bytes = 64U << 10U, .mtu = 100});
  Port sender = port_on(bus.path());
  Port reader = port_on(bus.path());
  const std::size_t longest = RawBus(bus.path()).ring().max_frame();
  ASSERT_LT(longest, 500U);
  SizedBatch batch;
  const auto too_long = batch.make(1, 0, {60, 61, longest, longest + 1, 62});
  const SendResult first = sender.send(too_long);
  EXPECT_EQ(first.taken, 3U);
  EXPECT_EQ(first.error, Errc::frame_too_long);
  EXPECT_EQ(sender.counters().tx_frames, 3U);
  EXPECT_EQ(sender.counters().tx_bytes, 60 + 61 + longest);
  EXPECT_EQ(sender.counters().too_long_frames, 1U);
  EXPECT_EQ(sender.counters().refused_frames, 0U);
  auto too_short = batch.make(1, 3, {63, 64, 60, 65});
  too_short[2].bytes = too_short[2].bytes.first(13);
  const SendResult second = sender.send(too_short);
  EXPECT_EQ(second.taken, 2U);
  EXPECT_EQ(second.error, Errc::frame_too_short);
  EXPECT_EQ(sender.counters().tx_bytes, 60 + 61 + longest + 63 + 64);
  EXPECT_EQ(sender.counters().too_long_frames, 1U);
  EXPECT_EQ(sender.counters().refused_frames, 1U);
  FrameBatch in;
  ASSERT_FALSE(reader.receive(in).error);
  EXPECT_EQ(whole_sequences(in), numbers(0, 5));
  EXPECT_TRUE(is_clean(bus.audit()));
}

// What a run of frames delivers.

/// The filter is asked for each new address, of which all six bytes count.
TEST_F(SharedRecord, FramesToAddressesThatAreAlmostThatOfAPortAreForOthers) {
  const MacAddress zeros = MacAddress::from_u64(0);
  const MacAddress other_first = MacAddress::from_u64(kMyMac ^ 0x08'00'00'00'00'00);
  const MacAddress other_second = MacAddress::from_u64(kMyMac ^ 0x00'01'00'00'00'00);
  const MacAddress to[] = {zeros, kMine, other_first, kMine, other_second, kForOthers, kMine};
  for (const bool lends : {false, true}) {
    SCOPED_TRACE(lends);
    ASSERT_TRUE(mine_.seek_end());
    Taking taking(mine_, lends);
    const std::uint32_t base = next_;
    append(Sizes(7, 60), to);
    EXPECT_EQ(taking.take(64), (std::vector{base + 1, base + 3, base + 6}));
    EXPECT_EQ(taking.tally.filtered, 4U);
    EXPECT_EQ(taking.tally.lost_frames, 0U);
  }
}

/// Nothing of what a batch held before is left in the views of the next frames.
TEST_F(SharedRecord, EachViewSaysWhatTheRecordSaysAndNothingOfAnEarlierFrame) {
  const std::array<std::byte, 60> bytes{};
  FrameView before(bytes.data(), bytes.size());
  before.time_ns = 1;
  before.number = 2;
  before.true_bytes = 3000;
  before.sender = 4;
  before.sender_incarnation = 5;
  before.offload = {.flags = Offload::kNeedsChecksum, .csum_start = 14};
  for (const bool lends : {false, true}) {
    SCOPED_TRACE(lends);
    bus::RingReader reader = reader_of_all();
    FrameBatch in(3);
    while (!in.full()) in.push_lent(before);
    in.clear();
    const std::uint32_t base = next_;
    record(append({60, 61, 62})).incarnation = 9;
    ReadTally tally;
    static_cast<void>(lends ? reader.lend(in, tally) : reader.read(in, tally));
    ASSERT_EQ(in.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(in[i].size(), 60 + i);
      EXPECT_EQ(in[i].time_ns, time_);
      EXPECT_EQ(in[i].number, base + i);
      EXPECT_EQ(in[i].true_bytes, 0U);
      EXPECT_EQ(in[i].sender, kRigSender);
      EXPECT_EQ(in[i].sender_incarnation, 9U);
      EXPECT_FALSE(in[i].offload.pending());
    }
    std::size_t torn = 0;
    if (lends) {
      EXPECT_EQ(reader.release(tally, torn), ReadStatus::empty);
    }
    EXPECT_EQ(torn, 0U);
  }
}

/// Copies lie at multiples of 16 bytes, and no further apart than that.
TEST_F(SharedRecord, CopiesLieBehindEachOtherAtMultiplesOfSixteenBytes) {
  append({16, 60, 32, 17, 33});
  append({513});
  FrameBatch in;
  ReadTally tally;
  ASSERT_EQ(rig_.reader.read_all(in, tally), ReadStatus::empty);
  std::vector<std::ptrdiff_t> offsets;
  for (const FrameView& frame : in.frames())
    offsets.push_back(frame.bytes.data() - in[0].bytes.data());
  EXPECT_EQ(offsets, (std::vector<std::ptrdiff_t>{0, 16, 80, 112, 144, 192}));
}

// Readers that stop between two frames.

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
  EXPECT_EQ(tally.more_segments, 0U);
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

// Places that are found again.

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
  begin_behind_a_pad(rig);
  ASSERT_EQ(rig.append(batch_.make_equal(1, 0, 5, 60)), AppendStatus::done);
  ASSERT_EQ(rig.append(batch_.make_equal(1, 5, 5, 60)), AppendStatus::done);
  Taking taking(rig.reader, false);
  for (std::uint32_t n = 0; n < 10; ++n) ASSERT_EQ(taking.take(1), numbers(n, n + 1));
  EXPECT_EQ(taking.tally.lost_frames, 50U);
  EXPECT_EQ(taking.tally.corrupt, 0U);
}

TEST_F(SharedRecord, BehindAnOffloadAreTwoZeroBytes) {
  RingRig rig({.ring_bytes = 1U << 20U});
  std::memset(rig.raw.ring().payload(0), 0x5a, 64);
  const auto frames = batch_.make(1, 0, {60});
  frames[0].offload = {.flags = Offload::kNeedsChecksum, .csum_start = 14, .csum_offset = 0};
  ASSERT_EQ(rig.append(frames), AppendStatus::done);
  EXPECT_EQ(rig.raw.ring().payload(0)[sizeof(Offload)], std::byte{0});
  EXPECT_EQ(rig.raw.ring().payload(0)[sizeof(Offload) + 1], std::byte{0});
}

/// Whoever stopped inside of the record behind a pad knows the number of the next frame.
TEST_F(SharedRecord, APadDoesNotExcuseANumberThatChangesUnderAReaderInsideOfTheRecordBehindIt) {
  for (const bool lends : {false, true}) {
    RingRig rig;
    begin_behind_a_pad(rig);
    ASSERT_EQ(rig.append(batch_.make_equal(1, 0, 5, 60)), AppendStatus::done);
    Taking taking(rig.reader, lends);
    ASSERT_EQ(taking.take(2), numbers(0, 2));
    EXPECT_EQ(taking.tally.lost_frames, 50U);
    rig.raw.ring().record(64).number += 1;
    EXPECT_EQ(taking.take(64), numbers(0, 0));
    EXPECT_EQ(taking.status, ReadStatus::corrupt);
    EXPECT_EQ(taking.tally.corrupt, 1U);
  }
}

}  // namespace
}  // namespace shmif::test
