#pragma once
// A result, and the progress of a run, in which every figure has a value of its own, so that a test
// notices a figure in the place of another. Unlike those of a run, the figures do not fit together.

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "perf/result/progress.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::test {

/// A million durations, each `times` times. The duration at the rank of each percentile differs
/// from the next one, so that a test notices a percentile of a wrong rank.
struct DistinctTimes {
  enum Place : std::uint8_t {
    min,
    p1,
    p10,
    p30,
    p50,
    p70,
    p90,
    p95,
    p99,
    p99_9,
    p99_99,
    p99_999,
    max
  };
  static constexpr std::size_t kPlaces = 13;
  /// For each place, how many of the million are not longer than its duration.
  static constexpr std::array<std::uint64_t, kPlaces> kRanks{
      1,       10'000,  100'000, 300'000, 500'000, 700'000,  900'000,
      950'000, 990'000, 999'000, 999'900, 999'990, 1'000'000};

  std::uint64_t times = 0;
  /// The duration of each place, which is the greatest of its bucket.
  std::array<std::uint64_t, kPlaces> ns{};

  /// How often the duration of that place occurs.
  std::uint64_t count_of(std::size_t place) const {
    return (kRanks.at(place) - (place == 0 ? 0 : kRanks.at(place - 1))) * times;
  }
  std::uint64_t count() const { return kRanks.back() * times; }
  std::shared_ptr<perf::LatencyHistogram> histogram() const;
};

struct DistinctSample {
  struct Job {
    DistinctTimes latency, service, spacing_error;
  };
  struct Group {
    DistinctTimes latency, service;
  };
  perf::RunResult run;
  std::vector<Job> jobs;  ///< in the order of run.jobs
  std::vector<Group> groups;
};

/// Five jobs in two groups with everything that a result may have: flows, TCP, intervals, links,
/// searches, repetitions. "a" and "b" are the same load over two engines.
DistinctSample distinct_sample();
/// Four jobs in two groups. The interval of each job has figures of TCP.
perf::RunProgress distinct_progress();

}  // namespace shmif::test
