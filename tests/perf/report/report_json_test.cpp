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
#include "perf/report/stream.hpp"
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
std::string judged_elsewhere(const std::string& document) {
  return judged_elsewhere(std::vector{document}).front();
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

TEST(ReportJson, WhatWasNotMeasuredIsNullWithAReason) {
  const Json job = sample("unstarted")["jobs"][0];
  for (const char* key : {"tx", "rx", "loss", "latency_ns", "service_ns", "spacing_error_ns",
                          "overruns", "cpu", "start_skew_ns", "rate_ci95_share", "limit_fps"}) {
    EXPECT_TRUE(job.at(key).is_null()) << key;
    EXPECT_TRUE(job.at(std::string(key) + "_reason").is_string()) << key;
  }
  for (const char* key : {"wire_tx_frames", "wire_rx_frames", "wire_lost_frames", "agree"}) {
    EXPECT_TRUE(job.at("counts").at(key).is_null()) << key;
  }
}

TEST(ReportJson, OfAProgramOnlyWhatItsPortCountedIsKnown) {
  RunResult run = sample_named("quiet");
  for (JobResult& job : run.jobs) job.tx.of_program = job.rx.of_program = true;
  const std::string text = to_json(run, Bins::without);
  EXPECT_EQ(judged_elsewhere(text), "");
  const Json job = Json::parse(text).at("jobs").at(0);
  EXPECT_TRUE(job.at("tx").at("frames").is_number());
  for (const char* key : {"offered_frames", "offered_fps", "refused_frames", "batches", "errors"}) {
    EXPECT_TRUE(job.at("tx").at(key).is_null()) << key;
  }
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

TEST(ReportJson, FiguresOverRepetitionsAreMediansAndCountsAreOfTheRunThatIsNamed) {
  RunResult run = test::quiet_sample(1);
  for (const std::uint64_t seed : {3U, 1U, 2U, 4U, 5U}) {
    run.repetitions.push_back(test::quiet_sample(seed, 0.1 * static_cast<double>(seed)));
  }
  run.shown_run = 1;
  run.repeats = {{"bulk", "tx_fps", {1, 2, 3, 4, 5}, 3, 1, 5}};
  const Json json = Json::parse(to_json(run, Bins::with));
  const Json third = Json::parse(to_json(run.repetitions[0], Bins::with));
  EXPECT_EQ(json["shown_run"], 2);
  EXPECT_EQ(third["shown_run"], nullptr);
  for (const std::size_t job : {0U, 1U}) {
    const Json& shown = json["jobs"][job];
    const Json& middle = third["jobs"][job];  // 0.3 slower is the median of 0.1 to 0.5
    for (const char* direction : {"tx", "rx"}) {
      if (shown[direction].is_null()) continue;
      EXPECT_EQ(shown[direction]["rate_fps"], middle[direction]["rate_fps"]);
      EXPECT_EQ(shown[direction]["rate_bps"], middle[direction]["rate_bps"]);
      const bool sends = direction == std::string("tx");
      EXPECT_EQ(shown[direction]["frames"], (sends ? run.jobs[job].tx : run.jobs[job].rx).frames);
    }
    if (shown["latency_ns"].is_null()) continue;
    EXPECT_EQ(shown["latency_ns"]["p50"], middle["latency_ns"]["p50"]);
    EXPECT_LE(shown["latency_ns"]["p50"], shown["latency_ns"]["p99"]);
  }
  EXPECT_EQ(json["groups"][0]["tx"]["rate_fps"], third["groups"][0]["tx"]["rate_fps"]);
  EXPECT_EQ(judged_elsewhere(json.dump()), "");
}

TEST(ReportJson, AResultNearTheHarnesssOwnLimitCarriesAWarning) {
  RunResult run = sample_named("quiet");
  const auto warned = [&](double limit) {
    run.jobs[0].limit_fps = limit;
    const Json json = Json::parse(to_json(run, Bins::without));
    for (const auto& warning : json["warnings"]) {
      if (warning.get<std::string>().starts_with("bulk: ")) return true;
    }
    return false;
  };
  const double rate = static_cast<double>(run.jobs[0].tx.frames) / run.jobs[0].tx.seconds;
  EXPECT_FALSE(warned(rate / 0.79));
  EXPECT_TRUE(warned(rate / 0.81));
}

TEST(ReportJson, StolenTimeAndInterruptionsCarryWarnings) {
  RunResult run = sample_named("quiet");
  run.causes.why_unknown = "it was turned off (why=0)";
  EXPECT_EQ(Json::parse(to_json(run, Bins::without))["warnings"].size(), 0U);
  run.machine.window[0].steal = 0.05;
  run.jobs[0].cpu->involuntary_switches = 100000;
  EXPECT_EQ(Json::parse(to_json(run, Bins::without))["warnings"].size(), 2U);
}

TEST(ReportJson, ManyJobsThatWereInterruptedAreOneWarning) {
  RunResult run = sample_named("quiet");
  run.causes.why_unknown = "it was turned off (why=0)";
  run.jobs.resize(1);
  for (int clone = 1; clone < 20; ++clone) {
    run.jobs.push_back(run.jobs[0]);
    run.jobs.back().name = "bulk." + std::to_string(clone);
    run.jobs.back().cpu->involuntary_switches = 100000 + static_cast<std::uint64_t>(clone);
  }
  const Json warnings = Json::parse(to_json(run, Bins::without))["warnings"];
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_TRUE(warnings[0].get<std::string>().starts_with("19 jobs")) << warnings[0];
  EXPECT_NE(warnings[0].get<std::string>().find("bulk.19 most"), std::string::npos) << warnings[0];
}

TEST(ReportJson, ALineOfTheStreamIsOneLine) {
  RunProgress progress = test::sample_progress(12);
  progress.jobs[0].name = "two\nlines";
  progress.share = std::nullopt;
  const std::string line = to_json_line(progress);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const Json json = Json::parse(line);
  EXPECT_TRUE(json["share"].is_null());
  EXPECT_EQ(json["jobs"].size(), 4U);
  EXPECT_EQ(json["jobs"][1]["interval"]["at_seconds"], 12);
}

std::string refusal(const std::string& text) {
  const auto report = Report::parse(text, "some.json");
  return report ? "accepted" : report.error().message;
}

TEST(ReportFile, WhatIsNoResultIsRefusedByName) {
  for (const char* text : {"", "{", "nothing", "[]", "{}", "null", "\"text\"", "\xff\xfe\x00",
                           "{\"format_version\":1}", "{\"format_version\":null}"}) {
    EXPECT_TRUE(refusal(text).starts_with("cannot read result some.json: ")) << text;
  }
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

TEST(ReportFile, IsReadAsItWasWritten) {
  const test::TempDir dir("/tmp");
  const std::string text = to_json(sample_named("failed"), Bins::with);
  std::ofstream(dir.file("result.json")) << text;
  EXPECT_EQ(Report::load(dir.file("result.json")).value().json(), Json::parse(text));
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
