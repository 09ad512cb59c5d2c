#pragma once
// Two runs beside each other: what became better, what worse, and what is only noise.
//
// A figure of one run is one number; how far it would wander if the run were repeated shows in the
// repetitions of --repeat where both files have them, else in the intervals of the run. Over
// repetitions the figure that is shown is their median, as in the report; how much it changed, and
// how sure that is, is said of their means, which the test compares. Welch's t-test
// (perf/stats/confidence.hpp) says whether two such lists differ; intervals that hang together
// count for fewer. What differs from one run to the next, and not within a run, shows in
// repetitions alone. Percentiles beyond p99 and the maximum hang on a few frames; they are shown
// and decide nothing.

#include <optional>
#include <string>
#include <vector>

#include "perf/report/report.hpp"

namespace shmif::perf {

struct CompareOptions {
  double threshold = 0.05;  ///< a share of the figure before
  /// Of lost_share, by which it differs: a share of all frames. A loss of 0.1 % is what a stream of
  /// video or a bulk transfer begins to suffer from, far below what would matter of a rate.
  double loss_threshold = 0.001;
  double confidence = 0.95;  ///< that a difference is none by chance
};

/// One figure of one job, before and after.
struct ComparedFigure {
  std::string job;
  std::string figure;  ///< "rx_fps", "latency_ns_p99", "lost_share"
  double before = 0, after = 0;
  /// Of the repetitions: greatest less least, as a share of their median.
  std::optional<double> spread_before, spread_after;
  double change = 0;  ///< after - before; over repetitions of their means
  /// `change` as a share of before, over repetitions of their mean; nothing where that was 0.
  std::optional<double> change_share;
  /// Of the difference of means (of repetitions, or of intervals), as a share of the mean before;
  /// nothing where there is nothing to estimate it from.
  std::optional<double> half_width_share;
  std::optional<double> p;  ///< how often chance alone makes such a difference
  std::string from;         ///< what p comes from: "repeats", "intervals"; empty: nothing
  bool decides = true;
  enum class Verdict { same, better, worse } verdict = Verdict::same;
};

struct Comparison {
  std::string before, after;  ///< names of the files
  CompareOptions options;
  std::vector<ComparedFigure> figures;
  std::vector<std::string> notes;  ///< what else is not the same: machine, options, version
  /// Some intervals hang together so closely that nobody can tell chance from a difference. Then
  /// `p` is nothing, and the figure counts as the same.
  bool undecided = false;
  std::vector<std::string> failures;  ///< what counts as worse and is no figure: jobs that are gone
  /// Whether anything that decides became worse by more than the threshold.
  bool worse() const noexcept;
};

/// Jobs are matched by their names. Errors: bad_argument when the files have no job in common.
Result<Comparison> compare(const Report& before, const Report& after,
                           const CompareOptions& options);

/// `width` as with a report.
std::string to_text(const Comparison& comparison, std::size_t width = 0);
/// Keys as in the struct, `verdict` as a word, `worse` as a boolean.
std::string to_json(const Comparison& comparison);

}  // namespace shmif::perf
