#include "perf/report/sample_report.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "perf/report/counters_report.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {
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
