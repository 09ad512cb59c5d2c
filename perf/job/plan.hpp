#pragma once
// The plan of a run: a set of jobs, checked as a whole, with every clone and every peer in it.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

inline constexpr std::size_t kNoJob = std::numeric_limits<std::size_t>::max();

/// One job of a run: one thread or process. The number of a job is its place in the plan; it is
/// also that of the flow which it sends.
struct PlannedJob {
  JobOptions options;                  ///< with its final name, "voip.3"
  std::string group;                   ///< it is reported with
  std::string peer_of;                 ///< of a peer made for another job: its name
  std::size_t to = kNoJob;             ///< whom it sends to; itself for rw=txrx on engine=null
  std::vector<std::size_t> waits_for;  ///< it starts when all of these have ended
  std::uint32_t clone = 0;             ///< which of its clones it is, from 0
};

/// Jobs with the same key are on one wire. Of those in a plan all that makes a wire is the same.
std::string wire_key(const PlannedJob& job);

/// The plan of a set of jobs:
///
///   engine=A,B     jobs with the same list, one behind the other, become a block for each engine,
///                  as NAME-A and NAME-B; each block but the first waits for the one before
///   numjobs=3      becomes NAME.0, NAME.1 and NAME.2, each with random numbers of its own
///   rw=tx          without `to` gets NAME.sink (rw=rx); rw=txrx gets NAME.peer (rw=txrx) and
///                  rw=pingpong gets NAME.echo (rw=echo), on the same wire; on engine=null and pcap
///                  a sender stays alone
///   to=OTHER       clone i sends to clone i of OTHER, or where that has fewer, begins again
///   stonewall      waits for all jobs before it but those that receive from later ones
///   two-ended wires (unix, udp) become one for each pair, by the name of who sends first
///
/// A peer is a job like the one that it is made for, on peer_cpus_allowed, without faults, records,
/// commands and limits of its own; it takes over what concerns the other direction: of rw=txrx the
/// second values of bs, rate and rate_min, of rw=tx the second value of rate_min. Of rw=txrx with
/// one rate for both, rwmixtx divides the sum of both. Errors: bad_argument, the first of
/// problems_of().
Result<std::vector<PlannedJob>> expand(const JobSet& set);

/// What is wrong with a set of jobs as a whole, each with the job, where it was written, and what
/// to do, at most 20: names that occur twice or are missing, jobs that wait for themselves or send
/// to who cannot receive, options that contradict each other. Empty: nothing is.
std::vector<std::string> problems_of(const JobSet& set);

/// Both at once; where there are problems, the jobs mean nothing.
struct Planning {
  std::vector<PlannedJob> jobs;
  std::vector<std::string> problems;
};
Planning plan_of(const JobSet& set);

}  // namespace shmif::perf
