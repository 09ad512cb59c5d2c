#pragma once
// What `shmifperf membw` watches: processes that run already, a program or the built-in load that
// it starts itself, or the whole machine.

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <vector>

#include "perf/membw/fill_counts.hpp"
#include "perf/membw/measure.hpp"
#include "perf/watch/held_child.hpp"
#include "perf/watch/process.hpp"
#include "tools/common/options.hpp"
#include "tools/common/signals.hpp"

namespace shmif::tools {

/// A program leads a process group of its own, so all that it started ends with it. It is killed
/// when its owner goes. Threads: one at a time.
class MembwTarget {
 public:
  /// Adds its options to the description of a command line.
  static void describe(Options& options);
  /// Throws UsageError for a wrong command line, and Exception for processes that cannot be
  /// watched. `longest`: how long the built-in load may run.
  MembwTarget(const Arguments& args, std::chrono::nanoseconds longest);

  /// None: the whole machine.
  const std::vector<pid_t>& pids() const noexcept { return pids_; }
  /// What the built-in load says about itself; null: there is none.
  const perf::FillCounts* counts() const noexcept { return counts_ ? &*counts_ : nullptr; }

  /// Lets the program begin. Errors: why it cannot.
  Result<void> begin();
  /// Until the built-in load has its memory and fills it, which takes seconds on a busy machine.
  /// Blocks: at most two minutes, and not longer than the load runs or until a signal comes.
  void wait_for_load(const StopSignals& stop);
  /// What a shell would return for a program that could not begin; 0 if it could.
  int failure_code() const { return child_ ? child_->exit_code_of_failure() : 0; }
  /// Stops the program, or lets it go on. Blocks: until it stands, at most a second. Result: false
  /// if there is none, or it does not stand.
  bool pause();
  bool resume();
  perf::MembwHooks::Woken sleep(std::chrono::nanoseconds time, const StopSignals& stop);
  /// Whether the built-in load makes a single round.
  bool has_one_round() const noexcept { return one_round_; }
  /// Lets that round begin. Blocks: until it has ended, or a signal comes.
  perf::MembwHooks::Woken round(const StopSignals& stop);
  /// Ends the program if it runs: with `signal`, and at most two seconds later with SIGKILL. All of
  /// its process group ends with it.
  void end(int signal);
  /// The exit code of a program that ended by itself, as a shell returns it; empty: there is none,
  /// or it runs.
  std::optional<int> program_code();

 private:
  bool have_ended() const;

  std::optional<perf::FillCounts> counts_;
  bool one_round_ = false;
  std::optional<perf::HeldChild> child_;
  std::vector<perf::Process> processes_;
  std::vector<pid_t> pids_;
};

}  // namespace shmif::tools
