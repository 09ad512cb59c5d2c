#pragma once
// Frames as one batch, for tests that append to a ring without a port.

#include <cstdint>
#include <span>

#include "bus/ring/batch.hpp"

namespace shmif::test {

/// All of `frames` as one batch, planned as a sender does.
inline bus::Batch plan_batch(std::span<const FrameView> frames) noexcept {
  bus::BatchPlan plan;
  for (std::span<const FrameView> rest = frames; !rest.empty(); rest = rest.subspan(1)) {
    rest = rest.subspan(plan.add_all_alone(rest, SIZE_MAX, UINT64_MAX).frames);
    if (rest.empty()) break;
    plan.add(rest.front(), UINT64_MAX);
  }
  return plan.of(frames);
}

}  // namespace shmif::test
