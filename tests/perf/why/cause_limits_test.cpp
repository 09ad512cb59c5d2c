// From which share on a cause counts, what several causes share of one interval, and which of
// several is told first.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "perf/why/analysis.hpp"
#include "perf/why/evidence.hpp"
#include "tests/perf/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kPlace = 5;

/// "waited_for_cpu 30", without losses.
std::vector<std::string> kinds_of(const WhySeries& series,
                                  const std::vector<JobTraffic>& traffic = {}) {
  std::vector<std::string> all;
  for (const Cause& cause : find_causes(series, traffic)) {
    all.push_back(std::string(word_of(cause.cause)) + ' ' +
                  std::to_string(static_cast<int>(cause.share * 100 + 0.5)));
  }
  return all;
}
using Kinds = std::vector<std::string>;

/// A thread to which the same happens in intervals 10 to 20.
Kinds kinds_if(const std::function<void(WhySeries&, TaskStep&, std::size_t)>& happens) {
  WhySeries series = quiet_series(40);
  series.groups.push_back({.name = "/g", .memory_name = "/g", .first = 3, .steps = {}});
  series.groups[0].steps.resize(37);
  for (std::size_t i = 10; i < 20; ++i) {
    series.machine[i].cpus.push_back({.cpu = 1});
    series.tasks[0].steps[i].group = 0;
    happens(series, series.tasks[0].steps[i], i);
  }
  return kinds_of(series);
}

TEST(CauseLimits, AreThoseOfEachCause) {
  const auto stolen = [](std::uint32_t us) {
    return kinds_if([us](WhySeries& series, TaskStep& step, std::size_t i) {
      step.run_us = 60'000;
      series.machine[i].cpus[0].steal_us = us;
    });
  };
  EXPECT_EQ(stolen(19'000), Kinds{});
  EXPECT_EQ(stolen(22'000), Kinds{"steal 22"});
  const auto interrupted = [](std::uint32_t us) {
    return kinds_if([us](WhySeries& series, TaskStep& step, std::size_t i) {
      step.run_us = 60'000;
      series.machine[i].cpus[0].softirq_us = us;
    });
  };
  EXPECT_EQ(interrupted(24'000), Kinds{});
  EXPECT_EQ(interrupted(26'000), Kinds{"softirq 26"});
  const auto throttled = [](std::uint32_t us) {
    return kinds_if([us](WhySeries& series, TaskStep& step, std::size_t i) {
      step.involuntary = 1;
      series.groups[0].steps[i - 3].throttled_us = us;
    });
  };
  EXPECT_EQ(throttled(4'000), Kinds{});
  EXPECT_EQ(throttled(13'000), Kinds{"throttled 13"});
  const auto waited = [](std::uint32_t us) {
    return kinds_if([us](WhySeries&, TaskStep& step, std::size_t) { step.wait_us = us; });
  };
  EXPECT_EQ(waited(9'000), Kinds{});
  EXPECT_EQ(waited(11'000), Kinds{"waited_for_cpu 11"});
  const auto migrated = [](std::uint32_t times) {
    return kinds_if([times](WhySeries&, TaskStep& step, std::size_t) { step.migrations = times; });
  };
  EXPECT_EQ(migrated(19), Kinds{});
  EXPECT_EQ(migrated(22), Kinds{"migrated 11"}) << "500 us each";
  EXPECT_EQ(migrated(400), Kinds{"migrated 100"});
}

TEST(CauseLimits, OfMemoryAreFaultsAndLimitsOrTheTimeForWhichItWasShort) {
  const auto short_of = [](std::uint32_t faults, std::uint32_t limits, std::uint32_t group_us,
                           std::uint32_t machine_us) {
    return kinds_if([=](WhySeries& series, TaskStep& step, std::size_t i) {
      step.major_faults = faults;
      GroupStep& group = series.groups[0].steps[i - 3];
      group.at_limit = limits;
      if (group_us > 0) group.memory_us = group_us;
      series.machine[i].memory_us = machine_us;
    });
  };
  EXPECT_EQ(short_of(300, 0, 0, 0), Kinds{"memory 30"}) << "100 us each";
  EXPECT_EQ(short_of(0, 400, 0, 0), Kinds{"memory 40"});
  EXPECT_EQ(short_of(300, 400, 0, 0), Kinds{"memory 70"});
  EXPECT_EQ(short_of(1, 0, 0, 50'000), Kinds{"memory 50"});
  EXPECT_EQ(short_of(0, 1, 0, 50'000), Kinds{"memory 50"});
  EXPECT_EQ(short_of(1, 0, 60'000, 50'000), Kinds{"memory 60"}) << "its group knows better";
  EXPECT_EQ(short_of(0, 0, 60'000, 50'000), Kinds{}) << "others waited";
  EXPECT_EQ(short_of(9'000, 0, 0, 0), Kinds{"memory 100"});
}

TEST(CauseParts, AWaitIsDividedBetweenAQuotaAndOtherThreads) {
  const auto divided = [](std::uint32_t wait_us, std::uint32_t throttled_us) {
    return kinds_if([=](WhySeries& series, TaskStep& step, std::size_t i) {
      step.run_us = 20'000;
      step.wait_us = wait_us;
      series.groups[0].steps[i - 3].throttled_us = throttled_us;
    });
  };
  EXPECT_EQ(divided(80'000, 50'000), (Kinds{"throttled 50", "waited_for_cpu 30"}));
  EXPECT_EQ(divided(50'000, 50'000), Kinds{"throttled 50"});
  EXPECT_EQ(divided(30'000, 90'000), Kinds{"throttled 80"}) << "no more than it was off its CPU";
}

/// What nobody counted was a quota's first. What the kernel counted as a wait was others'.
TEST(CauseParts, TimeThatNobodyCountedIsThatOfAQuotaOrOfTheHypervisorFirst) {
  const auto divided = [](std::uint32_t throttled_us, std::uint32_t steal_us) {
    return kinds_if([=](WhySeries& series, TaskStep& step, std::size_t i) {
      series.tasks[0].steps[9].state = 'R';
      step = {.run_us = 20'000, .wait_us = 30'000, .cpu = 1, .group = 0, .state = 'R'};
      series.groups[0].steps[i - 3].throttled_us = throttled_us;
      series.machine[i].cpus[0].steal_us = steal_us;
    });
  };
  EXPECT_EQ(divided(0, 0), Kinds{"waited_for_cpu 80"});
  EXPECT_EQ(divided(38'000, 0), (Kinds{"waited_for_cpu 42", "throttled 38"}));
  EXPECT_EQ(divided(60'000, 0), (Kinds{"throttled 60", "waited_for_cpu 20"}));
  EXPECT_EQ(divided(0, 45'000), (Kinds{"steal 45", "waited_for_cpu 35"}));
  EXPECT_EQ(divided(33'000, 35'000), (Kinds{"steal 35", "throttled 33", "waited_for_cpu 30"}));
}

/// Two interfaces and a queue of one namespace, which drop at different times.
WhySeries series_of_interfaces() {
  WhySeries series = quiet_series(60);
  series.jobs[0].nets = {kPlace};
  for (const std::size_t first : {0U, 4U}) {
    DeviceSeries& device = series.devices.emplace_back();
    device.name = first == 0 ? "a" : "b";
    device.net = kPlace;
    device.first = first;
    device.steps.resize(60 - first);
  }
  return series;
}

TEST(CauseOrder, OfCountedCausesWithoutLossesIsThatOfTheirTimes) {
  WhySeries series = series_of_interfaces();
  series.devices[0].steps[10] = {.tx_packets = 50, .tx_drops = 50};
  for (std::size_t i = 20; i < 30; ++i) {
    series.devices[1].steps[i - 4] = {.rx_packets = 70, .rx_drops = 30};
  }
  EXPECT_EQ(kinds_of(series), (Kinds{"device_queue 30", "device_queue 50"}));
  for (std::size_t i = 40; i < 50; ++i) series.tasks[0].steps[i].wait_us = 20'000;
  EXPECT_EQ(kinds_of(series), (Kinds{"device_queue 30", "waited_for_cpu 20", "device_queue 50"}));
  // That nothing was lost is no reason to keep quiet about an interface.
  EXPECT_EQ(kinds_of(series, {traffic_of(series, "rx", 0, 0, 0)}).size(), 3U);
}

TEST(CauseOrder, ATwentiethOfTheLossesIsWorthASentenceForACounter) {
  for (const std::uint64_t lost : {4U, 5U}) {
    WhySeries series = quiet_series(40);
    series.jobs[0].nets = {kPlace};
    series.queues.push_back({.interface = "v0", .kind = "tbf", .net = kPlace, .first = 2});
    series.queues[0].steps.resize(38);
    series.queues[0].steps[8] = {.packets = 95, .drops = lost};
    const auto causes = find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 100)});
    ASSERT_EQ(causes.size(), lost == 5 ? 1U : 0U);
    if (lost == 5) {
      EXPECT_EQ(causes[0].sentence,
                "rx: the queue tbf of the interface v0 dropped 5 packets, 5 % of 1.0 s to 1.1 s; "
                "that explains 5 % of its lost frames");
    }
  }
}

TEST(CauseOrder, BurstsThatAreThreeIntervalsApartAreOne) {
  for (const auto& [second, wanted] : {std::pair<std::size_t, Kinds>{14, {"device_queue 20"}},
                                       {15, {"device_queue 50", "device_queue 50"}}}) {
    WhySeries series = series_of_interfaces();
    series.devices[1].steps[10 - 4] = {.tx_packets = 50, .tx_drops = 50};
    for (std::size_t i = 11; i < second; ++i) series.devices[1].steps[i - 4].tx_packets = 100;
    series.devices[1].steps[second - 4] = {.tx_packets = 50, .tx_drops = 50};
    EXPECT_EQ(kinds_of(series), wanted) << second;
  }
}

/// A receiver that was held back has a full socket, so a short wait is worth a sentence when the
/// socket dropped frames, and not when they never came to it. The counter explains the losses.
TEST(CauseOrder, AShortWaitIsNamedBesideWhatTheSocketDroppedMeanwhile) {
  for (const auto& [loss, share] : {std::pair(NetLoss::receive_buffer, 0.0),
                                    {NetLoss::socket_memory, 0.0},
                                    {NetLoss::reassembly, -1.0},
                                    {NetLoss::no_route, -1.0}}) {
    WhySeries series = quiet_series(40);
    series.jobs[0].nets = {kPlace};
    series.tasks[0].steps[10].wait_us = 60'000;
    NetSeries& net = series.nets.emplace_back();
    net.net = kPlace;
    net.steps.resize(40);
    net.steps[10][loss] = NetCount{.lost = 100, .passed = 25, .v4 = true};
    double found = -1;
    for (const Cause& cause :
         find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 100)})) {
      if (cause.cause == CauseKind::waited_for_cpu) found = cause.of_losses_share.value_or(-1);
    }
    EXPECT_NEAR(found, share, 1e-9) << static_cast<int>(loss);
  }
}

/// In a run, the watch begins long after the time from which its causes count.
TEST(CauseLimits, OfAShortWatchAreThoseOfItsOwnLength) {
  for (const double begin_s : {0.0, 100.0}) {
    WhySeries series = quiet_series(2);
    series.begin_s = begin_s;
    for (double& end : series.ends_s) end += begin_s;
    series.tasks[0].steps[1] = {.run_us = 10'000, .wait_us = 60'000, .cpu = 1, .state = 'S'};
    const auto causes = find_causes(series, {});
    ASSERT_EQ(causes.size(), 1U) << begin_s;
    EXPECT_EQ(causes[0].cause, CauseKind::waited_for_cpu);
    EXPECT_NEAR(causes[0].begin_s, begin_s + 0.1, 1e-9);
    EXPECT_NEAR(causes[0].share, 0.6, 1e-9);
  }
}

}  // namespace
}  // namespace shmif::perf::test
