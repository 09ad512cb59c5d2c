#pragma once
// The targets of a command that counts or samples: one for each process, or one for all CPUs.

#include <span>
#include <vector>

#include "perf/counters/session.hpp"

namespace shmif::perf {

/// If `cpus` is not empty, the only target is these CPUs. `on_exec` applies to the processes.
inline std::vector<CounterTarget> target_list(std::span<const TaskId> processes,
                                              const std::vector<int>& cpus, bool on_exec) {
  if (!cpus.empty()) return {CounterTarget::cpu(cpus)};
  std::vector<CounterTarget> targets;
  for (const TaskId& process : processes) {
    targets.push_back(CounterTarget::process(process));
    targets.back().on_exec = on_exec;
  }
  return targets;
}

}  // namespace shmif::perf
