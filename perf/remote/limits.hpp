#pragma once
// What a server allows a client that it does not know.
//
//   options                                      refused unless the server has
//   exec, exec_prerun, exec_postrun, trigger     --allow-exec: they run programs
//   uid, gid, cgroup, rtprio, a negative nice,   --allow-exec: any program could set these
//   bus, filename, replay, write_*, aux-path,    --directory, and a path in it, which is not the
//   verify_state_load, trigger-file              directory itself except for aux-path; relative
//                                                paths start there
//   headers, if it names a capture               the same for that path
//   verify_state_save, trigger-timeout,          --directory: states are written there, and a
//   trigger-match                                trigger saves those of all jobs
//   trigger-match, match in fault and fault_rx   never with names of hosts
//   allow_live, netdev, netns, no_peer           --allow-live: they use the machine's own network
//   socket                                       the same, and --directory for paths of sockets
//                                                and of buses as VDE networks; other VDE networks
//                                                run programs, open devices or follow links, and
//                                                need --allow-exec, and so do ports below 1024 that
//                                                are opened here
//   hostname                                     --allow-live, unless an address of this machine
//   port                                         --allow-exec, if it is below 1024 and opened here
//   output and similar options                   never: they are the client's
//
// A server looks up no name that a client chose. Hosts are given by their IP addresses.
//
// The row of each option says which of these it is (OptionRow::on_server). A row cannot be added
// without that, so a new option is reviewed before strangers may use it. The numbers of
// ServerLimits bound how much of the machine all jobs together may use.

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

struct ServerLimits {
  bool allow_exec = false;
  bool allow_live = false;
  std::string directory;  ///< absolute; empty: clients may not use files
  /// Counts clones, the jobs for each engine, and the threads that help jobs, but not peers.
  std::size_t max_jobs = 64;
  std::chrono::nanoseconds max_runtime = std::chrono::hours(1);
  std::uint64_t max_memory = 1U << 30U;  ///< bytes, as memory_of() counts them

  /// Whether a run must keep its files below the directory. With allow_exec, programs of the client
  /// could use other files all the same.
  bool keeps_directory() const noexcept { return !directory.empty() && !allow_exec; }
};

/// The path `path` of a client, absolute and without the symbolic links of now. Links that are made
/// later are the kernel's: see pin_directory(). Error: bad_argument with why the server refuses it,
/// and advice. Threads: any. Blocks: for the file system.
Result<std::string> allowed_path(const ServerLimits& limits, const std::string& path);

/// How many problems of a client's jobs are reported.
inline constexpr std::size_t kMaxProblems = 20;

/// Changes `set` so that the server can run it: paths become absolute, and `allow_exec` follows the
/// limits. Result: what is refused, each with job, option and advice, at most kMaxProblems; empty
/// if the server accepts all of it. Threads: any. Blocks: for the file system.
std::vector<std::string> apply_limits(const ServerLimits& limits, JobSet& set);

/// An upper estimate of the bytes that the jobs of a plan may use: rings of buses made for the run,
/// batches, captures, frames that wait because of a fault, for verification or for their reply, and
/// the results of `runs` runs (repeat), which together take no longer than `max_runtime`.
/// Threads: any. Blocks: for the file system.
std::uint64_t memory_of(const std::vector<PlannedJob>& plan, std::uint64_t runs = 1,
                        std::chrono::nanoseconds max_runtime = std::chrono::hours(1));
/// Why the plan uses more memory than the server allows, with advice; empty if it does not.
std::string too_much_memory(const ServerLimits& limits, const std::vector<PlannedJob>& plan,
                            const RunOptions& run);
/// The same before the set is planned, which copies the options of each job numjobs times.
std::string too_much_memory(const ServerLimits& limits, const JobSet& set);

// Sets of jobs as texts for another machine: files, variables and profiles are resolved.

/// The options that were given, without those that concern only the client.
JobTexts texts_of(const JobSet& set);

/// Makes the set again, unless it has more jobs than the limits allow. Captures in `headers` are
/// read here, so only those that the limits allow are accepted, and their paths become absolute.
/// Adds its problems to `problems`, at most kMaxProblems (limits.hpp). Threads: any. Blocks: for
/// such a capture.
JobSet job_set_of(const JobTexts& texts, const ServerLimits& limits,
                  std::vector<std::string>& problems);

}  // namespace shmif::perf
