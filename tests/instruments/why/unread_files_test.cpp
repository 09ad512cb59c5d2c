// Files that cannot be read at some looks: what happened meanwhile is unknown. It is neither 0 nor
// what was counted since boot.

#include <sys/resource.h>
#include <array>
#include <cerrno>

#include "tests/instruments/why/files_of_processes.hpp"
#include "tests/support/child_process.hpp"

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

// What the watches say when this process may open no more files: that, with the remedy, and neither
// that a process has ended nor that nothing happened.

namespace {

constexpr const char* kRemedy =
    ": Too many open files (allow this program more open files: ulimit -n 1024)";

/// Nothing can be opened while it exists.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit none = before_;
    none.rlim_cur = 0;
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  ~NoDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

std::string reason_for(const WhySeries& series, const std::string& source) {
  const auto at = std::ranges::find(series.missing, source, &MissingSource::source);
  return at == series.missing.end() ? "" : at->reason;
}

TEST(NoMoreDescriptors, OfAFileAreToldUntilItCanBeRead) {
  const Tree tree;
  tree.put("/proc/stat", "cpu 1\n");
  std::vector<char> buffer;
  RepeatedFile file(tree.at("/proc/stat"));
  {
    const NoDescriptors none;
    EXPECT_FALSE(file.read(buffer));
    EXPECT_EQ(file.error(), EMFILE);
  }
  EXPECT_EQ(file.why(), "cannot read " + tree.at("/proc/stat") + kRemedy);
  EXPECT_EQ(file.read(buffer), "cpu 1\n");
  EXPECT_EQ(file.error(), 0);
  EXPECT_EQ(file.why(), tree.at("/proc/stat") + " is empty or has another form");
  {
    const NoDescriptors none;
    EXPECT_EQ(file.read(buffer), "cpu 1\n") << "it is open";
    file.close();
    EXPECT_FALSE(file.read(buffer));
  }
  tree.remove("/proc/stat");
  EXPECT_FALSE(file.read(buffer));
  EXPECT_EQ(file.why(), "cannot read " + tree.at("/proc/stat") + ": No such file or directory");
  EXPECT_EQ(file.path(), tree.at("/proc/stat"));
}

/// Process 41, of one thread.
class NoDescriptorsForThreads : public FilesOfProcesses {
 protected:
  void put_turns(int turns) { put(41, 41, {.run_us = turns, .turns = turns, .voluntary = turns}); }
};

TEST_F(NoDescriptorsForThreads, AreNoReasonToTakeAProcessForOneThatHasEnded) {
  put(41, 41);
  const std::size_t job = sampler().add_job("rx");
  int error = 0;
  {
    const NoDescriptors none;
    EXPECT_FALSE(sampler().add_process(job, 41));
    error = errno;
  }
  EXPECT_EQ(error, EMFILE);
  look();
  EXPECT_TRUE(series().tasks_missed);
  EXPECT_EQ(reason_for(series(), "/proc/PID/task"),
            "cannot list " + tree.at("/proc/41/task") + kRemedy);
}

TEST_F(NoDescriptorsForThreads, ForSwitchesLeaveTheIntervalUnknown) {
  put_turns(0);
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();  // a thread that never ran has switched never: nobody reads how often
  put_turns(3);
  {
    const NoDescriptors none;
    look();
  }
  EXPECT_EQ(reason_for(series(), "/proc/PID/sched"),
            "cannot read " + tree.at("/proc/41/task/41/sched") + kRemedy);
  const auto& steps = series().tasks.at(0).steps;
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].known);
  EXPECT_EQ(steps[0].run_us, 0U);
  for (const int turns : {5, 9}) {
    put_turns(turns);
    look();
  }
  EXPECT_TRUE(steps.at(2).known);
  EXPECT_EQ(steps[2].voluntary, 4U);
}

}  // namespace

}  // namespace shmif::perf::test
