#include "tools/values.hpp"

#include <gtest/gtest.h>

#include "base/printable.hpp"

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

TEST(Values, PrintableTextSteersNoTerminal) {
  EXPECT_EQ(base::printable("a\x1b[2Jb\nc\x7f\xc2\x9b."), "a?[2Jb?c??.");
  EXPECT_EQ(base::printable("Zürich €"), "Zürich €");
  EXPECT_EQ(base::printable("\x9b\xff\xc3"), "???") << "no UTF-8";
  EXPECT_EQ(base::printable("\xe0\x82\x9b"), "???") << "a control character written too long";
  EXPECT_EQ(base::printable("\xed\xa0\x80"), "???") << "half of a pair of UTF-16";
  EXPECT_EQ(base::printable("\xe2\x80\xae"), "?") << "right to left";
  EXPECT_EQ(base::printable("\xd8\x9c"), "?") << "the Arabic letter mark changes the order, too";
}

TEST(Values, ShortenedTextEndsBetweenTwoCharacters) {
  EXPECT_EQ(base::shortened("üüüü", 4), "üüüü");
  EXPECT_EQ(base::shortened("üüüüü", 4), "ü...");
  EXPECT_EQ(base::shortened("", 4), "");
}

}  // namespace
}  // namespace shmif::tools
