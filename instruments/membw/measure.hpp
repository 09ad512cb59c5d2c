#pragma once
// A measurement of memory bandwidth: one window after another, each measured by all sources at
// once.

#include <sys/types.h>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "instruments/membw/source.hpp"
#include "instruments/watch/capability.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

// Shows the rates of two sources side by side, with a verdict if they can be compared.
//
// Two sources can be compared if they count the same bytes at the same level. One of them may count
// more than the other: the machine, while the other counts only the watched processes. Then the
// background, which it counted before the program began, is subtracted first.
//
// Threads: any. Blocks: never.

/// What one source measured in a whole run.
struct MemorySummary {
  std::string source;  ///< "pmu", "resctrl", "software"
  std::string part;    ///< "bus", "io", "devices" of the software source
  std::string origin;
  MemoryScope scope = MemoryScope::machine;
  MemoryLevel level = MemoryLevel::dram;
  double window_s = 0;      ///< of all kept samples together
  std::size_t samples = 0;  ///< how many were kept
  /// Bytes per second, the mean of all samples that have a value.
  MemoryRates rates;
  double running_share = 1;  ///< the smallest of all samples
  /// What the source counted before the program began; empty if that was not measured.
  std::optional<MemoryRates> background{};

  std::string label() const { return part.empty() ? source : source + ':' + part; }
};

enum class MemoryVerdict {
  same,            ///< they differ by at most the tolerance
  different,       ///< they differ by more
  refused,         ///< too little traffic, or too much background, for a verdict
  not_comparable,  ///< they count different things; they are only shown side by side
  not_measured,    ///< at least one has no value
};
const char* word_of(MemoryVerdict verdict) noexcept;

struct MemoryComparison {
  std::string first, second;  ///< labels
  MemoryVerdict verdict = MemoryVerdict::not_measured;
  /// The compared rates, after the background was subtracted if it had to be. Empty if not
  /// measured.
  std::optional<double> first_bytes_per_s{}, second_bytes_per_s{};
  std::optional<double> difference_bytes_per_s;  ///< never below 0
  std::optional<double> difference_share;        ///< of the larger one, 0 to 1
  std::string reason;                            ///< for verdicts other than same and different
};

struct CompareLimits {
  double tolerance = 0.08;  ///< a share of the larger one
  double floor_bytes_per_s =
      750.0 * 1024 * 1024;  ///< below it, traffic is too close to the counters' noise
  double background = 0.1;  ///< the largest background allowed, as a share of the measured rate
};

MemoryComparison compare_memory(const MemorySummary& first, const MemorySummary& second,
                                MemoryReport report, const CompareLimits& limits = {});

/// Compares each source with each later one.
std::vector<MemoryComparison> compare_all(const std::vector<MemorySummary>& sources,
                                          MemoryReport report, const CompareLimits& limits = {});

/// How often each verdict was given about a pair of sources in the steps of a measurement.
struct MemoryTally {
  std::string first, second;
  std::size_t same = 0, different = 0, refused = 0, not_measured = 0;

  /// `different` if at least one step was different. Otherwise `not_measured` if a step had no
  /// value, and `refused` if no step had a verdict.
  MemoryVerdict verdict() const noexcept;
};

/// The tally of each pair that can be compared. `steps`: the comparisons of each step, in the same
/// order.
std::vector<MemoryTally> tally(const std::vector<std::vector<MemoryComparison>>& steps);

/// Which sources this machine has: "membw.pmu", "membw.resctrl", "membw.allocation" and
/// "membw.software". Changes nothing. Threads: any. Blocks: while it reads files.
std::vector<Capability> membw_capabilities(const KernelFiles& files);

struct MembwOptions {
  std::chrono::nanoseconds settle = std::chrono::seconds(1);  ///< before the first window
  std::chrono::nanoseconds window = std::chrono::seconds(1);
  /// From the begin of one window to the begin of the next. If it is shorter than a window, the
  /// windows follow each other without a pause.
  std::chrono::nanoseconds interval{0};
  /// How many samples are kept; 0: take samples until the watched processes have ended. One more is
  /// taken: the first is dropped, because caches and counters are not yet settled in it.
  std::size_t samples = 0;
  /// How many steps there are. Each step takes that many samples, and one more that is dropped
  /// first, under conditions that MembwHooks::set_up makes. 0: one step, and the result has no
  /// steps.
  std::size_t steps = 0;
  bool background = true;  ///< measure it first, if the program can be paused
  /// After the background, measure only one window, as long as MembwHooks::round; `window` does not
  /// matter. This sample is kept. Then `samples` is 1 and there are no steps.
  bool once = false;
};

/// One window, as each source saw it, in the order of the sources.
struct MembwSample {
  /// Counts from 0. Sample 0 and the first sample of each further step are dropped, unless there is
  /// only one sample.
  std::size_t number = 0;
  std::size_t step = 0;
  std::vector<MemoryReading> readings;
};

/// What the measurement needs from its caller. An empty function does nothing, and succeeds.
struct MembwHooks {
  enum class Woken { time_is_up, nothing_left, stopped };
  /// Sleeps for this time, but returns earlier when the watched processes have ended or a signal
  /// comes. Never empty.
  std::function<Woken(std::chrono::nanoseconds)> sleep;
  /// Starts the program. Errors: why it cannot start.
  std::function<Result<void>()> begin;
  /// `pause` stops the program, and `resume` lets it go on. Result: false if it cannot be stopped.
  std::function<bool()> pause, resume;
  /// Starts the single round of the load, and returns when the round has ended.
  std::function<Woken()> round;

  std::function<Result<void>()> init;                        ///< first of all
  std::function<Result<bool>(std::size_t)> set_up;           ///< before each sample; false: no more
  std::function<Result<void>(const MembwSample&)> measured;  ///< after each sample
  std::function<Result<void>()> end;                         ///< last, also after an error
};

struct MembwResult {
  std::vector<MemorySummary> sources;  ///< over all samples
  /// The summaries of each step; empty unless MembwOptions asked for steps. A step that was not
  /// reached has no samples.
  std::vector<std::vector<MemorySummary>> steps{};
  std::vector<pid_t> processes{};    ///< the watched processes; empty: the whole machine
  std::vector<MembwSample> samples;  ///< only those that were kept
  /// The measurement ended early: a signal came, an error occurred, or the processes ended before
  /// the last step. The result has what was measured until then.
  bool partial = false;
  /// The first error. Errors of the clean-up come after all others.
  std::optional<Error> error{};
};

/// Opens the sources, starts the program, measures, and closes the sources. If a source cannot be
/// opened or fails, the result has a reason instead of its values, and the other sources go on. If
/// the program cannot start, the result has that error and no window is opened. Threads: one at a
/// time. Blocks: during the measurement.
MembwResult measure_memory(const std::vector<std::unique_ptr<MemorySource>>& sources,
                           const std::vector<pid_t>& processes, const MembwOptions& options,
                           const MembwHooks& hooks);

/// The mean of the readings, weighted by their windows. A rate is empty if no reading has it.
MemoryRates mean_of(const std::vector<const MemoryReading*>& readings);

/// The comparisons of one sample, only for pairs that can be compared.
std::vector<MemoryComparison> compare_sample(const MembwResult& result, const MembwSample& sample,
                                             MemoryReport report, const CompareLimits& limits);
/// The comparisons of each step, for all pairs, in the same order.
std::vector<std::vector<MemoryComparison>> compare_steps(const MembwResult& result,
                                                         MemoryReport report,
                                                         const CompareLimits& limits);

/// What a command adds to the result of a measurement.
struct MembwExtras {
  std::optional<CompareLimits> pairs{};  ///< if set, each sample gets its comparisons
  std::vector<std::string>
      allocations{};  ///< one for each step, or one without steps; empty if none was set
};
/// The manual of shmifperf names the fields. `comparisons` is empty if the caller did not ask for
/// comparisons.
nlohmann::ordered_json membw_value(const MembwResult& result, MemoryReport report,
                                   const std::vector<MemoryComparison>& comparisons,
                                   const MembwExtras& extras = {});
/// The same as text, indented, with a final newline.
std::string membw_json(const MembwResult& result, MemoryReport report,
                       const std::vector<MemoryComparison>& comparisons,
                       const MembwExtras& extras = {});

}  // namespace shmif::perf
