#include "tools/shmifperf/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <system_error>

#include "base/printable.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/words.hpp"
#include "shmif/socket_address.hpp"
#include "tools/common/command.hpp"
#include "tools/shmifperf/page_server.hpp"

namespace shmif::tools {

namespace {

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
    Following tx_frames, tx_bytes, rx_frames, rx_bytes;
    prometheus::Gauge& lost_frames;
    prometheus::Gauge &tx_fps, &tx_bps, &rx_fps, &rx_bps;
    prometheus::Gauge &latency_mean, &latency_p50, &latency_p99, &latency_max;
    prometheus::Gauge &cpu_user, &cpu_system;
    prometheus::Gauge& failed;
    std::map<perf::JobState, prometheus::Gauge*> states;
  };
  Job& job_of(const perf::JobProgress& progress);
  void set_state(Job& job, const perf::JobProgress& progress);

  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::string url;
  CounterFamily& tx_frames = counters("shmifperf_tx_frames_total", "Frames sent.");
  CounterFamily& tx_bytes = counters("shmifperf_tx_bytes_total", "Bytes sent, without FCS.");
  CounterFamily& rx_frames = counters("shmifperf_rx_frames_total", "Frames received.");
  CounterFamily& rx_bytes = counters("shmifperf_rx_bytes_total", "Bytes received, without FCS.");
  // Overtaken frames count as lost until they arrive. So the count may fall, and cannot be a
  // Prometheus counter.
  GaugeFamily& lost =
      gauges("shmifperf_lost_frames", "Frames that the receivers have missed so far in this run.");
  GaugeFamily& tx_fps = gauges("shmifperf_tx_fps", "Frames per second sent.");
  GaugeFamily& tx_bps = gauges("shmifperf_tx_bps", "Bits per second sent.");
  GaugeFamily& rx_fps = gauges("shmifperf_rx_fps", "Frames per second received.");
  GaugeFamily& rx_bps = gauges("shmifperf_rx_bps", "Bits per second received.");
  GaugeFamily& latency = gauges("shmifperf_latency_seconds",
                                "Latency from the intended send time, in the last interval.");
  GaugeFamily& cpu = gauges("shmifperf_cpu_ratio",
                            "CPU time that the job used in the last interval; 1 is a whole CPU.");
  GaugeFamily& state = gauges("shmifperf_job_state", "1 for the state that the job is in.");
  GaugeFamily& failed = gauges("shmifperf_job_failed", "1 when the job has failed.");
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
  const auto with = [&](const char* key, const char* value) {
    prometheus::Labels more = labels;
    more[key] = value;
    return more;
  };
  Job job{{tx_frames.Add(labels)},
          {tx_bytes.Add(labels)},
          {rx_frames.Add(labels)},
          {rx_bytes.Add(labels)},
          lost.Add(labels),
          tx_fps.Add(labels, kUnknown),
          tx_bps.Add(labels, kUnknown),
          rx_fps.Add(labels, kUnknown),
          rx_bps.Add(labels, kUnknown),
          latency.Add(with("figure", "mean"), kUnknown),
          latency.Add(with("figure", "p50"), kUnknown),
          latency.Add(with("figure", "p99"), kUnknown),
          latency.Add(with("figure", "max"), kUnknown),
          cpu.Add(with("mode", "user"), kUnknown),
          cpu.Add(with("mode", "system"), kUnknown),
          failed.Add(labels),
          {}};
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

void Metrics::count(const perf::RunProgress& progress) {
  for (const perf::JobProgress& now : progress.jobs) {
    Impl::Job& job = impl_->job_of(now);
    job.tx_frames.to(now.tx_frames);
    job.tx_bytes.to(now.tx_bytes);
    job.rx_frames.to(now.rx_frames);
    job.rx_bytes.to(now.rx_bytes);
    job.lost_frames.Set(static_cast<double>(now.lost_frames));
    job.failed.Set(now.failed ? 1 : 0);
    impl_->set_state(job, now);
  }
  impl_->share.Set(progress.share.value_or(kUnknown));
  impl_->left.Set(progress.left_seconds.value_or(kUnknown));
}

void Metrics::measure(const perf::RunProgress& progress) {
  const auto seconds = [](const std::optional<double>& ns) { return ns ? *ns * 1e-9 : kUnknown; };
  for (const perf::JobProgress& now : progress.jobs) {
    Impl::Job& job = impl_->job_of(now);
    const perf::IntervalResult& last = now.last;
    job.tx_fps.Set(perf::per_second(last.tx_frames, last).value_or(kUnknown));
    job.tx_bps.Set(perf::per_second(last.tx_bytes * 8, last).value_or(kUnknown));
    job.rx_fps.Set(perf::per_second(last.rx_frames, last).value_or(kUnknown));
    job.rx_bps.Set(perf::per_second(last.rx_bytes * 8, last).value_or(kUnknown));
    job.latency_mean.Set(seconds(last.latency_mean_ns));
    job.latency_p50.Set(seconds(last.latency_p50_ns));
    job.latency_p99.Set(seconds(last.latency_p99_ns));
    job.latency_max.Set(seconds(last.latency_max_ns));
    const auto of_cpu = [&](const std::optional<double>& time) {
      return perf::share_of_cpu(time, last).value_or(kUnknown);
    };
    job.cpu_user.Set(of_cpu(last.cpu_user_seconds));
    job.cpu_system.Set(of_cpu(last.cpu_system_seconds));
  }
}

}  // namespace shmif::tools
