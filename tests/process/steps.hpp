#pragma once
// Walks through a piece of code by single steps, and does something to its process at each.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <random>
#include <vector>

#include "tests/process/step_rig.hpp"
#include "tests/support/tracee.hpp"

namespace shmif::test {

/// Every how many instructions the victim is met: SHMIF_STRIDE, else `of_every_day`.
inline std::uint64_t stride_or(std::uint64_t of_every_day) {
  return std::max<std::uint64_t>(from_environment("SHMIF_STRIDE", of_every_day), 1);
}

class Steps : public ::testing::Test {
 protected:
  using Body = std::function<int()>;             ///< what the child runs, with its marks
  using Advance = std::function<bool(Tracee&)>;  ///< from begin() to where the steps are counted
  using Visit = std::function<void(Tracee&, bool ended)>;  ///< `ended`: it has met its end()

  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "single steps of the shipped code: not under sanitizers";
    if (!can_trace()) GTEST_SKIP() << "ptrace is forbidden here";
    random_.seed(announced_seed());
  }

  /// Records one undisturbed run, which ends with `visit(child, true)`. Result: its moments at
  /// which `suits()`.
  std::vector<Moment> record(
      const Body& body, const Advance& advance, const Visit& visit,
      const std::function<bool()>& suits = [] { return true; }) {
    Tracee model(body);
    if (!model.run_to_begin() || !advance(model)) return {};
    std::vector<Moment> moments = model.record(suits);
    visit(model, true);
    return moments;
  }

  /// Records five runs. Result: the one of middle length. How far a send walks to make room
  /// depends on the records that others left, and few children meet the moments of an unusual walk.
  std::vector<Moment> usual_run(const Body& body, const Advance& advance, const Visit& visit) {
    std::array<std::vector<Moment>, 5> runs;
    for (std::vector<Moment>& run : runs) {
      run = record(body, advance, visit);
      if (HasFatalFailure()) return {};
    }
    std::ranges::sort(runs, {}, &std::vector<Moment>::size);
    return runs[2];
  }

  /// Brings a fresh child to a moment of a recorded run. On a busy machine a child often takes
  /// another way, because what depends on time has passed already; so ten try. Result: whether one
  /// met it.
  bool meets(const Moment& moment, const Body& body, const Advance& advance, const Visit& visit) {
    bool met = false;
    for (int attempt = 0; attempt < 10 && !met; ++attempt) {
      Tracee victim(body);
      const bool ready = victim.run_to_begin() && advance(victim);
      EXPECT_TRUE(ready);
      if (!ready) return false;
      met = victim.run_to(moment);
      visit(victim, !met);
      if (HasFatalFailure()) return false;
    }
    return met;
  }

  /// Brings a fresh child to the nth moment of a recorded run, for n = offset, offset + stride ...
  /// with an offset of chance.
  void at_every_step(std::uint64_t stride, const Body& body, const Advance& advance,
                     const Visit& visit) {
    std::vector<Moment> moments = usual_run(body, advance, visit);
    ASSERT_FALSE(moments.empty());
    std::uint64_t visits = 0, missed = 0;
    for (std::uint64_t n = random_() % stride; n < moments.size(); n += stride, ++visits) {
      SCOPED_TRACE("before instruction " + std::to_string(n));
      bool met = meets(moments[n], body, advance, visit);
      if (HasFatalFailure()) return;
      if (!met) {
        // The way that was usual when the walk was recorded need not be so any more.
        moments = usual_run(body, advance, visit);
        ASSERT_FALSE(moments.empty());
        met = n < moments.size() && meets(moments[n], body, advance, visit);
        if (HasFatalFailure()) return;
      }
      missed += met ? 0 : 1;
    }
    std::printf("%llu visits, at every %llu. of %zu instructions; %llu were not met again\n",
                static_cast<unsigned long long>(visits), static_cast<unsigned long long>(stride),
                moments.size(), static_cast<unsigned long long>(missed));
    EXPECT_LT(missed, visits / 4 + 2);
  }

  /// Stops fresh children after n steps, for n = offset, offset + stride ... with an offset of
  /// chance, until three in a row have met their end() before. For short pieces of code whose way
  /// is a matter of luck: no moment has to be met again, but each child makes its way step by step.
  void after_every_count(std::uint64_t stride, const Body& body, const Advance& advance,
                         const Visit& visit) {
    constexpr int kEndsInARow = 3;
    std::uint64_t visits = 0, steps = random_() % stride;
    for (int ends = 0; ends < kEndsInARow; steps += stride, ++visits) {
      SCOPED_TRACE("after " + std::to_string(steps) + " steps");
      Tracee victim(body);
      ASSERT_TRUE(victim.run_to_begin() && advance(victim));
      const bool ended = !victim.step(steps);
      ends = ended ? ends + 1 : 0;
      visit(victim, ended);
      if (HasFatalFailure()) return;
    }
    std::printf("%llu visits, at every %llu. of %llu instructions\n",
                static_cast<unsigned long long>(visits), static_cast<unsigned long long>(stride),
                static_cast<unsigned long long>(steps));
    EXPECT_GT(visits, 5U);
  }

  std::mt19937_64 random_;
};

/// For Advance: to the end of the first cooldown, so that the spinning before it is not stepped
/// through.
inline bool go_to_cooldown(Tracee& victim) {
  for (;;) {
    const Tracee::SystemCall call = victim.run_to_system_call();
    if (!call.met) return false;
    if (call.entered && (call.number == SYS_clock_nanosleep || call.number == SYS_nanosleep)) {
      return true;
    }
  }
}

}  // namespace shmif::test
