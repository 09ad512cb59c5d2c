#pragma once
// The parts of a command of shmifctl or shmifperf: its row in the table, its exit codes, its
// errors.
//
// A command is in a file cmd_NAME.cpp and defines one `const Command`, which a table in the same
// folder lists. It describes its command line with Options (tools/common/options.hpp), works
// through the libraries, and returns an exit code. It may throw UsageError, Exit and
// shmif::Exception: main() prints one line and turns them into an exit code, after the stack is
// unwound.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/nearest.hpp"
#include "base/result.hpp"

namespace shmif::tools {

// Exit codes, of all commands of both programs:
//
//   0         done, and everything passed; also if a command that runs until it is asked to stop
//             (tap, bridge, top, dump, server) was asked to stop
//   1         failed, or found a failure; also if there was time to measure, but no value
//   2         wrong usage; the command did not start
//   77        this machine cannot do it
//   128+n     signal n came before the command had done its task
//
// A command that runs a program (exec, enter; heat, membw, sample, stat, why) returns one of these
// codes if none of the above applies:
//
//   n         the program's own code; 128+n if signal n killed it
//   125       exec, enter: shmifctl itself failed
//   126, 127  126: the program cannot be executed; 127: there is no program of that name
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kOwnFailure = 125;     // as with env and nohup
inline constexpr int kNotSupported = 77;    // "skipped" for Automake and Meson
inline constexpr int kEndedBySignal = 128;  // plus the number of the signal

/// What a lab wants of `exec`, in a process that it has forked.
struct InHost {
  /// Is called in the host before its program starts; empty: nothing. Result: whether the program
  /// may start; if not, it has said why.
  std::function<bool()> prepare{};
  /// Whether to say what this machine does not permit. One host of a lab does that for all.
  bool tells_notes = true;
};

/// The words after the command's name, split at the first "--" before any parser sees them.
struct CommandLine {
  std::vector<std::string> words;                // the words before "--"
  std::optional<std::vector<std::string>> tail;  // the words after "--"; empty if there was no "--"
  bool as_mdoc = false;                          // with --help: as an entry of the manual page
  InHost in_host{};                              // of exec
};

/// A row of the table of commands.
struct Command {
  const char* name;
  const char* summary;  ///< one line for --help, without a full stop
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

/// The exit code for an error of the libraries: 77 if this machine cannot do it; 2 for an
/// impossible shape or name; otherwise 1.
int exit_code_of(std::error_code code) noexcept;

/// What an instrument has measured.
enum class Measured : std::uint8_t {
  values,
  too_short,    ///< no values, because the target ended too early
  nothing,      ///< no values, although there was time for them
  unsupported,  ///< no values, because this machine cannot measure them
};
/// The exit code of an instrument, by the table above. `signal`: the signal that came before the
/// end, or 0. `program`: how the program ended; empty if there is no program, or the instrument
/// ended it.
int exit_code_of_instrument(int signal, std::optional<int> program, Measured measured) noexcept;

/// The name of this program in messages and help; "shmifctl" until main() sets it.
const char* program_name() noexcept;
void set_program_name(const char* name) noexcept;

/// Prints "PROGRAM: MESSAGE" as one line on standard error.
void complain(std::string_view message);

/// Does the same as complain(), about `command`. Some messages of the libraries say only what is
/// wrong; then this puts before them what was tried.
void complain_of(const std::string& command, const std::string& what);

/// For exec and enter, whose exit code is that of another program: returns what `run` returns. If
/// it throws, says why, and returns kOwnFailure where other commands return kFailed.
int code_of_program(const std::string& command, const std::function<int()>& run);

/// Does the same as complain(), and returns the exit code. "cannot ... : why (remedy)".
int fail(std::string_view message);
/// Returns `what`. If open files ran out, adds advice, because any system call can fail in that
/// way.
std::string with_remedy(const std::string& what, const std::error_code& code);
int fail(const Error& error);

using base::nearest;

// SHMIF_BUS: the bus of a command whose line names none.
//
// The variable fills a gap and decides nothing else: a line that is complete without it means the
// same with it. So a script that names its buses works in every environment. docs/decisions.md says
// which commands do without it, and why.

inline constexpr const char* kBusVariable = "SHMIF_BUS";

/// The path in SHMIF_BUS. An empty variable is the same as none. Threads: any, as getenv(3).
std::optional<std::string> default_bus();

/// Notes that the command is about `path`, which is that of default_bus(). Result: `path`.
/// Threads: one, before others exist.
const std::string& note_default_bus(const std::string& path);

}  // namespace shmif::tools
