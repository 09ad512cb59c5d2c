#pragma once
// The client of several servers: all of them run one set of jobs at once.

#include <optional>
#include <string>
#include <vector>

#include "perf/control/runner.hpp"
#include "perf/job/job_options.hpp"
#include "perf/report/report.hpp"
#include "perf/result/progress.hpp"

namespace shmif::perf {

/// What happened to the jobs on one server.
struct HostResult {
  std::string name;  ///< as the user wrote it
  std::optional<Report> report;
  std::vector<std::string> failures;  ///< why the report is missing, or other errors
  std::optional<int> refused_with{};  ///< exit code of the server's refusal; empty: not refused
  /// What its jobs know about flows from or to other servers, by name.
  std::vector<std::pair<std::string, HalfFlow>> halves{};
  std::vector<std::string> states{};  ///< the files of the verification states that it sent
  /// When its first jobs started, after those of the first server; each job's start_skew_ns must be
  /// added. Empty: they did not start.
  std::optional<std::uint64_t> start_offset_ns{};
  /// Possible error of start_offset_ns, because the clocks are compared over a network.
  std::optional<std::uint64_t> clock_error_ns{};

  /// Whether all its jobs passed.
  bool passed() const;
  /// The exit code as if its jobs had run alone; also 0 if other servers kept it from running jobs.
  int exit_code() const;
};

struct RemoteOptions {
  /// HOST[:PORT], each once. If the jobs name servers, those: see servers_in().
  std::vector<std::string> servers;
  std::string version;  ///< of this program
  std::vector<std::string> command;
};

/// Lets every server run the set; if the jobs name servers, each runs those that name it. If one
/// cannot, no server starts; if one fails later, the others are stopped. If the trigger fires on
/// one, or its file appears on this machine, it fires on all. Verification states that jobs of the
/// servers have saved are written to the current directory as SERVER-JOB-verify.state. A stop from
/// `control` goes to all servers; a second stop is hard. Threads: as Runner; `observer` gets the
/// jobs of all servers as "HOST/JOB". Blocks: until every server has sent its result or is given
/// up. Result: in the order of `servers`.
std::vector<HostResult> run_on_servers(const RemoteOptions& options, const JobSet& set,
                                       RunObserver* observer, RunControl& control);

}  // namespace shmif::perf
