// shmifperf heat: the map of a program whose accesses are known.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "shmif/port.hpp"
#include "tests/instruments/heat/fake_damon.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tests/tools/shmifperf/heat_rig.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// The pages of a program, in all windows, that were accessed and that were written.
struct Map {
  std::set<std::uint64_t> accessed, written;
};
Map map_of(const Json& windows, std::uint64_t begin) {
  Map map;
  for (const Json& window : windows) {
    for (const Json& region : window["regions"]) {
      for (std::uint64_t at = region["begin"]; at < region["end"].get<std::uint64_t>();
           at += 4096) {
        if (region["accesses"] > 0) map.accessed.insert((at - begin) / 4096);
        if (region["writes"] > 0) map.written.insert((at - begin) / 4096);
      }
    }
  }
  return map;
}

std::set<std::uint64_t> numbers(std::uint64_t begin, std::uint64_t end) {
  std::set<std::uint64_t> all;
  for (; begin < end; ++begin) all.insert(begin);
  return all;
}

/// What it says of that program's pages 50 to 69.
void expect_hot_pages(const ToolResult& result, bool are_written) {
  ASSERT_EQ(result.status, 0) << result.err;
  const std::size_t json_begins = result.out.find('\n') + 1;  // behind what the program prints
  const std::uint64_t address = std::stoull(result.out);
  const Json json = Json::parse(result.out.substr(json_begins), nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["attrs"], kHeatAttributes);
  EXPECT_EQ(json["partial"], false);
  EXPECT_EQ(json["target"]["source"], "client");
  EXPECT_EQ(json["target"]["precision"], "page");
  EXPECT_EQ(json["target"]["ranges"][0]["begin"], address);
  EXPECT_EQ(json["target"]["ranges"][0]["name"], "pattern");
  const Map map = map_of(json["windows"], address);
  EXPECT_EQ(map.accessed, numbers(50, 70));
  EXPECT_EQ(map.written, are_written ? numbers(50, 70) : numbers(0, 0));
  double last = 0;
  for (const Json& window : json["windows"]) {
    EXPECT_GE(window["begin_s"].get<double>(), last);
    last = window["end_s"];
    EXPECT_GT(last, window["begin_s"].get<double>());
  }
}

Words heat_of_pattern(const char* what) {
  return shmifperf_words({"heat", "--json", "--windows", "4", "--attrs", kHeatAttributes, "--",
                          in_build("tests/instruments/heat_target"), "200", "50", "70", what});
}

TEST(HeatCommand, ShowsTheHotPagesOfAProgramThatTakesPart) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  expect_hot_pages(run_program(heat_of_pattern("read")), false);
  expect_hot_pages(run_program(heat_of_pattern("write")), true);
}

TEST(HeatCommand, KnowsEachPageForAnOrdinaryUserTooButNotOfOthers) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  expect_hot_pages(run_program(kAsNobody + heat_of_pattern("write")), true);
  const ToolResult refused = run_program(kAsNobody + shmifperf_words({"heat", "-p", "1"}));
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(has(refused.err, "process 1 ") && has(refused.err, "as root")) << refused.err;
}

TEST(HeatCommand, OfAnyProgramSaysWhatItDoesNotKnowAndLeavesNoDirectory) {
  const ToolResult result =
      shmifperf({"heat", "--json", "--windows", "2", "--attrs", kHeatAttributes, "--backend",
                 "clear_refs", "--", "sh", "-c", "echo \"$SHMIF_HEAT\"; exec sleep 600"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::size_t json_begins = result.out.find('\n') + 1;
  const Json json = Json::parse(result.out.substr(json_begins), nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "clear_refs");
  EXPECT_EQ(json["target"]["precision"], "mapping");
  EXPECT_NE(json["target"]["writes_reason"], nullptr);
  ASSERT_EQ(json["windows"].size(), 2U);
  EXPECT_EQ(json["windows"][0]["regions"][0]["writes"], nullptr);
  const std::string folder = result.out.substr(0, json_begins - 1);
  EXPECT_TRUE(folder.starts_with('/')) << result.out;
  EXPECT_FALSE(std::filesystem::exists(folder)) << folder;
  const TempDir dir;
  const ToolResult told = shmifperf({"heat", "--backend", "clear_refs", "--clients", dir.path(),
                                     "--", "sh", "-c", "echo \"in $SHMIF_HEAT.\" >&2"});
  EXPECT_TRUE(has(told.err, "in " + dir.path() + ".\n")) << told.err;
}

TEST(HeatCommand, OfAProcessEndsAfterItsWindowsAndLeavesItAlone) {
  const Tool watched({"sleep", "600"});
  const Words words =
      Words{"heat", "-p", std::to_string(watched.pid()), "--attrs", "1ms,2ms,1s,3,10"} +
      Words{"--windows", "3", "--backend", "clear_refs"};
  const ToolResult result = shmifperf(words + Words{"--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["windows"].size(), 3U);
  EXPECT_EQ(json["partial"], false);
  EXPECT_EQ(json["attrs"], "1000,2000,1000000,3,10");
  EXPECT_EQ(json["target"]["pid"], watched.pid());
  const ToolResult text = shmifperf(words);
  EXPECT_TRUE(has(text.out, ": by clear_refs, precision: mapping\n")) << text.out;
  EXPECT_EQ(::kill(watched.pid(), 0), 0);
}

/// A kernel whose DAMON nobody uses, and the processes of this machine.
class HeatByDamon : public testing::Test {
 protected:
  HeatByDamon() { std::filesystem::create_directory_symlink("/proc", kernel_.root() + "/proc"); }
  ToolResult heat(Words words) const {
    words.insert(words.begin(), {"heat", "--sysroot", kernel_.root(), "--backend", "damon"});
    return shmifperf(std::move(words));
  }
  static std::string own_pid() { return std::to_string(::getpid()); }
  const perf::test::FakeDamonTree kernel_;
};

TEST_F(HeatByDamon, WatchesSeveralProcessesEachWithItsOwnRegions) {
  kernel_.put_thread(1);
  kernel_.put_region(0, 4096, 8192, 20, 1);
  kernel_.put_region(0, 12288, 16384, 5, 3, 1);
  Tool sleeper({"sleep", "600"});
  const std::string other = std::to_string(sleeper.pid());
  Json json;
  for (const Words& pids : std::vector<Words>{{"-p", own_pid() + ' ' + other},
                                              {"-p", own_pid(), "-p", other},
                                              {"-p", own_pid() + ',' + other}}) {
    Words words = pids;
    words.insert(words.end(), {"--windows", "2", "--json"});
    const ToolResult result = heat(words);
    ASSERT_EQ(result.status, 0) << result.err;
    json = parsed(result);
    ASSERT_EQ(json["targets"].size(), 2U) << result.out;
  }
  EXPECT_EQ(json["targets"][0]["target"]["pid"], ::getpid());
  EXPECT_EQ(json["targets"][0]["target"]["source"], "damon");
  EXPECT_EQ(json["targets"][0]["windows"][0]["regions"][0]["begin"], 4096);
  EXPECT_EQ(json["targets"][1]["target"]["pid"], sleeper.pid());
  EXPECT_EQ(json["targets"][1]["windows"][0]["regions"][0]["begin"], 12288);
  EXPECT_EQ(json["targets"][1]["windows"][0]["regions"][0]["writes"], nullptr);
  EXPECT_EQ(kernel_.line_of("0/contexts/0/operations"), "vaddr");
  EXPECT_EQ(kernel_.line_of("1/contexts/0/targets/0/pid_target"), std::to_string(sleeper.pid()));
  EXPECT_EQ(kernel_.line_of("1/state"), "off");
  EXPECT_EQ(kernel_.line_of("nr_kdamonds"), "0") << "all was removed";
}

TEST_F(HeatByDamon, WatchesPhysicalMemoryWithoutAProcess) {
  std::filesystem::remove(kernel_.root() + "/proc");
  std::filesystem::create_directory(kernel_.root() + "/proc");
  std::ofstream(kernel_.root() + "/proc/iomem") << "00001000-0009ffff : System RAM\n"
                                                << "00100000-3fffffff : System RAM\n";
  kernel_.put_region(0, 1U << 20U, 1U << 30U, 20, 1);
  const ToolResult result = heat({"--ops", "paddr", "--windows", "2", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  EXPECT_EQ(json["target"]["pid"], nullptr);
  EXPECT_EQ(json["target"]["name"], "physical memory");
  EXPECT_EQ(json["target"]["has_ended"], false);
  EXPECT_EQ(json["target"]["ranges"][1]["end"], 1U << 30U);
  ASSERT_EQ(json["windows"].size(), 2U);
  EXPECT_EQ(kernel_.line_of("0/contexts/0/targets/0/pid_target"), "");
  EXPECT_EQ(kernel_.line_of("0/contexts/0/targets/0/regions/nr_regions"), "2");
  const ToolResult part = heat(
      {"--ops", "paddr", "--ranges", "0x100000-0x200000", "--windows", "1", "--", "sleep", "600"});
  ASSERT_EQ(part.status, 0) << part.err;
  EXPECT_NE(part.out.find("\nphysical memory: by damon"), std::string::npos) << part.out;
  EXPECT_EQ(kernel_.line_of("0/contexts/0/targets/0/regions/nr_regions"), "1");
}

TEST(HeatCommand, EndsAsItsProgramDoesHoweverShortThatIs) {
  for (const auto& [script, status] : std::vector<std::pair<const char*, int>>{
           {"exit 0", 0}, {"exit 42", 42}, {"sleep 0.3; exit 7", 7}, {"kill -9 $$", 128 + 9}}) {
    EXPECT_EQ(shmifperf({"heat", "--", "sh", "-c", script}).status, status) << script;
  }
  EXPECT_EQ(shmifperf({"heat", "--", "no-such-program-anywhere"}).status, 127);
}

TEST(HeatCommand, RefusesWhatItCannotUnderstandWithAWordOfIt) {
  const std::string pid = std::to_string(::getpid());
  for (const auto& [words, says] : std::vector<std::pair<Words, std::string>>{
           {{}, ""},
           {{"-p", "1", "--attrs", "1,2,3,4"}, "--attrs"},
           {{"-p", pid, "--attrs", "0,1,1,3,3"}, "--attrs: an interval cannot be 0"},
           {{"-p", "1,x"}, "\"x\""},
           {{"-p", "1,"}, ""},
           {{"-p", "1", "--", "true"}, ""},
           {{"-p", "1", "--backend", "guess"}, "--backend"},
           {{"-p", pid, "--budget", "0"}, "--budget"},
           {{"-p", pid, "--windows", "0"}, "--windows"},
           {{"-p", pid, "--backend", "written"}, "--backend written is for a program"},
           {{"--on", "-p", pid, "--backend", "written"}, "--backend written is for a program"},
           {{"--bus", "/none", "-p", pid}, "--bus cannot be given with"},
           {{"--bus", "/none", "--", "true"}, "--bus cannot be given with"},
           {{"--bus", "/none", "--backend", "damon"}, "--bus needs processes that take part"},
           {{"-p", pid, "--ops", "vaddr"}, "are for --backend damon"},
           {{"-p", pid, "--backend", "damon", "--ops", "fvaddr"}, "--ops"},
           {{"-p", pid, "--backend", "damon", "--ranges", "0x1000-0x2000"}, "--ranges"},
           {{"--backend", "damon", "--ops", "paddr", "--ranges", "0x1000-0x2000,"}, "--ranges"},
           {{"--backend", "damon", "--ops", "paddr", "--on"}, "--ops"},
           {{"--on", "--off"}, "--o"},
           {{"--on", "-p", "1", "--windows", "3"}, "--windows"},
           {{"--status", "-p", "1"}, ""},
           {{"--off", "--attrs", "5000,100000,1000000,10,1000"}, ""},
           {{"--bus", "x", "-p", pid}, "--bus cannot be given with -p"},
           {{"--live", "-p", pid}, "--live needs a terminal"},
           {{"--live", "-p", pid, "--json"}, "--live and --json exclude each other"},
           {{"--live", "--show"}, "--live is not for the monitor"},
           {{"--clients", "/tmp/a\nb", "--show"}, "--clients: a name with a newline"}}) {
    expect_usage_error(Words{"heat"} + words, {says});
  }
  EXPECT_EQ(shmifperf({"heat", "-p", "4194304"}).status, 1) << "no such process";
}

TEST(HeatCommand, EndsWhenItsOnlyTargetAnswersNoMoreAndSaysThatItLives) {
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  const std::string clients = dir.file("clients");
  std::filesystem::create_directory(clients);
  ::setenv("SHMIF_HEAT", clients.c_str(), 1);
  Tool port({shmifctl_path(), "ping", bus, "--respond"});
  ::unsetenv("SHMIF_HEAT");
  ASSERT_TRUE(port.wait_for("answering"));
  Tool heat(shmifperf_words({"heat", "-p", std::to_string(port.pid()), "--clients", clients,
                             "--attrs", "50ms,50ms,1s,3,100", "--windows", "100000", "--json"}));
  ASSERT_TRUE(eventually([&] { return !std::filesystem::is_empty(clients); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ::kill(port.pid(), SIGSTOP);
  const ToolResult result = heat.finish();
  ::kill(port.pid(), SIGCONT);
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("the target does not answer (is it stopped?)"), std::string::npos)
      << result.err;
}

TEST(HeatCommand, OfAProgramOfWhichNothingCouldBeMeasuredFailsUnlessTheProgramDid) {
  const TempDir dir;  // a machine without processes
  for (const auto& [script, status] :
       std::vector<std::pair<std::string, int>>{{"exit 0", 1}, {"exit 7", 7}}) {
    const ToolResult result = shmifperf(
        {"heat", "--sysroot", dir.path(), "--backend", "written", "--", "sh", "-c", script});
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_NE(result.err.find(" was not measured: it is a process of a recorded tree\n"),
              std::string::npos)
        << result.err;
  }
}

TEST(HeatCommand, LeavesNoDirectoryWhenNobodyReadsItsOutput) {
  const TempDir dir("/tmp");
  for (const std::string& reader : Words{"cat >/dev/null", "true"}) {
    // The program tells where the directory was: one elsewhere would not be seen here.
    const std::string command =
        R"(TMPDIR=$1 "$2" heat -- sh -c 'echo "$SHMIF_HEAT" >&2; exec sleep 0.5' | )" + reader;
    const ToolResult result =
        run_program({"sh", "-c", command, "sh", dir.path(), shmifperf_path()});
    EXPECT_TRUE(result.err.starts_with(dir.path() + '/')) << reader << ": " << result.err;
    EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << reader << ": " << result.err;
  }
}

/// A monitor of this test alone. It ends with the test.
class HeatMonitorCommand : public testing::Test {
 protected:
  ~HeatMonitorCommand() override { heat({"--forget"}); }
  ToolResult heat(Words words) const {
    words.insert(words.begin(), "heat");
    words.insert(words.end(), {"--control", dir_.file("control")});
    return shmifperf(std::move(words));
  }
  Json status() const { return Json::parse(heat({"--status", "--json"}).out, nullptr, false); }
  /// The process that listens at the socket.
  pid_t monitor() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    dir_.file("control/control").copy(&address.sun_path[0], sizeof address.sun_path - 1);
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
      return -1;
    }
    return peer.pid;
  }
  const TempDir dir_;
};

TEST_F(HeatMonitorCommand, ConcludesFirstInColourOnATerminalUnlessTheUserWantsNone) {
  // This process accesses its memory in each window.
  const std::string pid = std::to_string(::getpid());
  ASSERT_EQ(
      heat({"--on", "-p", pid, "--attrs", "10ms,20ms,1s,3,100", "--backend", "clear_refs"}).status,
      0);
  ASSERT_TRUE(eventually([&] { return status()["targets"][0]["windows"] >= 1; }));
  ASSERT_EQ(heat({"--off"}).status, 0);
  const ToolResult plain = heat({"--show"});
  EXPECT_TRUE(plain.out.starts_with("process " + pid + " (")) << plain.out;
  EXPECT_FALSE(has(plain.out, "\x1b")) << plain.out;
  for (const bool none : {false, true}) {
    const std::string wish = none ? "NO_COLOR=1" : "NO_COLOR=";
    OnTerminal terminal({"env", "TERM=xterm", wish, shmifperf_path(), "heat", "--show", "--control",
                         dir_.file("control")},
                        100, 40);
    EXPECT_EQ(terminal.status(), 0) << terminal.seen;
    const std::string begin = none ? "process " : "\x1b[1mprocess ";
    EXPECT_TRUE(terminal.seen.starts_with(begin + pid)) << terminal.seen;
    EXPECT_EQ(terminal.seen.find('\x1b') == std::string::npos, none) << terminal.seen;
  }
  OnTerminal narrow({shmifperf_path(), "heat", "--show", "--control", dir_.file("control")}, 1, 40);
  EXPECT_EQ(narrow.status(), 0) << narrow.seen;
}

TEST_F(HeatMonitorCommand, OutlivesTheCommandsAndIsOffWhenItHasDied) {
  EXPECT_EQ(status()["state"], "off") << "there is none";
  EXPECT_EQ(heat({"--off"}).status, 0);
  EXPECT_EQ(heat({"--show"}).status, 1);
  EXPECT_EQ(heat({"--on"}).status, 1) << "it has nothing to do";
  EXPECT_TRUE(eventually([&] { return monitor() == -1; }));
  Tool sleeper({"sleep", "600"});
  const std::string pid = std::to_string(sleeper.pid());
  const ToolResult set =
      heat({"--set", "-p", pid, "--attrs", "10ms,20ms,1s,3,100", "--backend", "clear_refs"});
  ASSERT_EQ(set.status, 0) << set.err;
  EXPECT_EQ(status()["state"], "off") << "targets alone do not start it";
  ASSERT_EQ(heat({"--on"}).status, 0);
  EXPECT_EQ(status()["state"], "on");
  EXPECT_EQ(status()["attrs"], "10000,20000,1000000,3,100");
  const ToolResult refused = heat({"--set", "--attrs", "5000,100000,1000000,10,1000"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(has(refused.err, "--off first")) << refused.err;
  ASSERT_TRUE(eventually([&] { return status()["targets"][0]["windows"] >= 2; }));
  EXPECT_EQ(heat({"--off"}).status, 0);
  EXPECT_EQ(status()["state"], "off");
  const Json last = Json::parse(heat({"--show", "--json"}).out, nullptr, false);
  EXPECT_EQ(last["target"]["pid"], sleeper.pid());
  EXPECT_GE(last["windows"].size(), 2U);
  EXPECT_EQ(heat({"--set", "-p", pid + ",4000000"}).status, 1);
  EXPECT_EQ(status()["targets"].size(), 1U) << "all or nothing";
  ASSERT_EQ(heat({"--on"}).status, 0);
  sleeper.signal(SIGKILL);
  sleeper.finish();
  EXPECT_TRUE(eventually([&] { return status()["state"] == "off"; })) << "its targets are gone";
  EXPECT_EQ(heat({"--on"}).status, 1);
  const pid_t pid_of_monitor = monitor();
  ASSERT_GT(pid_of_monitor, 1);
  ::kill(pid_of_monitor, SIGKILL);
  EXPECT_TRUE(eventually([&] { return status()["targets"].empty(); }));
  EXPECT_EQ(status()["state"], "off");
}

TEST_F(HeatMonitorCommand, KeepsNothingOfTheCommandThatStartedIt) {
  const std::string file = dir_.file("inherited");
  const UniqueFd inherited(::open(file.c_str(), O_RDWR | O_CREAT, 0600));  // not closed by exec
  ASSERT_EQ(heat({"--set", "-p", std::to_string(::getpid())}).status, 0);
  const pid_t pid = monitor();
  ASSERT_GT(pid, 0);
  const std::string folder = "/proc/" + std::to_string(pid);
  EXPECT_EQ(std::filesystem::read_symlink(folder + "/cwd"), "/");
  for (const auto& each : std::filesystem::directory_iterator(folder + "/fd")) {
    EXPECT_NE(std::filesystem::read_symlink(each.path()), file);
  }
  EXPECT_EQ(::getsid(pid), pid) << "the end of a terminal would end it";
  for (const int signal : {SIGINT, SIGHUP, SIGPIPE}) EXPECT_EQ(::kill(pid, signal), 0);
  EXPECT_EQ(status()["targets"].size(), 1U) << "it goes on";
}

TEST_F(HeatMonitorCommand, LeavesNothingInTheDirectoryOfItsUser) {
  ASSERT_EQ(::setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), 1), 0);
  const std::string folder = dir_.file("shmif-heat");
  EXPECT_EQ(shmifperf({"heat", "--status"}).status, 0);
  EXPECT_FALSE(std::filesystem::exists(folder)) << "there is no monitor";
  const std::string own = std::to_string(::getpid());
  ASSERT_EQ(shmifperf({"heat", "--set", "-p", own}).status, 0);
  EXPECT_TRUE(std::filesystem::exists(folder + "/control"));
  EXPECT_EQ(shmifperf({"heat", "--forget"}).status, 0);
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(folder); }));
  ::unsetenv("XDG_RUNTIME_DIR");
  ASSERT_EQ(heat({"--set", "-p", own}).status, 0);
  ASSERT_EQ(heat({"--forget"}).status, 0);
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(dir_.file("control/lock")); }));
  EXPECT_TRUE(std::filesystem::exists(dir_.file("control"))) << "a user's own directory stays";
}

TEST_F(HeatMonitorCommand, TakesNoFileOfTheUserAndNoDirectoryThatIsOpenToOthers) {
  ASSERT_EQ(::mkdir(dir_.file("control").c_str(), 0700), 0);
  std::ofstream(dir_.file("control/control")) << "mine";
  const ToolResult result = heat({"--on", "-p", std::to_string(::getpid())});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("that file is no socket"), std::string::npos) << result.err;
  EXPECT_EQ(std::filesystem::file_size(dir_.file("control/control")), 4U);
  ASSERT_EQ(::chmod(dir_.file("control").c_str(), 0755), 0);
  const ToolResult open = heat({"--status"});
  EXPECT_EQ(open.status, 1);
  EXPECT_TRUE(has(open.err, "no other may use")) << open.err;
  std::filesystem::remove_all(dir_.file("control"));
}

TEST_F(HeatMonitorCommand, TakesEachProcessOfABusOnceHoweverManyPortsItHas) {
  const TempBus bus;
  std::vector<Port> ports;
  const auto attach = [&](const char* name) {
    PortOptions options;
    options.name = name;
    ports.emplace_back(options).attach(bus.path()).value();
  };
  attach("left");
  Tool other({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "other"});
  ASSERT_TRUE(other.wait_for("answering"));
  attach("right");
  const ToolResult set = heat({"--set", "--bus", bus.path()});
  EXPECT_EQ(status()["backend"], "client") << "others are no part of a bus's heat";
  EXPECT_EQ(set.status, 0) << set.err;
  std::vector<pid_t> targets;
  const Json all = status();
  for (const Json& each : all["targets"]) targets.push_back(each["pid"].get<pid_t>());
  EXPECT_EQ(targets, (std::vector<pid_t>{::getpid(), other.pid()})) << all;
}

// The heat of a bus: by whom it can be watched, and what is said of those who cannot.

TEST(HeatOfABus, ShowsWhoTakesPartAndWhyOthersDoNot) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  const auto answer = [&](const char* name) {
    return std::make_unique<Tool>(Words{shmifctl_path(), "ping", bus, "--respond", "--name", name});
  };
  std::unique_ptr<Tool> taking_part;
  {
    const ClientsHere here;
    taking_part = answer("rx");
    ASSERT_TRUE(taking_part->wait_for("answering"));

    // The directory is found by itself, in the process's environment.
    ::unsetenv("SHMIF_HEAT");
    const auto other = answer("plain");
    ASSERT_TRUE(other->wait_for("answering"));
    const ToolResult picture = run_program({shmifctl_path(), "heat", bus});
    ASSERT_EQ(picture.status, 0) << picture.err;
    EXPECT_NE(picture.out.find("rx: shmifctl, process " + std::to_string(taking_part->pid())),
              std::string::npos)
        << picture.out;
    EXPECT_NE(picture.out.find("plain, process " + std::to_string(other->pid()) +
                               "\n  not measured: it was started without SHMIF_HEAT"),
              std::string::npos)
        << picture.out;
    EXPECT_EQ(picture.out.find('\x1b'), std::string::npos) << "colours only on terminals";
    const ToolResult json = shmifperf({"heat", "--bus", bus, "--windows", "2", "--json"});
    ASSERT_EQ(json.status, 0) << json.err;
    const Json all = Json::parse(json.out, nullptr, false);
    ASSERT_EQ(all["targets"].size(), 2U) << json.out;
    for (const Json& each : all["targets"]) {
      const bool is_plain = each["target"]["pid"] == other->pid();
      EXPECT_EQ(each["windows"].size(), is_plain ? 0U : 2U);
      EXPECT_EQ(each["target"]["reason"].is_null(), !is_plain);
    }
  }
}

/// A bus that anybody may use, with a port of a process that takes part.
class BusOfOthers {
 public:
  /// `prefix`: what makes the process one of another user, or of another namespace.
  explicit BusOfOthers(const Words& prefix) {
    ::chmod(dir_.path().c_str(), 0777);
    std::filesystem::create_directory(clients());
    ::chmod(clients().c_str(), 0777);
    EXPECT_EQ(run_program(prefix + Words{shmifctl_path(), "create", bus()}).status, 0);
    ::setenv("SHMIF_HEAT", clients().c_str(), 1);
    port_ = std::make_unique<Tool>(
        prefix + Words{shmifctl_path(), "ping", bus(), "--respond", "--name", "rx"});
    ::unsetenv("SHMIF_HEAT");
    EXPECT_TRUE(port_->wait_for("answering"));
    ::chmod(bus().c_str(), 0666);
  }
  /// What `shmifperf heat --bus` says to somebody else.
  ToolResult heat(const Words& prefix, const Words& more = {}) const {
    return run_program(prefix +
                       shmifperf_words({"heat", "--bus", bus(), "--windows", "2", "--attrs",
                                        kHeatAttributes, "--json"}) +
                       more);
  }
  std::string bus() const { return dir_.file("bus0"); }
  std::string clients() const { return dir_.file("clients"); }
  pid_t pid() const { return port_->pid(); }

 private:
  const TempDir dir_;
  std::unique_ptr<Tool> port_;
};

/// A picture in which the port's process has used and written the first page of the bus.
void expect_heat_of_port(const ToolResult& result, const BusOfOthers& others) {
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["pid"], others.pid());
  EXPECT_EQ(json["target"]["source"], "client");
  EXPECT_EQ(json["target"]["precision"], "page");
  EXPECT_EQ(json["target"]["ranges"][0]["name"], "rx@" + others.bus());
  EXPECT_EQ(json["windows"].size(), 2U);
}

TEST(HeatOfABus, IsForOrdinaryUsersToo) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  const BusOfOthers others(kAsNobody);
  expect_heat_of_port(others.heat(kAsNobody), others);
}

TEST(HeatOfABus, OfAnotherUserIsRefusedWithTheReason) {
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  const BusOfOthers others({});
  const ToolResult hidden = others.heat(kAsNobody);
  EXPECT_EQ(hidden.status, 1);
  EXPECT_TRUE(has(hidden.err, "process " + std::to_string(others.pid()) +
                                  " belongs to another user (run this as its user"))
      << hidden.err;
  ::chmod(others.clients().c_str(), 0700);
  const ToolResult closed = others.heat(kAsNobody, {"--clients", others.clients()});
  EXPECT_EQ(closed.status, 1);
  EXPECT_TRUE(has(closed.err, "it shares no access heat in " + others.clients())) << closed.err;
}

/// The longest line of a picture.
std::size_t width_of(const std::string& picture) {
  std::istringstream lines(picture);
  std::size_t width = 0;
  for (std::string line; std::getline(lines, line);)
    width = std::max(width, base::columns_of(line));
  return width;
}

TEST(HeatOfABus, IsAsWideAsWishedAndOfTheDirectoryThatIsNamed) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const BusOfOthers others({});
  const auto heat = [&](const Words& wishes, const Words& more = {}) {
    return run_program(Words{"env"} + wishes + Words{shmifctl_path(), "heat", others.bus()} + more);
  };
  const ToolResult named =
      heat({"SHMIF_HEAT=/none", "COLUMNS=50"}, {"--clients", others.clients()});
  EXPECT_EQ(named.status, 0) << named.err;
  EXPECT_EQ(named.out.find("not measured"), std::string::npos) << named.out;
  const std::size_t narrow = width_of(named.out);
  const ToolResult led = heat({"SHMIF_HEAT=/none", "COLUMNS=100"});
  EXPECT_NE(led.out.find("not measured"), std::string::npos) << led.out;
  const ToolResult wide = heat({"COLUMNS=100"});
  EXPECT_EQ(wide.out.find("not measured"), std::string::npos) << wide.out;
  EXPECT_LT(narrow, width_of(wide.out)) << named.out << wide.out;
}

TEST(HeatOfABus, OfWhichNobodyTakesPartFails) {
  const TempBus bus;
  const ToolResult empty = shmifperf({"heat", "--bus", bus.path(), "--json"});
  EXPECT_EQ(empty.status, 1);
  EXPECT_TRUE(has(empty.err, "no process is attached to " + bus.path())) << empty.err;
  EXPECT_TRUE(has(empty.out, R"("targets": [])")) << empty.out;
  Tool plain({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const ToolResult result = shmifperf({"heat", "--bus", bus.path(), "--windows", "1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.err, "was started without SHMIF_HEAT")) << result.err;
  EXPECT_EQ(shmifperf({"heat", "--bus", bus.file("none")}).status, 1);
}

TEST(HeatOfABus, TheMonitorWatchesNoProcessThatAWriterPutsIntoTheTable) {
  const TempBus bus;
  Tool plain({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const ToolResult on =
      shmifperf({"heat", "--on", "--bus", bus.path(), "--control", bus.file("control")});
  EXPECT_EQ(on.status, 1) << on.out;
  EXPECT_NE(on.err.find("does not use this bus"), std::string::npos) << on.err;
}

}  // namespace
}  // namespace shmif::test
