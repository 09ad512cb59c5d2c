// shmifperf heat: the map of a program whose accesses are known.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <set>
#include <vector>

#include "shmif/port.hpp"
#include "tests/perf/heat/fake_damon.hpp"
#include "tests/perf/heat/held_target.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
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

TEST(HeatCommand, ShowsTheHotPagesOfAProgramThatTakesPart) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  for (const char* const what : {"read", "write"}) {
    const ToolResult result =
        shmifperf({"heat", "--json", "--windows", "4", "--attrs", kHeatAttributes, "--",
                   in_build("tests/perf/heat_target"), "200", "50", "70", what});
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
    ASSERT_FALSE(json["windows"].empty());
    const Map map = map_of(json["windows"], address);
    EXPECT_EQ(map.accessed, numbers(50, 70)) << what;
    const bool is_written = std::string_view(what) == "write";
    EXPECT_EQ(map.written, is_written ? numbers(50, 70) : numbers(0, 0)) << what;
    double last = 0;
    for (const Json& window : json["windows"]) {
      EXPECT_GE(window["begin_s"].get<double>(), last);
      last = window["end_s"];
      EXPECT_GT(last, window["begin_s"].get<double>());
      for (const Json& region : window["regions"]) EXPECT_EQ(region.size(), 5U) << region;
    }
  }
}

TEST(HeatCommand, ShowsTheTableOfTheExample) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const ToolResult result =
      shmifperf({"heat", "--json", "--windows", "3", "--attrs", kHeatAttributes, "--",
                 in_build("examples/hot_table"), "100000"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "client");
  const Json& table = json["target"]["ranges"][0];
  EXPECT_EQ(table["name"], "table");
  const Map map = map_of(json["windows"], table["begin"]);
  EXPECT_EQ(map.accessed, numbers(24, 32));
  EXPECT_EQ(map.written, numbers(24, 32));
}

TEST(HeatCommand, OfAnyProgramSaysWhatItDoesNotKnow) {
  const ToolResult result =
      shmifperf({"heat", "--json", "--windows", "2", "--attrs", kHeatAttributes, "--backend",
                 "clear_refs", "--", "sleep", "600"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "clear_refs");
  EXPECT_EQ(json["target"]["precision"], "mapping");
  EXPECT_NE(json["target"]["writes_reason"], nullptr);
  ASSERT_EQ(json["windows"].size(), 2U);
  EXPECT_EQ(json["windows"][0]["regions"][0]["writes"], nullptr);
}

TEST(HeatCommand, LeavesNothingOfTheDirectoryInWhichItsProgramTakesPart) {
  const ToolResult result =
      shmifperf({"heat", "--json", "--windows", "1", "--attrs", kHeatAttributes, "--backend",
                 "clear_refs", "--", "sh", "-c", "echo \"$SHMIF_HEAT\"; exec sleep 600"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string folder = result.out.substr(0, result.out.find('\n'));
  EXPECT_TRUE(folder.starts_with('/')) << result.out;
  EXPECT_FALSE(std::filesystem::exists(folder)) << folder;
}

TEST(HeatCommand, KnowsEachPageForAnOrdinaryUserToo) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const Words ordinary{"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all"};
  Words words = ordinary;
  words.insert(words.end(), {"test", "-x", shmifperf_path()});
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  if (run_program(words).status != 0) {
    GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  }
  words = ordinary;
  const Words command =
      shmifperf_words({"heat", "--json", "--windows", "3", "--attrs", kHeatAttributes, "--",
                       in_build("tests/perf/heat_target"), "200", "50", "70", "write"});
  words.insert(words.end(), command.begin(), command.end());
  const ToolResult result = run_program(words);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out.substr(result.out.find('\n') + 1), nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "client");
  const Map map = map_of(json["windows"], std::stoull(result.out));
  EXPECT_EQ(map.accessed, numbers(50, 70));
  EXPECT_EQ(map.written, numbers(50, 70));
  words = ordinary;
  words.insert(words.end(), {shmifperf_path(), "heat", "-p", "1"});
  const ToolResult refused = run_program(words);
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("process 1 "), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("as root"), std::string::npos) << refused.err;
}

TEST(HeatCommand, LeavesAloneWhatOthersRunInTheKernel) {
  const TempDir tree;
  const std::string folder = tree.path() + "/sys/kernel/mm/damon/admin/kdamonds";
  std::filesystem::create_directories(folder + "/0");
  std::ofstream(folder + "/nr_kdamonds") << "1\n";
  std::ofstream(folder + "/0/state") << "on\n";
  const ToolResult result = shmifperf(
      {"heat", "--sysroot", tree.path(), "--backend", "damon", "-p", std::to_string(::getpid())});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("so somebody else uses it"), std::string::npos) << result.err;
  EXPECT_EQ(text_of_file(folder + "/nr_kdamonds"), "1\n");
  EXPECT_EQ(text_of_file(folder + "/0/state"), "on\n");
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
    json = Json::parse(result.out, nullptr, false);
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

TEST_F(HeatByDamon, HasAllOfTheWindowsThatWereAskedFor) {
  kernel_.put_region(0, 4096, 8192, 20, 1);
  const ToolResult result =
      heat({"-p", own_pid(), "--attrs", "100us,100us,1s,10,1000", "--windows", "650", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  EXPECT_EQ(json["windows"].size(), 650U);
}

TEST_F(HeatByDamon, WatchesGivenRangesOfAProcess) {
  kernel_.put_region(0, 4096, 8192, 20, 1);
  const ToolResult result = heat({"-p", own_pid(), "--ops", "fvaddr", "--ranges",
                                  "0x1000-0x2000,16384-20480", "--windows", "1", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_EQ(json["target"]["ranges"].size(), 2U) << result.out;
  EXPECT_EQ(json["target"]["ranges"][1]["begin"], 16384);
  EXPECT_EQ(json["windows"].size(), 1U);
  EXPECT_EQ(kernel_.line_of("0/contexts/0/operations"), "fvaddr");
  EXPECT_EQ(kernel_.line_of("0/contexts/0/targets/0/regions/nr_regions"), "2");
  EXPECT_EQ(kernel_.line_of("0/contexts/0/targets/0/regions/1/end"), "20480");
}

TEST_F(HeatByDamon, WatchesPhysicalMemoryWithoutAProcess) {
  std::filesystem::remove(kernel_.root() + "/proc");
  std::filesystem::create_directory(kernel_.root() + "/proc");
  std::ofstream(kernel_.root() + "/proc/iomem") << "00001000-0009ffff : System RAM\n"
                                                << "00100000-3fffffff : System RAM\n";
  kernel_.put_region(0, 1U << 20U, 1U << 30U, 20, 1);
  const ToolResult result = heat({"--ops", "paddr", "--windows", "2", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
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

TEST_F(HeatByDamon, RefusesOptionsThatDoNotGoTogether) {
  const std::string pid = own_pid();
  for (const Words& words : std::vector<Words>{{"-p", pid, "--ops", "fvaddr"},
                                               {"-p", pid, "--ranges", "0x1000-0x2000"},
                                               {"-p", pid, "--ops", "o"},
                                               {"--ops", "fvaddr", "--ranges", "0x1000-0x2000"},
                                               {"--ops", "paddr", "--ranges", "0x1000-0x2000,"},
                                               {"--ops", "paddr", "--on"}}) {
    const ToolResult result = heat(words);
    EXPECT_EQ(result.status, 2) << words.back() << ": " << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  const ToolResult other = shmifperf({"heat", "-p", pid, "--ops", "vaddr"});
  EXPECT_EQ(other.status, 2);
  EXPECT_EQ(kernel_.line_of("nr_kdamonds"), "0") << "nothing was written";
}

/// The command runs where it could not write to the kernel's files even if it tried.
TEST(HeatCommand, OfThisMachineIsRefusedWhileOthersUseDamon) {
  constexpr const char* kNumber = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds";
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mount";
  const auto running = perf::KernelFiles().read_number(kNumber);
  if (!running || *running == 0) GTEST_SKIP() << "nobody uses DAMON here";
  const ToolResult result = run_program(
      {"unshare", "--mount", "sh", "-c", "mount -o remount,bind,ro /sys && exec \"$@\"", "sh",
       shmifperf_path(), "heat", "--backend", "damon", "-p", std::to_string(::getpid())});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("cannot use DAMON: " + std::string(kNumber) + " is " +
                            std::to_string(*running) +
                            ", so somebody else uses it (end that program first; "),
            std::string::npos)
      << result.err;
  EXPECT_EQ(perf::KernelFiles().read_number(kNumber).value(), *running);
}

TEST(HeatCommand, PrintsAMapForPeople) {
  const ToolResult result =
      shmifperf({"heat", "--windows", "2", "--attrs", kHeatAttributes, "--",
                 in_build("tests/perf/heat_target"), "200", "0", "100", "read"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("share of the samples with an access"), std::string::npos);
  EXPECT_NE(result.out.find("working set, percentiles"), std::string::npos) << result.out;
  for (const std::string& line : lines_of(result.out)) EXPECT_LE(line.size(), 200U) << line;
}

TEST(HeatCommand, EndsAsItsProgramDoesHoweverShortThatIs) {
  const auto status = [](const std::string& script) {
    return shmifperf({"heat", "--", "sh", "-c", script}).status;
  };
  const ToolResult shortest = shmifperf({"heat", "--", "true"});
  EXPECT_EQ(shortest.status, 0) << shortest.err;
  EXPECT_EQ(status("exit 42"), 42);
  EXPECT_EQ(status("sleep 0.3; exit 7"), 7);
  EXPECT_EQ(status("kill -9 $$"), 128 + 9);
}

TEST(HeatCommand, RefusesAttributesAndTargetsAsAWhole) {
  const auto status = [](std::vector<std::string> words) {
    words.insert(words.begin(), "heat");
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.status;
  };
  EXPECT_EQ(status({}), 2);
  EXPECT_EQ(status({"-p", "1", "--attrs", "1,2,3,4"}), 2);
  EXPECT_EQ(status({"-p", "1", "--attrs", "5000,100000,1000000,10,1000 on"}), 2);
  EXPECT_EQ(status({"-p", "1,x"}), 2);
  EXPECT_EQ(status({"-p", "1,"}), 2);
  EXPECT_EQ(status({"-p", "4194304"}), 1) << "no such process";
  EXPECT_EQ(status({"-p", "1", "--", "true"}), 2);
  EXPECT_EQ(status({"-p", "1", "--backend", "guess"}), 2);
  EXPECT_EQ(status({"--", "no-such-program-anywhere"}), 127);
}

TEST(HeatCommand, SaysWhichOptionsDoNotGoTogether) {
  const std::string pid = std::to_string(::getpid());
  const auto why = [](Words words) {
    words.insert(words.begin(), "heat");
    const ToolResult result = shmifperf(std::move(words));
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_EQ(result.out, "");
    return result.err;
  };
  const std::string names = "--bus cannot be given with -p or a program";
  const std::string takes_part = "--bus needs processes that take part";
  for (const auto& [words, text] : std::vector<std::pair<Words, std::string>>{
           {{"--bus", "/none", "-p", pid}, names},
           {{"--bus", "/none", "--", "true"}, names},
           {{"--bus", "/none", "--backend", "damon"}, takes_part},
           {{"--bus", "/none", "--backend", "clear_refs"}, takes_part},
           {{"-p", pid, "--backend", "written"}, "--backend written is for a program"},
           {{"--on", "-p", pid, "--backend", "written"}, "--backend written is for a program"},
           {{"-p", pid, "--budget", "0"}, "--budget"},
           {{"-p", pid, "--ops", "vaddr"}, "--ops and --ranges are for --backend damon"},
           {{"-p", pid, "--windows", "0"}, "--windows"},
           {{"-p", pid, "--windows", "1000001"}, "--windows"},
           {{"-p", pid, "--backend", "o"}, "--backend: \"o\" is not a backend"},
           {{"-p", pid, "--attrs", "0,1,1,3,3"}, "--attrs: an interval cannot be 0"}}) {
    EXPECT_NE(why(words).find(text), std::string::npos) << why(words);
  }
  EXPECT_EQ(shmifperf({"heat", "--bus", "/none"}).status, 1) << "there is no such bus";
}

TEST(HeatCommand, TellsItsProgramTheDirectoryThatWasGiven) {
  const TempDir dir;
  const ToolResult result = shmifperf({"heat", "--backend", "clear_refs", "--clients", dir.path(),
                                       "--", "sh", "-c", "echo \"in $SHMIF_HEAT.\" >&2"});
  EXPECT_NE(result.err.find("in " + dir.path() + ".\n"), std::string::npos) << result.err;
}

TEST(HeatCommand, ThatIsEndedBeforeItsFirstLookSaysSo) {
  Tool heat(shmifperf_words({"heat", "--backend", "clear_refs", "--attrs", "1h,1h,1h,3,100", "--",
                             "sh", "-c", "echo begun >&2; exec sleep 600"}));
  ASSERT_TRUE(heat.wait_for("begun"));
  heat.signal(SIGINT);
  const ToolResult result = heat.finish();
  EXPECT_NE(result.err.find(" was not measured: the watch ended before the first sample\n"),
            std::string::npos)
      << result.err;
}

TEST(HeatCommand, EndsAfterAsManyWindowsAsWereWanted) {
  Tool watched({"sleep", "600"});
  const ToolResult result =
      shmifperf({"heat", "-p", std::to_string(watched.pid()), "--backend", "clear_refs", "--attrs",
                 "1ms,2ms,1s,3,10", "--windows", "3", "--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["windows"].size(), 3U);
  EXPECT_EQ(json["partial"], false);
  EXPECT_EQ(json["attrs"], "1000,2000,1000000,3,10");
  EXPECT_EQ(json["target"]["pid"], watched.pid());
  EXPECT_EQ(::kill(watched.pid(), 0), 0) << "it is left alone";
  watched.signal(SIGKILL);
  watched.finish();
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
  EXPECT_EQ(plain.out.find('\x1b'), std::string::npos) << plain.out;
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
}

TEST_F(HeatMonitorCommand, ShowsTheKernelThreadOfDamon) {
  const perf::test::FakeDamonTree kernel;
  std::filesystem::create_directory_symlink("/proc", kernel.root() + "/proc");
  kernel.put("0/pid", "4711");
  kernel.put_region(0, 4096, 8192, 20, 1);
  const std::string pid = std::to_string(::getpid());
  ASSERT_EQ(heat({"--on", "-p", pid, "--attrs", "10ms,20ms,1s,3,100", "--backend", "damon",
                  "--sysroot", kernel.root()})
                .status,
            0);
  ASSERT_TRUE(eventually([&] { return status()["targets"][0]["windows"] >= 1; }));
  const ToolResult text = heat({"--show"});
  EXPECT_NE(text.out.find("kdamond: process 4711"), std::string::npos) << text.out;
  const Json json = Json::parse(heat({"--show", "--json"}).out, nullptr, false);
  EXPECT_EQ(json["target"]["kdamond_pid"], 4711);
  EXPECT_EQ(json["target"]["source"], "damon");
  EXPECT_EQ(heat({"--off"}).status, 0);
  EXPECT_TRUE(eventually([&] { return kernel.line_of("nr_kdamonds") == "0"; }));
}

TEST(HeatCommand, ConcludesFirstInColourOnATerminalUnlessTheUserWantsNone) {
  for (const bool none : {false, true}) {
    const std::string wish = none ? "NO_COLOR=1" : "NO_COLOR=";
    // On a slow machine, standard error says first that samples are costly.
    OnTerminal terminal(
        {"sh", "-c", R"(exec "$0" "$@" 2>/dev/null)", "env", "TERM=xterm", wish, shmifperf_path(),
         "heat", "--windows", "1", "--attrs", "10ms,20ms,1s,3,100", "--backend", "clear_refs", "-p",
         std::to_string(::getpid())},
        100, 40);
    EXPECT_EQ(terminal.status(), 0) << terminal.seen;
    EXPECT_TRUE(terminal.seen.starts_with(none ? "process " : "\x1b[1mprocess ")) << terminal.seen;
    EXPECT_EQ(terminal.seen.find('\x1b') == std::string::npos, none) << terminal.seen;
  }
}

TEST_F(HeatMonitorCommand, OutlivesTheCommandsAndIsOffWhenItHasDied) {
  EXPECT_EQ(status()["state"], "off") << "there is none";
  EXPECT_EQ(heat({"--off"}).status, 0);
  EXPECT_EQ(heat({"--show"}).status, 1);
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
  EXPECT_EQ(refused.err,
            "shmifperf: cannot change settings: the monitor of access heat is on (end it with "
            "--off first)\n");
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

TEST_F(HeatMonitorCommand, EndsForItsUserEvenWhileALookGoesOn) {
  Tool sleeper({"sleep", "600"});
  perf::test::HeldTarget target(sleeper.pid());
  const std::string pid = std::to_string(sleeper.pid());
  const Words on{
      "--on",      "-p",         pid, "--backend", "clear_refs", "--attrs", "10ms,20ms,1s,3,100",
      "--sysroot", target.root()};
  ASSERT_EQ(heat(on).status, 0);
  ASSERT_TRUE(eventually([&] { return status()["targets"][0]["windows"] >= 1; }));
  target.hold();
  ASSERT_TRUE(target.wait_until_held());
  EXPECT_EQ(status()["state"], "on") << "status does not wait for the look";
  EXPECT_EQ(heat({"--forget"}).status, 0);
  // Settings and targets are gone, and a new monitor may begin, although the old look still waits.
  EXPECT_TRUE(eventually([&] { return status()["targets"].empty(); }));
  const ToolResult again = heat({"--set", "-p", pid, "--sysroot", target.root()});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(status()["targets"].size(), 1U);
  target.release();
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

TEST_F(HeatMonitorCommand, AnswersOnATerminalOfAnyWidth) {
  ASSERT_EQ(heat({"--set", "-p", std::to_string(::getpid())}).status, 0);
  for (const unsigned short columns : std::vector<unsigned short>{1, 1500}) {
    OnTerminal terminal({shmifperf_path(), "heat", "--show", "--control", dir_.file("control")},
                        columns, 40);
    EXPECT_EQ(terminal.status(), 0) << terminal.seen;
  }
}

TEST_F(HeatMonitorCommand, DoesNotStayIfItHasNothingToDo) {
  const ToolResult result = heat({"--on"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("target"), std::string::npos) << result.err;
  EXPECT_TRUE(eventually([&] { return monitor() == -1; }));
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

TEST(HeatMonitorInTmp, LeavesNothingThereWhereTheUserHasNoDirectoryForIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has a /tmp of its own";
  // The folder is there when the monitor answers, and goes with the monitor.
  const std::string script =
      R"(mount --bind "${0%/*}" /mnt &&  # the program may be below /tmp itself
         mount -t tmpfs none /tmp && folder=/tmp/shmif-heat-$(id -u) && cd /mnt &&
         ./shmifperf heat --status && ls -A /tmp && ./shmifperf heat --set -p $$ &&
         ls -A /tmp $folder && ./shmifperf heat --forget &&
         while [ -e $folder ]; do sleep 0.05; done && ls -A /tmp && echo end)";
  const ToolResult result = run_program(
      {"env", "-u", "XDG_RUNTIME_DIR", "unshare", "--mount", "sh", "-c", script, shmifperf_path()});
  EXPECT_FALSE(result.timed_out) << "the folder stays";
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("shmif-heat-0\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("control\n"), std::string::npos) << result.out;
  EXPECT_TRUE(result.out.ends_with("end\n")) << result.out;
}

TEST_F(HeatMonitorCommand, TakesNoFileOfTheUserForItsSocket) {
  ASSERT_EQ(::mkdir(dir_.file("control").c_str(), 0700), 0);
  std::ofstream(dir_.file("control/control")) << "mine";
  const ToolResult result = heat({"--on", "-p", std::to_string(::getpid())});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("that file is no socket"), std::string::npos) << result.err;
  EXPECT_EQ(std::filesystem::file_size(dir_.file("control/control")), 4U);
}

TEST_F(HeatMonitorCommand, MayHaveADirectoryBelowTheWorkingDirectory) {
  Tool sleeper({"sleep", "600"});
  const std::string command =
      R"(cd "$1" && "$2" heat --control control --set -p "$3" &&
         "$2" heat --control control --status)";
  const ToolResult result = run_program(
      {"sh", "-c", command, "sh", dir_.path(), shmifperf_path(), std::to_string(sleeper.pid())});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(status()["targets"].size(), 1U);
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

TEST_F(HeatMonitorCommand, RefusesWhatItCannotTake) {
  for (const Words& words : std::vector<Words>{{"--on", "--off"},
                                               {"--on", "o"},
                                               {"--on", "-p", "1,x"},
                                               {"--on", "-p", "1", "--windows", "3"},
                                               {"--on", "--attrs", "1,2,3,4"},
                                               {"--status", "-p", "1"},
                                               {"--off", "--attrs", "5000,100000,1000000,10,1000"},
                                               {"--on", "--backend", "o"}}) {
    const ToolResult result = heat(words);
    EXPECT_EQ(result.status, 2) << words.back();
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  std::filesystem::create_directory(dir_.file("control"));
  ASSERT_EQ(::chmod(dir_.file("control").c_str(), 0755), 0);
  const ToolResult open = heat({"--status"});
  EXPECT_EQ(open.status, 1);
  EXPECT_NE(open.err.find("no other may use"), std::string::npos) << open.err;
  std::filesystem::remove(dir_.file("control"));
}

}  // namespace
}  // namespace shmif::test
