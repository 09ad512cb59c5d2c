// A job as JSON.

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "perf/engine/engine.hpp"
#include "perf/report/json_figures.hpp"
#include "perf/report/json_values.hpp"
#include "perf/report/problems.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {
namespace {

using Json = OrderedJson;

/// One direction. Of a program, most figures are not known.
Json traffic(const TrafficResult& t, Places direction) {
  Json json;
  for (const Figure<TrafficResult>& row : kRowsOf<TrafficResult>) {
    if (!row.is_in(direction)) continue;
    const bool known = !t.of_program || row.is_in(kOfProgram);
    json[row.key] = known ? json_of_figure<Json>(row, t) : Json(nullptr);
  }
  return json;
}

/// Whether this direction had no traffic and no time to divide by.
bool unused(const TrafficResult& t) {
  return !(t.seconds > 0) && t.frames == 0 && t.offered_frames == 0 && t.errors == 0 &&
         t.ramp_frames == 0 && t.foreign_frames == 0 && t.stale_frames == 0;
}

}  // namespace

void put_directions(Json& into, const TrafficResult& tx, const TrafficResult& rx,
                    const char* why_no_tx, const char* why_no_rx) {
  put_or_reason(into, "tx", unused(tx) ? Json(nullptr) : traffic(tx, kOfSender), why_no_tx);
  put_or_reason(into, "rx", unused(rx) ? Json(nullptr) : traffic(rx, kOfReceiver), why_no_rx);
}

namespace {

// ---- Latency ----

struct Percentile {
  const char* key;
  double per_cent;
};
constexpr std::array<Percentile, 9> kPercentiles{{{"p1", 1},
                                                  {"p10", 10},
                                                  {"p50", 50},
                                                  {"p90", 90},
                                                  {"p95", 95},
                                                  {"p99", 99},
                                                  {"p99_9", 99.9},
                                                  {"p99_99", 99.99},
                                                  {"p99_999", 99.999}}};

/// JSON readers have signed integers; 292 years are enough.
std::uint64_t capped(std::uint64_t ns) {
  return std::min(ns, std::uint64_t{std::numeric_limits<std::int64_t>::max()});
}

Json histogram(const LatencyHistogram& of, Bins bins) {
  Json json = {{"count", of.count()},
               {"min", capped(of.min())},
               {"mean", json_number(of.mean())},
               {"deviation", json_number(of.deviation())}};
  for (const Percentile& p : kPercentiles) json[p.key] = capped(of.percentile(p.per_cent));
  json["max"] = capped(of.max());
  if (bins == Bins::without) return json;
  Json& list = json["bins"] = Json::array();
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) {
    if (of.count_in(i) == 0) continue;
    list.push_back({capped(LatencyHistogram::min_of(i)), capped(LatencyHistogram::greatest_of(i)),
                    of.count_in(i)});
  }
  return json;
}

/// Adds the percentiles of percentile_list, with fio's keys: "99.500000".
void put_percentiles(Json& into, const LatencyHistogram& of, const std::vector<double>& list) {
  if (into.is_null() || list.empty()) return;
  Json& all = into["percentile"] = Json::object();
  for (const double each : list) {
    std::array<char, 32> key{};
    std::snprintf(key.data(), key.size(), "%.6f", each);
    all[key.data()] = capped(of.percentile(each));
  }
}

}  // namespace

void put_histogram(Json& into, const std::string& key, const std::shared_ptr<LatencyHistogram>& of,
                   Bins bins, const char* reason) {
  put_or_reason(into, key, of && !of->empty() ? histogram(*of, bins) : Json(nullptr), reason);
}

namespace {

// ---- Loss ----

Json flow(const FlowResult& f) {
  Json json = {{"flow", f.flow}, {"kind", word_of(f.kind)}, {"from", f.from}, {"to", f.to}};
  put_figures(json, f, kInResult);
  json["gaps"] = f.gaps;  // [[from, to), ...]
  return json;
}

/// The sum of all flows that a job receives.
FlowResult sum(const std::vector<FlowResult>& flows) {
  FlowResult all;
  for (const FlowResult& f : flows) all += f;
  return all;
}

Json loss(const JobResult& job) {
  if (job.flows.empty()) return nullptr;
  Json json;
  put_figures(json, sum(job.flows), kInResult);
  Json& list = json["flows"] = Json::array();
  for (const FlowResult& f : job.flows) list.push_back(flow(f));
  return json;
}

// ---- The rest of a job ----

Json counts(const CountsResult& c, bool receives) {
  Json json;
  put_figures(json, c, kInResult);
  put_figures(json, c.wire, kInResult);
  put_or_reason(json, "wire_lost_frames", json["wire_lost_frames"],
                receives ? "this engine does not count this"
                         : "this job does not read the frames that reach it");
  put_or_reason(json, "agree", c.agree ? Json(*c.agree) : Json(nullptr),
                c.wire.lost_is_lower_bound
                    ? "the medium does not know how many frames were lost: more than it counted"
                    : "this engine keeps no counts of its own");
  return json;
}

}  // namespace

Json cpu_json(CpuResult c, std::uint64_t frames) {
  c.frames = frames;
  Json json;
  put_figures(json, c, kInResult);
  return json;
}

namespace {

std::string joined(const std::vector<std::string>& sentences) {
  std::string all;
  for (const std::string& s : sentences) all += (all.empty() ? "" : "; ") + s;
  return all;
}

const char* why_no_latency(const JobResult& job) {
  const auto option = job.options.find("disable_lat");
  if (option != job.options.end() && option->second != "0") return "disable_lat is set";
  if (job.rx.frames == 0) return "this job received no frame in the measured window";
  return "the received frames carry no timestamp";
}

const char* why_no_cpu(const JobResult& job) {
  if (job.exit_signal) return "this job was killed before it could report it";
  const auto ramp = job.options.find("ramp_time");
  if (job.tx.of_program && ramp != job.options.end()) {
    return "the kernel reports the usage of a program only at its end, with the ramp";
  }
  if (!job.runtime_seconds) return "the measured window did not begin";
  const bool ended = job.state >= JobState::exited;
  return job.thread && ended ? "not known of a thread that has helper threads"
                             : "this job did not finish";
}

/// The job's identity, and how it ended.
Json identity(const JobResult& job) {
  return {{"jobname", job.name},
          {"groupname", job.group},
          {"peer_of", json_text(job.peer_of)},
          {"rw", word_of(job.role)},
          {"engine", name_of(job.engine)},
          {"address", json_text(job.address)},
          {"state", name_of(job.state)},
          {"passed", job.passed},
          {"error", json_text(joined(job.errors))},
          {"errors", job.errors},
          {"exit_status", json_integer(job.exit_status)},
          {"exit_signal", json_integer(job.exit_signal)},
          {"pid", job.pid == 0 ? Json(nullptr) : Json(job.pid)},
          {"thread", job.thread},
          {"options", Json(job.options)}};
}

}  // namespace

Json job_json(const RunResult& run, const JobResult& job, Bins bins) {
  Json json = identity(job);
  json["problems"] = problems_json(run, job, joined(job.errors));
  json["runtime_seconds"] = json_number(job.runtime_seconds);
  put_directions(json, job.tx, job.rx, "this job did not send", "this job did not receive");
  put_or_reason(json, "loss", loss(job), "this job is the receiver of no flow");
  put_histogram(json, "latency_ns", job.latency, bins, why_no_latency(job));
  put_histogram(json, "service_ns", job.service, bins, why_no_latency(job));
  put_percentiles(json["latency_ns"], *job.latency, job.percentile_list);
  put_percentiles(json["service_ns"], *job.service, job.percentile_list);
  put_histogram(json, "spacing_error_ns", job.spacing_error, bins,
                "this job sent nothing at a given pace");
  put_or_reason(
      json, "overruns", json_integer(job.overruns),
      receives(job.role) ? "this engine does not report overruns" : "this job receives nothing");
  json["overrun_frames"] = json_integer(job.overrun_frames);
  for (const ErrorClass error : kErrorClasses) {
    put_figures(json["errors_by_class"][word_of(error)],
                job.errors_by_class[static_cast<std::size_t>(error)], kInResult);
  }
  Json tcp;
  if (job.tcp) put_figures(tcp, *job.tcp, kInResult);
  put_or_reason(json, "tcp", std::move(tcp),
                job.engine == EngineKind::host ? "no TCP connection in the measured window"
                                               : "only engine=host has TCP connections");
  json["counts"] = counts(job.counts, receives(job.role));
  const std::uint64_t frames = job.tx.frames + job.rx.frames;
  put_or_reason(json, "cpu", job.cpu ? cpu_json(*job.cpu, frames) : Json(nullptr), why_no_cpu(job));
  put_counters(json, job);
  put_heat(json, job);
  put_or_reason(json, "start_skew_ns", json_integer(job.start_skew_ns), "this job did not start");
  put_or_reason(json, "rate_ci95_share", json_number(job.rate_ci_share), "too few intervals");
  put_or_reason(json, "limit_fps", json_number(job.limit_fps),
                "the harness's own limit was not measured");
  json["limit_share"] = json_number(limit_share_of(job));
  Json& list = json["intervals"] = Json::array();
  for (const IntervalResult& i : job.intervals) {
    Json& interval = list.emplace_back();
    put_figures(interval, i, kInResult);
    if (i.tcp) put_figures(interval["tcp"], *i.tcp, kInResult);
  }
  return json;
}

}  // namespace shmif::perf
