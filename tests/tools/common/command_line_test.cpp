// What shmifctl makes of its command line, through the program itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "base/quantity.hpp"
#include "shmif/port.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

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
  EXPECT_TRUE(contains(run_tool({"--version"}).out, "(bus format 0x"));
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
