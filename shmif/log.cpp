#include "shmif/log.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "base/text.hpp"
#include "shmif/debug/debug.hpp"

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

/// Identifies the file to which a path leads now. Result: the path itself if statx() fails. A file
/// system may give the inode of a removed file to the next one, so the identity includes the time
/// when the file was made.
std::string file_at(const std::string& path) {
  struct statx status{};
  constexpr unsigned kWanted = STATX_INO | STATX_BTIME;
  if (::statx(AT_FDCWD, path.c_str(), 0, kWanted, &status) != 0) return path;
  std::string id;
  for (const std::uint64_t part :
       {std::uint64_t{status.stx_dev_major}, std::uint64_t{status.stx_dev_minor},
        std::uint64_t{status.stx_ino}, static_cast<std::uint64_t>(status.stx_btime.tv_sec),
        std::uint64_t{status.stx_btime.tv_nsec}}) {
    id += std::to_string(part) + ' ';
  }
  return id;
}

/// Whether this is the first call with `what`.
bool is_new(std::string what) {
  static std::mutex mutex;
  static std::set<std::string> given;
  const std::lock_guard lock(mutex);
  return given.insert(std::move(what)).second;
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
  if (is_new(std::string(message))) log_warning(message);
}

void log_warning_once(const std::string& message, const std::string& path) {
  if (message.empty()) return;
  std::string what = message;
  if (const std::size_t at = what.find(path); at != std::string::npos) what.erase(at, path.size());
  if (is_new(file_at(path) + what)) log_warning(message);
}

}  // namespace shmif
