// The network of a gateway: its limits, the addresses in it, and where names are served.

#include <gtest/gtest.h>

#include <string>

#include "tools/relay/nat_process.hpp"

namespace shmif::test {
namespace {

TEST(NatNetworks, HaveTheAddressesThatBothProgramsUse) {
  EXPECT_EQ(tools::NatNetwork().to_string(), "10.0.2.0/24");
  const tools::NatNetwork network = *tools::NatNetwork::parse("198.18.4.0/22");
  EXPECT_EQ(network.to_string(), "198.18.4.0/22");
  EXPECT_EQ(network.gateway(), "198.18.4.2");
  EXPECT_EQ(network.name_server(), "198.18.4.3");
  EXPECT_EQ(network.first_lease(), "198.18.4.15");
  EXPECT_EQ(network.last_lease(), "198.18.4.30");
  EXPECT_EQ(network.gateway_mac().to_string(), "52:55:c6:12:04:02");
  EXPECT_EQ(network.name_server_mac().to_string(), "52:55:c6:12:04:03");
  for (const auto& [address, is_in] : {std::pair{"198.18.3.255", false},
                                       {"198.18.4.0", true},
                                       {"198.18.7.255", true},
                                       {"198.18.8.0", false},
                                       {"::ffff:198.18.4.1", false},
                                       {"fd00::1", false}}) {
    EXPECT_EQ(network.contains(*tap::IpAddress::parse(address)), is_in) << address;
  }
  for (const char* const text :
       {"10.0.0.0/8", "1.0.0.0/8", "126.0.0.0/8", "128.0.0.0/9", "223.0.0.0/8", "10.0.2.128/25"}) {
    const auto other = tools::NatNetwork::parse(text);
    ASSERT_TRUE(other) << other.error().message;
    EXPECT_EQ(other->to_string(), text);
  }
}

TEST(NatNetworks, ServeNamesWhereTheirProgramDoes) {
  using enum tools::NatProgram;
  constexpr std::uint32_t kNetwork = 0xc6120400;  // 198.18.4.0
  struct Case {
    tools::NatProgram program;
    const char* resolver;
    std::optional<std::uint32_t> server;
  };
  for (const Case& c :
       {Case{slirp4netns, "127.0.0.53", kNetwork + 3},  // its own
        Case{slirp4netns, "198.18.4.77", kNetwork + 3}, Case{slirp4netns, nullptr, kNetwork + 3},
        Case{passt, nullptr, {}}, Case{passt, "127.0.0.53", kNetwork + 2},  // the gateway
        Case{passt, "198.18.4.77", kNetwork + 77},                          // the resolver
        Case{passt, "198.18.5.1", {}}}) {                                   // not in the network
    tools::NatWish wish{.program = c.program,
                        .network = *tools::NatNetwork::parse("198.18.4.0/24")};
    if (c.resolver != nullptr) wish.resolver = *tap::IpAddress::parse(c.resolver);
    EXPECT_EQ(tools::name_server_of(wish), c.server) << (c.resolver ? c.resolver : "none");
  }
}

}  // namespace
}  // namespace shmif::test
