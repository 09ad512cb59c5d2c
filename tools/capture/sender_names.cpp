#include "tools/capture/sender_names.hpp"

#include <algorithm>
#include <fstream>
#include <set>

#include "base/text.hpp"
#include "bus/repair/port_owners.hpp"

namespace shmif::tools {

namespace {

std::string describe(unsigned slot, LinkKind link, const MacAddress& mac) {
  return "slot " + std::to_string(slot) + ", " + to_string(link) + ", " + mac.to_string();
}

/// Twice as many as the port table can name: it has 256 ports, and the former port of each slot.
constexpr std::size_t kMaxSenders = 1024;
/// To read the port table takes many times as long as to show a frame. So reads are limited:
/// kMaxLooks at once, and one more every kTimePerLook.
constexpr unsigned kMaxLooks = 4096;
constexpr std::chrono::milliseconds kTimePerLook{1};

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

/// "process 4242: shmifctl exec /dev/shm/bus0 -- ping 198.18.0.1": the process that has the port,
/// and its command line, of which at most 300 characters are kept. Empty if the port has left, or
/// if its process is not proven to be on this machine (bus/repair/port_owners.hpp).
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

}  // namespace

SenderNames::SenderNames(const std::string& path) : looks_left_(kMaxLooks) {
  if (Result<Bus> bus = Bus::open(path)) bus_.emplace(*std::move(bus));
  are_told_ = !bus_ || bus_->info().has_port_table();
  look();
}

bool SenderNames::may_look() {
  const auto gained = (Clock::now() - looks_counted_) / kTimePerLook;
  if (gained > 0) {
    looks_counted_ += gained * kTimePerLook;
    looks_left_ = static_cast<unsigned>(
        std::min<std::int64_t>(kMaxLooks, static_cast<std::int64_t>(looks_left_) + gained));
  }
  if (looks_left_ == 0) return false;
  --looks_left_;
  return true;
}

void SenderNames::add(const Key& key, Sender sender) {
  const auto [at, is_new] = senders_.try_emplace(key);
  if (!is_new) return;
  sender.id = ++last_id_;
  at->second = std::move(sender);
}

/// Reads the port table of the bus. Makes room for its ports and one more sender: forgets senders
/// that are not in the table, because they never return to it.
void SenderNames::look() {
  const BusInfo info = bus_ ? bus_->info() : BusInfo{};
  const auto key_of = [](const auto& port) {
    return Key{static_cast<std::uint16_t>(port.slot), port.incarnation};
  };
  if (senders_.size() + info.former_ports.size() + info.ports.size() >= kMaxSenders) {
    std::set<Key> present;
    for (const FormerPort& port : info.former_ports) present.insert(key_of(port));
    for (const PortInfo& port : info.ports) present.insert(key_of(port));
    std::erase_if(senders_, [&](const auto& sender) { return !present.contains(sender.first); });
    last_ = nullptr;
  }
  const auto learn = [&](const auto& port) {
    add(key_of(port), {.name = port.name,
                       .description = describe(port.slot, port.link, port.mac),
                       .known = port.incarnation != 0,
                       .link = to_string(port.link),
                       .mac = port.mac.is_zero() ? std::nullopt : std::optional(port.mac)});
  };
  for (const FormerPort& port : info.former_ports) learn(port);
  for (const PortInfo& port : info.ports) learn(port);
}

const SenderNames::Sender& SenderNames::of(const FrameView& frame) {
  if (!are_told_) return untold_;
  const Key key{frame.sender, frame.sender_incarnation};
  if (last_ != nullptr && key == last_key_) return *last_;
  auto found = senders_.find(key);
  if (found == senders_.end()) {
    if (!may_look()) {
      ++not_looked_up_;
      return others_;
    }
    look();
    add(key, {.name = "slot " + std::to_string(frame.sender),
              .description = "a port that has left",
              .known = false});
    found = senders_.find(key);
  }
  last_key_ = key;
  last_ = &found->second;
  return *last_;
}

std::string SenderNames::process_of(const FrameView& frame) {
  if (!bus_ || !are_told_) return {};
  const auto found = senders_.find(Key{frame.sender, frame.sender_incarnation});
  if (found == senders_.end() || !found->second.known) return {};
  Sender& sender = found->second;
  if (!sender.process_is_read && searched_ < kMaxSearch) {
    const Clock::time_point begin = Clock::now();
    sender.process = process_text(bus_->info(), frame.sender, frame.sender_incarnation);
    sender.process_is_read = true;
    searched_ += Clock::now() - begin;
  }
  return sender.process;
}

std::vector<std::string> SenderNames::live() const {
  std::vector<std::string> names;
  if (!bus_) return names;
  for (const PortInfo& port : bus_->info().ports) {
    if (port.live) names.push_back(port.name);
  }
  return names;
}

}  // namespace shmif::tools
