// Audit finds what a scribbler did, and repair joins what survived.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "bus/repair/salvage.hpp"
#include "tests/support/eventually.hpp"
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

TEST_F(Repair, LosesOnlyTheFrameWhoseHeaderWasSpoiled) {
  raw_.ring().record(position_of(50)).word = 0x123456789;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(audit().findings.front().invariant, "I5");
  const RepairReport done = repair();
  EXPECT_TRUE(done.ring_rebuilt);
  EXPECT_FALSE(done.lock_released) << "nobody held it";
  EXPECT_EQ(done.frames_kept, kFrames - 1);
  EXPECT_GT(done.epoch, 0U);
  EXPECT_EQ(read_all(), all_but(50));
  EXPECT_EQ(reader_.counters().lost_frames, 1U);
  expect_traffic();
}

TEST_F(Repair, FindsTheOldestFrameAgainWhenFirstWasSpoiled) {
  raw_.header().first = 0xdeadbeef;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
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

TEST(RepairOfABus, WithASingleFrameKeepsIt) {
  const TempBus bus(BusOptions{.ring_bytes = 64U << 10U});
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port reader = port_on(bus.path());
  NumberedBatch frames(200);
  ASSERT_FALSE(sender.send(frames.make(1, 0, 1)).error);
  raw.header().first = 0xdeadbeef;
  EXPECT_EQ(Bus::open(bus.path(), Access::read_write).value().repair().value().frames_kept, 1U);
  FrameBatch batch;
  EXPECT_EQ(reader.receive(batch).frames, 1U);
  EXPECT_EQ(reader.counters().lost_frames, 0U);
}

TEST_F(Repair, FindsTheEndAgainWhenLastWasSpoiled) {
  raw_.header().last = std::uint64_t{1} << 40U;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
}

TEST_F(Repair, DeliversNothingThatWasNeverSent) {
  // A batch that its writer did not live to commit: its second record stands whole behind the end.
  const std::uint64_t end = raw_.header().last;
  const std::uint64_t behind = end + bus::record_bytes(100);
  raw_.ring().record(behind).word = bus::word::frame(behind, 100);
  raw_.ring().record(behind).number = kFrames + 1;
  raw_.ring().record(position_of(50)).word = 0;
  EXPECT_EQ(repair().frames_kept, kFrames - 1);
  EXPECT_EQ(read_all(), all_but(50));
  expect_traffic();
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

TEST_F(Repair, TakesNoPayloadForARecord) {
  // A frame that carries, where a record could begin, what a record of that place begins with.
  NumberedBatch frames(200);
  const std::uint64_t end = raw_.header().last;
  std::vector<std::byte> bytes(200, std::byte{0xff});
  for (std::size_t offset = bus::kRecordAlign; offset + 16 <= bytes.size();
       offset += bus::kRecordAlign) {
    const std::uint64_t fake[2] = {bus::word::frame(end + bus::kRecordHeaderBytes + offset, 64),
                                   kFrames};
    std::memcpy(bytes.data() + offset, fake, sizeof fake);
  }
  const FrameView disguised(bytes);
  ASSERT_FALSE(sender_.send({&disguised, 1}).error);
  ASSERT_FALSE(sender_.send(frames.make(1, kFrames, 1)).error);
  raw_.ring().record(position_of(50)).word = 0;
  EXPECT_EQ(repair().frames_kept, kFrames + 1);
  FrameBatch all(256, 64U << 10U);
  EXPECT_FALSE(reader_.receive(all).error);
  std::size_t disguised_seen = 0;
  for (const FrameView& f : all.frames()) {
    disguised_seen += std::ranges::equal(f.bytes, disguised.bytes) ? 1U : 0U;
  }
  EXPECT_EQ(all.size(), kFrames + 1);
  EXPECT_EQ(disguised_seen, 1U);
  EXPECT_TRUE(audit().clean());
}

TEST_F(Repair, KeepsOutOfTheClaimsOfLivingWriters) {
  const std::uint64_t end = raw_.header().last;
  raw_.claim(sender_.slot(), end, end, end + 4096);
  raw_.ring().record(position_of(50)).word = 0;
  repair();
  const std::uint64_t fresh = raw_.header().last;
  EXPECT_GE(fresh, end + 4096) << "EMPTY would be in the claim";
  EXPECT_EQ(read_all(), all_but(50));
  EXPECT_TRUE(audit().clean());
}

TEST_F(Repair, KeepsOutOfAllClaimsThatFollowEachOther) {
  const std::uint64_t end = raw_.header().last;
  raw_.claim(sender_.slot(), end, end, end + 4096);
  raw_.claim(reader_.slot(), end + 4096, end + 4096, end + 8192);
  raw_.ring().record(position_of(50)).word = 0;
  repair();
  EXPECT_GE(raw_.header().last, end + 8192);
  EXPECT_EQ(read_all(), all_but(50));
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

TEST_F(Repair, GoesOnAfterTheLastNumberWhenNothingSurvived) {
  std::memset(raw_.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw_.ring().bytes());
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(repair().frames_kept, 0U);
  EXPECT_TRUE(read_all().empty());
  EXPECT_TRUE(audit().clean());
  NumberedBatch frames(200);
  ASSERT_FALSE(sender_.send(frames.make(2, 7, 1)).error);
  EXPECT_EQ(read_all(), std::vector<std::uint32_t>{7});
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

TEST_F(Repair, FindsTheEndAgainWhenLastIsBeforeFirst) {
  NumberedBatch frames(200);
  for (std::uint32_t n = 0; n < 1000; n += 10) {
    ASSERT_FALSE(sender_.send(frames.make(1, n, 10)).error);
  }
  ASSERT_GT(raw_.header().first, 64U);
  raw_.header().last = raw_.header().first - 64;
  ASSERT_FALSE(audit().clean());
  EXPECT_EQ(audit().findings.front().invariant, "I7");
  EXPECT_TRUE(repair().ring_rebuilt);
  read_all();
  expect_traffic();
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

TEST_F(Repair, APortThatWasDownWhenPositionsBeganAnewHearsAllThatIsThereThen) {
  Port late = port_on(bus_.path(), {.name = "late", .start = Start::oldest});
  batch_.clear();
  EXPECT_GT(late.receive(batch_).frames, 0U);
  ASSERT_FALSE(late.down());
  std::memset(raw_.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw_.ring().bytes());
  raw_.header().first = raw_.header().last = kLastPositions;
  repair();
  NumberedBatch frames(200);
  ASSERT_FALSE(sender_.send(frames.make(1, 0, 10)).error);
  ASSERT_FALSE(late.up());
  batch_.clear();
  EXPECT_EQ(late.receive(batch_).frames, 10U);
  ASSERT_FALSE(late.down());
  ASSERT_FALSE(late.up());
  batch_.clear();
  EXPECT_EQ(late.receive(batch_).frames, 0U) << "not again";
}

TEST_F(Repair, FindsTheFramesAlsoWhenFirstAndLastAreOffByMoreThanAFramesWordKnows) {
  raw_.header().first += 5ULL << 50U;  // its word still names it
  raw_.header().last = 12345;
  EXPECT_EQ(repair().frames_kept, kFrames);
  EXPECT_LT(raw_.header().last, 1ULL << 40U);
  EXPECT_EQ(read_all(), all_but(kFrames));
  expect_traffic();
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

/// A port on a bus that was scribbled over learns again, also when it sends for the same host only.
TEST_F(Repair, APortThatLearnsHearsForItsHostAgain) {
  const MacAddress host = *MacAddress::parse("02:00:00:00:00:77");
  Port bridge = port_on(bus_.path(), {.learn = true});
  std::vector<std::byte> bytes(60, std::byte{0xff});
  std::memcpy(bytes.data() + 6, host.bytes.data(), host.bytes.size());
  const FrameView from_host(bytes);
  NumberedBatch frames(200);
  for (const bool repaired : {false, true}) {
    if (repaired) {
      std::memset(raw_.slot(bridge.slot()).learned, 0, sizeof raw_.slot(0).learned);
      raw_.header().last = 12345;
      EXPECT_TRUE(repair().ring_rebuilt);
    }
    ASSERT_FALSE(bridge.send({&from_host, 1}).error);
    ASSERT_FALSE(sender_.send(frames.make(3, 0, 1, host)).error);
    batch_.clear();
    EXPECT_FALSE(bridge.receive(batch_).error);
    ASSERT_EQ(batch_.size(), 1U) << "repaired: " << repaired;
    EXPECT_EQ(check_numbered(batch_[0]).value().sender, 3U);
  }
}

TEST_F(Repair, APortHearsTheOtherAddressesThatItWasGivenAgain) {
  const MacAddress other = *MacAddress::parse("02:00:00:00:00:77");
  Port bridge = port_on(bus_.path());
  ASSERT_FALSE(bridge.set_other_macs(std::array{other}));
  NumberedBatch frames(200);
  for (const bool repaired : {false, true}) {
    if (repaired) {
      std::memset(raw_.slot(bridge.slot()).learned, 0, sizeof raw_.slot(0).learned);
      raw_.header().last = 12345;
      EXPECT_TRUE(repair().ring_rebuilt);
      static_cast<void>(bridge.receive(batch_));  // it finds its place again
    }
    ASSERT_FALSE(sender_.send(frames.make(3, 0, 1, other)).error);
    batch_.clear();
    EXPECT_FALSE(bridge.receive(batch_).error);
    ASSERT_EQ(batch_.size(), 1U) << "repaired: " << repaired;
    EXPECT_EQ(check_numbered(batch_[0]).value().sender, 3U);
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

TEST_F(Repair, WakesADeepSleeperThatNobodyKnowsOf) {
  read_all();
  std::atomic<bool> heard{false};
  std::thread sleeper([&] { heard = reader_.wait(std::chrono::hours(1)); });
  const auto is_deep = [&] {
    return std::ranges::any_of(raw_.header().deep_sleepers, [](auto word) { return word != 0; });
  };
  EXPECT_TRUE(eventually(is_deep));
  std::ranges::fill(raw_.header().sleepers, 0U);
  std::ranges::fill(raw_.header().deep_sleepers, 0U);
  repair();
  NumberedBatch next(200);
  EXPECT_FALSE(sender_.send(next.make(2, 7, 1)).error);
  EXPECT_TRUE(eventually([&] { return heard.load(); }));
  if (!heard) reader_.interrupt();
  sleeper.join();
}

/// A port that only sends never corrects what its slot shows.
TEST_F(Repair, ShowsNoPlaceThatIsNone) {
  const unsigned slot = sender_.slot();
  const std::uint64_t possible = position_of(40);
  const auto shown_after = [&](std::uint64_t position) {
    raw_.slot(slot).position = position;
    raw_.header().last = 12345;
    EXPECT_TRUE(repair().ring_rebuilt);
    return raw_.slot(slot).position;
  };
  EXPECT_EQ(shown_after(possible), possible);
  EXPECT_EQ(shown_after(position_of(50) + 1), raw_.header().last) << "between records";
  EXPECT_EQ(shown_after(std::uint64_t{1} << 40U), raw_.header().last) << "behind the end";
  raw_.slot(bus::kSlots - 1).position = 77;
  EXPECT_EQ(shown_after(possible), possible);
  EXPECT_EQ(raw_.slot(bus::kSlots - 1).position, raw_.header().last) << "the last slot";
}

TEST_F(Repair, LeavesASoundBusAlone) {
  const std::uint64_t last = raw_.header().last;
  const RepairReport done = repair();
  EXPECT_FALSE(done.ring_rebuilt);
  EXPECT_EQ(done.epoch, 0U);
  EXPECT_EQ(raw_.header().last, last);
  EXPECT_EQ(read_all(), all_but(kFrames));
}

/// Positions are used up where a chain that grows by eight laps could not be counted any more.
TEST(RepairOfABus, ThatIsNearTheEndOfPositionsBeginsAtZeroAgain) {
  for (const bool behind : {false, true}) {
    const TempBus bus(small_ring());
    const RawBus raw(bus.path());
    const std::uint64_t farthest = UINT64_MAX - 2 * bus::kMaxRingBytes - 8 * raw.ring().bytes();
    const std::uint64_t begin =
        (farthest & ~std::uint64_t{bus::kRecordAlign - 1}) + (behind ? bus::kRecordAlign : 0);
    raw.begin_at(begin, 77);
    const RepairReport done = Bus::open(bus.path(), Access::read_write).value().repair().value();
    EXPECT_EQ(done.ring_rebuilt, behind);
    EXPECT_EQ(done.frames_kept, 0U);
    EXPECT_EQ(raw.header().last, behind ? bus::kRecordAlign : begin);
    EXPECT_EQ(raw.header().first, raw.header().last);
    EXPECT_EQ(raw.ring().number_at(raw.header().last), 77U);
    EXPECT_TRUE(is_clean(bus.audit()));
  }
}

/// It has read frames of a record whose position it still shows.
TEST(RepairOfABus, GoesOnAfterTheNumberOfAPortThatReadPartOfTheFirstRecord) {
  const std::uint64_t most = bus::frames_in(bus::kMaxSharedBytes);
  for (const bool too_many : {false, true}) {
    const TempBus bus(small_ring());
    const RawBus raw(bus.path());
    const Port port = port_on(bus.path());
    raw.slot(port.slot()).position = 0;
    raw.slot(port.slot()).next_number = most + (too_many ? 1 : 0);
    std::memset(raw.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw.ring().bytes());
    Bus::open(bus.path(), Access::read_write).value().repair().value();
    EXPECT_EQ(raw.ring().number_at(raw.header().last), too_many ? 0 : most);
  }
}

/// No bus gets there by itself.
TEST(RepairOfABus, BelievesNoPlaceThatNoBusReaches) {
  constexpr std::uint64_t kUnheardOf = std::uint64_t{1} << 63U;
  for (const std::uint64_t place : {kUnheardOf, kUnheardOf - bus::kRecordAlign}) {
    const TempBus bus(small_ring());
    const RawBus raw(bus.path());
    std::memset(raw.ring().payload(0) - bus::kRecordHeaderBytes, 0x5a, raw.ring().bytes());
    raw.header().first = raw.header().last = place;
    Bus::open(bus.path(), Access::read_write).value().repair().value();
    EXPECT_EQ(raw.header().last, place == kUnheardOf ? bus::kRecordAlign : kUnheardOf);
  }
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
