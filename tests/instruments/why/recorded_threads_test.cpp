// What the watch of threads takes from the kernel's files about processes.

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "bus/repair/port_owners.hpp"
#include "instruments/why/task_watch.hpp"
#include "tests/instruments/why/files_of_processes.hpp"

namespace shmif::perf::test {
namespace {

ThreadFiles grown(int n) {
  return {.name = n == 0 ? "prog" : "other name",
          .state = n == 0 ? 'S' : 'R',
          .minor = 1000 + 2 * n,
          .major = 2000 + 3 * n,
          .cpu = 1 + n % 2,
          .run_us = 3000 + 5 * n,
          .wait_us = 4000 + 7 * n,
          .turns = 50 + 11 * n,
          .migrations = 5000 + 13 * n,
          .voluntary = 6000 + 17 * n,
          .involuntary = 7000 + 19 * n};
}

TEST_F(FilesOfProcesses, GiveEachFigureOfAnInterval) {
  put(41, 41, grown(0));
  begin();
  put(41, 41, grown(1));
  look();
  put(41, 41, grown(11));
  look();
  const TaskSeries& seen = task(41);
  EXPECT_EQ(seen.id, (TaskId{41, 7}));
  EXPECT_EQ(seen.process, 41);
  EXPECT_EQ(seen.name, "other name") << "the newest";
  EXPECT_EQ(seen.job, 0U);
  EXPECT_EQ(seen.state_before, 'S');
  ASSERT_EQ(seen.steps.size(), 2U);
  for (const std::uint32_t i : {0U, 1U}) {
    const TaskStep& step = seen.steps[i];
    const std::uint32_t n = i == 0 ? 1 : 10;
    EXPECT_TRUE(step.known);
    EXPECT_EQ(step.state, 'R');
    EXPECT_EQ(step.cpu, 2);
    EXPECT_EQ(step.minor_faults, 2 * n);
    EXPECT_EQ(step.major_faults, 3 * n);
    EXPECT_EQ(step.run_us, 5 * n);
    EXPECT_EQ(step.wait_us, 7 * n);
    EXPECT_EQ(step.migrations, 13 * n);
    EXPECT_EQ(step.voluntary, 17 * n);
    EXPECT_EQ(step.involuntary, 19 * n);
    EXPECT_EQ(step.group, kNowhere);
    EXPECT_FALSE(step.moved);
  }
  EXPECT_FALSE(series().tasks_missed);
}

/// A kernel without CONFIG_SCHED_DEBUG.
TEST_F(FilesOfProcesses, WithoutMigrationsTellThatAThreadHasAnotherCpu) {
  tree.remove("/proc/self/sched");
  has_sched = false;
  std::vector<std::uint32_t> migrations;
  ThreadFiles files{.run_us = 10, .voluntary = 100, .involuntary = 200};
  put(41, 41, files);
  begin();
  for (const int cpu : {1, 2, 2, 0, 1}) {
    files.cpu = cpu;
    files.run_us += 10;
    files.turns += 1;
    files.voluntary += 3;
    files.involuntary += 4;
    put(41, 41, files);
    look();
    const TaskStep& step = task(41).steps.back();
    EXPECT_TRUE(step.known);
    EXPECT_EQ(step.voluntary, 3U);
    EXPECT_EQ(step.involuntary, 4U);
    migrations.push_back(step.migrations);
  }
  EXPECT_EQ(migrations, (std::vector<std::uint32_t>{0, 1, 0, 1, 1}));
}

TEST_F(FilesOfProcesses, TellWhenAThreadMustLeaveItsCpu) {
  ThreadFiles files;
  put(41, 41, files);
  begin();
  const auto change = [&](const std::string& allowed, int cpu) {
    files.allowed = allowed;
    files.cpu = cpu;
    files.turns += 1;
    put(41, 41, files);
    look();
  };
  change("0-3", 1);
  change("0-1", 1);  // it may stay
  change("2-3,8", 2);
  change("2-3,8", 2);
  change("8", 8);
  std::vector<bool> moved;
  for (const TaskStep& step : task(41).steps) moved.push_back(step.moved);
  EXPECT_EQ(moved, (std::vector<bool>{false, false, true, false, true}));
  std::vector<std::string> changes;
  for (const AffinityChange& each : task(41).changes) {
    changes.push_back(std::to_string(each.interval) + ": " + each.from + " to " + each.to);
  }
  EXPECT_EQ(changes,
            (std::vector<std::string>{"1: 0-3 to 0-1", "2: 0-1 to 2-3,8", "4: 2-3,8 to 8"}));
}

TEST_F(FilesOfProcesses, TellWhetherAThreadBeganBeforeTheWatch) {
  origin_ns = kSecond;  // 100 ticks of 10 ms
  ASSERT_EQ(::sysconf(_SC_CLK_TCK), 100);
  put(41, 41, {.threads = 1, .run_us = 100});
  begin();
  put(41, 41, {.threads = 3, .run_us = 110});
  ThreadFiles old{.threads = 3, .start_ticks = 50, .run_us = 5000, .wait_us = 300};
  put(41, 42, old);
  put(41, 43,
      {.threads = 3, .start_ticks = 106, .run_us = 40, .wait_us = 30, .turns = 2, .voluntary = 5});
  look();
  old.run_us += 7;
  old.wait_us += 9;
  put(41, 42, old);
  look();
  EXPECT_NEAR(task(41).born_s, -0.93, 0.001);
  EXPECT_NEAR(task(42).born_s, -0.5, 0.001);
  EXPECT_NEAR(task(43).born_s, 0.06, 0.001);
  EXPECT_EQ(task(42).first, 1U) << "it is known from the second look on";
  ASSERT_EQ(task(42).steps.size(), 1U);
  EXPECT_EQ(task(42).steps[0].run_us, 7U);
  EXPECT_EQ(task(42).steps[0].wait_us, 9U);
  EXPECT_EQ(task(43).first, 0U) << "all that it did, it did in the first interval";
  ASSERT_EQ(task(43).steps.size(), 2U);
  const TaskStep& step = task(43).steps[0];
  EXPECT_TRUE(step.known);
  EXPECT_EQ(step.run_us, 40U);
  EXPECT_EQ(step.wait_us, 30U);
  EXPECT_EQ(step.voluntary, 5U);
}

TEST_F(FilesOfProcesses, OfOneThreadAreThoseOfNoOther) {
  for (const int thread : {41, 42, 43}) {
    put(41, thread, {.threads = 3});
    put(42, thread, {.threads = 3});  // as /proc shows it under the number of any thread
  }
  const std::size_t job = sampler().add_job("thread");
  ASSERT_TRUE(sampler().add_thread(job, 42));
  EXPECT_FALSE(sampler().add_thread(job, 42)) << "it is watched already";
  look();
  look();
  EXPECT_EQ(numbers(), std::set<pid_t>{42});
  EXPECT_EQ(task(42).steps.size(), 1U);
  end(42, 42);
  look();
  EXPECT_TRUE(task(42).ended);
}

TEST_F(FilesOfProcesses, NameChildrenAndTheirChildrenFromTheFirstLookOn) {
  tree.put("/proc/self/task/" + std::to_string(::getpid()) + "/children", "");
  for (const int process : {41, 50, 51, 60, 70, 71}) put(process, process);
  put(41, 42);
  tree.put("/proc/70/task/70/children", "71 ");
  tree.put("/proc/41/task/41/children", "50 51 \n");
  tree.put("/proc/41/task/42/children", "");
  tree.put("/proc/50/task/50/children", "60 ");
  sampler().add_job("other");
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  ASSERT_TRUE(sampler().add_process(0, 70));
  look();
  EXPECT_EQ(numbers(), (std::set<pid_t>{41, 42, 50, 51, 60, 70, 71}));
  for (const TaskSeries& each : series().tasks) {
    EXPECT_EQ(each.job, each.process >= 70 ? 0U : 1U) << each.process;
    EXPECT_EQ(each.process, each.id.number == 42 ? 41 : each.id.number);
  }
  put(61, 61);
  tree.put("/proc/41/task/42/children", "61\n");
  look();
  EXPECT_TRUE(numbers().contains(61)) << "of its other thread";
  EXPECT_EQ(task(60).steps.size(), 1U);
  for (const int process : {41, 50, 51, 60}) end(process, process);
  end(41, 42);
  look();
  EXPECT_TRUE(task(60).ended);
  EXPECT_FALSE(task(61).ended) << "a child lives";
}

/// A kernel without CONFIG_PROC_CHILDREN: all processes are looked through once a second.
TEST_F(FilesOfProcesses, OfAKernelThatListsNoChildrenNameTheirParents) {
  put(41, 41, {.name = "a) S 9 (b"});
  put(50, 50, {.name = "c) S 9 (d", .parent = 41});
  put(51, 51, {.parent = 1});
  tree.put("/proc/52/stat", "no stat");
  begin();
  EXPECT_EQ(numbers(), (std::set<pid_t>{41, 50}));
  put(53, 53, {.parent = 50});
  for (int i = 1; i < 10; ++i) look();
  EXPECT_FALSE(numbers().contains(53));
  look();
  EXPECT_EQ(numbers(), (std::set<pid_t>{41, 50, 53}));
  EXPECT_EQ(task(50).name, "c) S 9 (d");
}

TEST_F(FilesOfProcesses, AreAddedOnceWhileTheyAreWatched) {
  put(41, 41);
  const std::size_t job = sampler().add_job("rx");
  EXPECT_FALSE(sampler().add_process(job, 42)) << "there is no such process";
  EXPECT_TRUE(sampler().add_process(job, 41));
  EXPECT_FALSE(sampler().add_process(job, 41));
  look();
  end(41, 41);
  look();
  EXPECT_TRUE(task(41).ended);
  EXPECT_FALSE(series().tasks_missed) << "that it has ended is no trouble";
  put(41, 41, {.start_ticks = 9});
  EXPECT_TRUE(sampler().add_process(job, 41)) << "a later process of that number";
}

TEST_F(FilesOfProcesses, NameTheNamespacesOfJobsThatUseTheNetwork) {
  for (const int process : {41, 42, 43}) put(process, process);
  for (const char* const file : {"41/ns/net", "43/ns/net", "self/ns/net"}) {
    tree.put(std::string("/proc/") + file, "");
  }
  sampler().add_job(WatchedJob{.name = "rx"});
  sampler().add_job(WatchedJob{.name = "bus", .uses_network = false});
  ASSERT_TRUE(sampler().add_process(0, 41));
  ASSERT_TRUE(sampler().add_process(0, 42));
  ASSERT_TRUE(sampler().add_process(1, 43));
  const auto inode_of = [&](const std::string& name) {
    struct stat of{};
    EXPECT_EQ(::stat(tree.at(name).c_str(), &of), 0);
    return static_cast<std::uint64_t>(of.st_ino);
  };
  look();
  look();
  const std::uint64_t first = inode_of("/proc/41/ns/net");
  EXPECT_EQ(series().jobs[0].nets, std::vector{first});
  EXPECT_TRUE(series().jobs[1].nets.empty());
  EXPECT_EQ(series().own_net, inode_of("/proc/self/ns/net"));
  ASSERT_EQ(series().nets.size(), 1U);
  EXPECT_EQ(series().nets[0].net, first);
  // It goes to another namespace, which is noticed within a second.
  tree.put("/proc/41/ns/new", "");
  std::filesystem::rename(tree.at("/proc/41/ns/new"), tree.at("/proc/41/ns/net"));
  for (int i = 2; i <= 10; ++i) look();
  EXPECT_EQ(series().jobs[0].nets, (std::vector{first, inode_of("/proc/41/ns/net")}));
}

/// A process in a pid namespace of its own writes the number that it has there into its port.
TEST_F(FilesOfProcesses, TellTheNumberThatAProcessHasInItsOwnNamespace) {
  tree.put("/proc/41/status", "Name:\tprog\nNStgid:\t41\t8\nNSpid:\t41\t30\t7\n");
  put(41, 41);
  put(42, 42);
  WhySeries series;
  TaskWatch tasks(tree.files(), series, 0);
  ASSERT_TRUE(tasks.add(42, 2));
  ASSERT_TRUE(tasks.add(41, 5));
  BusInfo info;
  bus::PortOwners owners(info);
  std::set<pid_t> others;
  const auto job_of = [&](std::int32_t pid) {
    PortInfo port;
    port.pid = pid;
    return tasks.job_of(port, owners, others);
  };
  EXPECT_EQ(job_of(7), 5U);
  EXPECT_EQ(job_of(41), 5U);
  EXPECT_EQ(job_of(42), 2U);
  for (const std::int32_t other : {8, 30, 43}) EXPECT_EQ(job_of(other), std::nullopt) << other;
  EXPECT_TRUE(others.empty());
  others = {41};
  EXPECT_EQ(job_of(7), std::nullopt) << "it is known not to have the port";
  EXPECT_EQ(job_of(42), 2U);
}

TEST_F(FilesOfProcesses, OfAnotherPidNamespaceAreNotThoseOfOurProcesses) {
  put(41, 41);
  tree.remove("/proc/self");
  std::filesystem::create_symlink("4000001", tree.at("/proc/self"));
  EXPECT_FALSE(sampler().add_process(sampler().add_job("rx"), 41));
  EXPECT_EQ(errno, ESRCH);
  look();
  EXPECT_TRUE(series().tasks.empty());
  EXPECT_TRUE(series().tasks_missed);
  const auto at = std::ranges::find(series().missing, "/proc/PID/task", &MissingSource::source);
  ASSERT_NE(at, series().missing.end());
  EXPECT_NE(at->reason.find("that of another PID namespace"), std::string::npos) << at->reason;
}

TEST_F(FilesOfProcesses, WithoutRunDelaysSaySoOnce) {
  for (const bool is_there : {true, false}) {
    tree.put("/proc/self/schedstat", "0 0 0\n");
    if (!is_there) tree.remove("/proc/self/schedstat");
    WhySeries none;
    const TaskWatch tasks(tree.files(), none, 0);
    EXPECT_FALSE(none.waits_known);
    ASSERT_EQ(none.missing.size(), 1U);
    EXPECT_EQ(none.missing[0].source, "/proc/PID/schedstat");
    const char* const reason = is_there ? "only zeros" : "No such file";
    EXPECT_NE(none.missing[0].reason.find(reason), std::string::npos) << none.missing[0].reason;
  }
}

TEST_F(FilesOfProcesses, AreListedInTheSameLookInWhichOneSaysThatThereAreMore) {
  put(41, 41);
  begin();
  put(41, 41, {.threads = 2});
  put(41, 42, {.threads = 2});
  look();
  EXPECT_EQ(numbers(), (std::set<pid_t>{41, 42}));
  put(41, 42, {.threads = 3});
  put(41, 43, {.threads = 3});
  look();
  EXPECT_EQ(numbers(), (std::set<pid_t>{41, 42, 43}));
  tree.remove("/proc/41/task/42");
  put(41, 43, {.threads = 2});
  look();
  EXPECT_TRUE(task(42).ended) << "one fewer is told than are known";
  EXPECT_FALSE(task(43).ended);
}

TEST_F(FilesOfProcesses, WithTheNumberOfAnEarlierOneHaveCountsOfTheirOwn) {
  put(41, 41, {.run_us = 1000});
  begin();
  put(41, 41, {.run_us = 1010});
  look();
  for (const int run_us : {90'000, 90'007}) {
    put(41, 41, {.start_ticks = 9, .run_us = run_us});
    look();
  }
  ASSERT_EQ(series().tasks.size(), 2U);
  const TaskSeries& first = series().tasks[0];
  const TaskSeries& second = series().tasks[1];
  EXPECT_TRUE(first.ended);
  EXPECT_FALSE(second.ended);
  EXPECT_EQ(second.id, (TaskId{41, 9}));
  ASSERT_EQ(first.steps.size(), 1U);
  EXPECT_EQ(first.steps[0].run_us, 10U);
  EXPECT_EQ(second.first, 1U);
  ASSERT_EQ(second.steps.size(), 2U);
  EXPECT_EQ(second.steps[0].run_us, 90'000U) << "all since it began, and nothing else";
  EXPECT_EQ(second.steps[1].run_us, 7U);
}

/// A kernel that does not count how long threads run and wait counts their ticks.
TEST_F(FilesOfProcesses, WithoutTheTimesOfTheSchedulerRunInTheirProgramsAndInTheKernel) {
  tree.remove("/proc/self/schedstat");
  put(41, 41, {.user_ticks = 1000, .system_ticks = 500});
  begin();
  ASSERT_FALSE(series().waits_known);
  const long tick_us = 1'000'000 / ::sysconf(_SC_CLK_TCK);
  std::vector<long> ticks;
  for (const auto& [user, system] : {std::pair(1003, 500), {1003, 505}, {1005, 506}}) {
    put(41, 41, {.user_ticks = user, .system_ticks = system});
    look();
    ticks.push_back(task(41).steps.back().run_us / tick_us);
  }
  EXPECT_EQ(ticks, (std::vector<long>{3, 5, 3}));
}

TEST_F(FilesOfProcesses, AreOfTheGroupIntoWhichTheirProcessWasMoved) {
  tree.put("/proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw\n");
  const auto put_group = [&](const std::string& name) {
    tree.put("/sys/fs/cgroup/" + name + "/cpu.stat", "throttled_usec 0\n");
    tree.put("/proc/41/cgroup", "0::/" + name + '\n');
  };
  put(41, 41);
  put_group("starter");
  begin();
  put_group("before");
  constexpr std::size_t kSettled = 7, kHalfASecond = 5;
  while (series().ends_s.size() < kSettled) look();
  put_group("behind");
  for (std::size_t i = 0; i < kHalfASecond; ++i) look();
  const auto group_of = [&](std::size_t interval) {
    return series().groups.at(task(41).steps.at(interval).group).name;
  };
  EXPECT_EQ(group_of(0), "/before") << "it moves as it begins";
  EXPECT_EQ(group_of(kSettled - 1), "/before");
  EXPECT_EQ(group_of(kSettled + kHalfASecond - 1), "/behind");
}

}  // namespace
}  // namespace shmif::perf::test
