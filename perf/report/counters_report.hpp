#pragma once
// The results of `shmifperf stat`, and the profiles of `shmifperf sample`, as text and as JSON.

#include <string>
#include <vector>

#include "instruments/counters/sample_profile.hpp"
#include "instruments/counters/stat.hpp"

namespace shmif::perf {

/// A table of the events, then the figures derived from them, then the events that could not be
/// counted, with the reasons. `width`: as for Table::text().
std::string stat_text(const StatResult& result, std::size_t width = 0);
/// `events[]` of {name, value, unit, scaled, enabled_ns, running_ns, source, reason}, `derived[]`,
/// `sets[]`, `elapsed_s`, `clock_ns`, `one_instant` and `partial`, and `cpus[]` if CPUs were
/// counted; with a final newline.
std::string stat_json(const StatResult& result);

/// A profile by samples.
struct SampleReport {
  std::string event;
  SampleProfileResult profile;
  std::uint64_t lost_samples = 0;
  double elapsed_s = 0;
  bool callgraph = false;      ///< `profile` includes the calls
  bool partial = false;        ///< a signal ended the sampling early
  bool lost_is_least = false;  ///< as in SampleCounts
  std::vector<int> cpus{};     ///< the sampled CPUs; empty if processes were sampled
};

/// A table of the functions, then the calls as a tree, then the notes. Functions and calls with a
/// smaller share than `least_share` are left out. `width`: as for Table::text().
std::string sample_text(const SampleReport& report, double least_share, std::size_t width = 0);
/// `samples`, `lost_samples`, `lost_samples_reason`, `profile[]` of {symbol, object, samples,
/// share}, `event`, `elapsed_s`, `notes[]` and `partial`; also `callgraph[]` of {symbol, object,
/// samples, own, calls} if it was asked for, and `cpus[]` if CPUs were sampled. With a final
/// newline.
std::string sample_json(const SampleReport& report);

}  // namespace shmif::perf
