#pragma once
// JobMeter: what a job measures of itself while it works: the intervals of its curve, its use of
// the CPU, its TCP connection, and the events that it counts. The worker says when its measured
// window begins and ends.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "perf/engine/engine.hpp"
#include "perf/result/machine.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "perf/worker/job_counting.hpp"
#include "perf/worker/worker.hpp"

namespace shmif::perf {

/// Threads: the job's thread. Blocks: never.
class JobMeter {
 public:
  JobMeter(const JobOptions& options, const WorkerSetup& setup, JobBlock& job)
      : options_(options), setup_(setup), job_(job) {}

  /// Opens the counters that the job was asked for.
  void open_counters();
  /// Null if the job counts no events.
  JobCounting* counting() noexcept { return counting_.get(); }
  /// For a child of fork(): another process has the counters. Here, only their descriptors are
  /// closed.
  void leave_counters() noexcept { (void)counting_.release(); }

  /// Intervals begin at `start_ns`. Call it before all functions below.
  void start(End& end, std::uint64_t start_ns);
  IntervalRecorder& recorder() noexcept { return *recorder_; }

  bool interval_is_over(std::uint64_t now) const noexcept { return recorder_->is_over(now); }
  bool counted_interval_is_over(std::uint64_t now) const noexcept {
    return counting_ && counting_->is_over(now);
  }
  /// Closes an interval of the curve. `ended_ns`: when the last sender ended, or the last frame
  /// arrived. If that was within the interval, the interval is cut there.
  void close_interval(std::uint64_t now, std::optional<std::uint64_t> ended_ns);
  /// Closes an interval of the counters, so that the counts of a job that is killed remain.
  void close_counted_interval(std::uint64_t now, std::optional<std::uint64_t> ended_ns = {});
  /// When the next interval will be over.
  std::uint64_t next_ns() const noexcept {
    return counting_ ? std::min(recorder_->next_ns(), counting_->next_ns()) : recorder_->next_ns();
  }

  /// The window began, or ended, at `at_ns`.
  void begin_window(std::uint64_t at_ns);
  void end_window(std::uint64_t at_ns);
  /// After the window, the usage is kept whenever the job has stopped working. `moved`: it moved
  /// frames just now.
  void note_work(bool moved) {
    if (!window_is_over_ || moved == used_since_) return;
    used_since_ = moved;
    if (!moved) keep_usage();
  }
  /// Ends the window, if nothing else did, and keeps the usage.
  void finish();

 private:
  /// Whether other threads work for the job.
  bool has_helpers() const noexcept {
    return options_.verify_async != 0 || options_.io_submit_mode == IoSubmit::offload;
  }
  /// Whose CPU time is the job's; empty for a thread job with helper threads, where it is not
  /// known.
  std::optional<Usage::Of> usage_of() const noexcept {
    if (!options_.thread) return Usage::Of::process;
    return has_helpers() ? std::nullopt : std::optional(Usage::Of::thread);
  }
  void keep_usage();

  const JobOptions& options_;
  const WorkerSetup& setup_;
  JobBlock& job_;
  std::unique_ptr<JobCounting> counting_;
  std::optional<TcpWatch> tcp_;
  std::optional<IntervalRecorder> recorder_;
  std::optional<Usage> usage_;  // since the window began
  bool window_is_over_ = false;
  bool used_since_ = false;  // frames moved after the usage was kept
};

}  // namespace shmif::perf
