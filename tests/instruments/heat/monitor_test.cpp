// The monitor: what it keeps, what it refuses, and who may talk to it.

#include "tests/instruments/heat/monitor_rig.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

#include "tests/instruments/heat/fake_damon.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

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

TEST(HeatMonitorState, KeepsEachSettingThatARequestDoesNotName) {
  HeatMonitor monitor;
  HeatRequest first = request(HeatVerb::set);
  first.backend = HeatBackend::damon;
  first.damon = DamonMemory{DamonSpace::fvaddr, {{4096, 8192}}};
  first.clients = "/run/heat";
  first.attributes = read_attributes("1ms,10ms,1s,3,100").value();
  ASSERT_TRUE(monitor.set(first));
  ASSERT_TRUE(monitor.set(request(HeatVerb::set)));
  HeatStatus status = monitor.status();
  EXPECT_EQ(status.backend, HeatBackend::damon);
  EXPECT_EQ(status.damon, *first.damon);
  EXPECT_EQ(status.clients, "/run/heat");
  EXPECT_EQ(status.attributes, *first.attributes);
  HeatRequest second = request(HeatVerb::set);
  second.damon = DamonMemory{DamonSpace::paddr, {}};
  ASSERT_TRUE(monitor.set(second));
  second = request(HeatVerb::set);
  second.clients = "/run/other";
  ASSERT_TRUE(monitor.set(second));
  status = monitor.status();
  EXPECT_EQ(status.backend, HeatBackend::damon);
  EXPECT_EQ(status.damon, (DamonMemory{DamonSpace::paddr, {}}));
  EXPECT_EQ(status.clients, "/run/other");
  EXPECT_TRUE(status.targets.empty());
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
  ASSERT_TRUE(monitor.set(watching(HeatVerb::set, {::getpid()})));
  ASSERT_EQ(monitor.status().targets.size(), 1U) << "not beside the others";
  EXPECT_EQ(monitor.status().targets[0].process.number, ::getpid());
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
  HeatRequest other = request(HeatVerb::on);
  other.attributes = HeatAttributes{};
  EXPECT_FALSE(monitor.start(other));
  EXPECT_EQ(attributes_text(monitor.status().attributes), "10000,20000,1000000,3,100")
      << "what is refused changes nothing";
}

TEST(HeatMonitorState, KeepsTheLastHundredWindows) {
  std::vector<HeatResult> known;
  for (int begin = 0; begin < 104; ++begin) {
    HeatResult now;
    now.process = {41, 7};
    now.windows = {{static_cast<double>(begin), begin + 1.0, 10, 0, {}}};
    merge_heat_results(known, {now});
  }
  ASSERT_EQ(known.size(), 1U);
  ASSERT_EQ(known[0].windows.size(), HeatMonitor::kKeptWindows);
  EXPECT_EQ(known[0].windows.front().begin_s, 4);
  EXPECT_EQ(known[0].windows.back().begin_s, 103);
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
}

TEST(HeatMonitorText, IsTakenAsAWholeOrNotAtAll) {
  for (const char* const text : {"",
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
    EXPECT_FALSE(read) << text;
    EXPECT_TRUE(read || read.error().code == Errc::bad_argument) << text;
  }
}

}  // namespace
}  // namespace shmif::perf::test
