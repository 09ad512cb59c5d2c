#pragma once
// How much a figure can be trusted that was measured several times.
//
// The values are taken for independent and normally distributed, which intervals of a steady run
// and repetitions of a run nearly are. Student's distribution is computed to about 1e-10.

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

/// Student's distribution with `freedom` degrees, which may be broken: the share of values below
/// `t`, and the t that a share `p` of values is below.
double student_share(double t, double freedom) noexcept;
double student_quantile(double p, double freedom) noexcept;

}  // namespace shmif::perf
