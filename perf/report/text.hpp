#pragma once
// A report for people, in fio's spirit, and one line per job for scripts.

#include <string>

#include "perf/report/report.hpp"

namespace shmif::perf {

/// `normal`: what went wrong first, then tables that compare (engines, searches, repetitions), then
/// each job and group, the links with faults, and the machine. "-" is what was not measured.
/// `width`: tables that are wider are folded, and messages broken; 0: every row is a line.
std::string to_text(const Report& report, std::size_t width = 0);

/// The version of the lines that to_terse() makes, their first field. Fields are only ever added,
/// at the end; any other change raises it.
inline constexpr int kTerseVersion = 1;

/// `terse`: a line per job, fields separated by semicolons, empty where nothing was measured. In a
/// text a semicolon becomes "_", a control character "?". docs/shmifperf-terse.md names the fields.
std::string to_terse(const Report& report);

}  // namespace shmif::perf
