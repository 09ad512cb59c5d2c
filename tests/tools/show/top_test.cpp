// top, on a terminal and off it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::test {
namespace {

constexpr const char* kEnter = "\x1b[?1049h";
constexpr const char* kLeave = "\x1b[?25h\x1b[?1049l";

class Top : public ::testing::Test {
 protected:
  Top() : path(directory.file("bus")) {
    EXPECT_EQ(run_tool({"create", path, "--size", "64K"}).status, 0);
  }
  Words command() const { return {shmifctl_path(), "top", path, "--interval", "0.1"}; }
  Port attached() const {
    Port port;
    EXPECT_TRUE(port.attach(path));
    EXPECT_FALSE(port.up());
    return port;
  }
  TempDir directory;
  std::string path;
};

TEST_F(Top, LinesBeginWithTheTimeAndEachHasTheRatesSinceTheOneBefore) {
  Port alice(PortOptions{.name = "alice"});
  ASSERT_TRUE(alice.attach(path));
  ASSERT_FALSE(alice.up());
  const std::time_t begin = std::time(nullptr);
  Tool top(command());
  ASSERT_TRUE(top.wait_for("library up tx 0/s"));
  const std::string first = top.so_far().out.substr(0, 8);
  std::set<std::string> times;
  for (std::time_t now = begin; now <= std::time(nullptr); ++now) {
    std::tm parts{};
    localtime_r(&now, &parts);
    std::array<char, 16> text{};
    std::strftime(text.data(), text.size(), "%H:%M:%S", &parts);
    times.insert(text.data());
  }
  EXPECT_TRUE(times.contains(first)) << first;
  const std::array<std::byte, 60> bytes{};
  const FrameView frame(bytes.data(), bytes.size());
  for (unsigned i = 0; i < 100; ++i) ASSERT_EQ(alice.send({&frame, 1}).taken, 1U);
  const auto is_quiet_again = [&] {
    const std::string& out = top.so_far().out;
    const std::string port = "library up tx ";
    std::optional<std::size_t> busy;  // the last line of a port that sent
    for (std::size_t at = 0; (at = out.find(port, at)) != std::string::npos; ++at) {
      if (out.compare(at + port.size(), 3, "0/s") != 0) busy = at;
    }
    const std::size_t quiet = out.rfind(port + "0/s");
    return busy && quiet != std::string::npos && quiet > *busy;
  };
  for (int i = 0; i < 100 && !is_quiet_again(); ++i) {
    top.wait_for("never", std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(is_quiet_again()) << top.so_far().out;
}

TEST_F(Top, ABusThatIsTruncatedIsAnErrorAndOneThatIsRemovedIsNot) {
  OnTerminal removed(command(), 80, 24);
  ASSERT_TRUE(removed.wait_for("SLOT NAME"));
  ASSERT_EQ(run_tool({"destroy", path}).status, 0);
  EXPECT_TRUE(removed.wait_for("(removed)"));
  ASSERT_EQ(run_tool({"create", path, "--size", "64K"}).status, 0);
  Tool truncated(command());
  ASSERT_TRUE(truncated.wait_for(" bus "));
  std::filesystem::resize_file(path, 1000);
  const ToolResult result = truncated.finish();
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.err, "truncated"));
  EXPECT_EQ(removed.status(), 1) << "it shows the new bus of that path";
  EXPECT_TRUE(removed.reads_whole_lines());
}

TEST_F(Top, ABusThatTookThePlaceOfAnotherIsNotComparedWithThat) {
  const auto alice_on = [](const std::string& bus) {
    Port port(PortOptions{.name = "alice"});
    EXPECT_TRUE(port.attach(bus));
    EXPECT_FALSE(port.up());
    return port;
  };
  const Port before = alice_on(path);
  const std::string other = directory.file("other");
  ASSERT_EQ(run_tool({"create", other, "--size", "64K"}).status, 0);
  Port after = alice_on(other);
  const std::array<std::byte, 60> bytes{};
  const FrameView frame(bytes.data(), bytes.size());
  for (unsigned i = 0; i < 100; ++i) ASSERT_EQ(after.send({&frame, 1}).taken, 1U);
  Tool top(command());
  ASSERT_TRUE(top.wait_for("library up tx 0/s"));
  std::filesystem::rename(other, path);
  EXPECT_TRUE(top.wait_for("library up tx -/s")) << "it sent nothing on the bus before";
}

TEST_F(Top, QQuitsAndGivesTheTerminalBack) {
  OnTerminal top(command(), 80, 24);
  ASSERT_TRUE(top.wait_for("SLOT NAME"));
  EXPECT_TRUE(contains(top.seen, kEnter));
  EXPECT_FALSE(top.reads_whole_lines());
  top.type("q");
  EXPECT_EQ(top.status(), 0);
  EXPECT_TRUE(contains(top.seen, kLeave));
  EXPECT_TRUE(top.reads_whole_lines());
}

TEST_F(Top, EverySignalThatEndsItGivesTheTerminalBack) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    SCOPED_TRACE(number);
    OnTerminal top(command(), 80, 24);
    ASSERT_TRUE(top.wait_for("SLOT NAME"));
    top.signal(number);
    EXPECT_EQ(top.status(), 0);
    EXPECT_TRUE(contains(top.seen, kLeave));
    EXPECT_TRUE(top.reads_whole_lines());
  }
}

TEST_F(Top, StoppingGivesTheTerminalBackAndGoingOnTakesItAgain) {
  OnTerminal top(command(), 80, 24);
  ASSERT_TRUE(top.wait_for("SLOT NAME"));
  for (int round = 0; round < 2; ++round) {
    top.forget();
    top.signal(SIGTSTP);
    ASSERT_EQ(top.status(WUNTRACED), -2) << round;
    EXPECT_TRUE(top.reads_whole_lines());
    EXPECT_TRUE(contains(top.seen, kLeave));
    top.forget();
    top.signal(SIGCONT);
    EXPECT_TRUE(top.wait_for(kEnter));
    EXPECT_TRUE(top.wait_for("SLOT NAME"));
    EXPECT_FALSE(top.reads_whole_lines());
  }
  top.type("q");
  EXPECT_EQ(top.status(), 0);
}

TEST_F(Top, ATerminalThatStandsStillKeepsItFromNoEnd) {
  OnTerminal top({shmifctl_path(), "top", path, "--interval", "0.05"}, 80, 24);
  ASSERT_TRUE(top.wait_for("SLOT NAME"));
  top.stand_still();
  top.signal(SIGTERM);
  EXPECT_EQ(top.status_with_alarms(), 0);
  EXPECT_TRUE(top.reads_whole_lines());
}

TEST_F(Top, HasColoursOnlyWhereTheTerminalHasThemAndTheUserWantsThem) {
  const Port port = attached();
  for (const auto& [wish, has_colours] : {std::pair{"TERM=xterm", true},
                                          {"NO_COLOR=", true},
                                          {"NO_COLOR=1", false},
                                          {"TERM=dumb", false}}) {
    OnTerminal top({"env", "TERM=xterm", wish, shmifctl_path(), "top", path}, 80, 24);
    ASSERT_TRUE(top.wait_for("q quit")) << wish;
    EXPECT_EQ(top.seen.find("\x1b[32m") != std::string::npos, has_colours) << wish << top.seen;
  }
}

TEST_F(Top, FollowsTheSizeOfTheTerminal) {
  OnTerminal top({shmifctl_path(), "top", path, "--interval", "3600"}, 80, 24);
  ASSERT_TRUE(top.wait_for("SLOT NAME"));
  EXPECT_FALSE(contains(top.seen, "MAC")) << "no room for it on 80 columns";
  ASSERT_TRUE(top.wait_for("takeovers"));
  top.forget();
  top.resize(160, 24);
  EXPECT_TRUE(top.wait_for("SLEEP/s")) << "a wide terminal shows more";
  top.forget();
  top.resize(30, 5);
  EXPECT_TRUE(top.wait_for_screen_of(5)) << top.seen;
}

TEST_F(Top, EachKeyScrollsItsWayAndAnUpdateLeavesTheListWhereItIs) {
  std::vector<Port> ports(12);
  for (Port& port : ports) ASSERT_TRUE(port.attach(path));
  OnTerminal top({shmifctl_path(), "top", path, "--interval", "0.05"}, 80, 11);  // room for three
  ASSERT_TRUE(top.wait_for("ports 1-3 of 12"));
  for (const auto& [key, shown] : {std::pair{"j", "2-4"},
                                   {"\x1b[B", "3-5"},
                                   {"\x1bOB", "4-6"},
                                   {" ", "7-9"},
                                   {"\x1b[6~", "10-12"},
                                   {"\x1b[5~", "7-9"},
                                   {"k", "6-8"},
                                   {"\x1b[A", "5-7"},
                                   {"\x1bOA", "4-6"},
                                   {"kkkkkkkkkkkk", "1-3"},
                                   {"j", "2-4"},
                                   {"jjjjjjjjjjjj", "10-12"},
                                   {"k", "9-11"}}) {
    const std::string wanted = "ports " + std::string(shown) + " of 12";
    top.type(key);
    ASSERT_TRUE(top.wait_for(wanted)) << key + 1;
    top.forget();
    for (int updates = 0; updates < 2; ++updates) {
      ASSERT_TRUE(top.wait_for(" of 12"));
      EXPECT_TRUE(contains(top.seen, wanted)) << key + 1;
      top.forget();
    }
  }
  top.type("Q");
  EXPECT_EQ(top.status(), 0);
}

TEST_F(Top, SortsAsItIsToldAndAsTheKeysSayAndGoesOnSo) {
  Port first(PortOptions{.name = "c1"}), second(PortOptions{.name = "a2"}),
      third(PortOptions{.name = "b3"});
  for (Port* port : {&first, &second, &third}) ASSERT_TRUE(port->attach(path));
  const auto order_on = [](const std::string& screens) {
    const std::size_t begin = screens.rfind("SLOT NAME");
    std::vector<std::pair<std::size_t, std::string>> at;
    for (const char* const name : {"a2", "b3", "c1"})
      at.emplace_back(screens.find(name, begin), name);
    std::ranges::sort(at);
    return at[0].second + ' ' + at[1].second + ' ' + at[2].second;
  };
  OnTerminal top({shmifctl_path(), "top", path, "--interval", "0.05", "--sort", "name"}, 80, 24);
  ASSERT_TRUE(top.wait_for(" [name] slot"));
  EXPECT_EQ(order_on(top.seen), "a2 b3 c1");
  for (const auto& [key, shown, order] : {std::tuple{"s", " [slot]", "c1 a2 b3"},
                                          {"n", " [name] ", "a2 b3 c1"},
                                          {"l", " [loss] ", "c1 a2 b3"},
                                          {"g", " [g=lag] ", "c1 a2 b3"},
                                          {"t", " [tx] ", "c1 a2 b3"},
                                          {"r", " [rx] ", "c1 a2 b3"},
                                          {"n", " [name] ", "a2 b3 c1"}}) {
    top.type(key);
    ASSERT_TRUE(top.wait_for(shown)) << key;
    EXPECT_EQ(order_on(top.seen), order) << key;
    top.type("j");
    top.forget();
    ASSERT_TRUE(top.wait_for(shown)) << "also after an update: " << key;
    EXPECT_EQ(order_on(top.seen), order) << key;
    top.forget();
  }
}

TEST_F(Top, RefusesAnOrderThatThereIsNotAndTimesThatAreTooShortOrTooLong) {
  const auto refused = [&](const std::string& option, const std::string& value) {
    const ToolResult result = run_tool({"top", path, option, value, "--count", "1"});
    EXPECT_EQ(result.status, 2) << value;
    EXPECT_EQ(result.out, "");
    return result.err.substr(0, result.err.find("; see "));
  };
  for (const char* const word : {"l", "trouble", "LOSS", "losses"}) {
    EXPECT_EQ(refused("--sort", word), std::string("shmifctl: top: --sort \"") + word +
                                           "\" is not one of loss, lag, tx, rx, name and slot");
  }
  for (const char* const time : {"0.049", "0", "3600.1"}) {
    EXPECT_EQ(refused("--interval", time),
              std::string("shmifctl: top: --interval \"") + time + "\" is not from 0.05 to 3600");
  }
  EXPECT_TRUE(contains(refused("--count", "0"), "--count"));
  for (const char* const word : {"loss", "lag", "tx", "rx", "name", "slot"}) {
    const ToolResult taken =
        run_tool({"top", path, "--sort", word, "--interval", "0.05", "--count", "1"});
    EXPECT_EQ(taken.status, 0) << word << taken.err;
  }
}

std::size_t screens_in(const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find("\x1b[H", at)) != std::string::npos; ++at) ++count;
  return count;
}

TEST_F(Top, EndsAfterAsManyUpdatesOnATerminalToo) {
  for (const std::size_t updates : {1U, 3U}) {
    OnTerminal top(
        {shmifctl_path(), "top", path, "--interval", "0.05", "-n", std::to_string(updates)}, 80,
        24);
    EXPECT_EQ(top.status(), 0);
    EXPECT_EQ(screens_in(top.seen), 1 + updates) << "the first has no rates";
    EXPECT_TRUE(top.reads_whole_lines());
  }
}

TEST_F(Top, SleepsBetweenItsUpdatesWhereThereAreNoKeys) {
  // A file that has ended, and a pipe whose writer has gone.
  for (const std::string input : {"</dev/null", "< <(true)"}) {
    OnTerminal top({"bash", "-c", "exec \"$1\" top \"$2\" --interval 3600 " + input, "bash",
                    shmifctl_path(), path},
                   80, 24);
    ASSERT_TRUE(top.wait_for("frames/s   0")) << "the rates of the first update";
    top.forget();
    EXPECT_FALSE(top.wait_for("frames/s", 2)) << input << ": nothing has changed";
    top.signal(SIGTERM);
    EXPECT_EQ(top.status(), 0);
  }
}

// The terminal as a full screen: what is written to it, and that it is given back.

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
