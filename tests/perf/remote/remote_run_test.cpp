// The run of a server: how long it may take for each step, and how it ends. The tests say what time
// it is.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "instruments/watch/clock.hpp"
#include "perf/remote/saved_states.hpp"
#include "perf/remote/served_run.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::remote_run {
namespace {

using namespace std::chrono_literals;
using Clock = Connection::Clock;
using Texts = std::vector<std::string>;

/// A run of one job, which the test lets go.
struct Served {
  test::TempDir aux;  ///< for the outputs of its commands
  Clock::time_point before = Clock::now();
  std::unique_ptr<ServedRun> run;
  Clock::time_point after;
  std::vector<Message> told;

  /// `names`: of the jobs, which are all alike.
  explicit Served(const JobOptions& job, RunOptions options = {},
                  const std::vector<std::string>& names = {"j"}) {
    PlannedJob planned;
    planned.options = job;
    planned.options.engine = EngineKind::null;
    planned.options.thread = job.exec_prerun.empty() && job.exec_postrun.empty();
    planned.group = "g";
    options.aux_path = aux.path();
    for (std::string& word : planned.options.exec_postrun) {
      if (word == "IN_AUX") word = aux.path();
    }
    std::vector<PlannedJob> jobs;
    for (const std::string& name : names) {
      jobs.push_back(planned);
      jobs.back().options.name = jobs.back().options.wire = name;
    }
    const auto plan = [&] { return RunPlan{options, jobs, {}}; };
    run = std::make_unique<ServedRun>(RunChild::start(plan, {"1.2.3", {"c"}}).value(), "client",
                                      "since", 10s);
    after = Clock::now();
    std::uint64_t jobs_planned = 0;
    for (int i = 0; i < 10'000 && jobs_planned == 0; ++i) {
      look(after);
      jobs_planned = run->take_jobs();
      if (jobs_planned == 0) ::poll(nullptr, 0, 1);
    }
    EXPECT_EQ(jobs_planned, names.size()) << "they are planned";
    EXPECT_EQ(run->take_jobs(), 0U) << "that is told once";
  }
  void look(Clock::time_point now) {
    for (const Told& each : run->look(now)) told.push_back(decode(each.json).value());
  }
  template <class T>
  const T* first() const {
    for (const Message& message : told) {
      if (const T* const found = std::get_if<T>(&message)) return found;
    }
    return nullptr;
  }
  template <class T>
  bool look_until_told() {
    for (int i = 0; i < 10'000 && first<T>() == nullptr && !run->over(); ++i) {
      look(Clock::now());
      ::poll(nullptr, 0, 1);
    }
    return first<T>() != nullptr;
  }
  std::string notice() const {
    const auto* const found = first<NoticeMessage>();
    return found == nullptr ? "" : found->what;
  }
};

JobOptions lasting() {
  JobOptions job;
  job.runtime = 1000s;
  job.rate_fps.tx = 100;
  return job;
}

TEST(RunOfAServer, IsStoppedWhenItIsNotReadyInTime) {
  JobOptions job = lasting();
  job.exec_prerun = {"sleep", "1000"};
  Served served(job);
  served.look(served.before + 120s);
  EXPECT_EQ(served.notice(), "");
  EXPECT_TRUE(served.run->is_starting());
  served.look(served.after + 120s + 1ns);
  EXPECT_EQ(served.notice().find("the jobs were not ready after 2m (is an exec_prerun"), 0U)
      << served.notice();
  ASSERT_TRUE(served.look_until_told<FinishedMessage>());
  EXPECT_TRUE(served.run->over());
  EXPECT_EQ(served.first<PreparedMessage>(), nullptr);
  EXPECT_EQ(served.first<StartedMessage>(), nullptr);
  EXPECT_FALSE(served.run->take_start());
}

/// A run whose jobs are never planned.
std::unique_ptr<ServedRun> planned_for_ever() {
  const auto plan = [] {
    for (;;) ::pause();
    return RunPlan{};
  };
  return std::make_unique<ServedRun>(RunChild::start(plan, {"1.2.3", {"c"}}).value(), "client",
                                     "since", 10s);
}

Texts why_refused(ServedRun& run, Clock::time_point now) {
  for (int i = 0; i < 10'000 && !run.over(); ++i) {
    for (const Told& each : run.look(now)) {
      const Message message = decode(each.json).value();
      if (const auto* const refused = std::get_if<RefusedMessage>(&message)) return refused->why;
    }
    ::poll(nullptr, 0, 1);
  }
  return {};
}

TEST(RunOfAServer, WhosePlanTakesTooLongIsKilledAtOnceAndSaysSo) {
  const auto before = Clock::now();
  const auto run = planned_for_ever();
  const auto after = Clock::now();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(run->look(before + 20s).empty());
    ::poll(nullptr, 0, 1);
  }
  EXPECT_FALSE(run->over());
  const Texts why = why_refused(*run, after + 20s + 1ns);
  ASSERT_EQ(why.size(), 1U);
  EXPECT_EQ(why[0].find("the jobs were not planned within 20s (name a frame nearer"), 0U) << why[0];
  EXPECT_EQ(run->refusal(), why[0]);
  EXPECT_EQ(run->take_jobs(), 0U);
}

TEST(RunOfAServer, ThatIsStoppedWhileItPlansIsKilledAtOnce) {
  for (const bool hard : {false, true}) {
    const auto run = planned_for_ever();
    const auto now = Clock::now();
    if (hard) run->stop_hard(15, now);
    if (!hard) run->stop(15, "", now);
    EXPECT_EQ(why_refused(*run, now), Texts{"the run was stopped before its jobs were planned"});
  }
}

TEST(RunOfAServer, IsStoppedWhenItsClientDoesNotSayWhenToStart) {
  Served served(lasting());
  const auto before = served.after;  // it may be ready at the first look
  ASSERT_TRUE(served.look_until_told<PreparedMessage>());
  const auto after = Clock::now();
  EXPECT_EQ(served.first<PreparedMessage>()->jobs, 1U);
  EXPECT_FALSE(served.run->is_starting());
  served.look(before + 180s);
  EXPECT_EQ(served.notice(), "");
  EXPECT_EQ(served.run->take_reason(), "");
  served.look(after + 180s + 1ns);
  EXPECT_EQ(served.notice().find("the client did not say when to start within 3m"), 0U)
      << served.notice();
  EXPECT_EQ(served.run->take_reason(), served.notice()) << "for the log";
  EXPECT_EQ(served.run->take_reason(), "") << "once";
  ASSERT_TRUE(served.look_until_told<FinishedMessage>());
}

TEST(RunOfAServer, StartsInTenSecondsAtTheLatestWhateverItsClientSays) {
  Served served(lasting());
  ASSERT_TRUE(served.look_until_told<PreparedMessage>());
  served.run->go(UINT64_MAX);
  const std::uint64_t latest = now_ns() + 10'000'000'000;
  ASSERT_TRUE(served.look_until_told<StartedMessage>());
  EXPECT_LE(served.first<StartedMessage>()->start_ns, latest);
  served.run->abandon(Clock::now());
  for (int i = 0; i < 10'000 && !served.run->over(); ++i) {
    served.look(Clock::now());
    ::poll(nullptr, 0, 1);
  }
  EXPECT_TRUE(served.run->over());
}

TEST(StatesOfARun, AreThoseThatItsJobsWroteAndNotThoseOfAnEarlierRun) {
  const test::TempDir folder;
  RunOptions options;
  options.aux_path = folder.path();
  std::vector<PlannedJob> plan(3);
  const auto path_of = [&](const std::string& job) { return folder.file(job + "-verify.state"); };
  for (const std::string name : {"a", "b", "c"}) {
    PlannedJob& job = plan[static_cast<std::size_t>(name[0] - 'a')];
    job.options.name = name;
    job.options.verify_state_save = true;
    if (name != "c") std::ofstream(path_of(name)) << "earlier";
  }
  const SavedStates states(plan, options);
  std::ofstream(path_of("new")) << "of this run";  // a state is always a new file
  std::filesystem::rename(path_of("new"), path_of("b"));
  std::ofstream(path_of("c")) << "the first";
  std::vector<std::pair<std::string, std::size_t>> told;
  states.tell([&](const StateMessage& state) { told.emplace_back(state.job, state.state.size()); });
  EXPECT_EQ(told, (std::vector<std::pair<std::string, std::size_t>>{{"b", 11}, {"c", 9}}));
}

TEST(StatesOfARun, AreFilesAndNoLinksAndAreToldThoughOnlyTheirTimeChanged) {
  const test::TempDir folder;
  RunOptions options;
  options.aux_path = folder.path();
  std::vector<PlannedJob> plan(2);
  const auto path_of = [&](const std::string& job) { return folder.file(job + "-verify.state"); };
  for (const std::string name : {"a", "b"}) {
    PlannedJob& job = plan[static_cast<std::size_t>(name[0] - 'a')];
    job.options.name = name;
    job.options.verify_state_save = true;
  }
  std::ofstream(path_of("a")) << "a";
  struct stat before{};
  struct stat now{};
  ASSERT_EQ(::lstat(path_of("a").c_str(), &before), 0);
  const SavedStates states(plan, options);
  std::ofstream(folder.file("secret")) << "of somebody else";
  std::filesystem::create_symlink(folder.file("secret"), path_of("b"));
  // The clock of a file system is coarse.
  do {
    ASSERT_EQ(::chmod(path_of("a").c_str(), 0600), 0);
    ASSERT_EQ(::lstat(path_of("a").c_str(), &now), 0);
  } while (now.st_ctim.tv_sec == before.st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
  std::vector<std::string> told;
  states.tell([&](const StateMessage& state) { told.push_back(state.job); });
  EXPECT_EQ(told, Texts{"a"});
}

/// Stops a run whose last command never ends. The run must end `soft` later, and not sooner.
void expect_hard_stop(const std::function<void(ServedRun&, Clock::time_point)>& stop,
                      std::chrono::seconds soft) {
  JobOptions job = lasting();
  job.exec_postrun = {"sleep", "1000"};
  Served served(job);
  ASSERT_TRUE(served.look_until_told<PreparedMessage>());
  served.run->go(0);
  ASSERT_TRUE(served.look_until_told<StartedMessage>());
  const auto stopped = Clock::now();
  stop(*served.run, stopped);
  for (int i = 0; i < 50; ++i) {
    served.look(stopped + soft);
    ::poll(nullptr, 0, 1);
  }
  EXPECT_EQ(served.first<FinishedMessage>(), nullptr) << "its last command goes on";
  served.look(stopped + soft + 1ns);
  // Not look_until_told(), whose clock may be late enough for any stop.
  for (int i = 0; i < 10'000 && !served.run->over(); ++i) {
    served.look(stopped + soft + 1ns);
    ::poll(nullptr, 0, 1);
  }
  EXPECT_NE(served.first<FinishedMessage>(), nullptr);
  EXPECT_EQ(served.notice(), "enough");
}

TEST(RunOfAServer, ThatDoesNotEndWhenItIsStoppedIsStoppedHardAfterFiveSeconds) {
  expect_hard_stop([](ServedRun& run, Clock::time_point now) { run.stop(0, "enough", now); }, 5s);
}

TEST(RunOfAServer, IsStoppedHardASecondAfterTheServerWasToldToEnd) {
  expect_hard_stop([](ServedRun& run, Clock::time_point now) { run.end(15, "enough", now); }, 1s);
  const auto stopped_before = [](ServedRun& run, Clock::time_point now) {
    run.stop(0, "enough", now - 3s);
    run.end(15, "enough", now);
  };
  expect_hard_stop(stopped_before, 1s);
}

TEST(RunOfAServer, ThatDoesNotEndEvenThenIsKilledAfterFiveMore) {
  Served served(lasting());
  ASSERT_TRUE(served.look_until_told<PreparedMessage>());
  std::ifstream children("/proc/thread-self/children");
  pid_t child = 0;
  ASSERT_TRUE(children >> child);
  ::kill(child, SIGSTOP);
  siginfo_t what{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &what, WSTOPPED | WNOWAIT), 0);
  const auto hard = Clock::now();
  served.run->abandon(hard);
  EXPECT_TRUE(served.run->abandoned());
  served.run->stop_hard(0, hard + 1000s);  // the time is that of the first one
  for (int i = 0; i < 50; ++i) {
    served.look(hard + 5s);
    ::poll(nullptr, 0, 1);
  }
  EXPECT_FALSE(served.run->over());
  served.look(hard + 5s + 1ns);
  ASSERT_TRUE(served.look_until_told<RefusedMessage>());
  EXPECT_EQ(served.first<RefusedMessage>()->why,
            Texts{"the process of the run was killed by signal 9 (Killed)"});
}

}  // namespace
}  // namespace shmif::perf::remote_run
