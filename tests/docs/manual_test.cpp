// The manual page of each program describes the commands and options that its --help does. The
// documents and the completion of shmifperf name the options of jobs that the program has, and the
// documents no command that there is not.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/quantity.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::test {
namespace {

using Names = std::set<std::string>;

std::string read_page(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
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

/// A program in tools/, whose manual page is built beside it.
class Program {
 public:
  explicit Program(std::string path) : path_(std::move(path)) {}

  /// What it prints, after it has succeeded.
  std::string said(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), path_);
    const ToolResult result = run_program(std::move(arguments));
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }

  std::string path_of_page() const { return path_ + ".1"; }
  std::string page() const { return read_page(path_of_page()); }

  Names commands() const {
    return matches(between(said({"--help"}), "commands:", "\n\n"), "^  ([a-z]+) ");
  }

  /// The options of one command that its --help lists.
  Names options_of(const std::string& command) const {
    const std::string list = between(said({command, "--help"}), "options:", "\n\n");
    Names names = matches(list, "^  (?:-.,|   ) --([a-z_-]+)");
    names.merge(matches(list, "^  -(.) "));
    return names;
  }

 private:
  std::string path_;
};

class Manual : public testing::TestWithParam<std::string> {
 protected:
  const Program program_{GetParam()};
  const std::string page_ = program_.page();
  /// All but "help".
  const Names commands_ = without(program_.commands(), {"help"});

  std::string described_commands() const { return between(page_, ".Sh COMMANDS", "\n.Sh "); }
};

TEST_P(Manual, DescribesEveryCommandAndNoOther) {
  EXPECT_GT(commands_.size(), 10U);
  EXPECT_EQ(matches(described_commands(), "^\\.It Cm ([a-z]+) No "), commands_);
}

TEST_P(Manual, DescribesEveryOptionOfEachCommandAndNoOther) {
  const std::string described = described_commands();
  const std::string options_of_jobs = between(page_, ".Sh JOB OPTIONS", "\n.Sh ");
  const Names of_jobs = matches(options_of_jobs, "^\\.It Fl Fl ([a-z_-]+)");
  for (const std::string& command : commands_) {
    // From behind its own heading to the next.
    const std::string heading = "\n.It Cm " + command + " No ";
    std::string part = described.substr(described.find(heading) + heading.size());
    std::smatch next;
    if (std::regex_search(part, next, std::regex("\n\\.It Cm [a-z]+ No ")))
      part = next.prefix().str();
    Names known = without(program_.options_of(command), {"help", "log-level", "debug"});
    if (command == "run") known = without(known, of_jobs);
    Names in_page = matches(part, "^\\.It (?:Fl . , )?Fl Fl ([a-z_-]+)");
    in_page.merge(matches(part, "^\\.It Fl (.)$"));
    EXPECT_EQ(in_page, known) << command;
  }
}

TEST_P(Manual, SaysOfACommandWhatHelpSays) {
  // One word behind another, as in both texts, however they are wrapped and set.
  const auto words = [](std::string text) {
    text = std::regex_replace(text, std::regex(R"(\\f[BIR]|\\&|\\(?=-)|')"), "");
    return std::regex_replace(text, std::regex("[ \n]+"), " ");
  };
  const std::string page = words(page_);
  for (const std::string& command : commands_) {
    const std::string about = between(program_.said({command, "--help"}), "\n\n", "\n\n").substr(2);
    const std::string first = about.substr(0, about.find(". "));
    EXPECT_NE(page.find(words(first)), std::string::npos) << command << ": " << first;
  }
}

TEST_P(Manual, ShowsTheSpellingsOfValues) {
  for (const base::Spelling& spelling : base::kSpellings) {
    const std::string entry = std::string(spelling.kind) + '\n' + spelling.examples + ": ";
    EXPECT_NE(page_.find("\n.It Ar " + entry), std::string::npos) << entry;
  }
}

TEST_P(Manual, NamesEveryLogLevel) {
  const std::string described = between(page_, ".It Fl Fl log-level", "\n.It ");
  for (const std::string level :
       {"trace", "debug", "info", "warning", "error", "critical", "off"}) {
    EXPECT_TRUE(matches(described, "\\b([a-z]+)\\b").contains(level)) << level;
  }
}

TEST_P(Manual, IsFreeOfWarnings) {
  const ToolResult groff =
      run_program({"groff", "-mdoc", "-Tutf8", "-ww", "-z", program_.path_of_page()});
  EXPECT_EQ(groff.status, 0);
  EXPECT_EQ(groff.err, "");
}

INSTANTIATE_TEST_SUITE_P(Programs, Manual, testing::Values(shmifctl_path(), shmifperf_path()),
                         [](const auto& param_info) {
                           const std::string path = param_info.param;
                           return path.substr(path.rfind('/') + 1);
                         });

const Program kPerf{shmifperf_path()};

/// The options of jobs and runs, by all of their names.
Names options_of_jobs() {
  const std::string text = kPerf.said({"options"});
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
  for (const std::string& command : without(kPerf.commands(), {"help"}))
    known.merge(kPerf.options_of(command));
  known.insert("version");
  for (const char* document : {"docs/shmifperf.md", "docs/instruments.md", "README.md",
                               "tools/demo", "docs/shmifperf.1.in"}) {
    const std::string text = read_page(in_source(document));
    ASSERT_NE(text, "") << document;
    const std::string command = R"(\bshmifperf(?: |" )([a-z]+)(?= [-a-z0-9]+\.(?:job|json)| --|`))";
    EXPECT_EQ(without(matches(text, command), kPerf.commands()), Names()) << document;
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
  for (const std::string& command : without(kPerf.commands(), {"help"})) {
    EXPECT_NE(both.find("\nshmifperf " + command), std::string::npos) << command;
  }
  for (const std::string& profile :
       matches(kPerf.said({"options", "--profiles"}), "^([a-z0-9]+) ")) {
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
  EXPECT_EQ(offered, kPerf.commands());

  Names options = kPerf.options_of("run");
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
