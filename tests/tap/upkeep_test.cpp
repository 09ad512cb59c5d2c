// What an interface was given, and when it is put back.

#include "tap/upkeep.hpp"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tap/guest/watch_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::eventually;

/// An interface "dev0" with an address of each family and a default route, which are kept up.
class UpkeepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
    Netlink netlink = space_.netlink();
    ASSERT_TRUE(netlink.add_veth("dev0", "far0"));
    ASSERT_TRUE(netlink.set_up("far0"));
    ASSERT_TRUE(netlink.set_up("dev0"));
    GivenAddresses given{.index = netlink.interface("dev0")->index,
                         .addresses = {*Cidr::parse("198.18.0.1/24"), *Cidr::parse("fd00::1/64")},
                         .gateways = {*IpAddress::parse("198.18.0.254")}};
    for (const Cidr& each : given.addresses) ASSERT_TRUE(netlink.add_address("dev0", each));
    ASSERT_TRUE(netlink.add_default_route("dev0", given.gateways[0]));
    given_ = {given};
    begin();
  }

  /// `room`: of the socket for news, in bytes; 0: the usual.
  void begin(int room = 0) {
    const Inside inside(space_);
    UniqueFd socket = Upkeep::open_socket().value();
    news_ = socket.get();
    if (room != 0) {
      ASSERT_EQ(::setsockopt(news_, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    }
    upkeep_.emplace(
        std::move(socket),
        [this]() -> Result<Netlink> {
          if (no_session_) return Error::from_errno(EMFILE, "no session");
          return Netlink::open(space_.space());
        },
        given_);
  }

  void ip(const std::string& words) {
    const Outcome done = run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip " + words});
    EXPECT_EQ(done.status, 0) << words << ": " << done.output;
    upkeep_->read();  // the kernel has said all when the command ends
  }
  bool has(const std::string& address) const {
    return run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip addr show dev dev0; ip route"})
               .output.find(address) != std::string::npos;
  }

  TestNamespace space_;
  std::vector<GivenAddresses> given_;
  bool no_session_ = false;
  int news_ = -1;
  std::optional<Upkeep> upkeep_;
};

TEST_F(UpkeepTest, WhatTheKernelTookIsThereAgainWhenTheInterfaceIsUpAgain) {
  ip("link set dev0 down");
  EXPECT_FALSE(has("fd00::1/64"));
  EXPECT_FALSE(has("default via 198.18.0.254"));
  ip("link set dev0 up");
  EXPECT_TRUE(has("fd00::1/64"));
  EXPECT_TRUE(has("default via 198.18.0.254"));
}

TEST_F(UpkeepTest, ADefaultRouteThatSomebodyRemovedStaysAway) {
  const std::string gateway = "fd00::fe";
  ASSERT_TRUE(space_.netlink().add_default_route("dev0", *IpAddress::parse(gateway)));
  given_[0].gateways.push_back(*IpAddress::parse(gateway));
  begin();
  const auto down_and_up = [&] {
    ip("link set dev0 down");
    ip("link set dev0 up");
    const auto shown = [&](const char* family) {
      return run(space_, {"sh", "-c",
                          std::string("PATH=$PATH:/usr/sbin:/sbin; ip ") + family +
                              " route show default | cut -d ' ' -f 3"})
          .output;
    };
    return shown("-4") + shown("-6");
  };
  EXPECT_EQ(down_and_up(), "198.18.0.254\nfd00::fe\n");
  ip("route add 198.18.9.0/24 via 198.18.0.254");
  ip("route del 198.18.9.0/24");
  ip("route add default via 198.18.0.254 table 7");
  ip("route del default table 7");
  EXPECT_EQ(down_and_up(), "198.18.0.254\nfd00::fe\n") << "other routes were removed";
  ip("route del default");
  EXPECT_EQ(down_and_up(), "fd00::fe\n");
  ip("-6 route del default");
  EXPECT_EQ(down_and_up(), "");
  EXPECT_TRUE(has("198.18.0.1/24"));
  EXPECT_TRUE(has("fd00::1/64"));
}

TEST_F(UpkeepTest, OtherRoutesAreNoNews) {
  // Other news may come at any time: that an address is no duplicate, or of the carrier.
  const auto news_of_routes = [&](const std::string& words) {
    EXPECT_EQ(run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip " + words}).status, 0);
    int count = 0;
    alignas(nlmsghdr) std::array<char, 32768> datagram;
    while (::recv(news_, datagram.data(), datagram.size(), 0) > 0) {
      const auto* const header = reinterpret_cast<const nlmsghdr*>(datagram.data());
      count += header->nlmsg_type == RTM_NEWROUTE || header->nlmsg_type == RTM_DELROUTE ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(news_of_routes("route add 198.18.9.0/24 via 198.18.0.254"), 0);
  EXPECT_EQ(news_of_routes("route del 198.18.9.0/24"), 0);
  EXPECT_EQ(news_of_routes("-6 route add fd00:9::/64 dev dev0"), 0);
  EXPECT_EQ(news_of_routes("-6 route del fd00:9::/64"), 0);
  EXPECT_EQ(news_of_routes("route del default"), 1);
  EXPECT_EQ(news_of_routes("route add default via 198.18.0.254"), 0);
}

TEST_F(UpkeepTest, TheKernelLooksForDuplicatesOfWhatIsThereAgainIfThatWasAskedFor) {
  for (const bool optimistic : {true, false}) {
    given_[0].optimistic = optimistic;
    begin();
    ip("link set dev0 down");
    ip("link set dev0 up");
    ASSERT_TRUE(has("fd00::1/64"));
    EXPECT_EQ(has("nodad"), !optimistic);
  }
}

// A bridge announces that with a message of the type that also tells of deleted interfaces.
TEST_F(UpkeepTest, AnInterfaceThatLeavesABridgeIsUpAndWhatSomebodyRemovesThenStaysAway) {
  const Outcome made =
      run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip link add br0 type bridge"});
  if (made.status != 0) GTEST_SKIP() << "no bridges here: " << made.output;
  ip("link set dev0 master br0");
  ip("link set dev0 nomaster");
  ip("addr del fd00::1/64 dev dev0");
  ip("link set dev0 down");
  ip("link set dev0 up");
  EXPECT_FALSE(has("fd00::1/64"));
  EXPECT_TRUE(has("default via 198.18.0.254")) << "the rest is kept up";
}

TEST_F(UpkeepTest, AnInterfaceThatLeftTheNamespaceComesBackAsItIs) {
  const TestNamespace other;
  ASSERT_TRUE(space_.netlink().move_to("dev0", other.space()));
  upkeep_->read();
  ASSERT_TRUE(other.netlink().move_to("dev0", space_.space()));
  upkeep_->read();
  ip("addr add 198.18.0.7/24 dev dev0");
  ip("link set dev0 up");
  EXPECT_FALSE(has("fd00::1/64"));
  EXPECT_FALSE(has("198.18.0.1/24"));
  EXPECT_FALSE(has("default via")) << "whoever moved it chooses its routes";
  EXPECT_TRUE(has("198.18.0.7/24"));
}

TEST_F(UpkeepTest, ItIsThereAgainEachTimeAlsoUnderAnotherName) {
  for (unsigned i = 0; i < 3; ++i) {
    ip("link set dev0 down");
    ip("link set dev0 up");
    EXPECT_TRUE(has("fd00::1/64")) << i;
    EXPECT_TRUE(has("default via 198.18.0.254")) << i;
  }
  ip("link set dev0 down");
  ip("link set dev0 name dev9");
  ip("link set dev9 up");
  ip("link set dev9 down");
  ip("link set dev9 name dev0");
  ip("link set dev0 up");
  EXPECT_TRUE(has("fd00::1/64"));
  ip("link set dev0 down");
  ip("link set dev0 name dev9");
  ip("link set dev9 up");
  const Outcome shown = run(space_, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip addr; ip route"});
  EXPECT_NE(shown.output.find("fd00::1/64"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("default via 198.18.0.254 dev dev9"), std::string::npos)
      << shown.output;
}

TEST_F(UpkeepTest, WhatSomebodyRemovesStaysAwayWheneverThatWas) {
  ip("addr add 198.18.0.9/16 dev dev0");  // the gateway stays in a network
  ip("addr del fd00::1/64 dev dev0");
  ip("link set dev0 down");
  ip("addr del 198.18.0.1/24 dev dev0");  // the kernel takes none of IPv4
  ip("link set dev0 up");
  EXPECT_FALSE(has("fd00::1/64"));
  EXPECT_FALSE(has("198.18.0.1/24"));
  EXPECT_TRUE(has("198.18.0.9/16"));
  EXPECT_TRUE(has("default via 198.18.0.254"));
  ip("addr add fd00::1/64 dev dev0");
  ip("link set dev0 down");
  ip("link set dev0 up");
  EXPECT_FALSE(has("fd00::1/64")) << "it is somebody else's now";
}

TEST_F(UpkeepTest, AnotherAddressOfSomebodyIsNotTakenForOneThatWasGiven) {
  ip("addr add fd00::2/64 dev dev0");
  ip("addr del fd00::2/64 dev dev0");
  ip("link set dev0 down");
  ip("link set dev0 up");
  EXPECT_TRUE(has("fd00::1/64"));
}

TEST_F(UpkeepTest, EachInterfaceHasItsOwnAndOnlyTheOneThatCameUpGetsThem) {
  Netlink netlink = space_.netlink();
  ASSERT_TRUE(netlink.add_veth("dev1", "far1"));
  ASSERT_TRUE(netlink.set_up("far1"));
  ASSERT_TRUE(netlink.set_up("dev1"));
  given_.push_back({.index = netlink.interface("dev1")->index,
                    .addresses = {*Cidr::parse("fd00:1::1/64"), *Cidr::parse("fd00:1::2/64")},
                    .gateways = {*IpAddress::parse("fd00:1::fe")}});
  for (const Cidr& each : given_[1].addresses) ASSERT_TRUE(netlink.add_address("dev1", each));
  begin();
  const auto shown = [&] {
    return run(space_, {"sh", "-c",
                        "PATH=$PATH:/usr/sbin:/sbin; ip -6 -o addr show dev dev1; "
                        "ip -6 route show default"})
        .output;
  };
  ip("link set dev1 down");
  EXPECT_EQ(shown(), "");
  EXPECT_TRUE(has("fd00::1/64"));
  ip("link set dev0 down");
  ip("link set dev1 up");
  EXPECT_FALSE(has("fd00::1/64"));
  EXPECT_FALSE(has("default via 198.18.0.254"));
  for (const char* const each : {"fd00:1::1/64", "fd00:1::2/64", "default via fd00:1::fe dev dev1"})
    EXPECT_NE(shown().find(each), std::string::npos) << each << shown();
  EXPECT_EQ(shown().find("fd00::1/64"), std::string::npos);
  ip("link del dev1");
  ip("link set dev0 up");
  EXPECT_TRUE(has("fd00::1/64")) << "the other one has gone";
  EXPECT_TRUE(has("default via 198.18.0.254"));
}

TEST_F(UpkeepTest, AGatewayThatSomebodyChoseIsLeftAlone) {
  ip("link set dev0 down");
  no_session_ = true;
  ip("link set dev0 up");
  EXPECT_FALSE(has("fd00::1/64"));
  no_session_ = false;
  begin(1);  // so that news are missed, and all is tried once more
  ip("route add default via 198.18.0.77");
  for (unsigned mtu = 1400; mtu < 1450; ++mtu) ASSERT_TRUE(space_.netlink().set_mtu("dev0", mtu));
  upkeep_->read();
  EXPECT_TRUE(has("default via 198.18.0.77"));
  EXPECT_FALSE(has("default via 198.18.0.254"));
  EXPECT_TRUE(has("fd00::1/64"));
}

TEST_F(UpkeepTest, WhatCouldNotBePutBackIsTriedWhenItComesUpAgain) {
  ip("link set dev0 down");
  no_session_ = true;
  ip("link set dev0 up");
  EXPECT_FALSE(has("fd00::1/64"));
  no_session_ = false;
  ip("link set dev0 alias news");
  EXPECT_FALSE(has("fd00::1/64")) << "it was up";
  ip("link set dev0 down");
  ip("link set dev0 up");
  EXPECT_TRUE(has("fd00::1/64"));
  EXPECT_TRUE(has("default via 198.18.0.254"));
}

// Root of a namespace may send to every netlink socket of it.
TEST_F(UpkeepTest, OnlyTheKernelIsBelieved) {
  const Inside inside(space_);
  const RouteSocket news(news_);
  ifinfomsg about{};
  about.ifi_index = static_cast<int>(given_[0].index);
  news.send({.type = RTM_DELLINK, .link = about});
  upkeep_->read();
  ip("link set dev0 down");
  about.ifi_flags = IFF_UP;
  news.send({.type = RTM_NEWLINK, .link = about});
  upkeep_->read();
  EXPECT_FALSE(has("fd00::1/64"));
  ip("link set dev0 up");
  EXPECT_TRUE(has("fd00::1/64"));
  EXPECT_TRUE(has("default via 198.18.0.254"));
}

}  // namespace
}  // namespace shmif::tap::test
