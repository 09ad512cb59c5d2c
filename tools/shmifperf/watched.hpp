#pragma once
// The target of an instrument's command: processes that run already (-p), or a program that the
// command starts itself (--).

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "instruments/watch/held_child.hpp"
#include "instruments/watch/process.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"
#include "tools/common/signals.hpp"

namespace shmif::tools {

/// Whether there are processes, and all of them have ended.
bool have_ended(const std::vector<perf::Process>& processes);
/// Sleeps until `then`, until all processes have ended, until a signal comes, or until a descriptor
/// of `more` is readable. Result: false if there is no process left to watch, or a signal came.
bool wait_until(std::chrono::steady_clock::time_point then,
                const std::vector<perf::Process>& processes, const StopSignals& stop,
                const std::vector<int>& more = {});

/// The program is killed when its owner ends. Threads: one at a time.
class Watched {
 public:
  /// Adds --pid and the program to the description of a command line.
  static void describe(Options& options);
  static constexpr const char* kSynopsis = "(-p PID[,PID]... | -- PROGRAM [ARGUMENT]...)";
  /// Also adds --all-cpus and --cpu, for a command that can watch everything that runs on CPUs.
  static void describe_with_cpus(Options& options);
  static constexpr const char* kSynopsisWithCpus =
      "(-p PID[,PID]... | -- PROGRAM [ARGUMENT]... | (-a | -C CPU[,CPU]...) [-- PROGRAM "
      "[ARGUMENT]...])";
  /// The CPUs of the command line. Empty if it has neither -a nor -C. Throws UsageError for a wrong
  /// list, for a CPU that is not online, or if -p is given, too.
  static std::vector<int> cpus_of(const Arguments& args);

  /// The processes of -p, which can be given several times. Empty if it is not given. Throws
  /// UsageError.
  static std::optional<std::vector<pid_t>> pids_of(const Arguments& args);

  /// The processes of the command line. A program is held before its first instruction. Throws
  /// UsageError unless exactly one of the two is given (or CPUs, and at most a program, which says
  /// how long to watch). Throws Exception for a process that cannot be watched. `program`: how to
  /// run it; the constructor sets its argv.
  explicit Watched(const Arguments& args, perf::ChildOptions program = {});
  /// Processes that were found in another way. If there are none, only a signal ends the watching.
  explicit Watched(std::vector<perf::Process> processes) : processes_(std::move(processes)) {}

  /// All watched processes. If there is a program, it is the only one.
  const std::vector<perf::Process>& processes() const noexcept { return processes_; }
  bool is_program() const noexcept { return child_.has_value(); }

  /// Lets the program begin. If it cannot begin, prints a message and throws Exit with 126 or 127.
  void begin();
  /// The same for a program, and gets a userfaultfd(2) of its memory, or why there is none.
  Result<UniqueFd> begin_with_userfaultfd();
  bool wait_until(std::chrono::steady_clock::time_point then, const StopSignals& stop,
                  const std::vector<int>& more = {}) const {
    return tools::wait_until(then, processes_, stop, more);
  }
  /// Call it after a signal: passes the signal on to the program, which then has two seconds to
  /// end before it is killed. Says so if even then it does not end in two seconds.
  void end(int signal);
  /// The exit code of the instrument, by the table in tools/common/command.hpp.
  int exit_code(const StopSignals& stop, Measured measured);

 private:
  void expect_begun(const Result<void>& begun) const;

  std::optional<perf::HeldChild> child_;
  std::vector<perf::Process> processes_;
};

}  // namespace shmif::tools
