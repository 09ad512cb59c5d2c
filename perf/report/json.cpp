// A result as JSON: its jobs, then the run.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "perf/engine/engine.hpp"
#include "perf/report/json_figures.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "perf/report/why_report.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/confidence.hpp"

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

void put_directions(Json& into, const TrafficResult& tx, const TrafficResult& rx,
                    const char* why_no_tx, const char* why_no_rx) {
  put_or_reason(into, "tx", unused(tx) ? Json(nullptr) : traffic(tx, kOfSender), why_no_tx);
  put_or_reason(into, "rx", unused(rx) ? Json(nullptr) : traffic(rx, kOfReceiver), why_no_rx);
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

void put_histogram(Json& into, const std::string& key, const std::shared_ptr<LatencyHistogram>& of,
                   Bins bins, const char* reason) {
  put_or_reason(into, key, of && !of->empty() ? histogram(*of, bins) : Json(nullptr), reason);
}

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

/// `frames`: sent and received in the time of `cpu`.
Json cpu_json(CpuResult c, std::uint64_t frames) {
  c.frames = frames;
  Json json;
  put_figures(json, c, kInResult);
  return json;
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

// ---- With repetitions (--repeat), figures are medians ----

constexpr std::array<std::string_view, 3> kHistograms{"latency_ns", "service_ns",
                                                      "spacing_error_ns"};

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// Whether a row with that key asks for it. `limit_fps` and `limit_share` are of jobs, too.
template <class... T>
bool has_median_in(std::string_view key) {
  const auto is_it = [&](const auto& row) { return row.key == key && row.has_median(); };
  return (... || std::ranges::any_of(kRowsOf<T>, is_it));
}

bool has_median(std::string_view key) {
  return has_median_in<TrafficResult, FlowResult, CpuResult, TcpResult, SearchResult>(key);
}

void put_median(Json& value, const std::vector<const Json*>& all) {
  std::vector<double> values;
  for (const Json* each : all) {
    if (each->is_number()) values.push_back(each->get<double>());
  }
  const auto over = estimate(values);
  if (!over || value.is_null()) return;
  // Whole nanoseconds stay whole.
  if (value.is_number_integer()) {
    value = static_cast<std::uint64_t>(std::llround(over->median));
  } else {
    value = over->median;
  }
}

/// The same member of each object that has it.
std::vector<const Json*> members(const std::vector<const Json*>& all, const std::string& key) {
  std::vector<const Json*> found;
  for (const Json* each : all) {
    if (each->is_object() && each->contains(key)) found.push_back(&each->at(key));
  }
  return found;
}

/// The same element of each list.
std::vector<const Json*> elements(const std::vector<const Json*>& lists, std::size_t i) {
  std::vector<const Json*> found;
  for (const Json* list : lists) {
    if (i < list->size()) found.push_back(&list->at(i));
  }
  return found;
}

/// In a histogram, all but the number of its samples and its bins has a median.
enum class Within : std::uint8_t { result, histogram };

void put_medians_in(Json& into, const std::vector<const Json*>& all, Within within) {
  for (auto& [key, value] : into.items()) {
    const bool is_figure =
        within == Within::histogram ? key != "count" && key != "bins" : has_median(key);
    if (key == "flows") {
      for (std::size_t i = 0; i < value.size(); ++i) {
        put_medians_in(value[i], elements(members(all, key), i), Within::result);
      }
    } else if (value.is_object()) {
      // Also of the percentiles of percentile_list, which are an object in the histogram.
      put_medians_in(value, members(all, key),
                     is_one_of(kHistograms, key) ? Within::histogram : within);
    } else if (is_figure) {
      put_median(value, members(all, key));
    }
  }
}

/// Sets the figures in each element of `into`, a list of jobs, groups or searches, to their medians
/// over `all`, the same lists of the repetitions. `name` is the key that identifies an element.
void put_medians(Json& into, const std::vector<Json>& all, const char* name) {
  for (Json& shown : into) {
    std::vector<const Json*> same;
    for (const Json& list : all) {
      for (const Json& each : list) {
        const bool sizes_fit =
            !shown.contains("frame_bytes") || shown.at("frame_bytes") == each.at("frame_bytes");
        if (each.at(name) == shown.at(name) && sizes_fit) same.push_back(&each);
      }
    }
    put_medians_in(shown, same, Within::result);
  }
}

// ---- The parts of a result ----

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

/// What a group's jobs used together; null if it is not known for one of them.
Json group_cpu(const RunResult& result, const GroupResult& group) {
  CpuResult all;
  for (const JobResult& job : result.jobs) {
    if (job.group != group.name) continue;
    if (!job.cpu) return nullptr;
    all += *job.cpu;
  }
  return cpu_json(all, group.tx.frames + group.rx.frames);
}

Json group_json(const RunResult& result, const GroupResult& group, Bins bins) {
  Json json = {{"groupname", group.name}, {"jobnames", group.jobs}};
  put_directions(json, group.tx, group.rx, "no job of this group sent",
                 "no job of this group received");
  Json loss;
  if (group.loss.sent != 0) put_figures(loss, group.loss, kInResult);
  put_or_reason(json, "loss", std::move(loss),
                "no job of this group receives a flow, or nothing was sent on it");
  put_histogram(json, "latency_ns", group.latency, bins, "no job of this group measured it");
  put_histogram(json, "service_ns", group.service, bins, "no job of this group measured it");
  put_or_reason(json, "cpu", group_cpu(result, group), "not known for all of its jobs");
  put_or_reason(json, "start_skew_ns", json_integer(group.start_skew_ns),
                "no job of this group started");
  return json;
}

Json link_json(const LinkResult& link) {
  Json json = {{"wire", link.wire},
               {"jobname", link.job},
               {"direction", link.direction},
               {"options", link.options}};
  put_figures(json, link.faults, kInResult);
  return json;
}

Json frame_bytes(std::uint32_t bytes) {
  return bytes == 0 ? Json(nullptr) : Json(bytes);
}

/// The trial to which the jobs of a search belong.
Json shown_trial_json(const SearchResult& search) {
  if (!search.shown) return nullptr;
  const auto& number = search.shown->number;
  const bool judged = number && *number >= 1 && *number <= search.trials.size();
  return {{"number", judged ? Json(*number) : Json(nullptr)},
          {"offered_fps", json_number(search.shown->offered_fps)},
          {"passed", judged ? Json(search.trials[*number - 1].passed) : Json(nullptr)}};
}

Json search_json(const SearchResult& search) {
  Json json = {{"jobname", search.job},
               {"kind", word_of(search.kind)},
               {"frame_bytes", frame_bytes(search.frame_bytes)}};
  put_figures(json, search, kInResult);
  json["shown_trial"] = shown_trial_json(search);
  Json& trials = json["trials"] = Json::array();
  for (const TrialResult& t : search.trials) {
    trials.push_back({{"jobname", t.job},
                      {"frame_bytes", frame_bytes(t.frame_bytes)},
                      {"offered_fps", json_number(t.offered_fps)},
                      {"achieved_fps", json_number(t.achieved_fps)},
                      {"lost_share", json_number(t.loss_share)},
                      {"latency_percentile_ns", json_number(t.latency_percentile_ns)},
                      {"sender_late_ns", json_number(t.sender_late_ns)},
                      {"limit_share", json_number(share_of_limit(t.offered_fps, search.limit_fps))},
                      {"passed", t.passed}});
  }
  return json;
}

Json repeat_json(const RepeatFigure& r) {
  return {{"jobname", r.job},          {"figure", r.figure},
          {"values", r.values},        {"median", json_number(r.median)},
          {"min", json_number(r.min)}, {"max", json_number(r.max)}};
}

Json steady_state_json(const SteadyStateResult& s) {
  return {{"jobname", s.job},
          {"figure", s.figure},
          {"limit", json_number(s.limit)},
          {"limit_is_share", s.limit_is_share},
          {"window_seconds", s.window_seconds},
          {"ramp_seconds", s.ramp_seconds},
          {"value", json_number(s.value)},
          {"reached", s.reached_at_seconds.has_value()},
          {"reached_at_seconds", json_integer(s.reached_at_seconds)}};
}

Json machine_json(const MachineResult& m) {
  Json json = {{"hostname", json_text(m.hostname)},
               {"kernel", json_text(m.kernel)},
               {"cpu_model", json_text(m.cpu_model)},
               {"cpus", m.cpus == 0 ? Json(nullptr) : Json(m.cpus)},
               {"frequency_mhz", json_number(m.frequency_mhz)},
               {"memory_bytes", m.memory_bytes == 0 ? Json(nullptr) : Json(m.memory_bytes)},
               {"clock_source", json_text(m.clock_source)},
               {"virtualization", json_text(m.virtualization)}};
  Json& window = json["cpu_window"] = Json::array();
  for (const CpuShare& c : m.window) {
    window.push_back({{"cpu", c.cpu},
                      {"user_share", json_number(c.user)},
                      {"system_share", json_number(c.system)},
                      {"idle_share", json_number(c.idle)},
                      {"steal_share", json_number(c.steal)},
                      {"irq_share", json_number(c.irq)}});
  }
  return json;
}

/// Adds `causes`, or the reason why they are not known, and `why`, which tells how they were found.
void put_causes(Json& json, const RunCauses& causes) {
  const bool known = causes.why_unknown.empty();
  put_or_reason(json, "causes", known ? causes_json(causes.causes) : Json(nullptr),
                causes.why_unknown.c_str());
  json["why"] = nullptr;
  if (!known) return;
  json["why"] = {{"seconds", json_number(causes.seconds)},
                 {"looks", causes.looks},
                 {"own_cpu_share", json_number(causes.own_share)},
                 {"missing", missing_json(causes.missing)}};
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

Json jobs_of(const RunResult& result, Bins bins) {
  return list_of(result.jobs, [&](const JobResult& j) { return job_json(result, j, bins); });
}
Json groups_of(const RunResult& result, Bins bins) {
  return list_of(result.groups, [&](const GroupResult& g) { return group_json(result, g, bins); });
}
Json searches_of(const RunResult& result, Bins) {
  return list_of(result.searches, search_json);
}

/// With repetitions, figures that are not counts are the median of all.
void put_lists(Json& json, const RunResult& result, Bins bins) {
  struct Part {
    const char* key;
    const char* name;
    Json (*list)(const RunResult&, Bins);
  };
  for (const Part& part : {Part{"jobs", "jobname", jobs_of}, Part{"groups", "groupname", groups_of},
                           Part{"searches", "jobname", searches_of}}) {
    Json& list = json[part.key] = part.list(result, bins);
    if (result.repetitions.empty()) continue;
    std::vector<Json> all;
    all.reserve(result.repetitions.size());
    for (const RunResult& run : result.repetitions) all.push_back(part.list(run, Bins::without));
    put_medians(list, all, part.name);
  }
}

}  // namespace

std::string to_json(const RunResult& result, Bins bins) {
  using Seconds = std::chrono::duration<double>;
  Json json = {{"shmifperf_version", result.version},
               {"format_version", kReportFormat},
               {"passed", result.failures.empty() && !result.stopped_by_signal},
               {"exit_code", result.exit_code},
               {"stopped_by_signal", json_integer(result.stopped_by_signal)},
               {"failures", result.failures},
               {"warnings", warnings_json(result)},
               {"time",
                {{"began", iso_time(result.began)},
                 {"ended", iso_time(result.ended)},
                 {"seconds", json_number(Seconds(result.ended - result.began).count())}}},
               {"command", result.command},
               {"machine", machine_json(result.machine)},
               {"options", Json(result.options)}};
  put_lists(json, result, bins);
  json["links"] = list_of(result.links, link_json);
  put_causes(json, result.causes);
  json["repeats"] = list_of(result.repeats, repeat_json);
  json["shown_run"] = result.repetitions.empty() ? Json(nullptr) : Json(result.shown_run + 1);
  json["steady_state"] = json_text(result.steady_state.value_or(""));
  json["steady_states"] = list_of(result.steady_states, steady_state_json);
  if (result.membw) json["membw"] = memory_json(result);
  return json.dump(1, ' ', true, Json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
