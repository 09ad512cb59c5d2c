#pragma once
// Trigger: ends a run when a file appears, when a time has passed, or when a job received a
// matching frame. Then it runs a command. It fires once.

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

  /// Whether anything can fire it.
  bool exists() const noexcept;
  /// Result: why it fires now, as a text; empty if it does not, or has fired before. Deletes the
  /// file, so that it does not end the next run. `matched`: a job received a matching frame.
  /// `elsewhere`: the same trigger fired on another server.
  std::optional<std::string> check(std::uint64_t since_start_ns, bool matched,
                                   bool elsewhere = false);
  /// For a debug line: what fires it.
  std::string waits_for() const;
  /// Runs the command, if the trigger fired and there is one. Result: what went wrong; empty if
  /// nothing did. Blocks, and `ended_early`: as shmif::perf::run_command().
  std::optional<std::string> run_command(const std::function<bool()>& ended_early);

 private:
  const RunOptions& options_;
  bool fired_ = false;
};

}  // namespace shmif::perf
