#pragma once
// The state of a bus: as JSON for scripts, as a table for people.

#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/control/change.hpp"

namespace shmif::tools {

/// Opens a bus only to inspect it. Throws if the file is not a bus. Warns if this view may differ
/// from what the ports see, because the file is a copy, or because the file system shows processes
/// different data.
Bus look_at(const std::string& path);

/// The error of opening a bus. If the path is the name of a running lab, the message names the
/// buses of that lab. Threads: any. Blocks: for the disk.
Error with_buses_of_lab(Error error, const std::string& path);

/// Every field of the bus and its ports. The man page describes the names; they are stable.
/// `lines`: what holds on their lines (line_states()); without it, these fields are left out.
std::string to_json(const BusInfo& info, const std::vector<LineState>* lines = nullptr);
std::string to_json(const std::string& path, const AuditReport& report);
/// `format`: of the bus that was repaired.
std::string to_json(const std::string& path, const RepairReport& report, BusFormat format);

/// The same for people: a heading and two tables, "ports" and "counters". Tables wider than `width`
/// are folded; 0 means that they never are. `lines`: as for to_json().
std::string to_text(const BusInfo& info, std::size_t width = 0,
                    const std::vector<LineState>* lines = nullptr);
/// A line for each finding and each note. If there is no finding, a line says so.
std::string to_text(const std::string& path, const AuditReport& report);
/// A part of a line that says what was repaired.
std::string to_text(const RepairReport& report);

/// Rows of cells in aligned columns; the first row is the head. Numbers are right-aligned.
std::string aligned(const std::vector<std::vector<std::string>>& rows);

/// The same, in as many blocks below each other as needed, so that no block is wider than `width`.
/// 0 means one block. Each block begins with the first `keys` columns.
std::string folded(const std::vector<std::vector<std::string>>& rows, std::size_t keys,
                   std::size_t width);

/// "up"; "down"; "no-carrier" if the port is up, but the network interface behind it is not; or
/// "carrier?" if that cannot be known.
const char* up_name(const PortInfo& port) noexcept;
/// Why no record can end at `last`, as the header has it; null if one can. Without it, the
/// generation, the number of frames, and what ports have not read are not known, either.
const char* why_no_end(const BusInfo& info) noexcept;
/// Why it is not known how often the lock was taken, which is in the same word as its holder; null
/// if it is known.
const char* why_no_acquisitions(const BusInfo& info) noexcept;
/// Who holds the lock: "free", "slot 3", "held by a repair", or "-" and why that is not known.
std::string lock_text(const BusInfo& info);
/// The MAC address, or "-" if the row of the port was overwritten.
std::string mac_text(const PortInfo& port);
/// The process of a port; "-" if its row was overwritten.
std::string pid_text(const PortInfo& port);

}  // namespace shmif::tools
