#pragma once
// Trigger: ends a run when a file appears, when time has passed, or when a job saw a frame that
// matches; then runs a command. Fires once.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// Threads: one at a time.
class Trigger {
 public:
  explicit Trigger(const RunOptions& options) : options_(options) {}

  /// What made it fire, for a person; nothing as long as nothing did, and after it fired. Takes the
  /// file away, so that the next run is not ended by it. `matched`: a job saw a frame.
  std::optional<std::string> check(std::uint64_t since_start_ns, bool matched);
  /// Runs the command if it fired and there is one. Result: nothing, or what went wrong. Blocks,
  /// and `ended_early`: as shmif::perf::run_command().
  std::optional<std::string> run_command(const std::function<bool()>& ended_early);

 private:
  const RunOptions& options_;
  bool fired_ = false;
};

}  // namespace shmif::perf
