// VhostLink against the driver of a virtual machine in this process.

#include "vhost/vhost_link.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "bus/offload.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::Features;
using vhost::Request;
using vhost::VhostLink;

/// For the suite: a driver with these features, and the link to it.
template <std::uint64_t kFeatures, std::uint16_t kSize, std::size_t kBuffer>
class VhostRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = true;
  static constexpr std::size_t kLargest = 9022;
  static std::string unavailable() { return {}; }

  VhostLink& link() { return machine_.link(); }
  std::size_t largest() { return kLargest; }
  void feed(const std::vector<Bytes>& frames) {
    EXPECT_EQ(machine_.front().send(frames), frames.size());
  }
  std::vector<Bytes> heard() {
    std::vector<Bytes> out;
    for (auto& one : machine_.front().arrived()) out.push_back(std::move(one.frame));
    return out;
  }
  void end() { machine_.front().socket.reset(); }

 private:
  Machine machine_{Driver{.features = kFeatures, .queue_size = kSize, .buffer_bytes = kBuffer},
                   {.max_frame_bytes = kLargest, .address = "near"}};
};

using Usual = VhostRig<Driver::kUsual, 256, 2048>;
using Plain = VhostRig<Driver::kPlain, 256, 9216>;
// A header of ten bytes, and the queues enabled from the start.
using Legacy = VhostRig<0, 256, 9216>;
// So few and so small buffers that a long frame fills half of them.
using Tiny = VhostRig<Driver::kUsual, 32, 600>;
INSTANTIATE_TYPED_TEST_SUITE_P(VhostUsual, LinkConformance, testing::Types<Usual>);
INSTANTIATE_TYPED_TEST_SUITE_P(VhostPlain, LinkConformance, testing::Types<Plain>);
INSTANTIATE_TYPED_TEST_SUITE_P(VhostLegacy, LinkConformance, testing::Types<Legacy>);
INSTANTIATE_TYPED_TEST_SUITE_P(VhostTiny, LinkConformance, testing::Types<Tiny>);

TEST(VhostLink, AFrameFillsAsManyBuffersAsItNeeds) {
  for (const std::size_t frame_bytes : {60, 588, 589, 1188, 1189, 9022}) {
    Machine machine({.queue_size = 32, .buffer_bytes = 600}, {.max_frame_bytes = 9022});
    const std::vector<Bytes> frames{make_frame(frame_bytes, 1), make_frame(77, 2)};
    ASSERT_EQ(machine.link().send(views(frames)).taken, 2U);
    const auto got = machine.front().arrived();
    ASSERT_EQ(got.size(), 2U);
    EXPECT_EQ(got[0].frame, frames[0]);
    EXPECT_EQ(got[0].buffers, (frame_bytes + 12 + 599) / 600) << frame_bytes;
    EXPECT_EQ(got[1].frame, frames[1]);
    EXPECT_EQ(got[1].buffers, 1U);
  }
}

TEST(VhostLink, AFrameThatNoBufferHoldsIsDroppedAndCounted) {
  Machine machine({.features = Driver::kPlain, .buffer_bytes = 600}, {.max_frame_bytes = 9022});
  const std::vector<Bytes> frames{make_frame(588, 1), make_frame(589, 2), make_frame(60, 3)};
  ASSERT_EQ(machine.link().send(views(frames)).taken, 3U);
  const auto got = machine.front().arrived();
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[0].frame, frames[0]);
  EXPECT_EQ(got[1].frame, frames[2]);
  EXPECT_EQ(machine.link().drops().no_room, 1U);
}

TEST(VhostLink, WithoutBuffersItTakesNoMoreUntilTheDriverLendsSome) {
  for (const std::uint64_t features : {Driver::kUsual, Driver::kPlain}) {
    Machine machine({.features = features, .queue_size = 16}, {});
    const std::vector<Bytes> frames(20, make_frame(60, 1));
    EXPECT_EQ(machine.link().send(views(frames)).taken, 16U);
    const SendResult full = machine.link().send(views(frames));
    EXPECT_EQ(full.taken, 0U);
    EXPECT_FALSE(full.error);
    EXPECT_EQ(machine.front().arrived().size(), 16U);
    EXPECT_EQ(machine.link().send(views(frames)).taken, 16U);
    EXPECT_EQ(machine.link().drops().no_room, 0U);
  }
}

TEST(VhostLink, FramesInSeveralBuffersAndInIndirectTablesArriveWhole) {
  Machine machine({}, {.max_frame_bytes = 9022});
  FrontEnd& front = machine.front();
  const Bytes frame = make_frame(3000, 1);
  const std::size_t at = front.send_slot(0);
  const auto fill = [&](std::size_t offset) {
    std::memset(front.memory.at(offset), 0, 12);
    std::memcpy(front.memory.at(offset) + 12, frame.data(), frame.size());
  };
  fill(at);
  DriverQueue& queue = front.send_queue;
  // The header is cut in two, and the frame, too.
  queue.descriptor(5) = FrontEnd::describe(at, 7, vhost::Descriptor::kNext, 9);
  queue.descriptor(9) = FrontEnd::describe(at + 7, 1000, vhost::Descriptor::kNext, 2);
  queue.descriptor(2) = FrontEnd::describe(at + 1007, 3012 - 1007, 0);
  queue.lend(5);
  // The same in a table.
  const std::size_t table = front.memory.take(3 * sizeof(vhost::Descriptor));
  auto* const entries = reinterpret_cast<vhost::Descriptor*>(front.memory.at(table));
  entries[0] = FrontEnd::describe(at, 12, vhost::Descriptor::kNext, 2);
  entries[2] = FrontEnd::describe(at + 12, 1, vhost::Descriptor::kNext, 1);
  entries[1] = FrontEnd::describe(at + 13, 2999, 0);
  queue.descriptor(7) = FrontEnd::describe(table, 48, vhost::Descriptor::kIndirect);
  queue.lend(7);
  // And behind a buffer of the queue.
  queue.descriptor(11) = FrontEnd::describe(at, 12, vhost::Descriptor::kNext, 12);
  const std::size_t second = front.memory.take(2 * sizeof(vhost::Descriptor));
  auto* const rest = reinterpret_cast<vhost::Descriptor*>(front.memory.at(second));
  rest[0] = FrontEnd::describe(at + 12, 1500, vhost::Descriptor::kNext, 1);
  rest[1] = FrontEnd::describe(at + 1512, 1500, 0);
  queue.descriptor(12) = FrontEnd::describe(second, 32, vhost::Descriptor::kIndirect);
  queue.lend(11);
  (void)queue.show(true);
  const std::vector<Bytes> got = collect(machine.link(), 3);
  EXPECT_TRUE(same_frames({frame, frame, frame}, got));
  for (const std::uint32_t head : {5U, 7U, 11U}) {
    const auto used = queue.collect();
    ASSERT_TRUE(used.has_value());
    EXPECT_EQ(used->head, head);
    EXPECT_EQ(used->written, 0U);
  }
}

constexpr std::uint64_t kAllOffloads = Driver::kUsual | Features::kOffloads;

TEST(VhostLink, SuperFramesAndUnfinishedChecksumsPassAsTheyAre) {
  Machine machine({.features = kAllOffloads}, {.max_frame_bytes = 1522, .offload = true});
  ASSERT_TRUE(machine.link().takes_offloads());
  for (const Shape& shape : {Shape{}, Shape{.v6 = true}}) {
    const Bytes frame = build(shape, 30'000, 1);
    const Offload offload = header_for(shape, 1448);
    // To the driver.
    FrameView view(frame.data(), frame.size());
    view.offload = offload;
    ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
    const auto got = machine.front().arrived();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].frame, frame);
    EXPECT_EQ(std::memcmp(&got[0].offload, &offload, sizeof offload), 0);
  }
  // But a small datagram comes finished: programs of the guest may read it from a packet socket.
  for (const Shape& shape : {Shape{.tcp = false}, Shape{.v6 = true, .tcp = false}}) {
    const Bytes frame = build(shape, 500, 1);
    FrameView view(frame.data(), frame.size());
    view.offload = header_for(shape, 0);
    ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
    const auto got = machine.front().arrived();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_FALSE(got[0].offload.pending());
    EXPECT_TRUE(transport_checksum_holds(shape, got[0].frame));
  }
  // From the driver: a slot holds 12 KiB.
  const Shape shape;
  const Bytes frame = build(shape, 10'000, 1);
  const Offload offload = header_for(shape, 1448);
  ASSERT_EQ(machine.front().send({frame}, offload), 1U);
  FrameBatch batch;
  ASSERT_EQ(machine.link().receive(batch).frames, 1U);
  EXPECT_EQ(to_bytes(batch[0]), frame);
  EXPECT_EQ(std::memcmp(&batch[0].offload, &offload, sizeof offload), 0);
}

TEST(VhostLink, DoesTheWorkThatADriverDoesNotTake) {
  Machine machine({.queue_size = 64}, {.max_frame_bytes = 1522, .offload = true});
  const Shape shape;
  const Bytes frame = build(shape, 10'000, 1);
  FrameView view(frame.data(), frame.size());
  view.offload = header_for(shape, 1448);
  ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
  const auto got = machine.front().arrived();
  ASSERT_EQ(got.size(), 7U);
  std::size_t payload = 0;
  for (const auto& one : got) {
    EXPECT_FALSE(one.offload.pending());
    EXPECT_LE(one.frame.size(), shape.payload() + 1448);
    EXPECT_TRUE(transport_checksum_holds(shape, one.frame));
    EXPECT_TRUE(header_checksum_holds(shape, one.frame));
    payload += one.frame.size() - shape.payload();
  }
  EXPECT_EQ(payload, 10'000U);

  const Bytes small = build(shape, 500, 1);
  FrameView unfinished(small.data(), small.size());
  unfinished.offload = header_for(shape, 0);
  unfinished.offload.gso_type = Offload::kGsoNone;
  ASSERT_EQ(machine.link().send({&unfinished, 1}).taken, 1U);
  const auto finished = machine.front().arrived();
  ASSERT_EQ(finished.size(), 1U);
  EXPECT_FALSE(finished[0].offload.pending());
  EXPECT_TRUE(transport_checksum_holds(shape, finished[0].frame));
}

// Each feature by itself: a driver agrees on some and not on others.
TEST(VhostLink, ASuperFrameOfAKindThatWasNotAgreedOnPassesInNeitherDirection) {
  struct Kind {
    bool v6;
    std::uint8_t flag;
    std::uint64_t to_driver, from_driver;  // the features that it needs
  };
  for (const auto& [v6, flag, to_driver, from_driver] :
       {Kind{false, 0, Features::kGuestTso4, Features::kHostTso4},
        Kind{true, 0, Features::kGuestTso6, Features::kHostTso6},
        Kind{false, Offload::kGsoEcn, Features::kGuestEcn, Features::kHostEcn},
        Kind{true, Offload::kGsoEcn, Features::kGuestEcn, Features::kHostEcn}}) {
    SCOPED_TRACE(testing::Message() << v6 << ' ' << int{flag});
    Shape shape;
    shape.v6 = v6;
    const Bytes frame = build(shape, 4000, 1);
    Offload offload = header_for(shape, 1400);
    offload.gso_type = static_cast<std::uint8_t>(offload.gso_type | flag);
    // What one direction lacks is not the other's.
    for (const std::uint64_t without : {std::uint64_t{0}, to_driver, from_driver}) {
      Machine machine({.features = kAllOffloads & ~without},
                      {.max_frame_bytes = 1522, .offload = true});
      FrameView view(frame.data(), frame.size());
      view.offload = offload;
      ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
      EXPECT_EQ(machine.front().arrived().size(), without == to_driver ? 3U : 1U) << without;
      ASSERT_EQ(machine.front().send({frame}, offload), 1U);
      FrameBatch batch;
      EXPECT_EQ(machine.link().receive(batch).frames, without == from_driver ? 0U : 1U);
      EXPECT_EQ(machine.link().drops().bad_header, without == from_driver ? 1U : 0U);
    }
  }
}

TEST(VhostLink, ASuperFrameOfDatagramsIsCutForEveryDriver) {
  Machine machine({.features = kAllOffloads}, {.max_frame_bytes = 1522, .offload = true});
  Shape shape;
  shape.tcp = false;
  const Bytes frame = build(shape, 4000, 1);
  FrameView view(frame.data(), frame.size());
  view.offload = header_for(shape, 1400);
  ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
  const auto got = machine.front().arrived();
  ASSERT_EQ(got.size(), 3U);
  for (const auto& one : got) {
    EXPECT_FALSE(one.offload.pending());
    EXPECT_TRUE(transport_checksum_holds(shape, one.frame));
  }
  // Nor may a driver leave that to others.
  ASSERT_EQ(machine.front().send({frame}, header_for(shape, 1400)), 1U);
  FrameBatch batch;
  EXPECT_EQ(machine.link().receive(batch).frames, 0U);
  EXPECT_EQ(machine.link().drops().bad_header, 1U);
}

TEST(VhostLink, PassesAllSegmentsOrNone) {
  Machine machine({.queue_size = 8}, {.max_frame_bytes = 1522, .offload = true});
  const Shape shape;
  const Bytes frame = build(shape, 7240, 1);  // five segments
  FrameView view(frame.data(), frame.size());
  view.offload = header_for(shape, 1448);
  ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
  EXPECT_EQ(machine.link().send({&view, 1}).taken, 0U) << "three buffers are left";
  EXPECT_EQ(machine.front().arrived().size(), 5U);
  EXPECT_EQ(machine.link().send({&view, 1}).taken, 1U);
  EXPECT_EQ(machine.front().arrived().size(), 5U);
  // A driver may never lend enough for seven segments. They do not hold up the frames behind them.
  const Bytes longer = build(shape, 7 * 1448, 1);
  view.bytes = longer;
  EXPECT_EQ(machine.link().send({&view, 1}).taken, 1U);
  EXPECT_TRUE(machine.front().arrived().empty());
  EXPECT_EQ(machine.link().drops().no_room, 1U);
  // Without mergeable buffers, each may take four entries of the queue.
  Machine plain({.features = Driver::kPlain, .queue_size = 8},
                {.max_frame_bytes = 1522, .offload = true});
  view.bytes = frame;
  EXPECT_EQ(plain.link().send({&view, 1}).taken, 1U);
  EXPECT_EQ(plain.link().drops().no_room, 1U);
}

TEST(VhostLink, AHeaderThatAsksForMoreThanWasAgreedOnCostsTheFrame) {
  Machine machine({}, {.max_frame_bytes = 1522, .offload = true});
  const Bytes frame = make_frame(100, 1);
  Offload checksum;
  checksum.flags = Offload::kNeedsChecksum;
  Offload super;
  super.gso_type = Offload::kGsoTcp4;
  ASSERT_EQ(machine.front().send({frame}, checksum), 1U);
  ASSERT_EQ(machine.front().send({frame}, super), 1U);
  ASSERT_EQ(machine.front().send({frame}), 1U);
  const std::vector<Bytes> got = collect(machine.link(), 1);
  EXPECT_TRUE(same_frames({frame}, got));
  EXPECT_EQ(machine.link().drops().bad_header, 2U);
}

TEST(VhostLink, ASuperFrameWithoutAnUnfinishedChecksumCostsTheFrame) {
  Machine machine({.features = kAllOffloads}, {.max_frame_bytes = 1522, .offload = true});
  const Shape shape;
  const Bytes frame = build(shape, 3000, 1);
  Offload offload = header_for(shape, 1448);
  offload.flags = 0;
  ASSERT_EQ(machine.front().send({frame}, offload), 1U);
  ASSERT_EQ(machine.front().send({frame}, header_for(shape, 1448)), 1U);
  FrameBatch batch;
  ASSERT_EQ(machine.link().receive(batch).frames, 1U);
  EXPECT_TRUE(batch[0].offload.needs_checksum());
  EXPECT_EQ(machine.link().drops().bad_header, 1U);
}

// Linux sets further flags, which say nothing to others (VIRTIO_NET_HDR_F_DATA_VALID).
TEST(VhostLink, PassesOnOnlyTheFlagThatFramesHave) {
  Machine machine({.features = kAllOffloads}, {.max_frame_bytes = 1522, .offload = true});
  const Shape shape;
  Offload offload = header_for(shape, 0);
  offload.flags = 0xff;
  ASSERT_EQ(machine.front().send({build(shape, 500, 1)}, offload), 1U);
  FrameBatch batch;
  ASSERT_EQ(machine.link().receive(batch).frames, 1U);
  EXPECT_EQ(batch[0].offload.flags, Offload::kNeedsChecksum);
  FrameView view(batch[0].bytes.data(), batch[0].size());
  view.offload = offload;
  ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
  const auto got = machine.front().arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].offload.flags, Offload::kNeedsChecksum);
}

TEST(VhostLink, ReadsMessagesAlsoWhileTheDriverAlwaysHasFrames) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::get_vring_base, vhost::VringState{0, 0}));
  FrameBatch one(1, 2048);
  for (unsigned i = 0; i < 100 && !front.was_answered(); ++i) {
    ASSERT_EQ(front.send({make_frame(60, i), make_frame(61, i)}), 2U);
    one.clear();
    ASSERT_EQ(machine.link().receive(one).frames, 1U);
  }
  EXPECT_TRUE(front.was_answered()) << "the message is still unread";
}

TEST(VhostLink, CountsFramesThatAreNoFrames) {
  Machine machine({}, {.max_frame_bytes = 1522});
  const Bytes good = make_frame(1522, 1);
  ASSERT_EQ(machine.front().send({make_frame(1523, 2), Bytes(13), Bytes(), good}), 4U);
  EXPECT_TRUE(same_frames({good}, collect(machine.link(), 1)));
  EXPECT_EQ(machine.link().drops().too_long, 1U);
  EXPECT_EQ(machine.link().drops().too_short, 2U);
}

TEST(VhostLink, RefusesFramesWithWorkLeftToDoUnlessItTakesThem) {
  Machine machine({}, {.max_frame_bytes = 1522});
  const Shape shape;
  const Bytes small = build(shape, 500, 1), large = build(shape, 3000, 1);
  FrameView view(small.data(), small.size());
  view.offload = header_for(shape, 0);
  EXPECT_EQ(machine.link().send({&view, 1}).error, Errc::not_supported);
  view = FrameView(large.data(), large.size());
  view.offload = header_for(shape, 1448);
  const SendResult result = machine.link().send({&view, 1});
  EXPECT_EQ(result.taken, 0U);
  EXPECT_EQ(result.error, Errc::frame_too_long);
  EXPECT_TRUE(machine.front().arrived().empty());
}

TEST(VhostLink, ASuperFrameThatNobodyCanSplitIsDroppedAndCounted) {
  Machine machine({}, {.max_frame_bytes = 1522, .offload = true});
  const Shape shape;
  const Bytes frame = build(shape, 3000, 1), other = make_frame(60, 1);
  FrameView super(frame.data(), frame.size());
  super.offload = header_for(shape, 1448);
  super.offload.gso_size = 0;
  const std::array<FrameView, 2> both{super, FrameView(other.data(), other.size())};
  EXPECT_EQ(machine.link().send(both).taken, 2U);
  EXPECT_EQ(machine.link().drops().no_room, 1U);
  const auto got = machine.front().arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, other);
}

// Only super-frames are longer than others.
TEST(VhostLink, AFrameWithAnUnfinishedChecksumIsNoLongerThanOthers) {
  const Shape shape;
  const auto sizes = [](Machine& machine, const Bytes& frame, const Offload& offload) {
    FrameBatch batch;
    EXPECT_EQ(machine.front().send({frame}, offload), 1U);
    std::size_t out = 0;
    for (std::size_t i = 0; i < machine.link().receive(batch).frames; ++i) out = batch[i].size();
    return out;
  };
  Offload unfinished = header_for(shape, 0);
  unfinished.gso_type = Offload::kGsoNone;
  const Bytes fits = build(shape, 1400, 1);
  Machine machine({.features = kAllOffloads}, {.max_frame_bytes = fits.size(), .offload = true});
  const Bytes longer = build(shape, 1401, 1);
  ASSERT_EQ(longer.size(), fits.size() + 1);
  EXPECT_EQ(sizes(machine, fits, unfinished), fits.size());
  EXPECT_EQ(sizes(machine, longer, unfinished), 0U);
  EXPECT_EQ(machine.link().drops().too_long, 1U);
  EXPECT_EQ(sizes(machine, longer, header_for(shape, 700)), longer.size()) << "a super-frame";
  FrameView view(longer.data(), longer.size());
  view.offload = unfinished;
  EXPECT_EQ(machine.link().send({&view, 1}).error, Errc::frame_too_long);
  view.offload = header_for(shape, 700);
  EXPECT_EQ(machine.link().send({&view, 1}).taken, 1U);
}

TEST(VhostLink, AFrameOfMoreThanFourGigabytesIsNotTakenForAShortOne) {
  Machine machine({.queue_size = 1024}, {});
  DriverQueue& queue = machine.front().send_queue;
  const std::size_t at = machine.front().send_slot(0);
  constexpr std::uint32_t kEach = 4'198'404, kLast = 76, kBuffers = 1024;
  static_assert(std::uint64_t{kBuffers - 1} * kEach + kLast == (std::uint64_t{1} << 32U) + 12 + 60);
  for (unsigned i = 0; i < kBuffers; ++i) {  // all at the same place
    const bool last = i + 1 == kBuffers;
    queue.descriptor(i) =
        FrontEnd::describe(at, last ? kLast : kEach, last ? 0U : vhost::Descriptor::kNext, i + 1);
  }
  queue.lend(0);
  (void)queue.show(true);
  FrameBatch batch;
  const ReceiveResult got = machine.link().receive(batch);
  EXPECT_EQ(got.frames, 0U);
  EXPECT_FALSE(got.error) << machine.link().why();
  EXPECT_EQ(machine.link().drops().too_long, 1U);
  EXPECT_TRUE(queue.collect().has_value()) << "the driver has its buffers again";
}

TEST(VhostLink, OfAFrontEndThatHasGoneAlreadyRaisesNoSignal) {
  Child child([] {
    std::signal(SIGPIPE, SIG_DFL);
    auto pair = vhost_sockets();
    if (!vhost::send_message(pair[0].get(), Request::get_features, 0, {})) return 1;
    pair[0].reset();
    auto link = VhostLink::adopt(std::move(pair[1]), {}).value();
    FrameBatch batch;
    std::error_code error;
    for (unsigned i = 0; i < 3 && !error; ++i) error = link.receive(batch).error;
    return error ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
}

/// A thread that echoes: it waits in no other way than a Link prescribes.
void echo(VhostLink& link, std::atomic<unsigned>& echoed, unsigned rounds) {
  FrameBatch batch;
  while (echoed < rounds) {
    batch.clear();
    const ReceiveResult got = link.receive(batch);
    if (got.error) return;
    if (got.frames == 0) {
      if (!wait_for(link, std::chrono::seconds(20))) return;
      continue;
    }
    if (link.send(batch.frames()).taken != got.frames) return;
    echoed += static_cast<unsigned>(got.frames);
  }
}

class VhostWakeups : public testing::TestWithParam<std::uint64_t> {};

// Each side sleeps after each frame, so a wakeup that is lost ends the game.
TEST_P(VhostWakeups, OfBothSidesAreNeverLost) {
  constexpr unsigned kRounds = 20'000;
  Machine machine({.features = GetParam()}, {});
  FrontEnd& front = machine.front();
  std::atomic<unsigned> echoed{0};
  std::jthread echoer([&] { echo(machine.link(), echoed, kRounds); });
  const Bytes frame = make_frame(60, 1);
  unsigned calls = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    ASSERT_EQ(front.send({frame}), 1U) << round;
    for (;;) {  // ends: a poll without a call fails
      if (const auto got = front.arrived(); !got.empty()) {
        ASSERT_EQ(got.size(), 1U);
        ASSERT_EQ(got[0].frame, frame);
        break;
      }
      if (front.event_index()) {
        std::atomic_ref(front.receive_queue.used_event())
            .store(front.receive_queue.collected, std::memory_order_seq_cst);
        if (std::atomic_ref(front.receive_queue.used().idx).load() != front.receive_queue.collected)
          continue;
      }
      pollfd waiting{.fd = front.receive_queue.call.get(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&waiting, 1, 20'000), 1) << "the driver was not woken in round " << round;
      calls += front.receive_queue.calls() > 0 ? 1 : 0;
    }
  }
  EXPECT_LE(calls, kRounds + 2);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEventIndex, VhostWakeups,
                         testing::Values(Driver::kUsual, Driver::kPlain));

TEST(VhostLink, NotifiesOnceForABatchAndOnlyWhoWantsIt) {
  Machine machine({.features = Driver::kPlain}, {});
  FrontEnd& front = machine.front();
  (void)front.receive_queue.calls();
  const std::vector<Bytes> frames(20, make_frame(60, 1));
  ASSERT_EQ(machine.link().send(views(frames)).taken, 20U);
  EXPECT_EQ(front.receive_queue.calls(), 1U);
  front.receive_queue.available().flags = vhost::RingHead::kNoNotice;
  ASSERT_EQ(machine.link().send(views(frames)).taken, 20U);
  EXPECT_EQ(front.receive_queue.calls(), 0U);
  // Other flags say nothing about it.
  for (const unsigned flags : {0xfffeU, 0xffffU}) {
    front.receive_queue.available().flags = static_cast<std::uint16_t>(flags);
    ASSERT_EQ(machine.link().send(views(frames)).taken, 20U);
    EXPECT_EQ(front.receive_queue.calls(), flags == 0xffff ? 0U : 1U) << flags;
  }
  EXPECT_EQ(front.arrived().size(), 80U);
}

TEST(VhostLink, AsksForNoKicksWhileItLooksAnyway) {
  for (const std::uint64_t features : {Driver::kUsual, Driver::kPlain}) {
    Machine machine({.features = features}, {});
    FrontEnd& front = machine.front();
    DriverQueue& queue = front.send_queue;
    const auto kicks = [&] {
      std::uint64_t count = 0;
      return ::read(queue.kick.get(), &count, sizeof count) == 8 ? count : 0;
    };
    const std::vector<Bytes> frame{make_frame(60, 1)};
    ASSERT_FALSE(machine.link().prepare_wait().ready);
    (void)kicks();
    ASSERT_EQ(front.send(frame), 1U);
    EXPECT_EQ(kicks(), 1U) << "it sleeps";
    machine.link().finish_wait();
    ASSERT_EQ(front.send(frame), 1U);
    EXPECT_EQ(kicks(), 0U) << "it is awake";
    EXPECT_EQ(collect(machine.link(), 2).size(), 2U);
    EXPECT_FALSE(machine.link().prepare_wait().ready);
  }
}

TEST(VhostLink, DropsAndCountsFramesWhileThereIsNoDriver) {
  auto pair = vhost_sockets();
  auto link = VhostLink::adopt(std::move(pair[1]), {.address = "near"}).value();
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(60, 2)};
  EXPECT_EQ(link.send(views(frames)).taken, 2U);
  EXPECT_EQ(link.drops().not_ready, 2U);
}

}  // namespace
}  // namespace shmif::test
