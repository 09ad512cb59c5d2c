// The memory bandwidth of a run, as JSON.

#include <nlohmann/json.hpp>

#include "perf/membw/measure.hpp"
#include "perf/report/json_values.hpp"
#include "perf/result/memory_of_run.hpp"

namespace shmif::perf {

using Json = OrderedJson;

namespace {

constexpr double kNanosecondsInSecond = 1e9;

/// Frames that arrived each second, at all jobs together; if no job receives, that were sent.
std::optional<double> frame_rate(const RunResult& result) {
  double received = 0;
  double sent = 0;
  const auto rate = [](const TrafficResult& traffic) {
    return traffic.seconds > 0 ? static_cast<double>(traffic.frames) / traffic.seconds : 0;
  };
  for (const JobResult& job : result.jobs) {
    received += rate(job.rx);
    sent += rate(job.tx);
  }
  const double frames = received > 0 ? received : sent;
  return frames > 0 ? std::optional<double>(frames) : std::nullopt;
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

/// As membw_json(), but with times from the start of the run, and bytes for each frame.
Json memory_json(const RunResult& result) {
  if (!result.membw) return nullptr;
  const MemoryOfRun& memory = *result.membw;
  const auto comparisons = compare_all(memory.measured.sources, MemoryReport::total);
  Json json = Json::parse(membw_json(memory.measured, MemoryReport::total, comparisons));
  const auto frames = frame_rate(result);
  for (Json& source : json["sources"]) {
    const Json& total = source["total_bytes_per_s"];
    const bool known = frames && total.is_number();
    source["bytes_per_frame"] = known ? json_number(total.get<double>() / *frames) : Json(nullptr);
  }
  Json windows = Json::array();
  for (const MembwSample& sample : memory.measured.samples) {
    windows.push_back(json_of_window(sample, memory));
  }
  json["samples"] = std::move(windows);
  return json;
}

}  // namespace shmif::perf
