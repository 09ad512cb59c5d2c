#include <nlohmann/json.hpp>

#include "instruments/membw/measure.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::ordered_json;

Json number_or_null(const std::optional<double>& number) {
  Json value(nullptr);
  if (number) value = *number;
  return value;
}
Json word_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json json_of_source(const MemorySummary& each, MemoryReport report) {
  return {{"source", each.source},
          {"part", word_or_null(each.part)},
          {"origin", each.origin},
          {"scope", word_of(each.scope)},
          {"level", word_of(each.level)},
          {"samples", each.samples},
          {"window_s", each.samples > 0 ? Json(each.window_s) : Json(nullptr)},
          {"read_bytes_per_s", number_or_null(each.rates.reads)},
          {"write_bytes_per_s", number_or_null(each.rates.writes)},
          {"total_bytes_per_s", number_or_null(each.rates.total)},
          {"local_bytes_per_s", number_or_null(each.rates.local)},
          {"background_bytes_per_s",
           each.background ? number_or_null(each.background->of(report)) : Json(nullptr)},
          {"scaled", each.samples > 0 ? Json(each.running_share < 1) : Json(nullptr)},
          {"running_share", each.samples > 0 ? Json(each.running_share) : Json(nullptr)},
          {"reason", word_or_null(each.rates.reason)}};
}

Json json_of_comparison(const MemoryComparison& each) {
  return {{"first", each.first},
          {"second", each.second},
          {"first_bytes_per_s", number_or_null(each.first_bytes_per_s)},
          {"second_bytes_per_s", number_or_null(each.second_bytes_per_s)},
          {"difference_bytes_per_s", number_or_null(each.difference_bytes_per_s)},
          {"difference_share", number_or_null(each.difference_share)},
          {"verdict", word_of(each.verdict)},
          {"reason", word_or_null(each.reason)}};
}
Json json_of_comparisons(const std::vector<MemoryComparison>& all) {
  Json list = Json::array();
  for (const MemoryComparison& each : all) list.push_back(json_of_comparison(each));
  return list;
}

Json json_of_sample(const MembwSample& sample, const MembwResult& result, MemoryReport report,
                    const MembwExtras& extras) {
  Json readings = Json::array();
  auto source = result.sources.begin();
  for (const MemoryReading& each : sample.readings) {
    readings.push_back({{"source", (source++)->label()},
                        {"begin_ns", each.begin_ns},
                        {"window_s", each.window_s()},
                        {"read_bytes_per_s", number_or_null(each.reads)},
                        {"write_bytes_per_s", number_or_null(each.writes)},
                        {"total_bytes_per_s", number_or_null(each.total)},
                        {"reason", word_or_null(each.reason)}});
  }
  Json json{{"number", sample.number}, {"step", sample.step}, {"pids", result.processes}};
  if (sample.step < extras.allocations.size()) {
    json["allocation"] = extras.allocations[sample.step];
  }
  json["readings"] = std::move(readings);
  if (extras.pairs) {
    json["pairs"] = json_of_comparisons(compare_sample(result, sample, report, *extras.pairs));
  }
  return json;
}

/// The steps of a sweep, and the verdicts over all of them.
Json json_of_sweep(const MembwResult& result, MemoryReport report, const MembwExtras& extras) {
  const auto compared = compare_steps(result, report, extras.pairs.value_or(CompareLimits{}));
  Json steps = Json::array();
  for (std::size_t at = 0; at < result.steps.size(); ++at) {
    Json sources = Json::array();
    for (const MemorySummary& each : result.steps[at]) {
      sources.push_back({{"source", each.label()},
                         {"samples", each.samples},
                         {"read_bytes_per_s", number_or_null(each.rates.reads)},
                         {"write_bytes_per_s", number_or_null(each.rates.writes)},
                         {"total_bytes_per_s", number_or_null(each.rates.total)},
                         {"reason", word_or_null(each.rates.reason)}});
    }
    steps.push_back({{"allocation", extras.allocations.at(at)},
                     {"sources", std::move(sources)},
                     {"comparisons", json_of_comparisons(compared[at])}});
  }
  Json verdicts = Json::array();
  for (const MemoryTally& each : tally(compared)) {
    verdicts.push_back({{"first", each.first},
                        {"second", each.second},
                        {"verdict", word_of(each.verdict())},
                        {"same", each.same},
                        {"different", each.different},
                        {"refused", each.refused},
                        {"not_measured", each.not_measured}});
  }
  return {{"steps", std::move(steps)}, {"verdicts", std::move(verdicts)}};
}

}  // namespace

Json membw_value(const MembwResult& result, MemoryReport report,
                 const std::vector<MemoryComparison>& comparisons, const MembwExtras& extras) {
  Json whole;
  whole["report"] = word_of(report);
  whole["partial"] = result.partial;
  whole["error"] = result.error ? Json(result.error->message) : Json(nullptr);
  whole["sources"] = Json::array();
  for (const MemorySummary& each : result.sources) {
    whole["sources"].push_back(json_of_source(each, report));
  }
  whole["comparisons"] = json_of_comparisons(comparisons);
  if (!result.steps.empty()) whole["sweep"] = json_of_sweep(result, report, extras);
  whole["samples"] = Json::array();
  for (const MembwSample& each : result.samples) {
    whole["samples"].push_back(json_of_sample(each, result, report, extras));
  }
  return whole;
}

std::string membw_json(const MembwResult& result, MemoryReport report,
                       const std::vector<MemoryComparison>& comparisons,
                       const MembwExtras& extras) {
  constexpr int kIndent = 2;
  return membw_value(result, report, comparisons, extras)
             .dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) +
         '\n';
}

}  // namespace shmif::perf
