// One command line described once: what is parsed from it, what is refused with which words, and
// what --help makes of it.

#include "tools/common/options.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
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

TEST(OptionsParsed, ThatAreWrongAreRefusedByTheirNames) {
  const auto refused = [](LineWords words) {
    return refusal_of(all_sorts(), line_of(std::move(words)));
  };
  EXPECT_EQ(refused({"a", "-c", "1", "--count", "2"}), "--count is given more than once");
  EXPECT_EQ(refused({"a", "--size=1", "--size=1"}), "--size is given more than once");
  EXPECT_EQ(refused({"a", "-nn", "-n", "-x", "--extra"}), "taken") << "flags may be repeated";
  EXPECT_EQ(refused({"a", "--mac=1", "--mac=2", "--rate=1", "--rate=2"}), "taken");
  for (const std::string value : {"1", "0", "false", "true", "no", "", "a=b"}) {
    EXPECT_EQ(refused({"a", "--extra=" + value}), "--extra takes no value");
    EXPECT_EQ(refused({"a", "--rate", "1", "--help=" + value}), "--help takes no value");
  }
  EXPECT_EQ(refused({"a", "--port", "--extra"}).substr(0, 20), "--port needs a value");
  EXPECT_EQ(refused({"a", "-c", "-x", "--port", "-=extra=1", "--rate", "-"}), "taken");
  for (const std::string value : {"", "=", "=7/24", "=a=b"}) {
    EXPECT_EQ(refused({"a", "-size" + value}),
              "unknown option -s (in -size), did you mean --size?");
  }
  for (const LineWords& words : {LineWords{"--size="}, LineWords{"--size", ""}}) {
    EXPECT_EQ(refused(words), "--size \"\" is empty (give BYTES, or leave --size out)");
  }
  EXPECT_EQ(refused({"-nc", "", "a", "b", "c"}),
            "--count \"\" is empty (give N, or leave --count out)");
  EXPECT_EQ(refused({"a", "--thread="}),
            "--thread \"\" is empty (give 0|1, or leave --thread out)");
  EXPECT_EQ(refused({"", "--size", "1"}), "taken") << "not a value of an option";
  EXPECT_EQ(refused({"a", "--size"}), "--size needs a value");
  EXPECT_EQ(refused({"a", "--rate"}), "--rate needs a value");
  for (const std::string next : {"--size", "--size=1", "--extra", "--help"}) {
    const std::string name = next.substr(0, next.find('='));
    for (const char* const word : {"--rate", "--count", "-c"}) {
      EXPECT_EQ(refused({"a", word, next}),
                std::string(word) + " needs a value, and " + name +
                    " is an option (is a variable of your shell empty?)");
    }
  }
  EXPECT_EQ(refused({"a", "--rate", "--nothing", "--rate=--size"}), "taken") << "no option of ours";
  EXPECT_EQ(refused({"a", "--rate", "--rate", "--size"}).substr(0, 37),
            "--rate needs a value, and --rate is a");
  EXPECT_EQ(refused({"a", "-Z"}), "unknown option -Z");
  EXPECT_EQ(refused({"a", "--sice=1"}), "unknown option --sice, did you mean --size?");
  EXPECT_EQ(refused({"a", "--hlep"}), "unknown option --hlep, did you mean --help?");
  EXPECT_EQ(refused({"a", "--log-levle=off"}),
            "unknown option --log-levle, did you mean --log-level?");
  EXPECT_EQ(refused({"a", "--%x"}),
            "\"--%x\" is not an option (write words that begin with '-' after \"--\")");
  EXPECT_EQ(refused({}), "too few arguments (give PATH [MORE])");
  EXPECT_EQ(refused({"a", "b"}), "taken");
  EXPECT_EQ(refused({"a", "b", "c", "d"}), "\"c\" is one argument too many (give PATH [MORE])");
  EXPECT_EQ(refusal_of(all_sorts().words(2, 2), line_of({"a"})),
            "too few arguments (give PATH [MORE])");
  EXPECT_EQ(refusal_of(all_sorts(), line_of({"a", "b"}, LineWords{"c"})),
            "\"c\" is one argument too many (give PATH [MORE])");
  EXPECT_EQ(refusal_of(Options("lone", "").words(0, 0), line_of({"x"})),
            "\"x\" is one argument too many (the command takes only options)");
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

TEST(OptionsParsed, AProgramStandsBehindTheDashesAloneAndIsNotEmpty) {
  const auto options = [](std::size_t words) {
    return Options("run", words == 1 ? "PATH -- PROGRAM" : "PATH NAME -- PROGRAM")
        .words(words, words)
        .flag("json", "")
        .takes_program();
  };
  const Arguments args =
      options(1).parse(line_of({"bus", "--json"}, LineWords{"ls", "--json", "--"}));
  EXPECT_EQ(args.positional(), LineWords{"bus"});
  EXPECT_EQ(args.program(), (LineWords{"ls", "--json", "--"}));
  const std::string after = "the program and its options come after \"--\": shmifctl run ";
  const std::string none = "no program to run (" + after;
  EXPECT_EQ(refusal_of(options(1), line_of({"bus"})), none + "PATH -- PROGRAM)");
  EXPECT_EQ(refusal_of(options(1), line_of({"bus"}, LineWords{})), none + "PATH -- PROGRAM)");
  EXPECT_EQ(refusal_of(options(1), line_of({"bus", "ls", "x"})), none + "bus -- ls x)");
  EXPECT_EQ(refusal_of(options(2), line_of({"bus", "web", "ls"})), none + "bus web -- ls)");
  EXPECT_EQ(refusal_of(options(2), line_of({"bus", "web"})), none + "PATH NAME -- PROGRAM)");
  EXPECT_EQ(refusal_of(options(1), line_of({"bus", "ls", "-la"})),
            "unknown option -l (" + after + "bus -- ls -la)");
  EXPECT_EQ(refusal_of(options(1), line_of({"--json", "bus", "ls"})), none + "--json bus -- ls)");
  const auto with_values = [&] {
    return options(1).value("n,name", "NAME", "").value("ip", "ADDRESS", "");
  };
  EXPECT_EQ(refusal_of(with_values(), line_of({"bus", "--ip", "a", "-n", "b", "sh", "-n", "x"})),
            none + "bus --ip a -n b -- sh -n x)")
      << "the word behind --ip is not the program";
  EXPECT_EQ(refusal_of(with_values(), line_of({"bus", "--ip=a", "-nb", "--json", "sh"})),
            none + "bus --ip=a -nb --json -- sh)");
  EXPECT_EQ(refusal_of(with_values(), line_of({"bus", "sh", "-c", "echo 'a' $b"})),
            "unknown option -c (" + after + R"(bus -- sh -c 'echo '\''a'\'' $b'))");
  EXPECT_EQ(refusal_of(with_values(), line_of({"--jsno", "bus", "sh"})),
            "unknown option --jsno (" + after + "PATH -- PROGRAM)");
  EXPECT_EQ(refusal_of(options(1), line_of({"bus", "--jsno"}, LineWords{"ls"})),
            "unknown option --jsno, did you mean --json?");
  EXPECT_EQ(refusal_of(options(1), line_of({"bus", "ls"}, LineWords{"x"})),
            "\"ls\" is one argument too many (give PATH -- PROGRAM)");
}

TEST(OptionsParsed, AProgramThatMayBeGivenIsNotEmptyEither) {
  const auto options = [] { return Options("run", "PATH [-- PROGRAM]").may_take_program(); };
  EXPECT_EQ(options().parse(line_of({"bus"})).program(), LineWords{});
  EXPECT_EQ(options().parse(line_of({"bus"}, LineWords{"ls", "-l"})).program(),
            (LineWords{"ls", "-l"}));
  EXPECT_EQ(refusal_of(options(), line_of({"bus"}, LineWords{})),
            "no program to run (the program and its options come after \"--\": shmifctl run PATH "
            "[-- PROGRAM])");
}

TEST(OptionsValues, AreRefusedWithTheirOptionAndTheirLimits) {
  const auto asked = [](const std::string& value, auto&& get) {
    const Arguments args = all_sorts().parse(line_of({"a", "--size", value}));
    return refusal([&] { (void)get(args); });
  };
  const auto count = [&](const std::string& value, std::uint64_t min, std::uint64_t max) {
    return asked(value, [&](const Arguments& args) { return args.count("size", min, max); });
  };
  constexpr std::uint64_t kAny = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(count("2", 2, 4), "taken");
  EXPECT_EQ(count("4", 2, 4), "taken");
  EXPECT_EQ(count("1", 2, 4), "--size \"1\" is not a whole number from 2 to 4");
  EXPECT_EQ(count("5", 2, 4), "--size \"5\" is not a whole number from 2 to 4");
  EXPECT_EQ(count("1", 2, kAny), "--size \"1\" is not a whole number of 2 or more");
  EXPECT_EQ(count("x", 0, kAny), "--size \"x\" is not a whole number");
  EXPECT_EQ(count("x", 0, 4), "--size \"x\" is not a whole number from 0 to 4");
  EXPECT_EQ(count(std::to_string(kAny), 0, kAny), "taken");
  const auto bytes = [](const Arguments& args) { return args.packet_bytes("size"); };
  EXPECT_EQ(asked("4294967295", bytes), "taken");
  EXPECT_EQ(asked("4294967296", bytes), "--size \"4294967296\" is out of range");
  const auto mac = [](const Arguments& args) { return args.mac("size"); };
  EXPECT_EQ(asked("02:00:00:00:00:01", mac), "taken");
  EXPECT_EQ(asked("web", mac), "--size \"web\" is not a MAC address (such as b2:a0:00:00:00:01)");
  for (const std::string none : {"01:00:00:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"}) {
    EXPECT_EQ(asked(none, mac), "--size \"" + none +
                                    "\" is not a unicast MAC address (the first byte must be even, "
                                    "not all zero)");
  }
}

}  // namespace
}  // namespace shmif::tools
