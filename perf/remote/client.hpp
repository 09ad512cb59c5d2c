#pragma once
// The client of several servers: one set of jobs, run by all of them at once.

#include <optional>
#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/report/report.hpp"
#include "perf/run/progress.hpp"
#include "perf/run/runner.hpp"

namespace shmif::perf {

/// What became of the jobs on one server.
struct HostResult {
  std::string name;  ///< as the user wrote it
  std::optional<Report> report;
  std::vector<std::string> failures;  ///< why there is no report, or what else went wrong
  std::optional<int> refused_with{};  ///< exit code of the server's refusal; nothing: it has not
  /// When its first jobs were let go, after those of the first server; each job's start_skew_ns
  /// comes on top. Nothing: they were not.
  std::optional<std::uint64_t> start_offset_ns{};
  /// By how much that may be wrong, for clocks are compared over a network.
  std::optional<std::uint64_t> clock_error_ns{};

  /// Whether all of its jobs passed.
  bool passed() const;
  /// As if its jobs had been run by themselves; 0, too, when it ran nothing because of others.
  int exit_code() const;
};

struct RemoteOptions {
  std::vector<std::string> servers;  ///< HOST[:PORT], each once
  std::string version;               ///< of this program
  std::vector<std::string> command;
};

/// Has every server run the set. When one cannot, nobody starts; when one fails later, the others
/// are stopped. A stop that `control` asks for goes to all of them, a second one is hard. Threads:
/// as Runner; `observer` hears of the jobs of all servers as "HOST/JOB". Blocks: until every server
/// has given its result or is given up. Result: in the order of `servers`.
std::vector<HostResult> run_on_servers(const RemoteOptions& options, const JobSet& set,
                                       RunObserver* observer, RunControl& control);

}  // namespace shmif::perf
