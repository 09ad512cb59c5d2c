#pragma once
// What a server does for a client that it does not know.
//
//   options                                      refused unless the server has
//   exec, exec_prerun, exec_postrun, trigger     --allow-exec: they run programs
//   uid, gid, cgroup, rtprio                     --allow-exec: who may run any program has those
//   bus, filename, replay, write_*, aux-path,    --directory, and a path in it; relative paths are
//   verify_state_*, trigger-file                 taken from there
//   allow_live, netdev, netns                    --allow-live: they touch the machine's own network
//   output and its like                          never: they are the client's
//
// Every option of the table is in one of these kinds or harmless (kind_of()); one that is in none
// is refused, so that a new option is looked at before strangers may use it.

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "perf/job/job_options.hpp"

namespace shmif::perf {

struct ServerLimits {
  bool allow_exec = false;
  bool allow_live = false;
  std::string directory;      ///< absolute; empty: no files
  std::size_t max_jobs = 64;  ///< clones and engines counted, peers not
  std::chrono::nanoseconds max_runtime = std::chrono::hours(1);
};

enum class OptionKind : std::uint8_t { harmless, command, file, live, of_client, unknown };
/// Of an option by its full name.
OptionKind kind_of(const std::string& option) noexcept;

/// Makes `set` one that the server can run: paths become absolute, `allow_exec` follows the limits.
/// Result: what is refused, each naming job, option and remedy, at most 20; empty: nothing is.
/// Threads: any. Blocks: on the file system.
std::vector<std::string> apply_limits(const ServerLimits& limits, JobSet& set);

}  // namespace shmif::perf
