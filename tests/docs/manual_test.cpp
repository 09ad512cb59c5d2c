// The manual page of each program describes the commands and options that its --help does.

#include "tests/docs/pages.hpp"

#include <gtest/gtest.h>

#include "base/quantity.hpp"
#include "tests/support/paths.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
