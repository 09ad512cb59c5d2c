// The interfaces of a guest, as they are made in its network namespace.

#include "tap/guest/net.hpp"

#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "tap/guest/guest.hpp"
#include "tap/guest/port.hpp"
#include "tap/upkeep.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/watch_rig.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

/// A guest's network namespace, which the test is in.
class GuestNetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
    inside_.emplace(space_);
  }
  static GuestInterface named(const std::string& name, const std::string& address = {}) {
    GuestInterface made;
    made.name = name;
    if (!address.empty()) made.addresses.push_back(Cidr::parse(address).value());
    return made;
  }
  GuestNet make() const { return GuestNet::make(options_).value(); }
  Interface now(const std::string& name) const { return netlink().interface(name).value(); }
  static Netlink netlink() { return Netlink::open().value(); }
  std::string ip(const std::string& words) const {
    const Outcome done = run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip " + words});
    EXPECT_EQ(done.status, 0) << words << ": " << done.output;
    return done.output;
  }
  /// The addresses of that interface without those that the kernel made, in its order.
  static std::string addresses(const std::string& name) {
    std::string text;
    const std::vector<AddressedInterface> all = netlink().interfaces().value();
    for (const AddressedInterface& each : all) {
      if (each.name != name) continue;
      for (const Cidr& address : each.addresses) {
        const std::string one = address.to_string();
        if (!one.starts_with("fe80:")) text += one + ' ';
      }
    }
    return text;
  }
  static std::string setting(const std::string& path) {
    std::ifstream file("/proc/sys/net/" + path);
    std::string text;
    std::getline(file, text);
    return text;
  }
  static short tap_flags(const GuestEnd& end) {
    ifreq request{};
    EXPECT_EQ(::ioctl(end.descriptor.get(), TUNGETIFF, &request), 0);
    return request.ifr_flags;
  }
  /// Of the interface with that name where our end of it is.
  static int mtu_there(const GuestEnd& end, const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    EXPECT_EQ(::ioctl(end.descriptor.get(), SIOCGIFMTU, &request), 0);
    return request.ifr_mtu;
  }

  const TestNamespace space_;
  std::optional<Inside> inside_;
  GuestOptions options_;
};

TEST_F(GuestNetTest, GivesEachInterfaceWhatItWasToHave) {
  for (const Via via : {Via::tap, Via::veth}) {
    const std::string first = via == Via::tap ? "tap0" : "veth0";
    const std::string second = via == Via::tap ? "tap1" : "veth1";
    options_ = {};
    options_.via = via;
    GuestInterface one = named(first, "198.18.0.1/24");
    one.addresses.push_back(Cidr::parse("fd00::1/64").value());
    one.gateways.push_back(*IpAddress::parse("198.18.0.254"));
    one.gateways.push_back(*IpAddress::parse("fd00::ff"));
    one.mac = kFirst;
    one.mtu = 1400;
    GuestInterface two = named(second, "198.18.1.1/24");
    two.mtu = 1300;
    options_.interfaces = {one, two};
    GuestNet net = make();
    ASSERT_EQ(net.ends().size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
      const GuestInterface& wanted = options_.interfaces[i];
      const GuestEnd& end = net.ends()[i];
      const Interface made = now(wanted.name);
      EXPECT_EQ(end.index, made.index);
      EXPECT_EQ(end.kind, via == Via::tap ? LinkKind::tap : LinkKind::veth);
      EXPECT_EQ(end.mac, made.mac);
      EXPECT_EQ(made.mtu, wanted.mtu);
      EXPECT_TRUE(made.has_carrier());
      EXPECT_FALSE(made.is_promiscuous());
      if (via == Via::veth) {
        EXPECT_EQ(mtu_there(end, wanted.name), static_cast<int>(wanted.mtu) + 4) << "and a tag";
      }
    }
    EXPECT_EQ(net.ends()[0].mac, kFirst);
    EXPECT_EQ(net.ends()[1].mac.to_string().substr(0, 6), "b2:a0:");
    EXPECT_EQ(addresses(first), "198.18.0.1/24 fd00::1/64 ");
    EXPECT_EQ(addresses(second), "198.18.1.1/24 ");
    EXPECT_TRUE(ip("route show default").starts_with("default via 198.18.0.254 dev " + first));
    EXPECT_TRUE(ip("-6 route show default").starts_with("default via fd00::ff dev " + first));
    EXPECT_TRUE(now("lo").is_up());
    const auto given = net.given().value();
    ASSERT_EQ(given.size(), 2U);
    EXPECT_EQ(given[0].index, now(first).index);
    EXPECT_EQ(given[0].addresses, one.addresses);
    EXPECT_EQ(given[0].gateways, one.gateways);
    EXPECT_EQ(given[1].index, now(second).index);
    EXPECT_EQ(given[1].addresses, two.addresses);
    EXPECT_TRUE(given[1].gateways.empty());
    if (via == Via::veth) ip("link del " + first + " && ip link del " + second);
  }
}

TEST_F(GuestNetTest, GivesTheMacAddressThatComesLaterToWhomItIsFor) {
  for (const Via via : {Via::tap, Via::veth}) {
    options_ = {};
    options_.via = via;
    options_.interfaces = {named("one0", "198.18.0.1/24"), named("two0", "198.18.1.1/24"),
                           named("three0", "fd00::3/64")};
    options_.interfaces[0].mac_comes_later = true;
    options_.interfaces[0].gateways.push_back(*IpAddress::parse("198.18.0.254"));
    options_.interfaces[1].mac = kFirst;
    options_.interfaces[2].mac_comes_later = true;
    GuestNet net = make();
    EXPECT_FALSE(now("one0").is_up());
    EXPECT_TRUE(now("two0").has_carrier());
    EXPECT_FALSE(now("three0").is_up());
    EXPECT_EQ(net.ends()[0].mac, MacAddress());
    const MacAddress third = *MacAddress::parse("02:00:00:00:00:03");
    ASSERT_TRUE(net.set_up(std::vector<MacAddress>{kSecond, third, third}));
    EXPECT_EQ(now("one0").mac, kSecond);
    EXPECT_EQ(now("two0").mac, kFirst) << "it has its own";
    EXPECT_EQ(now("three0").mac, third);
    EXPECT_EQ(net.ends()[0].mac, kSecond);
    EXPECT_EQ(net.ends()[1].mac, kFirst);
    EXPECT_EQ(net.ends()[2].mac, third);
    EXPECT_TRUE(now("one0").has_carrier());
    EXPECT_TRUE(now("three0").has_carrier());
    EXPECT_EQ(addresses("one0"), "198.18.0.1/24 ");
    EXPECT_EQ(addresses("three0"), "fd00::3/64 ");
    EXPECT_TRUE(ip("route show default").starts_with("default via 198.18.0.254 dev one0"));
    for (const char* const name : {"one0", "two0", "three0"})
      if (via == Via::veth) ip(std::string("link del ") + name);
  }
}

TEST_F(GuestNetTest, PutsAddressesOnTheBridgeAndTheTapsOfProgramsIntoIt) {
  for (const Via via : {Via::tap, Via::veth}) {
    options_ = {};
    options_.via = via;
    GuestInterface wanted = named("port0", "198.18.0.1/24");
    wanted.addresses.push_back(Cidr::parse("fd00::1/64").value());
    wanted.gateways.push_back(*IpAddress::parse("198.18.0.254"));
    wanted.mac = kFirst;
    wanted.mtu = 1400;
    wanted.lan = GuestLan{.bridge = "lan0", .taps = {"vm0", "vm1"}};
    options_.interfaces = {wanted};
    GuestNet net = make();
    const unsigned bridge = now("lan0").index;
    EXPECT_EQ(now("lan0").mac, kFirst);
    EXPECT_EQ(now("lan0").mtu, 1400U);
    EXPECT_TRUE(now("lan0").has_carrier());
    EXPECT_EQ(now("port0").mac, kFirst);
    EXPECT_EQ(net.ends()[0].index, now("port0").index) << "what is watched";
    EXPECT_EQ(addresses("lan0"), "198.18.0.1/24 fd00::1/64 ");
    EXPECT_TRUE(ip("route show default").starts_with("default via 198.18.0.254 dev lan0"));
    const auto given = net.given().value();
    ASSERT_EQ(given.size(), 1U);
    EXPECT_EQ(given[0].index, bridge);
    const std::string members = ip("-o link show master lan0");
    for (const std::string name : {"port0", "vm0", "vm1"}) {
      EXPECT_NE(members.find(' ' + name), std::string::npos) << members;
      EXPECT_EQ(addresses(name), "") << name;
      EXPECT_EQ(now(name).mtu, 1400U) << name;
      EXPECT_TRUE(now(name).is_up()) << name;
      EXPECT_EQ(ip("-6 -o addr show dev " + name), "") << name << " would speak by itself";
      EXPECT_EQ(setting("ipv6/conf/" + name + "/disable_ipv6"), "1") << name << " later, too";
    }
    EXPECT_FALSE(now("vm0").has_carrier()) << "nobody has attached to it, and it stayed";
    for (const char* const name : {"lan0", "vm0", "vm1"}) ip(std::string("link del ") + name);
    if (via == Via::veth) ip("link del port0");
  }
}

TEST_F(GuestNetTest, LeavesWorkToTheOtherEndOnlyWhereThatWasAskedFor) {
  options_.via = Via::tap;
  options_.interfaces = {named("plain0"), named("off0")};
  options_.interfaces[1].offload = true;
  GuestNet net = make();
  EXPECT_EQ(tap_flags(net.ends()[0]) & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), IFF_TAP | IFF_NO_PI);
  EXPECT_EQ(tap_flags(net.ends()[1]) & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR),
            IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  EXPECT_TRUE(net.given().value().empty()) << "neither has been given anything";
}

TEST_F(GuestNetTest, TakesAVethPairOnlyWhereNoTapIsToBeHadOrThatWasAskedFor) {
  options_.interfaces = {named("any0")};
  EXPECT_EQ(make().ends()[0].kind, LinkKind::tap);
  options_.tun_device = "/nonexistent/tun";
  {
    GuestNet net = make();
    EXPECT_EQ(net.ends()[0].kind, LinkKind::veth);
    ip("link del any0");
  }
  options_.via = Via::tap;
  const auto refused = GuestNet::make(options_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::not_supported);
  EXPECT_NE(refused.error().message.find("cannot make a TAP device with /nonexistent/tun: "),
            std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("a veth pair needs no device node"), std::string::npos);
  options_.via = Via::any;
  options_.interfaces = {named("lo")};
  const auto both = GuestNet::make(options_);
  ASSERT_FALSE(both);
  EXPECT_NE(both.error().message.find("; cannot make a TAP device with /nonexistent/tun"),
            std::string::npos)
      << "why there is no TAP device either: " << both.error().message;
}

TEST_F(GuestNetTest, SaysWhatTheKernelRefuses) {
  for (const Via via : {Via::tap, Via::veth}) {
    const auto refusal = [&](const GuestInterface& wanted) {
      options_ = {};
      options_.via = via;
      options_.interfaces = {wanted};
      const auto made = GuestNet::make(options_);
      const std::string why = made ? "nothing" : made.error().message;
      if (via == Via::veth) run(space_, {"sh", "-c", "PATH=$PATH:/sbin ip link del some0"});
      run(space_, {"sh", "-c", "PATH=$PATH:/sbin ip link del lan0"});
      return why;
    };
    const auto names = [&](const GuestInterface& wanted, const std::string& what) {
      const std::string why = refusal(wanted);
      EXPECT_NE(why.find(what), std::string::npos) << what << ": " << why;
    };
    GuestInterface some = named("some0", "198.18.0.1/24");
    EXPECT_EQ(refusal(some), "nothing");
    GuestInterface wrong = some;
    wrong.addresses.push_back(some.addresses[0]);
    names(wrong, "198.18.0.1/24");
    wrong = some;
    wrong.gateways.push_back(*IpAddress::parse("198.18.9.1"));
    names(wrong, "198.18.9.1");
    wrong = some;
    wrong.mac = *MacAddress::parse("01:00:00:00:00:01");
    names(wrong, "01:00:00:00:00:01");
    wrong = some;
    wrong.mtu = 1'000'000;
    names(wrong, "cannot set the MTU");
    wrong = some;
    wrong.lan = GuestLan{.bridge = "lo", .taps = {}};
    names(wrong, "\"lo\"");
    wrong.lan = GuestLan{.bridge = "lan0", .taps = {"lo"}};
    names(wrong, "\"lo\"");
    wrong.lan = GuestLan{.bridge = "lan0", .taps = {}};
    wrong.gateways.push_back(*IpAddress::parse("198.18.9.1"));
    names(wrong, "198.18.9.1");
    GuestInterface later = some;
    later.mac_comes_later = true;
    options_.interfaces = {later};
    GuestNet net = make();
    const auto set = net.set_up(std::vector{*MacAddress::parse("01:00:00:00:00:01")});
    ASSERT_FALSE(set);
    EXPECT_NE(set.error().message.find("01:00:00:00:00:01"), std::string::npos)
        << set.error().message;
    if (via == Via::veth) ip("link del some0");
  }
}

TEST_F(GuestNetTest, KeepsUpAGatewayAlsoWhereTheAddressesAreTheKernels) {
  options_.via = Via::tap;
  options_.interfaces = {named("plain0"), named("tap0")};
  options_.interfaces[1].gateways.push_back(*IpAddress::parse("fe80::1"));
  const GuestNet net = make();
  const auto given = net.given().value();
  ASSERT_EQ(given.size(), 1U);
  EXPECT_EQ(given[0].index, now("tap0").index);
  EXPECT_TRUE(given[0].addresses.empty());
  EXPECT_EQ(given[0].gateways, options_.interfaces[1].gateways);
}

// A frame with a tag fills the MTU of our end of a veth pair.
TEST_F(GuestNetTest, OurEndOfAPairLeavesWorkToTheBusOnlyWhereThatWasAskedFor) {
  const shmif::test::TempDir directory;
  Bus::create(directory.file("bus"), {.ring_bytes = 4U << 20U}).value();
  const Bus bus = Bus::open(directory.file("bus")).value();
  for (const bool offload : {false, true}) {
    options_.via = Via::veth;
    options_.interfaces = {named("veth0", "198.18.0.1/24")};
    options_.interfaces[0].offload = true;  // so that the interface leaves work in both cases
    GuestNet net = make();
    GuestLink link{.interface = "veth0",
                   .kind = LinkKind::veth,
                   .descriptor = std::move(net.ends()[0].descriptor),
                   .mac = net.ends()[0].mac,
                   .mtu = 1500};
    PortOptions options{.name = "a"};
    options.take_offloads = offload;
    GuestPort port = GuestPort::attach(link, bus, options).value();
    EXPECT_EQ(port.device().max_frame_bytes(), 1518U);
    ASSERT_TRUE(netlink().add_neighbour("veth0", *IpAddress::parse("198.18.0.9"), kSecond));
    const UniqueFd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = ::htons(9);
    ::inet_pton(AF_INET, "198.18.0.9", &to.sin_addr);
    ASSERT_EQ(::sendto(sender.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to),
              1);
    std::optional<bool> left;
    EXPECT_TRUE(shmif::test::eventually([&] {
      FrameBatch batch;
      (void)port.device().receive(batch);
      for (const FrameView& frame : batch.frames()) {
        if (frame.destination() == kSecond) left = frame.offload.needs_checksum();
      }
      return left.has_value();
    }));
    EXPECT_EQ(left, offload);
    ip("link del veth0");
  }
}

TEST_F(GuestNetTest, TunesItsNamespace) {
  options_.via = Via::tap;
  options_.interfaces = {named("tap0", "fd00::1/64")};
  const GuestNet net = make();
  EXPECT_EQ(setting("ipv4/ping_group_range"), "0\t2147483647");
  EXPECT_EQ(setting("ipv6/conf/all/accept_dad"), "0");
  EXPECT_EQ(setting("ipv6/conf/default/accept_dad"), "0");
  const bool optimistic = !setting("ipv6/conf/default/optimistic_dad").empty();
  EXPECT_EQ(net.given().value().at(0).optimistic, optimistic);
  if (!optimistic) GTEST_SKIP() << "this kernel has no optimistic detection";
  EXPECT_EQ(setting("ipv6/conf/default/optimistic_dad"), "1");
  EXPECT_EQ(setting("ipv6/conf/default/use_optimistic"), "1");
  EXPECT_EQ(setting("ipv6/conf/tap0/accept_dad"), "1") << "also for addresses that come later";
  const std::string shown = ip("-6 -o addr show dev tap0 to fd00::1");
  EXPECT_EQ(shown.find(" nodad"), std::string::npos) << "duplicates are looked for: " << shown;
}

TEST_F(GuestNetTest, HasUsableLinkLocalAddressesWhenItIsMade) {
  options_.forward = true;
  for (const Via via : {Via::tap, Via::veth}) {
    options_.via = via;
    for (int i = 0; i < 20; ++i) {
      options_.interfaces = {named("some0", "fd00:1::1/64"), named("some1", "fd00:2::1/64"),
                             named("some2")};
      const GuestNet net = make();
      for (const char* const name : {"some0", "some1", "some2"}) {
        const std::string shown = ip(std::string("-6 -o addr show scope link dev ") + name);
        EXPECT_NE(shown.find("fe80:"), std::string::npos) << name;
        EXPECT_EQ(shown.find("tentative"), std::string::npos) << shown;
      }
      EXPECT_EQ(net.given().value().size(), 2U);
      for (const char* const name : {"some0", "some1", "some2"}) {
        if (via == Via::veth) ip(std::string("link del ") + name);
      }
    }
  }
}

TEST_F(GuestNetTest, WatchesItselfAndWhereTheFarEndsAre) {
  const NetNamespace here = NetNamespace::current().value();
  for (const Via via : {Via::tap, Via::veth}) {
    options_.via = via;
    options_.interfaces = {named("some0"), named("some1")};
    GuestNet net = make();
    const std::vector<UniqueFd> sockets = net.open_watch().value();
    EXPECT_TRUE(here.is_current()) << "it has come back";
    ASSERT_EQ(sockets.size(), 4U);
    const auto is = [](const UniqueFd& socket, const NetNamespace& space) {
      return NetNamespace::of_socket(socket.get()).value().is_same(space);
    };
    EXPECT_TRUE(is(sockets[0], here));
    EXPECT_TRUE(is(sockets[1], here));
    for (const std::size_t i : {2U, 3U}) {
      EXPECT_EQ(is(sockets[i], here), via == Via::tap) << i;
      if (via == Via::tap) continue;
      for (const GuestEnd& end : net.ends())
        EXPECT_TRUE(is(sockets[i], NetNamespace::of_socket(end.descriptor.get()).value())) << i;
    }
    if (via == Via::tap) continue;
    for (std::size_t i = 0; i < 2; ++i) {
      sockaddr_ll bound{};
      socklen_t size = sizeof bound;
      ASSERT_EQ(
          ::getsockname(net.ends()[i].descriptor.get(), reinterpret_cast<sockaddr*>(&bound), &size),
          0);
      EXPECT_EQ(bound.sll_protocol, htons(ETH_P_ALL));
      ifreq request{};
      request.ifr_ifindex = bound.sll_ifindex;
      ASSERT_EQ(::ioctl(net.ends()[i].descriptor.get(), SIOCGIFNAME, &request), 0);
      EXPECT_STREQ(request.ifr_name, options_.interfaces[i].name.c_str()) << "its own";
    }
  }
}

}  // namespace
}  // namespace shmif::tap::test
