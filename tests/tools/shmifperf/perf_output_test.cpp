// What a run tells people while it lasts, and its result afterwards.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

// ---- The result ----

/// What python3-jsonschema has against a file; empty when it is as the schema has it.
std::string judged(const std::string& path) {
  const std::string program =
      "import json, sys, jsonschema\n"
      "schema, result = (json.load(open(p)) for p in sys.argv[1:])\n"
      "errors = jsonschema.Draft7Validator(schema).iter_errors(result)\n"
      "print('\\n'.join('/'.join(map(str, e.path)) + ': ' + e.message[:200] for e in errors),"
      " end='')\n";
  const ToolResult said =
      run_program({SHMIF_PYTHON, "-c", program, in_source("docs/shmifperf.schema.json"), path});
  return said.out + (said.status == 0 ? "" : "python failed: " + said.err);
}

TEST(PerfResult, OfRealRunsIsAsTheSchemaHasIt) {
  const TempDir dir;
  const std::string path = dir.file("result.json");
  for (const Words& words : std::vector<Words>{
           {"--output-format=json", "--engine=bus,unix", "--rw=txrx"},
           {"--output-format=json+", "--rw=pingpong", "--ramp_time=100ms", "--fault=loss=5%"},
           {"--output-format=json", "--repeat=3", "--runtime=60", "--number_ios=100",
            "--numjobs=2"},
           {"--output-format=json+", "--search=ndr", "--search_trial=100ms",
            "--search_max_fps=2000", "--rate_iops=0"},
           {"--output-format=json", "--fault=corrupt=50%", "--runtime=300ms"},
           {"--output-format=json", "--percentile_list=50:99.5", "--engine=host", "--proto=tcp"}}) {
    SCOPED_TRACE(words[0] + ' ' + words[1]);
    const ToolResult ran = run_program(run_with(words + Words{"--output=" + path}));
    EXPECT_LE(ran.status, 1) << ran.err;
    EXPECT_EQ(judged(path), "");
    const bool with_bins = words[0] == "--output-format=json+";
    const Json json = json_of_file(path);
    for (const Json& job : json.at("jobs")) {
      if (job.at("latency_ns").is_null()) continue;
      EXPECT_EQ(job.at("latency_ns").contains("bins"), with_bins);
    }
  }
}

TEST(PerfResult, HasThePercentilesThatWereAskedForUnderFiosNames) {
  const TempDir dir;
  const std::string path = dir.file("result.json");
  const ToolResult ran =
      run_program(run_with({"--output=json:" + path, "--details", "--runtime=60",
                            "--number_ios=100", "--percentile_list=99.5:50:100"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json json = json_of_file(path);
  const Json latency = job_of(json, "job.sink").at("latency_ns");
  EXPECT_EQ(latency.at("percentile").size(), 3U);
  EXPECT_EQ(latency.at("percentile").at("50.000000"), latency.at("p50"));
  EXPECT_EQ(latency.at("percentile").at("100.000000"), latency.at("max"));
  EXPECT_GE(latency.at("percentile").at("99.500000"), latency.at("p99"));
  EXPECT_LE(latency.at("percentile").at("99.500000"), latency.at("p99_9"));
  EXPECT_TRUE(has(ran.out, ", p99.5 ")) << ran.out;
}

// ---- Where it goes ----

TEST(PerfOutput, OfNoCommandIsWrittenOverABus) {
  const TempDir dir;
  const std::string bus = dir.file("bus"), read = dir.file("result.json");
  const std::string same = dir.file("same.json");
  ASSERT_EQ(run_tool({"create", bus, "--size", "64K"}).status, 0);
  ASSERT_EQ(symlink(bus.c_str(), dir.file("link").c_str()), 0);
  const Words run{"run", "--rw=tx", "--number_ios=10", "--eta=never"};
  ASSERT_EQ(shmifperf(run + Words{"--engine=null", "--output=json:" + read}).status, 0);
  ASSERT_TRUE(std::filesystem::copy_file(read, same));
  // Where the page of that result goes by itself.
  ASSERT_EQ(symlink(bus.c_str(), dir.file("result.html").c_str()), 0);
  for (const std::string& path : {bus, dir.file("link")}) {
    for (const Words& words :
         std::vector<Words>{run + Words{"--output=" + path},
                            run + Words{"--engine=pcap", "--filename=" + path},
                            run + Words{"--engine=null", "--write_pcap=" + path},
                            {"stat", "-o", path, "--", "true"},
                            {"why", "-o", path, "--", "true"},
                            {"sample", "-o", path, "--", "true"},
                            {"membw", "-o", path, "--", "true"},
                            {"report", "-o", path, read},
                            {"report", "-o", path, read, same},
                            {"report", read},
                            {"membw", "--csv", path, "--", "true"},
                            {"membw", "--program-output", path, "--", "true"}}) {
      SCOPED_TRACE(words[0] + ' ' + words[1]);
      const ToolResult result = shmifperf(words);
      EXPECT_NE(result.status, 0);
      EXPECT_TRUE(has(result.err + result.out, "it is a bus")) << result.err << result.out;
    }
  }
  EXPECT_EQ(run_tool({"audit", bus}).status, 0);
}

TEST(PerfOutput, IsNoFileThatTheRunReads) {
  const TempDir dir;
  const std::string capture = dir.file("a.pcap"), job = dir.file("a.job");
  const Words run{"run", "--rw=tx", "--number_ios=3"};
  ASSERT_EQ(shmifperf(run + Words{"--engine=pcap", "--filename=" + capture}).status, 0);
  std::ofstream(job) << "[a]\nrw=tx\nengine=null\nnumber_ios=3\n";
  ASSERT_EQ(symlink("a.pcap", dir.file("b.pcap").c_str()), 0);
  const std::string bytes = text_of_file(capture);
  for (const Words& words : std::vector<Words>{
           {"--engine=null", "--replay=" + capture, "--write_pcap=" + dir.file("b.pcap")},
           {"--engine=null", "--replay=" + capture, "--output=" + capture},
           {job, "--output=" + dir.file("./a.job")}}) {
    const ToolResult result = shmifperf(words[0] == job ? Words{"run"} + words : run + words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_TRUE(has(result.err, "is read by this run")) << result.err;
  }
  EXPECT_EQ(text_of_file(capture), bytes);
  EXPECT_TRUE(text_of_file(job).starts_with("[a]"));
}

TEST(PerfOutput, HasOneResultInEachPlaceAndEachPlaceOnce) {
  const TempDir dir;
  const std::string path = dir.file("r");
  std::filesystem::create_symlink("/dev/stdout", dir.file("x_bw.job.log"));
  const std::string format = "each place holds one", twice = "more than once";
  const std::string report = "standard output, where the run is reported";
  for (const auto& [options, says] : std::vector<std::pair<Words, std::string>>{
           {{"--output-format=normal,json"}, format},
           {{"--output-format=json,terse", "--output=" + path}, format},
           {{"--output-format=json,json+", "--output=json:" + path}, format},
           {{"--output-format=normal,terse", "--output=-"}, format},
           {{"--output=json:" + path, "--output=" + path}, twice},
           {{"--output=json:" + path, "--output=terse:" + dir.path() + "/./r"}, twice},
           {{"--output=json:-", "--output=normal:/dev/stdout"}, "which holds one result"},
           {{"--output=json:"}, "has no path"},
           {{"--output=jsn:" + path}, "write ./jsn:"},
           {{"--output=json++:" + path}, "write ./json++:"},
           {{"--json-stream", "--format=influx"}, "give only one of"},
           {{"--write_pcap=-"}, report},
           {{"--write_pcap=/dev/stdout", "--output=json:" + path}, report},
           {{"--engine=pcap", "--filename=-", "--output=json:-"}, report},
           {{"--write_bw_log=" + dir.file("x")}, report}}) {
    SCOPED_TRACE(options[0] + ' ' + options.back());
    const ToolResult ran = run_program(run_with(options));
    EXPECT_EQ(ran.status, 2) << ran.err;
    EXPECT_EQ(ran.out, "") << "nothing was run";
    EXPECT_TRUE(has(ran.err, says)) << ran.err;
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  // A file that is standard output, under its own name.
  const ToolResult ran = run_program(Words{"sh", "-c", "f=$0; exec \"$@\" >\"$f\"", path} +
                                     run_with({"--write_pcap=" + path}));
  EXPECT_EQ(ran.status, 2) << ran.err;
  EXPECT_EQ(text_of_file(path), "");
}

TEST(PerfOutput, GoesToEachPlaceInItsFormat) {
  const TempDir dir;
  const Words run = run_with({"--runtime=60", "--number_ios=50"});
  const std::string a = dir.file("a"), b = dir.file("b"), c = dir.file("c:d");
  ToolResult ran =
      run_program(run + Words{"--output=json:" + a, "--output=terse:" + b, "--output=json+:" + c});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.err, "") << "no progress where there is no terminal";
  EXPECT_TRUE(ran.out.starts_with("shmifperf ")) << ran.out;
  EXPECT_TRUE(has(ran.out, "\n  wrote     " + a + ", " + b + ", " + c + '\n')) << ran.out;
  EXPECT_TRUE(text_of_file(b).starts_with("1;"));
  EXPECT_EQ(lines_of(text_of_file(b)).size(), 2U);
  EXPECT_TRUE(json_of_file(c).at("jobs")[1].at("latency_ns").contains("bins"));
  EXPECT_FALSE(json_of_file(a).at("jobs")[1].at("latency_ns").contains("bins"));
  for (const Words& outputs :
       std::vector<Words>{{"--output=json:-", "--output=terse:" + b},
                          {"--output=terse:" + b, "--output=json:/dev/stdout"},
                          {"--output-format=json,json"}}) {
    ran = run_program(run + outputs);
    EXPECT_EQ(Json::parse(ran.out).at("jobs").size(), 2U) << "and nothing else";
  }
  for (const std::string path : {"./jsn:r", "10:30.txt", "a-b:r", ":r"}) {
    ran = run_program(Words{"env", "--chdir=" + dir.path()} + run + Words{"--output=" + path});
    EXPECT_EQ(ran.status, 0) << path << ": " << ran.err;
    EXPECT_TRUE(text_of_file(dir.file(path)).starts_with("shmifperf ")) << path;
  }
  ran = run_program(run + Words{"--output=json:a", "--output=terse:b", "--showcmd"});
  EXPECT_TRUE(has(ran.out, "--output=json:a --output=terse:b")) << ran.out;
}

TEST(PerfOutput, ToAFileAloneLeavesTheVerdictOnTheScreen) {
  const TempDir dir;
  const std::string result = dir.file("r.json");
  const Words run = run_with({"--runtime=60", "--number_ios=50", "--output=" + result});
  // Without a format, the name of the file tells it.
  for (const Words& format : {Words{}, Words{"--output-format=normal"}}) {
    const ToolResult ran = run_program(run + format);
    EXPECT_EQ(lines_of(ran.out).size(), 1U) << ran.out;
    EXPECT_TRUE(has(ran.out, ": passed")) << ran.out;
    EXPECT_TRUE(text_of_file(result).starts_with(format.empty() ? "{" : "shmifperf "));
  }
  ToolResult ran = run_program(run + Words{"--engine=pcap", "--filename=" + dir.file("none/x")});
  EXPECT_EQ(ran.status, 1);
  const auto lines = lines_of(ran.out);
  ASSERT_GE(lines.size(), 2U) << ran.out;
  EXPECT_TRUE(has(lines[0], "FAILED (exit code 1)") && has(lines[1], "FAILED ")) << ran.out;
  // A stream has standard output for itself.
  for (const Words& words : {run, run_with({"--runtime=60", "--number_ios=50"})}) {
    ran = run_program(words + Words{"--json-stream"});
    for (const std::string& line : lines_of(ran.out)) EXPECT_FALSE(Json::parse(line).is_null());
    EXPECT_TRUE(has(ran.err, ": passed")) << ran.err;
  }
}

TEST(PerfOutput, ThatCannotBeWrittenFailsTheCommandAndChangesNoOther) {
  const TempDir dir;
  const auto ran = [&](const Words& options) {
    return run_program(run_with({"--runtime=60", "--number_ios=50", "--eta=never"}) + options);
  };
  const ToolResult one = ran({"--output=json:/dev/full", "--output=terse:" + dir.file("b")});
  EXPECT_EQ(one.status, 1);
  EXPECT_TRUE(has(one.err, "/dev/full: No space left on device (free some")) << one.err;
  EXPECT_TRUE(one.out.starts_with("shmifperf ")) << "the text, and no JSON: " << one.out;
  EXPECT_TRUE(text_of_file(dir.file("b")).starts_with("1;"));
  // Refused only when the few lines leave the buffer; and the result follows on standard output.
  const ToolResult alone = ran({"--output-format=json", "--output=/dev/full"});
  EXPECT_EQ(alone.status, 1);
  EXPECT_TRUE(has(alone.err, "/dev/full: No space left on device (free some")) << alone.err;
  EXPECT_EQ(Json::parse(alone.out)["passed"], true);
  const ToolResult nowhere = ran({"--output=" + dir.file("none/result")});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_TRUE(has(nowhere.err, "(make its directory first)")) << nowhere.err;
  EXPECT_EQ(nowhere.out, "") << "said before the run";
}

TEST(PerfOutput, NamesTheFilesThatTheRunWroteAndNoOthers) {
  const TempDir dir;
  const std::string old = dir.file("old.pcapng");
  const Words run{"run",      "--name=flow",     "--rw=tx",
                  "--bs=100", "--number_ios=20", "--write_pcap=" + old};
  ASSERT_EQ(shmifperf(run).status, 0);
  // This run ends before it opens the capture.
  ToolResult ran = shmifperf(run + Words{"--engine=pcap", "--filename=" + dir.file("none/x")});
  EXPECT_EQ(ran.status, 1) << ran.err;
  EXPECT_FALSE(has(ran.out, "\n  wrote ")) << ran.out;
  // This one overwrites it, and cannot write one of its logs.
  std::filesystem::create_symlink("/dev/full", dir.file("x_bw.flow.log"));
  ran =
      shmifperf(run + Words{"--aux-path=" + dir.path(), "--write_bw_log=x", "--write_iops_log=x"});
  EXPECT_EQ(ran.status, 1) << ran.err;
  EXPECT_TRUE(has(ran.err, "x_bw.flow.log is not complete")) << ran.err;
  EXPECT_TRUE(has(ran.out, "\n  wrote     " + old + ", " + dir.file("x_iops.flow.log") + '\n'))
      << ran.out;
}

// ---- The text ----

/// A text with # for each number and its unit, and without what a busy machine adds: warnings,
/// losses, and what held the jobs back.
std::string plain_summary(const std::string& text) {
  static const std::regex kLosses("# of # frames lost");
  static const std::regex kNumber("[0-9][0-9,.]*( ([num]?s|%|[kMG]?/s|[kMG]?bit/s))?");
  std::string plain;
  bool causes = false;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("  warning ")) continue;
    if (line.starts_with("what held ") || line.starts_with("nothing held ")) causes = true;
    if (line.starts_with("  wrote ") || line.starts_with("use ")) causes = false;
    if (!causes) plain += std::regex_replace(line, kNumber, "#") + '\n';
  }
  plain = std::regex_replace(plain, std::regex(" +"), " ");
  return std::regex_replace(plain, kLosses, "no loss in # frames");
}

TEST(PerfOutput, IsASummaryOnTheScreenAndWholeInAFileOrWithDetails) {
  const TempDir dir;
  const Words run = run_with({"--runtime=60", "--number_ios=50", "--name=flow"});
  const std::string file = dir.file("whole.txt");
  const ToolResult ran = run_program(run + Words{"--output=normal:" + file});
  EXPECT_EQ(ran.status, 0) << ran.err;
  std::string seen = ran.out;
  ASSERT_TRUE(has(seen, file)) << seen;
  seen.replace(seen.find(file), file.size(), "FILE");
  EXPECT_EQ(plain_summary(seen),
            "shmifperf #: passed, no loss in # frames (exit code #), took #\n"
            " job role frames rate lost latency p# p#\n"
            " flow tx # # # # # # #\n"
            " wrote FILE\nuse --details for the rest\n")
      << ran.out;
  for (const std::string& whole : {text_of_file(file), run_program(run + Words{"--details"}).out}) {
    for (const char* const part : {"\n  traffic ", "\n  flow.sink received ", "\nmachine "}) {
      EXPECT_TRUE(has(whole, part)) << part << " in " << whole;
      EXPECT_FALSE(has(ran.out, part)) << part << " in " << ran.out;
    }
    EXPECT_FALSE(has(whole, "--details for the rest")) << whole;
  }
}

// ---- Status and progress ----

TEST(PerfStatus, Sigusr1AsksForItOnceAndTheRunGoesOn) {
  Tool run(run_with({"--runtime=60", "--json-stream", "--status-interval=100ms"}));
  ASSERT_TRUE(run.wait_for("\"state\":\"running\""));
  run.signal(SIGUSR1);
  ASSERT_TRUE(run.wait_for("status after "));
  ASSERT_TRUE(run.wait_for("job.sink  running"));
  run.signal(SIGINT);
  const ToolResult ended = run.finish();
  EXPECT_EQ(ended.status, 128 + SIGINT);
  EXPECT_EQ(times_in(ended.err, "status after "), 1U) << ended.err;
  EXPECT_FALSE(has(ended.out, "status after ")) << "that is the stream's";
  EXPECT_TRUE(has(ended.err, "stopped by SIGINT")) << ended.err;
}

TEST(PerfStatus, IsOnStandardOutputWhereThatIsForPeopleAndElseOnStandardError) {
  const TempDir dir;
  for (const auto& [outputs, for_people] :
       std::vector<std::pair<Words, bool>>{{{"--output-format=normal"}, true},
                                           {{"--output=json:" + dir.file("r")}, true},
                                           {{"--output-format=json"}, false},
                                           {{"--output=terse:-"}, false}}) {
    SCOPED_TRACE(outputs[0]);
    const ToolResult ran =
        run_program(run_with({"--status-interval=250ms", "--runtime=600ms"}) + outputs);
    EXPECT_EQ(ran.status, 0) << ran.err;
    const std::string& there = for_people ? ran.out : ran.err;
    EXPECT_GE(times_in(there, "status after "), 1U) << ran.out << ran.err;
    EXPECT_FALSE(has(for_people ? ran.err : ran.out, "status after "));
    if (for_people) {
      EXPECT_LT(there.rfind("status after "), there.find("\nshmifperf "));
    }
  }
}

TEST(PerfProgress, IsAPlainLineForEachIntervalAndRunWhereThereIsNoTerminal) {
  const ToolResult ran = run_program(
      run_with({"--eta=always", "--status-interval=250ms", "--output=/dev/null", "--name=alice"}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_FALSE(has(ran.err, "\x1b")) << "no escape sequences in a file";
  const auto lines = lines_of(ran.err);
  ASSERT_GE(lines.size(), 3U) << ran.err;
  EXPECT_TRUE(lines[0].starts_with("alice  [RR]  ")) << ran.err;
  for (const char* part : {" % ", "eta 1s", "tx ", "rx ", "bit/s", "lost 0"}) {
    EXPECT_TRUE(has(lines[0], part)) << part << " in " << lines[0];
  }
  EXPECT_TRUE(lines.back().starts_with("alice  [--]  done")) << ran.err;
  const ToolResult twice =
      run_program(run_with({"--eta=always", "--runtime=60", "--number_ios=100", "--repeat=2",
                            "--output=/dev/null", "--name=alice"}));
  EXPECT_TRUE(has(twice.err, "run 2 of 2: alice")) << twice.err;
}

/// A program in a terminal of tmux, which says what a person would see. The destructor ends it.
class OnScreen {
 public:
  OnScreen(const Words& program, int columns, int rows) : socket_(dir_.file("tmux")) {
    Words words{"new-session",
                "-d",
                "-x",
                std::to_string(columns),
                "-y",
                std::to_string(rows),
                "sh",
                "-c",
                "echo begun; \"$@\"; echo ended with $?; exec cat",
                "sh"};
    words.insert(words.end(), program.begin(), program.end());
    tmux(words);
  }
  OnScreen(const OnScreen&) = delete;
  OnScreen& operator=(const OnScreen&) = delete;
  ~OnScreen() { tmux({"kill-server"}); }

  /// The lines below "begun", with what has scrolled away, without empty ones at the end.
  std::vector<std::string> lines() const {
    auto seen = lines_of(tmux({"capture-pane", "-p", "-S", "-"}).out);
    while (!seen.empty() && seen.back().empty()) seen.pop_back();
    if (!seen.empty() && seen.front() == "begun") seen.erase(seen.begin());
    return seen;
  }
  using Wanted = std::function<bool(const std::vector<std::string>&)>;
  /// Waits until the screen is as wanted. Result: the screen.
  std::vector<std::string> wait_for(const Wanted& wanted) const {
    for (int i = 0; i < 400; ++i) {
      auto seen = lines();
      if (wanted(seen)) return seen;
      usleep(25000);
    }
    ADD_FAILURE() << "it never came";
    return lines();
  }

 private:
  ToolResult tmux(Words words) const {
    words.insert(words.begin(), {"tmux", "-S", socket_, "-f", "/dev/null"});
    return run_program(std::move(words));
  }
  TempDir dir_{"/tmp"};
  std::string socket_;
};

bool has_tmux() {
  return run_program({"sh", "-c", "command -v tmux"}).status == 0;
}

TEST(PerfProgress, OnATerminalIsALineForEachGroupRedrawnInPlaceAndGoneAtTheEnd) {
  if (!has_tmux()) GTEST_SKIP() << "tmux is not installed";
  const OnScreen screen(run_with({"--runtime=5", "--output=/dev/null", "--name=alice",
                                  "--numjobs=2", "--name=bob", "--numjobs=1", "--new_group"}),
                        60, 20);
  const auto is_running = [](const std::vector<std::string>& seen) {
    return seen.size() == 2 && has(seen[0], "[R(4)]") && has(seen[1], "[RR]");
  };
  const auto first = screen.wait_for(is_running);
  EXPECT_TRUE(first[0].starts_with("alice") && first[1].starts_with("bob"));
  EXPECT_LE(first[0].size(), 60U) << "cut at the width of the terminal";
  // Later in the same place, for two lines are all there is.
  screen.wait_for([&](const auto& seen) { return is_running(seen) && seen[0] != first[0]; });
  const auto is_over = [](const auto& seen) {
    return !seen.empty() && seen.back().starts_with("ended with");
  };
  const auto last = screen.wait_for(is_over);
  EXPECT_TRUE(last.front().starts_with("shmifperf ")) << "the lines are taken away";
  EXPECT_EQ(last.back(), "ended with 0");
  const OnScreen never(run_with({"--runtime=500ms", "--eta=never", "--output=/dev/null"}), 80, 10);
  EXPECT_TRUE(never.wait_for(is_over).front().starts_with("shmifperf "));
}

// What a run tells programs while it lasts: JSON, InfluxDB's lines, logs. Prometheus is in
// metrics_test.cpp.

/// The figures stand: what the run's job has sent is what its sink has received.
void expect_all_arrived(const Json& result) {
  const Json& sent = job_of(result, "job").at("tx").at("frames");
  EXPECT_GT(sent, 0);
  EXPECT_EQ(job_of(result, "job.sink").at("rx").at("frames"), sent);
}

class PerfStream : public ::testing::Test {
 protected:
  TempDir dir;
  std::string result = dir.file("result.json");
  Words with(const Words& options) const {
    return run_with(options + Words{"--output-format=json", "--output=" + result});
  }
};

// ---- JSON and InfluxDB ----

TEST_F(PerfStream, EachIntervalIsALineOfJsonAndTogetherTheyAreTheResult) {
  const ToolResult ran = run_program(with({"--json-stream", "--status-interval=200ms"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  std::map<std::string, std::uint64_t> sent;
  std::uint64_t received = 0;
  const auto lines = lines_of(ran.out);
  EXPECT_GE(lines.size(), 2U) << "a busy machine makes some intervals longer: " << ran.out;
  for (const std::string& line : lines) {
    const Json json = Json::parse(line);
    EXPECT_GE(json.at("share"), 0);
    for (const Json& job : json.at("jobs")) {
      const Json& interval = job.at("interval");
      sent[job.at("jobname")] += interval.at("tx_frames").get<std::uint64_t>();
      received += interval.at("rx_frames").get<std::uint64_t>();
      const bool arrived = interval.at("rx_frames") > 0;
      EXPECT_EQ(interval.at("latency_p99_ns").is_null(), !arrived) << line;
    }
  }
  const Json json = json_of_file(result);
  EXPECT_EQ(sent["job"], job_of(json, "job").at("tx").at("frames"));
  EXPECT_EQ(received, job_of(json, "job.sink").at("rx").at("frames"));
  EXPECT_EQ(Json::parse(lines.back()).at("share"), 1);
}

/// What a list of intervals received, and the time that these took.
struct Received {
  double frames = 0, seconds = 0;
  double fps() const { return frames / seconds; }
};

/// The intervals of a result that are of its measured window.
Received received_in_window(const Json& job) {
  Received sum;
  for (const Json& each : job.at("intervals")) {
    if (!each.at("measured").get<bool>()) continue;
    sum.frames += each.at("rx_frames").get<double>();
    sum.seconds += each.at("seconds").get<double>();
  }
  return sum;
}

/// The lines of a stream between the first and the last one in which frames arrived: they have
/// frames during all of their time.
Received received_in_stream(const std::string& text) {
  std::vector<Received> lines;
  for (const std::string& line : lines_of(text)) {
    const Json json = Json::parse(line);
    const Json& interval = job_of(json, "job.sink").at("interval");
    const Received one{interval.at("rx_frames").get<double>(),
                       interval.at("seconds").get<double>()};
    if (one.frames > 0) {
      EXPECT_NEAR(interval.at("rx_fps").get<double>(), one.fps(), 1e-3 * one.fps());
    }
    if (one.frames > 0 || !lines.empty()) lines.push_back(one);
  }
  while (!lines.empty() && lines.back().frames == 0) lines.pop_back();
  Received sum;
  for (std::size_t i = 1; i + 1 < lines.size(); ++i) {
    sum.frames += lines[i].frames;
    sum.seconds += lines[i].seconds;
  }
  return sum;
}

TEST_F(PerfStream, HasTheRateThatTheResultAndItsTextAndItsIntervalsHave) {
  struct Case {
    const char* what;
    Words options;
  };
  for (const Case& each :
       {Case{"all frames under way for a second", {"--rate_iops=1000", "--fault=delay=1000ms"}},
        Case{"a saturated line, and a ramp",
             {"--rate=20Mbit", "--ramp_time=1", "--fault=rate=10Mbit,queue=1000"}}}) {
    SCOPED_TRACE(each.what);
    // If a busy machine kept the jobs from their CPUs, the line was not saturated all the time.
    bool agree = false;
    std::string seen;
    for (int round = 0; round < 8 && !agree; ++round) {
      Words words{"run",
                  "--rw=tx",
                  "--name=job",
                  "--engine=unix",
                  "--bs=1000",
                  "--runtime=2",
                  "--drain_time=3",
                  "--json-stream",
                  "--details",
                  "--eta=never",
                  "--output=json:" + result,
                  "--status-interval=100ms"};
      words.insert(words.end(), each.options.begin(), each.options.end());
      const ToolResult ran = shmifperf(words);
      ASSERT_LE(ran.status, 1) << ran.err;
      const Json json = json_of_file(result);
      const Json& rx = job_of(json, "job.sink").at("rx");
      const double rate = rx.at("rate_fps").get<double>();
      // One rule: what arrived in the window, divided by the receiver's window.
      EXPECT_NEAR(rate * rx.at("seconds").get<double>(), rx.at("frames").get<double>(), 1e-3);
      EXPECT_NEAR(rx.at("rate_bps").get<double>(), rate * 8000, 1e-3 * rate);
      std::smatch told;
      const std::regex line(R"(job\.sink received +\S+ +\S+ \S*B +([0-9.]+) (k?)/s)");
      ASSERT_TRUE(std::regex_search(ran.err, told, line)) << ran.err;
      EXPECT_NEAR(std::stod(told[1]) * (told[2] == "k" ? 1000 : 1), rate, 0.01 * rate);
      const Received window = received_in_window(job_of(json, "job.sink"));
      const Received stream = received_in_stream(ran.out);
      agree = std::abs(window.fps() / rate - 1) < 0.15 && std::abs(stream.fps() / rate - 1) < 0.15;
      seen += std::to_string(rate) + ' ' + std::to_string(window.fps()) + ' ' +
              std::to_string(stream.fps()) + '\n';
    }
    EXPECT_TRUE(agree) << seen;
  }
}

TEST_F(PerfStream, InfluxLinesAreOfItsProtocol) {
  const ToolResult ran =
      run_program(with({"--format=influx", "--name=a job, of=two", "--status-interval=200ms"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  // Blank, comma and equals sign are escaped in tags; integers end in i.
  const std::regex line(
      R"(shmifperf,groupname=((?:[^\\ ,=]|\\.)+),jobname=((?:[^\\ ,=]|\\.)+) )"
      R"(((?:[a-z0-9_]+=(?:-?[0-9]+i|-?[0-9.e+-]+|true|false|"[^"]*")(?:,|(?= )))+) ([0-9]{19}))");
  std::uint64_t sent = 0;
  long long last = 0;
  for (const std::string& text : lines_of(ran.out)) {
    std::smatch match;
    ASSERT_TRUE(std::regex_match(text, match, line)) << text;
    EXPECT_TRUE(match[1] == R"(a\ job\,\ of\=two)") << match[1];
    EXPECT_GE(std::stoll(match[4]), last) << "time goes on";
    last = std::stoll(match[4]);
    std::smatch frames;
    const std::string fields = ',' + match[3].str();
    ASSERT_TRUE(std::regex_search(fields, frames, std::regex(",tx_frames=([0-9]+)i"))) << text;
    sent += std::stoull(frames[1]);
  }
  EXPECT_EQ(sent, job_of(json_of_file(result), "a job, of=two").at("tx").at("frames"));
}

TEST_F(PerfStream, ARunWhoseReaderHasGoneStopsInGoodOrder) {
  Words words = with({"--json-stream", "--status-interval=100ms", "--runtime=600"});
  words.insert(words.begin(), {"bash", "-c", "\"$@\" | head -n 1", "bash"});
  const ToolResult ran = run_program(words);
  EXPECT_FALSE(ran.timed_out);
  const Json json = json_of_file(result);
  EXPECT_EQ(json.at("stopped_by_signal"), SIGPIPE);
  EXPECT_EQ(job_of(json, "job").at("state"), "reaped");
}

// ---- Logs ----

struct LogLine {
  long ms, value;
  int direction;
};

std::vector<LogLine> log_of(const std::string& path) {
  const std::regex format(R"(([0-9]+), ([0-9]+), ([01]), 0, 0)");
  std::vector<LogLine> lines;
  for (const std::string& line : lines_of(text_of_file(path))) {
    std::smatch match;
    if (!std::regex_match(line, match, format)) throw std::runtime_error("not fio's: " + line);
    lines.push_back({std::stol(match[1]), std::stol(match[2]), std::stoi(match[3])});
  }
  return lines;
}

Words logs(const TempDir& dir) {
  return {"--aux-path=" + dir.path(), "--write_bw_log=x",   "--write_iops_log=x",
          "--write_lat_log=x",        "--log_avg_msec=250", "--bs=1024"};
}

TEST_F(PerfStream, LogsOfIntervalsAreInFiosFormatAndAddUp) {
  ASSERT_EQ(run_program(with(logs(dir))).status, 0);
  const Json json = json_of_file(result);
  const auto iops = log_of(dir.file("x_iops.job.log"));
  const auto bw = log_of(dir.file("x_bw.job.log"));
  const auto lat = log_of(dir.file("x_lat.job.log"));
  ASSERT_GE(iops.size(), 3U);
  ASSERT_EQ(iops.size(), bw.size());
  EXPECT_GE(lat.size(), 3U);
  double frames = 0;
  long before = 0;
  for (std::size_t i = 0; i < iops.size(); ++i) {
    EXPECT_GT(iops[i].ms, before);
    EXPECT_EQ(iops[i].direction, 1) << "a sender";
    EXPECT_NEAR(static_cast<double>(bw[i].value), static_cast<double>(iops[i].value), 2)
        << "frames of 1 KiB";
    frames += static_cast<double>(iops[i].value * (iops[i].ms - before)) / 1000;
    before = iops[i].ms;
  }
  const double sent = job_of(json, "job").at("tx").at("frames");
  EXPECT_NEAR(frames, sent, sent * 0.02);
  for (const LogLine& line : lat) EXPECT_GT(line.value, 0);
  // Other intervals for the log than for the curve do not cost the curve its own.
  EXPECT_GE(job_of(json, "job").at("intervals").size(), iops.size() + 2);
}

TEST_F(PerfStream, AFullDiskCostsTheStreamOrTheLogAndNotTheFigures) {
  std::filesystem::create_symlink("/dev/full", dir.file("x_bw.job.log"));
  const Words full{"sh", "-c", "exec \"$@\" >/dev/full", "sh"};
  for (const auto& [words, says] : std::vector<std::pair<Words, std::string>>{
           {with(logs(dir)), "x_bw.job.log is not complete: No space left on device"},
           {full + with({"--json-stream", "--status-interval=100ms", "--runtime=500ms"}),
            "standard output: No space left on device"}}) {
    const ToolResult ran = run_program(words);
    EXPECT_EQ(ran.status, 1) << "what was asked for is not there";
    EXPECT_TRUE(has(ran.err, says)) << ran.err;
    const Json json = json_of_file(result);
    EXPECT_EQ(json.at("passed"), true);
    EXPECT_EQ(json.at("exit_code"), 1);
    EXPECT_TRUE(has(json.at("warnings").dump(), "is not complete: No space left"));
    expect_all_arrived(json);
  }
  EXPECT_GE(log_of(dir.file("x_iops.job.log")).size(), 3U) << "the others go on";
  const ToolResult nowhere = run_program(run_with({"--write_bw_log=" + dir.file("none/x")}));
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_TRUE(has(nowhere.err, "--aux-path")) << nowhere.err;
  EXPECT_EQ(nowhere.out, "") << "said before the run";
}

}  // namespace
}  // namespace shmif::test
