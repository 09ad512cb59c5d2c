#include "tools/capture/port_process.hpp"

#include <algorithm>
#include <fstream>

#include "base/printable.hpp"
#include "bus/repair/port_owners.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxCommandCharacters = 300;

/// The command line of a process; empty if it cannot be read.
std::string command_of_process(std::int32_t pid) {
  // The read is bounded, because a process chooses the memory that the kernel shows, and its size.
  constexpr std::size_t kMaxRead = 4 * kMaxCommandCharacters;
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string words(kMaxRead, '\0');
  file.read(words.data(), static_cast<std::streamsize>(words.size()));
  words.resize(static_cast<std::size_t>(file.gcount()));
  while (!words.empty() && words.back() == '\0') words.pop_back();
  std::ranges::replace(words, '\0', ' ');
  return base::shortened(base::printable(words), kMaxCommandCharacters);
}

}  // namespace

std::string process_text(const BusInfo& bus, unsigned slot, std::uint32_t incarnation) {
  const auto port = std::ranges::find_if(bus.ports, [&](const PortInfo& each) {
    return each.slot == slot && each.incarnation == incarnation && each.live;
  });
  if (port == bus.ports.end()) return {};
  bus::PortOwners owners(bus);
  const Result<bus::PortOwner> owner = owners.owner_of(*port);
  if (!owner) return {};
  const std::string command = command_of_process(port->pid);
  if (owner->has_ended()) return {};  // the pid may belong to another process
  std::string text = "process " + std::to_string(port->pid);
  if (!command.empty()) text.append(": ").append(command);
  return text;
}

}  // namespace shmif::tools
