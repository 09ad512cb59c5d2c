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
  JobState state = JobState::not_created;
  std::int64_t pid = 0;  ///< 0: a thread, or not there
  bool failed = false;
  IntervalResult last;  ///< the newest interval
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0, lost_frames = 0;
};

struct RunProgress {
  double at_seconds = 0;        ///< since the common start
  std::optional<double> share;  ///< done, 0 to 1; nothing when the end is not known
  std::optional<double> left_seconds;
  std::vector<JobProgress> jobs;
};

/// Hears how a run goes. Threads: called by the one that runs it. Blocks: should not.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// Every 100 ms or so, for a display.
  virtual void on_progress(const RunProgress& progress) = 0;
  /// Every status interval (default: 1 s), with intervals of that length.
  virtual void on_interval(const RunProgress& progress) = 0;
};

}  // namespace shmif::perf
