// Which threads a watch looks at, though it lists them only when there may be others: threads that
// begin and end, numbers that are used again, programs that execute another one.

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/why/task_watch.hpp"
#include "instruments/why/why.hpp"
#include "tests/instruments/membw/trees.hpp"

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
class WatchedThreads : public testing::Test {
 protected:
  void begin(pid_t pid) {
    sampler_.emplace(KernelFiles(), 0);
    ASSERT_TRUE(sampler_->add_process(sampler_->add_job("prog"), pid));
    look();
  }
  void look() { sampler_->sample(looks_++ * kEvery); }
  const WhySeries& series() const { return sampler_->series(); }

 private:
  std::optional<WhySampler> sampler_;
  std::uint64_t looks_ = 0;
};

TEST_F(WatchedThreads, AreNoticedAtTheNextLookAfterTheyBeganOrEnded) {
  begin(::getpid());
  IdleThread first;
  look();
  const TaskSeries* const task = find_task(series(), first.number());
  ASSERT_NE(task, nullptr);
  EXPECT_EQ(task->first, 0U) << "it began in the first interval";
  EXPECT_EQ(task->steps.size(), 1U);
  EXPECT_FALSE(task->ended);
  first.end();
  const IdleThread second;  // their number is as before
  look();
  EXPECT_TRUE(find_task(series(), first.number())->ended);
  ASSERT_NE(find_task(series(), second.number()), nullptr);
  EXPECT_FALSE(find_task(series(), second.number())->ended);
  EXPECT_FALSE(find_task(series(), ::getpid())->ended);
  EXPECT_EQ(find_task(series(), ::getpid())->steps.size(), 2U);
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
  begin(child.pid());
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
  begin(::getpid());
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

}  // namespace

// Control groups: which files tell what, of both versions and wherever they are mounted.

namespace {

/// Groups in a tree of files, at which a test looks.
class GroupFiles : public ::testing::Test {
 protected:
  void mount(const std::string& lines) { tree.put("/proc/self/mountinfo", lines); }
  void begin() { watch_.emplace(tree.files()); }
  std::uint16_t find(const std::string& text) {
    if (!watch_) begin();
    return watch_->find(text, series);
  }
  void look() {
    series.ends_s.push_back(static_cast<double>(series.ends_s.size() + 1));
    watch_->sample(series);
  }
  /// Of the last interval.
  const GroupStep& step(std::size_t group = 0) const {
    return series.groups.at(group).steps.back();
  }

  static constexpr const char* kUnified =
      "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
  const Tree tree;
  WhySeries series;

 private:
  std::optional<GroupWatch> watch_;
};

TEST_F(GroupFiles, OfVersion2TellQuotasLimitsAndPressure) {
  mount(kUnified);
  const std::string folder = "/sys/fs/cgroup/rig/";
  const auto put = [&](int us, int periods, const std::string& events, int pressure) {
    tree.put(folder + "cpu.stat", "usage_usec 9\nnr_periods 7\nnr_throttled " +
                                      std::to_string(periods) + "\nthrottled_usec " +
                                      std::to_string(us) + '\n');
    tree.put(folder + "memory.events.local", events);
    tree.put(folder + "memory.pressure",
             "some avg10=0.00 avg60=0.00 avg300=0.00 total=" + std::to_string(pressure) +
                 "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
  };
  put(1000, 10, "low 1\nhigh 20\nmax 300\noom 4000\noom_kill 50000\n", 700);
  EXPECT_EQ(find("0::/rig\n"), 0U);
  ASSERT_EQ(series.groups.size(), 1U);
  EXPECT_EQ(series.groups[0].name, "/rig");
  EXPECT_EQ(series.groups[0].memory_name, "/rig");
  put(1040, 13, "low 9\nhigh 22\nmax 307\noom 4011\noom_kill 99999\n", 777);
  EXPECT_EQ(find("0::/rig\n"), 0U) << "the same";
  look();
  EXPECT_EQ(step().throttled_us, 40U);
  EXPECT_EQ(step().throttled_periods, 3U);
  EXPECT_EQ(step().at_limit, 2U + 7U + 11U);
  EXPECT_EQ(step().memory_us, 77U);
  look();
  EXPECT_EQ(step().throttled_us + step().throttled_periods + step().at_limit, 0U) << "once";
  EXPECT_EQ(step().memory_us, 0U);
  EXPECT_EQ(series.groups[0].steps.size(), 2U);
  EXPECT_TRUE(series.missing.empty());
}

TEST_F(GroupFiles, OfAGroupAndThoseAboveAddUp) {
  mount(kUnified);
  const auto put = [&](const std::string& group, int limits, int pressure, int throttled) {
    const std::string folder = "/sys/fs/cgroup" + group + '/';
    tree.put(folder + "memory.events.local", "max " + std::to_string(limits) + '\n');
    tree.put(folder + "memory.pressure", "some total=" + std::to_string(pressure) + '\n');
    tree.put(folder + "cpu.stat", "throttled_usec " + std::to_string(throttled) + '\n');
  };
  put("", 1, 1, 1);  // the first group has no limits
  put("/outer", 10, 100, 1000);
  put("/outer/inner", 20, 200, 2000);
  find("0::/outer/inner\n");
  put("", 5000, 5000, 5000);
  put("/outer", 13, 105, 1030);
  put("/outer/inner", 24, 206, 2007);
  look();
  EXPECT_EQ(step().at_limit, 7U);
  EXPECT_EQ(step().memory_us, 11U);
  EXPECT_EQ(step().throttled_us, 37U);
}

TEST_F(GroupFiles, OfVersion1AreThoseOfTheControllersOfEachLine) {
  mount(
      "31 25 0:27 / /v1/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "32 25 0:28 / /v1/memory rw - cgroup cgroup rw,memory\n"
      "33 25 0:29 / /v1/cpuset rw - cgroup cgroup rw,cpuset\n"
      "34 25 0:30 / /elsewhere rw - ext4 /dev/sda rw\n");
  const auto put = [&](int ns, int periods, int failures) {
    tree.put("/v1/cpu,cpuacct/fast/cpu.stat", "nr_periods 1\nnr_throttled " +
                                                  std::to_string(periods) + "\nthrottled_time " +
                                                  std::to_string(ns) + '\n');
    tree.put("/v1/memory/small/memory.failcnt", std::to_string(failures) + '\n');
    for (const char* const other : {"/v1/cpuset/set/cpu.stat", "/v1/cpuset/set/memory.failcnt"}) {
      tree.put(other, "nr_throttled " + std::to_string(ns) + '\n');
    }
  };
  put(5000, 2, 40);
  EXPECT_EQ(find("12:cpuset:/set\n4:memory:/small\n3:cpu,cpuacct:/fast\n1:name=systemd:/x\n"), 0U);
  EXPECT_EQ(series.groups.at(0).name, "/fast");
  EXPECT_EQ(series.groups[0].memory_name, "/small");
  put(95'000, 7, 43);
  look();
  EXPECT_EQ(step().throttled_us, 90U) << "nanoseconds";
  EXPECT_EQ(step().throttled_periods, 5U);
  EXPECT_EQ(step().at_limit, 3U);
  EXPECT_FALSE(step().memory_us) << "version 1 does not tell";
  EXPECT_EQ(find("4:memory:/small\n"), 1U);
  EXPECT_EQ(series.groups.at(1).name, "");
  EXPECT_EQ(series.groups[1].memory_name, "/small");
  EXPECT_EQ(find("3:cpu,cpuacct:/fast\n"), 2U);
  EXPECT_EQ(series.groups.at(2).name, "/fast");
  EXPECT_EQ(find("12:cpuset:/set\n"), kNowhere) << "another controller";
}

TEST_F(GroupFiles, InsideOfAContainerAreBelowWhatIsMountedThere) {
  mount("30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
  tree.put("/sys/fs/cgroup/rig/cpu.stat", "throttled_usec 5\n");
  tree.put("/sys/fs/cgroup/docker/other/cpu.stat", "throttled_usec 100\n");
  EXPECT_EQ(find("0::/docker/abc/rig\n"), 0U);
  EXPECT_EQ(series.groups.at(0).name, "/docker/abc/rig");
  tree.put("/sys/fs/cgroup/rig/cpu.stat", "throttled_usec 12\n");
  look();
  EXPECT_EQ(step().throttled_us, 7U);
  EXPECT_EQ(find("0::/docker/other\n"), 1U) << "it is not below the mount";
  tree.put("/sys/fs/cgroup22/cpu.stat", "throttled_usec 5\n");
  EXPECT_EQ(find("0::/docker/abc22\n"), kNowhere);
}

/// A group that is removed, and made again, counts from 0.
TEST_F(GroupFiles, ThatCountLessThanBeforeHaveCountedNothing) {
  mount(kUnified);
  const auto put = [&](int us) {
    tree.put("/sys/fs/cgroup/rig/cpu.stat", "throttled_usec " + std::to_string(us) + '\n');
  };
  put(500);
  find("0::/rig\n");
  put(3);
  look();
  EXPECT_EQ(step().throttled_us, 0U);
  put(10);
  look();
  EXPECT_EQ(step().throttled_us, 7U);
}

TEST_F(GroupFiles, WithoutLimitsAreNoGroup) {
  mount(kUnified);
  tree.put("/sys/fs/cgroup/cpu.stat", "throttled_usec 5\n");  // the first group
  for (const char* const text :
       {"", "0::/\n", "0::/nothing\n", "0\n", "0:\n", "5:cpu:/v1\n", "no colons"}) {
    EXPECT_EQ(find(text), kNowhere) << text;
  }
  EXPECT_TRUE(series.groups.empty());
  look();
  EXPECT_TRUE(series.groups.empty());
}

}  // namespace

}  // namespace shmif::perf::test
