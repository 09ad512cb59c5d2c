// The manual page of shmifperf, its --help, its completion and the documents name the same commands
// and options.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

#include "tests/support/run_tool.hpp"

namespace shmif::test {
namespace {

using Names = std::set<std::string>;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string said(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), SHMIFPERF_PATH);
  const ToolResult result = run_program(std::move(arguments));
  EXPECT_EQ(result.status, 0) << result.err;
  return result.out;
}

/// What `pattern` captures, wherever it matches in `text`.
Names matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  Names names;
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) {
    names.insert((*at)[1]);
  }
  return names;
}

Names without(Names names, const Names& others) {
  for (const std::string& other : others) names.erase(other);
  return names;
}

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t begin = text.find(from);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find(to, begin + from.size()) - begin);
}

const std::string& page() {
  static const std::string text = text_of(SHMIF_MANUAL_PAGE);
  return text;
}

Names commands() {
  return matches(between(said({"--help"}), "commands:", "\n\n"), "^  ([a-z]+) ");
}

/// The options of one command that its --help lists.
Names options_of(const std::string& command) {
  return matches(between(said({command, "--help"}), "options:", "\n\n"),
                 "^  (?:-.,|   ) --([a-z_-]+)");
}

/// The options of jobs and runs, by all of their names.
Names options_of_jobs() {
  const std::string text = said({"options"});
  Names names = matches(text, "^  ([a-z_-]+)(?:=|\\[=)");
  for (const std::string& others : matches(text, "^      Other name: (.*)$")) {
    names.merge(matches(others, "([a-z_-]+)"));
  }
  return names;
}

TEST(ShmifperfManual, DescribesEveryCommandAndNoOther) {
  const std::string described = between(page(), ".Sh COMMANDS", "\n.Sh ");
  EXPECT_EQ(matches(described, "^\\.It Cm ([a-z]+)"), without(commands(), {"help"}));
  EXPECT_EQ(matches(between(page(), ".Sh SYNOPSIS", "\n.Sh "), "^\\.Cm ([a-z]+)"), commands());
}

TEST(ShmifperfManual, DescribesEveryOptionOfEachCommandAndNoOther) {
  const std::string described = between(page(), ".Sh COMMANDS", "\n.Sh ");
  const Names common = {"help", "log-level", "debug"};
  for (const std::string& command : without(commands(), {"help"})) {
    // From its own heading to the next.
    std::string part = described.substr(described.find("\n.It Cm " + command) + 1);
    part = part.substr(0, part.find("\n.It Cm "));
    Names known = without(options_of(command), common);
    if (command == "run") known = without(known, options_of_jobs());
    EXPECT_EQ(matches(part, "^\\.It (?:Fl . , )?Fl Fl ([a-z_-]+)"), known) << command;
  }
}

TEST(ShmifperfManual, DescribesEveryOptionOfJobs) {
  const std::string described = between(page(), ".Sh JOB OPTIONS", "\n.Sh ");
  Names names = matches(described, "^\\.It Fl Fl ([a-z_-]+)");
  EXPECT_GT(names.size(), 80U);
  for (const std::string& others : matches(described, "^Other name: (.*)\\.$")) {
    names.merge(matches(others, "([a-z_-]+)"));
  }
  EXPECT_EQ(names, options_of_jobs());
}

TEST(ShmifperfManual, IsFreeOfWarnings) {
  const ToolResult groff =
      run_program({"groff", "-mdoc", "-Tutf8", "-ww", "-z", SHMIF_MANUAL_PAGE});
  EXPECT_EQ(groff.status, 0);
  EXPECT_EQ(groff.err, "");
}

/// `shmifperf COMMAND` and --options in a document, of which each must exist.
TEST(ShmifperfDocuments, NameNoCommandOrOptionThatThereIsNot) {
  Names known = options_of_jobs();
  for (const std::string& command : without(commands(), {"help"})) known.merge(options_of(command));
  known.insert("version");
  for (const char* document : {"docs/shmifperf.md", "docs/instruments.md", "README.md",
                               "tools/demo", "docs/shmifperf.1.in"}) {
    const std::string text = text_of(std::string(SHMIF_SOURCE) + '/' + document);
    ASSERT_NE(text, "") << document;
    const std::string command = R"(\bshmifperf(?: |" )([a-z]+)(?= [-a-z0-9]+\.(?:job|json)| --|`))";
    EXPECT_EQ(without(matches(text, command), commands()), Names()) << document;
    // On the line of a command, and in `--rate`; other programs have options, too.
    Names options;
    for (const std::string& line : matches(text, R"(\b(shmifperf(?: |" )[a-z]+ [^`|;]*))")) {
      options.merge(matches(line, " --([a-z_-]+)"));
    }
    if (std::string(document).ends_with("shmifperf.md")) {
      options.merge(matches(text, "`--([a-z_-]+)"));
      EXPECT_GT(options.size(), 15U) << "the pattern finds nothing";
    }
    EXPECT_EQ(without(options, known), Names()) << document;
  }
}

/// Options that a document is to explain, since a reader will meet them in its examples.
TEST(ShmifperfDocuments, TheTutorialsShowEveryCommandAndProfile) {
  const std::string text = text_of(std::string(SHMIF_SOURCE) + "/docs/shmifperf.md");
  const std::string both = text + text_of(std::string(SHMIF_SOURCE) + "/docs/instruments.md");
  for (const std::string& command : without(commands(), {"help"})) {
    EXPECT_NE(both.find("\nshmifperf " + command), std::string::npos) << command;
  }
  for (const std::string& profile : matches(said({"options", "--profiles"}), "^([a-z0-9]+) ")) {
    EXPECT_NE(text.find('`' + profile + '`'), std::string::npos) << profile;
  }
}

/// What bash would offer behind these words.
Names completions(const std::string& words) {
  const std::string script = "PATH=${1%/*}:$PATH; . \"$2\"; COMP_WORDS=(" + words +
                             "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shmifperf; "
                             "printf '%s\\n' \"${COMPREPLY[@]}\"";
  const ToolResult result = run_program({"bash", "-c", script, "bash", SHMIFPERF_PATH,
                                         std::string(SHMIF_SOURCE) + "/tools/shmifperf.bash"});
  EXPECT_EQ(result.err, "");
  return matches(result.out, "^(.+)$");
}

TEST(ShmifperfCompletion, OffersWhatTheProgramHas) {
  Names offered = completions("shmifperf ''");
  offered = without(offered, {"--help", "--version", "--log-level", "--debug"});
  EXPECT_EQ(offered, commands());

  Names options = options_of("run");
  options.merge(options_of_jobs());
  offered = completions("shmifperf run --");
  EXPECT_GT(offered.size(), 80U);
  for (std::string option : offered) {
    option = option.substr(2, option.find('=') - 2);
    EXPECT_TRUE(options.contains(option)) << option;
  }
}

TEST(ShmifperfCompletion, OffersTheWordsOfAnOption) {
  EXPECT_EQ(completions("shmifperf run --rw = p"), Names{"pingpong"});
  EXPECT_EQ(completions("shmifperf run --profile v"), Names{"voip"});
  const Names engines{"bus",   "tap", "packet", "unix", "udp", "stream",
                      "dgram", "vde", "pcap",   "null", "host"};
  EXPECT_TRUE(std::ranges::includes(completions("shmifperf run --engine ="), engines));
  EXPECT_FALSE(completions("shmifperf run --engine =").contains("0")) << "of another option";
  EXPECT_EQ(completions("shmifperf run --engine = bus,ta"), Names{"bus,tap"});
  EXPECT_FALSE(completions("shmifperf run --engine = bus,").contains("bus,bus"));
  EXPECT_TRUE(completions("shmifperf options ra").contains("rate_iops"));
}

}  // namespace
}  // namespace shmif::test
