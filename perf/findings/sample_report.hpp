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
  bool callgraph = false;      ///< `profile` has the calls
  bool partial = false;        ///< a signal came before the end
  bool lost_is_least = false;  ///< as in SampleCounts
  std::vector<int> cpus{};     ///< what was sampled, if it was CPUs
};

/// A table of the functions, then the calls as a tree, then the notes. Functions and calls with a
/// smaller share than `least_share` are left out. `width`: as for Table::text().
std::string sample_text(const SampleReport& report, double least_share, std::size_t width = 0);
/// `samples`, `lost_samples`, `lost_samples_reason`, `profile[]` of {symbol, object, samples,
/// share}, `event`, `elapsed_s`, `notes[]`, `partial`, and `callgraph[]` of {symbol, object,
/// samples, own, calls} where it was asked for, and `cpus[]` if it was CPUs; with a final newline.
std::string sample_json(const SampleReport& report);

}  // namespace shmif::perf
