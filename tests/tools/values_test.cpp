#include "tools/values.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

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
