// The network of a gateway: its limits, the addresses in it, and where names are served.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tools/relay/nat_process.hpp"

namespace shmif::test {
namespace {

std::uint32_t ipv4_number(unsigned a, unsigned b, unsigned c, unsigned d) {
  return a << 24U | b << 16U | c << 8U | d;
}

TEST(NatNetworks, HaveTheAddressesThatBothProgramsUse) {
  const tools::NatNetwork usual;
  EXPECT_EQ(usual.to_string(), "10.0.2.0/24");
  const tools::NatNetwork network = *tools::NatNetwork::parse("198.18.4.0/25");
  EXPECT_EQ(network.first, ipv4_number(198, 18, 4, 0));
  EXPECT_EQ(network.prefix, 25U);
  EXPECT_EQ(network.to_string(), "198.18.4.0/25");
  EXPECT_EQ(network.gateway(), "198.18.4.2");
  EXPECT_EQ(network.name_server(), "198.18.4.3");
  EXPECT_EQ(network.first_lease(), "198.18.4.15");
  EXPECT_EQ(network.last_lease(), "198.18.4.30");
  EXPECT_EQ(network.gateway_mac().to_string(), "52:55:c6:12:04:02");
  EXPECT_EQ(network.name_server_mac().to_string(), "52:55:c6:12:04:03");
}

TEST(NatNetworks, ContainTheAddressesUpToTheirLast) {
  const tools::NatNetwork network = *tools::NatNetwork::parse("198.18.4.0/22");
  for (const auto& [address, is_in] :
       std::vector<std::pair<std::string, bool>>{{"198.18.3.255", false},
                                                 {"198.18.4.0", true},
                                                 {"198.18.7.255", true},
                                                 {"198.18.8.0", false},
                                                 {"::ffff:198.18.4.1", false},
                                                 {"fd00::1", false}}) {
    EXPECT_EQ(network.contains(*tap::IpAddress::parse(address)), is_in) << address;
  }
}

TEST(NatNetworks, AreReadWholeAndOnlyWhereHostsCanBe) {
  for (const char* const text :
       {"10.0.0.0/8", "1.0.0.0/8", "126.0.0.0/8", "128.0.0.0/9", "223.0.0.0/8", "10.0.2.128/25"}) {
    const auto network = tools::NatNetwork::parse(text);
    ASSERT_TRUE(network) << network.error().message;
    EXPECT_EQ(network->to_string(), text);
  }
  const auto why = [](const std::string& text) {
    const auto network = tools::NatNetwork::parse(text);
    EXPECT_TRUE(network || network.error().code == Errc::bad_argument);
    return network ? "it is one" : network.error().message;
  };
  for (const std::string text :
       {"", "10.0.2.0", "10.0.2.0/", "10.0.2.0/24x", "10.0.2.0/+24", "10.0.2/24", "10.0.0.0/7",
        "10.0.2.0/26", "fd00::/24", "/24", "10.0.2.0/24/24"}) {
    EXPECT_EQ(why(text), '"' + text +
                             "\" is not an IPv4 network with a prefix length of 8 to 25 (such as "
                             "10.0.2.0/24)");
  }
  for (const std::string text : {"10.0.2.1/24", "10.0.2.128/24", "10.1.0.0/8"}) {
    EXPECT_EQ(why(text), '"' + text + "\" is an address in a network, not a network");
  }
  for (const std::string text : {"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/8", "255.0.0.0/8"}) {
    EXPECT_EQ(why(text),
              '"' + text + "\" is for loopback or multicast (choose one such as 10.0.2.0/24)");
  }
}

TEST(NatNetworks, ServeNamesWhereTheirProgramDoes) {
  tools::NatWish wish;
  wish.network = *tools::NatNetwork::parse("198.18.4.0/24");
  const auto by = [&](tools::NatProgram program, const char* resolver) {
    wish.program = program;
    wish.resolver.reset();
    if (resolver != nullptr) wish.resolver = *tap::IpAddress::parse(resolver);
    return tools::name_server_of(wish);
  };
  for (const char* const resolver : {"127.0.0.53", "198.18.4.77", "198.18.5.1"}) {
    EXPECT_EQ(by(tools::NatProgram::slirp4netns, resolver), ipv4_number(198, 18, 4, 3))
        << "its own";
  }
  EXPECT_EQ(by(tools::NatProgram::slirp4netns, nullptr), ipv4_number(198, 18, 4, 3));
  EXPECT_EQ(by(tools::NatProgram::passt, nullptr), std::nullopt);
  EXPECT_EQ(by(tools::NatProgram::passt, "127.0.0.53"), ipv4_number(198, 18, 4, 2))
      << "the gateway";
  EXPECT_EQ(by(tools::NatProgram::passt, "198.18.4.77"), ipv4_number(198, 18, 4, 77))
      << "the resolver";
  EXPECT_EQ(by(tools::NatProgram::passt, "198.18.5.1"), std::nullopt) << "it is not in the network";
}

}  // namespace
}  // namespace shmif::test
