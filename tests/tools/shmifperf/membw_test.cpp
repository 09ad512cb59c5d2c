// shmifperf membw, as people run it.

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "shmif/port.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"
#include "tools/shmifperf/membw_output.hpp"

namespace shmif::test {
namespace {

using perf::test::put_imc;
using perf::test::Tree;

/// `shmifperf membw` with short times.
Words membw_words(const Words& options) {
  return Words{"membw", "--settle", "0", "--window", "50ms"} + options;
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
void put_no_mounts(const Tree& tree) {
  tree.put("/proc/mounts", "proc /proc proc rw 0 0\n");
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
  EXPECT_EQ(json["sources"].size(), 2U) << "the devices, too";
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
  const Json bus_part = source_in(parsed(result), "software", "bus");
  EXPECT_EQ(bus_part["origin"], bus.path());
  EXPECT_GT(bus_part["write_bytes_per_s"], 0) << bus_part;
  EXPECT_EQ(bus_part["read_bytes_per_s"], 0.0) << "no other port listens";
}

TEST(MembwCommand, SaysOfEachSourceWhyThisMachineCannotMeasureIt) {
  const Tree tree;  // a machine without anything
  put_no_mounts(tree);
  const ToolResult none = membw({"--sysroot", tree.path(), "--compare"});
  EXPECT_EQ(none.status, 77) << none.err;
  for (const std::string line :
       {"pmu: the kernel describes no PMUs: ", "resctrl: no resctrl in ",
        "software:devices: cannot open ", "pmu and resctrl: not measured (pmu has no total: ",
        "pmu and software:devices: not comparable (software:devices counts copied bytes"}) {
    EXPECT_TRUE(has(none.out, '\n' + line)) << line << '\n' << none.out;
  }
  // The counters of another machine cannot be opened, and one CPU has one socket and one cache.
  put_imc(tree, 0, "0\n");
  perf::test::put_sockets(tree);
  const std::string cpu = "/sys/devices/system/cpu/cpu1/";
  tree.put(cpu + "topology/physical_package_id", "6\n");
  tree.put(cpu + "cache/index3/level", "3\n");
  tree.put(cpu + "cache/index3/id", "4\n");
  const Words pmu{"--sysroot", tree.path(), "--source", "pmu", "--json"};
  const ToolResult other = membw(pmu);
  EXPECT_EQ(other.status, 77);
  const std::string why = source_in(parsed(other), "pmu")["reason"];
  EXPECT_TRUE(has(why, "counters of another machine")) << why;
  const Words one_cpu = pmu + Words{"--source", "resctrl", "--local", "--cpu", "1", "--", "true"};
  const Json json = parsed(membw(one_cpu));
  EXPECT_EQ(source_in(json, "pmu")["reason"], "no memory controller belongs to socket 6");
  EXPECT_EQ(source_in(json, "pmu")["scope"], "socket");
  EXPECT_FALSE(source_in(json, "resctrl", "local").empty()) << json;
  tree.remove(cpu + "cache");
  EXPECT_TRUE(has(membw(one_cpu).err, "CPU 1 has no L3 cache in "));
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
  const Words words{"--sysroot", tree.path(), "--source", "resctrl", "--json"};
  const Json still = source_in(parsed(membw(words)), "resctrl");
  EXPECT_EQ(still["total_bytes_per_s"], 0.0) << "nothing grows in a recorded tree";
  EXPECT_EQ(still["scope"], "machine");
  tree.put(root + "mon_data/mon_L3_01/mbm_total_bytes", "Unavailable\n");
  const ToolResult none = membw(words);
  EXPECT_EQ(none.status, 1) << "there was time, and no value";
  const Json unavailable = source_in(parsed(none), "resctrl");
  EXPECT_TRUE(unavailable["total_bytes_per_s"].is_null());
  EXPECT_TRUE(has(unavailable["reason"], "mon_L3_01/mbm_total_bytes was Unavailable"));
}

TEST(MembwCommand, HasTheExitCodeOfTheProgramOrSaysWhetherThereCouldBeFigures) {
  const Tree tree;
  put_imc(tree, 0);
  const TempDir dir;
  std::ofstream(dir.file("text")) << "no program";
  const Words elsewhere{"--sysroot", tree.path(), "--source", "pmu"};
  const Words here{"--source", "software"};
  for (const auto& [options, program, status] : std::vector<std::tuple<Words, Words, int>>{
           {elsewhere, {"sh", "-c", "exit 0"}, 77},  // nothing can be measured, ever
           {elsewhere, {"sleep", "0.5"}, 77},
           {elsewhere, {"sh", "-c", "exit 7"}, 7},
           {here, {"sh", "-c", "exit 0"}, 0},  // it was too short
           {here, {"sh", "-c", "exit 7"}, 7},
           {{}, {"/nonexistent/program"}, 127},
           {{}, {dir.file("text")}, 126}}) {
    const ToolResult result =
        shmifperf(Words{"membw", "--settle", "600"} + options + Words{"--"} + program);
    EXPECT_EQ(result.status, status) << program.back() << result.err;
    EXPECT_EQ(has(result.err, "cannot run " + program[0]), status == 126 || status == 127);
  }
}

TEST(MembwCommand, EndsTheProgramAndAllThatItStarted) {
  const TempDir dir;
  for (const int signal : {0, SIGINT, SIGTERM, SIGHUP}) {
    const std::string pids = dir.file("pids" + std::to_string(signal));
    Words words = membw_words({"--json", "--program-output", pids});
    if (signal == 0) words = words + Words{"--samples", "1"};
    Tool tool(shmifperf_words(words + Words{"--", "sh", "-c", "sleep 601 & echo $$ $!; wait"}));
    ASSERT_TRUE(eventually([&] { return text_of_file(pids).ends_with('\n'); }));
    if (signal != 0) tool.signal(signal);
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.status, signal == 0 ? 0 : 128 + signal) << result.err;
    EXPECT_EQ(parsed(result)["partial"], signal != 0) << result.out;
    std::istringstream numbers(text_of_file(pids));
    for (pid_t pid = 0; numbers >> pid;) {
      EXPECT_TRUE(eventually([&] {
        const std::string stat = text_of_file("/proc/" + std::to_string(pid) + "/stat");
        return stat.empty() || has(stat, ") Z ");
      })) << pid;
    }
  }
}

/// The load's own figures. A busy machine may need a longer window for a round of it.
Json load_of(const Words& options, const char* load) {
  Json found;
  for (const char* const window : {"500ms", "4", "15"}) {
    const ToolResult result = shmifperf(
        Words{"membw", "--json", "--load", load, "--samples", "1", "--settle", "0", "--window"} +
        Words{window} + options);
    EXPECT_EQ(result.status, 0) << result.err;
    found = source_in(parsed(result), "software", "load");
    if (found["total_bytes_per_s"].is_number()) break;
    EXPECT_TRUE(has(found["reason"], "take a longer --window")) << found;
  }
  EXPECT_TRUE(found["total_bytes_per_s"].is_number()) << found;
  return found;
}

TEST(MembwCommand, HasTheLoadsOwnFigureWhateverTheMachineCannotMeasure) {
  const Tree tree;  // a machine without anything
  put_no_mounts(tree);
  const Json load = load_of({"--sysroot", tree.path()}, "fill");
  EXPECT_EQ(load["origin"], "the load's own count");
  EXPECT_EQ(load["scope"], "group");
  EXPECT_EQ(load["level"], "copied");
  const double read = load["read_bytes_per_s"];
  const double written = load["write_bytes_per_s"];
  EXPECT_GT(written, 0);
  EXPECT_GE(written, read) << "of three bytes, one is read";
  EXPECT_NEAR(load["total_bytes_per_s"].get<double>(), read + written, 1);
  const Json reader = load_of({"--sysroot", tree.path()}, "fill:size=20M,op=read,flush");
  EXPECT_GT(reader["read_bytes_per_s"], 0);
  EXPECT_EQ(reader["write_bytes_per_s"], 0.0) << "it only reads";
  const ToolResult alone = run_program({"taskset", "-c", "0", shmifperf_path(), "membw", "--fill",
                                        "1h", "--load", "fill:size=1M,op=write,once"});
  EXPECT_EQ(alone.status, 0) << alone.err;
  EXPECT_TRUE(has(alone.out, " by 1 threads, with 1.00 MiB each")) << alone.out;
  const ToolResult large = membw({"--load", "fill:size=1000T"});
  EXPECT_EQ(large.status, 1);
  EXPECT_TRUE(has(large.err, "cannot fill 1024000g in each of ")) << large.err;
}

TEST(MembwCommand, MeasuresTheSingleRoundOfALoadFromBeginToEnd) {
  const ToolResult result = shmifperf({"membw", "--json", "--settle", "0", "--load",
                                       "fill:size=250M,op=read,once,flush", "--window", "10ms"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  const Json load = source_in(json, "software", "load");
  EXPECT_EQ(load["samples"], 1);
  ASSERT_TRUE(load["read_bytes_per_s"].is_number()) << load;
  ASSERT_EQ(json["samples"].size(), 1U);
  EXPECT_EQ(json["samples"][0]["number"], 0) << "no sample was dropped";
  EXPECT_FALSE(json["partial"]);
  // All threads together have read their buffers; each rate is of its thread's own time, which is
  // at most the window.
  constexpr double kBytes = 250.0 * (1U << 20U);
  EXPECT_GE(load["read_bytes_per_s"].get<double>() * load["window_s"].get<double>(), kBytes);
}

TEST(MembwCommand, AppendsLinesOfCsvBehindOneHead) {
  const TempDir dir;
  const std::string path = dir.file("membw.csv");
  const Words words{"--source", "software", "--samples", "2", "--csv"};
  for (int run = 0; run < 2; ++run) EXPECT_EQ(membw(words + Words{path}).status, 0);
  const auto lines = lines_of(text_of_file(path));
  ASSERT_EQ(lines.size(), 5U) << text_of_file(path);
  EXPECT_EQ(lines[0],
            "sample,source,scope,level,begin_s,window_s,read_bytes_per_s,write_bytes_per_s,"
            "total_bytes_per_s,reason");
  for (const std::size_t line : {1U, 2U, 3U, 4U}) {
    EXPECT_TRUE(lines[line].starts_with((line % 2 != 0 ? "1" : "2") +
                                        std::string(",software:devices,machine,copied,")))
        << lines[line];
  }
  const ToolResult full = membw(words + Words{"/dev/full"});
  EXPECT_EQ(full.status, 1);
  EXPECT_TRUE(has(full.err, "/dev/full: No space left")) << full.err;
}

TEST(MembwCommand, MeasuresNothingIfItCannotWriteWhatItIsToldTo) {
  const TempDir dir;
  const std::string file = dir.file("result"), other = dir.file("other.csv");
  const std::string measured = dir.file("measured");
  std::ofstream(other) << "a,b\n";
  for (const auto& [options, status, says] : std::vector<std::tuple<Words, int, std::string>>{
           {{"--csv", file, "-o", file}, 1, file},
           {{"--csv", file, "--pairs-csv", file}, 1, file},
           {{"--pairs-csv", file, "-o", file}, 1, file},
           {{"--csv", other}, 1, "other columns (give a new file)"},
           {{"--pairs-csv", other}, 1, "other columns (give a new file)"},
           {{"-o", "/nonexistent/file"}, 1, "/nonexistent/file"},
           {{"--csv="}, 2, "--csv \"\" is empty"},
           {{"--pairs-csv="}, 2, "--pairs-csv \"\" is empty"},
           {{"--output="}, 2, "--output \"\" is empty"},
           {{"--csv", "/dev/stdout"}, 2, "both need standard output"},
           {{"--pairs-csv", "/dev/stdout"}, 2, "both need standard output"},
           {{"--json", "--csv", "/dev/stdout"}, 2, "both need standard output"},
           {{"--csv", "/dev/stdout", "--pairs-csv", "/dev/stdout", "-o", file},
            2,
            "both need standard output"}}) {
    SCOPED_TRACE(options[0] + ' ' + options.back());
    const ToolResult result = membw(Words{"--source", "software", "--compare"} + options +
                                    Words{"--", "touch", measured});
    EXPECT_EQ(result.status, status);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(has(result.err, says)) << result.err;
    EXPECT_FALSE(std::filesystem::exists(measured)) << "in vain";
    EXPECT_FALSE(std::filesystem::exists(file));
  }
  EXPECT_EQ(text_of_file(other), "a,b\n");
  const ToolResult alone =
      membw({"--source", "software", "--csv", "/dev/stdout", "-o", file, "--", "touch", measured});
  EXPECT_TRUE(alone.out.starts_with("sample,")) << alone.out;
}

TEST(MembwCommand, RefusesWhatItCannotUnderstand) {
  const std::string mb = "MB:0=50", range = "MB:0=100..10/10", once = "fill:size=64k,once";
  expect_wrong_lines("membw", {{{"--source", "dram"}, "--source \"dram\" is not known"},
                               {{"--report", "bytes"}, "--report \"bytes\" is not known"},
                               {{"--load", "copy"}, "--load \"copy\" is not a load"},
                               {{"--load", "fill:op=x"}, "op must be read, write or copy"},
                               {{"--load", "fill", "-p", "1"}, "exclude each other"},
                               {{"-p", "1", "--", "true"}, "exclude each other"},
                               {{"-p", "1x"}, "\"1x\" is not the number of a process"},
                               {{"--samples", "0"}, "--samples"},
                               {{"--window", "9999us"}, "--window: it must be 10ms to 1h"},
                               {{"--settle", "3601s"}, "--settle: it must be at most 1h"},
                               {{"--interval", "2h"}, "--interval: it must be at most 1h"},
                               {{"--socket", "65536"}, "--socket"},
                               {{"--fill", "1ms", "--load", "x"}, "--load \"x\" is not a load"},
                               {{"--report", "reads"}, "--report needs --compare or --sweep"},
                               {{"--floor", "1M"}, "--floor needs --compare or --sweep"},
                               {{"--pairs-csv", "p"}, "--pairs-csv needs --compare or --sweep"},
                               {{"--control-group", "g1"}, "--control-group needs a program"},
                               {{"--mount", "--sysroot", "/"}, "--mount is for this machine"},
                               {{"--load", once, "--samples", "2"}, "(leave out \"once\")"},
                               {{"--load", once, "--sweep", range}, "(leave out \"once\")"},
                               {{"--load", once, "--interval", "2s"}, "(leave out \"once\")"},
                               {{"--schemata", mb}, "--schemata needs a program"},
                               {{"--schemata", "MB", "-p", "1"}, "is not an allocation"},
                               {{"--sweep", mb, "-p", "1"}, "(it has no range"},
                               {{"--sweep", range, "--schemata", mb, "-p", "1"}, "exclude"},
                               {{"--sweep", range, "-p", "1", "--source", "pmu"}, "--source"},
                               {{"--local", "-p", "1"}, "--local needs --cpu"},
                               {{"--local", "--cpu", "0", "--socket", "0"}, "exclude each other"}});
  for (const char* const group :
       {"a/b", "..", "info", "mon_groups/", "g1/mon_groups/..", "g1/mon_groups/a/b"}) {
    expect_wrong_lines("membw",
                       {{{"--control-group", group, "-p", "1"}, "is not a group (write a name"}});
  }
}

// What membw prints of sources that agree, or do not: a row for each sample and for each step.

/// Two steps with a sample each: in the second, resctrl counts less than the controllers.
perf::MembwResult two_steps() {
  perf::MembwResult result;
  result.processes = {71, 72};
  perf::MemorySummary pmu;
  pmu.source = "pmu";
  pmu.scope = perf::MemoryScope::socket;
  pmu.background = perf::MemoryRates{{}, {}, 1e9};
  perf::MemorySummary resctrl;
  resctrl.source = "resctrl";
  resctrl.part = "local";
  resctrl.scope = perf::MemoryScope::group;
  for (const double rate : {20e9, 10e9}) {
    const std::size_t step = result.steps.size();
    perf::MembwSample sample;
    sample.number = 2 * step + 1;
    sample.step = step;
    sample.readings.resize(2);
    sample.readings[0].total = rate + 1e9;
    sample.readings[1].total = step == 0 ? rate : 6e9;
    pmu.rates = sample.readings[0];
    resctrl.rates = sample.readings[1];
    pmu.samples = resctrl.samples = 1;
    result.samples.push_back(std::move(sample));
    result.steps.push_back({pmu, resctrl});
  }
  result.sources = result.steps.front();
  return result;
}
perf::MembwExtras extras() {
  return {.pairs = perf::CompareLimits{}, .allocations = {"MB:0=100", "MB:0=50"}};
}

TEST(MembwOutput, HasARowForEachSampleAndStepAndOneVerdict) {
  const std::string text =
      tools::membw_text(two_steps(), perf::MemoryReport::total, {}, extras(), 0);
  const auto lines = lines_of(text);
  const auto has = [&](const std::string& begin, const Words& parts) {
    return std::ranges::any_of(lines, [&](const std::string& line) {
      return line.starts_with(begin) && std::ranges::all_of(parts, [&](const std::string& part) {
               return line.find(part) != std::string::npos;
             });
    });
  };
  const std::string pair = "pmu and resctrl:local";
  EXPECT_TRUE(has("  1 ", {"71 72", pair, "20.0 GB/s", "0 B/s, 0"})) << text;
  EXPECT_TRUE(has("  3 ", {"71 72", pair, "10.0 GB/s", "6.00 GB/s", "4.00 GB/s, 40"})) << text;
  EXPECT_TRUE(has("MB:0=100 ", {"21.0 GB/s", "20.0 GB/s", "same"})) << text;
  EXPECT_TRUE(has("MB:0=50 ", {"11.0 GB/s", "6.00 GB/s", "different"})) << text;
  EXPECT_TRUE(has("all steps, " + pair +
                      ": different (1 same, 1 different, 0 refused, 0 not "
                      "measured)",
                  {}))
      << text;
}

TEST(MembwOutput, AppendsALineForEachSampleAndPair) {
  const TempDir dir;
  const std::string path = dir.file("pairs.csv");
  for (int run = 0; run < 2; ++run) {
    ASSERT_TRUE(tools::append_pairs_csv(path, two_steps(), perf::MemoryReport::total, extras()));
  }
  const auto lines = lines_of(text_of_file(path));
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines[1],
            "1,\"MB:0=100\",71 72,pmu,resctrl:local,20000000000.0,20000000000.0,0.0,same,\"\"");
  EXPECT_EQ(lines[2],
            "3,\"MB:0=50\",71 72,pmu,resctrl:local,10000000000.0,6000000000.0,4000000000.0,"
            "different,\"\"");
  EXPECT_EQ(lines[3], lines[1]);
  const auto other = tools::append_csv(path, two_steps());
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message,
            "cannot append to " + path + ": its first line names other columns (give a new file)");
  EXPECT_EQ(lines_of(text_of_file(path)).size(), 5U) << "nothing was added";
}

/// A reason may name a port, and another program chose that.
TEST(MembwOutput, HasNoByteThatCommandsATerminal) {
  perf::MembwResult result = two_steps();
  result.sources[0].rates.reason = "of\x1b[2Ja source";
  result.samples[0].readings[0].reason = "of\x1b[2J\na \"reading\"";
  perf::MemoryComparison compared;
  compared.first = "pmu";
  compared.second = "resctrl:local";
  compared.reason = "of\x1b[2Ja pair";
  const std::string text =
      tools::membw_text(result, perf::MemoryReport::total, {compared}, extras(), 0);
  EXPECT_NE(text.find("pmu: of?[2Ja source\n"), std::string::npos) << text;
  EXPECT_NE(text.find(" (of?[2Ja pair)\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const TempDir dir;
  ASSERT_TRUE(tools::append_csv(dir.file("all.csv"), result));
  const auto lines = lines_of(text_of_file(dir.file("all.csv")));
  ASSERT_EQ(lines.size(), 5U) << "a head, and two sources in two steps";
  EXPECT_TRUE(lines[1].ends_with(",\"of?[2J?a \"\"reading\"\"\"")) << lines[1];
}

TEST(MembwOutput, IsExitCodeOneIfSourcesDifferAtAnyStep) {
  const auto code_of = [](const perf::MembwResult& result, double tolerance,
                          perf::MemoryReport report = perf::MemoryReport::total) {
    return tools::membw_exit_code(result, report, {.tolerance = tolerance});
  };
  perf::MembwResult result = two_steps();
  EXPECT_EQ(code_of(result, 0.08), 1) << "at the second";
  EXPECT_EQ(code_of(result, 0.39), 1);
  EXPECT_EQ(code_of(result, 0.41), 0);
  EXPECT_EQ(code_of(result, 0.08, perf::MemoryReport::reads), 0) << "no source has them";
  std::swap(result.steps[0], result.steps[1]);
  EXPECT_EQ(code_of(result, 0.08), 1) << "at the first";
  result.steps.erase(result.steps.begin());
  EXPECT_EQ(code_of(result, 0.08), 0) << "the other step";
  result.steps.clear();
  EXPECT_EQ(code_of(result, 0.08), 0);
  EXPECT_EQ(
      tools::membw_exit_code(two_steps(), perf::MemoryReport::total, {.floor_bytes_per_s = 7e9}), 0)
      << "too little for a verdict";
}

TEST(MembwOutput, ComparesWithTheLimitsThatAreGiven) {
  constexpr double kMiB = 1024 * 1024;
  for (const auto& [words, tolerance, floor] : std::vector<std::tuple<Words, double, double>>{
           {{}, 0.08, 750 * kMiB},
           {{"--tolerance", "5%"}, 0.05, 750 * kMiB},
           {{"--floor", "2M"}, 0.08, 2 * kMiB},
           {{"--floor", "0", "--tolerance", "0%"}, 0, 0}}) {
    tools::Options options("membw", "");
    options.words(0, 0).value("tolerance", "SHARE", "").value("floor", "SIZE", "");
    const auto limits = tools::membw_limits(options.parse({.words = words, .tail = {}}));
    EXPECT_EQ(limits.tolerance, tolerance);
    EXPECT_EQ(limits.floor_bytes_per_s, floor);
    EXPECT_EQ(limits.background, 0.1);
  }
}

}  // namespace
}  // namespace shmif::test
