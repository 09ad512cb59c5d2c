// Event sets against a scripted kernel: which set counts, whose turn is next, and how their values
// are scaled.

#include <linux/perf_event.h>
#include <poll.h>
#include <atomic>
#include <chrono>
#include <ctime>
#include <fstream>
#include <thread>

#include "instruments/counters/event_sets.hpp"
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

// What the kernel is asked for: which events count together, where, and with which settings; and
// whose turn it is among event sets.

namespace {

CounterEvent event_of_unit(std::uint32_t type, std::uint64_t config = 1) {
  CounterEvent event = fake_event(config);
  event.type = type;
  return event;
}

/// "0,1 2": the groups, in the order in which they are opened, and the events of each.
std::string planned(const std::vector<EventSetup>& events, bool group, std::size_t first = 0) {
  EventSets sets;
  EXPECT_TRUE(sets.create(std::array{SetSetup{5}}));
  EXPECT_TRUE(sets.program(events, 0));
  std::string text;
  for (const GroupPlan& plan : plan_groups(sets, group, first)) {
    if (!text.empty()) text += ' ';
    for (std::size_t at = 0; at < plan.events.size(); ++at) {
      text += (at == 0 ? "" : ",") + std::to_string(plan.events[at]);
    }
    if (plan.sampled) text += 's';
  }
  return text;
}

TEST(GroupPlans, AreOfOneUnitAndSetAndTakeSoftwareEventsIn) {
  const EventSetup core{event_of_unit(PERF_TYPE_HARDWARE)};
  const EventSetup cache{event_of_unit(PERF_TYPE_HW_CACHE)};
  const EventSetup raw{event_of_unit(PERF_TYPE_RAW)};
  const EventSetup other{event_of_unit(77)};
  const EventSetup software{event_of_unit(PERF_TYPE_SOFTWARE)};
  const EventSetup tracepoint{event_of_unit(PERF_TYPE_TRACEPOINT)};
  EXPECT_EQ(planned({core, cache, raw}, true), "0,1,2") << "the core's PMU counts all three";
  EXPECT_EQ(planned({core, other, core, other}, true), "0,2 1,3");
  EXPECT_EQ(planned({software, tracepoint, core, raw}, true), "0,1,2,3");
  EXPECT_EQ(planned({software, core, other}, true), "0,1 2") << "the group has a unit by then";
  EXPECT_EQ(planned({core, software, other}, true), "0,1 2");
  EXPECT_EQ(planned({core, cache, software}, false), "0 1 2") << "nobody asked for groups";
  EXPECT_EQ(planned({core, core, core}, true, 1), "1,2") << "of those that were added";
  EventSetup in_five = core;
  in_five.set = 5;
  EXPECT_EQ(planned({core, in_five, core, in_five}, true), "0,2 1,3");
  EventSetup on_cpu = software;
  on_cpu.event.cpus = {1};
  EXPECT_EQ(planned({software, on_cpu, on_cpu}, true), "0 1,2");
  on_cpu.event.cpus = {2};
  EventSetup on_one = software;
  on_one.event.cpus = {1};
  EXPECT_EQ(planned({on_one, on_cpu}, true), "0 1");
}

TEST(GroupPlans, AreLedByWhatStopsThemAtAnOverflow) {
  const EventSetup plain{fake_event(1)};
  const EventSetup sampled{fake_event(2), 0, {.period = 10}};
  const EventSetup by_frequency{fake_event(2), 0, {.frequency = 10}};
  const EventSetup masks{fake_event(3), 0, {.period = 10, .mask = true}};
  EXPECT_EQ(planned({plain, plain}, true), "0,1");
  EXPECT_EQ(planned({plain, sampled}, true), "0,1s");
  EXPECT_EQ(planned({by_frequency, plain}, true), "0,1s");
  EXPECT_EQ(planned({plain, masks, plain}, true), "1,0,2s");
  EXPECT_EQ(planned({plain, masks}, false), "1s 0");
  const EventSetup switches{fake_event(4), 5, {.period = 10, .switch_set = true}};
  const EventSetup in_five{fake_event(5), 5};
  EXPECT_EQ(planned({plain, masks, in_five, switches}, true), "1,0s 3,2s");
}

class AskedKernel : public testing::Test {
 protected:
  /// Loads these on a target. What the kernel was asked for is in `kernel.opened`, from number 1
  /// on; the first is the clock.
  void load(const std::vector<EventSetup>& events, const CounterTarget& target,
            SessionOptions options = {.switch_by_itself = false}) {
    session = session_over(options, kernel);
    kernel.opened.clear();
    ASSERT_TRUE(session.create_sets(std::array{SetSetup{5}}));
    ASSERT_TRUE(session.program(events));
    const auto loaded = session.load(target);
    ASSERT_TRUE(loaded) << loaded.error().message;
  }
  const perf_event_attr& attr(std::size_t at) const { return kernel.opened.at(at).attr.base; }

  FakeCounters kernel;
  CounterSession session = session_over({}, kernel);
  CounterTarget thread = CounterTarget::thread({kTask, 7});
  CounterTarget process = CounterTarget::process({kTask, 7});
};

TEST_F(AskedKernel, IsToldAllThatDescribesAnEvent) {
  CounterEvent event = fake_event(0x11);
  event.type = 77;
  event.config1 = 0x22;
  event.config2 = 0x33;
  event.config3 = 0x44;
  event.precise = 3;
  event.exclude_user = true;
  std::vector<EventSetup> others(4, {fake_event(2)});
  others[0].event.exclude_kernel = true;
  others[1].event.exclude_hypervisor = true;
  others[2].event.exclude_host = true;
  others[3].event.exclude_guest = true;
  load({{event}, others[0], others[1], others[2], others[3]}, thread);
  ASSERT_EQ(kernel.opened.size(), 6U);
  EXPECT_EQ(attr(1).type, 77U);
  EXPECT_EQ(attr(1).config, 0x11U);
  EXPECT_EQ(attr(1).config1, 0x22U);
  EXPECT_EQ(attr(1).config2, 0x33U);
  EXPECT_EQ(kernel.opened[1].attr.config3, 0x44U);
  EXPECT_EQ(attr(1).precise_ip, 3U);
  EXPECT_EQ(attr(2).precise_ip, 0U);
  EXPECT_EQ(attr(1).disabled, 1U) << "the session starts it";
  EXPECT_EQ(attr(2).disabled, 0U) << "it counts while its leader does";
  EXPECT_EQ(attr(1).read_format, PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED |
                                     PERF_FORMAT_TOTAL_TIME_RUNNING | PERF_FORMAT_GROUP);
  EXPECT_EQ(attr(1).sample_type, 0U);
  EXPECT_EQ(attr(1).use_clockid, 0U);
  EXPECT_EQ(kernel.opened[1].task, kTask);
  EXPECT_EQ(kernel.opened[1].cpu, -1);
  EXPECT_EQ(attr(1).exclude_user, 1U);
  EXPECT_EQ(attr(2).exclude_user + attr(2).exclude_kernel + attr(2).exclude_hv, 1U);
  EXPECT_EQ(attr(2).exclude_kernel, 1U);
  EXPECT_EQ(attr(3).exclude_hv, 1U);
  EXPECT_EQ(attr(4).exclude_host, 1U);
  EXPECT_EQ(attr(5).exclude_guest, 1U);
  EXPECT_EQ(attr(0).type, std::uint32_t{PERF_TYPE_SOFTWARE});
  EXPECT_EQ(attr(0).config, std::uint64_t{PERF_COUNT_SW_DUMMY});
  EXPECT_EQ(attr(0).exclude_kernel, 1U) << "so everybody may have the clock";
  EXPECT_EQ(attr(0).exclude_hv, 1U);
  EXPECT_EQ(attr(0).disabled, 1U);
  EXPECT_EQ(attr(0).read_format, PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
}

TEST_F(AskedKernel, IsToldToCloseTheLeaderOfAGroupLast) {
  load({{fake_event(1)}, {fake_event(2)}, {fake_event(3)}}, thread);
  std::vector<int> members;
  int leader = -1;
  for (const auto& [file, event] : kernel.events) {
    if (event.group >= 0) {
      members.push_back(file);
      leader = event.group;
    }
  }
  kernel.closed.clear();
  ASSERT_TRUE(session.unload());
  ASSERT_EQ(kernel.closed.size(), 4U) << "and the clock";
  EXPECT_EQ(kernel.closed[2], leader) << "without it, the others would count for themselves";
  EXPECT_EQ(members.size(), 2U);
}

}  // namespace

}  // namespace shmif::perf::test
