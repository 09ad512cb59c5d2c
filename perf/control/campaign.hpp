#pragma once
// A campaign: all runs that one set of jobs asks for. Usually that is one run. A search makes one
// run for each rate that it tries. `--repeat` makes all runs several times.

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/control/runner.hpp"
#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"
#include "perf/result/progress.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// How long the searches of `plan` will take. At least: if each first guess is right. At most: if
/// the rate must be found by halving. Result: empty if no job searches.
struct SearchTime {
  std::size_t searches = 0;
  double trial_seconds = 0;  ///< of one trial: the longest among the searches
  double min_seconds = 0, max_seconds = 0;
  /// Each search has a runtime that bounds it. Without one, repeated trials can make it longer than
  /// `max_seconds`.
  bool bounded = true;
};
std::optional<SearchTime> search_time(const RunOptions& options,
                                      const std::vector<PlannedJob>& plan);

/// Runs what `plan` (made by plan_of()) asks for. Result: if there are several runs, the figures
/// are computed over all runs that were not cut off; the counts and curves are those of the run
/// with the median rate. A signal or a trigger ends the campaign. Threads: as Runner. Errors: those
/// before any job started. If a later run cannot be set up, the result has a failure instead.
/// `stuck`: set when a thread could not be ended (Runner::stuck).
Result<RunResult> run_campaign(const RunOptions& options, const std::vector<PlannedJob>& plan,
                               RunObserver* observer, RunControl& control, bool& stuck);

// The parts of run_campaign() that make one result out of several. Internal to perf/control.

/// Makes one result out of all runs. `repeats` and `repetitions` have the figures of all runs. Some
/// figures have no median (counts, intervals, links): they are those of the run with the median
/// rate. If one run failed, the result has failed. `runs` must not be empty.
RunResult all_of_repetitions(std::vector<RunResult> runs);

/// Adds the failures of `one` to `all`, and those lost outputs and kinds of warnings that `all`
/// does not have yet. Leaves out the figures of `one`.
void keep_messages(RunResult& all, RunResult&& one);

/// Adds what held back the jobs of one run. Each run has its own time.
void add_causes(RunCauses& all, RunCauses&& one);

// The highest rate of the harness itself on this machine, to compare a result with.
// Internal to perf/control.

/// The rate of a trial of a job that never sleeps. Result: empty if the rate is unknown, because
/// the job sent no frame, or had its CPU for too short a time. `cpu`: empty if unknown.
std::optional<double> limit_by(const TrafficResult& sent, const std::optional<CpuResult>& cpu);

/// Adds the measured limit to each result and each search of `result` whose frames were probes and
/// were sent or received. A job that kept a pace above what the trials reached gets no limit.
/// `plan`: the plan that was run.
void add_limits(std::span<const PlannedJob> plan, RunResult& result);

}  // namespace shmif::perf
