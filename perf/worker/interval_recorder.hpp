#pragma once
// IntervalRecorder: records what a job did in each interval of the run, for curves.
//
// Executive summary: percentiles of an interval come from buckets that are 1/64 of their lower
// bound wide, so they are at most 1.6 % too high. The maximum is exact. Closing an interval takes a
// few microseconds, at most ten times a second.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>

#include "perf/engine/engine.hpp"
#include "perf/result/machine.hpp"
#include "perf/worker/job_counting.hpp"
#include "perf/worker/run_memory.hpp"
#include "perf/worker/worker.hpp"

namespace shmif::perf {

/// What the kernel says about a job's TCP connection, over the measured window and at the end of
/// each interval. It does nothing for an end without TCP. Threads: the job's thread. Blocks: never.
class TcpWatch {
 public:
  TcpWatch(End& end, JobBlock& job) noexcept : end_(end), job_(job) {}

  /// Call them when the measured window begins and ends.
  void begin_window() noexcept;
  void end_window() noexcept;
  /// The current values, with the counts since the last call; empty if the kernel does not tell.
  std::optional<TcpSample> close() noexcept;

 private:
  /// Reads the current values, and counts them if the window is open.
  std::optional<TcpState> look() noexcept;

  End& end_;
  JobBlock& job_;
  bool in_window_ = false;
  TcpSample before_window_, before_interval_;
  TcpResult window_;
  std::uint64_t rtt_ns_sum_ = 0;  // of the samples in the window
};

/// Threads: the job's thread. Blocks: never.
class IntervalRecorder {
 public:
  /// Intervals begin at `start_ns` and take `length_ns` each.
  /// `usage_of`: whose CPU time the intervals record; if it is empty, they record no CPU time.
  IntervalRecorder(JobBlock& job, std::uint64_t start_ns, std::uint64_t length_ns,
                   TcpWatch* tcp = nullptr,
                   std::optional<Usage::Of> usage_of = std::nullopt) noexcept
      : job_(job),
        tcp_(tcp),
        usage_of_(usage_of),
        start_ns_(start_ns),
        length_ns_(length_ns),
        next_ns_(start_ns + length_ns) {
    begin();
  }
  /// Call it at the start. Then the first interval leaves out the CPU time used before.
  void begin() noexcept {
    if (usage_of_) cpu_ = cpu_time_of(*usage_of_);
  }

  void sent(std::uint64_t frames, std::uint64_t bytes) noexcept {
    now_.tx_frames += frames;
    now_.tx_bytes += bytes;
  }
  void received(std::uint64_t frames, std::uint64_t bytes) noexcept {
    now_.rx_frames += frames;
    now_.rx_bytes += bytes;
  }
  void lost(std::uint64_t frames) noexcept { now_.lost_frames += frames; }
  /// Counts frames that arrived after this or an earlier interval had counted them as lost.
  void found(std::uint64_t frames) noexcept {
    const std::uint64_t here = std::min(now_.lost_frames, frames);
    now_.lost_frames -= here;
    now_.found_frames += frames - here;
  }
  void overrun() noexcept { ++now_.overruns; }
  /// Counts `frames` frames with a latency of `ns`.
  void latency(std::uint64_t ns, std::uint32_t frames = 1) noexcept {
    counts_[bucket_of(ns)] += frames;
    now_.latency_count += frames;
    latency_sum_ += ns * frames;
    latency_max_ = std::max(latency_max_, ns);
  }

  /// Whether the interval is over and must be closed.
  bool is_over(std::uint64_t now) const noexcept { return now >= next_ns_; }
  std::uint64_t next_ns() const noexcept { return next_ns_; }  ///< when the interval will be over
  /// Closes the interval, however long it is.
  void close(std::uint64_t now) noexcept { close(now, End::usual); }
  /// Closes the interval at a border of the measured window. The border was at `at`, and everything
  /// in the interval happened before it.
  void border(std::uint64_t at) noexcept { close(at, End::border); }
  /// When the interval began.
  std::uint64_t begin_ns() const noexcept { return start_ns_ + begin_ns_; }
  /// Whether this time is too short to put a border there.
  bool is_moment(std::uint64_t from_ns, std::uint64_t to_ns) const noexcept {
    constexpr std::uint64_t kMomentsInInterval = 50;
    return to_ns < from_ns + length_ns_ / kMomentsInInterval;
  }

 private:
  enum class End : std::uint8_t { usual, border };
  void close(std::uint64_t now, End how) noexcept;
  static constexpr unsigned kSubBits = 6;
  static constexpr std::size_t kBuckets = (40 - kSubBits + 1) << kSubBits;  // up to 18 minutes
  static std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < (1U << kSubBits)) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kSubBits;
    const std::size_t bucket = (std::size_t{shift} << kSubBits) + (ns >> shift);
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  std::uint64_t percentile(unsigned per_cent) const noexcept;
  void note_cpu() noexcept;
  void publish_histogram(HistogramBlock& into) const noexcept;

  JobBlock& job_;
  TcpWatch* tcp_;  // null if the job has no TCP connection
  std::optional<Usage::Of> usage_of_;
  CpuTime cpu_;  // used until the interval began
  std::uint64_t start_ns_, length_ns_, next_ns_;
  std::uint64_t begin_ns_ = 0;  // counted from start_ns_
  IntervalResult now_;
  std::uint64_t latency_sum_ = 0, latency_max_ = 0;
  std::array<std::uint32_t, kBuckets> counts_{};
};

// JobMeter: what a job measures of itself while it works: the intervals of its curve, its use of
// the CPU, its TCP connection, and the events that it counts. The worker says when its measured
// window begins and ends.

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
