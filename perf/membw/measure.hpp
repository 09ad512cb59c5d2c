#pragma once
// A measurement of memory bandwidth: windows, one after another, by all sources at once.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/membw/compare.hpp"
#include "perf/membw/source.hpp"

namespace shmif::perf {

struct MembwOptions {
  std::chrono::nanoseconds settle = std::chrono::seconds(1);  ///< before the first window
  std::chrono::nanoseconds window = std::chrono::seconds(1);
  /// From the begin of one window to that of the next; windows follow each other if it is shorter.
  std::chrono::nanoseconds interval{0};
  /// How many samples are kept; 0: until the watched processes have ended. One more is taken: the
  /// first is dropped, because caches and counters only get used to the program in it.
  std::size_t samples = 0;
  /// How often that many samples are taken, each time with one more that is dropped first: under
  /// other conditions, which MembwHooks::set_up makes. 0: once, and the result has no steps.
  std::size_t steps = 0;
  bool background = true;  ///< measure it first, if the program can be paused
  /// MembwHooks::round is the only window after the background: it is kept, and `window` is not
  /// its length. Then `samples` is 1 and there are no steps.
  bool once = false;
};

/// One window, as each source saw it. The order is that of the sources.
struct MembwSample {
  /// From 0, which is dropped, as is the first of each further step, unless it is the only one.
  std::size_t number = 0;
  std::size_t step = 0;
  std::vector<MemoryReading> readings;
};

/// What the measurement needs of the world. An empty function does nothing, and succeeds.
struct MembwHooks {
  enum class Woken { time_is_up, nothing_left, stopped };
  /// Sleeps, until the watched processes have ended, or until a signal comes. Never empty.
  std::function<Woken(std::chrono::nanoseconds)> sleep;
  /// Lets the program begin. Errors: why it cannot.
  std::function<Result<void>()> begin;
  /// Stops the program for a moment, and lets it go on. Result: false if it cannot be stopped.
  std::function<bool()> pause, resume;
  /// Lets the load do its single round, and returns when that has ended.
  std::function<Woken()> round;

  std::function<Result<void>()> init;                        ///< first of all
  std::function<Result<bool>(std::size_t)> set_up;           ///< before each sample; false: no more
  std::function<Result<void>(const MembwSample&)> measured;  ///< after each sample
  std::function<Result<void>()> end;                         ///< last, also after an error
};

struct MembwResult {
  std::vector<MemorySummary> sources;  ///< of all samples
  /// Of the samples of each step; empty unless MembwOptions asked for steps. A step that was not
  /// reached has no samples.
  std::vector<std::vector<MemorySummary>> steps{};
  std::vector<pid_t> processes{};    ///< the watched processes; empty: the whole machine
  std::vector<MembwSample> samples;  ///< that were kept
  /// The measurement ended early: by a signal, by an error, or because the processes ended before
  /// the last step. What was measured until then is in the result.
  bool partial = false;
  /// The first thing that went wrong. Errors of the clean-up come after all others.
  std::optional<Error> error{};
};

/// Opens the sources, lets the program begin, measures, and closes the sources. A source that
/// cannot be opened or fails has a reason instead of values, and the others go on. The program's
/// failure to begin is an error before any window opens. Threads: one at a time. Blocks: for the
/// measurement.
MembwResult measure_memory(const std::vector<std::unique_ptr<MemorySource>>& sources,
                           const std::vector<pid_t>& processes, const MembwOptions& options,
                           const MembwHooks& hooks);

/// The mean of readings, weighted by their windows. A rate that no reading has is empty.
MemoryRates mean_of(const std::vector<const MemoryReading*>& readings);

/// The comparisons of one sample: of pairs that can be compared.
std::vector<MemoryComparison> compare_sample(const MembwResult& result, const MembwSample& sample,
                                             MemoryReport report, const CompareLimits& limits);
/// The comparisons of each step: of all pairs, in the same order.
std::vector<std::vector<MemoryComparison>> compare_steps(const MembwResult& result,
                                                         MemoryReport report,
                                                         const CompareLimits& limits);

/// What a command adds to the result of a measurement.
struct MembwExtras {
  std::optional<CompareLimits> pairs{};  ///< each sample has the comparisons of its readings
  std::vector<std::string>
      allocations{};  ///< one for each step; one without steps; empty: nothing was set
};
/// docs/instruments.md describes the fields. `comparisons` are empty if none were asked for.
std::string membw_json(const MembwResult& result, MemoryReport report,
                       const std::vector<MemoryComparison>& comparisons,
                       const MembwExtras& extras = {});

}  // namespace shmif::perf
