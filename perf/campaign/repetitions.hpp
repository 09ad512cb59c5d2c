#pragma once
// Makes one result of the runs of a campaign: of repetitions (`--repeat`), and of searches.

#include <vector>

#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Makes one result of all runs. `repeats` and `repetitions` have the figures of all runs. Figures
/// that have no median (counts, intervals, links) are those of the run with the median rate. If one
/// run failed, the result has failed. `runs` must not be empty.
RunResult all_of_repetitions(std::vector<RunResult> runs);

/// Adds the failures of `one` to `all`, and lost outputs and kinds of warnings that are not in it
/// yet; its figures are left out.
void keep_messages(RunResult& all, RunResult&& one);

/// Adds what held back the jobs of one run. Each run has its own time.
void add_causes(RunCauses& all, RunCauses&& one);

}  // namespace shmif::perf
