#pragma once
// FlowShare: jobs of a run that have a weight (`flow`) send frames in the proportion of their
// weights. Each waits for those that are behind.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// Threads: the job's thread. Blocks: never.
class FlowShare {
 public:
  struct Other {
    const JobBlock* job;
    const FlowBlock* flow;
    std::uint32_t weight;
  };
  /// What the others do when one of the jobs has sent all its frames.
  enum class End : std::uint8_t {
    one_by_one,      ///< they go on without it
    with_the_first,  ///< they stop, too
  };
  FlowShare(std::uint32_t weight, std::vector<Other> others, End end = End::one_by_one)
      : weight_(weight), others_(std::move(others)), end_(end) {}

  /// Whether the job must stop sending because another one has ended.
  bool is_over() const noexcept {
    return end_ == End::with_the_first && std::ranges::any_of(others_, [](const Other& other) {
             return other.flow->tx_done.load(std::memory_order_acquire);
           });
  }

  /// How many more frames the job may send after it has sent `sent`. A job may be at most 64 rounds
  /// ahead of the job that is furthest behind.
  std::uint64_t room(std::uint64_t sent) const noexcept {
    constexpr std::uint64_t kAhead = 64;
    std::uint64_t min = UINT64_MAX;  // rounds of the job that is furthest behind
    for (const Other& other : others_) {
      // A job that has not started yet, because it waits for another to end, does not count.
      if (other.job->start_ns.load(std::memory_order_acquire) == 0) continue;
      if (other.flow->tx_done.load(std::memory_order_acquire)) continue;
      min = std::min(min, other.job->all_tx_frames.get() / other.weight);
    }
    if (min == UINT64_MAX) return UINT64_MAX;
    const std::uint64_t allowed = (min + kAhead) * weight_;
    return allowed > sent ? allowed - sent : 0;
  }

 private:
  std::uint32_t weight_;
  std::vector<Other> others_;
  End end_;
};

}  // namespace shmif::perf
