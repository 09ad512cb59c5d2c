// How a command's end becomes the exit code and the one line on standard error.

#include "tools/common/program.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace shmif::tools {
namespace {

TEST(ExitCodes, AreOneUnlessTheMachineCannotOrTheWishIsImpossible) {
  const std::set<Errc> impossible{Errc::bad_size, Errc::bad_mtu, Errc::bad_patience,
                                  Errc::ring_too_small, Errc::bad_name};
  constexpr int kLast = static_cast<int>(Errc::interrupted);
  for (int i = 1; i <= kLast; ++i) {
    const auto code = static_cast<Errc>(i);
    EXPECT_EQ(exit_code_of(code), impossible.contains(code)     ? 2
                                  : code == Errc::not_supported ? 77
                                                                : 1)
        << make_error_code(code).message();
  }
  EXPECT_EQ(exit_code_of(std::make_error_code(std::errc::not_supported)), 1);
  EXPECT_EQ(exit_code_of(std::make_error_code(std::errc::invalid_argument)), 1);
}

/// What the command "act" of the program below does.
std::function<int()> act;
std::vector<std::string> seen_words;
std::optional<std::vector<std::string>> seen_tail;

const Command kAct{"act", "does what the test wants", [](const CommandLine& line) {
                     seen_words = line.words;
                     seen_tail = line.tail;
                     return act();
                   }};
constexpr std::array kCommands = {&kAct};
constexpr Program kProgram{"shmifctl", "About it.", "  shmifctl act\n", kCommands};

struct Ended {
  int code = -1;
  std::string out, err;
};

/// Runs the program with these words.
Ended run_with(std::vector<std::string> words) {
  words.insert(words.begin(), "shmifctl");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Ended ended;
  ended.code = run_program(kProgram, static_cast<int>(argv.size()), argv.data());
  ended.err = ::testing::internal::GetCapturedStderr();
  ended.out = ::testing::internal::GetCapturedStdout();
  return ended;
}

Ended acting(std::function<int()> how) {
  act = std::move(how);
  return run_with({"act"});
}

TEST(ProgramEnd, IsWhatTheCommandReturnsOrThrows) {
  EXPECT_EQ(acting([] { return 130; }).code, 130);
  EXPECT_EQ(acting([]() -> int { throw Exit{3}; }).code, 3);
  const Ended usage = acting([]() -> int { throw UsageError{"that is wrong"}; });
  EXPECT_EQ(usage.code, 2);
  EXPECT_EQ(usage.err, "shmifctl: act: that is wrong; see 'shmifctl act --help'\n");
  EXPECT_EQ(acting([]() -> int { throw UsageError{"did you mean this?"}; }).err,
            "shmifctl: act: did you mean this? See 'shmifctl act --help'\n");
  const auto thrown = [](const std::error_code& code, const std::string& message) {
    return acting([&]() -> int { throw Exception(Error(code, message)); });
  };
  EXPECT_EQ(thrown(Errc::busy, "cannot do it").err, "shmifctl: cannot do it\n");
  EXPECT_EQ(thrown(Errc::busy, "it is busy").err, "shmifctl: cannot run act: it is busy\n");
  EXPECT_EQ(thrown(Errc::busy, "x").code, 1);
  EXPECT_EQ(thrown(Errc::bad_mtu, "x").code, 2);
  EXPECT_EQ(thrown(Errc::not_supported, "x").code, 77);
  const Ended unlucky = acting([]() -> int { throw std::runtime_error("out of luck"); });
  EXPECT_EQ(unlucky.code, 1);
  EXPECT_EQ(unlucky.err, "shmifctl: cannot finish act: out of luck\n");
  const Ended starved = acting([]() -> int { throw std::bad_alloc(); });
  EXPECT_EQ(starved.code, 1);
  EXPECT_EQ(starved.err,
            "shmifctl: cannot finish act: there is not enough memory (allow this program more, see "
            "'ulimit -v')\n");
}

TEST(ProgramEnd, IsAFailureWhereItsOutputIsLostUnlessTheCommandSaysWorse) {
  for (const auto& [how, code] :
       std::vector<std::pair<std::function<int()>, int>>{{[] { return 0; }, 1},
                                                         {[] { return 77; }, 77},
                                                         {[]() -> int { throw Exit{0}; }, 1},
                                                         {[]() -> int { throw Exit{125}; }, 125}}) {
    const int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    std::fflush(stdout);
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ::testing::internal::CaptureStderr();
    dup2(full, STDOUT_FILENO);
    act = [&, end = how] {
      std::fputs("text", stdout);
      return end();
    };
    std::string name = "shmifctl", word = "act";
    std::array<char*, 2> argv{name.data(), word.data()};
    const int ended = run_program(kProgram, 2, argv.data());
    dup2(saved, STDOUT_FILENO);
    std::clearerr(stdout);
    close(saved);
    close(full);
    EXPECT_EQ(::testing::internal::GetCapturedStderr(),
              "shmifctl: cannot write to standard output: No space left on device\n");
    EXPECT_EQ(ended, code);
  }
}

TEST(ProgramWords, OnBothSidesOfTheFirstDashesAreKeptApart) {
  act = [] { return 0; };
  using Words = std::vector<std::string>;
  EXPECT_EQ(run_with({"act", "a", "--b"}).code, 0);
  EXPECT_EQ(seen_words, (Words{"a", "--b"}));
  EXPECT_FALSE(seen_tail);
  EXPECT_EQ(run_with({"act", "a", "--", "b", "--", "c"}).code, 0);
  EXPECT_EQ(seen_words, Words{"a"});
  EXPECT_EQ(seen_tail, (Words{"b", "--", "c"}));
  EXPECT_EQ(run_with({"act", "--"}).code, 0);
  EXPECT_EQ(seen_words, Words{});
  EXPECT_EQ(seen_tail, Words{});
  EXPECT_EQ(run_with({"help", "act"}).code, 0);
  EXPECT_EQ(seen_words, Words{"--help"});
  EXPECT_FALSE(seen_tail);
}

TEST(ProgramWords, BeforeACommandAreOptionsOfTheProgramOrRefused) {
  act = [] { return 0; };
  const auto refused = [](const std::vector<std::string>& words) {
    const Ended ended = run_with(words);
    EXPECT_EQ(ended.code, 2);
    EXPECT_EQ(ended.out, "");
    return ended.err;
  };
  const std::string see = " 'shmifctl --help'\n";
  EXPECT_EQ(refused({}), "shmifctl: no command given; see" + see);
  EXPECT_EQ(refused({"--", "act"}), "shmifctl: no command given; see" + see);
  EXPECT_EQ(refused({"--log-level"}), "shmifctl: --log-level needs a value; see" + see);
  EXPECT_EQ(refused({"--log-level", "off"}), "shmifctl: no command given; see" + see);
  EXPECT_EQ(refused({"--log-level=loud", "act"}).substr(0, 35),
            "shmifctl: --log-level \"loud\" is not");
  EXPECT_EQ(refused({"-x"}), "shmifctl: unknown option -x; see" + see);
  EXPECT_EQ(refused({"-halp"}), "shmifctl: unknown option -halp; see" + see)
      << "a word of letters is no misspelt long option";
  EXPECT_EQ(refused({"--versoin=1"}),
            "shmifctl: unknown option --versoin=1, did you mean --version? See" + see);
  EXPECT_EQ(refused({"value"}), "shmifctl: unknown command \"value\"; see" + see);
  EXPECT_EQ(refused({"help", "value"}),
            "shmifctl: unknown command \"value\", did you mean \"values\"? See" + see);
  const std::string overview = run_with({"--help"}).out;
  EXPECT_NE(overview.find("\n  act       does what the test wants\n"), std::string::npos)
      << overview;
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"-h"}, {"help"}, {"--log-level", "warning", "-h", "act"}}) {
    const Ended ended = run_with(words);
    EXPECT_EQ(ended.code, 0);
    EXPECT_EQ(ended.out, overview);
  }
  for (const char* const option : {"--help", "-h"}) {
    const Ended ended = run_with({"help", option});
    EXPECT_EQ(ended.code, 0);
    EXPECT_EQ(ended.out.substr(0, 38), "usage: shmifctl help [COMMAND|values]\n");
  }
  EXPECT_EQ(run_with({"help", "--man", "values"}).out.substr(0, 11), ".Sh VALUES\n");
  EXPECT_EQ(refused({"help", "--man", "value"}),
            "shmifctl: unknown command \"value\", did you mean \"values\"? See" + see);
  EXPECT_EQ(run_with({"-V"}).out, run_with({"--version"}).out);
}

}  // namespace
}  // namespace shmif::tools
