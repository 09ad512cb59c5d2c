#pragma once
// Two processes that wake each other in turn, so that a single lost wakeup stops both.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>

#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::test {

struct PingPong {
  std::array<std::atomic<std::uint64_t>, 2> rounds{};  ///< that each side has played
  std::atomic<int> ready{0};                           ///< sides that may be woken
};

/// Runs `side` in two processes, with the numbers 0 and 1. It counts its rounds in `progress`, and
/// returns 0. Fails if no side ends a round any more.
inline void expect_to_finish(const Shared<PingPong>& progress, std::uint64_t rounds,
                             const std::function<int(unsigned)>& side) {
  Child a([&] { return side(0); });
  Child b([&] { return side(1); });
  const auto sum = [&] { return progress->rounds[0] + progress->rounds[1]; };
  for (std::uint64_t seen = 0; sum() < 2 * rounds; seen = sum()) {
    ASSERT_TRUE(eventually([&] { return sum() == 2 * rounds || sum() > seen; }))
        << "stands still after " << progress->rounds[0] << " and " << progress->rounds[1];
  }
  EXPECT_EQ(a.wait(), 0);
  EXPECT_EQ(b.wait(), 0);
}

}  // namespace shmif::test
