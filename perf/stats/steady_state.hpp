#pragma once
// SteadyStateDetector: whether a rate has settled (fio's `steadystate`).
//
//   iops:LIMIT        no frame rate of the window is further than LIMIT from their mean
//   iops_slope:LIMIT  the line through them (least squares) rises or falls by less a second
//   bw, bw_slope      the same of bits per second
//
// A limit is in frames or bits per second, or with % a share of the mean. The window is the last
// `ss_dur`; what comes in the first `ss_ramp` is not looked at. Both are in whole seconds, rounded
// up: there is one rate for each second.

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
  /// `window` of less than two seconds is one of two.
  SteadyStateDetector(const SteadyState& wanted, std::chrono::nanoseconds window,
                      std::chrono::nanoseconds ramp);

  /// The rates of one more second. Result: whether it has been reached, by now or before.
  bool note(double frames_per_s, double bits_per_s);

  bool reached() const noexcept { return reached_at_.has_value(); }
  /// Of the newest whole window: what is compared with the limit, a share of the mean or a
  /// rate, as that is.
  std::optional<double> figure() const noexcept { return figure_; }
  /// Of traffic, ramp counted; nothing: not yet.
  std::optional<std::uint64_t> reached_at_seconds() const noexcept { return reached_at_; }
  /// What the options came to, in whole seconds.
  std::uint64_t window_seconds() const noexcept { return window_; }
  std::uint64_t ramp_seconds() const noexcept { return ramp_; }
  const SteadyState& wanted() const noexcept { return wanted_; }
  /// "reached at 12 s: iops slope 0.1 % a second (limit 0.3 %)"; "not reached: ..." with the newest
  /// figure, or that the window was never full.
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
