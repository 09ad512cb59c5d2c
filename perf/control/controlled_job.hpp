#pragma once
// ControlledJob: a job as its controller sees it. Internal to perf/control.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "perf/control/job_thread.hpp"
#include "perf/plan/plan.hpp"
#include "perf/result/progress.hpp"
#include "perf/stats/clock.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

struct ControlledJob {
  enum class Phase : std::uint8_t {
    waiting,   ///< waits until other jobs end
    starting,  ///< ordered to initialise
    going,
    over,
  };
  const PlannedJob& plan;
  JobBlock* block = nullptr;
  FlowBlock* flow = nullptr;              ///< counts of the frames that it sends
  EchoBlock* echo = nullptr;              ///< for a pingpong job
  std::vector<std::size_t> senders = {};  ///< the jobs that send to it
  std::unique_ptr<JobRunner> runner = {};
  Phase phase = Phase::waiting;
  std::vector<std::string> errors = {};
  bool never_started = false;
  bool ended_by_us = false;     ///< killed because it was stuck, or by a hard stop
  std::uint64_t stop_ns = 0;    ///< when it was ordered to stop; 0: not yet
  std::uint64_t done_ns = 0;    ///< when it was first seen to be finishing
  std::uint64_t killed_ns = 0;  ///< when it was sent SIGTERM because it was stuck

  std::vector<IntervalResult> intervals = {};
  std::uint64_t intervals_read = 0;
  IntervalResult untold = {};  ///< sum of the intervals that observers have not seen yet

  bool over() const noexcept { return phase == Phase::over; }
  JobState state() const noexcept {
    return over() && !never_started ? JobState::reaped
                                    : block->state.load(std::memory_order_acquire);
  }
  /// When its window begins: it says that it runs a moment earlier, to be awake then.
  std::uint64_t window_begin_ns() const noexcept {
    return block->start_ns.load(std::memory_order_acquire) + ns(plan.options.start_delay) +
           ns(plan.options.ramp_time);
  }
  void fail(std::string why) { errors.push_back(std::move(why)); }
};

}  // namespace shmif::perf
