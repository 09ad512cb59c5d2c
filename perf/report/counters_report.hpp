#pragma once
// The results of `shmifperf stat`, as text and as JSON.

#include <string>
#include <vector>

#include "perf/counters/stat.hpp"

namespace shmif::perf {

/// A table of the events, then the figures derived from them, then the events that could not be
/// counted, with the reasons. `width`: as for Table::text().
std::string stat_text(const StatResult& result, std::size_t width = 0);
/// `events[]` of {name, value, unit, scaled, enabled_ns, running_ns, source, reason}, `derived[]`,
/// `sets[]`, `elapsed_s`, `clock_ns`, `one_instant` and `partial`, and `cpus[]` if CPUs were
/// counted; with a final newline.
std::string stat_json(const StatResult& result);
/// " on CPU 0", " on CPUs 0,2-3"; empty if there are none.
std::string on_cpus(const std::vector<int>& cpus);

}  // namespace shmif::perf
