#pragma once
// A result of a run on servers, as `shmifperf run --client` writes one.

#include <nlohmann/json.hpp>
#include <string>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::test {

/// Two servers, "lab1:7000" and "lab2:7000", of which the second refused; asked for by "desk".
inline std::string served_sample_json() {
  using Json = nlohmann::json;
  Json json = Json::parse(perf::to_json(quiet_sample(), perf::Bins::with));
  Json machine = json.at("machine");
  machine["hostname"] = "lab-one";
  machine["kernel"] = "6.1.0-served";
  json["machine"]["hostname"] = "desk";
  json["machine"]["kernel"] = "6.1.0-client";
  const Json ran = {{"hostname", "lab1:7000"},
                    {"passed", true},
                    {"failures", Json::array()},
                    {"exit_code", 0},
                    {"shmifperf_version", json.at("shmifperf_version")},
                    {"time", json.at("time")},
                    {"machine", machine},
                    {"start_offset_ns", 12300},
                    {"clock_error_ns", 4560}};
  Json refused = ran;
  refused["hostname"] = "lab2:7000";
  refused["passed"] = false;
  refused["failures"] = {"refused: no"};
  refused["exit_code"] = 77;
  for (const char* key :
       {"shmifperf_version", "time", "machine", "start_offset_ns", "clock_error_ns"}) {
    refused[key] = nullptr;
  }
  json["hosts"] = {ran, refused};
  return json.dump();
}

}  // namespace shmif::test
