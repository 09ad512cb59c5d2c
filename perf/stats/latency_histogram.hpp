#pragma once
// LatencyHistogram: how often each duration was seen.
//
// Executive summary: covers durations from 0 to 2^64-1 ns. A bucket is at most 1/128 of its lower
// bound wide, so a percentile is at most 0.8 % too high, and exact below 256 ns. It takes 58 KiB;
// record() takes a few instructions; merging loses nothing. Only percentiles are inexact.
//
// Buckets are linear within a power of two (log-linear, as in HdrHistogram): 128 to 255 ns has 128
// buckets of 1 ns, 256 to 511 ns has 128 of 2 ns, and so on. Below 128 ns each value has its own
// bucket.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace shmif::perf {

/// Trivially copyable, so it can be in memory that processes share. All zeros is not an empty
/// histogram. Threads: one at a time.
class LatencyHistogram {
 public:
  static constexpr unsigned kSubBits = 7;
  static constexpr std::size_t kSubBuckets = std::size_t{1} << kSubBits;
  static constexpr std::size_t kBuckets = (64 - kSubBits + 1) * kSubBuckets;

  /// The bucket that counts `ns`.
  static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < kSubBuckets) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kSubBits;
    return shift * kSubBuckets + (ns >> shift);
  }
  /// The least and the greatest duration that a bucket counts, in ns.
  static constexpr std::uint64_t min_of(std::size_t bucket) noexcept {
    if (bucket < 2 * kSubBuckets) return bucket;
    const std::size_t shift = bucket / kSubBuckets - 1;
    return std::uint64_t{bucket - shift * kSubBuckets} << shift;
  }
  static constexpr std::uint64_t greatest_of(std::size_t bucket) noexcept {
    return bucket + 1 == kBuckets ? std::numeric_limits<std::uint64_t>::max()
                                  : min_of(bucket + 1) - 1;
  }

  /// Counts `times` durations of `ns`. `times` is at least 1.
  void record(std::uint64_t ns, std::uint64_t times = 1) noexcept {
    counts_[bucket_of(ns)] += times;
    count_ += times;
    sum_ += Wide{ns} * times;
    squares_ += square_of(ns) * times;
    min_ = std::min(min_, ns);
    max_ = std::max(max_, ns);
  }
  /// Adds the counts of `other`. Exact, as if all had been recorded in one histogram.
  void merge(const LatencyHistogram& other) noexcept;

  std::uint64_t count() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  std::uint64_t count_in(std::size_t bucket) const noexcept { return counts_[bucket]; }

  // For an empty histogram these are all 0: check empty() first, and show no figure then.

  std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  std::uint64_t max() const noexcept { return max_; }
  double mean() const noexcept;
  /// Standard deviation of these durations (divided by their number). It is that of the durations
  /// and not of the buckets: a bucket at 1 s is 4 ms wide, more than the jitter of many lines.
  double deviation() const noexcept;
  /// The least duration, in ns, that `per_cent` per cent of all do not exceed (nearest rank); 0 to
  /// 100.
  std::uint64_t percentile(double per_cent) const noexcept;
  /// The same for the duration at this rank of all, from 1, in ascending order.
  std::uint64_t at_rank(std::uint64_t rank) const noexcept;

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr Wide square_of(std::uint64_t ns) noexcept { return Wide{ns} * ns; }

  std::uint64_t count_ = 0;
  std::uint64_t min_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t max_ = 0;
  Wide sum_ = 0;
  Wide squares_ = 0;  // modulo 2^128: deviation() needs only how much they exceed those of the mean
  std::array<std::uint64_t, kBuckets> counts_{};
};

}  // namespace shmif::perf
