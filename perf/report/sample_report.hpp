#pragma once
// A profile by samples, as text and as JSON.

#include <string>
#include <vector>

#include "perf/counters/sample_profile.hpp"

namespace shmif::perf {

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
