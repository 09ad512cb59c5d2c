#pragma once
// Jobs as their processes left them, for tests of what is gathered of them.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "perf/control/gather.hpp"

namespace shmif::perf::gathering {

inline constexpr std::uint64_t kSecond = 1'000'000'000;

/// Jobs "a", "b", ... as their processes left them: each ran its course and moved a frame.
struct Left {
  std::vector<PlannedJob> plan;
  std::unique_ptr<RunMemory> memory;
  std::vector<ControlledJob> jobs;

  explicit Left(const std::vector<Role>& roles)
      : plan(roles.size()), memory(RunMemory::create(roles.size()).value()) {
    for (std::size_t i = 0; i < roles.size(); ++i) {
      plan[i].options.name = std::string(1, static_cast<char>('a' + i));
      plan[i].options.rw = roles[i];
      plan[i].options.engine = EngineKind::unix_pair;
      plan[i].group = "group";
      jobs.push_back({.plan = plan[i],
                      .block = &memory->job(i),
                      .flow = &memory->flow(i),
                      .echo = &memory->echo(i)});
      jobs[i].phase = ControlledJob::Phase::over;
      block(i).state = JobState::exited;
      block(i).all_tx_frames.set(1);
    }
  }
  JobBlock& block(std::size_t i) const { return memory->job(i); }
  FlowBlock& flow(std::size_t i) const { return memory->flow(i); }
  EchoBlock& echo(std::size_t i) const { return memory->echo(i); }
  void connect(std::size_t from, std::size_t to) {
    plan[from].to = to;
    jobs[to].senders.push_back(from);
  }
  RunResult gathered() const {
    RunResult result;
    gather(jobs, result);
    return result;
  }
};

}  // namespace shmif::perf::gathering
