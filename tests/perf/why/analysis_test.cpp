// Causes of made series: each cause with its evidence, and none without.

#include "perf/why/analysis.hpp"

#include <gtest/gtest.h>

#include <random>

#include "perf/why/evidence.hpp"
#include "tests/perf/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

/// The only cause of the series.
Cause only_cause(const WhySeries& series, const std::vector<JobTraffic>& traffic = {}) {
  const auto causes = find_causes(series, traffic);
  EXPECT_EQ(causes.size(), 1U);
  return causes.empty() ? Cause{} : causes[0];
}

void expect(const Cause& cause, CauseKind kind, double begin, double end, double share) {
  EXPECT_STREQ(word_of(cause.cause), word_of(kind)) << cause.sentence;
  EXPECT_NEAR(cause.begin_s, begin, 1e-9) << cause.sentence;
  EXPECT_NEAR(cause.end_s, end, 1e-9) << cause.sentence;
  EXPECT_NEAR(cause.share, share, 1e-9) << cause.sentence;
}

TEST(Causes, OfAQuietRunAreNone) {
  const WhySeries series = quiet_series(50, {"rx", "tx"});
  EXPECT_TRUE(find_causes(series, {}).empty());
  const std::vector<JobTraffic> lossy{traffic_of(series, "rx", 10, 20, 5)};
  EXPECT_TRUE(find_causes(series, lossy).empty()) << "losses alone are no evidence";
  EXPECT_TRUE(find_causes(WhySeries(), {}).empty());
}

TEST(Causes, NameWaitsWithTheLossesThatFellThere) {
  WhySeries series = quiet_series(60, {"tx", "rx"});
  for (std::size_t i = 20; i < 40; ++i) series.tasks[1].steps[i].wait_us = 61'000;
  JobTraffic traffic = traffic_of(series, "rx", 20, 40, 49);
  traffic.steps[5].lost = 20;
  const Cause cause = only_cause(series, {traffic});
  EXPECT_EQ(cause.job, "rx");
  expect(cause, CauseKind::waited_for_cpu, 2, 4, 0.61);
  EXPECT_NEAR(cause.of_losses_share.value_or(0), 0.98, 1e-9);
  EXPECT_EQ(cause.sentence,
            "rx was runnable but not running for 61 % of 2.0 s to 4.0 s; 98 % of all lost frames "
            "fell there");
}

/// An interval that was not seen does not count as one in which the thread was not held back,
/// neither in a table nor for a cause.
TEST(Causes, HaveTheShareOfTheIntervalsThatWereSeen) {
  WhySeries series = quiet_series(60);
  for (std::size_t i = 20; i < 40; ++i) series.tasks[0].steps[i].wait_us = 61'000;
  for (const std::size_t i : {24, 30, 31}) series.tasks[0].steps[i] = {.cpu = 1, .known = false};
  expect(only_cause(series), CauseKind::waited_for_cpu, 2, 4, 0.61);
}

/// A receiver that was held back counts what it lost when it runs again.
TEST(Causes, HaveTheLossesThatWereCountedALittleLater) {
  WhySeries series = quiet_series(60);
  for (std::size_t i = 20; i < 40; ++i) series.tasks[0].steps[i].wait_us = 61'000;
  JobTraffic traffic = traffic_of(series, "rx", 40, 41, 90);
  EXPECT_NEAR(only_cause(series, {traffic}).of_losses_share.value_or(0), 1, 1e-9);
  traffic.steps[42].lost = 10;
  EXPECT_NEAR(only_cause(series, {traffic}).of_losses_share.value_or(0), 0.9, 1e-9);
}

TEST(Causes, HaveNoShareOfLossesWithoutTrafficOrLosses) {
  WhySeries series = quiet_series(60);
  for (std::size_t i = 20; i < 40; ++i) series.tasks[0].steps[i].wait_us = 50'000;
  EXPECT_FALSE(only_cause(series).of_losses_share);
  EXPECT_FALSE(only_cause(series, {traffic_of(series, "rx", 0, 0, 0)}).of_losses_share);
  const std::vector<JobTraffic> elsewhere{traffic_of(series, "rx", 50, 55, 3)};
  EXPECT_EQ(only_cause(series, elsewhere).of_losses_share.value_or(-1), 0);
}

TEST(Causes, TellOfTheWorstLatencyIfItFellThere) {
  WhySeries series = quiet_series(60);
  for (std::size_t i = 20; i < 30; ++i) series.tasks[0].steps[i].wait_us = 50'000;
  JobTraffic traffic = traffic_of(series, "rx", 0, 0, 0);
  for (TrafficStep& step : traffic.steps) step.latency_max_ns = 1e6;
  traffic.steps[25].latency_max_ns = 42.7e6;
  EXPECT_NE(only_cause(series, {traffic}).sentence.find("; the worst latency, 42 ms, fell there"),
            std::string::npos);
}

TEST(Causes, NameAStop) {
  WhySeries series = quiet_series(40);
  for (std::size_t i = 10; i < 20; ++i) series.tasks[0].steps[i] = {.cpu = 1, .state = 'T'};
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::stopped, 1, 2.1, (0.5 + 9 + 0.4725) / 11);
  EXPECT_NE(cause.sentence.find("rx was stopped by a signal or a debugger for 91 % of 1.0 s to"),
            std::string::npos)
      << cause.sentence;
}

/// The kernel counts a quota either as a wait, or not at all.
TEST(Causes, NameAQuotaAndNotTheWaitForIt) {
  for (const bool counted : {false, true}) {
    WhySeries series = quiet_series(40);
    series.groups.push_back({.name = "/rig", .memory_name = "/other", .first = 0, .steps = {}});
    series.groups[0].steps.resize(40);
    series.tasks[0].steps[9].state = 'R';
    for (std::size_t i = 10; i < 30; ++i) {
      TaskStep& step = series.tasks[0].steps[i];
      step = {
          .run_us = 20'000, .wait_us = counted ? 80'000U : 0U, .cpu = 1, .group = 0, .state = 'R'};
      series.groups[0].steps[i].throttled_us = 80'000;
      step.involuntary = 1;
    }
    const Cause cause = only_cause(series);
    expect(cause, CauseKind::throttled, 1, 3, 0.8);
    EXPECT_EQ(cause.sentence,
              "rx was throttled by the CPU quota of its control group /rig for 80 % of 1.0 s to "
              "3.0 s");
  }
}

TEST(Causes, BlameNoQuotaForASleeperOfAThrottledGroup) {
  WhySeries series = quiet_series(40);
  series.groups.push_back({.name = "/rig", .memory_name = {}, .first = 0, .steps = {}});
  series.groups[0].steps.assign(40, {.throttled_us = 80'000, .memory_us = {}});
  for (TaskStep& step : series.tasks[0].steps) step = {.voluntary = 1, .group = 0, .state = 'S'};
  EXPECT_TRUE(find_causes(series, {}).empty());
}

TEST(Causes, NameMigrationsByTheirCost) {
  WhySeries series = quiet_series(40);
  for (std::size_t i = 10; i < 20; ++i) series.tasks[0].steps[i].migrations = 60;
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::migrated, 1, 2, 0.3);
  EXPECT_EQ(cause.sentence, "rx was moved between CPUs 600 times from 1.0 s to 2.0 s");
}

TEST(Causes, NameAChangeOfAffinityUnlessTheThreadHasJustBegun) {
  WhySeries series = quiet_series(40);
  series.tasks[0].steps[12].moved = true;
  series.tasks[0].changes.push_back({12, "0", "1"});
  const Cause cause = only_cause(series);
  EXPECT_EQ(cause.cause, CauseKind::migrated);
  EXPECT_NEAR(cause.begin_s, 1.2, 1e-9);
  EXPECT_EQ(cause.sentence,
            "rx was moved to another CPU from 1.2 s to 1.3 s: its CPUs were changed from 0 to 1");
  series.tasks[0].born_s = 0.5;
  EXPECT_TRUE(find_causes(series, {}).empty());
}

TEST(Causes, NameStealAndSoftirqsOfTheCpuOnlyIfTheThreadWantedIt) {
  for (const bool steal : {true, false}) {
    WhySeries series = quiet_series(40);
    for (std::size_t i = 10; i < 20; ++i) {
      CpuStep cpu{.cpu = 1};
      (steal ? cpu.steal_us : cpu.softirq_us) = 40'000;
      series.machine[i].cpus.push_back(cpu);
    }
    EXPECT_TRUE(find_causes(series, {}).empty()) << "it slept";
    for (TaskStep& step : series.tasks[0].steps) step.run_us = 60'000;
    const Cause cause = only_cause(series);
    expect(cause, steal ? CauseKind::steal : CauseKind::softirq, 1, 2, 0.4);
    EXPECT_EQ(cause.sentence,
              steal ? "the hypervisor took CPU 1 from rx for 40 % of 1.0 s to 2.0 s"
                    : "CPU 1, where rx ran, was in softirqs for 40 % of 1.0 s to 2.0 s");
    for (MachineStep& step : series.machine) {
      for (CpuStep& cpu : step.cpus) cpu.cpu = 0;
    }
    EXPECT_TRUE(find_causes(series, {}).empty()) << "another CPU";
  }
}

TEST(Causes, NameAFullQueueOfAnInterfaceOfTheJobsNamespace) {
  WhySeries series = quiet_series(40);
  series.devices.push_back({.name = "tap0", .net = 5, .first = 0, .steps = {}});
  series.devices[0].steps.assign(40, {.tx_packets = 100});
  for (std::size_t i = 10; i < 30; ++i) series.devices[0].steps[i].tx_drops = 300;
  EXPECT_TRUE(find_causes(series, {}).empty()) << "another namespace";
  series.jobs[0].nets = {4, 5};
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::device_queue, 1, 3, 0.75);
  EXPECT_EQ(
      cause.sentence,
      "the interface tap0 dropped 6,000 packets that were to be sent, 75 % of 1.0 s to 3.0 s");
  series.jobs[0].uses_network = false;
  EXPECT_TRUE(find_causes(series, {}).empty()) << "its frames go elsewhere";
}

TEST(Causes, NameDropsOfTheQueuesOfCpus) {
  WhySeries series = quiet_series(40);
  for (std::size_t i = 10; i < 20; ++i) {
    series.machine[i].cpus.push_back({.cpu = 0, .packets = 50, .drops = 150});
  }
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::softirq, 1, 2, 0.75);
  EXPECT_NE(cause.sentence.find("the kernel dropped 1,500 packets"), std::string::npos);
}

TEST(Causes, NameMemoryOnlyIfTheJobMetIt) {
  WhySeries series = quiet_series(40);
  for (std::size_t i = 10; i < 20; ++i) series.machine[i].memory_us = 70'000;
  EXPECT_TRUE(find_causes(series, {}).empty()) << "somebody else waited";
  for (std::size_t i = 10; i < 20; ++i) series.tasks[0].steps[i].major_faults = 3;
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::memory, 1, 2, 0.7);
  EXPECT_EQ(cause.sentence, "rx waited for memory for 70 % of 1.0 s to 2.0 s (30 major faults)");
  series.groups.push_back({.name = {}, .memory_name = "/small", .first = 0, .steps = {}});
  series.groups[0].steps.assign(40, {.at_limit = 0, .memory_us = 5'000});
  for (std::size_t i = 10; i < 20; ++i) {
    series.tasks[0].steps[i].group = 0;
    series.groups[0].steps[i] = {.at_limit = 7, .memory_us = 50'000};
  }
  const Cause of_group = only_cause(series);
  expect(of_group, CauseKind::memory, 1, 2, 0.5);
  EXPECT_NE(of_group.sentence.find("and its control group /small met its limit 70 times"),
            std::string::npos)
      << of_group.sentence;
}

TEST(Causes, NameTheLockAndThePausesOfABus) {
  for (const bool lock : {true, false}) {
    WhySeries series = quiet_series(40);
    series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 0, .steps = {}});
    series.ports[0].steps.resize(40);
    for (std::size_t i = 10; i < 20; ++i) {
      PortStep& step = series.ports[0].steps[i];
      if (lock) step.lock_sleeps = 1000;
      if (!lock) step.paused_us = 50'000;
      step.pauses = 4;
    }
    const Cause cause = only_cause(series);
    expect(cause, lock ? CauseKind::bus_lock : CauseKind::bus_pause, 1, 2, 0.5);
    EXPECT_EQ(
        cause.sentence,
        lock ? "rx slept for the lock of the bus for at least 50 % of 1.0 s to 2.0 s "
               "(10,000 times)"
             : "rx was paused for slow ports of the bus for 50 % of 1.0 s to 2.0 s (40 times)");
    series.ports[0].steps[12].stalls = 1;
    const bool named = only_cause(series).sentence.find("its own port") != std::string::npos;
    EXPECT_EQ(named, !lock) << "senders stopped waiting for it";
    series.ports[0].job.reset();
    EXPECT_TRUE(find_causes(series, {}).empty()) << "somebody else's port";
  }
}

TEST(Causes, NameAPauseThatWasCountedWhenItEnded) {
  WhySeries series = quiet_series(40);
  series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 0, .steps = {}});
  series.ports[0].steps.resize(40);
  series.ports[0].steps[19].paused_us = 950'000;
  series.ports[0].steps[19].pauses = 1;
  expect(only_cause(series), CauseKind::bus_pause, 1, 2, 0.95);
}

TEST(Causes, NameTheLockIfItWasTakenFromALivingHolderAfterWaitingForIt) {
  WhySeries series = quiet_series(40);
  series.buses.push_back({.bus = "/b", .first = 0, .takeovers = {}, .takeovers_living = {}});
  series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 0, .steps = {}});
  series.ports[0].steps.resize(40);
  series.buses[0].takeovers_living.resize(40);
  for (std::size_t i = 10; i < 20; ++i) {
    series.ports[0].steps[i].lock_sleeps = 120;
    series.buses[0].takeovers_living[i] = 1;
  }
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::bus_lock, 1, 2, 1);
  for (PortStep& step : series.ports[0].steps) step.lock_sleeps = 0;
  EXPECT_TRUE(find_causes(series, {}).empty()) << "another port waited";
}

TEST(Causes, NameTheLockForAPortThatWasNotThereFromTheBegin) {
  WhySeries series = quiet_series(40);
  series.buses.push_back({.bus = "/b", .first = 5, .takeovers = {}, .takeovers_living = {}});
  series.buses[0].takeovers_living.resize(35);
  series.ports.push_back({.bus = "/b", .name = "p", .job = 0, .first = 20, .steps = {}});
  series.ports[0].steps.resize(20);
  for (std::size_t i = 25; i < 35; ++i) {
    series.buses[0].takeovers_living[i - 5] = 1;
    series.ports[0].steps[i - 20].lock_sleeps = 120;
  }
  expect(only_cause(series), CauseKind::bus_lock, 2.5, 3.5, 1);
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
  std::vector<std::string> told;
  for (const Cause& cause : find_causes(series, {})) {
    told.push_back(cause.job + ' ' + word_of(cause.cause) + ' ' + second_text(cause.begin_s));
  }
  EXPECT_EQ(told, (std::vector<std::string>{"a waited_for_cpu 1.0 s", "b waited_for_cpu 1.0 s",
                                            "a migrated 1.0 s", "b waited_for_cpu 5.0 s"}));
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
  const Cause cause = only_cause(series);
  expect(cause, CauseKind::waited_for_cpu, 1, 3, 0.6);
  EXPECT_EQ(cause.sentence.find("rx (thread 202, worker) was runnable but not running"), 0U)
      << cause.sentence;
}

TEST(Causes, TheHeaviestIsTheOneWithTheLosses) {
  WhySeries series = quiet_series(80);
  for (std::size_t i = 0; i < 30; ++i) series.tasks[0].steps[i].wait_us = 90'000;
  for (std::size_t i = 50; i < 60; ++i) series.tasks[0].steps[i].migrations = 100;
  EXPECT_EQ(find_causes(series, {}).at(0).cause, CauseKind::waited_for_cpu);
  const std::vector<JobTraffic> traffic{traffic_of(series, "rx", 50, 60, 10)};
  EXPECT_EQ(find_causes(series, traffic).at(0).cause, CauseKind::migrated);
}

TEST(Causes, AreNamedForAShortTimeOnlyIfLossesFellThere) {
  WhySeries series = quiet_series(40);
  series.tasks[0].steps[10].wait_us = 40'000;
  EXPECT_TRUE(find_causes(series, {}).empty());
  const std::vector<JobTraffic> traffic{traffic_of(series, "rx", 10, 11, 9)};
  EXPECT_EQ(only_cause(series, traffic).of_losses_share.value_or(0), 1);
}

TEST(Causes, AreNamedForAQuarterOfAShortWatchUnlessItIsABlink) {
  WhySeries series = quiet_series(1);
  series.ends_s = {0.08};
  series.tasks[0].steps[0].wait_us = 70'000;
  const Cause cause = only_cause(series);
  EXPECT_EQ(cause.cause, CauseKind::waited_for_cpu);
  EXPECT_NEAR(cause.share, 0.875, 1e-9);
  series.tasks[0].steps[0].wait_us = 19'000;
  EXPECT_TRUE(find_causes(series, {}).empty()) << "less than a quarter";
  series.ends_s = {0.02};
  series.tasks[0].steps[0].run_us = 0;
  series.tasks[0].steps[0].wait_us = 9'000;
  EXPECT_TRUE(find_causes(series, {}).empty()) << "less than 10 ms";
  series.tasks[0].steps[0].wait_us = 12'000;
  EXPECT_EQ(find_causes(series, {}).size(), 1U);
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
      EXPECT_LE(cause.of_losses_share.value_or(0), 1);
      EXPECT_EQ(cause.of_losses_share.has_value(),
                cause.job == "a" && traffic[0].steps.back().lost);
      EXPECT_NE(cause.sentence, "");
      const double weight = loss_weight(cause);
      EXPECT_LE(weight, last + 1e-9);
      last = weight;
      explained += cause.of_losses_share.value_or(0);
    }
    EXPECT_LE(explained, 1 + 1e-9);
  }
}

TEST(Summaries, HaveTheSharesAndSumsOfEachThread) {
  WhySeries series = quiet_series(10);
  series.tasks[0].steps[3].migrations = 2;
  series.tasks[0].steps[4].minor_faults = 5;
  const auto all = summaries_of(series);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].job, "rx");
  EXPECT_EQ(all[0].thread, 100);
  EXPECT_NEAR(all[0].seconds, 1, 1e-9);
  EXPECT_NEAR(all[0].running, 0.05, 1e-9);
  EXPECT_NEAR(all[0].waiting.value_or(0), 0.005, 1e-9);
  EXPECT_NEAR(all[0].asleep, 0.945, 1e-9);
  EXPECT_EQ(all[0].voluntary, 100U);
  EXPECT_EQ(all[0].migrations, 2U);
  EXPECT_EQ(all[0].minor_faults, 5U);
  series.waits_known = false;
  EXPECT_FALSE(summaries_of(series)[0].waiting);
}

/// Ready all the time, but not on a CPU: a quota or the hypervisor had it, and nobody counted that.
TEST(Summaries, CountTimeInWhichAReadyThreadWasHeldAsWaiting) {
  WhySeries series = quiet_series(10);
  series.tasks[0].steps[4].state = 'R';
  TaskStep& held = series.tasks[0].steps[5];
  held.state = 'R';
  held.voluntary = 0;
  held.run_us = 30'000;
  held.wait_us = 0;
  const auto all = summaries_of(series);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_NEAR(all[0].waiting.value_or(0), 0.0745, 1e-9) << "70 ms, and nine times 0.5 ms";
  EXPECT_NEAR(all[0].running, 0.075, 1e-9);
  EXPECT_NEAR(all[0].asleep, 0.8505, 1e-9);
}

/// What is not known is no sleep: shares are those of the time that was seen.
TEST(Summaries, CountOnlyTheIntervalsThatWereSeen) {
  WhySeries series = quiet_series(10);
  for (const std::size_t i : {2, 3, 7}) series.tasks[0].steps[i] = {.cpu = 1, .known = false};
  series.tasks[0].steps[5].run_us = 40'000;
  const auto all = summaries_of(series);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_NEAR(all[0].seconds, 0.7, 1e-9);
  EXPECT_NEAR(all[0].running, 0.1, 1e-9) << "30 ms and 40 ms of 700 ms";
  EXPECT_NEAR(all[0].waiting.value_or(0), 0.005, 1e-9);
  EXPECT_NEAR(all[0].asleep, 0.895, 1e-9);
  for (TaskStep& step : series.tasks[0].steps) step.known = false;
  EXPECT_EQ(summaries_of(series)[0].seconds, 0);
  EXPECT_FALSE(summaries_of(series)[0].waiting);
}

}  // namespace
}  // namespace shmif::perf::test
