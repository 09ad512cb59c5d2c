// The exit codes of instruments, one table for all of them, and what is told with an error.

#include <gtest/gtest.h>

#include <optional>

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

}  // namespace
}  // namespace shmif::tools
