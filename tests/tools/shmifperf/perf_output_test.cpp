// What a run tells people while it lasts, and its result afterwards.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <regex>

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
  const Words runs[] = {
      {"--output-format=json", "--engine=bus,unix", "--rw=txrx"},
      {"--output-format=json+", "--rw=pingpong", "--ramp_time=100ms", "--fault=loss=5%"},
      {"--output-format=json", "--repeat=3", "--runtime=60", "--number_ios=100", "--numjobs=2"},
      {"--output-format=json+", "--search=ndr", "--search_trial=100ms", "--search_max_fps=2000",
       "--rate_iops=0"},
      {"--output-format=json", "--fault=corrupt=50%", "--runtime=300ms"},
      {"--output-format=json", "--percentile_list=50:99.5", "--engine=host", "--proto=tcp"},
  };
  for (Words words : runs) {
    SCOPED_TRACE(words[0] + ' ' + words[1]);
    words.emplace_back("--output=" + path);
    const ToolResult ran = run_program(run_with(words));
    EXPECT_LE(ran.status, 1) << ran.err;
    EXPECT_EQ(judged(path), "");
    const Json json = json_of_file(path);
    const bool with_bins = words[0] == "--output-format=json+";
    for (const Json& job : json.at("jobs")) {
      if (job.at("latency_ns").is_null()) continue;
      EXPECT_EQ(job.at("latency_ns").contains("bins"), with_bins);
    }
  }
}

TEST(PerfOutput, OfNoCommandIsWrittenOverABus) {
  const TempDir dir;
  const std::string bus = dir.file("bus");
  ASSERT_EQ(run_tool({"create", bus, "--size", "64K"}).status, 0);
  ASSERT_EQ(symlink(bus.c_str(), dir.file("link").c_str()), 0);
  const std::string read = dir.file("result.json");
  ASSERT_EQ(shmifperf({"run", "--rw=tx", "--engine=null", "--number_ios=10", "--output-format=json",
                       "--output=" + read})
                .status,
            0);
  const std::string same = dir.file("same.json");
  ASSERT_TRUE(std::filesystem::copy_file(read, same));
  // Where the page of that result goes by itself.
  ASSERT_EQ(symlink(bus.c_str(), dir.file("result.html").c_str()), 0);
  const Words run{"run", "--rw=tx", "--number_ios=10", "--eta=never"};
  const auto with = [](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  for (const std::string& path : {bus, dir.file("link")}) {
    for (const Words& words :
         std::vector<Words>{with(run, {"--output=" + path}),
                            with(run, {"--engine=pcap", "--filename=" + path}),
                            with(run, {"--engine=null", "--write_pcap=" + path}),
                            {"stat", "-o", path, "--", "true"},
                            {"why", "-o", path, "--", "true"},
                            {"sample", "-o", path, "--", "true"},
                            {"membw", "-o", path, "--", "true"},
                            {"report", "-o", path, read},
                            {"report", "-o", path, read, same},
                            {"report", read},
                            {"membw", "--csv", path, "--", "true"},
                            {"membw", "--program-output", path, "--", "true"}}) {
      const ToolResult result = shmifperf(words);
      EXPECT_NE(result.status, 0) << words[0] << ' ' << words[1];
      EXPECT_NE((result.err + result.out).find("it is a bus, which would be destroyed"),
                std::string::npos)
          << words[0] << ' ' << words[1] << ": " << result.err << result.out;
    }
  }
  EXPECT_EQ(run_tool({"audit", bus}).status, 0);
}

TEST(PerfOutput, IsNoFileThatTheRunReads) {
  const TempDir dir;
  const std::string capture = dir.file("a.pcap");
  const std::string job = dir.file("a.job");
  ASSERT_EQ(
      shmifperf({"run", "--rw=tx", "--engine=pcap", "--number_ios=3", "--filename=" + capture})
          .status,
      0);
  std::ofstream(job) << "[a]\nrw=tx\nengine=null\nnumber_ios=3\n";
  ASSERT_EQ(symlink("a.pcap", dir.file("b.pcap").c_str()), 0);
  const auto bytes = text_of_file(capture);
  for (const Words& words : std::vector<Words>{
           {"run", "--rw=tx", "--engine=null", "--replay=" + capture,
            "--write_pcap=" + dir.file("b.pcap")},
           {"run", "--rw=tx", "--engine=null", "--replay=" + capture, "--output=" + capture},
           {"run", job, "--output=" + dir.file("./a.job")}}) {
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_NE(result.err.find("is read by this run"), std::string::npos) << result.err;
  }
  EXPECT_EQ(text_of_file(capture), bytes);
  EXPECT_EQ(text_of_file(job).substr(0, 3), "[a]");
}

TEST(PerfResult, HasThePercentilesThatWereAskedForUnderFiosNames) {
  const TempDir dir;
  const std::string path = dir.file("result.json");
  const ToolResult ran =
      run_program(run_with({"--output=json:" + path, "--details", "--runtime=60",
                            "--number_ios=100", "--percentile_list=99.5:50:100"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json json = json_of_file(path);
  bool any = false;
  for (const Json& job : json.at("jobs")) {
    if (job.at("latency_ns").is_null()) continue;
    any = true;
    const Json& latency = job.at("latency_ns");
    EXPECT_EQ(latency.at("percentile").size(), 3U);
    EXPECT_EQ(latency.at("percentile").at("50.000000"), latency.at("p50"));
    EXPECT_EQ(latency.at("percentile").at("100.000000"), latency.at("max"));
    EXPECT_GE(latency.at("percentile").at("99.500000"), latency.at("p99"));
    EXPECT_LE(latency.at("percentile").at("99.500000"), latency.at("p99_9"));
  }
  EXPECT_TRUE(any);
  EXPECT_NE(ran.out.find("p50 "), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find(", p99.5 "), std::string::npos) << ran.out;
}

TEST(PerfResult, SaysOfRatesInFiosSpellingThatTheyAreInBits) {
  const std::string warning =
      "rate=10m is 10Mbit per second here; if fio's bytes were meant, write 80Mbit";
  const auto ran = [](const char* rate) {
    return run_program(run_with({"--output-format=json", "--runtime=60", "--number_ios=250",
                                 "--bs=1000", "--rate_iops=0", std::string("--rate=") + rate}));
  };
  const ToolResult bare = ran("10m");
  ASSERT_EQ(bare.status, 0) << bare.err;
  const Json json = Json::parse(bare.out);
  EXPECT_TRUE(std::ranges::any_of(json.at("warnings"), [&](const Json& w) { return w == warning; }))
      << json.at("warnings");
  const double offered = json.at("jobs")[0].at("tx").at("offered_bps").get<double>();
  EXPECT_NEAR(offered, 10e6, 1e6) << "bits, not bytes";
  EXPECT_EQ(ran("10Mbit").out.find("fio's bytes"), std::string::npos);
}

TEST(PerfOutput, HasOneFormatInEachPlace) {
  const TempDir dir;
  const std::string path = dir.file("r");
  for (const Words& outputs : std::vector<Words>{
           {"--output-format=normal,json"},
           {"--output-format=json,terse", "--output=" + path},
           {"--output-format=json,json+", "--output=json:" + path},
           {"--output-format=json,terse", "--output=json:" + dir.file("s"), "--output=" + path},
           {"--output-format=normal,terse", "--output=-"}}) {
    SCOPED_TRACE(outputs[0] + ' ' + outputs.back());
    const ToolResult ran = run_program(run_with(outputs));
    EXPECT_EQ(ran.status, 2);
    EXPECT_EQ(ran.out, "") << "nothing was run";
    EXPECT_NE(ran.err.find("each place holds one (name one, and write each of the others to a file "
                           "of its own: --output=json:FILE, which may be repeated)"),
              std::string::npos)
        << ran.err;
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_FALSE(std::filesystem::exists(dir.file("s")));
  }
  // One format, however often it is named, and the way that the message shows.
  const ToolResult ran = run_program(
      run_with({"--output-format=json,json", "--output=terse:" + path,
                "--output=normal:" + dir.file("s"), "--runtime=60", "--number_ios=100"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const Json json = Json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << ran.out;
  EXPECT_EQ(text_of_file(path).find("1;"), 0U);
  EXPECT_EQ(text_of_file(dir.file("s")).find("shmifperf "), 0U);
  EXPECT_EQ(lines_of(text_of_file(path)).size(), json.at("jobs").size());
  EXPECT_EQ(ran.err, "") << "no progress where there is no terminal";
}

// ---- Status ----

TEST(PerfStatus, Sigusr1AsksForItOnceAndTheRunGoesOn) {
  Tool run(run_with({"--runtime=60", "--json-stream", "--status-interval=100ms"}));
  ASSERT_TRUE(run.wait_for("\"state\":\"running\""));
  run.signal(SIGUSR1);
  ASSERT_TRUE(run.wait_for("status after "));
  ASSERT_TRUE(run.wait_for("job.sink  running"));
  run.signal(SIGINT);
  const ToolResult ended = run.finish();
  EXPECT_EQ(ended.status, 128 + SIGINT);
  EXPECT_EQ(ended.err.find("status after "), ended.err.rfind("status after ")) << ended.err;
  EXPECT_EQ(ended.out.find("status after "), std::string::npos) << "that is the stream's";
  EXPECT_NE(ended.err.find("stopped by SIGINT"), std::string::npos) << ended.err;
}

TEST(PerfStatus, OfEachIntervalPrecedesTheResult) {
  const ToolResult ran = run_program(run_with({"--status-interval=250ms"}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  const auto lines = lines_of(ran.out);
  const auto is_status = [](const std::string& line) { return line.starts_with("status after "); };
  EXPECT_GE(std::ranges::count_if(lines, is_status), 2) << ran.out;
  EXPECT_LT(ran.out.rfind("status after "), ran.out.find("\nshmifperf "));
}

TEST(PerfStatus, IsOnStandardOutputWhereThatIsForPeopleAndElseOnStandardError) {
  const TempDir dir;
  for (const Words& outputs :
       {Words{"--output-format=normal"}, Words{"--output-format=json", "--output=/dev/null"},
        Words{"--output=json:" + dir.file("r")}, Words{"--output-format=json"},
        Words{"--output=terse:-"}}) {
    SCOPED_TRACE(outputs[0]);
    Words words = outputs;
    words.insert(words.end(), {"--status-interval=250ms", "--runtime=600ms"});
    const ToolResult ran = run_program(run_with(words));
    EXPECT_EQ(ran.status, 0) << ran.err;
    const bool for_people = outputs[0] == "--output-format=normal" || outputs.size() == 2 ||
                            outputs[0].starts_with("--output=json:");
    const std::string& there = for_people ? ran.out : ran.err;
    const std::string& elsewhere = for_people ? ran.err : ran.out;
    EXPECT_NE(there.find("status after "), std::string::npos) << ran.out << ran.err;
    EXPECT_EQ(elsewhere.find("status after "), std::string::npos);
    // Of the end of both jobs, the result tells.
    for (std::size_t at = there.find("status after "); at != std::string::npos;) {
      const std::size_t next = there.find("status after ", at + 1);
      const std::string status =
          there.substr(at, std::min(next, there.find("\nshmifperf ", at)) - at);
      EXPECT_TRUE(status.find("reaped") == status.rfind("reaped")) << status;
      at = next;
    }
  }
  const ToolResult ran =
      run_program(run_with({"--status-interval=100ms", "--output-format=json", "--runtime=400ms"}));
  EXPECT_TRUE(Json::parse(ran.out).is_object()) << "one object, and nothing else";
}

TEST(PerfStatus, ThatCannotBeWrittenIsSaidOnce) {
  Words words = run_with({"--status-interval=100ms", "--output=/dev/null", "--runtime=600ms"});
  words.insert(words.begin(), {"sh", "-c", "exec \"$@\" >/dev/full", "sh"});
  const ToolResult ran = run_program(words);
  EXPECT_EQ(ran.status, 1);
  const std::string what = "cannot write to standard output: No space left on device";
  EXPECT_NE(ran.err.find(what + " (the run goes on without it)"), std::string::npos) << ran.err;
  EXPECT_EQ(ran.err.find(what), ran.err.rfind(what)) << ran.err;
}

TEST(PerfOutput, ThatCannotBeWrittenFailsTheCommandThoughOnlyItsLastBytesShowThat) {
  for (const std::string path : {"/dev/null", "/dev/full"}) {
    const ToolResult ran =
        run_program(run_with({"--output-format=terse", "--output=" + path, "--runtime=60",
                              "--number_ios=50", "--eta=never"}));
    const bool full = path == "/dev/full";  // refuses the few lines when they leave the buffer
    EXPECT_EQ(ran.status, full ? 1 : 0) << ran.err;
    EXPECT_EQ(ran.err.find("cannot write /dev/full: No space left on device") != ran.err.npos, full)
        << ran.err;
  }
}

TEST(PerfOutput, GoesToEachPlaceInItsFormatAndTheTextToTheScreen) {
  const TempDir dir;
  const ToolResult ran = run_program(
      run_with({"--runtime=60", "--number_ios=50", "--output=json:" + dir.file("a"),
                "--output=terse:" + dir.file("b"), "--output=json+:" + dir.file("c:d")}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_TRUE(ran.out.starts_with("shmifperf ")) << ran.out;
  EXPECT_NE(ran.out.find("\n  wrote     " + dir.file("a") + ", " + dir.file("b") + ", " +
                         dir.file("c:d") + '\n'),
            std::string::npos)
      << ran.out;
  EXPECT_EQ(json_of_file(dir.file("a")).at("passed"), true);
  EXPECT_EQ(text_of_file(dir.file("b")).find("1;"), 0U);
  const Json bins = json_of_file(dir.file("c:d"));
  EXPECT_TRUE(bins.at("jobs")[1].at("latency_ns").contains("bins")) << bins.at("jobs")[1];
  EXPECT_FALSE(json_of_file(dir.file("a")).at("jobs")[1].at("latency_ns").contains("bins"));
}

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

TEST(PerfOutput, IsASummaryOnTheScreenAndWholeInAFile) {
  const TempDir dir;
  const Words line{"run",
                   "--name=flow",
                   "--rw=tx",
                   "--bs=100",
                   "--number_ios=300",
                   "--rate_iops=2000",
                   "--aux-path=" + dir.path(),
                   "--write_iops_log=load",
                   "--write_pcap=" + dir.file("sent.pcapng"),
                   "--output=normal:" + dir.file("whole.txt")};
  const ToolResult ran = shmifperf(line);
  EXPECT_EQ(ran.status, 0) << ran.err;
  const auto without_folder = [&](std::string text) {
    for (std::size_t at; (at = text.find(dir.path())) != std::string::npos;) {
      text.replace(at, dir.path().size(), "DIR");
    }
    return text;
  };
  EXPECT_EQ(plain_summary(without_folder(ran.out)),
            "shmifperf #: passed, no loss in # frames (exit code #), took #\n"
            " job role frames rate lost latency p# p#\n"
            " flow tx # # # # # # #\n"
            " wrote DIR/sent.pcapng, DIR/load_iops.flow.log, DIR/whole.txt\n"
            "use --details for the rest\n")
      << ran.out;
  const std::string whole = text_of_file(dir.file("whole.txt"));
  for (const char* const part :
       {"\n  traffic ", "\n  flow.sink received ", "\n  CPU ", "\nmachine "}) {
    EXPECT_NE(whole.find(part), std::string::npos) << part << " in " << whole;
    EXPECT_EQ(ran.out.find(part), std::string::npos) << part << " in " << ran.out;
  }
  EXPECT_EQ(whole.find("--details for the rest"), std::string::npos) << whole;
}

TEST(PerfOutput, NamesTheFilesThatTheRunWroteAndNoOthers) {
  const TempDir dir;
  const std::string old = dir.file("old.pcapng");
  const auto run = [&](const Words& more) {
    Words words{"run", "--name=flow", "--rw=tx", "--bs=100", "--number_ios=20"};
    words.insert(words.end(), more.begin(), more.end());
    return shmifperf(words);
  };
  ASSERT_EQ(run({"--write_pcap=" + old}).status, 0);
  // This run ends before it opens the capture.
  ToolResult ran =
      run({"--write_pcap=" + old, "--engine=pcap", "--filename=" + dir.file("none/x")});
  EXPECT_EQ(ran.status, 1) << ran.err;
  EXPECT_NE(ran.out.find("FAILED"), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find("\n  wrote "), std::string::npos) << ran.out;
  // This one overwrites it, and cannot write one of its logs.
  std::filesystem::create_symlink("/dev/full", dir.file("x_bw.flow.log"));
  ran = run({"--write_pcap=" + old, "--aux-path=" + dir.path(), "--write_bw_log=x",
             "--write_iops_log=x"});
  EXPECT_EQ(ran.status, 1) << ran.err;
  EXPECT_NE(ran.err.find("x_bw.flow.log is not complete"), std::string::npos) << ran.err;
  EXPECT_NE(ran.out.find("\n  wrote     " + old + ", " + dir.file("x_iops.flow.log") + '\n'),
            std::string::npos)
      << ran.out;
}

TEST(PerfOutput, WithDetailsIsWholeOnTheScreenToo) {
  const ToolResult ran = run_program(run_with({"--runtime=60", "--number_ios=50", "--details"}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  for (const char* const part : {"\n  traffic ", "\n  job.sink received ", "\nmachine "}) {
    EXPECT_NE(ran.out.find(part), std::string::npos) << part << " in " << ran.out;
  }
  EXPECT_EQ(ran.out.find("--details for the rest"), std::string::npos) << ran.out;
}

TEST(PerfOutput, ThatWasStoppedSaysSoInItsSummary) {
  Tool run(run_with({"--runtime=60", "--eta=always", "--status-interval=100ms"}));
  ASSERT_TRUE(run.wait_for("[RR]"));
  run.signal(SIGINT);
  const ToolResult ended = run.finish();
  EXPECT_EQ(ended.status, 128 + SIGINT);
  const std::size_t at = ended.out.find("shmifperf ");
  ASSERT_NE(at, std::string::npos) << ended.out;
  EXPECT_EQ(plain_summary(ended.out.substr(at)),
            "shmifperf #: stopped by SIGINT, no loss in # frames (exit code #), took #\n"
            " job role frames rate lost latency p# p#\n"
            " job tx # # # # # # #\n"
            "use --details for the rest\n")
      << ended.out;
}

TEST(PerfOutput, ToAFileAloneLeavesTheVerdictOnTheScreen) {
  const TempDir dir;
  const std::string file = "--output=" + dir.file("r");
  ToolResult ran =
      run_program(run_with({"--output-format=json", file, "--runtime=60", "--number_ios=50"}));
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(lines_of(ran.out).size(), 1U) << ran.out;
  EXPECT_NE(ran.out.find(": passed"), std::string::npos) << ran.out;
  EXPECT_TRUE(json_of_file(dir.file("r")).is_object());
  ran = run_program({shmifperf_path(), "run", "--rw=tx", "--runtime=1", "--engine=pcap",
                     "--filename=" + dir.file("none/x"), file});
  EXPECT_EQ(ran.status, 1);
  const auto lines = lines_of(ran.out);
  ASSERT_GE(lines.size(), 2U) << ran.out;
  EXPECT_NE(lines[0].find("FAILED (exit code 1)"), std::string::npos) << ran.out;
  EXPECT_NE(lines[1].find("FAILED "), std::string::npos) << ran.out;
  // Without a format, the name of the file tells it.
  for (const bool named : {false, true}) {
    const std::string result = dir.file("r.json");
    Words words{"--output=" + result, "--runtime=60", "--number_ios=50"};
    if (named) words.emplace_back("--output-format=normal");
    ran = run_program(run_with(words));
    EXPECT_EQ(lines_of(ran.out).size(), 1U) << ran.out;
    EXPECT_EQ(text_of_file(result).starts_with(named ? "shmifperf " : "{"), true);
  }
  // A stream has standard output for itself.
  ran = run_program(run_with({"--json-stream", file, "--runtime=60", "--number_ios=50"}));
  for (const std::string& line : lines_of(ran.out)) EXPECT_FALSE(Json::parse(line).is_null());
  EXPECT_NE(ran.err.find(": passed"), std::string::npos) << ran.err;
}

TEST(PerfOutput, ThatCannotBeWrittenToOnePlaceIsToldAndChangesNoOther) {
  const TempDir dir;
  const ToolResult ran =
      run_program(run_with({"--runtime=60", "--number_ios=50", "--output=json:/dev/full",
                            "--output=terse:" + dir.file("b")}));
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("cannot write /dev/full: No space left on device (free some"),
            std::string::npos)
      << ran.err;
  EXPECT_TRUE(ran.out.starts_with("shmifperf ")) << "the text, and no JSON: " << ran.out;
  EXPECT_EQ(ran.out.find('{'), std::string::npos) << ran.out;
  EXPECT_EQ(text_of_file(dir.file("b")).find("1;"), 0U);
}

TEST(PerfOutput, OnStandardOutputUnderItsNameIsAllThatIsThere) {
  const ToolResult ran =
      run_program(run_with({"--runtime=60", "--number_ios=50", "--output=json:/dev/stdout"}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_TRUE(Json::parse(ran.out).contains("jobs"));
}

TEST(PerfOutput, OfJobsIsNotOnStandardOutputWhereTheRunIsReported) {
  const TempDir dir;
  const auto refused = [&](const std::string& file, const Words& options) {
    Words line{"sh", "-c", "f=$0; exec \"$@\" >\"$f\"", dir.file("output")};
    const Words run = run_with(options);
    line.insert(line.end(), run.begin(), run.end());
    const ToolResult ran = run_program(line);
    EXPECT_EQ(ran.status, 2) << ran.err;
    EXPECT_NE(ran.err.find("\"" + file +
                           "\" is standard output, where the run is reported (name another file or "
                           "a FIFO)"),
              std::string::npos)
        << ran.err;
    EXPECT_EQ(text_of_file(dir.file("output")), "");
  };
  for (const std::string& file :
       {std::string("-"), std::string("/dev/stdout"), dir.file("output")}) {
    refused(file, {"--number_ios=5", "--write_pcap=" + file});
    refused(file, {"--number_ios=5", "--write_pcap=" + file, "--output=json:" + dir.file("r")});
    refused(file, {"--number_ios=5", "--engine=pcap", "--filename=" + file, "--output=json:-"});
  }
  std::filesystem::create_symlink("/dev/stdout", dir.file("x_bw.job.log"));
  refused(dir.file("x_bw.job.log"), {"--number_ios=5", "--write_bw_log=" + dir.file("x")});
}

TEST(PerfOutput, WithAWrongFormatIsRefusedButNotAPathThatLooksLikeIt) {
  const TempDir dir;
  for (const std::string format : {"jsn", "JSON", "text", "json++"}) {
    const ToolResult ran =
        run_program(run_with({"--number_ios=5", "--output=" + format + ":" + dir.file("r")}));
    EXPECT_EQ(ran.status, 2) << ran.err;
    EXPECT_NE(ran.err.find("begins with \"" + format +
                           "\", which is not a format (normal, json, json+ or terse; for a file of "
                           "that name, write ./" +
                           format + ":"),
              std::string::npos)
        << ran.err;
  }
  for (const std::string path : {"./jsn:r", "10:30.txt", "c:r", "a-b:r", ":r"}) {
    Words line{"env", "--chdir=" + dir.path()};
    const Words run = run_with({"--number_ios=5", "--output=" + path});
    line.insert(line.end(), run.begin(), run.end());
    const ToolResult ran = run_program(line);
    EXPECT_EQ(ran.status, 0) << path << ": " << ran.err;
    EXPECT_TRUE(text_of_file(dir.file(path)).starts_with("shmifperf ")) << path;
  }
}

TEST(PerfOutput, IsGivenOnceForEachPlace) {
  const TempDir dir;
  const auto refused = [](const Words& outputs) {
    const ToolResult ran = run_program(run_with(outputs));
    EXPECT_EQ(ran.status, 2) << ran.err;
    return ran.err;
  };
  const std::string path = dir.file("r");
  EXPECT_NE(refused({"--output=json:" + path, "--output=" + path}).find("is given more than once"),
            std::string::npos);
  EXPECT_NE(refused({"--output=json:" + path, "--output=terse:" + dir.path() + "/./r"})
                .find("is given more than once"),
            std::string::npos);
  EXPECT_NE(refused({"--output=json:shmif-none", "--output=terse:./shmif-none"})
                .find("is given more than once"),
            std::string::npos);
  EXPECT_NE(refused({"--output=json:-", "--output=normal:-"}).find("which holds one result"),
            std::string::npos);
  EXPECT_NE(
      refused({"--output=json:/dev/stdout", "--output=normal:-"}).find("which holds one result"),
      std::string::npos);
  EXPECT_NE(refused({"--output=json:"}).find("has no path"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path)) << "nothing was run";
  const ToolResult shown =
      run_program(run_with({"--output=json:a", "--output=terse:b", "--showcmd"}));
  EXPECT_NE(shown.out.find("--output=json:a --output=terse:b"), std::string::npos) << shown.out;
}

TEST(PerfOutput, OnTheScreenIsOnlyWhatItWasGivenWhereverAFileStandsInTheLine) {
  const TempDir dir;
  const std::string file = dir.file("terse");
  for (const Words& outputs : std::vector<Words>{{"--output=json:-", "--output=terse:" + file},
                                                 {"--output=terse:" + file, "--output=json:-"}}) {
    Words words{"run",
                "--rw=tx",
                "--engine=unix",
                "--rate_iops=500",
                "--runtime=500ms",
                "--drain_time=50ms",
                "--status-interval=100ms"};
    words.insert(words.end(), outputs.begin(), outputs.end());
    const ToolResult ran = shmifperf(words);
    EXPECT_EQ(ran.status, 0) << ran.err;
    const Json result = Json::parse(ran.out, nullptr, false);
    ASSERT_FALSE(result.is_discarded()) << ran.out;
    EXPECT_EQ(result.at("jobs").size(), 2U);
    EXPECT_EQ(lines_of(text_of_file(file)).size(), 2U);
  }
}

TEST(PerfOutput, ANoticeIsSaidOnceHoweverOftenTheRunIsRepeated) {
  const TempDir dir;
  std::ofstream capture(dir.file("a.pcap"), std::ios::binary);
  const auto put = [&](std::initializer_list<std::uint32_t> words) {
    for (const std::uint32_t word : words) {
      capture.write(reinterpret_cast<const char*>(&word), sizeof word);
    }
  };
  put({0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1});
  for (const std::uint32_t second : {1U, 201U}) {
    put({second, 0, 60, 60});
    capture << std::string(60, 'f');
  }
  capture.close();
  const ToolResult ran =
      shmifperf({"run", "--rw=tx", "--engine=unix", "--replay=" + dir.file("a.pcap"),
                 "--number_ios=1", "--repeat=2", "--drain_time=50ms", "--name=flow"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.err,
            "shmifperf: flow: the longest pause of the capture takes 3 minutes (replay_max_gap=1 "
            "cuts it to a second)\n");
}

// ---- Progress ----

TEST(PerfProgress, IsAPlainLineForEachIntervalWhereThereIsNoTerminal) {
  const ToolResult ran = run_program(
      run_with({"--eta=always", "--status-interval=250ms", "--output=/dev/null", "--name=alice"}));
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.err.find('\x1b'), std::string::npos) << "no escape sequences in a file";
  const auto lines = lines_of(ran.err);
  ASSERT_GE(lines.size(), 3U) << ran.err;
  EXPECT_EQ(lines[0].rfind("alice  [RR]  ", 0), 0U) << ran.err;
  for (const char* part : {" % ", "eta 1s", "tx ", "rx ", "bit/s", "lost 0"}) {
    EXPECT_NE(lines[0].find(part), std::string::npos) << part << " in " << lines[0];
  }
  EXPECT_EQ(lines.back().rfind("alice  [--]  done", 0), 0U) << ran.err;
}

TEST(PerfProgress, NamesTheRunOfSeveral) {
  const ToolResult ran =
      run_program(run_with({"--eta=always", "--runtime=60", "--number_ios=100", "--repeat=2",
                            "--output=/dev/null", "--name=alice"}));
  EXPECT_NE(ran.err.find("run 1 of 2: alice"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("run 2 of 2: alice"), std::string::npos) << ran.err;
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
                        120, 20);
  const auto is_running = [](const std::vector<std::string>& seen) {
    return seen.size() == 2 && seen[0].find("[R(4)]") != std::string::npos &&
           seen[1].find("[RR]") != std::string::npos &&
           std::regex_search(seen[0], std::regex("tx [0-9.]+ k?/s"));
  };
  const auto first = screen.wait_for(is_running);
  EXPECT_TRUE(first[0].starts_with("alice")) << first[0];
  EXPECT_TRUE(first[1].starts_with("bob")) << first[1];
  // Later in the same place, for two lines are all there is.
  screen.wait_for([&](const auto& seen) { return is_running(seen) && seen[0] != first[0]; });
  const auto last = screen.wait_for(
      [](const auto& seen) { return !seen.empty() && seen.back().starts_with("ended with"); });
  EXPECT_TRUE(last.front().starts_with("shmifperf ")) << "the lines are taken away";
  EXPECT_EQ(last.back(), "ended with 0");
}

TEST(PerfProgress, LinesAreCutAtTheWidthOfTheTerminalAndTheResultStandsBelow) {
  if (!has_tmux()) GTEST_SKIP() << "tmux is not installed";
  const OnScreen screen(run_with({"--runtime=1500ms", "--name=alice"}), 30, 10);
  const auto seen = screen.wait_for(
      [](const auto& now) { return now.size() == 1 && now[0].find("[RR]") != std::string::npos; });
  EXPECT_LE(seen[0].size(), 30U);
  const auto last = screen.wait_for(
      [](const auto& now) { return !now.empty() && now.back().starts_with("ended with"); });
  EXPECT_TRUE(last.front().starts_with("shmifperf ")) << last.front();
}

TEST(PerfProgress, NeverIsNeverOnATerminalToo) {
  if (!has_tmux()) GTEST_SKIP() << "tmux is not installed";
  const OnScreen screen(run_with({"--runtime=500ms", "--eta=never", "--output=/dev/null"}), 80, 10);
  const auto seen = screen.wait_for(
      [](const auto& now) { return !now.empty() && now.back().starts_with("ended with"); });
  EXPECT_TRUE(seen.front().starts_with("shmifperf ")) << seen.front();
}

}  // namespace
}  // namespace shmif::test
