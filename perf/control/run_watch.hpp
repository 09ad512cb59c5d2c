#pragma once
// What looks at the jobs of a run while they work. Internal to perf/control.
//
// RunWatch: says at the end what held the jobs back.
// MemoryWatch: measures the memory bandwidth (option `membw`), in a separate thread.

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "instruments/membw/source.hpp"
#include "instruments/why/cause.hpp"
#include "instruments/why/why.hpp"
#include "perf/control/run_state.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/confidence.hpp"

namespace shmif::perf {

/// Losses, overruns and latencies of a job, taken from its intervals.
JobTraffic traffic_of(const std::string& job, const std::vector<IntervalResult>& intervals);
/// Makes the steps have `lost` lost frames in all: adds the missing ones to the last step. They
/// were not noticed earlier, because no later frame arrived. `end_s`: the end of the only step, if
/// the job has no intervals.
void add_unnoticed(JobTraffic& traffic, std::uint64_t lost, double end_s);

/// Looks ten times a second. If there are very many jobs, it looks less often, so that it takes 0.5
/// % of a CPU.
///
/// Threads: one at a time. Blocks: never for long.
class RunWatch {
 public:
  /// `start_ns`: the start of the run's first jobs.
  RunWatch(const RunState& run, std::uint64_t start_ns);

  /// Takes a look if one is due.
  void look(std::uint64_t now_ns);
  /// Takes a last look. `run.jobs` must have all of their intervals; `results` are the results of
  /// these jobs.
  RunCauses finish(const std::vector<JobResult>& results, std::uint64_t now_ns);

 private:
  void add_jobs();
  void add_buses();
  std::vector<JobTraffic> traffic(const std::vector<JobResult>& results) const;

  const RunState& run_;
  std::uint64_t start_ns_;
  std::uint64_t next_ns_ = 0;
  WhySampler sampler_;
  std::vector<bool> added_;               ///< indexed like the jobs
  std::vector<MissingSource> missing_{};  ///< besides those that the sampler notes
};

/// Threads: one at a time.
class MemoryWatch {
 public:
  /// Opens the sources in its thread, and waits for the window. Create it after all processes of
  /// the run, because a fork copies no threads.
  explicit MemoryWatch(const RunState& run);
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;
  ~MemoryWatch() { end(); }

  /// Call it every tick. `sending`: frames of a measured window are being sent.
  void look(bool sending);
  /// Ends the measurement. `start_ns`: start of the run's first jobs. Blocks: until the sources are
  /// closed.
  std::shared_ptr<const MemoryOfRun> finish(std::uint64_t start_ns, bool stopped);

 private:
  void measure();
  MembwHooks::Woken sleep(std::chrono::nanoseconds time);
  /// Result: false if there will be no window any more.
  bool await_window();
  void end();

  const RunState& run_;
  const std::chrono::nanoseconds window_;
  const std::vector<std::unique_ptr<MemorySource>> sources_;
  const std::vector<pid_t> processes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool sending_ = false;
  bool over_ = false;
  MembwResult result_;
  std::thread thread_;
};

// RateWatch: checks rate_min and rate_iops_min. The controller does it, because a job that hangs
// cannot notice that it hangs.
//
// SteadyWatch: finds the jobs that have reached the steady state at which they are to end. The
// controller checks this once a second, from the counts in the shared memory.

/// Threads: one at a time. Blocks: never.
class RateWatch {
 public:
  explicit RateWatch(std::span<const ControlledJob> jobs);

  struct Trip {
    std::size_t job;
    std::string message;  ///< direction, wanted rate and actual rate
  };
  /// The jobs that fell below their minimum in the cycle that has just ended. Each is returned
  /// once.
  std::vector<Trip> check(std::uint64_t now_ns);

 private:
  struct Line {
    std::size_t job;
    bool tx;
    bool bits;  // bits, otherwise frames
    std::uint64_t min_per_s;
    std::uint64_t since_ns = 0;  // start of the cycle; 0: no cycle is running
    std::uint64_t at_begin = 0;
    bool tripped = false;
  };
  std::uint64_t count_of(const Line& line) const noexcept;
  static std::string text_of(const Line& line, double got);
  bool is_due(const Line& line, std::uint64_t now) const noexcept;

  std::span<const ControlledJob> jobs_;
  std::vector<Line> lines_;
};

/// Threads: one at a time. Blocks: never.
class SteadyWatch {
 public:
  explicit SteadyWatch(std::span<const ControlledJob> jobs);

  /// The jobs that have reached their steady state since the last call.
  std::vector<std::size_t> check(std::uint64_t now_ns);
  /// A text that says what was found for each job; empty if no job asked for it.
  std::optional<std::string> describe() const;
  /// The same as data.
  std::vector<SteadyStateResult> results() const;

 private:
  struct Line {
    std::size_t job;
    SteadyStateDetector detector;
    std::uint64_t since_ns = 0;  // start of the current second; 0 if it has not begun
    std::uint64_t frames = 0, bytes = 0;
  };
  std::span<const ControlledJob> jobs_;
  std::vector<Line> lines_;
};

}  // namespace shmif::perf
