#pragma once
// A running run as text, interval by interval: for programs that follow it, and for people.
//
// docs/shmifperf-streams.md describes every key. The figures are those of RunProgress: `last` is
// the interval, everything else counts since the start.

#include <chrono>
#include <string>

#include "perf/result/progress.hpp"

namespace shmif::perf {

/// One line of JSON: an object with `at_seconds`, `share`, `left_seconds` and `jobs[]`. A figure
/// that was not measured is null.
std::string to_json_line(const RunProgress& progress);

/// InfluxDB's line protocol, one line for each job: the measurement `shmifperf`, names as tags, a
/// field for each figure, the time in ns. A figure that was not measured is left out.
std::string to_influx(const RunProgress& progress, std::chrono::system_clock::time_point when);

/// A table of the jobs and their current state.
std::string to_status(const RunProgress& progress, std::size_t width = 0);

/// CPU time of the interval as a share of one CPU. Empty: it is not known.
std::optional<double> cpu_share(const IntervalResult& interval);

}  // namespace shmif::perf
