// What a packet link keeps from one frame to the next, and what it does where its interface takes
// nothing.

#include <gtest/gtest.h>
#include <net/if.h>

#include <array>
#include <chrono>
#include <string>
#include <system_error>
#include <vector>

#include "shmif/bus.hpp"
#include "tap/device_settings.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/packet_peer.hpp"
#include "tests/tap/packet_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::collect;
using shmif::test::is_suite_frame;
using shmif::test::make_frame;
using shmif::test::same_frames;
using shmif::test::views;
using shmif::test::wait_for;
using PacketState = PacketFixture;

TEST_F(PacketState, ATagOfPriorityZeroInNoVlanArrivesToo) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  Bytes frame = make_frame(100, 1, 1);
  frame[14] = frame[15] = std::byte{0};
  const std::vector<Bytes> frames{frame, make_frame(100, 2), make_frame(100, 3, 1)};
  for (const Bytes& f : frames) peer.send(f);
  EXPECT_TRUE(same_frames(frames, collect(link, frames.size())));
}

// Somebody moves the interface away and back before the link looks: the kernel has unbound it.
TEST_F(PacketState, AnInterfaceThatWasAwayForAWhileEndsTheLink) {
  const Cable cable;
  const TestNamespace elsewhere;
  PacketLink link = cable.open();
  const unsigned index = cable.here.netlink().interface("v0")->index;
  ASSERT_TRUE(cable.here.netlink().move_to("v0", elsewhere.space()));
  ASSERT_TRUE(elsewhere.netlink().move_to("v0", cable.here.space()));
  ASSERT_TRUE(cable.here.netlink().set_up("v0"));
  ASSERT_EQ(cable.here.netlink().interface("v0")->index, index) << "it is as it was";
  FrameBatch batch;
  EXPECT_TRUE(shmif::test::eventually([&] {
    batch.clear();
    (void)link.prepare_wait();
    const ReceiveResult result = link.receive(batch);
    link.finish_wait();
    return result.error == Errc::link_ended;
  }));
}

TEST_F(PacketState, WhatIsLeftToDoForAFrameIsNotTakenForTheNextOnes) {
  const shmif::test::Shape shape{};
  Bytes super = shmif::test::build(shape, 3000, 1);
  Bytes unsummed = shmif::test::build(shape, 100, 2);
  for (Bytes* each : {&super, &unsummed}) {
    std::copy_n(make_frame(60, 1).begin(), 12, each->begin());
  }
  const Bytes plain = make_frame(60, 3);
  std::vector<FrameView> sent{
      FrameView(super.data(), super.size()), FrameView(plain.data(), plain.size()),
      FrameView(unsummed.data(), unsummed.size()), FrameView(plain.data(), plain.size())};
  sent[0].offload = shmif::test::header_for(shape, 1000);
  sent[2].offload = shmif::test::header_for(shape, 0);
  for (const bool offload : {false, true}) {
    SCOPED_TRACE(offload ? "with offloads" : "without");
    const Cable cable;
    PacketLink link = cable.open(offload);
    const NetNamespace there = cable.there.space();
    PacketLink host = PacketLink::open("v1", {.where = &there}).value();
    // Twice, so that the first follows the last, too.
    for (int round = 0; round < 2; ++round) ASSERT_EQ(host.send(sent).taken, sent.size());
    const std::size_t one = shape.payload() + 1000;
    const std::vector<std::size_t> sizes =
        offload ? std::vector<std::size_t>{super.size(), 60, unsummed.size(), 60}
                : std::vector<std::size_t>{one, one, one, 60, unsummed.size(), 60};
    std::size_t heard = 0;
    FrameBatch batch;
    while (heard < 2 * sizes.size() && wait_for(link, std::chrono::seconds(20))) {
      batch.clear();
      ASSERT_FALSE(link.receive(batch).error);
      for (const FrameView& f : batch.frames()) {
        if (!is_suite_frame(f)) continue;
        const std::size_t at = heard++ % sizes.size();
        SCOPED_TRACE("frame " + std::to_string(at));
        EXPECT_EQ(f.size(), sizes[at]);
        EXPECT_EQ(f.offload.is_super_frame(), offload && at == 0);
        EXPECT_EQ(f.offload.needs_checksum(), offload && at % 2 == 0);
        if (f.size() == 60) {
          EXPECT_EQ(Bytes(f.bytes.begin(), f.bytes.end()), plain);
        }
      }
    }
    EXPECT_EQ(heard, 2 * sizes.size());
    EXPECT_EQ(link.counters().dropped_corrupt, 0U);
  }
}

TEST_F(PacketState, AFrameThatDidNotFitTheLastBatchNeedsNoOtherToBeHeard) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  // Nothing else may come, which would wake whoever waits.
  {
    const Inside inside(cable.there);
    cable.there.netlink().disable_ipv6("v1").value();
  }
  FrameBatch before;
  while (wait_for(link, std::chrono::milliseconds(30))) {
    before.clear();
    ASSERT_FALSE(link.receive(before).error);
  }
  constexpr std::size_t kFrames = 20;
  for (std::size_t i = 0; i < kFrames; ++i) peer.send(make_frame(60, i));
  std::size_t heard = 0;
  FrameBatch one(1);
  while (heard < kFrames && wait_for(link, std::chrono::seconds(5))) {
    one.clear();
    ASSERT_FALSE(link.receive(one).error);
    for (const FrameView& f : one.frames()) heard += is_suite_frame(f) ? 1U : 0U;
  }
  EXPECT_EQ(heard, kFrames);
}

TEST_F(PacketState, WhatTheQueueOfTheInterfaceRefusesIsDroppedAndCountedAsThat) {
  const Cable cable;
  PacketLink link = cable.open();
  const std::vector<std::string> none{"tc",   "qdisc", "add",   "dev", "v0",
                                      "root", "pfifo", "limit", "0"};
  if (const Outcome done = run(cable.here, none); done.status != 0) GTEST_SKIP() << done.output;
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2), make_frame(62, 3)};
  const DeviceCounters before = link.counters();
  const SendResult refused = link.send(views(frames));
  EXPECT_EQ(refused.taken, 3U);
  EXPECT_FALSE(refused.error) << refused.error.message();
  EXPECT_EQ(link.counters().dropped_full - before.dropped_full, 3U);
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
  EXPECT_EQ(link.counters().dropped_down, 0U);
  EXPECT_EQ(link.counters().sent_frames, before.sent_frames);
  ASSERT_EQ(run(cable.here, {"tc", "qdisc", "del", "dev", "v0", "root"}).status, 0);
  PacketPeer peer(cable.there, "v1");
  EXPECT_EQ(link.send(views(frames)).taken, 3U);
  EXPECT_EQ(await_own(peer, 3), frames);
  EXPECT_EQ(link.counters().sent_frames, before.sent_frames + 3);
}

TEST_F(PacketState, SettingTheCarrierLeavesTheRestOfTheInterfaceAsItIs) {
  const Cable cable;
  PacketLink link = cable.open();
  ASSERT_EQ(run(cable.here, {"ip", "link", "set", "v0", "arp", "off", "multicast", "off"}).status,
            0);
  const auto flags = [&] {
    return cable.here.netlink().interface("v0")->flags &
           (IFF_UP | IFF_NOARP | IFF_MULTICAST | IFF_PROMISC);
  };
  const unsigned before = flags();
  EXPECT_NE(before & IFF_UP, 0U);
  EXPECT_NE(before & IFF_NOARP, 0U);
  EXPECT_EQ(before & IFF_MULTICAST, 0U);
  for (int round = 0; round < 2; ++round) {
    ASSERT_FALSE(set_carrier(link.descriptor(), LinkKind::veth, false));
    EXPECT_EQ(flags(), before & ~static_cast<unsigned>(IFF_UP));
    ASSERT_FALSE(set_carrier(link.descriptor(), LinkKind::veth, true));
    EXPECT_EQ(flags(), before);
  }
  EXPECT_EQ(set_carrier(link.descriptor(), LinkKind::bridge, false), Errc::not_supported);
  EXPECT_EQ(flags(), before);
  EXPECT_EQ(set_carrier(-1, LinkKind::veth, false), std::errc::bad_file_descriptor);
  EXPECT_EQ(set_carrier(-1, LinkKind::tap, false), std::errc::bad_file_descriptor);
}

}  // namespace
}  // namespace shmif::tap::test
