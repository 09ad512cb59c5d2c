#pragma once
// The parts of a command of shmifctl or shmifperf: its row in the table, its exit codes, its
// errors.
//
// A command is in a file cmd_NAME.cpp and defines one `const Command`, which the main.cpp in the
// same folder lists. It describes its command line with Options (tools/common/options.hpp), works
// through the libraries, and returns an exit code. It may throw UsageError, Exit and
// shmif::Exception: main() prints one line and turns them into an exit code, after the stack is
// unwound.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/nearest.hpp"
#include "base/result.hpp"

namespace shmif::tools {

// Exit codes, of all commands of both programs:
//
//   0         done, and everything passed; also the end of commands that last until they are asked
//             to stop (tap, bridge, top, dump, server)
//   1         failed, or found something that failed; a measurement that has no value
//   2         wrong usage; nothing was done
//   77        this machine cannot do it
//   128+n     signal n came before the command had done what it was asked for
//
// A command that runs a program (exec, enter; heat, membw, sample, stat, why) ends as the program
// did, if nothing of the above is to be told:
//
//   n         the program's own code; 128+n if signal n killed it
//   125       exec, enter: shmifctl itself failed
//   126, 127  the program cannot be executed; there is none of that name
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kOwnFailure = 125;       // as with env and nohup
inline constexpr int kNotSupported = 77;      // "skipped" for Automake and Meson
inline constexpr int kEndedBySignal = 128;    // plus the number of the signal
inline constexpr int kInterrupted = 128 + 2;  // SIGINT

/// The words after the command's name, split at the first "--" before any parser sees them.
struct CommandLine {
  std::vector<std::string> words;                // before "--"
  std::optional<std::vector<std::string>> tail;  // after "--"; empty: there was no "--"
};

/// A row of the table of commands.
struct Command {
  const char* name;
  const char* summary;  ///< one line for --help, no full stop
  int (*run)(const CommandLine& line);
};

/// The command line is wrong. main() prints the text and a hint to --help, and exits with 2.
struct UsageError {
  std::string what;
};

/// Ends the program with `code`; all messages have been printed.
struct Exit {
  int code;
};

/// The exit code for an error of the libraries: 77 if this machine cannot do it; 2 for a shape or
/// name that is not possible; otherwise 1.
int exit_code_of(std::error_code code) noexcept;

/// What an instrument has of what it watched.
enum class Measured : std::uint8_t {
  values,
  too_short,    ///< nothing, because it ended before there could be anything
  nothing,      ///< nothing, although there was time for it
  unsupported,  ///< nothing, because this machine has no means for it
};
/// The exit code of an instrument, by the table above. `signal`: that came before the end; 0: none.
/// `program`: how the program ended; empty: there is none, or the instrument ended it.
int exit_code_of_instrument(int signal, std::optional<int> program, Measured measured) noexcept;

/// The name of this program in messages and help; "shmifctl" until main() sets it.
const char* program_name() noexcept;
void set_program_name(const char* name) noexcept;

/// Prints "PROGRAM: MESSAGE" as one line on standard error.
void complain(std::string_view message);

/// complain() about `command`. Some messages of the libraries tell only what is wrong; what was
/// tried is then put before them.
void complain_of(const std::string& command, const std::string& what);

/// complain(); returns the exit code. "cannot ... : why (remedy)".
int fail(std::string_view message);
/// `what`, and what to do if open files ran out, which any call of the system may tell.
std::string with_remedy(const std::string& what, const std::error_code& code);
int fail(const Error& error);

using base::nearest;

}  // namespace shmif::tools
