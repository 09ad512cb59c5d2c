// Audit finds what a scribbler did, and repair joins what survived.

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <thread>

#include "bus/repair/salvage.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr std::uint32_t kFrames = 100;

/// A bus with a hundred frames in it, each in a record of its own, a reader that has read none of
/// them, and a way to spoil it.
class Repair : public ::testing::Test {
 protected:
  void SetUp() override {
    NumberedBatch frames(200);
    for (std::uint32_t n = 0; n < kFrames; ++n) {
      ASSERT_FALSE(sender_.send(frames.make(1, n, 1)).error);
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

  /// For a reader that has read everything.
  void expect_next_is_heard() {
    NumberedBatch next(200);
    ASSERT_FALSE(sender_.send(next.make(2, 7, 1)).error);
    EXPECT_EQ(read_all(), std::vector<std::uint32_t>{7});
  }

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
  Port reader_ = port_on(bus_.path(), {.name = "reader", .kind = LinkKind::dump});
  FrameBatch batch_;
};

std::vector<std::uint32_t> all_but(std::uint32_t missing) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t n = 0; n < kFrames; ++n) {
    if (n != missing) numbers.push_back(n);
  }
  return numbers;
}

/// A number that was overwritten must not make the sound ones look wrong, wherever it stands.
TEST_F(Repair, LosesOnlyTheFrameWhoseNumberWasSpoiled) {
  std::vector<std::uint32_t> kept = all_but(kFrames);
  for (const std::uint32_t n : {kFrames - 1, 50U, 0U}) {
    raw_.ring().record(position_of(n)).number = 77'777 + n;
    ASSERT_FALSE(audit().clean());
    std::erase(kept, n);
    EXPECT_EQ(repair().frames_kept, kept.size()) << n;
    EXPECT_TRUE(is_clean(audit()));
  }
  EXPECT_EQ(read_all(), kept);
  expect_traffic();
  EXPECT_EQ(reader_.counters().lost_frames, 3U) << "of the last one, the next one tells";
}

TEST_F(Repair, DeliversNothingThatWasNeverSentAlsoWhenLastWasSpoiled) {
  // As above, and the dead writer got as far as the end of its batch. Its records may be torn.
  const std::uint64_t end = raw_.header().last;
  const std::uint64_t behind = end + bus::record_bytes(100);
  const std::uint64_t end_of_batch = behind + bus::record_bytes(100);
  raw_.ring().record(behind).word = bus::word::frame(behind, 100);
  raw_.ring().record(behind).number = kFrames + 1;
  raw_.ring().record(end_of_batch).word = bus::word::empty(end_of_batch);
  raw_.ring().record(end_of_batch).number = kFrames + 2;
  raw_.header().last = std::uint64_t{1} << 40U;
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

TEST_F(Repair, LeavesOutWhatADeadWriterHadNotCommittedWhereTheEndIsGone) {
  const std::uint64_t end = raw_.header().last;
  const std::uint64_t behind = end + bus::record_bytes(100);
  raw_.ring().record(end).word = 0;  // neither the end
  raw_.ring().record(behind).word = bus::word::frame(behind, 100);
  raw_.ring().record(behind).number = kFrames + 1;
  raw_.header().last = std::uint64_t{1} << 40U;  // nor `last` tells
  raw_.claim(77, end, end, behind + bus::record_bytes(100) + bus::kTailBytes);
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

/// Frames that share a record are lost together, whichever part of it was spoiled.
TEST_F(Repair, LosesTheFramesOfTheSharedRecordThatWasSpoiledAndNoOthers) {
  const auto header = [&](std::uint64_t p) -> bus::RecordHeader& { return raw_.ring().record(p); };
  const auto entry = [&](std::uint64_t p, std::uint64_t i) -> std::uint32_t& {
    return *reinterpret_cast<std::uint32_t*>(raw_.ring().payload(p) + i * bus::entry_bytes(60));
  };
  const struct {
    const char* what;
    const char* invariant;
    std::function<void(std::uint64_t)> spoil;
  } kDamages[] = {
      {"the word", "I5", [&](std::uint64_t p) { header(p).word = 0; }},
      {"the number", "I8", [&](std::uint64_t p) { header(p).number += 100; }},
      {"too few frames", "I9", [&](std::uint64_t p) { header(p).frames = 9; }},
      {"too many frames", "I9", [&](std::uint64_t p) { header(p).frames = 11; }},
      {"one frame", "I9", [&](std::uint64_t p) { header(p).frames = 1; }},
      {"more frames than fit", "I9", [&](std::uint64_t p) { header(p).frames = 65535; }},
      {"a first length", "I9", [&](std::uint64_t p) { entry(p, 0) = 50; }},
      {"a length below that of any frame", "I9", [&](std::uint64_t p) { entry(p, 4) = 13; }},
      {"a length that leaves the record", "I9", [&](std::uint64_t p) { entry(p, 4) = 400; }},
      {"a length above that of any frame", "I9", [&](std::uint64_t p) { entry(p, 4) = 1523; }},
      {"the greatest length", "I9", [&](std::uint64_t p) { entry(p, 9) = UINT32_MAX; }},
  };
  EXPECT_EQ(read_all().size(), kFrames);
  NumberedBatch frames(200);
  frames.fix_size(60);
  std::uint32_t next = kFrames;
  for (const auto& damage : kDamages) {
    SCOPED_TRACE(damage.what);
    std::uint64_t spoiled = 0;
    std::vector<std::uint32_t> kept;
    for (int batch = 0; batch < 3; ++batch, next += 10) {
      if (batch == 1) spoiled = raw_.header().last;
      for (std::uint32_t i = 0; batch != 1 && i < 10; ++i) kept.push_back(next + i);
      ASSERT_FALSE(sender_.send(frames.make(1, next, 10)).error);
    }
    ASSERT_EQ(raw_.ring().frames_of(raw_.ring().word_at(spoiled), spoiled), 10U);
    damage.spoil(spoiled);
    ASSERT_FALSE(audit().clean());
    EXPECT_EQ(audit().findings.front().invariant, damage.invariant);
    const std::uint64_t lost = reader_.counters().lost_frames;
    EXPECT_TRUE(repair().ring_rebuilt);
    EXPECT_TRUE(is_clean(audit()));
    EXPECT_EQ(read_all(), kept);
    EXPECT_EQ(reader_.counters().lost_frames - lost, 10U);
  }
}

/// Audit finds each way in which records are not alike (I10), and repair keeps what is whole.
TEST_F(Repair, LosesTheSpoiledRecordOfThoseThatAreAlikeAndTakesTheCountsAway) {
  constexpr std::size_t kBytes = 1000;
  const auto at = [&](std::uint64_t p, int i) -> bus::RecordHeader& {
    return raw_.ring().record(p + i * bus::record_bytes(kBytes));
  };
  const struct {
    const char* what;
    const char* invariant;
    unsigned lost;
    std::function<void(std::uint64_t)> spoil;
  } kDamages[] = {
      {"more than there are", "I10", 0, [&](std::uint64_t p) { at(p, 0).frames = 11; }},
      {"more further on", "I10", 0, [&](std::uint64_t p) { at(p, 9).frames = 2; }},
      {"a time", "I10", 0, [&](std::uint64_t p) { ++at(p, 4).time_ns; }},
      {"a sender", "I10", 0, [&](std::uint64_t p) { at(p, 4).slot += 100; }},
      {"an incarnation", "I10", 0, [&](std::uint64_t p) { ++at(p, 9).incarnation; }},
      {"a word", "I5", 1, [&](std::uint64_t p) { at(p, 4).word = 0; }},
      {"a number", "I8", 1, [&](std::uint64_t p) { at(p, 4).number += 100; }},
  };
  EXPECT_EQ(read_all().size(), kFrames);
  NumberedBatch frames(kBytes);
  frames.fix_size(kBytes);
  std::uint32_t next = kFrames;
  for (const auto& damage : kDamages) {
    SCOPED_TRACE(damage.what);
    const std::uint64_t begin = raw_.header().last;
    ASSERT_FALSE(sender_.send(frames.make(1, next, 10)).error);
    ASSERT_FALSE(sender_.send(frames.make(1, next + 10, 1)).error);
    ASSERT_TRUE(is_clean(audit()));
    damage.spoil(begin);
    ASSERT_FALSE(audit().clean());
    EXPECT_EQ(audit().findings.front().invariant, damage.invariant);
    const std::uint64_t lost = reader_.counters().lost_frames;
    EXPECT_TRUE(repair().ring_rebuilt);
    EXPECT_TRUE(is_clean(audit()));
    EXPECT_EQ(at(begin, 0).frames, 0U);
    const std::vector<std::uint32_t> got = read_all();
    EXPECT_EQ(reader_.counters().lost_frames - lost, damage.lost);
    std::vector<std::uint32_t> kept;
    for (std::uint32_t n = next; n < next + 11; ++n)
      if (damage.lost == 0 || n != next + 4) kept.push_back(n);
    EXPECT_EQ(got, kept);
    next += 11;
  }
}

/// What a port shows may be overwritten, too: more frames than fit in front of its place.
TEST_F(Repair, GoesOnAfterTheHighestNumberThatAPortCanHaveReadTo) {
  EXPECT_EQ(read_all(), all_but(kFrames));
  raw_.slot(sender_.slot()).next_number = 1U << 30U;
  raw_.slot(5).next_number = kFrames + 7;  // nobody's
  raw_.slot(5).position = raw_.header().last;
  std::memset(raw_.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw_.ring().bytes());
  EXPECT_EQ(repair().frames_kept, 0U);
  EXPECT_EQ(raw_.ring().number_at(raw_.header().last), kFrames);
  expect_traffic();
  EXPECT_EQ(reader_.counters().lost_frames, 0U);
}

TEST_F(Repair, BringsTheHeaderBackThroughWhoHadItOpen) {
  Bus before = Bus::open(bus_.path(), Access::read_write).value();
  raw_.header().magic = 0;
  raw_.header().ring_bytes = 1U << 30U;
  raw_.header().mtu = 9000;
  raw_.header().inode = 0;
  EXPECT_FALSE(Bus::open(bus_.path()));
  EXPECT_TRUE(before.repair());
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

TEST_F(Repair, PortsShowAgainWhoTheyAreAndDropClaimsThatAreNotTheirs) {
  const MacAddress mac = reader_.mac();
  EXPECT_FALSE(reader_.set_promiscuous(true));
  EXPECT_FALSE(sender_.set_carrier(false));
  for (unsigned slot = 0; slot < 2; ++slot) {
    bus::PortSlot& s = raw_.slot(slot);
    s.pid = 1;
    s.link = static_cast<std::uint32_t>(LinkKind::tap);
    std::memset(s.name, 'x', sizeof s.name);
    s.state = 0x77;
    s.mac = 1;
    s.flags = 0;
    raw_.claim(slot, 32, 32, 8000);
  }
  raw_.header().slots_used = 0;
  EXPECT_TRUE(sender_.is_up()) << "what a peer writes takes no port down";
  EXPECT_EQ(reader_.mac(), mac) << "nor does it change its address";
  EXPECT_FALSE(audit().clean());
  repair();
  EXPECT_EQ(sender_.send({}).taken, 0U);  // any call does
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
  const BusInfo info = bus_.info();
  ASSERT_EQ(info.ports.size(), 2U);
  EXPECT_EQ(info.ports[0].name, "sender");
  EXPECT_EQ(info.ports[1].name, "reader");
  EXPECT_EQ(info.ports[1].mac, mac);
  EXPECT_FALSE(info.ports[0].promiscuous);
  EXPECT_TRUE(info.ports[1].promiscuous);
  EXPECT_FALSE(info.ports[0].carrier);
  EXPECT_TRUE(info.ports[1].carrier);
  for (const PortInfo& port : info.ports) {
    EXPECT_EQ(port.pid, getpid());
    EXPECT_EQ(port.link, port.name == "reader" ? LinkKind::dump : LinkKind::library);
    EXPECT_TRUE(port.up);
    EXPECT_FALSE(port.claim_bytes) << port.name;
  }
}

/// The last position at which anything may stand (Ring::fits_alignment).
constexpr std::uint64_t kLastPositions =
    (UINT64_MAX - 2 * bus::kMaxRingBytes) & ~std::uint64_t{bus::kRecordAlign - 1};

TEST_F(Repair, KeepsTheFramesWhereTheyAreWhenLastPointsToWherePositionsEnd) {
  const std::uint64_t last = raw_.header().last;
  for (const std::uint64_t scribble :
       {kLastPositions, kLastPositions - 4096, std::uint64_t{1} << 63U}) {
    raw_.header().last = scribble;
    EXPECT_EQ(repair().frames_kept, kFrames);
    EXPECT_LT(raw_.header().last, last + 4096);
  }
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

TEST_F(Repair, BeginsWherePositionsAreNotUsedUpWhenNothingSurvivedAndLastPointsToTheirEnd) {
  std::memset(raw_.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw_.ring().bytes());
  for (std::uint64_t* word : {&raw_.header().first, &raw_.header().last}) *word = kLastPositions;
  repair();
  EXPECT_LT(raw_.header().last, 1ULL << 40U);
  EXPECT_TRUE(read_all().empty());
  NumberedBatch frames(200);
  for (std::uint32_t n = 0; n < 10'000; n += 10) {  // many laps
    ASSERT_FALSE(sender_.send(frames.make(1, n, 10)).error) << n;
    ASSERT_EQ(read_all().size(), 10U);
  }
  EXPECT_TRUE(audit().clean());
}

/// A ring full of frames of 64 bytes; every `spoiled`th has no header any more, and `last` is lost.
class LargeRepair : public testing::Test {
 protected:
  static constexpr std::size_t kFrameBytes = 64;
  LargeRepair() : frames_(kFrameBytes) { frames_.fix_size(kFrameBytes); }
  void fill_and_spoil(std::uint64_t spoiled) {
    const std::uint64_t count = raw_.ring().bytes() / bus::record_bytes(kFrameBytes) + 1000;
    for (; sent_ < count; ++sent_) {
      ASSERT_FALSE(sender_.send(frames_.make(1, sent_, 1)).error);
    }
    std::uint64_t p = raw_.header().first;
    for (std::uint64_t n = 1, step = 1; step != 0; p += step, ++n) {
      step = raw_.ring().step(raw_.ring().word_at(p), p);
      if (step != 0 && n % spoiled == 0) raw_.ring().record(p).word = 0;
    }
    raw_.header().last = 12345;
  }
  Result<RepairReport> repair() {
    return Bus::open(bus_.path(), Access::read_write).value().repair();
  }

  TempBus bus_{BusOptions{.ring_bytes = 128U << 20U}};
  RawBus raw_{bus_.path()};
  Port sender_ = port_on(bus_.path(), {.name = "sender"});
  NumberedBatch frames_;
  std::uint32_t sent_ = 0;
};

TEST_F(LargeRepair, KeepsTheLockFromASenderThatWaitsAllTheTime) {
  fill_and_spoil(1000);
  std::atomic<bool> done = false;
  std::jthread waits([&] {
    while (!done) static_cast<void>(sender_.send(frames_.make(1, sent_, 1)));
  });
  const auto report = repair();
  done = true;
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->ring_rebuilt);
  waits.join();
  EXPECT_GT(report->frames_kept, raw_.ring().bytes() / bus::record_bytes(kFrameBytes) * 99 / 100);
  EXPECT_FALSE(sender_.send(frames_.make(1, sent_, 1)).error);
  EXPECT_TRUE(is_clean(bus_.audit()));
}

TEST_F(LargeRepair, OfARingInMorePiecesThanItCountsKeepsTheNewest) {
  fill_and_spoil(2);
  const auto report = repair();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GE(report->frames_kept, bus::kMaxRuns / 2);
  EXPECT_LE(report->frames_kept, bus::kMaxRuns);
  Port late = port_on(bus_.path(), {.start = Start::oldest});
  FrameBatch batch;
  std::uint32_t newest = 0;
  do {
    batch.clear();
    ASSERT_FALSE(late.receive(batch).error);
    for (const FrameView& f : batch.frames()) newest = check_numbered(f)->sequence;
  } while (!batch.empty());
  EXPECT_GE(newest + 2, sent_);
  EXPECT_FALSE(sender_.send(frames_.make(1, sent_, 1)).error);
  EXPECT_TRUE(is_clean(bus_.audit()));
}

/// On a bus that was scribbled over: for those that it was given and that it learns, also where it
/// sends for one host only.
TEST_F(Repair, APortHearsForOtherAddressesAgain) {
  const MacAddress host = *MacAddress::parse("02:00:00:00:00:77");
  std::vector<std::byte> bytes(60, std::byte{0xff});
  std::memcpy(bytes.data() + 6, host.bytes.data(), host.bytes.size());
  const FrameView from_host(bytes);
  NumberedBatch frames(200);
  for (const bool learns : {true, false}) {
    Port bridge = port_on(bus_.path(), {.learn = learns});
    if (!learns) {
      ASSERT_FALSE(bridge.set_other_macs(std::array{host}));
    }
    for (const bool repaired : {false, true}) {
      if (repaired) {
        std::memset(raw_.slot(bridge.slot()).learned, 0, sizeof raw_.slot(0).learned);
        raw_.header().last = 12345;
        EXPECT_TRUE(repair().ring_rebuilt);
      }
      if (learns) {
        ASSERT_FALSE(bridge.send({&from_host, 1}).error);
      } else {
        static_cast<void>(bridge.receive(batch_));  // it finds its place again
      }
      ASSERT_FALSE(sender_.send(frames.make(3, 0, 1, host)).error);
      batch_.clear();
      EXPECT_FALSE(bridge.receive(batch_).error);
      ASSERT_EQ(batch_.size(), 1U) << "learns: " << learns << ", repaired: " << repaired;
      EXPECT_EQ(check_numbered(batch_[0]).value().sender, 3U);
    }
  }
}
// The newest frame is lost, and the header does not say where the chain ended. So the new chain can
// lead over the place where the reader waits.
TEST_F(Repair, WhoHadReadAllHearsTheNextFrameWhateverLastSays) {
  NumberedBatch frames(200);
  std::uint32_t sent = 0;
  for (const bool number : {false, true}) {
    for (const std::uint64_t back : {1U, 3U, 20U, 0U, 12345U}) {
      SCOPED_TRACE(std::to_string(back) + (number ? ", the number" : ", the word"));
      ASSERT_FALSE(sender_.send(frames.make(3, sent += 30, 30)).error);
      read_all();
      const std::uint64_t newest = raw_.ring().number_at(raw_.header().last) - 1;
      bus::RecordHeader& record = raw_.ring().record(position_of(newest));
      if (number) record.number = 0x123456789abcdef;
      if (!number) record.word = 0x123456789;
      raw_.header().last = back == 0 || back == 12345 ? back : position_of(newest - back);
      EXPECT_TRUE(repair().ring_rebuilt);
      expect_next_is_heard();
    }
  }
}

TEST_F(Repair, OfAnOverwrittenHeaderGivesNoEpochThatPortsHaveAlready) {
  raw_.header().last = 12345;
  repair();
  const std::uint64_t before = raw_.header().epoch;
  read_all();
  std::memset(reinterpret_cast<std::byte*>(&raw_.header()) + 128, 0, 512 - 128);
  EXPECT_NE(repair().epoch, before);
  expect_next_is_heard();
}

TEST_F(Repair, TellsALivingPortWhoseSlotLooksFree) {
  read_all();
  raw_.slot(reader_.slot()).state = 0;
  EXPECT_TRUE(audit().clean()) << "as while a port attaches";
  EXPECT_GT(repair().epoch, 0U);
  read_all();
  EXPECT_EQ(bus::state_of(raw_.slot(reader_.slot()).state), bus::SlotState::live);
}

/// The newest frame is gone, and a stopped writer's claim is where the chain ended. A pad may begin
/// there only if the writer changes that word by CAS.
TEST_F(Repair, BeginsAPadWhereTheChainEndedUnlessALateWriterMayWriteThere) {
  for (const bool commits : {true, false}) {
    const std::uint64_t end = raw_.header().last;
    const std::uint64_t newest = raw_.ring().number_at(end) - 1;
    raw_.ring().record(position_of(newest)).word = 0x123456789;
    raw_.claim(sender_.slot(), commits ? end : end + 64, end, end + 4096);
    EXPECT_TRUE(repair().ring_rebuilt);
    const std::uint64_t last = raw_.header().last;
    EXPECT_GE(last, end + 4096);
    EXPECT_EQ(raw_.ring().word_at(end),
              commits ? bus::word::pad(end, last - end) : bus::word::empty(end));
    raw_.slot(sender_.slot()).claim_owner = 0;
    EXPECT_FALSE(sender_.send({}).error);
    NumberedBatch next(200);
    ASSERT_FALSE(sender_.send(next.make(2, 7, 1)).error);
  }
}

}  // namespace
}  // namespace shmif::test
