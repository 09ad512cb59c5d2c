#pragma once
// Loggers for programs that fork. Internal to shmif.

#include <string>

namespace spdlog {
class logger;
}

namespace shmif {

/// A logger that writes each line to standard error with one system call. spdlog's own sinks share
/// a lock, which a forked process would inherit locked if another thread logged at that moment.
/// This one has no lock: it formats each line by itself. The pattern must not contain the time,
/// because localtime_r has such a lock, too. It is never destroyed: threads and static objects may
/// log until the process has ended. Threads: safe.
spdlog::logger& make_whole_lines_logger(const std::string& name, std::string pattern);

}  // namespace shmif
