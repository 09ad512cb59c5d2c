#pragma once
// What is known of a run while it runs, once an interval: for the progress line, status reports,
// streams and metrics.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/run/run_result.hpp"

namespace shmif::perf {

struct JobProgress {
  std::string name;
  std::string group;
  std::string peer_of;
  JobState state = JobState::not_created;
  std::int64_t pid = 0;  ///< 0: a thread, or not there
  bool failed = false;
  std::optional<double> share;  ///< done, 0 to 1; nothing when its end is not known
  std::optional<double> left_seconds;
  /// For on_interval(): all that it did since the one before. Else the newest interval.
  IntervalResult last;
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0, lost_frames = 0;
};

struct RunProgress {
  double at_seconds = 0;        ///< since the common start
  std::optional<double> share;  ///< done, 0 to 1; nothing when the end is not known
  std::optional<double> left_seconds;
  std::vector<JobProgress> jobs;
};

/// `sum` and what followed it as one interval. Sums, means and the greatest are exact; of a
/// percentile it keeps the greatest, which that of the whole does not exceed.
void extend(IntervalResult& sum, const IntervalResult& next);

/// Hears how a run goes. Threads: called by the one that runs it. Blocks: should not.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// Of several runs in one campaign, before each: "run 2 of 5", "trial of voip at 125000/s".
  virtual void on_run(const std::string& /*what*/) {}
  /// Every 100 ms or so, for a display.
  virtual void on_progress(const RunProgress& progress) = 0;
  /// Every status interval (default: 1 s), and once at the end, for what is left.
  virtual void on_interval(const RunProgress& progress) = 0;
  /// Somebody asked for the status, by SIGUSR1.
  virtual void on_status(const RunProgress& /*progress*/) {}
};

}  // namespace shmif::perf
