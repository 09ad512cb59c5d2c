// What a report says in words: warnings and where they begin, problems, reasons for what was not
// measured, and what differs between two results.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "perf/compare/compare.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::report_words {
namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

/// A job that sent and received 1000 frames a second for ten seconds.
JobResult job_called(const std::string& name) {
  JobResult job;
  job.name = name;
  job.group = "g";
  job.passed = true;
  job.state = JobState::reaped;
  job.latency = std::make_shared<LatencyHistogram>();
  job.service = std::make_shared<LatencyHistogram>();
  job.spacing_error = std::make_shared<LatencyHistogram>();
  for (TrafficResult* traffic : {&job.tx, &job.rx}) {
    traffic->frames = traffic->offered_frames = 10'000;
    traffic->seconds = traffic->offered_seconds = 10;
  }
  job.runtime_seconds = 10;
  job.cpu = CpuResult{};
  return job;
}

/// A run of one job, "j", that was changed so.
RunResult run_with(const std::function<void(RunResult&, JobResult&)>& change) {
  RunResult run;
  run.version = "1";
  run.jobs.push_back(job_called("j"));
  change(run, run.jobs[0]);
  return run;
}

Words warnings(const std::function<void(RunResult&, JobResult&)>& change) {
  return warnings_from(run_with(change));
}

// ---- Warnings ----

TEST(WarningWords, OfTheHarnesssOwnLimitBeginAtFourFifthsOfIt) {
  const auto near = [](double rx_frames, double limit) {
    return warnings([&](RunResult&, JobResult& job) {
      job.rx.frames = static_cast<std::uint64_t>(rx_frames);
      job.limit_fps = limit;
    });
  };
  EXPECT_EQ(near(5000, 1251), Words{}) << "799 of a thousand; the greater direction counts";
  EXPECT_EQ(near(5000, 1250), Words{"j: 1.00 k/s is 80.0 % of what the harness itself can do on "
                                    "this machine (1.25 k/s); the medium may be faster"});
  EXPECT_EQ(near(20000, 2000), Words{"j: 2.00 k/s is the highest rate that the harness itself has "
                                     "reached on this machine; the medium may be faster"});
  const auto search = [](std::optional<double> found, std::optional<double> limit) {
    return warnings([&](RunResult& run, JobResult&) {
      SearchResult& s = run.searches.emplace_back();
      s.job = "s";
      s.found_fps = found;
      s.limit_fps = limit;
    });
  };
  EXPECT_EQ(search(799, 1000), Words{});
  EXPECT_EQ(search(800, 1000), Words{"search of s: 800 /s is 80.0 % of what the harness itself can "
                                     "do on this machine (1.00 k/s); the medium may be faster"});
  EXPECT_EQ(search(800, std::nullopt), Words{});
  EXPECT_EQ(search(std::nullopt, 1000), Words{});
  // A search whose sender was off its CPU when the next higher rate failed.
  const auto misled = [](double late_ns, double limit) {
    return warnings([&](RunResult& run, JobResult&) {
      SearchResult& s = run.searches.emplace_back();
      s.job = "s";
      s.found_fps = 3930;
      s.limit_fps = limit;
      TrialResult& failed = s.trials.emplace_back();
      failed.offered_fps = failed.achieved_fps = 3950;
      failed.loss_share = 0.01;
      failed.sender_late_ns = late_ns;
    });
  };
  EXPECT_EQ(
      misled(2.13e7, 1e6),
      Words{"search of s: the medium may carry more than 3.93 k/s: in the trial that decided, "
            "the sender was off its CPU and up to 21.3 ms late, so it sent a burst (search on "
            "an idle machine, or give the job its own CPU with cpus_allowed)"});
  EXPECT_EQ(misled(1e5, 1e6), Words{});
  EXPECT_EQ(
      misled(2.13e7, 4000),
      Words{"search of s: 3.93 k/s is 98.2 % of what the harness itself can do on this machine "
            "(4.00 k/s); the medium may be faster"});
}

TEST(WarningWords, OfStolenTimeBeginAtOnePerCentOfEachCpu) {
  EXPECT_EQ(warnings([](RunResult& run, JobResult&) {
              run.machine.window = {{.cpu = 0, .steal = 0.0099}, {.cpu = 3, .steal = 0.01}};
            }),
            Words{"CPU 3: the hypervisor gave 1.00 % of the measured time to others (steal); the "
                  "longest latencies may come from that, not from the medium"});
}

TEST(WarningWords, OfInterruptionsBeginAtTwentyASecondAndNameFourJobsOrTheWorst) {
  const auto interrupted = [](const std::vector<std::uint64_t>& switches) {
    return warnings([&](RunResult& run, JobResult&) {
      run.jobs.clear();
      for (std::size_t i = 0; i < switches.size(); ++i) {
        run.jobs.push_back(job_called("j" + std::to_string(i)));
        run.jobs[i].cpu->involuntary_switches = switches[i];
      }
    });
  };
  EXPECT_EQ(interrupted({199}), Words{});
  EXPECT_EQ(interrupted({199, 200}), Words{"j1: was taken off its CPU 200 times in 10.0 s; give it "
                                           "its own CPU (cpus_allowed) for repeatable figures"});
  EXPECT_EQ(interrupted({200, 200, 200, 200, 0}).size(), 4U);
  EXPECT_EQ(interrupted({200, 200, 900, 200, 200, 0}),
            Words{"5 jobs were taken off their CPUs, j2 most of all (900 times in 10.0 s); give "
                  "each job its own CPU (cpus_allowed) for repeatable figures"});
  // Nobody knows how often, or in what time.
  EXPECT_EQ(warnings([](RunResult&, JobResult& job) {
              job.cpu->involuntary_switches = 1'000'000;
              job.runtime_seconds = std::nullopt;
            }),
            Words{});
  EXPECT_EQ(warnings([](RunResult&, JobResult& job) { job.cpu = std::nullopt; }), Words{});
}

/// Three times in 157 us are no 20 times a second.
TEST(WarningWords, OfInterruptionsNeedTwentyOfThem) {
  const auto of = [](std::uint64_t switches, double seconds) {
    return warnings([&](RunResult&, JobResult& job) {
             job.cpu->involuntary_switches = switches;
             job.runtime_seconds = seconds;
           })
        .size();
  };
  EXPECT_EQ(of(3, 157e-6), 0U);
  EXPECT_EQ(of(19, 0.5), 0U);
  EXPECT_EQ(of(20, 0.5), 1U);
}

/// Warnings and the verdict agree: what held nobody back is no warning, and what did is one.
TEST(WarningWords, OfInterruptionsAndStealFollowTheVerdict) {
  const auto of = [](std::uint64_t switches, const std::vector<CauseKind>& causes,
                     const std::string& held) {
    return warnings([&](RunResult& run, JobResult& job) {
      job.cpu->involuntary_switches = switches;
      run.machine.window = {{.cpu = 3, .steal = 0.5}};
      run.causes.why_unknown.clear();
      for (const CauseKind kind : causes) {
        Cause& cause = run.causes.causes.emplace_back();
        cause.job = held;
        cause.cause = kind;
      }
    });
  };
  EXPECT_EQ(of(1283, {}, "j"), Words{}) << "nothing held it back";
  EXPECT_EQ(of(1283, {CauseKind::migrated}, "j"), Words{});
  EXPECT_EQ(of(1283, {CauseKind::waited_for_cpu}, "another"), Words{});
  const Words told = of(7, {CauseKind::waited_for_cpu, CauseKind::receive_buffer}, "j");
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].find("j: was taken off its CPU 7 times in "), 0U) << told[0];
  EXPECT_EQ(of(0, {CauseKind::waited_for_cpu}, "j"), Words{}) << "it waited when it woke up";
  const Words stolen = of(1283, {CauseKind::steal}, "j");
  ASSERT_EQ(stolen.size(), 1U);
  EXPECT_EQ(stolen[0].find("CPU 3: the hypervisor gave 50.0 %"), 0U) << stolen[0];
}

TEST(WarningWords, OfAPaceBeginBelowNinetyNinePerCentOfIt) {
  const auto slow = [](std::uint64_t sent, const std::function<void(TrafficResult&)>& change) {
    return warnings([&](RunResult&, JobResult& job) {
      job.tx.frames = sent;
      job.tx.paced = true;
      change(job.tx);
    });
  };
  const auto as_it_is = [](TrafficResult&) {};
  EXPECT_EQ(slow(9900, as_it_is), Words{});
  EXPECT_EQ(slow(9800, as_it_is),
            Words{"j: the pace was not kept: 980 /s sent of 1.00 k/s asked for (98.0 %)"});
  EXPECT_EQ(slow(9800, [](TrafficResult& tx) { tx.paced = false; }), Words{});
  EXPECT_EQ(slow(9800, [](TrafficResult& tx) { tx.of_program = true; }), Words{});
  EXPECT_EQ(slow(9800, [](TrafficResult& tx) { tx.offered_seconds = 0; }), Words{});
  EXPECT_EQ(slow(9800, [](TrafficResult& tx) { tx.offered_seconds = 20; }), Words{})
      << "by the time that the pace had";
  EXPECT_EQ(slow(9800, [](TrafficResult& tx) { tx.offered_seconds = 5; }).size(), 1U);
  const auto stopped = [](std::uint64_t offered) {
    return [offered](TrafficResult& tx) {
      tx.seconds = tx.offered_seconds = 0.012;
      tx.offered_frames = offered;
    };
  };
  EXPECT_EQ(slow(12, stopped(13)), Words{}) << "stopped when the last one was due";
  EXPECT_EQ(slow(12, stopped(14)).size(), 1U);
}

TEST(WarningWords, OfRatesInFiosSpellingAreOfEachOptionDirectionAndValueOnce) {
  const auto bare = [](const std::vector<std::pair<const char*, const char*>>& options) {
    return warnings([&](RunResult& run, JobResult&) {
      run.jobs.clear();
      for (const auto& [name, value] : options) {
        run.jobs.push_back(job_called("j"));
        run.jobs.back().options[name] = value;
      }
    });
  };
  EXPECT_EQ(bare({{"rate", "10Mbit"}, {"rate", "0"}, {"rate", "10mb"}, {"rate_iops", "10"}}),
            Words{});
  const Words once = bare({{"rate", "10m"}});
  ASSERT_EQ(once.size(), 1U);
  EXPECT_EQ(once[0].find("rate=10m is "), 0U) << once[0];
  EXPECT_EQ(bare({{"rate", "10m"}, {"rate", "10m"}}), once) << "of two jobs";
  EXPECT_EQ(bare({{"rate", "10m,20m"}}).size(), 2U);
  EXPECT_EQ(bare({{"rate", ",20m"}}).size(), 1U);
  EXPECT_EQ(bare({{"rate_min", "10m"}}).at(0).find("rate_min=10m is "), 0U);
}

// ---- Problems and reasons ----

Json job_of(const RunResult& run) {
  return Json::parse(to_json(run, Bins::without)).at("jobs").at(0);
}

/// "kind: text" of each.
Words problems(const std::function<void(RunResult&, JobResult&)>& change) {
  Words all;
  const Json job = job_of(run_with(change));
  for (const Json& problem : job.at("problems")) {
    all.push_back(problem.at("kind").get<std::string>() + ": " +
                  problem.at("text").get<std::string>());
  }
  return all;
}

TEST(ProblemWords, NameWhatHappenedHowOftenAndToWhat) {
  EXPECT_EQ(problems([](RunResult&, JobResult&) {}), Words{});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.passed = false;
              job.state = JobState::draining;
            }),
            Words{"failed: it ended while draining"});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.passed = false;
              job.errors = {"one", "two"};
            }),
            Words{"failed: one; two"});
  EXPECT_EQ(problems([](RunResult& run, JobResult& job) {
              job.passed = false;
              job.errors = {"one"};
              run.failures = {"job \"j\": one"};
            }),
            Words{})
      << "said of the run already";
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.tx.errors = 2;
              job.tx.first_error = "full";
              job.rx.errors = 1'003;
              job.rx.first_error = "gone";
            }),
            (Words{"errors: 2 of tx, the first: full", "errors: 1,003 of rx, the first: gone"}));
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.rx.errors = 1;
              job.rx.first_error = "gone";
            }),
            Words{"errors: 1 of rx, the first: gone"});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.tx.errors = 1;
              job.tx.first_error = "full";
            }),
            Words{"errors: 1 of tx, the first: full"});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.overruns = 1;
              job.overrun_frames = 7;
            }),
            Words{"overrun: 1 time, 7 frames"});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) {
              job.overruns = job.overrun_frames = 7;
              job.counts.wire.lost_is_lower_bound = true;
            }),
            Words{"overrun: 7 times, at least 7 frames"});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) { job.overruns = 0; }), Words{});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) { job.counts.agree = false; }),
            Words{"counts: generator, wire and receiver do not agree"});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) { job.counts.agree = true; }), Words{});
  EXPECT_EQ(problems([](RunResult&, JobResult& job) { job.tx.skipped_frames = 1; }),
            Words{"skipped: 1 of 10,000 frames offered were given up after stalls "
                  "(rate_catchup=skip)"});
}

TEST(ProblemWords, OfAFlowNameEachFateAndWhatItWasSentAs) {
  const auto flow = [](FlowResult::Kind kind, const std::function<void(FlowResult&)>& change) {
    return problems([&](RunResult&, JobResult& job) {
      FlowResult& f = job.flows.emplace_back();
      f.from = "s";
      f.kind = kind;
      f.sent = 1000;
      change(f);
    });
  };
  using Kind = FlowResult::Kind;
  EXPECT_EQ(flow(Kind::data, [](FlowResult&) {}), Words{});
  EXPECT_EQ(flow(Kind::data,
                 [](FlowResult& f) {
                   f.lost = 12;
                   f.duplicates = 2;
                   f.reordered = 3;
                   f.corrupt = 4;
                   f.truncated = 5;
                   f.late = 6;
                   f.cancelled = 7;
                   f.unverified = 8;
                   f.corrupt_copies = 1;
                   f.truncated_copies = 2;
                 }),
            Words{"loss: 12 lost (1.20 %), 2 duplicate, 3 reordered, 4 corrupt, 5 truncated, 6 "
                  "late, 7 cancelled, 8 unverified, 1 corrupt copy, 2 truncated copies, of 1,000 "
                  "sent by s"});
  EXPECT_EQ(flow(Kind::request, [](FlowResult& f) { f.late = 1; }),
            Words{"loss: 1 late, of 1,000 requests sent by s"});
  EXPECT_EQ(flow(Kind::reply, [](FlowResult& f) { f.truncated_copies = 1; }),
            Words{"loss: 1 truncated copy, of 1,000 replies sent by s"});
}

TEST(ReasonWords, SayWhyThereIsNoLatencyAndNoCpuTime) {
  const auto reason = [](const char* key, const std::function<void(JobResult&)>& change) {
    const Json job = job_of(run_with([&](RunResult&, JobResult& j) {
      j.cpu = std::nullopt;
      change(j);
    }));
    EXPECT_TRUE(job.at(key).is_null());
    return job.at(std::string(key) + "_reason").get<std::string>();
  };
  EXPECT_EQ(reason("latency_ns", [](JobResult&) {}), "the received frames carry no timestamp");
  EXPECT_EQ(reason("service_ns", [](JobResult&) {}), "the received frames carry no timestamp");
  EXPECT_EQ(reason("latency_ns", [](JobResult& j) { j.options["disable_lat"] = "1"; }),
            "disable_lat is set");
  EXPECT_EQ(reason("latency_ns",
                   [](JobResult& j) {
                     j.options["disable_lat"] = "0";
                     j.rx.frames = 0;
                   }),
            "this job received no frame in the measured window");
  EXPECT_EQ(reason("cpu", [](JobResult& j) { j.exit_signal = 9; }),
            "this job was killed before it could report it");
  EXPECT_EQ(reason("cpu",
                   [](JobResult& j) {
                     j.tx.of_program = true;
                     j.options["ramp_time"] = "1";
                   }),
            "the kernel reports the usage of a program only at its end, with the ramp");
  EXPECT_EQ(reason("cpu", [](JobResult& j) { j.runtime_seconds = std::nullopt; }),
            "the measured window did not begin");
  EXPECT_EQ(reason("cpu", [](JobResult& j) { j.thread = true; }),
            "not known of a thread that has helper threads");
  EXPECT_EQ(reason("cpu", [](JobResult&) {}), "this job did not finish");
  EXPECT_EQ(reason("overruns", [](JobResult& j) { j.role = Role::rx; }),
            "this engine does not report overruns");
  EXPECT_EQ(reason("overruns", [](JobResult& j) { j.role = Role::tx; }),
            "this job receives nothing");
  EXPECT_EQ(reason("tcp", [](JobResult& j) { j.engine = EngineKind::host; }),
            "no TCP connection in the measured window");
  EXPECT_EQ(reason("tcp", [](JobResult&) {}), "only engine=host has TCP connections");
  const auto lost = [](Role role) {
    return job_of(run_with([&](RunResult&, JobResult& j) { j.role = role; }))
        .at("counts")
        .at("wire_lost_frames_reason");
  };
  EXPECT_EQ(lost(Role::rx), "this engine does not count this");
  EXPECT_EQ(lost(Role::tx), "this job does not read the frames that reach it");
}

// ---- Text ----

std::string text_of_result(const RunResult& run) {
  return to_text(Report::parse(to_json(run, Bins::without), "x").value());
}

TEST(ReportWords, ShowFiftyProblemsAndFiftyWarningsAndCountTheRest) {
  const auto told = [](std::size_t failures, std::size_t said) {
    const std::string text = text_of_result(run_with([&](RunResult& run, JobResult&) {
      for (std::size_t i = 0; i < failures; ++i) run.failures.push_back("no " + std::to_string(i));
      for (std::size_t i = 0; i < said; ++i) run.warnings.push_back("hm " + std::to_string(i));
    }));
    const auto has = [&](const std::string& words) {
      return text.find(words) != std::string::npos;
    };
    EXPECT_EQ(has("  FAILED    no 49\n"), failures > 49);
    EXPECT_FALSE(has("no 50\n"));
    EXPECT_EQ(has("  warning   hm 49\n"), said > 49);
    EXPECT_FALSE(has("hm 50\n"));
    Words more;
    for (std::size_t at = 0; (at = text.find("  ... and ", at)) != std::string::npos; ++at) {
      more.push_back(text.substr(at, text.find('\n', at) - at));
    }
    return more;
  };
  EXPECT_EQ(told(50, 50), Words{});
  EXPECT_EQ(told(51, 50), Words{"  ... and 1 more: --output-format=json"});
  EXPECT_EQ(told(3, 1060), Words{"  ... and 1,010 more: --output-format=json"});
}

TEST(ReportWords, OfNumbersThatDidNotComeShowTheFirstEightStretches) {
  const auto gaps = [](FlowResult::Kind kind, std::uint64_t count) {
    const std::string text = text_of_result(run_with([&](RunResult&, JobResult& job) {
      FlowResult& f = job.flows.emplace_back();
      f.from = "s";
      f.to = "j";
      f.kind = kind;
      f.sent = f.received = 10;
      for (std::uint64_t i = 0; i < count; ++i) f.gaps.emplace_back(1000 * i + 1, 1000 * i + 2 + i);
    }));
    const std::size_t at = text.find("  s -> j", text.find("s -> j") + 1);
    return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_EQ(gaps(FlowResult::Kind::data, 0), "");
  EXPECT_EQ(gaps(FlowResult::Kind::data, 1), "  s -> j missed numbers 1");
  EXPECT_EQ(gaps(FlowResult::Kind::request, 2),
            "  s -> j requests missed numbers 1, 1,001 to 1,002");
  EXPECT_EQ(gaps(FlowResult::Kind::reply, 3),
            "  s -> j replies lacked numbers 1, 1,001 to 1,002, 2,001 to 2,003");
  const std::string eight = gaps(FlowResult::Kind::data, 8);
  EXPECT_TRUE(eight.ends_with("7,001 to 7,008")) << eight;
  EXPECT_EQ(gaps(FlowResult::Kind::data, 9), eight + ", ...");
}

TEST(ReportWords, OfAJobThatMovedNothingSayHowFarItCame) {
  const std::string text = text_of_result(run_with([](RunResult&, JobResult& job) {
    job.tx = job.rx = {};
    job.state = JobState::initialised;
  }));
  EXPECT_NE(text.find("  nothing was sent or received; it was never started\n"), std::string::npos)
      << text;
  EXPECT_EQ(text.find("traffic"), std::string::npos);
}

// ---- Two results ----

/// What is said of two runs, the second of which was changed so.
Comparison compared(const std::function<void(RunResult&, JobResult&)>& change,
                    const CompareOptions& options = {}) {
  const auto report = [](const RunResult& run, const char* name) {
    return Report::parse(to_json(run, Bins::without), name).value();
  };
  return compare(report(run_with([](RunResult&, JobResult&) {}), "old"),
                 report(run_with(change), "new"), options)
      .value();
}

TEST(CompareWords, NoteWhatElseIsNotTheSame) {
  EXPECT_EQ(compared([](RunResult&, JobResult&) {}).notes, Words{});
  EXPECT_EQ(compared([](RunResult& run, JobResult& job) {
              run.version = "2";
              run.machine.hostname = "lab";
              run.machine.cpu_model = "fast";
              run.machine.kernel = "6.1";
              run.machine.clock_source = "tsc";
              job.options["bs"] = "64";
              run.jobs.push_back(job_called("k"));
            }).notes,
            (Words{"shmifperf: 1 before, 2 after", "hostname:  before, lab after",
                   "cpu_model:  before, fast after", "kernel:  before, 6.1 after",
                   "clock_source:  before, tsc after", "job j had different options",
                   "job k is only in new"}));
  EXPECT_EQ(compared([](RunResult&, JobResult& job) { job.role = Role::rx; }).notes,
            Words{"job j had different options"});
}

TEST(CompareWords, WorseIsWhatIsGoneOrFailsNow) {
  const auto failures = [](const std::function<void(RunResult&, JobResult&)>& before,
                           const std::function<void(RunResult&, JobResult&)>& after) {
    const auto report = [](const RunResult& run, const char* name) {
      return Report::parse(to_json(run, Bins::without), name).value();
    };
    const Comparison c =
        compare(report(run_with(before), "old"), report(run_with(after), "new"), {}).value();
    EXPECT_EQ(c.worse(), !c.failures.empty());
    return c.failures;
  };
  const auto same = [](RunResult&, JobResult&) {};
  const auto fails = [](RunResult&, JobResult& job) { job.passed = false; };
  const auto two = [](RunResult& run, JobResult&) { run.jobs.push_back(job_called("k")); };
  EXPECT_EQ(failures(same, same), Words{});
  EXPECT_EQ(failures(same, fails), Words{"job j passed before and failed after"});
  EXPECT_EQ(failures(fails, same), Words{});
  EXPECT_EQ(failures(fails, fails), Words{});
  EXPECT_EQ(failures(two, same), Words{"job k is only in old"});
  EXPECT_EQ(failures(same, two), Words{});
  const auto finds = [](std::optional<double> fps, std::uint32_t bytes) {
    return [=](RunResult& run, JobResult&) {
      SearchResult& search = run.searches.emplace_back();
      search.job = "j";
      search.frame_bytes = bytes;
      search.found_fps = fps;
      search.why_none = fps ? "" : "no";
    };
  };
  EXPECT_EQ(failures(finds(10, 64), finds(std::nullopt, 64)),
            Words{"the search of job j found a rate before, but not after"});
  EXPECT_EQ(failures(finds(std::nullopt, 64), finds(10, 64)), Words{});
  EXPECT_EQ(failures(finds(10, 64), finds(std::nullopt, 128)), Words{}) << "another size";
}

TEST(CompareWords, WhatIsJustTheThresholdIsTheSameEitherWay) {
  const auto verdict = [](std::uint64_t frames, double threshold) {
    CompareOptions options;
    options.threshold = threshold;
    const Comparison c = compared(
        [&](RunResult&, JobResult& job) { job.tx.frames = job.rx.frames = frames; }, options);
    EXPECT_EQ(c.figures.at(0).figure, "tx_fps");
    EXPECT_EQ(c.figures.at(1).figure, "rx_fps");
    EXPECT_EQ(c.figures[0].verdict, c.figures[1].verdict);
    return c.figures[0].verdict;
  };
  using Verdict = ComparedFigure::Verdict;
  EXPECT_EQ(verdict(7'500, 0.25), Verdict::same);
  EXPECT_EQ(verdict(7'499, 0.25), Verdict::worse);
  EXPECT_EQ(verdict(12'500, 0.25), Verdict::same);
  EXPECT_EQ(verdict(12'501, 0.25), Verdict::better);
}

}  // namespace
}  // namespace shmif::perf::report_words
