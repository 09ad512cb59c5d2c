#pragma once
// Makes one result out of the runs of a campaign: of repetitions (`--repeat`), and of searches.

#include <vector>

#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Makes one result out of all runs. `repeats` and `repetitions` have the figures of all runs. Some
/// figures have no median (counts, intervals, links): they are those of the run with the median
/// rate. If one run failed, the result has failed. `runs` must not be empty.
RunResult all_of_repetitions(std::vector<RunResult> runs);

/// Adds the failures of `one` to `all`, and those lost outputs and kinds of warnings that `all`
/// does not have yet. Leaves out the figures of `one`.
void keep_messages(RunResult& all, RunResult&& one);

/// Adds what held back the jobs of one run. Each run has its own time.
void add_causes(RunCauses& all, RunCauses&& one);

}  // namespace shmif::perf
