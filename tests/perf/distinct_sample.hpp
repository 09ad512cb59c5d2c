#pragma once
// A result, and the progress of a run, in which every figure has a value of its own: one that is
// shown in another's place is noticed. The figures do not belong together as those of a run do.

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "perf/run/progress.hpp"
#include "perf/run/run_result.hpp"

namespace shmif::test {

/// A million durations, each `times` times. The last one that each percentile counts differs from
/// the next one, so a percentile of a wrong rank is noticed.
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
  /// How many of the million are no longer than the one of each place.
  static constexpr std::array<std::uint64_t, kPlaces> kRanks{
      1,       10'000,  100'000, 300'000, 500'000, 700'000,  900'000,
      950'000, 990'000, 999'000, 999'900, 999'990, 1'000'000};

  std::uint64_t times = 0;
  std::array<std::uint64_t, kPlaces> ns{};  ///< each the greatest of its bucket

  /// How many there are of the one of that place.
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
  std::vector<Job> jobs;  ///< as run.jobs
  std::vector<Group> groups;
};

/// Five jobs in two groups with everything that a result may have: flows, TCP, intervals, links,
/// searches, repetitions. "a" and "b" are the same load over two engines.
DistinctSample distinct_sample();
/// Four jobs in two groups, with an interval of TCP each.
perf::RunProgress distinct_progress();

}  // namespace shmif::test
