// --metrics: what a run tells Prometheus, and what clients of all kinds can do to it.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <future>
#include <optional>
#include <regex>
#include <stdexcept>
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
                                place.find("latency_seconds{") != std::string::npos ||
                                place.find("cpu_ratio{") != std::string::npos;
    EXPECT_EQ(value.is_null(), of_an_interval) << place << ": no interval was measured yet";
  }
  (*metrics)->measure(progress);
  EXPECT_TRUE(progress.jobs[1].failed);
  progress.jobs[1].failed = false;  // the next run of a campaign
  progress.share = progress.left_seconds = std::nullopt;
  for (perf::JobProgress& job : progress.jobs) {
    job.last = {};
    job.latency_clock_error_ns.reset();
  }
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

TEST(Metrics, BeforeTheFirstCountNothingIsKnownOfTheRun) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const Figures unknown{{"shmifperf_run_done_ratio", Json()},
                        {"shmifperf_run_left_seconds", Json()}};
  expect_figures(unknown, samples_in(scraped((*metrics)->url())));
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
      {std::string(8193, 'x'), "431"},
  };
  for (const auto& [request, code] : refused) {
    EXPECT_TRUE(answer_to(url, request).starts_with("HTTP/1.1 " + code + ' ')) << request;
  }
  const std::string head =
      "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\nConnection: "
      "close\r\n\r\n";
  const std::string missing = "HTTP/1.1 404 Not Found" + head;
  for (const char* const target : {"/", "/metrics2", "/metric", "http://x", "http://x/"}) {
    const std::string behind = std::string(1, ' ') + target + " HTTP/1.1\r\n\r\n";
    EXPECT_EQ(answer_to(url, "GET" + behind), missing + "404 Not Found\n") << target;
    EXPECT_EQ(answer_to(url, "HEAD" + behind), missing) << "without the text: " << target;
  }
  EXPECT_EQ(answer_to(url, "PUT /metrics HTTP/1.1\r\n\r\n"),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 23\r\nConnection: close\r\nAllow: GET, HEAD\r\n\r\n"
            "405 Method Not Allowed\n");
  // More than it keeps; the oldest ones go.
  std::vector<UniqueFd> silent;
  const std::size_t host = url.find("//") + 2;
  const std::string place = url.substr(host, url.find('/', host) - host);
  for (int i = 0; i < 50; ++i) {
    silent.push_back(perf::begin_connecting(parse_socket_address(place).value()).value());
  }
  EXPECT_TRUE(scraped(url).find("shmifperf_run_done_ratio") != std::string::npos);
}

TEST(Metrics, WithoutDescriptorsTheStartFailsWithARemedyOfThem) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(metrics);
  EXPECT_NE(metrics.error().message.find("Too many open files (allow this program more open files: "
                                         "ulimit -n 1024)"),
            std::string::npos)
      << metrics.error().message;
}

TEST(Metrics, WhatARequestAsksBesidesThePageChangesNothing) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const std::string url = (*metrics)->url();
  const std::string plain = answer_to(url, "GET /metrics HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(plain.starts_with("HTTP/1.1 200 ")) << plain;
  std::string ranges = "Range: bytes=0-";
  for (int i = 0; i < 1000; ++i) ranges += ",0-";
  for (const std::string& header :
       {std::string("Range: bytes=0-9"), std::string("Range: bytes=9999999-"), ranges,
        std::string("Accept-Encoding: gzip, br"), std::string("Connection: keep-alive"),
        std::string("Expect: 100-continue"), std::string("Content-Length: 99999999999"),
        std::string("A\r\n: b"), std::string("\x80\xff: \x01")}) {
    EXPECT_EQ(answer_to(url, "GET /metrics HTTP/1.1\r\n" + header + "\r\n\r\n"), plain) << header;
  }
  // The longest that is not refused: 8 KiB, and the byte that completes it.
  std::string longest = "GET /metrics HTTP/1.1\r\nA: ";
  longest += std::string(8193 - longest.size() - 4, 'x') + "\r\n\r\n";
  EXPECT_EQ(answer_to(url, longest), plain);
  const std::string two = "GET /metrics HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n";
  EXPECT_EQ(answer_to(url, two), plain) << "one request for each connection";
}

TEST(Metrics, TheContentOfARequestIsNotWaitedFor) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  for (const char* const content :
       {"", "Content-Length: 99999999999\r\n", "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\nContent-Length: 5\r\n"}) {
    const std::string answer =
        answer_to((*metrics)->url(), std::string("POST /metrics HTTP/1.1\r\n") + content + "\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 405 ")) << content << answer;
    EXPECT_NE(answer.find("\r\nAllow: GET, HEAD\r\n"), std::string::npos) << answer;
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
  auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const std::string url = (*metrics)->url();
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
  metrics->reset();
  for (const UniqueFd& socket : slow) EXPECT_TRUE(is_ended(socket));
}

TEST(Metrics, AClientThatSendsByteByByteIsEndedThoughItIsNeverSilent) {
  const auto metrics = tools::Metrics::serve("127.0.0.1:0");
  ASSERT_TRUE(metrics) << metrics.error().message;
  const UniqueFd socket = connected_to((*metrics)->url());
  ASSERT_EQ(::send(socket.get(), "GET ", 4, MSG_NOSIGNAL), 4);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  bool ended = false;
  while (!ended && std::chrono::steady_clock::now() < until) {
    ended = ::send(socket.get(), "x", 1, MSG_NOSIGNAL) < 0;
    ::poll(nullptr, 0, 50);
  }
  EXPECT_TRUE(ended);
}

TEST(RunMetrics, APortInUseFailsTheStartWithARemedy) {
  const TakenPort taken;
  const TempDir dir;
  const std::string result = dir.file("result.json");
  const ToolResult ran = run_program(
      run_with({"--metrics=" + taken.number(), "--output-format=json", "--output=" + result}));
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("cannot serve metrics on 127.0.0.1:" + taken.number()), std::string::npos)
      << ran.err;
  EXPECT_NE(ran.err.find("ddress already in use"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("a free port"), std::string::npos) << ran.err;
  EXPECT_EQ(text_of_file(result), "") << "nothing ran";
}

}  // namespace
}  // namespace shmif::test
