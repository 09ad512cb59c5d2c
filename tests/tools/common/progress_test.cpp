// The lines on standard error that show the progress of a command.

#include "tools/common/output.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/tools/common/borrowed_terminal.hpp"

namespace shmif::test {
namespace {

/// What a terminal of that size gets for each of `texts`, and at the end.
Words shown_on(unsigned short columns, unsigned short rows, const Words& texts) {
  const BorrowedTerminal terminal(columns, rows, {STDERR_FILENO});
  Words seen;
  {
    tools::Progress progress;
    for (const std::string& text : texts) {
      progress.show(text);
      seen.push_back(terminal.seen());
    }
  }
  seen.push_back(terminal.seen());
  return seen;
}

TEST(Progress, LinesReplaceThoseBeforeHoweverManyTheseWere) {
  EXPECT_EQ(shown_on(80, 24, {"one\ntwo\nthree", "1\n2\n3", "a\nb", "c", "d\ne"}),
            (Words{"\rone\x1b[K\ntwo\x1b[K\nthree\x1b[K\x1b[J",
                   "\r\x1b[2A1\x1b[K\n2\x1b[K\n3\x1b[K\x1b[J", "\r\x1b[2Aa\x1b[K\nb\x1b[K\x1b[J",
                   "\r\x1b[1Ac\x1b[K\x1b[J", "\rd\x1b[K\ne\x1b[K\x1b[J", "\r\x1b[1A\x1b[J"}));
  EXPECT_EQ(shown_on(80, 3, {"one\ntwo\nthree"}),
            (Words{"\rone\x1b[K\ntwo\x1b[K\x1b[J", "\r\x1b[1A\x1b[J"}))
      << "the last row stays empty";
}

/// Sets a variable of the environment while it lives, or removes it.
class WithVariable {
 public:
  WithVariable(const char* name, const char* value) : name_(name) {
    if (const char* const was = std::getenv(name)) was_ = was;
    set(value);
  }
  WithVariable(const WithVariable&) = delete;
  WithVariable& operator=(const WithVariable&) = delete;
  ~WithVariable() { set(was_ ? was_->c_str() : nullptr); }

 private:
  void set(const char* value) const {
    value != nullptr ? setenv(name_, value, 1) : unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> was_;
};

/// The width of tables with that wish in the environment.
unsigned columns_wished(const char* wish) {
  const WithVariable columns("COLUMNS", wish);
  return tools::terminal_columns();
}

TEST(TerminalColumns, AreThoseWishedForOrThoseOfTheTerminal) {
  struct Case {
    const char* wish;
    unsigned columns;
  };
  for (const Case& each : std::vector<Case>{{"1", 1},
                                            {"9999", 9999},
                                            {"10000", 123},
                                            {"0", 123},
                                            {"", 123},
                                            {"wide", 123},
                                            {nullptr, 123}}) {
    unsigned columns = 0;
    {
      const BorrowedTerminal terminal(123, 24);
      columns = columns_wished(each.wish);
    }
    EXPECT_EQ(columns, each.columns) << (each.wish != nullptr ? each.wish : "none");
  }
  unsigned on_errors_alone = 1;
  {
    // Standard output goes to a file here, whatever standard error is.
    const BorrowedTerminal terminal(123, 24, {STDERR_FILENO});
    ::testing::internal::CaptureStdout();
    on_errors_alone = columns_wished(nullptr);
    (void)::testing::internal::GetCapturedStdout();
  }
  EXPECT_EQ(on_errors_alone, 0U);
}

}  // namespace
}  // namespace shmif::test
