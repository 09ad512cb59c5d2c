#pragma once
// The target of `shmifperf membw`: processes that run already, a program or the built-in load that
// the command starts itself, or the whole machine.

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <vector>

#include "instruments/membw/fill_load.hpp"
#include "instruments/membw/measure.hpp"
#include "instruments/watch/held_child.hpp"
#include "instruments/watch/process.hpp"
#include "tools/common/options.hpp"
#include "tools/common/signals.hpp"

namespace shmif::tools {

/// A program leads its own process group, so all that it started ends with it. It is killed when
/// its owner ends. Threads: one at a time.
class MembwTarget {
 public:
  /// Adds its options to the description of a command line.
  static void describe(Options& options);
  /// Throws UsageError for a wrong command line, and Exception for processes that cannot be
  /// watched. `longest`: how long the built-in load may run.
  MembwTarget(const Arguments& args, std::chrono::nanoseconds longest);

  /// If this is empty, the target is the whole machine.
  const std::vector<pid_t>& pids() const noexcept { return pids_; }
  /// The counts that the built-in load keeps of itself; null if there is no such load.
  const perf::FillCounts* counts() const noexcept { return counts_ ? &*counts_ : nullptr; }

  /// Lets the program begin. Errors: why it cannot begin.
  Result<void> begin();
  /// Waits until the built-in load has its memory and fills it, which takes seconds on a busy
  /// machine. Blocks: at most two minutes, and not longer than the load runs or until a signal
  /// comes.
  void wait_for_load(const StopSignals& stop);
  /// The exit code that a shell would return for a program that could not begin; 0 if it could.
  int failure_code() const { return child_ ? child_->exit_code_of_failure() : 0; }
  /// Stops the program, or lets it go on. Blocks: until it has stopped, at most a second. Result:
  /// false if there is no program, or it did not stop.
  bool pause();
  bool resume();
  perf::MembwHooks::Woken sleep(std::chrono::nanoseconds time, const StopSignals& stop);
  /// Whether the built-in load makes a single round.
  bool has_one_round() const noexcept { return one_round_; }
  /// Lets that round begin. Blocks: until it has ended, or a signal comes.
  perf::MembwHooks::Woken round(const StopSignals& stop);
  /// Ends the program if it runs: sends `signal`, and at most two seconds later SIGKILL. Its whole
  /// process group ends with it.
  void end(int signal);
  /// The exit code of a program that ended by itself, as a shell returns it; empty if there is no
  /// program, or it still runs.
  std::optional<int> program_code();

 private:
  std::optional<perf::FillCounts> counts_;
  bool one_round_ = false;
  std::optional<perf::HeldChild> child_;
  std::vector<perf::Process> processes_;
  std::vector<pid_t> pids_;
};

}  // namespace shmif::tools
