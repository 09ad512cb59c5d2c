#pragma once
// The inside of Runner, in three files: runner_start.cpp creates and starts the jobs,
// runner_ends.cpp ends them and finds out how they ended, and runner.cpp has the loop and reports
// the progress. Internal to perf/control.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/control/controlled_job.hpp"
#include "perf/control/interval_log.hpp"
#include "perf/control/rate_watch.hpp"
#include "perf/control/runner.hpp"
#include "perf/control/steady_watch.hpp"
#include "perf/control/trigger.hpp"
#include "perf/result/machine.hpp"
#include "perf/worker/run_memory.hpp"
#include "perf/worker/worker.hpp"

namespace shmif::perf {

/// How often the controller looks at its jobs.
inline constexpr std::uint64_t kTickNs = 5'000'000;

/// "1.5 s".
std::string seconds_text(std::chrono::nanoseconds time);
/// Sleeps for a tick, or until a signal comes.
void sleep_a_tick();

struct Runner::Impl {
  RunOptions options;
  std::vector<PlannedJob> plan;
  std::vector<ControlledJob> jobs;  // indexed like the plan
  std::unique_ptr<RunMemory> memory;
  std::vector<std::unique_ptr<Wire>> wires;
  std::vector<WorkerSetup> setups;  // indexed like the jobs
  std::unique_ptr<RateWatch> rates;
  std::unique_ptr<SteadyWatch> steady;
  std::unique_ptr<Trigger> trigger;
  std::unique_ptr<IntervalLogs> logs;

  struct Batch {
    std::vector<std::size_t> jobs;
    std::uint64_t ordered_ns;
    std::uint64_t progress_ns;  // when a job of the batch last made a step
    std::size_t ready = 0;
  };
  std::vector<Batch> starting;
  std::uint64_t first_start_ns = 0;
  std::uint64_t interval_ns = 0;
  std::uint64_t next_display_ns = 0, next_status_ns = 0;
  bool stopping = false;
  bool hard = false;
  std::uint64_t hard_ns = 0;
  bool stuck_thread = false;
  std::optional<CpuWindow> window;      // from when the first job leaves its ramp
  std::vector<CpuShare> window_shares;  // until the last generator was done
  bool generating = false;
  std::vector<std::string> failures;  // of the run as a whole
  RunControl* control = nullptr;

  RunResult result;

  // runner_start.cpp
  Result<void> prepare();
  Result<void> make_wires();
  Result<void> place_hosts(const std::vector<std::size_t>& hosts, const Wire& bus);
  Result<void> create_job(std::size_t i);
  void start_batches();
  void order_batch(const std::vector<std::size_t>& ready);
  void advance(Batch& batch);
  void begin(Batch& batch);
  void fail_start(std::size_t i, const std::string& why);

  // runner_ends.cpp
  void reap();
  void finish(std::size_t i);
  void nobody_listens_to(std::size_t i);
  void gone(std::size_t i);
  void after_the_end_of(std::size_t i);
  void stop(std::size_t i);
  void stop_all();
  void stop_hard();
  void end_background_jobs();
  void note_done(std::size_t i, std::uint64_t now);
  std::uint64_t drain_of(std::size_t i) const;
  std::uint64_t latest_end_ns(std::size_t i) const;
  void check_stuck(std::uint64_t now);
  void leave_threads();

  // runner.cpp
  void keep(std::vector<IntervalResult>& curve, const IntervalResult& next,
            double start_seconds) const;
  void collect_intervals();
  void watch_cpus();
  void watch_rates(std::uint64_t now);
  void listen(RunObserver* observer);
  void show(RunObserver* observer, std::uint64_t now);
  void tell_interval(RunObserver* observer, std::uint64_t now);
  RunProgress progress(std::uint64_t now) const;
  bool all_over() const {
    return std::ranges::all_of(jobs, [](const ControlledJob& j) { return j.over(); });
  }
};

}  // namespace shmif::perf
