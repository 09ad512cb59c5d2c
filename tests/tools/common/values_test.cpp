#include "tools/common/values.hpp"

#include <gtest/gtest.h>

#include "base/printable.hpp"

namespace shmif::tools {
namespace {

TEST(Values, ModesAreOctal) {
  EXPECT_EQ(parse_mode("0600"), 0600U);
  EXPECT_EQ(parse_mode("660"), 0660U);
  EXPECT_EQ(parse_mode("0777"), 0777U);
  EXPECT_EQ(parse_mode("0"), 0U);
  for (const char* text : {"", "1000", "1777", "888", "rw-", "-1"})
    EXPECT_FALSE(parse_mode(text)) << text;
}

TEST(Values, BytesAreWrittenForPeople) {
  constexpr std::uint64_t kOne = 1;
  for (const auto& [bytes, text] : {std::pair<std::uint64_t, const char*>{0, "0 B"},
                                    {14, "14 B"},
                                    {1023, "1023 B"},
                                    {1024, "1 KiB"},
                                    {1536, "1.5 KiB"},
                                    {(1023 << 10U) + 973, "1.0 MiB"},
                                    {(kOne << 40U) * 5 / 2, "2.5 TiB"},
                                    {kOne << 63U, "8 EiB"}}) {
    EXPECT_EQ(format_bytes(bytes), text);
  }
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

}  // namespace
}  // namespace shmif::tools
