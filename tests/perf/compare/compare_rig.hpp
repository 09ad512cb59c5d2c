#pragma once
// Two results beside each other.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "perf/compare/compare.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::compare_rig {

using Json = nlohmann::json;
using Verdict = ComparedFigure::Verdict;

inline Json json_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::without));
}
inline Report report_of(const Json& json, const std::string& name) {
  return Report::parse(json.dump(), name).value();
}
inline Comparison compared(const Json& before, const Json& after,
                           const CompareOptions& options = {}) {
  return compare(report_of(before, "before.json"), report_of(after, "after.json"), options).value();
}
inline Comparison compared(const RunResult& before, const RunResult& after,
                           const CompareOptions& options = {}) {
  return compared(json_of(before), json_of(after), options);
}
inline const ComparedFigure& figure_of(const Comparison& c, const std::string& job,
                                       const std::string& name) {
  const auto found = std::ranges::find_if(
      c.figures, [&](const ComparedFigure& f) { return f.job == job && f.figure == name; });
  if (found == c.figures.end()) throw std::runtime_error("no figure " + name + " of " + job);
  return *found;
}
inline RepeatFigure repeat(const char* job, const char* figure, const std::vector<double>& values) {
  return {.job = job, .figure = figure, .values = values};
}

}  // namespace shmif::perf::compare_rig
