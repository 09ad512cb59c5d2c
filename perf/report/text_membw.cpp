// The memory bandwidth of a run.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {

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
