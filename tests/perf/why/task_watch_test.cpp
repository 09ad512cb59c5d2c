// Which threads a watch looks at, though it lists them only when there may be others: threads that
// begin and end, numbers that are used again, programs that execute another one.

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "perf/why/kernel_text.hpp"
#include "perf/why/sampler.hpp"
#include "tests/perf/membw/trees.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Child;
using shmif::test::eventually;

constexpr std::uint64_t kEvery = 100'000'000;

std::string task_folder(pid_t process, pid_t thread) {
  return "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread);
}

/// A thread of this process that does nothing until it is ended.
class IdleThread {
 public:
  IdleThread() {
    EXPECT_TRUE(eventually([this] { return number_ != 0; }));
  }
  ~IdleThread() { end(); }
  IdleThread(const IdleThread&) = delete;
  IdleThread& operator=(const IdleThread&) = delete;

  pid_t number() const { return number_; }
  /// Returns when the kernel does not show it any more.
  void end() {
    if (!thread_.joinable()) return;
    over_ = true;
    over_.notify_all();
    thread_.join();
    EXPECT_TRUE(
        eventually([this] { return !std::filesystem::exists(task_folder(::getpid(), number_)); }));
  }

 private:
  std::atomic<pid_t> number_ = 0;
  std::atomic<bool> over_ = false;
  std::thread thread_{[this] {
    number_ = ::gettid();
    over_.wait(false);
  }};
};

const TaskSeries* find_task(const WhySeries& series, pid_t number) {
  const auto at = std::ranges::find(series.tasks, number,
                                    [](const TaskSeries& task) { return task.id.number; });
  return at == series.tasks.end() ? nullptr : &*at;
}

/// Looks ten times a second, at times that it makes up.
class LookedAt : public testing::Test {
 protected:
  void begin(const KernelFiles& files, pid_t pid) {
    sampler_.emplace(files, 0);
    ASSERT_TRUE(sampler_->add_process(sampler_->add_job("prog"), pid));
    look();
  }
  void look() { sampler_->sample(looks_++ * kEvery); }
  const WhySeries& series() const { return sampler_->series(); }

 private:
  std::optional<WhySampler> sampler_;
  std::uint64_t looks_ = 0;
};

class WatchedThreads : public LookedAt {};

TEST_F(WatchedThreads, AreNoticedAtTheNextLookAfterTheyBeganOrEnded) {
  begin(KernelFiles(), ::getpid());
  IdleThread first;
  look();
  const TaskSeries* const task = find_task(series(), first.number());
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(task->first, 0U) << "it began in the first interval";
  EXPECT_EQ(task->steps.size(), 1U);
  EXPECT_FALSE(task->ended);
  first.end();
  look();
  EXPECT_TRUE(find_task(series(), first.number())->ended);
  EXPECT_FALSE(find_task(series(), ::getpid())->ended);
  EXPECT_EQ(find_task(series(), ::getpid())->steps.size(), 2U);
}

TEST_F(WatchedThreads, AreNoticedIfTheyBeginWhileAnotherEnds) {
  IdleThread first;
  begin(KernelFiles(), ::getpid());
  first.end();
  const IdleThread second;
  look();
  EXPECT_TRUE(find_task(series(), first.number())->ended);
  const TaskSeries* const task = find_task(series(), second.number());
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(task->steps.size(), 1U);
  EXPECT_FALSE(task->ended);
}

TEST_F(WatchedThreads, OfAProcessThatEndsAreGoneAtTheNextLook) {
  const shmif::test::Shared<std::atomic<bool>> over;
  Child child([&over] {
    while (!*over) ::usleep(1000);
    return 0;
  });
  const pid_t number = child.pid();
  begin(KernelFiles(), number);
  look();
  EXPECT_FALSE(find_task(series(), number)->ended);
  *over = true;
  child.wait();
  look();
  EXPECT_TRUE(std::ranges::all_of(series().tasks, &TaskSeries::ended));  // TSan has one more
  const TaskSeries* const task = find_task(series(), number);
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(task->steps.size(), 1U) << "nothing is known of its last interval";
}

TEST_F(WatchedThreads, GoOnUnderTheirNumberWhenOneOfThemExecutesAProgram) {
  if (shmif::test::kSanitized) GTEST_SKIP() << "under sanitizers, there is one more thread";
  struct State {
    std::atomic<pid_t> other = 0;
    std::atomic<bool> go = false;
  };
  const shmif::test::Shared<State> state;
  const Child child([&state] {
    std::thread other([&state] {
      state->other = ::gettid();
      while (!state->go) ::usleep(1000);
      ::execl("/bin/sleep", "sleep", "600", nullptr);
      ::_exit(1);
    });
    other.join();  // never: the program takes the place of all threads
    return 1;
  });
  ASSERT_TRUE(eventually([&state] { return state->other != 0; }));
  begin(KernelFiles(), child.pid());
  look();
  ASSERT_EQ(series().tasks.size(), 2U);
  state->go = true;
  const std::string other = task_folder(child.pid(), state->other);
  ASSERT_TRUE(eventually([&other] { return !std::filesystem::exists(other); }));
  const std::string name = task_folder(child.pid(), child.pid()) + "/comm";
  ASSERT_TRUE(eventually([&name] { return KernelFiles().read(name).value() == "sleep\n"; }));
  look();
  look();
  ASSERT_EQ(series().tasks.size(), 2U);
  const TaskSeries* const first = find_task(series(), child.pid());
  EXPECT_EQ(first->name, "sleep");
  EXPECT_EQ(first->steps.size(), 3U);
  EXPECT_FALSE(first->ended);
  EXPECT_TRUE(find_task(series(), state->other)->ended);
  for (const TaskStep& step : first->steps) {
    EXPECT_LT(step.run_us, 60'000'000U) << "the counts of another thread begin anew";
  }
}

/// As the kernel itself lists them.
TEST_F(WatchedThreads, HaveTheListsOfCpusFromWhichAndToWhichTheyWereMoved) {
  const Child child([]() -> int {
    for (;;) ::pause();
  });
  const auto list_of_child = [&] {
    const auto text = KernelFiles().read("/proc/" + std::to_string(child.pid()) + "/status");
    return text ? read_allowed(*text) : std::string();
  };
  cpu_set_t all{};
  ASSERT_EQ(::sched_getaffinity(child.pid(), sizeof all, &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "there is one CPU only";
  cpu_set_t one{};
  for (std::size_t cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  }
  const std::string many = list_of_child();
  begin(KernelFiles(), child.pid());
  ASSERT_EQ(::sched_setaffinity(child.pid(), sizeof one, &one), 0);
  const std::string few = list_of_child();
  look();
  ASSERT_EQ(::sched_setaffinity(child.pid(), sizeof all, &all), 0);
  look();
  const TaskSeries* const task = find_task(series(), child.pid());
  ASSERT_NE(task, nullptr);
  ASSERT_EQ(task->changes.size(), 2U);
  EXPECT_EQ(task->changes[0].interval, 0U);
  EXPECT_EQ(task->changes[0].from, many);
  EXPECT_EQ(task->changes[0].to, few);
  EXPECT_EQ(task->changes[1].interval, 1U);
  EXPECT_EQ(task->changes[1].from, few);
  EXPECT_EQ(task->changes[1].to, many);
}

/// How many files this process has open of those that tell about its threads.
std::size_t open_files_of_threads() {
  const std::string own = "/proc/" + std::to_string(::getpid());
  std::size_t count = 0;
  std::error_code gone;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    const std::string target = std::filesystem::read_symlink(each.path(), gone).string();
    if (target.starts_with(own + "/task") || target == own + "/cgroup") ++count;
  }
  return count;
}

TEST_F(WatchedThreads, OfWhichThereAreVeryManyKeepNoFilesOpen) {
  constexpr std::size_t kMany = 110;
  std::vector<std::unique_ptr<IdleThread>> threads;
  begin(KernelFiles(), ::getpid());
  EXPECT_GT(open_files_of_threads(), 2U) << "those of few do";
  while (threads.size() < kMany) threads.push_back(std::make_unique<IdleThread>());
  constexpr int kLooks = 6;
  for (int i = 0; i < kLooks; ++i) look();
  EXPECT_EQ(open_files_of_threads(), 0U);
  const TaskSeries* const last = find_task(series(), threads.back()->number());
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->steps.size(), std::size_t{kLooks});
  threads.back()->end();
  look();
  EXPECT_TRUE(find_task(series(), threads.back()->number())->ended);
  EXPECT_FALSE(series().tasks_missed);
}

/// Process 41 in files that stay open while their text changes.
class RecordedThreads : public LookedAt {
 protected:
  RecordedThreads() {
    tree.put("/proc/self/schedstat", "5 5 5\n");
    tree.put("/proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw\n");
    tree.put("/proc/41/status", "Name:\tprog\n");
    tree.put("/proc/41/cgroup", "0::/before\n");
    for (const char* group : {"before", "behind"}) {
      tree.put("/sys/fs/cgroup/" + std::string(group) + "/cpu.stat", "throttled_usec 0\n");
    }
    put_thread(41, 1, 7, 1000);
  }
  void put_thread(int number, int threads, int start_ticks, int run_us) {
    const std::string folder = "/proc/41/task/" + std::to_string(number);
    std::string line = std::to_string(number) + " (prog) S";
    for (int field = 4; field <= 52; ++field) {
      const int value = field == 20 ? threads : field == 22 ? start_ticks : 1;
      line += ' ' + std::to_string(value);
    }
    tree.put(folder + "/stat", line + '\n');
    tree.put(folder + "/schedstat", std::to_string(run_us) + "000 0 1\n");
  }

  const Tree tree;
};

TEST_F(RecordedThreads, AreListedInTheSameLookInWhichOneSaysThatThereAreMore) {
  begin(tree.files(), 41);
  put_thread(41, 2, 7, 1010);
  put_thread(42, 2, 8, 500);
  look();
  EXPECT_EQ(series().tasks.size(), 2U);
  put_thread(43, 2, 9, 500);
  look();
  EXPECT_EQ(series().tasks.size(), 2U) << "nobody says that there are more than two";
  put_thread(42, 3, 8, 500);
  look();
  ASSERT_EQ(series().tasks.size(), 3U);
  EXPECT_EQ(series().tasks[2].id.number, 43);
  tree.remove("/proc/41/task/42");
  put_thread(43, 2, 9, 500);
  look();
  EXPECT_TRUE(series().tasks[1].ended) << "one fewer is told than are known";
  EXPECT_FALSE(series().tasks[2].ended);
}

TEST_F(RecordedThreads, WithTheNumberOfAnEarlierOneHaveCountsOfTheirOwn) {
  begin(tree.files(), 41);
  put_thread(41, 1, 7, 1010);
  look();
  put_thread(41, 1, 9, 90'000);
  look();
  ASSERT_EQ(series().tasks.size(), 2U);
  put_thread(41, 1, 9, 90'007);
  look();
  ASSERT_EQ(series().tasks.size(), 2U);
  EXPECT_TRUE(series().tasks[0].ended);
  EXPECT_FALSE(series().tasks[1].ended);
  EXPECT_EQ(series().tasks[1].id, (TaskId{41, 9}));
  ASSERT_EQ(series().tasks[0].steps.size(), 1U);
  EXPECT_EQ(series().tasks[0].steps[0].run_us, 10U);
  EXPECT_EQ(series().tasks[1].first, 1U);
  ASSERT_EQ(series().tasks[1].steps.size(), 2U);
  EXPECT_EQ(series().tasks[1].steps[0].run_us, 90'000U) << "all since it began, and nothing else";
  EXPECT_EQ(series().tasks[1].steps[1].run_us, 7U);
}

/// A kernel that does not count how long threads run and wait counts their ticks.
TEST_F(RecordedThreads, WithoutTheTimesOfTheSchedulerRunInTheirProgramsAndInTheKernel) {
  tree.remove("/proc/self/schedstat");
  const auto put_ticks = [this](int user, int system) {
    std::string line = "41 (prog) S";
    for (int field = 4; field <= 52; ++field) {
      const int value = field == 14 ? user : field == 15 ? system : field == 22 ? 7 : 1;
      line += ' ' + std::to_string(value);
    }
    tree.put("/proc/41/task/41/stat", line + '\n');
  };
  put_ticks(1000, 500);
  begin(tree.files(), 41);
  ASSERT_FALSE(series().waits_known);
  const long tick_us = 1'000'000 / ::sysconf(_SC_CLK_TCK);
  std::vector<long> ticks;
  for (const auto& [user, system] : {std::pair(1003, 500), {1003, 505}, {1005, 506}}) {
    put_ticks(user, system);
    look();
    ticks.push_back(series().tasks.at(0).steps.back().run_us / tick_us);
  }
  EXPECT_EQ(ticks, (std::vector<long>{3, 5, 3}));
}

TEST_F(RecordedThreads, AreOfTheGroupIntoWhichTheirProcessWasMovedWithinHalfASecond) {
  begin(tree.files(), 41);
  constexpr std::size_t kSettled = 7, kHalfASecond = 5;
  while (series().ends_s.size() < kSettled) look();
  tree.put("/proc/41/cgroup", "0::/behind\n");
  for (std::size_t i = 0; i < kHalfASecond; ++i) look();
  ASSERT_EQ(series().groups.size(), 2U);
  EXPECT_EQ(series().groups[1].name, "/behind");
  const auto& steps = series().tasks.at(0).steps;
  EXPECT_EQ(steps.at(0).group, 0U) << "from the first look on";
  EXPECT_EQ(steps.at(kSettled - 1).group, 0U);
  EXPECT_EQ(steps.back().group, 1U);
}

TEST_F(RecordedThreads, AreOfTheGroupIntoWhichTheirProcessMovesAsItBegins) {
  begin(tree.files(), 41);
  tree.put("/proc/41/cgroup", "0::/behind\n");
  look();
  ASSERT_EQ(series().groups.size(), 2U);
  EXPECT_EQ(series().tasks.at(0).steps.at(0).group, 1U);
}

}  // namespace
}  // namespace shmif::perf::test
