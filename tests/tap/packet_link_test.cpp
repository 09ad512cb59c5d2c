#include "tap/packet_link.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "tap/device_settings.hpp"
#include "tap/netlink.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/debug_lines.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/packet_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::collect;
using shmif::test::is_suite_frame;
using shmif::test::make_frame;
using shmif::test::same_frames;
using shmif::test::views;
using shmif::test::wait_for;

/// The cable and the link, made before the peer at the other end.
struct CableAndLink {
  CableAndLink(std::uint32_t mtu, bool offload) : cable(mtu), link_to(cable.open(offload)) {}
  Cable cable;
  PacketLink link_to;
};

template <std::uint32_t kMtu, bool kOffload = false>
class PacketRig : CableAndLink, public DeviceRig<kMtu> {
 public:
  static std::string unavailable() { return no_namespaces_because(); }

  PacketRig() : CableAndLink(kMtu, kOffload), DeviceRig<kMtu>(cable.there, "v1") {}
  PacketLink& link() { return link_to; }
  void end() { cable.here.netlink().remove("v0").value(); }
};

}  // namespace
}  // namespace shmif::tap::test

namespace shmif::test {
using PacketRigs =
    testing::Types<shmif::tap::test::PacketRig<1500>, shmif::tap::test::PacketRig<9000>,
                   shmif::tap::test::PacketRig<1500, true>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Packet, LinkConformance, PacketRigs);
}  // namespace shmif::test

namespace shmif::tap::test {
namespace {

using PacketLinkTest = PacketFixture;

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

TEST_F(PacketLinkTest, CountsFramesAndTheirBytesBothWays) {
  const Cable cable;
  PacketLink link = cable.open();
  PacketPeer peer(cable.there, "v1");
  expect_counts(link, peer);
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

TEST_F(PacketLinkTest, EndsWhenItsInterfaceIsDeletedThatWasDownAlready) {
  const Cable cable;
  PacketLink link = cable.open();
  Netlink netlink = cable.here.netlink();
  FrameBatch batch;
  const auto hear_all = [&] {
    std::error_code error;
    do {
      batch.clear();
      error = link.receive(batch).error;
    } while (!batch.empty());
    return error;
  };
  constexpr auto kForEver = std::chrono::nanoseconds::max();
  ASSERT_TRUE(netlink.set_up("v0", false));
  EXPECT_FALSE(hear_all());
  EXPECT_LT(link.prepare_wait().at_most, kForEver) << "nobody would tell it";
  ASSERT_TRUE(netlink.set_up("v0"));
  EXPECT_FALSE(hear_all());
  EXPECT_EQ(link.prepare_wait().at_most, kForEver);
  ASSERT_TRUE(netlink.set_up("v0", false));
  EXPECT_FALSE(hear_all());
  std::jthread remover([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (void)cable.here.netlink().remove("v0");
  });
  EXPECT_TRUE(shmif::test::wait_for(link, std::chrono::seconds(20)));
  EXPECT_EQ(hear_all(), Errc::link_ended);
}

TEST_F(PacketLinkTest, DropsAndCountsWorkThatMakesNoSense) {
  const Cable cable;
  PacketLink link = cable.open();
  const Bytes bytes = make_frame(60, 1);
  FrameView wrong(bytes.data(), bytes.size());
  wrong.offload.flags = Offload::kNeedsChecksum;
  wrong.offload.csum_start = 200;  // after the end of the frame
  const FrameView right(bytes.data(), bytes.size());
  const SendResult sent = link.send(std::array{wrong, right});
  EXPECT_EQ(sent.taken, 2U);
  EXPECT_FALSE(sent.error) << sent.error.message();
  EXPECT_EQ(link.counters().dropped_corrupt, 1U);
  EXPECT_EQ(link.counters().sent_frames, 1U);
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
  ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 3000));
  const SendResult less = link.send({&view, 1});
  EXPECT_EQ(less.taken, 0U);
  EXPECT_EQ(less.error, Errc::frame_too_long);
  EXPECT_EQ(link.max_frame_bytes(), 3018U);
  // Whoever asks first and sends then is told of more, too.
  ASSERT_TRUE(cable.here.netlink().set_mtu("v0", 4000));
  EXPECT_EQ(link.max_frame_bytes(), 4018U);
}

TEST_F(PacketLinkTest, HasRoomForABurst) {
  const Cable cable;
  PacketLink link = cable.open();
  for (const int room : {SO_RCVBUF, SO_SNDBUF}) {
    int bytes = 0;
    socklen_t size = sizeof bytes;
    ASSERT_EQ(::getsockopt(link.descriptor(), SOL_SOCKET, room, &bytes, &size), 0);
    EXPECT_GE(bytes, 8 << 20) << (room == SO_RCVBUF ? "to receive" : "to send");
  }
}

TEST_F(PacketLinkTest, HearsWhatIsForOthersOnlyWhereThatIsAskedFor) {
  const Cable cable;
  const NetNamespace where = cable.here.space();
  for (const bool promiscuous : {false, true}) {
    const auto link = PacketLink::open("v0", {.promiscuous = promiscuous, .where = &where});
    ASSERT_TRUE(link) << link.error().message;
    EXPECT_EQ(cable.here.netlink().interface("v0")->is_promiscuous(), promiscuous);
  }
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
    for (batch.clear(); got + lost < kSent + 2 && wait_for(link, patience); batch.clear()) {
      lost += link.receive(batch).lost;
      for (const FrameView& f : batch.frames()) got += is_suite_frame(f) ? 1U : 0U;
    }
  };
  drain(std::chrono::milliseconds(200));
  // What was missed is told with each later frame that was not, as a sum since the beginning.
  peer.send(frame);
  peer.send(frame);
  drain(std::chrono::seconds(20));
  EXPECT_GT(lost, 0U) << "the test must overflow the socket";
  EXPECT_GE(got + lost, kSent + 2);  // more: the neighbour's own traffic may be among the lost
  EXPECT_LE(got + lost, kSent + 1000) << "some were counted more than once";
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
  UniqueFd without_headers;
  {
    const Inside inside(cable.here);
    without_headers.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(ETH_P_ALL);
    to.sll_ifindex = static_cast<int>(::if_nametoindex("v0"));
    ASSERT_EQ(::bind(without_headers.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  EXPECT_EQ(PacketLink::adopt(std::move(without_headers)).error().code, Errc::bad_argument);
}

TEST_F(PacketLinkTest, CutsTheSuperFramesOfARealHostIntoValidFrames) {
  const Cable cable;
  PacketLink link = cable.open();
  constexpr std::size_t kPayload = 40000;
  send_udp(cable.there, "v1", kPayload, 1400);
  std::size_t carried = 0;
  FrameBatch batch(5);  // so that a super-frame is cut over several receives
  while (carried < kPayload && wait_for(link, std::chrono::seconds(5))) {
    batch.clear();
    ASSERT_FALSE(link.receive(batch).error);
    for (const FrameView& f : batch.frames()) {
      if (!is_udp(f)) continue;
      EXPECT_LE(f.size(), 1514U);
      EXPECT_TRUE(udp_checksums_hold(f));
      carried += f.size() - 42;
    }
  }
  if (carried == 0 && link.counters().dropped_corrupt == 1) {
    GTEST_SKIP() << "no super-frames of UDP from packet sockets here";
  }
  EXPECT_EQ(carried, kPayload);
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
}

/// A frame from kTaggedSource whose checksum, or segmentation too, is left to the device.
struct TaggedFrame {
  shmif::test::Shape shape;
  Bytes bytes;
  Offload offload;
};
const MacAddress kTaggedSource = *MacAddress::parse("02:00:00:00:77:77");

std::vector<TaggedFrame> unfinished_frames(unsigned tags, std::uint16_t gso_size) {
  std::vector<TaggedFrame> frames;
  for (const bool tcp : {false, true}) {
    // Before Linux 6.2 packet sockets cannot describe super-frames of UDP.
    if (!tcp && gso_size != 0) continue;
    for (const bool v6 : {false, true}) {
      const shmif::test::Shape shape{.v6 = v6, .tcp = tcp, .tags = tags};
      TaggedFrame made{shape,
                       shmif::test::build(shape, 3 * std::max<std::size_t>(gso_size, 100), 1),
                       shmif::test::header_for(shape, gso_size)};
      made.bytes[0] = std::byte{0x02};  // a unicast address that nobody here has
      const std::uint64_t from = kTaggedSource.to_u64();
      for (unsigned i = 0; i < 6; ++i)
        made.bytes[6 + i] = static_cast<std::byte>(from >> (40 - 8 * i));
      frames.push_back(std::move(made));
    }
  }
  return frames;
}

/// Lets a host send `frames` and leave all work to its device. Result: the `count` frames that
/// arrive at `link`.
std::vector<TaggedFrame> heard_from_host(const Cable& cable, PacketLink& link,
                                         const std::vector<TaggedFrame>& frames,
                                         std::size_t count) {
  const NetNamespace there = cable.there.space();
  PacketLink host = PacketLink::open("v1", {.where = &there}).value();
  for (const TaggedFrame& f : frames) {
    FrameView view(f.bytes.data(), f.bytes.size());
    view.offload = f.offload;
    EXPECT_EQ(host.send({&view, 1}).taken, 1U);
  }
  EXPECT_EQ(host.counters().dropped_corrupt, 0U) << "the kernel refused one";
  std::vector<TaggedFrame> heard;
  FrameBatch batch;
  while (heard.size() < count && wait_for(link, std::chrono::seconds(10))) {
    batch.clear();
    EXPECT_FALSE(link.receive(batch).error);
    for (const FrameView& f : batch.frames()) {
      if (f.source() != kTaggedSource) continue;
      heard.push_back({{}, Bytes(f.bytes.begin(), f.bytes.end()), f.offload});
    }
  }
  EXPECT_EQ(heard.size(), count);
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
  heard.resize(count);
  return heard;
}

// The kernel removes the outer tag from a frame. The offsets that it tells are those without it.

TEST_F(PacketLinkTest, FinishesTheChecksumOfATaggedFrameWhereItIs) {
  const Cable cable;
  PacketLink link = cable.open();
  for (unsigned tags = 0; tags <= 2; ++tags) {
    const auto sent = unfinished_frames(tags, 0);
    const auto heard = heard_from_host(cable, link, sent, sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) {
      SCOPED_TRACE(std::to_string(tags) + " tags, frame " + std::to_string(i));
      EXPECT_EQ(heard[i].bytes.size(), sent[i].bytes.size());
      EXPECT_TRUE(transport_checksum_holds(sent[i].shape, heard[i].bytes));
      EXPECT_FALSE(heard[i].offload.pending());
    }
  }
}

TEST_F(PacketLinkTest, CutsTaggedSuperFramesIntoValidFrames) {
  const Cable cable;
  PacketLink link = cable.open();
  for (unsigned tags = 0; tags <= 1; ++tags) {
    const auto sent = unfinished_frames(tags, 1000);
    const auto heard = heard_from_host(cable, link, sent, 3 * sent.size());
    for (std::size_t i = 0; i < heard.size(); ++i) {
      SCOPED_TRACE(std::to_string(tags) + " tags, frame " + std::to_string(i));
      const shmif::test::Shape& shape = sent[i / 3].shape;
      EXPECT_EQ(heard[i].bytes.size(), shape.payload() + 1000);
      EXPECT_TRUE(transport_checksum_holds(shape, heard[i].bytes));
      EXPECT_TRUE(header_checksum_holds(shape, heard[i].bytes));
    }
  }
}

TEST_F(PacketLinkTest, LeavesTheChecksumOfATaggedFrameToWhoAsksForThatAndSaysWhereItIs) {
  const Cable cable;
  const NetNamespace where = cable.here.space();
  PacketLink link =
      PacketLink::open("v0", {.promiscuous = true, .where = &where, .offload = true}).value();
  for (unsigned tags = 0; tags <= 1; ++tags) {
    for (const std::uint16_t gso_size : {std::uint16_t{0}, std::uint16_t{1000}}) {
      const auto sent = unfinished_frames(tags, gso_size);
      const auto heard = heard_from_host(cable, link, sent, sent.size());
      for (std::size_t i = 0; i < sent.size(); ++i) {
        SCOPED_TRACE(std::to_string(tags) + " tags, frame " + std::to_string(i));
        if (!sent[i].shape.tcp) {  // a small datagram: the host's link has finished it
          EXPECT_FALSE(heard[i].offload.pending());
          EXPECT_TRUE(transport_checksum_holds(sent[i].shape, heard[i].bytes));
          continue;
        }
        EXPECT_EQ(heard[i].bytes, sent[i].bytes);
        EXPECT_TRUE(heard[i].offload.needs_checksum());
        EXPECT_EQ(heard[i].offload.csum_start, sent[i].offload.csum_start);
        EXPECT_EQ(heard[i].offload.csum_offset, sent[i].offload.csum_offset);
        EXPECT_EQ(heard[i].offload.gso_type, sent[i].offload.gso_type);
        EXPECT_EQ(heard[i].offload.gso_size, gso_size);
      }
    }
  }
}

TEST(PacketLinkUnprivileged, WorksInANamespaceThatAnOrdinaryUserMade) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 &&
        (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0)) {
      ::_exit(70);
    }
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) ::_exit(77);
    const int verdict = [] {
      auto netlink = Netlink::open();
      if (!netlink || !netlink->add_veth("v0", "v1")) return 1;
      if (!netlink->disable_ipv6("v0") || !netlink->disable_ipv6("v1")) return 2;
      if (!netlink->disable_offloads("v1")) return 3;
      if (!netlink->set_up("v0") || !netlink->set_up("v1")) return 4;
      if (!netlink->wait_for_carrier("v0", std::chrono::seconds(30))) return 5;
      auto a = PacketLink::open("v0");
      auto b = PacketLink::open("v1");
      if (!a || !b) return 6;
      const Bytes frame = make_frame(1514, 1, 1);
      const FrameView view(frame.data(), frame.size());
      for (int round = 0; round < 10; ++round) {
        if (a->send({&view, 1}).taken != 1) return 7;
        if (shmif::test::collect(*b, 1) != std::vector<Bytes>{frame}) return 8;
      }
      return 0;
    }();
    ::_exit(verdict);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << shmif::test::kNoUserNamespaces;
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// What a packet link keeps from one frame to the next, and what it does where its interface takes
// nothing.

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
