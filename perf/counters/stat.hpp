#pragma once
// Counts a list of events on processes, each event that can be counted, and says of the others why
// they cannot.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/counters/session.hpp"
#include "perf/events/event_names.hpp"

namespace shmif::perf {

/// An event of a list, as asked for and as found out.
struct StatEvent {
  std::string name;
  unsigned set = 0;
  std::optional<CounterEvent> event{};  ///< none: the name could not be looked up
  // The result:
  std::optional<double> value{};  ///< in `unit`; none: `reason` says why
  bool scaled = false;            ///< it did not count all the time, and the value is an estimate
  std::optional<std::uint64_t> enabled_ns{};  ///< how long it was to count while the target ran
  std::optional<std::uint64_t> running_ns{};  ///< how long it did
  std::string unit{};
  std::string source{};
  std::string reason{};
  std::string enable_with{};
  /// "", "not supported", "not permitted", "not counted" or "failed".
  std::string state{};
  std::string note{};  ///< what one has to know of a value
};

/// A figure that follows from two values which were both measured.
struct DerivedFigure {
  std::string name;
  double value = 0;
  std::string unit;
};

struct StatResult {
  std::vector<StatEvent> events;
  std::vector<DerivedFigure> derived;
  double elapsed_s = 0;
  std::uint64_t clock_ns = 0;  ///< how long the targets ran, all of their threads together
  std::vector<SetQuery> sets;  ///< none if there is only one
  bool one_instant = false;
  bool partial = false;  ///< a signal came before the end
};

struct StatOptions {
  bool on_exec = false;      ///< the count begins when the process executes a program
  bool group = false;        ///< the events of a set count at the same time or not at all
  bool stop_target = false;  ///< for the last read
  std::chrono::nanoseconds turn{std::chrono::milliseconds(10)};  ///< of each set, if there are more
};

/// Looks up events. Each list is an event set, and so is each pair of braces in one:
/// "{cycles,instructions},{cache-misses}". Those whose name is understood, but which this machine
/// lacks or does not show to this user, are in the result with their reason. Errors:
/// Errc::bad_argument for a name that nobody knows.
Result<std::vector<StatEvent>> find_stat_events(const EventNames& names,
                                                std::span<const std::string> lists);

/// What is counted if nothing is named.
inline constexpr const char* kUsualEvents =
    "task-clock,context-switches,cpu-migrations,page-faults,cycles,instructions";

/// Threads: one at a time.
class StatRun {
 public:
  /// Loads and starts. Events that the kernel refuses get their reason, and the others are counted.
  /// Errors: a target that is not there, and failures that are no event's.
  static Result<StatRun> start(std::vector<StatEvent> events, std::span<const TaskId> processes,
                               const StatOptions& options,
                               KernelCounters& kernel = kernel_counters());

  /// Whether anything is counted: the kernel may have refused all events.
  bool counts() const noexcept { return !sessions_.empty(); }
  /// Stops, and reads what was counted.
  Result<StatResult> finish();

 private:
  StatRun() = default;
  Result<void> load(std::span<const TaskId> processes, KernelCounters& kernel);
  Result<bool> load_one(TaskId process, KernelCounters& kernel);
  Result<void> program(CounterSession& session);
  bool take_refusal(TaskId process, const Error& error, const std::optional<VectorFault>& fault);
  void add_sets(StatResult& result);
  void leave_out_offline(StatResult& result) const;
  Result<void> add_values(CounterSession& session, StatResult& result);

  KernelCounters* kernel_ = nullptr;
  StatOptions options_;
  std::vector<StatEvent> events_;
  std::vector<std::size_t> counted_;  ///< of events_, in the order in which they are programmed
  std::vector<unsigned> set_ids_;     ///< of events_; its sessions number them from 0
  std::vector<CounterSession> sessions_;
  std::chrono::steady_clock::time_point begin_;
};

/// Instructions per cycle, misses per reference, CPUs used: where both values were measured.
std::vector<DerivedFigure> derived_figures(const StatResult& result);

}  // namespace shmif::perf
