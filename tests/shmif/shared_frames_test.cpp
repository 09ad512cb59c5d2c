// Short frames of one send() share a record (bus/ring/ring.hpp, I9). Ports and followers do not
// see it: each frame arrives once, with what it bears, wherever its reader stopped.

#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/wall_clock.hpp"
#include "shmif/port.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/ring_rig.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using Sizes = std::vector<std::size_t>;

const MacAddress kElsewhere = *MacAddress::parse("02:00:00:00:99:99");

class SharedFrames : public testing::Test {
 protected:
  explicit SharedFrames(BusOptions options = small_ring()) : bus_(options) {}

  void send(const Sizes& sizes, std::span<const MacAddress> to = {&kBroadcast, 1}) {
    const SendResult sent = sender_.send(batch_.make(1, sent_, sizes, to));
    ASSERT_FALSE(sent.error) << sent.error.message();
    ASSERT_EQ(sent.taken, sizes.size());
    sent_ += static_cast<std::uint32_t>(sizes.size());
  }
  void send_equal(std::size_t count, std::size_t size = 60) { send(Sizes(count, size)); }
  /// Receives once, up to `max` frames.
  static std::vector<std::uint32_t> take(Port& port, std::size_t max = 256) {
    FrameBatch in(max);
    EXPECT_FALSE(port.receive(in).error);
    return whole_sequences(in);
  }
  std::uint64_t frames_at(std::uint64_t position) const {
    return raw_.ring().frames_of(raw_.ring().word_at(position), position);
  }
  RepairReport repair() const {
    return Bus::open(bus_.path(), Access::read_write).value().repair().value();
  }

  TempBus bus_;
  RawBus raw_{bus_.path()};
  Port sender_ = port_on(bus_.path(), {.name = "sender"});
  Port reader_ = port_on(bus_.path(), {.name = "reader"});
  SizedBatch batch_;
  std::uint32_t sent_ = 0;
};

// What arrives.

TEST_F(SharedFrames, EverySizeInBatchesOfManySizesReachesEveryKindOfReader) {
  Port lender = port_on(bus_.path());
  Follower follower = Follower::open(bus_.path(), Start::now).value();
  std::uint64_t bytes = 0;
  for (std::size_t size = 14; size <= 512; ++size) {
    SCOPED_TRACE(size);
    const std::size_t count = 2 + size * 7 % 63;
    Sizes sizes(count, size);
    for (std::size_t i = 1; i < count; i += 3) sizes[i] = 14 + (size + i * 31) % 499;
    for (const std::size_t each : sizes) bytes += each;
    const std::uint32_t first = sent_;
    const std::uint64_t begin = raw_.header().last;
    const std::uint64_t before = base::wall_clock_ns();
    send(sizes);
    const std::uint64_t after = base::wall_clock_ns();
    ASSERT_GE(frames_at(begin), 2U);
    std::vector<FrameView> heard[3];
    std::vector<std::vector<std::byte>> copies;
    const auto keep = [&](const FrameBatch& in, std::vector<FrameView>& to) {
      for (const FrameView& frame : in.frames()) {
        copies.emplace_back(frame.bytes.begin(), frame.bytes.end());
        to.push_back(frame);
        to.back().bytes = copies.back();
      }
    };
    copies.reserve(3 * count);
    FrameBatch in(1 + size % 9);
    for (bool more = true; more;) {
      more = false;
      in.clear();
      more |= reader_.receive(in).frames != 0;
      keep(in, heard[0]);
      in.clear();
      more |= lender.receive_in_place(in).frames != 0;
      keep(in, heard[1]);
      ASSERT_EQ(lender.release(), 0U);
      in.clear();
      more |= follower.receive(in).frames != 0;
      keep(in, heard[2]);
    }
    for (const std::vector<FrameView>& all : heard) {
      ASSERT_EQ(all.size(), count);
      for (std::size_t i = 0; i < count; ++i) {
        const auto n = check_numbered(all[i]);
        ASSERT_TRUE(n) << "torn";
        ASSERT_EQ(n->sequence, first + i);
        ASSERT_EQ(all[i].size(), sizes[i]);
        ASSERT_EQ(all[i].number, first + i);
        ASSERT_GE(all[i].time_ns, before);
        ASSERT_LE(all[i].time_ns, after);
        ASSERT_EQ(all[i].sender, sender_.slot());
        ASSERT_EQ(all[i].sender_incarnation, bus::incarnation_of(raw_.slot(sender_.slot()).state));
        ASSERT_FALSE(all[i].truncated());
        ASSERT_FALSE(all[i].offload.pending());
      }
    }
  }
  for (const PortCounters& c : {reader_.counters(), lender.counters(), follower.counters()}) {
    EXPECT_EQ(c.rx_frames, sent_);
    EXPECT_EQ(c.rx_bytes, bytes);
    EXPECT_EQ(c.lost_frames + c.corrupt + c.overruns, 0U);
  }
  EXPECT_EQ(sender_.counters().tx_frames, sent_);
  EXPECT_EQ(sender_.counters().tx_bytes, bytes);
  EXPECT_TRUE(is_clean(bus_.audit()));
}

class SharedFramesWithOffloads : public SharedFrames {
 protected:
  SharedFramesWithOffloads() : SharedFrames({.ring_bytes = 1U << 20U}) {}
};

TEST_F(SharedFramesWithOffloads, AFrameThatLeavesWorkStandsBetweenTheRecordsOfItsNeighbours) {
  for (std::size_t pending = 0; pending < 5; ++pending) {
    SCOPED_TRACE(pending);
    const std::uint64_t begin = raw_.header().last;
    const auto frames = batch_.make(1, sent_, {60, 61, 62, 63, 64});
    frames[pending].offload = {
        .flags = Offload::kNeedsChecksum, .csum_start = 14, .csum_offset = 2};
    ASSERT_EQ(sender_.send(frames).taken, 5U);
    EXPECT_EQ(raw_.header().last - begin, plan_batch(frames).bytes);
    EXPECT_EQ(frames_at(begin), pending == 0 ? 1U : pending);
    FrameBatch in;
    ASSERT_EQ(reader_.receive(in).frames, 5U);
    EXPECT_TRUE(is_clean(bus_.audit()));
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(in[i].number, sent_ + i);
      EXPECT_EQ(in[i].size(), 60 + i);
      EXPECT_EQ(check_numbered(in[i]).has_value(), i != pending) << "its checksum is finished";
    }
    sent_ += 5;
  }
}

// Loans.

TEST_F(SharedFrames, ALoanInsideOfARecordThatIsOverwrittenCountsAsLostAndTheFramesBeforeDoNot) {
  send_equal(10);
  ASSERT_EQ(take(reader_, 4), numbers(0, 4));
  FrameBatch three(3, 64);
  ASSERT_EQ(reader_.receive_in_place(three).frames, 3U);
  for (int i = 0; i < 200; ++i) send_equal(10);
  EXPECT_EQ(reader_.release(), 3U);
  const std::uint64_t oldest = raw_.ring().number_at(raw_.header().first);
  const PortCounters c = reader_.counters();
  EXPECT_EQ(c.rx_frames, 4U);
  EXPECT_EQ(c.lost_frames, oldest - 4);
  EXPECT_EQ(c.lost_bytes, raw_.header().first - bus::kRecordHeaderBytes - 4 * bus::entry_bytes(60));
  EXPECT_EQ(take(reader_, 1),
            numbers(static_cast<std::uint32_t>(oldest), static_cast<std::uint32_t>(oldest) + 1));
}

// Waits. Nobody rings for the rest of a record.

TEST_F(SharedFrames, NoWaitSleepsOverTheRestOfARecord) {
  send_equal(10);
  const int descriptor = reader_.descriptor();
  ASSERT_GE(descriptor, 0);
  for (std::uint32_t n = 0; n < 10; ++n) {
    EXPECT_TRUE(reader_.wait(std::chrono::nanoseconds::max()));
    EXPECT_TRUE(reader_.prepare_wait().ready);
    ASSERT_EQ(take(reader_, 1), numbers(n, n + 1));
  }
  EXPECT_FALSE(reader_.wait(std::chrono::nanoseconds(0)));
  EXPECT_FALSE(reader_.prepare_wait().ready);
  reader_.finish_wait();
}

TEST_F(SharedFrames, AWaitPassesOverTheRestOfARecordThatIsForOthers) {
  const MacAddress to[] = {reader_.mac(), kElsewhere,    kElsewhere,
                           kElsewhere,    reader_.mac(), kElsewhere};
  send(Sizes(6, 60), to);
  ASSERT_EQ(take(reader_, 1), numbers(0, 1));
  EXPECT_TRUE(reader_.prepare_wait().ready) << "one more is for it";
  EXPECT_EQ(reader_.counters().filtered_frames, 3U);
  EXPECT_TRUE(reader_.wait(std::chrono::nanoseconds::max()));
  ASSERT_EQ(take(reader_, 1), numbers(4, 5));
  EXPECT_FALSE(reader_.wait(std::chrono::nanoseconds(0)));
  EXPECT_FALSE(reader_.prepare_wait().ready);
  reader_.finish_wait();
  EXPECT_EQ(reader_.counters().filtered_frames, 4U);
  EXPECT_EQ(passed(reader_.counters()), 6U);
}

TEST_F(SharedFrames, TheLevelDescriptorIsReadableUntilTheLastFrameOfARecord) {
  const auto fd = reader_.level_descriptor();
  if (!fd) GTEST_SKIP() << fd.error().message;
  pollfd level{.fd = *fd, .events = POLLIN, .revents = 0};
  ASSERT_EQ(take(reader_), numbers(0, 0));
  send_equal(5);
  for (std::uint32_t n = 0; n < 5; ++n) {
    EXPECT_EQ(poll(&level, 1, 10'000), 1) << n;
    ASSERT_EQ(take(reader_, 1), numbers(n, n + 1));
  }
  ASSERT_EQ(take(reader_), numbers(0, 0));
  EXPECT_EQ(poll(&level, 1, 0), 0);
}

// Down and up.

TEST_F(SharedFrames, APortThatStartsAtTheOldestHearsNothingTwiceAndMissesNothing) {
  Port port = port_on(bus_.path(), {.start = Start::oldest});
  for (unsigned record = 0; record < 2; ++record) {  // the oldest of all, and one behind it
    send_equal(10);
    for (std::uint32_t n = 10 * record; n < sent_; n += 2) {
      ASSERT_EQ(take(port, 2), numbers(n, n + 2));
      ASSERT_FALSE(port.down());
      ASSERT_FALSE(port.up());
    }
  }
  ASSERT_EQ(take(port), numbers(0, 0));
  send_equal(10);
  ASSERT_EQ(take(port, 3), numbers(20, 23));
  ASSERT_FALSE(port.down());
  send_equal(4);
  ASSERT_FALSE(port.up());
  EXPECT_EQ(take(port), numbers(23, 34));
  EXPECT_EQ(port.counters().skipped_frames, 0U);
  EXPECT_EQ(port.counters().rx_frames, sent_);
}

TEST_F(SharedFrames, WhoWasLappedWhileItWasDownInsideOfARecordLosesOrSkipsEachFrameOnce) {
  for (const Start start : {Start::now, Start::oldest}) {
    Port port = port_on(bus_.path(), {.start = start});
    static_cast<void>(port.down());
    static_cast<void>(port.up());
    while (!take(port).empty()) {
    }
    const std::uint64_t base = passed(port.counters());
    const std::uint32_t first = sent_;
    send_equal(10);
    ASSERT_EQ(take(port, 3), numbers(first, first + 3));
    ASSERT_FALSE(port.down());
    for (int i = 0; i < 300; ++i) send_equal(10);
    ASSERT_FALSE(port.up());
    while (!take(port).empty()) {
    }
    EXPECT_EQ(passed(port.counters()) - base, sent_ - first);
    EXPECT_EQ(port.counters().corrupt, 0U);
  }
}

// Repairs.

TEST_F(SharedFrames, ARepairUnderAReaderInsideOfARecordCostsNothingButWhatWasSpoiled) {
  for (const std::uint32_t spoiled : {0U, 1U, 2U}) {  // before, under and behind the reader
    SCOPED_TRACE(spoiled);
    const std::uint32_t first = sent_;
    const std::uint64_t lost = reader_.counters().lost_frames;
    std::uint64_t positions[3];
    for (std::uint64_t& position : positions) {
      position = raw_.header().last;
      send_equal(10);
    }
    ASSERT_EQ(take(reader_, 13), numbers(first, first + 13));
    raw_.ring().record(positions[spoiled]).word = 0x123456789;
    ASSERT_TRUE(repair().ring_rebuilt);
    std::vector<std::uint32_t> expected = numbers(first + 13, first + 30);
    std::erase_if(expected, [&](std::uint32_t n) { return (n - first) / 10 == spoiled; });
    EXPECT_EQ(take(reader_), expected);
    EXPECT_TRUE(is_clean(bus_.audit()));
    send_equal(2);
    EXPECT_EQ(take(reader_), numbers(first + 30, first + 32));
    EXPECT_EQ(reader_.counters().lost_frames - lost, 17 - expected.size());
  }
  EXPECT_EQ(passed(reader_.counters()), sent_);
}

// A bus that pauses.

class SharedFramesOfAPausingBus : public SharedFrames {
 protected:
  SharedFramesOfAPausingBus()
      : SharedFrames({.ring_bytes = 64U << 10U,
                      .flow = Flow::pause,
                      .patience = std::chrono::milliseconds(1000)}) {}
};

TEST_F(SharedFramesOfAPausingBus, SendersDoNotOverwriteARecordWhoseReaderStoppedInsideOfIt) {
  const std::uint64_t begin = raw_.header().last;
  send_equal(10);
  ASSERT_EQ(take(reader_, 4), numbers(0, 4));
  std::size_t taken = 1;
  for (unsigned i = 0; i < 1000 && taken != 0; ++i) {
    take(sender_);  // its own: it is waited for, too
    const SendResult sent = sender_.try_send(batch_.make_equal(1, sent_, 10, 60));
    ASSERT_FALSE(sent.error);
    taken = sent.taken;
    sent_ += static_cast<std::uint32_t>(taken);
  }
  ASSERT_EQ(taken, 0U);
  EXPECT_LE(raw_.header().first, begin);
  EXPECT_GT(raw_.header().last, raw_.ring().bytes() - 2048) << "they used the rest of the ring";
  std::vector<std::uint32_t> got;
  for (;;) {
    const std::vector<std::uint32_t> some = take(reader_, 7);
    if (some.empty()) break;
    got.insert(got.end(), some.begin(), some.end());
  }
  EXPECT_EQ(got, numbers(4, sent_));
  EXPECT_EQ(reader_.counters().lost_frames, 0U);
  take(sender_);
  EXPECT_EQ(sender_.try_send(batch_.make_equal(1, sent_, 10, 60)).taken, 10U);
}

}  // namespace
}  // namespace shmif::test
