#pragma once
// A running run as text, interval by interval: for programs that follow it, and for people.
//
// docs/shmifperf-streams.md names every key. Figures are those of RunProgress: `last` is the
// interval, all else is since the start.

#include <chrono>
#include <string>

#include "perf/run/progress.hpp"

namespace shmif::perf {

/// One line of JSON: an object with `at_seconds`, `share`, `left_seconds` and `jobs[]`. What was
/// not measured is null.
std::string to_json_line(const RunProgress& progress);

/// InfluxDB's line protocol, a line for each job: the measurement `shmifperf`, tags for the names,
/// a field for each figure, the time in ns. What was not measured is left out.
std::string to_influx(const RunProgress& progress, std::chrono::system_clock::time_point when);

/// A table of the jobs, as they are now.
std::string to_status(const RunProgress& progress, std::size_t width = 0);

/// Units of an interval's counts: a second. Nothing for an interval of no length.
std::optional<double> per_second(std::uint64_t count, const IntervalResult& interval);

}  // namespace shmif::perf
