#pragma once
// Trigger: ends a run when a file appears, when a time has passed, or when a job received a
// matching frame. Then it runs a command. It fires only once.

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
  /// Result: a text that says why it fires now; empty if it does not fire, or has fired before.
  /// Deletes the file, so that the file does not end the next run. `matched`: a job received a
  /// matching frame. `elsewhere`: the same trigger fired on another server, or on the client.
  std::optional<std::string> check(std::uint64_t since_start_ns, bool matched,
                                   bool elsewhere = false);
  /// A text for a debug line: what can fire it.
  std::string waits_for() const;
  /// Runs the command, if the trigger fired and there is one. Result: a text that says what went
  /// wrong; empty after success. Blocks, and `ended_early`: as shmif::perf::run_command().
  std::optional<std::string> run_command(const std::function<bool()>& ended_early);

 private:
  const RunOptions& options_;
  bool fired_ = false;
};

}  // namespace shmif::perf
