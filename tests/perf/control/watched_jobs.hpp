#pragma once
// Jobs without processes, for tests that set their counts and the time themselves.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "perf/control/run_state.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::test {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kBegin = 100 * kSecond;

/// Jobs that run since kBegin: "a" sends to "b", "c" is alone.
struct Watched {
  std::vector<perf::PlannedJob> plan = std::vector<perf::PlannedJob>(3);
  std::unique_ptr<perf::RunMemory> memory = perf::RunMemory::create(3).value();
  std::vector<perf::ControlledJob> jobs;

  Watched() {
    for (std::size_t i = 0; i < plan.size(); ++i) {
      plan[i].options.name = std::string(1, static_cast<char>('a' + i));
      plan[i].options.rw = i == 1 ? perf::Role::rx : perf::Role::tx;
      jobs.push_back({.plan = plan[i], .block = &memory->job(i), .flow = &memory->flow(i)});
      jobs[i].phase = perf::ControlledJob::Phase::going;
      jobs[i].block->state = perf::JobState::running;
      jobs[i].block->start_ns = kBegin;
    }
    plan[0].to = 1;
    jobs[1].senders = {0};
  }
  perf::JobOptions& options(std::size_t job) { return plan[job].options; }
};

}  // namespace shmif::test
