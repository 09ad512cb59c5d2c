// The events that were counted for a job, as JSON and as text.

#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "perf/report/json_values.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {

// ---- As JSON ----

namespace {

using Json = OrderedJson;

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

// ---- As text ----

namespace {

/// "0.0123", "1.54", "1,234": how often an event happened per frame.
std::string few_digits(std::optional<double> value) {
  if (!value) return "-";
  constexpr double kWhole = 1000;
  if (*value >= kWhole) return format_count(static_cast<std::uint64_t>(std::llround(*value)));
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", *value);
  return text.data();
}

enum class CountOf : std::uint8_t { job, frame };

std::string counter_value(CountOf of, const std::string& unit, std::optional<double> value) {
  if (!value) return "-";
  if (unit == "ns") return format_ns(value);
  std::string text = of == CountOf::frame
                         ? few_digits(value)
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
  if (ipc) notes += wrapped("  " + before + "instructions per cycle: " + few_digits(ipc), width, 4);
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

}  // namespace shmif::perf
