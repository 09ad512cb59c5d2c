#pragma once
// Counts a list of events on processes or CPUs. If an event cannot be counted, the result says why.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instruments/counters/event_names.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/session.hpp"
#include "instruments/watch/capability.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// An event of a list: what was asked for, and the result.
struct StatEvent {
  std::string name;
  unsigned set = 0;
  std::optional<CounterEvent> event{};  ///< empty: the name could not be looked up
  // The result:
  std::optional<double> value{};  ///< in `unit`; if empty, `reason` says why
  bool scaled = false;            ///< it did not count all the time, and the value is an estimate
  std::optional<std::uint64_t> enabled_ns{};  ///< how long it had to count while the target ran
  std::optional<std::uint64_t> running_ns{};  ///< how long it did count
  std::string unit{};
  std::string source{};
  std::string reason{};
  std::string enable_with{};
  /// "", "not supported", "not permitted", "not counted" or "failed".
  std::string state{};
  std::string note{};  ///< a remark about the value
};

/// A figure computed from two measured values.
struct DerivedFigure {
  std::string name;
  double value = 0;
  std::string unit;
};

struct StatResult {
  std::vector<StatEvent> events;
  std::vector<DerivedFigure> derived;
  double elapsed_s = 0;
  /// How long the targets ran, summed over their threads. For CPUs: how long they were counted.
  std::uint64_t clock_ns = 0;
  std::vector<int> cpus;       ///< the counted CPUs; empty if processes were counted
  std::vector<SetQuery> sets;  ///< empty if there is only one
  bool one_instant = false;
  bool partial = false;  ///< a signal ended the count early
};

struct StatOptions {
  bool on_exec = false;      ///< the count begins when the process executes a program
  bool group = false;        ///< the events of a set count at the same time or not at all
  bool stop_target = false;  ///< stops the targets for the last read
  std::chrono::nanoseconds turn{std::chrono::milliseconds(10)};  ///< of each set, if several
  std::vector<int> cpus{};  ///< counts everything on these CPUs instead of processes
  /// At each `switch_period`th of these events, the next set begins its turn.
  std::optional<CounterEvent> switch_event{};
  std::uint64_t switch_period = 0;
};

/// Looks up events. Each list is an event set, and so is each pair of braces in one:
/// "{cycles,instructions},{cache-misses}". An event with a valid name that this machine lacks, or
/// does not show to this user, is in the result with the reason. Errors: Errc::bad_argument for an
/// unknown name.
Result<std::vector<StatEvent>> find_stat_events(const EventNames& names,
                                                std::span<const std::string> lists);

/// The events that are counted by default.
inline constexpr const char* kUsualEvents =
    "task-clock,context-switches,cpu-migrations,page-faults,cycles,instructions";

/// Threads: one at a time.
class StatRun {
 public:
  /// Loads and starts, on the processes or on the CPUs of the options. Events that the kernel
  /// refuses get their reason, and the others are counted. Errors: a target that does not exist,
  /// and failures that are not about a single event; Errc::not_supported if the kernel refuses the
  /// event that switches sets.
  static Result<StatRun> start(std::vector<StatEvent> events, std::span<const TaskId> processes,
                               const StatOptions& options,
                               KernelCounters& kernel = kernel_counters());

  /// Whether any event is counted: the kernel may have refused all of them.
  bool counts() const noexcept { return !sessions_.empty(); }
  /// Call this regularly while an event switches the sets: it discards the samples of that event.
  void look();
  /// Stops counting, and reads the counts.
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
  std::vector<std::size_t> counted_;  ///< indexes in events_, in the order of programming
  std::vector<unsigned> set_ids_;     ///< sets as in events_; the sessions use the indexes
  std::vector<CounterSession> sessions_;
  std::chrono::steady_clock::time_point begin_;
};

/// Instructions per cycle, misses per reference, CPUs used; each only if both values were measured.
std::vector<DerivedFigure> derived_figures(const StatResult& result);

/// What `shmifperf stat` and `shmifperf sample` can count on this machine: "counters.software",
/// ".hardware", ".tracepoints", ".sampling" and ".kernel_symbols". On the machine itself, asks the
/// kernel to open each kind of event; for a recorded tree, reads its files. Threads: any. Blocks:
/// as the kernel does for such files.
std::vector<Capability> counters_capabilities(const KernelFiles& files);
/// The same for a machine, but asks `kernel` instead of the real one.
std::vector<Capability> counters_capabilities_by(const KernelFiles& files, KernelCounters& kernel);

}  // namespace shmif::perf
