#include "vhost/told.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace shmif::vhost {
namespace {

constexpr std::pair<std::uint64_t, const char*> kNames[] = {
    {Features::kCsum, "csum"},
    {Features::kGuestCsum, "guest-csum"},
    {Features::kMtu, "mtu"},
    {Features::kGuestTso4, "guest-tso4"},
    {Features::kGuestTso6, "guest-tso6"},
    {Features::kGuestEcn, "guest-ecn"},
    {Features::kHostTso4, "host-tso4"},
    {Features::kHostTso6, "host-tso6"},
    {Features::kHostEcn, "host-ecn"},
    {Features::kMergeable, "mergeable"},
    {Features::kIndirect, "indirect"},
    {Features::kEventIndex, "event-index"},
    {Features::kProtocolFeatures, "protocol-features"},
    {Features::kVersion1, "version-1"},
};

std::string names_of(std::uint64_t features) {
  std::string names;
  for (const auto& [feature, name] : kNames) {
    if ((features & feature) != 0) names += std::string(" ") + name;
  }
  return names.empty() ? " none" : names;
}

std::string told_memory(const Message& message) {
  MemoryTable table;
  const auto bytes = message.bytes();
  std::memcpy(&table, bytes.data(), std::min(bytes.size(), sizeof table));
  std::uint64_t all = 0;
  for (std::uint32_t i = 0; i < table.count; ++i) all += table.regions[i].bytes;
  return "shares " + std::to_string(all) +
         " bytes of memory, in regions: " + std::to_string(table.count);
}

const char* name_of(std::uint64_t queue) {
  return queue == Backend::kReceiveQueue ? "receive queue" : "send queue";
}

}  // namespace

std::string told(const Message& message, Backend& backend) {
  const VringState state = message.as<VringState>().value_or(VringState{});
  switch (message.request()) {
    case Request::set_features: return "agrees on features:" + names_of(backend.features());
    case Request::set_mem_table: return told_memory(message);
    case Request::reset_owner: return "stops its queues";
    case Request::set_vring_enable:
      return std::string(state.value != 0 ? "enables" : "disables") + " its " +
             name_of(state.index);
    case Request::get_vring_base: return std::string("stops its ") + name_of(state.index);
    case Request::set_vring_kick: {
      const std::uint64_t index = message.as<std::uint64_t>().value_or(0) & 0xffU;
      const auto& queue = backend.queue(static_cast<Backend::QueueNumber>(index));
      return std::string("starts its ") + name_of(index) + ": " +
             std::to_string(queue.ring.size()) + " entries" + (queue.polled ? ", polled" : "");
    }
    default: return {};
  }
}

}  // namespace shmif::vhost
