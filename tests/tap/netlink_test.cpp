#include "tap/netlink.hpp"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "tap/device_settings.hpp"
#include "tap/guest/net.hpp"
#include "tap/guest/watch.hpp"
#include "tap/netlink/vxlan.hpp"
#include "tap/packet_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

using std::chrono::milliseconds;

class NetlinkTest : public NamespaceTest {};

TEST(Interface, HasACarrierWhenItsOtherEndIsThereAndTheKernelHasTakenNote) {
  constexpr unsigned kLower = 1U << 16U;  // as in linux/if.h
  EXPECT_TRUE(Interface::carries(IFF_UP | IFF_RUNNING | kLower));
  EXPECT_FALSE(Interface::carries(IFF_UP | IFF_RUNNING)) << "lost, and not taken note of yet";
  EXPECT_FALSE(Interface::carries(IFF_UP | kLower)) << "got, and not taken note of yet";
  EXPECT_FALSE(Interface::carries(IFF_RUNNING | kLower));
}

TEST(Interface, HasANameOfFifteenBytesThatIsNoPatternAndNoPath) {
  for (const std::string name : {"a", "eth0", "br-lan.7", "wg_1", "a-name-of-15byt", "..."}) {
    EXPECT_TRUE(is_interface_name(name)) << name;
  }
  for (const std::string name : {"", ".", "..", "a-name-of-16byte", "a/b", "a:b", "a%d", "%", "a b",
                                 "a\tb", "a\n", "a\x7f"}) {
    EXPECT_FALSE(is_interface_name(name)) << name;
  }
}

TEST_F(NetlinkTest, SaysWhichRightIsMissing) {
  const auto denied = [] {
    become({kStranger});
    Netlink netlink = Netlink::open().value();
    const auto set = netlink.set_up("lo");
    if (set || set.error().code != std::errc::operation_not_permitted) return 1;
    return set.error().message.find("needs CAP_NET_ADMIN") != std::string::npos ? 0 : 2;
  };
  EXPECT_EQ(shmif::test::Child(denied).wait(), 0) << "1 another error, 2 without the hint";
}

TEST_F(NetlinkTest, ReplacesNothingThatIsThere) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  EXPECT_EQ(netlink.add_veth("v0", "v2").error().code, std::errc::file_exists);
  EXPECT_FALSE(netlink.interface("v2"));
  ok(netlink.add_address("v0", *Cidr::parse("198.18.0.1/24")));
  EXPECT_FALSE(netlink.remove_address("v0", *Cidr::parse("198.18.0.1/25"))) << "another prefix";
  ok(netlink.set_up("v0"));
  EXPECT_EQ(netlink.add_default_route("v0", *IpAddress::parse("198.18.0.255")).error().code,
            std::errc::host_unreachable);
  ok(netlink.add_default_route("v0", *IpAddress::parse("198.18.0.2")));
  const auto second = netlink.add_default_route("v0", *IpAddress::parse("198.18.0.3"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, std::errc::file_exists) << second.error().message;
  EXPECT_EQ(run(space, {"ip", "route"}).output.find("198.18.0.3"), std::string::npos);
}

TEST_F(NetlinkTest, SaysThatItCouldNotDoIt) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  add_pair(netlink);
  EXPECT_EQ(netlink.interface("v7").error().code, std::errc::no_such_device);
  EXPECT_FALSE(netlink.remove("lo"));
  EXPECT_FALSE(netlink.remove_default_route("v0", *IpAddress::parse("198.18.0.2")));
  EXPECT_FALSE(netlink.disable_ipv6("v7"));
  EXPECT_FALSE(netlink.disable_offloads("v7"));
  EXPECT_FALSE(netlink.disable_unspeakable_offloads("v7"));
  const std::error_code wrong = make_error_code(Errc::bad_argument);
  EXPECT_EQ(netlink.rename("v1", "a/b").error().code, wrong);
  EXPECT_EQ(netlink.add_veth("v2", "a/b").error().code, wrong);
  EXPECT_EQ(netlink.add_veth("a/b", "v2").error().code, wrong);
  ok(netlink.set_mtu("v0", 1280));
  ok(netlink.add_address("v0", *Cidr::parse("fd00::1/64")));
  const auto again = netlink.add_address("v0", *Cidr::parse("fd00::1/64"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().message.find("MTU"), std::string::npos) << again.error().message;
}

TEST_F(NetlinkTest, SaysThatNoCarrierCame) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.set_up("v0"));
  EXPECT_EQ(netlink.wait_for_carrier("v0", milliseconds(5)).error().code, Errc::timed_out);
}

TEST_F(NetlinkTest, CallsADefaultRouteWhatLeadsFromTheMainTable) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  add_pair(netlink);
  for (const char* const other : {"unreachable default", "default dev v0 table 7"}) {
    EXPECT_EQ(run(space, {"sh", "-c", "ip route add " + std::string(other)}).status, 0);
    EXPECT_FALSE(netlink.default_route(AF_INET)) << other;
  }
}

TEST_F(NetlinkTest, WaitsUntilALinkLocalAddressMayBeUsed) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  for (const char* const each : {"v0", "v1"}) ok(netlink.set_up(each));
  if (!*netlink.wait_for_link_local("v0", milliseconds(30000))) GTEST_SKIP() << "no IPv6 here";
  EXPECT_EQ(run(space, {"ip", "-6", "addr", "show", "dev", "v0", "tentative"}).output, "");
}

TEST_F(NetlinkTest, MakesABridgeThatCarriesWhatACableWould) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  const MacAddress mac = *MacAddress::parse("02:00:00:00:00:07");
  ok(netlink.add_bridge("lan0", mac));
  EXPECT_EQ(netlink.add_bridge("lan0", mac).error().code, std::errc::file_exists);
  EXPECT_EQ(netlink.add_bridge("a/b", mac).error().code, make_error_code(Errc::bad_argument));
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.set_mtu("v0", 9000));
  ok(netlink.add_to_bridge("v0", "lan0"));
  for (const char* const each : {"lan0", "v0", "v1"}) ok(netlink.set_up(each));
  ok(netlink.wait_for_carrier("lan0", std::chrono::seconds(10)));
  EXPECT_EQ(netlink.interface("lan0")->mac, mac) << "ports do not change it";
  EXPECT_EQ(netlink.interface("lan0")->mtu, 9000U);
  const std::string shown = run(space, {"ip", "-d", "link", "show", "dev", "lan0"}).output;
  for (const char* const each :
       {" stp_state 0 ", " forward_delay 0 ", " mcast_snooping 0 ", " group_fwd_mask 0xfff8 "}) {
    EXPECT_NE(shown.find(each), std::string::npos) << each << shown;
  }
  EXPECT_FALSE(netlink.add_to_bridge("v0", "lan1"));
  ok(netlink.disable_offloads("lan0"));
  const auto refused = netlink.add_to_bridge("lo", "lan0");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("cannot add interface \"lo\" to the bridge \"lan0\""),
            std::string::npos)
      << refused.error().message;
}

TEST_F(NetlinkTest, LeavesToARoutingProgramWhoIsWhere) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_bridge("lan0", *MacAddress::parse("02:00:00:00:00:07")));
  ok(netlink.add_veth("v0", "v1"));
  EXPECT_FALSE(let_routing_tell("v0", space.space())) << "no port of a bridge";
  ok(netlink.add_to_bridge("v0", "lan0"));
  ok(let_routing_tell("v0", space.space()));
  const std::string port = run(space, {"ip", "-d", "link", "show", "dev", "v0"}).output;
  for (const char* const each : {" learning off ", " neigh_suppress on "})
    EXPECT_NE(port.find(each), std::string::npos) << each << port;
  ok(netlink.set_up("lan0"));
  ok(route_everything_to("lan0", space.space()));
  EXPECT_EQ(run(space, {"ip", "route"}).output.find("default dev lan0 proto static scope link"),
            0U);
}

TEST_F(NetlinkTest, TellsTheKernelTheMacOfANeighbourForGood) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  add_pair(netlink);
  ok(netlink.set_up("v1"));
  for (const char* const mac : {"02:00:00:00:00:07", "02:00:00:00:00:08"}) {
    ok(netlink.add_neighbour("v0", *IpAddress::parse("198.18.0.2"), *MacAddress::parse(mac)));
    EXPECT_EQ(run(space, {"ip", "neigh", "show", "198.18.0.2", "dev", "v0"}).output,
              std::string("198.18.0.2 lladdr ") + mac + " PERMANENT \n");
  }
}

TEST_F(NetlinkTest, GivesANetworkOfTwoNoBroadcastAddress) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  const auto broadcast = [&](const char* address) {
    ok(netlink.add_address("v0", *Cidr::parse(address)));
    const std::string shown = run(space, {"ip", "addr", "show", "to", address}).output;
    const std::size_t at = shown.find(" brd 198");
    return at == std::string::npos ? "none"
                                   : shown.substr(at + 5, shown.find(' ', at + 5) - at - 5);
  };
  EXPECT_EQ(broadcast("198.18.0.1/31"), "none");
  EXPECT_EQ(broadcast("198.18.1.1/32"), "none");
  EXPECT_EQ(broadcast("198.18.2.1/30"), "198.18.2.3");
  EXPECT_EQ(broadcast("198.18.4.1/23"), "198.18.5.255");
}

TEST_F(NetlinkTest, LeavesTheCallersInterfaceOfTheSameNameItsIpv6) {
  const TestNamespace here;
  const TestNamespace there;
  for (const TestNamespace* each : {&here, &there}) ok(each->netlink().add_veth("v0", "v1"));
  const std::string setting = "/proc/sys/net/ipv6/conf/v0/disable_ipv6";
  const Inside inside(here);
  if (contents(setting) != "0\n") GTEST_SKIP() << "no IPv6 here";
  ok(there.netlink().disable_ipv6("v0"));
  EXPECT_EQ(contents(setting), "0\n");
  ok(here.netlink().disable_ipv6("v0"));
  EXPECT_EQ(contents(setting), "1\n");
}

TEST_F(NetlinkTest, LeadsToAGatewayOutsideOfANetworkOfOneAddress) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.set_up("v0"));
  ok(netlink.set_up("v1"));
  for (const auto& [address, gateway] :
       {std::pair{"198.18.0.1/32", "198.19.0.2"}, {"fd00::1/128", "fd01::2"}}) {
    const IpAddress via = *IpAddress::parse(gateway);
    EXPECT_FALSE(netlink.add_default_route("v0", via)) << "without an address";
    ok(netlink.add_address("v0", *Cidr::parse(address)));
    ok(netlink.add_default_route("v0", via));
    const std::string routes =
        run(space, {"ip", via.is_v6() ? "-6" : "-4", "route", "show", "default"}).output;
    EXPECT_EQ(routes.find("default via " + std::string(gateway) + " dev v0 "), 0U) << routes;
    EXPECT_NE(routes.find(" onlink"), std::string::npos) << routes;
  }
}

TEST_F(NetlinkTest, KeepsIpv6AndOffloadsOffAnInterface) {
  const TestNamespace space;
  const Inside inside(space);
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.disable_ipv6("v0"));
  EXPECT_EQ(run(space, {"ethtool", "-K", "v0", "gro", "on"}).status, 0);
  ok(netlink.disable_offloads("v0"));
  ok(netlink.set_up("v0"));
  ok(netlink.set_up("v1"));
  ok(netlink.wait_for_carrier("v0", milliseconds(30000)));
  EXPECT_EQ(run(space, {"ip", "-6", "addr", "show", "dev", "v0"}).output, "");
  EXPECT_NE(run(space, {"ip", "-6", "addr", "show", "dev", "v1"}).output, "");
  EXPECT_NE(run(space, {"ip", "-d", "link", "show", "dev", "v0"}).output.find("addrgenmode none"),
            std::string::npos);
  const std::string features = run(space, {"ethtool", "-k", "v0"}).output;
  for (const char* off : {"rx-checksumming: off", "tx-checksumming: off", "scatter-gather: off",
                          "tx-tcp-segmentation: off", "tx-tcp6-segmentation: off",
                          "generic-segmentation-offload: off", "generic-receive-offload: off"}) {
    EXPECT_NE(features.find(off), std::string::npos) << off << " in\n" << features;
  }
}

TEST_F(NetlinkTest, ListsEachInterfaceWithItsMacAndItsOwnAddresses) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.set_mac("v0", *MacAddress::parse("02:00:00:00:00:05")));
  ok(netlink.set_mac("v1", *MacAddress::parse("02:00:00:00:00:06")));
  ok(netlink.disable_ipv6("v0"));
  ok(netlink.add_address("v0", *Cidr::parse("198.18.0.1/24")));
  ok(netlink.add_address("v0", *Cidr::parse("198.18.5.1/30")));
  ok(netlink.add_address("v1", *Cidr::parse("198.18.6.1/31")));
  const std::vector<AddressedInterface> listed = netlink.interfaces().value();
  std::vector<std::string> all;
  for (const AddressedInterface& each : listed) {
    if (each.name != "v0" && each.name != "v1") continue;
    all.push_back(each.name + ' ' + each.mac.to_string());
    for (const Cidr& cidr : each.addresses) all.back() += ' ' + cidr.to_string();
  }
  std::ranges::sort(all);
  EXPECT_EQ(all, (std::vector<std::string>{"v0 02:00:00:00:00:05 198.18.0.1/24 198.18.5.1/30",
                                           "v1 02:00:00:00:00:06 198.18.6.1/31"}));
}

TEST_F(NetlinkTest, KeepsOffloadsOfTunnelsOffAnInterfaceAndLeavesThoseOfTcpAndUdp) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.disable_unspeakable_offloads("v0"));
  const std::string features = run(space, {"ethtool", "-k", "v0"}).output;
  for (const char* each :
       {"tx-udp_tnl-segmentation: off", "tx-udp_tnl-csum-segmentation: off",
        "tx-gre-segmentation: off", "tx-ipxip4-segmentation: off", "tx-sctp-segmentation: off",
        "tx-gso-partial: off", "tx-gso-list: off", "tx-tcp-segmentation: on",
        "tx-tcp6-segmentation: on", "tx-checksumming: on", "generic-segmentation-offload: on"}) {
    EXPECT_NE(features.find(each), std::string::npos) << each << " in\n" << features;
  }
  const bool udp_too =
      run(space, {"sh", "-c", "printf '6.2\\n%s\\n' $(uname -r) | sort -VC"}).status == 0;
  const char* const udp = udp_too ? "tx-udp-segmentation: on" : "tx-udp-segmentation: off";
  EXPECT_NE(features.find(udp), std::string::npos) << udp << " in\n" << features;
}

// Segmentation needs checksums: without them it is off, and still wanted.
TEST_F(NetlinkTest, TellsWhatOfAnInterfaceIsOnFromWhatIsWanted) {
  const TestNamespace space;
  const Inside inside(space);
  ok(space.netlink().add_veth("v0", "v1"));
  const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto find = [&](const std::string& name) {
    const Features now = Features::read(control.get(), "v0").value();
    const auto at = std::ranges::find(now.all(), name, &Features::Feature::name);
    return at == now.all().end() ? "there is none"
                                 : std::string(at->active ? "on" : "off") +
                                       (at->requested ? ", wanted" : ", not wanted");
  };
  for (const bool on : {false, true, false}) {
    Features all = Features::read(control.get(), "v0").value();
    ok(all.request([](const auto& f) { return f.name == "tx-checksum-ip-generic"; },
                   [&](const auto&) { return on; }));
    EXPECT_EQ(find("tx-checksum-ip-generic"), on ? "on, wanted" : "off, not wanted");
    EXPECT_EQ(find("tx-tcp-segmentation"), on ? "on, wanted" : "off, wanted");
    EXPECT_EQ(find("tx-tcp6-segmentation"), on ? "on, wanted" : "off, wanted");
  }
  const auto none = Features::read(control.get(), "v7");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, std::errc::no_such_device);
}

TEST_F(NetlinkTest, SeesThatAPacketSocketMadeAnInterfacePromiscuous) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ASSERT_FALSE(netlink.interface("v0")->is_promiscuous());
  const NetNamespace where = space.space();
  {
    // As tcpdump does: a membership, which the interface's flags do not show.
    const auto listener = PacketLink::open("v0", {.promiscuous = true, .where = &where});
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_TRUE(netlink.interface("v0")->is_promiscuous());
  }
  EXPECT_FALSE(netlink.interface("v0")->is_promiscuous());
}

}  // namespace
}  // namespace shmif::tap::test
