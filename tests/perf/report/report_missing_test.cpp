// What a result says of what is not there: reasons, figures of programs, parts that older results
// lack, and files that are no results.

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "perf/compare/compare.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/text.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/text_rows.hpp"

namespace shmif::perf::report_missing {
namespace {

using Json = nlohmann::json;
using Reasons = std::map<std::string, std::string>;

/// A run of one job and its group, of which nothing is known, changed so.
RunResult run_with(const std::function<void(RunResult&, JobResult&, GroupResult&)>& change) {
  RunResult run;
  run.version = "1";
  JobResult& job = run.jobs.emplace_back();
  job.name = "j";
  job.group = "g";
  for (auto* const times : {&job.latency, &job.service, &job.spacing_error}) {
    *times = std::make_shared<LatencyHistogram>();
  }
  GroupResult& group = run.groups.emplace_back();
  group.name = "g";
  group.jobs = {"j"};
  change(run, job, group);
  return run;
}
void as_it_is(RunResult& /*run*/, JobResult& /*job*/, GroupResult& /*group*/) {}

Json json_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::with));
}
std::string text_of(const Json& json) {
  return to_text(Report::parse(json.dump(), "x").value());
}

/// The reason of each key that has one; each of these figures is null.
Reasons reasons_in(const Json& of) {
  Reasons all;
  for (const auto& [key, value] : of.items()) {
    if (!key.ends_with("_reason")) continue;
    EXPECT_NE(of.at(key.substr(0, key.size() - 7)).is_null(), value.is_null()) << key;
    if (value.is_string()) all[key.substr(0, key.size() - 7)] = value;
  }
  return all;
}

TEST(MissingFigures, OfAJobAndOfAGroupHaveReasonsOfTheirOwn) {
  const Json json = json_of(run_with(as_it_is));
  EXPECT_EQ(reasons_in(json.at("jobs").at(0)),
            (Reasons{{"tx", "this job did not send"},
                     {"rx", "this job did not receive"},
                     {"loss", "this job is the receiver of no flow"},
                     {"latency_ns", "this job received no frame in the measured window"},
                     {"service_ns", "this job received no frame in the measured window"},
                     {"spacing_error_ns", "this job sent nothing at a given pace"},
                     {"overruns", "this job receives nothing"},
                     {"tcp", "only engine=host has TCP connections"},
                     {"cpu", "the measured window did not begin"},
                     {"start_skew_ns", "this job did not start"},
                     {"rate_ci95_share", "too few intervals"},
                     {"limit_fps", "the harness's own limit was not measured"}}));
  EXPECT_EQ(reasons_in(json.at("groups").at(0)),
            (Reasons{{"tx", "no job of this group sent"},
                     {"rx", "no job of this group received"},
                     {"loss", "no job of this group receives a flow, or nothing was sent on it"},
                     {"latency_ns", "no job of this group measured it"},
                     {"service_ns", "no job of this group measured it"},
                     {"cpu", "not known for all of its jobs"},
                     {"start_skew_ns", "no job of this group started"}}));
}

TEST(MissingFigures, TheCpuTimeOfAGroupIsUnknownWhereThatOfOneJobIs) {
  const auto cpu_of = [](bool first, bool second, bool stranger) {
    const RunResult run = run_with([&](RunResult& r, JobResult& job, GroupResult&) {
      job.cpu = first ? std::optional(CpuResult{.user_seconds = 1}) : std::nullopt;
      JobResult other = job;
      other.name = "k";
      other.cpu = second ? std::optional(CpuResult{.user_seconds = 2}) : std::nullopt;
      JobResult apart = job;
      apart.group = "h";
      apart.cpu = stranger ? std::optional(CpuResult{.user_seconds = 4}) : std::nullopt;
      r.jobs.push_back(other);
      r.jobs.push_back(apart);
    });
    const Json cpu = json_of(run).at("groups").at(0).at("cpu");
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
      const Json json = json_of(run_with([&](RunResult&, JobResult& job, GroupResult& group) {
        (sends ? job.tx : job.rx).*count = 1;
        (sends ? group.tx : group.rx).*count = 1;
      }));
      for (const char* list : {"jobs", "groups"}) {
        EXPECT_EQ(json.at(list).at(0).at("tx").is_null(), !sends) << list;
        EXPECT_EQ(json.at(list).at(0).at("rx").is_null(), sends) << list;
      }
    }
  }
}

TEST(MissingFigures, OfAProgramAreAllButWhatItsPortCounted) {
  const Json job = json_of(run_with([](RunResult&, JobResult& of, GroupResult&) {
                     of = test::distinct_sample().run.jobs.at(0);
                     of.tx.of_program = of.rx.of_program = true;
                   }))
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

TEST(MissingFigures, AreNullAlsoWhereTheyAreNothingElse) {
  const Json json = json_of(run_with([](RunResult& run, JobResult& job, GroupResult&) {
    FlowResult& flow = job.flows.emplace_back();
    flow.lost = 1;
    SteadyStateResult& steady = run.steady_states.emplace_back();
    steady.figure = "iops";
    steady.value = 7;
  }));
  const Json& job = json.at("jobs").at(0);
  EXPECT_EQ(job.at("pid"), nullptr) << "a thread has none";
  EXPECT_EQ(job.at("loss").at("lost_share"), nullptr) << "nothing was sent";
  EXPECT_EQ(job.at("loss").at("flows").at(0).at("lost_share"), nullptr);
  EXPECT_EQ(json.at("steady_states").at(0).at("value"), 7);
  EXPECT_EQ(json.at("steady_states").at(0).at("reached"), false);
  EXPECT_EQ(json.at("steady_states").at(0).at("reached_at_seconds"), nullptr);
  for (const char* key : {"hostname", "kernel", "cpu_model", "cpus", "frequency_mhz",
                          "memory_bytes", "clock_source", "virtualization"}) {
    EXPECT_EQ(json.at("machine").at(key), nullptr) << key;
  }
  const std::string text = text_of(json);
  EXPECT_NE(text.find("\nmachine -: - x -, -, -, clock -, virtualization -\n"), std::string::npos)
      << text;
  EXPECT_EQ(text.find("\n  \n"), std::string::npos) << "no line for a command that is not known";
}

TEST(MissingFigures, TheShareOfTheLimitIsThatOfTheFasterDirectionOrOfTheOneThatThereIs) {
  const auto share = [](std::uint64_t sent, std::uint64_t received) {
    const Json json = json_of(run_with([&](RunResult&, JobResult& job, GroupResult&) {
      job.limit_fps = 1000;
      job.tx.frames = sent;
      job.rx.frames = received;
      job.tx.seconds = sent == 0 ? 0 : 1;
      job.rx.seconds = received == 0 ? 0 : 1;
    }));
    return json.at("jobs").at(0).at("limit_share");
  };
  EXPECT_EQ(share(250, 0), 0.25);
  EXPECT_EQ(share(0, 125), 0.125);
  EXPECT_EQ(share(250, 125), 0.25);
  EXPECT_EQ(share(125, 500), 0.5);
  EXPECT_EQ(share(0, 0), nullptr);
}

TEST(MissingFigures, NoPercentileIsLongerThanReadersOfJsonTake) {
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  const Json json = json_of(run_with([](RunResult&, JobResult& job, GroupResult&) {
    for (const auto& times : {job.latency, job.service}) {
      times->record(std::numeric_limits<std::uint64_t>::max());
    }
    job.percentile_list = {30};
  }));
  for (const char* times : {"latency_ns", "service_ns"}) {
    const Json& all = json.at("jobs").at(0).at(times);
    EXPECT_EQ(all.at("percentile").at("30.000000"), kMax);
    EXPECT_EQ(all.at("p1"), kMax);
    EXPECT_EQ(all.at("max"), kMax);
  }
}

TEST(Warnings, ThatTheRunHasAlreadyAreNotRepeated) {
  const auto warned = [](std::vector<std::string> before) {
    return json_of(run_with([&](RunResult& run, JobResult&, GroupResult&) {
             run.machine.window = {{.cpu = 3, .steal = 0.5}};
             run.warnings = before;
           }))
        .at("warnings");
  };
  const Json once = warned({});
  ASSERT_EQ(once.size(), 1U);
  EXPECT_EQ(warned({once[0].get<std::string>()}), once);
  EXPECT_EQ(warned({"another"}), (Json{"another", once[0]}));
}

TEST(Problems, OfAJobThatFailedAreThoseThatTheRunDoesNotSay) {
  RunResult run;
  run.failures = {"job \"a\": it broke"};
  JobResult job;
  const auto problems = [&](const std::string& error) {
    return Json::parse(problems_json(run, job, error).dump());
  };
  job.state = JobState::reaped;
  EXPECT_EQ(problems("it broke"), Json::array());
  EXPECT_EQ(problems("another"), (Json{{{"kind", "failed"}, {"text", "another"}}}));
  EXPECT_EQ(problems(""), (Json{{{"kind", "failed"}, {"text", "it ended without saying why"}}}));
  job.peer_of = "a";
  EXPECT_EQ(problems(""), Json::array()) << "the failure of its job tells enough";
  job.passed = true;
  EXPECT_EQ(problems("another"), Json::array());
}

// ---- Older results and other files ----

TEST(OlderResults, AreReadWithoutWhatTheyDoNotHaveYet) {
  Json json = json_of(test::distinct_sample().run);
  ASSERT_EQ(json.erase("shown_run"), 1U);
  for (Json& job : json.at("jobs")) {
    ASSERT_EQ(job.at("latency_ns").erase("percentile"), 1U);
  }
  for (Json& link : json.at("links")) ASSERT_EQ(link.erase("under_way_frames"), 1U);
  const std::string text = text_of(json);
  EXPECT_NE(text.find("and counts are those of one run; "), std::string::npos) << text;
  EXPECT_EQ(text.find("latency: p30"), std::string::npos);
  const std::size_t link = text.find("  a sent options-of-a");
  ASSERT_NE(link, std::string::npos);
  EXPECT_TRUE(text.substr(0, text.find('\n', link)).ends_with(" -")) << text.substr(link, 200);
  const Report report = Report::parse(json.dump(), "old").value();
  EXPECT_TRUE(compare(report, report, {}));
  EXPECT_EQ(
      to_terse(report),
      to_terse(Report::parse(to_json(test::distinct_sample().run, Bins::with), "new").value()));
}

TEST(ReportFile, ThatIsNoResultSaysWhatItIsInstead) {
  const auto why = [](const std::string& text) {
    const auto report = Report::parse(text, "x.json");
    return report ? "accepted" : report.error().message;
  };
  const std::string begin = "cannot read result x.json: ";
  EXPECT_EQ(why("[]"), begin + "it is JSON, but not a result of shmifperf run");
  EXPECT_EQ(why("7"), begin + "it is JSON, but not a result of shmifperf run");
  for (const char* text : {"", "null", "\"text\"", "\xff\xfe\x00"})
    EXPECT_EQ(why(text).find(begin), 0U);
  EXPECT_EQ(why("{}"), begin + "it has no format_version, so it is not a result of shmifperf run");
  EXPECT_EQ(why(R"({"format_version":null})"), begin +
                                                   "it has format_version null, but this shmifperf "
                                                   "reads 1; use the shmifperf that wrote it");
  EXPECT_EQ(why("{").find(begin + "it is not JSON ("), 0U) << why("{");
  EXPECT_EQ(why("shmifperf 0.1.0: passed\n").find(begin + "it is not JSON; "), 0U)
      << "where the parser stopped helps nobody";
  EXPECT_EQ(why(R"({"format_version":1})").find(begin + "it does not match the schema: "), 0U);
  // The innermost place is named.
  Json json = json_of(test::quiet_sample());
  json.at("jobs").at(1).at("rx").at("batches") = "many";
  const std::string wrong = why(json.dump());
  EXPECT_NE(wrong.find("jobs"), std::string::npos) << wrong;
  EXPECT_NE(wrong.find("batches"), std::string::npos) << wrong;
}

// ---- While it lasts ----

JobProgress progress_of(const std::string& name, std::uint64_t tx_frames) {
  JobProgress job;
  job.name = job.group = name;
  job.state = JobState::running;
  job.tx_frames = tx_frames;
  return job;
}

TEST(StatusText, OfADirectionThatAJobDoesNotUseHasDashes) {
  JobProgress sender = progress_of("sender", 1000);
  JobProgress sink = progress_of("sink", 0);
  sink.rx_frames = 2000;
  for (JobProgress* const job : {&sender, &sink}) {
    job->last.seconds = 1;
    job->last.tx_frames = job->last.rx_frames = 30;
    job->last.tx_bytes = job->last.rx_bytes = 500;
  }
  const std::string text =
      to_status({.at_seconds = 1, .share = {}, .left_seconds = {}, .jobs = {sender, sink}}, 0);
  using Row = test::Cells;
  EXPECT_EQ(test::row_of(text, "sender "),
            (Row{"sender", "running", "1,000", "30.0 /s", "4.00 kbit/s", "-", "-", "-", "-", "-",
                 "-", "-", "-"}));
  EXPECT_EQ(test::row_of(text, "sink "), (Row{"sink", "running", "-", "-", "-", "2,000", "30.0 /s",
                                              "4.00 kbit/s", "0", "-", "-", "-", "-"}));
}

TEST(ProgressLinesOfGroups, KnowARateOnlyOfAGroupThatWasThereBeforeAndNoneBelowNothing) {
  ProgressLines lines;
  const auto shown = [&](double at_seconds, const std::vector<JobProgress>& jobs) {
    return lines.lines({.at_seconds = at_seconds, .share = {}, .left_seconds = {}, .jobs = jobs});
  };
  (void)shown(1, {progress_of("a", 1000)});
  const auto both = shown(1.5, {progress_of("a", 900), progress_of("b", 50)});
  EXPECT_NE(both.at(0).find("tx 0 /s"), std::string::npos) << both[0];
  EXPECT_NE(both.at(1).find("tx -"), std::string::npos) << both[1];
  JobProgress over = progress_of("a", 900);
  over.state = JobState::reaped;
  over.left_seconds = 0;
  EXPECT_EQ(shown(2, {over}).at(0).find("eta"), std::string::npos) << "it is done";
}

TEST(ProgressLinesOfGroups, HaveTheCpuTimeOfThoseThatRun) {
  ProgressLines lines;
  JobProgress runs = progress_of("a", 1);
  JobProgress over = progress_of("a", 1);
  over.state = JobState::reaped;
  for (JobProgress* const job : {&runs, &over}) {
    job->last.seconds = 1;
    job->last.cpu_user_seconds = job == &runs ? 0.2 : 0.5;
    job->last.cpu_system_seconds = 0.05;
  }
  const auto shown = [&](const std::vector<JobProgress>& jobs) {
    return lines.lines({.at_seconds = 1, .share = {}, .left_seconds = {}, .jobs = jobs}).at(0);
  };
  EXPECT_TRUE(shown({over, runs, runs}).ends_with("cpu 50 %")) << shown({over, runs, runs});
  EXPECT_TRUE(shown({over}).ends_with("cpu -")) << shown({over});
}

TEST(Stream, BytesThatAreNoTextAreReplacedAndTheTimeIsInNanoseconds) {
  const RunProgress progress{
      .at_seconds = 1, .share = {}, .left_seconds = {}, .jobs = {progress_of("a\xff", 1)}};
  EXPECT_EQ(Json::parse(to_json_line(progress)).at("jobs").at(0).at("jobname"), "a\xEF\xBF\xBD");
  const std::chrono::system_clock::time_point when(std::chrono::nanoseconds(1763700000123456789));
  EXPECT_TRUE(to_influx(progress, when).ends_with(" 1763700000123456789\n"));
}

}  // namespace
}  // namespace shmif::perf::report_missing
