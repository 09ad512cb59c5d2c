#pragma once
// RunWatch: looks at the jobs of a run while they work, and tells at the end what held them back.
// Internal to perf/control.

#include <cstdint>
#include <string>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/why/cause.hpp"
#include "perf/why/sampler.hpp"

namespace shmif::perf {

/// Losses, overruns and latencies of a job, as its intervals have them.
JobTraffic traffic_of(const std::string& job, const std::vector<IntervalResult>& intervals);

/// Looks ten times a second, or, if there are very many jobs, as often as takes 0.5 % of a CPU.
///
/// Threads: one at a time. Blocks: never for long.
class RunWatch {
 public:
  /// `start_ns`: the start of the run's first jobs.
  RunWatch(const RunState& run, std::uint64_t start_ns);

  /// Takes a look if one is due.
  void look(std::uint64_t now_ns);
  /// `run.jobs` must have all of their intervals.
  RunCauses result() const;

 private:
  void add_jobs();
  void add_buses();
  std::vector<JobTraffic> traffic() const;

  const RunState& run_;
  std::uint64_t start_ns_;
  std::uint64_t next_ns_ = 0;
  WhySampler sampler_;
  std::vector<bool> added_;               ///< indexed like the jobs
  std::vector<MissingSource> missing_{};  ///< besides what the sampler notes
};

}  // namespace shmif::perf
