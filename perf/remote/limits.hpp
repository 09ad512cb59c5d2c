#pragma once
// What a server does for a client that it does not know.
//
//   options                                      refused unless the server has
//   exec, exec_prerun, exec_postrun, trigger     --allow-exec: they run programs
//   uid, gid, cgroup, rtprio, a negative nice,   --allow-exec: who may run any program has those
//   prioclass=1
//   bus, filename, replay, write_*, aux-path,    --directory, and a path in it; relative paths are
//   verify_state_load, trigger-file              taken from there
//   verify_state_save, trigger-timeout,          --directory: states are written there, and a
//   trigger-match                                trigger saves those of all jobs
//   allow_live, netdev, netns                    --allow-live: they touch the machine's own network
//   output and its like                          never: they are the client's
//
// Every option of the table is in one of these kinds or harmless (kind_of()); one that is in none
// is refused, so that a new option is looked at before strangers may use it. How much of the
// machine all of them together may use is bounded by the numbers of ServerLimits.

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/job/plan.hpp"

namespace shmif::perf {

struct ServerLimits {
  bool allow_exec = false;
  bool allow_live = false;
  std::string directory;      ///< absolute; empty: no files
  std::size_t max_jobs = 64;  ///< clones and engines counted, peers not
  std::chrono::nanoseconds max_runtime = std::chrono::hours(1);
  std::uint64_t max_memory = 1U << 30U;  ///< bytes, as memory_of() counts
};

/// What is told of the problems that a client's jobs have.
inline constexpr std::size_t kMostProblems = 20;

enum class OptionKind : std::uint8_t { harmless, command, file, state, live, of_client, unknown };
/// Of an option by its full name.
OptionKind kind_of(const std::string& option) noexcept;

/// Makes `set` one that the server can run: paths become absolute, `allow_exec` follows the limits.
/// Result: what is refused, each naming job, option and remedy, at most kMostProblems; empty:
/// nothing is.
/// Threads: any. Blocks: on the file system.
std::vector<std::string> apply_limits(const ServerLimits& limits, JobSet& set);

/// The bytes that the jobs of a plan may take by their options: rings of the buses that are made
/// for the run, batches, captures, and frames that wait for a fault, for verification or for their
/// reply. An estimate from above. Threads: any. Blocks: on the file system.
std::uint64_t memory_of(const std::vector<PlannedJob>& plan);
/// Why the plan takes more memory than the server gives, with the remedy; empty: it does not.
std::string too_much_memory(const ServerLimits& limits, const std::vector<PlannedJob>& plan);

}  // namespace shmif::perf
