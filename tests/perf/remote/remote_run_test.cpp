// The run of a server: how long it may take for each step, and how it ends. The tests say what time
// it is.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "instruments/watch/clock.hpp"
#include "perf/option/job_file.hpp"
#include "perf/remote/saved_states.hpp"
#include "perf/remote/served_run.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/support/child_process.hpp"
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

namespace shmif::perf::remote_child {

// The process of a server's run: what it takes with it from the server, what it leaves behind, and
// which orders it heeds.

namespace {

using namespace std::chrono_literals;
using test::eventually;
using Clock = Connection::Clock;

/// `aux_path`: where the outputs of its commands go.
std::unique_ptr<RunChild> started(const std::string& jobs, const std::string& aux_path = "") {
  JobSet set;
  const auto problems = read_job_text("x.job", jobs, set);
  EXPECT_TRUE(problems.empty()) << problems.front();
  set.run.allow_exec = true;
  set.run.aux_path = aux_path;
  const auto plan = [&] { return RunPlan{set.run, expand(set).value(), {}}; };
  return RunChild::start(plan, {"1.2.3", {"c"}}).value();
}

/// Lets it run to its end; its result.
nlohmann::json result_of(RunChild& child) {
  child.go(0);
  nlohmann::json result;
  EXPECT_TRUE(eventually([&] {
    const auto texts = child.messages().receive();
    if (!texts) return true;
    for (const std::string& text : *texts) {
      const Message message = decode(text).value();
      if (const auto* const last = std::get_if<FinishedMessage>(&message)) {
        result = nlohmann::json::parse(last->result);
      }
    }
    return !result.is_null();
  }));
  return result;
}

/// The process of this one's only child.
pid_t only_child() {
  std::ifstream children("/proc/thread-self/children");
  pid_t child = 0;
  EXPECT_TRUE(children >> child);
  return child;
}

TEST(ChildOfAServer, HasNoneOfItsDescriptorsNorItsTerminalNorItsSignals) {
  const test::TempDir directory;
  const std::string script = directory.file("script");
  const std::string out = directory.file("out");
  std::ofstream(script) << "readlink /proc/$$/fd/0\n"
                           "ls /proc/self/fd | tr '\\n' ' '; echo\n"
                           "cut -d' ' -f6 /proc/$$/stat\n"
                           "grep SigIgn /proc/$$/status\n";
  // What a server ignores is not ignored by what it runs.
  auto* const before = std::signal(SIGUSR1, SIG_IGN);
  const auto child = started("[a]\nrw=tx\nengine=null\nnumber_ios=1\nexec_prerun=sh -c \"exec sh " +
                                 script + " > " + out + "\"\n",
                             directory.path());
  (void)std::signal(SIGUSR1, before);
  const pid_t process = only_child();
  EXPECT_FALSE(result_of(*child).is_null());
  std::ifstream file(out);
  std::string input;
  std::string descriptors;
  std::string session;
  std::string ignored;
  std::getline(file, input);
  std::getline(file, descriptors);
  std::getline(file, session);
  std::getline(file, ignored);
  EXPECT_EQ(input, "/dev/null");
  EXPECT_EQ(descriptors, "0 1 2 3 ") << "3 is the directory that is read";
  EXPECT_EQ(session, std::to_string(process)) << "it has no terminal";
  ASSERT_GT(ignored.size(), 16U);
  EXPECT_EQ(std::stoull(ignored.substr(ignored.size() - 16), nullptr, 16) & (1U << (SIGUSR1 - 1)),
            0U)
      << ignored;
}

std::ptrdiff_t buses_of(pid_t process) {
  const std::string prefix = "shmifperf-" + std::to_string(process) + '-';
  const std::filesystem::directory_iterator files("/dev/shm");
  return std::count_if(begin(files), end(files), [&](const auto& file) {
    return file.path().filename().string().starts_with(prefix);
  });
}

TEST(ChildOfAServer, LeavesNoBusBehindWhenTheServerDropsIt) {
  auto child = started("[a]\nrw=tx\nruntime=1000\nrate_iops=100\n");
  const pid_t process = only_child();
  ASSERT_TRUE(eventually([&] { return child->ready(); }));
  EXPECT_EQ(buses_of(process), 1);
  child.reset();
  EXPECT_EQ(buses_of(process), 0);
  EXPECT_EQ(::kill(process, 0), -1) << "nor its process";
}

}  // namespace

}  // namespace shmif::perf::remote_child
