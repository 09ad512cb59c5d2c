#pragma once
// The two results of planning, one at a time.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/plan/plan.hpp"

namespace shmif::perf {

inline std::vector<std::string> problems_of(const JobSet& set) {
  return plan_of(set).problems;
}

/// Errors: bad_argument, the first problem.
inline Result<std::vector<PlannedJob>> expand(const JobSet& set) {
  Planning planning = plan_of(set);
  if (!planning.problems.empty()) return Error(Errc::bad_argument, planning.problems.front());
  return std::move(planning.jobs);
}

}  // namespace shmif::perf
