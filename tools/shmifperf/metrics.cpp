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

#include "base/text.hpp"
#include "perf/result/run_result.hpp"
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
