#pragma once
// The access heat of a bus: which processes are attached, and which parts of the file each touches.

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bus/info.hpp"
#include "perf/heat/session.hpp"

namespace shmif::perf {

/// A process with ports on a bus.
struct BusParty {
  pid_t pid = 0;  ///< as seen from here; what the bus says of a process that does not take part
  std::vector<std::string> ports;      ///< their names
  std::unique_ptr<HeatSource> source;  ///< connected; none if it cannot be watched
  std::string reason;                  ///< why there is none
};

/// The processes that have live ports on the bus, in the order of their first ports. `folder`: what
/// SHMIF_HEAT names where they run; empty: their environments tell. `stops`: asked between
/// two of them; the result is incomplete then. Blocks: as heat_clients(), for each directory.
std::vector<BusParty> heat_parties(
    const BusInfo& bus, const std::string& folder, const KernelFiles& files = KernelFiles(),
    const std::function<bool()>& stops = [] { return false; });

/// Whether a range that a process shares is a mapping of this bus.
bool is_of_bus(const NamedRange& range, const BusInfo& bus) noexcept;
/// The name of the port that shares `range`. It stands before an '@' and the path of the bus. Both
/// may contain an '@' themselves, so it is looked for among the ports of the bus.
std::string port_of(const NamedRange& range, const BusInfo& bus);

/// Adds the parties to a session. One that cannot be watched gets a result with its reason.
/// Result: those that are watched.
std::vector<Process> add_parties(HeatSession& session, std::vector<BusParty> parties);

/// What each port used, in a sentence, and the last window of each result as a picture of the bus
/// file, `columns` wide (60 at least). The picture shows which parts were touched, and which were
/// written. A process maps the ring at two places, and the picture shows them as one: a page counts
/// as often as at the place where it was used more often.
std::string bus_heat_text(const std::vector<HeatResult>& results, const BusInfo& bus,
                          std::size_t columns, bool in_colour);

}  // namespace shmif::perf
