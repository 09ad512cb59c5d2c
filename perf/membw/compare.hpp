#pragma once
// The rates of two sources side by side, with a verdict where they can be compared.
//
// Two sources can be compared if they count the same bytes at the same level. If one of them counts
// more than the other (the machine, while the other counts the watched processes alone), then what
// it counted before the program began, the background, is subtracted from it first.
//
// Threads: any. Blocks: never.

#include <optional>
#include <string>
#include <vector>

#include "perf/membw/source.hpp"

namespace shmif::perf {

/// What one source measured in a whole run.
struct MemorySummary {
  std::string source;  ///< "pmu", "resctrl", "software"
  std::string part;    ///< "bus", "io", "devices" of the software source
  std::string origin;
  MemoryScope scope = MemoryScope::machine;
  MemoryLevel level = MemoryLevel::dram;
  double window_s = 0;      ///< of all samples that were kept
  std::size_t samples = 0;  ///< that were kept
  /// Bytes per second, the mean of all samples that have a value.
  MemoryRates rates;
  double running_share = 1;  ///< the least of all samples
  /// What it counted before the program began, if that was measured.
  std::optional<MemoryRates> background{};

  std::string label() const { return part.empty() ? source : source + ':' + part; }
};

enum class MemoryVerdict {
  same,            ///< they differ by at most the tolerance
  different,       ///< they differ by more
  refused,         ///< too little traffic, or too much background, for a verdict
  not_comparable,  ///< they count different things, and stand side by side
  not_measured,    ///< one of them has no value
};
const char* word_of(MemoryVerdict verdict) noexcept;

struct MemoryComparison {
  std::string first, second;  ///< labels
  MemoryVerdict verdict = MemoryVerdict::not_measured;
  /// What was compared: without the background, where that was subtracted. Empty: not measured.
  std::optional<double> first_bytes_per_s{}, second_bytes_per_s{};
  std::optional<double> difference_bytes_per_s;  ///< never below 0
  std::optional<double> difference_share;        ///< of the larger one, 0 to 1
  std::string reason;                            ///< for verdicts other than same and different
};

struct CompareLimits {
  double tolerance = 0.08;  ///< a share of the larger one
  double floor_bytes_per_s =
      750.0 * 1024 * 1024;  ///< below, counters and their noise are too alike
  double background = 0.1;  ///< the most background, as a share of what was measured
};

MemoryComparison compare_memory(const MemorySummary& first, const MemorySummary& second,
                                MemoryReport report, const CompareLimits& limits = {});

/// Each source with each later one.
std::vector<MemoryComparison> compare_all(const std::vector<MemorySummary>& sources,
                                          MemoryReport report, const CompareLimits& limits = {});

/// How often each verdict was given about a pair of sources in the steps of a measurement.
struct MemoryTally {
  std::string first, second;
  std::size_t same = 0, different = 0, refused = 0, not_measured = 0;

  /// Different if it was so in one step. Otherwise not measured if one step had no value, and
  /// refused if no step had a verdict: then nothing was shown.
  MemoryVerdict verdict() const noexcept;
};

/// Of all pairs that can be compared. `steps`: the comparisons of each, in the same order.
std::vector<MemoryTally> tally(const std::vector<std::vector<MemoryComparison>>& steps);

}  // namespace shmif::perf
