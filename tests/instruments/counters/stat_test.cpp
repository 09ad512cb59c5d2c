// Counting a list of events on a scripted kernel: what is refused, ends, or is asked for in another
// way than usual, and what remains.

#include <linux/perf_event.h>
#include <cmath>

#include "instruments/counters/event_text.hpp"
#include "instruments/counters/stat.hpp"
#include "tests/instruments/counters/session_rig.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::array kOneTask{TaskId{kTask, 7}};
constexpr std::array kTwoTasks{TaskId{kTask, 7}, TaskId{kOther, 7}};

StatEvent listed(std::uint64_t config, unsigned set = 0) {
  StatEvent event{"event" + std::to_string(config), set};
  event.event = fake_event(config);
  return event;
}

class Stat : public testing::Test {
 protected:
  /// Fails the nth open with this errno; 0: each.
  void refuse(int error, int nth) {
    kernel.before = [error, nth, opens = 0](KernelCall call, int /*nth*/) mutable {
      return call == KernelCall::open && (++opens == nth || nth == 0) ? -error : 0;
    };
  }
  StatResult finished(std::vector<StatEvent> events, std::span<const TaskId> tasks,
                      const StatOptions& options = {}) {
    auto run = StatRun::start(std::move(events), tasks, options, kernel);
    EXPECT_TRUE(run) << run.error().message;
    if (!run) return {};
    kernel.run(kTask, 1000, {{1, 40}, {2, 50}, {3, 60}});
    kernel.run(kOther, 1000, {{1, 4}, {2, 5}, {3, 6}});
    auto result = run->finish();
    EXPECT_TRUE(result) << result.error().message;
    return result ? *std::move(result) : StatResult{};
  }
  /// The attributes of the events of this config that were ever opened.
  std::vector<perf_event_attr> asked(std::uint64_t config) const {
    std::vector<perf_event_attr> attrs;
    for (const FakeCounters::Event& each : kernel.opened) {
      if (each.attr.base.config == config) attrs.push_back(each.attr.base);
    }
    return attrs;
  }

  FakeCounters kernel;
};

TEST(EventSets, AreMadeByBraces) {
  using Sets = std::vector<std::vector<std::string>>;
  EXPECT_EQ(*split_event_sets("a,b"), (Sets{{"a", "b"}}));
  EXPECT_EQ(*split_event_sets("{a,b}"), (Sets{{"a", "b"}}));
  EXPECT_EQ(*split_event_sets("{a,b},{c}"), (Sets{{"a", "b"}, {"c"}}));
  EXPECT_EQ(*split_event_sets("x,{a,b},y,{c},cpu/e=1,u/"),
            (Sets{{"a", "b"}, {"c"}, {"x", "y", "cpu/e=1,u/"}}));
  for (const char* wrong : {"", "{", "}", "{}", "{a", "a}", "{a}b", "a{b}", "{a},", "{a},,{b}",
                            "{{a}}", "a,,b", ",{a}", "{a,}"}) {
    EXPECT_FALSE(split_event_sets(wrong)) << wrong;
  }
}

TEST_F(Stat, HasAllValuesInTheirUnits) {
  StatEvent scaled = listed(1);
  scaled.event->scale = 0.25;
  const StatResult result = finished({scaled, listed(2)}, kTwoTasks);
  EXPECT_EQ(result.events[0].value, 11) << "44 quarters";
  EXPECT_EQ(result.events[1].value, 55);
  EXPECT_EQ(result.events[1].enabled_ns, 2000U);
  EXPECT_EQ(result.events[1].running_ns, 2000U);
  EXPECT_EQ(result.clock_ns, 2000U);
  EXPECT_TRUE(result.one_instant) << "they were stopped before";
  EXPECT_TRUE(result.cpus.empty());
  EXPECT_TRUE(result.sets.empty()) << "there is only one";
  EXPECT_GT(result.elapsed_s, 0);
  EXPECT_LT(result.elapsed_s, 1000);
  EXPECT_TRUE(kernel.log.empty()) << "nothing was held";
}

TEST_F(Stat, WaitsForTheExecIfThatIsAskedFor) {
  for (const bool waits : {false, true}) {
    kernel.opened.clear();
    StatOptions options;
    options.on_exec = waits;
    const StatResult result = finished({listed(1)}, kOneTask, options);
    EXPECT_EQ(result.events[0].value.has_value(), !waits);
    EXPECT_EQ(kernel.opened[1].attr.base.enable_on_exec, waits ? 1U : 0U);
    EXPECT_EQ(result.events[0].reason,
              waits ? "the target did not run while the event was to count" : "");
  }
}

/// A process cannot hold itself, so what is read of it is not of one instant.
TEST_F(Stat, IsOfOneInstantOnlyIfEachTargetStoodStill) {
  const TaskId own{::getpid(), 7}, other{kTask, 7};
  StatOptions options;
  options.stop_target = true;
  for (const auto& tasks : {std::array{own, other}, std::array{other, own}}) {
    kernel.log.clear();
    const StatResult result = finished({listed(1)}, tasks, options);
    EXPECT_FALSE(result.one_instant) << tasks[0].number;
    EXPECT_EQ(kernel.log, (std::vector<std::string>{"hold 4711", "release 4711"}));
    EXPECT_EQ(result.events[0].value, 40);
  }
}

TEST_F(Stat, CountsATargetThatEnded) {
  auto run = StatRun::start({listed(1)}, kTwoTasks, {}, kernel);
  ASSERT_TRUE(run);
  EXPECT_TRUE(run->counts());
  kernel.run(kTask, 1000, {{1, 40}});
  kernel.end(kTask);
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 40);
  // Also one that ended before the count began.
  FakeCounters fresh;
  fresh.before = [&](KernelCall call, int) {
    if (call == KernelCall::open && fresh.events.size() == 2) fresh.ended.insert(kTask);
    return 0;
  };
  auto late = StatRun::start({listed(1)}, kTwoTasks, {}, fresh);
  ASSERT_TRUE(late) << late.error().message;
  fresh.run(kOther, 1000, {{1, 5}});
  EXPECT_EQ(late->finish()->events[0].value, 5);
}

TEST_F(Stat, FailsIfItCannotStartOrRead) {
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::control && nth == 3 ? -ENOSPC : 0;
  };
  EXPECT_EQ(StatRun::start({listed(1)}, kOneTask, {}, kernel).error().code,
            std::errc::no_space_on_device);
  kernel.before = {};
  auto run = StatRun::start({listed(1)}, kTwoTasks, {}, kernel);
  ASSERT_TRUE(run);
  kernel.cut_reads = 8;
  EXPECT_EQ(run->finish().error().code, std::errc::io_error);
}

/// The target is gone, or this program has no descriptor left: that is no refusal of an event.
TEST_F(Stat, FailsAsAWholeForWhatIsWrongWithNoEvent) {
  for (const int error : {ESRCH, EMFILE}) {
    refuse(error, 3);
    const auto run = StatRun::start({listed(1), listed(2)}, kOneTask, {}, kernel);
    ASSERT_FALSE(run) << error;
    EXPECT_EQ(run.error().code.value(), error);
    EXPECT_TRUE(kernel.events.empty()) << "nothing stays open";
  }
}

TEST_F(Stat, CountsTheOtherEventsWhenTheKernelRefusesOne) {
  for (const auto& [error, state] :
       {std::pair(EBUSY, "failed"), {ENOENT, "not supported"}, {ENOSPC, "failed"}}) {
    refuse(error, 3);
    const StatResult result = finished({listed(1), listed(2), listed(3)}, kOneTask);
    EXPECT_EQ(result.events[0].value, 40);
    EXPECT_EQ(result.events[1].state, state);
    EXPECT_EQ(result.events[1].reason, explain_refusal(error, fake_event(2)).reason);
    EXPECT_FALSE(result.events[1].value);
    EXPECT_EQ(result.events[2].value, 60) << "the one behind it is counted";
    EXPECT_EQ(result.events[2].reason, "");
  }
}

TEST_F(Stat, CountsAProcessOnceAlthoughALaterOneIsRefusedAnEvent) {
  // The clock and both events of the first process; of the second, event 2 is refused.
  refuse(ENOENT, 6);
  auto run = StatRun::start({listed(1), listed(2)}, kTwoTasks, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}, {2, 50}});
  kernel.run(kOther, 500, {{1, 2}, {2, 3}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 42);
  EXPECT_EQ(result->events[0].enabled_ns, 1500U);
  EXPECT_FALSE(result->events[1].value);
  EXPECT_EQ(result->events[1].state, "not supported");
}

TEST_F(Stat, AsksForUserSpaceAloneAndSaysSo) {
  StatEvent cycles = listed(19);
  cycles.event->type = PERF_TYPE_HARDWARE;
  cycles.source = "a header";
  refuse(EPERM, 2);
  const StatResult result = finished({cycles, listed(1)}, kOneTask);
  EXPECT_EQ(result.events[0].source,
            "a header, in user space only, as event19:u (kernel.perf_event_paranoid)");
  EXPECT_NE(result.events[0].note, "");
  EXPECT_EQ(result.events[0].value, 0);
  EXPECT_EQ(result.events[1].note, "");
  EXPECT_EQ(result.events[1].value, 40);
  const auto attrs = asked(19);
  ASSERT_FALSE(attrs.empty());
  EXPECT_EQ(attrs.back().exclude_kernel, 1U);
  EXPECT_EQ(attrs.back().exclude_hv, 1U);
  EXPECT_EQ(asked(1).back().exclude_kernel, 0U);
}

/// In user space there are no switches: the count would be 0, and wrong.
TEST_F(Stat, DoesNotCountSwitchesInUserSpace) {
  for (const std::uint64_t config : {PERF_COUNT_SW_CONTEXT_SWITCHES, PERF_COUNT_SW_CPU_MIGRATIONS,
                                     PERF_COUNT_SW_CGROUP_SWITCHES}) {
    refuse(EACCES, 2);
    auto run = StatRun::start({listed(config)}, kOneTask, {}, kernel);
    ASSERT_TRUE(run) << run.error().message;
    const auto result = run->finish();
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->events[0].value) << config;
    EXPECT_EQ(result->events[0].state, "not permitted") << config;
    EXPECT_NE(result->events[0].enable_with.find("perf_event_paranoid"), std::string::npos);
  }
}

TEST_F(Stat, OnWholeCpusAsksForNoLess) {
  StatEvent cycles = listed(19);
  cycles.event->type = PERF_TYPE_HARDWARE;
  refuse(EACCES, 2);
  StatOptions options;
  options.cpus = {0};
  const StatResult result = finished({cycles, listed(1)}, {}, options);
  EXPECT_EQ(result.events[0].state, "not permitted");
  EXPECT_EQ(result.events[0].enable_with,
            "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON");
  EXPECT_EQ(result.cpus, std::vector<int>{0});
  // Nor for an event that counts on CPUs of its own.
  FakeCounters fresh;
  fresh.refused = PERF_TYPE_HARDWARE;
  cycles.event->cpus = {1};
  auto run = StatRun::start({cycles}, kOneTask, {}, fresh);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->finish()->events[0].state, "not permitted");
}

TEST_F(Stat, OfWhichNotEvenTheClockIsPermittedSaysWhatThatNeeds) {
  struct Case {
    int error;
    std::optional<uid_t> owner;
    std::vector<int> cpus;
    const char *state, *enable_with;
  };
  for (const Case& each :
       std::vector<Case>{{EACCES, {}, {}, "not permitted", "sysctl kernel.perf_event_paranoid=1"},
                         {EPERM, {}, {0}, "not permitted", "sysctl kernel.perf_event_paranoid=0"},
                         {EACCES, 1000, {}, "not permitted", "run it as that user, or as root"},
                         {ENOSYS, {}, {}, "not supported", ""}}) {
    kernel.owners.clear();
    if (each.owner) kernel.owners[kTask] = *each.owner;
    refuse(each.error, 0);
    StatOptions options;
    options.cpus = each.cpus;
    const auto tasks = std::span(kOneTask).first(each.cpus.empty() ? 1 : 0);
    for (const StatEvent& event : finished({listed(1), listed(2)}, tasks, options).events) {
      EXPECT_EQ(event.state, each.state);
      expect_words(event.enable_with, {each.enable_with});
      EXPECT_FALSE(event.value);
    }
  }
  refuse(EMFILE, 0);
  EXPECT_EQ(StatRun::start({listed(1)}, kOneTask, {}, kernel).error().code,
            std::errc::too_many_files_open)
      << "no refusal";
  EXPECT_EQ(StatRun::start({listed(1)}, std::array{TaskId{kTask, 8}}, {}, kernel).error().code,
            std::errc::no_such_process);
}

TEST_F(Stat, LeavesOutEventsThatWereNotFoundAndCountsTheOthers) {
  StatEvent unknown{"unknown", 0};
  unknown.state = "not supported";
  unknown.reason = "no PMU";
  StatEvent of_cpus = listed(3);
  of_cpus.event->cpus = {0, 1};
  const StatResult one = finished({unknown, listed(1), of_cpus, listed(2)}, kOneTask);
  EXPECT_EQ(one.events[0].state, "not supported");
  EXPECT_EQ(one.events[0].reason, "no PMU");
  EXPECT_EQ(one.events[1].value, 40);
  EXPECT_EQ(one.events[2].state, "not counted") << "of one process, it can be counted";
  EXPECT_EQ(one.events[3].value, 50);
  StatOptions second;
  second.cpus = {1, 5};
  kernel.online = {0, 1, 5};
  const StatResult cpus = finished({of_cpus}, {}, second);
  EXPECT_EQ(cpus.events[0].state, "not counted") << "one of its CPUs is ours";
  for (const FakeCounters::Event& each : kernel.opened) {
    if (each.attr.base.config == 3 && each.cpu == 5) ADD_FAILURE() << "it does not count there";
  }
  StatResult none = finished({}, kOneTask);
  EXPECT_TRUE(none.events.empty());
}

TEST_F(Stat, HasNoValuesOfCpusThatWentOffline) {
  StatOptions options;
  options.cpus = {0, 1};
  auto run = StatRun::start({listed(1)}, {}, options, kernel);
  ASSERT_TRUE(run);
  kernel.run(-1, 10, {{1, 7}});
  kernel.online = {0};
  EXPECT_EQ(run->finish()->events[0].reason,
            "CPU 1 went offline while the event was counted there");
  kernel.online = {0, 1};
  auto again = StatRun::start({listed(1)}, {}, options, kernel);
  ASSERT_TRUE(again);
  kernel.run(-1, 10, {{1, 7}});
  kernel.online = {};  // nobody knows
  EXPECT_EQ(again->finish()->events[0].value, 14);
}

TEST_F(Stat, SayWhyAnEventWasNotCounted) {
  const auto events_of = [](const std::vector<StatEvent>& events, const StatOptions& options,
                            std::size_t processes, std::uint64_t ns, double share) {
    FakeCounters fresh;
    const std::span<const TaskId> targets = std::span(kTwoTasks).first(processes);
    auto run = StatRun::start(events, targets, options, fresh);
    EXPECT_TRUE(run) << run.error().message;
    if (!run) return std::vector<StatEvent>(events.size());
    if (ns > 0) fresh.run(kTask, ns, {{1, 40}}, share);
    return run->finish().value().events;
  };
  const auto expect = [](const StatEvent& event, const std::string& state,
                         const std::string& reason) {
    EXPECT_FALSE(event.value);
    EXPECT_EQ(event.state, state);
    EXPECT_EQ(event.reason, reason);
  };
  const StatEvent one = listed(1);
  expect(events_of({one}, {}, 1, 0, 1)[0], "not counted",
         "the target did not run while the event was to count");
  expect(events_of({one}, {}, 1, 1000, 0)[0], "not counted",
         "other events had the counters all the time");
  StatOptions first_set_only;
  first_set_only.turn = std::chrono::nanoseconds(0);
  expect(events_of({one, listed(2, 1)}, first_set_only, 1, 1000, 1)[1], "not counted",
         "its event set had no turn while the target ran");
  StatEvent of_cpu = listed(3);
  of_cpu.event->cpus = {1};
  expect(events_of({one, of_cpu}, {}, 2, 1000, 1)[1], "not supported",
         "it counts whole CPUs: give one process, not several");
  StatOptions on_another;
  on_another.cpus = {0};
  expect(events_of({one, of_cpu}, on_another, 0, 0, 1)[1], "not supported",
         "it cannot be counted on the given CPUs, but on CPU 1");
}

TEST_F(Stat, AddsTheTurnsOfSeveralProcesses) {
  StatOptions options;
  options.turn = std::chrono::nanoseconds(0);  // only the first set counts
  auto run = StatRun::start({listed(1, 3), listed(2, 5)}, kTwoTasks, options, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}});
  kernel.run(kOther, 500, {{1, 2}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->sets.size(), 2U);
  EXPECT_EQ(result->sets[0].activations, 2U) << "one for each process";
  EXPECT_EQ(result->sets[0].id, 3U) << "as the list numbers it";
  EXPECT_EQ(result->sets[0].active_ns, 1500U);
  EXPECT_EQ(result->sets[0].events, 1U);
  EXPECT_EQ(result->sets[1].activations, 0U);
  for (const StatEvent& each : result->events) {
    EXPECT_EQ(each.enabled_ns, 1500U) << "it was to count all the time";
  }
  EXPECT_EQ(result->events[0].running_ns, 1500U);
  EXPECT_EQ(result->events[1].running_ns, 0U);
}

TEST_F(Stat, IsScaledIfItWasForOneOfSeveralProcessesWhicheverThatWas) {
  for (const auto& [first, second] : {std::pair{0.5, 1.0}, {1.0, 0.5}, {1.0, 1.0}}) {
    FakeCounters fresh;
    auto run = StatRun::start({listed(1)}, kTwoTasks, {}, fresh);
    ASSERT_TRUE(run) << run.error().message;
    fresh.run(kTask, 1000, {{1, 40}}, first);
    fresh.run(kOther, 500, {{1, 2}}, second);
    const auto result = run->finish();
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->events[0].value, 42);
    EXPECT_EQ(result->events[0].scaled, first + second < 2) << first << ' ' << second;
  }
}

// ---- Sets that an event switches ----

class SwitchedStat : public Stat {
 protected:
  SwitchedStat() {
    options.turn = {};
    options.switch_event = fake_event(PERF_COUNT_SW_PAGE_FAULTS);
    options.switch_event->name = "page-faults";
    options.switch_period = 25;
  }
  StatOptions options;
};

TEST_F(SwitchedStat, OfWhichOneSetRemainsSwitchesNothing) {
  StatEvent refused = listed(12, 4);
  refused.state = "not supported";
  const StatResult result = finished({listed(1), refused}, kOneTask, options);
  EXPECT_EQ(result.events[0].value, 40);
  EXPECT_TRUE(asked(PERF_COUNT_SW_PAGE_FAULTS).empty());
  EXPECT_TRUE(result.sets.empty());
}

TEST_F(SwitchedStat, FailsIfTheEventIsRefused) {
  uid_t owner = 0;
  const auto why = [&](int error) {
    FakeCounters fresh;
    if (owner != 0) fresh.owners[kTask] = owner;
    fresh.before = [&](KernelCall call, int) {
      return call == KernelCall::open && fresh.events.size() == 1 ? -error : 0;
    };
    const auto run = StatRun::start({listed(11), listed(12, 4)}, kOneTask, options, fresh);
    EXPECT_FALSE(run);
    EXPECT_EQ(fresh.open_files(), 0U);
    return run.error();
  };
  EXPECT_EQ(why(ENOENT).code, make_error_code(Errc::not_supported));
  expect_words(why(ENOENT).message, {"switch event sets at page-faults", "no such event"});
  expect_words(why(EBUSY).message, {"page-faults", "another program", "end that program"});
  owner = 1000;
  expect_words(why(EACCES).message, {"another user (uid 1000)", "run it as that user"});
  owner = 0;
  options.cpus = {0};
  expect_words(why(EACCES).message, {"everything on a CPU", "perf_event_paranoid=0"});
  options.cpus = {};
  EXPECT_EQ(why(EMFILE).code, std::errc::too_many_files_open) << "no refusal of the event";
  EXPECT_EQ(why(ESRCH).code, std::errc::no_such_process);
  options.switch_event = fake_event(PERF_COUNT_SW_CONTEXT_SWITCHES);
  EXPECT_EQ(why(EACCES).code, make_error_code(Errc::not_supported))
      << "there are none in user space";
}

// ---- Names and ratios ----

TEST(StatNames, KeepWhatIsKnownOfAnEvent) {
  const Tree tree;
  const EventNames names{tree.files(), false};
  const std::vector<std::string> lists{"task-clock,{page-faults}", "{cs},{task-clock:u}"};
  const auto events = find_stat_events(names, lists).value();
  ASSERT_EQ(events.size(), 4U);
  std::string sets;
  for (const StatEvent& each : events) sets += std::to_string(each.set);
  EXPECT_EQ(sets, "0123") << "each pair of braces is a set, also of the next list";
  const auto clock = std::ranges::find(events, "task-clock", &StatEvent::name);
  ASSERT_NE(clock, events.end());
  EXPECT_EQ(clock->unit, "ns");
  EXPECT_NE(clock->source, "");
  EXPECT_EQ(clock->event->config, std::uint64_t{PERF_COUNT_SW_TASK_CLOCK});
  EXPECT_EQ(find_stat_events(names, std::vector<std::string>{"{cs"}).error().code,
            make_error_code(Errc::bad_argument));
  EXPECT_EQ(find_stat_events(names, std::vector<std::string>{"no_such_event"}).error().code,
            make_error_code(Errc::bad_argument));
}

TEST(StatNames, OfWhatTheMachineLacksHaveAReasonAndOthersAreRefused) {
  const Tree tree;  // a machine without PMUs and tracepoints
  const EventNames names{tree.files(), false};
  const auto events =
      find_stat_events(names, std::vector<std::string>{"task-clock,cpu/event=1/"}).value();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].state, "not supported");
  expect_words(events[1].reason, {"no PMU \"cpu\""});
}

TEST(StatRatios, AreDerivedFromMeasuredValuesOnly) {
  StatResult result;
  result.elapsed_s = 4;
  result.events = {{"task-clock"},
                   {"cycles:u"},
                   {"instructions:u"},
                   {"cache-misses"},
                   {"cache-references"},
                   {"branch-misses"},
                   {"branches"},
                   {"stalled-cycles-frontend"},
                   {"stalled-cycles-backend"}};
  const auto told = [&] {
    std::vector<std::string> all;
    for (const DerivedFigure& each : derived_figures(result)) {
      all.push_back(each.name + ": " + std::to_string(std::lround(each.value * 10)) + each.unit);
    }
    return all;
  };
  result.events[0].value = 2e9;
  EXPECT_EQ(told(), std::vector<std::string>{"CPUs used: 5"});
  const std::array values{2e9, 4e9, 6e9, 3.0, 60.0, 7.0, 100.0, 4.4e8, 3.6e8};
  for (std::size_t i = 0; i < values.size(); ++i) result.events[i].value = values.at(i);
  EXPECT_EQ(told(),
            (std::vector<std::string>{
                "CPUs used: 5", "instructions per cycle: 15", "cache misses of references: 50%",
                "branch misses of branches: 70%", "stalled cycles, front end: 110%",
                "stalled cycles, back end: 90%", "cycles per ns: 20GHz"}));
}

}  // namespace

// What can be counted: on a scripted kernel, and on the tree of another machine.

namespace {

Capability named_in(const std::vector<Capability>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &Capability::name);
  EXPECT_NE(found, all.end()) << name;
  return found == all.end() ? Capability{} : *found;
}

/// What the machine does not have is not asked for in user space.
TEST(CountersCapabilities, ThatTheMachineLacksAreNotThoseOfUserSpace) {
  const Tree tree;
  for (const int error : {ENOENT, EACCES}) {
    FakeCounters kernel;
    kernel.before = [error](KernelCall call, int nth) {
      return call == KernelCall::open && nth == 2 ? -error : 0;  // behind the session's clock
    };
    const Capability software =
        named_in(counters_capabilities_by(tree.files(), kernel), "counters.software");
    const bool lacks = error == ENOENT;
    EXPECT_EQ(software.state, lacks ? Support::not_supported : Support::supported);
    EXPECT_EQ(software.reason.find(lacks ? "perf_event_open: this machine has no such event"
                                         : "in user space only"),
              0U)
        << software.reason;
  }
}

/// What files say, and what is told of it: a word of the reason, and one of the remedy.
TEST(CountersCapabilities, OfATreeAreWhatItsFilesTell) {
  const Tree tree;
  for (const Capability& each : counters_capabilities(tree.files())) {
    EXPECT_EQ(each.state, Support::not_supported) << each.name;
    EXPECT_NE(each.reason, "") << each.name;
  }
  const char* const paranoid = "/proc/sys/kernel/perf_event_paranoid";
  const char* const pmu = "/sys/bus/event_source/devices/cpu/type";
  const char* const symbols = "/proc/kallsyms";
  tree.put(paranoid, "-1\n");
  tree.put("/sys/kernel/tracing/events/sched/sched_switch/id", "314\n");
  tree.put(pmu, "4\n");
  tree.put(symbols, "ffffffff81000000 T _stext\n");
  const auto all = counters_capabilities(tree.files());
  EXPECT_EQ(all.size(), 5U);
  for (const Capability& each : all) {
    EXPECT_EQ(each.state, Support::supported) << each.name << each.reason;
    EXPECT_EQ(each.reason, "") << each.name;
  }
  struct Case {
    const char *file, *text, *name;
    Support state;
    const char *reason, *remedy;
  };
  constexpr auto kYes = Support::supported, kNo = Support::not_supported;
  for (const Case& each :
       {Case{paranoid, "1\n", "software", kYes, "", ""},
        {paranoid, "2\n", "software", kYes, "in user space only", "perf_event_paranoid=1"},
        {paranoid, "2\n", "sampling", kYes, "is 2", "CAP_PERFMON"},
        {paranoid, "3\n", "hardware", kYes, "or not at all", "perf_event_paranoid=1"},
        {paranoid, "x\n", "software", kNo, "no number", ""},
        {paranoid, "", "sampling", kNo, "is empty", ""},
        {paranoid, "2 3\n", "software", kNo, "no number", ""},
        {paranoid, "99999999999\n", "software", kNo, "no number", ""},
        {paranoid, "0\n", "hardware", kYes, "", ""},
        {pmu, "x\n", "hardware", kNo, "no number", ""},
        {pmu, nullptr, "hardware", kNo, "no PMU of the CPU", ""},
        {symbols, "0000000000000000 T _stext\n", "kernel_symbols", Support::not_permitted,
         "zeros for addresses", "kernel.kptr_restrict=0 kernel.perf_event_paranoid=1, or root"},
        {symbols, "0000000000000000\n", "kernel_symbols", kNo, "another form", ""},
        {symbols, "", "kernel_symbols", kNo, "is empty", ""}}) {
    if (each.text != nullptr) tree.put(each.file, each.text);
    if (each.text == nullptr) tree.remove("/sys/bus/event_source/devices/cpu");
    const Capability found =
        named_in(counters_capabilities(tree.files()), "counters." + std::string(each.name));
    EXPECT_EQ(found.state, each.state) << each.name;
    expect_words(found.reason, {each.reason});
    expect_words(found.enable_with, {each.remedy});
    EXPECT_EQ(found.reason.empty(), *each.reason == 0) << found.reason;
  }
}

TEST(CountersCapabilities, AskForAnEventOfEachKind) {
  const Tree tree;
  tree.put("/sys/kernel/tracing/events/sched/sched_switch/id", "314\n");
  tree.put("/proc/kallsyms", "ffffffff81000000 T _stext\n");
  FakeCounters kernel;
  const auto all = counters_capabilities_by(tree.files(), kernel);
  std::string names;
  for (const Capability& each : all) names += each.name.substr(each.name.find('.') + 1) + ' ';
  EXPECT_EQ(names, "software hardware tracepoints sampling kernel_symbols ");
  std::string asked;
  for (const FakeCounters::Event& each : kernel.opened) {
    const perf_event_attr& attr = each.attr.base;
    if (attr.config == PERF_COUNT_SW_DUMMY && attr.type == PERF_TYPE_SOFTWARE) continue;  // clocks
    asked += std::to_string(attr.type) + ':' + std::to_string(attr.config) + ':' +
             std::to_string(attr.sample_period) + (attr.exclude_kernel == 0 ? "" : "u") + ' ';
    EXPECT_EQ(attr.exclude_hv, 1U);
  }
  EXPECT_EQ(asked, "1:3:0 0:0:0 2:314:0 1:0:1000000000 ")
      << "context switches, cycles, the tracepoint, and the clock each second";
}

/// A tracepoint is in the kernel. That it can be asked for in user space, where it is not reached,
/// helps nobody.
TEST(CountersCapabilities, SayThatTracepointsAreNotPermittedWhereTheKernelIsNot) {
  Tree tree;
  tree.put("/sys/kernel/tracing/events/sched/sched_switch/id", "316\n");
  FakeCounters kernel;
  kernel.refused = PERF_TYPE_TRACEPOINT;
  for (const Capability& each : counters_capabilities_by(tree.files(), kernel)) {
    if (each.name != "counters.tracepoints") continue;
    EXPECT_EQ(word_of(each.state), std::string("not_permitted"));
    expect_words(each.reason, {"tracepoints"});
    EXPECT_EQ(each.enable_with,
              "sysctl kernel.perf_event_paranoid=-1, or the capability CAP_PERFMON");
  }
}

TEST(CountersCapabilities, SayThatRootMayReadTracepoints) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const Tree tree;
  const std::string id = "/sys/kernel/tracing/events/sched/sched_switch/id";
  tree.put(id, "314\n");
  ASSERT_EQ(::chmod(tree.at(id).c_str(), 0600), 0);
  EXPECT_TRUE(as_nobody(tree, [&] {
    const EventNames names{tree.files(), false};
    const auto events =
        find_stat_events(names, std::vector<std::string>{"sched:sched_switch,task-clock"});
    ASSERT_TRUE(events) << events.error().message;
    EXPECT_EQ(events->at(0).state, "not permitted");
    EXPECT_EQ(events->at(0).enable_with, "root");
    EXPECT_NE(events->at(0).reason, "");
    EXPECT_EQ(events->at(1).state, "");
    FakeCounters kernel;
    for (const Capability& each : counters_capabilities_by(tree.files(), kernel)) {
      if (each.name != "counters.tracepoints") continue;
      EXPECT_EQ(word_of(each.state), std::string("not_permitted"));
      EXPECT_EQ(each.enable_with, "root");
      EXPECT_NE(each.reason.find("sched_switch/id"), std::string::npos) << each.reason;
    }
  }));
}

}  // namespace

}  // namespace shmif::perf::test
