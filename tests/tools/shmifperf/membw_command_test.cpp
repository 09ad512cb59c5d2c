// shmifperf membw, as people run it.

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "shmif/port.hpp"
#include "tests/perf/membw/trees.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

using perf::test::put_imc;
using perf::test::Tree;

/// `shmifperf membw` with short times.
Words membw_words(const Words& options) {
  Words words{"membw", "--settle", "0", "--window", "50ms"};
  words.insert(words.end(), options.begin(), options.end());
  return words;
}
ToolResult membw(const Words& options) {
  return shmifperf(membw_words(options));
}
/// The source of this label in JSON.
Json source_in(const Json& json, const std::string& source, const std::string& part = {}) {
  for (const Json& each : json["sources"]) {
    const std::string its = each["part"].is_null() ? "" : each["part"].get<std::string>();
    if (each["source"] == source && its == part) return each;
  }
  return {};
}

TEST(MembwCommand, MeasuresWhatAProgramReadsAndWrites) {
  const TempDir dir;
  const std::string path = dir.file("membw.json");
  // A program may get no CPU for the whole of a shorter window.
  const ToolResult result =
      shmifperf({"membw", "--settle", "0", "--window", "1s", "--json", "-o", path, "--source",
                 "software", "--samples", "2", "--", "sh", "-c",
                 "while :; do head -c 100000 /dev/zero > /dev/null; done"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = json_of_file(path);
  const Json io = source_in(json, "software", "io");
  EXPECT_EQ(io["scope"], "group");
  EXPECT_EQ(io["level"], "copied");
  EXPECT_EQ(io["samples"], 2);
  EXPECT_GE(io["window_s"], 0.1);
  EXPECT_GT(io["read_bytes_per_s"], 0);
  EXPECT_GT(io["write_bytes_per_s"], 0);
  EXPECT_TRUE(io["reason"].is_null()) << io;
  EXPECT_EQ(io["running_share"], 1);
  EXPECT_FALSE(source_in(json, "software", "devices").empty());
  EXPECT_EQ(json["sources"].size(), 2U);
  EXPECT_EQ(json["samples"].size(), 2U);
  EXPECT_EQ(json["partial"], false);
}

TEST(MembwCommand, CountsWhatPortsOfABusWrote) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  Tool tool(shmifperf_words(
      membw_words({"--json", "--source", "software", "--bus", bus.path(), "--samples", "3"})));
  const auto frame = make_frame(1000, 1);
  const FrameView view{frame};
  std::atomic<bool> stop = false;
  std::thread sending([&] {
    while (!stop) {
      static_cast<void>(sender.send({&view, 1}));
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  const ToolResult result = tool.finish();
  stop = true;
  sending.join();
  EXPECT_EQ(result.status, 0) << result.err;
  const Json bus_part = source_in(Json::parse(result.out, nullptr, false), "software", "bus");
  EXPECT_EQ(bus_part["origin"], bus.path());
  EXPECT_GT(bus_part["write_bytes_per_s"], 0) << bus_part;
  EXPECT_EQ(bus_part["read_bytes_per_s"], 0.0) << "no other port listens";
}

TEST(MembwCommand, SaysOfEachSourceWhyThisMachineCannotMeasureIt) {
  const Tree tree;  // a machine without anything
  tree.put("/proc/mounts", "proc /proc proc rw 0 0\n");
  const ToolResult result = membw({"--sysroot", tree.path(), "--compare"});
  EXPECT_EQ(result.status, 77) << result.err;
  for (const std::string& line :
       Words{"pmu: the kernel describes no PMUs: ", "resctrl: no resctrl in ",
             "software:devices: cannot open " + tree.path() + "/proc/net/dev",
             "pmu and resctrl: not measured (pmu has no total: ",
             "pmu and software:devices: not comparable (software:devices counts copied bytes"}) {
    EXPECT_NE(result.out.find('\n' + line), std::string::npos) << line << '\n' << result.out;
  }
}

TEST(MembwCommand, OpensNoCountersForTheTreeOfAnotherMachine) {
  const Tree tree;
  put_imc(tree, 0);
  const ToolResult result = membw({"--sysroot", tree.path(), "--source", "pmu", "--json"});
  EXPECT_EQ(result.status, 77);
  const Json pmu = source_in(Json::parse(result.out, nullptr, false), "pmu");
  EXPECT_TRUE(pmu["total_bytes_per_s"].is_null());
  EXPECT_EQ(pmu["reason"], "the memory controllers are described in " + tree.path() +
                               "/sys: counters of another machine cannot be opened here");
}

TEST(MembwCommand, LooksForTheControllersOfOneSocketOnly) {
  const Tree tree;
  put_imc(tree, 0);
  perf::test::put_sockets(tree);
  const ToolResult result =
      membw({"--sysroot", tree.path(), "--source", "pmu", "--socket", "7", "--json"});
  EXPECT_EQ(result.status, 77);
  const Json pmu = source_in(Json::parse(result.out, nullptr, false), "pmu");
  EXPECT_EQ(pmu["reason"], "no memory controller belongs to socket 7");
}

TEST(MembwCommand, ReadsTheGroupsOfARecordedTree) {
  const Tree tree;
  const std::string root = "/sys/fs/resctrl/";
  tree.put("/proc/mounts", "resctrl /sys/fs/resctrl resctrl rw 0 0\n");
  tree.put(root + "info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n");
  tree.put(root + "tasks", "");
  for (const char* domain : {"mon_L3_00", "mon_L3_01"}) {
    tree.put(root + "mon_data/" + domain + "/mbm_total_bytes", "5000\n");
  }
  const auto total = [&] {
    const ToolResult result = membw({"--sysroot", tree.path(), "--source", "resctrl", "--json"});
    return source_in(Json::parse(result.out, nullptr, false), "resctrl");
  };
  EXPECT_EQ(total()["total_bytes_per_s"], 0.0) << "nothing grows in a recorded tree";
  EXPECT_EQ(total()["scope"], "machine");
  tree.put(root + "mon_data/mon_L3_01/mbm_total_bytes", "Unavailable\n");
  EXPECT_TRUE(total()["total_bytes_per_s"].is_null());
  EXPECT_NE(total()["reason"].get<std::string>().find("mon_L3_01/mbm_total_bytes was Unavailable"),
            std::string::npos);
  const Words words{"--sysroot", tree.path(), "--source", "resctrl"};
  EXPECT_EQ(membw(words).status, 1) << "there was time, and no value";
}

TEST(MembwCommand, HasTheExitCodeOfTheProgramAndSaysWhyItCannotStart) {
  EXPECT_EQ(membw({"--", "sh", "-c", "exit 7"}).status, 7);
  const ToolResult none = membw({"--json", "--", "/nonexistent/program"});
  EXPECT_EQ(none.status, 127);
  EXPECT_EQ(none.out, "") << "no window was opened";
  EXPECT_EQ(none.err.find("shmifperf: cannot run /nonexistent/program: "), 0U) << none.err;
  const TempDir dir;
  std::ofstream(dir.file("text")) << "no program";
  EXPECT_EQ(membw({"--", dir.file("text")}).status, 126);
}

TEST(MembwCommand, OfAProgramThatSucceedsSaysByItsExitCodeWhetherThereCouldBeFigures) {
  const Tree tree;
  put_imc(tree, 0);
  const auto code = [](Words options, const Words& target) {
    options.insert(options.begin(), {"membw", "--window", "50ms"});
    options.insert(options.end(), target.begin(), target.end());
    return shmifperf(options).status;
  };
  const auto script = [](const char* text) { return Words{"--", "sh", "-c", text}; };
  const Words elsewhere{"--sysroot", tree.path(), "--source", "pmu", "--settle", "0"};
  EXPECT_EQ(code(elsewhere, script("exit 0")), 77) << "nothing can be measured, ever";
  EXPECT_EQ(code(elsewhere, script("sleep 0.5")), 77);
  EXPECT_EQ(code(elsewhere, script("exit 7")), 7) << "its own failure comes first";
  const Words here{"--source", "software", "--settle", "600"};
  EXPECT_EQ(code(here, script("exit 0")), 0) << "it was too short";
  EXPECT_EQ(code(here, script("exit 7")), 7);
}

TEST(MembwCommand, EndsTheProgramAndAllThatItStarted) {
  const TempDir dir;
  for (const int signal : {0, SIGINT, SIGTERM, SIGHUP}) {
    const std::string pids = dir.file("pids" + std::to_string(signal));
    Words words = membw_words({"--json", "--program-output", pids});
    if (signal == 0) words.insert(words.end(), {"--samples", "1"});
    words.insert(words.end(), {"--", "sh", "-c", "sleep 601 & echo $$ $!; wait"});
    Tool tool(shmifperf_words(words));
    ASSERT_TRUE(eventually([&] { return text_of_file(pids).ends_with('\n'); }));
    if (signal != 0) tool.signal(signal);
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.status, signal == 0 ? 0 : 128 + signal) << result.err;
    EXPECT_EQ(Json::parse(result.out, nullptr, false)["partial"], signal != 0) << result.out;
    std::istringstream numbers(text_of_file(pids));
    for (pid_t pid = 0; numbers >> pid;) {
      EXPECT_TRUE(eventually([&] {
        const std::string stat = text_of_file("/proc/" + std::to_string(pid) + "/stat");
        return stat.empty() || stat.find(") Z ") != std::string::npos;
      })) << pid;
    }
  }
}

TEST(MembwCommand, WatchesAProcessThatRunsAndLeavesItRunning) {
  Tool other({"sleep", "601"});
  const ToolResult result = membw(
      {"--json", "--source", "software", "--samples", "1", "-p", std::to_string(other.pid())});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json io = source_in(Json::parse(result.out, nullptr, false), "software", "io");
  EXPECT_EQ(io["total_bytes_per_s"], 0.0) << io;
  EXPECT_EQ(::kill(other.pid(), 0), 0);
}

TEST(MembwCommand, RunsTheBuiltInLoad) {
  const ToolResult result = membw({"--json", "--load", "fill", "--samples", "1", "--cpu", "0"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  EXPECT_EQ(json["samples"].size(), 1U);
  EXPECT_EQ(source_in(json, "software", "io")["scope"], "group");
  const ToolResult alone = shmifperf({"membw", "--fill", "10ms"});
  EXPECT_EQ(alone.status, 0) << alone.err;
  EXPECT_EQ(alone.out.find("filled "), 0U) << alone.out;
}

TEST(MembwCommand, HasTheLoadsOwnFigureWhateverTheMachineCannotMeasure) {
  const Tree tree;  // a machine without anything
  tree.put("/proc/mounts", "proc /proc proc rw 0 0\n");
  Json load;
  // A busy machine may need a longer window for a round of the load.
  for (const char* const window : {"500ms", "4", "15"}) {
    const ToolResult result =
        shmifperf({"membw", "--json", "--sysroot", tree.path(), "--load", "fill", "--samples", "1",
                   "--settle", "0", "--window", window});
    EXPECT_EQ(result.status, 0) << result.err;
    const Json json = Json::parse(result.out, nullptr, false);
    EXPECT_TRUE(source_in(json, "pmu")["total_bytes_per_s"].is_null());
    load = source_in(json, "software", "load");
    if (load["total_bytes_per_s"].is_number()) break;
    EXPECT_NE(load["reason"].get<std::string>().find("take a longer --window"), std::string::npos)
        << load;
  }
  EXPECT_EQ(load["origin"], "the load's own count");
  EXPECT_EQ(load["scope"], "group");
  EXPECT_EQ(load["level"], "copied");
  ASSERT_TRUE(load["total_bytes_per_s"].is_number()) << load;
  const double read = load["read_bytes_per_s"];
  const double written = load["write_bytes_per_s"];
  EXPECT_GT(written, 0);
  EXPECT_GE(written, read) << "of three bytes, one is read";
  EXPECT_NEAR(load["total_bytes_per_s"].get<double>(), read + written, 1);
  const ToolResult other = membw({"--json", "--source", "software", "--samples", "1"});
  EXPECT_TRUE(source_in(Json::parse(other.out, nullptr, false), "software", "load").empty());
}

TEST(MembwCommand, HandsTheSettingsOfTheLoadToIt) {
  const Tree tree;  // a machine without anything
  tree.put("/proc/mounts", "proc /proc proc rw 0 0\n");
  Json load;
  // A busy machine may need a longer window for a part of a round.
  for (const char* const window : {"500ms", "4", "15"}) {
    const ToolResult result = shmifperf({"membw", "--json", "--sysroot", tree.path(), "--load",
                                         "fill:size=20M,op=read,flush", "--samples", "1",
                                         "--settle", "0", "--window", window});
    EXPECT_EQ(result.status, 0) << result.err;
    load = source_in(Json::parse(result.out, nullptr, false), "software", "load");
    if (load["total_bytes_per_s"].is_number()) break;
  }
  ASSERT_TRUE(load["total_bytes_per_s"].is_number()) << load;
  EXPECT_GT(load["read_bytes_per_s"], 0);
  EXPECT_EQ(load["write_bytes_per_s"], 0.0) << "it only reads";
  const ToolResult once =
      shmifperf({"membw", "--fill", "1h", "--load", "fill:size=1M,op=write,once"});
  EXPECT_EQ(once.status, 0) << once.err;
  EXPECT_NE(once.out.find("with 1.00 MiB each"), std::string::npos) << once.out;
  const ToolResult large = membw({"--load", "fill:size=1000T"});
  EXPECT_EQ(large.status, 1);
  EXPECT_NE(large.err.find("cannot fill 1024000g in each of "), std::string::npos) << large.err;
  EXPECT_EQ(large.out, "");
}

TEST(MembwCommand, MeasuresTheSingleRoundOfALoadFromBeginToEnd) {
  const ToolResult result = shmifperf({"membw", "--json", "--settle", "0", "--load",
                                       "fill:size=250M,op=read,once,flush", "--window", "10ms"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  const Json load = source_in(json, "software", "load");
  EXPECT_EQ(load["samples"], 1);
  ASSERT_TRUE(load["read_bytes_per_s"].is_number()) << load;
  EXPECT_EQ(load["write_bytes_per_s"], 0.0) << "it only reads";
  ASSERT_EQ(json["samples"].size(), 1U);
  EXPECT_EQ(json["samples"][0]["number"], 0) << "no sample was dropped";
  EXPECT_FALSE(json["partial"]);
  // All threads together have read their buffers; each rate is of its thread's own time, which is
  // at most the window.
  constexpr double kBytes = 250.0 * (1U << 20U);
  EXPECT_GE(load["read_bytes_per_s"].get<double>() * load["window_s"].get<double>(), kBytes);
}

TEST(MembwCommand, RefusesSeveralSamplesOfASingleRound) {
  const auto refused = [](const Words& options) {
    Words words{"--load", "fill:size=64k,once"};
    words.insert(words.end(), options.begin(), options.end());
    const ToolResult result = membw(words);
    EXPECT_EQ(result.status, 2);
    return result.err;
  };
  const std::string why =
      "with \"once\" the load makes one round, which is the only sample (leave out \"once\")";
  EXPECT_NE(refused({"--samples", "2"}).find("--samples: " + why), std::string::npos);
  EXPECT_NE(
      refused({"--sweep", "MB:0=20..10/10"}).find("--sweep needs more than one sample, and " + why),
      std::string::npos);
  EXPECT_NE(refused({"--interval", "2s"}).find("--interval needs more than one sample, and " + why),
            std::string::npos);
  EXPECT_EQ(membw({"--load", "fill:size=64k,once", "--samples", "1"}).status, 0);
}

TEST(MembwCommand, AppendsLinesOfCsvBehindOneHead) {
  const TempDir dir;
  const std::string path = dir.file("membw.csv");
  for (int run = 0; run < 2; ++run) {
    EXPECT_EQ(membw({"--source", "software", "--samples", "2", "--csv", path}).status, 0);
  }
  const auto lines = lines_of(text_of_file(path));
  ASSERT_EQ(lines.size(), 5U) << text_of_file(path);
  EXPECT_EQ(lines[0],
            "sample,source,scope,level,begin_s,window_s,read_bytes_per_s,write_bytes_per_s,"
            "total_bytes_per_s,reason");
  EXPECT_EQ(lines[1].find("1,software:devices,machine,copied,"), 0U) << lines[1];
  EXPECT_EQ(lines[2].find("2,software:devices,machine,copied,"), 0U);
  EXPECT_EQ(lines[3].find("1,software:devices,machine,copied,"), 0U);
  std::ofstream(path) << "sample,other\n";
  const ToolResult other =
      membw({"--source", "software", "--csv", path, "--", "touch", dir.file("measured")});
  EXPECT_FALSE(std::filesystem::exists(dir.file("measured"))) << "nothing was measured in vain";
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.err.find("its first line names other columns (give a new file)"),
            std::string::npos)
      << other.err;
  const ToolResult full = membw({"--source", "software", "--csv", "/dev/full"});
  EXPECT_EQ(full.status, 1);
  EXPECT_NE(full.err.find("cannot append to /dev/full: No space left"), std::string::npos)
      << full.err;
}

TEST(MembwCommand, ComparesTheSocketAndTheCacheOfACpu) {
  const Tree tree;
  put_imc(tree, 0, "0\n");
  perf::test::put_sockets(tree);
  tree.put("/proc/mounts", "proc /proc proc rw 0 0\n");
  const std::string cpu = "/sys/devices/system/cpu/cpu1/";
  tree.put(cpu + "topology/physical_package_id", "6\n");
  tree.put(cpu + "cache/index3/level", "3\n");
  tree.put(cpu + "cache/index3/id", "4\n");
  const Words words{"--sysroot", tree.path(), "--source", "pmu", "--source", "resctrl",
                    "--json",    "--local",   "--cpu",    "1",   "--",       "true"};
  const ToolResult result = membw(words);
  const Json json = Json::parse(result.out, nullptr, false);
  EXPECT_EQ(source_in(json, "pmu")["reason"], "no memory controller belongs to socket 6");
  EXPECT_EQ(source_in(json, "pmu")["scope"], "socket");
  EXPECT_FALSE(source_in(json, "resctrl", "local").empty()) << result.out;
  tree.remove(cpu + "cache");
  EXPECT_NE(membw(words).err.find("CPU 1 has no L3 cache in "), std::string::npos);
}

TEST(MembwCommand, MeasuresNothingIfItCannotWriteWhatItIsToldTo) {
  const TempDir dir;
  const std::string csv = dir.file("a.csv");
  const std::string ran = dir.file("ran");
  EXPECT_EQ(membw({"--source", "software", "--csv", csv}).status, 0);
  const std::string before = text_of_file(csv);
  for (const Words& options :
       {Words{"--csv", csv, "-o", csv}, Words{"--csv", csv, "--pairs-csv", csv, "--compare"},
        Words{"-o", "/nonexistent/file"}}) {
    Words words{"--source", "software"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "touch", ran});
    const ToolResult result = membw(words);
    EXPECT_EQ(result.status, 1) << options.back();
    EXPECT_NE(result.err, "");
    EXPECT_FALSE(std::filesystem::exists(ran)) << options.back();
    EXPECT_EQ(text_of_file(csv), before);
  }
}

TEST(MembwCommand, WithJsonRefusesACsvFileThatIsStandardOutputToo) {
  for (const std::string option : {"--csv", "--pairs-csv"}) {
    const ToolResult result =
        membw({"--source", "software", "--compare", "--json", option, "/dev/stdout"});
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("--json and " + option +
                              " /dev/stdout both need standard output (name another file, by this "
                              "option or by --output)"),
              std::string::npos)
        << result.err;
  }
}

TEST(MembwCommand, RefusesAnEmptyPathBeforeItMeasures) {
  const TempDir dir;
  const std::string measured = dir.file("measured");
  for (const std::string option : {"--csv=", "--pairs-csv=", "--output="}) {
    const ToolResult result =
        membw({"--source", "software", "--compare", option, "--", "touch", measured});
    EXPECT_EQ(result.status, 2) << option;
    EXPECT_NE(result.err.find(option.substr(0, option.size() - 1) + " \"\" is empty (give "),
              std::string::npos)
        << result.err;
    EXPECT_FALSE(std::filesystem::exists(measured)) << option;
  }
}

TEST(MembwCommand, RefusesTwoTextsOnStandardOutputBeforeItMeasures) {
  const TempDir dir;
  const std::string measured = dir.file("measured");
  for (const auto& [options, words] : std::vector<std::pair<Words, std::string>>{
           {{"--csv", "/dev/stdout"}, "the result and --csv /dev/stdout both need standard output"},
           {{"--pairs-csv", "/dev/stdout"},
            "the result and --pairs-csv /dev/stdout both need standard output"},
           {{"--csv", "/dev/stdout", "--pairs-csv", "/dev/stdout", "-o", dir.file("r")},
            "--csv and --pairs-csv both need standard output (give each its own file)"}}) {
    Words line{"--source", "software", "--compare"};
    line.insert(line.end(), options.begin(), options.end());
    line.insert(line.end(), {"--", "touch", measured});
    const ToolResult result = membw(line);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
    EXPECT_FALSE(std::filesystem::exists(measured)) << "in vain";
  }
  const ToolResult alone = membw({"--source", "software", "--csv", "/dev/stdout", "-o",
                                  dir.file("r"), "--", "touch", measured});
  EXPECT_TRUE(alone.out.starts_with("sample,")) << alone.out;
}

TEST(MembwCommand, RefusesOneFileForTwoResultsAndColumnsOfOthersBeforeItMeasures) {
  const TempDir dir;
  const std::string file = dir.file("result");
  const std::string other = dir.file("other.csv");
  const std::string measured = dir.file("measured");
  std::ofstream(other) << "a,b\n";
  for (const Words& options : std::vector<Words>{{"--csv", file, "-o", file},
                                                 {"--csv", file, "--pairs-csv", file},
                                                 {"--pairs-csv", file, "-o", file},
                                                 {"--csv", other},
                                                 {"--pairs-csv", other}}) {
    Words words{"--source", "software", "--compare"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "touch", measured});
    const ToolResult result = membw(words);
    EXPECT_EQ(result.status, 1) << options[0] << options[2 % options.size()] << result.err;
    EXPECT_FALSE(std::filesystem::exists(measured)) << options[0] << ": in vain";
    EXPECT_FALSE(std::filesystem::exists(file)) << options[0];
  }
  EXPECT_EQ(text_of_file(other), "a,b\n");
}

TEST(MembwCommand, IsTheLoadOnAllCpusThatItMayUse) {
  const ToolResult one = run_program({"taskset", "-c", "0", shmifperf_path(), "membw", "--fill",
                                      "1ms", "--load", "fill:size=64k"});
  EXPECT_NE(one.out.find(" by 1 threads, with 64.0 KiB each\n"), std::string::npos) << one.out;
  const ToolResult none = shmifperf({"membw", "--fill", "1ms", "--fill-counts", "/nonexistent"});
  EXPECT_EQ(none.status, 1);
  EXPECT_EQ(none.err, "shmifperf: cannot open /nonexistent: No such file or directory\n");
}

TEST(MembwCommand, KeepsAsManySamplesAsItSays) {
  const auto kept = [](const Words& options) {
    Words words{"membw", "--json", "--settle", "0", "--window", "10ms", "--source", "software"};
    words.insert(words.end(), options.begin(), options.end());
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out, nullptr, false);
  };
  const Json machine = kept({});
  EXPECT_EQ(machine["samples"].size(), 1U);
  EXPECT_EQ(machine["report"], "total");
  EXPECT_TRUE(machine["comparisons"].empty()) << "nobody asked for them";
  EXPECT_EQ(machine["sources"].size(), 1U) << "the devices alone";
  const Json load = kept({"--load", "fill:size=64k", "--compare", "--report", "writes"});
  EXPECT_EQ(load["samples"].size(), 5U);
  EXPECT_EQ(load["report"], "writes");
  const Json both = kept({"--samples", "2", "--compare", "--load", "fill:size=64k"});
  EXPECT_EQ(both["samples"].size(), 2U);
  ASSERT_EQ(both["comparisons"].size(), 3U);
  EXPECT_EQ(both["comparisons"][0]["first"], "software:load");
  EXPECT_EQ(both["comparisons"][0]["second"], "software:io");
  EXPECT_EQ(both["comparisons"][2]["second"], "software:devices");
  EXPECT_TRUE(both["samples"][0]["pairs"].is_array());
}

TEST(MembwCommand, RefusesWhatItCannotUnderstand) {
  expect_wrong_lines("membw", {{{"--source", "dram"}, "--source \"dram\" is not known"},
                               {{"--report", "bytes"}, "--report \"bytes\" is not known"},
                               {{"--load", "copy"}, "--load \"copy\" is not a load"},
                               {{"--load", "fill:op=x"}, "op must be read, write or copy"},
                               {{"--load", "fill", "-p", "1"}, "exclude each other"},
                               {{"-p", "1", "--", "true"}, "exclude each other"},
                               {{"-p", "1x"}, "\"1x\" is not the number of a process"},
                               {{"--samples", "0"}, "--samples"},
                               {{"--window", "1ms"}, "--window: it must be 10ms to 1h"},
                               {{"--window", "9999us"}, "--window: it must be 10ms to 1h"},
                               {{"--window", "3601s"}, "--window: it must be 10ms to 1h"},
                               {{"--settle", "3601s"}, "--settle: it must be at most 1h"},
                               {{"--interval", "2h"}, "--interval: it must be at most 1h"},
                               {{"--samples", "1000001"}, "--samples"},
                               {{"--socket", "65536"}, "--socket"},
                               {{"--report", ""}, "--report \"\" is empty"},
                               {{"--fill", "1ms", "--load", "x"}, "--load \"x\" is not a load"},
                               {{"--report", "reads"}, "--report needs --compare or --sweep"},
                               {{"--floor", "1M"}, "--floor needs --compare or --sweep"},
                               {{"--control-group", "g1"}, "--control-group needs a program"},
                               {{"--mount", "--sysroot", "/"}, "--mount is for this machine"}});
  for (const char* const group : {"a/b", ".", "..", "info", "mon_groups", "mon_data", "mon_groups/",
                                  "g1/mon_groups/", "g1/mon_groups/..", "g1/mon_groups/a/b"}) {
    expect_wrong_lines("membw",
                       {{{"--control-group", group, "-p", "1"}, "is not a group (write a name"}});
  }
}

}  // namespace
}  // namespace shmif::test
