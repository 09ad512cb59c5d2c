#include "tools/shmifperf/metrics.hpp"

#include <poll.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/signals.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "perf/remote/connection.hpp"
#include "perf/result/run_result.hpp"
#include "shmif/socket_address.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

// PageServer: answers HTTP requests for one page, for example those of Prometheus.

struct Page {
  std::string path;  ///< "/metrics"
  std::string content_type;
  std::function<std::string()> text;  ///< called for each request, in the server's thread
};

/// Answers GET and HEAD (RFC 9110), one request for each connection, in its own thread. A client
/// has 5 s for the request and the answer. If there are more than 32 connections, the oldest one is
/// closed. The destructor closes all. Threads: one at a time.
class PageServer {
 public:
  /// Errors: an errno, if the address is in use or does not belong to this machine.
  static Result<std::unique_ptr<PageServer>> serve(const SocketAddress& address, Page page);
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;
  ~PageServer();

  /// Its address, with the real port.
  const SocketAddress& address() const noexcept;

 private:
  struct Impl;
  explicit PageServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxVisits = 32;
constexpr std::size_t kMaxRequestBytes = 8U << 10U;
constexpr std::chrono::seconds kVisitTime{5};
/// The server checks deadlines this often. It also pauses for this long after a failed accept().
constexpr int kLookMilliseconds = 100;

/// The first words of a request: "GET /metrics HTTP/1.1".
struct RequestLine {
  std::string_view method, target, version;
};

RequestLine request_line_of(std::string_view request) {
  const std::string_view line = request.substr(0, request.find_first_of("\r\n"));
  const std::size_t first = std::min(line.find(' '), line.size());
  const std::size_t second = std::min(line.find(' ', first + 1), line.size());
  const auto after = [&](std::size_t at) { return line.substr(std::min(at + 1, line.size())); };
  return {line.substr(0, first), after(first).substr(0, second - std::min(first + 1, second)),
          after(second)};
}

/// The path in a request's target, without "http://HOST", which proxies send, and without a query.
std::string_view path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (target.starts_with(kScheme)) {
    target.remove_prefix(std::min(target.find('/', kScheme.size()), target.size()));
  }
  return target.substr(0, target.find('?'));
}

/// Whether the request has its empty line. After that line, only content could follow.
bool is_whole(std::string_view request) {
  return request.find("\r\n\r\n") != std::string_view::npos ||
         request.find("\n\n") != std::string_view::npos;
}

/// Whether an answer has its text. The answer to HEAD only has the header that GET would get.
enum class Body : std::uint8_t { sent, left_out };

std::string answer_with(std::string_view status, std::string_view type, std::string_view text,
                        Body body, std::string_view more = {}) {
  std::string answer = "HTTP/1.1 ";
  answer += status;
  answer += "\r\nContent-Type: ";
  answer += type;
  answer += "\r\nContent-Length: " + std::to_string(text.size()) + "\r\nConnection: close\r\n";
  answer += more;
  answer += "\r\n";
  if (body == Body::sent) answer += text;
  return answer;
}

std::string refusal(std::string_view status, Body body, std::string_view more = {}) {
  return answer_with(status, "text/plain; charset=utf-8", std::string(status) + '\n', body, more);
}

std::string answer_to(std::string_view request, const Page& page) {
  const RequestLine line = request_line_of(request);
  const bool is_head = line.method == "HEAD";
  if (line.target.empty() || !line.version.starts_with("HTTP/1.")) {
    return refusal("400 Bad Request", Body::sent);
  }
  if (!is_head && line.method != "GET") {
    return refusal("405 Method Not Allowed", Body::sent, "Allow: GET, HEAD\r\n");
  }
  const Body body = is_head ? Body::left_out : Body::sent;
  if (path_of(line.target) != page.path) return refusal("404 Not Found", body);
  return answer_with("200 OK", page.content_type, page.text(), body);
}

/// One connection.
struct Visit {
  explicit Visit(UniqueFd socket) : fd(std::move(socket)) {}

  /// Reads and answers. Result: false when the visit is over.
  bool look(const Page& page);

  UniqueFd fd;
  Clock::time_point deadline = Clock::now() + kVisitTime;
  std::string request, answer;
  std::size_t sent = 0;
  bool answered = false;  ///< all is sent; the other side closes first, so that no byte is lost

  short events() const { return static_cast<short>(sent < answer.size() ? POLLOUT : POLLIN); }
};

bool Visit::look(const Page& page) {
  std::array<char, 2048> piece;
  while (answer.empty() || answered) {
    const ssize_t n = ::recv(fd.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    if (answered) return true;  // others have their turn, and deadline and stop are checked
    request.append(piece.data(), static_cast<std::size_t>(n));
    if (is_whole(request)) {
      answer = answer_to(request, page);
    } else if (request.size() > kMaxRequestBytes) {
      answer = refusal("431 Request Header Fields Too Large", Body::sent);
    }
  }
  while (sent < answer.size()) {
    const ssize_t n =
        ::send(fd.get(), answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    sent += static_cast<std::size_t>(n);
  }
  answered = true;
  return ::shutdown(fd.get(), SHUT_WR) == 0;
}
struct PageServer::Impl {
  UniqueFd listener;  ///< shut down in order to end the thread
  SocketAddress address;
  Page page;
  std::vector<Visit> visits;
  std::thread thread;

  void accept_all();
  void run();
};

void PageServer::Impl::accept_all() {
  for (std::size_t i = 0; i < kMaxVisits; ++i) {
    UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      // If descriptors ran out, the listener stays readable.
      if (errno != EAGAIN && errno != EINTR) ::poll(nullptr, 0, kLookMilliseconds);
      return;
    }
    if (visits.size() == kMaxVisits) visits.erase(visits.begin());
    visits.emplace_back(std::move(socket));
  }
}

void PageServer::Impl::run() {
  for (;;) {  // runs until stopped
    std::vector<pollfd> entries{{listener.get(), POLLIN, 0}};
    for (const Visit& visit : visits) entries.push_back({visit.fd.get(), visit.events(), 0});
    ::poll(entries.data(), entries.size(), visits.empty() ? -1 : kLookMilliseconds);
    if ((entries[0].revents & POLLHUP) != 0) return;
    accept_all();
    const auto now = Clock::now();
    std::erase_if(visits, [&](Visit& visit) { return now > visit.deadline || !visit.look(page); });
  }
}

PageServer::PageServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

PageServer::~PageServer() {
  ::shutdown(impl_->listener.get(), SHUT_RDWR);
  impl_->thread.join();
}

const SocketAddress& PageServer::address() const noexcept {
  return impl_->address;
}

Result<std::unique_ptr<PageServer>> PageServer::serve(const SocketAddress& address, Page page) {
  auto impl = std::make_unique<Impl>();
  auto listener = perf::listen_at(address);
  if (!listener) return std::move(listener).error();
  auto real = address_of(listener->get());
  if (!real) return std::move(real).error();
  impl->listener = *std::move(listener);
  impl->address = *real;
  impl->page = std::move(page);
  try {
    impl->thread = base::quiet_thread<std::thread>([&server = *impl] { server.run(); });
  } catch (const std::system_error& error) {
    return Error(error.code(), std::string("cannot start a thread: ") + error.what() +
                                   " (ulimit -u shows the limit)");
  }
  return std::unique_ptr<PageServer>(new PageServer(std::move(impl)));
}

using CounterFamily = prometheus::Family<prometheus::Counter>;
using GaugeFamily = prometheus::Family<prometheus::Gauge>;

/// Prometheus' value for a figure that was not measured.
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// A counter that follows a count. The count restarts from 0 with each run of a campaign.
struct Following {
  prometheus::Counter& counter;
  std::uint64_t last = 0;

  void to(std::uint64_t now) {
    counter.Increment(static_cast<double>(now >= last ? now - last : now));
    last = now;
  }
};

/// Prometheus' text format 0.0.4.
constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";

/// A name as the value of a label, which must be UTF-8. A reader may show it on a terminal.
std::string label(const std::string& name) {
  return base::escaped(name);
}

Error cannot_serve(const std::string& address, const Error& why) {
  const std::string what = "cannot serve metrics on " + address + ": " + why.message;
  const std::string of_limits = with_remedy(what, why.code);
  const bool no_thread = why.code == std::errc::resource_unavailable_try_again;
  if (of_limits != what || no_thread) return {why.code, of_limits};
  return {why.code, what +
                        " (give --metrics an address of this machine and a free port; 0 is any "
                        "free port)"};
}

}  // namespace

struct Metrics::Impl {
  /// The page in the format that Prometheus reads.
  std::string text() const { return prometheus::TextSerializer().Serialize(registry->Collect()); }
  CounterFamily& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry);
  }
  GaugeFamily& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry);
  }

  struct Job {
    std::vector<Following> counters;          // the figures of JobProgress that count on,
    std::vector<prometheus::Gauge*> figures;  // and the others
    std::vector<prometheus::Gauge*> interval;
    std::map<perf::JobState, prometheus::Gauge*> states;
  };
  Job& job_of(const perf::JobProgress& progress);
  void set_state(Job& job, const perf::JobProgress& progress);

  /// The metrics of figures, by their names; made from the rows of the figures.
  template <class T>
  void add_families() {
    for (const perf::Figure<T>& row : perf::kRowsOf<T>) {
      const perf::Metric& metric = row.column.metric;
      if (metric.name == nullptr) continue;
      if (metric.counts) {
        counter_families.try_emplace(metric.name, &counters(metric.name, metric.help));
      } else if (!gauge_families.contains(metric.name)) {
        gauge_families[metric.name] = &gauges(metric.name, metric.help);
      }
    }
  }
  Impl() {
    add_families<perf::JobProgress>();
    add_families<perf::IntervalResult>();
  }

  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::string url;
  std::map<std::string, CounterFamily*> counter_families;
  std::map<std::string, GaugeFamily*> gauge_families;
  GaugeFamily& state = gauges("shmifperf_job_state", "1 for the state that the job is in.");
  prometheus::Gauge& share =
      gauges("shmifperf_run_done_ratio", "How much of the run is done, 0 to 1.").Add({}, kUnknown);
  prometheus::Gauge& left =
      gauges("shmifperf_run_left_seconds", "How long the run will still take.").Add({}, kUnknown);
  std::map<std::string, Job> jobs;
  // This member comes last: its thread uses the members above, and must end before they do.
  std::unique_ptr<PageServer> server;
};

Metrics::Impl::Job& Metrics::Impl::job_of(const perf::JobProgress& progress) {
  const auto known = jobs.find(progress.name);
  if (known != jobs.end()) return known->second;
  // The label is not "job", because Prometheus uses that for itself.
  const prometheus::Labels labels{{"jobname", label(progress.name)},
                                  {"groupname", label(progress.group)}};
  Job job;
  const auto add_gauges = [&]<class T>(const T&, std::vector<prometheus::Gauge*>& into, double at) {
    for (const perf::Figure<T>& row : perf::kRowsOf<T>) {
      const perf::Metric& metric = row.column.metric;
      if (metric.name == nullptr || metric.counts) continue;
      prometheus::Labels more = labels;
      if (metric.label != nullptr) more[metric.label] = metric.value;
      into.push_back(&gauge_families.at(metric.name)->Add(more, at));
    }
  };
  for (const auto& row : perf::kRowsOf<perf::JobProgress>) {
    if (row.column.metric.counts)
      job.counters.push_back({counter_families.at(row.column.metric.name)->Add(labels)});
  }
  add_gauges(progress, job.figures, 0);
  add_gauges(progress.last, job.interval, kUnknown);
  return jobs.emplace(progress.name, std::move(job)).first->second;
}

void Metrics::Impl::set_state(Job& job, const perf::JobProgress& progress) {
  for (auto& [each, gauge] : job.states) gauge->Set(0);
  auto& gauge = job.states[progress.state];
  if (gauge == nullptr) {
    gauge = &state.Add({{"jobname", label(progress.name)},
                        {"groupname", label(progress.group)},
                        {"state", perf::name_of(progress.state)}});
  }
  gauge->Set(1);
}

Metrics::Metrics(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Metrics::~Metrics() = default;

const std::string& Metrics::url() const noexcept {
  return impl_->url;
}

Result<std::unique_ptr<Metrics>> Metrics::serve(const std::string& address) {
  const auto split = shmif::split_host_port(address).value_or(shmif::HostPort{address, 0});
  const auto local = shmif::resolve(split.host, split.port.value_or(0));
  if (!local) return cannot_serve(address, local.error());
  auto impl = std::make_unique<Impl>();
  auto server = PageServer::serve(
      *local, {"/metrics", kContentType, [metrics = impl.get()] { return metrics->text(); }});
  if (!server) return cannot_serve(address, server.error());
  impl->server = *std::move(server);
  const std::string host = address.substr(0, address.rfind(':'));
  impl->url = "http://" + host + ':' + std::to_string(impl->server->address().port()) + "/metrics";
  return std::unique_ptr<Metrics>(new Metrics(std::move(impl)));
}

namespace {

/// Sets a job's metrics that do not count on.
template <class T>
void set_gauges(const std::vector<prometheus::Gauge*>& gauges, const T& figures) {
  auto gauge = gauges.begin();
  for (const perf::Figure<T>& row : perf::kRowsOf<T>) {
    if (row.column.metric.name == nullptr || row.column.metric.counts) continue;
    const auto number = perf::number_of(row, figures);
    (*gauge++)->Set(number ? *number * row.column.metric.scale : kUnknown);
  }
}

}  // namespace

void Metrics::count(const perf::RunProgress& progress) {
  for (const perf::JobProgress& now : progress.jobs) {
    Impl::Job& job = impl_->job_of(now);
    auto counter = job.counters.begin();
    perf::for_each_member<perf::JobProgress>([&](const auto& row, auto member) {
      if constexpr (std::is_same_v<decltype(member), std::uint64_t perf::JobProgress::*>) {
        if (row.column.metric.counts) (counter++)->to(now.*member);
      }
    });
    set_gauges(job.figures, now);
    impl_->set_state(job, now);
  }
  impl_->share.Set(progress.share.value_or(kUnknown));
  impl_->left.Set(progress.left_seconds.value_or(kUnknown));
}

void Metrics::measure(const perf::RunProgress& progress) {
  for (const perf::JobProgress& now : progress.jobs)
    set_gauges(impl_->job_of(now).interval, now.last);
}

}  // namespace shmif::tools
