#include "perf/report/json.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>

#include "perf/report/warnings.hpp"
#include "perf/report/words.hpp"

namespace shmif::perf {

namespace {

using Json = nlohmann::ordered_json;

// ---- What may be missing ----

Json number(std::optional<double> value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

template <class T>
Json integer(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json text(const std::string& value) {
  return value.empty() ? Json(nullptr) : Json(value);
}

Json per_second(double amount, double seconds) {
  return seconds > 0 ? number(amount / seconds) : Json(nullptr);
}

/// "2026-11-21T01:23:09.123Z"
std::string iso_time(std::chrono::system_clock::time_point when) {
  using namespace std::chrono;
  const auto since = duration_cast<milliseconds>(when.time_since_epoch()).count();
  const auto seconds = static_cast<std::time_t>(since / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 80> out{};
  std::snprintf(out.data(), out.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(since % 1000));
  return out.data();
}

// ---- Traffic ----

/// What both directions have.
Json traffic(const TrafficResult& t) {
  const auto frames = static_cast<double>(t.frames);
  const auto bits = static_cast<double>(t.bytes) * 8;
  return {{"frames", t.frames},
          {"bytes", t.bytes},
          {"seconds", number(t.seconds)},
          {"rate_fps", per_second(frames, t.seconds)},
          {"rate_bps", per_second(bits, t.seconds)},
          {"batches", t.batches},
          {"errors", t.errors},
          {"first_error", text(t.first_error)},
          {"ramp_frames", t.ramp_frames}};
}

Json sent(const TrafficResult& t) {
  Json json = traffic(t);
  json["offered_frames"] = t.offered_frames;
  json["offered_bytes"] = t.offered_bytes;
  json["offered_fps"] = per_second(static_cast<double>(t.offered_frames), t.seconds);
  json["offered_bps"] = per_second(static_cast<double>(t.offered_bytes) * 8, t.seconds);
  json["skipped_frames"] = t.skipped_frames;
  json["refused_frames"] = t.refused_frames;
  return json;
}

Json received(const TrafficResult& t) {
  Json json = traffic(t);
  json["foreign_frames"] = t.foreign_frames;
  json["stale_frames"] = t.stale_frames;
  return json;
}

/// Nothing happened there, and nothing could be divided by any time.
bool unused(const TrafficResult& t) {
  return !(t.seconds > 0) && t.frames == 0 && t.offered_frames == 0 && t.errors == 0 &&
         t.ramp_frames == 0 && t.foreign_frames == 0 && t.stale_frames == 0;
}

/// `key` with `value`, and beside it why it is null, or null when it is not.
void put(Json& into, const std::string& key, Json value, const char* reason) {
  const bool missing = value.is_null();
  into[key] = std::move(value);
  into[key + "_reason"] = missing ? Json(reason) : Json(nullptr);
}

void put_directions(Json& into, const TrafficResult& tx, const TrafficResult& rx,
                    const char* why_no_tx, const char* why_no_rx) {
  put(into, "tx", unused(tx) ? Json(nullptr) : sent(tx), why_no_tx);
  put(into, "rx", unused(rx) ? Json(nullptr) : received(rx), why_no_rx);
}

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

/// Readers of JSON have signed integers; 292 years are enough.
std::uint64_t capped(std::uint64_t ns) {
  return std::min(ns, std::uint64_t{std::numeric_limits<std::int64_t>::max()});
}

Json histogram(const LatencyHistogram& of, Bins bins) {
  Json json = {{"count", of.count()},
               {"min", capped(of.min())},
               {"mean", number(of.mean())},
               {"deviation", number(of.deviation())}};
  for (const Percentile& p : kPercentiles) json[p.key] = capped(of.percentile(p.per_cent));
  json["max"] = capped(of.max());
  if (bins == Bins::without) return json;
  Json& list = json["bins"] = Json::array();
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) {
    if (of.count_in(i) == 0) continue;
    list.push_back({capped(LatencyHistogram::least_of(i)), capped(LatencyHistogram::greatest_of(i)),
                    of.count_in(i)});
  }
  return json;
}

void put_histogram(Json& into, const std::string& key, const std::shared_ptr<LatencyHistogram>& of,
                   Bins bins, const char* reason) {
  put(into, key, of && !of->empty() ? histogram(*of, bins) : Json(nullptr), reason);
}

// ---- Loss ----

Json fates(const FlowResult& f) {
  const auto sent_frames = static_cast<double>(f.sent);
  return {{"sent_frames", f.sent},
          {"received_frames", f.received},
          {"lost_frames", f.lost},
          {"lost_share",
           f.sent == 0 ? Json(nullptr) : number(static_cast<double>(f.lost) / sent_frames)},
          {"duplicate_frames", f.duplicates},
          {"reordered_frames", f.reordered},
          {"corrupt_frames", f.corrupt},
          {"truncated_frames", f.truncated},
          {"late_frames", f.late},
          {"cancelled_frames", f.cancelled},
          {"unverified_frames", f.unverified},
          {"jitter_ns", number(f.jitter_ns)},
          {"verification_complete", f.verification_complete}};
}

Json flow(const FlowResult& f) {
  Json json = {{"flow", f.flow}, {"from", f.from}, {"to", f.to}};
  json.update(fates(f));
  json["gaps"] = f.gaps;  // [[from, to), ...]
  return json;
}

/// Of all flows that a job receives. Jitter is a figure of one stream; of several, the greatest.
FlowResult sum(const std::vector<FlowResult>& flows) {
  FlowResult all;
  for (const FlowResult& f : flows) {
    all.sent += f.sent;
    all.received += f.received;
    all.lost += f.lost;
    all.duplicates += f.duplicates;
    all.reordered += f.reordered;
    all.corrupt += f.corrupt;
    all.truncated += f.truncated;
    all.late += f.late;
    all.cancelled += f.cancelled;
    all.unverified += f.unverified;
    if (f.jitter_ns) all.jitter_ns = std::max(all.jitter_ns.value_or(0), *f.jitter_ns);
    all.verification_complete = all.verification_complete && f.verification_complete;
  }
  return all;
}

Json loss(const JobResult& job) {
  if (job.flows.empty()) return nullptr;
  Json json = fates(sum(job.flows));
  Json& list = json["flows"] = Json::array();
  for (const FlowResult& f : job.flows) list.push_back(flow(f));
  return json;
}

// ---- The rest of a job ----

Json counts(const CountsResult& c) {
  Json json = {{"generator_tx_frames", c.generator_tx},
               {"receiver_rx_frames", c.receiver_rx},
               {"receiver_foreign_frames", c.receiver_foreign},
               {"wire_tx_frames", integer(c.wire.tx_frames)},
               {"wire_tx_bytes", integer(c.wire.tx_bytes)},
               {"wire_rx_frames", integer(c.wire.rx_frames)},
               {"wire_rx_bytes", integer(c.wire.rx_bytes)},
               {"wire_lost_frames", integer(c.wire.lost_frames)},
               {"wire_overruns", integer(c.wire.overruns)},
               {"wire_dropped_frames", integer(c.wire.dropped_frames)}};
  put(json, "agree", integer(c.agree), "the engine keeps no counts of its own");
  return json;
}

Json cpu(const CpuResult& c, double frames) {
  const double busy = c.user_seconds + c.system_seconds;
  return {{"user_seconds", number(c.user_seconds)},
          {"system_seconds", number(c.system_seconds)},
          {"frames_per_busy_second", per_second(frames, busy)},
          {"voluntary_switches", c.voluntary_switches},
          {"involuntary_switches", c.involuntary_switches},
          {"minor_faults", c.minor_faults},
          {"major_faults", c.major_faults}};
}

Json interval(const IntervalResult& i) {
  return {{"at_seconds", number(i.at_seconds)},
          {"seconds", number(i.seconds)},
          {"tx_frames", i.tx_frames},
          {"tx_bytes", i.tx_bytes},
          {"rx_frames", i.rx_frames},
          {"rx_bytes", i.rx_bytes},
          {"lost_frames", i.lost_frames},
          {"overruns", i.overruns},
          {"latency_mean_ns", number(i.latency_mean_ns)},
          {"latency_p50_ns", number(i.latency_p50_ns)},
          {"latency_p99_ns", number(i.latency_p99_ns)},
          {"latency_max_ns", number(i.latency_max_ns)}};
}

std::string joined(const std::vector<std::string>& sentences) {
  std::string all;
  for (const std::string& s : sentences) all += (all.empty() ? "" : "; ") + s;
  return all;
}

const char* why_no_latency(const JobResult& job) {
  const auto option = job.options.find("disable_lat");
  if (option != job.options.end() && option->second != "0") return "disable_lat is set";
  if (job.rx.frames == 0) return "this job received no frame in the measured window";
  return "no frame that was received had a time in it";
}

/// Who it is and how it ended.
Json identity(const JobResult& job) {
  return {{"jobname", job.name},
          {"groupname", job.group},
          {"peer_of", text(job.peer_of)},
          {"rw", word_of(job.role)},
          {"engine", word_of(job.engine)},
          {"address", text(job.address)},
          {"state", word_of(job.state)},
          {"passed", job.passed},
          {"error", text(joined(job.errors))},
          {"errors", job.errors},
          {"exit_status", integer(job.exit_status)},
          {"exit_signal", integer(job.exit_signal)},
          {"pid", job.pid == 0 ? Json(nullptr) : Json(job.pid)},
          {"thread", job.thread},
          {"options", Json(job.options)}};
}

Json job_json(const JobResult& job, Bins bins) {
  Json json = identity(job);
  json["runtime_seconds"] = number(job.runtime_seconds);
  put_directions(json, job.tx, job.rx, "this job did not send", "this job did not receive");
  put(json, "loss", loss(job), "this job is the receiver of no flow");
  put_histogram(json, "latency_ns", job.latency, bins, why_no_latency(job));
  put_histogram(json, "service_ns", job.service, bins, why_no_latency(job));
  put_histogram(json, "spacing_error_ns", job.spacing_error, bins,
                "this job sent nothing by the clock");
  put(json, "overruns", integer(job.overruns), "this engine tells of no overruns");
  json["overrun_frames"] = integer(job.overrun_frames);
  json["counts"] = counts(job.counts);
  json["cpu"] = cpu(job.cpu, static_cast<double>(job.tx.frames + job.rx.frames));
  put(json, "start_skew_ns", integer(job.start_skew_ns), "this job did not start");
  put(json, "rate_ci95_share", number(job.rate_ci_share), "too few intervals");
  put(json, "limit_fps", number(job.limit_fps), "the harness's own limit was not measured");
  json["limit_share"] = number(limit_share_of(job));
  Json& list = json["intervals"] = Json::array();
  for (const IntervalResult& i : job.intervals) {
    list.push_back(interval(i));
    list.back()["measured"] = i.measured;
  }
  return json;
}

// ---- The rest of a run ----

/// What a group's jobs used together.
Json group_cpu(const RunResult& result, const GroupResult& group) {
  CpuResult all;
  for (const JobResult& job : result.jobs) {
    if (job.group != group.name) continue;
    all.user_seconds += job.cpu.user_seconds;
    all.system_seconds += job.cpu.system_seconds;
    all.voluntary_switches += job.cpu.voluntary_switches;
    all.involuntary_switches += job.cpu.involuntary_switches;
    all.minor_faults += job.cpu.minor_faults;
    all.major_faults += job.cpu.major_faults;
  }
  return cpu(all, static_cast<double>(group.tx.frames + group.rx.frames));
}

Json group_json(const RunResult& result, const GroupResult& group, Bins bins) {
  Json json = {{"groupname", group.name}, {"jobnames", group.jobs}};
  put_directions(json, group.tx, group.rx, "no job of this group sent",
                 "no job of this group received");
  put(json, "loss", group.loss.sent == 0 ? Json(nullptr) : fates(group.loss),
      "no flow ends in this group");
  put_histogram(json, "latency_ns", group.latency, bins, "no job of this group measured it");
  put_histogram(json, "service_ns", group.service, bins, "no job of this group measured it");
  json["cpu"] = group_cpu(result, group);
  put(json, "start_skew_ns", integer(group.start_skew_ns), "no job of this group started");
  return json;
}

Json link_json(const LinkResult& link) {
  return {{"wire", link.wire},
          {"jobname", link.job},
          {"direction", link.direction},
          {"options", link.options},
          {"frames", link.faults.frames},
          {"lost_frames", link.faults.lost},
          {"duplicated_frames", link.faults.duplicated},
          {"reordered_frames", link.faults.reordered},
          {"corrupted_frames", link.faults.corrupted},
          {"truncated_frames", link.faults.truncated},
          {"queue_full_frames", link.faults.queue_full}};
}

Json frame_bytes(std::uint32_t bytes) {
  return bytes == 0 ? Json(nullptr) : Json(bytes);
}

Json search_json(const SearchResult& search) {
  Json json = {{"jobname", search.job},
               {"kind", word_of(search.kind)},
               {"frame_bytes", frame_bytes(search.frame_bytes)},
               {"found_fps", number(search.found_fps)},
               {"found_bps", number(search.found_bps)},
               {"why_none", text(search.why_none)}};
  Json& trials = json["trials"] = Json::array();
  for (const TrialResult& t : search.trials) {
    trials.push_back({{"jobname", t.job},
                      {"frame_bytes", frame_bytes(t.frame_bytes)},
                      {"offered_fps", number(t.offered_fps)},
                      {"achieved_fps", number(t.achieved_fps)},
                      {"lost_share", number(t.loss_share)},
                      {"latency_percentile_ns", number(t.latency_percentile_ns)},
                      {"sender_late_ns", number(t.sender_late_ns)},
                      {"passed", t.passed}});
  }
  return json;
}

Json repeat_json(const RepeatFigure& r) {
  return {{"jobname", r.job},           {"figure", r.figure},     {"values", r.values},
          {"median", number(r.median)}, {"min", number(r.least)}, {"max", number(r.most)}};
}

Json machine_json(const MachineResult& m) {
  Json json = {{"hostname", text(m.hostname)},
               {"kernel", text(m.kernel)},
               {"cpu_model", text(m.cpu_model)},
               {"cpus", m.cpus == 0 ? Json(nullptr) : Json(m.cpus)},
               {"frequency_mhz", number(m.frequency_mhz)},
               {"memory_bytes", m.memory_bytes == 0 ? Json(nullptr) : Json(m.memory_bytes)},
               {"clock_source", text(m.clock_source)},
               {"virtualization", text(m.virtualization)}};
  Json& window = json["cpu_window"] = Json::array();
  for (const CpuShare& c : m.window) {
    window.push_back({{"cpu", c.cpu},
                      {"user_share", number(c.user)},
                      {"system_share", number(c.system)},
                      {"idle_share", number(c.idle)},
                      {"steal_share", number(c.steal)},
                      {"irq_share", number(c.irq)}});
  }
  return json;
}

Json warnings_json(const RunResult& result) {
  std::vector<std::string> all = result.lost_outputs;
  all.insert(all.end(), result.warnings.begin(), result.warnings.end());
  for (std::string& found : warnings_from(result)) {
    if (std::find(all.begin(), all.end(), found) == all.end()) all.push_back(std::move(found));
  }
  return all;
}

template <class T, class Make>
Json list_of(const std::vector<T>& items, const Make& make) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(make(item));
  return list;
}

}  // namespace

std::string to_json(const RunResult& result, Bins bins) {
  using Seconds = std::chrono::duration<double>;
  Json json = {{"shmifperf_version", result.version},
               {"format_version", kReportFormat},
               {"passed", result.failures.empty() && !result.stopped_by_signal},
               {"exit_code", result.exit_code},
               {"stopped_by_signal", integer(result.stopped_by_signal)},
               {"failures", result.failures},
               {"warnings", warnings_json(result)},
               {"time",
                {{"began", iso_time(result.began)},
                 {"ended", iso_time(result.ended)},
                 {"seconds", number(Seconds(result.ended - result.began).count())}}},
               {"command", result.command},
               {"machine", machine_json(result.machine)},
               {"options", Json(result.options)}};
  json["jobs"] = list_of(result.jobs, [&](const JobResult& j) { return job_json(j, bins); });
  json["groups"] =
      list_of(result.groups, [&](const GroupResult& g) { return group_json(result, g, bins); });
  json["links"] = list_of(result.links, link_json);
  json["searches"] = list_of(result.searches, search_json);
  json["repeats"] = list_of(result.repeats, repeat_json);
  json["steady_state"] = integer(result.steady_state);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
