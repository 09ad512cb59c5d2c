#pragma once
// What is known about a run while it runs, once per interval. The progress line, status reports,
// streams and metrics use it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/result/run_result.hpp"

namespace shmif::perf {

struct JobProgress {
  std::string name;
  std::string group;
  std::string peer_of;
  JobState state = JobState::not_created;
  std::int64_t pid = 0;  ///< 0: a thread, or no process
  bool failed = false;
  std::optional<double> share;  ///< share done, 0 to 1; empty if its end is not known
  std::optional<double> left_seconds;
  /// In on_interval(): everything since the previous call. Otherwise the newest interval.
  IntervalResult last;
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0, lost_frames = 0;
  /// By how much its latencies may be wrong at most, because two clocks were compared. Empty: too
  /// much, so it has none.
  std::optional<std::uint64_t> latency_clock_error_ns = 0;
};
inline constexpr Places kOfProgress = kInStream | kInMessages;
template <>
inline constexpr auto kRowsOf<JobProgress> = rows_of<JobProgress>({
    {"jobname", &JobProgress::name, Sum::none, kOfProgress},
    {"groupname", &JobProgress::group, Sum::none, kOfProgress},
    {"peer_of", &JobProgress::peer_of, Sum::none, kInMessages},
    {"share", &JobProgress::share, Sum::none, kInMessages},
    {"left_seconds", &JobProgress::left_seconds, Sum::none, kInMessages},
    {"failed", &JobProgress::failed, Sum::none, kOfProgress, nullptr,
     gauge("shmifperf_job_failed", "1 when the job has failed.")},
    {"tx_frames", &JobProgress::tx_frames, Sum::none, kOfProgress, nullptr,
     counter("shmifperf_tx_frames_total", "Frames sent.")},
    {"tx_bytes", &JobProgress::tx_bytes, Sum::none, kOfProgress, nullptr,
     counter("shmifperf_tx_bytes_total", "Bytes sent, without FCS.")},
    {"rx_frames", &JobProgress::rx_frames, Sum::none, kOfProgress, nullptr,
     counter("shmifperf_rx_frames_total", "Frames received.")},
    {"rx_bytes", &JobProgress::rx_bytes, Sum::none, kOfProgress, nullptr,
     counter("shmifperf_rx_bytes_total", "Bytes received, without FCS.")},
    // Overtaken frames count as lost until they arrive. So the count may fall, and cannot be a
    // Prometheus counter.
    {"lost_frames", &JobProgress::lost_frames, Sum::none, kOfProgress, nullptr,
     gauge("shmifperf_lost_frames", "Frames that the receivers have missed so far in this run.")},
    {"latency_clock_error_ns",
     &JobProgress::latency_clock_error_ns,
     Sum::none,
     0,
     nullptr,
     {.metric = {.name = "shmifperf_latency_error_seconds",
                 .help = "By how much the latencies may be wrong at most.",
                 .scale = 1e-9}}},
});

struct RunProgress {
  double at_seconds = 0;        ///< since the common start
  std::optional<double> share;  ///< share done, 0 to 1; empty if the end is not known
  std::optional<double> left_seconds;
  std::vector<JobProgress> jobs;
};
template <>
inline constexpr auto kRowsOf<RunProgress> = rows_of<RunProgress>({
    {"at_seconds", &RunProgress::at_seconds, Sum::none, kOfProgress},
    {"share", &RunProgress::share, Sum::none, kOfProgress},
    {"left_seconds", &RunProgress::left_seconds, Sum::none, kOfProgress},
});

/// Merges `next`, which followed `sum`, into `sum`. Sums, means and maxima are exact. For a
/// percentile, keeps the greater value; the percentile of the whole does not exceed it.
void extend(IntervalResult& sum, const IntervalResult& next);

/// Observes a run. Threads: the thread that runs it calls this. Blocks: should not.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// Called before each run of a campaign with several: "run 2 of 5", "trial of voip at 125000/s".
  virtual void on_run(const std::string& /*what*/) {}
  /// Called when a job begins about which its user should know something at once: "voip: ...".
  virtual void on_notice(const std::string& /*what*/) {}
  /// Called when the trigger fires; `why` as in the warning.
  virtual void on_trigger(const std::string& /*why*/) {}
  /// Called about every 100 ms, for a display.
  virtual void on_progress(const RunProgress& progress) = 0;
  /// Called every status interval (default: 1 s), and once at the end for the rest.
  virtual void on_interval(const RunProgress& progress) = 0;
  /// Called when SIGUSR1 asked for the status.
  virtual void on_status(const RunProgress& /*progress*/) {}
};

}  // namespace shmif::perf
