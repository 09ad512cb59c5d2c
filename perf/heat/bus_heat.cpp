#include "perf/heat/bus_heat.hpp"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <utility>

#include "bus/file/parts.hpp"
#include "bus/repair/port_owners.hpp"

namespace shmif::perf {
namespace {

std::string reason_of_absence(pid_t pid, const std::string& folder,
                              const Result<std::string>& own) {
  constexpr const char* kRemedy = " (start it with SHMIF_HEAT=DIR)";
  if (!folder.empty()) return "it shares no access heat in " + folder + kRemedy;
  if (!own) {
    return "whether it shares its access heat is not known: " + own.error().message +
           " (run this as its user, or give the directory)";
  }
  if (own->empty()) return std::string("it was started without SHMIF_HEAT") + kRemedy;
  return "process " + std::to_string(pid) + " does not answer in " + *own +
         ", which its SHMIF_HEAT names";
}

/// Clients by the names of their ports on this bus.
using Clients = std::map<std::string, HeatClient>;

std::vector<std::string> ports_in(const std::vector<NamedRange>& ranges, const BusInfo& bus) {
  std::vector<std::string> ports;
  for (const NamedRange& range : ranges) {
    if (is_of_bus(range, bus)) ports.push_back(port_of(range, bus));
  }
  return ports;
}

/// The processes that take part and are attached to the bus. Disconnects from others at once.
std::vector<BusParty> parties_in(const std::string& folder, const BusInfo& bus,
                                 const std::function<bool()>& stops) {
  std::vector<BusParty> found;
  auto clients = heat_clients(folder, stops);
  if (!clients) return found;
  for (HeatClient& client : *clients) {
    BusParty party{client.pid, {}, std::move(client.source), client.reason};
    if (party.source) {
      if (stops()) break;
      const auto ranges = party.source->ranges();
      if (!ranges) continue;
      party.ports = ports_in(*ranges, bus);
      if (party.ports.empty()) continue;
    }
    found.push_back(std::move(party));
  }
  return found;
}

BusParty* party_with(std::vector<BusParty>& parties, const PortInfo& port) {
  for (BusParty& each : parties) {
    if (std::ranges::find(each.ports, port.name) != each.ports.end()) return &each;
    if (!each.source && each.pid == port.pid) return &each;
  }
  return nullptr;
}

}  // namespace

bool is_of_bus(const NamedRange& range, const BusInfo& bus) {
  if (range.range.bytes() != bus::mapped_bytes(bus.ring_bytes)) return false;
  if (range.device == 0 || bus.mapped_as.empty()) return range.inode == bus.inode;
  // Files of two file systems can have the same inode.
  std::array<char, 64> file{};
  std::snprintf(file.data(), file.size(), "%02" PRIx64 ":%02" PRIx64 " %" PRIu64,
                range.device >> 32U, range.device & 0xffffffffU, range.inode);
  return bus.mapped_as == file.data();
}

std::string port_of(const NamedRange& range, const BusInfo& bus) {
  std::string found;
  for (const PortInfo& port : bus.ports) {
    const bool begins = range.name.starts_with(port.name + '@');
    if (begins && port.name.size() > found.size()) found = port.name;
  }
  return found.empty() ? range.name.substr(0, range.name.find('@')) : found;
}

std::vector<BusParty> heat_parties(const BusInfo& bus, const std::string& folder,
                                   const KernelFiles& files, const std::function<bool()>& stops) {
  std::map<std::string, std::vector<BusParty>> known;  // by folder
  std::vector<BusParty> parties;
  bus::PortOwners owners(bus, files.path("/proc"));
  // A process that does not really have the port could name any directory in its environment.
  const auto folder_of = [&](const PortInfo& port) -> Result<std::string> {
    if (!folder.empty()) return folder;
    if (const auto proven = owners.prove(port); !proven) return proven.error();
    return heat_folder_of(port.pid, files);
  };
  for (const PortInfo& port : bus.ports) {
    if (!port.live) continue;
    if (stops()) break;
    if (party_with(parties, port) != nullptr) {
      BusParty& party = *party_with(parties, port);
      if (!party.source) party.ports.push_back(port.name);
      continue;
    }
    const auto own = folder_of(port);
    BusParty* taking_part = nullptr;
    if (own && !own->empty()) {
      if (!known.contains(*own)) known[*own] = parties_in(*own, bus, stops);
      taking_part = party_with(known[*own], port);
    }
    if (taking_part != nullptr) {
      parties.push_back(std::move(*taking_part));
      taking_part->ports.clear();
      taking_part->pid = 0;
      if (!parties.back().source) parties.back().ports = {port.name};
    } else {
      parties.push_back({port.pid, {port.name}, nullptr, reason_of_absence(port.pid, folder, own)});
    }
  }
  return parties;
}

std::vector<Process> add_parties(HeatSession& session, std::vector<BusParty> parties) {
  std::vector<Process> watched;
  for (BusParty& party : parties) {
    std::string names;
    for (const std::string& port : party.ports) names += (names.empty() ? "" : ", ") + port;
    if (party.source) {
      auto process = Process::open(party.pid);
      if (process) {
        session.add(*process, std::move(party.source));
        watched.push_back(*std::move(process));
        continue;
      }
      party.reason = process.error().message;
    }
    session.add_unwatched({party.pid, 0}, names, party.reason);
  }
  return watched;
}

}  // namespace shmif::perf
