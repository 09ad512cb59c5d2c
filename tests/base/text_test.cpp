#include "base/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/quantity.hpp"

namespace shmif::base {
namespace {

// A character of UTF-8 takes one column, however many bytes it has.

TEST(Columns, AreCharactersAndNotBytes) {
  EXPECT_EQ(columns_of(""), 0U);
  EXPECT_EQ(columns_of("abc"), 3U);
  EXPECT_EQ(columns_of("Z\u00fcrich \u20ac"), 8U);
  EXPECT_EQ(columns_of("\U0001f600"), 1U);
}

TEST(Columns, NoCharacterIsCutInTheMiddle) {
  constexpr std::string_view kText = "a\u00fcb\u20ac";  // of 1, 2, 1 and 3 bytes
  constexpr std::size_t kOffsets[] = {0, 1, 3, 4, 7, 7, 7};
  for (std::size_t columns = 0; columns < std::size(kOffsets); ++columns) {
    EXPECT_EQ(behind_columns(kText, columns), kOffsets[columns]) << columns;
  }
}

TEST(Printable, NoRangeThatSteersATerminalIsShownAndNoneOfItsNeighboursIsLost) {
  // The first and the last of each range.
  constexpr std::pair<const char*, const char*> kSteer[] = {
      {"\x01", "\x1f"},     {"\x7f", "\u009f"},   {"\u061c", "\u061c"},
      {"\u200e", "\u200f"}, {"\u2028", "\u202e"}, {"\u2066", "\u2069"},
  };
  for (const auto& [first, last] : kSteer) {
    EXPECT_EQ(printable(first), "?") << testing::PrintToString(std::string(first));
    EXPECT_EQ(printable(last), "?") << testing::PrintToString(std::string(last));
  }
  constexpr const char* kNeighbours[] = {" ",      "~",      "\u00a0", "\u061b", "\u061d", "\u200d",
                                         "\u2010", "\u2027", "\u202f", "\u2065", "\u206a"};
  for (const char* const text : kNeighbours) EXPECT_EQ(printable(text), text);
}

TEST(Printable, EachLengthOfACharacterIsShownFromItsFirstToItsLastCode) {
  constexpr const char* kWhole[] = {"\u07ff",       "\u0800",     "\ud7ff",    "\ue000",
                                    "\xef\xbf\xbf", "\U00010000", "\U0010ffff"};
  for (const char* const text : kWhole) {
    EXPECT_EQ(printable(text), text);
    EXPECT_EQ(printable(text + std::string("z")), text + std::string("z"));
  }
  constexpr std::pair<const char*, const char*> kNone[] = {
      {"\xc1\xbf", "??"},                                     // an ASCII letter in two bytes
      {"\xe0\x9f\xbf", "???"},                                // U+07FF in three
      {"\xf0\x8f\xbf\xbf", "????"},                           // U+FFFF in four
      {"\xf4\x90\x80\x80", "????"},                           // beyond the last one, U+10FFFF
      {"\xf5\x80\x80\x80", "????"}, {"\xed\xa0\x80", "???"},  // the first half of a pair of UTF-16
      {"\xed\xbf\xbf", "???"},                                // the last one
      {"\xe2\x82z", "??z"},  // cut short: what follows is still shown
  };
  for (const auto& [text, shown] : kNone) {
    EXPECT_EQ(printable(text), shown) << testing::PrintToString(std::string(text));
  }
}

TEST(Printable, DifferentTextsStayDifferentWhenTheyAreEscaped) {
  EXPECT_EQ(escaped("a\x80"), "a\\x80");
  EXPECT_EQ(escaped("a\\x80"), "a\\\\x80");
  EXPECT_EQ(escaped("\u202e"), "\\u202e");
  EXPECT_EQ(escaped("\\u202e"), "\\\\u202e");
  EXPECT_EQ(escaped("\xe2\\"), "\\xe2\\\\") << "cut short by a backslash";
  EXPECT_EQ(escaped("\u00e4 b"), "\u00e4 b");
}

TEST(Printable, AWordIsQuotedWhereAShellNeedsIt) {
  for (const char* plain : {"word", "a-b_c", "/dev/shm/bus0", "a=b,c:d%e@f^g+h.i", "0"}) {
    EXPECT_EQ(quote_word(plain), plain);
    EXPECT_EQ(quote_command("shmifctl stat", plain), "'shmifctl stat " + std::string(plain) + "'");
  }
  constexpr std::pair<const char*, const char*> kQuoted[] = {
      {"", "''"},         {"a b", "'a b'"},       {"$HOME", "'$HOME'"},   {"a;b", "'a;b'"},
      {"*", "'*'"},       {"it's", "'it'\\''s'"}, {"''", "''\\'''\\'''"}, {"~", "'~'"},
      {"a\nb", "'a\nb'"}, {"\u00e4", "'\u00e4'"}, {"a\\b", "'a\\b'"}};
  for (const auto& [word, quoted] : kQuoted) {
    EXPECT_EQ(quote_word(word), quoted);
    EXPECT_EQ(quote_command("run", word), "\"run " + std::string(quoted) + '"');
  }
}

TEST(Printable, AShortenedTextHasNoMoreCharactersThanAsked) {
  EXPECT_EQ(shortened("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened("abcdefg", 6), "abc...");
  EXPECT_EQ(shortened("abcd", 3), "...");
  for (const std::string each : {"\u00fc", "\u20ac", "\U0001f600"}) {  // of 2, 3 and 4 bytes
    const std::string three = each + each + each;
    EXPECT_EQ(shortened(three + three, 6), three + three);
    EXPECT_EQ(shortened(three + three + each, 6), three + "...");
  }
}

TEST(RawText, LinesBecomeOneParagraphWithoutTheirIndentation) {
  EXPECT_EQ(unfolded(R"(
      Makes a bus. Fails
      if it exists.)"),
            "Makes a bus. Fails if it exists.");
  EXPECT_EQ(unfolded("begins at once,\n    goes on   \n  "), "begins at once, goes on");
}

TEST(RawText, AnEmptyLineSeparatesParagraphs) {
  EXPECT_EQ(unfolded(R"(

      One.

      Two
      of them.
      )"),
            "One.\n\nTwo of them.");
}

TEST(RawText, ADashBeginsARowWhichGoesOnUntilTheNext) {
  constexpr const char* kRows = R"(
      faults:
      - loss=1%: lose
        frames
      - rate=10M: a bottleneck

      That was all.)";
  EXPECT_EQ(unfolded(kRows),
            "faults:\nloss=1%: lose frames\nrate=10M: a bottleneck\n\nThat was all.");
  EXPECT_EQ(unfolded(kRows, "  "),
            "faults:\n  loss=1%: lose frames\n  rate=10M: a bottleneck\n\nThat was all.");
}

TEST(RawText, LinesThatAProgramMadeStayAsTheyAre) {
  constexpr const char* kMade =
      "One of:\n  bus:PATH is a bus;\n  tap:NAME a device.\nEnd.\n\nMore.";
  EXPECT_EQ(unfolded(kMade), kMade);
  EXPECT_EQ(unfolded("faults:\nloss=1%: lose it\n    at once"),
            "faults:\nloss=1%: lose it at once");
}

TEST(RawText, ATextOfOneLineStaysAsItIs) {
  EXPECT_EQ(unfolded("- a  b "), "- a  b ");
  EXPECT_EQ(unfolded(""), "");
}

using Parts = std::vector<std::string_view>;

TEST(Split, GivesOneMorePartThanThereAreSeparators) {
  EXPECT_EQ(split("", ','), Parts{""});
  EXPECT_EQ(split("one", ','), Parts{"one"});
  EXPECT_EQ(split("one,two:2", ','), (Parts{"one", "two:2"}));
  EXPECT_EQ(split("one,two:2", ':'), (Parts{"one,two", "2"}));
  EXPECT_EQ(split(",,last", ','), (Parts{"", "", "last"}));
  EXPECT_EQ(split("first,", ','), (Parts{"first", ""}));
}

TEST(Counted, OneIsSingularAndNothingIsPlural) {
  EXPECT_EQ(counted(1, "frame"), "1 frame");
  EXPECT_EQ(counted(0, "frame"), "0 frames");
  EXPECT_EQ(counted(2, "frame"), "2 frames");
  EXPECT_EQ(counted(1, "loss", "losses"), "1 loss");
  EXPECT_EQ(counted(18446744073709551615U, "loss", "losses"), "18446744073709551615 losses");
}

TEST(Hex, HasAPrefixAndNoZerosInFront) {
  EXPECT_EQ(hex(0), "0x0");
  EXPECT_EQ(hex(0x1000), "0x1000");
  EXPECT_EQ(hex(~std::uint64_t{0}), "0xffffffffffffffff");
}

TEST(NumberList, IsReadAsTheKernelWritesIt) {
  EXPECT_EQ(read_number_list("0-3,8\n"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(read_number_list("\n"), std::vector<int>{});
  EXPECT_EQ(read_number_list("2,0-2"), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(read_number_list("65535 \n"), std::vector<int>{65535});
  for (const char* wrong : {"65536", "a", "1-", "-1", "3-1", "0,", "0-99999999999999999999"}) {
    EXPECT_FALSE(read_number_list(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace shmif::base
