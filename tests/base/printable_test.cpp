// Text of others on a terminal: what steers it is replaced, all else is shown.

#include "base/printable.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace shmif::base {
namespace {

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

}  // namespace
}  // namespace shmif::base
