// An empty value, as an empty variable of a shell leaves it: every option of both programs refuses
// it. The options are those that --help lists, and the rows of the table of job options.

#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>

#include "perf/option/option_table.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::test {
namespace {

using Lines = Words;

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t begin = text.find(from);
  return begin == std::string::npos ? "" : text.substr(begin, text.find(to, begin) - begin);
}

/// What the group in `pattern` holds, wherever a line of `text` begins with it.
std::set<std::string> at_begin_of_lines(const std::string& text, const std::string& pattern) {
  const std::regex regex('^' + pattern, std::regex::ECMAScript | std::regex::multiline);
  std::set<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) {
    found.insert((*at)[1]);
  }
  return found;
}

std::string help_of_program(const std::string& program, const Lines& command) {
  Lines words{program};
  words.insert(words.end(), command.begin(), command.end());
  words.emplace_back("--help");
  const ToolResult help = run_program(words);
  EXPECT_EQ(help.status, 0) << help.err;
  return help.out;
}

/// The options of a command that take a value: "--size" of "--size BYTES", "-o" of "-o PATH" and of
/// "-o, --output PATH", "--thread" of "--thread[=0|1]".
std::set<std::string> with_value(const std::string& help) {
  const std::string list = between(help, "\noptions:", "\nexamples:");
  std::set<std::string> all = at_begin_of_lines(list, "  (?:-., |    )(--[a-z_-]+)(?: |\\[=)[^ ]");
  all.merge(at_begin_of_lines(list, "  (-.)(?:, --[a-z_-]+)? [^ ]"));
  return all;
}

/// What is wrong with the answer to `--option ''`; empty if it is as it should be.
std::string flaw_of(const Lines& line, const std::string& option) {
  const ToolResult said = run_program(line);
  const bool names_it = said.err.find(option) != std::string::npos;
  if (said.status == 2 && names_it && said.out.empty() && count_of_lines(said.err) == 1) return "";
  std::string text;
  for (const std::string& word : line) text += (word.empty() ? "''" : word) + ' ';
  return text + "exits " + std::to_string(said.status) + ": " + said.out + said.err;
}

class EmptyValue : public ::testing::TestWithParam<std::string> {};

TEST_P(EmptyValue, OfAnyOptionOfAnyCommandIsWrongUsageThatNamesTheOption) {
  const std::string program = GetParam();
  const std::string list = between(help_of_program(program, {}), "commands:", "\n\n");
  std::set<std::string> commands = at_begin_of_lines(list, "  ([a-z]+) ");
  commands.erase("help");
  EXPECT_GT(commands.size(), 10U);
  std::size_t options = 0;
  for (const std::string& command : commands) {
    const std::string help = help_of_program(program, {command});
    for (const std::string& option : with_value(help)) {
      ++options;
      const std::string name = option.size() > 2 ? option : "";
      // The word behind an option that may stand alone, "--why[=0|1]", is not its value.
      const bool may_stand_alone = help.find(option + "[=") != std::string::npos;
      if (!may_stand_alone) {
        EXPECT_EQ(flaw_of({program, command, option, ""}, name), "");
      }
      // Exec and enter, too: their program has not begun.
      if (!name.empty()) {
        EXPECT_EQ(flaw_of({program, command, option + '='}, name), "");
      }
    }
  }
  EXPECT_GT(options, 60U) << "the list of --help has another form";
}

INSTANTIATE_TEST_SUITE_P(Programs, EmptyValue, testing::Values(shmifctl_path(), shmifperf_path()),
                         [](const auto& each) {
                           const std::string path = each.param;
                           return path.substr(path.rfind('/') + 1);
                         });

TEST(EmptyValueOfAJob, IsRefusedByEachRowWhereverItStands) {
  for (const perf::OptionRow& row : perf::option_table()) {
    EXPECT_EQ(flaw_of({shmifperf_path(), "run", "--" + row.name + '='}, row.name), "");
    perf::JobOptions job;
    perf::RunOptions run;
    const Result<void> set =
        row.of_run() ? perf::set_option(row, "", run) : perf::set_option(row, "", job);
    EXPECT_FALSE(set) << row.name << " takes an empty value in a job file";
    if (!set) {
      EXPECT_EQ(set.error().message.find(row.name), 0U) << set.error().message;
    }
  }
}

}  // namespace
}  // namespace shmif::test
