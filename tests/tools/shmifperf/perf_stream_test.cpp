// What a run tells programs while it lasts: JSON, InfluxDB's lines, Prometheus, logs.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <future>
#include <map>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/remote/address.hpp"
#include "shmif/socket_address.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"
#include "tools/shmifperf/metrics.hpp"

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
  Words to_file() const { return {"--output-format=json", "--output=" + result}; }
  Words with(Words options) const {
    const Words file = to_file();
    options.insert(options.end(), file.begin(), file.end());
    return run_with(std::move(options));
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

TEST_F(PerfStream, BehindAStreamTheResultGoesToStandardErrorForTheReaderExpectsNone) {
  const ToolResult ran = run_program(run_with({"--json-stream", "--runtime=200ms"}));
  EXPECT_EQ(ran.status, 0);
  for (const std::string& line : lines_of(ran.out)) EXPECT_FALSE(Json::parse(line).is_null());
  EXPECT_NE(ran.err.find("shmifperf "), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find(": passed"), std::string::npos) << ran.err;  // whatever was lost
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

TEST_F(PerfStream, TwoStreamsOnOneOutputAreAnErrorOfUsage) {
  const ToolResult ran = run_program(run_with({"--json-stream", "--format=influx"}));
  EXPECT_EQ(ran.status, 2);
  EXPECT_NE(ran.err.find("give only one of"), std::string::npos) << ran.err;
}

TEST_F(PerfStream, AFullDiskUnderAStreamCostsTheStreamAndNotTheRun) {
  Words words = with({"--json-stream", "--status-interval=100ms", "--runtime=500ms"});
  words.insert(words.begin(), {"sh", "-c", "exec \"$@\" >/dev/full", "sh"});
  const ToolResult ran = run_program(words);
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("standard output: No space left on device (the run goes on"),
            std::string::npos)
      << ran.err;
  const Json json = json_of_file(result);
  EXPECT_EQ(json.at("passed"), true);
  EXPECT_EQ(json.at("exit_code"), 1);
  EXPECT_NE(json.at("warnings").dump().find("No space left"), std::string::npos);
  expect_all_arrived(json);
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

// ---- Prometheus ----

/// A port of the loopback that somebody listens on.
class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (bind(fd_, any, size) != 0 || listen(fd_, 1) != 0 || getsockname(fd_, any, &size) != 0) {
      throw std::runtime_error("no port");
    }
    number_ = ntohs(address.sin_port);
  }
  TakenPort(const TakenPort&) = delete;
  TakenPort& operator=(const TakenPort&) = delete;
  ~TakenPort() { close(fd_); }
  std::string number() const { return std::to_string(number_); }

 private:
  int fd_;
  int number_ = 0;
};

/// The value of a sample; nothing when it is not there.
std::optional<double> sample(const std::string& text, const std::string& name,
                             const std::string& job) {
  const std::regex line(name + R"(\{[^}]*jobname=")" + job + R"("[^}]*\} ([^\n]+))");
  std::smatch match;
  if (!std::regex_search(text, match, line)) return std::nullopt;
  return std::stod(match[1]);
}

std::string scraped(const std::string& url) {
  return run_program({"curl", "--silent", "--show-error", "--max-time", "5", url}).out;
}

TEST_F(PerfStream, PrometheusScrapesCountersAndGaugesAsLongAsTheRunLasts) {
  const std::string port = TakenPort().number();  // free again
  const std::string url = "http://127.0.0.1:" + port + "/metrics";
  Tool run(with({"--metrics=" + port, "--status-interval=200ms", "--runtime=60"}));
  ASSERT_TRUE(run.wait_for("metrics are at " + url + '\n'))
      << "a bare port is one of this host alone";
  std::string first;
  // Until frames have been sent and an interval is over.
  for (int tries = 0; tries < 200 && first.empty(); ++tries) {
    const std::string text = scraped(url);
    if (sample(text, "shmifperf_rx_fps", "job.sink").value_or(0) > 0) first = text;
    usleep(50000);
  }
  ASSERT_NE(first, "");
  EXPECT_NE(first.find("# TYPE shmifperf_tx_frames_total counter"), std::string::npos);
  EXPECT_GT(sample(first, "shmifperf_tx_frames_total", "job"), 0);
  EXPECT_GT(sample(first, "shmifperf_latency_seconds", "job.sink"), 0);
  EXPECT_EQ(sample(first, "shmifperf_job_failed", "job"), 0);
  EXPECT_NE(first.find("jobname=\"job\",state=\"running\"} 1"), std::string::npos) << first;
  const auto before = sample(first, "shmifperf_tx_frames_total", "job");
  std::optional<double> after;
  for (int tries = 0; tries < 100 && !(after > before); ++tries) {
    after = sample(scraped(url), "shmifperf_tx_frames_total", "job");
  }
  EXPECT_GT(after, before);
  run.signal(SIGINT);
  EXPECT_EQ(run.finish().status, 128 + SIGINT);
  EXPECT_EQ(scraped(url), "") << "it is gone with the run";
}

TEST(Metrics, AFrameThatWasOvertakenIsNoLongerLostWhenItCame) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  perf::RunProgress progress;
  progress.jobs.emplace_back().name = "sink";
  perf::JobProgress& sink = progress.jobs[0];
  for (const std::uint64_t lost : {10U, 1000U, 999U, 4U}) {
    sink.lost_frames = lost;
    sink.rx_frames += 500;
    (*metrics)->count(progress);
  }
  for (const std::uint64_t rx_frames : {70U, 90U, 5U, 6U}) {  // of the next runs of a campaign
    sink.rx_frames = rx_frames;
    (*metrics)->count(progress);
  }
  const std::string text = scraped((*metrics)->url());
  EXPECT_EQ(sample(text, "shmifperf_lost_frames", "sink"), 4) << text;
  EXPECT_EQ(sample(text, "shmifperf_rx_frames_total", "sink"), 2096) << text;
}

TEST(Metrics, AJobIsInTheStateThatItIsInAndInNoOther) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  perf::RunProgress progress;
  progress.jobs.emplace_back().name = "job";
  for (const auto state : {perf::JobState::ramp, perf::JobState::running, perf::JobState::draining,
                           perf::JobState::running}) {
    progress.jobs[0].state = state;
    (*metrics)->count(progress);
  }
  const std::string text = scraped((*metrics)->url());
  const auto in = [&](const std::string& state) {
    return text.find("jobname=\"job\",state=\"" + state + "\"} 1\n") != std::string::npos;
  };
  EXPECT_TRUE(in("running")) << text;
  EXPECT_FALSE(in("ramp") || in("draining")) << text;
}

/// All samples, by name and labels, without those of the server library itself. NaN becomes null.
Figures samples_in(const std::string& text) {
  Figures samples;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with('#') || line.starts_with("exposer_")) continue;
    const auto blank = line.rfind(' ');
    const double value = std::stod(line.substr(blank + 1));
    samples[line.substr(0, blank)] = std::isnan(value) ? Json() : Json(value);
  }
  return samples;
}

TEST(Metrics, EachSampleHoldsTheFigureThatItIsNamedForAndNoneIsUnknown) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const perf::RunProgress progress = distinct_progress();
  (*metrics)->count(progress);
  (*metrics)->measure(progress);
  Figures wanted{{"shmifperf_run_done_ratio", *progress.share},
                 {"shmifperf_run_left_seconds", *progress.left_seconds}};
  const std::array<const char*, 4> states{"running", "draining", "ramp", "verifying"};
  for (std::size_t n = 0; n < progress.jobs.size(); ++n) {
    const perf::JobProgress& job = progress.jobs[n];
    const perf::IntervalResult& last = job.last;
    const std::string names = "groupname=\"" + job.group + "\",jobname=\"" + job.name + '"';
    const auto put = [&](const std::string& name, double value) {
      wanted["shmifperf_" + name + '{' + names + '}'] = value;
    };
    put("tx_frames_total", static_cast<double>(job.tx_frames));
    put("tx_bytes_total", static_cast<double>(job.tx_bytes));
    put("rx_frames_total", static_cast<double>(job.rx_frames));
    put("rx_bytes_total", static_cast<double>(job.rx_bytes));
    put("lost_frames", static_cast<double>(job.lost_frames));
    put("tx_fps", static_cast<double>(last.tx_frames) / last.seconds);
    put("tx_bps", static_cast<double>(last.tx_bytes) * 8 / last.seconds);
    put("rx_fps", static_cast<double>(last.rx_frames) / last.seconds);
    put("rx_bps", static_cast<double>(last.rx_bytes) * 8 / last.seconds);
    put("job_failed", job.failed ? 1 : 0);
    const auto latency = [&](const char* figure, const std::optional<double>& ns) {
      wanted[std::string("shmifperf_latency_seconds{figure=\"") + figure + "\"," + names + '}'] =
          *ns * 1e-9;
    };
    latency("mean", last.latency_mean_ns);
    latency("p50", last.latency_p50_ns);
    latency("p99", last.latency_p99_ns);
    latency("max", last.latency_max_ns);
    wanted["shmifperf_job_state{" + names + ",state=\"" + states.at(n) + "\"}"] = 1;
  }
  expect_figures(wanted, samples_in(scraped((*metrics)->url())));
}

TEST(Metrics, WhatWasNotMeasuredIsNotKnownThoughItWasBefore) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  perf::RunProgress progress = distinct_progress();
  (*metrics)->count(progress);
  for (const auto& [place, value] : samples_in(scraped((*metrics)->url()))) {
    const bool of_an_interval = place.find("_fps{") != std::string::npos ||
                                place.find("_bps{") != std::string::npos ||
                                place.find("latency") != std::string::npos;
    EXPECT_EQ(value.is_null(), of_an_interval) << place << ": no interval was measured yet";
  }
  (*metrics)->measure(progress);
  EXPECT_TRUE(progress.jobs[1].failed);
  progress.jobs[1].failed = false;  // the next run of a campaign
  progress.share = progress.left_seconds = std::nullopt;
  for (perf::JobProgress& job : progress.jobs) job.last = {};
  (*metrics)->count(progress);
  (*metrics)->measure(progress);
  for (const auto& [place, value] : samples_in(scraped((*metrics)->url()))) {
    const bool counted = place.find("_total{") != std::string::npos ||
                         place.find("_lost_frames{") != std::string::npos ||
                         place.find("job_state{") != std::string::npos;
    if (counted) {
      EXPECT_TRUE(value.is_number()) << place;
    } else {
      EXPECT_EQ(value, place.find("job_failed{") != std::string::npos ? Json(0.0) : Json())
          << place;
    }
  }
}

TEST(Metrics, NamesThatAreNoTextAreEscapedAndStayDifferent) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  perf::RunProgress progress;
  std::uint64_t frames = 0;
  for (const char* const name :
       {"a\x80", "a\x81", "b\u202e", "c\n\x1b", "d\u0085", "e\"\\", "\u00e4\u00f6", "a\\x80"}) {
    perf::JobProgress& job = progress.jobs.emplace_back();
    job.name = name;
    job.group = name;
    job.tx_frames = ++frames;
  }
  (*metrics)->count(progress);
  const Figures samples = samples_in(scraped((*metrics)->url()));
  const auto sent = [&](const std::string& name) {
    const auto found = samples.find("shmifperf_tx_frames_total{groupname=\"" + name +
                                    "\",jobname=\"" + name + "\"}");
    return found == samples.end() ? Json() : found->second;
  };
  // The format itself doubles each backslash.
  EXPECT_EQ(sent("a\\\\x80"), 1);
  EXPECT_EQ(sent("a\\\\x81"), 2);
  EXPECT_EQ(sent("b\\\\u202e"), 3);
  EXPECT_EQ(sent("c\\\\u000a\\\\u001b"), 4);
  EXPECT_EQ(sent("d\\\\u0085"), 5);
  EXPECT_EQ(sent("e\\\"\\\\\\\\"), 6);
  EXPECT_EQ(sent("\u00e4\u00f6"), 7) << "this is text";
  EXPECT_EQ(sent("a\\\\\\\\x80"), 8) << "a name with a backslash, and not the first one";
}

/// A connection to the server, of which each call waits.
UniqueFd connected_to(const std::string& url) {
  const std::size_t host = url.find("//") + 2;
  const std::string place = url.substr(host, url.find('/', host) - host);
  auto socket = perf::begin_connecting(parse_socket_address(place).value()).value();
  const int flags = ::fcntl(socket.get(), F_GETFL);
  ::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK);
  return socket;
}

/// All that the server answers to these bytes.
std::string answer_on(const UniqueFd& socket, const std::string& bytes) {
  EXPECT_EQ(::write(socket.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  std::string all;
  std::array<char, 4096> piece{};
  for (ssize_t n = 0; (n = ::read(socket.get(), piece.data(), piece.size())) > 0;) {
    all.append(piece.data(), static_cast<std::size_t>(n));
  }
  return all;
}

std::string answer_to(const std::string& url, const std::string& bytes) {
  return answer_on(connected_to(url), bytes);
}

TEST(Metrics, OneWhoGoesOnSendingAfterItsAnswerKeepsNeitherOthersNorTheEndWaiting) {
  auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const std::string url = (*metrics)->url();
  const UniqueFd socket = connected_to(url);
  const std::string answer = answer_on(socket, "GET /metrics HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
  auto is_closed = std::async(std::launch::async, [&] {
    const std::string more(64U << 10U, 'x');
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < until) {
      if (::send(socket.get(), more.data(), more.size(), MSG_NOSIGNAL) < 0) return true;
    }
    return false;
  });
  EXPECT_EQ(answer_to(url, "GET /metrics HTTP/1.1\r\n\r\n"), answer);
  metrics->reset();
  EXPECT_TRUE(is_closed.get()) << "by the server, which did not wait until the other side ended";
}

TEST(Metrics, HeadHasTheHeadersOfGetAndNoText) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const std::string url = (*metrics)->url();
  const std::string get = answer_to(url, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::size_t end = get.find("\r\n\r\n") + 4;
  EXPECT_TRUE(get.starts_with("HTTP/1.1 200 OK\r\n")) << get;
  EXPECT_NE(get.find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            std::string::npos)
      << get;
  EXPECT_NE(get.find("\r\nContent-Length: " + std::to_string(get.size() - end) + "\r\n"),
            std::string::npos)
      << get;
  EXPECT_EQ(answer_to(url, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), get.substr(0, end));
  EXPECT_EQ(answer_to(url, "GET http://x/metrics?a=b HTTP/1.0\n\n"), get) << "as proxies ask";
}

TEST(Metrics, WhatIsNoRequestForThemIsRefusedAndEndsNothing) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const std::string url = (*metrics)->url();
  const std::pair<std::string, std::string> refused[] = {
      {"GET / HTTP/1.1\r\n\r\n", "404"},
      {"HEAD /metrics2 HTTP/1.1\r\n\r\n", "404"},
      {"POST /metrics HTTP/1.1\r\n\r\n", "405"},
      {"\r\n\r\n", "400"},
      {"GET\r\n\r\n", "400"},
      {"GET /metrics\r\n\r\n", "400"},
      {"GET /metrics SMTP\r\n\r\n", "400"},
      {std::string(9000, 'x'), "431"},
  };
  for (const auto& [request, code] : refused) {
    EXPECT_TRUE(answer_to(url, request).starts_with("HTTP/1.1 " + code + ' ')) << request;
  }
  // More than it keeps; the oldest ones go.
  std::vector<UniqueFd> silent;
  const std::size_t host = url.find("//") + 2;
  const std::string place = url.substr(host, url.find('/', host) - host);
  for (int i = 0; i < 50; ++i) {
    silent.push_back(perf::begin_connecting(parse_socket_address(place).value()).value());
  }
  EXPECT_TRUE(scraped(url).find("shmifperf_run_done_ratio") != std::string::npos);
}

TEST_F(PerfStream, APortInUseFailsTheStartWithARemedy) {
  const TakenPort taken;
  const ToolResult ran = run_program(with({"--metrics=" + taken.number()}));
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("cannot serve metrics on 127.0.0.1:" + taken.number()), std::string::npos)
      << ran.err;
  EXPECT_NE(ran.err.find("ddress already in use"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("a free port"), std::string::npos) << ran.err;
  EXPECT_EQ(text_of_file(result), "") << "nothing ran";
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

TEST_F(PerfStream, AFullDiskFailsTheLogAndNotTheFigures) {
  std::filesystem::create_symlink("/dev/full", dir.file("x_bw.job.log"));
  const ToolResult ran = run_program(with(logs(dir)));
  EXPECT_EQ(ran.status, 1) << "what was asked for is not there";
  EXPECT_NE(ran.err.find("x_bw.job.log is not complete: No space left on device"),
            std::string::npos)
      << ran.err;
  const Json json = json_of_file(result);
  EXPECT_EQ(json.at("passed"), true);
  EXPECT_EQ(json.at("exit_code"), 1);
  EXPECT_NE(json.at("warnings").dump().find("x_bw.job.log is not complete"), std::string::npos);
  expect_all_arrived(json);
  EXPECT_GE(log_of(dir.file("x_iops.job.log")).size(), 3U) << "the others go on";
}

TEST_F(PerfStream, WhereNothingCanBeWrittenIsSaidBeforeTheRun) {
  const ToolResult log = run_program(run_with({"--write_bw_log=" + dir.file("none/x")}));
  EXPECT_EQ(log.status, 1);
  EXPECT_NE(log.err.find("cannot make the log " + dir.file("none/x_bw.job.log")), std::string::npos)
      << log.err;
  EXPECT_NE(log.err.find("--aux-path"), std::string::npos);
  EXPECT_EQ(log.out, "");
  const ToolResult output = run_program(run_with({"--output=" + dir.file("none/result")}));
  EXPECT_EQ(output.status, 1);
  EXPECT_NE(output.err.find("cannot write " + dir.file("none/result")), std::string::npos);
  EXPECT_EQ(output.out, "");
}

}  // namespace
}  // namespace shmif::test
