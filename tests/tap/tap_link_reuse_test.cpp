// Devices and queues that had somebody else's settings before, and those that are full.

#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <optional>
#include <string>
#include <vector>

#include "tap/netlink.hpp"
#include "tap/tap_keeper.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/frames.hpp"
#include "tests/tap/datagrams.hpp"
#include "tests/tap/packet_peer.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::make_frame;
using TapReuse = TapFixture;

TEST_F(TapReuse, APersistentDeviceGetsTheAddressesThatItLacksAndComesUp) {
  TapOptions options = in(where_, "tap0");
  options.persist = true;
  options.addresses = {*Cidr::parse("198.18.0.7/24")};
  {
    const auto former = TapLink::open(options).value();
  }
  ASSERT_TRUE(space_.netlink().set_up("tap0", false));
  options.addresses.push_back(*Cidr::parse("198.18.1.7/24"));
  options.addresses.push_back(*Cidr::parse("fd00::7/64"));
  options.gateways = {*IpAddress::parse("198.18.0.1")};
  const auto again = TapLink::open(options);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(space_.netlink().interface("tap0")->is_up());
  const std::string addresses = run(space_, {"ip", "addr", "show", "dev", "tap0"}).output;
  for (const Cidr& each : options.addresses) {
    EXPECT_NE(addresses.find(each.to_string()), std::string::npos) << addresses;
  }
  const std::string routes = run(space_, {"ip", "route"}).output;
  EXPECT_NE(routes.find("default via 198.18.0.1 dev tap0"), std::string::npos) << routes;
}

/// Only one by this gateway on this device is as right as a new one.
TEST_F(TapReuse, ADefaultRouteThatLeadsElsewhereIsInTheWay) {
  Netlink netlink = space_.netlink();
  TapOptions options = in(where_, "tap0");
  options.persist = true;
  options.addresses = {*Cidr::parse("198.18.0.7/24")};
  {
    const auto former = TapLink::open(options).value();
  }
  options.gateways = {*IpAddress::parse("198.18.0.1")};
  const auto other = TapLink::open(in(where_, "tap1")).value();
  ASSERT_TRUE(netlink.add_address("tap1", *Cidr::parse("198.18.0.8/24")));
  const auto opened_beside = [&](const char* device, const char* gateway) {
    netlink.add_default_route(device, *IpAddress::parse(gateway)).value();
    const auto link = TapLink::open(options);
    netlink.remove_default_route(device, *IpAddress::parse(gateway)).value();
    return link ? std::error_code{} : link.error().code;
  };
  EXPECT_EQ(opened_beside("tap0", "198.18.0.1"), std::error_code{});
  EXPECT_EQ(opened_beside("tap0", "198.18.0.2"), std::errc::file_exists);
  EXPECT_EQ(opened_beside("tap1", "198.18.0.1"), std::errc::file_exists);
}

TEST_F(TapReuse, QueuesWithoutANameAreAllOfTheDeviceThatTheFirstMade) {
  std::vector<std::vector<TapLink>> devices;  // the next one finds the first name taken
  for (const char* name : {"tap0", "tap1"}) {
    auto queues = TapLink::open_queues(in(where_, ""), 3);
    ASSERT_TRUE(queues) << queues.error().message;
    ASSERT_EQ(queues->size(), 3U);
    for (const TapLink& each : *queues) EXPECT_EQ(each.name(), name);
    devices.push_back(*std::move(queues));
  }
}

TEST_F(TapReuse, WhetherADeviceHasAHeaderIsKnownWithoutAFileOfIt) {
  const Netlink netlink = space_.netlink();
  EXPECT_EQ(netlink.tap_has_header("handed"), std::nullopt) << "it is not there";
  for (const bool has : {true, false, true}) {
    const UniqueFd device = handed(IFF_TAP | IFF_NO_PI | (has ? IFF_VNET_HDR : 0));
    EXPECT_EQ(netlink.tap_has_header("handed"), has);
    EXPECT_EQ(netlink.tap_has_header("lo"), std::nullopt) << "another kind";
    EXPECT_EQ(netlink.interface("handed")->name, "handed") << "answers to later questions fit";
  }
}

TEST_F(TapReuse, ADeviceThatWasThereHasItsHeaderAgainOrNoneWhateverItWasUsedWith) {
  Netlink netlink = space_.netlink();
  for (const int queues : {0, IFF_MULTI_QUEUE}) {
    for (const int header : {0, IFF_VNET_HDR}) {
      SCOPED_TRACE(queues | header);
      {
        const UniqueFd former = handed(IFF_TAP | IFF_NO_PI | queues | header);
        ASSERT_EQ(::ioctl(former.get(), TUNSETPERSIST, 1UL), 0);
      }
      {
        TapOptions options = in(where_, "handed");
        options.put_back = true;
        options.multi_queue = queues != 0;
        options.offload = header == 0;
        const auto link = TapLink::open(options);
        ASSERT_TRUE(link) << link.error().message;
        EXPECT_EQ(netlink.tap_has_header("handed"), header == 0);
      }
      EXPECT_EQ(netlink.tap_has_header("handed"), header != 0);
      ASSERT_TRUE(netlink.remove("handed"));
    }
  }
}

TEST_F(TapReuse, ADeviceHasTheHeaderSizeOfItsFormerUserAgain) {
  constexpr int kFlags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  {
    const UniqueFd former = handed(kFlags);
    const int merged = 12;  // as virtual machines have it
    ASSERT_EQ(::ioctl(former.get(), TUNSETVNETHDRSZ, &merged), 0);
    ASSERT_EQ(::ioctl(former.get(), TUNSETPERSIST, 1UL), 0);
  }
  TapOptions options = in(where_, "handed");
  options.put_back = true;
  options.offload = true;
  ASSERT_TRUE(TapLink::open(options));
  int size = 0;
  ASSERT_EQ(::ioctl(handed(kFlags).get(), TUNGETVNETHDRSZ, &size), 0);
  EXPECT_EQ(size, 12);
  ASSERT_TRUE(space_.netlink().remove("handed"));
}

TEST_F(TapReuse, WhatADeviceWasGivenSinceItWasPutBackStays) {
  Netlink netlink = space_.netlink();
  {
    const UniqueFd former = handed(IFF_TAP | IFF_NO_PI);
    ASSERT_EQ(::ioctl(former.get(), TUNSETPERSIST, 1UL), 0);
  }
  TapOptions options = in(where_, "handed", 1400);
  options.put_back = true;
  options.mac = MacAddress::parse("02:00:00:00:00:55");
  for (const std::uint32_t mtu : {1500U, 1300U, 9000U}) {
    const MacAddress mac = MacAddress::from_u64(0x020000000000U + mtu);
    ASSERT_TRUE(netlink.set_mac("handed", mac));
    ASSERT_TRUE(netlink.set_mtu("handed", mtu));
    {
      const auto link = TapLink::open(options);
      ASSERT_TRUE(link) << link.error().message;
      EXPECT_EQ(netlink.interface("handed")->mtu, 1400U);
      EXPECT_EQ(netlink.interface("handed")->mac, *options.mac);
    }
    EXPECT_EQ(netlink.interface("handed")->mtu, mtu);
    EXPECT_EQ(netlink.interface("handed")->mac, mac);
  }
  ASSERT_TRUE(netlink.remove("handed"));
}

TEST_F(TapReuse, OfAFormerUserTheHeaderSizeIsNotTakenOver) {
  UniqueFd device = handed(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  int merged = 12;  // as virtual machines have it
  ASSERT_EQ(::ioctl(device.get(), TUNSETVNETHDRSZ, &merged), 0);
  auto link = TapLink::adopt(std::move(device));
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_TRUE(link->takes_offloads());
  ASSERT_TRUE(space_.netlink().set_up("handed"));
  PacketPeer peer(space_, "handed");
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2), make_frame(1514, 3)};
  EXPECT_EQ(link->send(shmif::test::views(frames)).taken, 3U);
  EXPECT_EQ(await_own(peer, 3), frames);
  for (const Bytes& frame : frames) peer.send(frame);
  EXPECT_EQ(shmif::test::collect(*link, 3), frames);
}

TEST_F(TapReuse, WhatTheDeviceHasNoRoomForIsDroppedAndCountedAsThat) {
  TapOptions options = in(where_, "tap0");
  options.offload = true;
  auto link = TapLink::open(options).value();
  // What it says goes through a bridge into a device that passes on next to nothing.
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"ip", "link", "add", "br0", "type", "bridge"},
           {"ip", "link", "add", "slow0", "type", "veth", "peer", "name", "slow1"},
           {"tc", "qdisc", "add", "dev", "slow0", "root", "tbf", "rate", "8bit", "burst", "2000",
            "limit", "100000"},
           {"ip", "link", "set", "tap0", "master", "br0"},
           {"ip", "link", "set", "slow0", "master", "br0"},
           {"ip", "link", "set", "slow1", "up"},
           {"ip", "link", "set", "slow0", "up"},
           {"ip", "link", "set", "br0", "up"}}) {
    const Outcome done = run(space_, command);
    if (done.status != 0) GTEST_SKIP() << command[1] << ' ' << command[2] << ": " << done.output;
  }
  for (const char* port : {"tap0", "slow0"}) {
    ASSERT_TRUE(shmif::test::eventually([&] {
      const Outcome shown = run(space_, {"ip", "-d", "link", "show", "dev", port});
      return shown.output.find(" state forwarding ") != std::string::npos;
    })) << port;
  }
  int room = 1;
  ASSERT_EQ(::ioctl(link.descriptor(), TUNSETSNDBUF, &room), 0);
  Bytes frame = make_frame(1514, 1);
  frame[0] = std::byte{0x02};  // unicast, to nobody: the bridge passes on no copy, but the frame
  std::vector<FrameView> frames(10, FrameView(frame.data(), frame.size()));
  const Bytes one = datagram({}, random_bytes(1472, 1));  // of a run that is written as one
  ASSERT_EQ(one.size(), 1514U);
  frames.resize(20, unfinished(Flow{}, one));
  for (int batches = 0; batches < 5; ++batches) {
    EXPECT_EQ(link.send(frames).taken, frames.size());
  }
  const DeviceCounters counts = link.counters();
  EXPECT_GT(counts.dropped_full, 0U);
  EXPECT_EQ(counts.dropped_full + counts.sent_frames, 100U);
  EXPECT_EQ(counts.dropped_corrupt, 0U);
  EXPECT_EQ(counts.dropped_down, 0U);
  EXPECT_EQ(counts.sent_bytes, counts.sent_frames * 1514);
}

TapSettings unlike_in_each_field(bool other) {
  TapSettings all;
  all.is_new = !other;
  all.vnet_hdr = other;
  all.header_bytes = other ? 10 : 12;
  all.mtu = 1400;
  all.mac = *MacAddress::parse("02:00:00:00:00:07");
  all.up = !other;
  all.addresses = {*Cidr::parse("198.18.0.1/24"), *Cidr::parse("fd00::1/64")};
  all.active = {"one", "two"};
  all.requested = {"two", "three", "four"};
  all.added = {*Cidr::parse("198.18.0.2/25")};
  all.gateways = {*IpAddress::parse("198.18.0.9"), *IpAddress::parse("fd00::9")};
  return all;
}

/// A file below /run tells them to the next command if all processes of one were killed.
TEST(TapSettings, AreReadAsTheyWereWrittenAndOnlyWhole) {
  for (const bool other : {false, true}) {
    const TapSettings written = unlike_in_each_field(other);
    const std::string text = written.to_text();
    const auto read = TapSettings::parse(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(read->is_new, written.is_new);
    EXPECT_EQ(read->vnet_hdr, written.vnet_hdr);
    EXPECT_EQ(read->header_bytes, written.header_bytes);
    EXPECT_EQ(read->mtu, written.mtu);
    EXPECT_EQ(read->mac, written.mac);
    EXPECT_EQ(read->up, written.up);
    EXPECT_EQ(read->addresses, written.addresses);
    EXPECT_EQ(read->active, written.active);
    EXPECT_EQ(read->requested, written.requested);
    EXPECT_EQ(read->added, written.added);
    EXPECT_EQ(read->gateways, written.gateways);
    for (std::size_t size = 0; size + 1 < text.size(); ++size)
      EXPECT_FALSE(TapSettings::parse(text.substr(0, size))) << size;
    EXPECT_FALSE(TapSettings::parse("address nowhere\n" + text));
    EXPECT_FALSE(TapSettings::parse("added 198.18.0.2/33\n" + text));
    EXPECT_FALSE(TapSettings::parse("gateway nowhere\n" + text));
    EXPECT_TRUE(TapSettings::parse("unknown 1\n" + text)) << "of a later version";
  }
}

}  // namespace
}  // namespace shmif::tap::test
