// Faults hit the frames that a wire would carry: the segments of a super-frame, with finished
// checksums.

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "shmif/fault_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"

namespace shmif::test {
namespace {

/// A link that keeps what it is sent, and brings what the test gave it.
class Keeper {
 public:
  struct Kept {
    std::vector<FrameView> to_bring;
    std::vector<Bytes> sent;
    bool sent_work = false;  ///< a frame that was sent leaves work to its receiver
    std::size_t room = SIZE_MAX;
  };
  explicit Keeper(Kept& kept) : kept_(kept) {}
  SendResult send(std::span<const FrameView> frames) noexcept {
    std::size_t taken = 0;
    for (const FrameView& frame : frames) {
      if (kept_.room == 0) break;
      --kept_.room;
      ++taken;
      kept_.sent.push_back(to_bytes(frame));
      kept_.sent_work |= frame.offload.pending();
    }
    return {taken, {}};
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    ReceiveResult result;
    for (const FrameView& frame : std::exchange(kept_.to_bring, {})) {
      into.push_lent(frame);
      ++result.frames;
    }
    return result;
  }
  int descriptor() noexcept { return -1; }
  WaitHint prepare_wait() noexcept { return {.ready = true}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return 1522; }
  std::string address() { return "keeper:"; }
  std::uint64_t bus_frames() noexcept { return 77; }

 private:
  Kept& kept_;
};
static_assert(Link<Keeper>);

FaultLink wrap(Keeper::Kept& kept, const FaultOptions& received, const FaultOptions& sent) {
  return FaultLink::wrap(AnyLink(std::make_unique<Keeper>(kept)), received, sent).value();
}

/// A super-frame of TCP with `segments` segments of 1,000 bytes.
struct SuperFrame {
  explicit SuperFrame(std::size_t segments, bool v6 = false)
      : shape{.v6 = v6}, bytes(build(shape, 1000 * segments, 1)), view(bytes.data(), bytes.size()) {
    view.offload = header_for(shape, 1000);
  }
  Shape shape;
  Bytes bytes;
  FrameView view;

  /// Whether this is segment number `index`, from 0.
  void expect_segment(const Bytes& frame, std::size_t index) const {
    SCOPED_TRACE(index);
    ASSERT_EQ(frame.size(), shape.payload() + 1000);
    EXPECT_TRUE(
        std::equal(frame.begin() + static_cast<std::ptrdiff_t>(shape.payload()), frame.end(),
                   bytes.begin() + static_cast<std::ptrdiff_t>(shape.payload() + 1000 * index)));
    EXPECT_TRUE(transport_checksum_holds(shape, frame));
    EXPECT_TRUE(header_checksum_holds(shape, frame));
  }
};

TEST(FaultLinkOffload, AFaultOfFramesThatAreSentHitsSegments) {
  for (const bool v6 : {false, true}) {
    SCOPED_TRACE(v6);
    Keeper::Kept kept;
    FaultLink link = wrap(kept, {}, parse_faults("drop=2,40").value());
    EXPECT_TRUE(AnyLink(std::make_unique<FaultLink>(wrap(kept, {}, {}))).takes_offloads());
    const SuperFrame super(50, v6);
    const SendResult sent = link.send({&super.view, 1});
    EXPECT_EQ(sent.taken, 1U) << "it is one frame";
    EXPECT_FALSE(sent.error);
    ASSERT_EQ(kept.sent.size(), 48U);
    EXPECT_FALSE(kept.sent_work);
    super.expect_segment(kept.sent[0], 0);
    super.expect_segment(kept.sent[1], 2);
    super.expect_segment(kept.sent[47], 49);
    EXPECT_EQ(link.sent().frames, 50U);
    EXPECT_EQ(link.sent().lost, 2U);
    EXPECT_EQ(link.segments_made(), 49U);
  }
}

TEST(FaultLinkOffload, AFaultOfFramesThatAreReceivedHitsSegments) {
  Keeper::Kept kept;
  FaultLink link = wrap(kept, parse_faults("drop=1").value(), {});
  SuperFrame super(45);
  super.view.number = 33;
  kept.to_bring = {super.view};
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 44U);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    EXPECT_FALSE(batch[i].offload.pending());
    EXPECT_EQ(batch[i].number, 33U);
    super.expect_segment(to_bytes(batch[i]), i + 1);
  }
}

TEST(FaultLinkOffload, AnUnfinishedChecksumIsFinishedBeforeABitIsChanged) {
  const Shape shape{.tcp = false};
  const Bytes bytes = build(shape, 200, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for(shape, 0);
  for (const bool corrupt : {false, true}) {
    Keeper::Kept kept;
    FaultLink link = wrap(kept, {}, {.corrupt = corrupt ? 1.0 : 0.0});
    EXPECT_EQ(link.send({&frame, 1}).taken, 1U);
    ASSERT_EQ(kept.sent.size(), 1U);
    EXPECT_FALSE(kept.sent_work);
    const bool whole =
        transport_checksum_holds(shape, kept.sent[0]) && header_checksum_holds(shape, kept.sent[0]);
    EXPECT_EQ(whole, !corrupt) << "nobody else would notice the changed bit";
  }
}

TEST(FaultLinkOffload, NoSuperFrameIsTakenWhileTheLinkTakesNothing) {
  Keeper::Kept kept;
  kept.room = 10;
  FaultLink link = wrap(kept, {}, {});
  const SuperFrame super(50);
  const std::vector<FrameView> three(3, super.view);
  EXPECT_EQ(link.send(three).taken, 1U) << "its segments wait in the link with faults";
  EXPECT_EQ(kept.sent.size(), 10U);
  EXPECT_EQ(link.send(std::span(three).subspan(1)).taken, 0U);
  kept.room = SIZE_MAX;
  EXPECT_EQ(link.send(std::span(three).subspan(1)).taken, 2U);
  ASSERT_EQ(kept.sent.size(), 150U);
  for (std::size_t i = 0; i < 150; ++i) super.expect_segment(kept.sent[i], i % 50);
}

TEST(FaultLinkOffload, WhatDoesNotMatchItsHeaderIsRefusedOrCountedAsLost) {
  Keeper::Kept kept;
  FaultLink link = wrap(kept, {}, {});
  SuperFrame nonsense(3);
  nonsense.view.offload.gso_size = 0;
  FrameView outside = nonsense.view;
  outside.offload = {};
  outside.bytes = outside.bytes.first(200);
  outside.offload.flags = Offload::kNeedsChecksum;
  outside.offload.csum_start = 199;
  outside.offload.csum_offset = 16;
  SuperFrame too_long(3);
  too_long.view.offload.gso_size = 1500;  // and the headers: more than the link takes
  for (const FrameView& frame : {nonsense.view, outside, too_long.view}) {
    const SendResult sent = link.send({&frame, 1});
    EXPECT_EQ(sent.taken, 0U);
    EXPECT_EQ(sent.error, Errc::bad_argument);
  }
  EXPECT_TRUE(kept.sent.empty());
  kept.to_bring = {nonsense.view, outside};
  FrameBatch batch;
  const ReceiveResult got = link.receive(batch);
  EXPECT_EQ(got.frames, 0U);
  EXPECT_EQ(got.lost, 2U);
}

TEST(FaultLinkOffload, TellsHowManyFramesTheBusOfTheWrappedLinkHas) {
  Keeper::Kept kept;
  AnyLink link(std::make_unique<FaultLink>(wrap(kept, {}, {})));
  EXPECT_EQ(link.bus_frames(), 77U);
}

TEST(FaultLinkChange, HurriedFramesOfAWayGoAtOnce) {
  Keeper::Kept kept;
  FaultLink link = wrap(kept, {.delay = std::chrono::hours(1)}, {.delay = std::chrono::hours(1)});
  const Bytes bytes = make_frame(100, 1);
  const FrameView frame(bytes.data(), bytes.size());
  kept.to_bring = {frame};
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 0U);
  EXPECT_EQ(link.send({&frame, 1}).taken, 1U);
  link.hurry(true, false);
  EXPECT_EQ(link.receive(batch).frames, 1U);
  EXPECT_TRUE(kept.sent.empty());
  link.hurry(false, true);
  EXPECT_EQ(link.receive(batch).frames, 0U);
  EXPECT_EQ(kept.sent.size(), 1U);
  kept.to_bring = {frame, frame};
  EXPECT_EQ(link.receive(batch).frames, 0U);
  EXPECT_EQ(link.send({&frame, 1}).taken, 1U);
  EXPECT_EQ(link.discard(), 3U);
  EXPECT_EQ(link.under_way(), 0U);
}

}  // namespace
}  // namespace shmif::test
