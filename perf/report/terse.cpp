#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/report/fields.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text.hpp"

namespace shmif::perf {

namespace {

std::string field(const ReportJson& value) {
  if (value.is_null()) return {};
  if (!value.is_string()) return value.dump();
  std::string text = printable(value.get<std::string>());
  std::replace(text.begin(), text.end(), ';', '_');
  return text;
}

/// The fields of docs/shmifperf-terse.md, as places in a job: the name of an object and a key in
/// it, or a key of the job.
struct Place {
  const char* object;
  const char* key;
};
constexpr Place kPlaces[] = {
    {nullptr, "jobname"},
    {nullptr, "groupname"},
    {nullptr, "rw"},
    {nullptr, "engine"},
    {nullptr, "passed"},
    {nullptr, "error"},
    {nullptr, "runtime_seconds"},
    {"tx", "frames"},
    {"tx", "bytes"},
    {"tx", "seconds"},
    {"tx", "rate_fps"},
    {"tx", "rate_bps"},
    {"tx", "offered_fps"},
    {"tx", "offered_bps"},
    {"tx", "refused_frames"},
    {"tx", "skipped_frames"},
    {"rx", "frames"},
    {"rx", "bytes"},
    {"rx", "seconds"},
    {"rx", "rate_fps"},
    {"rx", "rate_bps"},
    {"rx", "foreign_frames"},
    {"loss", "sent_frames"},
    {"loss", "received_frames"},
    {"loss", "lost_frames"},
    {"loss", "duplicate_frames"},
    {"loss", "reordered_frames"},
    {"loss", "corrupt_frames"},
    {"loss", "truncated_frames"},
    {"loss", "late_frames"},
    {"loss", "jitter_ns"},
    {nullptr, "overruns"},
    {nullptr, "overrun_frames"},
    {"latency_ns", "min"},
    {"latency_ns", "mean"},
    {"latency_ns", "p50"},
    {"latency_ns", "p90"},
    {"latency_ns", "p99"},
    {"latency_ns", "p99_9"},
    {"latency_ns", "p99_99"},
    {"latency_ns", "p99_999"},
    {"latency_ns", "max"},
    {"service_ns", "p50"},
    {"service_ns", "p99"},
    {"service_ns", "max"},
    {"spacing_error_ns", "p50"},
    {"spacing_error_ns", "p99"},
    {"spacing_error_ns", "max"},
    {"cpu", "user_seconds"},
    {"cpu", "system_seconds"},
    {"cpu", "frames_per_busy_second"},
    {"counts", "agree"},
    {nullptr, "start_skew_ns"},
    {nullptr, "limit_fps"},
};

std::string line_of(const ReportJson& report, const ReportJson& job) {
  std::string line = std::to_string(kTerseVersion) + ';' + field(report.at("shmifperf_version"));
  for (const Place& place : kPlaces) {
    const ReportJson& object = place.object == nullptr ? job : job.at(place.object);
    line += ';' + (object.is_null() ? std::string() : field(object.at(place.key)));
  }
  return line + '\n';
}

}  // namespace

std::string to_terse(const Report& report) {
  std::string out;
  for (const ReportJson& job : report.json().at("jobs")) out += line_of(report.json(), job);
  return out;
}

}  // namespace shmif::perf
