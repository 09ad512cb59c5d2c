#include "perf/report/counters_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/quantity.hpp"
#include "base/text.hpp"
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

/// " on CPU 0", " on CPUs 0,2-3"; empty if there are none.
std::string on_cpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return {};
  return (cpus.size() == 1 ? " on CPU " : " on CPUs ") + base::number_list_text(cpus);
}

}  // namespace

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

// ---- Profiles ----

namespace {

/// Longer names are cut off: those of templates can be as long as a page.
constexpr std::size_t kLongestName = 60;

std::string percent(double share) {
  constexpr double kPercent = 100;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f%%", share * kPercent);
  return text.data();
}

/// Why the number of lost samples may be too small; empty if it is right.
std::string why_least(const SampleReport& report) {
  if (!report.lost_is_least) return {};
  return "more samples than " + std::to_string(report.lost_samples) +
         " may be lost: this kernel does not tell how many found no room behind the last one "
         "(Linux 6.0 and newer do)";
}

std::string shown_name(const std::string& name) {
  return base::shortened(printable(name), kLongestName);
}

/// A line for each call, indented below its caller.
void add_tree(std::string& out, const std::vector<CallNode>& nodes, std::uint64_t all,
              double least_share, std::size_t depth) {
  for (const CallNode& each : nodes) {
    const double share = static_cast<double>(each.samples) / static_cast<double>(all);
    if (share < least_share) continue;
    std::string line = percent(share);
    constexpr std::size_t kShare = 7;
    line.insert(0, kShare - std::min(line.size(), kShare), ' ');
    out += line + std::string(2 * depth + 2, ' ') + shown_name(each.symbol) + " (" +
           shown_name(each.object) + ")\n";
    add_tree(out, each.calls, all, least_share, depth + 1);
  }
}

nlohmann::ordered_json calls_json(const std::vector<CallNode>& nodes) {
  auto calls = nlohmann::ordered_json::array();
  for (const CallNode& each : nodes) {
    calls.push_back({{"symbol", each.symbol},
                     {"object", each.object},
                     {"samples", each.samples},
                     {"own", each.own},
                     {"calls", calls_json(each.calls)}});
  }
  return calls;
}

}  // namespace

std::string sample_text(const SampleReport& report, double least_share, std::size_t width) {
  const SampleProfileResult& profile = report.profile;
  std::array<char, 32> seconds{};
  std::snprintf(seconds.data(), seconds.size(), "%.3f s", report.elapsed_s);
  std::string out = std::to_string(profile.samples) + " samples of " + printable(report.event) +
                    on_cpus(report.cpus) + " in " + seconds.data() +
                    (report.lost_is_least ? ", at least " : ", ") +
                    std::to_string(report.lost_samples) + " lost" +
                    (report.partial ? ", until a signal came\n" : "\n");
  Table table;
  table.add({"function", "samples", "share", "object"});
  for (const ProfileRow& row : profile.rows) {
    if (row.share < least_share) continue;
    table.add({shown_name(row.symbol), std::to_string(row.samples), percent(row.share),
               shown_name(row.object)});
  }
  if (table.rows() > 1) out += table.text(width);
  if (report.callgraph && profile.samples > 0) {
    out +=
        "calls, by the kernel's walk along frame pointers: functions that were compiled without "
        "them lack or misname their callers\n";
    add_tree(out, profile.roots, profile.samples, least_share, 0);
  }
  if (report.lost_is_least) out += wrapped("  " + why_least(report), width, 4);
  for (const std::string& note : profile.notes) out += wrapped("  " + printable(note), width, 4);
  return out;
}

std::string sample_json(const SampleReport& report) {
  auto rows = nlohmann::ordered_json::array();
  for (const ProfileRow& row : report.profile.rows) {
    rows.push_back({{"symbol", row.symbol},
                    {"object", row.object},
                    {"samples", row.samples},
                    {"share", row.share}});
  }
  const std::string least = why_least(report);
  nlohmann::ordered_json json{
      {"samples", report.profile.samples},
      {"lost_samples", report.lost_samples},
      {"lost_samples_reason",
       least.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(least)},
      {"profile", std::move(rows)},
      {"event", report.event},
      {"elapsed_s", report.elapsed_s},
      {"notes", report.profile.notes},
      {"partial", report.partial}};
  if (!report.cpus.empty()) json["cpus"] = report.cpus;
  if (report.callgraph) json["callgraph"] = calls_json(report.profile.roots);
  constexpr int kIndent = 2;
  return json.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
