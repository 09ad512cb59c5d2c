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

}  // namespace
}  // namespace shmif::tools
