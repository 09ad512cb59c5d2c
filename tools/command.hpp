#pragma once
// What a command of shmifctl or shmifperf is made of: its row in the table, its exit codes, its
// errors.
//
// A command lives in a file cmd_NAME.cpp and defines one `const Command`, which the main.cpp beside
// it lists. It describes its command line with Options (tools/options.hpp), does its work through
// the libraries, and returns an exit code. UsageError, Exit and shmif::Exception may be thrown out
// of it: main() prints one line and turns them into an exit code, after the stack is unwound.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
#include "shmif/nearest.hpp"

namespace shmif::tools {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kOwnFailure = 125;       // of who runs a program, as env and nohup have it
inline constexpr int kNotSupported = 77;      // what Automake and Meson take for "skipped"
inline constexpr int kEndedBySignal = 128;    // plus the number of the signal
inline constexpr int kInterrupted = 128 + 2;  // SIGINT

/// The words behind the command's name, cut at the first "--" before any parser sees them.
struct CommandLine {
  std::vector<std::string> words;                // before "--"
  std::optional<std::vector<std::string>> tail;  // behind "--"; nothing: there was no "--"
};

/// A row of the table of commands.
struct Command {
  const char* name;
  const char* summary;  ///< one line for --help, no full stop
  int (*run)(const CommandLine& line);
};

/// The command line is wrong. main() prints the text and a pointer to --help, and exits 2.
struct UsageError {
  std::string what;
};

/// Ends the program with `code`, all being said.
struct Exit {
  int code;
};

/// The exit code that goes with an error of the libraries: 77 for what this machine cannot do,
/// else 1.
int exit_code_of(std::error_code code) noexcept;

/// What messages and help call this program; "shmifctl" until main() says otherwise.
const char* program_name() noexcept;
void set_program_name(const char* name) noexcept;

/// Prints "PROGRAM: MESSAGE" as one line on standard error.
void complain(std::string_view message);

/// complain() of what went wrong with `command`. Some of the libraries' messages say only what is
/// wrong; then what was tried comes before that.
void complain_of(const std::string& command, const std::string& what);

/// complain(), and the exit code to return. "cannot ... : why (remedy)".
int fail(std::string_view message);
int fail(const Error& error);

using shmif::nearest;

}  // namespace shmif::tools
