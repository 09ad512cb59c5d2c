// Files that cannot be read at some looks: what happened meanwhile is unknown. It is neither 0 nor
// what was counted since boot.

#include <array>

#include "instruments/why/why.hpp"
#include "tests/instruments/why/files_of_processes.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kTicks = "/proc/stat";
constexpr const char* kQueues = "/proc/net/softnet_stat";
constexpr const char* kMemory = "/proc/pressure/memory";
constexpr const char* kGroup = "/sys/fs/cgroup/rig/cpu.stat";
constexpr const char* kStat = "/proc/41/task/41/stat";
constexpr const char* kTimes = "/proc/41/task/41/schedstat";
constexpr const char* kSwitches = "/proc/41/task/41/sched";
constexpr std::array kAll{kTicks, kQueues, kMemory, kGroup, kStat, kTimes, kSwitches};

/// A machine and process 41, whose counters all grow by 30 ms, or by 3, in each interval.
class UnreadFiles : public FilesOfProcesses {
 protected:
  UnreadFiles() {
    EXPECT_EQ(::sysconf(_SC_CLK_TCK), 100);
    tree.put("/proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw\n");
    tree.put("/proc/41/cgroup", "0::/rig\n");
    tree.put("/proc/41/status", "Name:\tprog\n");
    put_all(0);
  }
  void put_all(int look) {
    const int count = 7000 + 3 * look, us = 10'000 * count;
    put(41, 41,
        {.run_us = us,
         .wait_us = us,
         .turns = count,
         .migrations = count,
         .voluntary = count,
         .involuntary = count});
    std::array<char, 64> line{};
    std::snprintf(line.data(), line.size(), "%08x %08x 00000000\n", static_cast<unsigned>(count),
                  static_cast<unsigned>(count));
    tree.put(kQueues, line.data());
    tree.put(kTicks, "cpu0 0 0 0 0 0 0 0 " + std::to_string(count) + " 0 0\n");
    tree.put(kMemory, "some avg10=0.00 total=" + std::to_string(us) + '\n');
    tree.put(kGroup, "nr_throttled 9\nthrottled_usec " + std::to_string(us) + '\n');
  }
  void hide(const char* file) const { tree.put(file, ""); }
};

TEST_F(UnreadFiles, LeaveTheirTwoIntervalsUnknownAndNoOther) {
  int looks = 0;
  begin();
  for (const char* const hidden : kAll) {
    SCOPED_TRACE(hidden);
    for (const bool is_hidden : {false, true, false}) {
      put_all(++looks);
      if (is_hidden) hide(hidden);
      look();
      const bool behind = looks % 3 == 0;  // of the look before, the file is not known
      const auto known = [&](const char* file) {
        return std::string(file) != hidden || (!is_hidden && !behind);
      };
      const MachineStep& step = series().machine.back();
      EXPECT_EQ(step.stolen_known, known(kTicks));
      EXPECT_EQ(step.queues_known, known(kQueues));
      EXPECT_EQ(step.memory_us.has_value(), known(kMemory));
      EXPECT_EQ(step.memory_us.value_or(30'000), 30'000U);
      for (const CpuStep& cpu : step.cpus) {
        EXPECT_EQ(cpu.steal_us, step.stolen_known ? 30'000U : 0U);
        EXPECT_EQ(cpu.drops, step.queues_known ? 3U : 0U);
      }
      EXPECT_EQ(series().groups.at(0).steps.back().throttled_us, known(kGroup) ? 30'000U : 0U);
      const std::size_t interval = series().ends_s.size() - 1;
      if (interval >= task(41).first + task(41).steps.size()) {
        EXPECT_FALSE(known(kStat));
        continue;  // nothing is known yet
      }
      const TaskStep& thread = task(41).steps.at(interval - task(41).first);
      EXPECT_EQ(thread.known, known(kStat) && known(kTimes) && known(kSwitches));
      EXPECT_EQ(thread.run_us, thread.known ? 30'000U : 0U);
      EXPECT_EQ(thread.wait_us, thread.known ? 30'000U : 0U);
      EXPECT_EQ(thread.migrations, thread.known ? 3U : 0U);
    }
  }
  const WhyResult result = why_result(sampler(), {});
  EXPECT_NEAR(result.machine.steal.value_or(0), 0.3, 1e-9) << "of the time that was seen";
  EXPECT_NEAR(result.machine.memory_pressure.value_or(0), 0.3, 1e-9);
}

TEST_F(UnreadFiles, ThatNeverCouldBeReadGiveNoFigures) {
  for (const char* const file : kAll) hide(file);
  ASSERT_TRUE(sampler().add_process(sampler().add_job("prog"), 41));
  for (int i = 0; i < 4; ++i) look();
  const WhyResult result = why_result(sampler(), {});
  EXPECT_FALSE(result.machine.steal);
  EXPECT_FALSE(result.machine.softirq);
  EXPECT_FALSE(result.machine.queue_drops);
  EXPECT_FALSE(result.machine.memory_pressure);
  EXPECT_TRUE(result.tasks.empty());
  EXPECT_TRUE(result.tasks_missed);
  const auto stat = std::ranges::find(result.missing, "/proc/stat", &MissingSource::source);
  ASSERT_NE(stat, result.missing.end());
  EXPECT_NE(stat->reason.find("is empty"), std::string::npos) << stat->reason;
}

}  // namespace
}  // namespace shmif::perf::test
