#pragma once
// The plan of a run: a set of jobs, checked as a whole, with all clones and peers.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

inline constexpr std::size_t kNoJob = std::numeric_limits<std::size_t>::max();

/// One job of a run: one thread or process. The number of a job is its index in the plan, and also
/// the number of the flow that it sends.
struct PlannedJob {
  JobOptions options;                  ///< with its final name, "voip.3"
  std::string group;                   ///< its reporting group
  std::string peer_of;                 ///< if it is a peer made for another job: that job's name
  std::size_t to = kNoJob;             ///< the job it sends to; itself for rw=txrx on engine=null
  std::vector<std::size_t> waits_for;  ///< it starts when all of these have ended
  std::uint32_t clone = 0;             ///< number of the clone, from 0
};

/// Jobs with the same key share a wire. In a plan, all options that define the wire are the same
/// for them.
std::string wire_key(const PlannedJob& job);

/// The plan of a set of jobs:
///
///   engine=A,B     consecutive jobs with the same list become a block for each engine, named
///                  NAME-A and NAME-B; each block but the first waits for the one before
///   numjobs=3      becomes NAME.0, NAME.1 and NAME.2, each with its own random numbers
///   rw=tx          without `to` gets NAME.sink (rw=rx); rw=txrx gets NAME.peer (rw=txrx) and
///                  rw=pingpong gets NAME.echo (rw=echo), on the same wire; on engine=null and
///                  pcap, and with no_peer, a sender has no peer
///   to=OTHER       clone i sends to clone i of OTHER; if OTHER has fewer, numbers wrap
///   stonewall      waits for all jobs before it, except those that receive from later ones
///   wires with two ends (unix, udp) become one for each pair, named after the first sender
///
/// A peer is a copy of the job that it is made for, on peer_cpus_allowed, without faults, records
/// and commands. With rw=txrx it also has the limits and pauses. It takes the values of the other
/// direction: with rw=txrx the second values of bs, rate and rate_min, with rw=tx the second value
/// of rate_min. With rw=txrx and one rate for both, rwmixtx divides the sum of both.
struct Planning {
  std::vector<PlannedJob> jobs;  ///< not valid if there are problems
  /// Problems of the set as a whole, at most 20, each with the job, where it was written, and
  /// advice: names that are missing or occur twice, jobs that wait for themselves or send to jobs
  /// that cannot receive, contradicting options.
  std::vector<std::string> problems;
};
Planning plan_of(const JobSet& set);

/// The files that a run reads and must therefore not write: job files, captures, states.
std::vector<std::string> inputs_of(std::span<const PlannedJob> plan, const RunOptions& run);
/// The captures and logs that its jobs write if they get that far.
std::vector<std::string> outputs_of(std::span<const PlannedJob> plan, const RunOptions& run);

/// The kinds of logs in their names, which are fio's.
inline constexpr const char* kBandwidthLog = "bw";
inline constexpr const char* kRateLog = "iops";
inline constexpr const char* kLatencyLog = "lat";
inline constexpr const char* kHistogramLog = "clat_hist";
/// The path of a log of `job`, below aux_path: PREFIX_KIND.JOB.log; with per_job_logs=0, it is that
/// of all such jobs, PREFIX_KIND.log.
std::string log_path(const RunOptions& run, const std::string& prefix, const char* kind,
                     const JobOptions& job);

/// The jobs of a trial of job number `job`, by their numbers: the job itself, the background jobs,
/// and the jobs that one of these sends to.
std::set<std::size_t> trial_jobs(std::span<const PlannedJob> plan, std::size_t job);

// How long the intervals of a run's curves and logs are.

/// The same for all jobs of a plan. The curves have a few hundred points: ten a second if the
/// longest `runtime` is at most a minute, one a second if it is longer or if no job has one. Logs
/// may divide the intervals of their jobs further. Threads: any. Blocks: never.
inline std::chrono::nanoseconds curve_interval(const std::vector<PlannedJob>& plan) {
  std::chrono::nanoseconds longest{0};
  for (const PlannedJob& job : plan) longest = std::max(longest, job.options.runtime);
  const bool is_short = longest.count() != 0 && longest <= std::chrono::minutes(1);
  return is_short ? std::chrono::milliseconds(100) : std::chrono::milliseconds(1000);
}

/// The options that say which logs have the figures of a job: its own, or for a peer, those of the
/// job that it was made for. Threads: any. Blocks: never.
inline const JobOptions& log_options(std::span<const PlannedJob> plan, const PlannedJob& job) {
  if (job.peer_of.empty()) return job.options;
  const auto writer = std::ranges::find_if(
      plan, [&job](const PlannedJob& each) { return each.options.name == job.peer_of; });
  return writer == plan.end() ? job.options : writer->options;
}

/// The intervals of a job with these log_options(), at most as long as those of the curves: a whole
/// number of them makes a line of each log. Threads: any. Blocks: never.
inline std::chrono::nanoseconds interval_of(const JobOptions& job, std::chrono::nanoseconds curve) {
  const bool averages =
      !job.write_bw_log.empty() || !job.write_iops_log.empty() || !job.write_lat_log.empty();
  const bool histograms = !job.write_hist_log.empty();
  if (!averages && !histograms) return curve;
  // If there are two, one is a multiple of the other.
  const std::chrono::nanoseconds line = !histograms ? job.log_avg
                                        : !averages ? job.log_hist
                                                    : std::min(job.log_avg, job.log_hist);
  const auto parts = (line + curve - std::chrono::nanoseconds(1)) / curve;
  return line / std::max<std::int64_t>(parts, 1);
}

}  // namespace shmif::perf
