#pragma once
// The runs of a campaign that were repeated (`--repeat`), as one result.

#include <vector>

#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// All runs in one: figures over all of them (`repeats`, `repetitions`), and of the run with the
/// median rate what no median is of: counts, intervals and links. A run that failed fails them all.
/// `runs` is not empty.
RunResult all_of_repetitions(std::vector<RunResult> runs);

/// Adds to `all` what is to be known of a run whose figures are left out.
void keep_messages(RunResult& all, RunResult&& one);

}  // namespace shmif::perf
