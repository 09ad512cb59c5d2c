#include "tools/sender_names.hpp"

namespace shmif::tools {

namespace {

std::string describe(unsigned slot, LinkKind link, const MacAddress& mac) {
  return "slot " + std::to_string(slot) + ", " + to_string(link) + ", " + mac.to_string();
}

/// Four times as many as ports can be attached at once.
constexpr std::size_t kMostSenders = 1024;

}  // namespace

SenderNames::SenderNames(const std::string& path) {
  if (Result<Bus> bus = Bus::open(path)) bus_.emplace(*std::move(bus));
  look();
}

void SenderNames::look() {
  if (!bus_) return;
  const BusInfo info = bus_->info();
  const auto learn = [&](const auto& port) {
    if (senders_.size() >= kMostSenders) return;
    const Key key{static_cast<std::uint16_t>(port.slot), port.incarnation};
    senders_.try_emplace(
        key, Sender{port.name, describe(port.slot, port.link, port.mac), port.incarnation != 0});
  };
  for (const FormerPort& port : info.former_ports) learn(port);
  for (const PortInfo& port : info.ports) learn(port);
}

const SenderNames::Sender& SenderNames::of(const FrameView& frame) {
  const Key key{frame.sender, frame.sender_incarnation};
  if (last_ != nullptr && key == last_key_) return *last_;
  auto found = senders_.find(key);
  if (found == senders_.end()) {
    if (senders_.size() < kMostSenders) look();
    found = senders_.find(key);
  }
  if (found == senders_.end()) {
    if (senders_.size() >= kMostSenders) return others_;
    // Who is not in the table now never comes back to it.
    const std::string slot = "slot " + std::to_string(frame.sender);
    found = senders_.try_emplace(key, Sender{slot, "a port that has left", false}).first;
  }
  last_key_ = key;
  last_ = &found->second;
  return *last_;
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
