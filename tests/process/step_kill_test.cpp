// A process killed after any instruction of append, takeover, attach, detach and create.

#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "tests/process/step_rig.hpp"
#include "tests/process/steps.hpp"

namespace shmif::test {
namespace {

class StepKill : public Steps {
 protected:
  /// Kills a victim at every step. `verify(ended)`: what must hold then; `ended`: it was through.
  void kill_at_every_step(std::uint64_t stride, const Body& body, const Advance& advance,
                          const std::function<void(bool ended)>& verify) {
    at_every_step(stride, body, advance, [&](Tracee& victim, bool ended) {
      victim.kill();
      verify(ended);
    });
  }
};

/// What must hold after a sender was killed.
void expect_others_go_on(StepRig& rig, std::uint64_t round, bool ended) {
  SenderLedger& ledger = rig.victim_ledger();
  const std::uint32_t end = ledger.attempted;
  if (ended) ledger.returned = end;  // its send had returned: these may not be missing
  ledger.close_life();
  ASSERT_TRUE(is_clean(rig.bus().audit()));
  ASSERT_TRUE(rig.newcomer_hears_whole_frames());
  const unsigned slot = rig.victim().slot;
  // Who comes first is a matter of luck, so each gets its turn.
  if (round % 4 == 1) {
    auto repaired = Bus::open(rig.bus().path(), Access::read_write).value().repair();
    ASSERT_TRUE(repaired) << repaired.error().message;
    ASSERT_FALSE(repaired->ring_rebuilt);
  }
  Port again({.name = "victim", .name_patience = std::chrono::seconds(10)});
  if (round % 4 == 2) {
    ASSERT_TRUE(rig.take_over_name(slot, again));
  }
  const std::uint64_t from_living = rig.raw().header().takeovers_living;
  ASSERT_TRUE(rig.traffic(2));
  ASSERT_EQ(rig.raw().header().takeovers_living, from_living) << "waited for one that is dead";
  ASSERT_TRUE(rig.witnesses_agree());
  ASSERT_TRUE(rig.no_claims());
  if (round % 4 != 2) {
    ASSERT_TRUE(rig.only_survivors_live());
    ASSERT_TRUE(rig.take_over_name(slot, again));
  }
}

TEST_F(StepKill, ASenderKilledAtAnyInstructionOfItsSendHasSentThatBatchWholeOrNotAtAll) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(20), [&] { return rig.send_once(); },
      [&](Tracee&) { return rig.witnesses_sleep(); },
      [&](bool ended) { expect_others_go_on(rig, round++, ended); });
  EXPECT_TRUE(rig.finish());
  rig.first_send().print("first send after a kill", "ms");
}

TEST_F(StepKill, ASenderKilledAtAnyInstructionOfATakeoverIsTakenOverFromInItsTurn) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(20), [&] { return rig.send_once(); },
      [&](Tracee& victim) {
        rig.let_a_dead_process_hold_the_lock();
        return rig.witnesses_sleep() && go_to_cooldown(victim);
      },
      [&](bool ended) { expect_others_go_on(rig, round++, ended); });
  EXPECT_GT(rig.raw().header().takeovers_dead, round / 2);
  EXPECT_TRUE(rig.finish());
  rig.first_send().print("first send after a kill", "ms");
}

/// What must hold after a process was killed that attached or detached.
void expect_slot_is_free(StepRig& rig, std::uint64_t round) {
  ASSERT_TRUE(is_clean(rig.bus().audit()));
  ASSERT_TRUE(rig.only_survivors_live());
  Port again({.name = "victim", .name_patience = std::chrono::seconds(10)});
  if (round % 2 == 0) {
    ASSERT_TRUE(rig.take_over_name(rig.victim().slot, again));
  }
  ASSERT_TRUE(rig.traffic(1));
  ASSERT_TRUE(rig.witnesses_agree());
  ASSERT_TRUE(rig.no_claims());
  if (round % 2 == 1) {
    ASSERT_TRUE(rig.take_over_name(rig.victim().slot, again));
  }
}

TEST_F(StepKill, APortKilledAtAnyInstructionOfAttachLeavesItsSlotAndNameToTheNext) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(20),
      [&] {
        rig.attach_and_leave();
        Port port({.name = "victim"});
        Tracee::begin();
        const bool fine = port.attach(rig.bus().path()) && !port.up();
        Tracee::end();
        return fine ? 0 : 1;
      },
      [](Tracee&) { return true; }, [&](bool) { expect_slot_is_free(rig, round++); });
  EXPECT_TRUE(rig.finish());
}

TEST_F(StepKill, APortKilledAtAnyInstructionOfDetachLeavesItsSlotAndNameToTheNext) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(5),
      [&] {
        rig.attach_and_leave();
        Port port = port_on(rig.bus().path(), {.name = "victim"});
        Tracee::begin();
        const bool fine = !port.down() && !port.detach();
        Tracee::end();
        return fine ? 0 : 1;
      },
      [](Tracee&) { return true; }, [&](bool) { expect_slot_is_free(rig, round++); });
  EXPECT_TRUE(rig.finish());
}

/// The names in a directory.
std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TEST_F(StepKill, ABusWhoseCreatorWasKilledAtAnyInstructionIsCompleteOrHasNoName) {
  const TempDir dir;
  const std::string path = dir.file("bus");
  std::uint64_t complete = 0;
  kill_at_every_step(
      stride_or(20),
      [&] {
        Bus::create(dir.file("warm-up"), small_ring()).value();
        Bus::destroy(dir.file("warm-up"), false).value();
        Tracee::begin();
        const bool made = bool(Bus::create(path, small_ring()));
        Tracee::end();
        return made ? 0 : 1;
      },
      [](Tracee&) { return true; },
      [&](bool ended) {
        const std::vector<std::string> names = names_in(dir.path());
        if (names.empty()) {
          ASSERT_FALSE(ended);
          ASSERT_TRUE(Bus::create(path, small_ring()));
        } else {
          ASSERT_EQ(names, std::vector<std::string>{"bus"});
          ++complete;
        }
        ASSERT_TRUE(is_clean(Bus::open(path).value().audit()));
        Port port = port_on(path);
        NumberedBatch frames(100);
        ASSERT_FALSE(port.send(frames.make(1, 0, 1)).error);
        std::filesystem::remove(path);
      });
  EXPECT_GT(complete, 0U);
}

TEST_F(StepKill, AnEmptyFileWhoseFillerWasKilledAtAnyInstructionIsAWholeBusOrIsRefused) {
  const TempDir dir;
  const std::string path = dir.file("bus");
  const auto fill = [](const std::string& file) {
    return Bus::create_if_missing(file, small_ring(), false, false);
  };
  std::uint64_t refused = 0;
  kill_at_every_step(
      stride_or(60),
      [&] {
        for (const std::string& file : {dir.file("warm-up"), path}) std::ofstream(file).close();
        fill(dir.file("warm-up")).value();
        std::filesystem::remove(dir.file("warm-up"));
        Tracee::begin();
        const bool made = bool(fill(path));
        Tracee::end();
        return made ? 0 : 1;
      },
      [](Tracee&) { return true; },
      [&](bool ended) {
        if (std::filesystem::file_size(path) == 0) {
          ASSERT_FALSE(ended);
          ASSERT_TRUE(fill(path)) << "a file that is still empty is as good as before";
        }
        const auto opened = Bus::open(path);
        if (opened) {
          ASSERT_TRUE(is_clean(opened->audit()));
        } else {
          ASSERT_FALSE(ended);
          ++refused;
          const std::error_code code = opened.error().code;
          ASSERT_TRUE(code == Errc::not_ready || code == Errc::not_a_bus) << opened.error().message;
        }
        std::filesystem::remove(path);
      });
  EXPECT_GT(refused, 0U);
}

}  // namespace
}  // namespace shmif::test
