#pragma once
// Shows the rates of two sources side by side, with a verdict if they can be compared.
//
// Two sources can be compared if they count the same bytes at the same level. One of them may count
// more than the other: the machine, while the other counts only the watched processes. Then the
// background, which it counted before the program began, is subtracted first.
//
// Threads: any. Blocks: never.

#include <optional>
#include <string>
#include <vector>

#include "instruments/membw/source.hpp"

namespace shmif::perf {

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

}  // namespace shmif::perf
