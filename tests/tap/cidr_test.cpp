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

TEST(IpAddress, HidesNothingBehindANulByte) {
  using namespace std::string_view_literals;
  EXPECT_FALSE(IpAddress::parse("198.18.0.1\0.evil"sv));
}

}  // namespace
}  // namespace shmif::tap
