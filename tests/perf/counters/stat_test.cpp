// Counting a list of events, on a scripted kernel: what is refused, and what remains.

#include "perf/counters/stat.hpp"

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>

#include "perf/counters/event_text.hpp"
#include "perf/report/counters_report.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::array kTargets{TaskId{kTask, 7}};

std::vector<StatEvent> found(const std::vector<std::string>& lists) {
  const shmif::test::TempDir dir;  // a machine without PMUs and tracepoints
  const EventNames names{KernelFiles(dir.path()), false};
  auto events = find_stat_events(names, lists);
  EXPECT_TRUE(events) << events.error().message;
  return events ? *std::move(events) : std::vector<StatEvent>{};
}

StatEvent fake_stat_event(std::uint64_t config, unsigned set = 0) {
  StatEvent event{"event" + std::to_string(config), set};
  event.event = fake_event(config);
  return event;
}

/// The kernel refuses the nth event that is opened; 0: all of them.
void refuse_event(FakeCounters& kernel, int error, int refused) {
  kernel.before = [error, refused](KernelCall call, int nth) {
    return call == KernelCall::open && (refused == 0 || nth == refused) ? error : 0;
  };
}

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

TEST(Stat, GivesEventsThatTheMachineLacksAReasonAndRefusesNamesThatNobodyKnows) {
  const auto events = found({"task-clock,cpu/event=1/", "page-faults"});
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].unit, "ns");
  EXPECT_EQ(events[1].state, "not supported");
  EXPECT_NE(events[1].reason.find("no PMU \"cpu\""), std::string::npos) << events[1].reason;
  EXPECT_EQ(events[2].set, 1U);
  const std::vector<std::string> lists{"task-clocks"};
  const EventNames names{KernelFiles(), false};
  const auto none = find_stat_events(names, lists);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, make_error_code(Errc::bad_argument));
}

TEST(Stat, CountsTheOtherEventsWhenTheKernelRefusesOne) {
  FakeCounters kernel;
  // The clock, event 1, and event 2, which is refused; then the clock and event 1 again.
  refuse_event(kernel, -ENOENT, 3);
  auto run = StatRun::start({fake_stat_event(1), fake_stat_event(2)}, kTargets, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}, {2, 50}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 40);
  EXPECT_EQ(result->events[0].enabled_ns, 1000U);
  EXPECT_FALSE(result->events[0].scaled);
  EXPECT_FALSE(result->events[1].value);
  EXPECT_EQ(result->events[1].state, "not supported");
  EXPECT_EQ(result->clock_ns, 1000U);
}

TEST(Stat, CountsInUserSpaceWhereTheKernelPermitsNoMoreAndTellsSo) {
  FakeCounters kernel;
  refuse_event(kernel, -EACCES, 2);
  StatEvent cycles = fake_stat_event(PERF_COUNT_HW_CPU_CYCLES);
  cycles.event->type = PERF_TYPE_HARDWARE;
  auto run = StatRun::start({cycles}, kTargets, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(kernel.events.size(), 2U);
  for (const auto& [file, event] : kernel.events) EXPECT_EQ(event.attr.base.exclude_kernel, 1U);
  kernel.run(kTask, 10, {{PERF_COUNT_HW_CPU_CYCLES, 3}});
  const auto result = run->finish();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->events[0].value, 3);
  EXPECT_NE(result->events[0].source.find("user space only"), std::string::npos);
  const std::string text = stat_text(*result);
  EXPECT_NE(text.find("  event0: in user space only, as event0:u: kernel.perf_event_paranoid does "
                      "not allow more to this user (to change that: sysctl "
                      "kernel.perf_event_paranoid=1, or the capability CAP_PERFMON)\n"),
            std::string::npos)
      << text;
}

TEST(Stat, HasNoValueOfACpuThatWentOfflineMeanwhile) {
  FakeCounters kernel;
  StatEvent of_device = fake_stat_event(3);
  of_device.event->cpus = {1};
  auto run = StatRun::start({fake_stat_event(1), of_device}, kTargets, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 10, {{1, 4}});
  kernel.run(-1, 10, {{3, 7}});
  kernel.online = {0};
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 4);
  EXPECT_EQ(result->events[1].value, std::nullopt);
  EXPECT_EQ(result->events[1].state, "not counted");
  EXPECT_EQ(result->events[1].reason, "CPU 1 went offline while the event was counted there");
}

TEST(Stat, CountsTheOtherEventsWhenTheCpuOfOneIsOffline) {
  FakeCounters kernel;
  kernel.online = {0};
  StatEvent of_device = fake_stat_event(3);
  of_device.event->cpus = {1};
  auto run = StatRun::start({fake_stat_event(1), of_device}, kTargets, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 10, {{1, 4}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 4);
  EXPECT_EQ(result->events[1].state, "failed");
  EXPECT_EQ(result->events[1].reason, "CPU 1 is offline");
}

/// In user space there are no switches: the count would be 0, and wrong.
TEST(Stat, DoesNotCountSwitchesInUserSpace) {
  for (const std::uint64_t config : {PERF_COUNT_SW_CONTEXT_SWITCHES, PERF_COUNT_SW_CPU_MIGRATIONS,
                                     PERF_COUNT_SW_CGROUP_SWITCHES}) {
    FakeCounters kernel;
    refuse_event(kernel, -EACCES, 2);
    auto run = StatRun::start({fake_stat_event(config)}, kTargets, {}, kernel);
    ASSERT_TRUE(run) << run.error().message;
    const auto result = run->finish();
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->events[0].value) << config;
    EXPECT_EQ(result->events[0].state, "not permitted") << config;
    EXPECT_NE(result->events[0].enable_with.find("perf_event_paranoid"), std::string::npos);
  }
}

TEST(Stat, TellsOfAllEventsWhenTheKernelForbidsEverything) {
  FakeCounters kernel;
  refuse_event(kernel, -ENOSYS, 0);
  auto run = StatRun::start({fake_stat_event(1), fake_stat_event(2)}, kTargets, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  const auto result = run->finish();
  ASSERT_TRUE(result);
  for (const StatEvent& each : result->events) EXPECT_EQ(each.state, "not supported");
  const auto json = nlohmann::json::parse(stat_json(*result));
  EXPECT_TRUE(json["events"][1]["value"].is_null());
  EXPECT_TRUE(json["events"][1]["enabled_ns"].is_null());
  EXPECT_EQ(json["events"][1]["reason"], "not supported: this kernel has no perf_event_open");
}

TEST(Stat, ScalesTheEventsOfASetByTheTimeThatTheTargetRan) {
  FakeCounters kernel;
  StatOptions options;
  options.turn = std::chrono::nanoseconds(0);  // only the first set counts
  auto run =
      StatRun::start({fake_stat_event(1, 3), fake_stat_event(2, 5)}, kTargets, options, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}, {2, 50}}, 0.5);
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 40);
  EXPECT_TRUE(result->events[0].scaled);
  EXPECT_EQ(result->events[0].enabled_ns, 1000U);
  EXPECT_EQ(result->events[0].running_ns, 500U);
  EXPECT_FALSE(result->events[1].value);
  EXPECT_EQ(result->events[1].state, "not counted");
  ASSERT_EQ(result->sets.size(), 2U);
  EXPECT_EQ(result->sets[0].id, 3U);
  EXPECT_EQ(result->sets[0].active_ns, 1000U);
  EXPECT_EQ(result->sets[1].activations, 0U);
}

TEST(Stat, AddsTheTurnsOfSeveralProcesses) {
  FakeCounters kernel;
  const std::array targets{TaskId{kTask, 7}, TaskId{kOther, 7}};
  StatOptions options;
  options.turn = std::chrono::nanoseconds(0);  // only the first set counts
  auto run =
      StatRun::start({fake_stat_event(1, 3), fake_stat_event(2, 5)}, targets, options, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}});
  kernel.run(kOther, 500, {{1, 2}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->sets.size(), 2U);
  EXPECT_EQ(result->sets[0].activations, 2U) << "one for each process";
  EXPECT_EQ(result->sets[0].active_ns, 1500U);
  EXPECT_EQ(result->sets[0].events, 1U);
  EXPECT_EQ(result->sets[1].activations, 0U);
  for (const StatEvent& each : result->events) {
    EXPECT_EQ(each.enabled_ns, 1500U) << "it was to count all the time";
  }
  EXPECT_EQ(result->events[0].running_ns, 1500U);
  EXPECT_EQ(result->events[1].running_ns, 0U);
}

TEST(Stat, GivesEachEventOfSeveralSetsInItsUnit) {
  FakeCounters kernel;
  StatEvent scaled = fake_stat_event(1);
  scaled.event->scale = 0.5;
  const std::array targets{TaskId{kTask, 7}};
  auto run = StatRun::start({scaled, fake_stat_event(2, 1)}, targets,
                            {.turn = std::chrono::minutes(1)}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 20);
}

TEST(Stat, AddsTheValuesOfSeveralProcesses) {
  FakeCounters kernel;
  const std::array targets{TaskId{kTask, 7}, TaskId{kOther, 7}};
  auto run = StatRun::start({fake_stat_event(1)}, targets, {}, kernel);
  ASSERT_TRUE(run) << run.error().message;
  kernel.run(kTask, 1000, {{1, 40}});
  kernel.run(kOther, 500, {{1, 2}});
  const auto result = run->finish();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->events[0].value, 42);
  EXPECT_EQ(result->events[0].enabled_ns, 1500U);
  EXPECT_EQ(result->clock_ns, 1500U);
}

TEST(Stat, IsScaledIfItWasForOneOfSeveralProcessesWhicheverThatWas) {
  for (const auto& [first, second] : {std::pair{0.5, 1.0}, {1.0, 0.5}, {1.0, 1.0}}) {
    FakeCounters kernel;
    const std::array targets{TaskId{kTask, 7}, TaskId{kOther, 7}};
    auto run = StatRun::start({fake_stat_event(1)}, targets, {}, kernel);
    ASSERT_TRUE(run) << run.error().message;
    kernel.run(kTask, 1000, {{1, 40}}, first);
    kernel.run(kOther, 500, {{1, 2}}, second);
    const auto result = run->finish();
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->events[0].value, 42);
    EXPECT_EQ(result->events[0].scaled, first + second < 2) << first << ' ' << second;
  }
}

TEST(Stat, CountsAProcessOnceAlthoughALaterOneIsRefusedAnEvent) {
  FakeCounters kernel;
  // The clock and both events of the first process; of the second, event 2 is refused.
  refuse_event(kernel, -ENOENT, 6);
  const std::array targets{TaskId{kTask, 7}, TaskId{kOther, 7}};
  auto run = StatRun::start({fake_stat_event(1), fake_stat_event(2)}, targets, {}, kernel);
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

TEST(Stat, DerivesRatiosOnlyFromMeasuredValues) {
  StatResult result;
  result.elapsed_s = 2;
  result.events = {{"task-clock"}, {"cycles:u"}, {"instructions:u"}, {"cache-misses"}};
  result.events[0].value = 1e9;
  result.events[1].value = 4e9;
  EXPECT_EQ(derived_figures(result).size(), 2U);
  result.events[2].value = 6e9;
  const auto figures = derived_figures(result);
  ASSERT_EQ(figures.size(), 3U);
  EXPECT_EQ(figures[0].name, "CPUs used");
  EXPECT_EQ(figures[0].value, 0.5);
  EXPECT_EQ(figures[1].name, "instructions per cycle");
  EXPECT_EQ(figures[1].value, 1.5);
  EXPECT_EQ(figures[2].value, 4);
}

TEST(Stat, DerivesEachRatioInItsUnit) {
  StatResult result;
  result.events = {{"cycles"},
                   {"instructions"},
                   {"cache-misses"},
                   {"cache-references"},
                   {"branch-misses"},
                   {"branches"},
                   {"stalled-cycles-frontend"},
                   {"stalled-cycles-backend"}};
  const std::array values{400.0, 600.0, 3.0, 60.0, 7.0, 100.0, 44.0, 36.0};
  for (std::size_t i = 0; i < values.size(); ++i) result.events[i].value = values.at(i);
  std::vector<std::string> told;
  for (const DerivedFigure& each : derived_figures(result)) {
    told.push_back(each.name + ": " + std::to_string(std::lround(each.value * 10)) + each.unit);
  }
  EXPECT_EQ(told, (std::vector<std::string>{
                      "instructions per cycle: 15", "cache misses of references: 50%",
                      "branch misses of branches: 70%", "stalled cycles, front end: 110%",
                      "stalled cycles, back end: 90%"}));
}

/// The target is gone, or this program has no descriptor left: that is no refusal of an event.
TEST(Stat, FailsAsAWholeForWhatIsWrongWithNoEvent) {
  for (const int error : {ESRCH, EMFILE}) {
    FakeCounters kernel;
    refuse_event(kernel, -error, 3);
    const auto run = StatRun::start({fake_stat_event(1), fake_stat_event(2)}, kTargets, {}, kernel);
    ASSERT_FALSE(run) << error;
    EXPECT_EQ(run.error().code.value(), error);
    EXPECT_TRUE(kernel.events.empty()) << "nothing stays open";
  }
}

TEST(Stat, PrintsReasonsBelowItsTable) {
  StatResult result;
  result.elapsed_s = 2;
  result.partial = true;
  result.events = {{"page-faults"}, {"cycles"}};
  result.events[0].value = 1234567;
  result.events[1].state = "not supported";
  result.events[1].reason = "this machine has no such event (ENOENT)";
  EXPECT_EQ(stat_text(result),
            "Counted for 2.000 s, until a signal came:\n"
            "  event                value  unit       rate  counted\n"
            "  page-faults      1,234,567        617,284/s\n"
            "  cycles       not supported\n"
            "  cycles: not supported: this machine has no such event (ENOENT)\n");
  result.events[1].enable_with = "sysctl kernel.perf_event_paranoid=1";
  EXPECT_NE(stat_text(result).find("(ENOENT); to change that: sysctl kernel.perf_event_paranoid=1"),
            std::string::npos);
}

}  // namespace
}  // namespace shmif::perf::test
