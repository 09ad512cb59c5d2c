// Which jobs a report shows where, and whose figures stand in their rows.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/report/text_rows.hpp"

namespace shmif::perf::report_tables {
namespace {

using test::Cells;
using test::row_of;

std::string text_of(const RunResult& run) {
  return to_text(Report::parse(to_json(run, Bins::without), "x").value());
}
bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A job that did nothing.
JobResult job_called(const std::string& name) {
  JobResult job;
  job.name = name;
  job.group = name;
  job.passed = true;
  job.state = JobState::reaped;
  for (auto* const times : {&job.latency, &job.service, &job.spacing_error}) {
    *times = std::make_shared<LatencyHistogram>();
  }
  return job;
}
void moved(TrafficResult& traffic, std::uint64_t frames) {
  traffic.frames = frames;
  traffic.bytes = 100 * frames;
  traffic.seconds = 1;
}
/// A job that sent so many frames in a second.
JobResult sender(const std::string& name, std::uint64_t frames) {
  JobResult job = job_called(name);
  moved(job.tx, frames);
  return job;
}
/// A peer that received so many, and has times if `ns` is not 0.
JobResult receiver(const JobResult& of, const std::string& name, std::uint64_t frames,
                   std::uint64_t ns) {
  JobResult job = job_called(name);
  job.group = of.group;
  job.peer_of = of.name;
  job.role = Role::rx;
  moved(job.rx, frames);
  if (ns != 0) job.latency->record(ns);
  return job;
}
RunResult run_of(std::vector<JobResult> jobs) {
  RunResult run;
  run.version = "1";
  run.jobs = std::move(jobs);
  return run;
}

// ---- The same load over several engines ----

TEST(EnginesTable, HoldsJobsThatDifferInNothingButTheirEnginesAndWires) {
  const auto alike = [](const std::function<void(JobResult&)>& change) {
    RunResult run = run_of({sender("a", 100), sender("b", 100)});
    run.jobs[0].engine = EngineKind::bus;
    run.jobs[1].engine = EngineKind::packet;
    for (JobResult& job : run.jobs) job.options["bs"] = "64";
    change(run.jobs[1]);
    return has(text_of(run), "the same load over 2 engines\n");
  };
  EXPECT_TRUE(alike([](JobResult&) {}));
  for (const char* option :
       {"allow_live", "bus", "bus_pause", "bus_size", "description", "engine", "filename",
        "hostname", "ioengine", "name", "netdev", "netns", "port", "socket", "wire"}) {
    EXPECT_TRUE(alike([&](JobResult& job) { job.options[option] = "x"; })) << option;
  }
  for (const char* option : {"rate", "mtu", "fault", "proto", "verify"}) {
    EXPECT_FALSE(alike([&](JobResult& job) { job.options[option] = "x"; })) << option;
  }
  EXPECT_FALSE(alike([](JobResult& job) { job.options["bs"] = "65"; }));
  EXPECT_FALSE(alike([](JobResult& job) { job.role = Role::txrx; }));
  EXPECT_FALSE(alike([](JobResult& job) { job.engine = EngineKind::bus; })) << "one engine";
}

/// Five jobs with peers, each of which lost, waited and worked as no other.
RunResult five_pairs() {
  RunResult run = run_of({});
  const EngineKind engines[] = {EngineKind::bus, EngineKind::unix_pair, EngineKind::packet,
                                EngineKind::tap, EngineKind::udp};
  for (std::uint64_t i = 0; i < 5; ++i) {
    JobResult job = sender("j" + std::to_string(i), 1000 * (i + 1));
    job.engine = engines[i];
    job.cpu = CpuResult{.user_seconds = 0.5};
    JobResult peer = receiver(job, job.name + ".peer", 900 * (i + 1), 10'000 * (i + 1));
    peer.engine = job.engine;
    peer.cpu = CpuResult{.user_seconds = 0.25};
    run.jobs.push_back(job);
    run.jobs.push_back(peer);
  }
  return run;
}

TEST(EnginesTable, HasTheRateOfTheSenderAndWhatItsPeerReceived) {
  const Cells row = row_of(text_of(five_pairs()), "packet");
  ASSERT_GE(row.size(), 12U);
  EXPECT_EQ(row[1], "j2");
  EXPECT_EQ(row[3], "3.00 k/s");
  EXPECT_EQ(row[4], "2.70 k/s");
  EXPECT_EQ(row[5], "2.16 Mbit/s");
  EXPECT_TRUE(row[7].starts_with("30.")) << row[7];
  EXPECT_EQ(row[11], "6.00 k/s") << "of the processor time of the sender";
}

TEST(EnginesTable, OfAllJobsTakesThePlaceOfTheirList) {
  const std::string list = "  every figure of each job: --output-format=json\n";
  RunResult run = five_pairs();
  EXPECT_FALSE(has(text_of(run), list));
  run.jobs[8].options["bs"] = "64";  // another load than that of the four
  EXPECT_TRUE(has(text_of(run), "the same load over 4 engines\n"));
  EXPECT_TRUE(has(text_of(run), list));
}

// ---- Many jobs ----

TEST(JobsTable, HasTheRateOfTheSenderAndWhatItsPeerReceivedAndFailsWithEither) {
  RunResult run = five_pairs();
  for (JobResult& job : run.jobs) job.options["bs"] = job.name;
  run.jobs[3].passed = false;
  run.failures = {"j1.peer: no"};
  run.jobs[3].errors = {"j1.peer: no"};
  const std::string text = text_of(run);
  const Cells row = row_of(text, "j2 ");
  ASSERT_GE(row.size(), 9U) << text;
  EXPECT_EQ(row[1], "passed");
  EXPECT_EQ(row[3], "3.00 k/s");
  EXPECT_EQ(row[4], "2.70 k/s");
  EXPECT_EQ(row[5], "2.16 Mbit/s");
  EXPECT_TRUE(row[8].starts_with("30.")) << row[8];
  EXPECT_EQ(row_of(text, "j1 ").at(1), "FAILED");
  EXPECT_TRUE(has(text, "\nj1: rw=tx")) << "a block for what failed, also where that is said above";
  EXPECT_FALSE(has(text, "\nj2: rw=tx"));
}

TEST(JobsTable, FramesThatWereSkippedMakeNoBlock) {
  RunResult run = five_pairs();
  for (JobResult& job : run.jobs) job.options["bs"] = job.name;
  run.jobs[4].tx.skipped_frames = 7;
  EXPECT_FALSE(has(text_of(run), "\nj2: rw=tx"));
  run.jobs[5].overruns = 1;
  EXPECT_TRUE(has(text_of(run), "\nj2: rw=tx"));
}

TEST(JobsTable, OfSeveralPeersShowsTheOneThatHasTimes) {
  RunResult run = five_pairs();
  for (JobResult& job : run.jobs) job.options["bs"] = job.name;
  run.jobs.push_back(receiver(run.jobs[0], "late", 333, 77'000'000));
  run.jobs[1].latency = std::make_shared<LatencyHistogram>();
  const Cells row = row_of(text_of(run), "j0 ");
  EXPECT_EQ(row.at(4), "333 /s");
  EXPECT_TRUE(row.at(8).starts_with("77.")) << row.at(8);
  // One that receives itself, with a peer that has no times.
  run.jobs.pop_back();
  moved(run.jobs[0].rx, 44);
  EXPECT_EQ(row_of(text_of(run), "j0 ").at(4), "44.0 /s");
}

// ---- Blocks ----

TEST(JobText, WhatIsNotKnownOfAJobIsADashOrNotThere) {
  RunResult run = run_of({sender("j", 5)});
  const std::string text = text_of(run);
  EXPECT_TRUE(has(text, "\nj: rw=tx engine=null, group j, -, passed\n")) << text;
  EXPECT_EQ(row_of(text, "sent", "  counts "), (Cells{"sent", "0", "-", "-", "-", "-", "-", "-"}));
  EXPECT_EQ(row_of(text, "used"), (Cells{"used", "-", "-", "-", "-", "-", "-", "-"}));
  for (const char* table : {"\n  TCP", "\n  arrivals", "\n  frames  ", "\n  time "}) {
    EXPECT_FALSE(has(text, table)) << table;
  }
  run.jobs[0].address = "there";
  EXPECT_TRUE(has(text_of(run), "\nj: rw=tx engine=null (there), group j"));
}

TEST(JobText, OfAConnectionThatOnlyReceivesSaysNothing) {
  RunResult run = run_of({sender("j", 5)});
  run.jobs[0].tcp.emplace().samples = 1;
  EXPECT_TRUE(has(text_of(run), "\n  TCP"));
  std::swap(run.jobs[0].tx, run.jobs[0].rx);
  EXPECT_FALSE(has(text_of(run), "\n  TCP"));
}

TEST(JobText, APeerThatReceivedIsShownAlsoWhereItsOwnerSentNothing) {
  const JobResult silent = job_called("j");
  const std::string text = text_of(run_of({silent, receiver(silent, "p", 5, 100)}));
  EXPECT_FALSE(has(text, "nothing was sent or received"));
  EXPECT_EQ(row_of(text, "p received").at(1), "5") << text;
}

TEST(JobText, PercentilesAreShownAsTheyAreWrittenInTheOrderOfTheirValues) {
  RunResult run = run_of({sender("j", 5)});
  run.jobs[0].latency->record(30);
  run.jobs[0].percentile_list = {10, 99.999, 7.5, 100};
  EXPECT_TRUE(
      has(text_of(run), "  latency: p7.5 30.0 ns, p10 30.0 ns, p99.999 30.0 ns, p100 30.0 "))
      << text_of(run);
}

// ---- Searches, repetitions and machines ----

TEST(SearchText, IsTitledByWhatItLookedFor) {
  const auto title = [](Search kind) {
    RunResult run = run_of({sender("j", 5)});
    SearchResult& search = run.searches.emplace_back();
    search.kind = kind;
    search.job = "j";
    search.why_none = "no";
    const std::string text = text_of(run);
    const std::size_t end = text.find("\n  frame ");
    const std::size_t begin = text.rfind('\n', end - 1) + 1;
    return text.substr(begin, end - begin);
  };
  EXPECT_EQ(title(Search::ndr), "highest rate without loss (RFC 2544)");
  EXPECT_EQ(title(Search::pdr), "highest rate within the permitted loss");
  EXPECT_EQ(title(Search::latency_target), "highest rate within the latency target");
}

TEST(SearchText, NamesTheTrialThatTheFiguresOfItsJobAreOf) {
  RunResult run = run_of({sender("j", 5)});
  SearchResult& search = run.searches.emplace_back();
  search.job = "j";
  search.found_fps = 12500;
  search.trials = {{"j", 500, 13000, 13000, 0.1, std::nullopt, std::nullopt, false},
                   {"j", 500, 12500, 12500, 0, std::nullopt, std::nullopt, true}};
  const auto line = [&run] {
    const std::string text = text_of(run);
    const std::size_t at = text.find("\n  figures of ");
    return at == std::string::npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
  };
  EXPECT_EQ(line(), "") << "older results do not tell";
  search.shown = {.number = 2, .offered_fps = 12500};
  EXPECT_EQ(line(), "  figures of j below: trial 2 of 2 at 12.5 k/s, passed");
  search.shown = {.number = 1, .offered_fps = 13000};
  EXPECT_EQ(line(), "  figures of j below: trial 1 of 2 at 13.0 k/s, failed");
  search.shown = {.number = std::nullopt, .offered_fps = 13000};
  EXPECT_EQ(line(), "  figures of j below: a trial at 13.0 k/s that was cut off");
  search.shown = ShownTrial{};
  EXPECT_EQ(line(), "  figures of j below: a trial at full speed, with which the search began");
}

TEST(RepeatText, ShowsEachFigureInItsUnit) {
  RunResult run = run_of({sender("j", 5)});
  const auto repeat = [](const char* figure, double median) {
    return RepeatFigure{.job = "j",
                        .figure = figure,
                        .values = {1, 2},
                        .median = median,
                        .min = median / 2,
                        .max = median * 2};
  };
  for (const char* figure :
       {figure_name::kTxFps, figure_name::kRxFps, figure_name::kFoundFps, figure_name::kLatencyMean,
        figure_name::kLatencyP50, figure_name::kLatencyP99}) {
    run.repeats.push_back(repeat(figure, 2'000'000));
  }
  run.repeats.push_back(repeat(figure_name::kLostShare, 0.02));
  run.repeats.push_back(repeat(figure_name::kLostShare, 0));
  run.repeats.back().job = "k";
  const std::string text = text_of(run);
  for (const char* rate : {"tx_fps", "rx_fps", "found_fps"}) {
    EXPECT_EQ(row_of(text, std::string("j ") + rate),
              (Cells{std::string("j ") + rate, "2", "2.00 M/s", "1.00 M/s", "4.00 M/s", "150 %"}));
  }
  for (const char* time : {"latency_ns_mean", "latency_ns_p50", "latency_ns_p99"}) {
    EXPECT_EQ(row_of(text, std::string("j ") + time),
              (Cells{std::string("j ") + time, "2", "2.00 ms", "1.00 ms", "4.00 ms", "150 %"}));
  }
  EXPECT_EQ(row_of(text, "j lost_share "),
            (Cells{"j lost_share", "2", "2.00 %", "1.00 %", "4.00 %", "150 %"}));
  EXPECT_EQ(row_of(text, "k lost_share ").back(), "-") << "of nothing there is no share";
}

}  // namespace
}  // namespace shmif::perf::report_tables
