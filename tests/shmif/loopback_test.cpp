#include "shmif/loopback_link.hpp"

#include <poll.h>

#include <iterator>
#include <utility>

#include "tests/shmif/link_conformance.hpp"

namespace shmif::test {
namespace {

/// One end of a pair is under test; the suite feeds and listens at the other.
class LoopbackRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = true;
  static std::string unavailable() { return {}; }

  LoopbackRig()
      : LoopbackRig(LoopbackLink::pair({.queue_frames = 32, .max_frame_bytes = 9022}).value()) {}
  LoopbackLink& link() { return near_; }
  std::size_t largest() { return near_.max_frame_bytes(); }
  void feed(const std::vector<Bytes>& frames) { far_.feed(frames); }
  std::vector<Bytes> heard() { return far_.heard(); }
  void end() { far_.end(); }

 private:
  explicit LoopbackRig(std::pair<LoopbackLink, LoopbackLink> ends)
      : near_(std::move(ends.first)), far_(std::move(ends.second)) {}
  LoopbackLink near_;
  FarEnd<LoopbackLink> far_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Loopback, LinkConformance, testing::Types<LoopbackRig>);

TEST(LoopbackLink, AFullQueueDropsTheNewestAndCountsThem) {
  auto [near, far] = LoopbackLink::pair({.queue_frames = 4}).value();
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i < 10; ++i) frames.push_back(make_frame(60, i));
  EXPECT_EQ(near.send(views(frames)).taken, 10U);
  EXPECT_EQ(near.dropped(), 6U);
  frames.resize(4);
  EXPECT_TRUE(same_frames(frames, collect(far, 4)));
  EXPECT_EQ(far.dropped(), 0U);
}

TEST(LoopbackLink, StampsFramesThatHaveNoTimeAndKeepsTheTimeOfOthers) {
  auto link = LoopbackLink::self().value();
  const Bytes bytes = make_frame(60, 1);
  std::vector<FrameView> frames(2, FrameView(bytes.data(), bytes.size()));
  frames[1].time_ns = 1234567890123456789;
  EXPECT_EQ(link.send(frames).taken, 2U);
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 2U);
  EXPECT_GT(batch[0].time_ns, 1'600'000'000'000'000'000U);
  EXPECT_EQ(batch[1].time_ns, 1234567890123456789U);
}

TEST(LoopbackLink, AFrameThatWaitsForRoomComesBeforeTheEnd) {
  auto [near, far] = LoopbackLink::pair().value();
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(near.send(views(frames)).taken, 1U);
  near.close();
  FrameBatch full(1);
  full.push(FrameView(full.room().data(), 60));
  FrameBatch none(64, 13);
  for (FrameBatch* const each : {&full, &none}) {
    const ReceiveResult got = far.receive(*each);
    EXPECT_EQ(got.frames, 0U);
    EXPECT_FALSE(got.error) << got.error.message();
  }
  EXPECT_TRUE(same_frames(frames, collect(far, 1)));
}

TEST(LoopbackLink, ThatAnotherIsMovedOverEndsItsPeerAndServesTheOthers) {
  auto [near, far] = LoopbackLink::pair().value();
  auto [other, other_far] = LoopbackLink::pair().value();
  near = std::move(other);
  FrameBatch batch;
  EXPECT_EQ(far.receive(batch).error, Errc::link_ended);
  EXPECT_EQ(far.send({}).error, Errc::link_ended);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(near.send(views(frames)).taken, 1U);
  EXPECT_TRUE(same_frames(frames, collect(other_far, 1)));
}

TEST(LoopbackLink, TakesEachLimitAndRefusesWhatIsJustBeyond) {
  const LoopbackOptions within[] = {{.max_frame_bytes = 14},
                                    {.max_frame_bytes = kMaxFrameBytes},
                                    {.queue_frames = 1},
                                    {.queue_bytes = 100, .max_frame_bytes = 100}};
  const LoopbackOptions beyond[] = {{.max_frame_bytes = 13},
                                    {.max_frame_bytes = kMaxFrameBytes + 1},
                                    {.queue_frames = 0},
                                    {.queue_bytes = 99, .max_frame_bytes = 100}};
  for (std::size_t i = 0; i < std::size(within); ++i) {
    SCOPED_TRACE(i);
    auto link = LoopbackLink::self(within[i]).value();
    EXPECT_TRUE(LoopbackLink::pair(within[i]));
    const std::vector<Bytes> frames{make_frame(within[i].max_frame_bytes, 1)};
    EXPECT_EQ(link.send(views(frames)).taken, 1U);
    EXPECT_TRUE(same_frames(frames, collect(link, 1)));
    EXPECT_EQ(LoopbackLink::self(beyond[i]).error().code, Errc::bad_argument);
    EXPECT_EQ(LoopbackLink::pair(beyond[i]).error().code, Errc::bad_argument);
  }
}

// Its queue of bytes is a ring, and a frame may lie across its edge.
TEST(LoopbackLink, FramesAreWholeWhereverTheyLieInTheQueue) {
  auto [near, far] = LoopbackLink::pair({.queue_bytes = 257, .max_frame_bytes = 100}).value();
  std::uint64_t number = 0;
  for (std::size_t round = 0; round < 100; ++round) {
    std::vector<Bytes> frames;
    for (std::size_t i = 0; i < 1 + round % 3; ++i)
      frames.push_back(make_frame(14 + (number + i) * 7 % 72, number + i));
    ASSERT_EQ(near.send(views(frames)).taken, frames.size());
    EXPECT_TRUE(same_frames(frames, collect(far, frames.size()))) << round;
    number += frames.size();
  }
  EXPECT_EQ(near.dropped(), 0U);
}

TEST(LoopbackLink, AnEndThatIsClosedWakesWhoWaitsAtBoth) {
  for (const bool own : {false, true}) {
    auto [near, far] = LoopbackLink::pair().value();
    ASSERT_FALSE(far.prepare_wait().ready);
    pollfd entry{.fd = far.descriptor(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&entry, 1, 0), 0);
    (own ? far : near).close();
    EXPECT_EQ(::poll(&entry, 1, 0), 1) << own;
    far.finish_wait();
    EXPECT_TRUE(far.prepare_wait().ready);
    FrameBatch batch;
    EXPECT_EQ(far.receive(batch).error, Errc::link_ended);
  }
}

TEST(LoopbackLink, FramesThatFillTheQueueToTheByteAreNotDropped) {
  auto link = LoopbackLink::self({.queue_bytes = 200, .max_frame_bytes = 100}).value();
  const std::vector<Bytes> frames{make_frame(100, 1), make_frame(100, 2), make_frame(14, 3)};
  for (std::uint64_t round = 1; round <= 3; ++round) {
    EXPECT_EQ(link.send(views(frames)).taken, 3U);
    EXPECT_EQ(link.dropped(), round);
    EXPECT_TRUE(same_frames({frames[0], frames[1]}, collect(link, 2)));
  }
}

TEST(LoopbackLink, AFrameThatIsCutKeepsItsTrueLengthAndTheNextOneIsWhole) {
  auto link = LoopbackLink::self().value();
  const std::vector<Bytes> frames{make_frame(1000, 1), make_frame(60, 2)};
  const std::vector<Bytes> more{make_frame(1500, 3)};
  std::vector<FrameView> sent = views(frames);
  for (const std::uint32_t true_bytes : {0U, 1400U}) {
    sent[0].true_bytes = true_bytes;
    EXPECT_EQ(link.send(sent).taken, 2U);
    FrameBatch small(1, 100);
    ASSERT_EQ(link.receive(small).frames, 1U);
    EXPECT_EQ(small[0].size(), 100U);
    EXPECT_EQ(small[0].true_bytes, true_bytes == 0 ? 1000U : 1400U);
    EXPECT_EQ(link.send(views(more)).taken, 1U);
    EXPECT_TRUE(same_frames({frames[1], more[0]}, collect(link, 2)));
  }
}

TEST(LoopbackLink, RingsForAWaiterAgainAndAgainAndForNobodyElse) {
  auto [near, far] = LoopbackLink::pair().value();
  const std::vector<Bytes> frames{make_frame(60, 1)};
  pollfd p{.fd = far.descriptor(), .events = POLLIN, .revents = 0};
  FrameBatch batch;
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(far.prepare_wait().ready);
    EXPECT_EQ(near.send(views(frames)).taken, 1U);
    EXPECT_EQ(poll(&p, 1, 0), 1);
    far.finish_wait();
    EXPECT_EQ(poll(&p, 1, 0), 0) << "whoever waits would turn round and round";
    EXPECT_EQ(far.receive(batch).frames, 1U);
    EXPECT_EQ(near.send(views(frames)).taken, 1U);
    EXPECT_EQ(poll(&p, 1, 0), 0) << "nobody waits";
    EXPECT_EQ(far.receive(batch).frames, 1U);
  }
}

}  // namespace
}  // namespace shmif::test
