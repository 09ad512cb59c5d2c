// Where warnings begin, which problems a job has, and the reasons for what was not measured.

#include <cmath>

#include "perf/report/problems.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/table.hpp"
#include "tests/perf/report/report_rig.hpp"

namespace shmif::perf::report_words {
namespace {

using namespace report_rig;  // NOLINT(google-build-using-namespace): the rig of this folder

using Change = std::function<void(RunResult&, JobResult&)>;

/// A job that sent and received 1000 frames a second for ten seconds.
JobResult job_called(const std::string& name) {
  JobResult job = idle_job(name);
  for (TrafficResult* traffic : {&job.tx, &job.rx}) {
    moved(*traffic, 10'000, 10);
    traffic->offered_frames = 10'000;
    traffic->offered_seconds = 10;
  }
  job.runtime_seconds = 10;
  job.cpu = CpuResult{};
  return job;
}
/// A run of one job, "j", that was changed so.
RunResult run_with(const Change& change) {
  RunResult run = run_of({job_called("j")});
  change(run, run.jobs[0]);
  return run;
}

/// What there is in one text of as many as there are; "" is none.
void expect_warning(const Change& change, const std::string& words, std::size_t count = 1) {
  SCOPED_TRACE(words);
  const Words all = warnings_from(run_with(change));
  ASSERT_EQ(all.size(), words.empty() ? 0U : count) << testing::PrintToString(all);
  if (!all.empty()) {
    EXPECT_TRUE(has(all[0], words)) << all[0];
  }
}

// ---- Warnings ----

TEST(WarningWords, OfTheHarnesssOwnLimitBeginAtFourFifthsOfIt) {
  const auto near = [](std::uint64_t rx_frames, double limit) {
    return [=](RunResult&, JobResult& job) {
      job.rx.frames = rx_frames;
      job.limit_fps = limit;
    };
  };
  expect_warning(near(5000, 1251), "");  // 799 of a thousand; the greater direction counts
  expect_warning(near(5000, 1250), "j: 1.00 k/s is 80.0 % of");
  expect_warning(near(20000, 2000), "j: 2.00 k/s is the highest");
  const auto search = [](std::optional<double> found, std::optional<double> limit) {
    return [=](RunResult& run, JobResult&) {
      SearchResult& s = run.searches.emplace_back();
      s.job = "s";
      s.found_fps = found;
      s.limit_fps = limit;
    };
  };
  expect_warning(search(799, 1000), "");
  expect_warning(search(800, 1000), "search of s: 800 /s is 80.0 %");
  expect_warning(search(800, std::nullopt), "");
  expect_warning(search(std::nullopt, 1000), "");
  // A search whose sender was off its CPU when the next higher rate failed.
  const auto misled = [&](double late_ns, double limit) {
    return [=](RunResult& run, JobResult& job) {
      search(3930, limit)(run, job);
      TrialResult& failed = run.searches[0].trials.emplace_back();
      failed.offered_fps = failed.achieved_fps = 3950;
      failed.loss_share = 0.01;
      failed.sender_late_ns = late_ns;
    };
  };
  expect_warning(misled(2.13e7, 1e6), "off its CPU and up to 21.3 ms late");
  expect_warning(misled(1e5, 1e6), "");
  expect_warning(misled(2.13e7, 4000), "98.2 % of what the harness");
}

TEST(WarningWords, OfStolenTimeBeginAtOnePerCentOfEachCpu) {
  expect_warning(
      [](RunResult& run, JobResult&) {
        run.machine.window = {{.cpu = 0, .steal = 0.0099}, {.cpu = 3, .steal = 0.01}};
      },
      "CPU 3: the hypervisor gave 1.00 %");
}

TEST(WarningWords, OfInterruptionsBeginAtTwentyAndTwentyASecondAndNameFourJobsOrTheWorst) {
  const auto interrupted = [](const std::vector<std::uint64_t>& switches,
                              std::optional<double> seconds = 10) {
    return [=](RunResult& run, JobResult&) {
      run.jobs.clear();
      for (std::size_t i = 0; i < switches.size(); ++i) {
        run.jobs.push_back(job_called("j" + std::to_string(i)));
        run.jobs[i].cpu->involuntary_switches = switches[i];
        run.jobs[i].runtime_seconds = seconds;
      }
    };
  };
  expect_warning(interrupted({199}), "");
  expect_warning(interrupted({199, 200}), "j1: was taken off its CPU 200 times");
  expect_warning(interrupted({200, 200, 200, 200, 0}), "j0: ", 4);
  expect_warning(interrupted({200, 200, 900, 200, 200, 0}), "5 jobs were taken off their CPUs, j2");
  expect_warning(interrupted({3}, 157e-6), "");
  expect_warning(interrupted({19}, 0.5), "");
  expect_warning(interrupted({20}, 0.5), "20 times");
  expect_warning(interrupted({1'000'000}, std::nullopt), "");
  expect_warning([](RunResult&, JobResult& job) { job.cpu = std::nullopt; }, "");
}

/// Warnings and the verdict agree: what held nobody back is no warning, and what did is one.
TEST(WarningWords, OfInterruptionsAndStealFollowTheVerdict) {
  const auto of = [](std::uint64_t switches, const std::vector<CauseKind>& causes,
                     const std::string& held) {
    return [=](RunResult& run, JobResult& job) {
      job.cpu->involuntary_switches = switches;
      run.machine.window = {{.cpu = 3, .steal = 0.5}};
      run.causes.why_unknown.clear();
      for (const CauseKind kind : causes) {
        Cause& cause = run.causes.causes.emplace_back();
        cause.job = held;
        cause.cause = kind;
      }
    };
  };
  expect_warning(of(1283, {}, "j"), "");
  expect_warning(of(1283, {CauseKind::migrated}, "j"), "");
  expect_warning(of(1283, {CauseKind::waited_for_cpu}, "another"), "");
  expect_warning(of(7, {CauseKind::waited_for_cpu, CauseKind::receive_buffer}, "j"),
                 "j: was taken off its CPU 7 times");
  expect_warning(of(0, {CauseKind::waited_for_cpu}, "j"), "");  // it waited when it woke up
  expect_warning(of(1283, {CauseKind::steal}, "j"), "CPU 3: the hypervisor gave 50.0 %");
}

TEST(WarningWords, OfAPaceBeginBelowNinetyNinePerCentOfIt) {
  const auto slow = [](std::uint64_t sent, const std::function<void(TrafficResult&)>& change) {
    return [=](RunResult&, JobResult& job) {
      job.tx.frames = sent;
      job.tx.paced = true;
      change(job.tx);
    };
  };
  const auto over = [](double seconds) {
    return [=](TrafficResult& tx) { tx.offered_seconds = seconds; };
  };
  const std::string missed = "j: the pace was not kept: ";
  expect_warning(slow(9900, over(10)), "");
  expect_warning(slow(9800, over(10)), missed + "980 /s sent of 1.00 k/s");
  expect_warning(slow(9800, [](TrafficResult& tx) { tx.paced = false; }), "");
  expect_warning(slow(9800, [](TrafficResult& tx) { tx.of_program = true; }), "");
  expect_warning(slow(9800, over(0)), "");
  expect_warning(slow(9800, over(20)), "");  // by the time that the pace had
  expect_warning(slow(9800, over(5)), missed);
  for (const auto& [offered, words] : {std::pair{13U, std::string()}, {14U, missed}}) {
    expect_warning(slow(12,
                        [offered](TrafficResult& tx) {
                          tx.seconds = tx.offered_seconds = 0.012;
                          tx.offered_frames = offered;
                        }),
                   words);  // stopped when the last one was due
  }
}

TEST(WarningWords, OfRatesInFiosSpellingAreOfEachOptionDirectionAndValueOnce) {
  const auto bare = [](const std::vector<std::pair<const char*, const char*>>& options) {
    return [=](RunResult& run, JobResult&) {
      run.jobs.clear();
      for (const auto& [name, value] : options) {
        run.jobs.push_back(job_called("j"));
        run.jobs.back().options[name] = value;
      }
    };
  };
  expect_warning(bare({{"rate", "10Mbit"}, {"rate", "0"}, {"rate", "10mb"}, {"rate_iops", "10"}}),
                 "");
  expect_warning(bare({{"rate", "10m"}, {"rate", "10m"}}), "rate=10m is ");
  expect_warning(bare({{"rate", "10m,20m"}}), "rate=", 2);
  expect_warning(bare({{"rate", ",20m"}}), "rate=");
  expect_warning(bare({{"rate_min", "10m"}}), "rate_min=10m is ");
}

TEST(WarningWords, ThatTheRunHasAlreadyAreNotRepeated) {
  const auto warned = [](const Words& before) {
    return json_of(run_with([&](RunResult& run, JobResult&) {
      run.machine.window = {{.cpu = 3, .steal = 0.5}};
      run.warnings = before;
    }))["warnings"];
  };
  const Json once = warned({});
  ASSERT_EQ(once.size(), 1U);
  EXPECT_EQ(warned({once[0].get<std::string>()}), once);
  EXPECT_EQ(warned({"another"}), (Json{"another", once[0]}));
}

// ---- Problems and reasons ----

TEST(ProblemWords, NameWhatHappenedHowOftenAndToWhat) {
  const auto expect = [](const Change& change, const Words& wanted) {
    Words all;
    const Json json = json_of(run_with(change));
    for (const Json& problem : json["jobs"][0]["problems"]) {
      all.push_back(problem["kind"].get<std::string>() + ": " + problem["text"].get<std::string>());
    }
    EXPECT_EQ(all, wanted);
  };
  const auto failed = [](const Words& errors, const Words& said, const char* peer_of = "") {
    return [=](RunResult& run, JobResult& job) {
      job.passed = false;
      job.errors = errors;
      job.peer_of = peer_of;
      run.failures = said;
    };
  };
  expect([](RunResult&, JobResult&) {}, {});
  expect(failed({"one", "two"}, {}), {"failed: one; two"});
  expect(failed({}, {}), {"failed: it ended without saying why"});
  expect(failed({}, {"job \"a\": it broke"}, "a"), {});  // the failure of its job tells enough
  expect(failed({"one"}, {"job \"j\": one"}), {});       // said of the run already
  expect(
      [](RunResult&, JobResult& job) {
        job.passed = false;
        job.state = JobState::draining;
      },
      {"failed: it ended while draining"});
  expect(
      [](RunResult&, JobResult& job) {
        job.rx.errors = 1'003;
        job.rx.first_error = "gone";
        job.overruns = 1;
        job.overrun_frames = 7;
      },
      {"overrun: 1 time, 7 frames", "errors: 1,003 of rx, the first: gone"});
  expect([](RunResult&, JobResult& job) { job.overruns = 0; }, {});
  expect([](RunResult&, JobResult& job) { job.counts.agree = true; }, {});
  expect(
      [](RunResult&, JobResult& job) {
        for (const auto kind : {FlowResult::Kind::data, FlowResult::Kind::request}) {
          FlowResult& f = job.flows.emplace_back();
          f.from = "s";
          f.sent = 1000;
          f.kind = kind;
          if (kind != FlowResult::Kind::data) f.late = f.truncated_copies = 1;
        }
      },
      {"loss: 1 late, 1 truncated copy, of 1,000 requests sent by s"});
}

TEST(ReasonWords, SayWhyThereIsNoLatencyNoCpuTimeAndNoCount) {
  struct Case {
    const char* key;
    const char* words;
    std::function<void(JobResult&)> change;
  };
  for (const Case& c : {
           Case{"latency_ns", "carry no timestamp", [](JobResult&) {}},
           {"service_ns", "carry no timestamp", [](JobResult&) {}},
           {"latency_ns", "disable_lat", [](JobResult& j) { j.options["disable_lat"] = "1"; }},
           {"latency_ns", "received no frame", [](JobResult& j) { j.rx.frames = 0; }},
           {"cpu", "killed", [](JobResult& j) { j.exit_signal = 9; }},
           {"cpu", "with the ramp",
            [](JobResult& j) {
              j.tx.of_program = true;
              j.options["ramp_time"] = "1";
            }},
           {"cpu", "did not begin", [](JobResult& j) { j.runtime_seconds = std::nullopt; }},
           {"cpu", "helper threads", [](JobResult& j) { j.thread = true; }},
           {"cpu", "did not finish", [](JobResult&) {}},
           {"overruns", "does not report", [](JobResult& j) { j.role = Role::rx; }},
           {"overruns", "receives nothing", [](JobResult& j) { j.role = Role::tx; }},
           {"tcp", "measured window", [](JobResult& j) { j.engine = EngineKind::host; }},
           {"tcp", "engine=host", [](JobResult&) {}},
           {"counts/wire_lost_frames", "engine", [](JobResult& j) { j.role = Role::rx; }},
           {"counts/wire_lost_frames", "does not read", [](JobResult& j) { j.role = Role::tx; }},
       }) {
    const Json job = json_of(run_with([&](RunResult&, JobResult& j) {
      j.cpu = std::nullopt;
      c.change(j);
    }))["jobs"][0];
    EXPECT_TRUE(job.at(Json::json_pointer('/' + std::string(c.key))).is_null()) << c.key;
    const std::string reason =
        job.at(Json::json_pointer('/' + std::string(c.key) + "_reason")).get<std::string>();
    EXPECT_TRUE(has(reason, c.words)) << c.key << ": " << reason;
  }
}

}  // namespace

}  // namespace shmif::perf::report_words

namespace shmif::perf::report_units {

// Where a figure for people gets another unit or another number of digits, and where a line or a
// table for them is broken.

namespace {

TEST(Units, ANumberHasThreeDigitsAlsoWhereItIsRoundedToOneMore) {
  for (const auto& [value, text] : {std::pair{99.94, "99.9 /s"},
                                    {99.96, "100 /s"},
                                    {9.97, "9.97 /s"},
                                    {9.996, "10.0 /s"},
                                    {0.9994, "0.999 /s"},
                                    {0.9997, "1.00 /s"},
                                    {0.0996, "0.100 /s"},
                                    {0.0994, "0.0994 /s"},
                                    {999.4, "999 /s"},
                                    {999.6, "1.00 k/s"}}) {
    EXPECT_EQ(format_fps(value), text);
  }
  EXPECT_EQ(format_seconds(0.0999), "99.9 ms");
  EXPECT_EQ(format_seconds(0.09996), "0.100 s");
  EXPECT_EQ(format_seconds(0), "0 s");
  EXPECT_EQ(format_share(0.000385), "0.0385 %");
  EXPECT_EQ(format_share(1), "100 %");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_counted(0, "job"), "0 jobs");
  EXPECT_EQ(format_counted(1, "job"), "1 job");
}

TEST(Units, EachIsAThousandOfTheOneBelowItAndWhatIsNoNumberIsADash) {
  const std::string kilo[] = {"", "k", "M", "G", "T"};
  const std::string times[] = {"ns", "us", "ms", "s"};
  const std::string memory[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  for (std::size_t i = 0; i < 5; ++i) {
    const double two = 2 * std::pow(1000, i);
    if (i < 4) {
      EXPECT_EQ(format_ns(two), "2.00 " + times[i]);
      EXPECT_EQ(format_fps(two), "2.00 " + kilo[i] + "/s");
    }
    EXPECT_EQ(format_bps(two), "2.00 " + kilo[i] + "bit/s");
    EXPECT_EQ(format_bytes(static_cast<std::uint64_t>(two)), "2.00 " + kilo[i] + "B");
    EXPECT_EQ(format_memory(std::uint64_t{2} << (10 * i)), "2.00 " + memory[i]);
  }
  EXPECT_EQ(format_bps(2e15), "2000 Tbit/s") << "there is none above";
  for (const double none : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(format_ns(none), "-");
    EXPECT_EQ(format_fps(none), "-");
    EXPECT_EQ(format_seconds(none), "-");
    EXPECT_EQ(format_share(none), "-");
  }
  EXPECT_EQ(format_count(std::nullopt), "-");
}

TEST(Units, OfTimesLeftChangeAtAMinuteAndAtAnHour) {
  for (const auto& [seconds, text] : {std::pair{0.2, "1s"},
                                      {59.0, "59s"},
                                      {59.1, "1m00s"},
                                      {3599.0, "59m59s"},
                                      {3600.0, "1h00m"},
                                      {36'420.0, "10h07m"}}) {
    EXPECT_EQ(format_eta(seconds), text);
  }
}

// ---- Where lines end ----

TEST(WrappedText, NeverEndsBetweenANumberAndItsUnitWhateverFollows) {
  for (const char* unit : {"ms", "MHz", "frames/s", "%", "Gbit/s", "kB", "GiB", "/s"}) {
    for (const char* end : {"", ",", ".", ")", "),"}) {
      const std::string figure = "1.10 " + std::string(unit) + end;
      EXPECT_EQ(wrapped("a pace of no more than " + figure + " in all", 27, 4),
                "a pace of no more than\n    " + figure + " in all\n");
    }
  }
  EXPECT_EQ(wrapped("a pace of no more than 1.10 or so", 27, 4),
            "a pace of no more than 1.10\n    or so\n")
      << "this is no unit";
}

TEST(WrappedText, IsLeftAsItIsWhereThereIsHardlyAnyRoom) {
  const std::string line = "one two three four five six seven eight nine";
  EXPECT_EQ(wrapped(line, 24, 4), line + '\n');
  EXPECT_EQ(wrapped(line, 25, 4), "one two three four five\n    six seven eight nine\n");
  const std::string longer(60, 'w');
  EXPECT_EQ(wrapped("u " + longer + " v", 25, 2), "u\n  " + longer + "\n  v\n");
}

TEST(WrappedText, IsBrokenByColumnsAndNotByBytes) {
  EXPECT_EQ(wrapped("ü üü üüü üüüü üüüüü üüüüüü üüüüüüü", 25, 2),
            "ü üü üüü üüüü üüüüü\n  üüüüüü üüüüüüü\n");
  Table table(0);
  table.add({"a", "1"});
  table.add({"Zürich", "1,000"});
  EXPECT_EQ(table.text(), "a           1\nZürich  1,000\n");
}

TEST(FoldedTable, HasAsManyColumnsOnALineAsFitExactly) {
  Table table;
  table.add({"name", "first", "second", "third"});
  table.add({"a", "1,000", "2", "3"});
  const std::string two =
      "  name  first  second\n  a     1,000       2\n  name  third\n  a         3\n";
  EXPECT_EQ(table.text(21), two);
  EXPECT_EQ(table.text(27), two);
  EXPECT_EQ(table.text(28), "  name  first  second  third\n  a     1,000       2      3\n");
  EXPECT_EQ(table.text(), table.text(28));
  EXPECT_EQ(table.text(1), table.text(20)) << "a column at least";
}

TEST(PrintableText, HasNoControlCharacters) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f\xc2\x9b."), "a?[2Jb?c??.");
  EXPECT_EQ(printable("Zürich"), "Zürich");
}

}  // namespace

}  // namespace shmif::perf::report_units
