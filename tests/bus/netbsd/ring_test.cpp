// The ring of a NetBSD bus at every place where it can wrap, against a second implementation.

#include "bus/netbsd/ring.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/wall_clock.hpp"
#include "bus/netbsd/inspector.hpp"
#include "bus/netbsd/reader.hpp"
#include "shmif/bus.hpp"
#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tests/support/netbsd_peer.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::bus {
namespace {

using test::NetbsdPeer;
using Bytes = NetbsdPeer::Bytes;

constexpr std::uint32_t kData = NetbsdPeer::kData;

Bytes numbered(std::size_t bytes, std::uint64_t number) {
  Bytes frame(bytes, static_cast<unsigned char>(number * 7 + 1));
  std::fill_n(frame.begin(), std::min<std::size_t>(6, bytes), static_cast<unsigned char>(0xff));
  if (bytes >= 20) std::memcpy(frame.data() + 12, &number, sizeof number);
  return frame;
}
FrameView view(const Bytes& frame) {
  return {frame.data(), frame.size()};
}
Bytes bytes_of(const FrameView& frame) {
  Bytes bytes(frame.size());
  std::memcpy(bytes.data(), frame.bytes.data(), frame.size());
  return bytes;
}

/// A bus in memory, as the file would be.
class NetbsdRingTest : public testing::Test {
 protected:
  NetbsdRingTest() : file_(kNetbsdFileBytes), ring_(file_.data()) { begin_anew(); }

  void begin_anew() {
    std::fill(file_.begin(), file_.end(), std::byte{0});
    header() = {.magic = kNetbsdMagic,
                .version = 0,
                .generation = 0,
                .first = kData,
                .last = 0,
                .lock = 0,
                .repairs = 0};
  }
  NetbsdHeader& header() { return ring_.header(); }
  NetbsdState state() {
    NetbsdState state;
    EXPECT_EQ(ring_.look(state), NetbsdLook::seen);
    return state;
  }
  /// The ring holds one old frame, whose end is at `end`, in the second generation.
  void place_end_at(std::uint32_t end) {
    constexpr std::uint32_t kOld = 100;
    const std::uint32_t last = (end + kData - 24 - kOld) % kData;
    header().generation = 1;
    header().first = (last + kData - 24) % kData;  // a pad: the oldest header is never the newest
    header().last = last;
    const NetbsdPacketHeader old{.bytes = kOld, .sender = 99};
    ring_.write(last, reinterpret_cast<const std::byte*>(&old), sizeof old);
  }
  std::error_code append(const Bytes& frame) {
    const FrameView one = view(frame);
    return netbsd_append(ring_, {&one, 1}, 7, 1'700'000'000'123'456'789);
  }

  std::vector<std::byte> file_;
  NetbsdRing ring_;
};

TEST_F(NetbsdRingTest, ANewBusReadsAsOneHeaderWithoutAFrame) {
  const NetbsdState now = state();
  EXPECT_EQ(now.first, 0U);
  EXPECT_EQ(now.last, 0U);
  EXPECT_EQ(now.end, 24U);
  NetbsdReader reader(ring_, nullptr, 0, false);
  ASSERT_EQ(reader.seek_oldest(), NetbsdLook::seen);
  FrameBatch batch;
  NetbsdTally tally;
  EXPECT_EQ(reader.read(batch, 64, tally), NetbsdRead::empty);
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(tally.corrupt, 0U);
}

// Offsets at which a header can begin, with a frame behind it: all of the last ones, where header
// or frame straddles the end or touches it, and each 61st of the others. SHMIF_STRIDE=1: all
// 1,048,544.
TEST_F(NetbsdRingTest, AFrameCrossesTheEndAtEveryOffset) {
  const Bytes frame = numbered(60, 42);
  FrameBatch batch(4, 8192);
  const char* const wish = std::getenv("SHMIF_STRIDE");
  const auto stride =
      static_cast<std::uint32_t>(wish != nullptr ? std::max(1, std::atoi(wish)) : 61);
  for (std::uint32_t end = 0; end < kData; end += end + 200 + stride < kData ? stride : 1) {
    place_end_at(end);
    NetbsdReader reader(ring_, nullptr, 0, false);
    reader.seek_end();
    ASSERT_FALSE(append(frame)) << end;
    const bool touches = end + 84 >= kData;
    // Never the newest: the header without a frame behind it is.
    ASSERT_EQ(header().last, touches ? (end + 84) % kData : end) << end;
    ASSERT_EQ(header().generation, touches ? 2U : 1U) << end;
    batch.clear();
    NetbsdTally tally;
    ASSERT_EQ(reader.read(batch, 4, tally), NetbsdRead::empty) << end;
    ASSERT_EQ(batch.size(), 1U) << end;
    ASSERT_EQ(bytes_of(batch[0]), frame) << end;
    ASSERT_EQ(tally.overruns + tally.corrupt, 0U) << end;
  }
}

// The same state as the other implementation, frame for frame, through three rounds of the ring and
// with every size. Of ours that touch the end, the pad is the difference.
TEST_F(NetbsdRingTest, FirstPassesTheSameHeadersAsInTheOtherImplementation) {
  const test::TempDir directory;
  Bus::create(directory.file("bus"), {.format = BusFormat::netbsd}).value();
  NetbsdPeer peer(directory.file("bus"));
  std::uint64_t number = 0;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t size = 14; size <= 1514; ++size, ++number) {
      const Bytes frame = numbered(size, number);
      const std::uint32_t before = header().last;
      ASSERT_FALSE(append(frame));
      peer.send(frame);
      const std::uint32_t offset = peer.last();
      if (header().last != offset) {  // ours has a pad behind this frame
        ASSERT_EQ(header().last, (offset + 24 + size) % kData) << "after " << before;
        peer.send({});
      }
      ASSERT_EQ(header().first, peer.first()) << number;
      ASSERT_EQ(header().last, peer.last()) << number;
      ASSERT_EQ(header().generation, peer.generation()) << number;
    }
  }
  EXPECT_EQ(header().generation, 3U);
}

// A kernel's frame that straddles or touches the end stays the newest. Its own kind then reads the
// oldest frame again and again.
TEST_F(NetbsdRingTest, AReaderThatJoinsReadsEachFrameOnceIfTheNewestTouchesTheEnd) {
  for (const std::uint32_t behind : {0U, 1U, 50U, 83U}) {
    place_end_at(kData - 84 + behind);
    const Bytes frame = numbered(60, behind);
    const NetbsdPacketHeader packet{.bytes = 60, .sender = 5};
    const std::uint32_t at = kData - 84 + behind;
    ring_.write(at, reinterpret_cast<const std::byte*>(&packet), sizeof packet);
    ring_.write(at + 24, reinterpret_cast<const std::byte*>(frame.data()), frame.size());
    header().last = at;
    header().generation = 2;
    NetbsdReader reader(ring_, nullptr, 0, false);
    ASSERT_EQ(reader.seek_oldest(), NetbsdLook::seen);
    FrameBatch batch;
    NetbsdTally tally;
    EXPECT_EQ(reader.read(batch, 64, tally), NetbsdRead::empty);
    ASSERT_EQ(batch.size(), 2U) << behind;
    EXPECT_EQ(bytes_of(batch[1]), frame);
    batch.clear();
    EXPECT_EQ(reader.read(batch, 64, tally), NetbsdRead::empty);
    EXPECT_TRUE(batch.empty()) << behind;
  }
}

TEST_F(NetbsdRingTest, WordsThatNoWriterWritesAreRefused) {
  ASSERT_FALSE(append(numbered(60, 1)));
  const NetbsdHeader good = header();
  const std::vector<std::byte> before = file_;
  const auto is_refused = [&](const char* what) {
    NetbsdState seen;
    EXPECT_EQ(ring_.look(seen), NetbsdLook::corrupt) << what;
    EXPECT_EQ(append(numbered(60, 2)), make_error_code(Errc::corrupt)) << what;
    header() = good;
    EXPECT_EQ(file_, before) << what;
  };
  header().magic = 0;
  is_refused("magic");
  header().generation = UINT64_MAX;
  is_refused("generation");
  header().first = kData + 1;
  is_refused("first");
  header().first = 500;
  is_refused("first behind the end of a new bus");
  header().last = kData;
  is_refused("last");
  header().last = UINT32_MAX;
  is_refused("last far out");
  header().last = kData - 24;
  is_refused("last before the beginning of the first round");
  header().first = 60;
  is_refused("first behind last, but not behind the end");
  header().first = header().last;
  is_refused("first is last, which ends a diagnostic kernel");
}

TEST_F(NetbsdRingTest, AFrameThatIsLongerThanAnyCostsWhatIsBehindItAlsoIfItEndsWithinTheChain) {
  // The first leads to a header.
  for (const std::uint32_t long_one : {1024U * 70 - 24, 0x7fffffffU}) {
    begin_anew();
    for (std::uint64_t i = 0; i < 100; ++i) ASSERT_FALSE(append(numbered(1000, i)));
    NetbsdReader reader(ring_, nullptr, 0, false);
    reader.seek_oldest();
    std::memcpy(file_.data() + 32 + 24 + 2 * 1024, &long_one, sizeof long_one);
    FrameBatch batch;
    NetbsdTally tally;
    EXPECT_EQ(reader.read(batch, 64, tally), NetbsdRead::empty);
    EXPECT_EQ(batch.size(), 2U);
    EXPECT_EQ(tally.corrupt, 1U);
    EXPECT_EQ(tally.lost_bytes, 98U * 1024);
  }
}

TEST_F(NetbsdRingTest, FramesThatAreTooShortOrTooLongArePassedOver) {
  for (const std::uint32_t size : {0U, 1U, 13U, 1515U, 9000U, 65536U}) {
    begin_anew();
    NetbsdReader reader(ring_, nullptr, 0, false);
    reader.seek_end();
    const NetbsdPacketHeader packet{.bytes = size, .sender = 5};
    ring_.write(24, reinterpret_cast<const std::byte*>(&packet), sizeof packet);
    header().last = 24;
    ASSERT_FALSE(append(numbered(80, size)));
    FrameBatch batch;
    NetbsdTally tally;
    EXPECT_EQ(reader.read(batch, 64, tally), NetbsdRead::empty);
    ASSERT_EQ(batch.size(), 1U) << size;
    EXPECT_EQ(bytes_of(batch[0]), numbered(80, size));
    EXPECT_EQ(tally.corrupt, size > 1514 ? 1U : 0U) << "kernels pass over shorter ones, too";
  }
}

// A process may keep the lock and write into the words all the time, so that nobody ever sees the
// state of the bus.
TEST_F(NetbsdRingTest, ALockIsStuckAfterASecondOrAfterTenIfTheBusChanges) {
  using std::chrono::milliseconds;
  const auto stuck_after = [&](milliseconds between, unsigned changes_before) {
    NetbsdStuckLock stuck;
    NetbsdStuckLock::Clock::time_point now{};
    for (unsigned looks = 0; looks < 100'000; ++looks, now += between) {
      if (looks < changes_before) ++header().generation;
      if (stuck.is_stuck(ring_, now))
        return std::chrono::duration_cast<milliseconds>(now.time_since_epoch());
    }
    return milliseconds::max();
  };
  EXPECT_EQ(stuck_after(milliseconds(1), 0), milliseconds(1000));
  EXPECT_EQ(stuck_after(milliseconds(1), 501), milliseconds(1500));
  EXPECT_EQ(stuck_after(milliseconds(1), UINT32_MAX), milliseconds(10'000));
  // Two looks that are far apart say nothing about the time between them.
  EXPECT_EQ(stuck_after(milliseconds(5000), 0), milliseconds(19 * 5000));
  EXPECT_EQ(stuck_after(milliseconds(5000), UINT32_MAX), milliseconds(19 * 5000));
  NetbsdStuckLock stuck;
  const NetbsdStuckLock::Clock::time_point then{};
  for (unsigned looks = 0; looks < 100; ++looks) ASSERT_FALSE(stuck.is_stuck(ring_, then));
  stuck.is_free();
  EXPECT_FALSE(stuck.is_stuck(ring_, then + std::chrono::seconds(20)));
}

TEST(NetbsdAddresses, AreAllWhileThereAreTooManyAndNotAfterwards) {
  const auto mac = [](std::uint64_t number) {
    return MacAddress::from_u64(0x020000000000 + number);
  };
  std::vector<MacAddress> macs;
  for (std::uint64_t i = 1; i <= 17; ++i) macs.push_back(mac(i));
  NetbsdAddresses addresses;
  addresses.set_own(mac(100));
  addresses.list(std::span(macs).first(16));
  for (std::uint64_t i = 1; i <= 16; ++i) EXPECT_TRUE(addresses.accepts(mac(i))) << i;
  EXPECT_FALSE(addresses.accepts(mac(17)));
  EXPECT_FALSE(addresses.accepts(mac(99)));
  addresses.list(macs);
  EXPECT_TRUE(addresses.accepts(mac(17)));
  EXPECT_TRUE(addresses.accepts(mac(99))) << "too many: all";
  addresses.list(std::span(macs).last(2));
  EXPECT_FALSE(addresses.accepts(mac(1)));
  EXPECT_TRUE(addresses.accepts(mac(16)));
  EXPECT_TRUE(addresses.accepts(mac(17)));
  EXPECT_FALSE(addresses.accepts(mac(99)));
  addresses.set_own(mac(17));  // which is listed, too
  addresses.set_own(mac(101));
  EXPECT_TRUE(addresses.accepts(mac(17)));
  EXPECT_FALSE(addresses.accepts(mac(100))) << "it was its own";
}

TEST(NetbsdBus, IsInTheRoundOfItsNewestFrameAndNotOfItsOldest) {
  ASSERT_TRUE(set_log_level("error"));
  const test::TempDir dir;
  const std::string path = dir.file("bus");
  Bus::create(path, {.format = BusFormat::netbsd}).value();
  Port port;
  port.attach(path).value();
  ASSERT_FALSE(port.up());
  const Bytes frame = numbered(kNetbsdMaxFrame, 1);
  const FrameView one = view(frame);
  const std::uint64_t frames = kData / (kNetbsdPacketHeaderBytes + kNetbsdMaxFrame) + 20;
  for (std::uint64_t i = 0; i < frames; ++i) ASSERT_EQ(port.send({&one, 1}).taken, 1U);
  const BusInfo info = Bus::open(path).value().info();
  EXPECT_LT(info.first, kData);
  EXPECT_GT(info.last, kData);
  EXPECT_EQ(info.generation, 1U);
  ASSERT_TRUE(set_log_level("warning"));
}

TEST(NetbsdAddresses, AreLearnedOfWhomFramesComeFromUntilThereIsNoRoom) {
  NetbsdAddresses addresses;
  addresses.set_own(MacAddress::from_u64(0x020000000064));
  const auto learn = [&](std::uint64_t source) {
    Bytes frame(60, static_cast<unsigned char>(0xff));
    for (unsigned i = 0; i < 6; ++i)
      frame[6 + i] = static_cast<unsigned char>(source >> (40 - 8 * i));
    const FrameView one = view(frame);
    addresses.learn({&one, 1});
  };
  const auto accepts = [&](std::uint64_t mac) {
    return addresses.accepts(MacAddress::from_u64(mac));
  };
  learn(0x020000000064);  // its own takes no room
  learn(0x030000000001);  // nor does a group
  for (std::uint64_t i = 1; i <= 16; ++i) {
    learn(0x020000000000 + i);
    learn(0x020000000001);  // known
  }
  for (std::uint64_t i = 1; i <= 16; ++i) EXPECT_TRUE(accepts(0x020000000000 + i)) << i;
  EXPECT_FALSE(accepts(0x020000000011));
  addresses.set_own(MacAddress::from_u64(0x020000000003));
  addresses.set_own(MacAddress::from_u64(0x020000000065));
  EXPECT_FALSE(accepts(0x020000000003)) << "it is nobody's any more";
  learn(0x020000000011);  // in its place
  EXPECT_TRUE(accepts(0x020000000011));
  EXPECT_TRUE(accepts(0x020000000010));
  EXPECT_FALSE(accepts(0x020000000003));
  learn(0x020000000012);
  EXPECT_TRUE(accepts(0x020000000003)) << "too many: all";
}

TEST_F(NetbsdRingTest, ATimeThatCannotBeIsNotTakenForTheOneOfTheFrame) {
  struct Case {
    std::uint32_t seconds, microseconds;
    bool is_time;
  };
  for (const Case& each :
       {Case{1'000'000'000, 0, true}, Case{999'999'999, 0, false},
        Case{1'000'000'000, 999'999, true}, Case{1'000'000'000, 1'000'000, false},
        Case{UINT32_MAX, 1, true}, Case{1'000'000'000, UINT32_MAX, false}}) {
    SCOPED_TRACE(std::to_string(each.seconds) + "." + std::to_string(each.microseconds));
    begin_anew();
    NetbsdReader reader(ring_, nullptr, 0, false);
    reader.seek_end();
    const NetbsdPacketHeader packet{
        .bytes = 60, .seconds = each.seconds, .microseconds = each.microseconds, .sender = 5};
    ring_.write(24, reinterpret_cast<const std::byte*>(&packet), sizeof packet);
    header().last = 24;
    const std::uint64_t before = base::wall_clock_ns();
    FrameBatch batch;
    NetbsdTally tally;
    EXPECT_EQ(reader.read(batch, 64, tally), NetbsdRead::empty);
    const std::uint64_t after = base::wall_clock_ns();
    ASSERT_EQ(batch.size(), 1U);
    if (each.is_time) {
      EXPECT_EQ(batch[0].time_ns,
                each.seconds * 1'000'000'000ULL + each.microseconds * std::uint64_t{1000});
    } else {
      EXPECT_GE(batch[0].time_ns, before);  // of when it was received
      EXPECT_LE(batch[0].time_ns, after);
    }
  }
}

}  // namespace
}  // namespace shmif::bus
