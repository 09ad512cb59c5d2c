// The words and figures of each cause, and the limits from which on something is told.

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

TEST(WhyFigures, HaveTheDigitsThatTheirSizeNeeds) {
  for (const auto& [share, text] : std::vector<std::pair<double, std::string>>{{0, "0 %"},
                                                                               {0.0001, "0.01 %"},
                                                                               {0.00125, "0.12 %"},
                                                                               {0.042, "4.2 %"},
                                                                               {0.0994, "9.9 %"},
                                                                               {0.1, "10 %"},
                                                                               {0.106, "11 %"},
                                                                               {0.614, "61 %"},
                                                                               {1, "100 %"}}) {
    EXPECT_EQ(percent_text(share), text) << share;
  }
  EXPECT_EQ(counted_text(0, "frame"), "0 frames");
  EXPECT_EQ(counted_text(1, "frame"), "1 frame");
  EXPECT_EQ(counted_text(999, "frame"), "999 frames");
  EXPECT_EQ(counted_text(1000, "frame"), "1,000 frames");
  EXPECT_EQ(counted_text(100000, "frame"), "100,000 frames");
  EXPECT_EQ(counted_text(1234567, "frame"), "1,234,567 frames");
  EXPECT_EQ(second_text(2), "2.0 s");
  EXPECT_EQ(second_text(-0.0), "0.0 s");
  EXPECT_EQ(second_text(12.26), "12.3 s");
}

/// Each step of the watched time has counts of its own; the window is the third and the fourth.
class CauseSentence : public ::testing::Test {
 protected:
  CauseSentence() {
    TaskSeries& task = series_.tasks[0];
    GroupSeries group{.name = "/cpu", .memory_name = "/memory", .first = 0};
    PortSeries port{.bus = "/dev/shm/bus0", .name = "rx", .job = 0, .first = 1};
    for (std::uint32_t i = 0; i < 10; ++i) {
      const std::uint32_t power = 1U << (2 * i);
      task.steps[i].major_faults = power;
      task.steps[i].migrations = 2 * power;
      task.steps[i].cpu = static_cast<std::int16_t>(i);
      task.steps[i].group = 0;
      group.steps.push_back({.at_limit = 3 * power});
      if (i > 0) port.steps.push_back({.lock_sleeps = power, .pauses = 2 * power});
    }
    series_.groups.push_back(group);
    series_.ports.push_back(port);
  }
  std::string told(CauseKind kind, const AffinityChange* change = nullptr) const {
    const Evidence evidence{
        .kind = kind, .task = &series_.tasks[0], .port = &series_.ports[0], .change = change};
    return sentence_of(series_, evidence, {.begin = 2, .end = 4, .share = 0.61});
  }

  WhySeries series_ = quiet_series(10);
};

TEST_F(CauseSentence, HasTheFiguresOfItsWindow) {
  const std::string during = "for 61 % of 0.2 s to 0.4 s";
  EXPECT_EQ(told(CauseKind::waited_for_cpu), "rx was runnable but not running " + during);
  EXPECT_EQ(told(CauseKind::stopped), "rx was stopped by a signal or a debugger " + during);
  EXPECT_EQ(told(CauseKind::throttled),
            "rx was throttled by the CPU quota of its control group /cpu " + during);
  EXPECT_EQ(told(CauseKind::steal), "the hypervisor took CPU 3 from rx " + during);
  EXPECT_EQ(told(CauseKind::softirq), "CPU 3, where rx ran, was in softirqs " + during);
  EXPECT_EQ(told(CauseKind::memory),
            "rx waited for memory " + during +
                " (80 major faults, and its control group /memory met its limit 240 times)");
  EXPECT_EQ(told(CauseKind::bus_lock),
            "rx slept for the lock of the bus for at least 61 % of 0.2 "
            "s to 0.4 s (80 times)");
  EXPECT_EQ(told(CauseKind::bus_pause),
            "rx was paused for slow ports of the bus " + during + " (160 times)");
  EXPECT_EQ(told(CauseKind::migrated), "rx was moved between CPUs 160 times from 0.2 s to 0.4 s");
  const AffinityChange change{.interval = 2, .from = "0-3", .to = "2"};
  EXPECT_EQ(told(CauseKind::migrated, &change),
            "rx was moved to another CPU from 0.2 s to 0.4 s: its CPUs were changed from 0-3 to 2");
}

TEST_F(CauseSentence, NamesTheOwnPortIfThatWasNotRead) {
  series_.ports[0].steps[0].stalls = 1;  // before the window
  series_.ports[0].steps[3].stalls = 1;  // and behind it
  EXPECT_EQ(told(CauseKind::bus_pause).find("its own port"), std::string::npos);
  series_.ports[0].steps[2].stalls = 1;
  EXPECT_EQ(told(CauseKind::bus_pause),
            "rx was paused for slow ports of the bus, its own port among them, which was not read, "
            "for 61 % of 0.2 s to 0.4 s (160 times)");
}

TEST_F(CauseSentence, NamesTheThreadIfTheJobHasSeveral) {
  TaskSeries other = series_.tasks[0];
  other.id.number = 205;
  other.name = "worker";
  series_.tasks.push_back(other);
  const std::string words = " was runnable but not running for 61 % of 0.2 s to 0.4 s";
  EXPECT_EQ(told(CauseKind::waited_for_cpu), "rx (process 100, rx)" + words);
  std::swap(series_.tasks[0], series_.tasks[1]);
  EXPECT_EQ(told(CauseKind::waited_for_cpu), "rx (thread 205, worker)" + words);
  series_.tasks[1].job = 1;
  EXPECT_EQ(told(CauseKind::waited_for_cpu), "rx" + words) << "the other one is another job's";
}

TEST_F(CauseSentence, OfAGroupThatIsNotKnownNamesNone) {
  series_.tasks[0].steps[3].group = kNowhere;  // that at the end of the window counts
  EXPECT_EQ(told(CauseKind::throttled),
            "rx was throttled by the CPU quota of its control group for 61 % of 0.2 s to 0.4 s");
  EXPECT_EQ(told(CauseKind::memory),
            "rx waited for memory for 61 % of 0.2 s to 0.4 s (80 major faults)");
}

TEST(FaultSentence, TellsWhatTheFaultsTookAndWhatTheirQueueDropped) {
  const WhySeries series = quiet_series(10, {"tx", "rx"});
  JobTraffic traffic = traffic_of(series, "rx", 2, 4, 20);
  traffic.faults = {
      {.where = "tx", .options = "delay=1ms", .frames = 100, .lost = 10, .queue_full = 30}};
  const auto causes = find_causes(series, std::vector{traffic});
  ASSERT_EQ(causes.size(), 2U);
  EXPECT_EQ(causes[0].cause, CauseKind::requested_faults);
  EXPECT_EQ(causes[0].job, "rx");
  EXPECT_EQ(causes[0].share, 0.1);
  EXPECT_EQ(causes[0].begin_s, 0);
  EXPECT_EQ(causes[0].end_s, series.ends_s.back());
  EXPECT_EQ(causes[0].of_losses_share, 0.25);
  EXPECT_EQ(causes[0].sentence,
            "rx: the requested faults of tx (delay=1ms) took 10 frames; that explains 25 % of its "
            "lost frames");
  EXPECT_EQ(causes[1].cause, CauseKind::fault_queue);
  EXPECT_EQ(causes[1].share, 0.3);
  EXPECT_EQ(causes[1].of_losses_share, 0.75);
  EXPECT_EQ(causes[1].sentence,
            "rx: the queue of the requested faults of tx (delay=1ms) was full and dropped 30 "
            "frames; that explains 75 % of its lost frames");
}

/// 40 frames of 200, in two seconds.
JobTraffic some_losses() {
  return {.job = "rx",
          .steps = {{.begin_s = 0, .end_s = 1, .lost = 10, .received = 90},
                    {.begin_s = 1, .end_s = 2, .lost = 30, .received = 70}}};
}

TEST(LossAccount, GivesACauseOnlyWhatWasNoticedFromItsBeginOn) {
  const JobTraffic traffic = some_losses();
  Losses losses(&traffic);
  EXPECT_TRUE(losses.any());
  EXPECT_TRUE(losses.known());
  EXPECT_EQ(losses.left(), 40);
  EXPECT_EQ(losses.explain(1, 100), 0.75) << "those of the first second were before it";
  EXPECT_EQ(losses.left(), 10);
  EXPECT_EQ(losses.explain(0.5, 4), 0.1);
  EXPECT_EQ(losses.explain(0, 100), 0.15) << "what is left";
  EXPECT_EQ(losses.explain(0, 1), 0);
  EXPECT_EQ(losses.left(), 0);
  Losses none(nullptr);
  EXPECT_FALSE(none.known());
  EXPECT_FALSE(none.any());
  EXPECT_EQ(none.explain(0, 1), std::nullopt);
  EXPECT_EQ(none.explain(0, 1, 1), std::nullopt);
  EXPECT_EQ(none.others_within(0, 1), "");
}

TEST(LossAccount, HasThePartOfEachIntervalThatATimeCovers) {
  JobTraffic traffic = some_losses();
  Losses losses(&traffic);
  const auto part = [&losses](double begin, double end, double held_share) {
    return *Losses(losses).explain(begin, end, held_share);
  };
  EXPECT_DOUBLE_EQ(part(0.5, 1.5, 1), 0.5);
  EXPECT_DOUBLE_EQ(part(0.5, 1.5, 0.1), 0.25) << "a tenth of the frames";
  EXPECT_DOUBLE_EQ(part(0, 2, 1), 1);
  EXPECT_DOUBLE_EQ(part(-5, 0.5, 1), 0.125);
  EXPECT_EQ(part(2, 3, 1), 0);
  losses.explain(0, 35);
  EXPECT_DOUBLE_EQ(part(0, 2, 1), 0.125) << "the others are explained";
  traffic.steps[0].received.reset();
  EXPECT_DOUBLE_EQ(*Losses(&traffic).explain(0.5, 1.5, 0.1), 0.5) << "no limit is known";
}

TEST(LossAccount, TellsOfOverrunsAndOfALatencyThatStandsOut) {
  JobTraffic traffic{.job = "rx",
                     .steps = {{.begin_s = 0, .end_s = 1, .overruns = 2, .latency_max_ns = 1e6},
                               {.begin_s = 1, .end_s = 2, .overruns = 3, .latency_max_ns = 5e6},
                               {.begin_s = 2, .end_s = 3, .overruns = 4, .latency_max_ns = 1e6}}};
  const auto others = [&](double begin, double end) {
    return Losses(&traffic).others_within(begin, end);
  };
  const std::string latency = "; the worst latency, 5 ms, fell there";
  EXPECT_EQ(others(1, 2), "; it was overrun there 3 times" + latency);
  EXPECT_EQ(others(0, 1), "; it was overrun there 2 times");
  EXPECT_EQ(others(0.5, 1.5), "; it was overrun there 5 times" + latency);
  traffic.steps[1].latency_max_ns = 4.99e6;
  EXPECT_EQ(others(1, 2), "; it was overrun there 3 times") << "less than five times the median";
  traffic.steps[0].lost = 1;
  EXPECT_EQ(others(1, 2), "") << "its losses are told instead";
}

TEST(WindowLimits, AreReachedByTheThresholdAndTheHalfItself) {
  const WhySeries series = quiet_series(10);
  const auto borders_of = [&](const std::vector<double>& values) {
    std::vector<std::pair<std::size_t, std::size_t>> found;
    for (const CauseWindow& each : windows_of(series, 0, values, 0.1)) {
      found.emplace_back(each.begin, each.end);
    }
    return found;
  };
  using Borders = std::vector<std::pair<std::size_t, std::size_t>>;
  EXPECT_EQ(borders_of({0.0999, 0.1, 0.0999}), (Borders{{1, 2}}));
  EXPECT_EQ(borders_of({0.4, 0, 0.8}), (Borders{{0, 3}})) << "half as strong";
  EXPECT_EQ(borders_of({0.39, 0, 0.8}), (Borders{{0, 1}, {2, 3}}));
  EXPECT_EQ(borders_of({kUnknown, 0.5, kUnknown, 0.5}), (Borders{{1, 4}}));
  const auto windows = windows_of(series, 0, std::vector{kUnknown, 0.5, kUnknown, 0.5}, 0.1);
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_DOUBLE_EQ(windows[0].share, 0.5) << "what is not known counts neither way";
  EXPECT_DOUBLE_EQ(windows[0].held_s, 0.1);
}

}  // namespace
}  // namespace shmif::perf::test
