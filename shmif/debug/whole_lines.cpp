#include "shmif/debug/whole_lines.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <utility>

#include "base/signals.hpp"

namespace shmif {
namespace {

class WholeLines final : public spdlog::sinks::sink {
 public:
  explicit WholeLines(std::string pattern) : pattern_(std::move(pattern)) {}

  void log(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    spdlog::pattern_formatter(pattern_).format(message, line);
    // A broken pipe, or a file at its size limit, must not end the process.
    const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
    const char* at = line.data();
    const char* const end = at + line.size();
    while (at < end) {  // a full pipe takes only a part
      const ssize_t count = ::write(STDERR_FILENO, at, static_cast<std::size_t>(end - at));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;  // an error here cannot be reported
      at += count;
    }
  }
  void flush() override {}
  void set_pattern(const std::string& pattern) override { pattern_ = pattern; }
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  std::string pattern_;
};

}  // namespace

spdlog::logger& make_whole_lines_logger(const std::string& name, std::string pattern) {
  return *new spdlog::logger(name, std::make_shared<WholeLines>(std::move(pattern)));
}

}  // namespace shmif
