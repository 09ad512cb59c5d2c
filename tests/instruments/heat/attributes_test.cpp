// The five numbers that users of DAMON know: all of them or none, and nothing behind them.

#include "instruments/heat/regions.hpp"

#include <gtest/gtest.h>

#include <random>

namespace shmif::perf::test {
namespace {

using std::chrono::microseconds;

TEST(HeatAttributesText, IsFiveNumbersInAndOut) {
  const auto read = read_attributes("1,22,333,4,55");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, (HeatAttributes{microseconds(1), microseconds(22), microseconds(333), 4, 55}));
  EXPECT_EQ(attributes_text(*read), "1,22,333,4,55");
  EXPECT_EQ(attributes_text({}), "5000,100000,1000000,10,1000");
  EXPECT_EQ(read->samples_per_window(), 22U);
}

TEST(HeatAttributesText, TakesUnits) {
  const auto read = read_attributes("5ms,0.1s,1m,1k,1M");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(attributes_text(*read), "5000,100000,60000000,1000,1000000");
}

TEST(HeatAttributesText, IsRefusedAsAWhole) {
  for (const char* text : {"",
                           ",,,,",
                           "5000",
                           "5000,100000,1000000,10",
                           "5000,100000,1000000,10,1000,1",
                           "5000,100000,1000000,10,1000 junk",
                           "5000,100000,1000000,10,1000,",
                           "5000 100000 1000000 10 1000 on",
                           "5000 100000 1000000, 10, 1000",
                           "0,100000,1000000,10,1000",
                           "5000,0,1000000,10,1000",
                           "5000,100000,0,10,1000",
                           "5000,100000,1000000,2,1000",
                           "5000,100000,1000000,10,9",
                           "5000,4999,1000000,10,1000",
                           "1.5us,100000,1000000,10,1000",
                           "1500ns,100000,1000000,10,1000",
                           "-5000,100000,1000000,10,1000",
                           "5000,2d,1000000,10,1000",
                           "5000,100000,1000000,10,1000001",
                           "86400000001,86400000001,1,3,3",
                           "1,1,86400000001,3,3",
                           "1,1000001,1,3,3"}) {
    const auto read = read_attributes(text);
    EXPECT_TRUE(!read && read.error().code == Errc::bad_argument) << text;
  }
  EXPECT_NE(read_attributes("1,2,3,4").error().message.find("has 4 numbers"), std::string::npos);
  for (const char* bounds : {"5000,5000,1,3,3", "1d,1d,1d,3,1000000", "1,1000000,1,3,3",
                             "5001 100002 1000003 14 1005\n"}) {
    EXPECT_TRUE(read_attributes(bounds)) << bounds;
  }
}

TEST(HeatAttributesText, ComesBackWhateverTheNumbersAre) {
  std::mt19937_64 random(20261123);
  const auto any = [&](std::uint64_t most) { return random() % most + 1; };
  unsigned taken = 0;
  for (int i = 0; i < 20000; ++i) {
    const HeatAttributes attributes{microseconds(any(1000)), microseconds(any(100000)),
                                    microseconds(any(1U << 30U)), any(20), any(40)};
    const auto read = read_attributes(attributes_text(attributes));
    EXPECT_EQ(read.has_value(), check_attributes(attributes).has_value());
    if (!read) continue;
    EXPECT_EQ(*read, attributes);
    ++taken;
  }
  EXPECT_GT(taken, 1000U);
}

}  // namespace
}  // namespace shmif::perf::test
