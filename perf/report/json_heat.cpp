// The access heat of a job, as JSON.

#include <cmath>
#include <nlohmann/json.hpp>

#include "perf/report/json_values.hpp"
#include "perf/result/heat_of_job.hpp"

namespace shmif::perf {

using Json = OrderedJson;

namespace {

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

}  // namespace shmif::perf
