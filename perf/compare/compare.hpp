#pragma once
// Compares two runs: what became better, what became worse, and what is only noise.
//
// The figure of one run is one number. How much it would vary in repeated runs is estimated from
// the repetitions of --repeat if both files have them, otherwise from the intervals of the run.
// With repetitions, the figure shown is their median, as in the report; the change and its
// certainty refer to their means, which the test compares. Welch's t-test
// (perf/stats/confidence.hpp) decides whether two such lists differ; correlated intervals count as
// fewer values. A change by a factor of kLargeFactor or more is tested by the logarithms: a latency
// of 12 us or 29 ms varies by factors. If too few values are independent of each other for a test,
// the figure differs if even the nearest values of both runs do, by more than the threshold.
// Differences between runs that do not appear within a run show only in repetitions.
// Percentiles beyond p99 and the maximum depend on a few frames. They are shown but do not decide.

#include <optional>
#include <string>
#include <vector>

#include "perf/report/report.hpp"

namespace shmif::perf {

struct CompareOptions {
  double threshold = 0.05;  ///< share of the figure before
  /// Threshold for lost_share: the difference, as a share of all frames. Video streams and bulk
  /// transfers begin to suffer from a loss of 0.1 %, a share that would not matter for a rate.
  double loss_threshold = 0.001;
  double confidence = 0.95;  ///< confidence level of the comparison
};

/// From here on, a change is tested and printed as a factor.
inline constexpr double kLargeFactor = 2;

/// One figure of one job, before and after.
struct ComparedFigure {
  std::string job;
  std::string figure;  ///< "rx_fps", "latency_ns_p99", "lost_share"
  double before = 0, after = 0;
  /// Spread of the repetitions: maximum minus minimum, as a share of their median.
  std::optional<double> spread_before, spread_after;
  double change = 0;  ///< after - before; with repetitions, of their means
  /// `change` as a share of before; with repetitions, of their mean. Empty if that is 0.
  std::optional<double> change_share;
  std::optional<double> factor;  ///< what before is multiplied by; as for change_share
  /// Half width of the interval of the difference of means (of repetitions or of intervals), as a
  /// share of the mean before. Empty if it cannot be estimated.
  std::optional<double> half_width_share;
  std::optional<double> p;  ///< probability that chance alone makes such a difference
  std::string from;         ///< source of p: "repeats", "intervals"; empty: no p
  bool decides = true;
  enum class Verdict { same, better, worse } verdict = Verdict::same;
};

struct Comparison {
  std::string before, after;  ///< names of the files
  CompareOptions options;
  std::vector<ComparedFigure> figures;
  std::vector<std::string> notes;  ///< other differences: machine, options, version
  /// Some intervals are so strongly correlated that chance and a real difference cannot be told
  /// apart. Then `p` is empty, and a figure whose values overlap counts as the same.
  bool undecided = false;
  std::vector<std::string> failures;  ///< regressions other than figures: missing jobs
  /// Whether a figure that decides became worse by more than the threshold.
  bool worse() const noexcept;
};

/// Compares jobs of the same name. Errors: bad_argument if the files have no job in common.
Result<Comparison> compare(const Report& before, const Report& after,
                           const CompareOptions& options);

/// `width`: as for a report.
std::string to_text(const Comparison& comparison, std::size_t width = 0);
/// Keys as in the struct; `verdict` as a word, `worse` as a boolean.
std::string to_json(const Comparison& comparison);

}  // namespace shmif::perf
