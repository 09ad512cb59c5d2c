#include <nlohmann/json.hpp>

#include "instruments/heat/session.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json target_json(const HeatResult& result) {
  auto ranges = Json::array();
  for (const NamedRange& each : result.ranges) {
    ranges.push_back(
        {{"begin", each.range.begin}, {"end", each.range.end}, {"name", text_or_null(each.name)}});
  }
  auto mappings = Json::array();
  for (const MappingLooks::Mapping& each : result.mappings.mappings) {
    mappings.push_back({{"begin", each.memory.range.begin},
                        {"end", each.memory.range.end},
                        {"name", text_or_null(each.memory.name)},
                        {"accesses", each.accesses}});
  }
  const bool is_process = result.process.number != 0;
  return {{"pid", is_process ? Json(result.process.number) : Json(nullptr)},
          {"name", text_or_null(result.name)},
          {"source", text_or_null(result.provenance.source)},
          {"precision", text_or_null(result.provenance.precision)},
          {"means", text_or_null(result.provenance.means)},
          {"writes_reason", text_or_null(result.provenance.writes_reason)},
          {"reads_precision", text_or_null(result.provenance.reads_precision)},
          {"reads_reason", text_or_null(result.provenance.reads_reason)},
          {"note", text_or_null(result.provenance.note)},
          {"kdamond_pid", result.kernel_thread != 0 ? Json(result.kernel_thread) : Json(nullptr)},
          {"fallback_reason", text_or_null(result.fallback_reason)},
          {"has_ended", result.has_ended},
          {"reason", text_or_null(result.reason)},
          {"ranges", std::move(ranges)},
          {"mapping_looks", result.mappings.looks},
          {"mappings", std::move(mappings)}};
}

Json window_json(const HeatWindow& window) {
  auto regions = Json::array();
  for (const Region& region : window.regions) {
    regions.push_back({{"begin", region.begin},
                       {"end", region.end},
                       {"accesses", region.accesses},
                       {"writes", or_null(region.writes)},
                       {"age", region.age}});
  }
  return {{"begin_s", window.begin_s},
          {"end_s", window.end_s},
          {"samples", window.samples},
          {"working_set_bytes", window.working_set_bytes},
          {"regions", std::move(regions)}};
}

Json percentiles_json(const HeatResult& result) {
  const auto bytes = working_set_percentiles(result.windows);
  if (bytes.empty()) return nullptr;
  return {{"0", bytes[0]}, {"25", bytes[1]}, {"50", bytes[2]}, {"75", bytes[3]}, {"100", bytes[4]}};
}

Json result_json(const HeatResult& result) {
  auto windows = Json::array();
  for (const HeatWindow& window : result.windows) windows.push_back(window_json(window));
  return {{"target", target_json(result)},
          {"working_set_bytes_percentiles", percentiles_json(result)},
          {"windows", std::move(windows)}};
}

}  // namespace

std::string heat_json(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      bool partial) {
  Json whole{{"attrs", attributes_text(attributes)}, {"partial", partial}};
  if (results.size() == 1) {
    whole.update(result_json(results.front()));
  } else {
    auto targets = Json::array();
    for (const HeatResult& each : results) targets.push_back(result_json(each));
    whole["targets"] = std::move(targets);
  }
  constexpr int kIndent = 1;
  return whole.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
