// MemifLink against a client in this process.

#include "memif/memif_link.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>
#include <vector>

#include "tests/memif/client.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::test {
namespace {

using memif::MemifLink;

/// For the suite: a client with such rings, and the link to it.
template <std::uint8_t kSizeLog2, std::size_t kBuffer, std::uint16_t kFirst>
class MemifRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = true;
  static constexpr std::size_t kLargest = 9022;
  static std::string unavailable() { return {}; }

  MemifLink& link() { return pair_.link(); }
  std::size_t largest() { return kLargest; }
  void feed(const std::vector<Bytes>& frames) {
    EXPECT_EQ(pair_.client().send(frames), frames.size());
  }
  std::vector<Bytes> heard() { return pair_.client().frames(); }
  void end() { pair_.client().socket.reset(); }

 private:
  MemifPair pair_{{.size_log2 = kSizeLog2, .buffer_bytes = kBuffer, .first = kFirst},
                  {.max_frame_bytes = kLargest, .address = "near"}};
};

using UsualRings = MemifRig<8, 9216, 0>;
// Chains, and numbers that wrap.
using ChainedRings = MemifRig<10, 600, 0xfff0>;
using LargestRings = MemifRig<14, 2048, 0xc000>;
INSTANTIATE_TYPED_TEST_SUITE_P(MemifUsual, LinkConformance, testing::Types<UsualRings>);
INSTANTIATE_TYPED_TEST_SUITE_P(MemifChained, LinkConformance, testing::Types<ChainedRings>);
INSTANTIATE_TYPED_TEST_SUITE_P(MemifLargest, LinkConformance, testing::Types<LargestRings>);

TEST(MemifLink, AFrameFillsAsManyBuffersAsItNeeds) {
  for (const std::size_t frame_bytes : {60, 600, 601, 1200, 1201, 1514, 9022}) {
    MemifPair pair({.size_log2 = 5, .buffer_bytes = 600}, {.max_frame_bytes = 9022});
    const std::vector<Bytes> frames{make_frame(frame_bytes, 1), make_frame(77, 2)};
    ASSERT_EQ(pair.link().send(views(frames)).taken, 2U);
    const auto got = pair.client().arrived();
    ASSERT_EQ(got.size(), 2U);
    EXPECT_EQ(got[0].frame, frames[0]);
    EXPECT_EQ(got[0].buffers, (frame_bytes + 599) / 600) << frame_bytes;
    EXPECT_EQ(got[1].frame, frames[1]);
    EXPECT_EQ(got[1].buffers, 1U);
  }
}

TEST(MemifLink, AFrameThatNoBuffersHoldIsDroppedAndCounted) {
  MemifPair pair({.size_log2 = 2, .buffer_bytes = 100}, {.max_frame_bytes = 9022});
  const std::vector<Bytes> frames{make_frame(401, 1), make_frame(400, 2)};
  ASSERT_EQ(pair.link().send(views(frames)).taken, 2U);
  EXPECT_TRUE(same_frames({frames[1]}, pair.client().frames()));
  EXPECT_EQ(pair.link().drops().no_room, 1U);
}

TEST(MemifLink, AFrameFillsAtMost1024BuffersHoweverManyThereAre) {
  MemifPair pair({.size_log2 = 12, .buffer_bytes = 1}, {.max_frame_bytes = 9022});
  const std::vector<Bytes> frames{make_frame(1025, 1), make_frame(1024, 2)};
  ASSERT_EQ(pair.link().send(views(frames)).taken, 2U);
  const auto got = pair.client().arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, frames[1]);
  EXPECT_EQ(got[0].buffers, 1024U);
  EXPECT_EQ(pair.link().drops().no_room, 1U);
}

TEST(MemifLink, WithoutBuffersItTakesNoMoreUntilTheClientGivesSome) {
  MemifPair pair({.size_log2 = 4});
  const std::vector<Bytes> frames(20, make_frame(60, 1));
  EXPECT_EQ(pair.link().send(views(frames)).taken, 16U);
  const SendResult full = pair.link().send(views(frames));
  EXPECT_EQ(full.taken, 0U);
  EXPECT_FALSE(full.error);
  EXPECT_EQ(pair.client().arrived().size(), 16U);
  EXPECT_EQ(pair.link().send(views(frames)).taken, 16U);
  EXPECT_EQ(pair.link().drops().no_room, 0U);
}

TEST(MemifLink, AFrameWaitsForAllOfItsBuffersAlsoWhereTheNumbersWrap) {
  for (const std::uint16_t first : {std::uint16_t{0}, std::uint16_t{0xfff4}}) {
    MemifPair pair({.size_log2 = 4, .buffer_bytes = 100, .first = first});
    const std::vector<Bytes> small(10, make_frame(60, 1));  // up to the end of the numbers
    ASSERT_EQ(pair.link().send(views(small)).taken, small.size());
    const std::vector<Bytes> long_one{make_frame(700, 2)};  // seven buffers, of which six are left
    EXPECT_EQ(pair.link().send(views(long_one)).taken, 0U) << first;
    EXPECT_TRUE(same_frames(small, pair.client().frames()));
    EXPECT_EQ(pair.link().send(views(long_one)).taken, 1U);
    EXPECT_TRUE(same_frames(long_one, pair.client().frames()));
  }
}

TEST(MemifLink, BuffersThatAreEmptyAreStillBuffers) {
  MemifPair pair({.size_log2 = 4, .buffer_bytes = 600});
  MemifClient& client = pair.client();
  client.receive_ring.descriptor(1).bytes = 0;  // the server skips it
  const Bytes frame = make_frame(1000, 1);
  ASSERT_EQ(pair.link().send(views({frame})).taken, 1U);
  const auto got = client.arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, frame);
  EXPECT_EQ(got[0].buffers, 3U);
  // In a frame from the client, too.
  ASSERT_EQ(client.send({make_frame(600, 2), {}, make_frame(600, 3)}), 3U);
  client.send_ring.descriptor(0).flags = memif::Descriptor::kNext;
  client.send_ring.descriptor(1).flags = memif::Descriptor::kNext;
  Bytes joined = make_frame(600, 2);
  const Bytes rest = make_frame(600, 3);
  joined.insert(joined.end(), rest.begin(), rest.end());
  EXPECT_TRUE(same_frames({joined}, collect(pair.link(), 1)));
}

// A ring of 16 buffers goes round 4,000 times, and its numbers wrap, with frames of random sizes.
TEST(MemifLink, FramesOfBothDirectionsStayWholeWhereRingsAndNumbersWrap) {
  MemifPair pair({.size_log2 = 4, .buffer_bytes = 512, .first = 0xfff3});
  std::mt19937 random(1);
  for (unsigned round = 0; round < 10'000; ++round) {
    std::vector<Bytes> frames(1 + random() % 5);
    for (Bytes& frame : frames) frame = make_frame(60 + random() % 1455, random());
    ASSERT_EQ(pair.client().send(frames), frames.size());
    ASSERT_TRUE(same_frames(frames, collect(pair.link(), frames.size()))) << round;
    ASSERT_EQ(pair.link().send(views(frames)).taken, frames.size());
    ASSERT_TRUE(same_frames(frames, pair.client().frames())) << round;
  }
}

// The other side uses a buffer again as soon as it sees the number, in another thread.
TEST(MemifLink, ABufferIsPassedOnOnlyAfterItsBytes) {
  constexpr unsigned kFrames = 4000;
  std::vector<Bytes> kinds;
  kinds.reserve(8);
  for (std::uint64_t i = 0; i < 8; ++i) kinds.push_back(make_frame(9000, i));
  MemifPair pair({.size_log2 = 1, .buffer_bytes = 9216}, {.max_frame_bytes = 9022});
  MemifClient& client = pair.client();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto is_late = [&] { return std::chrono::steady_clock::now() > until; };
  {
    std::jthread sender([&](const std::stop_token& stop) {
      for (std::size_t i = 0; i < kFrames && !stop.stop_requested();)
        i += client.send({kinds[i % kinds.size()]});
    });
    FrameBatch batch(4, 1U << 16U);
    for (std::size_t i = 0; i < kFrames; batch.clear()) {
      ASSERT_FALSE(is_late()) << i;
      ASSERT_FALSE(pair.link().receive(batch).error) << pair.link().why();
      for (const FrameView& frame : batch.frames())
        ASSERT_TRUE(to_bytes(frame) == kinds[i++ % kinds.size()]) << "from the client: " << i;
    }
  }
  std::jthread sender([&](const std::stop_token& stop) {
    for (std::size_t i = 0; i < kFrames && !stop.stop_requested();)
      i += pair.link().send(views({kinds[i % kinds.size()]})).taken;
  });
  for (std::size_t i = 0; i < kFrames;) {
    ASSERT_FALSE(is_late()) << i;
    for (const Bytes& frame : client.frames())
      ASSERT_TRUE(frame == kinds[i++ % kinds.size()]) << "to the client: " << i;
  }
}

TEST(MemifLink, AFrameWhoseEndIsMissingWaitsForIt) {
  for (const std::uint16_t missing : {std::uint16_t{1}, std::uint16_t{2}}) {  // of three buffers
    MemifPair pair({.size_log2 = 4, .buffer_bytes = 600});
    MemifClient& client = pair.client();
    const Bytes frame = make_frame(1500, 1);
    ASSERT_EQ(client.send({frame}), 1U);
    client.send_ring.given -= missing;
    client.send_ring.show();
    FrameBatch batch;
    const ReceiveResult none = pair.link().receive(batch);
    EXPECT_EQ(none.frames, 0U);
    EXPECT_FALSE(none.error);
    EXPECT_FALSE(pair.link().prepare_wait().ready) << "waiting for it would be a busy loop";
    client.send_ring.given += missing;
    client.send_ring.show();
    EXPECT_TRUE(pair.link().prepare_wait().ready);
    EXPECT_TRUE(same_frames({frame}, collect(pair.link(), 1)));
  }
}

// The caller's batch is full, so nobody has looked at what came behind that end.
TEST(MemifLink, AFrameBehindOneWhoseEndWasMissingKeepsTheCallerAwake) {
  MemifPair pair({.size_log2 = 4, .buffer_bytes = 600});
  MemifClient& client = pair.client();
  const std::vector<Bytes> frames{make_frame(1500, 1), make_frame(60, 2)};
  ASSERT_EQ(client.send(frames), 2U);
  client.send_ring.given -= 2;  // the last of three buffers, and the other frame
  client.send_ring.show();
  FrameBatch one(1, 2048);
  ASSERT_EQ(pair.link().receive(one).frames, 0U);
  client.send_ring.given += 2;
  client.send_ring.show();
  ASSERT_EQ(pair.link().receive(one).frames, 1U);
  EXPECT_EQ(to_bytes(one[0]), frames[0]);
  EXPECT_TRUE(pair.link().prepare_wait().ready);
  EXPECT_TRUE(same_frames({frames[1]}, collect(pair.link(), 1)));
}

TEST(MemifLink, ARingMayHaveOneBuffer) {
  MemifPair pair({.size_log2 = 0, .buffer_bytes = 2048, .first = 0xffff});
  for (unsigned i = 0; i < 3; ++i) {
    const std::vector<Bytes> frame{make_frame(60 + i, i)};
    ASSERT_EQ(pair.client().send(frame), 1U);
    ASSERT_TRUE(same_frames(frame, collect(pair.link(), 1)));
    ASSERT_EQ(pair.link().send(views(frame)).taken, 1U);
    EXPECT_EQ(pair.link().send(views(frame)).taken, 0U) << "no buffer is left";
    ASSERT_TRUE(same_frames(frame, pair.client().frames()));
  }
}

TEST(MemifLink, CountsFramesThatAreNoFrames) {
  MemifPair pair({}, {.max_frame_bytes = 1522});
  const Bytes good = make_frame(1522, 1);
  ASSERT_EQ(pair.client().send({make_frame(1523, 2), Bytes(13), Bytes(), good}), 4U);
  EXPECT_TRUE(same_frames({good}, collect(pair.link(), 1)));
  EXPECT_EQ(pair.link().drops().too_long, 1U);
  EXPECT_EQ(pair.link().drops().too_short, 2U);
  EXPECT_EQ(pair.client().send_ring.tail(), 4U) << "the client has all buffers again";
}

TEST(MemifLink, DropsAndCountsFramesBeforeTheClientHasSaidWhereItsMemoryIs) {
  MemifPair pair({}, {}, false);
  ASSERT_TRUE(pair.client().describe());
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(60, 2)};
  EXPECT_EQ(pair.link().send(views(frames)).taken, 2U);
  EXPECT_FALSE(pair.link().was_set_up());
  EXPECT_EQ(pair.link().drops().not_ready, 2U);
}

// Waking.

/// A thread that echoes: it waits in no other way than a Link prescribes.
void echo(MemifLink& link, std::atomic<unsigned>& echoed, unsigned rounds) {
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

// Each side sleeps after each frame, so a wakeup that is lost ends the game.
TEST(MemifLink, InterruptsOfBothSidesAreNeverLost) {
  constexpr unsigned kRounds = 20'000;
  MemifPair pair;
  MemifClient& client = pair.client();
  std::atomic<unsigned> echoed{0};
  std::jthread echoer([&] { echo(pair.link(), echoed, kRounds); });
  const Bytes frame = make_frame(60, 1);
  for (unsigned round = 0; round < kRounds; ++round) {
    ASSERT_EQ(client.send({frame}), 1U) << round;
    for (;;) {  // ends: a poll without an interrupt fails
      if (const auto got = client.frames(); !got.empty()) {
        ASSERT_TRUE(same_frames({frame}, got));
        break;
      }
      pollfd waiting{.fd = client.receive_ring.interrupt.get(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&waiting, 1, 20'000), 1) << "the client was not woken in round " << round;
      (void)client.receive_ring.interrupts();
    }
  }
}

TEST(MemifLink, InterruptsOnceForABatchAndOnlyAClientThatWantsIt) {
  MemifPair pair;
  MemifClient& client = pair.client();
  EXPECT_EQ(client.receive_ring.interrupts(), 0U);
  const std::vector<Bytes> frames(20, make_frame(60, 1));
  ASSERT_EQ(pair.link().send(views(frames)).taken, 20U);
  EXPECT_EQ(client.receive_ring.interrupts(), 1U);
  client.receive_ring.header().flags = memif::RingHeader::kMasked;
  ASSERT_EQ(pair.link().send(views(frames)).taken, 20U);
  EXPECT_EQ(client.receive_ring.interrupts(), 0U);
  // Other flags say nothing about it.
  for (const unsigned flags : {0xfffeU, 0xffffU}) {
    client.receive_ring.header().flags = static_cast<std::uint16_t>(flags);
    ASSERT_EQ(pair.link().send(views(frames)).taken, 20U);
    EXPECT_EQ(client.receive_ring.interrupts(), flags == 0xffff ? 0U : 1U) << flags;
  }
  EXPECT_EQ(client.arrived().size(), 80U);
}

TEST(MemifLink, OtherFlagsOfDescriptorsMeanNothing) {
  constexpr std::uint16_t kOthers = static_cast<std::uint16_t>(~memif::Descriptor::kNext);
  MemifPair pair({.size_log2 = 4, .buffer_bytes = 512}, {.max_frame_bytes = 9022});
  MemifClient& client = pair.client();
  const std::vector<Bytes> frames{make_frame(1500, 1), make_frame(60, 2)};
  for (unsigned i = 0; i < 16; ++i) client.receive_ring.descriptor(i).flags = 0xffff;
  ASSERT_EQ(pair.link().send(views(frames)).taken, 2U);
  EXPECT_TRUE(same_frames(frames, client.frames()));
  // What send() says, and the other flags.
  std::uint16_t from = client.send_ring.given;
  for (const Bytes& frame : frames) {
    for (std::size_t at = 0; at < frame.size(); at += 512) {
      memif::Descriptor& d = client.send_ring.descriptor(from++);
      d.bytes = static_cast<std::uint32_t>(std::min<std::size_t>(512, frame.size() - at));
      d.flags = at + 512 < frame.size() ? 0xffff : kOthers;
      std::copy_n(frame.data() + at, d.bytes, client.buffers.at(d.offset));
    }
  }
  client.send_ring.given = from;
  client.send_ring.show();
  EXPECT_TRUE(same_frames(frames, collect(pair.link(), 2)));
}

TEST(MemifLink, MasksInterruptsWhileItLooksAnyway) {
  MemifPair pair;
  MemifClient& client = pair.client();
  const std::vector<Bytes> frame{make_frame(60, 1)};
  for (unsigned round = 0; round < 3; ++round) {
    EXPECT_TRUE(client.send_ring.is_masked()) << "it is awake";
    ASSERT_EQ(client.send(frame), 1U);
    EXPECT_EQ(client.send_ring.interrupts(), 0U);
    EXPECT_EQ(collect(pair.link(), 1).size(), 1U);
    WaitHint hint = pair.link().prepare_wait();
    ASSERT_FALSE(hint.ready);
    EXPECT_LE(hint.at_most, std::chrono::milliseconds(1)) << "the client may have missed the mask";
    pair.link().finish_wait();
    hint = pair.link().prepare_wait();
    ASSERT_FALSE(hint.ready);
    EXPECT_EQ(hint.at_most, std::chrono::nanoseconds::max()) << "and cannot miss it any more";
    ASSERT_EQ(client.send(frame), 1U);
    EXPECT_EQ(client.send_ring.interrupts(), 1U) << "it sleeps";
    pair.link().finish_wait();
    EXPECT_EQ(collect(pair.link(), 1).size(), 1U);
  }
}

// Nobody reads the number of interrupts, which would wake the thread again and again.
TEST(MemifLink, AnInterruptWakesItOnce) {
  MemifPair pair;
  MemifClient& client = pair.client();
  pollfd waiting{.fd = pair.link().descriptor(), .events = POLLIN, .revents = 0};
  FrameBatch batch;
  for (unsigned round = 0; round < 3; ++round) {
    ASSERT_FALSE(pair.link().prepare_wait().ready);
    ASSERT_EQ(::poll(&waiting, 1, 0), 0) << "it would never sleep again, in round " << round;
    ASSERT_EQ(client.send({make_frame(60, round)}), 1U);
    ASSERT_EQ(::poll(&waiting, 1, 10'000), 1);
    pair.link().finish_wait();
    ASSERT_EQ(pair.link().receive(batch).frames, 1U);
    ASSERT_EQ(pair.link().receive(batch).frames, 0U);
    batch.clear();
  }
}

// It writes to that one itself.
TEST(MemifLink, TheInterruptOfTheOtherDirectionDoesNotWakeIt) {
  MemifPair pair;
  ASSERT_EQ(pair.link().send(views({make_frame(60, 1)})).taken, 1U);
  pollfd waiting{.fd = pair.link().descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  EXPECT_EQ(pair.client().receive_ring.interrupts(), 1U);
}

// DPDK may look at the mask before others see its frame. No interrupt comes then.
TEST(MemifLink, AFrameWhoseInterruptIsMissingIsFoundALittleLater) {
  MemifPair pair;
  MemifClient& client = pair.client();
  ASSERT_EQ(client.send({make_frame(60, 1)}), 1U);
  client.send_ring.given -= 1;
  client.send_ring.show();
  const WaitHint hint = pair.link().prepare_wait();
  ASSERT_FALSE(hint.ready);
  client.send_ring.given += 1;
  client.send_ring.show();  // and no interrupt
  pollfd waiting{.fd = pair.link().descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  EXPECT_NE(hint.at_most, std::chrono::nanoseconds::max());
  pair.link().finish_wait();
  FrameBatch batch;
  EXPECT_EQ(pair.link().receive(batch).frames, 1U);
}

// The end.

TEST(MemifLink, EndsWithoutASignalIfTheClientHasGoneBeforeAReply) {
  for (const bool says_something : {false, true}) {
    Child child([says_something] {
      std::signal(SIGPIPE, SIG_DFL);
      auto sockets = memif_sockets();
      const auto init = MemifClient::init_message();
      if (says_something && !memif::send_message(sockets[0].get(), init)) return 1;
      sockets[0].reset();
      auto link = MemifLink::adopt(std::move(sockets[1]), {}).value();
      FrameBatch batch;
      std::error_code error;
      for (unsigned i = 0; i < 3 && !error; ++i) error = link.receive(batch).error;
      return error ? 0 : 2;
    });
    EXPECT_EQ(child.wait(), 0) << says_something;
  }
}

// As DPDK's testpmd does when it is told to end.
TEST(MemifLink, TakesWhatTheClientHadSentBeforeItLeft) {
  MemifPair pair;
  std::vector<Bytes> frames;
  for (unsigned i = 0; i < 100; ++i) frames.push_back(make_frame(60 + i, i));
  ASSERT_EQ(pair.client().send(frames), frames.size());
  ASSERT_TRUE(pair.client().tell(memif::make_message(memif::MessageType::disconnect)));
  std::vector<Bytes> got;
  FrameBatch two(2, 4096);
  std::error_code error;
  while (!error) {
    two.clear();
    error = pair.link().receive(two).error;
    for (const FrameView& each : two.frames()) got.push_back(to_bytes(each));
  }
  EXPECT_TRUE(same_frames(frames, got));
  EXPECT_EQ(error, Errc::link_ended);
}

TEST(MemifLink, EndsWhenTheClientTakesItsLeave) {
  MemifPair pair;
  memif::Disconnect leave;
  leave.reason = memif::field_of<96>("test is over");
  ASSERT_TRUE(pair.client().tell(memif::make_message(memif::MessageType::disconnect, leave)));
  pair.serve();
  EXPECT_EQ(pair.last().error, Errc::link_ended);
  EXPECT_EQ(pair.link().why(), "") << "no rule was broken";
  EXPECT_TRUE(pair.link().was_set_up()) << "it was";
  EXPECT_TRUE(pair.link().prepare_wait().ready) << "nothing more will wake the caller";
  EXPECT_FALSE(pair.client().reply().has_value()) << "and nothing is to be said";
}

}  // namespace
}  // namespace shmif::test
