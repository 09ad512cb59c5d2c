// What the instruments found in a run, as JSON and as text: counted events, access heat, memory
// bandwidth.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "instruments/heat/heat_map.hpp"
#include "instruments/membw/measure.hpp"
#include "perf/report/fields.hpp"
#include "perf/report/json_figures.hpp"
#include "perf/report/table.hpp"
#include "perf/result/instruments_of_run.hpp"

namespace shmif::perf {

// ---- As JSON ----

namespace {

using Json = OrderedJson;

Json counter_json(const CounterResult& counter, double frames) {
  return {{"name", counter.name},
          {"value", json_number(counter.value)},
          {"unit", json_text(counter.unit)},
          {"scaled", counter.scaled},
          {"enabled_ns", counter.enabled_ns},
          {"running_ns", counter.running_ns},
          {"source", json_text(counter.source)},
          {"reason", json_text(counter.reason)},
          {"per_frame", counter.value ? json_number(*counter.value / frames) : Json(nullptr)}};
}

Json interval_json(const CounterInterval& interval) {
  Json values = Json::array();
  for (const CounterInterval::Count& each : interval.counts) {
    values.push_back({{"value", json_number(each.value)},
                      {"scaled", each.scaled},
                      {"reason", json_text(each.reason)}});
  }
  return {{"at_seconds", json_number(interval.at_seconds)},
          {"seconds", json_number(interval.seconds)},
          {"values", std::move(values)}};
}

/// "cycles" and "instructions" with the same modifiers.
const CounterResult* partner_of(const JobResult& job, const std::string& modifiers) {
  for (const CounterResult& each : job.counters) {
    if (each.name == "instructions" + modifiers) return &each;
  }
  return nullptr;
}

Json instructions_per_cycle(const JobResult& job) {
  for (const CounterResult& cycles : job.counters) {
    for (const std::string name : {"cpu-cycles", "cycles"}) {
      if (!cycles.name.starts_with(name) || !cycles.value || *cycles.value <= 0) continue;
      const std::string modifiers = cycles.name.substr(name.size());
      if (!modifiers.empty() && modifiers.front() != ':') continue;
      const CounterResult* const instructions = partner_of(job, modifiers);
      if (instructions == nullptr || !instructions->value) continue;
      return json_number(*instructions->value / *cycles.value);
    }
  }
  return nullptr;
}

}  // namespace

void put_counters(Json& into, const JobResult& job) {
  if (job.counters.empty()) return;
  const auto frames = static_cast<double>(job.tx.frames + job.rx.frames);
  Json& list = into["counters"] = Json::array();
  for (const CounterResult& each : job.counters) list.push_back(counter_json(each, frames));
  Json& curve = into["counter_intervals"] = Json::array();
  for (const CounterInterval& each : job.counter_intervals) curve.push_back(interval_json(each));
  into["instructions_per_cycle"] = instructions_per_cycle(job);
}

// ---- As text ----

namespace {

/// "0.0123", "1.54", "1,234": how often an event happened per frame.
std::string few_digits(double value) {
  constexpr double kWhole = 1000;
  if (value >= kWhole) return format_count(static_cast<std::uint64_t>(std::llround(value)));
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", value);
  return text.data();
}

enum class CountOf : std::uint8_t { job, frame };

std::string counter_value(CountOf of, const std::string& unit, std::optional<double> value) {
  if (!value) return "-";
  if (unit == "ns") return format_ns(value);
  std::string text = of == CountOf::frame
                         ? few_digits(*value)
                         : format_count(static_cast<std::uint64_t>(std::llround(*value)));
  if (!unit.empty()) text += ' ' + unit;
  return text;
}

std::string counted_share(const ReportJson& counter) {
  const auto enabled = count(counter, "enabled_ns").value_or(0);
  if (enabled == 0) return "-";
  return format_share(static_cast<double>(count(counter, "running_ns").value_or(0)) /
                      static_cast<double>(enabled));
}

void add_counters(Table& table, std::string& notes, const std::string& before,
                  const ReportJson& job, std::size_t width) {
  const auto found = job.find("counters");  // missing if the job did not ask for events
  if (found == job.end()) return;
  for (const ReportJson& each : *found) {
    const std::string name = before + words(each, "name");
    const std::string unit = words(each, "unit");
    table.add({name, counter_value(CountOf::job, unit, figure(each, "value")),
               counter_value(CountOf::frame, unit, figure(each, "per_frame")),
               counted_share(each)});
    if (each.at("value").is_null()) {
      notes += wrapped("  " + name + ": " + words(each, "reason"), width, 4);
      continue;
    }
    // If the kernel permitted user space only, the source says so.
    const std::string source = words(each, "source");
    const std::size_t part = source.find("in user space only, as ");
    if (part != std::string::npos) {
      notes += wrapped("  " + name + ": counted " + source.substr(part), width, 4);
    }
  }
  const auto ipc = figure(job, "instructions_per_cycle");
  if (ipc)
    notes += wrapped("  " + before + "instructions per cycle: " + few_digits(*ipc), width, 4);
}

}  // namespace

std::string counters_text(const Unit& unit, std::size_t width) {
  Table table;
  table.add({"counters", "value", "per frame", "counted for"});
  std::string notes;
  const auto add = [&](const ReportJson& job) {
    const std::string before = unit.peers.empty() ? "" : words(job, "jobname") + ' ';
    add_counters(table, notes, before, job, width);
  };
  add(*unit.job);
  for (const ReportJson* peer : unit.peers) add(*peer);
  return table.rows() > 1 ? table.text(width) + notes : "";
}

// The access heat of a job, which tells what parts of its bus it used: as JSON and as text.

// ---- As JSON ----

namespace {

using Json = OrderedJson;

/// The shares with two digits, because a map has thousands of them.
Json shares_json(const std::vector<double>& shares) {
  constexpr double kDigits = 100;
  Json list = Json::array();
  for (const double share : shares) {
    // A rare use must not look like no use.
    const double least = share > 0 ? 1 / kDigits : 0;
    list.push_back(std::max(std::round(share * kDigits) / kDigits, least));
  }
  return list;
}

Json heat_map_json(const BusHistory& history) {
  Json parts = Json::array();
  for (const BusPart& each : history.parts()) {
    parts.push_back({{"name", each.name},
                     {"begin", each.range.begin},
                     {"end", each.range.end},
                     {"cells", each.cells}});
  }
  Json rows = Json::array();
  for (const BusHeatRow& each : history.rows()) {
    rows.push_back({{"begin_s", each.begin_s},
                    {"end_s", each.end_s},
                    {"looks", each.looks},
                    {"accessed", shares_json(each.accessed)},
                    {"written", each.written.empty() ? Json(nullptr) : shares_json(each.written)}});
  }
  return {{"parts", std::move(parts)}, {"rows", std::move(rows)}};
}

Json heat_regions_json(const BusHistory& history) {
  Json list = Json::array();
  for (const Region& each : history.regions()) {
    list.push_back({{"begin", each.begin},
                    {"end", each.end},
                    {"accesses", each.accesses},
                    {"writes", each.writes ? Json(*each.writes) : Json(nullptr)},
                    {"age", each.age}});
  }
  return list;
}

Json working_set_json(const BusHistory& history) {
  constexpr double kMedian = 50;
  constexpr double kNearlyAll = 95;
  constexpr double kAll = 100;
  const auto median = history.working_set_bytes(kMedian);
  if (!median) return nullptr;
  return {{"p50", *median},
          {"p95", *history.working_set_bytes(kNearlyAll)},
          {"max", *history.working_set_bytes(kAll)}};
}

std::optional<double> share_of(std::optional<std::uint64_t> part, std::uint64_t whole) {
  if (!part || whole == 0) return std::nullopt;
  return static_cast<double>(*part) / static_cast<double>(whole);
}

void put_measured(Json& json, const BusHistory& history) {
  const auto touched = history.touched_bytes();
  const auto written = history.written_bytes();
  json["bytes"] = history.bytes();
  json["windows"] = history.windows();
  json["working_set_bytes"] = working_set_json(history);
  json["touched_bytes"] = json_integer(touched);
  json["touched_share"] = json_number(share_of(touched, history.bytes()));
  json["written_bytes"] = json_integer(written);
  json["written_share"] = json_number(share_of(written, history.bytes()));
  const bool has_regions = history.looks_of_regions() > 0;
  json["looks"] = has_regions ? Json(history.looks_of_regions()) : Json(nullptr);
  json["regions"] = has_regions ? heat_regions_json(history) : Json(nullptr);
  json["map"] = heat_map_json(history);
}

}  // namespace

void put_heat(Json& into, const JobResult& job) {
  if (!job.heat) return;
  const HeatOfJob& heat = *job.heat;
  Json& json = into["heat"];
  json = {{"attrs", attributes_text(heat.attributes)},
          {"source", json_text(heat.provenance.source)},
          {"precision", json_text(heat.provenance.precision)},
          {"means", json_text(heat.provenance.means)},
          {"writes_reason", json_text(heat.provenance.writes_reason)},
          {"reason", json_text(heat.reason)},
          {"mapping", json_text(heat.mapping)}};
  if (heat.history) return put_measured(json, *heat.history);
  for (const char* const key :
       {"bytes", "windows", "working_set_bytes", "touched_bytes", "touched_share", "written_bytes",
        "written_share", "looks", "regions", "map"}) {
    json[key] = nullptr;
  }
}

// ---- As text ----

namespace {

constexpr std::size_t kMaxMaps = 4;
constexpr std::size_t kMaxMapRows = 8;

void add_job(const ReportJson& job, Table& table, std::string& notes, std::size_t width) {
  const ReportJson& heat = job.at("heat");
  const std::string name = words(job, "jobname");
  const ReportJson& set = heat.at("working_set_bytes");
  const auto percentile = [&](const char* key) {
    return set.is_null() ? std::string("-") : format_memory(count(set, key));
  };
  table.add({name, percentile("p50"), percentile("p95"),
             format_share(figure(heat, "touched_share")),
             format_share(figure(heat, "written_share")), format_memory(count(heat, "bytes"))});
  for (const char* const key : {"reason", "writes_reason"}) {
    if (heat.at(key).is_null()) continue;
    const char* const before = key == std::string_view("reason") ? ": " : ": writes: ";
    notes += wrapped("  " + name + before + words(heat, key), width, 4);
  }
}

/// The means of some rows, weighted by their looks.
std::vector<double> mean_of_rows(const ReportJson& rows, std::size_t first, std::size_t last) {
  std::vector<double> sums;
  double looks = 0;
  for (std::size_t i = first; i < last; ++i) {
    const ReportJson& cells = rows.at(i).at("accessed");
    const auto weight = rows.at(i).at("looks").get<double>();
    looks += weight;
    sums.resize(std::max(sums.size(), cells.size()));
    for (std::size_t cell = 0; cell < cells.size(); ++cell) {
      sums[cell] += cells.at(cell).get<double>() * weight;
    }
  }
  for (double& sum : sums) sum /= looks;
  return sums;
}

/// The cells with a bar at the end of each part.
std::string barred(const std::string& cells, const ReportJson& parts) {
  std::string text = "|";
  std::size_t at = 0;
  for (const ReportJson& part : parts) {
    const auto width = part.at("cells").get<std::size_t>();
    text += cells.substr(std::min(at, cells.size()), width) + '|';
    at += width;
  }
  return text;
}

/// The map of a job: what to draw, or a sentence if it would be one character, repeated.
struct MapText {
  std::string drawn, said;
};

/// Time goes down, addresses go across.
MapText map_text(const ReportJson& job, std::size_t width) {
  const ReportJson& map = job.at("heat").at("map");
  if (map.is_null() || map.at("rows").empty()) return {};
  const ReportJson& rows = map.at("rows");
  const std::size_t lines = std::min(rows.size(), kMaxMapRows);
  std::string text = "  " + words(job, "jobname") + '\n';
  std::vector<double> all;
  for (std::size_t line = 0; line < lines; ++line) {
    const std::size_t first = line * rows.size() / lines;
    const std::size_t last = (line + 1) * rows.size() / lines;
    std::array<char, 32> label{};
    std::snprintf(label.data(), label.size(), "  %8.1f s ",
                  rows.at(first).at("begin_s").get<double>());
    const auto shares = mean_of_rows(rows, first, last);
    text += label.data() + barred(heat_strip(shares), map.at("parts")) + '\n';
    all.insert(all.end(), shares.begin(), shares.end());
  }
  const auto one = heat_of_all(all);
  if (!one) return {text, ""};
  const std::string used =
      *one > 0 ? "all parts of its bus were used alike, in " + heat_share(*one) + " of the looks"
               : "no part of its bus was used";
  return {"", wrapped("  " + words(job, "jobname") + ": " + used, width, 4)};
}

/// The maps of the first jobs that have one, the drawn ones first.
std::string maps_text(const std::vector<const ReportJson*>& jobs, std::size_t width) {
  std::string maps, sentences;
  std::size_t known = 0;
  for (const ReportJson* const job : jobs) {
    const MapText map = map_text(*job, width);
    if (map.drawn.empty() && map.said.empty()) continue;
    if (++known > kMaxMaps) continue;
    maps += map.drawn;
    sentences += map.said;
  }
  if (known > kMaxMaps) {
    sentences +=
        "  maps of other jobs, which are not shown: " + std::to_string(known - kMaxMaps) + '\n';
  }
  if (maps.empty()) return sentences;
  return wrapped(
             "  over time: header, ports and ring of the bus; share of the looks in which a part "
             "was "
             "used,",
             width, 4) +
         "    from none to all: \"" + std::string(kHeatScale) + "\"\n" + maps + sentences;
}

}  // namespace

std::string heat_text(const ReportJson& report, std::size_t width) {
  Table table;
  table.add({"heat of the bus", "used, p50", "p95", "touched", "written", "of"});
  std::string notes;
  std::vector<const ReportJson*> jobs;
  for (const ReportJson& job : report.at("jobs")) {
    if (!job.contains("heat")) continue;
    jobs.push_back(&job);
    add_job(job, table, notes, width);
  }
  if (jobs.empty()) return "";
  return table.text(width) + notes + maps_text(jobs, width) + '\n';
}

// The memory bandwidth of a run, as JSON and as text.

// ---- As JSON ----

namespace {

using Json = OrderedJson;

constexpr double kNanosecondsInSecond = 1e9;

/// The frames in the curves of all jobs between two times of the run.
struct Frames {
  double sent = 0, received = 0;
};
Frames frames_within(const RunResult& result, double begin, double end) {
  Frames frames;
  for (const JobResult& job : result.jobs) {
    for (const IntervalResult& each : job.intervals) {
      const double first = each.at_seconds - each.seconds;
      const double both = std::min(end, each.at_seconds) - std::max(begin, first);
      if (both <= 0) continue;
      frames.sent += static_cast<double>(each.tx_frames) * both / each.seconds;
      frames.received += static_cast<double>(each.rx_frames) * both / each.seconds;
    }
  }
  return frames;
}

/// The bytes of a source per frame that arrived in its windows; if no job receives, per frame that
/// was sent.
Json bytes_per_frame(const RunResult& result, std::size_t source) {
  const MemoryOfRun& memory = *result.membw;
  double bytes = 0;
  Frames frames;
  for (const MembwSample& sample : memory.measured.samples) {
    const MemoryReading& each = sample.readings[source];
    if (!each.total || memory.start_ns == 0) continue;
    const double begin =
        (static_cast<double>(each.begin_ns) - static_cast<double>(memory.start_ns)) /
        kNanosecondsInSecond;
    const Frames within = frames_within(result, begin, begin + each.window_s());
    bytes += *each.total * each.window_s();
    frames.sent += within.sent;
    frames.received += within.received;
  }
  const double count = frames.received > 0 ? frames.received : frames.sent;
  return count > 0 ? json_number(bytes / count) : Json(nullptr);
}

Json json_of_window(const MembwSample& sample, const MemoryOfRun& memory) {
  Json readings = Json::array();
  for (std::size_t at = 0; at < sample.readings.size(); ++at) {
    const MemoryReading& each = sample.readings[at];
    const bool there = each.begin_ns > memory.start_ns && memory.start_ns != 0;
    const double begin =
        there ? static_cast<double>(each.begin_ns - memory.start_ns) / kNanosecondsInSecond : 0;
    readings.push_back({{"source", memory.measured.sources[at].label()},
                        {"begin_s", there ? json_number(begin) : Json(nullptr)},
                        {"window_s", each.window_s()},
                        {"read_bytes_per_s", json_number(each.reads)},
                        {"write_bytes_per_s", json_number(each.writes)},
                        {"total_bytes_per_s", json_number(each.total)},
                        {"reason", json_text(each.reason)}});
  }
  return {{"readings", std::move(readings)}};
}

}  // namespace

/// As membw_value(), but with times since the start of the run, and with bytes per frame.
Json memory_json(const RunResult& result) {
  if (!result.membw) return nullptr;
  const MemoryOfRun& memory = *result.membw;
  const auto comparisons = compare_all(memory.measured.sources, MemoryReport::total);
  Json json = membw_value(memory.measured, MemoryReport::total, comparisons);
  for (std::size_t at = 0; at < memory.measured.sources.size(); ++at) {
    json["sources"][at]["bytes_per_frame"] = bytes_per_frame(result, at);
  }
  Json windows = Json::array();
  for (const MembwSample& sample : memory.measured.samples) {
    windows.push_back(json_of_window(sample, memory));
  }
  json["samples"] = std::move(windows);
  return json;
}

// ---- As text ----

namespace {

std::string bytes_text(std::optional<double> bytes, const char* per) {
  if (!bytes) return "-";
  return format_bytes(static_cast<std::uint64_t>(std::llround(std::max(*bytes, 0.0)))) + per;
}

/// Below 10 bytes, with two decimals.
std::string per_frame_text(std::optional<double> bytes) {
  constexpr double kSmall = 10;
  if (!bytes || *bytes >= kSmall) return bytes_text(bytes, "");
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.2f B", *bytes);
  return text.data();
}

/// "software:bus"
std::string source_name(const ReportJson& source) {
  const std::string part = words(source, "part");
  return words(source, "source") + (part.empty() ? "" : ':' + part);
}

std::string comparison_text(const ReportJson& each, std::size_t width) {
  std::string line =
      "  " + words(each, "first") + " and " + words(each, "second") + ": " + words(each, "verdict");
  const auto share = figure(each, "difference_share");
  if (share) line += ", " + format_share(share) + " apart";
  return wrapped(line, width, 4);
}

/// `of`: a run, or one of its servers.
std::string text_of(const ReportJson& of, const std::string& title, std::size_t width) {
  const auto found = of.find("membw");  // missing unless it was asked for
  if (found == of.end() || found->is_null()) return "";
  Table table;
  table.add({"source", "scope", "level", "windows", "reads", "writes", "total", "per frame"});
  std::string notes;
  for (const ReportJson& each : found->at("sources")) {
    const std::string name = source_name(each);
    table.add({name, words(each, "scope"), words(each, "level"),
               each.at("window_s").is_null() ? "-" : format_count(count(each, "samples")),
               bytes_text(figure(each, "read_bytes_per_s"), "/s"),
               bytes_text(figure(each, "write_bytes_per_s"), "/s"),
               bytes_text(figure(each, "total_bytes_per_s"), "/s"),
               per_frame_text(figure(each, "bytes_per_frame"))});
    if (!each.at("reason").is_null()) {
      notes += wrapped("  " + name + ": " + words(each, "reason"), width, 4);
    }
  }
  for (const ReportJson& each : found->at("comparisons")) {
    const std::string verdict = words(each, "verdict");
    if (verdict == "same" || verdict == "different") notes += comparison_text(each, width);
  }
  if (found->at("partial") == true) notes += "  partial: the run was stopped\n";
  return title + '\n' + table.text(width) + notes + '\n';
}

}  // namespace

std::string memory_text(const ReportJson& report, std::size_t width) {
  std::string text = text_of(report, "memory bandwidth", width);
  const auto hosts = report.find("hosts");
  if (hosts == report.end()) return text;
  for (const ReportJson& host : *hosts) {
    text += text_of(host, "memory bandwidth of " + words(host, "hostname"), width);
  }
  return text;
}

}  // namespace shmif::perf
