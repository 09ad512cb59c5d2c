#pragma once
// The command lines of a lab's runs of shmifperf, and whether that program takes them.

#include <string>
#include <vector>

#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// The path of shmifperf: beside this program, or else in the directories of PATH. Errors: it is in
/// none of them.
Result<std::string> find_shmifperf();

/// The words of `shmifperf` for a run, without its name. `results`: the folder of results; empty:
/// only to check the options.
std::vector<std::string> perf_words(const Lab& lab, const LabPerf& perf,
                                    const std::string& results);

/// Asks shmifperf whether it takes the options of all runs. What it refuses becomes a problem at
/// the place of the option, the job or the run. Blocks: for a process for each run.
void check_perf_options(const Lab& lab, LabProblems& problems);

}  // namespace shmif::tools
