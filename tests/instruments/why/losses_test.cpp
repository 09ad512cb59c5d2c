// Whom losses are given to: requested faults first, then what was counted, and to each no more than
// it has counted.

#include <gtest/gtest.h>

#include "instruments/why/analysis.hpp"
#include "instruments/why/evidence.hpp"
#include "tests/instruments/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kNet = 5, kOtherNet = 6;

/// A receiver in a namespace that counts `lost` datagrams, in its interval 10.
WhySeries series_that_counts(NetLoss loss, std::uint64_t lost, bool v6 = false) {
  WhySeries series = quiet_series(40);
  series.jobs[0].nets = {kNet};
  NetSeries& net = series.nets.emplace_back();
  net.net = kNet;
  net.steps.resize(40);
  for (NetStep& step : net.steps) step[loss] = NetCount{};
  net.steps[10][loss] = NetCount{.lost = lost, .passed = lost, .v4 = !v6, .v6 = v6};
  return series;
}

std::vector<std::string> told(const std::vector<Cause>& causes) {
  std::vector<std::string> all;
  for (const Cause& cause : causes) {
    const double share = cause.of_losses_share.value_or(0);
    all.push_back(cause.job + ' ' + word_of(cause.cause) + ' ' +
                  std::to_string(static_cast<int>(share * 100 + 0.5)));
  }
  return all;
}
using Told = std::vector<std::string>;

TEST(Losses, ThatAreToldTogetherAreAPartOfAllThatPassedMeanwhile) {
  WhySeries series = quiet_series(40);
  series.jobs[0].nets = {kNet};
  NetSeries& net = series.nets.emplace_back();
  net.net = kNet;
  net.steps.resize(40);
  for (NetStep& step : net.steps) step[NetLoss::receive_buffer] = NetCount{};
  const auto count = [&](std::size_t interval, std::uint64_t lost, std::uint64_t passed) {
    net.steps[interval][NetLoss::receive_buffer] =
        NetCount{.lost = lost, .passed = passed, .v4 = lost > 0};
  };
  count(9, 0, 5000);  // before
  count(10, 100, 10);
  count(11, 0, 600);  // in between
  count(12, 100, 190);
  count(13, 0, 5000);  // behind
  const auto causes = find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 200)});
  ASSERT_EQ(told(causes), Told{"rx receive_buffer 100"});
  EXPECT_NE(causes[0].sentence.find("200 datagrams were dropped"), std::string::npos);
  EXPECT_NE(causes[0].sentence.find(", 20 % of 1.0 s to 1.3 s"), std::string::npos)
      << causes[0].sentence;
}

struct Place {
  NetLoss loss;
  CauseKind kind;
  std::string words, v4, v6;
  bool udp, tcp, inwards;  ///< whom it concerns
};

/// What each count of the IP stack is told as, to which jobs, and from which namespace.
TEST(Losses, OfEachPlaceAreToldWithTheKernelsNameToTheJobsThatItConcerns) {
  const std::vector<Place> places{
      {NetLoss::receive_buffer, CauseKind::receive_buffer, "did not read fast enough",
       "UdpRcvbufErrors", "Udp6RcvbufErrors", true, false, true},
      {NetLoss::socket_memory, CauseKind::socket_memory, "net.ipv4.udp_mem", "UdpMemErrors",
       "Udp6MemErrors", true, false, true},
      {NetLoss::reassembly, CauseKind::reassembly, "fragments were missing", "IpReasmFails",
       "Ip6ReasmFails", true, true, true},
      {NetLoss::listen_queue, CauseKind::listen_queue, "did not accept fast enough",
       "TcpExtListenDrops", "", false, true, true},
      {NetLoss::retransmits, CauseKind::retransmits, "TCP segments", "TcpRetransSegs", "", false,
       true, false},
      {NetLoss::no_route, CauseKind::no_route, "had no route", "IpOutNoRoutes", "Ip6OutNoRoutes",
       true, true, false},
      {NetLoss::neighbour, CauseKind::neighbour, "198.18.0.9", "ARP", "neighbour discovery", true,
       true, false},
  };
  ASSERT_EQ(places.size(), kNetLosses);
  for (const Place& place : places) {
    for (const bool v6 : {false, true}) {
      if (v6 && place.v6.empty()) continue;
      WhySeries series = series_that_counts(place.loss, 60, v6);
      SCOPED_TRACE(place.words);
      series.nets[0].neighbour = "198.18.0.9";
      series.jobs[0].name = "we were {}";
      const std::vector traffic{traffic_of(series, "we were {}", 10, 11, 80)};
      const auto causes = find_causes(series, traffic);
      ASSERT_EQ(causes.size(), 1U);
      EXPECT_EQ(causes[0].cause, place.kind);
      EXPECT_TRUE(causes[0].sentence.starts_with("we were {}: 60 ")) << causes[0].sentence;
      for (const std::string& words :
           {place.words, '(' + (v6 ? place.v6 : place.v4) + ')', std::string("50 % of 1.0 s"),
            std::string("explains 75 % of its lost frames")}) {
        EXPECT_NE(causes[0].sentence.find(words), std::string::npos)
            << words << " is not in " << causes[0].sentence;
      }
      EXPECT_NEAR(causes[0].of_losses_share.value_or(0), 0.75, 1e-9);
      const auto named = [&](auto change) {
        WhySeries other = series;
        change(other);
        return !find_causes(other, traffic).empty();
      };
      const auto jobs_of = [](bool udp, bool tcp) {
        return [udp, tcp](WhySeries& of) { of.jobs[0].uses_udp = udp, of.jobs[0].uses_tcp = tcp; };
      };
      EXPECT_EQ(named(jobs_of(true, false)), place.udp);
      EXPECT_EQ(named(jobs_of(false, true)), place.tcp);
      EXPECT_FALSE(named(jobs_of(false, false)));
      EXPECT_EQ(named([](WhySeries& of) { of.jobs[0].sends = false; }), place.inwards);
      EXPECT_EQ(named([](WhySeries& of) { of.jobs[0].receives = false; }), !place.inwards);
      EXPECT_FALSE(named([](WhySeries& of) { of.nets[0].net = kOtherNet; }));
      EXPECT_FALSE(named([](WhySeries& of) { of.jobs[0].uses_network = false; }));
    }
  }
}

TEST(Losses, AreGivenToACounterUpToItsCountAndNotBeforeIt) {
  const WhySeries series = series_that_counts(NetLoss::receive_buffer, 30);
  EXPECT_EQ(told(find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 120)})),
            Told{"rx receive_buffer 25"});
  EXPECT_EQ(told(find_causes(series, std::vector{traffic_of(series, "rx", 30, 31, 120)})),
            Told{"rx receive_buffer 25"})
      << "noticed later, behind what waited in the buffer";
  EXPECT_EQ(told(find_causes(series, std::vector{traffic_of(series, "rx", 2, 3, 120)})), Told{})
      << "before anything was counted";
  // Steps of the traffic are longer than the intervals.
  const auto told_of_step = [&](double begin_s, double end_s) {
    JobTraffic traffic{.job = "rx"};
    traffic.steps = {{.begin_s = begin_s, .end_s = end_s, .lost = 120}};
    return told(find_causes(series, std::vector{traffic}));
  };
  EXPECT_EQ(told_of_step(0.2, 1.5), Told{"rx receive_buffer 25"}) << "it began before";
  EXPECT_EQ(told_of_step(0.2, series.begin_of(10)), Told{}) << "it ended before";
  EXPECT_EQ(told(find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 1000)})), Told{})
      << "3 % of the losses are not worth a sentence";
  EXPECT_EQ(told(find_causes(series, std::vector{traffic_of(series, "rx", 0, 0, 0)})), Told{})
      << "another program's";
  JobTraffic traffic = traffic_of(series, "rx", 10, 11, 30);
  traffic.of_port = true;
  EXPECT_EQ(told(find_causes(series, std::vector{traffic})), Told{"rx receive_buffer 0"})
      << "a port of a bus has no socket";
  WhySeries unknown = series;
  unknown.nets[0].steps[10][NetLoss::receive_buffer].reset();
  EXPECT_EQ(told(find_causes(unknown, std::vector{traffic_of(series, "rx", 10, 11, 30)})), Told{});
}

TEST(Losses, AreGivenToOneCounterOnce) {
  WhySeries series = series_that_counts(NetLoss::receive_buffer, 90);
  series.nets[0].steps[10][NetLoss::reassembly] = NetCount{.lost = 30, .passed = 300, .v4 = true};
  EXPECT_EQ(told(find_causes(series, std::vector{traffic_of(series, "rx", 10, 11, 100)})),
            (Told{"rx receive_buffer 70", "rx reassembly 30"}));
  // Two receivers in one namespace.
  WhySeries two = quiet_series(40, {"a", "b"});
  two.nets = series_that_counts(NetLoss::receive_buffer, 100).nets;
  two.jobs[0].nets = two.jobs[1].nets = {kNet};
  EXPECT_EQ(told(find_causes(two, std::vector{traffic_of(two, "a", 10, 11, 80),
                                              traffic_of(two, "b", 10, 11, 80)})),
            (Told{"a receive_buffer 100", "b receive_buffer 25"}));
}

TEST(Losses, ByRequestedFaultsComeFirstAndAreNotGivenToAnythingElse) {
  WhySeries series = series_that_counts(NetLoss::receive_buffer, 1000);
  for (TaskStep& step : series.tasks[0].steps) step.migrations = 60;  // held back for 30 %
  JobTraffic traffic = traffic_of(series, "rx", 0, 40, 5);
  traffic.faults = {{.where = "tx", .options = "loss=5%", .frames = 4000, .lost = 200}};
  const auto causes = find_causes(series, std::vector{traffic});
  EXPECT_EQ(told(causes), (Told{"rx requested_faults 100", "rx migrated 0"}));
  EXPECT_NE(causes[0].sentence.find("faults of tx (loss=5%) took 200 frames"), std::string::npos)
      << causes[0].sentence;
  EXPECT_EQ(causes[0].share, 0.05);
  EXPECT_EQ(causes[0].begin_s, 0);
  EXPECT_EQ(causes[0].end_s, series.ends_s.back());
  traffic.faults[0].lost = 50;
  traffic.faults[0].queue_full = 30;
  EXPECT_EQ(told(find_causes(series, std::vector{traffic})),
            (Told{"rx requested_faults 25", "rx receive_buffer 60", "rx fault_queue 15",
                  "rx migrated 0"}));
}

/// A job that was moved for 3 % of a time cannot have lost a fifth of its frames by that.
TEST(Losses, AreGivenToAJobThatWasHeldBackUpToTheFramesOfThatTime) {
  WhySeries series = quiet_series(40);
  for (TaskStep& step : series.tasks[0].steps) step.wait_us = 20'000;
  JobTraffic traffic = traffic_of(series, "rx", 0, 40, 100);
  const auto share = [&](std::uint64_t received) {
    for (TrafficStep& step : traffic.steps) step.received = received;
    const auto causes = find_causes(series, std::vector{traffic});
    return causes.at(0).of_losses_share.value_or(-1);
  };
  EXPECT_NEAR(share(0), 0.2, 1e-9);
  EXPECT_NEAR(share(300), 0.8, 1e-9) << "a fifth of 400 frames, of which 100 were lost";
  EXPECT_NEAR(share(900), 1, 1e-9);
  share(0);
  traffic.steps[20].received.reset();
  EXPECT_NEAR(find_causes(series, std::vector{traffic}).at(0).of_losses_share.value_or(-1), 1, 1e-9)
      << "no limit is known";
}

/// Without losses that are known, a share of all packets decides, and a few do not count.
TEST(Losses, ThatNobodyCountsAreToldFromOnePerCentOn) {
  const auto causes = [](std::uint64_t lost, std::uint64_t passed) {
    WhySeries series = series_that_counts(NetLoss::listen_queue, lost);
    series.nets[0].steps[10][NetLoss::listen_queue]->passed = passed;
    return told(find_causes(series, {}));
  };
  EXPECT_EQ(causes(9, 0), Told{});
  EXPECT_EQ(causes(10, 990), Told{"rx listen_queue 0"});
  EXPECT_EQ(causes(10, 991), Told{});
  WhySeries series = series_that_counts(NetLoss::retransmits, 500);
  series.jobs[0].uses_tcp = false;
  EXPECT_EQ(told(find_causes(series, {})), Told{}) << "of somebody else's connections";
}

/// Bursts that are far from each other are told each, with their own counts.
TEST(Losses, InTwoTimesAreToldTwice) {
  WhySeries series = series_that_counts(NetLoss::receive_buffer, 60);
  series.nets[0].steps[12][NetLoss::receive_buffer] = NetCount{.lost = 20, .v4 = true};
  series.nets[0].steps[30][NetLoss::receive_buffer] = NetCount{.lost = 20, .v4 = true};
  JobTraffic traffic = traffic_of(series, "rx", 10, 11, 75);
  traffic.steps[35].lost = 25;
  EXPECT_EQ(told(find_causes(series, std::vector{traffic})),
            (Told{"rx receive_buffer 80", "rx receive_buffer 20"}));
}

TEST(CauseKinds, HaveWordsThatAreReadBack) {
  for (auto kind = CauseKind::waited_for_cpu; kind <= CauseKind::qdisc;
       kind = static_cast<CauseKind>(static_cast<int>(kind) + 1)) {
    EXPECT_EQ(cause_kind_of(word_of(kind)), kind);
  }
  EXPECT_FALSE(cause_kind_of("weather"));
}

}  // namespace

// How a thread spent its time, from counters that the kernel advances late.

namespace {

/// A thread that waits for 350 ms: the kernel counts that when it runs again.
TEST(Account, PutsAWaitWhereItWas) {
  WhySeries series = quiet_series(6);
  auto& steps = series.tasks[0].steps;
  for (const std::size_t i : {1, 2, 3}) {
    steps[i] = {.cpu = 1, .state = 'R'};
  }
  steps[1].run_us = 20'000;  // it slept and ran, and waits from the middle of this interval on
  steps[1].voluntary = 1;
  steps[4].run_us = 10'000;
  steps[4].wait_us = 350'000;
  const auto times = account_of(series, series.tasks[0]);
  EXPECT_NEAR(times[4].waiting, 0.9, 1e-9);
  EXPECT_NEAR(times[3].waiting, 1.0, 1e-9);
  EXPECT_NEAR(times[2].waiting, 1.0, 1e-9);
  EXPECT_NEAR(times[1].waiting, 0.6, 1e-9);
  EXPECT_NEAR(times[1].asleep, 0.2, 1e-9);
  EXPECT_NEAR(times[0].waiting, 0.005, 1e-9) << "it was asleep at this border";
}

TEST(Account, TakesATracedThreadForStoppedAlsoBeforeTheFirstInterval) {
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

TEST(Account, PutsNoTimeIntoIntervalsThatWereNotSeen) {
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

TEST(Account, PutsARunIntoTheIntervalsBeforeItWasCounted) {
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

std::vector<std::pair<std::size_t, std::size_t>> borders(const std::vector<double>& values) {
  const WhySeries series = quiet_series(values.size());
  std::vector<std::pair<std::size_t, std::size_t>> found;
  for (const CauseWindow& window : windows_of(series, 0, values, 0.1)) {
    found.emplace_back(window.begin, window.end);
  }
  return found;
}

TEST(Windows, JoinIntervalsThatAreCloseAndAlike) {
  using Borders = std::vector<std::pair<std::size_t, std::size_t>>;
  for (const auto& [values, wanted] : std::vector<std::pair<std::vector<double>, Borders>>{
           {{0, 0, 0}, {}},
           {{0.0999, 0.1, 0.0999}, {{1, 2}}},
           {{.5, 0, 0, 0, .5, 0}, {{0, 5}}},
           {{.5, 0, 0, 0, 0, .5}, {{0, 1}, {5, 6}}},
           {{.4, 0, .8}, {{0, 3}}},  // half as strong
           {{.39, 0, .8}, {{0, 1}, {2, 3}}},
           {{.12, 0, 0, .9, .9, .9}, {{0, 1}, {3, 6}}},
           {{.12, .9, .9}, {{0, 3}}},
           {{.3, .3, .3, .9, .9, .9, .9, .2, .3}, {{0, 3}, {3, 7}, {7, 9}}},
           {{kUnknown, .5, kUnknown, .5}, {{1, 4}}}}) {
    EXPECT_EQ(borders(values), wanted) << testing::PrintToString(values);
  }
}

TEST(Windows, HaveTheMeanOfTheTimeThatWasSeen) {
  WhySeries series = quiet_series(4);
  series.ends_s = {0.1, 0.2, 0.5, 0.5};
  const auto windows = windows_of(series, 0, std::vector{kUnknown, 0.8, 0.4, 0.9}, 0.1);
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].begin, 1U);
  EXPECT_EQ(windows[0].end, 3U) << "the last interval has no length";
  EXPECT_NEAR(windows[0].share, 0.5, 1e-9);
  EXPECT_NEAR(windows[0].held_s, 0.2, 1e-9);
}

}  // namespace

}  // namespace shmif::perf::test
