#pragma once
// The client of several servers: all of them run one set of jobs at once.

#include <chrono>
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

// StopPatience: how long a client waits for its servers after a stop. Only this code decides that.
// Internal to perf/remote.
//
//                               jobs not started            jobs started
//   first signal, or a failure  given up kUnstartedTime     stopped hard kSoftTime and the drain
//   after `go`                  later                       later, given up kHardTime after that
//   second signal               given up at once            stopped hard at once
//   third signal                given up at once            given up at once
//
// A server whose jobs have not started has no result that could be lost. Once the ordered start
// time has passed, jobs count as started, even if the server has not said so yet. A failure before
// `go` is not a stop: no jobs have started, so the client gives up all servers at once.

/// Threads: one at a time. Blocks: never.
class StopPatience {
 public:
  using Clock = std::chrono::steady_clock;

  /// As long as a server may be silent. It can end jobs that have not started at once.
  static constexpr std::chrono::seconds kUnstartedTime{8};
  /// How long servers may take for a stop, besides the time that their jobs drain.
  static constexpr std::chrono::seconds kSoftTime{30};
  /// How long servers may take for a hard stop: they need 5 s at most, plus the way back.
  static constexpr std::chrono::seconds kHardTime{10};

  /// `drain`: how long the jobs may drain.
  explicit StopPatience(std::chrono::nanoseconds drain) noexcept : drain_(drain) {}

  /// `signals`: how many have asked for a stop so far.
  void note_signals(int signals, Clock::time_point now) noexcept;
  /// Notes that another server failed after `go`, so the run is not the one that was asked for.
  void note_failure(Clock::time_point now) noexcept;
  int signals() const noexcept { return signals_; }

  /// Whether servers must now be told to stop hard; true only once.
  bool take_hard(Clock::time_point now) noexcept;
  /// Why a server is given up; empty if it is not. `has_started`: whether its jobs may already run.
  std::string why_given_up(bool has_started, Clock::time_point now) const;

 private:
  std::chrono::nanoseconds drain_;
  int signals_ = 0;
  std::optional<Clock::time_point> stopped_, hard_;
};

}  // namespace shmif::perf
