#pragma once
// A report as text for people, whole (in fio's style) or in a few lines, and one line per job for
// scripts.

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "perf/report/report.hpp"

namespace shmif::perf {

/// `normal`: first what went wrong, then tables that compare (engines, searches, repetitions), then
/// each job and group, the links with faults, and the machine. "-" stands for figures that were not
/// measured. `width`: wider tables are folded and messages broken; 0: every row is one line.
std::string to_text(const Report& report, std::size_t width = 0);

/// What a user wants to know first, in about eight lines: whether the run passed and how much was
/// lost, what went wrong, the rates that searches found, a line for each job, what held the jobs
/// back, and `files`, which the run wrote. A list that is too long ends with the number of the
/// rest. The last line names --details if to_text() has more.
std::string to_summary(const Report& report, std::size_t width = 0,
                       const std::vector<std::string>& files = {});

/// The beginning of to_summary(): whether the run passed, and if it failed, the first reasons and
/// the number of the rest.
std::string to_verdict(const Report& report, std::size_t width = 0);

/// ", 57 frames lost by the requested faults"; empty if none were lost. Without it, "passed" would
/// suggest that all frames arrived. `report` needs only `jobs` and `links`.
std::string losses_text(const nlohmann::json& report);

/// How many servers of a combined result failed by themselves. A server that was only stopped, or
/// that ran nothing because another one failed, does not count. `result` needs only `hosts`,
/// `failures` and `stopped_by_signal`.
std::size_t failed_servers(const nlohmann::json& result);

/// The version of the lines of to_terse(), which is their first field. Fields are only added, at
/// the end; any other change raises the version.
inline constexpr int kTerseVersion = 1;

/// `terse`: a line per job, with fields separated by semicolons; a field is empty if it was not
/// measured. In texts, a semicolon becomes "_" and a control character "?". docs/shmifperf-terse.md
/// describes the fields.
std::string to_terse(const Report& report);

}  // namespace shmif::perf
