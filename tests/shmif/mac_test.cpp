#include "shmif/mac.hpp"

#include <gtest/gtest.h>

#include <set>

namespace shmif {
namespace {

TEST(MacAddress, IsReadBackAsItIsWritten) {
  for (const char* const text : {"00:00:00:00:00:00", "b2:a0:01:0f:f0:ff", "ff:ff:ff:ff:ff:ff"}) {
    const auto mac = MacAddress::parse(text);
    ASSERT_TRUE(mac) << text;
    EXPECT_EQ(mac->to_string(), text);
  }
}

TEST(MacAddress, AcceptsCapitalsAndDashes) {
  EXPECT_EQ(MacAddress::parse("B2-A0-01-0F-F0-FF")->to_string(), "b2:a0:01:0f:f0:ff");
}

TEST(MacAddress, RefusesWhatIsNone) {
  for (const char* const text :
       {"", "b2", "b2:a0:01:02:03", "b2:a0:01:02:03:4", "b2:a0:01:02:03:04:05", "b2:a0:01:02:03:0g",
        "b2.a0.01.02.03.04", " b2:a0:01:02:03:04", "b2:a0:01:02:03:04 ", "b2a001020304",
        "+2:a0:01:02:03:04"}) {
    EXPECT_FALSE(MacAddress::parse(text)) << text;
  }
}

TEST(MacAddress, KnowsItsKind) {
  EXPECT_TRUE(MacAddress::parse("ff:ff:ff:ff:ff:ff")->is_broadcast());
  EXPECT_TRUE(MacAddress::parse("ff:ff:ff:ff:ff:ff")->is_group());
  EXPECT_TRUE(MacAddress::parse("01:00:5e:00:00:01")->is_group());
  EXPECT_FALSE(MacAddress::parse("01:00:5e:00:00:01")->is_broadcast());
  EXPECT_FALSE(MacAddress::parse("b2:a0:00:00:00:01")->is_group());
  EXPECT_TRUE(MacAddress{}.is_zero());
}

TEST(MacAddress, ANumberHasTheFirstByteMostSignificant) {
  const MacAddress mac = *MacAddress::parse("b2:a0:01:02:03:04");
  EXPECT_EQ(mac.to_u64(), 0xb2a001020304U);
  EXPECT_EQ(MacAddress::from_u64(0xb2a001020304U), mac);
}

TEST(MacAddress, RandomOnesAreLocalNeverGroupsAndDiffer) {
  std::set<MacAddress> seen;
  for (int i = 0; i < 1000; ++i) {
    const MacAddress mac = MacAddress::random();
    EXPECT_EQ(mac.bytes[0], 0xb2);  // locally administered, not a group
    EXPECT_EQ(mac.bytes[1], 0xa0);
    seen.insert(mac);
  }
  EXPECT_GT(seen.size(), 990U);  // of 2^32; one collision among 1000 is a chance of 1 to 8600
}

}  // namespace
}  // namespace shmif
