// What shmifctl makes of its command line, through the program itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "base/quantity.hpp"
#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"
#include "tools/common/options_help.hpp"

namespace shmif::test {
namespace {

/// The commands that help lists. Manual.DescribesEveryCommandAndNoOther knows each.
Words listed_commands() {
  Words listed;
  const std::string help = run_tool({"--help"}).out;
  std::istringstream lines(help.substr(help.find("\ncommands:\n") + 11));
  for (std::string line, word; std::getline(lines, line) && line.starts_with("  ");) {
    std::istringstream(line) >> word;
    if (word != "help") listed.push_back(word);
  }
  EXPECT_TRUE(std::ranges::is_sorted(listed)) << help;
  return listed;
}

TEST(CommandLine, EveryCommandExplainsItselfWithExamplesInEightyColumns) {
  for (const std::string& command : listed_commands()) {
    const ToolResult result = run_tool({command, "--help"});
    EXPECT_EQ(result.status, 0) << command;
    EXPECT_EQ(result.err, "") << command;
    EXPECT_EQ(result.out.rfind("usage: shmifctl " + command + " [OPTION]...", 0), 0U) << result.out;
    const std::size_t examples = result.out.find("\nexamples:\n  shmifctl");
    ASSERT_NE(examples, std::string::npos) << result.out;
    std::istringstream body(result.out.substr(0, examples));
    for (std::string line; std::getline(body, line);) EXPECT_LE(line.size(), 80U) << line;
    EXPECT_EQ(run_tool({"help", command}).out, result.out);
  }
  const std::string values = run_tool({"help", "values"}).out;
  for (const base::Spelling& spelling : base::kSpellings) {
    EXPECT_TRUE(contains(values, std::string(spelling.examples) + ": "));
  }
  const std::string version = run_tool({"--version"}).out;
  EXPECT_TRUE(contains(version, "(bus format 0x"));
  EXPECT_EQ(run_tool({"-V"}).out, version);
  EXPECT_EQ(run_tool({"--debug", "relay", "-V"}).out, version);
  for (const char* const word : {"help", "-h"})
    EXPECT_EQ(run_tool({word}).out, run_tool({"--help"}).out);
  EXPECT_TRUE(contains(run_tool({"help", "--help"}).out, "usage: shmifctl help ["));
}

TEST(CommandLine, WordsBehindTheDoubleDashAreNoOptions) {
  TempDir directory;
  const ToolResult made = run_program({"sh", "-c", "cd \"$1\" && \"$2\" create -- -odd,name", "sh",
                                       directory.path(), shmifctl_path()});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(access(directory.file("-odd,name").c_str(), F_OK), 0);
}

/// A terminal obeys U+009B, and U+202E turns the text around.
TEST(CommandLine, NoMessageShowsTheNameOfAFileAsItIs) {
  const TempDir directory;
  const std::string path = directory.file("a\x1b\xc2\x9b\xe2\x80\xae~");
  const auto shown = [&](const Words& words) {
    const ToolResult said = run_tool(words);
    const std::string all = said.out + said.err;
    EXPECT_FALSE(contains(all, "\xc2\x9b")) << words[0];
    EXPECT_FALSE(contains(all, "\xe2\x80\xae")) << words[0];
    const bool named = all.find("a???~") != std::string::npos ||
                       all.find("a\\u001b\\u009b\\u202e~") != std::string::npos;
    EXPECT_TRUE(named) << words[0] << ": " << all;
  };
  shown({"stat", path});
  ASSERT_EQ(run_tool({"create", path}).status, 0);
  for (const char* const command : {"stat", "audit"}) {
    shown({command, path});
    shown({command, path, "--json"});
  }
  shown({"repair", path});
  shown({"ping", path, "--timeout", "0.1", "-c", "1"});
  shown({"ping", path, "--timeout", "0.1", "-c", "1", "--json"});
}

using WordSet = std::set<std::string>;

WordSet words_in(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

/// Whoever attaches to a bus chooses the name of his port. Completion must neither run it nor offer
/// it in a form that the shell runs at Enter.
TEST(Completion, NameOfAPortIsNeverRun) {
  const TempDir directory;
  Bus::create(directory.file("bus"), {}).value();
  const Words names = {"$(touch${IFS}made)", "`touch${IFS}made`", "a;touch${IFS}made",
                       "q\"u'o\\te$HOME"};
  std::vector<Port> ports;
  for (const std::string& name : names) {
    PortOptions options;
    options.name = name;
    ports.emplace_back(options);
    ASSERT_TRUE(ports.back().attach(directory.file("bus")));
  }
  // What is offered is given back to the shell, as when a person presses Enter.
  const auto accepted = [&](const std::string& begun) {
    const std::string script =
        "cd \"$3\"; PATH=${1%/*}:$PATH; . \"$2\"; COMP_WORDS=(shmifctl wait bus --port \"$4\"); "
        "COMP_CWORD=4; _shmifctl; for word in \"${COMPREPLY[@]}\"; do "
        "eval \"printf '%s\\n' $word\"; done";
    const ToolResult result =
        run_program({"bash", "-c", script, "bash", shmifctl_path(),
                     in_source("tools/shmifctl.bash"), directory.path(), begun});
    EXPECT_EQ(result.err, "");
    return words_in(result.out);
  };
  EXPECT_EQ(accepted(""), WordSet(names.begin(), names.end()));
  EXPECT_EQ(accepted("a"), WordSet{"a;touch${IFS}made"});
  EXPECT_EQ(accepted("'a;to"), WordSet{"a;touch${IFS}made"});
  EXPECT_EQ(accepted("\\$"), WordSet{"$(touch${IFS}made)"});
  EXPECT_FALSE(std::filesystem::exists(directory.file("made"))) << "a name was run";
}

/// The programs that completion asks print what others chose, too.
TEST(Completion, NeitherRunsNorShowsWhatAProgramSays) {
  const TempDir directory;
  for (const std::string program : {"shmifctl", "shmifperf"}) {
    std::ofstream file(directory.file(program));
    file << "#!/bin/sh\n"
            "printf 'commands:\\n  good  x\\noptions:\\n  --good\\n'\n"
            "printf 'good\\n$(touch made) x\\n\\302\\2332J x\\n\\033[2J x\\n'\n"
            "printf '{\"ports\": [\\n\"name\": \"a\\\\u001b[2J\",\\n\"name\": "
            "\"$(touch>made)\",\\n]}\\n'\n";
    file.close();
    std::filesystem::permissions(directory.file(program), std::filesystem::perms::owner_all);
    for (const std::string words : {"''", "x bus --port ''", "run --profile ''", "help ''"}) {
      const std::string script = "cd \"$2\"; PATH=$2:$PATH; . \"$1/tools/" + program +
                                 ".bash\"; touch bus; COMP_WORDS=(" + program + ' ' + words +
                                 "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _" + program +
                                 "; printf '%s\n' \"${COMPREPLY[@]}\"";
      const ToolResult result =
          run_program({"bash", "-c", script, "bash", in_source(""), directory.path()});
      EXPECT_FALSE(std::filesystem::exists(directory.file("made"))) << program << ' ' << words;
      EXPECT_TRUE(std::ranges::none_of(result.out, [](char c) {
        return c != '\n' && (c < ' ' || c > '~');
      })) << result.out;
      EXPECT_FALSE(contains(result.out, "u001b"));
    }
  }
}

}  // namespace
}  // namespace shmif::test

namespace shmif::tools {
namespace {

// One command line described once: what is parsed from it, what is refused with which words, and
// what --help makes of it.

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

// Texts of --help as mdoc.

TEST(Mdoc, TakesNoWordForARequest) {
  EXPECT_EQ(mdoc_text(".pcap ends"), "\\&.pcap ends\n");
  EXPECT_EQ(mdoc_text("a\\b ^ ~ 5±1"), "a\\eb \\(ha \\(ti 5\\(+-1\n");
  EXPECT_EQ(mdoc_argument("say \"no\""), "\"\\&say \\(dqno\\(dq\"");
  EXPECT_EQ(mdoc_literal("'x"), "\\&'x");
}

TEST(Mdoc, AnEntryHasACommentBehindEachPart) {
  Options options("act", "PATH");
  options.about("Acts on PATH.")
      .flag("n", "no effect")
      .value("c,count", "N", "end after N")
      .repeatable("via", "tap|veth", "how")
      .open("rate", "RATE", "of jobs", std::nullopt)
      .example("shmifctl act x", "acts");
  EXPECT_EQ(options.mdoc(),
            ".It Cm act No [\\fIOPTION\\fR]... \\fIPATH\\fR\n"
            "Acts on \\fIPATH\\fR.\n"
            ".\\\" @act\n"
            ".Bl -tag -width Ds\n"
            ".It Fl n\nNo effect.\n.\\\" @act --n\n"
            ".It Fl c , Fl Fl count Ar \"\\&N\"\nEnd after \\fIN\\fR.\n.\\\" @act --count\n"
            ".It Fl Fl via Cm \"\\&tap|veth\"\nHow (repeatable).\n.\\\" @act --via\n"
            ".El\n");
  EXPECT_EQ(Options("rest", "").about("Rests.").mdoc(), ".It Cm rest\nRests.\n.\\\" @rest\n");
}

TEST(Remedy, OfTooFewDescriptorsIsAddedWhereTheMessageHasNone) {
  const auto few = std::make_error_code(std::errc::too_many_files_open);
  const auto none = std::make_error_code(std::errc::too_many_files_open_in_system);
  EXPECT_TRUE(test::contains(with_remedy("x", few), "ulimit -n"));
  EXPECT_TRUE(test::contains(with_remedy("x (" + few.message() + ')', few), "ulimit -n"));
  EXPECT_TRUE(test::contains(with_remedy("x", none), "fs.file-max"));
  for (const char* const what : {"x (do y)", "x: ulimit -n"})
    EXPECT_EQ(with_remedy(what, few), what);
  EXPECT_EQ(with_remedy("x", std::make_error_code(std::errc::not_enough_memory)), "x");
  const auto throws = []() -> int { throw std::runtime_error("y"); };
  EXPECT_EQ(code_of_program("x", throws), kOwnFailure);
}

// The exit codes of instruments, one table for all of them, and what is told with an error.

TEST(ExitCodeOfAnInstrument, IsThatOfItsProgramUnlessThereIsMoreToTell) {
  using enum Measured;
  struct Case {
    int signal;
    std::optional<int> program;
    Measured measured;
    int code;
  };
  for (const Case& each : {
           // Processes that ran already, the machine, or a program that the instrument ended.
           Case{0, {}, values, 0},
           Case{0, {}, too_short, 0},
           Case{0, {}, nothing, 1},
           Case{0, {}, unsupported, 77},
           // A program that ended by itself.
           Case{0, 0, values, 0},
           Case{0, 0, too_short, 0},
           Case{0, 0, unsupported, 77},
           Case{0, 0, nothing, 1},
           Case{0, 42, values, 42},
           Case{0, 42, too_short, 42},
           Case{0, 42, nothing, 42},
           Case{0, 42, unsupported, 42},
           Case{0, 137, values, 137},
           // A signal, whatever else.
           Case{2, {}, values, 130},
           Case{15, 42, nothing, 143},
       }) {
    EXPECT_EQ(exit_code_of_instrument(each.signal, each.program, each.measured), each.code)
        << each.signal << ' ' << each.program.value_or(-1) << ' '
        << static_cast<int>(each.measured);
  }
}

}  // namespace
}  // namespace shmif::tools
