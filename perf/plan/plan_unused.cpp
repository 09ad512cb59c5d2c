#include <algorithm>
#include <set>

#include "perf/option/option_table.hpp"
#include "perf/plan/plan_checks.hpp"

namespace shmif::perf {
namespace {

/// The values that the job was given for the option.
std::set<std::string> values_of(const JobOptions& job, const std::string& option) {
  std::set<std::string> values;
  for (const auto& [name, value] : job.given) {
    if (name == option) values.insert(value);
  }
  return values;
}

}  // namespace

std::vector<std::pair<std::size_t, std::string>> unused_options(
    std::span<const JobOptions* const> jobs) {
  std::vector<std::pair<std::size_t, std::string>> unused;
  for (const OptionRow& row : option_table()) {
    if (row.is_used == nullptr) continue;
    std::set<std::string> used;
    for (const JobOptions* const job : jobs) {
      if (row.is_used(*job)) used.merge(values_of(*job, row.name));
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (row.is_used(*jobs[i]) || std::ranges::includes(used, values_of(*jobs[i], row.name))) {
        continue;
      }
      unused.emplace_back(i, row.name + ": " + row.only + " (leave it out)");
    }
  }
  return unused;
}

}  // namespace shmif::perf
