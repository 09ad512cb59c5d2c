#pragma once
// How much a figure can be trusted that was measured several times.
//
// The values are taken for normally distributed. Repetitions of a run are independent of each
// other. Intervals of one run are not: what makes one slow makes its neighbours slow, so n of them
// say as much as n / tau independent ones, where tau grows with how long they hang together.
// Student's distribution is computed to about 1e-10.

#include <cstddef>
#include <optional>
#include <span>

namespace shmif::perf {

/// What several values say of one figure.
struct Estimate {
  std::size_t count = 0;
  double mean = 0;
  double median = 0, least = 0, most = 0;
  /// Of the values, as estimated from them (with n - 1). Nothing for a single one.
  std::optional<double> deviation;
  /// The mean is within so much of the true one with the confidence asked for. Nothing for a single
  /// one.
  std::optional<double> half_width;

  /// half_width as a share of the mean; nothing where the mean is 0.
  std::optional<double> half_width_share() const noexcept;
};
/// Nothing of no values. `confidence` is between 0 and 1, neither included.
std::optional<Estimate> estimate(std::span<const double> values, double confidence = 0.95);

/// Whether two figures differ (Welch 1947: Student's test for samples of unequal spread).
struct Difference {
  double of_means = 0;    ///< after less before
  double half_width = 0;  ///< the true difference is within so much of that, with the confidence
  double p = 1;           ///< how often chance alone makes a difference as large
  bool significant = false;
};
/// Nothing where either has less than two values.
std::optional<Difference> difference(std::span<const double> before, std::span<const double> after,
                                     double confidence = 0.95);

/// Over how many neighbours values of a series hang together: 1 when not at all, at most their
/// number. The larger of two estimates, for a test that takes too few for enough is wrong more
/// often than it says: by the correlation of neighbours, as of an autoregressive series (without
/// the bias of short ones: Marriott and Pope 1954), and by how much more the means of six batches
/// vary than those of independent values would (batch means), which sees slow drifts, too.
double correlation_time(std::span<const double> series);

/// As difference(), of values that follow each other in time: each series counts for as many
/// independent values as it is worth (Zwiers and von Storch 1995). Half of what its sixths vary by
/// is taken for noise that a longer run does not average out, as runs of a shared machine show it.
/// Nothing where that is less than two for either: then nobody can tell chance from a difference.
std::optional<Difference> difference_of_series(std::span<const double> before,
                                               std::span<const double> after,
                                               double confidence = 0.95);

/// Student's distribution with `freedom` degrees, which may be broken: the share of values below
/// `t`, and the t that a share `p` of values is below.
double student_share(double t, double freedom) noexcept;
double student_quantile(double p, double freedom) noexcept;

}  // namespace shmif::perf
