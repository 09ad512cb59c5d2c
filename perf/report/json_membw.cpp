// The memory bandwidth of a run, as JSON.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/membw/measure.hpp"
#include "perf/report/json_values.hpp"
#include "perf/result/memory_of_run.hpp"

namespace shmif::perf {

using Json = OrderedJson;

namespace {

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

/// As membw_json(), but with times since the start of the run, and with bytes per frame.
Json memory_json(const RunResult& result) {
  if (!result.membw) return nullptr;
  const MemoryOfRun& memory = *result.membw;
  const auto comparisons = compare_all(memory.measured.sources, MemoryReport::total);
  Json json = Json::parse(membw_json(memory.measured, MemoryReport::total, comparisons));
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

}  // namespace shmif::perf
