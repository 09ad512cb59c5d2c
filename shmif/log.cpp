#include "shmif/log.hpp"

#include <spdlog/spdlog.h>

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "base/printable.hpp"
#include "shmif/debug/whole_lines.hpp"

namespace shmif {
namespace {

/// A logger of our own. The user's default logger and its registry stay unchanged.
spdlog::logger& logger() {
  static spdlog::logger& instance = []() -> spdlog::logger& {
    spdlog::logger& made = make_whole_lines_logger("shmif", "%n: %l: %v");
    made.set_level(spdlog::level::warn);
    return made;
  }();
  return instance;
}

}  // namespace

bool set_log_level(std::string_view level) {
  using Level = spdlog::level::level_enum;
  static constexpr std::array<std::pair<std::string_view, Level>, 7> kLevels{{
      {"trace", Level::trace},
      {"debug", Level::debug},
      {"info", Level::info},
      {"warning", Level::warn},
      {"error", Level::err},
      {"critical", Level::critical},
      {"off", Level::off},
  }};
  for (const auto& [name, value] : kLevels) {
    if (name == level) {
      logger().set_level(value);
      return true;
    }
  }
  return false;
}

void log_debug(std::string_view message) {
  logger().debug(base::printable(message));
}
void log_info(std::string_view message) {
  logger().info(base::printable(message));
}
void log_warning(std::string_view message) {
  logger().warn(base::printable(message));
}
void log_error(std::string_view message) {
  logger().error(base::printable(message));
}

void log_warning_once(std::string_view message) {
  static std::mutex mutex;
  static std::set<std::string, std::less<>> given;
  {
    const std::lock_guard lock(mutex);
    if (!given.emplace(message).second) return;
  }
  logger().warn(base::printable(message));
}

}  // namespace shmif
