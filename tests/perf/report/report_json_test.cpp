// A result as JSON: as the schema has it, nothing that was not measured, and files that are none.

#include <fstream>
#include <limits>
#include <set>

#include "perf/compare/compare.hpp"
#include "perf/engine/engine.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/report/report_rig.hpp"
#include "tests/perf/stats/recorded.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::report_json {
namespace {

using namespace report_rig;  // NOLINT(google-build-using-namespace): the rig of this folder
using test::sample_named;

// ---- The schema ----

Json sample(const std::string& name) {
  return json_of(sample_named(name));
}

TEST(ReportSchema, KnowsEveryEngineAndNoOther) {
  Words names;
  for (const Engine* const engine : engines()) names.emplace_back(engine->name);
  const Json schema =
      Json::parse(std::ifstream(shmif::test::in_source("docs/shmifperf.schema.json")));
  EXPECT_EQ(schema.at(Json::json_pointer("/definitions/job/properties/engine/enum")), Json(names));
}

// ---- Figures ----

TEST(ReportJson, FiguresThatAreNoNumbersAreNull) {
  RunResult run = sample_named("search");
  run.machine.frequency_mhz = std::numeric_limits<double>::quiet_NaN();
  run.searches[0].trials[0].loss_share = std::numeric_limits<double>::infinity();
  run.jobs[1].rx.seconds = 0;
  run.jobs[1].latency->record(std::numeric_limits<std::uint64_t>::max());
  const Json json = report_of(run).json();
  EXPECT_TRUE(json["machine"]["frequency_mhz"].is_null());
  EXPECT_TRUE(json["searches"][0]["trials"][0]["lost_share"].is_null());
  EXPECT_TRUE(json["jobs"][1]["rx"]["rate_fps"].is_null()) << "no rate of no time";
  EXPECT_EQ(json["jobs"][1]["latency_ns"]["max"], std::numeric_limits<std::int64_t>::max())
      << "the longest that readers of JSON take";
}

TEST(ReportJson, BinsAreThereWhenAskedForAndAddUpToTheCount) {
  const RunResult run = sample_named("quiet");
  EXPECT_FALSE(json_of(run)["jobs"][1]["latency_ns"].contains("bins"));
  const Json latency = json_of(run, Bins::with)["jobs"][1]["latency_ns"];
  std::uint64_t sum = 0;
  for (const Json& bin : latency["bins"]) {
    EXPECT_LE(bin[0], bin[1]);
    sum += bin[2].get<std::uint64_t>();
  }
  EXPECT_EQ(sum, latency["count"]);
}

TEST(ReportJson, BytesThatAreNoTextDoNotBreakIt) {
  EXPECT_TRUE(has(sample("hostile")["jobs"][1]["jobname"], "\xEF\xBF\xBD"));
}

// ---- What is missing ----

/// A run of one job and its group, of which nothing is known, changed so.
Json unknown(const std::function<void(RunResult&, JobResult&, GroupResult&)>& change) {
  RunResult run;
  run.version = "1";
  JobResult& job = run.jobs.emplace_back(idle_job("j"));
  job.passed = false;
  job.state = JobResult().state;
  job.group = "g";
  GroupResult& group = run.groups.emplace_back();
  group.name = "g";
  group.jobs = {"j"};
  change(run, job, group);
  return json_of(run, Bins::with);
}

/// The reason of each key that has one; each of these figures is null, and no other.
std::map<std::string, std::string> reasons_in(const Json& of) {
  std::map<std::string, std::string> all;
  for (const auto& [key, value] : of.items()) {
    if (!key.ends_with("_reason")) continue;
    EXPECT_NE(of.at(key.substr(0, key.size() - 7)).is_null(), value.is_null()) << key;
    if (value.is_string()) all[key.substr(0, key.size() - 7)] = value;
  }
  return all;
}

TEST(MissingFigures, OfAJobAndOfAGroupHaveReasonsOfTheirOwn) {
  const Json json = unknown([](RunResult&, JobResult&, GroupResult&) {});
  using Reasons = std::map<std::string, std::string>;
  const auto expect = [](const Json& of, const Reasons& words) {
    const Reasons reasons = reasons_in(of);
    ASSERT_EQ(reasons.size(), words.size());
    for (const auto& [key, word] : words) {
      ASSERT_TRUE(reasons.contains(key)) << key;
      EXPECT_TRUE(has(reasons.at(key), word)) << key << ": " << reasons.at(key);
    }
  };
  expect(json.at("jobs").at(0), {{"tx", "did not send"},
                                 {"rx", "did not receive"},
                                 {"loss", "receiver of no flow"},
                                 {"latency_ns", "received no frame"},
                                 {"service_ns", "received no frame"},
                                 {"spacing_error_ns", "given pace"},
                                 {"overruns", "receives nothing"},
                                 {"tcp", "engine=host"},
                                 {"cpu", "did not begin"},
                                 {"start_skew_ns", "did not start"},
                                 {"rate_ci95_share", "too few intervals"},
                                 {"limit_fps", "limit was not measured"}});
  expect(json.at("groups").at(0), {{"tx", "no job of this group sent"},
                                   {"rx", "no job of this group received"},
                                   {"loss", "receives a flow"},
                                   {"latency_ns", "no job"},
                                   {"service_ns", "no job"},
                                   {"cpu", "all of its jobs"},
                                   {"start_skew_ns", "no job of this group started"}});
  const Json failed = sample("failed");
  for (const Json& job : failed["jobs"]) reasons_in(job);
  EXPECT_EQ(json.at("jobs").at(0).at("pid"), nullptr);
  for (const auto& [key, value] : json.at("machine").items()) {
    EXPECT_TRUE(value.is_null() || value.empty()) << key;
  }
}

TEST(MissingFigures, TheCpuTimeOfAGroupIsUnknownWhereThatOfOneJobIs) {
  const auto cpu_of = [](bool first, bool second, bool stranger) {
    const Json json = unknown([&](RunResult& r, JobResult& job, GroupResult&) {
      const auto busy = [](bool known, double seconds) {
        return known ? std::optional(CpuResult{.user_seconds = seconds}) : std::nullopt;
      };
      job.cpu = busy(first, 1);
      JobResult other = job;
      other.name = "k";
      other.cpu = busy(second, 2);
      JobResult apart = job;
      apart.group = "h";
      apart.cpu = busy(stranger, 4);
      r.jobs.push_back(other);
      r.jobs.push_back(apart);
    });
    const Json cpu = json.at("groups").at(0).at("cpu");
    return cpu.is_null() ? 0 : cpu.at("user_seconds").get<double>();
  };
  EXPECT_EQ(cpu_of(true, true, true), 3);
  EXPECT_EQ(cpu_of(true, true, false), 3) << "it is of another group";
  EXPECT_EQ(cpu_of(true, false, true), 0);
  EXPECT_EQ(cpu_of(false, true, true), 0);
}

// Whatever was counted is told, although the window had no length.
TEST(MissingFigures, ADirectionIsThereWhereAnyOfItsCountsIs) {
  for (const auto count : {&TrafficResult::frames, &TrafficResult::offered_frames,
                           &TrafficResult::errors, &TrafficResult::ramp_frames,
                           &TrafficResult::foreign_frames, &TrafficResult::stale_frames}) {
    for (const bool sends : {true, false}) {
      const Json json = unknown([&](RunResult&, JobResult& job, GroupResult& group) {
        (sends ? job.tx : job.rx).*count = 1;
        (sends ? group.tx : group.rx).*count = 1;
      });
      for (const char* list : {"jobs", "groups"}) {
        EXPECT_EQ(json.at(list).at(0).at("tx").is_null(), !sends) << list;
        EXPECT_EQ(json.at(list).at(0).at("rx").is_null(), sends) << list;
      }
    }
  }
}

TEST(MissingFigures, OfAProgramAreAllButWhatItsPortCounted) {
  const Json job = unknown([](RunResult&, JobResult& of, GroupResult&) {
                     of = test::distinct_sample().run.jobs.at(0);
                     of.tx.of_program = of.rx.of_program = true;
                   })
                       .at("jobs")
                       .at(0);
  const auto missing = [&](const char* direction) {
    std::set<std::string> keys;
    for (const auto& [key, value] : job.at(direction).items()) {
      if (value.is_null()) keys.insert(key);
    }
    return keys;
  };
  EXPECT_EQ(missing("tx"),
            (std::set<std::string>{"batches", "errors", "ramp_frames", "offered_frames",
                                   "offered_bytes", "offered_seconds", "offered_fps", "offered_bps",
                                   "paced", "skipped_frames", "refused_frames"}));
  EXPECT_EQ(missing("rx"), (std::set<std::string>{"batches", "errors", "ramp_frames",
                                                  "foreign_frames", "stale_frames"}));
}

TEST(MissingFigures, SharesOfNothingAreNullAndThatOfTheLimitIsOfTheFasterDirection) {
  const auto share = [](std::uint64_t sent, std::uint64_t received) {
    const Json json = unknown([&](RunResult& run, JobResult& job, GroupResult&) {
      job.limit_fps = 1000;
      moved(job.tx, sent, sent == 0 ? 0 : 1);
      moved(job.rx, received, received == 0 ? 0 : 1);
      job.flows.emplace_back().lost = 1;
      SteadyStateResult& steady = run.steady_states.emplace_back();
      steady.figure = "iops";
      steady.value = 7;
    });
    EXPECT_EQ(json["jobs"][0]["loss"]["lost_share"], nullptr) << "nothing was sent";
    EXPECT_EQ(json["steady_states"][0]["reached"], false);
    EXPECT_EQ(json["steady_states"][0]["reached_at_seconds"], nullptr);
    return json["jobs"][0]["limit_share"];
  };
  EXPECT_EQ(share(250, 0), 0.25);
  EXPECT_EQ(share(0, 125), 0.125);
  EXPECT_EQ(share(250, 125), 0.25);
  EXPECT_EQ(share(125, 500), 0.5);
  EXPECT_EQ(share(0, 0), nullptr);
}

// ---- Older results and other files ----

TEST(OlderResults, AreReadWithoutWhatTheyDoNotHaveYet) {
  Json json = json_of(test::distinct_sample().run, Bins::with);
  const Report now = Report::parse(json.dump(), "new").value();
  ASSERT_EQ(json.erase("shown_run"), 1U);
  for (Json& job : json.at("jobs")) ASSERT_EQ(job.at("latency_ns").erase("percentile"), 1U);
  for (Json& link : json.at("links")) ASSERT_EQ(link.erase("under_way_frames"), 1U);
  const std::string text = text_of(json);
  EXPECT_TRUE(has(text, "and counts are those of one run; ")) << text;
  EXPECT_FALSE(has(text, "latency: p30"));
  EXPECT_EQ(row_of(text, "a sent options-of-a").back(), "-");
  const Report report = Report::parse(json.dump(), "old").value();
  EXPECT_TRUE(compare(report, report, {}));
  EXPECT_EQ(to_terse(report), to_terse(now));
}

std::string refusal(const std::string& text) {
  const auto report = Report::parse(text, "x.json");
  return report ? "accepted" : report.error().message;
}

TEST(ReportFile, ThatIsNoResultSaysWhatItIsInstead) {
  Json newer = sample("quiet");
  newer["format_version"] = 7;
  newer["shmifperf_version"] = "9.9";
  Json wrong = sample("quiet");
  wrong.at("jobs").at(1).at("rx").at("batches") = "many";
  for (const auto& [text, words] : std::vector<std::pair<std::string, Words>>{
           {"[]", {"not a result"}},
           {"7", {"not a result"}},
           {"", {}},
           {"null", {}},
           {std::string("\xff\xfe\x00", 3), {}},
           {"{}", {"no format_version"}},
           {R"({"format_version":null})", {"format_version null", "reads 1"}},
           {"{", {"not JSON ("}},
           {"shmifperf 0.1.0: passed\n", {"it is not JSON; "}},
           {R"({"format_version":1})", {"schema"}},
           {newer.dump(), {"format_version 7 of shmifperf 9.9", "reads 1"}},
           {wrong.dump(), {"jobs", "batches"}},
           {std::string(2000000, '['), {}},
           {std::string(2000000, '[') + std::string(2000000, ']'), {}},
           {"{\"options\":" + std::string(100, '[') + std::string(100, ']') + "}", {"deeper"}}}) {
    const std::string message = refusal(text);
    EXPECT_TRUE(message.starts_with("cannot read result x.json: ")) << message;
    for (const std::string& word : words) EXPECT_TRUE(has(message, word)) << message;
  }
  const test::TempDir dir("/tmp");
  EXPECT_TRUE(has(Report::load(dir.file("none")).error().message, "No such file"));
  EXPECT_TRUE(has(Report::load(dir.path()).error().message, "directory"));
}

}  // namespace

}  // namespace shmif::perf::report_json

namespace shmif::perf::report_repeats {

// With repetitions, which figures of a result are medians of all runs, and of which elements.

namespace {

using Json = nlohmann::json;
using test::Figures;

std::shared_ptr<LatencyHistogram> few_times(std::uint64_t ns) {
  auto times = std::make_shared<LatencyHistogram>();
  for (std::uint64_t i = 1; i <= 10; ++i) record(*times, ns * i, ns);
  return times;
}

/// A run of two jobs, whose figures and counts are those of no other one.
RunResult run_number(std::size_t number) {
  const auto n = static_cast<double>(number);
  static const RunResult kQuiet = test::quiet_sample();
  RunResult run = kQuiet;
  std::size_t count = 1;
  // So that the middle of two whole numbers is not whole.
  const std::uint64_t odd = number == 2 ? 1 : 0;
  for (JobResult& job : run.jobs) {
    for (TrafficResult* const traffic : {&job.tx, &job.rx}) {
      traffic->frames *= number;
      traffic->bytes *= number + 1;
      traffic->offered_frames *= number + 2;
      traffic->offered_bytes *= number + 3;
    }
    for (auto* const times : {&job.latency, &job.service, &job.spacing_error}) {
      *times = few_times(1000 * number + 100 * ++count + odd);
    }
    job.limit_fps = 1e6 * n + static_cast<double>(++count);
    job.cpu->user_seconds = 3 + n / static_cast<double>(++count);
    job.cpu->system_seconds = 1 + n * static_cast<double>(++count);
    job.percentile_list = {30, 70};
  }
  JobResult& receiver = run.jobs[1];
  receiver.flows.push_back(receiver.flows[0]);
  for (FlowResult& flow : receiver.flows) {
    flow.lost = 100 * number * ++count;
    flow.jitter_ns = 1000 * n * n + static_cast<double>(count);
  }
  for (GroupResult& group : run.groups) {
    group.tx.frames *= number;
    group.rx.bytes *= number;
    group.latency = few_times(2000 * number);
    group.service = few_times(3000 * number);
    group.loss.jitter_ns = 50 * n;
    group.loss.lost = 7 * number;
  }
  for (const std::uint32_t bytes : {64U, 128U}) {
    for (const char* job : {"bulk", "other"}) {
      SearchResult& search = run.searches.emplace_back();
      search.job = job;
      search.frame_bytes = bytes;
      search.found_fps = 1000 * n + static_cast<double>(++count);
      search.found_bps = 9000 * n + static_cast<double>(++count);
      search.limit_fps = 1e5 * n + static_cast<double>(++count);
    }
  }
  return run;
}

Json json_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::with));
}

bool is_median(const std::string& place) {
  static const std::set<std::string> kFigures{"rate_fps",
                                              "rate_bps",
                                              "offered_fps",
                                              "offered_bps",
                                              "lost_share",
                                              "jitter_ns",
                                              "found_fps",
                                              "found_bps",
                                              "user_seconds",
                                              "system_seconds",
                                              "limit_fps",
                                              "limit_share",
                                              "frames_per_busy_second"};
  if (place.find(".intervals.") != std::string::npos) return false;
  const std::string key = place.substr(place.rfind('.') + 1);
  for (const char* times : {".latency_ns.", ".service_ns.", ".spacing_error_ns."}) {
    if (place.find(times) == std::string::npos) continue;
    return key != "count" && place.find(".bins.") == std::string::npos;
  }
  return kFigures.contains(key);
}

/// What stands there in each run, as its own result has it.
std::vector<double> values_at(const std::vector<Figures>& runs, const std::string& place) {
  std::vector<double> values;
  for (const Figures& run : runs) {
    const auto found = run.find(place);
    if (found != run.end() && found->second.is_number()) values.push_back(found->second);
  }
  std::ranges::sort(values);
  return values;
}

Json median(const std::vector<double>& values, bool whole) {
  const std::size_t half = values.size() / 2;
  const double middle =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return whole ? Json(std::llround(middle)) : Json(middle);
}

/// Expects that the result of these runs, of which `shown` is shown, has the medians.
void expect_medians(const RunResult& shown, std::vector<RunResult> runs) {
  std::vector<Figures> figures;
  for (const RunResult& run : runs) figures.push_back(test::flattened(json_of(run)));
  // The order in the others does not matter.
  std::ranges::reverse(runs.at(0).jobs);
  std::ranges::reverse(runs.at(1).searches);
  RunResult all = shown;
  all.repetitions = runs;
  const Json json = json_of(all);
  EXPECT_TRUE(Report::parse(json.dump(), "all"));
  const Figures together = test::flattened(json);
  std::size_t medians = 0;
  for (const auto& [place, alone] : test::flattened(json_of(shown))) {
    if (place == "shown_run") continue;
    const bool of_part = place.starts_with("jobs.") || place.starts_with("groups.") ||
                         place.starts_with("searches.");
    const Json& value = together.at(place);
    if (!of_part || !is_median(place) || !alone.is_number()) {
      EXPECT_EQ(value, alone) << place;
      continue;
    }
    ++medians;
    const Json wanted = median(values_at(figures, place), alone.is_number_integer());
    EXPECT_TRUE(test::is_alike(value, wanted)) << place << ": " << value << ", not " << wanted;
  }
  EXPECT_GT(medians, 100U);
}

TEST(Repetitions, EachRateShareAndTimeIsTheMedianAndEverythingElseOfTheRunThatIsShown) {
  std::vector<RunResult> runs;
  for (const std::size_t number : {4U, 1U, 5U, 2U, 3U}) runs.push_back(run_number(number));
  expect_medians(runs[1], runs);
  runs.pop_back();  // of an even number it is between the middle ones
  expect_medians(runs[2], runs);
}

TEST(Repetitions, WhatTheShownRunDoesNotKnowStaysUnknownAndOneWithFewerFlowsIsNone) {
  std::vector<RunResult> runs;
  for (const std::size_t number : {1U, 2U, 3U}) runs.push_back(run_number(number));
  RunResult shown = runs[0];
  shown.jobs[0].limit_fps.reset();
  runs[2].jobs[1].flows.pop_back();
  runs[2].jobs[0].limit_fps.reset();
  expect_medians(shown, runs);
}

}  // namespace

}  // namespace shmif::perf::report_repeats
