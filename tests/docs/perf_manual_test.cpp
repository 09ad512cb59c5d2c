// The documents, the manual page and the completion of shmifperf name the options of jobs that the
// program has, and the documents no command that there is not.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/docs/pages.hpp"
#include "tests/support/paths.hpp"

namespace shmif::test {
namespace {

const Program kPerf{shmifperf_path()};

std::string said(std::vector<std::string> arguments) {
  return kPerf.said(std::move(arguments));
}

Names commands() {
  return kPerf.commands();
}

Names options_of(const std::string& command) {
  return kPerf.options_of(command);
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

TEST(ShmifperfManual, DescribesEveryOptionOfJobs) {
  const std::string described = between(kPerf.page(), ".Sh JOB OPTIONS", "\n.Sh ");
  Names names = matches(described, "^\\.It Fl Fl ([a-z_-]+)");
  EXPECT_GT(names.size(), 80U);
  for (const std::string& others : matches(described, "^Other name: (.*)\\.$")) {
    names.merge(matches(others, "([a-z_-]+)"));
  }
  EXPECT_EQ(names, options_of_jobs());
}

/// `shmifperf COMMAND` and --options in a document, of which each must exist.
TEST(ShmifperfDocuments, NameNoCommandOrOptionThatThereIsNot) {
  Names known = options_of_jobs();
  for (const std::string& command : without(commands(), {"help"})) known.merge(options_of(command));
  known.insert("version");
  for (const char* document : {"docs/shmifperf.md", "docs/instruments.md", "README.md",
                               "tools/demo", "docs/shmifperf.1.in"}) {
    const std::string text = read_page(in_source(document));
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
  const std::string text = read_page(in_source("docs/shmifperf.md"));
  const std::string both = text + read_page(in_source("docs/instruments.md"));
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
  const ToolResult result = run_program(
      {"bash", "-c", script, "bash", shmifperf_path(), in_source("tools/shmifperf.bash")});
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
