#pragma once
// Runs of a few jobs, for tests: a pair on a wire, and what became of it.

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "perf/job/plan.hpp"
#include "perf/run/runner.hpp"

namespace shmif::test {

/// A job of `role`, for half a second unless told otherwise.
inline perf::PlannedJob job(std::string name, perf::Role role, perf::EngineKind engine) {
  perf::PlannedJob planned;
  planned.options.name = std::move(name);
  planned.options.rw = role;
  planned.options.engine = engine;
  planned.options.runtime = std::chrono::milliseconds(200);
  planned.group = "group";
  return planned;
}

/// A sender or asker, and who receives or answers.
inline std::vector<perf::PlannedJob> pair(perf::Role role, perf::EngineKind engine) {
  std::vector<perf::PlannedJob> plan;
  plan.push_back(job("first", role, engine));
  plan.push_back(job("second",
                     role == perf::Role::pingpong ? perf::Role::echo
                     : role == perf::Role::txrx   ? perf::Role::txrx
                                                  : perf::Role::rx,
                     engine));
  plan[0].to = 1;
  if (role == perf::Role::txrx) plan[1].to = 0;
  return plan;
}

inline perf::RunResult run(std::vector<perf::PlannedJob> plan,
                           const perf::RunOptions& options = {}) {
  perf::RunControl control;
  return perf::Runner::create(options, std::move(plan)).value()->run(nullptr, control);
}

}  // namespace shmif::test
