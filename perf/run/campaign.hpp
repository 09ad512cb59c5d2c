#pragma once
// A campaign: all the runs that one set of jobs asks for. Most often that is one; a search is a run
// for each rate that it tries, and `--repeat` runs all of it several times.

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/job/plan.hpp"
#include "perf/run/progress.hpp"
#include "perf/run/run_result.hpp"
#include "perf/run/runner.hpp"

namespace shmif::perf {

/// How long the searches of `plan` will take: where each first guess is right, and where the rate
/// has to be halved to. Nothing where nobody searches.
struct SearchTime {
  std::size_t searches = 0;
  double trial_seconds = 0;  ///< of the longest
  double least_seconds = 0, most_seconds = 0;
  /// Each search has a runtime that ends it by then. Otherwise repeated trials can make it longer
  /// than `most_seconds`.
  bool bounded = true;
};
std::optional<SearchTime> search_time(const RunOptions& options,
                                      const std::vector<PlannedJob>& plan);

/// Runs what `plan` (expand() of the set) asks for. Result: of several runs the figures over all
/// of them that nothing cut off, and the counts and curves of the one with the median rate. A
/// signal or a trigger ends the campaign. Threads: as Runner. Errors: those before any job started;
/// what keeps a later run from being set up is a failure of the result. `stuck`: set when a thread
/// could not be ended (Runner::stuck).
Result<RunResult> run_campaign(const RunOptions& options, const std::vector<PlannedJob>& plan,
                               RunObserver* observer, RunControl& control, bool& stuck);

}  // namespace shmif::perf
