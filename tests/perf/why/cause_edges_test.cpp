// Causes at their limits: counts that came late, of two groups, buses or interfaces the right one,
// and what is told of several.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "perf/why/analysis.hpp"
#include "perf/why/evidence.hpp"
#include "perf/why/losses.hpp"
#include "tests/perf/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kSpace = 5, kElsewhere = 6;

/// "rx waited_for_cpu 1.0 s to 2.0 s, 61 %".
std::vector<std::string> causes_told(const WhySeries& series,
                                     const std::vector<JobTraffic>& traffic = {}) {
  std::vector<std::string> all;
  for (const Cause& cause : find_causes(series, traffic)) {
    std::string line = cause.job + ' ' + word_of(cause.cause) + ' ' + second_text(cause.begin_s) +
                       " to " + second_text(cause.end_s) + ", " + percent_text(cause.share);
    if (cause.of_losses_share) line += ", losses " + percent_text(*cause.of_losses_share);
    all.push_back(std::move(line));
  }
  return all;
}
using CauseLines = std::vector<std::string>;

TEST(AccountEdges, ATracedThreadIsStoppedAndTheStateBeforeTheFirstIntervalCounts) {
  WhySeries series = quiet_series(2);
  TaskSeries& task = series.tasks[0];
  task.state_before = 't';
  task.steps[0] = {.run_us = 20'000, .cpu = 1, .state = 'T'};
  auto times = account_of(series, task);
  EXPECT_NEAR(times[0].stopped, 0.8, 1e-9);
  EXPECT_NEAR(times[0].asleep, 0, 1e-9);
  EXPECT_NEAR(times[1].stopped, 0.945 / 2, 1e-9) << "it ended somewhere in the interval";
  EXPECT_NEAR(times[1].asleep, 0.945 / 2, 1e-9);
  task.steps[0] = {.run_us = 20'000, .cpu = 1, .state = 'R'};
  task.state_before = 'R';
  EXPECT_NEAR(account_of(series, task)[0].held, 0.8, 1e-9);
  task.state_before = 'S';
  EXPECT_NEAR(account_of(series, task)[0].asleep, 0.8, 1e-9);
}

TEST(AccountEdges, ATimeThatWasCountedLateIsNotThatOfIntervalsThatWereNotSeen) {
  WhySeries series = quiet_series(4);
  auto& steps = series.tasks[0].steps;
  steps[0].state = steps[2].state = 'R';
  steps[1] = {.cpu = 1, .state = 'R', .known = false};
  steps[2].wait_us = 350'000;
  const auto times = account_of(series, series.tasks[0]);
  EXPECT_NEAR(times[2].waiting, 0.95, 1e-9);
  EXPECT_EQ(times[1].waiting + times[1].running + times[1].asleep, 0);
  EXPECT_NEAR(times[0].waiting, 0.005, 1e-9);
}

TEST(AccountEdges, ARunIsPutIntoTheIntervalsBeforeItWasCounted) {
  WhySeries series = quiet_series(3);
  auto& steps = series.tasks[0].steps;
  steps[0] = {.cpu = 1, .state = 'R'};
  steps[1] = {.cpu = 1, .state = 'R'};
  steps[2] = {.run_us = 170'000, .wait_us = 30'000, .cpu = 1, .state = 'R'};
  const auto times = account_of(series, series.tasks[0]);
  EXPECT_NEAR(times[2].running, 1, 1e-9);
  EXPECT_NEAR(times[2].waiting, 0, 1e-9);
  EXPECT_NEAR(times[1].running, 0.7, 1e-9);
  EXPECT_NEAR(times[1].waiting, 0.3, 1e-9);
  EXPECT_EQ(times[0].running + times[0].waiting, 0);
}

/// A thread of a group of which `throttled_us` are counted in its interval 30.
WhySeries throttled_at_its_end(std::uint32_t throttled_us) {
  WhySeries series = quiet_series(40);
  series.groups.push_back({.name = "/other", .memory_name = {}, .first = 0, .steps = {}});
  series.groups.push_back({.name = "/rig", .memory_name = {}, .first = 2, .steps = {}});
  series.groups[0].steps.resize(40);
  series.groups[1].steps.resize(38);
  series.groups[1].steps[28].throttled_us = throttled_us;
  for (TaskStep& step : series.tasks[0].steps) step.group = 1;
  return series;
}

/// The kernel counts a throttled time when it ends.
TEST(QuotaEdges, ATimeIsPutWhereItWasAndNoFurtherThanAPeriod) {
  EXPECT_EQ(causes_told(throttled_at_its_end(250'000)),
            CauseLines{"rx throttled 2.8 s to 3.1 s, 80 %"});
  const auto causes = find_causes(throttled_at_its_end(3'000'000), {});
  ASSERT_EQ(causes.size(), 1U);
  EXPECT_NEAR(causes[0].begin_s, 2.0, 0.15) << "the longest period is a second";
  EXPECT_NEAR(causes[0].end_s, 3.1, 1e-9);
}

TEST(QuotaEdges, TakesOnlyAThreadThatWantedItsCpu) {
  WhySeries series = throttled_at_its_end(0);
  for (TaskStep& step : series.tasks[0].steps) {
    step = {.run_us = 20'000, .voluntary = 1, .cpu = 1, .group = 1, .state = 'S'};
  }
  for (std::size_t i = 18; i < 28; ++i) series.groups[1].steps[i].throttled_us = 60'000;
  EXPECT_EQ(causes_told(series), CauseLines{});
  for (TaskStep& step : series.tasks[0].steps) step.involuntary = 1;
  EXPECT_EQ(causes_told(series), CauseLines{"rx throttled 2.0 s to 3.0 s, 60 %"})
      << "it was pushed away";
  for (TaskStep& step : series.tasks[0].steps) step.involuntary = 0, step.state = 'R';
  EXPECT_EQ(causes_told(series), CauseLines{"rx throttled 2.0 s to 3.0 s, 60 %"})
      << "it is taken from its CPU at the end of each interval, and was asleep in it";
  for (TaskStep& step : series.tasks[0].steps) step.wait_us = 100, step.state = 'S';
  EXPECT_EQ(causes_told(series), CauseLines{"rx throttled 2.0 s to 3.0 s, 60 %"})
      << "it waited for a moment";
  for (TaskStep& step : series.tasks[0].steps) step.group = kNowhere;
  EXPECT_EQ(causes_told(series), CauseLines{});
}

TEST(QuotaEdges, OfAThreadThatMovesBetweenGroupsIsThatOfTheGroupInWhichItWas) {
  WhySeries series = throttled_at_its_end(0);
  for (GroupSeries& group : series.groups) {
    for (GroupStep& step : group.steps) step.throttled_us = 10'000;
  }
  for (std::size_t i = 0; i < 40; ++i) {
    TaskStep& step = series.tasks[0].steps[i];
    step = {.run_us = 10'000, .involuntary = 1, .cpu = 1, .state = 'S'};
    step.group = i < 20 ? 0 : 1;
  }
  for (std::size_t i = 0; i < 20; ++i) series.groups[0].steps[i].throttled_us = 80'000;
  for (std::size_t i = 20; i < 40; ++i) series.groups[1].steps[i - 2].throttled_us = 30'000;
  const auto causes = find_causes(series, {});
  ASSERT_EQ(causes.size(), 2U);
  EXPECT_EQ(causes[0].sentence,
            "rx was throttled by the CPU quota of its control group /other for 80 % of 0.0 s to "
            "2.0 s");
  EXPECT_EQ(causes[1].sentence,
            "rx was throttled by the CPU quota of its control group /rig for 30 % of 2.0 s to "
            "4.0 s");
}

TEST(StealEdges, WhatTheHypervisorTookIsNoWaitForAnotherThread) {
  WhySeries series = quiet_series(40);
  series.tasks[0].state_before = 'R';
  for (std::size_t i = 0; i < 40; ++i) {
    const bool taken = i >= 10 && i < 20;
    series.tasks[0].steps[i] = {.run_us = taken ? 60'000U : 100'000U, .cpu = 1, .state = 'R'};
    if (taken) {
      series.machine[i].cpus = {{.cpu = 0, .softirq_us = 90'000}, {.cpu = 1, .steal_us = 40'000}};
    }
  }
  EXPECT_EQ(causes_told(series), CauseLines{"rx steal 1.0 s to 2.0 s, 40 %"});
}

TEST(MoveEdges, IsNoneIfTheThreadMayStayWhereItIs) {
  WhySeries series = quiet_series(40);
  TaskSeries& task = series.tasks[0];
  task.first = 3;
  task.steps.resize(37);
  task.steps[9].moved = true;
  task.changes = {{11, "0-3", "1-3"}, {12, "1-3", "2"}};
  const auto causes = find_causes(series, {});
  ASSERT_EQ(causes.size(), 1U);
  EXPECT_EQ(causes[0].sentence,
            "rx was moved to another CPU from 1.2 s to 1.3 s: its CPUs were changed from 1-3 to 2");
  // A thread chooses its CPUs within the first second of its life.
  for (const auto& [born, moves] : {std::pair(0.25, 0U), std::pair(0.15, 1U)}) {
    task.born_s = born;
    EXPECT_EQ(find_causes(series, {}).size(), moves) << born;
  }
}

/// Two buses; the port is on the second one, and waits for its lock from 1.0 s to 2.0 s.
WhySeries series_of_two_buses(std::uint32_t sleeps) {
  WhySeries series = quiet_series(40);
  for (const char* const name : {"/a", "/b"}) {
    series.buses.push_back({.bus = name, .first = 0, .takeovers = {}, .takeovers_living = {}});
    series.buses.back().takeovers_living.resize(40);
  }
  series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 0, .steps = {}});
  series.ports[0].steps.resize(40);
  for (std::size_t i = 10; i < 20; ++i) series.ports[0].steps[i].lock_sleeps = sleeps;
  return series;
}

TEST(BusEdges, ALockIsThatOfThePortsOwnBus) {
  WhySeries series = series_of_two_buses(120);
  series.buses[0].takeovers_living.assign(40, 1);
  EXPECT_EQ(causes_told(series), CauseLines{}) << "120 sleeps of 50 us are 6 % of the time";
  series.buses[1].takeovers_living.assign(40, 1);
  EXPECT_EQ(causes_told(series), CauseLines{"rx bus_lock 1.0 s to 2.0 s, 100 %"});
  series.buses[1].takeovers_living.resize(15);  // its counters were given up then
  EXPECT_EQ(causes_told(series), CauseLines{"rx bus_lock 1.0 s to 1.5 s, 100 %"});
}

TEST(BusEdges, ATakeoverWasWaitedForByPortsThatSleptForHalfOfThePatience) {
  for (const auto& [sleeps, lines] :
       {std::pair(49U, CauseLines{}),
        std::pair(50U, CauseLines{"rx bus_lock 1.0 s to 2.0 s, 100 %"})}) {
    WhySeries series = series_of_two_buses(sleeps);
    series.buses[1].takeovers_living.assign(40, 1);
    EXPECT_EQ(causes_told(series), lines) << sleeps;
  }
  EXPECT_EQ(causes_told(series_of_two_buses(600)), CauseLines{"rx bus_lock 1.0 s to 2.0 s, 30 %"});
}

/// A job that sends and receives through an interface with drops of both directions.
WhySeries series_with_drops(const std::vector<std::string>& jobs) {
  WhySeries series = quiet_series(40, jobs);
  for (WatchedJob& job : series.jobs) job.nets = {kSpace};
  series.devices.push_back({.name = "v0", .net = kSpace, .first = 0, .steps = {}});
  series.devices[0].steps.resize(40);
  series.devices[0].steps[10] = {
      .rx_packets = 150, .rx_drops = 50, .tx_packets = 50, .tx_drops = 50};
  return series;
}

TEST(CountedEdges, BothDirectionsOfAnInterfaceExplainLossesEach) {
  const WhySeries series = series_with_drops({"rx"});
  const auto causes = find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 100)});
  ASSERT_EQ(causes.size(), 2U);
  EXPECT_EQ(causes[0].sentence,
            "the interface v0 dropped 50 packets that were to be sent, 50 % of 1.0 s to 1.1 s; "
            "that explains 50 % of its lost frames");
  EXPECT_EQ(causes[1].sentence,
            "the interface v0 dropped 50 packets that it had received, 25 % of 1.0 s to 1.1 s; "
            "that explains 50 % of its lost frames");
}

TEST(CountedEdges, WhatIsSharedExplainsLossesOnce) {
  const WhySeries series = series_with_drops({"a", "b"});
  const std::vector traffic{traffic_of(series, "a", 10, 11, 80),
                            traffic_of(series, "b", 10, 11, 80)};
  const std::string rest = " 1.0 s to 1.1 s, ";
  EXPECT_EQ(causes_told(series, traffic),
            (CauseLines{"a device_queue" + rest + "50 %, losses 62 %",
                        "a device_queue" + rest + "25 %, losses 38 %",
                        "b device_queue" + rest + "25 %, losses 25 %",
                        "b device_queue" + rest + "50 %, losses 0 %"}));
}

TEST(CountedEdges, TheQueuesOfTheCpusAreSharedByAllJobs) {
  WhySeries series = quiet_series(40, {"a", "b"});
  series.machine[10].cpus = {{.cpu = 0, .packets = 30, .drops = 60},
                             {.cpu = 1, .packets = 70, .drops = 40}};
  const std::vector traffic{traffic_of(series, "a", 10, 11, 80),
                            traffic_of(series, "b", 10, 11, 80)};
  EXPECT_EQ(causes_told(series, traffic),
            (CauseLines{"a softirq 1.0 s to 1.1 s, 50 %, losses 100 %",
                        "b softirq 1.0 s to 1.1 s, 50 %, losses 25 %"}));
}

TEST(CountedEdges, OnePacketIsToldAsOne) {
  WhySeries series = quiet_series(40);
  series.jobs[0].nets = {kSpace};
  NetSeries& net = series.nets.emplace_back();
  net.net = kSpace;
  net.steps.resize(40);
  net.steps[10][NetLoss::receive_buffer] = NetCount{.lost = 1, .passed = 1, .v4 = true, .v6 = true};
  const auto causes = find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 1)});
  ASSERT_EQ(causes.size(), 1U);
  EXPECT_EQ(causes[0].sentence,
            "rx: 1 datagram was dropped because the receiver did not read fast enough "
            "(UdpRcvbufErrors, Udp6RcvbufErrors), 50 % of 1.0 s to 1.1 s; that explains 100 % of "
            "its lost frames");
}

/// Only a host's frames pass by the namespace of the program that watches.
TEST(CountedEdges, AHostLosesNothingInTheNamespaceOfTheWatchAndOthersDo) {
  for (const auto& [is_host, own_net, is_named] :
       {std::tuple(true, kSpace, false), {true, kElsewhere, true}, {false, kSpace, true}}) {
    WhySeries series = series_with_drops({"rx"});
    series.jobs[0].is_host = is_host;
    series.own_net = own_net;
    EXPECT_EQ(!find_causes(series, {}).empty(), is_named) << is_host << ' ' << own_net;
  }
}

TEST(CountedEdges, TheWayOfASenderInTheSameNamespaceIsThatOfTheReceiver) {
  WhySeries series = series_with_drops({"tx", "rx"});
  series.jobs[0].sends = series.jobs[0].receives = false;
  series.jobs[1].sends = false;
  series.jobs[1].senders = {0};
  series.queues.push_back({.interface = "v0", .kind = "ingress", .ingress = true, .net = kSpace});
  series.queues.push_back({.interface = "v0", .kind = "tbf", .net = kSpace});
  for (QueueSeries& queue : series.queues) queue.steps.resize(40);
  series.queues[0].steps[10] = {.packets = 80, .drops = 20};
  series.queues[1].steps[10] = {.packets = 60, .drops = 40};
  const std::vector traffic{traffic_of(series, "rx", 10, 11, 200)};
  const std::string rest = " 1.0 s to 1.1 s, ";
  EXPECT_EQ(causes_told(series, traffic),
            (CauseLines{"rx device_queue" + rest + "50 %, losses 25 %",
                        "rx device_queue" + rest + "25 %, losses 25 %",
                        "rx qdisc" + rest + "40 %, losses 20 %",
                        "rx qdisc" + rest + "20 %, losses 10 %"}));
}

TEST(CauseEdges, NoMoreAreToldThanAReaderReads) {
  std::vector<std::string> names;
  for (int i = 0; i < 25; ++i) names.push_back("job" + std::to_string(i));
  WhySeries series = quiet_series(20, names);
  for (std::size_t job = 0; job < names.size(); ++job) {
    for (std::size_t i = 5; i < 15; ++i) {
      series.tasks[job].steps[i].wait_us = 50'000 + 100 * static_cast<std::uint32_t>(job % 24);
    }
  }
  const auto causes = find_causes(series, {});
  ASSERT_EQ(causes.size(), 20U);
  EXPECT_EQ(causes.front().job, "job23");
  EXPECT_EQ(causes.back().job, "job4") << "the heaviest are told";
}

TEST(CauseEdges, OfThreadsThatWereHeldEquallyLongTheFirstIsTold) {
  WhySeries series = quiet_series(40);
  series.tasks.clear();
  for (const pid_t number : {201, 202, 203}) {
    TaskSeries thread = quiet_series(40).tasks[0];
    thread.id.number = number;
    thread.name = "worker";
    for (std::size_t i = 10; i < 20; ++i) thread.steps[i].wait_us = 30'000;
    series.tasks.push_back(thread);
  }
  const auto causes = find_causes(series, {});
  ASSERT_EQ(causes.size(), 1U);
  EXPECT_EQ(causes[0].sentence.find("rx (thread 201, worker)"), 0U) << causes[0].sentence;
}

TEST(CauseEdges, ATenthOfASecondOrATwentiethOfTheLossesIsWorthNaming) {
  for (const auto& [wait_us, is_named] : {std::pair(44'000U, false), std::pair(56'000U, true)}) {
    WhySeries series = quiet_series(40);
    for (const std::size_t i : {10, 11}) series.tasks[0].steps[i].wait_us = wait_us;
    EXPECT_EQ(!find_causes(series, {}).empty(), is_named) << wait_us;
    for (const std::uint64_t lost : {4U, 5U}) {
      JobTraffic traffic = traffic_of(series, "rx", 10, 11, lost);
      traffic.steps[30].lost = 100 - lost;
      EXPECT_EQ(!find_causes(series, std::vector{traffic}).empty(), is_named || lost == 5) << lost;
    }
  }
}

/// What was counted has lost what it has counted, whatever part of all packets that was.
TEST(CauseEdges, OnlyTimesWeighTheirLossesByTheirShare) {
  Cause device, wait;
  device.counted = true;
  device.share = 0.1;
  device.of_losses_share = 0.5;
  device.end_s = wait.end_s = 1;
  wait.share = 0.9;
  wait.of_losses_share = 0.4;
  EXPECT_TRUE(weighs_more(device, wait));
  EXPECT_FALSE(weighs_more(wait, device));
  wait.of_losses_share = 0.6;
  EXPECT_TRUE(weighs_more(wait, device));
}

TEST(CauseEdges, LatencyStandsOutFromTheMedianOfTheIntervals) {
  JobTraffic traffic{.job = "rx", .steps = {}};
  for (const double latency : {9e6, 1e6, 1.9e6, 1.7e6, 1.8e6}) {
    const auto begin = static_cast<double>(traffic.steps.size());
    traffic.steps.push_back({.begin_s = begin, .end_s = begin + 1, .latency_max_ns = latency});
  }
  traffic.steps.push_back({.begin_s = 5, .end_s = 6, .overruns = 1});
  const Losses losses(&traffic);
  EXPECT_EQ(losses.others_within(0, 1), "; the worst latency, 9 ms, fell there");
  EXPECT_EQ(losses.others_within(1, 5), "");
  EXPECT_EQ(losses.others_within(5, 6), "; it was overrun there 1 time");
  EXPECT_EQ(losses.others_within(6, 7), "");
  traffic.steps[0].latency_max_ns = 8.9e6;
  EXPECT_EQ(losses.others_within(0, 1), "") << "below five times 1.8 ms";
}

TEST(WindowEdges, TheStrongPartIsFoundWhereverItLies) {
  const auto borders_of = [](const std::vector<double>& values) {
    std::vector<std::pair<std::size_t, std::size_t>> found;
    for (const CauseWindow& each : windows_of(quiet_series(values.size()), 0, values, 0.1)) {
      found.emplace_back(each.begin, each.end);
    }
    return found;
  };
  using Borders = std::vector<std::pair<std::size_t, std::size_t>>;
  EXPECT_EQ(borders_of({.9, .9, .9, .3, .3, .3}), (Borders{{0, 3}, {3, 6}}));
  EXPECT_EQ(borders_of({.3, .3, .3, .9, .9, .9}), (Borders{{0, 3}, {3, 6}}));
  EXPECT_EQ(borders_of({.3, .9, .9, .9, .3, .3}), (Borders{{0, 4}, {4, 6}}));
}

TEST(WindowEdges, TheShareIsThatOfTheTimeAndNotOfTheIntervals) {
  WhySeries series = quiet_series(3);
  series.ends_s = {0.1, 0.4, 0.4};
  const auto windows = windows_of(series, 0, std::vector{0.8, 0.4, 0.9}, 0.1);
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].end, 2U) << "an interval without a length";
  EXPECT_NEAR(windows[0].share, 0.5, 1e-9);
  EXPECT_NEAR(windows[0].held_s, 0.2, 1e-9);
}

TEST(SummaryEdges, EachFigureIsUnderItsOwnName) {
  WhySeries series = quiet_series(4, {"tx", "rx"});
  TaskSeries& task = series.tasks[1];
  task.id = {205, 9};
  task.process = 203;
  task.name = "worker";
  task.first = 1;
  task.ended = true;
  task.state_before = 'T';
  task.steps.resize(3);
  task.steps[0] = {.run_us = 10'000,
                   .wait_us = 20'000,
                   .voluntary = 1,
                   .involuntary = 20,
                   .migrations = 300,
                   .minor_faults = 4000,
                   .major_faults = 50'000,
                   .state = 'T'};
  task.steps[1] = task.steps[0];
  task.steps[2] = task.steps[0];
  task.steps[2].state = 'S';
  const TaskSummary sum = summaries_of(series).at(1);
  EXPECT_EQ(sum.job, "rx");
  EXPECT_EQ(sum.name, "worker");
  EXPECT_EQ(sum.process, 203);
  EXPECT_EQ(sum.thread, 205);
  EXPECT_TRUE(sum.ended);
  EXPECT_FALSE(summaries_of(series).at(0).ended);
  EXPECT_NEAR(sum.seconds, 0.3, 1e-9);
  EXPECT_NEAR(sum.running, 0.1, 1e-9);
  EXPECT_NEAR(sum.waiting.value_or(0), 0.2, 1e-9);
  EXPECT_NEAR(sum.stopped, 0.7 * 5 / 6, 1e-9);
  EXPECT_NEAR(sum.asleep, 0.7 / 6, 1e-9);
  EXPECT_EQ(sum.voluntary, 3U);
  EXPECT_EQ(sum.involuntary, 60U);
  EXPECT_EQ(sum.migrations, 900U);
  EXPECT_EQ(sum.minor_faults, 12'000U);
  EXPECT_EQ(sum.major_faults, 150'000U);
}

}  // namespace
}  // namespace shmif::perf::test
