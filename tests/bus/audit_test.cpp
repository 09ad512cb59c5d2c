// The audit says exactly what it found, and the rarer answers of ports and repair.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
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
  const RepairReport done = repair();
  EXPECT_EQ(done.ports_freed, 1U);
  EXPECT_EQ(done.claims_cleared, 4U);
  EXPECT_FALSE(done.lock_released);
  EXPECT_FALSE(done.ring_rebuilt);
  EXPECT_GT(done.epoch, 0U);
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

}  // namespace
}  // namespace shmif::test
