#pragma once
// All results of a watch, for the reports.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instruments/why/analysis.hpp"
#include "instruments/why/sampler.hpp"

namespace shmif::perf {

/// The whole machine, over the whole watch.
struct MachineSummary {
  /// Shares of the time of one CPU, summed over all CPUs; empty if /proc/stat could not be read.
  std::optional<double> steal, softirq;
  std::optional<std::uint64_t> queue_drops, squeezes;  ///< empty if softnet_stat could not be read
  /// Shares of the time for which a thread waited (PSI); empty if the kernel does not tell.
  std::optional<double> cpu_pressure, memory_pressure, io_pressure;
};

/// A bus, over the whole watch.
struct BusSummary {
  std::string bus;
  /// Why its counters are known only until `known_until_s`; empty if they are known to the end.
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
  bool tasks_missed = false;  ///< some looks at living threads failed
};

WhyResult why_result(const WhySampler& sampler, std::span<const JobTraffic> traffic);

}  // namespace shmif::perf
