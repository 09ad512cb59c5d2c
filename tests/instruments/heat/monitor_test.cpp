// The monitor: what it keeps, what it refuses, and who may talk to it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/heat/monitor.hpp"
#include "tests/instruments/heat/fake_damon.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

// Monitors of access heat, and processes for them to watch.

/// A process that sleeps until the test ends it.
class Sleeper {
 public:
  pid_t pid() const { return pid_; }
  void end() { child_.kill_and_wait(); }

 private:
  shmif::test::Child child_{[]() -> int {
    for (;;) ::pause();
  }};
  const pid_t pid_ = child_.pid();
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

/// A monitor that listens, in a thread.
class Listening {
 public:
  explicit Listening(const std::string& folder, const KernelFiles& files = KernelFiles())
      : monitor_(files),
        listener_(HeatListener::open(folder).value()),
        thread_([this] { listener_.serve(monitor_); }),
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

sockaddr_un control_address(const std::string& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder + "/control").copy(&address.sun_path[0], sizeof address.sun_path - 1);
  return address;
}
UniqueFd connection_to(const std::string& folder) {
  sockaddr_un address = control_address(folder);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

using shmif::test::eventually;
using shmif::test::TempDir;

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

TEST(HeatMonitorState, TakesAllSettingsOfARequestOrNoneAndKeepsThoseThatItDoesNotName) {
  Sleeper sleeper;
  HeatMonitor monitor;
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().code, Errc::bad_argument) << "no target";
  HeatRequest all = watching(HeatVerb::set, {sleeper.pid()});
  all.backend = HeatBackend::damon;
  all.damon = DamonMemory{DamonSpace::fvaddr, {{4096, 8192}}};
  all.clients = "/run/heat";
  ASSERT_TRUE(monitor.set(all));
  HeatRequest wrong = request(HeatVerb::set);
  wrong.targets = {::getpid(), 4'000'000};
  wrong.attributes = HeatAttributes{};
  EXPECT_EQ(monitor.set(wrong).error().code, std::errc::no_such_process);
  ASSERT_TRUE(monitor.set(request(HeatVerb::set)));
  sleeper.end();
  wrong = request(HeatVerb::on);
  wrong.clients = "/run/other";
  EXPECT_EQ(monitor.start(wrong).error().code, std::errc::no_such_process);
  HeatStatus status = monitor.status();
  EXPECT_FALSE(status.is_on);
  ASSERT_EQ(status.targets.size(), 1U);
  EXPECT_EQ(status.targets[0].process.number, sleeper.pid());
  EXPECT_FALSE(status.targets[0].is_alive);
  EXPECT_EQ(status.backend, HeatBackend::damon);
  EXPECT_EQ(status.damon, *all.damon);
  EXPECT_EQ(status.clients, "/run/heat");
  EXPECT_EQ(status.attributes, *all.attributes);
  HeatRequest second = request(HeatVerb::set);
  second.damon = DamonMemory{DamonSpace::paddr, {}};
  second.targets = {::getpid()};
  ASSERT_TRUE(monitor.set(second));
  status = monitor.status();
  EXPECT_EQ(status.damon, *second.damon);
  EXPECT_EQ(status.clients, "/run/heat");
  ASSERT_EQ(status.targets.size(), 1U) << "not beside the others";
  EXPECT_EQ(status.targets[0].process.number, ::getpid());
}

/// A result that is told anew has what is known now, and the windows of before.
TEST(HeatMonitorState, HasTheNewestResultsWithTheLastHundredWindowsOfBefore) {
  const auto result_of = [](pid_t pid, double begin) {
    HeatResult result;
    result.process = {pid, 7};
    result.provenance.source = "written";
    result.name = "at " + std::to_string(static_cast<int>(begin));
    result.windows = {{begin, begin + 1, 10, 0, {}}};
    return result;
  };
  std::vector<HeatResult> known;
  merge_heat_results(known, {result_of(41, 0), result_of(42, 10)});
  HeatResult ended = result_of(42, 11);
  ended.reason = "the process has ended";
  for (int i = 0; i < 2; ++i) merge_heat_results(known, {ended});
  ASSERT_EQ(known.size(), 2U);
  EXPECT_EQ(known[0].windows.size(), 1U);
  EXPECT_EQ(known[1].name, "at 11");
  EXPECT_EQ(known[1].reason, "the process has ended");
  ASSERT_EQ(known[1].windows.size(), 2U) << "each once, although it is told again";
  EXPECT_EQ(known[1].windows[0].begin_s, 10);
  EXPECT_EQ(known[1].windows[1].begin_s, 11);
  HeatResult later = result_of(42, 12);
  later.process.start_ticks = 8;
  merge_heat_results(known, {later});
  EXPECT_EQ(known.size(), 3U) << "a later process of the same number";
  HeatResult anew = result_of(41, 20);
  anew.provenance.source = "client";
  merge_heat_results(known, {anew});
  ASSERT_EQ(known[0].windows.size(), 1U) << "those of another source are forgotten";
  EXPECT_EQ(known[0].windows[0].begin_s, 20);
  for (int begin = 12; begin < 114; ++begin) merge_heat_results(known, {result_of(42, begin)});
  ASSERT_EQ(known[1].windows.size(), HeatMonitor::kKeptWindows);
  EXPECT_EQ(known[1].windows.front().begin_s, 14);
  EXPECT_EQ(known[1].windows.back().begin_s, 113);
}

TEST(HeatMonitorState, DoesNotTakeALaterProcessOfTheSameNumberForItsTarget) {
  const Sleeper sleeper;
  const TempDir tree;
  const std::string folder = tree.path() + "/proc/" + std::to_string(sleeper.pid());
  std::filesystem::create_directories(folder);
  const auto begins = [&](int ticks) {
    std::ofstream(folder + "/stat") << sleeper.pid() << " (rig) S";
    std::ofstream stat(folder + "/stat", std::ios::app);
    for (int field = 4; field < 53; ++field) stat << ' ' << (field == 22 ? ticks : 0);
    stat << '\n';
  };
  begins(1000);
  HeatMonitor monitor{KernelFiles(tree.path())};
  ASSERT_TRUE(monitor.set(watching(HeatVerb::set, {sleeper.pid()})));
  EXPECT_EQ(monitor.status().targets[0].process.start_ticks, 1000U);
  EXPECT_TRUE(monitor.status().targets[0].is_alive);
  begins(2000);
  EXPECT_FALSE(monitor.status().targets[0].is_alive);
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().code, std::errc::no_such_process);
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

TEST(HeatMonitorState, TellsItsOwnContextsFromThoseOfOthers) {
  const Sleeper first;
  const Sleeper second;
  const FakeDamonTree kernel;
  kernel.put_thread(1);
  kernel.put("0/pid", "57");
  kernel.put("1/pid", "58");
  kernel.put_region(0, 4096, 8192, 20, 1, 1);
  std::filesystem::create_directory_symlink("/proc", kernel.root() + "/proc");
  HeatMonitor monitor(kernel.files());
  HeatRequest on = watching(HeatVerb::on, {first.pid(), second.pid()});
  on.backend = HeatBackend::damon;
  ASSERT_TRUE(monitor.start(on));
  // By then it knows the pids of its threads.
  ASSERT_TRUE(eventually([&] { return windows_of(monitor, second.pid()) >= 1; }));
  const auto contexts = [&] {
    const auto found = monitor.status().contexts;
    return found ? std::pair(found->own, found->foreign) : std::pair(99UL, 99UL);
  };
  EXPECT_EQ(contexts(), std::pair(2UL, 0UL));
  EXPECT_NE(heat_status_text(monitor.status()).find("this monitor uses 2 contexts\n"),
            std::string::npos);
  kernel.put("1/pid", "99");
  EXPECT_EQ(contexts(), std::pair(1UL, 1UL)) << "somebody else's thread";
  kernel.put("1/pid", "58");
  monitor.stop();
  ASSERT_TRUE(eventually([&] { return kernel.line_of("nr_kdamonds") == "0"; }));
  EXPECT_EQ(contexts(), std::pair(0UL, 0UL));
  kernel.put("nr_kdamonds", "1");
  EXPECT_EQ(contexts(), std::pair(0UL, 1UL)) << "what comes later is not ours";
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
  {
    const Listening again(dir.path());
    EXPECT_TRUE(ask_heat_monitor(dir.path(), request(HeatVerb::status)));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << "the last one leaves no files";
}

TEST(HeatMonitorSocket, IsInADirectoryThatNoOtherUserMayUse) {
  const TempDir dir;
  const std::string folder = dir.file("control");
  ASSERT_TRUE(make_private_folder(folder));
  struct stat status{};
  ASSERT_EQ(::stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0700U);
  EXPECT_TRUE(make_private_folder(folder)) << "there already, and good";
  ASSERT_EQ(::chmod(folder.c_str(), 0710), 0);
  EXPECT_EQ(make_private_folder(folder).error().code, std::errc::operation_not_permitted);
  ASSERT_EQ(::chmod(folder.c_str(), 0700), 0);
  ASSERT_EQ(::symlink(folder.c_str(), dir.file("link").c_str()), 0);
  EXPECT_FALSE(make_private_folder(dir.file("link")));
  // A file that leads elsewhere is not opened in place of the lock.
  std::filesystem::create_symlink(dir.file("elsewhere"), folder + "/lock");
  EXPECT_EQ(HeatListener::open(folder).error().code, std::errc::too_many_symbolic_link_levels);
  EXPECT_FALSE(std::filesystem::exists(dir.file("elsewhere")));
  EXPECT_EQ(HeatListener::open(dir.file("none/new")).error().code,
            std::errc::no_such_file_or_directory);
  const Variable session("XDG_RUNTIME_DIR");
  const std::string in_tmp = "/tmp/shmif-heat-" + std::to_string(::geteuid());
  for (const auto& [value, wanted] :
       {std::pair<std::optional<std::string>, std::string>{"/run/user/7", "/run/user/7/shmif-heat"},
        {std::nullopt, in_tmp},
        {"", in_tmp},
        {"run/user/7", in_tmp}}) {
    session.set(value);
    EXPECT_EQ(heat_control_path(), wanted);
  }
  session.set(dir.path());
  EXPECT_EQ(heat_control_folder().value(), dir.file("shmif-heat"));
  session.set(dir.file("none"));
  EXPECT_EQ(heat_control_folder().error().code, std::errc::no_such_file_or_directory);
}

/// Whether a caller hears anything, as root or as another user.
bool hears_an_answer(const std::string& folder, bool as_other) {
  shmif::test::Child child([&] {
    // The folder stays open to it: only who asks is another one.
    if (as_other && (::seteuid(65534) != 0 || ::setfsuid(0) != 65534)) return 2;
    const UniqueFd socket = connection_to(folder);
    const std::string text = heat_request_text(request(HeatVerb::status));
    (void)::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    std::array<char, 16> answer{};
    return ::recv(socket.get(), answer.data(), answer.size(), 0) > 0 ? 0 : 1;
  });
  const int status = child.wait();
  EXPECT_LE(status, 1);
  return status == 0;
}

TEST(HeatMonitorSocket, AnswersNoOtherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const TempDir dir;
  const Listening listening(dir.path());
  EXPECT_TRUE(hears_an_answer(dir.path(), false));
  EXPECT_FALSE(hears_an_answer(dir.path(), true));
  EXPECT_TRUE(hears_an_answer(dir.path(), false)) << "it goes on";
}

TEST(HeatMonitorSocket, OfAMonitorThatDiesSaysSo) {
  const TempDir dir;
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = control_address(dir.path());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  std::thread dies([&] { const UniqueFd caller(::accept(listener.get(), nullptr, nullptr)); });
  const auto answer = ask_heat_monitor(dir.path(), {});
  dies.join();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::link_ended);
  EXPECT_NE(answer.error().message.find("has died"), std::string::npos);
}

TEST(HeatMonitorText, ComesBackAsItWas) {
  HeatRequest all = watching(HeatVerb::on, {41, 42});
  all.clients = "/run/a b";
  all.damon = DamonMemory{DamonSpace::fvaddr, {{4096, 8192}, {16384, 20480}}};
  all.as_json = true;
  all.columns = 77;
  all.in_colour = true;
  EXPECT_EQ(
      heat_request_text(all),
      "on\nattrs 10000,20000,1000000,3,100\ntargets 41,42\nbackend clear_refs\n"
      "damon fvaddr 0x1000-0x2000,0x4000-0x5000\nclients /run/a b\njson\ncolour\ncolumns 77\n\n");
  const auto back = read_heat_request(heat_request_text(all));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, all);
  for (const HeatVerb verb : {HeatVerb::status, HeatVerb::show, HeatVerb::set, HeatVerb::on,
                              HeatVerb::off, HeatVerb::forget}) {
    EXPECT_EQ(read_heat_request(heat_request_text(request(verb))).value(), request(verb));
  }
  EXPECT_EQ(heat_request_text(request(HeatVerb::show)), "show\ncolumns 80\n\n")
      << "as earlier monitors know it";
  EXPECT_EQ(read_heat_request("show\n\n").value(), request(HeatVerb::show));
}

TEST(HeatMonitorText, IsTakenAsAWholeOrNotAtAll) {
  const std::string head = "on\nclients ";
  const std::string most = head + std::string(kMaxRequestBytes - head.size() - 2, 'x') + "\n\n";
  EXPECT_TRUE(read_heat_request(most));
  for (const std::string& text :
       std::vector<std::string>{head + 'x' + most.substr(head.size()),
                                "",
                                "\n\n",
                                "on",
                                "on\n",
                                "o\n\n",
                                "on \n\n",
                                "ON\n\n",
                                "on\ntargets 1,\n\n",
                                "on\ntargets 1\ntargets 2\n\n",
                                "on\nattrs 1,2,3,4\n\n",
                                "on\nattrs 1,2,3,4,5 x\n\n",
                                "on\nbackend o\n\n",
                                "on\ndamon fvaddr\n\n",
                                "on\ndamon vaddr \n\n",
                                "off\ntargets 1\n\n",
                                "status\nattrs 5000,100000,1000000,10,1000\n\n",
                                "show\ncolumns 1001\n\n",
                                "show\ncolumns x\n\n",
                                "show\ncolour red\n\n",
                                "on\nelse 1\n\n",
                                "on\n\non\n\n"}) {
    const auto read = read_heat_request(text);
    EXPECT_TRUE(!read && read.error().code == Errc::bad_argument) << text;
  }
}

TEST(HeatMonitorText, OfAnswersComesBackWithItsCode) {
  const std::vector<std::pair<std::error_code, std::string>> words{
      {make_error_code(Errc::busy), "busy"},
      {make_error_code(Errc::bad_argument), "bad_argument"},
      {make_error_code(Errc::not_supported), "not_supported"},
      {std::make_error_code(std::errc::no_such_process), "no_such_process"},
      {std::make_error_code(std::errc::operation_not_permitted), "not_permitted"},
      {std::make_error_code(std::errc::io_error), "failed"}};
  for (const auto& [code, word] : words) {
    const std::string text = heat_answer_text(Error(code, "why\nso"));
    EXPECT_EQ(text, word + " 6\nwhy\nso");
    const auto read = read_heat_answer(text);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, code);
    EXPECT_EQ(read.error().message, "why\nso");
  }
  EXPECT_EQ(heat_answer_text(Error(std::make_error_code(std::errc::file_exists), "no")),
            "failed 2\nno");
  EXPECT_EQ(heat_answer_text(std::string("text")), "ok 4\ntext");
  EXPECT_EQ(read_heat_answer("ok 0\n").value(), "");
  for (const char* const text : {"", "ok", "ok 1", "ok 2\na", "ok 1\nab", "what 1\na", "ok x\na"}) {
    EXPECT_EQ(read_heat_answer(text).error().code, Errc::not_supported) << text;
  }
}

TEST(HeatMonitorStatus, HasEachFigureUnderItsName) {
  HeatStatus status;
  status.is_on = true;
  status.attributes = read_attributes("1,22,333,4,55").value();
  status.backend = HeatBackend::damon;
  status.damon = {DamonSpace::fvaddr, {{4096, 8192}, {16384, 20480}}};
  status.clients = "/dir";
  status.contexts = DamonContexts{2, 5};
  status.targets = {{{41, 77}, "rig", true, "why", 9}, {{42, 78}, "", false, "", 3}};

  nlohmann::json wanted = nlohmann::json::parse(R"({
      "state": "on", "attrs": "1,22,333,4,55", "backend": "damon", "damon": "fvaddr",
      "ranges": "0x1000-0x2000,0x4000-0x5000", "clients": "/dir",
      "targets": [{"pid": 41, "start_ticks": 77, "name": "rig", "is_alive": true, "windows": 9,
                   "reason": "why"},
                  {"pid": 42, "start_ticks": 78, "name": null, "is_alive": false, "windows": 3,
                   "reason": null}],
      "own_contexts": 2, "foreign_contexts": 5, "foreign_reason": null})");
  EXPECT_EQ(nlohmann::json::parse(heat_status_json(status)), wanted);
  EXPECT_EQ(heat_status_text(status),
            "on\n"
            "attrs 1,22,333,4,55\n"
            "backend damon\n"
            "damon fvaddr 0x1000-0x2000,0x4000-0x5000\n"
            "clients /dir\n"
            "target 41 (rig), 9 windows: why\n"
            "target 42, ended, 3 windows\n"
            "kernel DAMON: this monitor uses 2 contexts; others use 5 contexts, which the monitor "
            "does not touch\n");
  for (const auto& [contexts, says] :
       {std::pair(DamonContexts{1, 0}, ": this monitor uses 1 contexts\n"),
        {DamonContexts{0, 1}, ": others use 1 contexts, which the monitor does not touch\n"},
        {DamonContexts{0, 0}, ": nobody uses it\n"}}) {
    status.contexts = contexts;
    EXPECT_TRUE(heat_status_text(status).ends_with(std::string("\nkernel DAMON") + says));
  }
  status.contexts.reset();
  status.contexts_reason = "no DAMON";
  wanted.update({{"own_contexts", nullptr}, {"foreign_contexts", nullptr}});
  wanted["foreign_reason"] = "no DAMON";
  EXPECT_EQ(nlohmann::json::parse(heat_status_json(status)), wanted);
  status = {};
  status.contexts_reason = "no DAMON";
  EXPECT_EQ(heat_status_text(status),
            "off\nattrs 5000,100000,1000000,10,1000\nbackend auto\nno targets\n"
            "kernel DAMON: no DAMON\n");
}

}  // namespace

// Nobody waits for a look at a target, or for another caller.

namespace {

using shmif::test::eventually;
using shmif::test::TempDir;

/// A process whose memory cannot be looked at while a test holds it: a tree of files in which a
/// write to its clear_refs waits.
class HeldTarget {
 public:
  explicit HeldTarget(pid_t pid) : folder_(tree_.path() + "/proc/" + std::to_string(pid)) {
    std::filesystem::create_directories(folder_);
    for (const char* const each : {"stat", "smaps", "maps", "comm", "environ"}) {
      std::filesystem::create_symlink("/proc/" + std::to_string(pid) + '/' + each,
                                      folder_ + '/' + each);
    }
    put_file();
  }

  const std::string& root() const { return tree_.path(); }

  /// The next look waits: it writes to a pipe that is full.
  void hold() {
    const std::string pipe = folder_ + "/pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    pipe_.reset(::open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    const std::array<char, 4096> bytes{};
    while (::write(pipe_.get(), bytes.data(), bytes.size()) > 0) {
    }
    notices_.reset(::inotify_init1(IN_CLOEXEC));
    ASSERT_GE(::inotify_add_watch(notices_.get(), pipe.c_str(), IN_OPEN), 0);
    std::filesystem::rename(pipe, folder_ + "/clear_refs");
  }
  /// Whether a look has come to the pipe.
  bool wait_until_held() const {
    constexpr int kPatienceMs = 60'000;
    pollfd opened{notices_.get(), POLLIN, 0};
    return ::poll(&opened, 1, kPatienceMs) == 1;
  }
  void release() {
    put_file();
    std::array<char, 65536> bytes{};
    while (::read(pipe_.get(), bytes.data(), bytes.size()) > 0) {
    }
  }

 private:
  void put_file() const {
    std::ofstream(folder_ + "/file") << '\n';
    std::filesystem::rename(folder_ + "/file", folder_ + "/clear_refs");
  }

  const shmif::test::TempDir tree_;
  const std::string folder_;
  UniqueFd pipe_;
  UniqueFd notices_;
};

/// The answers of a monitor in `folder`; an error shows as its message.
class Asking {
 public:
  explicit Asking(std::string folder) : folder_(std::move(folder)) {}
  Result<std::string> operator()(const HeatRequest& asked) const {
    return ask_heat_monitor(folder_, asked);
  }
  std::string operator()(HeatVerb verb) const {
    const auto answer = (*this)(request(verb));
    return answer ? *answer : answer.error().message;
  }

 private:
  std::string folder_;
};

TEST(HeatMonitorWaits, ForNoLookWhenItIsAsked) {
  const TempDir dir;
  const Sleeper sleeper;
  HeldTarget target(sleeper.pid());
  const Listening listening(dir.path(), KernelFiles(target.root()));
  const Asking ask(dir.path());
  ASSERT_TRUE(ask(watching(HeatVerb::on, {sleeper.pid()})));
  ASSERT_TRUE(
      eventually([&] { return ask(HeatVerb::show).find("mapping\n") != std::string::npos; }));
  target.hold();
  ASSERT_TRUE(target.wait_until_held());
  // The look goes on until the monitor is told to give it up. These are answered meanwhile.
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 3), "on\n");
  EXPECT_NE(ask(HeatVerb::show).find("process " + std::to_string(sleeper.pid())),
            std::string::npos);
  const UniqueFd silent = connection_to(dir.path());
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 3), "on\n") << "a second client";
  EXPECT_EQ(ask(watching(HeatVerb::set, {sleeper.pid()})).error().code, Errc::busy);
  EXPECT_EQ(ask(HeatVerb::off), "");
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 4), "off\n");
  EXPECT_TRUE(eventually([&] { return ask(request(HeatVerb::on)).has_value(); }))
      << "the target still does not answer";
  target.release();
}

TEST(HeatMonitorWaits, ForNoneOfManyCallersThatSayNothing) {
  const TempDir dir;
  const Listening listening(dir.path());
  std::vector<UniqueFd> silent;
  constexpr std::size_t kCallers = 64;
  while (silent.size() < kCallers) {
    silent.push_back(connection_to(dir.path()));
    // Each second one says half a line.
    if (silent.size() % 2 != 0) continue;
    ASSERT_EQ(::send(silent.back().get(), "stat", 4, MSG_NOSIGNAL), 4);
  }
  const Asking ask(dir.path());
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 4), "off\n");
  // Those that came last may still finish.
  ASSERT_EQ(::send(silent.back().get(), "us\n\n", 4, MSG_NOSIGNAL), 4);
  std::array<char, 4> answer{};
  ASSERT_EQ(::recv(silent.back().get(), answer.data(), 3, MSG_WAITALL), 3);
  EXPECT_STREQ(answer.data(), "ok ");
}

/// So many mappings that an answer about them does not fit into the buffer of a socket.
class ManyMappings {
 public:
  ManyMappings() {
    if (begin_ == MAP_FAILED) return;
    for (std::size_t at = 0; at < kPages; at += 2) {
      ::mprotect(static_cast<char*>(begin_) + at * page_bytes(), page_bytes(), PROT_READ);
    }
  }
  ManyMappings(const ManyMappings&) = delete;
  ManyMappings& operator=(const ManyMappings&) = delete;
  ~ManyMappings() { ::munmap(begin_, kPages * page_bytes()); }
  bool are_there() const { return begin_ != MAP_FAILED; }

 private:
  static constexpr std::size_t kPages = 4000;
  void* begin_ = ::mmap(nullptr, kPages* page_bytes(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

/// All that comes until the end.
std::string rest_of(const UniqueFd& socket) {
  std::string text;
  std::array<char, 65536> part{};
  for (ssize_t got = 0; (got = ::recv(socket.get(), part.data(), part.size(), 0)) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

/// Where there are too many callers, those leave that have asked nothing yet.
TEST(HeatMonitorWaits, ForSilentCallersAndGivesOthersTheirWholeAnswers) {
  const ManyMappings mappings;
  ASSERT_TRUE(mappings.are_there());
  const TempDir dir;
  const Sleeper sleeper;
  const Listening listening(dir.path());
  const Asking ask(dir.path());
  ASSERT_TRUE(ask(watching(HeatVerb::on, {sleeper.pid()})));
  HeatRequest show = request(HeatVerb::show);
  show.as_json = true;
  constexpr std::size_t kMoreThanABuffer = std::size_t{300} << 10U;
  ASSERT_TRUE(eventually([&] {
    const auto answer = ask(show);
    return answer && answer->size() > kMoreThanABuffer;
  }));
  ask(HeatVerb::off);
  const std::string asked = heat_request_text(show);
  using Clock = std::chrono::steady_clock;
  bool in_time = false;
  for (int round = 0; round < 4 && !in_time; ++round) {  // a caller may take 10 s
    const auto then = Clock::now();
    const UniqueFd slow = connection_to(dir.path());
    ASSERT_EQ(::send(slow.get(), asked.data(), asked.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(asked.size()));
    ASSERT_TRUE(ask(request(HeatVerb::status))) << "the request before it was taken, too";
    std::vector<UniqueFd> silent;
    for (int i = 0; i < 40; ++i) silent.push_back(connection_to(dir.path()));
    ASSERT_TRUE(ask(request(HeatVerb::status))) << "all of them were taken";
    const std::string answer = rest_of(slow);
    in_time = Clock::now() - then < std::chrono::seconds(8);
    if (!in_time) continue;
    const auto whole = read_heat_answer(answer);
    ASSERT_TRUE(whole) << answer.size() << " bytes: " << whole.error().message;
    EXPECT_GT(whole->size(), kMoreThanABuffer);
  }
}

TEST(HeatMonitorWaits, ForNoEndOfAnEndlessRequest) {
  const TempDir dir;
  const Listening listening(dir.path());
  const UniqueFd endless = connection_to(dir.path());
  const std::string junk(1U << 20U, 'x');
  std::size_t sent = 0;
  while (sent < junk.size()) {
    const ssize_t part = ::send(endless.get(), &junk[sent], junk.size() - sent, MSG_NOSIGNAL);
    if (part <= 0) break;
    sent += static_cast<std::size_t>(part);
  }
  EXPECT_LT(sent, junk.size()) << "it was refused before its end";
  EXPECT_EQ(Asking(dir.path())(HeatVerb::status).substr(0, 4), "off\n");
}

}  // namespace

}  // namespace shmif::perf::test
