#include "tools/common/command.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/text.hpp"
#include "tools/common/output.hpp"

namespace shmif::tools {

namespace {

const char* g_program_name = "shmifctl";
std::string noted_bus;

/// Where the bus is in `message` as a whole word that one of `ends` or the end follows, and not in
/// a command that can be copied, such as 'shmifctl create /dev/shm/bus0'. Result: the place behind
/// it.
std::optional<std::size_t> end_of_bus(const std::string& message, std::string_view ends) {
  for (std::size_t at = 0; (at = message.find(noted_bus, at)) != std::string::npos; ++at) {
    const bool begins =
        at == 0 || std::string_view(" \"").find(message[at - 1]) != std::string::npos;
    std::size_t end = at + noted_bus.size();
    if (message.substr(end, 1) == "\"") ++end;
    const bool is_whole = end == message.size() || ends.find(message[end]) != std::string::npos;
    const bool in_command =
        std::ranges::count(std::string_view(message).substr(0, at), '\'') % 2 != 0;
    if (begins && is_whole && !in_command) return end;
  }
  return std::nullopt;
}

/// `message`, which says of the noted path that it came from SHMIF_BUS: the user has not written
/// it, and may not expect it. As it is, if no path was noted, or the message does not name it.
/// Threads: any.
std::string with_origin_of_bus(std::string message) {
  if (noted_bus.empty()) return message;
  // A bus "bus" or "open" is also a word of the message; the bus comes before a colon.
  auto end = end_of_bus(message, ":,;");
  if (!end) end = end_of_bus(message, " ");
  if (end) message.insert(*end, std::string(" (from ") + kBusVariable + ')');
  return message;
}

}  // namespace

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

std::optional<std::string> default_bus() {
  const char* const path = std::getenv(kBusVariable);
  if (path == nullptr || *path == 0) return std::nullopt;
  return path;
}

const std::string& note_default_bus(const std::string& path) {
  noted_bus = path;
  return noted_bus;
}

}  // namespace shmif::tools
