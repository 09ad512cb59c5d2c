// Frames that leave work to their receivers: they cross the bus as they are between ports that ask
// for that, and every other port hears the frames they stand for.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "bus/offload.hpp"
#include "shmif/port.hpp"
#include "shmif/shmif.h"
#include "tests/support/raw_bus.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr std::uint16_t kMss = 1400;

/// A frame with what it leaves to do, and the bytes it is made of.
struct Made {
  Bytes bytes;
  Offload offload;
  FrameView view() const {
    FrameView v(bytes.data(), bytes.size());
    v.offload = offload;
    return v;
  }
};

/// To everybody; `gso` 0: only the checksum is unfinished.
Made make(std::size_t payload, std::uint16_t gso, unsigned seed, const Shape& shape = {}) {
  Made made{build(shape, payload, seed), header_for(shape, gso)};
  std::fill_n(made.bytes.begin(), 6, std::byte{0xff});
  return made;
}

/// What a super-frame stands for, cut by the code that offload_test proves.
std::vector<Bytes> whole_frames(const Made& made) {
  std::vector<Bytes> out;
  if (!made.offload.is_super_frame()) {
    out.push_back(made.bytes);
    EXPECT_TRUE(bus::finish_checksum(out.back(), made.offload));
    return out;
  }
  bus::Segmenter segments;
  EXPECT_TRUE(segments.begin(made.bytes, made.offload));
  while (!segments.done()) {
    out.emplace_back(segments.next_bytes());
    segments.next(out.back());
  }
  return out;
}

Bytes to_bytes(const FrameView& frame) {
  return {frame.bytes.begin(), frame.bytes.end()};
}

std::vector<Bytes> drain(Port& port, FrameBatch& batch) {
  std::vector<Bytes> out;
  for (;;) {
    batch.clear();
    if (port.receive(batch).frames == 0) return out;
    for (const FrameView& frame : batch.frames()) {
      EXPECT_FALSE(frame.offload.pending());
      EXPECT_FALSE(frame.truncated());
      out.push_back(to_bytes(frame));
    }
  }
}

class OffloadPort : public ::testing::Test {
 protected:
  TempBus bus;
  Port sender = port_on(bus.path(), {.name = "sender"});
  Port taker = port_on(bus.path(), {.name = "taker", .take_offloads = true});
  Port plain = port_on(bus.path(), {.name = "plain"});

  void send(const Made& made) {
    const FrameView view = made.view();
    const SendResult sent = sender.send({&view, 1});
    ASSERT_FALSE(sent.error) << sent.error.message();
  }
  void expect_all_passed() {
    for (const PortInfo& p : bus.info().ports) EXPECT_EQ(passed(p), bus.info().frames) << p.name;
    EXPECT_TRUE(is_clean(bus.audit()));
  }
};

TEST_F(OffloadPort, CountsTheSegmentsOfEachSuperFrameOfABatch) {
  const std::vector<Made> made{make(3 * kMss + 1, kMss, 7), make(100, 0, 8),
                               make(2 * kMss, kMss, 9), make(kMss + 1, kMss, 10)};
  std::vector<FrameView> views;
  for (const Made& m : made) views.push_back(m.view());
  constexpr std::uint64_t kSegments = 4 + 1 + 2 + 2;
  FrameBatch batch(64, 1U << 20U);
  for (std::uint64_t round = 1; round < 3; ++round) {
    EXPECT_EQ(sender.send(views).taken, made.size());
    EXPECT_EQ(sender.counters().tx_frames, round * made.size());
    EXPECT_EQ(sender.counters().tx_segments, round * kSegments);
    batch.clear();
    EXPECT_EQ(taker.receive(batch).frames, made.size());
    EXPECT_EQ(taker.counters().rx_segments, round * kSegments);
    EXPECT_EQ(drain(plain, batch).size(), kSegments);
    EXPECT_EQ(plain.counters().rx_segments, round * kSegments);
  }
}

TEST_F(OffloadPort, FramesOfOneLengthThatAreFinishedAndUnfinishedComeWhole) {
  std::vector<Made> made;
  std::vector<FrameView> views;
  for (unsigned i = 0; i < 9; ++i) made.push_back(make(1000, 0, i));
  std::vector<Bytes> whole;
  for (Made& m : made) {
    if (&m != &made[4]) m = {whole_frames(m).front(), {}};
    views.push_back(m.view());
    whole.push_back(m.offload.pending() ? whole_frames(m).front() : m.bytes);
  }
  EXPECT_EQ(sender.send(views).taken, views.size());
  FrameBatch batch(64, 1U << 20U);
  EXPECT_EQ(drain(plain, batch), whole);
}

TEST_F(OffloadPort, ThroughTheCFacadeASuperFrameComesAndCountsAsItsSegments) {
  const Made made = make(3 * kMss + 1, kMss, 7);
  const std::vector<Bytes> wanted = whole_frames(made);
  ASSERT_EQ(wanted.size(), 4U);
  for (const std::size_t at_once : {1U, 3U, 32U}) {
    SCOPED_TRACE(at_once);
    shmif_port* port = nullptr;
    ASSERT_EQ(shmif_open(bus.path().c_str(), nullptr, &port), 0);
    ASSERT_EQ(shmif_up(port), 0);
    send(made);
    send(make(100, 0, 8));
    std::vector<Bytes> buffers(at_once, Bytes(2048));
    std::vector<iovec> into;
    for (Bytes& each : buffers) into.push_back({each.data(), each.size()});
    std::vector<shmif_frame_info> infos(at_once);
    infos[0].size = sizeof infos[0];
    std::vector<Bytes> came;
    int got = 0;
    while ((got = shmif_receive_batch(port, into.data(), infos.data(), at_once)) > 0) {
      for (int i = 0; i < got; ++i) {
        const auto at = static_cast<std::size_t>(i);
        came.emplace_back(buffers[at].begin(), buffers[at].begin() + infos[at].bytes);
      }
    }
    ASSERT_EQ(came.size(), 5U);
    came.pop_back();
    EXPECT_EQ(came, wanted);
    shmif_counters counters{};
    counters.size = sizeof counters;
    EXPECT_EQ(shmif_get_counters(port, &counters), 0);
    EXPECT_EQ(counters.rx_frames, 2U);
    EXPECT_EQ(counters.rx_segments, 5U);
    shmif_close(port);
  }
}

TEST_F(OffloadPort, WhoTakesThemGetsThemAsTheyAreAndTheOthersWhole) {
  FrameBatch batch(64, 1U << 20U);
  std::mt19937 random(1);
  for (unsigned round = 0; round < 200; ++round) {
    const Shape shape{.v6 = round % 2 != 0,
                      .tcp = round % 3 != 0,
                      .tags = round % 5 % 3,
                      .l4_options = round % 3 != 0 ? 12U : 0U};
    const bool super = round % 4 != 0;
    const std::size_t payload = super ? 1 + random() % 60'000 : random() % 1400;
    const Made made = make(payload, super ? kMss : std::uint16_t{0}, round, shape);
    send(made);
    batch.clear();
    ASSERT_EQ(taker.receive(batch).frames, 1U);
    EXPECT_EQ(to_bytes(batch[0]), made.bytes);
    EXPECT_EQ(batch[0].offload.gso_size, made.offload.gso_size);
    EXPECT_EQ(batch[0].offload.gso_type, made.offload.gso_type);
    EXPECT_EQ(batch[0].offload.csum_start, made.offload.csum_start);
    EXPECT_TRUE(batch[0].offload.needs_checksum());
    EXPECT_EQ(drain(plain, batch), whole_frames(made)) << round;
  }
  EXPECT_EQ(plain.counters().rx_frames, 200U) << "a super-frame counts as one";
  EXPECT_EQ(taker.counters().rx_bytes, sender.counters().tx_bytes);
  EXPECT_EQ(plain.counters().rx_bytes, sender.counters().tx_bytes);
  static_cast<void>(sender.receive(batch));
  expect_all_passed();
}

TEST_F(OffloadPort, SegmentsThatFindNoRoomComeWithTheNextCall) {
  const Made made = make(60'000, kMss, 7);
  const std::vector<Bytes> expected = whole_frames(made);
  send(made);
  send(make(100, 0, 8));
  FrameBatch batch(5, 1U << 20U);
  std::vector<Bytes> heard;
  while (heard.size() < expected.size() + 1) {
    ASSERT_TRUE(plain.wait(std::chrono::seconds(10))) << "it slept over segments";
    batch.clear();
    const ReceiveResult got = plain.receive(batch);
    ASSERT_GT(got.frames, 0U);
    EXPECT_EQ(got.lost, 0U);
    for (const FrameView& frame : batch.frames()) {
      EXPECT_EQ(frame.number, heard.size() < expected.size() ? 0U : 1U);
      EXPECT_EQ(frame.sender, sender.slot());
      heard.push_back(to_bytes(frame));
    }
  }
  heard.pop_back();
  EXPECT_EQ(heard, expected);
}

TEST_F(OffloadPort, ASegmentThatNoRoomCanHoldIsCutShortAndSaysSo) {
  const Made made = make(3'000, kMss, 7);
  const std::vector<Bytes> expected = whole_frames(made);
  send(made);
  FrameBatch batch(4, 128);
  for (const Bytes& whole : expected) {
    batch.clear();
    ASSERT_EQ(plain.receive(batch).frames, 1U);
    EXPECT_EQ(batch[0].true_bytes == 0 ? batch[0].size() : batch[0].true_bytes, whole.size());
    EXPECT_TRUE(std::equal(batch[0].bytes.begin(), batch[0].bytes.end(), whole.begin()));
  }
}

TEST_F(OffloadPort, AFollowerHearsEither) {
  auto whole = Follower::open(bus.path(), Start::now).value();
  auto as_they_are = Follower::open(bus.path(), Start::now, Resume::first, true).value();
  const Made made = make(10'000, kMss, 3);
  send(made);
  FrameBatch batch(64, 1U << 20U);
  EXPECT_EQ(whole.receive(batch).frames, whole_frames(made).size());
  batch.clear();
  EXPECT_EQ(as_they_are.receive(batch).frames, 1U);
  EXPECT_TRUE(batch[0].offload.is_super_frame());
  for (const Follower* follower : {&whole, &as_they_are}) {
    EXPECT_EQ(follower->counters().rx_frames, 1U);
    EXPECT_EQ(follower->counters().rx_segments, whole_frames(made).size());
  }
}

TEST_F(OffloadPort, GoingDownEndsASuperFrameInTheMiddle) {
  send(make(60'000, kMss, 7));
  FrameBatch batch(5, 1U << 20U);
  EXPECT_EQ(plain.receive(batch).frames, 5U);
  EXPECT_FALSE(plain.down());
  ASSERT_FALSE(plain.up());
  EXPECT_EQ(drain(plain, batch).size(), 0U);
  for (Port* port : {&sender, &taker}) {
    batch.clear();
    static_cast<void>(port->receive(batch));
  }
  expect_all_passed();
}

TEST_F(OffloadPort, WhatMakesNoSenseIsRefused) {
  const auto error_of = [&](const Made& made) {
    const FrameView view = made.view();
    return sender.send({&view, 1}).error;
  };
  Made wrong = make(3'000, kMss, 1);
  wrong.offload.gso_size = 0;
  EXPECT_EQ(error_of(wrong), make_error_code(Errc::bad_argument));
  wrong = make(3'000, kMss, 1);
  wrong.offload.gso_type = 77;
  EXPECT_EQ(error_of(wrong), make_error_code(Errc::bad_argument));
  wrong = make(100, 0, 1);
  wrong.offload.csum_start = 150;
  EXPECT_EQ(error_of(wrong), make_error_code(Errc::bad_argument));
  EXPECT_EQ(error_of(make(3'000, 1600, 1)), make_error_code(Errc::frame_too_long))
      << "its pieces are longer than the bus carries";
  EXPECT_EQ(error_of(make(1'600, 0, 1)), make_error_code(Errc::frame_too_long));
  EXPECT_EQ(bus.info().frames, 0U);
}

TEST_F(OffloadPort, TheLongestThatItCarriesIsTakenAndAByteMoreIsNot) {
  const std::size_t headers = Shape{}.payload();
  const std::size_t longest = sender.max_frame_bytes() - headers;
  const auto mss = static_cast<std::uint16_t>(longest);
  const auto one_more = static_cast<std::uint16_t>(longest + 1);
  constexpr std::uint16_t kNoSuperFrame = 0;
  const std::size_t max = kMaxSuperFrameBytes - headers;
  Made at_the_end = make(100, kNoSuperFrame, 1);
  at_the_end.offload.csum_start =
      static_cast<std::uint16_t>(at_the_end.bytes.size() - 2 - at_the_end.offload.csum_offset);
  Made behind_the_end = at_the_end;
  ++behind_the_end.offload.csum_start;
  const std::vector<Made> taken{make(longest, kNoSuperFrame, 1), make(3'000, mss, 2),
                                make(max, kMss, 3), at_the_end};
  for (const Made& made : taken) {
    const FrameView view = made.view();
    EXPECT_FALSE(sender.send({&view, 1}).error) << made.bytes.size();
  }
  for (const Made& made :
       {make(longest + 1, kNoSuperFrame, 1), make(3'000, one_more, 2), make(max + 1, kMss, 3)}) {
    const FrameView view = made.view();
    EXPECT_EQ(sender.send({&view, 1}).error, Errc::frame_too_long) << made.bytes.size();
  }
  const FrameView refused = behind_the_end.view();
  EXPECT_EQ(sender.send({&refused, 1}).error, Errc::bad_argument);
  EXPECT_EQ(sender.counters().too_long_frames, 3U);
  EXPECT_EQ(sender.counters().refused_frames, 1U);
  FrameBatch batch(64, 1U << 20U);
  ASSERT_EQ(taker.receive(batch).frames, taken.size());
  std::vector<Bytes> whole;
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(to_bytes(batch[i]), taken[i].bytes);
    for (Bytes& frame : whole_frames(taken[i])) whole.push_back(std::move(frame));
  }
  EXPECT_EQ(drain(plain, batch), whole);
}

TEST(OffloadOnASmallRing, IsRefusedByName) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.takes_offloads());
  const Made made = make(3'000, kMss, 1);
  const FrameView view = made.view();
  for (unsigned i = 1; i < 4; ++i) {
    EXPECT_EQ(port.send({&view, 1}).error, make_error_code(Errc::not_supported));
    EXPECT_EQ(port.counters().refused_frames, i);
  }
}

TEST_F(OffloadPort, ALappedReaderLosesWholeSuperFramesAndCountsThem) {
  std::mt19937 random(5);
  FrameBatch batch(3, 1U << 18U);
  std::size_t heard = 0;
  for (unsigned i = 0; i < 2'000; ++i) {  // some 15 laps
    send(make(1 + random() % 60'000, kMss, i));
    if (i % 400 > 300) {
      batch.clear();
      heard += plain.receive(batch).frames;
    }
  }
  EXPECT_GT(heard, 0U);
  EXPECT_GT(plain.counters().lost_frames, 0U);
  drain(plain, batch);
  EXPECT_EQ(passed(plain.counters()), 2'000U);
}

TEST_F(OffloadPort, AHeaderThatSomebodyScribbledOverHarmsNobody) {
  const RawBus raw(bus.path());
  FrameBatch batch(64, 1U << 20U);
  std::mt19937 random(9);
  for (unsigned round = 0; round < 2'000; ++round) {
    const std::uint64_t at = bus.info().last;
    send(make(1 + random() % 6'000, kMss, round));
    std::byte* body = raw.ring().payload(at);
    body[random() % 80] = static_cast<std::byte>(random());  // the offload, or the headers
    batch.clear();
    static_cast<void>(plain.receive(batch));
    for (const FrameView& frame : batch.frames()) EXPECT_LE(frame.size(), 1522U);
    batch.clear();
    static_cast<void>(taker.receive(batch));
  }
  EXPECT_GT(plain.counters().corrupt, 0U);
  EXPECT_EQ(passed(plain.counters()), 2'000U);
}

/// Records that no correct writer writes. Each is made of a sound super-frame by changing what it
/// leaves to do, and no reader may be handed it, in whatever way it reads.
class HostileRecord : public OffloadPort {
 protected:
  RawBus raw{bus.path()};
  Follower follower = Follower::open(bus.path(), Start::now).value();
  Follower taking = Follower::open(bus.path(), Start::now, Resume::first, true).value();

  void send_as(const Offload& offload) {
    const std::uint64_t at = bus.info().last;
    send(make(60'000, kMss, 7));
    std::memcpy(raw.ring().payload(at), &offload, sizeof offload);
    send(make(100, 0, 8));
  }
  /// That only the frame behind it is delivered, and that the port counts the record.
  template <class Receive>
  void expect_only_the_next(const char* who, Receive receive) {
    SCOPED_TRACE(who);
    FrameBatch batch(64, 1U << 20U);
    std::vector<std::size_t> sizes;
    std::uint64_t lost = 0;
    for (unsigned calls = 0; calls < 4; ++calls) {
      batch.clear();
      lost += receive(batch).lost;
      for (const FrameView& frame : batch.frames()) sizes.push_back(frame.size());
    }
    EXPECT_EQ(sizes, std::vector<std::size_t>{make(100, 0, 8).bytes.size()});
    EXPECT_EQ(lost, 1U);
  }
  void expect_refused_by_all(const Offload& offload) {
    send_as(offload);
    expect_only_the_next("plain", [&](FrameBatch& b) { return plain.receive(b); });
    expect_only_the_next("taker", [&](FrameBatch& b) { return taker.receive(b); });
    expect_only_the_next("follower", [&](FrameBatch& b) { return follower.receive(b); });
    expect_only_the_next("taking follower", [&](FrameBatch& b) { return taking.receive(b); });
    send_as(offload);
    expect_only_the_next("plain in place", [&](FrameBatch& b) { return in_place(plain, b); });
    expect_only_the_next("taker in place", [&](FrameBatch& b) { return in_place(taker, b); });
    for (const Port* port : {&plain, &taker}) {
      EXPECT_EQ(port->counters().corrupt, 2U);
      EXPECT_EQ(port->counters().rx_frames, 2U);
      EXPECT_EQ(passed(port->counters()), 4U);
    }
    EXPECT_EQ(taking.counters().corrupt, 1U);
  }
  static ReceiveResult in_place(Port& port, FrameBatch& batch) {
    const ReceiveResult got = port.receive_in_place(batch);
    EXPECT_EQ(port.release(), 0U);
    return got;
  }
};

TEST_F(HostileRecord, OfAFrameLongerThanTheBusAllowsIsDeliveredToNobody) {
  expect_refused_by_all(Offload{});
}

TEST_F(HostileRecord, OfALongFrameWithAnUnfinishedChecksumIsDeliveredToNobody) {
  expect_refused_by_all(header_for({}, 0));
}

TEST_F(HostileRecord, OfPiecesLongerThanTheBusAllowsIsDeliveredToNobody) {
  expect_refused_by_all(header_for({}, 20'000));
}

TEST_F(HostileRecord, OfTooManyPiecesIsDeliveredToNobody) {
  expect_refused_by_all(header_for({}, 1));
}

TEST_F(OffloadPort, WhatWouldBeTooManyFramesIsRefusedAndCountedWhereEverybodySeesIt) {
  const Made made = make(60'000, 1, 7);
  const FrameView view = made.view();
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(sender.send({&view, 1}).error, make_error_code(Errc::bad_argument));
  }
  EXPECT_EQ(sender.counters().refused_frames, 3U);
  EXPECT_EQ(bus.info().ports.at(sender.slot()).refused_frames, 3U);
  FrameBatch batch(64, 1U << 20U);
  EXPECT_EQ(plain.receive(batch).frames, 0U);
}

}  // namespace
}  // namespace shmif::test
