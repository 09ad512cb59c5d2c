#pragma once
// Counts a list of events on processes or CPUs, each event that can be counted, and says of the
// others why they cannot.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/counters/kernel_counters.hpp"
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
  /// How long the targets ran, all of their threads together. Of CPUs: how long they were counted.
  std::uint64_t clock_ns = 0;
  std::vector<int> cpus;       ///< what was counted, if it was CPUs
  std::vector<SetQuery> sets;  ///< none if there is only one
  bool one_instant = false;
  bool partial = false;  ///< a signal came before the end
};

struct StatOptions {
  bool on_exec = false;      ///< the count begins when the process executes a program
  bool group = false;        ///< the events of a set count at the same time or not at all
  bool stop_target = false;  ///< for the last read
  std::chrono::nanoseconds turn{std::chrono::milliseconds(10)};  ///< of each set, if there are more
  std::vector<int> cpus{};  ///< counts everything on these, and no process
  /// At each `switch_period`th of these events, the next set begins its turn.
  std::optional<CounterEvent> switch_event{};
  std::uint64_t switch_period = 0;
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
  /// Loads and starts, on the processes or on the CPUs of the options. Events that the kernel
  /// refuses get their reason, and the others are counted. Errors: a target that is not there, and
  /// failures that concern no single event; Errc::not_supported if the event that switches sets is
  /// refused.
  static Result<StatRun> start(std::vector<StatEvent> events, std::span<const TaskId> processes,
                               const StatOptions& options,
                               KernelCounters& kernel = kernel_counters());

  /// Whether anything is counted: the kernel may have refused all events.
  bool counts() const noexcept { return !sessions_.empty(); }
  /// Call this regularly while an event switches the sets: it discards the samples of that event.
  void look();
  /// Stops, and reads what was counted.
  Result<StatResult> finish();

 private:
  StatRun() = default;
  Result<void> load(std::span<const CounterTarget> targets, KernelCounters& kernel);
  Result<bool> load_one(const CounterTarget& target, KernelCounters& kernel);
  void leave_out_foreign(std::size_t processes);
  Result<void> program(CounterSession& session);
  Error cannot_switch(const VectorFault& fault);
  bool take_refusal(const CounterTarget& target, const Error& error,
                    const std::optional<VectorFault>& fault);
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
