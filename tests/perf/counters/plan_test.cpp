// What the kernel is asked for: which events count together, where, and with which settings; and
// whose turn it is among event sets.

#include "perf/counters/group_plan.hpp"

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "perf/counters/event_sets.hpp"
#include "perf/counters/target_binding.hpp"
#include "tests/perf/counters/fake_counters.hpp"

namespace shmif::perf::test {
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

TEST(GroupPlans, TellWhatWasLostIfTheyAreSampledAndTheKernelCan) {
  const auto told = [](std::size_t events, bool sampled, bool can) {
    GroupPlan plan;
    plan.events.resize(events);
    plan.sampled = sampled;
    const LostRecords lost = lost_records_of(plan, can);
    return std::pair(lost.told, lost.alone);
  };
  EXPECT_EQ(told(1, true, true), std::pair(true, true));
  EXPECT_EQ(told(2, true, true), std::pair(true, false));
  EXPECT_EQ(told(1, false, true), std::pair(false, false));
  EXPECT_EQ(told(1, true, false), std::pair(false, false));
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
  load({{event}, {fake_event(2)}}, thread);
  ASSERT_EQ(kernel.opened.size(), 3U);
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
  EXPECT_EQ(attr(0).type, std::uint32_t{PERF_TYPE_SOFTWARE});
  EXPECT_EQ(attr(0).config, std::uint64_t{PERF_COUNT_SW_DUMMY});
  EXPECT_EQ(attr(0).exclude_kernel, 1U) << "so everybody may have the clock";
  EXPECT_EQ(attr(0).exclude_hv, 1U);
  EXPECT_EQ(attr(0).disabled, 1U);
  EXPECT_EQ(attr(0).read_format, PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
}

TEST_F(AskedKernel, IsToldWhoInheritsAnEventAndWhatItWaitsFor) {
  load({{fake_event(1)}, {fake_event(2)}, {fake_event(3), 5}}, thread);
  for (std::size_t at = 0; at < 4; ++at) {
    EXPECT_EQ(attr(at).inherit, 0U) << at;
    EXPECT_EQ(attr(at).enable_on_exec, 0U) << at;
  }
  process.on_exec = true;
  load({{fake_event(1)}, {fake_event(2)}, {fake_event(3), 5}}, process);
  for (std::size_t at = 0; at < 4; ++at) EXPECT_EQ(attr(at).inherit, 1U) << at;
  EXPECT_EQ(attr(0).enable_on_exec, 1U) << "the clock";
  EXPECT_EQ(attr(1).enable_on_exec, 1U) << "the leader of the active set";
  EXPECT_EQ(attr(2).enable_on_exec, 0U) << "its member";
  EXPECT_EQ(attr(3).enable_on_exec, 0U) << "the leader of the other set";
  CounterEvent of_device = fake_event(4);
  of_device.cpus = {1};
  load({{of_device}}, CounterTarget::process({kTask, 7}));
  EXPECT_EQ(attr(1).inherit, 0U) << "a CPU has no children";
  EXPECT_EQ(kernel.opened[1].task, -1);
  EXPECT_EQ(kernel.opened[1].cpu, 1);
  load({{fake_event(1)}}, CounterTarget::cpu({0, 1}));
  ASSERT_EQ(kernel.opened.size(), 4U);
  for (std::size_t at = 0; at < 4; ++at) {
    EXPECT_EQ(attr(at).inherit, 0U) << at;
    EXPECT_EQ(kernel.opened[at].cpu, static_cast<int>(at % 2)) << at;
    EXPECT_EQ(kernel.opened[at].task, -1) << at;
  }
}

TEST_F(AskedKernel, IsToldHowAnEventIsSampled) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t own = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID;
  const Sampling addresses{.period = 11, .fields = PERF_SAMPLE_ADDR};
  const Sampling frequent{.frequency = 12};
  load({{fake_event(1)}, {fake_event(2), 0, addresses}, {fake_event(3), 0, frequent}}, thread,
       {.switch_by_itself = false, .ring_pages = 8});
  EXPECT_EQ(attr(2).sample_type, own | PERF_SAMPLE_ADDR);
  EXPECT_EQ(attr(2).sample_id_all, 0U);
  EXPECT_EQ(attr(2).freq, 0U);
  EXPECT_EQ(attr(2).sample_period, 11U);
  EXPECT_EQ(attr(2).watermark, 1U);
  EXPECT_EQ(attr(2).wakeup_watermark, 2 * page) << "a quarter of the ring";
  EXPECT_EQ(attr(3).sample_type, own | PERF_SAMPLE_PERIOD) << "the kernel chooses the period";
  EXPECT_EQ(attr(3).freq, 1U);
  EXPECT_EQ(attr(3).sample_freq, 12U);
  for (std::size_t at = 1; at < 4; ++at) {
    EXPECT_EQ(attr(at).use_clockid, 1U) << "all events of the group, " << at;
    EXPECT_EQ(attr(at).clockid, CLOCK_MONOTONIC);
    const std::uint64_t first = at == 2 ? 1 : 0;
    EXPECT_EQ(attr(at).mmap, first) << "records come with the first sampled event, " << at;
    EXPECT_EQ(attr(at).mmap2, first);
    EXPECT_EQ(attr(at).comm, first);
    EXPECT_EQ(attr(at).comm_exec, first);
    EXPECT_EQ(attr(at).task, first);
  }
  load({{fake_event(1), 0, {.period = 10, .mask = true}}, {fake_event(2), 0, {.period = 20}}},
       thread);
  EXPECT_EQ(attr(1).wakeup_events, 1U) << "each overflow matters";
  EXPECT_EQ(attr(1).watermark, 0U);
  EXPECT_EQ(attr(1).mmap, 0U);
  EXPECT_EQ(attr(2).watermark, 1U);
  load({{fake_event(1), 0, {.period = 10}}}, process);
  for (const std::size_t at : {1U, 2U}) {
    EXPECT_EQ(attr(at).sample_type, own | PERF_SAMPLE_TIME) << "of several CPUs";
    EXPECT_EQ(attr(at).sample_id_all, 1U);
    EXPECT_EQ(kernel.opened[at].cpu, static_cast<int>(at) - 1);
    EXPECT_EQ(kernel.opened[at].task, kTask);
  }
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

TEST(TargetLists, AreOfAllCpusAtOnceOrOfEachProcess) {
  const std::array<TaskId, 2> processes{{{11, 1}, {12, 2}}};
  const auto each = target_list(processes, {}, true);
  ASSERT_EQ(each.size(), 2U);
  for (std::size_t at = 0; at < 2; ++at) {
    EXPECT_EQ(each[at].kind, CounterTarget::Kind::process);
    EXPECT_EQ(each[at].task, processes.at(at));
    EXPECT_TRUE(each[at].on_exec);
  }
  EXPECT_FALSE(target_list(processes, {}, false)[1].on_exec);
  const auto cpus = target_list(processes, {3, 5}, true);
  ASSERT_EQ(cpus.size(), 1U);
  EXPECT_EQ(cpus[0].kind, CounterTarget::Kind::cpu);
  EXPECT_EQ(cpus[0].cpus, (std::vector<int>{3, 5}));
  EXPECT_FALSE(cpus[0].on_exec);
}

// ---- Turns ----

TEST(Turns, LastAsLongAsTheirSetSays) {
  using std::chrono::milliseconds;
  EventSets sets;
  ASSERT_TRUE(sets.create(
      std::array{SetSetup{3, milliseconds(20)}, SetSetup{5}, SetSetup{7, std::chrono::hours(2)}}));
  const EventSets::Clock::time_point now{std::chrono::hours(1)};
  sets.choose(3);
  sets.begin_turn(100, now);
  EXPECT_EQ(sets.turn_began(), 100U);
  EXPECT_EQ(sets.turn_left_ms(now), 20);
  EXPECT_EQ(sets.turn_left_ms(now + milliseconds(19)), 1);
  EXPECT_EQ(sets.turn_left_ms(now + milliseconds(20) - std::chrono::nanoseconds(1)), 1)
      << "it is not over";
  EXPECT_EQ(sets.turn_left_ms(now + milliseconds(20)), 0);
  EXPECT_EQ(sets.turn_left_ms(now + milliseconds(500)), 0);
  sets.extend_turn(now + milliseconds(20));
  EXPECT_EQ(sets.turn_left_ms(now + milliseconds(21)), 19);
  sets.choose(5);
  sets.begin_turn(200, now);
  EXPECT_EQ(sets.turn_left_ms(now), -1) << "it does not end by time";
  sets.choose(7);
  sets.begin_turn(300, now);
  EXPECT_EQ(sets.turn_left_ms(now), 3'600'000) << "it looks again after an hour";
}

TEST(Turns, GoToTheNextNumberAndFromTheLastToTheFirst) {
  EventSets sets;
  EXPECT_TRUE(sets.alone());
  EXPECT_EQ(sets.next(), 0U);
  ASSERT_TRUE(sets.create(std::array{SetSetup{9}, SetSetup{4}}));
  EXPECT_FALSE(sets.alone());
  EXPECT_EQ(sets.next(), 4U);
  sets.choose(4);
  EXPECT_EQ(sets.next(), 9U);
  sets.choose(9);
  EXPECT_EQ(sets.next(), 0U);
}

TEST(Turns, AreCountedAndTimedByTheClockOfTheSession) {
  EventSets sets;
  ASSERT_TRUE(sets.create(std::array{SetSetup{4}}));
  const EventSets::Clock::time_point now{};
  const auto queried = [&](unsigned id, std::optional<std::uint64_t> clock) {
    std::array query{SetQuery{id}};
    EXPECT_TRUE(sets.query(query, clock));
    return query[0];
  };
  sets.begin_turn(100, now);
  EXPECT_EQ(queried(0, 130).active_ns, 30U);
  EXPECT_EQ(queried(0, {}).active_ns, 0U) << "the session does not count now";
  sets.end_turn(150);
  sets.begin_turn(500, now);
  sets.end_turn({});
  EXPECT_EQ(queried(0, {}).active_ns, 50U) << "nobody knows how long the second was";
  sets.begin_turn(600, now);
  sets.end_turn(599);
  EXPECT_EQ(queried(0, {}).active_ns, 50U) << "never less than none";
  EXPECT_EQ(queried(0, {}).activations, 3U);
  EXPECT_EQ(queried(4, 9999).active_ns, 0U) << "it is not its turn";
  EXPECT_EQ(queried(4, {}).activations, 0U);
}

TEST(Turns, OfSetsThatCannotBeAreRefusedAndNothingChanges) {
  EventSets sets;
  const auto why = [](const Result<void>& done) { return done ? "" : done.error().message; };
  EXPECT_EQ(why(sets.create(std::array{SetSetup{1}, SetSetup{2, std::chrono::nanoseconds(-1)}})),
            "element 1: event set 2 has a turn of less than no time");
  EXPECT_FALSE(sets.has(1));
  ASSERT_TRUE(sets.create(std::array{SetSetup{1}, SetSetup{2, std::chrono::nanoseconds(1)}}));
  EXPECT_EQ(why(sets.remove(std::array<unsigned, 2>{1, 3})), "element 1: no event set 3");
  EXPECT_EQ(why(sets.remove(std::array<unsigned, 3>{1, 2, 1})),
            "element 2: event set 1 is there twice");
  EXPECT_TRUE(sets.has(1) && sets.has(2));
  sets.choose(2);
  ASSERT_TRUE(sets.remove(std::array<unsigned, 1>{1}));
  EXPECT_EQ(sets.active(), 2U) << "that of another set";
  ASSERT_TRUE(sets.remove(std::array<unsigned, 1>{2}));
  EXPECT_EQ(sets.active(), 0U);
}

TEST(Turns, AreLostWithTheEventsOfTheirSetAndOfNoOther) {
  EventSets sets;
  ASSERT_TRUE(sets.create(std::array{SetSetup{1}, SetSetup{2}}));
  const std::array events{EventSetup{fake_event(1), 1}, EventSetup{fake_event(2), 2},
                          EventSetup{fake_event(3), 1},
                          EventSetup{fake_event(4), 0, {.period = 1, .mask = true}}};
  ASSERT_TRUE(sets.program(events, 0));
  EXPECT_TRUE(sets.any_mask());
  ASSERT_TRUE(sets.remove(std::array<unsigned, 1>{1}));
  EXPECT_FALSE(sets.events()[0]);
  EXPECT_TRUE(sets.events()[1]);
  EXPECT_FALSE(sets.events()[2]);
  EXPECT_EQ(sets.check(std::array{Reading{1}, Reading{2}}).error().message,
            "element 1: no event 2");
  EXPECT_EQ(sets.check(std::array{ValueSetup{1, {}, {}}, ValueSetup{0, {}, {}}}).error().message,
            "element 1: no event 0");
  EXPECT_EQ(sets.check(std::array{ValueSetup{4, {}, {}}}).error().message, "element 0: no event 4");
  ASSERT_TRUE(sets.create(std::array{SetSetup{0}}));
  EXPECT_FALSE(sets.any_mask()) << "it went with set 0";
}

}  // namespace
}  // namespace shmif::perf::test
