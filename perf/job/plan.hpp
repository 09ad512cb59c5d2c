#pragma once
// The plan of a run: a set of jobs, checked as a whole, with every clone and every peer in it.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
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
  std::map<std::string, std::string> given;  ///< the options that were written, as text
};

}  // namespace shmif::perf
