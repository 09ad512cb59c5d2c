#include "base/split.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace shmif::test
