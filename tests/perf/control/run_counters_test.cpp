// Events that the jobs of a run count, beside what the kernel says of the same jobs elsewhere.

#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "perf/result/machine.hpp"
#include "tests/perf/control/run_plan.hpp"

namespace shmif::perf::run_counters {
namespace {

constexpr double kNanosecondsInSecond = 1e9;
constexpr double kFew = 6;  // events between a look of one and that of the other

const CounterResult& counter(const JobResult& job, const std::string& name) {
  const auto found = std::ranges::find(job.counters, name, &CounterResult::name);
  if (found == job.counters.end()) throw std::runtime_error("no counter " + name);
  return *found;
}

double value_of(const JobResult& job, const std::string& name) {
  const CounterResult& found = counter(job, name);
  EXPECT_TRUE(found.value) << name << ": " << found.reason;
  return found.value.value_or(-1);
}

/// The counts of a job are what getrusage() says of the same window. Between a look of one and that
/// of the other, the job may have run for a moment. Only getrusage() has the time that the kernel
/// takes to switch from and to the job (18 us each in a virtual machine where another program wants
/// the CPU), and only the clock has what was `taken` meanwhile. Jobs without a rate seldom sleep,
/// so there are few switches.
void expect_as_usage(const JobResult& job, double taken) {
  SCOPED_TRACE(job.name);
  ASSERT_TRUE(job.cpu);
  const double cpu = job.cpu->user_seconds + job.cpu->system_seconds;
  constexpr double kMoment = 0.002;
  constexpr double kSwitch = 20e-6;
  const double clock = value_of(job, "task-clock") / kNanosecondsInSecond;
  EXPECT_LE(clock, cpu + kMoment + taken);
  EXPECT_GE(clock, 0.99 * cpu - kMoment - kSwitch * value_of(job, "context-switches"));
  const auto faults = static_cast<double>(job.cpu->minor_faults + job.cpu->major_faults);
  EXPECT_NEAR(value_of(job, "page-faults"), faults, kFew);
  const auto switches =
      static_cast<double>(job.cpu->voluntary_switches + job.cpu->involuntary_switches);
  EXPECT_NEAR(value_of(job, "context-switches"), switches, kFew);
  EXPECT_EQ(counter(job, "task-clock").unit, "ns");
  EXPECT_FALSE(counter(job, "task-clock").scaled);
}

/// What the hypervisor and interrupts have taken from the programs of all CPUs since this was made:
/// the kernel subtracts it from their CPU time, and `task-clock` has it.
class Taken {
 public:
  /// At most, in seconds: /proc/stat has whole ticks, so there may have been one more of each CPU.
  double seconds() const {
    const std::vector<CpuTicks> now = ticks();
    double sum = 0;
    for (std::size_t i = 0; i < now.size(); ++i) {
      sum += static_cast<double>(now[i].steal + now[i].irq + 1 - begin_.at(i).steal -
                                 begin_.at(i).irq);
    }
    return sum / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  static std::vector<CpuTicks> ticks() {
    std::ifstream file("/proc/stat");
    return parse_cpu_ticks(std::string{std::istreambuf_iterator<char>(file), {}});
  }
  std::vector<CpuTicks> begin_ = ticks();
};

constexpr const char* kCounters = "counters=task-clock,page-faults,context-switches\n";

TEST(RunCounters, OfProcessesAreTheirUsageInTheWindowWithoutTheRamp) {
  const Taken taken;
  const RunResult result =
      run_text(std::string("[j]\nengine=bus\nbs=64\nramp_time=300ms\nruntime=400ms\n") + kCounters);
  ASSERT_TRUE(passed(result));
  ASSERT_EQ(result.jobs.size(), 2U);
  for (const JobResult& job : result.jobs) expect_as_usage(job, taken.seconds());
  EXPECT_GT(value_of(job_of(result, "j"), "task-clock"), 0) << "the peer counts, too";
}

/// The sum of an event over the intervals that begin at `from` seconds or later.
double sum_since(const JobResult& job, std::size_t event, double from) {
  double sum = 0;
  constexpr double kRounding = 1e-6;
  for (const CounterInterval& each : job.counter_intervals) {
    EXPECT_TRUE(each.counts.at(event).value) << each.counts.at(event).reason;
    if (each.at_seconds - each.seconds < from - kRounding) continue;
    sum += each.counts.at(event).value.value_or(0);
  }
  return sum;
}

/// Each interval begins where the one before it ends.
void expect_no_gaps(const JobResult& job) {
  SCOPED_TRACE(job.name);
  double end = 0;
  for (const CounterInterval& each : job.counter_intervals) {
    if (end > 0) {
      EXPECT_NEAR(each.at_seconds - each.seconds, end, 1e-6);
    }
    EXPECT_GT(each.seconds, 0);
    end = each.at_seconds;
  }
}

TEST(RunCounters, HaveACurveOnTheRunsClockThatAddsUpToTheWindow) {
  const RunResult result = run_text(
      "[j]\nengine=bus\nbs=64\nrate_iops=20k\nramp_time=250ms\nruntime=400ms\n"
      "counters=task-clock,page-faults\n");
  ASSERT_TRUE(passed(result));
  for (const JobResult& job : result.jobs) {
    expect_no_gaps(job);
    ASSERT_FALSE(job.counter_intervals.empty());
    EXPECT_GE(job.counter_intervals.back().at_seconds, 0.65);
  }
  // A sender has its own window; what it does afterwards is not much.
  const JobResult& sender = job_of(result, "j");
  const auto border = std::ranges::find_if(sender.counter_intervals, [](const auto& each) {
    return std::abs(each.at_seconds - 0.25) < 1e-6;
  });
  ASSERT_NE(border, sender.counter_intervals.end()) << "the ramp ends an interval";
  EXPECT_GE(sum_since(sender, 0, 0.25), value_of(sender, "task-clock"));
  EXPECT_GT(sum_since(sender, 0, 0), sum_since(sender, 0, 0.25)) << "the ramp has its own";
}

TEST(RunCounters, OfAThreadAreThoseOfThisThreadAlone) {
  const Taken taken;
  const RunResult result =
      run_text(std::string("[j]\nthread\nengine=bus\nbs=64\nruntime=400ms\n") + kCounters);
  ASSERT_TRUE(passed(result));
  for (const JobResult& job : result.jobs) expect_as_usage(job, taken.seconds());
}

// At full speed, so that the time of switches, which only getrusage() has, is little.
TEST(RunCounters, OfAHostIncludeTheWorkerInTheGuestAndTheBridge) {
  const RunResult result = run_text(
      std::string("[j]\nengine=host\nbs=200\nramp_time=200ms\nruntime=500ms\n") + kCounters);
  ASSERT_TRUE(passed(result));
  for (const JobResult& job : result.jobs) {
    SCOPED_TRACE(job.name);
    ASSERT_TRUE(job.cpu);
    const double worker = job.cpu->user_seconds + job.cpu->system_seconds;
    // The bridge takes about half as much as the worker.
    EXPECT_GT(value_of(job, "task-clock") / kNanosecondsInSecond, 1.2 * worker);
    EXPECT_GT(value_of(job, "context-switches"),
              static_cast<double>(job.cpu->voluntary_switches + job.cpu->involuntary_switches));
  }
}

TEST(RunCounters, ThatTheMachineLacksHaveAReasonAndTheOthersAreCounted) {
  const RunResult result = run_text(
      "[j]\nengine=bus\nrate_iops=1000\nruntime=200ms\n"
      "counters=no_such_pmu/event=1/,cycles,task-clock\n");
  ASSERT_TRUE(passed(result));
  const JobResult& job = job_of(result, "j");
  ASSERT_EQ(job.counters.size(), 3U);
  EXPECT_EQ(job.counters[0].value, std::nullopt);
  EXPECT_TRUE(job.counters[0].reason.starts_with("not supported: ")) << job.counters[0].reason;
  // Of this machine: a number of cycles, or why there is none.
  EXPECT_NE(job.counters[1].value.has_value(), !job.counters[1].reason.empty());
  EXPECT_NE(job.counters[1].value, 0.0);
  EXPECT_GT(value_of(job, "task-clock"), 0);
}

}  // namespace
}  // namespace shmif::perf::run_counters
