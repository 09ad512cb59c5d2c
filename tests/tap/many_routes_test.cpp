// Which addresses lead to many machines (broadcast and multicast): as the kernel says, and as a
// table knows without a question for each address.

#include "tap/many_routes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "tap/netlink.hpp"
#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

/// How often the kernel was asked where an address leads: the linker leads the calls through here.
std::atomic<unsigned> route_questions;

class ManyRoutesTest : public NamespaceTest {};

TEST_F(ManyRoutesTest, TellsWhichAddressesLeadToManyMachines) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  add_pair(netlink);
  ok(netlink.add_address("v0", *Cidr::parse("198.18.6.1/23")));
  ok(netlink.set_up("v1"));
  const auto leads = [&](const char* address) {
    const auto many = netlink.leads_to_many(*IpAddress::parse(address));
    EXPECT_TRUE(many) << address << ": " << many.error().message;
    return many && *many;
  };
  EXPECT_FALSE(leads("198.18.9.1")) << "there is no route";
  ok(netlink.add_default_route("v0", *IpAddress::parse("198.18.0.2")));
  for (const char* const address : {"198.18.0.255", "198.18.7.255", "255.255.255.255", "224.0.0.1"})
    EXPECT_TRUE(leads(address)) << address;
  for (const char* const address : {"198.18.0.1", "198.18.0.2", "198.18.0.254", "198.18.6.255",
                                    "198.18.7.0", "198.18.9.255", "127.0.0.1"})
    EXPECT_FALSE(leads(address)) << address;
  ok(netlink.remove_address("v0", *Cidr::parse("198.18.6.1/23")));
  EXPECT_FALSE(leads("198.18.7.255")) << "it is asked each time";
  for (const char* const type : {"unreachable", "prohibit", "blackhole"}) {
    ASSERT_EQ(run(space, {"ip", "route", "replace", type, "198.18.20.0/24"}).status, 0) << type;
    EXPECT_FALSE(leads("198.18.20.1")) << type;
  }
  EXPECT_TRUE(leads("ff02::1"));
}

TEST_F(ManyRoutesTest, KnowsWhichAddressesLeadToManyWithoutAQuestionForEach) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  add_pair(netlink);
  ok(netlink.set_up("v1"));
  ok(netlink.add_default_route("v0", *IpAddress::parse("198.18.0.2")));
  const Inside inside(space);
  route_questions = 0;
  auto routes = ManyRoutes::open().value();
  const auto number = [](const char* text) {
    const auto b = IpAddress::parse(text)->bytes;
    return std::uint32_t{b[0]} << 24U | std::uint32_t{b[1]} << 16U | std::uint32_t{b[2]} << 8U |
           b[3];
  };
  const auto lead = [&](const char* text) {
    const auto many = routes.lead(number(text));
    EXPECT_TRUE(many) << text << ": " << many.error().message;
    return many && *many;
  };
  std::uint64_t many = 0;
  for (std::uint32_t i = 0; i < 65536; ++i) {  // as a host that scans
    const auto answer = routes.lead(number("198.18.0.0") + i);
    many += !answer || *answer ? 1 : 0;
  }
  EXPECT_EQ(many, 1U) << "198.18.0.255";
  EXPECT_EQ(route_questions, 1U);
  // As the kernel says itself, now and after each change.
  const auto expect_the_same = [&] {
    for (const char* const each :
         {"198.18.0.1", "198.18.0.255", "198.18.6.255", "198.18.7.255", "198.19.0.255",
          "198.19.0.1", "255.255.255.255", "224.0.0.1", "127.0.0.1", "127.255.255.255"}) {
      const bool wanted = *netlink.leads_to_many(*IpAddress::parse(each));
      EXPECT_TRUE(eventually([&] { return lead(each) == wanted; })) << each << ' ' << wanted;
    }
  };
  expect_the_same();
  EXPECT_FALSE(lead("198.18.7.255"));
  ok(netlink.add_address("v0", *Cidr::parse("198.18.6.1/23")));
  EXPECT_TRUE(eventually([&] { return lead("198.18.7.255"); }));
  expect_the_same();
  ok(netlink.remove_address("v0", *Cidr::parse("198.18.6.1/23")));
  EXPECT_TRUE(eventually([&] { return !lead("198.18.7.255"); }));
  ASSERT_EQ(run(space, {"ip", "route", "add", "broadcast", "198.19.0.0/24", "dev", "v0"}).status,
            0);
  EXPECT_TRUE(eventually([&] { return lead("198.19.0.1"); }));
  // The more special route counts, as the kernel says.
  ASSERT_EQ(run(space, {"ip", "route", "add", "198.19.0.1/32", "dev", "v0"}).status, 0);
  EXPECT_TRUE(eventually([&] { return !lead("198.19.0.1"); }));
  EXPECT_TRUE(lead("198.19.0.2"));
  expect_the_same();
  for (const bool there : {true, false}) {
    ASSERT_EQ(run(space,
                  {"ip", "route", there ? "add" : "del", "multicast", "198.19.8.0/24", "dev", "v0"})
                  .status,
              0);
    EXPECT_TRUE(eventually([&] { return lead("198.19.8.1") == there; })) << there;
  }
  // Another table, which a rule may choose.
  ASSERT_EQ(
      run(space, {"ip", "route", "add", "broadcast", "198.19.7.7", "dev", "v0", "table", "77"})
          .status,
      0);
  const unsigned before = route_questions;
  EXPECT_TRUE(eventually([&] {
    EXPECT_FALSE(lead("198.19.7.7"));
    return route_questions > before;
  })) << "the kernel's rules decide";
  ASSERT_EQ(run(space, {"ip", "rule", "add", "table", "77"}).status, 0);
  EXPECT_TRUE(eventually([&] { return lead("198.19.7.7"); }));
}

TEST_F(ManyRoutesTest, AsksAboutEachAddressWhereMoreRoutesLeadToManyThanAreKept) {
  const TestNamespace space;
  const auto shell = [&](const std::string& words) {
    const Outcome done = run(space, {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; " + words});
    EXPECT_EQ(done.status, 0) << words << ": " << done.output;
    return done.output;
  };
  constexpr std::uint32_t kNobody = 0xc6130001;  // 198.19.0.1
  const int there = std::stoi(shell("ip route show table all type broadcast | wc -l"));
  shell("seq " + std::to_string(4096 - there) +
        R"( | awk '{printf "route add broadcast 198.18.%d.%d dev lo\n", $1 / 256, $1 % 256}')"
        " | ip -batch -");
  const Inside inside(space);
  route_questions = 0;
  auto routes = ManyRoutes::open().value();
  EXPECT_FALSE(routes.lead(kNobody).value());
  EXPECT_EQ(route_questions, 0U);
  shell("ip route add broadcast 198.18.255.255 dev lo");
  EXPECT_TRUE(eventually([&] {
    (void)routes.lead(kNobody);
    return route_questions > 0;
  }));
}

TEST_F(ManyRoutesTest, ARouteOfAllAddressesMayLeadToMany) {
  const TestNamespace space;
  Netlink netlink = space.netlink();
  ok(netlink.add_veth("v0", "v1"));
  ok(netlink.set_up("v0"));
  const Outcome made = run(space, {"ip", "route", "add", "broadcast", "0.0.0.0/0", "dev", "v0"});
  ASSERT_EQ(made.status, 0) << made.output;
  const Inside inside(space);
  auto routes = ManyRoutes::open().value();
  EXPECT_TRUE(routes.lead(0xc6130001).value());
  EXPECT_TRUE(routes.lead(0x01020304).value());
}
}  // namespace
}  // namespace shmif::tap::test

struct nl_sock;
struct nl_addr;
struct rtnl_route;

extern "C" {
int __real_rtnl_route_lookup(nl_sock* socket, nl_addr* address, rtnl_route** found);
int __wrap_rtnl_route_lookup(nl_sock* socket, nl_addr* address, rtnl_route** found);

int __wrap_rtnl_route_lookup(nl_sock* socket, nl_addr* address, rtnl_route** found) {
  ++shmif::tap::test::route_questions;
  return __real_rtnl_route_lookup(socket, address, found);
}
}
