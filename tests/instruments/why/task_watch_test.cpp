// Which threads a watch looks at, though it lists them only when there may be others: threads that
// begin and end, numbers that are used again, programs that execute another one.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "instruments/why/why.hpp"
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
}  // namespace shmif::perf::test
