// Files that cannot be read at some looks: what happened meanwhile is unknown. It is neither 0 nor
// what was counted since boot.

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <random>

#include "perf/why/sampler.hpp"
#include "perf/why/why_result.hpp"
#include "tests/perf/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::uint64_t kLookNs = 100'000'000;
constexpr std::uint32_t kLookUs = 100'000;
constexpr std::uint32_t kTickUs = 10'000;
constexpr std::uint64_t kSinceBoot = 777'000'000;  ///< of every counter, when the watch begins

/// The counters of a machine and of process 41, which a look finds in files or does not.
class Machine {
 public:
  explicit Machine(unsigned seed) : random_(seed) {
    tree_.put("/proc/self/schedstat", "5 5 5\n");
    tree_.put("/proc/self/sched", sched_text());
    tree_.put("/proc/41/cgroup", "0::/rig\n");
    tree_.put("/proc/41/status", "Name:\tprog\n");
    tree_.put("/proc/self/mountinfo",
              "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw\n");
    tree_.put(kGroup, "");
    // A thread whose stat cannot be read has no name yet, but it is there.
    tree_.put(kStat, "");
    show_all();
  }
  KernelFiles files() const { return tree_.files(); }
  bool read(const std::string& name) const { return shown_.at(name); }

  /// At most half of an interval, so that running and waiting fit into it.
  void grow() {
    grown_ =
        std::uniform_int_distribution<std::uint32_t>(1, kLookUs / kTickUs / 2)(random_) * kTickUs;
    total_ += grown_;
    for (const auto& [name, shown] : shown_) {
      if (shown) tree_.put(name, text_of(name));
    }
  }
  /// By how much each counter of microseconds has grown in the last interval.
  std::uint32_t grown() const { return grown_; }

  /// Writes all files, but leaves some of them empty. `all`: none of them.
  void show_some(bool all = false) {
    std::bernoulli_distribution is_read(0.7);
    for (auto& [name, shown] : shown_) {
      shown = all || is_read(random_);
      tree_.put(name, shown ? text_of(name) : "");
    }
  }
  void show_all() { show_some(true); }
  void hide_all() {
    for (auto& [name, shown] : shown_) {
      shown = false;
      tree_.put(name, "");
    }
  }

  static constexpr const char* kTicks = "/proc/stat";
  static constexpr const char* kQueues = "/proc/net/softnet_stat";
  static constexpr const char* kMemory = "/proc/pressure/memory";
  static constexpr const char* kGroup = "/sys/fs/cgroup/rig/cpu.stat";
  static constexpr const char* kStat = "/proc/41/task/41/stat";
  static constexpr const char* kTimes = "/proc/41/task/41/schedstat";
  static constexpr const char* kSwitches = "/proc/41/task/41/sched";

 private:
  std::string sched_text() const {
    const std::string number = ": " + std::to_string(total_ / kTickUs) + '\n';
    return "se.nr_migrations " + number + "nr_voluntary_switches " + number +
           "nr_involuntary_switches " + number;
  }
  std::string text_of(const std::string& name) const {
    const std::string us = std::to_string(total_), ticks = std::to_string(total_ / kTickUs);
    if (name == kTicks) return "cpu0 0 0 0 0 0 0 0 " + ticks + " 0 0\n";
    if (name == kQueues) {
      std::array<char, 64> line{};
      std::snprintf(line.data(), line.size(), "%08x %08x 00000000\n",
                    static_cast<unsigned>(total_ / kTickUs),
                    static_cast<unsigned>(total_ / kTickUs));
      return line.data();
    }
    if (name == kMemory) return "some avg10=0.00 avg60=0.00 avg300=0.00 total=" + us + '\n';
    if (name == kGroup) return "nr_throttled " + ticks + "\nthrottled_usec " + us + '\n';
    if (name == kTimes) return us + "000 " + us + "000 " + us + '\n';
    if (name == kSwitches) return sched_text();
    std::string line = "41 (prog) S";
    for (int field = 4; field <= 52; ++field) line += field == 22 ? " 1" : " 7";
    return line + '\n';
  }

  Tree tree_;
  std::mt19937 random_;
  std::uint64_t total_ = kSinceBoot;
  std::uint32_t grown_ = 0;
  std::map<std::string, bool> shown_{{kTicks, true},   {kQueues, true}, {kMemory, true},
                                     {kGroup, true},   {kStat, true},   {kTimes, true},
                                     {kSwitches, true}};
};

/// What was read at the two ends of an interval, and what happened in it.
struct Interval {
  std::map<std::string, bool> known;
  std::uint32_t grown = 0;
};

void expect_interval(const WhySeries& series, std::size_t i, const Interval& interval) {
  const MachineStep& step = series.machine.at(i);
  EXPECT_EQ(step.stolen_known, interval.known.at(Machine::kTicks)) << i;
  EXPECT_EQ(step.queues_known, interval.known.at(Machine::kQueues)) << i;
  EXPECT_EQ(step.memory_us.has_value(), interval.known.at(Machine::kMemory)) << i;
  EXPECT_EQ(step.memory_us.value_or(interval.grown), interval.grown) << i;
  for (const CpuStep& cpu : step.cpus) {
    EXPECT_EQ(cpu.steal_us, step.stolen_known ? interval.grown : 0) << i;
    EXPECT_EQ(cpu.drops, step.queues_known ? interval.grown / kTickUs : 0) << i;
  }
}

void expect_thread(const WhySeries& series, std::size_t i, const Interval& interval) {
  for (const TaskSeries& task : series.tasks) {
    if (i < task.first || i - task.first >= task.steps.size()) continue;
    const TaskStep& step = task.steps[i - task.first];
    const bool known = interval.known.at(Machine::kStat) && interval.known.at(Machine::kTimes) &&
                       interval.known.at(Machine::kSwitches);
    EXPECT_EQ(step.known, known) << i;
    EXPECT_EQ(step.run_us, step.known ? interval.grown : 0) << i;
    EXPECT_EQ(step.wait_us, step.known ? interval.grown : 0) << i;
    EXPECT_EQ(step.migrations, step.known ? interval.grown / kTickUs : 0) << i;
  }
}

TEST(UnreadFiles, LeaveTheirIntervalsUnknownAndNoShareIsAboveWhatTheIntervalAllows) {
  std::size_t known_steps = 0;
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Machine machine(seed);
    if (seed % 2 == 0) machine.hide_all();
    WhySampler sampler(machine.files(), 0);
    ASSERT_TRUE(sampler.add_process(sampler.add_job("prog"), 41));
    std::vector<Interval> intervals;
    std::map<std::string, bool> before;
    constexpr std::uint64_t kLooks = 40;
    for (std::uint64_t look = 0; look < kLooks; ++look) {
      if (look > 0) machine.grow();
      if (look > 1) machine.show_some(look + 2 > kLooks);
      Interval interval{.known = {}, .grown = machine.grown()};
      for (const char* name : {Machine::kTicks, Machine::kQueues, Machine::kMemory, Machine::kGroup,
                               Machine::kStat, Machine::kTimes, Machine::kSwitches}) {
        interval.known[name] = before[name] && machine.read(name);
        before[name] = machine.read(name);
      }
      sampler.sample(look * kLookNs);
      if (look > 0) intervals.push_back(std::move(interval));
    }
    const WhySeries& series = sampler.series();
    ASSERT_EQ(series.ends_s.size(), intervals.size());
    for (std::size_t i = 0; i < intervals.size(); ++i) {
      expect_interval(series, i, intervals[i]);
      expect_thread(series, i, intervals[i]);
    }
    for (const GroupSeries& group : series.groups) {
      for (const GroupStep& step : group.steps) EXPECT_LE(step.throttled_us, kLookUs);
    }
    const WhyResult result = why_result(sampler, {});
    ASSERT_TRUE(result.machine.steal);
    EXPECT_LE(*result.machine.steal, 0.5);
    EXPECT_LE(result.machine.memory_pressure.value_or(0), 0.5);
    for (const TaskSummary& task : result.tasks) {
      EXPECT_LE(task.running + task.waiting.value_or(0) + task.asleep + task.stopped, 1.0001);
      known_steps += task.seconds > 0 ? 1U : 0U;
    }
    EXPECT_TRUE(result.tasks_missed || result.missing.size() > 1);
  }
  EXPECT_GT(known_steps, 6U) << "the test says something of threads";
}

TEST(UnreadFiles, ThatNeverCouldBeReadGiveNoFigures) {
  Machine machine(1);
  machine.hide_all();
  WhySampler sampler(machine.files(), 0);
  ASSERT_TRUE(sampler.add_process(sampler.add_job("prog"), 41));
  for (std::uint64_t look = 0; look < 4; ++look) sampler.sample(look * kLookNs);
  const WhyResult result = why_result(sampler, {});
  EXPECT_FALSE(result.machine.steal);
  EXPECT_FALSE(result.machine.softirq);
  EXPECT_FALSE(result.machine.queue_drops);
  EXPECT_FALSE(result.machine.memory_pressure);
  EXPECT_TRUE(result.tasks.empty());
  EXPECT_TRUE(result.tasks_missed);
  const auto stat = std::ranges::find(result.missing, "/proc/stat", &MissingSource::source);
  ASSERT_NE(stat, result.missing.end());
  EXPECT_EQ(stat->reason, machine.files().path("/proc/stat") + " is empty or has another form");
}

TEST(UnreadFiles, ForWantOfDescriptorsSaySoWithTheRemedy) {
  EXPECT_STREQ(descriptor_remedy(EMFILE), "allow this program more open files: ulimit -n 1024");
  EXPECT_STRNE(descriptor_remedy(ENFILE), "");
  EXPECT_STREQ(descriptor_remedy(EACCES), "");
}

}  // namespace
}  // namespace shmif::perf::test
