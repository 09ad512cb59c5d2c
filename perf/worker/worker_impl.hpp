#pragma once
// The inside of a worker, in three files: worker_parts.cpp makes the parts of a job, worker.cpp has
// its states and its loop, and worker_end.cpp saves its results. Internal to perf/worker.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "perf/engine/engine.hpp"
#include "perf/result/machine.hpp"
#include "perf/verify/verify_state.hpp"
#include "perf/worker/generator.hpp"
#include "perf/worker/interval_recorder.hpp"
#include "perf/worker/run_memory.hpp"
#include "perf/worker/sink.hpp"
#include "perf/worker/worker.hpp"
#include "shmif/filter.hpp"

namespace shmif::perf {

/// Sleeps until `time_ns` of CLOCK_MONOTONIC.
void sleep_until(std::uint64_t time_ns);

/// Threads: one at a time.
class Worker {
 public:
  Worker(const WorkerContext& context, std::size_t index)
      : context_(context),
        index_(index),
        plan_(context.plan[index]),
        options_(plan_.options),
        setup_(context.setups[index]),
        job_(context.memory.job(index)),
        flow_(context.memory.flow(index)) {}

  int run();
  int fail(const std::string& why);

 private:
  /// For an emulated host that runs a program: the part outside the guest.
  int run_program();
  /// Everything after the creation. For an emulated host, this runs inside the guest.
  int work();
  void state(JobState next) { job_.state.store(next, std::memory_order_release); }
  Order order() const { return job_.order.load(std::memory_order_acquire); }
  /// Waits for an order. Result: false if the job must end instead.
  bool await(Order wanted, std::uint64_t look_every_ns) const;
  /// Ends a job that was never ordered to go.
  int leave();
  bool fails(const std::string& why) {
    if (error_.empty()) error_ = why;
    return true;
  }

  // Before the start.
  /// Runs its exec_prerun.
  Result<void> prepare();
  Result<void> initialise();
  /// Waits until the host that this one connects to is on the bus. An address request that is not
  /// answered would be repeated only a second later.
  void await_peer() const;
  Result<void> make_generator(const VerifyState& before);
  Result<void> make_sink(VerifyState& before);
  Result<void> lock_memory();
  std::string file_name(const std::string& what) const;

  // At work.
  void start();
  void loop();
  /// Follows orders. Result: false if the job must end at once.
  bool obey(std::uint64_t now);
  bool finished(std::uint64_t now);
  /// Whether the receiver has all frames. It says so itself; until then, faults may still hold
  /// some. A receiver that says nothing because it is stuck would have stopped listening by twice
  /// the drain time.
  bool all_arrived(std::uint64_t now) const;
  void note_draining();
  /// When the first window of the job begins, of what it sends or of what it receives; UINT64_MAX:
  /// not known yet.
  std::uint64_t window_begin_ns() const;
  /// Begins to measure the job's resource use when the window has begun.
  void note_window(std::uint64_t now);
  /// Closes an interval of the curve.
  void close_interval(std::uint64_t now);
  /// Notes that the job can send its first frame now.
  void note_begin(std::uint64_t now);
  /// Called after the first step.
  void let_others_begin();
  /// Keeps the job's resource use. For a thread job with helper threads it is not known.
  void keep_usage();
  /// When there is something to do again, as far as that is known; `now`: there is something now.
  std::uint64_t nothing_until(std::uint64_t now);
  /// Sleeps until there is something to do.
  void idle(std::uint64_t now);

  // The end.
  void finish();
  /// `began`: whether the job had work to do, so that exec_postrun has something to look at.
  void conclude(bool began);
  /// Waits for frames that an engine has taken but sends later. Their errors can come after the last
  /// send.
  void finish_sending();
  void save_state();
  void keep_counters();
  void keep_faults();

  const WorkerContext& context_;
  std::size_t index_;
  const PlannedJob& plan_;
  const JobOptions& options_;
  const WorkerSetup& setup_;
  JobBlock& job_;
  FlowBlock& flow_;

  std::unique_ptr<End> end_;
  bool has_faults_ = false;  // between it and the wire
  std::optional<FrameFilter> trigger_;
  std::optional<Generator> generator_;
  std::optional<Sink> sink_;
  std::optional<TcpWatch> tcp_;
  std::optional<IntervalRecorder> recorder_;
  std::uint64_t begin_ns_ = 0, measure_from_ns_ = 0;
  bool in_ramp_ = false;
  bool begun_ = false;
  bool stopped_ = false;
  bool draining_ = false;
  std::optional<Usage> usage_;  // since the measured window began
  bool used_since_ = false;     // since the usage was kept: frames still arrive
  std::string error_;
};

}  // namespace shmif::perf
