// The five numbers that users of DAMON know: all of them or none, and nothing behind them.

#include "perf/heat/attributes.hpp"

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
  const auto why = [](const char* text) {
    const auto read = read_attributes(text);
    EXPECT_FALSE(read) << text;
    EXPECT_TRUE(read || read.error().code == Errc::bad_argument) << text;
    return read ? std::string() : read.error().message;
  };
  EXPECT_EQ(why("5000,100000,1000000,10"),
            "\"5000,100000,1000000,10\" has 4 numbers, and five are needed (sampling, aggregation "
            "and update interval in microseconds, fewest and most regions: "
            "5000,100000,1000000,10,1000)");
  EXPECT_EQ(why("5000").find("\"5000\" has 1 number, and five are needed ("), 0U);
  why("5000,100000,1000000,10,1000,1");
  why("5000,100000,1000000,10,1000 junk");
  why("5000,100000,1000000,10,1000,");
  why("5000 100000 1000000 10");
  why("5000 100000 1000000 10 1000 on");
  why("5000 100000 1000000, 10, 1000");
  why("");
  why(",,,,");
  why("0,100000,1000000,10,1000");
  why("5000,0,1000000,10,1000");
  why("5000,100000,0,10,1000");
  EXPECT_EQ(why("5000,100000,1000000,0,1000"),
            "the minimum number of regions is 0, and must be at least 3");
  why("5000,100000,1000000,2,1000");
  why("5000,100000,1000000,10,0");
  EXPECT_EQ(why("5000,100000,1000000,10,9"),
            "the maximum number of regions (9) is below the minimum (10)");
  EXPECT_EQ(why("5000,4999,1000000,10,1000"),
            "the aggregation interval (4999 us) is shorter than the sampling interval (5000 us)");
  why("1.5us,100000,1000000,10,1000");
  EXPECT_EQ(why("1500ns,100000,1000000,10,1000"),
            "the sampling interval: \"1500ns\" is not in whole microseconds");
  why("-5000,100000,1000000,10,1000");
  why("1,2s,1000000,10,1000");
  why("5000,2d,1000000,10,1000");
  why("5000,100000,1000000,10,1000001");
  EXPECT_EQ(why("86400000001,86400000001,1,3,3"), "an interval cannot be longer than a day");
  EXPECT_EQ(why("1,1,86400000001,3,3"), "an interval cannot be longer than a day");
  EXPECT_TRUE(read_attributes("5000,5000,1,3,3")) << "the bounds themselves are allowed";
  EXPECT_TRUE(read_attributes("1d,1d,1d,3,1000000"));
  EXPECT_TRUE(read_attributes("1,1000000,1,3,3"));
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
