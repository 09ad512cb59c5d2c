// The memory bandwidth of a run, as JSON and as text.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "instruments/membw/measure.hpp"
#include "perf/report/json_values.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"
#include "perf/result/memory_of_run.hpp"

namespace shmif::perf {

// ---- As JSON ----

namespace {

using Json = OrderedJson;

constexpr double kNanosecondsInSecond = 1e9;

/// The frames in the curves of all jobs between two times of the run.
struct Frames {
  double sent = 0, received = 0;
};
Frames frames_within(const RunResult& result, double begin, double end) {
  Frames frames;
  for (const JobResult& job : result.jobs) {
    for (const IntervalResult& each : job.intervals) {
      const double first = each.at_seconds - each.seconds;
      const double both = std::min(end, each.at_seconds) - std::max(begin, first);
      if (both <= 0) continue;
      frames.sent += static_cast<double>(each.tx_frames) * both / each.seconds;
      frames.received += static_cast<double>(each.rx_frames) * both / each.seconds;
    }
  }
  return frames;
}

/// The bytes of a source per frame that arrived in its windows; if no job receives, per frame that
/// was sent.
Json bytes_per_frame(const RunResult& result, std::size_t source) {
  const MemoryOfRun& memory = *result.membw;
  double bytes = 0;
  Frames frames;
  for (const MembwSample& sample : memory.measured.samples) {
    const MemoryReading& each = sample.readings[source];
    if (!each.total || memory.start_ns == 0) continue;
    const double begin =
        (static_cast<double>(each.begin_ns) - static_cast<double>(memory.start_ns)) /
        kNanosecondsInSecond;
    const Frames within = frames_within(result, begin, begin + each.window_s());
    bytes += *each.total * each.window_s();
    frames.sent += within.sent;
    frames.received += within.received;
  }
  const double count = frames.received > 0 ? frames.received : frames.sent;
  return count > 0 ? json_number(bytes / count) : Json(nullptr);
}

Json json_of_window(const MembwSample& sample, const MemoryOfRun& memory) {
  Json readings = Json::array();
  for (std::size_t at = 0; at < sample.readings.size(); ++at) {
    const MemoryReading& each = sample.readings[at];
    const bool there = each.begin_ns > memory.start_ns && memory.start_ns != 0;
    const double begin =
        there ? static_cast<double>(each.begin_ns - memory.start_ns) / kNanosecondsInSecond : 0;
    readings.push_back({{"source", memory.measured.sources[at].label()},
                        {"begin_s", there ? json_number(begin) : Json(nullptr)},
                        {"window_s", each.window_s()},
                        {"read_bytes_per_s", json_number(each.reads)},
                        {"write_bytes_per_s", json_number(each.writes)},
                        {"total_bytes_per_s", json_number(each.total)},
                        {"reason", json_text(each.reason)}});
  }
  return {{"readings", std::move(readings)}};
}

}  // namespace

/// As membw_value(), but with times since the start of the run, and with bytes per frame.
Json memory_json(const RunResult& result) {
  if (!result.membw) return nullptr;
  const MemoryOfRun& memory = *result.membw;
  const auto comparisons = compare_all(memory.measured.sources, MemoryReport::total);
  Json json = membw_value(memory.measured, MemoryReport::total, comparisons);
  for (std::size_t at = 0; at < memory.measured.sources.size(); ++at) {
    json["sources"][at]["bytes_per_frame"] = bytes_per_frame(result, at);
  }
  Json windows = Json::array();
  for (const MembwSample& sample : memory.measured.samples) {
    windows.push_back(json_of_window(sample, memory));
  }
  json["samples"] = std::move(windows);
  return json;
}

// ---- As text ----

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
