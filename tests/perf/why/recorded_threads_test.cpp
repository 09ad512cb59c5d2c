// What the watch of threads takes from the kernel's files about processes, in trees of files that a
// test writes between two looks.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "bus/repair/port_owners.hpp"
#include "perf/why/sampler.hpp"
#include "perf/why/task_watch.hpp"
#include "tests/perf/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

/// What the files of a thread say.
struct ThreadFiles {
  std::string name = "prog";
  char state = 'S';
  int minor = 0, major = 0, threads = 1, start_ticks = 7, cpu = 1, parent = 1;
  int run_us = 0, wait_us = 0, turns = 1;
  int migrations = 0, voluntary = 0, involuntary = 0;
  std::string allowed = "0-3";
};

class FilesOfProcesses : public ::testing::Test {
 protected:
  FilesOfProcesses() {
    tree.put("/proc/self/schedstat", "5 5 5\n");
    tree.put("/proc/self/sched", "se.nr_migrations : 1\nnr_voluntary_switches : 1\n");
  }
  static std::string stat_text(int number, const ThreadFiles& files) {
    const std::map<int, int> fields{{4, files.parent},   {10, files.minor},       {12, files.major},
                                    {20, files.threads}, {22, files.start_ticks}, {39, files.cpu}};
    std::string line = std::to_string(number) + " (" + files.name + ") " + files.state;
    for (int field = 4; field <= 52; ++field) {
      const auto at = fields.find(field);
      line += ' ' + std::to_string(at == fields.end() ? 0 : at->second);
    }
    return line + '\n';
  }
  void put(int process, int thread, const ThreadFiles& files = {}) {
    const auto text = [](int value) { return std::to_string(value); };
    const std::string of_process = "/proc/" + text(process);
    const std::string folder = of_process + "/task/" + text(thread);
    if (process == thread) tree.put(of_process + "/stat", stat_text(process, files));
    if (!KernelFiles(tree.path()).has(of_process + "/status")) {
      tree.put(of_process + "/status", "Name:\tprog\n");
    }
    tree.put(folder + "/stat", stat_text(thread, files));
    tree.put(folder + "/schedstat",
             text(files.run_us) + "000 " + text(files.wait_us) + "000 " + text(files.turns) + '\n');
    if (has_sched) {
      tree.put(folder + "/sched", "se.nr_migrations : " + text(files.migrations) +
                                      "\nnr_voluntary_switches : " + text(files.voluntary) +
                                      "\nnr_involuntary_switches : " + text(files.involuntary) +
                                      '\n');
    }
    tree.put(folder + "/status",
             "Name:\t" + files.name + "\nCpus_allowed:\tf\nCpus_allowed_list:\t" + files.allowed +
                 "\nvoluntary_ctxt_switches:\t" + text(files.voluntary) +
                 "\nnonvoluntary_ctxt_switches:\t" + text(files.involuntary) + '\n');
  }
  /// What is open of it says that the number is another thread's, and its name is gone.
  void end(int process, int thread) {
    put(process, thread, {.start_ticks = 4711});
    tree.remove("/proc/" + std::to_string(process) + "/task/" + std::to_string(thread));
  }
  WhySampler& sampler() {
    if (!sampler_) sampler_.emplace(tree.files(), origin_ns);
    return *sampler_;
  }
  /// Looks every 100 ms, beginning at the origin.
  void look() { sampler().sample(origin_ns + looks_++ * (kSecond / 10)); }
  const WhySeries& series() { return sampler().series(); }
  const TaskSeries& task(pid_t number) {
    const auto at = std::ranges::find(series().tasks, number,
                                      [](const TaskSeries& each) { return each.id.number; });
    if (at == series().tasks.end()) throw std::runtime_error("thread is not watched");
    return *at;
  }
  std::set<pid_t> numbers() {
    std::set<pid_t> all;
    for (const TaskSeries& each : series().tasks) all.insert(each.id.number);
    return all;
  }

  const Tree tree;
  std::uint64_t origin_ns = 0;
  bool has_sched = true;

 private:
  std::optional<WhySampler> sampler_;
  std::uint64_t looks_ = 0;
};

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
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
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
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
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

/// A file that is not there for one thread is no reason to mix up what the other file counts.
TEST_F(FilesOfProcesses, WithoutSwitchesHaveTheMigrationsOfTheOtherFile) {
  put(41, 41);
  const auto put_migrations = [&](int count) {
    tree.put("/proc/41/task/41/sched", "se.nr_migrations : " + std::to_string(count) + '\n');
  };
  put_migrations(10);
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
  put(41, 41, {.run_us = 9, .turns = 2, .voluntary = 4, .involuntary = 5});
  put_migrations(16);
  look();
  EXPECT_EQ(task(41).steps.at(0).migrations, 6U);
  EXPECT_EQ(task(41).steps[0].voluntary, 4U);
  EXPECT_EQ(task(41).steps[0].involuntary, 5U);
}

/// Nobody reads how often a thread has switched that never had a CPU: that is known.
TEST_F(FilesOfProcesses, OfAThreadThatNeverRanBeforeAreKnownWhenItRuns) {
  put(41, 41, {.turns = 0});
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
  put(41, 41, {.run_us = 30, .turns = 3, .voluntary = 2, .involuntary = 1});
  look();
  const TaskStep& step = task(41).steps.at(0);
  EXPECT_TRUE(step.known);
  EXPECT_EQ(step.run_us, 30U);
  EXPECT_EQ(step.voluntary, 2U);
  EXPECT_EQ(step.involuntary, 1U);
}

TEST_F(FilesOfProcesses, TellWhenAThreadMustLeaveItsCpu) {
  ThreadFiles files;
  put(41, 41, files);
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
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
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
  put(41, 41, {.threads = 3, .run_us = 110});
  put(41, 42, {.threads = 3, .start_ticks = 50, .run_us = 5000, .wait_us = 300});
  put(41, 43,
      {.threads = 3,
       .start_ticks = 106,
       .cpu = 3,
       .run_us = 40,
       .wait_us = 30,
       .turns = 2,
       .migrations = 4,
       .voluntary = 5,
       .involuntary = 6});
  look();
  put(41, 42, {.threads = 3, .start_ticks = 50, .run_us = 5007, .wait_us = 309, .turns = 2});
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
  EXPECT_EQ(step.involuntary, 6U);
  EXPECT_EQ(step.migrations, 4U);
  EXPECT_EQ(step.cpu, 3);
  EXPECT_EQ(step.state, 'S');
  EXPECT_EQ(task(43).process, 41);
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
  ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
  look();
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
  look();
  tree.put("/proc/41/ns/new", "");
  std::filesystem::rename(tree.at("/proc/41/ns/new"), tree.at("/proc/41/ns/net"));
  const std::uint64_t second = inode_of("/proc/41/ns/net");
  ASSERT_NE(first, second);
  for (int i = 3; i < 10; ++i) look();
  EXPECT_EQ(series().jobs[0].nets, std::vector{first});
  EXPECT_EQ(series().nets[0].steps.size(), 3U) << "a last look at that which it has left";
  look();
  EXPECT_EQ(series().jobs[0].nets, (std::vector{first, second}));
  ASSERT_EQ(series().nets.size(), 2U);
  EXPECT_EQ(series().nets[1].first, 10U);
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
  tree.put("/proc/self/schedstat", "0 0 0\n");
  const auto reason = [&] {
    WhySeries none;
    const TaskWatch tasks(tree.files(), none, 0);
    EXPECT_FALSE(none.waits_known);
    EXPECT_EQ(none.missing.size(), 1U);
    return none.missing.at(0).source + ": " + none.missing[0].reason;
  };
  EXPECT_EQ(reason(), "/proc/PID/schedstat: it has only zeros");
  tree.remove("/proc/self/schedstat");
  EXPECT_EQ(reason(), "/proc/PID/schedstat: cannot open " + tree.at("/proc/self/schedstat") +
                          ": No such file or directory");
}

}  // namespace
}  // namespace shmif::perf::test
