#pragma once
// What looks at the jobs of a run while they work. Internal to perf/control.
//
// RunWatch: says at the end what held the jobs back.
// MemoryWatch: measures the memory bandwidth (option `membw`), in a separate thread.

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "instruments/membw/source.hpp"
#include "instruments/why/cause.hpp"
#include "instruments/why/why.hpp"
#include "perf/control/run_state.hpp"
#include "perf/result/memory_of_run.hpp"

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

}  // namespace shmif::perf
