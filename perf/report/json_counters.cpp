// The events that were counted for a job, as JSON.

#include <nlohmann/json.hpp>

#include "perf/report/json_values.hpp"

namespace shmif::perf {

using Json = OrderedJson;

namespace {

Json counter_json(const CounterResult& counter, double frames) {
  const bool per_frame = counter.value && frames > 0;
  return {{"name", counter.name},
          {"value", json_number(counter.value)},
          {"unit", json_text(counter.unit)},
          {"scaled", counter.scaled},
          {"enabled_ns", counter.enabled_ns},
          {"running_ns", counter.running_ns},
          {"source", json_text(counter.source)},
          {"reason", json_text(counter.reason)},
          {"per_frame", per_frame ? json_number(*counter.value / frames) : Json(nullptr)}};
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

}  // namespace shmif::perf
