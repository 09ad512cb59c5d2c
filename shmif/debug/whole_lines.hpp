#pragma once
// Loggers for programs that fork. Internal to shmif.

#include <string>

namespace spdlog {
class logger;
}

namespace shmif {

/// A logger that writes each line to standard error with one system call. spdlog's own sinks share
/// a lock; a forked process would inherit it locked if another thread logged at that moment. This
/// logger has no lock: it formats each line separately. The pattern must not contain the time,
/// because localtime_r takes such a lock, too. The logger is never destroyed: threads and static
/// objects may log until the process has ended. Threads: safe.
spdlog::logger& make_whole_lines_logger(const std::string& name, std::string pattern);

}  // namespace shmif
