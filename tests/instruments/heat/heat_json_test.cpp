// Each figure of access heat, and of the monitor, is in JSON under its own name.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "instruments/heat/monitor.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf::test {
namespace {

using Json = nlohmann::json;

HeatResult result_of_distinct_values() {
  HeatResult result;
  result.process = {41, 77};
  result.name = "rig";
  result.provenance = {"client", "page", "its pages", "no writes"};
  result.provenance.reads_precision = "mapping";
  result.provenance.reads_reason = "no reads";
  result.provenance.note = "a note";
  result.reason = "it left";
  result.fallback_reason = "no pages";
  result.has_ended = true;
  result.kernel_thread = 57;
  result.mappings.looks = 12;
  result.mappings.mappings = {{{{65536, 131072}, "library", 6}, 11}};
  result.ranges = {{{4096, 12288}, "pool", 5}, {{16384, 32768}, "", 0}};
  result.windows = {{1.5, 2.25, 20, 8192, {{4096, 8192, 7, 3, 2}, {8192, 12288, 9, {}, 4}}},
                    {2.5, 3.75, 30, 4096, {}}};
  return result;
}

/// All that a reader finds under `wanted`, at least.
void expect_values(const Json& found, const Json& wanted, const std::string& place) {
  for (const auto& [name, value] : wanted.items()) {
    const std::string here = place + '/' + name;
    if (found.is_array() ? std::stoul(name) >= found.size() : !found.contains(name)) {
      ADD_FAILURE() << here << " is missing";
      continue;
    }
    const Json& other = found.is_array() ? found[std::stoul(name)] : found[name];
    if (value.is_structured() && !value.empty()) {
      expect_values(other, value, here);
    } else {
      EXPECT_EQ(other, value) << here;
    }
  }
}

const Json& wanted_of_distinct_values() {
  static const Json wanted = Json::parse(R"({
    "target": {"pid": 41, "name": "rig", "source": "client", "precision": "page",
               "means": "its pages", "writes_reason": "no writes", "fallback_reason": "no pages",
               "reads_precision": "mapping", "reads_reason": "no reads", "note": "a note",
               "kdamond_pid": 57, "mapping_looks": 12,
               "mappings": [{"begin": 65536, "end": 131072, "name": "library", "accesses": 11}],
               "has_ended": true, "reason": "it left",
               "ranges": [{"begin": 4096, "end": 12288, "name": "pool"},
                          {"begin": 16384, "end": 32768, "name": null}]},
    "working_set_bytes_percentiles": {"0": 4096, "25": 4096, "50": 4096, "75": 8192, "100": 8192},
    "windows": [{"begin_s": 1.5, "end_s": 2.25, "samples": 20, "working_set_bytes": 8192,
                 "regions": [
                   {"begin": 4096, "end": 8192, "accesses": 7, "writes": 3, "age": 2},
                   {"begin": 8192, "end": 12288, "accesses": 9, "writes": null, "age": 4}]},
                {"begin_s": 2.5, "end_s": 3.75, "samples": 30, "working_set_bytes": 4096,
                 "regions": []}]})");
  return wanted;
}

TEST(HeatJson, OfOneTargetHasEachFigureUnderItsName) {
  const HeatAttributes attributes = read_attributes("1,22,333,4,55").value();
  const HeatResult result = result_of_distinct_values();
  const Json json = Json::parse(heat_json({result}, attributes, true));
  expect_values(json, wanted_of_distinct_values(), "");
  expect_values(json, {{"attrs", "1,22,333,4,55"}, {"partial", true}}, "");
  EXPECT_FALSE(json.contains("targets"));
  EXPECT_EQ(json["target"]["ranges"].size(), 2U);
  EXPECT_EQ(json["windows"].size(), 2U);
}

TEST(HeatJson, OfSeveralTargetsIsAListOfThem) {
  HeatResult other;
  other.process = {42, 1};
  const HeatResult result = result_of_distinct_values();
  const Json json = Json::parse(heat_json({other, result}, {}, false));
  EXPECT_EQ(json["partial"], false);
  EXPECT_FALSE(json.contains("target"));
  ASSERT_EQ(json["targets"].size(), 2U);
  expect_values(json["targets"][1], wanted_of_distinct_values(), "");
  expect_values(
      json["targets"][0],
      {{"target", {{"pid", 42}, {"name", nullptr}, {"source", nullptr}, {"has_ended", false}}},
       {"working_set_bytes_percentiles", nullptr}},
      "");
  EXPECT_EQ(Json::parse(heat_json({}, {}, false))["targets"], Json::array());
  EXPECT_EQ(Json::parse(heat_json({other, result}, {}, true))["partial"], true);
  other.mappings = {1, {{{{4096, 8192}, "", 0}, 1}}};
  EXPECT_EQ(Json::parse(heat_json({other}, {}, true))["target"]["mappings"][0]["name"], nullptr);
}

HeatStatus status_of_distinct_values() {
  HeatStatus status;
  status.is_on = true;
  status.attributes = read_attributes("1,22,333,4,55").value();
  status.backend = HeatBackend::damon;
  status.damon = {DamonSpace::fvaddr, {{4096, 8192}, {16384, 20480}}};
  status.clients = "/dir";
  status.contexts = DamonContexts{};
  status.contexts->own = 2;
  status.contexts->foreign = 5;
  status.targets = {{{41, 77}, "rig", true, "why", 9}, {{42, 78}, "", false, "", 3}};
  return status;
}

TEST(HeatStatus, InJsonHasEachFigureUnderItsName) {
  HeatStatus status = status_of_distinct_values();
  expect_values(Json::parse(heat_status_json(status)), Json::parse(R"({
      "state": "on", "attrs": "1,22,333,4,55", "backend": "damon", "damon": "fvaddr",
      "ranges": "0x1000-0x2000,0x4000-0x5000", "clients": "/dir",
      "targets": [{"pid": 41, "start_ticks": 77, "name": "rig", "is_alive": true, "windows": 9,
                   "reason": "why"},
                  {"pid": 42, "start_ticks": 78, "name": null, "is_alive": false, "windows": 3,
                   "reason": null}],
      "own_contexts": 2, "foreign_contexts": 5, "foreign_reason": null})"),
                "");
  status.contexts.reset();
  status.contexts_reason = "no DAMON";
  expect_values(
      Json::parse(heat_status_json(status)),
      {{"own_contexts", nullptr}, {"foreign_contexts", nullptr}, {"foreign_reason", "no DAMON"}},
      "");
}

TEST(HeatStatus, AsTextHasALineForEachTarget) {
  HeatStatus status = status_of_distinct_values();
  EXPECT_EQ(heat_status_text(status),
            "on\n"
            "attrs 1,22,333,4,55\n"
            "backend damon\n"
            "damon fvaddr 0x1000-0x2000,0x4000-0x5000\n"
            "clients /dir\n"
            "target 41 (rig), 9 windows: why\n"
            "target 42, ended, 3 windows\n"
            "kernel DAMON: this monitor uses 2 contexts; others use 5 contexts, which the monitor "
            "does not touch\n");
  const auto last_line = [&](std::uint64_t own, std::uint64_t foreign) {
    status.contexts->own = own;
    status.contexts->foreign = foreign;
    const std::string text = heat_status_text(status);
    return text.substr(text.rfind('\n', text.size() - 2) + 1);
  };
  EXPECT_EQ(last_line(1, 0), "kernel DAMON: this monitor uses 1 contexts\n");
  EXPECT_EQ(last_line(0, 1),
            "kernel DAMON: others use 1 contexts, which the monitor does not touch\n");
  EXPECT_EQ(last_line(0, 0), "kernel DAMON: nobody uses it\n");
  status = {};
  status.contexts_reason = "no DAMON";
  EXPECT_EQ(heat_status_text(status),
            "off\nattrs 5000,100000,1000000,10,1000\nbackend auto\nno targets\n"
            "kernel DAMON: no DAMON\n");
}

}  // namespace
}  // namespace shmif::perf::test
