#pragma once
// RunWatch: looks at the jobs of a run while they work, and says at the end what held them back.
// Internal to perf/control.

#include <cstdint>
#include <string>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/why/cause.hpp"
#include "perf/why/sampler.hpp"

namespace shmif::perf {

/// Losses, overruns and latencies of a job, taken from its intervals.
JobTraffic traffic_of(const std::string& job, const std::vector<IntervalResult>& intervals);
/// Makes the steps have `lost` lost frames in all: adds the missing ones to the last step. They
/// were not noticed earlier, because no later frame arrived. `end_s`: the end of the only step, if
/// the job has no intervals.
void add_unnoticed(JobTraffic& traffic, std::uint64_t lost, double end_s);

/// Looks ten times a second. If there are very many jobs, it looks less often, so that it takes 0.5
/// % of a CPU.
///
/// Threads: one at a time. Blocks: never for long.
class RunWatch {
 public:
  /// `start_ns`: the start of the run's first jobs.
  RunWatch(const RunState& run, std::uint64_t start_ns);

  /// Takes a look if one is due.
  void look(std::uint64_t now_ns);
  /// Takes a last look. `run.jobs` must have all of their intervals; `results` are the results of
  /// these jobs.
  RunCauses finish(const std::vector<JobResult>& results, std::uint64_t now_ns);

 private:
  void add_jobs();
  void add_buses();
  std::vector<JobTraffic> traffic(const std::vector<JobResult>& results) const;

  const RunState& run_;
  std::uint64_t start_ns_;
  std::uint64_t next_ns_ = 0;
  WhySampler sampler_;
  std::vector<bool> added_;               ///< indexed like the jobs
  std::vector<MissingSource> missing_{};  ///< besides those that the sampler notes
};

}  // namespace shmif::perf
