#pragma once
// How far a figure that was measured several times can be trusted.
//
// The values are assumed to be normally distributed. Repetitions of a run are independent.
// Intervals of one run are not: if one is slow, its neighbours are slow, too. So n intervals are
// worth n / tau independent ones; tau grows with the time over which they are correlated. Student's
// distribution is computed to about 1e-10.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>

#include "perf/job/values.hpp"

namespace shmif::perf {

/// What several values tell about one figure.
struct Estimate {
  std::size_t count = 0;
  double mean = 0;
  double median = 0, min = 0, max = 0;
  /// Standard deviation, estimated from the values (with n - 1). Empty for a single value.
  std::optional<double> deviation;
  /// The true mean lies within this distance of the mean, with a confidence of 95 %. Empty for a
  /// single value.
  std::optional<double> half_width;

  /// half_width as a share of the mean; empty if the mean is 0.
  std::optional<double> half_width_share() const noexcept;
};
/// Empty if there are no values.
std::optional<Estimate> estimate(std::span<const double> values);

/// Whether two figures differ (Welch 1947: Student's test for samples of unequal spread).
struct Difference {
  double of_means = 0;    ///< after minus before
  double half_width = 0;  ///< the true difference is this close, with the confidence
  double p = 1;           ///< probability that chance alone makes a difference as large
  bool significant = false;
};
/// Empty if either has fewer than two values. `confidence` is between 0 and 1, exclusive.
std::optional<Difference> difference(std::span<const double> before, std::span<const double> after,
                                     double confidence = 0.95);

/// Over how many neighbours the values of a series are correlated: 1 if not at all, at most their
/// number. It is the larger of two estimates, because a test that assumes too many independent
/// values is wrong more often than it says. One uses the correlation of neighbours, as in an
/// autoregressive series (without the bias of short ones: Marriott and Pope 1954). The other
/// compares how much the means of six batches vary with what independent values would give (batch
/// means); it also sees slow drifts.
double correlation_time(std::span<const double> series);

/// As difference(), for values that follow each other in time. Each series counts as that many
/// independent values (Zwiers and von Storch 1995). Half of the variation between its sixths counts
/// as noise that a longer run does not average out, as measured on a shared machine. Empty if that
/// leaves fewer than two values for either: chance and a real difference then cannot be told apart.
std::optional<Difference> difference_of_series(std::span<const double> before,
                                               std::span<const double> after,
                                               double confidence = 0.95);

/// Student's distribution with `freedom` degrees of freedom, which may be fractional: the share of
/// values below `t`; and the t that a share `p` of the values is below.
double student_share(double t, double freedom) noexcept;
double student_quantile(double p, double freedom) noexcept;

// SteadyStateDetector: whether a rate has settled (fio's `steadystate`).
//
//   iops:LIMIT        no frame rate in the window is further than LIMIT from their mean
//   iops_slope:LIMIT  the slope of a line through them (least squares) is below LIMIT per second
//   bw, bw_slope      the same for bits per second
//
// A limit is in frames or bits per second, or with % a share of the mean. The window is the last
// `ss_dur`; the first `ss_ramp` is ignored. Both are rounded up to whole seconds, because there is
// one rate for each second.

/// Threads: one at a time.
class SteadyStateDetector {
 public:
  /// A `window` of less than two seconds becomes two seconds.
  SteadyStateDetector(const SteadyState& wanted, std::chrono::nanoseconds window,
                      std::chrono::nanoseconds ramp);

  /// Notes the rates of one more second. Result: whether the steady state is reached, now or
  /// before.
  bool note(double frames_per_s, double bits_per_s);

  bool reached() const noexcept { return reached_at_.has_value(); }
  /// The value for the newest complete window that is compared with the limit: a share of the mean
  /// or a rate, like the limit.
  std::optional<double> figure() const noexcept { return figure_; }
  /// Seconds of traffic, including the ramp; empty: not yet.
  std::optional<std::uint64_t> reached_at_seconds() const noexcept { return reached_at_; }
  /// The values in use, in whole seconds.
  std::uint64_t window_seconds() const noexcept { return window_; }
  std::uint64_t ramp_seconds() const noexcept { return ramp_; }
  const SteadyState& wanted() const noexcept { return wanted_; }
  /// "reached at 12 s: iops slope 0.1 % a second (limit 0.3 %)"; or "not reached: ..." with the
  /// newest figure, or a note that the window was never full.
  std::string describe() const;

 private:
  double deviation(double mean) const noexcept;
  double slope(double mean) const noexcept;

  SteadyState wanted_;
  std::size_t window_;
  std::uint64_t ramp_;
  std::uint64_t seconds_ = 0;
  std::deque<double> values_;
  std::optional<double> figure_;
  std::optional<std::uint64_t> reached_at_;
};

}  // namespace shmif::perf
