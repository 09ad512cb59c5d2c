// Events that a job counts: only those of its window, and a reason for each that is not counted.

#include <cmath>

#include "perf/control/job_instruments.hpp"
#include "perf/worker/job_counting.hpp"
#include "tests/instruments/counters/session_rig.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kFirst = 1;
constexpr std::uint64_t kSecond = 2;
constexpr std::uint64_t kThird = 3;
constexpr std::uint64_t kStart = 5'000'000'000;
constexpr std::uint64_t kLength = 100'000'000;

std::vector<JobEvent> three_events() {
  return {{fake_event(kFirst), {}}, {fake_event(kSecond), {}}, {fake_event(kThird), {}}};
}

struct Rig {
  FakeCounters kernel;
  std::vector<JobEvent> events = three_events();
  std::unique_ptr<std::array<CounterBlock, kMaxCounters>> block =
      std::make_unique<std::array<CounterBlock, kMaxCounters>>();

  JobCounting counting() { return {events, *block, false, kernel}; }
  void run(std::uint64_t ns, const std::map<std::uint64_t, std::uint64_t>& counts,
           double share = 1) {
    kernel.run(::getpid(), ns, counts, share);
  }
  std::vector<CounterResult> results() const { return counter_results(events, *block); }

  std::unique_ptr<CounterLog> log = std::make_unique<CounterLog>();
  void begin_log(JobCounting& counting) {
    counting.log_to(*log, kLength);
    counting.begin_log(kStart, kStart - 1000);
  }
  std::vector<CounterInterval> curve() const {
    CounterCurve curve;
    curve.collect(*log, events.size(), 0);
    return curve.result(events, *block);
  }
};

/// The values of the first event.
std::vector<std::optional<double>> first_values(const std::vector<CounterInterval>& curve) {
  std::vector<std::optional<double>> values;
  for (const CounterInterval& each : curve) values.push_back(each.counts[0].value);
  return values;
}

using Values = std::vector<std::optional<double>>;

TEST(JobCounting, CountsTheWindowAndNeitherTheRampNorTheDrain) {
  Rig rig;
  JobCounting counting = rig.counting();
  rig.run(1000, {{kFirst, 100}, {kSecond, 200}, {kThird, 300}});
  counting.begin_window(kStart);
  rig.run(500, {{kFirst, 7}, {kSecond, 8}, {kThird, 9}});
  counting.keep();
  rig.run(2000, {{kFirst, 1000}, {kSecond, 1000}, {kThird, 1000}});
  const auto results = rig.results();
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].name, "event1");
  EXPECT_EQ(results[0].value, 7);
  EXPECT_EQ(results[1].value, 8);
  EXPECT_EQ(results[2].value, 9);
  EXPECT_EQ(results[2].enabled_ns, 500U);
  EXPECT_EQ(results[2].running_ns, 500U);
  EXPECT_FALSE(results[2].scaled);
  EXPECT_EQ(results[2].reason, "");
}

TEST(JobCounting, CountsInUserSpaceWhatTheKernelPermitsOnlyThere) {
  Rig rig;
  // The clock, the first event, and the second is refused. (The first is task-clock, which counts
  // the kernel's time in any case.)
  rig.kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 3 ? -EACCES : 0;
  };
  JobCounting counting = rig.counting();
  counting.begin_window(kStart);
  rig.run(500, {{kFirst, 7}, {kSecond, 8}, {kThird, 9}});
  counting.keep();
  const auto results = rig.results();
  EXPECT_EQ(results[0].value, 7);
  EXPECT_EQ(results[0].source.find("in user space"), std::string::npos);
  EXPECT_EQ(results[1].value, 8);
  EXPECT_EQ(results[1].reason, "");
  EXPECT_NE(results[1].source.find(", in user space only, as "), std::string::npos);
  for (const auto& [file, event] : rig.kernel.events) {
    const bool second = event.attr.base.config == kSecond;
    if (second || event.attr.base.config == kThird) {
      EXPECT_EQ(event.attr.base.exclude_kernel, second) << event.attr.base.config;
    }
  }
}

TEST(JobCounting, HasAValueForEachIntervalOfTheRunAlsoOutsideTheWindow) {
  Rig rig;
  JobCounting counting = rig.counting();
  rig.run(100, {{kFirst, 1000}});  // before the run
  rig.begin_log(counting);
  rig.run(100, {{kFirst, 1}});
  EXPECT_FALSE(counting.is_over(kStart + kLength - 1));
  EXPECT_TRUE(counting.is_over(kStart + kLength));
  counting.close_interval(kStart + kLength);
  rig.run(100, {{kFirst, 2}});
  counting.begin_window(kStart + kLength + kLength / 2);
  rig.run(100, {{kFirst, 4}});
  EXPECT_EQ(counting.next_ns(), kStart + 2 * kLength);
  counting.close_interval(kStart + 2 * kLength);
  rig.run(100, {{kFirst, 8}});
  counting.end_window(kStart + 2 * kLength + kLength / 4);
  rig.run(100, {{kFirst, 16}});
  counting.close_interval(kStart + 3 * kLength);
  const auto curve = rig.curve();
  EXPECT_EQ(first_values(curve), Values({1, 2, 4, 8, 16}));
  const auto ms = [](double seconds) { return std::lround(seconds * 1000); };
  std::vector<long> ends;
  for (const CounterInterval& each : curve) {
    EXPECT_EQ(ms(each.at_seconds - each.seconds), ends.empty() ? 0 : ends.back());
    ends.push_back(ms(each.at_seconds));
  }
  EXPECT_EQ(ends, std::vector<long>({100, 150, 200, 225, 300}));
  EXPECT_EQ(rig.results()[0].value, 12) << "the intervals of the window, together";
}

TEST(JobCounting, KeepsTheWindowsCountsAtEachInterval) {
  Rig rig;
  JobCounting counting = rig.counting();
  rig.begin_log(counting);
  counting.begin_window(kStart + 1);
  rig.run(100, {{kFirst, 3}});
  counting.close_interval(kStart + kLength);
  EXPECT_EQ(rig.results()[0].value, 3) << "of a job that is killed now";
  rig.kernel.before = [](KernelCall call, int) { return call == KernelCall::read ? -EIO : 0; };
  counting.keep();
  EXPECT_EQ(rig.results()[0].value, std::nullopt) << "it would lack the rest of the window";
}

TEST(JobCounting, SaysForEachIntervalWhyItWasNotCountedInIt) {
  Rig rig;
  rig.kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 3 ? -ENOENT : 0;
  };
  JobCounting counting = rig.counting();
  rig.begin_log(counting);
  rig.run(1000, {{kFirst, 7}, {kThird, 9}});
  counting.close_interval(kStart + kLength);
  rig.run(1000, {}, 0);
  counting.close_interval(kStart + 2 * kLength);
  rig.run(1000, {{kFirst, 600}}, 0.25);
  counting.close_interval(kStart + 3 * kLength);
  rig.kernel.before = [](KernelCall call, int) { return call == KernelCall::read ? -EIO : 0; };
  counting.close_interval(kStart + 4 * kLength);
  const auto curve = rig.curve();
  EXPECT_EQ(first_values(curve), Values({7, {}, 600, {}}));
  EXPECT_EQ(curve[0].counts[0].reason, "");
  EXPECT_EQ(curve[0].counts[1].value, std::nullopt);
  EXPECT_EQ(curve[0].counts[1].reason, "not supported: this machine has no such event (ENOENT)");
  EXPECT_EQ(curve[0].counts[2].value, 9);
  EXPECT_EQ(curve[1].counts[0].reason, "not counted: the PMU had no free counter in this interval");
  EXPECT_TRUE(curve[2].counts[0].scaled);
  EXPECT_NE(curve[3].counts[0].reason.find("Input/output error"), std::string::npos);
}

TEST(JobCounting, CountsHelpersAndChildrenUnlessTheJobIsAThread) {
  for (const bool thread : {false, true}) {
    Rig rig;
    const JobCounting counting(rig.events, *rig.block, thread, rig.kernel);
    for (const auto& [file, event] : rig.kernel.events) {
      if (event.attr.base.config != kThird) continue;
      EXPECT_EQ(event.attr.base.inherit, !thread);
    }
  }
}

TEST(JobCounting, GivesBackAllItsCounters) {
  Rig rig;
  {
    const JobCounting counting = rig.counting();
    EXPECT_GT(rig.kernel.open_files(), 3U);
  }
  EXPECT_EQ(rig.kernel.open_files(), 0U);
}

TEST(JobEvents, AreThoseOfTheListInItsOrderAtMostSixteen) {
  const auto events = job_events("page-faults,task-clock:u").value();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].event.name, "page-faults");
  EXPECT_EQ(events[1].event.name, "task-clock:u");
  EXPECT_TRUE(events[1].event.exclude_kernel);
  EXPECT_TRUE(job_events("").value().empty());
  std::string list = "page-faults";
  for (std::size_t more = 1; more < kMaxCounters; ++more) list += ",task-clock";
  EXPECT_EQ(job_events(list).value().size(), kMaxCounters);
  for (const auto& [wrong, word] : {std::pair(list + ",task-clock", "at most 16 events"),
                                    {"page-faults,page-fruits", "page-fruits"}}) {
    const auto refused = job_events(wrong);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace shmif::perf::test
