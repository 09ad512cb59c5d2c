#pragma once
// The inside of a worker, in three files: worker_parts.cpp makes what a job is put together from,
// worker.cpp has its life and its loop, worker_end.cpp what is kept of it. Internal to perf/run.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "perf/engine/engine.hpp"
#include "perf/run/generator.hpp"
#include "perf/run/interval_recorder.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/sink.hpp"
#include "perf/run/worker.hpp"
#include "perf/stats/machine.hpp"
#include "perf/verify/verify_state.hpp"
#include "shmif/filter.hpp"

namespace shmif::perf {

/// Sleeps until that time of CLOCK_MONOTONIC.
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
  /// Of an emulated host with a program of its own: what surrounds that is done outside of it.
  int run_program();
  /// All but the creation: what an emulated host does inside.
  int work();
  void state(JobState next) { job_.state.store(next, std::memory_order_release); }
  Order order() const { return job_.order.load(std::memory_order_acquire); }
  /// Result: false when it is to end instead.
  bool await(Order wanted, std::uint64_t look_every_ns) const;
  /// It was never told to go.
  int leave();
  bool fails(const std::string& why) {
    if (error_.empty()) error_ = why;
    return true;
  }

  // Before the start.
  /// Its exec_prerun.
  Result<void> prepare();
  Result<void> initialise();
  /// Until the host is on the bus that this one connects to: who asks for an address in vain asks
  /// again a second later.
  void await_peer() const;
  Result<void> make_generator(const VerifyState& before);
  Result<void> make_sink(VerifyState& before);
  Result<void> lock_memory();
  std::string file_name(const std::string& what) const;

  // At work.
  void start();
  void loop();
  /// Result: false when it is to end at once.
  bool obey(std::uint64_t now);
  bool finished(std::uint64_t now);
  /// The receiver says when it has all; till then, faults on the way may have some of it. One that
  /// says nothing, for it is stuck, would have stopped listening by twice the drain time.
  bool all_arrived(std::uint64_t now) const;
  void note_draining();
  /// When the first window of the job begins: that of what it sends, or of what it receives;
  /// UINT64_MAX: nobody knows yet.
  std::uint64_t window_begin_ns() const;
  /// Begins to measure what the job uses once that time has come.
  void note_window(std::uint64_t now);
  /// An interval of the curve is over.
  void close_interval(std::uint64_t now);
  /// It could send its first frame now.
  void note_begin(std::uint64_t now);
  /// After the first step.
  void let_others_begin();
  /// Of a thread with helpers of its own, nobody can tell what they all use.
  void keep_usage();
  /// Until when there is nothing to do, as far as that is known; `now`: there is something.
  std::uint64_t nothing_until(std::uint64_t now);
  /// Sleeps until there is something to do.
  void idle(std::uint64_t now);

  // The end.
  void finish();
  /// `began`: what it was to do, so that there is something for exec_postrun to look at.
  void conclude(bool began);
  /// What an engine had taken to send it later may meet an error when nobody sends any more.
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
  bool has_faults_ = false;  // on the way from or to it
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
  std::optional<Usage> usage_;  // from the beginning of the measured window
  bool used_since_ = false;     // after it was kept: frames still come
  std::string error_;
};

}  // namespace shmif::perf
