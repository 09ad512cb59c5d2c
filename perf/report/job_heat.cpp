// The access heat of a job, which tells what parts of its bus it used: as JSON and as text.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "instruments/heat/heat_map.hpp"
#include "perf/report/json_values.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"
#include "perf/result/heat_of_job.hpp"

namespace shmif::perf {

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

}  // namespace shmif::perf
