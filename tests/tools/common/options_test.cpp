// One command line described once: what is parsed from it, what is refused with which words, and
// what --help makes of it.

#include "tools/common/options.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "shmif/log.hpp"

namespace shmif::tools {
namespace {

using LineWords = std::vector<std::string>;

/// A command with one option of each sort.
Options all_sorts(std::string synopsis = "PATH [MORE]") {
  Options options("act", std::move(synopsis));
  options.about("Does it.")
      .flag("x,extra", "a flag with a letter")
      .flag("n", "a flag that is a letter")
      .value("c,count", "N", "a value with a letter")
      .value("size", "BYTES", "a value")
      .repeatable("port", "NAME", "any number")
      .once_per_bus("mac", "MAC", "one each")
      .open("rate", "RATE", "seen by all", std::nullopt)
      .open("thread", "0|1", "has a value alone", "1")
      .open("hidden", "X", "", "7")
      .example("shmifctl act x", "acts")
      .words(1, 2);
  return options;
}

CommandLine line_of(LineWords words, std::optional<LineWords> tail = {}) {
  return {std::move(words), std::move(tail)};
}

/// What a wrong line is refused with.
std::string refusal(const std::function<void()>& attempt) {
  try {
    attempt();
  } catch (const UsageError& error) {
    return error.what;
  }
  return "taken";
}

std::string refusal_of(const Options& options, const CommandLine& line) {
  return refusal([&] { (void)options.parse(line); });
}

TEST(OptionsText, FillsEightyColumnsAndNoMore) {
  const std::string word(38, 'w');
  const std::string two = word + ' ' + word;
  EXPECT_EQ(wrapped(two + " ab", 4, 0), two + " ab\n") << "exactly 80";
  EXPECT_EQ(wrapped(two + " abc", 4, 0), two + "\n    abc\n");
  EXPECT_EQ(wrapped(two + " ab", 4, 1), two + "\n    ab\n");
  EXPECT_EQ(wrapped(two + " abc d", 4, 0), two + "\n    abc d\n");
  EXPECT_EQ(wrapped(word + ' ' + std::string(41, 'v'), 2, 0),
            word + ' ' + std::string(41, 'v') + '\n')
      << "exactly 80";
  EXPECT_EQ(wrapped(word + ' ' + std::string(42, 'v'), 2, 0),
            word + "\n  " + std::string(42, 'v') + '\n');
  EXPECT_EQ(wrapped(std::string(100, 'l') + " a", 2, 2), std::string(100, 'l') + "\n  a\n")
      << "what fits nowhere gets no empty line before it";
  EXPECT_EQ(wrapped("", 2, 2), "\n");
  EXPECT_EQ(wrapped("one\n" + two + " abc", 2, 9), "one\n  " + two + "\n  abc\n")
      << "a line that the text ends itself";
}

TEST(OptionsHelp, ShowsEachSortOfOptionInItsWay) {
  EXPECT_EQ(all_sorts().help(),
            "usage: shmifctl act [OPTION]... PATH [MORE]\n"
            "\n"
            "Does it.\n"
            "\n"
            "options:\n"
            "  -x, --extra            a flag with a letter\n"
            "  -n                     a flag that is a letter\n"
            "  -c, --count N          a value with a letter\n"
            "      --size BYTES       a value\n"
            "      --port NAME        any number (repeatable)\n"
            "      --mac MAC          one each (once for each --bus)\n"
            "      --rate RATE        seen by all\n"
            "      --thread[=0|1]     has a value alone\n"
            "      --log-level LEVEL  report messages of this level and of all more serious\n"
            "                         ones: trace, debug, info, warning (default), error,\n"
            "                         critical or off\n"
            "      --debug LIST       write debug messages of these categories (or all) to\n"
            "                         standard error; --debug=help lists them\n"
            "  -h, --help             print this and exit\n"
            "\n"
            "examples:\n"
            "  shmifctl act x\n"
            "      acts\n");
}

TEST(OptionsHelp, IsPrintedWhateverElseIsWrongWithTheLine) {
  for (const LineWords& words : {LineWords{"--help"}, LineWords{"-h", "--size=1", "--size=2"},
                                 LineWords{"a", "b", "c", "--help", "--log-level=loud"}}) {
    ::testing::internal::CaptureStdout();
    int code = -1;
    try {
      (void)all_sorts().parse(line_of(words));
    } catch (const Exit& exit) {
      code = exit.code;
    }
    EXPECT_EQ(::testing::internal::GetCapturedStdout(), all_sorts().help());
    EXPECT_EQ(code, 0);
  }
}

TEST(OptionsParsed, AreThoseOfTheLineInItsOrder) {
  const Arguments args = all_sorts().parse(line_of(
      {"--port", "b,c", "one", "-n", "--rate=9", "--port=a", "-c5", "-nx", "--thread", "--hidden"},
      LineWords{"--size"}));
  EXPECT_EQ(args.positional(), (LineWords{"one", "--size"}))
      << "behind the dashes are words, and last";
  EXPECT_EQ(args.all("port"), (LineWords{"b,c", "a"}));
  EXPECT_EQ(args.text("rate"), "9");
  EXPECT_EQ(args.text("thread"), "1");
  EXPECT_EQ(args.text("hidden"), "7");
  EXPECT_EQ(args.count("count"), 5U);
  EXPECT_TRUE(args.flag("n"));
  EXPECT_TRUE(args.flag("extra"));
  EXPECT_FALSE(args.given("size"));
  EXPECT_EQ(args.size("size"), std::nullopt);
  LineWords order;
  for (const auto& [name, value] : args.in_order()) order.push_back(name);
  EXPECT_EQ(order,
            (LineWords{"port", "n", "rate", "port", "count", "n", "extra", "thread", "hidden"}));
  EXPECT_EQ(all_sorts().parse(line_of({"a", "--thread=0", "--thread"})).all("thread"),
            (LineWords{"0", "1"}));
}

TEST(OptionsParsed, AValueMayBeOfAnyLengthAndHaveAnyCharacter) {
  const std::string all_bytes = [] {
    std::string text;
    for (int byte = 1; byte < 256; ++byte) text += static_cast<char>(byte);
    return text;
  }();
  for (const std::string& value :
       {std::string("a\nb"), std::string("\n"), std::string("=x"), std::string("-c"),
        std::string("--size=1"), std::string("a b"), all_bytes, std::string(130'000, 'b')}) {
    EXPECT_EQ(all_sorts().parse(line_of({"path", "--port=" + value})).text("port"), value);
    EXPECT_EQ(all_sorts().parse(line_of({"path", "-c" + value})).text("count"), value);
    EXPECT_EQ(all_sorts().parse(line_of({"path", "-nxc" + value, "-n"})).text("count"), value);
    if (value == "-c" || value == "--size=1") continue;  // as a word of its own, it is an option
    EXPECT_EQ(all_sorts().parse(line_of({"path", "--port", value})).text("port"), value);
    EXPECT_EQ(all_sorts().parse(line_of({"path", "-c", value, "-n"})).text("count"), value);
  }
  EXPECT_EQ(all_sorts().parse(line_of({"a\nb", "-x"})).positional(), LineWords{"a\nb"});
}

TEST(OptionsParsed, AWrongWordIsNamedInAFewLettersHoweverLongItIs) {
  const std::string many(130'000, 'a');
  for (const std::string& word :
       {"--nonsense" + many, "--" + many + "=1", "--" + many + "\n", "-Z" + many, "--\n" + many}) {
    const std::string what = refusal_of(all_sorts(), line_of({"path", word}));
    EXPECT_NE(what, "taken");
    EXPECT_LT(what.size(), 200U);
  }
  const std::string what =
      refusal([&] { (void)all_sorts().parse(line_of({"path", "--size=" + many})).size("size"); });
  EXPECT_EQ(what.find("--size \"aaaa"), 0U) << what;
  EXPECT_LT(what.size(), 300U);
}

TEST(OptionsParsed, OfSeveralLogLevelsTheLastCounts) {
  Options options = all_sorts();
  (void)options.parse(line_of({"a", "--log-level=off", "--log-level", "warning"}));
  ::testing::internal::CaptureStderr();
  log_warning("heard");
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("heard"), std::string::npos);
  (void)options.parse(line_of({"a", "--log-level=warning", "--log-level", "off"}));
  ::testing::internal::CaptureStderr();
  log_warning("heard");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  apply_log_level("warning");
}

}  // namespace
}  // namespace shmif::tools
