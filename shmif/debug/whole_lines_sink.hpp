#pragma once
// WholeLines: a sink of spdlog for programs that fork. Internal to shmif; only for .cpp files.

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <utility>

#include "base/signal_guard.hpp"

namespace shmif {

/// Writes each line to standard error with one system call. spdlog's own sinks share a lock, which
/// a forked process would inherit locked if another thread logged at that moment. This sink has no
/// lock: it formats each line by itself. The pattern must not contain the time, because localtime_r
/// has such a lock, too. Threads: safe.
class WholeLines final : public spdlog::sinks::sink {
 public:
  explicit WholeLines(std::string pattern) : pattern_(std::move(pattern)) {}

  void log(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    spdlog::pattern_formatter(pattern_).format(message, line);
    // A line that nobody reads must not end the process.
    const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
    const char* at = line.data();
    const char* const end = at + line.size();
    while (at < end) {  // a full pipe takes a part
      const ssize_t count = ::write(STDERR_FILENO, at, static_cast<std::size_t>(end - at));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;  // nobody can be told
      at += count;
    }
  }
  void flush() override {}
  void set_pattern(const std::string& pattern) override { pattern_ = pattern; }
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  std::string pattern_;
};

}  // namespace shmif
