// shmifperf sample, as people run it.

#include <gtest/gtest.h>

#include <csignal>

#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

Json row_in(const Json& json, const std::string& symbol) {
  for (const Json& each : json["profile"]) {
    if (each["symbol"] == symbol) return each;
  }
  return {};
}

TEST(SampleCommand, ShowsTheFunctionsOfAProgramInUserSpace) {
  const TempDir dir;
  const std::string path = dir.file("sample.json");
  const ToolResult result =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--json", "-o", path, "--",
                 in_build("tests/instruments/known_load"), "faults", "3000", "status", "7"});
  EXPECT_EQ(result.status, 7) << "the exit code of the program: " << result.err;
  EXPECT_EQ(result.out, "");
  const Json json = json_of_file(path);
  const Json row = row_in(json, "(anonymous namespace)::touch_pages(long)");
  EXPECT_EQ(row.size(), 4U) << json;
  EXPECT_EQ(row["object"], "known_load");
  EXPECT_GE(row["samples"].get<int>() + json["lost_samples"].get<int>(), 3000);
  EXPECT_GT(row["share"], 0.5);
  double shares = 0;
  for (const Json& each : json["profile"]) shares += each["share"].get<double>();
  EXPECT_NEAR(shares, 1, 1e-6);
  EXPECT_EQ(json["event"], "page-faults:u");
  EXPECT_EQ(json["partial"], false);
}

TEST(SampleCommand, PrintsATableAndATreeOfCalls) {
  const ToolResult result =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--callgraph", "--",
                 in_build("tests/instruments/known_load"), "faults", "3000"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_GE(lines.size(), 4U) << result.out;
  EXPECT_NE(lines[0].find(" samples of page-faults:u in "), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1].find("  function "), 0U);
  EXPECT_EQ(lines[2].find("  (anonymous namespace)::touch_pages(long) "), 0U) << result.out;
  EXPECT_NE(result.out.find("\ncalls, by the kernel's walk along frame pointers"),
            std::string::npos);
  EXPECT_NE(result.out.find("%  "), std::string::npos);
  const ToolResult none =
      shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--least", "100%", "--",
                 in_build("tests/instruments/known_load"), "faults", "3000"});
  EXPECT_NE(none.out.find(" samples of page-faults:u in "), std::string::npos) << none.out;
  EXPECT_EQ(none.out.find("touch_pages"), std::string::npos) << "the loader had faults, too";
}

TEST(SampleCommand, KeepsSamplesInTheFormatsOfTheRegistry) {
  for (const std::string format : {"raw", "addresses", "chains"}) {
    const ToolResult result =
        shmifperf({"sample", "-e", "page-faults:u", "-c", "1", "--format", format, "--",
                   in_build("tests/instruments/known_load"), "faults", "100"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out.find("process "), std::string::npos) << format;
    EXPECT_NE(result.out.find("0x"), std::string::npos) << format;
  }
}

TEST(SampleCommand, NamesTheFunctionsOfAProcessThatRanBefore) {
  Tool load({in_build("tests/instruments/known_load"), "burn", "60000"});
  Tool tool(
      shmifperf_words({"sample", "-e", "cpu-clock:u", "--json", "-p", std::to_string(load.pid())}));
  EXPECT_TRUE(eventually([&] { return sleeps_in_poll(tool.pid()); }));
  const auto ran = [&] {
    const std::string stat = text_of_file("/proc/" + std::to_string(load.pid()) + "/stat");
    std::istringstream fields(stat.substr(stat.rfind(')') + 1));
    std::string field;
    for (int at = 0; at < 12; ++at) fields >> field;  // utime, in ticks
    return std::atol(field.c_str());
  };
  const long before = ran();
  EXPECT_TRUE(eventually([&] { return ran() > before + 30; }));
  tool.signal(SIGINT);
  const Json json = parsed(tool.finish());
  EXPECT_GT(json["samples"], 10) << json;
  bool named = false;
  for (const Json& each : json["profile"]) named = named || each["object"] == "known_load";
  EXPECT_TRUE(named) << json;
  EXPECT_EQ(::kill(load.pid(), 0), 0);
}

TEST(SampleCommand, SamplesEverythingThatRunsOnCpus) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: samples whole CPUs";
  for (const Words& where : {Words{"-a"}, Words{"-C", "0"}}) {
    Words words{"sample", "--json", "-e", "page-faults:u", "-c", "1"};
    words.insert(words.end(), where.begin(), where.end());
    words.insert(words.end(), {"--", in_build("tests/instruments/known_load"), "faults", "3000"});
    words = shmifperf_words(words);
    if (where.size() > 1) words.insert(words.begin(), {"taskset", "-c", "0"});
    const ToolResult result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    const Json json = parsed(result);
    EXPECT_EQ(json["cpus"][0], 0) << json;
    EXPECT_GE(json["samples"].get<std::uint64_t>() + json["lost_samples"].get<std::uint64_t>(),
              3000U);
    bool named = false;
    for (const Json& each : json["profile"])
      named = named || each["symbol"].get<std::string>().find("touch_pages") != std::string::npos;
    // What others do at the same time may fill the rings, and its mappings are then lost, too.
    EXPECT_TRUE(named || json["lost_samples"] > 0) << json;
  }
}

TEST(SampleCommand, SaysWhyItCannotSample) {
  const ToolResult pmu = shmifperf({"sample", "-e", "nothing/event=1/", "--", "true"});
  EXPECT_EQ(pmu.status, 77);
  EXPECT_TRUE(has(pmu.err, "this machine has no PMU \"nothing\"")) << pmu.err;
  expect_wrong_lines("sample",
                     {{{"-e", "cpu-clok", "--", "true"}, "did you mean cpu-clock?"},
                      {{"-F", "99", "-c", "5", "--", "true"}, "-F and -c exclude each other"},
                      {{"-F", "0", "--", "true"}, "--frequency"},
                      {{"-c", "0", "--", "true"}, "--period"},
                      {{"--least", "x", "--", "true"}, "--least"},
                      {{"--format", "raw", "--callgraph", "--", "true"}, "are for --format"},
                      {{"--format", "rav", "--", "true"}, "no sampling format \"rav\""},
                      {{"--format", "raw", "--json", "--", "true"}, "are for --format profile"},
                      {{"--format", "raw:max=0", "--", "true"}, "\"max=0\": it must be 1 to"},
                      {{"--format", "profile:x", "--", "true"}, "profile takes no argument"},
                      {{"-C", "0,60000"}, "CPU 60000 is not online (online are 0"},
                      {{"-a", "-p", "1"}, "-p cannot be combined with -a or -C"}});
}

}  // namespace
}  // namespace shmif::test
