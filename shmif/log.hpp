#pragma once
// Log messages of the library, through spdlog, off the hot path. By default warnings and errors go
// to standard error.

#include <exception>
#include <string>
#include <string_view>

namespace shmif {

/// Sets the lowest level that is logged: trace, debug, info, warning, error, critical; off:
/// nothing. Threads: safe. Result: false for any other word, which leaves the level as it was.
[[nodiscard]] bool set_log_level(std::string_view level);

/// Writes one line at a level. For this project's own layers. Callers that log much should use
/// spdlog.
void log_debug(std::string_view message);
void log_info(std::string_view message);     ///< as log_debug()
void log_warning(std::string_view message);  ///< as log_debug()
void log_error(std::string_view message);    ///< as log_debug()
/// As log_warning(), unless this process, or a process that it was forked from, has already logged
/// this warning. Threads: safe.
void log_warning_once(std::string_view message);
/// The same for a warning about the file at `path`. Different paths to one file count as the same
/// warning, if the text contains `path` as it was given. An empty message logs nothing.
void log_warning_once(const std::string& message, const std::string& path);

/// Runs `log`, which builds and logs a message. If that throws, for example for lack of memory, the
/// message is dropped. For callers that must not fail because of a log line.
template <class Log>
void log_if_possible(Log&& log) noexcept {
  try {
    log();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): drops the line, as promised
  }
}

}  // namespace shmif
