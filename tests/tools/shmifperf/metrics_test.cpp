// --metrics: what a run tells Prometheus, and what clients of all kinds can do to it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/remote/connection.hpp"
#include "shmif/socket_address.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"
#include "tools/shmifperf/metrics.hpp"

namespace shmif::test {
namespace {

/// The value of a sample; nothing when it is not there.
std::optional<double> sample(const std::string& text, const std::string& name,
                             const std::string& job) {
  const std::regex line(name + R"(\{[^}]*jobname=")" + job + R"("[^}]*\} ([^\n]+))");
  std::smatch match;
  if (!std::regex_search(text, match, line)) return std::nullopt;
  return std::stod(match[1]);
}

std::string scraped(const std::string& url) {
  return run_program({"curl", "--silent", "--show-error", "--max-time", "60", url}).out;
}

TEST(RunMetrics, AreScrapedAsCountersAndGaugesAsLongAsTheRunLasts) {
  Tool run(run_with({"--metrics=0", "--status-interval=200ms", "--runtime=60"}));
  ASSERT_TRUE(run.wait_for("/metrics\n")) << run.so_far().err;
  const std::string said = run.so_far().err;
  std::smatch found;
  ASSERT_TRUE(std::regex_search(said, found, std::regex("metrics are at (.*)\n"))) << said;
  const std::string url = found[1];
  EXPECT_TRUE(url.starts_with("http://127.0.0.1:")) << "a bare port is one of this host alone";
  std::string first;
  // Until frames have been sent and an interval is over.
  ASSERT_TRUE(eventually([&] {
    first = scraped(url);
    return sample(first, "shmifperf_rx_fps", "job.sink").value_or(0) > 0;
  })) << first;
  EXPECT_NE(first.find("# TYPE shmifperf_tx_frames_total counter"), std::string::npos);
  EXPECT_GT(sample(first, "shmifperf_tx_frames_total", "job"), 0);
  EXPECT_GT(sample(first, "shmifperf_latency_seconds", "job.sink"), 0);
  EXPECT_EQ(sample(first, "shmifperf_job_failed", "job"), 0);
  EXPECT_NE(first.find("jobname=\"job\",state=\"running\"} 1"), std::string::npos) << first;
  const auto before = sample(first, "shmifperf_tx_frames_total", "job");
  std::optional<double> after;
  EXPECT_TRUE(eventually([&] {
    after = sample(scraped(url), "shmifperf_tx_frames_total", "job");
    return after > before;
  }));
  run.signal(SIGINT);
  EXPECT_EQ(run.finish().status, 128 + SIGINT);
  EXPECT_EQ(scraped(url), "") << "it is gone with the run";
}

std::unique_ptr<tools::Metrics> served() {
  auto metrics = tools::Metrics::serve("127.0.0.1:0");
  EXPECT_TRUE(metrics) << metrics.error().message;
  return std::move(*metrics);
}

/// Frames that were overtaken are no longer lost when they came; and runs of a campaign add up.
TEST(Metrics, CountWhatIsLostNowAndTheStateThatAJobIsIn) {
  const auto metrics = served();
  perf::RunProgress progress;
  perf::JobProgress& sink = progress.jobs.emplace_back();
  sink.name = "sink";
  sink.state = perf::JobState::draining;
  for (const std::uint64_t lost : {10U, 1000U, 999U, 4U}) {
    sink.lost_frames = lost;
    sink.rx_frames += 500;
    metrics->count(progress);
    sink.state = perf::JobState::running;
  }
  for (const std::uint64_t rx_frames : {70U, 90U, 5U, 6U}) {  // of the next runs
    sink.rx_frames = rx_frames;
    metrics->count(progress);
  }
  const std::string text = scraped(metrics->url());
  EXPECT_EQ(sample(text, "shmifperf_lost_frames", "sink"), 4) << text;
  EXPECT_EQ(sample(text, "shmifperf_rx_frames_total", "sink"), 2096) << text;
  EXPECT_TRUE(has(text, "jobname=\"sink\",state=\"running\"} 1\n")) << text;
  EXPECT_FALSE(has(text, "state=\"draining\"} 1\n")) << text;
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
  const auto metrics = served();
  const perf::RunProgress progress = distinct_progress();
  metrics->count(progress);
  metrics->measure(progress);
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
    put("latency_error_seconds", static_cast<double>(*job.latency_clock_error_ns) * 1e-9);
    const auto latency = [&](const char* figure, const std::optional<double>& ns) {
      wanted[std::string("shmifperf_latency_seconds{figure=\"") + figure + "\"," + names + '}'] =
          *ns * 1e-9;
    };
    latency("mean", last.latency_mean_ns);
    latency("p50", last.latency_p50_ns);
    latency("p99", last.latency_p99_ns);
    latency("max", last.latency_max_ns);
    for (const auto& [mode, seconds] :
         {std::pair{"user", last.cpu_user_seconds}, std::pair{"system", last.cpu_system_seconds}}) {
      wanted["shmifperf_cpu_ratio{" + names + ",mode=\"" + mode + "\"}"] = *seconds / last.seconds;
    }
    wanted["shmifperf_job_state{" + names + ",state=\"" + states.at(n) + "\"}"] = 1;
  }
  expect_figures(wanted, samples_in(scraped(metrics->url())));
}

TEST(Metrics, WhatWasNotMeasuredIsNotKnownThoughItWasBefore) {
  const auto metrics = served();
  perf::RunProgress progress = distinct_progress();
  metrics->count(progress);
  for (const auto& [place, value] : samples_in(scraped(metrics->url()))) {
    const bool of_an_interval = place.find("_fps{") != std::string::npos ||
                                place.find("_bps{") != std::string::npos ||
                                place.find("latency_seconds{") != std::string::npos ||
                                place.find("cpu_ratio{") != std::string::npos;
    EXPECT_EQ(value.is_null(), of_an_interval) << place << ": no interval was measured yet";
  }
  metrics->measure(progress);
  EXPECT_TRUE(progress.jobs[1].failed);
  progress.jobs[1].failed = false;  // the next run of a campaign
  progress.share = progress.left_seconds = std::nullopt;
  for (perf::JobProgress& job : progress.jobs) {
    job.last = {};
    job.latency_clock_error_ns.reset();
  }
  metrics->count(progress);
  metrics->measure(progress);
  for (const auto& [place, value] : samples_in(scraped(metrics->url()))) {
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

TEST(Metrics, EachRequestHasOneAnswerWhateverItAsksBesides) {
  const auto metrics = served();
  const std::string url = metrics->url();
  const std::string plain = answer_to(url, "GET /metrics HTTP/1.1\r\n\r\n");
  const std::size_t end = plain.find("\r\n\r\n") + 4;
  EXPECT_TRUE(plain.starts_with("HTTP/1.1 200 OK\r\n")) << plain;
  EXPECT_TRUE(has(plain, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_TRUE(has(plain, "\r\nContent-Length: " + std::to_string(plain.size() - end) + "\r\n"));
  EXPECT_EQ(answer_to(url, "HEAD /metrics HTTP/1.1\r\n\r\n"), plain.substr(0, end));
  std::string longest = "GET /metrics HTTP/1.1\r\nA: ";
  longest += std::string(8193 - longest.size() - 4, 'x') + "\r\n\r\n";
  for (const std::string& request :
       {std::string("GET http://x/metrics?a=b HTTP/1.0\n\n"), longest,
        std::string("GET /metrics HTTP/1.1\r\nRange: bytes=0-9\r\n\r\n"),
        std::string("GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"),
        std::string("GET /metrics HTTP/1.1\r\n\x80\xff: \x01\r\n\r\n"),
        std::string("GET /metrics HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")}) {
    EXPECT_EQ(answer_to(url, request), plain) << request;
  }
  const std::pair<std::string, std::string> refused[] = {
      {"GET / HTTP/1.1\r\n\r\n", "404"},
      {"HEAD /metrics2 HTTP/1.1\r\n\r\n", "404"},
      {"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "405"},
      {"\r\n\r\n", "400"},
      {"GET /metrics SMTP\r\n\r\n", "400"},
      {std::string(8193, 'x'), "431"},
  };
  for (const auto& [request, code] : refused) {
    EXPECT_TRUE(answer_to(url, request).starts_with("HTTP/1.1 " + code + ' ')) << request;
  }
}

/// Whether the server ends this connection within half a minute.
bool is_ended(const UniqueFd& socket) {
  std::array<char, 4096> piece{};
  const timeval patience{30, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ssize_t n = 0;
  while ((n = ::recv(socket.get(), piece.data(), piece.size(), 0)) > 0) continue;
  return n == 0 || errno == ECONNRESET;
}

TEST(Metrics, SlowAndBrokenClientsHoldNeitherAScrapeNorTheEnd) {
  auto metrics = served();
  const std::string url = metrics->url();
  for (int i = 0; i < 20; ++i) {  // who resets before the answer
    const UniqueFd socket = connected_to(url);
    const linger reset{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    EXPECT_GT(::send(socket.get(), "GET /metrics HTTP/1.1\r\n\r\n", 25, MSG_NOSIGNAL), 0);
  }
  std::vector<UniqueFd> slow;
  for (int i = 0; i < 40; ++i) {  // more than the server keeps, each with a part of a request
    slow.push_back(connected_to(url));
    ::send(slow.back().get(), "GET /met", 8, MSG_NOSIGNAL);
  }
  EXPECT_TRUE(answer_to(url, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(answer_on(slow.back(), "rics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "))
      << "the newest one stays";
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_TRUE(is_ended(slow[i])) << "the oldest ones go: " << i;
  }
  metrics.reset();
  for (const UniqueFd& socket : slow) EXPECT_TRUE(is_ended(socket));
}

TEST(RunMetrics, APortInUseFailsTheStartWithARemedy) {
  const auto taken = served();
  const std::string url = taken->url();
  const std::string place = url.substr(7, url.rfind('/') - 7);
  const TempDir dir;
  const std::string result = dir.file("result.json");
  std::ofstream(result) << "of a run before";
  const ToolResult ran = run_program(run_with({"--metrics=" + place, "--output=" + result}));
  EXPECT_EQ(ran.status, 1);
  EXPECT_TRUE(has(ran.err, "cannot serve metrics on " + place)) << ran.err;
  EXPECT_TRUE(has(ran.err, "a free port")) << ran.err;
  EXPECT_EQ(text_of_file(result), "of a run before") << "nothing ran";
}

}  // namespace
}  // namespace shmif::test
