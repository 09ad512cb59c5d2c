#include "tools/common/default_bus.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace shmif::tools {

namespace {

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

}  // namespace

std::optional<std::string> default_bus() {
  const char* const path = std::getenv(kBusVariable);
  if (path == nullptr || *path == 0) return std::nullopt;
  return path;
}

const std::string& note_default_bus(const std::string& path) {
  noted_bus = path;
  return noted_bus;
}

std::string with_origin_of_bus(std::string message) {
  if (noted_bus.empty()) return message;
  // A bus "bus" or "open" is also a word of the message; the bus comes before a colon.
  auto end = end_of_bus(message, ":,;");
  if (!end) end = end_of_bus(message, " ");
  if (end) message.insert(*end, std::string(" (from ") + kBusVariable + ')');
  return message;
}

}  // namespace shmif::tools
