#pragma once
// What a bus looks like: as JSON for scripts, as a table for people.

#include <string>
#include <vector>

#include "shmif/bus.hpp"

namespace shmif::tools {

/// Opens a bus to look at it only. Throws what keeps the file from being one; warns where what is
/// seen may not be what the ports see: a copy, a file system that shows processes different data.
Bus look_at(const std::string& path);

/// Every field of the bus and of its ports; the names are described in the man page and stay.
std::string to_json(const BusInfo& info);
std::string to_json(const std::string& path, const AuditReport& report);

/// The same for people: a head and two tables, "ports" and "counters".
std::string to_text(const BusInfo& info);

/// Rows of cells in aligned columns, the first row being the head. Numbers go to the right.
std::string aligned(const std::vector<std::vector<std::string>>& rows);

/// "live" or "dead".
const char* state_name(const PortInfo& port) noexcept;
/// "ethernet" or "pause".
const char* mode_name(const PortInfo& port) noexcept;

}  // namespace shmif::tools
