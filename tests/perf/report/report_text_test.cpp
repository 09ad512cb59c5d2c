// Reports for people and the lines for scripts: what is where, and what is not shown.

#include <csignal>
#include <fstream>
#include <regex>
#include <set>

#include "perf/report/table.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/report_rig.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::report_text {
namespace {

using namespace report_rig;  // NOLINT(google-build-using-namespace): the rig of this folder

using Change = std::function<void(RunResult&)>;

std::string changed(const Change& change, const RunResult& of = test::quiet_sample()) {
  RunResult run = of;
  change(run);
  return text_of(run);
}

// ---- Each figure ----

/// The text of distinct.txt, with `perf_print_sample distinct normal` made anew.
TEST(TextFigures, EachColumnAndLineHoldsTheFigureThatItIsNamedFor) {
  std::ifstream file(shmif::test::in_source("tests/perf/report/distinct.txt"));
  std::ostringstream wanted;
  wanted << file.rdbuf();
  std::string text = text_of(test::distinct_sample().run);
  for (const char* block : {"\nb: rw=", "\nc: rw="}) {  // two of four blocks are enough
    const std::size_t begin = text.find(block);
    ASSERT_NE(begin, std::string::npos);
    text.erase(begin, text.find("\n\n", begin) + 1 - begin);
  }
  const Words shown = lines_of(text);
  const Words known = lines_of(wanted.str());
  ASSERT_EQ(shown.size(), known.size()) << text;
  for (std::size_t i = 0; i < known.size(); ++i) EXPECT_EQ(shown[i], known[i]) << "line " << i + 1;
}

TEST(TextFigures, NoTwoFiguresOfARowOfTheSampleLookAlike) {
  std::ifstream file(shmif::test::in_source("tests/perf/report/distinct.txt"));
  std::size_t rows = 0;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("  ") || line.find(" agree") != std::string::npos) continue;
    std::multiset<std::string> cells;
    for (const std::string& cell : cells_of(line)) cells.insert(cell);
    for (const std::string& cell : cells) {
      if (cell.find_first_of("0123456789") == std::string::npos) continue;
      EXPECT_EQ(cells.count(cell), 1U) << cell << " in " << line;
      ++rows;
    }
  }
  EXPECT_GT(rows, 500U);
}

// ---- What went wrong ----

TEST(Text, WhatWentWrongComesBeforeAnyTableAndIsWhatTheJsonSays) {
  RunResult run = test::failed_sample();
  run.jobs[1].flows.at(0).late = 7;
  run.jobs[1].flows.at(0).cancelled = 3;
  run.jobs[0].tx.skipped_frames = 5;
  const std::string text = text_of(run);
  const std::size_t table = text.find("  traffic ");
  std::size_t problems = 0;
  const Json json = json_of(run);
  for (const Json& job : json["jobs"]) {
    for (const Json& problem : job["problems"]) {
      ++problems;
      EXPECT_LT(text.find(job["jobname"].get<std::string>() + ": " +
                          problem["text"].get<std::string>() + '\n'),
                table)
          << problem;
    }
  }
  EXPECT_GE(problems, 4U);
  for (const char* kind : {"  FAILED    voip", "  loss  ", "  overrun  ", "  warning  ",
                           "  skipped  ", "7 late, 3 cancelled"}) {
    EXPECT_LT(text.find(kind), table) << kind;
  }
}

TEST(Text, TheFirstLineSaysHowARunEndedAndWhatWasLost) {
  const auto first = [](const Change& change) { return lines_of(changed(change))[0]; };
  const Change stopped = [](RunResult& run) {
    run.stopped_by_signal = SIGINT;
    run.exit_code = 130;
  };
  const Change lossy = [](RunResult& run) { run.jobs[1].flows[0].lost = 57; };
  const std::string calm = first(stopped);
  EXPECT_TRUE(has(calm, ": stopped by SIGINT (exit code 130)")) << calm;
  EXPECT_FALSE(has(calm, "FAILED")) << calm;
  const std::string failed = first([&](RunResult& run) {
    stopped(run);
    run.failures = {"job \"a\": no"};
  });
  EXPECT_TRUE(has(failed, ": FAILED (exit code 130)")) << failed;
  EXPECT_TRUE(has(failed, "stopped by SIGINT")) << failed;
  EXPECT_TRUE(has(first([](RunResult&) {}), ": passed (exit"));
  EXPECT_TRUE(has(first(lossy), ": passed, 57 frames lost (exit"));
  EXPECT_TRUE(has(first([&](RunResult& run) {
                    lossy(run);
                    run.links = {{"b", "bulk", "sent", {{5000, 57, 0, 0, 0, 0, 0}, 0}, "loss=1%"}};
                  }),
                  ": passed, 57 frames lost by the requested faults (exit"));
}

/// Round trips, of which requests and replies were lost.
RunResult lossy_round_trips(std::size_t pairs) {
  RunResult run = test::quiet_sample();
  const RunResult quiet = run;
  run.jobs.clear();
  run.groups.clear();
  for (std::size_t i = 0; i < pairs; ++i) {
    JobResult asker = quiet.jobs[0];
    JobResult echo = quiet.jobs[1];
    asker.name += std::to_string(i);
    echo.peer_of = asker.name;
    echo.name = asker.name + ".echo";
    asker.role = Role::pingpong;
    echo.role = Role::echo;
    std::swap(asker.latency, echo.latency);
    asker.rx = asker.tx;
    FlowResult requests;
    requests.kind = FlowResult::Kind::request;
    requests.from = asker.name;
    requests.to = echo.name;
    requests.sent = 1000;
    requests.received = 963;
    requests.lost = 37;
    FlowResult replies = requests;
    replies.kind = FlowResult::Kind::reply;
    std::swap(replies.from, replies.to);
    replies.sent = 963;
    replies.received = 930;
    replies.lost = 33;
    echo.flows = {requests};
    asker.flows = {replies};
    run.jobs.push_back(asker);
    run.jobs.push_back(echo);
  }
  return run;
}

TEST(Text, TellsLostRequestsFromLostReplies) {
  const std::string text = text_of(lossy_round_trips(1));
  EXPECT_TRUE(has(text, "bulk0.echo: 37 lost (3.70 %), of 1,000 requests sent by bulk0\n")) << text;
  EXPECT_TRUE(has(text, "bulk0: 33 lost (3.43 %), of 963 replies sent by bulk0.echo\n"));
  EXPECT_NE(line_with(text, "bulk0 -> bulk0.echo requests"), "");
  EXPECT_NE(line_with(text, "bulk0.echo -> bulk0 replies"), "");
  // In a line for each job both are what came back too few, of what was asked.
  const std::string line = line_with(text_of(lossy_round_trips(6)), "bulk3 ");
  EXPECT_TRUE(has(line, " 70  7.00 %")) << line;
}

TEST(Text, ALowerBoundOfLostFramesIsCalledOne) {
  const std::string text = changed([](RunResult& run) {
    JobResult& job = run.jobs[1];
    job.overruns = job.overrun_frames = job.counts.wire.lost_frames = 66;
    job.counts.wire.lost_is_lower_bound = true;
    job.counts.agree = std::nullopt;
  });
  EXPECT_EQ(times_in(text, "at least 66"), 3U) << "problem, arrivals and counts: " << text;
}

TEST(Text, FiftyProblemsAndFiftyWarningsAreShownAndTheRestIsCounted) {
  const std::string text = changed([](RunResult& run) {
    for (int i = 0; i < 51; ++i) run.failures.push_back("no " + std::to_string(i));
    for (int i = 0; i < 1060; ++i) run.warnings.push_back("hm " + std::to_string(i));
  });
  EXPECT_EQ(times_in(text, "  FAILED    no "), 50U);
  EXPECT_EQ(times_in(text, "  warning   hm "), 50U);
  EXPECT_TRUE(has(text, "\n  ... and 1 more: --output-format=json\n"));
  EXPECT_TRUE(has(text, "\n  ... and 1,010 more: --output-format=json\n"));
  const std::string fifty = changed([](RunResult& run) { run.failures.resize(50, "no"); });
  EXPECT_FALSE(has(fifty, " more: --output")) << fifty;
}

TEST(Text, NoByteOfANameReachesTheTerminalAsACommand) {
  for (const char c : text_of(test::hostile_sample())) {
    EXPECT_TRUE(static_cast<signed char>(c) < 0 || c >= 0x20 || c == '\n') << int{c};
    EXPECT_NE(c, 0x7f);
  }
}

// ---- What is not there ----

TEST(Text, WhatWasNotMeasuredIsADashOrNotThere) {
  EXPECT_TRUE(std::regex_match(line_with(changed([](RunResult& run) {
                                           run.jobs[0].limit_fps = std::nullopt;
                                           run.jobs[0].rate_ci_share = std::nullopt;
                                           run.jobs[0].start_skew_ns = std::nullopt;
                                         }),
                                         "bulk job"),
                               std::regex(R"(  bulk job +- +- +- +-)")));
  const auto no_latency = [](Role role) {
    return line_with(changed([&](RunResult& run) {
                       run.jobs[1].latency = std::make_shared<LatencyHistogram>();
                       run.jobs[1].role = role;
                     }),
                     "bulk.peer latency  -  (");
  };
  EXPECT_NE(no_latency(Role::rx), "");
  EXPECT_EQ(no_latency(Role::echo), "") << "who asked has the times";
  EXPECT_TRUE(has(text_of(test::unstarted_sample()), "machine -: - x -, -, -, clock -"));

  RunResult run = run_of({sender("j", 5)});
  const std::string text = text_of(run);
  EXPECT_TRUE(has(text, "\nj: rw=tx engine=null, group j, -, passed\n")) << text;
  EXPECT_EQ(row_of(text, "sent", "  counts "), (Cells{"sent", "0", "-", "-", "-", "-", "-", "-"}));
  EXPECT_EQ(row_of(text, "used"), (Cells{"used", "-", "-", "-", "-", "-", "-", "-"}));
  for (const char* table : {"\n  TCP", "\n  arrivals", "\n  frames  ", "\n  time ", "\n  \n"}) {
    EXPECT_FALSE(has(text, table)) << table;
  }
  run.jobs[0].tcp.emplace().samples = 1;
  EXPECT_TRUE(has(text_of(run), "\n  TCP"));
  std::swap(run.jobs[0].tx, run.jobs[0].rx);
  EXPECT_FALSE(has(text_of(run), "\n  TCP")) << "of a connection that only receives";
  const std::string idle = text_of(run_of({idle_job("j")}));
  EXPECT_TRUE(has(idle, "nothing was sent or received")) << idle;
  EXPECT_FALSE(has(idle, "traffic"));
}

TEST(Text, WhatADeviceDroppedOfASendersFramesStandsInItsRow) {
  const std::string text = changed([](RunResult& run) {
    run.jobs[0].rx.frames = run.jobs[0].rx.batches = 0;
    run.jobs[0].counts.wire.dropped_frames = 4711;
  });
  EXPECT_TRUE(has(line_with(text.substr(text.find("wire dropped")), "bulk sent"), "4,711"));
}

TEST(Text, OfNumbersThatDidNotComeShowsTheFirstEightStretches) {
  const auto gaps = [](std::uint64_t count) {
    return changed([&](RunResult& run) {
      FlowResult& f = run.jobs[1].flows[0];
      f.gaps.clear();
      for (std::uint64_t i = 0; i < count; ++i) f.gaps.emplace_back(1000 * i + 1, 1000 * i + 2 + i);
    });
  };
  EXPECT_FALSE(has(gaps(0), "missed numbers"));
  EXPECT_TRUE(has(gaps(2), "bulk -> bulk.peer missed numbers 1, 1,001 to 1,002\n"));
  EXPECT_TRUE(has(gaps(8), ", 7,001 to 7,008\n"));
  EXPECT_TRUE(has(gaps(9), ", 7,001 to 7,008, ...\n"));
}

TEST(Text, PercentilesAreShownAsTheyAreWrittenInTheOrderOfTheirValues) {
  RunResult run = run_of({sender("j", 5)});
  run.jobs[0].latency->record(30);
  run.jobs[0].percentile_list = {10, 99.999, 7.5, 100};
  EXPECT_TRUE(
      has(text_of(run), "  latency: p7.5 30.0 ns, p10 30.0 ns, p99.999 30.0 ns, p100 30.0 "));
}

TEST(Text, WhatBecameOfTheLoadAfterStallsIsSaidWhereItWasChosen) {
  EXPECT_FALSE(has(text_of(test::quiet_sample()), "rate_catchup"));
  EXPECT_TRUE(has(changed([](RunResult& run) { run.jobs[0].options["rate_catchup"] = "limited"; }),
                  "after stalls: rate_catchup=limited, gave up 0 of"));
}

TEST(Text, NamesTheMachinesOfTheServersAndNotTheClients) {
  const std::string text = to_text(Report::parse(test::served_sample_json(), "served").value());
  EXPECT_EQ(row_of(text, "lab1:7000"), (Cells{"lab1:7000", "passed", "0", "12.3 us", "4.56 us"}));
  EXPECT_EQ(row_of(text, "lab2:7000"), (Cells{"lab2:7000", "FAILED", "77", "-", "-"}));
  EXPECT_TRUE(has(line_with(text, "machine of lab1:7000, lab-one:"), "6.1.0-served"));
  EXPECT_FALSE(has(text, "6.1.0-client")) << "no job ran there";
  EXPECT_TRUE(has(text, "requested by desk"));
}

// ---- Which jobs are shown where ----

/// The quiet run by `jobs` clones, each with its peer.
RunResult clones(std::size_t jobs) {
  const RunResult one = test::quiet_sample();
  RunResult run = one;
  run.jobs.clear();
  for (std::size_t i = 0; i < jobs; ++i) {
    for (JobResult job : one.jobs) {
      job.name += '.' + std::to_string(i);
      if (!job.peer_of.empty()) job.peer_of = run.jobs.back().name;
      run.jobs.push_back(job);
    }
  }
  return run;
}

TEST(Text, OfAGroupThatReportsForItsJobsOnlyThoseThatFailedAreShown) {
  const auto shows = [](const char* reporting, bool passed, const char* begin) {
    return line_with(changed([&](RunResult& run) {
                       run.jobs[0].options["group_reporting"] = reporting;
                       run.jobs[0].passed = passed;
                     }),
                     begin) != "";
  };
  EXPECT_TRUE(shows("no", true, "bulk: rw="));
  EXPECT_FALSE(shows("yes", true, "bulk: rw="));
  EXPECT_TRUE(shows("yes", true, "group "));
  EXPECT_TRUE(shows("yes", false, "bulk: rw="));
  EXPECT_EQ(line_with(text_of(clones(1)), "group "), "") << "a job and its peer are told once";
  EXPECT_NE(line_with(text_of(clones(2)), "group "), "");
}

TEST(Text, ManyJobsAreALineEachAndABlockOnlyForThoseThatSomethingHappenedTo) {
  RunResult run = clones(20);
  run.jobs[15].flows[0].lost = 3;
  run.jobs[4].tx.skipped_frames = 7;  // makes no block
  const std::string text = text_of(run);
  EXPECT_NE(line_with(text, "bulk.0   passed"), "") << text;
  EXPECT_NE(line_with(text, "bulk.7: rw="), "") << text;
  for (const char* none : {"bulk.0: rw=", "bulk.2: rw="}) EXPECT_EQ(line_with(text, none), "");
  EXPECT_LT(lines_of(text).size(), 80U);
  EXPECT_NE(line_with(text_of(clones(4)), "bulk.3: rw="), "") << "four are not many";
}

/// Five jobs with peers, each of which lost, waited and worked as no other.
RunResult five_pairs(bool same_load) {
  RunResult run = run_of({});
  const EngineKind engines[] = {EngineKind::bus, EngineKind::unix_pair, EngineKind::packet,
                                EngineKind::tap, EngineKind::udp};
  for (std::uint64_t i = 0; i < 5; ++i) {
    JobResult job = sender("j" + std::to_string(i), 1000 * (i + 1));
    job.engine = engines[i];
    job.cpu = CpuResult{.user_seconds = 0.5};
    if (!same_load) job.options["bs"] = job.name;
    JobResult peer = receiver(job, job.name + ".peer", 900 * (i + 1), 10'000 * (i + 1));
    peer.engine = job.engine;
    peer.cpu = CpuResult{.user_seconds = 0.25};
    run.jobs.push_back(job);
    run.jobs.push_back(peer);
  }
  return run;
}

TEST(Text, ARowHasTheRateOfTheSenderAndWhatItsPeerReceivedAndFailsWithEither) {
  const Cells engine = row_of(text_of(five_pairs(true)), "packet");
  ASSERT_GE(engine.size(), 12U);
  EXPECT_EQ(Cells(engine.begin() + 1, engine.begin() + 6),
            (Cells{"j2", "-", "3.00 k/s", "2.70 k/s", "2.16 Mbit/s"}));
  EXPECT_TRUE(engine[7].starts_with("30.")) << engine[7];
  EXPECT_EQ(engine[11], "6.00 k/s") << "of the processor time of the sender";
  RunResult run = five_pairs(false);
  run.jobs[3].passed = false;
  run.jobs[3].errors = run.failures = {"j1.peer: no"};
  const std::string text = text_of(run);
  const Cells job = row_of(text, "j2 ");
  ASSERT_GE(job.size(), 9U) << text;
  EXPECT_EQ(Cells(job.begin() + 1, job.begin() + 6),
            (Cells{"passed", "-", "3.00 k/s", "2.70 k/s", "2.16 Mbit/s"}));
  EXPECT_TRUE(job[8].starts_with("30.")) << job[8];
  EXPECT_EQ(row_of(text, "j1 ").at(1), "FAILED");
  EXPECT_TRUE(has(text, "\nj1: rw=tx")) << "a block for what failed, also where that is said above";
  // Of several peers, the one that has times.
  run.jobs.push_back(receiver(run.jobs[0], "late", 333, 77'000'000));
  run.jobs[1].latency = std::make_shared<LatencyHistogram>();
  EXPECT_EQ(row_of(text_of(run), "j0 ").at(4), "333 /s");
}

TEST(Text, JobsThatDifferInNothingButTheirEnginesAndWiresStandInOneTable) {
  const auto alike = [](const std::function<void(JobResult&)>& change) {
    RunResult run = run_of({sender("a", 100), sender("b", 100)});
    run.jobs[0].engine = EngineKind::bus;
    run.jobs[1].engine = EngineKind::packet;
    for (JobResult& job : run.jobs) job.options["bs"] = "64";
    change(run.jobs[1]);
    return has(text_of(run), "the same load over 2 engines\n");
  };
  EXPECT_TRUE(alike([](JobResult&) {}));
  for (const char* option : {"bus", "description", "engine", "name", "netdev", "wire"}) {
    EXPECT_TRUE(alike([&](JobResult& job) { job.options[option] = "x"; })) << option;
  }
  for (const char* option : {"rate", "mtu", "fault", "proto", "verify", "bs"}) {
    EXPECT_FALSE(alike([&](JobResult& job) { job.options[option] = "x"; })) << option;
  }
  EXPECT_FALSE(alike([](JobResult& job) { job.role = Role::txrx; }));
  EXPECT_FALSE(alike([](JobResult& job) { job.engine = EngineKind::bus; })) << "one engine";
}

// ---- Searches and repetitions ----

TEST(SearchText, IsTitledByWhatItLookedForAndNamesTheTrialThatFiguresAreOf) {
  RunResult run = run_of({sender("j", 5)});
  SearchResult& search = run.searches.emplace_back();
  search.job = "j";
  search.found_fps = 12500;
  // 13,000 failed at first, and passed when it was tried again; 11,000 failed by a stall.
  search.trials = {{"j", 0, 15000, 15000, 0.1, std::nullopt, std::nullopt, false},
                   {"j", 0, 12500, 12500, 0, std::nullopt, std::nullopt, true},
                   {"j", 0, 13000, 13000, 0.1, std::nullopt, std::nullopt, false},
                   {"j", 0, 11000, 11000, 0.1, std::nullopt, std::nullopt, false}};
  for (const auto& [kind, title] : {std::pair{Search::pdr, "within the permitted loss"},
                                    {Search::latency_target, "within the latency target"},
                                    {Search::ndr, "without loss (RFC 2544)"}}) {
    search.kind = kind;
    EXPECT_TRUE(has(text_of(run), std::string("\nhighest rate ") + title + "\n")) << title;
  }
  const std::string text = text_of(run);
  EXPECT_FALSE(has(text, "the highest rate that was tried"));
  EXPECT_EQ(row_of(text, "mix"), (Cells{"mix", "j", "12.5 k/s", "-", "13.0 k/s", "4"}))
      << "of frames of several sizes, the lowest rate above the one that was found";
  EXPECT_FALSE(has(text, "\n  figures of ")) << "older results do not tell";
  search.limited_by_maximum = true;
  EXPECT_TRUE(has(text_of(run), "the highest rate that was tried"));
  for (const auto& [trial, words] :
       {std::pair{ShownTrial{.number = 2, .offered_fps = 12500},
                  "trial 2 of 4 at 12.5 k/s, passed"},
        {ShownTrial{.number = 1, .offered_fps = 15000}, "trial 1 of 4 at 15.0 k/s, failed"},
        {ShownTrial{.number = std::nullopt, .offered_fps = 13000},
         "a trial at 13.0 k/s that was cut off"},
        {ShownTrial{}, "a trial at full speed, with which the search began"}}) {
    search.shown = trial;
    EXPECT_TRUE(has(text_of(run), std::string("\n  figures of j below: ") + words + "\n")) << words;
  }
}

TEST(RepeatText, ShowsEachFigureInItsUnitAndCountsTheRunsOfTheFigureThatMostHave) {
  RunResult run = run_of({sender("j", 5)});
  const auto repeat = [](const char* figure, double median, std::vector<double> values) {
    return RepeatFigure{.job = "j",
                        .figure = figure,
                        .values = std::move(values),
                        .median = median,
                        .min = median / 2,
                        .max = median * 2};
  };
  run.repeats = {repeat(figure_name::kTxFps, 2e6, {1, 2, 3, 4}),
                 repeat(figure_name::kLatencyP50, 2e6, {1, 2}),
                 repeat(figure_name::kLostShare, 0.02, {1, 2})};
  run.repetitions = {run, run, run, run};
  for (const auto& [shown, number] : {std::pair{0U, "run 1; "}, {1U, "run 2; "}}) {
    run.shown_run = shown;
    EXPECT_TRUE(has(text_of(run), std::string("and counts are those of ") + number)) << number;
  }
  const std::string text = text_of(run);
  EXPECT_TRUE(has(text, "\n  4 runs: rates"));
  const auto row = [&](const std::string& figure) { return row_of(text, "j " + figure); };
  EXPECT_EQ(row("tx_fps"), (Cells{"j tx_fps", "4", "2.00 M/s", "1.00 M/s", "4.00 M/s", "150 %"}));
  EXPECT_EQ(row("latency_ns_p50"),
            (Cells{"j latency_ns_p50", "2", "2.00 ms", "1.00 ms", "4.00 ms", "150 %"}));
  EXPECT_EQ(row("lost_share"), (Cells{"j lost_share", "2", "2.00 %", "1.00 %", "4.00 %", "150 %"}));
  run.repeats = {repeat(figure_name::kLostShare, 0, {1, 2})};
  EXPECT_EQ(row_of(text_of(run), "j lost_share").back(), "-") << "of nothing there is no share";
}

// ---- What held the jobs back ----

TEST(CausesText, IsTheLastThingAndSaysWhatIsKnown) {
  const auto end = [](const Change& change) {
    const std::string text = changed(change);
    return text.substr(text.find("\n", text.find("\n  CPU 1 ") + 1) + 1);
  };
  const auto causes = [](int count) {
    return [count](RunResult& run) {
      for (int i = 1; i <= count; ++i) {
        Cause& cause = run.causes.causes.emplace_back();
        cause.job = "bulk";
        cause.sentence = "cause " + std::to_string(i);
      }
    };
  };
  EXPECT_EQ(end([](RunResult&) {}),
            "nothing held the jobs back (301 looks in 30.1 s; not seen: /proc/pressure/memory)\n");
  EXPECT_EQ(end(causes(2)), "what held the jobs back, the heaviest first\n  cause 1\n  cause 2\n");
  const std::string many = end(causes(12));
  EXPECT_TRUE(many.ends_with("\n  cause 10\n  ... and 2 more: --output-format=json\n")) << many;
  const std::string unseen = end([](RunResult& run) {
    run.jobs[1].flows[0].lost = 7;
    run.jobs[1].overrun_frames = 0;
  });
  EXPECT_TRUE(has(unseen, "nothing held the jobs back; what lost 7 frames was not seen (301 looks"))
      << unseen;
  const Change unknown = [](RunResult& run) {
    run.causes = {};
    run.causes.why_unknown = "it was turned off (why=0)";
  };
  EXPECT_EQ(end(unknown), "what held the jobs back is not known: it was turned off (why=0)\n");
  RunResult run = test::quiet_sample();
  unknown(run);
  Json json = json_of(run);
  EXPECT_EQ(json.at("causes"), nullptr);
  EXPECT_EQ(json.at("causes_reason"), "it was turned off (why=0)");
  EXPECT_EQ(json.at("why"), nullptr);
  for (const char* key : {"causes", "causes_reason", "why"}) json.erase(key);
  EXPECT_FALSE(has(text_of(json), "held the jobs back")) << "of an earlier version's file";
}

// ---- Narrow places ----

TEST(Text, FitsATerminalOfEightyColumnsWithAllFigures) {
  RunResult wide = test::quiet_sample();
  wide.steady_state =
      "not reached: the slope of the rate was 1.23 % of its mean, and 0.100 % was asked for";
  wide.jobs[0].options["rate_catchup"] = "skip";
  wide.jobs[0].tx.skipped_frames = 1'000'000;
  wide.jobs[1].percentile_list = {1, 5, 10, 25, 75, 90, 95, 99, 99.9, 99.99, 99.999};
  FlowResult& flow = wide.jobs[1].flows[0];
  flow.corrupt_copies = flow.truncated_copies = 1'234'567;
  flow.verification_complete = false;
  for (std::uint64_t i = 0; i < 8; ++i) {
    flow.gaps.emplace_back(12'000'000 + i * 1000, 12'000'100 + i * 1000);
  }
  wide.links = {{"bus:/dev/shm/b",
                 "bulk",
                 "sent",
                 {{5000, 57, 0, 0, 0, 0, 0}, 0},
                 "loss=1%,duplicate=0.5%,reorder=0.3%,corrupt=0.2%,delay=5ms"}};
  const auto words_of = [](const std::string& text) {
    std::set<std::string> words;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) words.insert(word);
    return words;
  };
  for (const RunResult& run :
       {wide, test::failed_sample(), test::engines_sample(), test::search_sample()}) {
    const std::string folded = text_of(run, 80);
    for (const std::string& line : lines_of(folded)) {
      if (line.starts_with("  shmifperf")) continue;  // the command, to be pasted
      EXPECT_LE(line.size(), 80U) << line;
    }
    EXPECT_TRUE(std::ranges::includes(words_of(folded), words_of(text_of(run)))) << folded;
  }
}

// ---- Terse ----

Words fields_of(const std::string& line) {
  Words fields(1);
  for (const char c : line) {
    if (c == ';') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

TEST(Terse, EachLineHasTheFieldsThatTheDocumentNames) {
  std::ifstream document(shmif::test::in_source("docs/shmifperf-terse.md"));
  Words names;
  const std::regex row(R"(\| [0-9]+ \| `?([a-z0-9_.]+)?.*)");
  std::smatch match;
  for (std::string line; std::getline(document, line);) {
    if (std::regex_match(line, match, row)) names.push_back(match[1]);
  }
  for (const char* name : {"distinct", "failed", "unstarted"}) {
    const Report report = report_of(test::sample_named(name));
    const Words lines = lines_of(to_terse(report));
    ASSERT_EQ(lines.size(), report.json()["jobs"].size());
    for (std::size_t job = 0; job < lines.size(); ++job) {
      const Words fields = fields_of(lines[job]);
      ASSERT_EQ(fields.size(), names.size()) << lines[job];
      EXPECT_EQ(fields[0], std::to_string(kTerseVersion));
      for (std::size_t i = 2; i < names.size(); ++i) {
        const auto dot = names[i].find('.');
        const Json& all = report.json()["jobs"][job];
        const Json& object = dot == std::string::npos ? all : all.at(names[i].substr(0, dot));
        const Json value = object.is_null() ? Json() : object.at(names[i].substr(dot + 1));
        std::string text = value.is_null()     ? ""
                           : value.is_string() ? value.get<std::string>()
                                               : value.dump();
        std::ranges::replace(text, ';', '_');
        EXPECT_EQ(fields[i], text) << names[i];
      }
    }
  }
  EXPECT_EQ(fields_of(lines_of(to_terse(report_of(test::hostile_sample())))[1])[2].substr(0, 22),
            "?]0_owned??[2J_semi_co")
      << "a semicolon in a name is none";
}

}  // namespace
}  // namespace shmif::perf::report_text
