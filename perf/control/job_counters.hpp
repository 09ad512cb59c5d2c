#pragma once
// What a job has counted for the events that it was asked for. Internal to perf/control.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/result/run_result.hpp"
#include "perf/worker/job_counting.hpp"

namespace shmif::perf {

/// The results are in the order of the option. If an event was not counted, its value is empty and
/// it has a reason.
std::vector<CounterResult> counter_results(std::span<const JobEvent> events,
                                           std::span<const CounterBlock> block);

/// What a job has counted in each interval.
class CounterCurve {
 public:
  /// Takes the intervals that the job has logged since the last call. A job counts time from its
  /// own start, which was at `start_seconds`.
  void collect(const CounterLog& log, std::size_t events, double start_seconds);
  /// `events` and `block` are those of counter_results().
  std::vector<CounterInterval> result(std::span<const JobEvent> events,
                                      std::span<const CounterBlock> block) const;

 private:
  struct Counted {
    std::uint64_t value = 0, enabled_ns = 0, running_ns = 0;
  };
  struct Interval {
    double at_seconds = 0, seconds = 0;
    std::vector<std::optional<Counted>> counts;  ///< empty if it was not counted
  };
  static CounterInterval::Count count_of(const JobEvent& event, const std::string& refused,
                                         const std::optional<Counted>& counted);

  std::uint64_t read_ = 0;
  std::vector<Interval> intervals_;
};

}  // namespace shmif::perf
