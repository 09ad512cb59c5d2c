// The monitor: what it keeps, what it refuses, and who may talk to it.

#include "perf/heat/monitor.hpp"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <thread>

#include "perf/heat/monitor_socket.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;
using shmif::test::TempDir;

/// A process that sleeps until the test ends it.
class Sleeper {
 public:
  Sleeper() : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  ~Sleeper() { end(); }
  pid_t pid() const { return pid_; }
  void end() {
    if (ended_) return;
    ended_ = true;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
  bool ended_ = false;
};

HeatRequest request(HeatVerb verb) {
  HeatRequest made;
  made.verb = verb;
  return made;
}
/// Any process, in windows of 20 ms.
HeatRequest watching(HeatVerb verb, std::vector<pid_t> targets) {
  HeatRequest made = request(verb);
  made.targets = std::move(targets);
  made.backend = HeatBackend::clear_refs;
  made.attributes = read_attributes("10ms,20ms,1s,3,100").value();
  return made;
}
std::size_t windows_of(const HeatMonitor& monitor, pid_t pid) {
  for (const HeatTarget& each : monitor.status().targets) {
    if (each.process.number == pid) return each.windows;
  }
  return 0;
}

TEST(HeatMonitorState, RefusesSettingsWhileOnAndKeepsAllWhenOff) {
  const Sleeper sleeper;
  HeatMonitor monitor;
  ASSERT_TRUE(monitor.set(watching(HeatVerb::set, {sleeper.pid()})));
  EXPECT_FALSE(monitor.status().is_on) << "targets alone do not start it";
  ASSERT_TRUE(monitor.start(request(HeatVerb::on)));
  EXPECT_TRUE(monitor.status().is_on);
  HeatRequest other = request(HeatVerb::set);
  other.attributes = HeatAttributes{};
  EXPECT_EQ(monitor.set(other).error().code, Errc::busy);
  EXPECT_EQ(monitor.set(watching(HeatVerb::set, {::getpid()})).error().code, Errc::busy);
  EXPECT_EQ(monitor.set(watching(HeatVerb::set, {4'000'000})).error().code, Errc::busy);
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().code, Errc::busy);
  ASSERT_TRUE(eventually([&] { return windows_of(monitor, sleeper.pid()) >= 2; }));
  monitor.stop();
  const HeatStatus off = monitor.status();
  EXPECT_FALSE(off.is_on);
  EXPECT_EQ(attributes_text(off.attributes), "10000,20000,1000000,3,100");
  EXPECT_EQ(off.backend, HeatBackend::clear_refs);
  ASSERT_EQ(off.targets.size(), 1U);
  EXPECT_EQ(off.targets[0].process.number, sleeper.pid());
  EXPECT_NE(off.targets[0].process.start_ticks, 0U);
  ASSERT_EQ(monitor.results().size(), 1U);
  EXPECT_GE(monitor.results()[0].windows.size(), 2U);
  EXPECT_TRUE(monitor.set(other)) << "off, so it takes settings again";
  EXPECT_EQ(monitor.attributes().sampling.count(), 10'000) << "the result is of the old ones";
}

TEST(HeatMonitorState, ReplacesAllTargetsOrNone) {
  const Sleeper sleeper;
  HeatMonitor monitor;
  ASSERT_TRUE(monitor.set(watching(HeatVerb::set, {sleeper.pid()})));
  HeatRequest wrong = request(HeatVerb::set);
  wrong.targets = {::getpid(), 4'000'000};
  wrong.attributes = HeatAttributes{};
  EXPECT_EQ(monitor.set(wrong).error().code, std::errc::no_such_process);
  const HeatStatus status = monitor.status();
  ASSERT_EQ(status.targets.size(), 1U);
  EXPECT_EQ(status.targets[0].process.number, sleeper.pid());
  EXPECT_EQ(attributes_text(status.attributes), "10000,20000,1000000,3,100");
}

TEST(HeatMonitorState, BeginsOnlyWithALivingTarget) {
  HeatMonitor monitor;
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().code, Errc::bad_argument);
  Sleeper sleeper;
  ASSERT_TRUE(monitor.set(watching(HeatVerb::set, {sleeper.pid()})));
  sleeper.end();
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().code, std::errc::no_such_process);
  EXPECT_FALSE(monitor.status().is_on);
  EXPECT_FALSE(monitor.status().targets[0].is_alive);
}

TEST(HeatMonitorState, KnowsItsTargetsBeforeTheFirstLook) {
  const Sleeper sleeper;
  HeatMonitor monitor;
  ASSERT_TRUE(monitor.start(watching(HeatVerb::on, {sleeper.pid()})));
  const auto results = monitor.results();  // at once
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].process.number, sleeper.pid());
  EXPECT_TRUE(!results[0].reason.empty() || !results[0].provenance.source.empty());
}

TEST(HeatMonitorState, GoesOnWithoutTargetsThatEndAndEndsWithTheLast) {
  Sleeper first;
  Sleeper second;
  HeatMonitor monitor;
  ASSERT_TRUE(monitor.start(watching(HeatVerb::on, {first.pid(), second.pid()})));
  ASSERT_TRUE(eventually([&] {
    return windows_of(monitor, first.pid()) >= 1 && windows_of(monitor, second.pid()) >= 1;
  }));
  first.end();
  const std::size_t then = windows_of(monitor, second.pid());
  ASSERT_TRUE(eventually([&] { return windows_of(monitor, second.pid()) > then; }));
  EXPECT_GE(windows_of(monitor, first.pid()), 1U) << "it keeps its last map";
  EXPECT_TRUE(monitor.status().is_on);
  EXPECT_FALSE(monitor.status().targets[0].is_alive);
  EXPECT_EQ(monitor.status().targets[0].reason, "the process has ended");
  second.end();
  ASSERT_TRUE(eventually([&] { return !monitor.status().is_on; }));
  const auto results = monitor.results();
  ASSERT_EQ(results.size(), 2U);
  for (const HeatResult& each : results) {
    EXPECT_FALSE(each.windows.empty());
    EXPECT_EQ(each.reason, "the process has ended");
  }
}

TEST(HeatMonitorState, TellsOthersContextsInTheKernel) {
  const TempDir tree;
  const KernelFiles files(tree.path());
  const HeatMonitor none(files);
  EXPECT_FALSE(none.status().foreign_contexts);
  EXPECT_NE(none.status().foreign_reason, "");
  const std::string folder = tree.path() + "/sys/kernel/mm/damon/admin/kdamonds";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/nr_kdamonds") << "3\n";
  EXPECT_EQ(HeatMonitor(files).status().foreign_contexts, 3U);
}

/// A monitor that listens, in a thread.
class Listening {
 public:
  explicit Listening(const std::string& folder)
      : listener_(HeatListener::open(folder).value()),
        thread_([this] { listener_.serve(monitor_, -1); }),
        folder_(folder) {}
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() {
    static_cast<void>(ask_heat_monitor(folder_, request(HeatVerb::forget)));
    thread_.join();
  }

 private:
  HeatMonitor monitor_;
  HeatListener listener_;
  std::thread thread_;
  std::string folder_;
};

UniqueFd connection_to(const std::string& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder + "/control").copy(&address.sun_path[0], sizeof address.sun_path - 1);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

TEST(HeatMonitorSocket, AnswersAndPassesOnErrorsWithTheirCodes) {
  const TempDir dir;
  const Sleeper sleeper;
  const Listening listening(dir.path());
  const auto ask = [&](const HeatRequest& asked) { return ask_heat_monitor(dir.path(), asked); };
  EXPECT_EQ(ask(request(HeatVerb::on)).error().code, Errc::bad_argument);
  EXPECT_EQ(ask(watching(HeatVerb::on, {4'000'000})).error().code, std::errc::no_such_process);
  ASSERT_TRUE(ask(watching(HeatVerb::on, {sleeper.pid()})));
  EXPECT_EQ(ask(watching(HeatVerb::set, {sleeper.pid()})).error().code, Errc::busy);
  EXPECT_EQ(ask(request(HeatVerb::status)).value().substr(0, 3), "on\n");
  ASSERT_TRUE(ask(request(HeatVerb::off)));
  EXPECT_EQ(ask(request(HeatVerb::status)).value().substr(0, 4), "off\n");
  EXPECT_NE(ask(request(HeatVerb::show)).value().find("process " + std::to_string(sleeper.pid())),
            std::string::npos);
}

TEST(HeatMonitorSocket, IsNotDelayedByCallersThatSayNothingOrNonsense) {
  const TempDir dir;
  const Listening listening(dir.path());
  const UniqueFd silent = connection_to(dir.path());
  const UniqueFd half = connection_to(dir.path());
  ASSERT_EQ(::send(half.get(), "on\ntarg", 7, MSG_NOSIGNAL), 7);
  const UniqueFd endless = connection_to(dir.path());
  const std::string junk(40'000, 'x');
  static_cast<void>(::send(endless.get(), junk.data(), junk.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  const UniqueFd wrong = connection_to(dir.path());
  ASSERT_EQ(::send(wrong.get(), "on and on\n\n", 11, MSG_NOSIGNAL), 11);
  std::array<char, 200> answer{};
  ASSERT_GT(::recv(wrong.get(), answer.data(), answer.size() - 1, 0), 0);
  EXPECT_EQ(std::string(answer.data()).substr(0, 13), "bad_argument ");
  const auto status = ask_heat_monitor(dir.path(), request(HeatVerb::status));
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->substr(0, 4), "off\n");
}

TEST(HeatMonitorSocket, HasOneMonitorAndReplacesADeadOne) {
  const TempDir dir;
  EXPECT_EQ(ask_heat_monitor(dir.path(), request(HeatVerb::status)).error().code, Errc::link_ended);
  {
    const Listening listening(dir.path());
    EXPECT_EQ(HeatListener::open(dir.path()).error().code, Errc::busy);
  }
  const pid_t child = ::fork();
  if (child == 0) {
    const auto listener = HeatListener::open(dir.path());
    ::_exit(listener ? 0 : 1);  // dies, and leaves its socket behind
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(std::filesystem::exists(dir.path() + "/control"));
  EXPECT_EQ(ask_heat_monitor(dir.path(), request(HeatVerb::status)).error().code, Errc::link_ended);
  const Listening again(dir.path());
  EXPECT_TRUE(ask_heat_monitor(dir.path(), request(HeatVerb::status)));
}

TEST(HeatMonitorSocket, IsInADirectoryThatNoOtherUserMayUse) {
  const TempDir dir;
  const std::string folder = dir.path() + "/control";
  ASSERT_TRUE(make_private_folder(folder));
  struct stat status{};
  ASSERT_EQ(::stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0700U);
  EXPECT_TRUE(make_private_folder(folder)) << "there already, and good";
  ASSERT_EQ(::chmod(folder.c_str(), 0710), 0);
  EXPECT_EQ(make_private_folder(folder).error().code, std::errc::operation_not_permitted);
  ASSERT_EQ(::chmod(folder.c_str(), 0700), 0);
  ASSERT_EQ(::symlink(folder.c_str(), (dir.path() + "/link").c_str()), 0);
  EXPECT_FALSE(make_private_folder(dir.path() + "/link"));
}

TEST(HeatMonitorText, ComesBackAsItWas) {
  HeatRequest all = watching(HeatVerb::on, {41, 42});
  all.clients = "/run/a b";
  all.as_json = true;
  all.columns = 77;
  EXPECT_EQ(heat_request_text(all),
            "on\nattrs 10000,20000,1000000,3,100\ntargets 41,42\nbackend clear_refs\n"
            "clients /run/a b\njson\ncolumns 77\n\n");
  const auto back = read_heat_request(heat_request_text(all));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, all);
  for (const HeatVerb verb : {HeatVerb::status, HeatVerb::show, HeatVerb::set, HeatVerb::on,
                              HeatVerb::off, HeatVerb::forget}) {
    EXPECT_EQ(read_heat_request(heat_request_text(request(verb))).value(), request(verb));
  }
}

TEST(HeatMonitorText, IsTakenAsAWholeOrNotAtAll) {
  for (const char* const text :
       {"", "\n\n", "on", "on\n", "o\n\n", "on \n\n", "ON\n\n", "on\ntargets 1,\n\n",
        "on\ntargets 1\ntargets 2\n\n", "on\nattrs 1,2,3,4\n\n", "on\nattrs 1,2,3,4,5 x\n\n",
        "on\nbackend o\n\n", "off\ntargets 1\n\n", "status\nattrs 5000,100000,1000000,10,1000\n\n",
        "show\ncolumns 1001\n\n", "show\ncolumns x\n\n", "on\nelse 1\n\n", "on\n\non\n\n"}) {
    const auto read = read_heat_request(text);
    EXPECT_FALSE(read) << text;
    EXPECT_TRUE(read || read.error().code == Errc::bad_argument) << text;
  }
}

TEST(HeatMonitorText, OfAnAnswerIsReadOnlyWhenItIsWhole) {
  EXPECT_EQ(read_heat_answer(heat_answer_text(std::string("a\nb"))).value(), "a\nb");
  const auto busy = read_heat_answer(heat_answer_text(Error(Errc::busy, "no")));
  EXPECT_EQ(busy.error().code, Errc::busy);
  EXPECT_EQ(busy.error().message, "no");
  for (const char* const text : {"", "ok", "ok 1", "ok 2\na", "ok 1\nab", "what 1\na", "ok x\na"}) {
    EXPECT_EQ(read_heat_answer(text).error().code, Errc::not_supported) << text;
  }
}

}  // namespace
}  // namespace shmif::perf::test
