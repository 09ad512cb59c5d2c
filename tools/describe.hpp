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
/// Tables wider than `width` are folded; 0: they are not.
std::string to_text(const BusInfo& info, std::size_t width = 0);
/// A line for each finding and each note. If there are no findings, a line that says so.
std::string to_text(const std::string& path, const AuditReport& report);
/// What was repaired, as a part of a line.
std::string to_text(const RepairReport& report);

/// Rows of cells in aligned columns, the first row being the head. Numbers go to the right.
std::string aligned(const std::vector<std::vector<std::string>>& rows);

/// The same, in as many blocks below each other as it takes for none to be wider than `width`; 0:
/// in one. The first `keys` columns stand in each block.
std::string folded(const std::vector<std::vector<std::string>>& rows, std::size_t keys,
                   std::size_t width);

/// "up", "down", or "no-carrier": the port is up, the network interface behind it is not.
const char* up_name(const PortInfo& port) noexcept;
/// "live" or "dead".
const char* state_name(const PortInfo& port) noexcept;
/// "ethernet" or "pause".
const char* mode_name(const PortInfo& port) noexcept;

}  // namespace shmif::tools
