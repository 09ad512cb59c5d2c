#pragma once
// SteadyStateDetector: whether a rate has settled (fio's `steadystate`).
//
//   iops:LIMIT        no frame rate in the window is further than LIMIT from their mean
//   iops_slope:LIMIT  the slope of a line through them (least squares) is below LIMIT per second
//   bw, bw_slope      the same for bits per second
//
// A limit is in frames or bits per second, or with % a share of the mean. The window is the last
// `ss_dur`; the first `ss_ramp` is ignored. Both are rounded up to whole seconds, because there is
// one rate for each second.

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "perf/job/values.hpp"

namespace shmif::perf {

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
