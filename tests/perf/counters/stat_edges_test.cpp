// Lists of events on a scripted kernel where something is refused, ends, or is asked for in another
// way than usual.

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "perf/counters/stat.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/perf/membw/as_nobody.hpp"
#include "tests/perf/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::array kOneTask{TaskId{kTask, 7}};
constexpr std::array kTwoTasks{TaskId{kTask, 7}, TaskId{kOther, 7}};

StatEvent listed(std::uint64_t config, unsigned set = 0) {
  StatEvent event{"event" + std::to_string(config), set};
  event.event = fake_event(config);
  return event;
}

class SeldomStat : public testing::Test {
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

TEST_F(SeldomStat, HasAllValuesInTheirUnits) {
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

TEST_F(SeldomStat, MakesOneGroupOfASetIfThatIsAskedFor) {
  for (const bool group : {false, true}) {
    kernel.opened.clear();
    StatOptions options;
    options.group = group;
    finished({listed(1), listed(2)}, kOneTask, options);
    ASSERT_EQ(kernel.opened.size(), 3U);
    EXPECT_EQ(kernel.opened[2].group >= 0, group);
    EXPECT_EQ(kernel.opened[2].attr.base.disabled, group ? 0U : 1U);
  }
}

TEST_F(SeldomStat, WaitsForTheExecIfThatIsAskedFor) {
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

TEST_F(SeldomStat, HoldsTheTargetsForTheLastReadIfThatIsAskedFor) {
  StatOptions options;
  options.stop_target = true;
  const StatResult result = finished({listed(1)}, kTwoTasks, options);
  EXPECT_TRUE(result.one_instant);
  EXPECT_EQ(kernel.log,
            (std::vector<std::string>{"hold 4711", "release 4711", "hold 4712", "release 4712"}));
  EXPECT_EQ(result.events[0].value, 44);
}

/// A process cannot hold itself, so what is read of it is not of one instant.
TEST_F(SeldomStat, IsOfOneInstantOnlyIfEachTargetStoodStill) {
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

TEST_F(SeldomStat, CountsATargetThatEnded) {
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

TEST_F(SeldomStat, FailsIfItCannotStartOrRead) {
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

TEST_F(SeldomStat, SaysOfEachRefusalWhatItIs) {
  struct Case {
    int error;
    const char *state, *reason, *enable_with;
  };
  for (const Case& each :
       {Case{EBUSY, "failed", "another program uses the counter alone (EBUSY)", "end that program"},
        Case{ENOENT, "not supported", "this machine has no such event (ENOENT)", ""},
        Case{ENOSPC, "failed", "all counters of this kind are taken (ENOSPC)", ""}}) {
    kernel.opened.clear();
    FakeCounters fresh;
    int opens = 0;
    fresh.before = [&](KernelCall call, int) {
      return call == KernelCall::open && ++opens == 3 ? -each.error : 0;
    };
    auto run = StatRun::start({listed(1), listed(2), listed(3)}, kOneTask, {}, fresh);
    ASSERT_TRUE(run);
    fresh.run(kTask, 10, {{1, 1}, {2, 2}, {3, 3}});
    const StatResult result = run->finish().value();
    EXPECT_EQ(result.events[0].value, 1);
    EXPECT_EQ(result.events[1].state, each.state);
    EXPECT_EQ(result.events[1].reason, each.reason);
    EXPECT_EQ(result.events[1].enable_with, each.enable_with);
    EXPECT_FALSE(result.events[1].value);
    EXPECT_EQ(result.events[2].value, 3) << "the one behind it is counted";
    EXPECT_EQ(result.events[2].reason, "");
  }
}

TEST_F(SeldomStat, FallsBackToUserSpaceOnce) {
  // In user space it is refused, too.
  StatEvent cycles = listed(19);
  cycles.event->type = PERF_TYPE_HARDWARE;
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth > 1 && nth != 4 ? -EACCES : 0;
  };
  auto run = StatRun::start({cycles}, kOneTask, {}, kernel);
  ASSERT_TRUE(run);
  EXPECT_FALSE(run->counts());
  const StatResult result = run->finish().value();
  EXPECT_EQ(result.events[0].state, "not permitted");
  EXPECT_FALSE(result.events[0].value);
}

TEST_F(SeldomStat, AsksForUserSpaceAloneAndSaysSo) {
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

TEST_F(SeldomStat, OnWholeCpusAsksForNoLess) {
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

TEST_F(SeldomStat, OfAForeignProcessSaysWhoseItIs) {
  kernel.owners[kTask] = 1000;
  for (const int nth : {0, 2}) {  // the clock, or an event
    refuse(EACCES, nth);
    const StatResult result = finished({listed(1)}, kOneTask);
    EXPECT_EQ(result.events[0].state, "not permitted");
    EXPECT_EQ(result.events[0].reason, "the process belongs to another user (uid 1000)");
    EXPECT_EQ(result.events[0].enable_with, "run it as that user, or as root");
  }
}

TEST_F(SeldomStat, OfWhichNotEvenTheClockIsPermittedSaysWhatThatNeeds) {
  for (const int error : {EACCES, EPERM}) {
    refuse(error, 0);
    StatOptions cpus;
    cpus.cpus = {0};
    const StatResult on_cpus = finished({listed(1), listed(2)}, {}, cpus);
    for (const StatEvent& each : on_cpus.events) {
      EXPECT_EQ(each.state, "not permitted");
      EXPECT_EQ(each.enable_with,
                "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON");
    }
    const StatResult on_task = finished({listed(1)}, kOneTask);
    EXPECT_EQ(on_task.events[0].enable_with,
              "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON");
  }
  refuse(EMFILE, 0);
  EXPECT_EQ(StatRun::start({listed(1)}, kOneTask, {}, kernel).error().code,
            std::errc::too_many_files_open)
      << "no refusal";
  EXPECT_EQ(StatRun::start({listed(1)}, std::array{TaskId{kTask, 8}}, {}, kernel).error().code,
            std::errc::no_such_process);
}

TEST_F(SeldomStat, LeavesOutEventsThatWereNotFoundAndCountsTheOthers) {
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

TEST_F(SeldomStat, HasNoValuesOfCpusThatWentOffline) {
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

// ---- Sets that an event switches ----

class SwitchedStat : public SeldomStat {
 protected:
  SwitchedStat() {
    options.turn = {};
    options.switch_event = fake_event(PERF_COUNT_SW_PAGE_FAULTS);
    options.switch_event->name = "page-faults";
    options.switch_period = 25;
  }
  StatOptions options;
  bool refused_ = false;
};

TEST_F(SwitchedStat, HasTheEventInEachSet) {
  auto run = StatRun::start({listed(11), listed(12, 4)}, kOneTask, options, kernel);
  ASSERT_TRUE(run) << run.error().message;
  const auto attrs = asked(PERF_COUNT_SW_PAGE_FAULTS);
  ASSERT_EQ(attrs.size(), 4U) << "of two sets, on two CPUs";
  for (const perf_event_attr& each : attrs) {
    EXPECT_EQ(each.sample_period, 25U);
    EXPECT_EQ(each.wakeup_events, 1U);
  }
  for (const auto& [file, event] : kernel.events) {
    if (!event.ring.empty()) {
      EXPECT_EQ(event.ring.size(), 2U * 4096) << "a page, and its header";
    }
  }
  run->look();
  const StatResult result = run->finish().value();
  ASSERT_EQ(result.sets.size(), 2U);
  EXPECT_EQ(result.sets[1].id, 4U) << "as the list numbers it";
  EXPECT_EQ(result.sets[0].events, 2U) << "with the one that switches";
  EXPECT_EQ(result.events.size(), 2U) << "without it";
}

TEST_F(SwitchedStat, DiscardsTheSamplesOfTheEvent) {
  auto run = StatRun::start({listed(11), listed(12, 4)}, kOneTask, options, kernel);
  ASSERT_TRUE(run);
  int ring = -1;
  for (const auto& [file, event] : kernel.events) {
    if (!event.ring.empty()) ring = file;
  }
  const std::array<std::uint64_t, 4> sample{kernel.events.at(ring).id, 1, 2, 3};
  kernel.put(ring, PERF_RECORD_SAMPLE, std::as_bytes(std::span(sample)));
  run->look();
  const auto* const page =
      reinterpret_cast<const perf_event_mmap_page*>(kernel.events.at(ring).ring.data());
  EXPECT_EQ(page->data_tail, page->data_head);
}

TEST_F(SwitchedStat, OfWhichOneSetRemainsSwitchesNothing) {
  StatEvent refused = listed(12, 4);
  refused.state = "not supported";
  const StatResult result = finished({listed(1), refused}, kOneTask, options);
  EXPECT_EQ(result.events[0].value, 40);
  EXPECT_TRUE(asked(PERF_COUNT_SW_PAGE_FAULTS).empty());
  EXPECT_TRUE(result.sets.empty());
}

TEST_F(SwitchedStat, CountsTheEventInUserSpaceWhereNoMoreIsPermitted) {
  kernel.before = [this](KernelCall call, int) {
    if (call != KernelCall::open) return 0;
    // The clock, and then the one that switches.
    return kernel.events.size() == 1 && !refused_ ? (refused_ = true, -EACCES) : 0;
  };
  auto run = StatRun::start({listed(11), listed(12, 4)}, kOneTask, options, kernel);
  ASSERT_TRUE(run) << run.error().message;
  for (const perf_event_attr& each : asked(PERF_COUNT_SW_PAGE_FAULTS)) {
    EXPECT_EQ(each.exclude_kernel, 1U);
    EXPECT_EQ(each.exclude_hv, 1U);
  }
  const StatResult result = run->finish().value();
  EXPECT_EQ(result.events[0].note, "") << "the events themselves are whole";
  EXPECT_EQ(result.events[0].state, "not counted");
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
  EXPECT_EQ(why(ENOENT).message,
            "cannot switch event sets at page-faults: this machine has no such event (ENOENT)");
  EXPECT_EQ(why(EBUSY).message,
            "cannot switch event sets at page-faults: another program uses the counter alone "
            "(EBUSY) (to change that: end that program)");
  const std::string switch_at = "cannot switch event sets at page-faults: ";
  owner = 1000;
  EXPECT_EQ(why(EACCES).message, switch_at +
                                     "the process belongs to another user (uid 1000) (to change "
                                     "that: run it as that user, or as root)");
  owner = 0;
  options.switch_event->exclude_kernel = true;
  EXPECT_EQ(why(EACCES).message.find(switch_at + "kernel.perf_event_paranoid"), 0U)
      << "it is in user space already";
  options.switch_event->exclude_kernel = false;
  options.cpus = {0};
  EXPECT_EQ(why(EACCES).message,
            switch_at +
                "kernel.perf_event_paranoid does not allow this user to count everything on a CPU "
                "(to change that: sysctl kernel.perf_event_paranoid=0, or the capability "
                "CAP_PERFMON)");
  options.cpus = {};
  EXPECT_EQ(why(EMFILE).code, std::errc::too_many_files_open) << "no refusal of the event";
  EXPECT_EQ(why(ESRCH).code, std::errc::no_such_process);
  options.switch_event = fake_event(PERF_COUNT_SW_CONTEXT_SWITCHES);
  EXPECT_EQ(why(EACCES).code, make_error_code(Errc::not_supported))
      << "there are none in user space";
}

// ---- Names ----

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

TEST(StatNames, SayThatRootMayReadTracepoints) {
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
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -EBUSY : 0; };
  const auto busy = counters_capabilities_by(tree.files(), kernel);
  EXPECT_EQ(busy[0].state, Support::not_supported);
  EXPECT_NE(busy[0].reason.find("cannot load the session on thread "), std::string::npos)
      << busy[0].reason;
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth % 2 == 0 ? -EBUSY : 0;
  };
  FakeCounters second;
  second.before = kernel.before;
  const auto events = counters_capabilities_by(tree.files(), second);
  EXPECT_EQ(events[1].reason, "perf_event_open: another program uses the counter alone (EBUSY)");
  EXPECT_EQ(events[1].enable_with, "end that program");
}

}  // namespace
}  // namespace shmif::perf::test
