// The exit codes of instruments, one table for all of them, and what is told with an error.

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

#include "tools/common/command.hpp"

namespace shmif::tools {
namespace {

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

TEST(ExitCodeOfAProgram, IsItsOwnUnlessItCouldNotBeRun) {
  const auto thrown = [](std::error_code code) {
    return code_of_program("enter",
                           [code]() -> int { throw Exception(Error(code, "cannot do it")); });
  };
  testing::internal::CaptureStderr();
  EXPECT_EQ(code_of_program("enter", [] { return 42; }), 42);
  EXPECT_EQ(code_of_program("enter", [] { return 1; }), 1) << "that of the program";
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  EXPECT_EQ(thrown(std::make_error_code(std::errc::permission_denied)), 125);
  EXPECT_EQ(thrown(make_error_code(Errc::not_supported)), 77);
  EXPECT_EQ(code_of_program("enter", []() -> int { throw std::runtime_error("no room"); }), 125);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find(": enter: no room\n"), std::string::npos) << said;
}

}  // namespace
}  // namespace shmif::tools
