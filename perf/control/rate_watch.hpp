#pragma once
// RateWatch: checks rate_min and rate_iops_min. The controller does it, because a job that hangs
// cannot notice that it hangs.
//
// SteadyWatch: finds the jobs that have reached the steady state at which they are to end. The
// controller checks this once a second, from the counts in the shared memory.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/steady_state.hpp"

namespace shmif::perf {

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
