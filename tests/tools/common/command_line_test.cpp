// What shmifctl makes of its command line, through the program itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "base/quantity.hpp"
#include "shmif/port.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

const std::vector<std::string> kCommands = {
    "audit",  "bridge", "changes", "check",  "create",    "destroy", "doctor", "down",
    "dump",   "enter",  "exec",    "extcap", "fault",     "gateway", "heal",   "heat",
    "inject", "link",   "ls",      "move",   "partition", "ping",    "ps",     "repair",
    "serve",  "stat",   "stop",    "tap",    "top",       "up",      "uplink", "wait"};

// Whoever adds a command adds it here.
TEST(CommandLine, HelpListsTheseCommandsAndNoOther) {
  const ToolResult result = run_tool({"--help"});
  EXPECT_EQ(result.status, 0);
  std::vector<std::string> listed;
  std::istringstream lines(result.out.substr(result.out.find("\ncommands:\n") + 11));
  for (std::string line, word; std::getline(lines, line) && line.starts_with("  ");) {
    std::istringstream(line) >> word;
    listed.push_back(word);
  }
  std::vector<std::string> all = kCommands;
  all.emplace_back("help");
  EXPECT_EQ(listed, all) << result.out;
}

TEST(CommandLine, EveryCommandExplainsItselfWithExamples) {
  for (const std::string& command : kCommands) {
    const ToolResult result = run_tool({command, "--help"});
    EXPECT_EQ(result.status, 0) << command;
    EXPECT_EQ(result.err, "") << command;
    EXPECT_EQ(result.out.rfind("usage: shmifctl " + command + " [OPTION]...", 0), 0U) << result.out;
    EXPECT_NE(result.out.find("\nexamples:\n  shmifctl"), std::string::npos) << result.out;
    EXPECT_EQ(run_tool({"help", command}).out, result.out);
  }
}

TEST(CommandLine, HelpFitsATerminalOfEightyColumns) {
  for (const std::string& command : kCommands) {
    const std::string text = run_tool({command, "--help"}).out;
    const std::string body = text.substr(0, text.find("\nexamples:\n"));
    std::size_t begin = 0;
    while (begin < body.size()) {
      const std::size_t end = std::min(body.find('\n', begin), body.size());
      EXPECT_LE(end - begin, 80U) << body.substr(begin, end - begin);
      begin = end + 1;
    }
  }
}

TEST(CommandLine, HelpExplainsEverySpellingOfValues) {
  const std::string help = run_tool({"help", "values"}).out;
  for (const base::Spelling& spelling : base::kSpellings) {
    EXPECT_NE(help.find(std::string("\n  ") + spelling.kind + ' '), std::string::npos) << help;
    EXPECT_NE(help.find(std::string(spelling.examples) + ": "), std::string::npos) << help;
  }
}

TEST(CommandLine, VersionNamesTheBusFormat) {
  const ToolResult result = run_tool({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.rfind("shmifctl ", 0), 0U) << result.out;
  EXPECT_NE(result.out.find("(bus format 0x"), std::string::npos) << result.out;
}

TEST(CommandLine, WordsBehindTheDoubleDashAreNoOptions) {
  TempDir directory;
  const ToolResult made = run_program({"sh", "-c", "cd \"$1\" && \"$2\" create -- -odd,name", "sh",
                                       directory.path(), shmifctl_path()});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(access(directory.file("-odd,name").c_str(), F_OK), 0);
}

TEST(CommandLine, APathMayHoldCommasAndSpaces) {
  TempDir directory;
  const std::string path = directory.file("a,b c");
  EXPECT_EQ(run_tool({"create", path}).status, 0);
  EXPECT_EQ(run_tool({"stat", path}).status, 0);
}

TEST(CommandLine, AMessageSteersNoTerminal) {
  const ToolResult result = run_tool({"stat", "/nosuch\x1b[31m/a\nb"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("/nosuch?[31m/a b"), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find('\x1b'), std::string::npos);
}

TEST(CommandLine, OutputThatCannotBeWrittenIsAFailure) {
  const ToolResult result =
      run_program({"sh", "-c", "\"$1\" --help >/dev/full", "sh", shmifctl_path()});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("standard output"), std::string::npos) << result.err;
}

using WordSet = std::set<std::string>;

WordSet words_in(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

/// What bash would offer behind these words, which are cut as readline cuts them.
WordSet completions(const std::string& words) {
  const std::string script = "PATH=${1%/*}:$PATH; . \"$2\"; COMP_WORDS=(" + words +
                             "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shmifctl; "
                             "printf '%s\\n' \"${COMPREPLY[@]}\"";
  const ToolResult result = run_program(
      {"bash", "-c", script, "bash", shmifctl_path(), in_source("tools/shmifctl.bash")});
  EXPECT_EQ(result.err, "");
  return words_in(result.out);
}

TEST(Completion, OffersCommandsAndOptions) {
  WordSet commands(kCommands.begin(), kCommands.end());
  commands.insert({"help", "--help", "--version", "--log-level", "--debug"});
  EXPECT_EQ(completions("shmifctl ''"), commands);
  EXPECT_EQ(completions("shmifctl dump --rotate-s"),
            (WordSet{"--rotate-size", "--rotate-seconds"}));
}

TEST(Completion, OffersTheWordsOfAnOption) {
  EXPECT_EQ(completions("shmifctl create x --flow ''"), (WordSet{"ethernet", "pause"}));
  EXPECT_EQ(completions("shmifctl create x --flow = p"), WordSet{"pause"});
  EXPECT_EQ(completions("shmifctl exec x --via ="), (WordSet{"tap", "veth"}));
  EXPECT_EQ(completions("shmifctl dump x --format ''"), (WordSet{"pcap", "pcapng"}));
  EXPECT_EQ(completions("shmifctl gateway x --with ="), (WordSet{"passt", "slirp4netns"}));
  EXPECT_EQ(completions("shmifctl tap x --gat"), WordSet{"--gateway"});
  // Other tests may make and remove namespaces meanwhile.
  WordSet namespaces, offered;
  EXPECT_TRUE(eventually([&] {
    namespaces.clear();
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator("/run/netns", none)) {
      namespaces.insert(entry.path().filename());
    }
    offered = completions("shmifctl tap x --netns ''");
    return offered == namespaces;
  })) << offered.size()
      << " are offered, and there are " << namespaces.size();
}

TEST(Completion, OffersTheLinksOfABridge) {
  EXPECT_EQ(completions("shmifctl bridge ''"),
            (WordSet{"bus:", "tap:", "packet:", "pcap:", "stream:", "stream:connect=",
                     "vhost-user:", "vhost-user:connect=", "memif:", "dgram:", "vde:"}));
  EXPECT_EQ(completions("shmifctl bridge bus : /dev/shm/b pc"), WordSet{"pcap:"});
  EXPECT_TRUE(completions("shmifctl bridge packet :").contains("lo"));
  EXPECT_EQ(completions("shmifctl bridge packet : l"), WordSet{"lo"});
  EXPECT_FALSE(completions("shmifctl bridge tap :").contains("lo")) << "no TAP device";
  EXPECT_EQ(completions("shmifctl bridge pcap :"), WordSet{}) << "files are readline's own";
}

TEST(Completion, OffersThePortsOfABus) {
  const TempDir directory;
  Bus::create(directory.file("bus"), {}).value();
  PortOptions options;
  options.name = "alice";
  Port port(options);
  ASSERT_TRUE(port.attach(directory.file("bus")));
  for (const std::string command : {"wait", "dump"}) {
    EXPECT_EQ(completions("shmifctl " + command + ' ' + directory.file("bus") + " --port ''"),
              WordSet{"alice"});
  }
}

/// Whoever attaches to a bus chooses the name of his port. Completion must neither run it nor offer
/// it in a form that the shell runs at Enter.
TEST(Completion, NameOfAPortIsNeverRun) {
  const TempDir directory;
  Bus::create(directory.file("bus"), {}).value();
  const std::vector<std::string> names = {"$(touch${IFS}made)", "`touch${IFS}made`",
                                          "a;touch${IFS}made", "q\"u'o\\te$HOME"};
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
      EXPECT_EQ(result.out.find("u001b"), std::string::npos) << result.out;
    }
  }
}

TEST(CommandLine, HelpNamesLevelsAndLimits) {
  const std::string help = run_tool({"create", "--help"}).out;
  const WordSet words = words_in(std::regex_replace(help, std::regex("[,.()]"), " "));
  for (const std::string level :
       {"trace", "debug", "info", "warning", "error", "critical", "off"}) {
    EXPECT_TRUE(words.contains(level)) << level;
  }
  for (const std::string limit : {"64K", "1G", "128K", "1M", "68", "65521", "0.001"}) {
    EXPECT_NE(help.find(limit), std::string::npos) << limit;
  }
}

}  // namespace
}  // namespace shmif::test
