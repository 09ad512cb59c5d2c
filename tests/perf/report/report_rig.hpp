#pragma once
// Runs made by hand, their reports, and how a test reads a text.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::report_rig {

using Json = nlohmann::json;
using Words = std::vector<std::string>;
/// The parts of a line between two or more blanks.
using Cells = std::vector<std::string>;

inline Json json_of(const RunResult& run, Bins bins = Bins::without) {
  return Json::parse(to_json(run, bins));
}
/// Also checks the JSON against the schema.
inline Report report_of(const RunResult& run, const std::string& name = "sample") {
  return Report::parse(to_json(run, Bins::without), name).value();
}
inline std::string text_of(const RunResult& run, std::size_t width = 0) {
  return to_text(report_of(run), width);
}
inline std::string text_of(const Json& json, std::size_t width = 0) {
  return to_text(Report::parse(json.dump(), "sample").value(), width);
}

/// A job that did nothing.
inline JobResult idle_job(const std::string& name, Role role = Role::tx) {
  JobResult job;
  job.role = role;
  job.name = job.group = name;
  job.passed = true;
  job.state = JobState::reaped;
  for (auto* const times : {&job.latency, &job.service, &job.spacing_error}) {
    *times = std::make_shared<LatencyHistogram>();
  }
  return job;
}
/// Of 100 bytes each.
inline void moved(TrafficResult& traffic, std::uint64_t frames, double seconds = 1) {
  traffic.frames = frames;
  traffic.bytes = 100 * frames;
  traffic.seconds = seconds;
}
inline JobResult sender(const std::string& name, std::uint64_t frames) {
  JobResult job = idle_job(name);
  moved(job.tx, frames);
  return job;
}
/// A peer that received so many, and has times if `ns` is not 0.
inline JobResult receiver(const JobResult& of, const std::string& name, std::uint64_t frames,
                          std::uint64_t ns) {
  JobResult job = idle_job(name);
  job.group = of.group;
  job.peer_of = of.name;
  job.role = Role::rx;
  moved(job.rx, frames);
  if (ns != 0) job.latency->record(ns);
  return job;
}
inline RunResult run_of(std::vector<JobResult> jobs) {
  RunResult run;
  run.version = "1";
  run.jobs = std::move(jobs);
  return run;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
inline std::size_t times_in(const std::string& text, const std::string& part) {
  std::size_t times = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}
inline Words lines_of(const std::string& text) {
  Words lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}
/// The first line that begins so, blanks in front not counted; empty when there is none.
inline std::string line_with(const std::string& text, const std::string& begin) {
  for (const std::string& line : lines_of(text)) {
    const auto at = line.find_first_not_of(' ');
    if (at != std::string::npos && line.substr(at).starts_with(begin)) return line;
  }
  return {};
}
inline Cells cells_of(const std::string& line) {
  Cells cells;
  for (std::size_t at = line.find_first_not_of(' '); at != std::string::npos;) {
    const std::size_t end = std::min(line.find("  ", at), line.size());
    cells.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(' ', end);
  }
  return cells;
}
/// The cells of the first line behind `from` that begins so.
inline Cells row_of(const std::string& text, const std::string& begin,
                    const std::string& from = "") {
  return cells_of(line_with(text.substr(std::min(text.find(from), text.size())), begin));
}

}  // namespace shmif::perf::report_rig
