// Event sets against a scripted kernel: which set counts, whose turn is next, and how their values
// are scaled.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/counters/event_sets.hpp"
#include "instruments/counters/session.hpp"
#include "tests/instruments/counters/session_rig.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/holdings.hpp"

namespace shmif::perf::test {
namespace {

class ScriptedSets : public ScriptedSession {
 protected:
  /// Event 1 in set 0, event 2 in set 5, event 3 in set 9; loaded and started.
  void start_three_sets() {
    ASSERT_TRUE(session.create_sets(std::array{SetSetup{5}, SetSetup{9}}));
    start({{fake_event(1)}, {fake_event(2), 5}, {fake_event(3), 9}}, thread);
  }
};

TEST_F(ScriptedSets, CountOneAtATimeInTheOrderOfTheirNumbers) {
  start_three_sets();
  const std::map<std::uint64_t, std::uint64_t> each{{1, 10}, {2, 20}, {3, 30}};
  for (int turn = 0; turn < 4; ++turn) {
    kernel.run(kTask, 100, each);
    ASSERT_TRUE(session.switch_set());
  }
  EXPECT_EQ(read(0).value, 20U) << "its second turn has come";
  EXPECT_EQ(read(1).value, 20U);
  EXPECT_EQ(read(2).value, 30U);
  ASSERT_TRUE(session.switch_set(9));
  kernel.run(kTask, 50, each);
  EXPECT_EQ(read(2).value, 60U);
  EXPECT_EQ(read(0).value, 20U);
  expect_words(session.switch_set(4).error().message, {"event set 4"});
}

TEST_F(ScriptedSets, TellHowOftenAndHowLongEachWasActive) {
  start_three_sets();
  kernel.run(kTask, 100);
  ASSERT_TRUE(session.switch_set());
  kernel.run(kTask, 30);
  ASSERT_TRUE(session.switch_set(0));
  kernel.run(kTask, 7);
  EXPECT_EQ(query(0).activations, 2U);
  EXPECT_EQ(query(0).active_ns, 107U);
  EXPECT_TRUE(query(0).is_active);
  EXPECT_EQ(query(0).events, 1U);
  EXPECT_EQ(query(5).activations, 1U);
  EXPECT_EQ(query(5).active_ns, 30U);
  EXPECT_FALSE(query(5).is_active);
  EXPECT_EQ(query(9).activations, 0U);
  ASSERT_TRUE(session.stop());
  kernel.run(kTask, 1000);
  EXPECT_EQ(query(0).active_ns, 107U);
  EXPECT_EQ(session.clock_ns().value(), 137U);
}

// The task works in the turns of set 0 and sleeps in the others. Each set had its turn for the same
// time of day, so scaling by that would triple the values.
TEST_F(ScriptedSets, AreScaledByTheTimeThatTheTaskRanAndNotByTheTimeOfDay) {
  start_three_sets();
  for (int round = 0; round < 10; ++round) {
    kernel.run(kTask, 100, {{1, 10}, {2, 10}, {3, 10}});
    ASSERT_TRUE(session.switch_set());
    ASSERT_TRUE(session.switch_set());
    ASSERT_TRUE(session.switch_set());
  }
  EXPECT_EQ(read(0).value, 100U);
  EXPECT_EQ(read(0).scaled, 100.0) << "it has seen everything";
  EXPECT_FALSE(read(1).scaled) << "not counted, which is not 0";
  EXPECT_EQ(read(1).running_ns, 0U);
  ASSERT_TRUE(session.switch_set());
  kernel.run(kTask, 1000, {{1, 100}, {2, 100}, {3, 100}});
  EXPECT_EQ(read(0).scaled, 200.0);
  EXPECT_EQ(read(1).scaled, 200.0);
}

TEST_F(ScriptedSets, ScaleAValueThatWasSetByTheTimeSinceThen) {
  start_three_sets();
  kernel.run(kTask, 1000, {{1, 10}});
  ASSERT_TRUE(session.stop());
  ASSERT_TRUE(session.set_values(std::array{ValueSetup{0, 0, {}}}));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 100, {{1, 7}});
  EXPECT_EQ(read(0).scaled, 7.0);
  EXPECT_EQ(read(0).enabled_ns, 100U) << "its times begin anew, too";
  EXPECT_EQ(read(0).running_ns, 100U);
  // What it counts is scaled, but not what it was given.
  ASSERT_TRUE(session.stop());
  ASSERT_TRUE(session.set_values(std::array{ValueSetup{0, 1000, {}}}));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 100, {{1, 7}});
  ASSERT_TRUE(session.switch_set());
  kernel.run(kTask, 100, {{1, 7}});
  EXPECT_EQ(read(0).value, 1007U);
  EXPECT_EQ(read(0).scaled, 1014.0);
}

TEST_F(ScriptedSets, AreReplacedByOnesOfTheSameNumberAndLoseTheirEvents) {
  const std::array sets{SetSetup{5}};
  ASSERT_TRUE(session.create_sets(sets));
  program({{fake_event(1)}, {fake_event(2), 5}});
  ASSERT_TRUE(session.create_sets(sets));
  EXPECT_EQ(query(5).events, 0U);
  EXPECT_EQ(query(0).events, 1U);
  std::array readings{Reading{1}};
  expect_words(session.read(readings).error().message, {"no event 1"});
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.switch_set(5));
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 100);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(query(5).activations, 1U);
  ASSERT_TRUE(session.create_sets(sets));
  EXPECT_EQ(query(5).activations, 0U) << "since it was created";
  EXPECT_EQ(query(5).active_ns, 0U);
  ASSERT_TRUE(session.delete_sets(std::array<unsigned, 1>{5}));
  EXPECT_TRUE(query(0).is_active) << "the turn of a set that is deleted is that of set 0";
  std::array queries{SetQuery{5}};
  EXPECT_FALSE(session.query_sets(queries));
}

TEST_F(ScriptedSets, SwitchAtAnOverflowThatComesBeforeTheCallReturnsThatLetsThemCount) {
  const std::array sets{SetSetup{5}};
  ASSERT_TRUE(session.create_sets(sets));
  const std::array events{EventSetup{fake_event(1), 0, {.period = 10, .switch_set = true}},
                          EventSetup{fake_event(2), 5, {.period = 20, .switch_set = true}}};
  ASSERT_TRUE(session.program(events));
  ASSERT_TRUE(session.load(thread));
  kernel.refreshed = [&] { kernel.overflow(1); };
  ASSERT_TRUE(session.start());
  kernel.refreshed = [&] { kernel.overflow(2); };
  EXPECT_EQ(session.state(), SessionState::started);
  EXPECT_TRUE(query(5).is_active || query(5).activations == 1) << "set 0 has had its overflow";
  EXPECT_EQ(session.state(), SessionState::started);
  EXPECT_EQ(query(0).activations, 2U) << "and so has set 5";
}

TEST_F(ScriptedSets, CanBeClosedThoughEachLookMeetsAnOverflow) {
  std::jthread([] {}).join();  // a sanitizer adds its own thread by now
  const std::ptrdiff_t threads = shmif::test::living_threads();
  for (const bool unload : {true, false}) {
    CounterSession busy = session_over({}, kernel);
    ASSERT_TRUE(busy.create_sets(std::array{SetSetup{5}}));
    const std::array events{EventSetup{fake_event(1), 0, {.period = 10, .switch_set = true}},
                            EventSetup{fake_event(2), 5, {.period = 20, .switch_set = true}}};
    ASSERT_TRUE(busy.program(events));
    ASSERT_TRUE(busy.load(thread));
    // Before the start: from then on the session's own thread looks, too.
    kernel.looked_after = [this] {
      for (const std::uint64_t event : {1, 2}) {
        if (kernel.counts(event)) return kernel.overflow(event);
      }
    };
    ASSERT_TRUE(busy.start());
    EXPECT_TRUE(unload ? busy.unload() : busy.close());
    kernel.looked_after = nullptr;
    EXPECT_EQ(busy.state(), unload ? SessionState::unloaded : SessionState::closed);
    EXPECT_TRUE(shmif::test::eventually([&] { return shmif::test::living_threads() == threads; }))
        << "a thread of the session was left";
  }
}

TEST_F(ScriptedSets, GoBackToTheOldSetIfTheNewOneCannotCount) {
  start_three_sets();
  refuse(KernelCall::control, ENOSPC, 2);
  expect_words(session.switch_set().error().message, {"event2", "No space left"});
  EXPECT_TRUE(query(0).is_active);
  EXPECT_TRUE(kernel.counts(1));
  EXPECT_FALSE(kernel.counts(2));
}

TEST_F(ScriptedSets, KeepTheTurnInWhichTheTargetEnded) {
  start_three_sets();
  kernel.run(kTask, 100);
  kernel.end(kTask);
  EXPECT_EQ(session.state(), SessionState::ended);
  EXPECT_EQ(query(0).active_ns, 100U);
  EXPECT_EQ(query(0).activations, 1U);
}

TEST_F(ScriptedSets, OfAProgramThatIsWaitedForBeginWithTheActiveOne) {
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{5}}));
  CounterTarget target = process;
  target.on_exec = true;
  start({{fake_event(1)}, {fake_event(2), 5}}, target);
  kernel.exec(kTask);
  EXPECT_TRUE(kernel.counts(1));
  EXPECT_FALSE(kernel.counts(2));
}

// ---- A read of a vector ----

/// Whether a thread of this process sleeps, for example because it waits for a mutex.
bool is_asleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string text;
  return std::getline(file, text) && text.substr(text.rfind(')') + 1).starts_with(" S");
}

/// Between the kernel's reads of two groups, another thread asks for a switch and the target goes
/// on. What the target does then counts for the old set only.
TEST_F(ScriptedSets, KeepTheirTurnUntilTheReadOfAVectorIsOver) {
  start_three_sets();
  const std::map<std::uint64_t, std::uint64_t> each{{1, 10}, {2, 20}, {3, 30}};
  kernel.run(kTask, 100, each);
  std::atomic<pid_t> asks = 0;
  std::atomic<bool> has_switched = false;
  std::jthread other;
  kernel.before = [&](KernelCall call, int) {
    if (call != KernelCall::read || other.joinable()) return 0;
    other = std::jthread([&] {
      asks = ::gettid();
      EXPECT_TRUE(session.switch_set(5));
      has_switched = true;
    });
    int asleep = 0;
    EXPECT_TRUE(shmif::test::eventually([&] {
      asleep = asks != 0 && is_asleep(asks) ? asleep + 1 : 0;
      return has_switched || asleep == 20;
    }));
    EXPECT_FALSE(has_switched);
    kernel.run(kTask, 100, each);
    return 0;
  };
  std::array readings{Reading{0}, Reading{1}, Reading{2}};
  ASSERT_TRUE(session.read(readings));
  ASSERT_TRUE(other.joinable());
  other.join();
  kernel.before = nullptr;
  EXPECT_EQ(readings[0].value, 10U) << "as the kernel had read it before";
  EXPECT_EQ(readings[1].value, 0U);
  EXPECT_EQ(readings[2].value, 0U);
  EXPECT_EQ(readings[1].running_ns, 0U);
  EXPECT_TRUE(query(5).is_active) << "then the other thread got its switch";
  kernel.run(kTask, 100, each);
  ASSERT_TRUE(session.read(readings));
  EXPECT_EQ(readings[0].value, 20U);
  EXPECT_EQ(readings[1].value, 20U);
  EXPECT_EQ(readings[2].value, 0U);
}

/// Time alone gives no turn: a target that sleeps would lose that of one set.
TEST_F(ScriptedSets, HaveNoTurnsWhileTheTargetSleeps) {
  session = session_over({}, kernel);
  ASSERT_TRUE(session.create_sets(std::array{SetSetup{0, std::chrono::milliseconds(1)},
                                             SetSetup{5, std::chrono::milliseconds(1)}}));
  ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(1)}, EventSetup{fake_event(2), 5}}));
  ASSERT_TRUE(session.load(thread));
  std::atomic<int> looks = 0;
  std::atomic<bool> runs = false;
  // Called under the lock of the session.
  kernel.looked_after = [&] {
    ++looks;
    if (runs) kernel.run(kTask, 1000);
  };
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(shmif::test::eventually([&] { return looks > 10; })) << "it looks each millisecond";
  std::array queries{SetQuery{0}, SetQuery{5}};
  ASSERT_TRUE(session.query_sets(queries));
  EXPECT_EQ(queries[0].activations, 1U);
  EXPECT_EQ(queries[1].activations, 0U);
  runs = true;
  EXPECT_TRUE(shmif::test::eventually([&] {
    return session.query_sets(queries) && queries[0].activations > 3 && queries[1].activations > 3;
  }));
  ASSERT_TRUE(session.close());
  kernel.looked_after = nullptr;
}

TEST(SetSwitcher, LooksOnceForEachWakeAndThenWaits) {
  std::atomic<int> looks = 0, still_awake = 0;
  SetSwitcher switcher([&](const std::stop_token& stop, std::vector<pollfd>& wakers) {
    // The first look may come before the wake or behind it.
    if (looks > 0 && !stop.stop_requested()) still_awake += ::poll(wakers.data(), 1, 0);
    ++looks;
    return stop.stop_requested() ? std::nullopt : std::optional(-1);
  });
  ASSERT_TRUE(shmif::test::eventually([&] { return looks == 1; }));
  switcher.wake();
  ASSERT_TRUE(shmif::test::eventually([&] { return looks >= 2; }));
  EXPECT_EQ(still_awake, 0) << "it would not wait, and take a whole CPU";
}

}  // namespace
}  // namespace shmif::perf::test
