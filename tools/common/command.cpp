#include "tools/common/command.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/text.hpp"
#include "tools/common/default_bus.hpp"
#include "tools/common/output.hpp"

namespace shmif::tools {

namespace {
const char* g_program_name = "shmifctl";
}

const char* program_name() noexcept {
  return g_program_name;
}

void set_program_name(const char* name) noexcept {
  g_program_name = name;
}

int exit_code_of(std::error_code code) noexcept {
  if (code == Errc::not_supported) return kNotSupported;
  // A bus cannot have this shape, or a port cannot have this name. So the command line is wrong,
  // not the machine.
  const bool impossible = code == Errc::bad_size || code == Errc::bad_mtu ||
                          code == Errc::bad_patience || code == Errc::ring_too_small ||
                          code == Errc::bad_name;
  return impossible ? kWrongUsage : kFailed;
}

int exit_code_of_instrument(int signal, std::optional<int> program, Measured measured) noexcept {
  if (signal != 0) return kEndedBySignal + signal;
  if (program && *program != 0) return *program;
  if (measured == Measured::values) return kDone;
  if (measured == Measured::nothing) return kFailed;
  if (measured == Measured::unsupported) return kNotSupported;
  return program.value_or(kDone);
}

void complain(std::string_view message) {
  flush_output();  // keeps the order of both outputs
  // A path or a name may contain any characters, but the message must stay one line, and must not
  // control the terminal.
  std::string text = with_origin_of_bus(std::string(message));
  std::ranges::replace_if(text, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  const std::string line = std::string(program_name()) + ": " + base::printable(text) + '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void complain_of(const std::string& command, const std::string& what) {
  const bool says_what_was_tried = what.starts_with("cannot ") || command.empty();
  complain(says_what_was_tried ? what : "cannot run " + command + ": " + what);
}

int fail(std::string_view message) {
  complain(message);
  return kFailed;
}

std::string with_remedy(const std::string& what, const std::error_code& code) {
  const bool no_descriptors = code == std::errc::too_many_files_open;
  const bool machine = code == std::errc::too_many_files_open_in_system;
  // The text in parentheses says what to do, unless it only repeats what happened.
  const bool advises = what.ends_with(')') && !what.ends_with(code.message() + ')');
  const bool says_so = what.find("ulimit -n") != std::string::npos || advises;
  if (says_so || !(no_descriptors || machine)) return what;
  return what + (machine ? " (allow the machine more open files: sysctl fs.file-max)"
                         : " (allow this program more open files: ulimit -n 1024)");
}

int code_of_program(const std::string& command, const std::function<int()>& run) {
  try {
    return run();
  } catch (const Exception& error) {
    complain_of(command, with_remedy(error.what(), error.code()));
    const int code = exit_code_of(error.code());
    return code == kFailed ? kOwnFailure : code;
  } catch (const std::exception& error) {
    complain(command + ": " + error.what());
    return kOwnFailure;
  }
}

int fail(const Error& error) {
  complain(with_remedy(error.message, error.code));
  return exit_code_of(error.code);
}

}  // namespace shmif::tools
