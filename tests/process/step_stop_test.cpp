// A sender stopped before any instruction of its send, for as long as it takes the others to go
// several times round the ring; then it goes on, or dies.

#include <gtest/gtest.h>

#include "tests/process/step_rig.hpp"
#include "tests/process/steps.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kLaps = 3;

class StepStop : public Steps {
 protected:
  /// What the others do meanwhile. `stopped`: how many of them may hold the others up, once each.
  void let_others_go_on(std::uint64_t stopped) {
    const std::uint64_t before = rig_.raw().header().takeovers_living;
    ASSERT_TRUE(rig_.traffic(kLaps));
    const std::uint64_t taken = rig_.raw().header().takeovers_living - before;
    ASSERT_LE(taken, stopped) << "the others were held up more than once";
    held_up_ += taken;
    ASSERT_TRUE(is_clean(rig_.bus().audit()));
  }

  /// Lets a stopped sender go on to its end, or kills it.
  void end(Tracee& victim, unsigned sender, bool kill) {
    SenderLedger& ledger = rig_.victim_ledger(sender);
    if (kill) {
      victim.kill();
      ledger.close_life();
      return;
    }
    ASSERT_EQ(victim.finish(), 0);
    ASSERT_FALSE(rig_.victim(sender).failed);
    ASSERT_EQ(ledger.returned, ledger.attempted);
    ASSERT_TRUE(is_clean(rig_.bus().audit()));
    ASSERT_TRUE(rig_.newcomer_hears_whole_frames());
  }

  /// What must hold when nobody is stopped any more.
  void expect_all_is_well() {
    ASSERT_TRUE(is_clean(rig_.bus().audit()));
    ASSERT_TRUE(rig_.traffic(1));
    ASSERT_TRUE(rig_.witnesses_agree());
    ASSERT_TRUE(rig_.no_claims());
    ASSERT_TRUE(rig_.only_survivors_live());
  }

  void stop_at_every_step(std::uint64_t stride, const Advance& advance, bool kill) {
    at_every_step(
        stride, [&] { return rig_.send_once(); }, advance,
        [&](Tracee& victim, bool) {
          let_others_go_on(1);
          if (!HasFatalFailure()) end(victim, StepRig::kVictim, kill);
          if (!HasFatalFailure()) expect_all_is_well();
        });
    EXPECT_TRUE(rig_.finish());
    print_figures();
  }

  void print_figures() {
    std::printf("held up %llu times\n", static_cast<unsigned long long>(held_up_));
    rig_.first_send().print("first send of another", "ms");
    rig_.cpu_share().print("CPU time of who was held up", "% of the time");
    EXPECT_GT(held_up_, 0U) << "nobody was stopped with the lock";
    EXPECT_LT(rig_.cpu_share().max(), 50);
    EXPECT_LT(rig_.first_send().max(), 10'000);
  }

  StepRig rig_;
  std::uint64_t held_up_ = 0;
};

TEST_F(StepStop, ASenderStoppedAtAnyInstructionOfItsSendHoldsUpTheOthersOnceAndThenSendsItWhole) {
  stop_at_every_step(stride_or(60), [&](Tracee&) { return rig_.witnesses_sleep(); }, false);
}

TEST_F(StepStop, ASenderStoppedAtAnyInstructionOfATakeoverHoldsUpTheOthersOnceAndThenSendsItWhole) {
  stop_at_every_step(
      stride_or(120),
      [&](Tracee& victim) {
        rig_.let_a_dead_process_hold_the_lock();
        return rig_.witnesses_sleep() && go_to_cooldown(victim);
      },
      false);
}

TEST_F(StepStop, ASenderStoppedAtAnyInstructionAndKilledAfterTheTakeoverHasSentItWholeOrNotAtAll) {
  stop_at_every_step(stride_or(120), [&](Tracee&) { return rig_.witnesses_sleep(); }, true);
}

/// The order in which two stopped holders and the others go on.
struct Order {
  unsigned
      others;  ///< come by before the first goes on (0), between the two (1), or after both (2)
  bool second_first;
  bool kill;  ///< who would go on first dies instead
};

class StepStopTwo : public StepStop {
 protected:
  /// The moments of a send with the lock at which `suits()`.
  std::vector<Moment> moments_with_lock(const std::function<bool()>& suits) {
    return record([&] { return rig_.send_once(); }, [&](Tracee&) { return rig_.witnesses_sleep(); },
                  [&](Tracee& model, bool) { end(model, StepRig::kVictim, false); },
                  [&] { return !bus::lock_word::is_free(rig_.raw().header().lock) && suits(); });
  }
  bool has_claim() {
    return bus::load_seq_cst(rig_.raw().slot(rig_.victim().slot).claim_owner) != 0;
  }

  void stop_two(const Moment& a, const Moment& b, const Order& order) {
    Tracee first([&] { return rig_.send_once(StepRig::kVictim); });
    Tracee second([&] { return rig_.send_once(StepRig::kSecondVictim); });
    ASSERT_TRUE(first.run_to_begin() && second.run_to_begin() && rig_.witnesses_sleep());
    first.run_to(a);
    second.run_to(b);  // takes the lock over from the first
    struct {
      Tracee* victim;
      unsigned sender;
    } turns[] = {{&first, StepRig::kVictim}, {&second, StepRig::kSecondVictim}};
    if (order.second_first) std::swap(turns[0], turns[1]);
    for (unsigned turn = 0; turn < 2; ++turn) {
      if (order.others == turn) let_others_go_on(1);
      if (HasFatalFailure()) return;
      end(*turns[turn].victim, turns[turn].sender, turn == 0 && order.kill);
      if (HasFatalFailure()) return;
    }
    expect_all_is_well();
  }
};

TEST_F(StepStopTwo, HoldersOfTheLockStoppedAtOnceHoldUpTheOthersOnceEach) {
  const std::uint64_t pairs = from_environment("SHMIF_PAIRS", 40);
  const std::vector<Moment> moments = moments_with_lock([] { return true; });
  ASSERT_FALSE(moments.empty());
  for (std::uint64_t i = 0; i < pairs && !HasFatalFailure(); ++i) {
    const std::uint64_t a = random_() % moments.size(), b = random_() % moments.size();
    SCOPED_TRACE("before instructions " + std::to_string(a) + " and " + std::to_string(b));
    stop_two(moments[a], moments[b],
             {.others = static_cast<unsigned>(random_() % 3),
              .second_first = random_() % 2 != 0,
              .kill = random_() % 4 == 0});
  }
  EXPECT_TRUE(rig_.finish());
  print_figures();
}

TEST_F(StepStopTwo, AHolderThatLostTheLockBeforeItsClaimDoesNotWriteIntoThatOfTheNext) {
  const std::uint64_t pairs = from_environment("SHMIF_PAIRS", 20);
  const std::vector<Moment> before = moments_with_lock([&] { return !has_claim(); });
  const std::vector<Moment> within = moments_with_lock([&] { return has_claim(); });
  ASSERT_FALSE(before.empty() || within.empty());
  for (std::uint64_t i = 0; i < pairs && !HasFatalFailure(); ++i) {
    const std::uint64_t a = random_() % before.size(), b = random_() % within.size();
    SCOPED_TRACE("before instructions " + std::to_string(a) + " and " + std::to_string(b));
    stop_two(before[a], within[b], {.others = 2, .second_first = false, .kill = false});
  }
  EXPECT_TRUE(rig_.finish());
}

}  // namespace
}  // namespace shmif::test
