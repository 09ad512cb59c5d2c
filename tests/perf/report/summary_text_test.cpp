// The summary of a run: what its user reads first.

#include <chrono>
#include <csignal>

#include "perf/remote/combine.hpp"
#include "tests/perf/report/report_rig.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::summary_text {
namespace {

using report_rig::has;
using report_rig::idle_job;
using report_rig::lines_of;
using report_rig::moved;
using report_rig::receiver;
using report_rig::report_of;

// ---- Runs ----

std::shared_ptr<LatencyHistogram> times(std::uint64_t count, std::uint64_t ns) {
  auto all = std::make_shared<LatencyHistogram>();
  if (count != 0) record(*all, ns, count);
  return all;
}

FlowResult flow_of(const std::string& from, const std::string& to, std::uint64_t sent,
                   std::uint64_t lost) {
  FlowResult flow;
  flow.from = from;
  flow.to = to;
  flow.sent = sent;
  flow.received = sent - lost;
  flow.lost = lost;
  return flow;
}

/// `name` sent frames of 100 bytes for 2 s to its peer, which lost some of them.
void add_pair(RunResult& run, const std::string& name, std::uint64_t sent = 5000,
              std::uint64_t lost = 0, std::uint64_t ns = 8192) {
  JobResult tx = idle_job(name);
  moved(tx.tx, sent, 2);
  tx.group = "0";
  JobResult rx = receiver(tx, name + ".sink", sent - lost, 0);
  rx.rx.seconds = 2;
  rx.latency = times(sent - lost, ns);
  rx.flows = {flow_of(name, rx.name, sent, lost)};
  run.jobs.push_back(std::move(tx));
  run.jobs.push_back(std::move(rx));
}

RunResult empty_run() {
  RunResult run;
  run.version = "0.1.0";
  run.command = {"shmifperf", "run", "a.job"};
  run.began = std::chrono::system_clock::time_point(std::chrono::seconds(1763700000));
  run.ended = run.began + std::chrono::milliseconds(2540);
  run.causes.why_unknown.clear();
  return run;
}

RunResult run_of(const std::string& name) {
  RunResult run = empty_run();
  add_pair(run, name);
  return run;
}

void fail(RunResult& run, std::size_t job, const std::string& why) {
  run.jobs[job].passed = false;
  run.jobs[job].errors = {why};
  run.failures.push_back("job \"" + run.jobs[job].name + "\": " + why);
  run.exit_code = 1;
}

Cause cause_of(const std::string& sentence, double share) {
  Cause cause;
  cause.share = share;
  cause.end_s = 1;
  cause.sentence = sentence;
  return cause;
}

std::string summary_of(const RunResult& run, std::size_t width = 0,
                       const std::vector<std::string>& files = {}) {
  return to_summary(report_of(run), width, files);
}

// ---- Whole ----

TEST(Summary, OfAPassedRunHasALineForEachJobAndNothingThatDidNotHappen) {
  RunResult run = run_of("voip");
  add_pair(run, "bulk", 2000000, 0, 250);
  EXPECT_EQ(summary_of(run, 0, {"a.json", "b.pcap"}),
            "shmifperf 0.1.0: passed, no loss in 2,005,000 frames (exit code 0), took 2.54 s\n"
            "  job   role     frames      rate               lost       latency p50      p99\n"
            "  voip    tx      5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
            "  bulk    tx  2,000,000  1.00 M/s   800 Mbit/s     0  0 %       250 ns   250 ns\n"
            "nothing held the jobs back\n"
            "  wrote     a.json, b.pcap\n"
            "use --details for the rest\n");
}

TEST(Summary, OfAFailedRunSaysWhyFirstAndWhichJobItWas) {
  RunResult run = run_of("voip");
  add_pair(run, "bulk");
  fail(run, 3, "a corrupt frame was received");
  run.jobs[3].flows[0].corrupt = 1;
  run.jobs[2].counts.agree = false;
  run.jobs[2].tx.errors = 2;
  run.jobs[2].tx.first_error = "no\x1b[2J buffer";
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: FAILED, no loss in 10,000 frames (exit code 1), took 2.54 s\n"
            "  FAILED    job \"bulk.sink\": a corrupt frame was received\n"
            "  counts    bulk: generator, wire and receiver do not agree\n"
            "  errors    bulk: 2 of tx, the first: no?[2J buffer\n"
            "  frames    1 corrupt\n"
            "  job           role  frames      rate               lost       latency p50      p99\n"
            "  voip  passed    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
            "  bulk  FAILED    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
            "nothing held the jobs back\n"
            "use --details for the rest\n");
}

// ---- What was lost ----

TEST(Summary, TellsRequestedLossesFromOthers) {
  RunResult run = empty_run();
  add_pair(run, "lossy", 5000, 57);
  const auto first_line = [&run] {
    const std::string text = summary_of(run);
    return text.substr(0, text.find('\n'));
  };
  const std::string begin = "shmifperf 0.1.0: passed, 57 of 5,000 frames lost";
  const std::string end = " (exit code 0), took 2.54 s";
  EXPECT_EQ(first_line(), begin + end);
  run.links = {{"bus:/dev/shm/b", "lossy", "sent", {{5000, 57, 0, 0, 0, 0, 0}, 0}, "loss=1%"}};
  EXPECT_EQ(first_line(), begin + " by the requested faults" + end);
  FaultsMade& made = run.links[0].faults;
  struct Made {
    std::uint64_t lost, under_way, queue_full;
    std::string words;
  };
  for (const auto& [lost, under_way, queue_full, words] : {
           Made{50, 0, 0, ", no more than 50 of them by the requested faults"},
           {50, 7, 0, " by the requested faults"},  // what a link held back to the end
           {50, 0, 7,
            ", no more than 50 of them by the requested faults and 7 by the full queue of a fault"},
           {0, 0, 57, " by the full queue of a fault"},
           {0, 0, 56, ", no more than 56 of them by the full queue of a fault"},
       }) {
    made.lost = lost;
    made.under_way = under_way;
    made.queue_full = queue_full;
    EXPECT_EQ(first_line(), begin + words + end);
  }
  // Of hosts with TCP, the faults cost segments that TCP sends again.
  run.jobs[1].flows[0].lost = 0;
  EXPECT_EQ(first_line(),
            "shmifperf 0.1.0: passed, no loss in 5,000 frames under the requested faults" + end);
}

TEST(Summary, OfALossyRunSaysWhatBecameOfFramesAndAtMostThreeCauses) {
  RunResult run = empty_run();
  add_pair(run, "lossy", 5000, 57);
  FlowResult& flow = run.jobs[1].flows[0];
  flow.duplicates = 29;
  flow.reordered = 10;
  flow.corrupt_copies = 1;
  run.jobs[1].overruns = 1;
  run.jobs[1].overrun_frames = 40;
  TcpResult& tcp = run.jobs[0].tcp.emplace();
  tcp.samples = 1;
  tcp.retransmits = 12;
  run.jobs[0].tx.skipped_frames = 3;
  run.jobs[0].tx.offered_frames = 5003;
  for (const auto& [sentence, share] :
       {std::pair{"the first one", 0.9}, {"the second one", 0.8}, {"the third one", 0.7}}) {
    run.causes.causes.push_back(cause_of(sentence, share));
  }
  const std::string without_rest =
      "shmifperf 0.1.0: passed, 57 of 5,000 frames lost (exit code 0), took 2.54 s\n"
      "  overrun   receivers were slower than their senders 1 time, and lost 40 frames by that\n"
      "  TCP       sent 12 segments again\n"
      "  frames    29 duplicate, 10 reordered, 1 corrupt copy\n"
      "  skipped   3 of 5,003 frames offered were given up after stalls (rate_catchup=skip)\n"
      "  job    role  frames      rate               lost          latency p50      p99\n"
      "  lossy    tx   5,000  2.47 k/s  1.98 Mbit/s    57  1.14 %      8.19 us  8.19 us\n"
      "what held the jobs back, the heaviest first\n"
      "  the first one\n"
      "  the second one\n"
      "  the third one\n";
  const std::string hint = "use --details for the rest\n";
  EXPECT_EQ(summary_of(run), without_rest + hint);
  run.jobs[1].counts.wire.lost_is_lower_bound = true;
  EXPECT_NE(summary_of(run).find("1 time, and lost at least 40 frames by that"), std::string::npos);
  run.jobs[1].counts.wire.lost_is_lower_bound = false;
  run.causes.causes.push_back(cause_of("the fourth one", 0.6));
  EXPECT_EQ(summary_of(run), without_rest + "  ... and 1 more cause\n" + hint);
}

TEST(Summary, AddsUpTheFatesOfTheFramesOfAllJobs) {
  RunResult run = empty_run();
  add_pair(run, "one", 5000, 57);
  add_pair(run, "two", 5000);
  run.jobs[1].flows[0].corrupt_copies = run.jobs[1].flows[0].truncated_copies = 1;
  FlowResult& flow = run.jobs[3].flows[0];
  flow.duplicates = 2;
  flow.reordered = 3;
  flow.corrupt = 4;
  flow.truncated = 5;
  flow.late = 6;
  flow.cancelled = 7;
  flow.unverified = 8;
  flow.corrupt_copies = 9;
  EXPECT_TRUE(has(summary_of(run),
                  "\n  frames    2 duplicate, 3 reordered, 4 corrupt, 5 truncated, 6 late, 7 "
                  "cancelled, 8 unverified, 10 corrupt copies, 1 truncated copy\n"))
      << summary_of(run);
}

TEST(Summary, LossesThatNothingExplainsAreCalledSo) {
  RunResult run = empty_run();
  add_pair(run, "bulk", 5000, 1);
  const std::string text = summary_of(run);
  EXPECT_NE(text.find("\nnothing held the jobs back; what lost 1 frame was not seen\n"),
            std::string::npos)
      << text;
  run.jobs[1].flows[0].lost = 7;
  run.jobs[1].overruns = 1;
  run.jobs[1].overrun_frames = 4;
  const std::string overrun = "\nnothing held the jobs back; overruns lost 4 frames";
  EXPECT_NE(summary_of(run).find(overrun + "; what lost 3 frames was not seen\n"),
            std::string::npos);
  run.jobs[1].flows[0].lost = 4;
  EXPECT_NE(summary_of(run).find(overrun + "\n"), std::string::npos) << summary_of(run);
  run.causes = {};
  run.causes.why_unknown = "it was turned off (why=0)";
  EXPECT_NE(
      summary_of(run).find("\nwhat held the jobs back is not known: it was turned off (why=0)\n"),
      std::string::npos);
}

TEST(Summary, NamesFramesOfOthersAndWhereMostOfThemArrived) {
  RunResult run = run_of("voip");
  add_pair(run, "bulk");
  run.jobs[3].rx.foreign_frames = 12;
  const auto line = [&run] {
    const std::string text = summary_of(run);
    const std::size_t at = text.find('\n') + 1;
    return text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_EQ(line(), "  foreign   12 frames that shmifperf did not make arrived at bulk.sink");
  run.jobs[1].rx.foreign_frames = 1;
  run.jobs[1].rx.stale_frames = 1;
  EXPECT_EQ(line(),
            "  foreign   13 frames that shmifperf did not make and 1 frame of another run arrived, "
            "most of them at bulk.sink");
}

// ---- How much is shown ----

TEST(Summary, HasFiveFailuresFiveWarningsAndFourFilesAndTheNumbersOfTheRest) {
  RunResult run = run_of("FAILED");
  EXPECT_EQ(lines_of(to_verdict(report_of(run))).size(), 1U)
      << "without the row of a job of that name";
  for (int i = 1; i <= 5; ++i) run.warnings.push_back("warning " + std::to_string(i));
  EXPECT_FALSE(has(summary_of(run, 0, {"a", "b", "c", "d"}), "more"));
  run.warnings.emplace_back("warning 6");
  for (int i = 1; i <= 7; ++i) run.failures.push_back("failure " + std::to_string(i));
  run.exit_code = 1;
  const std::string text = summary_of(run, 0, {"a", "b", "c", "d", "e"});
  EXPECT_TRUE(has(text, "\n  FAILED    failure 5\n  ... and 2 more failures\n")) << text;
  EXPECT_TRUE(has(text, "\n  warning   warning 5\n  ... and 1 more warning\n")) << text;
  EXPECT_TRUE(has(text, "\n  wrote     a, b, c, d and 1 more file\n")) << text;
  const std::string verdict = to_verdict(report_of(run));
  EXPECT_TRUE(verdict.ends_with("  FAILED    failure 5\n  ... and 2 more failures\n")) << verdict;
  EXPECT_EQ(lines_of(verdict)[0], lines_of(text)[0]);
}

TEST(Summary, OfManyJobsHasEightTheFailedOnesAndThoseThatLostMost) {
  RunResult run = empty_run();
  for (int i = 1; i <= 20; ++i) {
    add_pair(run, "j" + std::to_string(i), 5000, i >= 14 ? static_cast<std::uint64_t>(i) : 0);
  }
  // Job 2 failed.
  fail(run, 2, "it hung");
  const std::string text = summary_of(run);
  std::string names;
  std::size_t at = text.find("\n  job ");
  ASSERT_NE(at, std::string::npos) << text;
  for (at = text.find("\n  j", at + 1); at != std::string::npos; at = text.find("\n  j", at + 1)) {
    names += text.substr(at + 3, text.find(' ', at + 3) - at - 3) + ' ';
  }
  EXPECT_EQ(names, "j2 j14 j15 j16 j17 j18 j19 j20 ");
  EXPECT_NE(text.find("\n  ... and 12 more jobs\nnothing held"), std::string::npos) << text;
  EXPECT_NE(text.find("FAILED, 119 of 100,000 frames lost"), std::string::npos) << text;
}

TEST(Summary, OfAGroupThatReportsForItsJobsHasOneLine) {
  RunResult run = empty_run();
  GroupResult group;
  group.name = "calls";
  for (const char* name : {"a", "b"}) add_pair(run, name, 5000, 5);
  for (JobResult& job : run.jobs) {
    job.group = group.name;
    job.options = {{"group_reporting", "1"}};
    group.jobs.push_back(job.name);
  }
  moved(group.tx, 10000, 2);
  moved(group.rx, 9990, 2);
  group.loss.sent = 10000;
  group.loss.lost = 10;
  group.latency = times(9990, 250);
  group.service = times(0, 0);
  run.groups = {group};
  EXPECT_EQ(
      summary_of(run),
      "shmifperf 0.1.0: passed, 10 of 10,000 frames lost (exit code 0), took 2.54 s\n"
      "  job            role  frames      rate               lost           latency p50     p99\n"
      "  group calls  4 jobs  10,000  5.00 k/s  4.00 Mbit/s    10  0.100 %       250 ns  250 ns\n"
      "nothing held the jobs back; what lost 10 frames was not seen\n"
      "use --details for the rest\n");
  // Nobody of the group receives.
  for (JobResult& job : run.jobs) job.flows.clear();
  run.groups[0].rx = {};
  run.groups[0].loss = {};
  const auto row = report_rig::row_of(summary_of(run), "group calls");
  EXPECT_EQ(report_rig::Cells(row.begin(), row.begin() + 5),
            (report_rig::Cells{"group calls", "4 jobs", "10,000", "5.00 k/s", "4.00 Mbit/s"}));
}

TEST(Summary, WhatWasNotMeasuredIsNowhereAZero) {
  RunResult run = empty_run();
  run.jobs = {idle_job("sender", Role::tx), idle_job("nothing", Role::rx)};
  moved(run.jobs[0].tx, 5000, 2);
  run.causes.why_unknown = "no job ran";
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: passed (exit code 0), took 2.54 s\n"
            "  job      role  frames      rate               lost\n"
            "  sender     tx   5,000  2.50 k/s  2.00 Mbit/s     -\n"
            "  nothing    rx       -         -            -     -\n"
            "what held the jobs back is not known: no job ran\n"
            "use --details for the rest\n");
  run.jobs.erase(run.jobs.begin());
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: passed (exit code 0), took 2.54 s\n"
            "  job      role  frames  rate     lost\n"
            "  nothing    rx       -     -  -     -\n"
            "what held the jobs back is not known: no job ran\n")
      << "and the details say no more";
}

// ---- Round trips and both ways ----

/// `name` asked 1000 times; 4 requests and 6 replies were lost. The echo job was made for it, or
/// written by the user.
void add_round_trips(RunResult& run, const std::string& name, bool written = false) {
  JobResult ping = idle_job(name, Role::pingpong);
  moved(ping.tx, 1000, 2);
  moved(ping.rx, 990, 2);
  ping.latency = times(990, 250);
  JobResult echo = idle_job(name + ".echo", Role::echo);
  if (!written) echo.peer_of = name;
  moved(echo.tx, 996, 2);
  moved(echo.rx, 996, 2);
  echo.flows = {flow_of(name, echo.name, 1000, 4)};
  echo.flows[0].kind = FlowResult::Kind::request;
  ping.flows = {flow_of(echo.name, name, 996, 6)};
  ping.flows[0].kind = FlowResult::Kind::reply;
  run.jobs.push_back(std::move(ping));
  run.jobs.push_back(std::move(echo));
}

/// All jobs of the run as a group that reports for them, with the sums that the jobs have.
void report_as_group(RunResult& run, const std::string& name) {
  GroupResult group;
  group.name = name;
  std::uint64_t sent = 0, received = 0;
  for (JobResult& job : run.jobs) {
    job.group = name;
    job.options = {{"group_reporting", "1"}};
    group.jobs.push_back(job.name);
    sent += job.tx.frames;
    received += job.rx.frames;
    for (const FlowResult& flow : job.flows) {
      group.loss.sent += flow.sent;
      group.loss.lost += flow.lost;
    }
  }
  moved(group.tx, sent, 2);
  moved(group.rx, received, 2);
  group.latency = times(1000, 250);
  group.service = times(0, 0);
  run.groups = {group};
}

TEST(Summary, OfRoundTripsCountsRequestsAndLossesOfBothWays) {
  for (const bool written : {false, true}) {
    RunResult run = empty_run();
    add_round_trips(run, "ping", written);
    const std::string text = summary_of(run);
    EXPECT_TRUE(has(text, ": passed, 10 of 1,000 frames lost (")) << text;
    EXPECT_EQ(report_rig::row_of(text, "ping "),
              (report_rig::Cells{"ping", "pingpong", "1,000", "495 /s", "396 kbit/s", "10",
                                 "1.00 %", "250 ns", "250 ns"}));
    EXPECT_EQ(has(text, "ping.echo"), written) << text;
    EXPECT_TRUE(has(text, "; what lost 10 frames was not seen\n")) << text;
    // To several jobs: 4 and 21 requests and 6 replies, of 1000 and 500 requests.
    JobResult second = run.jobs[1];
    second.name = second.flows[0].to = "ping.echo.1";
    second.flows[0].sent = 500;
    second.flows[0].received = 479;
    second.flows[0].lost = 21;
    run.jobs.push_back(std::move(second));
    EXPECT_TRUE(has(summary_of(run), "    31   2.07 %  ") || has(summary_of(run), "    31  2.07 %"))
        << summary_of(run);
  }
}

TEST(Summary, OfAGroupOfRoundTripsCountsAnAnswerOnce) {
  const auto row = [](const RunResult& run) {
    return report_rig::row_of(summary_of(run), "group calls");
  };
  for (const bool written : {false, true}) {
    RunResult run = empty_run();
    add_round_trips(run, "a", written);
    add_round_trips(run, "b", written);
    report_as_group(run, "calls");
    EXPECT_EQ(row(run), (report_rig::Cells{"group calls", "4 jobs", "2,000", "990 /s", "792 kbit/s",
                                           "20", "1.00 %", "250 ns", "250 ns"}));
  }
  // Beside them in the group is a job whose receiver is another one of the group.
  RunResult run = empty_run();
  add_round_trips(run, "a");
  add_pair(run, "load", 3000, 10);
  run.jobs[3].peer_of.clear();
  report_as_group(run, "calls");
  EXPECT_EQ(row(run).at(2), "4,000");
  EXPECT_EQ(row(run).at(6), "0.500 %");
  run.jobs[3].passed = false;
  EXPECT_EQ(row(run).at(1), "FAILED");
}

TEST(Summary, OfJobsThatSendBothWaysHasTheSumAndTheSlowerDirection) {
  RunResult run = empty_run();
  for (const char* name : {"a", "a.peer"}) {
    JobResult job = idle_job(name, Role::txrx);
    const bool first = run.jobs.empty();
    moved(job.tx, first ? 1000 : 3000, 2);
    moved(job.rx, first ? 2990 : 1000, 2);
    job.latency = times(100, first ? 200 : 100);
    job.flows = {first ? flow_of("a.peer", "a", 3000, 10) : flow_of("a", "a.peer", 1000, 0)};
    if (!first) job.peer_of = "a";
    run.jobs.push_back(std::move(job));
  }
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: passed, 10 of 4,000 frames lost (exit code 0), took 2.54 s\n"
            "  job  role  frames      rate               lost           latency p50     p99\n"
            "  a    txrx   4,000  2.00 k/s  1.60 Mbit/s    10  0.250 %       200 ns  200 ns\n"
            "nothing held the jobs back; what lost 10 frames was not seen\n"
            "use --details for the rest\n");
  std::swap(run.jobs[0].latency, run.jobs[1].latency);
  EXPECT_NE(summary_of(run).find("  0.250 %       200 ns  200 ns\n"), std::string::npos)
      << "also if the second one is slower: " << summary_of(run);
}

TEST(Summary, OfRepetitionsHasTheMeanOfTheMainFigureAndHowFarItCanBeTrusted) {
  RunResult run = run_of("voip");
  run.repeats = {{"voip", "tx_fps", {2400, 2500, 2600}, 2500, 2400, 2600},
                 {"voip.sink", "rx_fps", {2300, 2500, 2600}, 2500, 2300, 2600},
                 {"voip.sink", "latency_ns_p50", {8000, 8192, 9000}, 8192, 8000, 9000}};
  for (int i = 0; i < 3; ++i) run.repetitions.push_back(run_of("voip"));
  run.shown_run = 1;
  // Student's t for two degrees of freedom is 4.303; the deviation is 152.8.
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: passed, no loss in 5,000 frames (exit code 0), took 2.54 s\n"
            "  3 runs: rates, shares and times below are medians of all runs, and counts are those "
            "of run 2; \"repetitions\" shows the spread\n"
            "  repetitions       times      mean  +- (95 %)     least      most\n"
            "  voip.sink rx_fps      3  2.47 k/s     15.4 %  2.30 k/s  2.60 k/s\n"
            "  job   role  frames      rate               lost       latency p50      p99\n"
            "  voip    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
            "nothing held the jobs back in run 2\n"
            "use --details for the rest\n");
  const auto shown = [&] {
    return lines_of(summary_of(run))[3].substr(2, sizeof "voip found_fps" - 1);
  };
  run.repeats[1].job = "another";
  EXPECT_EQ(shown(), "voip tx_fps   ") << "nobody received";
  run.repeats[1] = {"voip", "found_fps", {230, 250, 260}, 250, 230, 260};
  EXPECT_EQ(shown(), "voip found_fps");
}

TEST(Summary, OfASearchHasTheRateThatItFoundAndNotTheFramesOfOneTrial) {
  RunResult run = run_of("line");
  add_pair(run, "noise");
  SearchResult& search = run.searches.emplace_back();
  search.job = "line";
  search.frame_bytes = 500;
  search.found_fps = 12500;
  search.found_bps = 5e7;
  search.trials = {{"line", 500, 13000, 13000, 0.1, std::nullopt, std::nullopt, false},
                   {"line", 500, 12500, 12500, 0, std::nullopt, std::nullopt, true}};
  const std::string text = summary_of(run);
  EXPECT_TRUE(has(text, ": passed (exit code 0)")) << text;
  EXPECT_EQ(report_rig::row_of(text, "500 B"),
            (report_rig::Cells{"500 B", "line", "12.5 k/s", "50.0 Mbit/s", "13.0 k/s", "2"}));
  EXPECT_NE(report_rig::line_with(text, "noise"), "");
  EXPECT_EQ(report_rig::line_with(text, "line "), "") << text;
  run.searches.resize(9, run.searches[0]);
  EXPECT_TRUE(has(summary_of(run), "\n  ... and 1 more search\n")) << summary_of(run);
  EXPECT_EQ(report_rig::times_in(summary_of(run), "\n  500 B  "), 8U) << summary_of(run);
}

TEST(Summary, OfRepetitionsOfManyJobsHasEightAndTheNumberOfTheRest) {
  RunResult run = empty_run();
  for (int i = 1; i <= 10; ++i) {
    const std::string name = "j" + std::to_string(i);
    add_pair(run, name);
    run.repeats.push_back({name + ".sink", "rx_fps", {100, 200, 300}, 200, 100, 300});
  }
  for (int i = 0; i < 3; ++i) run.repetitions.push_back(empty_run());
  const std::string text = summary_of(run);
  EXPECT_EQ(report_rig::times_in(text, ".sink rx_fps "), 8U) << text;
  EXPECT_TRUE(has(text, "\n  ... and 2 more jobs\n  job ")) << text;
}

TEST(Summary, SaysWhatStoppedItWhatItLeavesOutAndBreaksItsLines) {
  RunResult run = run_of("voip");
  run.stopped_by_signal = SIGINT;
  run.exit_code = 130;
  run.steady_state = "not reached: iops 2.00 %";
  run.warnings = {"a warning of so many words that the eighty columns of a terminal are too few"};
  run.jobs[0].counters = {CounterResult{}};
  const std::string text = summary_of(run, 80);
  EXPECT_TRUE(text.starts_with("shmifperf 0.1.0: stopped by SIGINT, no loss in 5,000")) << text;
  EXPECT_TRUE(has(text, "\n  steady state not reached: iops 2.00 %\n")) << text;
  EXPECT_TRUE(has(text, " are\n            too few\n")) << text;
  EXPECT_TRUE(has(text, "\nuse --details for the rest (counters)\n")) << text;
  run.jobs[1].heat = test::heated_sample().jobs[0].heat;
  run.membw = test::measured_sample().membw;
  EXPECT_TRUE(has(summary_of(run), " rest (counters, memory bandwidth, heat)\n"));
  run.failures = {"job \"voip\": it hung"};
  EXPECT_TRUE(lines_of(summary_of(run))[0].ends_with(", stopped by SIGINT")) << summary_of(run);
}

// ---- Servers ----

std::string combined_summary(const std::vector<HostResult>& hosts, const WholeRun& whole,
                             const std::vector<std::string>& files = {}) {
  const std::string json = combined_json(hosts, whole, Bins::without);
  return to_summary(Report::parse(json, "result").value(), 0, files);
}

TEST(Summary, OfARunOnServersSaysHowManyFailedAndNamesJobsWithTheirs) {
  RunResult bad = run_of("voip");
  fail(bad, 1, "it hung");
  const std::vector<HostResult> hosts{
      {.name = "a:1", .report = report_of(run_of("voip")), .failures = {}},
      {.name = "b:2", .report = report_of(bad), .failures = {}}};
  WholeRun whole;
  whole.version = "0.1.0";
  whole.began = std::chrono::system_clock::time_point(std::chrono::seconds(1763700000));
  whole.ended = whole.began + std::chrono::seconds(3);
  EXPECT_EQ(
      combined_summary(hosts, whole, {"r.json"}),
      "shmifperf 0.1.0: FAILED on 1 of 2 servers, no loss in 10,000 frames (exit code 1), took "
      "3.00 "
      "s\n"
      "  FAILED    b:2: job \"voip.sink\": it hung\n"
      "  job               role  frames      rate               lost       latency p50      p99\n"
      "  a:1/voip  passed    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "  b:2/voip  FAILED    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "nothing held the jobs back\n"
      "  wrote     r.json\n"
      "use --details for the rest\n");
  EXPECT_EQ(combined_summary({hosts[0]}, whole)
                .find("shmifperf 0.1.0: passed on 1 server, no loss in 5,000 frames"),
            0U);
}

TEST(Summary, OfARunOnServersThatWasStoppedCountsOnlyServersThatFailed) {
  const auto stopped = [] {
    RunResult run = run_of("voip");
    run.stopped_by_signal = SIGINT;
    run.exit_code = 130;
    return run;
  };
  RunResult bad = stopped();
  fail(bad, 1, "it hung");
  WholeRun whole;
  whole.version = "0.1.0";
  whole.signal = SIGINT;
  const HostResult calm{.name = "a:1", .report = report_of(stopped()), .failures = {}};
  const HostResult failed{.name = "b:2", .report = report_of(bad), .failures = {}};
  const HostResult idle{.name = "c:3", .report = {}, .failures = {}};
  const HostResult gone{.name = "d:4", .report = {}, .failures = {"it is gone"}};
  const auto outcomes = [&](const std::vector<HostResult>& hosts) {
    const std::string text = combined_text(hosts, whole);
    const std::string summary = combined_summary(hosts, whole);
    return text.substr(17, text.find('\n') - 17) + "; " +
           summary.substr(17, summary.find('\n') - 17);
  };
  EXPECT_EQ(outcomes({calm, failed}),
            "2 servers, 1 FAILED, stopped by SIGINT (exit code 130), took 0 s; "
            "FAILED on 1 of 2 servers, no loss in 10,000 frames "
            "(exit code 130), took 0 s, stopped by SIGINT");
  EXPECT_EQ(outcomes({calm, idle}),
            "2 servers, stopped by SIGINT (exit code 130), took 0 s; "
            "stopped by SIGINT on 2 servers, no loss in 5,000 frames "
            "(exit code 130), took 0 s");
  EXPECT_EQ(outcomes({idle, gone, failed}),
            "3 servers, 2 FAILED, stopped by SIGINT (exit code 130), took 0 s; "
            "FAILED on 2 of 3 servers, no loss in 5,000 frames "
            "(exit code 130), took 0 s, stopped by SIGINT");
}

}  // namespace
}  // namespace shmif::perf::summary_text
