// Frames of the longest packet with a tag, through a packet link: what arrives at the other end of
// a real cable is compared byte by byte.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bus/offload.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/packet_peer.hpp"
#include "tests/tap/packet_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::make_frame;
using shmif::test::same_frames;
using shmif::test::views;

/// A frame of the suite with one 802.1ad tag.
Bytes ad_frame(std::size_t size, std::uint64_t seed) {
  Bytes frame = make_frame(size, seed, 1);
  shmif::test::set16(frame, 12, 0x88a8);
  return frame;
}

using PacketTags = PacketFixture;

TEST_F(PacketTags, FullFramesWithA8021adTagArriveAmongOthersInOrder) {
  for (const std::uint32_t mtu : {1500U, 9000U}) {
    SCOPED_TRACE("MTU " + std::to_string(mtu));
    const Cable cable(mtu);
    PacketLink link = cable.open();
    PacketPeer peer(cable.there, "v1");
    std::vector<Bytes> frames;
    for (std::uint64_t i = 0; i < 20; ++i) {
      frames.push_back(make_frame(60 + i, 10 * i));
      for (std::uint64_t k = 0; k < 5; ++k) frames.push_back(ad_frame(mtu + 14 + k, 10 * i + k));
      frames.push_back(make_frame(mtu + 18, 10 * i + 8, 1));
      frames.push_back(ad_frame(mtu + 18, 10 * i + 9));
    }
    ASSERT_EQ(link.send(views(frames)).taken, frames.size());
    EXPECT_TRUE(same_frames(frames, await_own(peer, frames.size())));
    EXPECT_EQ(link.counters().sent_frames, frames.size());
    EXPECT_EQ(link.counters().dropped_full, 0U);
    EXPECT_EQ(link.counters().dropped_corrupt, 0U);
  }
}

TEST_F(PacketTags, ManyFullFramesWithA8021adTagGoRoundTheRingAndAllArrive) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i < 200; ++i) frames.push_back(ad_frame(1518 - i % 3, i));
  const auto all = views(frames);
  for (std::size_t taken = 0; taken < all.size();) {
    const SendResult sent = link.send(std::span(all).subspan(taken));
    ASSERT_FALSE(sent.error) << sent.error.message();
    taken += sent.taken;
  }
  EXPECT_TRUE(same_frames(frames, await_own(peer, frames.size())));
}

TEST_F(PacketTags, FullFramesFollowTheMtuUpAndDown) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  for (const std::uint32_t mtu : {1500U, 9000U, 1500U, 4000U}) {
    ASSERT_TRUE(cable.here.netlink().set_mtu("v0", mtu));
    ASSERT_TRUE(cable.there.netlink().set_mtu("v1", mtu));
    ASSERT_EQ(link.max_frame_bytes(), mtu + 18);
    const Bytes frame = ad_frame(mtu + 18, mtu);
    const FrameView view(frame.data(), frame.size());
    ASSERT_EQ(link.send({&view, 1}).taken, 1U);
    EXPECT_TRUE(same_frames({frame}, await_own(peer, 1)));
    const Bytes longer = ad_frame(mtu + 19, mtu);
    const FrameView too_long(longer.data(), longer.size());
    EXPECT_EQ(link.send({&too_long, 1}).error, Errc::frame_too_long);
  }
}

TEST_F(PacketTags, WhatIsLongerThanThePacketWithoutATagIsTooLong) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  const std::vector<Bytes> refused{make_frame(1515, 1), make_frame(1518, 2),
                                   make_frame(1522, 3, 2)};
  for (const Bytes& bytes : refused) {
    const FrameView view(bytes.data(), bytes.size());
    const SendResult sent = link.send({&view, 1});
    EXPECT_EQ(sent.taken, 0U);
    EXPECT_EQ(sent.error, Errc::frame_too_long) << bytes.size();
  }
  // Two tags and a packet that leaves room for one of them.
  const Bytes two = make_frame(1518, 4, 2);
  const FrameView view(two.data(), two.size());
  EXPECT_EQ(link.send({&view, 1}).taken, 1U);
  EXPECT_TRUE(same_frames({two}, await_own(peer, 1)));
}

TEST_F(PacketTags, AnUnfinishedChecksumBehindA8021adTagIsFinishedByTheKernel) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  for (const bool tcp : {false, true}) {
    const shmif::test::Shape shape{.tcp = tcp, .tags = 1};
    Bytes sent = shmif::test::build(shape, 1518 - shape.payload(), 1);
    std::copy_n(make_frame(60, 1).begin(), 12, sent.begin());
    shmif::test::set16(sent, 12, 0x88a8);
    Bytes whole = sent;
    ASSERT_TRUE(bus::finish_checksum(whole, shmif::test::header_for(shape, 0)));
    FrameView view(sent.data(), sent.size());
    view.offload = shmif::test::header_for(shape, 0);
    ASSERT_EQ(link.send({&view, 1}).taken, 1U);
    ASSERT_EQ(link.counters().dropped_corrupt, 0U);
    const std::vector<Bytes> heard = await_own(peer, 1);
    ASSERT_EQ(heard.size(), 1U);
    // TCP's stays unfinished on the cable: the other end has been told that nothing was damaged.
    EXPECT_TRUE(heard[0] == whole || (tcp && heard[0] == sent));
  }
}

TEST_F(PacketTags, DropsFullFramesWhileDownCountsWhatMakesNoSenseAndEndsWithTheInterface) {
  const Cable cable;
  PacketLink link = cable.open();
  Netlink netlink = cable.here.netlink();
  const Bytes frame = ad_frame(1518, 1);
  const FrameView view(frame.data(), frame.size());
  FrameView wrong = view;
  wrong.offload.flags = Offload::kNeedsChecksum;
  wrong.offload.csum_start = 2000;
  {
    PacketPeer peer(cable.there, "v1");
    const SendResult sent = link.send(std::array{view, wrong, view});
    EXPECT_EQ(sent.taken, 3U);
    EXPECT_EQ(link.counters().dropped_corrupt, 1U);
    EXPECT_TRUE(same_frames({frame, frame}, await_own(peer, 2)));
  }
  for (std::uint64_t round = 1; round <= 2; ++round) {
    ASSERT_TRUE(netlink.set_up("v0", false));
    for (int i = 0; i < 40; ++i) EXPECT_EQ(link.send({&view, 1}).taken, 1U);
    EXPECT_EQ(link.counters().dropped_down, 40 * round);
    ASSERT_TRUE(netlink.set_up("v0"));
    ASSERT_TRUE(netlink.wait_for_carrier("v0", std::chrono::seconds(30)));
    PacketPeer peer(cable.there, "v1");
    EXPECT_EQ(link.send({&view, 1}).taken, 1U);
    EXPECT_TRUE(same_frames({frame}, await_own(peer, 1)));
  }
  netlink.remove("v0").value();
  EXPECT_EQ(link.send({&view, 1}).error, Errc::link_ended);
}

}  // namespace
}  // namespace shmif::tap::test
