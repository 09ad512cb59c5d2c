#include "tools/values.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

using std::chrono::nanoseconds;

TEST(Values, SizesTakeKMAndG) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("65536"), 65536U);
  EXPECT_EQ(parse_size("64K"), 65536U);
  EXPECT_EQ(parse_size("4m"), 4194304U);
  EXPECT_EQ(parse_size("1G"), 1073741824U);
  EXPECT_EQ(parse_size("18446744073709551615"), UINT64_MAX);
}

TEST(Values, SizesThatAreNotExactlyThatAreRefused) {
  for (const char* text : {"", "K", "4MB", "4 M", " 4M", "-1", "+1", "1.5M", "0x10", "4T", "4KK",
                           "18446744073709551616", "17179869184G", "99999999999999999999K"}) {
    EXPECT_FALSE(parse_size(text)) << text;
  }
}

TEST(Values, SecondsMayHaveAFraction) {
  EXPECT_EQ(parse_seconds("2"), nanoseconds(2'000'000'000));
  EXPECT_EQ(parse_seconds("0.25"), nanoseconds(250'000'000));
  EXPECT_EQ(parse_seconds(".5"), nanoseconds(500'000'000));
  EXPECT_EQ(parse_seconds("0.000000001"), nanoseconds(1));
  for (const char* text : {"", ".", "1.", "-1", "1s", "0.0000000001", "1e3", "10000000000"}) {
    EXPECT_FALSE(parse_seconds(text)) << text;
  }
}

TEST(Values, ModesAreOctal) {
  EXPECT_EQ(parse_mode("0600"), 0600U);
  EXPECT_EQ(parse_mode("660"), 0660U);
  for (const char* text : {"", "1777", "888", "rw-", "-1"}) EXPECT_FALSE(parse_mode(text)) << text;
}

TEST(Values, BytesAreWrittenForPeople) {
  EXPECT_EQ(format_bytes(14), "14 B");
  EXPECT_EQ(format_bytes(4U << 20U), "4 MiB");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
}

}  // namespace
}  // namespace shmif::tools
