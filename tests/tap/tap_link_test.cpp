#include "tap/tap_link.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tap/netlink.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/tap/packet_peer.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::make_frame;
using shmif::test::wait_for;

/// The device in its namespace, made before the peer on it.
struct TapInSpace {
  TapInSpace(std::uint32_t mtu, bool offload) : tap(open(space.space(), mtu, offload)) {}
  static TapLink open(const NetNamespace& where, std::uint32_t mtu, bool offload) {
    TapOptions options = in(where, "tap0", mtu);
    options.offload = offload;
    return TapLink::open(options).value();
  }
  TestNamespace space;
  TapLink tap;
};

template <std::uint32_t kMtu, bool kOffload = false>
class TapRig : TapInSpace, public DeviceRig<kMtu> {
 public:
  static std::string unavailable() { return no_tap_because(); }

  TapRig() : TapInSpace(kMtu, kOffload), DeviceRig<kMtu>(space, "tap0") {}
  TapLink& link() { return tap; }
  void end() { space.netlink().remove("tap0").value(); }
};

}  // namespace
}  // namespace shmif::tap::test

namespace shmif::test {
using TapRigs = testing::Types<shmif::tap::test::TapRig<1500>, shmif::tap::test::TapRig<9000>,
                               shmif::tap::test::TapRig<1500, true>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Tap, LinkConformance, TapRigs);
}  // namespace shmif::test

namespace shmif::tap::test {
namespace {

using TapLinkTest = TapFixture;

TEST_F(TapLinkTest, AppearsConfiguredInTheNamespaceAskedFor) {
  TapOptions options = in(where_, "tap7", 9000);
  options.mac = *MacAddress::parse("b2:a0:00:00:00:07");
  options.addresses = {*Cidr::parse("198.18.0.7/24"), *Cidr::parse("fd00::7/64")};
  options.gateways = {*IpAddress::parse("198.18.0.1"), *IpAddress::parse("fd00::1")};
  const auto link = TapLink::open(options);
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ(link->name(), "tap7");
  const auto there = space_.netlink().interface("tap7");
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_EQ(there->mtu, 9000U);
  EXPECT_EQ(there->mac, *options.mac);
  EXPECT_TRUE(there->has_carrier());
  const std::string addresses = run(space_, {"ip", "addr", "show", "dev", "tap7"}).output;
  EXPECT_NE(addresses.find("198.18.0.7/24"), std::string::npos) << addresses;
  EXPECT_NE(addresses.find("fd00::7/64"), std::string::npos) << addresses;
  for (const char* version : {"-4", "-6"}) {
    const std::string routes = run(space_, {"ip", version, "route"}).output;
    const char* const wanted =
        version[1] == '4' ? "default via 198.18.0.1 dev tap7" : "default via fd00::1 dev tap7";
    EXPECT_NE(routes.find(wanted), std::string::npos) << routes;
  }
  EXPECT_FALSE(Netlink::open()->interface("tap7")) << "it must not be in the caller's namespace";
}

TEST_F(TapLinkTest, GoesWithItsLinkUnlessPersistent) {
  {
    const auto link = TapLink::open(in(where_, "tap0")).value();
  }
  EXPECT_FALSE(space_.netlink().interface("tap0"));
  TapOptions options = in(where_, "tap1");
  options.persist = true;
  options.addresses = {*Cidr::parse("198.18.0.7/24")};
  {
    const auto link = TapLink::open(options).value();
  }
  const auto left = space_.netlink().interface("tap1");
  ASSERT_TRUE(left);
  EXPECT_FALSE(left->has_carrier());
  const auto again = TapLink::open(options);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(space_.netlink().interface("tap1")->index, left->index) << "attached, not made anew";
}

TEST_F(TapLinkTest, APersistentDeviceLeavesNoWorkToALinkThatDidNotAskForIt) {
  TapOptions options = in(where_, "tap0");
  options.persist = true;
  options.offload = true;
  {
    const auto former = TapLink::open(options).value();
    ASSERT_TRUE(former.takes_offloads());
  }
  options.offload = false;
  auto link = TapLink::open(options).value();
  EXPECT_FALSE(link.takes_offloads());
  constexpr std::size_t kDatagrams = 8;
  send_udp(space_, "tap0", kDatagrams * 1400, 1400);
  std::size_t heard = 0;
  FrameBatch batch(64, 1 << 20);
  while (heard < kDatagrams && wait_for(link, std::chrono::seconds(10))) {
    batch.clear();
    ASSERT_FALSE(link.receive(batch).error);
    for (const FrameView& f : batch.frames()) {
      if (!is_udp(f)) continue;
      ++heard;
      EXPECT_EQ(f.size(), 1400U + 42);
      EXPECT_TRUE(udp_checksums_hold(f));
    }
  }
  EXPECT_EQ(heard, kDatagrams);
}

TEST_F(TapLinkTest, DropsAndCountsWorkThatMakesNoSenseAndRefusesWhatItDidNotOffer) {
  const Bytes bytes = make_frame(60, 1);
  FrameView wrong(bytes.data(), bytes.size());
  wrong.offload.flags = Offload::kNeedsChecksum;
  wrong.offload.csum_start = 200;  // after the end of the frame
  const FrameView right(bytes.data(), bytes.size());
  TapOptions options = in(where_, "tap0");
  options.offload = true;
  auto offers = TapLink::open(options).value();
  const SendResult sent = offers.send(std::array{wrong, right});
  EXPECT_EQ(sent.taken, 2U);
  EXPECT_FALSE(sent.error) << sent.error.message();
  EXPECT_EQ(offers.counters().dropped_corrupt, 1U);
  EXPECT_EQ(offers.counters().sent_frames, 1U);
  auto plain = TapLink::open(in(where_, "tap1")).value();
  EXPECT_EQ(plain.send({&wrong, 1}).taken, 0U);
  EXPECT_EQ(plain.send({&wrong, 1}).error, Errc::not_supported);
  // The other direction; the kernel sends nothing that makes no sense.
  DeviceCounts counts;
  counts.corrupt_received.add(2);
  EXPECT_EQ(counts.snapshot().dropped_corrupt, 2U);
}

TEST_F(TapLinkTest, CountsFramesAndTheirBytesBothWays) {
  for (const bool offload : {false, true}) {
    SCOPED_TRACE(offload ? "with offloads" : "without");
    TapOptions options = in(where_, offload ? "tap1" : "tap0");
    options.offload = offload;
    auto link = TapLink::open(options).value();
    PacketPeer peer(space_, options.name);
    expect_counts(link, peer);
  }
}

TEST_F(TapLinkTest, RefusesWhatCannotBeAndLeavesNothingBehind) {
  const auto code = [&](const std::string& name, std::uint32_t mtu) {
    return TapLink::open(in(where_, name, mtu)).error().code;
  };
  EXPECT_EQ(code("a-name-too-long-for-it", 1500), Errc::bad_argument);
  EXPECT_EQ(code("with/slash", 1500), Errc::bad_argument);
  EXPECT_EQ(code("tap0", 67), Errc::bad_mtu);
  EXPECT_EQ(code("tap0", 65522), Errc::bad_mtu);
  EXPECT_EQ(code("lo", 1500), std::errc::invalid_argument);
  const std::string no_tap = TapLink::open(in(where_, "lo")).error().message;
  EXPECT_NE(no_tap.find("an interface of that name exists, and is not a TAP device"),
            std::string::npos)
      << no_tap;

  TapOptions options = in(where_, "tap0");
  options.mac = *MacAddress::parse("01:00:00:00:00:01");
  EXPECT_EQ(TapLink::open(options).error().code, Errc::bad_argument);
  options.mac.reset();
  options.gateways = {*IpAddress::parse("198.18.0.1")};  // reachable through no address
  for (const bool persist : {false, true}) {
    options.persist = persist;
    EXPECT_EQ(TapLink::open(options).error().code, std::errc::host_unreachable);
    EXPECT_FALSE(space_.netlink().interface("tap0")) << "persistent: " << persist;
  }
}

TEST_F(TapLinkTest, ADeviceThatIsNotToBeUpHasItsAddressAndIsDown) {
  TapOptions options = in(where_, "tap0");
  options.up = false;
  options.addresses = {*Cidr::parse("198.18.0.7/24")};
  const auto link = TapLink::open(options);
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_FALSE(space_.netlink().interface("tap0")->is_up());
  const std::string addresses = run(space_, {"ip", "addr", "show", "dev", "tap0"}).output;
  EXPECT_NE(addresses.find("198.18.0.7/24"), std::string::npos) << addresses;
}

TEST_F(TapLinkTest, NamesADeviceThatAnotherLinkHolds) {
  const auto first = TapLink::open(in(where_, "tap0")).value();
  const auto second = TapLink::open(in(where_, "tap0"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, std::errc::device_or_resource_busy);
  EXPECT_NE(second.error().message.find("tap0"), std::string::npos) << second.error().message;
  EXPECT_NE(second.error().message.find("another process is attached to it"), std::string::npos)
      << second.error().message;
}

TEST_F(TapLinkTest, SpreadsFlowsOverSeveralQueues) {
  auto links = TapLink::open_queues(in(where_, "tap0"), 4);
  ASSERT_TRUE(links) << links.error().message;
  ASSERT_EQ(links->size(), 4U);
  PacketPeer peer(space_, "tap0");
  const Bytes frame = make_frame(60, 1);
  const FrameView view(frame.data(), frame.size());
  for (TapLink& link : *links) EXPECT_EQ(link.send({&view, 1}).taken, 1U);
  std::size_t heard = 0;
  for (const Bytes& f : await_own(peer, 4)) heard += f == frame ? 1U : 0U;
  EXPECT_EQ(heard, 4U);
}

TEST_F(TapLinkTest, DropsWhileDownAndGoesOnWhenUp) {
  auto link = TapLink::open(in(where_, "tap0")).value();
  Netlink netlink = space_.netlink();
  const Bytes frame = make_frame(60, 1);
  const FrameView view(frame.data(), frame.size());
  ASSERT_TRUE(netlink.set_up("tap0", false));
  for (int i = 0; i < 3; ++i) {
    const SendResult r = link.send({&view, 1});
    EXPECT_EQ(r.taken, 1U);
    EXPECT_FALSE(r.error) << r.error.message();
  }
  FrameBatch batch;
  while (link.receive(batch).frames > 0) batch.clear();
  EXPECT_FALSE(link.receive(batch).error);
  EXPECT_EQ(link.counters().dropped_down, 3U);
  EXPECT_EQ(link.send(std::array{view, view}).taken, 2U);
  EXPECT_EQ(link.counters().dropped_down, 5U);
  EXPECT_EQ(link.counters().sent_frames, 0U);

  ASSERT_TRUE(netlink.set_up("tap0"));
  PacketPeer peer(space_, "tap0");
  EXPECT_EQ(link.send({&view, 1}).taken, 1U);
  EXPECT_EQ(link.counters().sent_frames, 1U);
  EXPECT_EQ(await_own(peer, 1), std::vector<Bytes>{frame});
  peer.send(frame);
  EXPECT_EQ(shmif::test::collect(link, 1), std::vector<Bytes>{frame});
}

TEST_F(TapLinkTest, DeletingTheDeviceWakesTheWaiterAndEndsTheLink) {
  auto link = TapLink::open(in(where_, "tap0")).value();
  FrameBatch batch(64, 1 << 20);
  while (link.receive(batch).frames > 0) batch.clear();
  std::jthread remover([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (void)space_.netlink().remove("tap0");
  });
  ReceiveResult r;
  for (int i = 0; i < 1000 && !r.error; ++i) {
    ASSERT_TRUE(wait_for(link, std::chrono::seconds(10)));
    batch.clear();
    r = link.receive(batch);
  }
  EXPECT_EQ(r.error, Errc::link_ended);
}

TEST_F(TapLinkTest, AdoptsNoDeviceOfAnotherKindAndNamesIt) {
  const auto link = TapLink::adopt(handed(IFF_TUN | IFF_NO_PI));
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, Errc::bad_argument);
  EXPECT_NE(link.error().message.find("\"handed\""), std::string::npos) << link.error().message;
}

TEST_F(TapLinkTest, TakesItsLongestFrameWhateverItsMtu) {
  TapLink link = TapLink::open(in(where_, "tap0")).value();
  const std::vector<Bytes> frames{make_frame(link.max_frame_bytes(), 1),
                                  make_frame(link.max_frame_bytes() + 1, 2)};
  const SendResult sent = link.send(shmif::test::views(frames));
  EXPECT_EQ(sent.taken, 1U);
  EXPECT_EQ(sent.error, Errc::frame_too_long);
  EXPECT_EQ(link.counters().sent_bytes, link.max_frame_bytes());
}

TEST_F(TapLinkTest, RefusesADeviceWithFourBytesBeforeEachFrameEachTimeThatItIsAdopted) {
  const UniqueFd keeps = handed(IFF_TAP);
  ASSERT_EQ(::ioctl(keeps.get(), TUNSETPERSIST, 1UL), 0);
  for (int i = 0; i < 2; ++i) {
    const auto link = TapLink::adopt(UniqueFd(::fcntl(keeps.get(), F_DUPFD_CLOEXEC, 0)));
    ASSERT_FALSE(link) << i;
    EXPECT_EQ(link.error().code, Errc::bad_argument);
    EXPECT_EQ(link.error().message,
              "the device \"handed\" must be a TAP device opened with IFF_NO_PI");
  }
}

/// A filter decides which frames of the host the program sees.
TEST_F(TapLinkTest, LeavesTheFilterOfADeviceThatItAdopts) {
  UniqueFd device = handed(IFF_TAP | IFF_NO_PI);
  std::array<sock_filter, 2> nothing{{BPF_STMT(BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_RET | BPF_A, 0)}};
  sock_fprog filter{nothing.size(), nothing.data()};
  ASSERT_EQ(::ioctl(device.get(), TUNATTACHFILTER, &filter), 0);
  const int fd = device.get();
  const auto link = TapLink::adopt(std::move(device));
  ASSERT_TRUE(link) << link.error().message;
  sock_fprog now{};
  ASSERT_EQ(::ioctl(fd, TUNGETFILTER, &now), 0);
  EXPECT_EQ(now.len, filter.len);
}

TEST_F(TapLinkTest, AdoptsADescriptorThatSomebodyElseOpened) {
  auto link = TapLink::adopt(handed(IFF_TAP | IFF_NO_PI));
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ(link->address(), "tap:handed");
  FrameBatch batch;
  EXPECT_FALSE(link->receive(batch).error) << "and it does not block";
}

TEST(TapAdopt, RefusesADescriptorThatIsNoTapDevice) {
  EXPECT_EQ(TapLink::adopt(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))).error().code,
            Errc::bad_argument);
  EXPECT_EQ(TapLink::adopt(UniqueFd()).error().code, Errc::bad_argument);
}

}  // namespace
}  // namespace shmif::tap::test
