// What a run tells programs while it lasts: JSON, InfluxDB's lines, logs. Prometheus is in
// metrics_test.cpp.

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

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
