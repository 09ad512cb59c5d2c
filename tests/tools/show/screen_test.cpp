// The terminal as a full screen: what is written to it, and that it is given back.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/tools/common/borrowed_terminal.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::test {
namespace {

/// What is written to show `lines` on a terminal of four columns and three rows.
std::string shown(const std::string& lines, unsigned short columns = 4) {
  const BorrowedTerminal terminal(columns, 3);
  tools::Screen screen;
  (void)terminal.seen();
  screen.show(lines);
  return terminal.seen();
}

TEST(TopScreen, ShowsWhatFitsAndErasesTheRest) {
  EXPECT_EQ(shown("ab\ncd"), "\x1b[Hab\x1b[0m\x1b[K\r\ncd\x1b[0m\x1b[K\x1b[J");
  EXPECT_EQ(shown("abcd\nx"), "\x1b[Habcd\x1b[0m\r\nx\x1b[0m\x1b[K\x1b[J")
      << "to erase behind a full line takes its last letter away";
  EXPECT_EQ(shown("abcdef\nabcdef"), "\x1b[Habcd\x1b[0m\r\nabcd\x1b[0m");
  EXPECT_EQ(shown("\x1b[31mabcdef\x1b[0m\n\x1b[1mx"),
            "\x1b[H\x1b[31mabcd\x1b[0m\x1b[0m\r\n\x1b[1mx\x1b[0m\x1b[K\x1b[J")
      << "colours take no room";
  const std::string three = shown("1\n2\n3\n4");
  EXPECT_EQ(three.find('4'), std::string::npos) << three;
  EXPECT_FALSE(contains(three, "3\x1b[0m\x1b[K\r\n")) << "that would scroll";
  EXPECT_EQ(shown("abcdef", 6), "\x1b[Habcdef\x1b[0m");
  EXPECT_EQ(shown("äöüß\nä"), "\x1b[Häöüß\x1b[0m\r\nä\x1b[0m\x1b[K\x1b[J")
      << "a character takes one column, of however many bytes";
  EXPECT_EQ(shown("abcd→e"), "\x1b[Habcd\x1b[0m") << "nothing of one that does not fit";
}

TEST(TopScreen, IsShownWholeAlsoWhereTheTerminalIsSlowAndNobodyWaitsForIt) {
  std::string lines, seen;
  for (int row = 0; row < 200; ++row) lines += std::string(500, 'x') + '\n';
  int flags = 0;
  {
    const BorrowedTerminal terminal(500, 200);
    flags = fcntl(STDOUT_FILENO, F_GETFL);
    fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK);  // of all who have this terminal
    std::atomic<bool> over{false};
    std::thread reader([&] {
      while (!over) seen += terminal.seen();
    });
    {
      tools::Screen screen;
      screen.show(lines);
    }
    over = true;
    reader.join();
    seen += terminal.seen();
    fcntl(STDOUT_FILENO, F_SETFL, flags);
  }
  EXPECT_EQ(std::ranges::count(seen, 'x'), 500 * 200);
}

TEST(TopScreen, OfUnknownSizeIsOfTheUsualOne) {
  for (const auto& [columns, rows] : {std::pair{0, 0}, {100, 0}, {0, 50}, {100, 50}}) {
    tools::Screen::Size size;
    {
      const BorrowedTerminal terminal(0, 0);
      const tools::Screen screen;
      terminal.resize(static_cast<unsigned short>(columns), static_cast<unsigned short>(rows));
      size = screen.size();
    }
    const bool known = columns != 0 && rows != 0;
    EXPECT_EQ(size.columns, known ? 100U : 80U) << columns << ' ' << rows;
    EXPECT_EQ(size.rows, known ? 50U : 24U) << columns << ' ' << rows;
  }
}

/// The three variables of the locale, as they were, at the end again.
class Locale {
 public:
  Locale() {
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (const char* const value = std::getenv(kNames[i])) before_[i] = value;
    }
  }
  Locale(const Locale&) = delete;
  Locale& operator=(const Locale&) = delete;
  ~Locale() { set(before_); }

  using Values = std::array<std::optional<std::string>, 3>;
  /// Of LC_ALL, LC_CTYPE and LANG.
  static void set(const Values& values) {
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (values[i]) {
        ::setenv(kNames[i], values[i]->c_str(), 1);
      } else {
        ::unsetenv(kNames[i]);
      }
    }
  }

 private:
  static constexpr std::array kNames{"LC_ALL", "LC_CTYPE", "LANG"};
  Values before_;
};

TEST(TopScreen, HasUnicodeIfTheFirstVariableThatSaysSomethingSaysSo) {
  const Locale kept;
  const auto shows = [](const Locale::Values& values) {
    Locale::set(values);
    return tools::shows_unicode();
  };
  const std::nullopt_t none = std::nullopt;
  const std::string utf8 = "en_US.UTF-8";
  EXPECT_FALSE(shows({none, none, none}));
  EXPECT_FALSE(shows({"", "", ""}));
  EXPECT_TRUE(shows({utf8, none, none}));
  EXPECT_TRUE(shows({none, utf8, none}));
  EXPECT_TRUE(shows({none, none, utf8}));
  EXPECT_TRUE(shows({"", none, utf8})) << "an empty one says nothing";
  EXPECT_TRUE(shows({"", "", utf8}));
  EXPECT_TRUE(shows({none, "", utf8}));
  EXPECT_TRUE(shows({"", utf8, "C"}));
  EXPECT_TRUE(shows({utf8, "C", "C"}));
  EXPECT_FALSE(shows({"C", utf8, utf8}));
  EXPECT_FALSE(shows({none, "POSIX", utf8}));
  EXPECT_FALSE(shows({"", "C", utf8}));
  for (const char* const name : {"C.UTF-8", "C.utf8", "de_DE.Utf-8", "C.UTF8"}) {
    EXPECT_TRUE(shows({none, none, name})) << name;
  }
  for (const char* const name : {"C", "UTF-8", "de_DE.ISO-8859-1", "C.UTF-8@euro", "C.UTF-16"}) {
    EXPECT_FALSE(shows({none, none, name})) << name;
  }
}

}  // namespace
}  // namespace shmif::test
