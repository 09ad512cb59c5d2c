// What an interface was given, and when it is put back.

#include "tap/upkeep.hpp"

#include <gtest/gtest.h>
#include <net/if.h>

#include <optional>
#include <string>

#include "tests/support/eventually.hpp"
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
    const Inside inside(space_);
    upkeep_.emplace(
        Upkeep::open_socket().value(), [space = &space_] { return Netlink::open(space->space()); },
        std::vector<GivenAddresses>{given});
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

}  // namespace
}  // namespace shmif::tap::test
