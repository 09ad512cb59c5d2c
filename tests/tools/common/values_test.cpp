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
                                    {1025, "1.0 KiB"},
                                    {1023 << 10U, "1023 KiB"},
                                    {(1023 << 10U) + 972, "1023.9 KiB"},
                                    {(1023 << 10U) + 973, "1.0 MiB"},
                                    {(kOne << 20U) - 1, "1.0 MiB"},
                                    {(kOne << 30U) - 1, "1.0 GiB"},
                                    {4U << 20U, "4 MiB"},
                                    {kOne << 30U, "1 GiB"},
                                    {(kOne << 40U) * 5 / 2, "2.5 TiB"},
                                    {kOne << 50U, "1 PiB"},
                                    {kOne << 60U, "1 EiB"},
                                    {kOne << 63U, "8 EiB"}}) {
    EXPECT_EQ(format_bytes(bytes), text);
  }
}

TEST(Values, ATimeAsItWasGivenHasOneUnit) {
  for (const auto& [given, text] : {std::pair{"5", "5 s"},
                                    {"0.25", "0.25 s"},
                                    {"0", "0 s"},
                                    {"500ms", "500ms"},
                                    {"1.5m", "1.5m"},
                                    {"30S", "30S"}}) {
    EXPECT_EQ(with_unit_of_time(given), text);
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

TEST(Values, ShortenedTextEndsBetweenTwoCharacters) {
  EXPECT_EQ(base::shortened("üüüü", 4), "üüüü");
  EXPECT_EQ(base::shortened("üüüüü", 4), "ü...");
  EXPECT_EQ(base::shortened("", 4), "");
}

}  // namespace
}  // namespace shmif::tools
