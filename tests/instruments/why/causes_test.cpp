// Causes of made series: each with its share, its time and its words, from its limit on, and for
// the jobs, groups, buses and interfaces that it concerns.

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

#include "instruments/why/analysis.hpp"
#include "instruments/why/evidence.hpp"
#include "tests/instruments/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kSpace = 5, kElsewhere = 6;

using Told = std::vector<std::string>;

/// "rx waited_for_cpu 1.0 s to 2.0 s, 61 %".
Told told(const WhySeries& series, const std::vector<JobTraffic>& traffic = {}) {
  Told all;
  for (const Cause& cause : find_causes(series, traffic)) {
    std::string line = cause.job + ' ' + word_of(cause.cause) + ' ' + second_text(cause.begin_s) +
                       " to " + second_text(cause.end_s) + ", " + percent_text(cause.share);
    if (cause.of_losses_share) line += ", losses " + percent_text(*cause.of_losses_share);
    all.push_back(std::move(line));
  }
  return all;
}

/// The only cause of the series.
Cause only_cause(const WhySeries& series, const std::vector<JobTraffic>& traffic = {}) {
  const auto causes = find_causes(series, traffic);
  EXPECT_EQ(causes.size(), 1U);
  return causes.empty() ? Cause{} : causes[0];
}

void expect_words(const std::string& sentence, const std::vector<std::string>& words) {
  for (const std::string& each : words) {
    EXPECT_NE(sentence.find(each), std::string::npos) << "no \"" << each << "\" in: " << sentence;
  }
}

/// A thread that waits for `wait_us` of each interval from 2.0 s to 4.0 s.
WhySeries waiting_series(std::uint32_t wait_us) {
  WhySeries series = quiet_series(60);
  for (std::size_t i = 20; i < 40; ++i) series.tasks[0].steps[i].wait_us = wait_us;
  return series;
}

TEST(Causes, OfAQuietRunAreNone) {
  const WhySeries series = quiet_series(50, {"rx", "tx"});
  EXPECT_EQ(told(series), Told{});
  EXPECT_EQ(told(series, {traffic_of(series, "rx", 10, 20, 5)}), Told{})
      << "losses alone are no evidence";
  EXPECT_EQ(told(WhySeries()), Told{});
}

TEST(Causes, HaveTheLossesAndTheLatencyThatFellIntoTheirTime) {
  WhySeries series = waiting_series(61'000);
  for (const std::size_t i : {24, 30, 31}) series.tasks[0].steps[i] = {.cpu = 1, .known = false};
  const std::string wait = "rx waited_for_cpu 2.0 s to 4.0 s, 61 %";
  EXPECT_EQ(told(series), Told{wait}) << "of the intervals that were seen";
  JobTraffic traffic = traffic_of(series, "rx", 20, 40, 49);
  traffic.steps[5].lost = 20;
  EXPECT_EQ(told(series, {traffic}), Told{wait + ", losses 98 %"});
  traffic = traffic_of(series, "rx", 40, 41, 90);
  traffic.steps[42].lost = 10;
  EXPECT_EQ(told(series, {traffic}), Told{wait + ", losses 90 %"}) << "counted when it runs again";
  EXPECT_EQ(told(series, {traffic_of(series, "rx", 50, 55, 3)}), Told{wait + ", losses 0 %"});
  traffic = traffic_of(series, "rx", 0, 0, 0);
  for (TrafficStep& step : traffic.steps) step.latency_max_ns = 1e6;
  traffic.steps[25].latency_max_ns = 42.7e6;
  EXPECT_EQ(told(series, {traffic}), Told{wait});
  expect_words(only_cause(series, {traffic}).sentence, {"the worst latency, 42 ms"});
}

/// A thread to which the same happens in intervals 10 to 20.
using Happens = std::function<void(WhySeries&, TaskStep&, std::size_t)>;
WhySeries series_if(const Happens& happens) {
  WhySeries series = quiet_series(40);
  series.groups.push_back({.name = "/cpu", .memory_name = "/mem", .first = 3, .steps = {}});
  series.groups[0].steps.resize(37);
  series.buses.push_back({.bus = "/b", .first = 5, .takeovers = {}, .takeovers_living = {}});
  series.buses[0].takeovers_living.resize(35);
  series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 2, .steps = {}});
  series.ports[0].steps.resize(38);
  for (std::size_t i = 10; i < 20; ++i) {
    series.machine[i].cpus = {{.cpu = 0, .steal_us = 90'000, .softirq_us = 90'000}, {.cpu = 1}};
    series.tasks[0].steps[i].group = 0;
    happens(series, series.tasks[0].steps[i], i);
  }
  return series;
}

/// From which count of an interval on a cause is named, and what is said of it.
struct Limit {
  std::uint32_t below, enough;
  std::function<void(WhySeries&, TaskStep&, std::size_t, std::uint32_t)> happens;
  std::string share;  ///< "waited_for_cpu, 11 %"
  std::vector<std::string> words;
};

TEST(Causes, AreNamedFromTheirLimitOnWithWhatHappened) {
  const std::vector<Limit> limits{
      {9'000,
       11'000,
       [](auto&, TaskStep& step, std::size_t, std::uint32_t us) { step.wait_us = us; },
       "waited_for_cpu, 11 %",
       {"rx was runnable but not running", "11 % of 1.0 s to 2.0 s"}},
      {19'000,
       22'000,
       [](WhySeries& series, TaskStep& step, std::size_t i, std::uint32_t us) {
         step.run_us = 60'000;
         series.machine[i].cpus[1].steal_us = us;
       },
       "steal, 22 %",
       {"hypervisor", "CPU 1"}},
      {24'000,
       26'000,
       [](WhySeries& series, TaskStep& step, std::size_t i, std::uint32_t us) {
         step.run_us = 60'000;
         series.machine[i].cpus[1].softirq_us = us;
       },
       "softirq, 26 %",
       {"CPU 1", "softirqs"}},
      {4'000,
       13'000,
       [](WhySeries& series, TaskStep& step, std::size_t i, std::uint32_t us) {
         step.involuntary = 1;
         series.groups[0].steps[i - 3].throttled_us = us;
       },
       "throttled, 13 %",
       {"quota", "/cpu"}},
      {19,
       22,
       [](auto&, TaskStep& step, std::size_t, std::uint32_t times) { step.migrations = times; },
       "migrated, 11 %",
       {"moved between CPUs", "220 times"}},
      {199,
       1000,
       [](WhySeries& series, TaskStep&, std::size_t i, std::uint32_t times) {
         series.ports[0].steps[i - 2].lock_sleeps = times;
       },
       "bus_lock, 50 %",
       {"lock of the bus", "10,000 times"}},
      {49,
       50,
       [](WhySeries& series, TaskStep&, std::size_t i, std::uint32_t times) {
         series.ports[0].steps[i - 2].lock_sleeps = times;  // half of the patience
         series.buses[0].takeovers_living[i - 5] = 1;
       },
       "bus_lock, 100 %",
       {"lock of the bus", "500 times"}},
      {9'000,
       50'000,
       [](WhySeries& series, TaskStep&, std::size_t i, std::uint32_t us) {
         series.ports[0].steps[i - 2].paused_us = us;
         series.ports[0].steps[i - 2].pauses = 4;
       },
       "bus_pause, 50 %",
       {"slow ports", "40 times"}},
  };
  for (const Limit& limit : limits) {
    SCOPED_TRACE(limit.share);
    const auto series = [&](std::uint32_t count) {
      return series_if(
          [&](WhySeries& of, TaskStep& step, std::size_t i) { limit.happens(of, step, i, count); });
    };
    EXPECT_EQ(told(series(limit.below)), Told{});
    WhySeries found = series(limit.enough);
    const std::string share = limit.share.substr(limit.share.find(','));
    EXPECT_EQ(told(found), Told{"rx " + limit.share.substr(0, limit.share.find(',')) +
                                " 1.0 s to 2.0 s" + share});
    expect_words(only_cause(found).sentence, limit.words);
    found.ports[0].steps[12].stalls = 1;
    EXPECT_EQ(only_cause(found).sentence.find("its own port") != std::string::npos,
              limit.share.starts_with("bus_pause"))
        << "senders stopped waiting for it";
    if (!limit.share.starts_with("bus")) continue;
    found.ports[0].job.reset();
    EXPECT_EQ(told(found), Told{}) << "somebody else's port";
  }
}

TEST(Causes, OfMemoryAreFaultsAndLimitsOrTheTimeForWhichItWasShort) {
  struct Case {
    std::uint32_t faults, limits, group_us, machine_us;
    const char* share;  ///< "": not named
  };
  for (const Case& each : {Case{300, 0, 0, 0, "30 %"},  // 100 us each
                           {0, 400, 0, 0, "40 %"},
                           {300, 400, 0, 0, "70 %"},
                           {9'000, 0, 0, 0, "100 %"},
                           {1, 0, 0, 50'000, "50 %"},
                           {0, 1, 0, 50'000, "50 %"},
                           {1, 0, 60'000, 50'000, "60 %"},  // its group knows better
                           {0, 0, 60'000, 50'000, ""}}) {   // others waited
    const WhySeries series = series_if([&](WhySeries& of, TaskStep& step, std::size_t i) {
      step.major_faults = each.faults;
      GroupStep& group = of.groups[0].steps[i - 3];
      group.at_limit = each.limits;
      if (each.group_us > 0) group.memory_us = each.group_us;
      of.machine[i].memory_us = each.machine_us;
    });
    const std::string share = each.share;
    EXPECT_EQ(told(series), share.empty() ? Told{} : Told{"rx memory 1.0 s to 2.0 s, " + share});
    if (each.faults == 0 || each.limits == 0) continue;
    expect_words(only_cause(series).sentence, {"3,000 major faults", "/mem", "4,000 times"});
  }
}

TEST(Causes, DivideATimeBetweenAQuotaTheHypervisorAndOtherThreads) {
  struct Case {
    std::uint32_t wait_us;
    bool ready;  ///< from begin to end, of which 50 ms are counted by nobody
    std::uint32_t throttled_us, steal_us;
    Told wanted;
  };
  for (const Case& each : std::vector<Case>{
           {80'000, false, 50'000, 0, {"throttled 50 %", "waited_for_cpu 30 %"}},
           {50'000, false, 50'000, 0, {"throttled 50 %"}},
           {30'000, false, 90'000, 0, {"throttled 80 %"}},  // no more than it was off its CPU
           {30'000, true, 0, 0, {"waited_for_cpu 80 %"}},
           {30'000, true, 38'000, 0, {"waited_for_cpu 42 %", "throttled 38 %"}},
           {30'000, true, 0, 45'000, {"steal 45 %", "waited_for_cpu 35 %"}},
           {30'000,
            true,
            33'000,
            35'000,
            {"steal 35 %", "throttled 33 %", "waited_for_cpu 30 %"}}}) {
    const WhySeries series = series_if([&](WhySeries& of, TaskStep& step, std::size_t i) {
      if (each.ready) {
        of.tasks[0].steps[9].state = 'R';
        step = {.cpu = 1, .group = 0, .state = 'R'};
      }
      step.run_us = 20'000;
      step.wait_us = each.wait_us;
      of.groups[0].steps[i - 3].throttled_us = each.throttled_us;
      of.machine[i].cpus[1].steal_us = each.steal_us;
    });
    Told found;
    for (const Cause& cause : find_causes(series, {})) {
      found.push_back(word_of(cause.cause) + (' ' + percent_text(cause.share)));
    }
    EXPECT_EQ(found, each.wanted);
  }
}

TEST(Causes, NameAStop) {
  WhySeries series = quiet_series(40);
  for (std::size_t i = 10; i < 20; ++i) series.tasks[0].steps[i] = {.cpu = 1, .state = 'T'};
  EXPECT_EQ(told(series), Told{"rx stopped 1.0 s to 2.1 s, 91 %"});
  expect_words(only_cause(series).sentence, {"stopped by a signal or a debugger"});
}

TEST(Causes, NameAPauseThatWasCountedWhenItEnded) {
  WhySeries series = quiet_series(40);
  series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 0, .steps = {}});
  series.ports[0].steps.resize(40);
  series.ports[0].steps[19].paused_us = 950'000;
  series.ports[0].steps[19].pauses = 1;
  EXPECT_EQ(told(series), Told{"rx bus_pause 1.0 s to 2.0 s, 95 %"});
}

TEST(Causes, NameALockOfThePortsOwnBusAsLongAsItIsKnown) {
  WhySeries series = series_if(
      [](WhySeries& of, TaskStep&, std::size_t i) { of.ports[0].steps[i - 2].lock_sleeps = 120; });
  series.buses.push_back({.bus = "/a", .first = 0, .takeovers = {}, .takeovers_living = {}});
  series.buses[1].takeovers_living.assign(40, 1);
  EXPECT_EQ(told(series), Told{}) << "another bus; 120 sleeps of 50 us are 6 % of the time";
  series.buses[0].takeovers_living.assign(10, 1);  // its counters were given up then
  EXPECT_EQ(told(series), Told{"rx bus_lock 1.0 s to 1.5 s, 100 %"});
}

TEST(Causes, NameAChangeOfAffinityIfTheThreadHadToMoveAndHasNotJustBegun) {
  WhySeries series = quiet_series(40);
  TaskSeries& task = series.tasks[0];
  task.first = 3;
  task.steps.resize(37);
  task.steps[9].moved = true;
  task.changes = {{11, "0-3", "1-3"}, {12, "1-3", "2"}};
  const Cause cause = only_cause(series);
  EXPECT_EQ(cause.cause, CauseKind::migrated);
  expect_words(cause.sentence, {"1.2 s to 1.3 s", "from 1-3 to 2"});
  // A thread chooses its CPUs within the first second of its life.
  for (const auto& [born, moves] : {std::pair(0.25, 0U), std::pair(0.15, 1U)}) {
    task.born_s = born;
    EXPECT_EQ(find_causes(series, {}).size(), moves) << born;
  }
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
TEST(Quotas, ArePutWhereTheyWereAndNoFurtherThanAPeriod) {
  EXPECT_EQ(told(throttled_at_its_end(250'000)), Told{"rx throttled 2.8 s to 3.1 s, 80 %"});
  const Cause cause = only_cause(throttled_at_its_end(3'000'000));
  EXPECT_NEAR(cause.begin_s, 2.0, 0.15) << "the longest period is a second";
  EXPECT_NEAR(cause.end_s, 3.1, 1e-9);
}

TEST(Quotas, TakeOnlyAThreadThatWantedItsCpu) {
  WhySeries series = throttled_at_its_end(0);
  const auto told_if = [&](const std::function<void(TaskStep&)>& change) {
    for (TaskStep& step : series.tasks[0].steps) {
      step = {.run_us = 20'000, .voluntary = 1, .cpu = 1, .group = 1, .state = 'S'};
      change(step);
    }
    return told(series);
  };
  for (std::size_t i = 18; i < 28; ++i) series.groups[1].steps[i].throttled_us = 60'000;
  const Told throttled{"rx throttled 2.0 s to 3.0 s, 60 %"};
  EXPECT_EQ(told_if([](TaskStep&) {}), Told{}) << "it sleeps";
  EXPECT_EQ(told_if([](TaskStep& step) { step.involuntary = 1; }), throttled) << "pushed away";
  EXPECT_EQ(told_if([](TaskStep& step) { step.state = 'R'; }), throttled);
  EXPECT_EQ(told_if([](TaskStep& step) { step.wait_us = 100; }), throttled);
  EXPECT_EQ(told_if([](TaskStep& step) { step.involuntary = 1, step.group = kNowhere; }), Told{});
}

TEST(Quotas, OfAThreadThatMovesAreThoseOfTheGroupInWhichItWas) {
  WhySeries series = throttled_at_its_end(0);
  for (std::size_t i = 0; i < 40; ++i) {
    const std::uint16_t group = i < 20 ? 0 : 1;
    series.tasks[0].steps[i] = {
        .run_us = 10'000, .involuntary = 1, .cpu = 1, .group = group, .state = 'S'};
    if (i < 20) series.groups[0].steps[i].throttled_us = 80'000;
    if (i >= 20) series.groups[1].steps[i - 2].throttled_us = 30'000;
  }
  EXPECT_EQ(told(series),
            (Told{"rx throttled 0.0 s to 2.0 s, 80 %", "rx throttled 2.0 s to 4.0 s, 30 %"}));
  expect_words(find_causes(series, {}).at(0).sentence, {"/other"});
  expect_words(find_causes(series, {}).at(1).sentence, {"/rig"});
}

/// Jobs that send and receive through an interface with drops of both directions.
WhySeries series_with_drops(const std::vector<std::string>& jobs) {
  WhySeries series = quiet_series(40, jobs);
  for (WatchedJob& job : series.jobs) job.nets = {kElsewhere, kSpace};
  series.devices.push_back({.name = "v0", .net = kSpace, .first = 4, .steps = {}});
  series.devices[0].steps.resize(36);
  series.devices[0].steps[6] = {
      .rx_packets = 150, .rx_drops = 50, .tx_packets = 50, .tx_drops = 50};
  return series;
}
const std::string kThen = " 1.0 s to 1.1 s, ";

TEST(CountedDrops, OfBothDirectionsOfAnInterfaceExplainLossesEach) {
  WhySeries series = series_with_drops({"rx"});
  const std::vector traffic{traffic_of(series, "rx", 10, 11, 100)};
  EXPECT_EQ(told(series, traffic), (Told{"rx device_queue" + kThen + "50 %, losses 50 %",
                                         "rx device_queue" + kThen + "25 %, losses 50 %"}));
  const auto causes = find_causes(series, traffic);
  expect_words(causes.at(0).sentence, {"v0 dropped 50 packets", "to be sent"});
  expect_words(causes.at(1).sentence, {"v0 dropped 50 packets", "received"});
  const auto is_named_if = [&](const std::function<void(WhySeries&)>& change) {
    WhySeries other = series;
    change(other);
    return !find_causes(other, {}).empty();
  };
  EXPECT_TRUE(is_named_if([](WhySeries&) {}));
  EXPECT_FALSE(is_named_if([](WhySeries& of) { of.jobs[0].nets = {kElsewhere}; }));
  EXPECT_FALSE(is_named_if([](WhySeries& of) { of.jobs[0].uses_network = false; }));
  // Only a host's frames pass by the namespace of the program that watches.
  EXPECT_TRUE(is_named_if([](WhySeries& of) { of.own_net = kSpace; }));
  EXPECT_TRUE(is_named_if([](WhySeries& of) { of.jobs[0].is_host = true; }));
  EXPECT_FALSE(is_named_if([](WhySeries& of) { of.jobs[0].is_host = true, of.own_net = kSpace; }));
}

TEST(CountedDrops, ThatJobsShareExplainLossesOnce) {
  WhySeries series = series_with_drops({"a", "b"});
  const std::vector traffic{traffic_of(series, "a", 10, 11, 80),
                            traffic_of(series, "b", 10, 11, 80)};
  EXPECT_EQ(told(series, traffic), (Told{"a device_queue" + kThen + "50 %, losses 62 %",
                                         "a device_queue" + kThen + "25 %, losses 38 %",
                                         "b device_queue" + kThen + "25 %, losses 25 %",
                                         "b device_queue" + kThen + "50 %, losses 0 %"}));
  series.devices.clear();
  series.machine[10].cpus = {{.cpu = 0, .packets = 30, .drops = 60},
                             {.cpu = 1, .packets = 70, .drops = 40}};
  EXPECT_EQ(told(series, traffic), (Told{"a softirq" + kThen + "50 %, losses 100 %",
                                         "b softirq" + kThen + "50 %, losses 25 %"}));
}

TEST(CountedDrops, OnTheWayOfASenderAreThoseOfTheReceiver) {
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
  EXPECT_EQ(told(series, traffic), (Told{"rx device_queue" + kThen + "50 %, losses 25 %",
                                         "rx device_queue" + kThen + "25 %, losses 25 %",
                                         "rx qdisc" + kThen + "40 %, losses 20 %",
                                         "rx qdisc" + kThen + "20 %, losses 10 %"}));
  expect_words(find_causes(series, traffic).at(2).sentence, {"tbf", "v0", "40 packets"});
  series.jobs[1].nets = {kElsewhere};
  EXPECT_EQ(told(series, traffic), (Told{"rx device_queue" + kThen + "50 %, losses 25 %",
                                         "rx qdisc" + kThen + "40 %, losses 20 %"}))
      << "of another namespace, only what its sender sends";
  series.own_net = kSpace;
  series.jobs[0].is_host = true;
  EXPECT_EQ(told(series, traffic), Told{});
}

/// A receiver that was held back has a full socket, so a short wait is worth a sentence when the
/// socket dropped frames, and not when they never came to it. The counter explains the losses.
TEST(CountedDrops, OfASocketMakeAShortWaitWorthASentence) {
  for (const auto& [loss, is_named] : {std::pair(NetLoss::receive_buffer, true),
                                       {NetLoss::socket_memory, true},
                                       {NetLoss::reassembly, false},
                                       {NetLoss::no_route, false}}) {
    WhySeries series = quiet_series(40);
    series.jobs[0].nets = {kSpace};
    series.tasks[0].steps[10].wait_us = 60'000;
    NetSeries& net = series.nets.emplace_back();
    net.net = kSpace;
    net.steps.resize(40);
    net.steps[10][loss] = NetCount{.lost = 100, .passed = 25, .v4 = true};
    const Told all = told(series, {traffic_of(series, "rx", 10, 11, 100)});
    EXPECT_EQ(std::ranges::count(all, "rx waited_for_cpu" + kThen + "60 %, losses 0 %"),
              is_named ? 1 : 0)
        << static_cast<int>(loss);
  }
}

/// One job is told by one sentence for each cause and time, but no job stands for another one, no
/// cause for another one, and no time for another one.
TEST(Causes, OfTheSameTimeAreToldForEachJobAndOfTheSameJobForEachTime) {
  WhySeries series = quiet_series(80, {"a", "b"});
  for (TaskSeries& task : series.tasks) {
    for (std::size_t i = 10; i < 30; ++i) task.steps[i].wait_us = 50'000;
  }
  for (std::size_t i = 50; i < 60; ++i) series.tasks[1].steps[i].wait_us = 40'000;
  for (std::size_t i = 10; i < 30; ++i) series.tasks[0].steps[i].migrations = 40;
  EXPECT_EQ(told(series),
            (Told{"a waited_for_cpu 1.0 s to 3.0 s, 50 %", "b waited_for_cpu 1.0 s to 3.0 s, 50 %",
                  "a migrated 1.0 s to 3.0 s, 20 %", "b waited_for_cpu 5.0 s to 6.0 s, 40 %"}));
}

TEST(Causes, OfSeveralThreadsAreToldByTheOneThatWasHeldLongest) {
  WhySeries series = quiet_series(40);
  for (const pid_t number : {201, 202}) {
    TaskSeries thread = series.tasks[0];
    thread.id.number = number;
    thread.name = "worker";
    for (std::size_t i = 10; i < 30; ++i) thread.steps[i].wait_us = number == 201 ? 30'000 : 60'000;
    series.tasks.push_back(thread);
  }
  EXPECT_EQ(told(series), Told{"rx waited_for_cpu 1.0 s to 3.0 s, 60 %"});
  expect_words(only_cause(series).sentence, {"rx (thread 202, worker)"});
  for (std::size_t i = 10; i < 30; ++i) series.tasks[0].steps[i].wait_us = 70'000;
  expect_words(only_cause(series).sentence, {"rx (process 100, rx)"});
}

TEST(Causes, TheHeaviestIsTheOneWithTheLosses) {
  WhySeries series = quiet_series(80);
  for (std::size_t i = 0; i < 30; ++i) series.tasks[0].steps[i].wait_us = 90'000;
  for (std::size_t i = 50; i < 60; ++i) series.tasks[0].steps[i].migrations = 100;
  EXPECT_EQ(find_causes(series, {}).at(0).cause, CauseKind::waited_for_cpu);
  const std::vector<JobTraffic> traffic{traffic_of(series, "rx", 50, 60, 10)};
  EXPECT_EQ(find_causes(series, traffic).at(0).cause, CauseKind::migrated);
}

TEST(Causes, AreNamedForATenthOfASecondOrATwentiethOfTheLosses) {
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

/// In a run, the watch begins long after the time from which its causes count.
TEST(Causes, AreNamedForAQuarterOfAShortWatchUnlessItIsABlink) {
  struct Case {
    double seconds;
    std::uint32_t wait_us;
    bool is_named;
  };
  for (const Case& each : {Case{0.08, 70'000, true},
                           {0.08, 19'000, false},
                           {0.02, 9'000, false},
                           {0.02, 12'000, true}}) {
    for (const double begin_s : {0.0, 100.0}) {
      WhySeries series = quiet_series(1);
      series.begin_s = begin_s;
      series.ends_s = {begin_s + each.seconds};
      series.tasks[0].steps[0] = {.wait_us = each.wait_us, .cpu = 1, .state = 'S'};
      EXPECT_EQ(find_causes(series, {}).size(), each.is_named ? 1U : 0U)
          << each.wait_us << " from " << begin_s;
    }
  }
}

WhySeries random_series(std::mt19937& random) {
  const auto below = [&random](std::uint32_t limit) {
    return static_cast<std::uint32_t>(random() % limit);
  };
  WhySeries series = quiet_series(1 + below(60), {"a", "b"});
  const std::size_t count = series.ends_s.size();
  series.groups.push_back({.name = "/g", .memory_name = "/m", .first = below(3), .steps = {}});
  while (series.groups[0].first + series.groups[0].steps.size() < count) {
    series.groups[0].steps.push_back({.throttled_us = below(5) == 0 ? below(2'000'000) : 0,
                                      .at_limit = below(5),
                                      .memory_us = below(300'000)});
  }
  for (TaskSeries& task : series.tasks) {
    task.first = below(static_cast<std::uint32_t>(count));
    task.steps.resize(below(static_cast<std::uint32_t>(count - task.first + 1)));
    for (TaskStep& step : task.steps) {
      step = {.run_us = below(150'000),
              .wait_us = below(4) == 0 ? below(1'000'000) : 0,
              .voluntary = below(2),
              .involuntary = below(2),
              .migrations = below(50),
              .major_faults = below(3),
              .cpu = static_cast<std::int16_t>(below(2)),
              .group = below(2) == 0 ? kNowhere : std::uint16_t{0},
              .state = "RST"[below(3)]};
    }
  }
  for (MachineStep& step : series.machine) {
    step.cpus.push_back({.cpu = 0,
                         .steal_us = below(200'000),
                         .softirq_us = below(200'000),
                         .packets = below(100),
                         .drops = below(30)});
    step.memory_us = below(200'000);
  }
  return series;
}

TEST(Causes, OfAnySeriesHaveSharesThatAddUpAndWindowsInsideTheRunAndTheHeaviestFirst) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const WhySeries series = random_series(random);
    const std::size_t count = series.ends_s.size();
    const std::vector<JobTraffic> traffic{
        traffic_of(series, "a", random() % count, count, random() % 100)};
    const auto causes = find_causes(series, traffic);
    EXPECT_LE(causes.size(), kMaxCauses);
    double last = 2, explained = 0;
    for (const Cause& cause : causes) {
      EXPECT_GE(cause.begin_s, 0);
      EXPECT_LT(cause.begin_s, cause.end_s);
      EXPECT_LE(cause.end_s, series.ends_s.back());
      EXPECT_GT(cause.share, 0);
      EXPECT_LE(cause.share, 1);
      EXPECT_GE(cause.of_losses_share.value_or(0), 0);
      EXPECT_EQ(cause.of_losses_share.has_value(),
                cause.job == "a" && traffic[0].steps.back().lost);
      EXPECT_NE(cause.sentence, "");
      EXPECT_LE(loss_weight(cause), last + 1e-9);
      last = loss_weight(cause);
      explained += cause.of_losses_share.value_or(0);
    }
    EXPECT_LE(explained, 1 + 1e-9);
  }
}

TEST(Summaries, HaveEachFigureUnderItsOwnName) {
  WhySeries series = quiet_series(5, {"tx", "rx"});
  TaskSeries& task = series.tasks[1];
  task.id = {205, 9};
  task.process = 203;
  task.name = "worker";
  task.first = 1;
  task.ended = true;
  task.state_before = 'T';
  const TaskStep step{.run_us = 10'000,
                      .wait_us = 20'000,
                      .voluntary = 1,
                      .involuntary = 20,
                      .migrations = 300,
                      .minor_faults = 4000,
                      .major_faults = 50'000,
                      .state = 'T'};
  task.steps.assign(4, step);
  task.steps[2].state = 'S';
  task.steps[3] = {.cpu = 1, .known = false};  // shares are those of the time that was seen
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
  series.waits_known = false;
  EXPECT_FALSE(summaries_of(series)[1].waiting);
}

}  // namespace
}  // namespace shmif::perf::test
