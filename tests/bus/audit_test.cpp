// The audit says exactly what it found, and the rarer answers of ports and repair.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "bus/repair/audit.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/ring_rig.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

class Audit : public testing::Test {
 protected:
  Audit() {
    NumberedBatch frames(200);
    for (std::uint32_t n = 0; n < 10; ++n) {
      EXPECT_FALSE(sender_.send(frames.make(1, n, 1)).error);
    }
    EXPECT_TRUE(is_clean(bus_.audit()));
  }

  /// Expects this finding and no other.
  void expect(const std::string& invariant, const std::string& text) const {
    const AuditReport report = bus_.audit();
    ASSERT_EQ(report.findings.size(), 1U);
    EXPECT_EQ(report.findings[0].invariant, invariant);
    EXPECT_NE(report.findings[0].what.find(text), std::string::npos) << report.findings[0].what;
  }
  void expect_note(const std::string& text) const {
    const AuditReport report = bus_.audit();
    EXPECT_TRUE(is_clean(report));
    ASSERT_EQ(report.notes.size(), 1U);
    EXPECT_NE(report.notes[0].find(text), std::string::npos) << report.notes[0];
  }

  TempBus bus_{BusOptions{.ring_bytes = 64U << 10U}};
  RawBus raw_{bus_.path()};
  Port sender_ = port_on(bus_.path(), {.name = "sender"});
  Port idle_ = port_on(bus_.path(), {.name = "idle"});
};

/// The invariant that the audit says is broken, or "note"; what it names; and what was written into
/// a sound bus.
TEST_F(Audit, NamesWhatCannotBeAndNotesWhatTheDeadAndTheSlowLeft) {
  const unsigned idle = idle_.slot();
  const std::uint64_t end = raw_.header().last;
  const auto make_live = [&](unsigned slot, std::string_view name) {
    raw_.slot(slot).state = bus::slot_state(bus::SlotState::live, 1);
    std::ranges::copy(name, raw_.slot(slot).name);
    raw_.slot(slot).position = end + 4096;  // of the dead, that says nothing
    raw_.header().slots_used = slot + 1;
  };
  const struct {
    const char* broken;
    std::string names;
    std::function<void()> spoil;
  } kCases[] = {
      {"L1", "slot 256,", [&] { raw_.lock_as(bus::kSlots); }},
      {"L1", "slot 999,", [&] { raw_.lock_as(bus::lock_word::kRepairSlot - 1); }},
      {"note", "slot 255, whose process is dead", [&] { raw_.lock_as(255); }},
      {"I3", "slot 1 from 64 to", [&] { raw_.claim(idle, 64, 64, 64 + raw_.ring().bytes() / 2); }},
      {"I3", "slot 1 from 64 to 64 ", [&] { raw_.claim(idle, 64, 64, 64); }},
      {"note", "slot 1 (stopped or slow)", [&] { raw_.claim(idle, 64, 64, 64 + 512); }},
      {"note", "slot 2 (dead) claims 512", [&] { raw_.claim(2, 64, 64, 64 + 512); }},
      {"P1", "slot 9 has the state 0x7", [&] { raw_.slot(9).state = 7; }},
      {"P1", "slot 1 is in use", [&] { raw_.header().slots_used = 1; }},
      {"P3", "\"sender\"", [&] { std::ranges::copy("sender", raw_.slot(idle).name); }},
      {"note", "slot 2 (\"gone\") belongs to a dead", [&] { make_live(2, "gone"); }},
      {"note", "slot 2 (\"sender\") belongs to a dead", [&] { make_live(2, "sender"); }},
      {"I2", "past the end of the chain", [&] { raw_.slot(idle).position = end + 4096; }},
      {"I2", "first (1)", [&] { raw_.header().first = 1; }},
      {"I2", "last (33)",
       [&] {
         raw_.header().last = 33;
         raw_.slot(idle).position = 1U << 20U;  // of a broken chain, that says nothing
       }},
      {"I7", "no record leads on",
       [&] {
         raw_.header().first = end;
         raw_.header().last = end - 64;
       }},
      {"I8", "the frame number is 77, expected 1",
       [&] { raw_.ring().record(raw_.ring().step(raw_.ring().word_at(0), 0)).number = 77; }},
  };
  auto* const bytes = reinterpret_cast<std::byte*>(&raw_.header());
  const std::vector<std::byte> sound(bytes, bytes + bus::kRingOffset + 4096);
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.names);
    each.spoil();
    if (each.broken == std::string("note")) {
      expect_note(each.names);
    } else {
      expect(each.broken, each.names);
    }
    std::ranges::copy(sound, bytes);
  }
  raw_.lock_as(bus::lock_word::kRepairSlot);
  EXPECT_TRUE(is_clean(bus_.audit()));
  EXPECT_TRUE(bus_.audit().notes.empty());
}

TEST_F(Audit, AReaderMayHaveReadWhatAWriterHasCommittedBeforeItMovesLast) {
  const std::uint64_t end = raw_.header().last;
  raw_.slot(idle_.slot()).position = end;
  raw_.header().last = raw_.ring().step(raw_.ring().word_at(0), 0);
  EXPECT_TRUE(is_clean(bus_.audit()));
  raw_.slot(idle_.slot()).position = end + bus::kRecordAlign;
  expect("I2", "slot 1 reads at position " + std::to_string(end + bus::kRecordAlign));
}
TEST_F(Audit, FindsAChainLongerThanTheRing) {
  // A ring's worth of pads, the last of which leads once more round.
  const std::uint64_t end = raw_.header().last;
  const std::uint64_t step = raw_.ring().bytes() - 32;
  raw_.ring().record(end).word = bus::word::pad(end, step);
  expect("I6", "is longer than the ring");
}
TEST_F(Audit, FindsALastThatIsPastTheEndOrWithinARecord) {
  const std::uint64_t last = raw_.header().last;
  bus::store_seq_cst(raw_.header().last, last + 4096);
  expect("I7", "is past the end of the chain");
  bus::store_seq_cst(raw_.header().last, last - 32);
  expect("I7", "is not the beginning of a record");
}

TEST_F(Audit, FindsAFixedPartThatChangedWhileTheBusWasOpen) {
  const Bus open = Bus::open(bus_.path()).value();
  raw_.header().created_ns ^= 1;
  const AuditReport report = open.audit();
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_EQ(report.findings[0].invariant, "I1");
}
TEST_F(Audit, SaysNothingOfTheClaimOfAWriterAtWork) {
  raw_.claim(idle_.slot(), 64, 64, 64);
  raw_.header().lock = raw_.slot(idle_.slot()).claim_owner;
  EXPECT_TRUE(is_clean(bus_.audit()));
  EXPECT_TRUE(bus_.audit().notes.empty());
}
TEST_F(Audit, BehindAPadAllowsAsManyMissingNumbersAsTheRingHasFrames) {
  const std::uint64_t end = raw_.header().last;
  raw_.claim(idle_.slot(), end, end, end + 512);  // the next frame goes behind a pad
  NumberedBatch frames(200);
  ASSERT_FALSE(sender_.send(frames.make(1, 10, 1)).error);
  raw_.slot(idle_.slot()).claim_owner = 0;
  std::uint64_t frame = end;
  while (!bus::word::is_frame_at(raw_.ring().word_at(frame), frame))
    frame += raw_.ring().step(raw_.ring().word_at(frame), frame);
  const auto skip = [&](std::uint64_t missing) {
    raw_.ring().record(frame).number = 10 + missing;
    raw_.ring().record(raw_.header().last).number = 11 + missing;
  };
  const std::uint64_t most = bus::frames_in(raw_.ring().bytes());
  skip(most);
  EXPECT_TRUE(is_clean(bus_.audit()));
  skip(most + 1);
  expect("I8", "expected 10");
}
TEST_F(Audit, OfABusThatItCouldNotSeeIsNotClean) {
  AuditReport report;
  report.is_known = false;
  EXPECT_FALSE(report.clean());
}

TEST_F(Audit, CountsWhatItWalked) {
  const AuditReport report = bus_.audit();
  EXPECT_EQ(report.records, 10U);
  EXPECT_EQ(report.frames, 10U);
  EXPECT_EQ(report.pads, 0U);
  NumberedBatch frames(200);
  for (std::uint32_t n = 0; n < 3; ++n) {
    const std::uint64_t end = raw_.header().last;
    raw_.claim(idle_.slot(), end, end, end + 512);  // the next frame goes behind a pad
    ASSERT_FALSE(sender_.send(frames.make(1, 10 + n, 1)).error);
  }
  const AuditReport after = bus_.audit();
  EXPECT_EQ(after.records, 16U);
  EXPECT_EQ(after.frames, 13U);
  EXPECT_EQ(after.pads, 3U);
  raw_.slot(idle_.slot()).claim_owner = 0;
  ASSERT_FALSE(sender_.send(frames.make(1, 13, 5)).error);  // they share a record
  EXPECT_EQ(bus_.audit().records, 17U);
  EXPECT_EQ(bus_.audit().frames, 18U);
}

// Repair.

TEST_F(Audit, RepairTellsWhatItFreedAndCleared) {
  const auto repair = [&] {
    return Bus::open(bus_.path(), Access::read_write).value().repair().value();
  };
  raw_.slot(9).state = bus::slot_state(bus::SlotState::live, 5);   // a dead port
  raw_.claim(77, 4096, 4096, 8192);                                // of a dead writer
  raw_.claim(78, 8192, 8192, 9216);                                // of another
  raw_.claim(idle_.slot(), 64, 64, 64 + raw_.ring().bytes() / 2);  // longer than any
  raw_.claim(sender_.slot(), 64, 64, 64);                          // of nothing
  raw_.slot(idle_.slot()).position = 33;                           // of no record
  const RepairReport done = repair();
  EXPECT_EQ(done.ports_freed, 1U);
  EXPECT_EQ(done.claims_cleared, 4U);
  EXPECT_FALSE(done.lock_released);
  EXPECT_FALSE(done.ring_rebuilt);
  EXPECT_GT(done.epoch, 0U);
  EXPECT_EQ(raw_.slot(idle_.slot()).position, raw_.header().last);
  EXPECT_EQ(bus_.info().claims_freed, 2U) << "of the dead";
  EXPECT_EQ(bus_.info().repairs, 1U);
  const RepairReport again = repair();
  EXPECT_EQ(again.ports_freed, 0U);
  EXPECT_EQ(again.claims_cleared, 0U);
  EXPECT_EQ(again.epoch, done.epoch) << "it was sound";
  EXPECT_EQ(bus_.info().repairs, 2U);
}

TEST_F(Audit, AClaimIsAWritersUpToAQuarterOfTheRingAndItsTail) {
  const std::uint64_t longest = raw_.ring().bytes() / 4 + bus::kTailBytes;
  for (const std::uint64_t more : {std::uint64_t{0}, std::uint64_t{1}}) {
    raw_.claim(idle_.slot(), 32, 64, 64 + longest + more);
    EXPECT_EQ(bus_.audit().clean(), more == 0);
    EXPECT_EQ(bus_.info().ports.at(idle_.slot()).claim_bytes, longest + more);
    const auto done = Bus::open(bus_.path(), Access::read_write).value().repair();
    EXPECT_EQ(done.value().claims_cleared, more);
  }
}

TEST_F(Audit, RepairSaysSoWhenSomebodyGoesOnScribbling) {
  std::jthread scribbler([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) bus::store_seq_cst(raw_.header().first, std::uint64_t{12345});
  });
  const bool told = eventually([&] {  // it may pause for a whole repair
    const auto done = Bus::open(bus_.path(), Access::read_write).value().repair();
    return !done && done.error().code == Errc::corrupt &&
           done.error().message.find("a process keeps overwriting it") != std::string::npos;
  });
  EXPECT_TRUE(told);
}

TEST_F(Audit, APortThatRepairLeftBehindCountsWhatItMissed) {
  Follower follower = Follower::open(bus_.path(), Start::oldest).value();
  // Nothing of what it had still to read survives but the newest frames.
  NumberedBatch frames(200);
  for (std::uint64_t p = raw_.header().first, n = 0; n < 5; ++n) {
    const std::uint64_t step = raw_.ring().step(raw_.ring().word_at(p), p);
    raw_.ring().record(p).word = 0;
    p += step;
  }
  ASSERT_TRUE(Bus::open(bus_.path(), Access::read_write).value().repair());
  FrameBatch batch;
  const ReceiveResult got = idle_.receive(batch);
  EXPECT_FALSE(got.error);
  EXPECT_EQ(got.frames, 5U);
  EXPECT_EQ(got.lost, 5U);
  EXPECT_EQ(idle_.counters().lost_frames, 5U);
  EXPECT_EQ(idle_.counters().lost_bytes, raw_.header().first);
  EXPECT_EQ(idle_.counters().overruns, 1U);
  EXPECT_EQ(idle_.receive(batch).lost, 0U) << "told once";
  batch.clear();
  const ReceiveResult followed = follower.receive(batch);
  EXPECT_FALSE(followed.error);
  EXPECT_EQ(followed.frames, 5U);
  EXPECT_EQ(followed.lost, 5U);
  EXPECT_EQ(follower.counters().lost_frames, 5U);
  EXPECT_EQ(follower.counters().lost_bytes, raw_.header().first);
  EXPECT_EQ(follower.counters().overruns, 1U);
}

// Ports.

TEST_F(Audit, BetweenStandingClaimsASingleFrameGoesWhereABatchDoesNotAndElseItIsRefused) {
  const std::uint64_t step = raw_.ring().bytes() / 8;
  std::vector<Port> stopped;
  for (unsigned i = 0; i < 8; ++i) {  // stretches of 2 KiB between claims of 6 KiB
    stopped.push_back(port_on(bus_.path()));
    raw_.claim(stopped.back().slot(), i * step + 4096, i * step + 2048, (i + 1) * step);
  }
  NumberedBatch frames(1000);
  frames.fix_size(1000);
  EXPECT_EQ(sender_.send(frames.make(2, 0, 8)).taken, 8U) << "one by one";
  for (unsigned i = 0; i < 8; ++i) {
    raw_.slot(stopped[i].slot()).claim_begin = i * step + 512;
  }
  bus::fetch_add(raw_.header().takeovers, std::uint64_t{1});
  const SendResult refused = sender_.send(frames.make(2, 8, 1));
  EXPECT_EQ(refused.error, Errc::no_room);
  EXPECT_EQ(refused.taken, 0U);
}

TEST_F(Audit, APortAndAFollowerKnowWhatTheBusCarries) {
  EXPECT_EQ(sender_.mtu(), 1500U);
  EXPECT_EQ(Port().mtu(), std::nullopt);
  EXPECT_EQ(Follower::open(bus_.path(), Start::now).value().max_frame_bytes(), 1522U);
}

// Long frames of one length for one address, whose records are alike (I10): what senders write
// about them, and what readers, audit and repair make of it.

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

/// Copies lie at multiples of 16 bytes, and the last of them ends within the room.
TEST_F(AlikeRecords, AReaderTakesNoMoreThanThereIsRoomFor) {
  append_equal(6, kAlike);
  for (const std::size_t spare : {0U, 1U}) {
    FrameBatch in(8, 2 * FrameBatch::aligned(kAlike) + kAlike - spare);
    EXPECT_EQ(rig_.reader.read(in, rig_.tally), ReadStatus::more);
    EXPECT_EQ(in.size(), 3 - spare);
  }
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
