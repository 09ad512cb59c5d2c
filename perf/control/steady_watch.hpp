#pragma once
// SteadyWatch: finds the jobs that have reached the steady state at which they are to end. The
// controller checks this once a second, from the counts in the shared memory.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/control/controlled_job.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/steady_state.hpp"

namespace shmif::perf {

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
