#include "perf/report/counters_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/number_list.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {

using Json = nlohmann::ordered_json;
namespace {

constexpr int kJsonIndent = 2;

template <class... Values>
std::string formatted(const char* format, Values... values) {
  constexpr std::size_t kRoom = 64;
  std::array<char, kRoom> text{};
  const int length = std::snprintf(text.data(), text.size(), format, values...);
  return {text.data(), static_cast<std::size_t>(std::clamp<int>(length, 0, kRoom - 1))};
}

/// A double can hold every whole number up to this one.
constexpr double kLargestWhole = 9007199254740992.0;

/// A number with commas between groups of three digits.
std::string grouped(double value) {
  if (value != std::floor(value)) return formatted("%.3f", value);
  std::string digits = formatted("%.0f", value);
  constexpr std::size_t kGroup = 3;
  for (std::size_t at = digits.size(); at > kGroup; at -= kGroup) digits.insert(at - kGroup, ",");
  return digits;
}

/// The share of the time in which the event counted; empty if it counted all the time.
std::string share_of_time(const StatEvent& event) {
  if (!event.scaled || event.enabled_ns.value_or(0) == 0) return "";
  constexpr double kPercent = 100;
  const auto running = static_cast<double>(event.running_ns.value_or(0));
  return formatted("%.1f%%", kPercent * running / static_cast<double>(*event.enabled_ns));
}

std::string rate_of(const StatEvent& event, double elapsed_s) {
  if (event.unit == "ns" || elapsed_s <= 0) return "";
  const double rate = *event.value / elapsed_s;
  return rate < 100 ? formatted("%.2f/s", rate) : grouped(std::round(rate)) + "/s";
}

/// Writes a whole number without a point if a double holds it exactly.
Json stat_number(double value) {
  if (value == std::floor(value) && std::fabs(value) <= kLargestWhole) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

template <class T>
Json json_or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string dumped(const Json& json) {
  return json.dump(kJsonIndent, ' ', true, Json::error_handler_t::replace) + '\n';
}

}  // namespace

std::string on_cpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return {};
  return (cpus.size() == 1 ? " on CPU " : " on CPUs ") + base::number_list_text(cpus);
}

std::string stat_text(const StatResult& result, std::size_t width) {
  std::string out = "Counted" + on_cpus(result.cpus) + " for " +
                    formatted("%.3f s", result.elapsed_s) +
                    (result.partial ? ", until a signal came:\n" : ":\n");
  constexpr double kNsPerMs = 1e6;
  Table table;
  table.add({"event", "value", "unit", "rate", "counted"});
  for (const StatEvent& each : result.events) {
    if (!each.value) {
      table.add({printable(each.name), each.state, "", "", ""});
      continue;
    }
    const bool clock = each.unit == "ns";
    const std::string value = clock ? formatted("%.3f", *each.value / kNsPerMs)
                                    : grouped(each.scaled ? std::round(*each.value) : *each.value);
    table.add({printable(each.name), value, clock ? "ms" : printable(each.unit),
               rate_of(each, result.elapsed_s), share_of_time(each)});
  }
  out += table.text(width);
  for (const DerivedFigure& each : result.derived) {
    out += "  " + each.name + ": " + formatted("%.3f", each.value) +
           (each.unit.empty() ? "" : " " + each.unit) + '\n';
  }
  for (const SetQuery& each : result.sets) {
    out += formatted("  event set %u: %llu turns, %.3f ms\n", each.id,
                     static_cast<unsigned long long>(each.activations),
                     static_cast<double>(each.active_ns) / kNsPerMs);
  }
  for (const StatEvent& each : result.events) {
    if (each.value && !each.note.empty()) {
      out += wrapped("  " + printable(each.name) + ": " + printable(each.note), width, 4);
    }
    if (each.value) continue;
    out += wrapped("  " + printable(each.name) + ": " + each.state + ": " + printable(each.reason) +
                       (each.enable_with.empty() ? "" : "; to change that: " + each.enable_with),
                   width, 4);
  }
  return out;
}

std::string stat_json(const StatResult& result) {
  Json events = Json::array();
  for (const StatEvent& each : result.events) {
    events.push_back({{"name", each.name},
                      {"value", each.value ? stat_number(*each.value) : Json(nullptr)},
                      {"unit", each.unit},
                      {"scaled", each.scaled},
                      {"enabled_ns", json_or_null(each.enabled_ns)},
                      {"running_ns", json_or_null(each.running_ns)},
                      {"source", each.source},
                      {"reason", each.state.empty() ? "" : each.state + ": " + each.reason}});
  }
  Json derived = Json::array();
  for (const DerivedFigure& each : result.derived) {
    derived.push_back({{"name", each.name}, {"value", each.value}, {"unit", each.unit}});
  }
  Json sets = Json::array();
  for (const SetQuery& each : result.sets) {
    sets.push_back(
        {{"id", each.id}, {"activations", each.activations}, {"active_ns", each.active_ns}});
  }
  Json json{{"events", std::move(events)}, {"derived", std::move(derived)},
            {"sets", std::move(sets)},     {"elapsed_s", result.elapsed_s},
            {"clock_ns", result.clock_ns}, {"one_instant", result.one_instant},
            {"partial", result.partial}};
  if (!result.cpus.empty()) json["cpus"] = result.cpus;
  return dumped(json);
}

}  // namespace shmif::perf
