#pragma once
// The access heat of a bus: which processes are attached, and which parts of the bus file each
// touches.

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bus/info.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf {

/// A process with ports on a bus.
struct BusParty {
  pid_t pid = 0;  ///< as seen from here; if it does not take part, as the bus has it
  std::vector<std::string> ports;      ///< their names
  std::unique_ptr<HeatSource> source;  ///< connected; null if it cannot be watched
  std::string reason;                  ///< why `source` is null
};

/// The processes that have live ports on the bus, in the order of their first ports. `folder`: the
/// directory that SHMIF_HEAT names for them; empty: read it from their environments. `stops`:
/// called between two processes; if it returns true, the result is incomplete. Blocks: as
/// heat_clients(), for each directory.
std::vector<BusParty> heat_parties(
    const BusInfo& bus, const std::string& folder, const KernelFiles& files = KernelFiles(),
    const std::function<bool()>& stops = [] { return false; });

/// Whether a range that a process shares is a mapping of this bus.
bool is_of_bus(const NamedRange& range, const BusInfo& bus);
/// The name of the port that shares `range`. In the range's name, it comes before an '@' and the
/// path of the bus. Both may contain an '@' themselves, so this compares the name with the ports of
/// the bus.
std::string port_of(const NamedRange& range, const BusInfo& bus);

/// Adds the parties to a session. A party that cannot be watched gets a result with the reason.
/// Result: the processes that are watched.
std::vector<Process> add_parties(HeatSession& session, std::vector<BusParty> parties);

/// A sentence about what each port used, and the last window of each result as a picture of the bus
/// file, `columns` wide (at least 60). The picture shows which parts were touched, and which were
/// written. A process maps the ring at two places, and the picture shows them as one. For each
/// page, the picture takes the place where the page was used more often.
std::string bus_heat_text(const std::vector<HeatResult>& results, const BusInfo& bus,
                          std::size_t columns, bool in_colour);

}  // namespace shmif::perf
