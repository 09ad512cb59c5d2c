#include "base/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/number_list.hpp"

namespace shmif::test {
namespace {

using Parts = std::vector<std::string_view>;

TEST(Split, GivesOneMorePartThanThereAreSeparators) {
  EXPECT_EQ(base::split("", ','), Parts{""});
  EXPECT_EQ(base::split("one", ','), Parts{"one"});
  EXPECT_EQ(base::split("one,two:2", ','), (Parts{"one", "two:2"}));
  EXPECT_EQ(base::split("one,two:2", ':'), (Parts{"one,two", "2"}));
  EXPECT_EQ(base::split(",,last", ','), (Parts{"", "", "last"}));
  EXPECT_EQ(base::split("first,", ','), (Parts{"first", ""}));
}

TEST(Counted, OneIsSingularAndNothingIsPlural) {
  EXPECT_EQ(base::counted(1, "frame"), "1 frame");
  EXPECT_EQ(base::counted(0, "frame"), "0 frames");
  EXPECT_EQ(base::counted(2, "frame"), "2 frames");
  EXPECT_EQ(base::counted(1, "loss", "losses"), "1 loss");
  EXPECT_EQ(base::counted(18446744073709551615U, "loss", "losses"), "18446744073709551615 losses");
}

TEST(Hex, HasAPrefixAndNoZerosInFront) {
  EXPECT_EQ(base::hex(0), "0x0");
  EXPECT_EQ(base::hex(0x1000), "0x1000");
  EXPECT_EQ(base::hex(~std::uint64_t{0}), "0xffffffffffffffff");
}

TEST(NumberList, IsReadAsTheKernelWritesIt) {
  EXPECT_EQ(base::read_number_list("0-3,8\n"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(base::read_number_list("\n"), std::vector<int>{});
  EXPECT_EQ(base::read_number_list("2,0-2"), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(base::read_number_list("65535 \n"), std::vector<int>{65535});
  for (const char* wrong : {"65536", "a", "1-", "-1", "3-1", "0,", "0-99999999999999999999"}) {
    EXPECT_FALSE(base::read_number_list(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace shmif::test
