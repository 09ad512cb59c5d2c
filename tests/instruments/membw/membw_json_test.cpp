// The JSON of a measurement: each value in its field.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "instruments/membw/measure.hpp"

namespace shmif::perf::test {
namespace {

using Json = nlohmann::json;

MemorySummary controllers() {
  MemorySummary pmu;
  pmu.source = "pmu";
  pmu.origin = "counters";
  pmu.scope = MemoryScope::socket;
  pmu.level = MemoryLevel::dram;
  pmu.window_s = 2.5;
  pmu.samples = 3;
  pmu.rates = {1e9, 2e9, 3e9, 4e9, ""};
  pmu.running_share = 0.5;
  pmu.background = MemoryRates{5, 6, 7};
  return pmu;
}
MemorySummary local_bytes() {
  MemorySummary local;
  local.source = "resctrl";
  local.part = "local";
  local.origin = "files";
  local.scope = MemoryScope::group;
  local.level = MemoryLevel::copied;
  local.rates = MemoryRates::not_measured("none there");
  return local;
}

MembwResult one_sample() {
  MembwResult result;
  result.sources = {controllers(), local_bytes()};
  result.processes = {71, 72};
  MembwSample sample;
  sample.number = 4;
  sample.step = 1;
  sample.readings.resize(2);
  sample.readings[0].begin_ns = 1'000'000'000;
  sample.readings[0].end_ns = 3'500'000'000;
  sample.readings[0].reads = 11;
  sample.readings[0].writes = 12;
  sample.readings[0].total = 13;
  sample.readings[1].reason = "none there";
  result.samples.push_back(std::move(sample));
  return result;
}

TEST(MembwJson, HasEachValueInItsField) {
  MemoryComparison pair;
  pair.first = "a";
  pair.second = "b";
  pair.verdict = MemoryVerdict::refused;
  pair.first_bytes_per_s = 21;
  pair.second_bytes_per_s = 22;
  pair.difference_bytes_per_s = 23;
  pair.difference_share = 0.25;
  pair.reason = "too little";
  MembwResult result = one_sample();
  result.partial = true;
  result.error = Error(Errc::busy, "somebody changed it");
  const std::string text = membw_json(result, MemoryReport::writes, {pair});
  EXPECT_EQ(Json::parse(text), Json::parse(R"({
    "report": "writes",
    "partial": true,
    "error": "somebody changed it",
    "sources": [
      {"source": "pmu", "part": null, "origin": "counters", "scope": "socket", "level": "dram",
       "samples": 3, "window_s": 2.5, "read_bytes_per_s": 1e9, "write_bytes_per_s": 2e9,
       "total_bytes_per_s": 3e9, "local_bytes_per_s": 4e9, "background_bytes_per_s": 6.0,
       "scaled": true, "running_share": 0.5, "reason": null},
      {"source": "resctrl", "part": "local", "origin": "files", "scope": "group",
       "level": "copied", "samples": 0, "window_s": null, "read_bytes_per_s": null,
       "write_bytes_per_s": null, "total_bytes_per_s": null, "local_bytes_per_s": null,
       "background_bytes_per_s": null, "scaled": null, "running_share": null,
       "reason": "none there"}],
    "comparisons": [
      {"first": "a", "second": "b", "first_bytes_per_s": 21.0, "second_bytes_per_s": 22.0,
       "difference_bytes_per_s": 23.0, "difference_share": 0.25, "verdict": "refused",
       "reason": "too little"}],
    "samples": [
      {"number": 4, "step": 1, "pids": [71, 72], "readings": [
        {"source": "pmu", "begin_ns": 1000000000, "window_s": 2.5, "read_bytes_per_s": 11.0,
         "write_bytes_per_s": 12.0, "total_bytes_per_s": 13.0, "reason": null},
        {"source": "resctrl:local", "begin_ns": 0, "window_s": 0.0, "read_bytes_per_s": null,
         "write_bytes_per_s": null, "total_bytes_per_s": null, "reason": "none there"}]}]})"))
      << text;
  EXPECT_TRUE(text.starts_with("{\n  \"report\": \"writes\",\n  \"partial\": true,\n")) << text;
  EXPECT_TRUE(text.ends_with("}\n"));
}

TEST(MembwJson, HasTheAllocationAndThePairsOfASampleIfThereAreAny) {
  const MembwResult result = one_sample();
  const auto sample = [&](const MembwExtras& extras) {
    return Json::parse(membw_json(result, MemoryReport::total, {}, extras))["samples"][0];
  };
  const Json both = sample({.pairs = CompareLimits{}, .allocations = {"MB:0=9", "MB:0=8"}});
  EXPECT_EQ(both["allocation"], "MB:0=8") << "of its step";
  EXPECT_TRUE(both["pairs"].is_array());
  const Json none = sample({.pairs = {}, .allocations = {"MB:0=9"}});
  EXPECT_FALSE(none.contains("allocation"));
  EXPECT_FALSE(none.contains("pairs"));
}

TEST(MembwJson, CountsTheVerdictsOfASweep) {
  MembwResult result;
  auto other = controllers();
  other.source = "other";
  const auto step = [&](double total, double share) {
    auto one = controllers();
    one.rates.total = total;
    other.rates.total = total * share;
    one.samples = 7;
    result.steps.push_back({one, other});
  };
  step(1e10, 1);
  step(1e10, 0.5);
  step(2e10, 0.5);
  step(1, 1);
  step(2, 1);
  step(3, 1);
  auto without = controllers();
  without.rates = MemoryRates::not_measured("gone");
  result.steps.push_back({without, other});
  const MembwExtras extras{.pairs = {}, .allocations = {"a", "b", "c", "d", "e", "f", "g"}};
  const auto sweep = Json::parse(membw_json(result, MemoryReport::total, {}, extras))["sweep"];
  EXPECT_EQ(sweep["verdicts"], Json::parse(R"([
    {"first": "pmu", "second": "other", "verdict": "different", "same": 1, "different": 2,
     "refused": 3, "not_measured": 1}])"));
  ASSERT_EQ(sweep["steps"].size(), 7U);
  EXPECT_EQ(sweep["steps"][1]["allocation"], "b");
  EXPECT_EQ(sweep["steps"][1]["sources"][0], Json::parse(R"(
    {"source": "pmu", "samples": 7, "read_bytes_per_s": 1e9, "write_bytes_per_s": 2e9,
     "total_bytes_per_s": 1e10, "reason": null})"));
  EXPECT_EQ(sweep["steps"][6]["sources"][0]["reason"], "gone");
  EXPECT_EQ(sweep["steps"][1]["comparisons"][0]["verdict"], "different");
  EXPECT_EQ(sweep["steps"][3]["comparisons"][0]["verdict"], "refused");
}

TEST(MembwJson, IsAsciiWhateverAFileIsCalled) {
  MembwResult result = one_sample();
  result.sources[0].origin = "caf\xc3\xa9 \xff";
  const std::string text = membw_json(result, MemoryReport::total, {});
  EXPECT_NE(text.find("\"caf\\u00e9 \\ufffd\""), std::string::npos) << text;
}

}  // namespace
}  // namespace shmif::perf::test
