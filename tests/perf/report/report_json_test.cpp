// A result as JSON: as the schema has it, and nothing that was not measured.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;
using test::sample_named;

/// What another implementation of JSON Schema, that of Python, says about each document; empty: it
/// is valid. Takes all documents at once, because starting it takes longer than judging one.
std::vector<std::string> judged_elsewhere(const std::vector<std::string>& documents) {
  const test::TempDir dir("/tmp");
  std::ofstream file(dir.file("documents"));
  for (const std::string& each : documents) file << Json::parse(each).dump() << '\n';
  file.close();
  const char* const program =
      "import json, sys, jsonschema\n"
      "schema = json.load(open(sys.argv[1]))\n"
      "jsonschema.Draft7Validator.check_schema(schema)\n"
      "judge = jsonschema.Draft7Validator(schema)\n"
      "for line in open(sys.argv[2]):\n"
      "  errors = judge.iter_errors(json.loads(line))\n"
      "  print('; '.join(repr('/'.join(map(str, e.path)) + ': ' + e.message[:200]) for e in "
      "errors))\n";
  const auto judged = test::run_program(
      {SHMIF_PYTHON, "-c", program, shmif::test::in_source("docs/shmifperf.schema.json"),
       dir.file("documents")},
      {}, std::chrono::seconds(50));
  EXPECT_EQ(judged.status, 0) << judged.err;
  std::vector<std::string> verdicts;
  std::istringstream lines(judged.out);
  for (std::string line; std::getline(lines, line);) verdicts.push_back(line);
  EXPECT_EQ(verdicts.size(), documents.size());
  verdicts.resize(documents.size(), "not judged");
  return verdicts;
}

class EachSample : public testing::TestWithParam<std::string> {};

TEST_P(EachSample, IsAsTheSchemaHasItForTwoValidators) {
  std::vector<std::string> both;
  for (const Bins bins : {Bins::without, Bins::with}) {
    both.push_back(to_json(sample_named(GetParam()), bins));
    const auto report = Report::parse(both.back(), "sample");
    EXPECT_TRUE(report) << report.error().message;
  }
  EXPECT_EQ(judged_elsewhere(both), std::vector<std::string>(2));
}

TEST_P(EachSample, IsTheSameAfterReadingAndWriting) {
  const std::string text = to_json(sample_named(GetParam()), Bins::with);
  const Json read = Json::parse(text);
  EXPECT_EQ(Json::parse(read.dump()), read);
  EXPECT_EQ(Report::parse(text, "sample").value().json(), read);
}

INSTANTIATE_TEST_SUITE_P(Report, EachSample, testing::ValuesIn(test::sample_names()),
                         [](const auto& of) { return of.param; });

Json sample(const std::string& name) {
  return Json::parse(to_json(sample_named(name), Bins::without));
}

TEST(ReportSchema, RefusesWhatIsBrokenAnywhere) {
  std::vector<std::string> names;
  std::vector<std::string> changed;
  const auto refused = [&](const char* what, const std::function<void(Json&)>& change) {
    Json json = sample("failed");
    change(json);
    names.emplace_back(what);
    changed.push_back(json.dump());
    EXPECT_FALSE(Report::parse(json.dump(), "changed")) << what;
  };
  refused("an unknown key", [](Json& j) { j["surprise"] = 1; });
  refused("an unknown key of a job", [](Json& j) { j["jobs"][0]["surprise"] = 1; });
  refused("a missing key", [](Json& j) { j.erase("machine"); });
  refused("a missing key of a flow",
          [](Json& j) { j["jobs"][1]["loss"]["flows"][0].erase("lost_frames"); });
  refused("text for a number", [](Json& j) { j["jobs"][0]["tx"]["frames"] = "many"; });
  refused("a negative count", [](Json& j) { j["jobs"][0]["tx"]["frames"] = -1; });
  refused("a fraction for a count", [](Json& j) { j["jobs"][0]["tx"]["frames"] = 1.5; });
  refused("null for a count", [](Json& j) { j["jobs"][0]["tx"]["frames"] = nullptr; });
  refused("an engine that is none", [](Json& j) { j["jobs"][0]["engine"] = "warp"; });
  refused("a list for an object", [](Json& j) { j["time"] = Json::array(); });
  refused("a gap of three numbers",
          [](Json& j) { j["jobs"][1]["loss"]["flows"][0]["gaps"][0] = {1, 2, 3}; });
  const std::vector<std::string> verdicts = judged_elsewhere(changed);
  for (std::size_t n = 0; n < names.size(); ++n) EXPECT_NE(verdicts[n], "") << names[n];
}

TEST(ReportJson, WhatWasMeasuredHasNoReason) {
  const Json job = sample("failed")["jobs"][1];
  for (const char* key : {"rx", "loss", "latency_ns", "overruns", "cpu", "start_skew_ns"}) {
    EXPECT_FALSE(job.at(key).is_null()) << key;
    EXPECT_TRUE(job.at(std::string(key) + "_reason").is_null()) << key;
  }
}

TEST(ReportJson, RatesAreDividedByTheWindowAndByNoneWhenThereIsNone) {
  RunResult run = sample_named("quiet");
  run.jobs[0].tx.frames = 3000;
  run.jobs[0].tx.bytes = 192000;
  run.jobs[0].tx.seconds = 1.5;
  run.jobs[1].rx.seconds = 0;
  const Json json = Json::parse(to_json(run, Bins::without));
  EXPECT_EQ(json["jobs"][0]["tx"]["rate_fps"], 2000);
  EXPECT_EQ(json["jobs"][0]["tx"]["rate_bps"], 1024000);
  EXPECT_TRUE(json["jobs"][1]["rx"]["rate_fps"].is_null());
}

TEST(ReportJson, FiguresThatAreNoNumbersAreNull) {
  RunResult run = sample_named("search");
  run.machine.frequency_mhz = std::numeric_limits<double>::quiet_NaN();
  run.searches[0].trials[0].loss_share = std::numeric_limits<double>::infinity();
  const std::string text = to_json(run, Bins::without);
  const Json json = Json::parse(text);
  EXPECT_TRUE(json["machine"]["frequency_mhz"].is_null());
  EXPECT_TRUE(json["searches"][0]["trials"][0]["lost_share"].is_null());
  EXPECT_TRUE(Report::parse(text, "sample"));
}

TEST(ReportJson, BinsAreThereWhenAskedForAndAddUpToTheCount) {
  const RunResult run = sample_named("quiet");
  EXPECT_FALSE(Json::parse(to_json(run, Bins::without))["jobs"][1]["latency_ns"].contains("bins"));
  const Json latency = Json::parse(to_json(run, Bins::with))["jobs"][1]["latency_ns"];
  std::uint64_t sum = 0;
  for (const Json& bin : latency["bins"]) {
    EXPECT_LE(bin[0], bin[1]);
    sum += bin[2].get<std::uint64_t>();
  }
  EXPECT_EQ(sum, latency["count"]);
}

TEST(ReportJson, TheLongestDurationThereIsCanBeRead) {
  RunResult run = sample_named("quiet");
  run.jobs[1].latency->record(std::numeric_limits<std::uint64_t>::max());
  const auto report = Report::parse(to_json(run, Bins::with), "sample");
  EXPECT_TRUE(report) << report.error().message;
}

TEST(ReportJson, BytesThatAreNoTextDoNotBreakIt) {
  const Json json = sample("hostile");
  const auto name = json["jobs"][1]["jobname"].get<std::string>();
  EXPECT_NE(name.find("\xEF\xBF\xBD"), std::string::npos) << name;
}

std::string refusal(const std::string& text) {
  const auto report = Report::parse(text, "some.json");
  return report ? "accepted" : report.error().message;
}

TEST(ReportFile, OfAnotherVersionIsRefusedByBothNames) {
  Json json = sample("quiet");
  json["format_version"] = 7;
  json["shmifperf_version"] = "9.9";
  const std::string message = refusal(json.dump());
  EXPECT_NE(message.find("format_version 7 of shmifperf 9.9"), std::string::npos) << message;
  EXPECT_NE(message.find("reads 1"), std::string::npos) << message;
}

TEST(ReportFile, NestedWithoutEndIsRefused) {
  const std::string deep(2000000, '[');
  EXPECT_TRUE(refusal(deep).starts_with("cannot read result"));
  EXPECT_TRUE(refusal(deep + std::string(2000000, ']')).starts_with("cannot read result"));
  const std::string closed = std::string(100, '[') + std::string(100, ']');
  EXPECT_NE(refusal("{\"options\":" + closed + "}").find("deeper"), std::string::npos);
}

TEST(ReportFile, AHugeOneIsReadInLinearTime) {
  // A hundred thousand keys: whoever looks for each among all takes minutes.
  Json json = sample("quiet");
  for (int i = 0; i < 100000; ++i) json["options"]["key" + std::to_string(i)] = "value";
  EXPECT_EQ(refusal(json.dump()), "accepted");
}

TEST(ReportFile, ThatIsNotThereOrADirectoryIsAnErrorWithItsReason) {
  const test::TempDir dir("/tmp");
  EXPECT_NE(Report::load(dir.file("none")).error().message.find("No such file"), std::string::npos);
  EXPECT_NE(Report::load(dir.path()).error().message.find("directory"), std::string::npos);
}

TEST(Schema, KnowsEveryEngineAndNoOther) {
  std::vector<std::string> names;
  for (const Engine* const engine : engines()) names.emplace_back(engine->name);
  const auto schema =
      nlohmann::json::parse(std::ifstream(shmif::test::in_source("docs/shmifperf.schema.json")));
  const auto& known = schema.at("definitions").at("job").at("properties").at("engine").at("enum");
  EXPECT_EQ(known.get<std::vector<std::string>>(), names);
}

}  // namespace
}  // namespace shmif::perf
