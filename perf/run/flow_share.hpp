#pragma once
// FlowShare: the jobs of a run that have a weight (`flow`) send frames in that proportion, because
// each waits for those that are behind.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "perf/run/run_memory.hpp"

namespace shmif::perf {

/// Threads: the job's. Blocks: never.
class FlowShare {
 public:
  struct Other {
    const JobBlock* job;
    const FlowBlock* flow;
    std::uint32_t weight;
  };
  FlowShare(std::uint32_t weight, std::vector<Other> others)
      : weight_(weight), others_(std::move(others)) {}

  /// How many frames may go when `sent` have: up to one round of 16 ahead of who is furthest
  /// behind.
  std::uint64_t room(std::uint64_t sent) const noexcept {
    constexpr std::uint64_t kAhead = 16;
    std::uint64_t least = UINT64_MAX;  // rounds, of who is furthest behind
    for (const Other& other : others_) {
      // Who waits for a job to end is not waited for.
      if (other.job->start_ns.load(std::memory_order_acquire) == 0) continue;
      if (other.flow->tx_done.load(std::memory_order_acquire)) continue;
      least = std::min(least, other.job->all_tx_frames.get() / other.weight);
    }
    if (least == UINT64_MAX) return UINT64_MAX;
    const std::uint64_t allowed = (least + kAhead) * weight_;
    return allowed > sent ? allowed - sent : 0;
  }

 private:
  std::uint32_t weight_;
  std::vector<Other> others_;
};

}  // namespace shmif::perf
