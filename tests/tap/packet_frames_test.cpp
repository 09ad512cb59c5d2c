// Packets that the kernel has put together from fragments before a packet link receives them.

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "bus/fragmenter.hpp"
#include "bus/offload.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tests/support/fragments.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/packet_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::make_frame;
using shmif::test::same_frames;
using shmif::test::Shape;
using shmif::test::together_v6;
using shmif::test::views;
using shmif::test::wait_for;
using shmif::test::wrong_v4;

constexpr std::chrono::seconds kFragmentPatience{30};

/// A UDP datagram for another host, whole, from the suite's address.
Bytes whole_datagram(const Shape& shape, std::size_t payload) {
  Bytes f = shmif::test::build(shape, payload, 1);
  std::copy_n(shmif::test::make_frame(60, 1).begin(), 12, f.begin());
  f[0] = std::byte{0x02};
  const std::size_t l3 = shape.l3();
  if (shape.v6) {
    f[l3 + 7] = std::byte{64};
    for (std::size_t i = 8; i < 40; ++i) f[l3 + i] = static_cast<std::byte>(i % 16 == 8 ? 0xfd : 0);
    f[l3 + 23] = std::byte{1};
    f[l3 + 39] = std::byte{2};
  } else {
    shmif::test::set16(f, l3 + 6, 0x4000);  // don't fragment
    f[l3 + 8] = std::byte{64};
    shmif::test::set32(f, l3 + 12, 0xc6120001);
    shmif::test::set32(f, l3 + 16, 0xc6120002);
    shmif::test::set16(f, l3 + 10, 0);
    shmif::test::set16(f, l3 + 10, ~shmif::test::plain_sum(f, l3, shape.l4()) & 0xffffU);
  }
  const unsigned pseudo = pseudo_sum(shape, f);
  shmif::test::set16(f, shape.l4() + 6, (pseudo & 0xffffU) + (pseudo >> 16U));
  EXPECT_TRUE(bus::finish_checksum(f, shmif::test::header_for(shape, 0)));
  return f;
}

/// What `link` receives from the suite's address, until `bytes` of IP came behind headers of
/// `headers` bytes.
std::vector<Bytes> hear_packet(PacketLink& link, std::size_t headers, std::size_t bytes) {
  std::vector<Bytes> pieces;
  std::size_t heard = 0;
  FrameBatch batch(2);  // so that a packet is cut over several receives
  while (heard < bytes && wait_for(link, kFragmentPatience)) {
    batch.clear();
    EXPECT_FALSE(link.receive(batch).error);
    for (const FrameView& f : batch.frames()) {
      if (!shmif::test::is_suite_frame(f)) continue;
      EXPECT_FALSE(f.offload.pending());
      EXPECT_FALSE(f.truncated());
      pieces.push_back(shmif::test::to_bytes(f));
      heard += f.size() - headers;
    }
  }
  return pieces;
}

class PacketFragments : public PacketFixture, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Offloads, PacketFragments, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "Yes" : "No"; });

TEST_P(PacketFragments, APacketLongerThanTheMtuArrivesAsFragmentsOfAtMostTheMtu) {
  // It waits in the socket while the MTU becomes smaller than it is.
  const bool offload = GetParam();
  const Cable cable(9000);
  PacketLink link = cable.open(offload);
  PacketPeer peer(cable.there, "v1");
  for (const unsigned tags : {0U, 1U, 2U}) {
    for (const bool v6 : {false, true}) {
      SCOPED_TRACE(std::to_string(tags) + (v6 ? " tags, IPv6" : " tags, IPv4"));
      ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 9000));
      const Shape shape{.v6 = v6, .tcp = false, .tags = tags};
      const std::size_t headers = v6 ? 48 : 20;
      const Bytes whole = whole_datagram(shape, 4000);
      peer.send(whole);
      ASSERT_TRUE(wait_for(link, kFragmentPatience));
      ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 1500));
      const auto pieces = hear_packet(link, shape.l3() + headers, 4008);
      EXPECT_EQ(pieces.size(), 3U);
      EXPECT_EQ(v6 ? together_v6(whole, pieces, shape.l3(), 40, shape.l3() + 6, 1500).wrong
                   : wrong_v4(whole, pieces, shape.l3(), 1500, {}),
                "");
    }
  }
}

TEST_P(PacketFragments, AChecksumThatWasLeftToDoIsFinishedBeforeThePacketIsCut) {
  const bool offload = GetParam();
  const Cable cable(9000);
  PacketLink link = cable.open(offload);
  const NetNamespace there = cable.there.space();
  PacketLink peer = PacketLink::open("v1", {.where = &there}).value();
  const Shape shape{.tcp = false};
  const Bytes whole = whole_datagram(shape, 4000);
  Bytes unfinished = whole;
  const unsigned pseudo = pseudo_sum(shape, whole);
  shmif::test::set16(unfinished, shape.l4() + 6, (pseudo & 0xffffU) + (pseudo >> 16U));
  FrameView view(unfinished.data(), unfinished.size());
  view.offload = shmif::test::header_for(shape, 0);
  ASSERT_EQ(peer.send({&view, 1}).taken, 1U);
  ASSERT_TRUE(wait_for(link, kFragmentPatience));
  ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 1500));
  EXPECT_EQ(wrong_v4(whole, hear_packet(link, 34, 4008), 14, 1500, {}), "");
}

TEST_P(PacketFragments, APacketStaysWholeWhereTheMtuHasBecomeLargeEnough) {
  const Cable cable(1500);
  PacketLink link = cable.open(GetParam());
  PacketPeer peer(cable.there, "v1");
  for (const std::uint32_t mtu : {5000U, 9000U}) {
    ASSERT_TRUE(cable.here.netlink().set_mtu("v0", mtu));
    ASSERT_TRUE(cable.there.netlink().set_mtu("v1", mtu));
    const Bytes whole = whole_datagram({.tcp = false, .tags = 1}, mtu - 28);
    peer.send(whole);
    EXPECT_EQ(shmif::test::collect(link, 1), std::vector<Bytes>{whole});
  }
}

TEST_P(PacketFragments, WhatIsNoPacketOfIpStaysWhole) {
  const Cable cable(9000);
  PacketLink link = cable.open(GetParam());
  PacketPeer peer(cable.there, "v1");
  const Bytes frame = shmif::test::make_frame(4000, 1);
  peer.send(frame);
  ASSERT_TRUE(wait_for(link, kFragmentPatience));
  ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 1500));
  EXPECT_EQ(shmif::test::collect(link, 1), std::vector<Bytes>{frame});
}

TEST_P(PacketFragments, APieceThatFindsTooLittleRoomSaysItsLength) {
  const Cable cable(9000);
  PacketLink link = cable.open(GetParam());
  PacketPeer peer(cable.there, "v1");
  const Bytes whole = whole_datagram({.tcp = false}, 2000);
  peer.send(whole);
  ASSERT_TRUE(wait_for(link, kFragmentPatience));
  ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 1500));
  FrameBatch small(1, 64);
  std::vector<std::uint32_t> lengths;
  while (lengths.size() < 2 && wait_for(link, kFragmentPatience)) {
    small.clear();
    ASSERT_FALSE(link.receive(small).error);
    for (const FrameView& f : small.frames()) {
      if (!shmif::test::is_suite_frame(f)) continue;
      EXPECT_EQ(f.size(), 64U);
      EXPECT_TRUE(std::equal(f.bytes.begin(), f.bytes.begin() + 16, whole.begin()));
      lengths.push_back(f.true_bytes);
    }
  }
  EXPECT_EQ(lengths, (std::vector<std::uint32_t>{1514, 34 + 2008 - 1480}));
}

/// A bridge whose kernel tracks connections, as container programs set it up: "v0" is a port of
/// "br0", and the other host has "v1".
class TrackedBridge {
 public:
  TrackedBridge() {
    Netlink netlink = cable.here.netlink();
    netlink.add_bridge("br0", *MacAddress::parse("02:00:00:00:00:b0")).value();
    netlink.add_to_bridge("v0", "br0").value();
    netlink.disable_ipv6("br0").value();
    netlink.set_up("br0").value();
    for (const char* setting : {"call-iptables", "call-ip6tables", "filter-vlan-tagged"}) {
      is_set = is_set && does("echo 1 >/proc/sys/net/bridge/bridge-nf-" + std::string(setting));
    }
    for (const char* tables : {"iptables", "ip6tables"}) {
      is_set = is_set && does(std::string(tables) +
                              " -w -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT");
    }
  }
  bool does(const std::string& command) const {
    return run(cable.here, {"sh", "-c", command}).status == 0;
  }

  Cable cable;
  bool is_set = true;
};

TEST_P(PacketFragments, WhatBridgeNetfilterPutTogetherArrivesAsOnAPortOfTheBridge) {
  const TrackedBridge bridge;
  const std::string kMissing = "no bridge netfilter with connection tracking here";
  if (!bridge.is_set) GTEST_SKIP() << kMissing;
  const NetNamespace here = bridge.cable.here.space();
  PacketLink link = PacketLink::open("br0", {.where = &here, .offload = GetParam()}).value();
  PacketPeer witness(bridge.cable.here, "br0");
  PacketPeer sender(bridge.cable.there, "v1");
  for (const unsigned tags : {0U, 1U}) {
    for (const bool v6 : {false, true}) {
      SCOPED_TRACE(std::to_string(tags) + (v6 ? " tags, IPv6" : " tags, IPv4"));
      const Shape shape{.v6 = v6, .tcp = false, .tags = tags};
      const Bytes whole = whole_datagram(shape, 4000);
      bus::Fragmenter sent(tags);
      ASSERT_TRUE(sent.begin(whole, 1400));
      while (!sent.done()) {
        Bytes fragment(sent.next_bytes());
        (void)sent.next(fragment);
        sender.send(fragment);
      }
      const std::vector<Bytes> seen = await_own(witness, 1);
      ASSERT_FALSE(seen.empty());
      if (seen[0].size() < whole.size()) GTEST_SKIP() << kMissing;
      EXPECT_EQ(seen[0], whole) << "the kernel puts together what the class cuts";
      const auto pieces = hear_packet(link, shape.l3() + (v6 ? 48 : 20), 4008);
      EXPECT_EQ(v6 ? together_v6(whole, pieces, shape.l3(), 40, shape.l3() + 6, 1500).wrong
                   : wrong_v4(whole, pieces, shape.l3(), 1500, {}),
                "");
    }
  }
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
}

// Frames of the longest packet with a tag, through a packet link: what arrives at the other end of
// a real cable is compared byte by byte.

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
