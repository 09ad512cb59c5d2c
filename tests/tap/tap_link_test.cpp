#include "tap/tap_link.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tap/netlink.hpp"
#include "tap/tap_keeper.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/tap/packet_rig.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::become_ordinary;
using shmif::test::make_frame;
using shmif::test::own_dev_net;
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

using TapLinkErrors = TapFixture;

constexpr int kForbidden = 77;

/// Runs `body` in a forked child, which may change what it likes about itself.
/// Result: what it returned, 0 to 100; 102 when it died.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
}

/// What a process finds at /dev/net/tun, who it is, and what it is told.
struct Case {
  const char* what;
  std::function<bool()> prepare;  ///< false: that may not be done here
  bool has_device;
  std::errc code;
  std::vector<const char*> words;
};

TEST_F(TapLinkErrors, SayWhatToDo) {
  const auto sandboxed = [](bool plain) {
    if (!own_dev_net(std::nullopt)) return false;
    if (plain) return static_cast<bool>(std::ofstream("/dev/net/tun") << "");
    return ::mknod("/dev/net/tun", S_IFCHR | 0666, ::makedev(1, 3)) == 0;
  };
  const std::vector<const char*> none{"/dev/net/tun, which is not the TUN device", "modprobe tun",
                                      "into the container"};
  for (const Case& each :
       {Case{"missing",
             [] { return own_dev_net(std::nullopt); },
             false,
             std::errc::no_such_file_or_directory,
             {"/dev/net/tun", "modprobe tun"}},
        Case{"a file", [&] { return sandboxed(true); }, false, std::errc::no_such_device, none},
        Case{"/dev/null", [&] { return sandboxed(false); }, false, std::errc::no_such_device, none},
        Case{"closed",
             [] { return own_dev_net(0600) && become_ordinary(); },
             false,
             std::errc::permission_denied,
             {"/dev/net/tun", "become root"}},
        Case{"without rights",
             [] { return own_dev_net(0666) && become_ordinary(); },
             true,
             std::errc::operation_not_permitted,
             {"tap9", "CAP_NET_ADMIN", "shmifctl exec"}}}) {
    const int verdict = in_child([&] {
      if (!each.prepare()) return kForbidden;
      if (static_cast<bool>(check_tun_device()) != each.has_device) return 2;
      TapOptions options;
      options.name = "tap9";
      const auto link = TapLink::open(options);
      if (link || link.error().code != each.code) return 3;
      for (const char* const word : each.words)
        if (link.error().message.find(word) == std::string::npos) return 4;
      return 0;
    });
    if (verdict == kForbidden) GTEST_SKIP() << shmif::test::kNoUserNamespaces;
    EXPECT_EQ(verdict, 0) << each.what << ": 2 the device, 3 the code, 4 the words";
  }
}

TEST_F(TapLinkErrors, AnOrdinaryUserPutsADeviceIntoAContainerOfTheirsThatAlreadyRuns) {
  const int verdict = in_child([] {
    if (!own_dev_net(0666) || !become_ordinary()) return kForbidden;
    std::array<int, 2> ready{};
    if (::pipe(ready.data()) != 0) return 2;
    const pid_t container = ::fork();
    if (container == 0) {
      char answer = ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 'y' : 'n';
      (void)!::write(ready[1], &answer, 1);
      for (;;) ::pause();  // runs until killed
    }
    char answer = 'n';
    (void)!::read(ready[0], &answer, 1);
    const int outcome = [&] {
      if (answer != 'y') return kForbidden;
      const auto where = NetNamespace::parse(std::to_string(container));
      if (!where) return 3;
      TapOptions options = in(*where, "tap0");
      options.addresses = {*Cidr::parse("198.18.0.7/24")};
      const auto link = TapLink::open(options);
      if (!link) return 4;
      const auto netlink = Netlink::open(*where);
      if (!netlink) return 5;
      const auto there = netlink->interface("tap0");
      return there && there->has_carrier() ? 0 : 6;
    }();
    ::kill(container, SIGKILL);
    ::waitpid(container, nullptr, 0);
    return outcome;
  });
  if (verdict == kForbidden) {
    GTEST_SKIP() << shmif::test::kNoUserNamespaces;
  }
  EXPECT_EQ(verdict, 0);
}

// Devices and queues that had somebody else's settings before, and those that are full.

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
