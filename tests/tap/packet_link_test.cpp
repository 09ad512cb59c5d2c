#include "tap/packet_link.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tap/netlink.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/tap/packet_peer.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::collect;
using shmif::test::is_suite_frame;
using shmif::test::make_frame;
using shmif::test::wait_for;

/// A veth cable: the link's end "v0" in one namespace, the other host's "v1" in another.
struct Cable {
  TestNamespace here;
  TestNamespace there;

  explicit Cable(std::uint32_t mtu = 1500) {
    const NetNamespace peer = there.space();
    Netlink a = here.netlink();
    a.add_veth("v0", "v1", &peer).value();
    Netlink b = there.netlink();
    a.disable_ipv6("v0").value();
    a.set_mtu("v0", mtu).value();
    b.set_mtu("v1", mtu).value();
    a.set_up("v0").value();
    b.set_up("v1").value();
    a.wait_for_carrier("v0", std::chrono::seconds(30)).value();
  }
  PacketLink open(const std::string& name = "v0") const {
    const NetNamespace where = here.space();
    return PacketLink::open(name, {.promiscuous = true, .where = &where}).value();
  }
};

/// The cable and the link, made before the peer at the other end.
struct CableAndLink {
  explicit CableAndLink(std::uint32_t mtu) : cable(mtu), link_to(cable.open()) {}
  Cable cable;
  PacketLink link_to;
};

template <std::uint32_t kMtu>
class PacketRig : CableAndLink, public DeviceRig<kMtu> {
 public:
  static std::string unavailable() { return no_namespaces_because(); }

  PacketRig() : CableAndLink(kMtu), DeviceRig<kMtu>(cable.there, "v1") {}
  PacketLink& link() { return link_to; }
  void end() { cable.here.netlink().remove("v0").value(); }
};

}  // namespace
}  // namespace shmif::tap::test

namespace shmif::test {
using PacketRigs =
    testing::Types<shmif::tap::test::PacketRig<1500>, shmif::tap::test::PacketRig<9000>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Packet, LinkConformance, PacketRigs);
}  // namespace shmif::test

namespace shmif::tap::test {
namespace {

class PacketLinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(PacketLinkTest, HearsTagsAndFramesToOthers) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  std::vector<Bytes> frames;
  for (unsigned tags = 0; tags <= 2; ++tags) {
    frames.push_back(make_frame(300, tags, tags));
    frames.back()[0] = std::byte{0x02};  // unicast, to nobody here
  }
  for (const Bytes& f : frames) peer.send(f);
  EXPECT_TRUE(shmif::test::same_frames(frames, collect(link, frames.size())));
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
}

TEST_F(PacketLinkTest, DoesNotHearWhatItsOwnHostSends) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer host(cable.here, "v0");
  PacketPeer peer(cable.there, "v1");
  host.send(make_frame(60, 1));
  peer.send(make_frame(60, 2));
  EXPECT_EQ(collect(link, 1), std::vector<Bytes>{make_frame(60, 2)});
}

TEST_F(PacketLinkTest, DropsWhileDownAndGoesOnWhenUp) {
  const Cable cable;
  PacketLink link = cable.open();
  Netlink netlink = cable.here.netlink();
  const Bytes frame = make_frame(60, 1);
  const FrameView view(frame.data(), frame.size());
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(netlink.set_up("v0", false));
    const DeviceCounters before = link.counters();
    for (int i = 0; i < 3; ++i) {
      const SendResult r = link.send({&view, 1});
      EXPECT_EQ(r.taken, 1U);
      EXPECT_FALSE(r.error) << r.error.message();
    }
    FrameBatch batch;
    while (link.receive(batch).frames > 0) batch.clear();
    EXPECT_FALSE(link.receive(batch).error);
    EXPECT_EQ(link.counters().dropped_down, before.dropped_down + 3);

    ASSERT_TRUE(netlink.set_up("v0"));
    ASSERT_TRUE(netlink.wait_for_carrier("v0", std::chrono::seconds(30)));
    PacketPeer peer(cable.there, "v1");
    EXPECT_EQ(link.send({&view, 1}).taken, 1U);
    EXPECT_EQ(link.counters().sent_frames, before.sent_frames + 1);
    EXPECT_EQ(await_own(peer, 1), std::vector<Bytes>{frame});
    peer.send(frame);
    EXPECT_EQ(collect(link, 1), std::vector<Bytes>{frame});
  }
}

TEST_F(PacketLinkTest, EndsWhenTheInterfaceMovesToAnotherNamespace) {
  const Cable cable;
  PacketLink link = cable.open();
  std::jthread mover([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (void)cable.here.netlink().move_to("v0", cable.there.space());
  });
  FrameBatch batch;
  ReceiveResult r;
  for (int i = 0; i < 1000 && !r.error; ++i) {
    ASSERT_TRUE(wait_for(link, std::chrono::seconds(10)));
    batch.clear();
    r = link.receive(batch);
  }
  EXPECT_EQ(r.error, Errc::link_ended);
}

TEST_F(PacketLinkTest, FollowsAChangeOfTheMtu) {
  const Cable cable;
  PacketLink link = cable.open();
  EXPECT_EQ(link.max_frame_bytes(), 1518U);
  const Bytes frame = make_frame(4014, 1);
  const FrameView view(frame.data(), frame.size());
  EXPECT_EQ(link.send({&view, 1}).error, Errc::frame_too_long);
  ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 4000));
  ASSERT_TRUE(cable.there.netlink().set_mtu("v1", 4000));
  PacketPeer peer(cable.there, "v1");
  EXPECT_EQ(link.send({&view, 1}).taken, 1U);
  EXPECT_EQ(await_own(peer, 1), std::vector<Bytes>{frame});
}

TEST_F(PacketLinkTest, ReportsWhatItsSocketMissed) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  const Bytes frame = make_frame(1514, 1);
  constexpr std::uint64_t kSent = 40000;
  for (std::uint64_t i = 0; i < kSent; ++i) peer.send(frame);
  std::uint64_t got = 0;
  std::uint64_t lost = 0;
  FrameBatch batch;
  const auto drain = [&](std::chrono::milliseconds patience) {
    for (batch.clear(); got + lost < kSent + 1 && wait_for(link, patience); batch.clear()) {
      lost += link.receive(batch).lost;
      for (const FrameView& f : batch.frames()) got += is_suite_frame(f) ? 1U : 0U;
    }
  };
  drain(std::chrono::milliseconds(200));
  peer.send(frame);  // what was missed is told with the next frame that was not
  drain(std::chrono::seconds(20));
  EXPECT_GT(lost, 0U) << "the test must overflow the socket";
  EXPECT_GE(got + lost, kSent + 1);  // more: the neighbour's own traffic may be among the lost
  EXPECT_EQ(link.counters().missed, lost);
}

TEST_F(PacketLinkTest, RefusesWhatCannotBeOnABus) {
  const Cable cable;
  const NetNamespace where = cable.here.space();
  const PacketOptions options{.promiscuous = true, .where = &where};
  EXPECT_EQ(PacketLink::open("nosuch0", options).error().code, std::errc::no_such_device);
  EXPECT_EQ(PacketLink::open("", options).error().code, Errc::bad_argument);
  EXPECT_EQ(PacketLink::open("lo", options).error().code, Errc::not_supported);
  EXPECT_EQ(PacketLink::adopt(UniqueFd()).error().code, Errc::bad_argument);
  EXPECT_EQ(PacketLink::adopt(UniqueFd(::socket(AF_INET, SOCK_DGRAM, 0))).error().code,
            Errc::bad_argument);
  EXPECT_EQ(PacketLink::adopt(UniqueFd(::socket(AF_PACKET, SOCK_RAW, 0))).error().code,
            Errc::bad_argument);
}

/// Real super-frames: the other host's own TCP, with all its offloads, talks to a listener of ours.
/// The checksums of what arrives are checked by tests/tap/offload_test.cpp's rules, done again
/// here.
bool ipv4_checksums_hold(const FrameView& f) {
  const auto* p = reinterpret_cast<const unsigned char*>(f.bytes.data());
  const auto sum = [](const unsigned char* b, std::size_t n, unsigned start) {
    for (std::size_t i = 0; i < n; i += 2)
      start += static_cast<unsigned>(b[i] << 8 | (i + 1 < n ? b[i + 1] : 0));
    while (start >> 16U != 0) start = (start & 0xffffU) + (start >> 16U);
    return start;
  };
  const std::size_t l4 = static_cast<std::size_t>(p[14] & 15) * 4 + 14;
  const auto total = static_cast<std::size_t>(p[16] << 8 | p[17]) + 14;
  const unsigned pseudo = sum(p + 26, 8, p[23] + static_cast<unsigned>(total - l4));
  return sum(p + 14, l4 - 14, 0) == 0xffff && sum(p + l4, total - l4, pseudo) == 0xffff;
}

TEST_F(PacketLinkTest, CutsTheSuperFramesOfARealHostIntoValidFrames) {
  const Cable cable;
  PacketLink link = cable.open();
  ASSERT_TRUE(cable.there.netlink().add_address("v1", *Cidr::parse("198.18.0.2/24")));
  // UDP with UDP_SEGMENT makes a super-frame in one call, without anybody who answers.
  ASSERT_EQ(run(cable.there,
                {"ip", "neigh", "add", "198.18.0.1", "lladdr", "02:00:00:00:00:01", "dev", "v1"})
                .status,
            0);
  constexpr std::size_t kPayload = 40000;
  constexpr int kSegment = 1400;
  {
    const Inside inside(cable.there);
    const UniqueFd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::setsockopt(udp.get(), 17, 103 /* UDP_SEGMENT */, &kSegment, sizeof kSegment), 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = htonl(0xc6120001);
    const Bytes payload(kPayload, std::byte{0x5a});
    ASSERT_EQ(::sendto(udp.get(), payload.data(), payload.size(), 0,
                       reinterpret_cast<const sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(kPayload));
  }
  std::size_t carried = 0;
  FrameBatch batch(5);  // so that a super-frame is cut over several receives
  while (carried < kPayload && wait_for(link, std::chrono::seconds(5))) {
    batch.clear();
    ASSERT_FALSE(link.receive(batch).error);
    for (const FrameView& f : batch.frames()) {
      if (f.bytes[12] != std::byte{8} || f.bytes[13] != std::byte{0} ||
          f.bytes[23] != std::byte{17})
        continue;
      EXPECT_LE(f.size(), 1514U);
      EXPECT_TRUE(ipv4_checksums_hold(f));
      carried += f.size() - 42;
    }
  }
  EXPECT_EQ(carried, kPayload);
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
}

}  // namespace
}  // namespace shmif::tap::test
