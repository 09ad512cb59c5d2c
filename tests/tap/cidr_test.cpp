#include "tap/cidr.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace shmif::tap {
namespace {

TEST(Cidr, ReadsWhatItWrites) {
  for (const char* text : {"198.18.0.2/24", "198.18.0.1/32", "198.18.0.0/31", "198.18.0.1/31",
                           "10.0.0.1/8", "fd00::2/64", "fe80::1/10", "::1/128"}) {
    const auto c = Cidr::parse(text);
    ASSERT_TRUE(c) << c.error().message;
    EXPECT_EQ(c->to_string(), text);
  }
}

TEST(Cidr, KeepsAddressBytesInNetworkOrder) {
  const auto c = Cidr::parse("198.18.0.2/24");
  ASSERT_TRUE(c);
  EXPECT_FALSE(c->address.is_v6());
  EXPECT_EQ(c->address.bytes[0], 198);
  EXPECT_EQ(c->address.bytes[3], 2);
  EXPECT_EQ(c->prefix, 24U);
}

TEST(Cidr, RefusesWhatIsNotExactlyAddressAndPrefix) {
  for (const char* text : {"",
                           "/",
                           "198.18.0.2",
                           "198.18.0.2/",
                           "/24",
                           "198.18.0.2/33",
                           "198.18.0.2/0",
                           "198.18.0.2/-1",
                           "198.18.0.2/+24",
                           "198.18.0.2/24 ",
                           " 198.18.0.2/24",
                           "198.18.0.2/2x",
                           "198.18.0.2/24/24",
                           "198.18.0/24",
                           "198.18.0.256/24",
                           "0198.18.0.2/24",
                           "fd00::2/129",
                           "fd00::2%eth0/64",
                           "fd00:::2/64",
                           "host/24",
                           "198.18.0.2/99999999999999999999"}) {
    const auto c = Cidr::parse(text);
    ASSERT_FALSE(c) << text;
    EXPECT_EQ(c.error().code, Errc::bad_argument);
    EXPECT_NE(c.error().message.find("\"" + std::string(text) + "\""), std::string::npos)
        << c.error().message;
  }
}

TEST(Cidr, RefusesAddressesNoInterfaceCanHave) {
  for (const char* text : {"0.0.0.0/8", "224.0.0.1/24", "255.255.255.255/32", "198.18.0.0/24",
                           "198.18.0.255/24", "::/64", "ff02::1/64"}) {
    EXPECT_FALSE(Cidr::parse(text)) << text;
  }
}

TEST(Cidr, SuggestsAHostWhenGivenTheNetwork) {
  const auto c = Cidr::parse("198.18.4.0/24");
  ASSERT_FALSE(c);
  EXPECT_NE(c.error().message.find("198.18.4.1/24"), std::string::npos) << c.error().message;
}

TEST(Cidr, TakesEveryAddressUpToTheLimitsAndSaysWhatIsBehindThem) {
  for (const char* text :
       {"198.18.0.2/1", "128.0.0.1/1", "223.255.255.254/24", "198.18.0.1/30", "198.18.0.2/30",
        "198.18.4.129/25", "198.18.4.254/25", "fd00::2/1", "fe80::1/64", "feff::1/16"}) {
    const auto c = Cidr::parse(text);
    EXPECT_TRUE(c) << c.error().message;
  }
  const std::vector<std::pair<const char*, const char*>> refused{
      {"198.18.0.2", "no prefix length"},
      {"198.18.0.2/0", "from 1 to 32"},
      {"198.18.0.2/33", "from 1 to 32"},
      {"fd00::2/0", "from 1 to 128"},
      {"fd00::2/129", "from 1 to 128"},
      {"host/24", "does not begin with an IP address"},
      {"0.0.0.0/32", "unspecified"},
      {"::/128", "unspecified"},
      {"224.0.0.0/31", "multicast or reserved"},
      {"240.0.0.1/8", "multicast or reserved"},
      {"ff00::1/64", "multicast"},
      {"198.18.0.0/30", "such as 198.18.0.1/30"},
      {"198.18.4.128/25", "such as 198.18.4.129/25"},
      {"10.0.0.0/8", "such as 10.0.0.1/8"},
      {"198.18.0.3/30", "broadcast address"},
      {"198.18.4.127/25", "broadcast address"},
      {"10.255.255.255/8", "broadcast address"},
  };
  for (const auto& [text, why] : refused) {
    const auto c = Cidr::parse(text);
    ASSERT_FALSE(c) << text;
    EXPECT_NE(c.error().message.find(why), std::string::npos) << c.error().message;
  }
}

TEST(IpAddress, HidesNothingBehindANulByte) {
  using namespace std::string_view_literals;
  EXPECT_FALSE(IpAddress::parse("198.18.0.1\0.evil"sv));
}

}  // namespace
}  // namespace shmif::tap
