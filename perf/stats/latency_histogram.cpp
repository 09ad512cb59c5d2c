#include "perf/stats/latency_histogram.hpp"

#include <cmath>

#include "base/nearest_rank.hpp"

namespace shmif::perf {

void LatencyHistogram::merge(const LatencyHistogram& other) noexcept {
  for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  squares_ += other.squares_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

double LatencyHistogram::mean() const noexcept {
  return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

double LatencyHistogram::deviation() const noexcept {
  if (count_ == 0) return 0;
  // The squares of the distances from `middle`. Intermediate values may exceed 2^128; the result
  // does not unless durations are days apart.
  const auto middle = static_cast<std::uint64_t>(sum_ / count_);
  const Wide squares = squares_ - Wide{2} * middle * sum_ + square_of(middle) * count_;
  // The mean is this much above `middle`.
  const double rest = static_cast<double>(sum_ % count_) / static_cast<double>(count_);
  const double variance = static_cast<double>(squares) / static_cast<double>(count_) - rest * rest;
  return std::sqrt(std::max(variance, 0.0));
}

std::uint64_t LatencyHistogram::percentile(double per_cent) const noexcept {
  return at_rank(base::nearest_rank(count_, per_cent));
}

std::uint64_t LatencyHistogram::at_rank(std::uint64_t rank) const noexcept {
  if (count_ == 0) return 0;
  std::uint64_t seen = 0;
  for (std::size_t i = bucket_of(min_); i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return std::clamp(greatest_of(i), min_, max_);
  }
  return max_;
}

}  // namespace shmif::perf
