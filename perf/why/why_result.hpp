#pragma once
// Everything that a watch found out, for the reports.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "perf/why/analysis.hpp"
#include "perf/why/sampler.hpp"

namespace shmif::perf {

/// Of the whole machine, over the whole watch.
struct MachineSummary {
  /// Shares of the time of one CPU, summed over all CPUs; empty: /proc/stat could not be read.
  std::optional<double> steal, softirq;
  std::optional<std::uint64_t> queue_drops, squeezes;  ///< empty: softnet_stat could not be read
  /// Shares of the time for which a thread waited (PSI); empty: the kernel does not tell.
  std::optional<double> cpu_pressure, memory_pressure, io_pressure;
};

/// Of a bus, over the whole watch.
struct BusSummary {
  std::string bus;
  /// Why its counters are known only until `known_until_s`; empty: they are known to the end.
  std::string trouble;
  double known_until_s = 0;
  std::uint64_t takeovers = 0, lock_sleeps = 0, pauses = 0, stalls = 0, overruns = 0;
  double paused_s = 0;  ///< of all ports
};

struct WhyResult {
  double seconds = 0;
  std::size_t looks = 0;  ///< intervals
  bool partial = false;   ///< ended by a signal
  double own_share = 0;   ///< CPU time of the looks, as a share of the time of one CPU
  std::vector<Cause> causes;
  std::vector<TaskSummary> tasks;
  MachineSummary machine;
  std::vector<BusSummary> buses;
  std::vector<MissingSource> missing;
  bool tasks_missed = false;  ///< some looks at threads failed, though they had not ended
};

WhyResult why_result(const WhySampler& sampler, std::span<const JobTraffic> traffic);

}  // namespace shmif::perf
