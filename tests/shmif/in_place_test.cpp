// Frames that are looked at where they lie: lent until they are released, and then known to have
// been whole or not.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr std::uint32_t kFew = 10;
/// As many as are lent at once.
constexpr std::uint32_t kLoan = 32;

std::vector<std::uint32_t> sequences(const FrameBatch& batch) {
  std::vector<std::uint32_t> out;
  for (const FrameView& frame : batch.frames()) {
    const auto n = check_numbered(frame);
    EXPECT_TRUE(n) << "torn";
    if (n) out.push_back(n->sequence);
  }
  return out;
}

class InPlace : public ::testing::Test {
 protected:
  explicit InPlace(Flow flow = Flow::ethernet, Resume resume = Resume::first)
      : bus(options(flow)),
        sender(port_on(bus.path(), {.name = "sender"})),
        reader(port_on(bus.path(), {.name = "reader", .resume = resume})) {
    frames.fix_size(60);
  }
  static BusOptions options(Flow flow) {
    BusOptions o = small_ring();
    o.flow = flow;
    return o;
  }
  void send(std::uint32_t count) {
    const SendResult sent = sender.send(frames.make(1, sent_, count));
    ASSERT_FALSE(sent.error);
    ASSERT_EQ(sent.taken, count);
    sent_ += count;
  }
  /// As many as push out everything that was there.
  void send_a_lap() {
    const std::uint64_t lap = Bus::open(bus.path()).value().info().ring_bytes / 64;
    for (std::uint64_t i = 0; i < lap; i += kFew) send(kFew);
  }

  std::uint64_t oldest_number() const { return raw.ring().number_at(raw.header().first); }

  TempBus bus;
  RawBus raw{bus.path()};
  Port sender;
  Port reader;
  NumberedBatch frames{60};
  FrameBatch in;
  std::uint32_t sent_ = 0;
};

TEST_F(InPlace, FramesAreSeenWhereTheyLieAndCountOnceTheyAreReleased) {
  send(kFew);
  const ReceiveResult got = reader.receive_in_place(in);
  EXPECT_EQ(got.frames, kFew);
  EXPECT_EQ(sequences(in), (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  for (std::size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(in[i].number, i);
    EXPECT_EQ(in[i].sender, sender.slot());
    EXPECT_NE(in[i].time_ns, 0U);
  }
  EXPECT_EQ(in.room().size(), FrameBatch().room().size()) << "copied into the batch";
  EXPECT_EQ(reader.counters().rx_frames, 0U);
  EXPECT_EQ(reader.release(), 0U);
  EXPECT_EQ(reader.counters().rx_frames, kFew);
  EXPECT_EQ(reader.counters().rx_bytes, kFew * 60U);
  EXPECT_EQ(reader.release(), 0U) << "a second release has nothing to give back";
  EXPECT_EQ(reader.counters().rx_frames, kFew);
  in.clear();
  EXPECT_EQ(reader.receive_in_place(in).frames, 0U) << "they came twice";
}

TEST_F(InPlace, WhatIsOverwrittenMeanwhileIsReportedAndCountsAsLost) {
  send(kFew);
  ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
  send_a_lap();
  EXPECT_EQ(reader.release(), kFew);
  EXPECT_EQ(reader.counters().rx_frames, 0U);
  EXPECT_EQ(reader.counters().overruns, 1U);
  const std::uint64_t lost = reader.counters().lost_frames;
  EXPECT_GE(lost, kFew);
  in.clear();
  EXPECT_EQ(reader.receive(in).lost, lost) << "the next receive tells";
  EXPECT_EQ(sequences(in).front(), lost);
}

TEST_F(InPlace, OfALoanThatIsTornInPartEachCounterCountsWhatIsWhole) {
  const auto for_nobody = *MacAddress::parse("02:00:00:00:99:99");
  for (int part = 0; part < 2; ++part) {
    ASSERT_FALSE(send_one(reader));
    ASSERT_FALSE(send_one(sender, for_nobody));
    for (std::size_t size = 60; size < 70; ++size) ASSERT_FALSE(send_one(sender, kBroadcast, size));
  }
  ASSERT_EQ(reader.receive_in_place(in).frames, 20U);
  while (oldest_number() < 4) ASSERT_FALSE(send_one(sender));
  const std::uint64_t oldest = oldest_number();
  ASSERT_LT(oldest, 12U) << "the second part is to be whole";
  const std::size_t torn = reader.release();
  EXPECT_EQ(torn, oldest - 2);
  std::uint64_t bytes = 0;
  for (std::size_t i = torn; i < in.size(); ++i) bytes += in[i].size();
  const PortCounters c = reader.counters();
  EXPECT_EQ(c.rx_frames, 20 - torn);
  EXPECT_EQ(c.rx_bytes, bytes);
  EXPECT_EQ(c.own_frames, 1U);
  EXPECT_EQ(c.filtered_frames, 1U);
  EXPECT_EQ(c.lost_frames, oldest);
  EXPECT_EQ(c.lost_bytes, raw.header().first);
  EXPECT_EQ(c.overruns, 1U);
}

TEST_F(InPlace, AChildOfAForkBorrowsNothingAndReleasesNothing) {
  send(kFew);
  ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
  Child child([&] {
    FrameBatch more;
    if (reader.receive_in_place(more).error != Errc::forked || !more.empty()) return 1;
    return reader.release() == 0 ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(reader.release(), 0U);
  EXPECT_EQ(reader.counters().rx_frames, kFew);
}

TEST_F(InPlace, WhateverIsCalledNextReleasesThem) {
  const std::vector<void (*)(Port&)> calls{
      [](Port& p) {
        FrameBatch more;
        EXPECT_EQ(p.receive(more).frames, 0U);
      },
      [](Port& p) {
        FrameBatch more;
        EXPECT_EQ(p.receive_in_place(more).frames, 0U);
      },
      [](Port& p) { EXPECT_FALSE(p.wait(std::chrono::milliseconds(1))); },
      [](Port& p) {
        EXPECT_FALSE(p.prepare_wait().ready);
        p.finish_wait();
      },
  };
  std::uint64_t received = 0;
  for (const auto& call : calls) {
    send(kFew);
    in.clear();
    ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
    call(reader);
    received += kFew;
    EXPECT_EQ(reader.counters().rx_frames, received);
    EXPECT_EQ(reader.release(), 0U);
  }
}

/// down() may be called while another thread looks at them. Then senders of a pausing bus do not
/// wait for them either, and only release() can say what has become of them.
TEST_F(InPlace, DownLeavesThemToBeReleased) {
  send(kFew);
  ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
  ASSERT_FALSE(reader.down());
  EXPECT_EQ(reader.release(), 0U);
  EXPECT_EQ(reader.counters().rx_frames, kFew);

  ASSERT_FALSE(reader.up());
  send(kFew);
  in.clear();
  ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
  ASSERT_FALSE(reader.down());
  send_a_lap();
  EXPECT_EQ(reader.release(), kFew) << "overwritten while it was down";
  ASSERT_FALSE(reader.up());
  EXPECT_EQ(reader.counters().rx_frames, kFew);
  EXPECT_EQ(passed(reader.counters()), sent_);
}

TEST_F(InPlace, OnceItIsUpAgainNoneOfThemCountsAsReceived) {
  send(kFew);
  ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
  ASSERT_FALSE(reader.down());
  ASSERT_FALSE(reader.up());
  EXPECT_EQ(reader.release(), kFew);
  EXPECT_EQ(reader.release(), 0U) << "said once";
  EXPECT_EQ(reader.counters().rx_frames, 0U);
  EXPECT_EQ(reader.counters().skipped_frames, kFew);
  send(1);
  in.clear();
  ASSERT_EQ(reader.receive_in_place(in).frames, 1U);
  EXPECT_EQ(reader.release(), 0U) << "of the loan before";
  EXPECT_EQ(passed(reader.counters()), sent_);
}

/// What the ringer of an announced wait says of the frames before it is not for those that are
/// lent.
TEST_F(InPlace, TheEndOfAnAnnouncedWaitLeavesThemAlone) {
  ASSERT_FALSE(reader.prepare_wait().ready);
  constexpr std::uint32_t kPassed = 12;  // one of the numbers that are the oldest at some time
  for (std::uint32_t i = 0; i < kPassed; ++i) {  // for another, so nobody rings
    ASSERT_FALSE(send_one(sender, *MacAddress::parse("02:00:00:00:99:99")));
  }
  ASSERT_FALSE(reader.set_promiscuous(true));
  ASSERT_EQ(reader.receive_in_place(in).frames, kPassed);
  while (oldest_number() < kPassed) send(1);
  ASSERT_EQ(oldest_number(), kPassed) << "the ringer's is to be the oldest now";
  reader.finish_wait();
  EXPECT_EQ(reader.release(), kPassed);
  in.clear();
  EXPECT_FALSE(reader.receive(in).error);
  EXPECT_EQ(reader.counters().rx_frames, in.size());
  EXPECT_EQ(reader.counters().lost_frames, kPassed);
}

TEST_F(InPlace, APortThatIsDownOrNotLinkedLendsNothing) {
  send(1);
  ASSERT_FALSE(reader.down());
  EXPECT_EQ(reader.receive_in_place(in).frames, 0U);
  EXPECT_EQ(reader.release(), 0U);
  Port alone;
  EXPECT_EQ(alone.receive_in_place(in).error, Errc::not_linked);
  EXPECT_EQ(alone.release(), 0U);
}

TEST_F(InPlace, AfterARepairNoneOfThemCountsAndThoseThatAreThereComeAgain) {
  send(kFew);
  ASSERT_EQ(reader.receive_in_place(in).frames, kFew);
  raw.header().last = 1;  // where no record can be
  ASSERT_TRUE(Bus::open(bus.path(), Access::read_write).value().repair());
  EXPECT_EQ(reader.release(), kFew);
  EXPECT_EQ(reader.counters().rx_frames, 0U);
  EXPECT_EQ(reader.counters().lost_frames, 0U);
  in.clear();
  EXPECT_EQ(reader.receive_in_place(in).frames, kFew);
  EXPECT_EQ(reader.release(), 0U);
}

class InPlaceToNewest : public InPlace {
 protected:
  InPlaceToNewest() : InPlace(Flow::ethernet, Resume::newest) {}
};
TEST_F(InPlaceToNewest, APortThatGoesOnWithTheNewestLosesTheWholeLoan) {
  for (std::uint32_t i = 0; i < kLoan; ++i) send(1);
  ASSERT_EQ(reader.receive_in_place(in).frames, kLoan);
  while (oldest_number() == 0) send(1);
  ASSERT_LT(oldest_number(), kLoan);
  EXPECT_EQ(reader.release(), kLoan);
  EXPECT_EQ(reader.counters().lost_frames, sent_);
}

class InPlaceOnAPausingBus : public InPlace {
 protected:
  InPlaceOnAPausingBus() : InPlace(Flow::pause) {}
};
TEST_F(InPlaceOnAPausingBus, SendersWaitForWhatIsLent) {
  send(kLoan);
  ASSERT_EQ(reader.receive_in_place(in).frames, kLoan);
  std::uint32_t more = 0;
  for (;;) {
    const SendResult sent = sender.try_send(frames.make(1, sent_ + more, kFew));
    ASSERT_FALSE(sent.error);
    more += static_cast<std::uint32_t>(sent.taken);
    if (sent.taken < kFew) break;
    ASSERT_LT(more, 1'000'000U) << "nobody waits";
  }
  EXPECT_EQ(sequences(in).size(), kLoan) << "whole, however much the sender wants to send";
  EXPECT_EQ(heard(sender), 0U);  // itself, it has passed all
  EXPECT_EQ(sender.try_send(frames.make(1, sent_ + more, 1)).taken, 0U);
  EXPECT_EQ(reader.release(), 0U);
  EXPECT_GT(sender.try_send(frames.make(1, sent_ + more, 1)).taken, 0U) << "released, it goes on";
  EXPECT_EQ(reader.counters().lost_frames, 0U);
}

/// A port that always finds a frame, and so never an empty bus, keeps up all the same (W3).
TEST_F(InPlaceOnAPausingBus, WhoKeepsUpIsWaitedForAgain) {
  bus::PortSlot& slot = raw.slot(reader.slot());
  send(1);
  ASSERT_EQ(reader.receive_in_place(in).frames, 1U);
  bus::fetch_and(slot.flags, ~bus::kFlagPause);  // as by a sender
  EXPECT_TRUE(eventually(
      [&] {
        send(1);
        EXPECT_EQ(reader.release(), 0U);
        in.clear();
        EXPECT_EQ(reader.receive_in_place(in).frames, 1U);
        heard(sender);
        return (bus::load_relaxed(slot.flags) & bus::kFlagPause) != 0;
      },
      std::chrono::seconds(5)));
}

/// Work that was left to the receiver is done in a copy.
TEST(InPlaceOffloads, WhoTakesNoneGetsCopiesOfTheFramesThatAreToBeMade) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  Port plain = port_on(bus.path());
  Port taker = port_on(bus.path(), {.take_offloads = true});
  const Shape shape;
  Bytes bytes = build(shape, 5000, 7);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView super(bytes.data(), bytes.size());
  super.offload = header_for(shape, 1400);
  Bytes small = build(shape, 300, 8);
  std::fill_n(small.begin(), 6, std::byte{0xff});
  FrameView unfinished(small.data(), small.size());
  unfinished.offload = header_for(shape, 0);
  const std::vector<FrameView> both{unfinished, super, unfinished};
  ASSERT_EQ(sender.send(both).taken, 3U);

  std::vector<std::size_t> sizes;
  FrameBatch in;
  for (;;) {
    in.clear();
    if (plain.receive_in_place(in).frames == 0) break;
    for (const FrameView& frame : in.frames()) {
      EXPECT_FALSE(frame.offload.pending());
      sizes.push_back(frame.size());
    }
    EXPECT_EQ(plain.release(), 0U);
  }
  const std::size_t headers = shape.payload();
  EXPECT_EQ(sizes, (std::vector<std::size_t>{small.size(), headers + 1400, headers + 1400,
                                             headers + 1400, headers + 800, small.size()}));
  EXPECT_EQ(plain.counters().rx_frames, 3U);

  in.clear();
  ASSERT_EQ(taker.receive_in_place(in).frames, 3U);
  EXPECT_TRUE(in[1].offload.is_super_frame());
  EXPECT_EQ(in[1].size(), bytes.size());
  EXPECT_EQ(std::memcmp(in[1].bytes.data(), bytes.data(), bytes.size()), 0);
  EXPECT_TRUE(in[2].offload.needs_checksum());
  EXPECT_EQ(taker.release(), 0U);
  EXPECT_EQ(taker.counters().rx_segments, 1U + 4U + 1U);
}

/// Which of a batch were overwritten is told by their number from the first on, so copies do not
/// come in one batch with what is lent.
TEST(InPlaceOffloads, TheSegmentsOfASuperFrameAreNotAmongThoseThatAreOverwritten) {
  const TempBus bus({.ring_bytes = 1U << 20U});
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  for (const std::size_t room : {64, 3}) {  // for all of the segments, or for some
    SCOPED_TRACE(room);
    Port plain = port_on(bus.path());
    const std::uint64_t base = raw.ring().number_at(raw.header().last);
    const Shape shape;
    Bytes bytes = build(shape, 5000, 7);
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    FrameView super(bytes.data(), bytes.size());
    super.offload = header_for(shape, 1400);
    ASSERT_EQ(sender.send({&super, 1}).taken, 1U);
    NumberedBatch frames(60);
    ASSERT_EQ(sender.send(frames.make(1, 0, 20)).taken, 20U);

    FrameBatch in(room);
    std::size_t segments = 0;
    for (;;) {
      in.clear();
      ASSERT_GT(plain.receive_in_place(in).frames, 0U);
      if (segments == 4) break;
      for (const FrameView& frame : in.frames()) EXPECT_EQ(frame.number, base);
      segments += in.size();
      ASSERT_LE(segments, 4U);
      EXPECT_EQ(plain.release(), 0U);
    }
    const std::size_t lent = in.size();
    EXPECT_EQ(in[0].number, base + 1);
    while (raw.ring().number_at(raw.header().first) < base + 3) {
      ASSERT_FALSE(send_one(sender));
    }
    const std::uint64_t oldest = raw.ring().number_at(raw.header().first);
    const std::size_t torn = plain.release();
    EXPECT_EQ(torn, std::min<std::uint64_t>(oldest - base - 1, lent));
    for (std::size_t i = torn; i < lent; ++i) EXPECT_GE(in[i].number, oldest);
    EXPECT_EQ(plain.counters().rx_frames, 1 + lent - torn);
  }
}

}  // namespace
}  // namespace shmif::test
