// The summary of a run, whole: what its user reads first.

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>

#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "tests/perf/report/summary_runs.hpp"

namespace shmif::perf::summary_text {
namespace {

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

TEST(Summary, OfARunWithoutFramesDoesNotSpeakOfLosses) {
  RunResult run = empty_run();
  add_pair(run, "voip", 0);
  EXPECT_TRUE(summary_of(run).starts_with(
      "shmifperf 0.1.0: passed, no frame sent (exit code 0), took 2.54 s\n"))
      << summary_of(run);
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

TEST(Summary, HasAWordForEachFateOfAFrameAndAddsUpAllJobs) {
  RunResult run = empty_run();
  add_pair(run, "one", 5000, 57);
  add_pair(run, "two", 5000);
  const auto line = [&run] {
    const std::string text = summary_of(run);
    const std::size_t at = text.find("\n  frames    ") + 1;
    return text.substr(at, text.find('\n', at) - at);
  };
  run.jobs[1].flows[0].corrupt_copies = run.jobs[1].flows[0].truncated_copies = 1;
  EXPECT_EQ(line(), "  frames    1 corrupt copy, 1 truncated copy");
  FlowResult& flow = run.jobs[3].flows[0];
  flow.duplicates = 2;
  flow.reordered = 3;
  flow.corrupt = 4;
  flow.truncated = 5;
  flow.late = 6;
  flow.cancelled = 7;
  flow.unverified = 8;
  flow.corrupt_copies = 9;
  flow.truncated_copies = 1;
  EXPECT_EQ(line(),
            "  frames    2 duplicate, 3 reordered, 4 corrupt, 5 truncated, 6 late, 7 cancelled, 8 "
            "unverified, 10 corrupt copies, 2 truncated copies");
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

TEST(Summary, HasFiveWarningsAndTheNumberOfTheRest) {
  RunResult run = run_of("voip");
  std::string lines;
  for (int i = 1; i <= 5; ++i) {
    run.warnings.push_back("warning number " + std::to_string(i));
    lines += "  warning   warning number " + std::to_string(i) + '\n';
  }
  const std::string first =
      "shmifperf 0.1.0: passed, no loss in 5,000 frames (exit code 0), took 2.54 s\n";
  const std::string rest =
      "  job   role  frames      rate               lost       latency p50      p99\n"
      "  voip    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "nothing held the jobs back\n"
      "use --details for the rest\n";
  EXPECT_EQ(summary_of(run), first + lines + rest);
  run.warnings.emplace_back("warning number 6");
  EXPECT_EQ(summary_of(run), first + lines + "  ... and 1 more warning\n" + rest);
  run.warnings.emplace_back("warning number 7");
  EXPECT_EQ(summary_of(run), first + lines + "  ... and 2 more warnings\n" + rest);
}

TEST(Summary, HasFiveFailuresAndFourFilesAndTheNumbersOfTheRest) {
  RunResult run = empty_run();
  for (int i = 1; i <= 7; ++i) run.failures.push_back("number " + std::to_string(i));
  run.exit_code = 1;
  EXPECT_EQ(summary_of(run, 0, {"a", "b", "c", "d", "e"}),
            "shmifperf 0.1.0: FAILED (exit code 1), took 2.54 s\n"
            "  FAILED    number 1\n"
            "  FAILED    number 2\n"
            "  FAILED    number 3\n"
            "  FAILED    number 4\n"
            "  FAILED    number 5\n"
            "  ... and 2 more failures\n"
            "nothing held the jobs back\n"
            "  wrote     a, b, c, d and 1 more file\n"
            "use --details for the rest\n");
}

TEST(Summary, BeginsWithTheVerdictWhichTellsHowManyFailuresAreLeftOut) {
  RunResult run = run_of("FAILED");
  EXPECT_EQ(to_verdict(report_of(run)),
            "shmifperf 0.1.0: passed, no loss in 5,000 frames (exit code 0), took 2.54 s\n")
      << "without the row of a job of that name";
  for (int i = 1; i <= 20; ++i) run.failures.push_back("number " + std::to_string(i));
  run.exit_code = 1;
  EXPECT_EQ(to_verdict(report_of(run)),
            "shmifperf 0.1.0: FAILED, no loss in 5,000 frames (exit code 1), took 2.54 s\n"
            "  FAILED    number 1\n"
            "  FAILED    number 2\n"
            "  FAILED    number 3\n"
            "  FAILED    number 4\n"
            "  FAILED    number 5\n"
            "  ... and 15 more failures\n");
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
  count_in(group.tx, 10000);
  count_in(group.rx, 9990);
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
}

TEST(Summary, OfAJobWithoutFramesHasDashesAndNoZeros) {
  RunResult run = run_of("voip");
  run.jobs.push_back(job_named("nothing", Role::tx));
  run.jobs[2].state = JobState::created;
  fail(run, 2, "cannot create TAP device");
  EXPECT_EQ(
      summary_of(run),
      "shmifperf 0.1.0: FAILED, no loss in 5,000 frames (exit code 1), took 2.54 s\n"
      "  FAILED    job \"nothing\": cannot create TAP device\n"
      "  job              role  frames      rate               lost       latency p50      p99\n"
      "  voip     passed    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "  nothing  FAILED    tx       -         -            -     -                 -        -\n"
      "nothing held the jobs back\n"
      "use --details for the rest\n");
}

TEST(Summary, WhatWasNotMeasuredIsNowhereAZero) {
  RunResult run = empty_run();
  run.jobs = {job_named("sender", Role::tx), job_named("nothing", Role::rx)};
  count_in(run.jobs[0].tx, 5000);
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

/// `name` asked 1000 times; 4 requests and 6 replies were lost. The echo job was made for it, or
/// written by the user.
void add_round_trips(RunResult& run, const std::string& name, bool written = false) {
  JobResult ping = job_named(name, Role::pingpong);
  count_in(ping.tx, 1000);
  count_in(ping.rx, 990);
  ping.latency = times(990, 250);
  JobResult echo = job_named(name + ".echo", Role::echo);
  if (!written) echo.peer_of = name;
  count_in(echo.tx, 996);
  count_in(echo.rx, 996);
  FlowResult requests;
  requests.kind = FlowResult::Kind::request;
  requests.from = name;
  requests.to = echo.name;
  requests.sent = 1000;
  requests.received = 996;
  requests.lost = 4;
  echo.flows = {requests};
  FlowResult replies = requests;
  replies.kind = FlowResult::Kind::reply;
  std::swap(replies.from, replies.to);
  replies.sent = 996;
  replies.received = 990;
  replies.lost = 6;
  ping.flows = {replies};
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
  count_in(group.tx, sent);
  count_in(group.rx, received);
  group.latency = times(1000, 250);
  group.service = times(0, 0);
  run.groups = {group};
}

TEST(Summary, OfRoundTripsCountsRequestsAndLossesOfBothWays) {
  RunResult run = empty_run();
  add_round_trips(run, "ping");
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: passed, 10 of 1,000 frames lost (exit code 0), took 2.54 s\n"
            "  job       role  frames    rate              lost          latency p50     p99\n"
            "  ping  pingpong   1,000  495 /s  396 kbit/s    10  1.00 %       250 ns  250 ns\n"
            "nothing held the jobs back; what lost 10 frames was not seen\n"
            "use --details for the rest\n");
}

TEST(Summary, OfRoundTripsToSeveralJobsCountsTheRequestsToEachOfThem) {
  RunResult run = empty_run();
  add_round_trips(run, "ping");
  JobResult second = run.jobs[1];
  second.name = second.flows[0].to = "ping.echo.1";
  second.flows[0].sent = 500;
  second.flows[0].received = 479;
  second.flows[0].lost = 21;
  run.jobs.push_back(std::move(second));
  const std::string text = summary_of(run);
  EXPECT_NE(text.find("    31  2.07 %  "), std::string::npos)
      << "4 and 21 requests and 6 replies, of 1000 and 500 requests:\n"
      << text;
}

TEST(Summary, OfRoundTripsToAWrittenEchoJobIsTheSame) {
  RunResult run = empty_run();
  add_round_trips(run, "ping", true);
  EXPECT_EQ(
      summary_of(run),
      "shmifperf 0.1.0: passed, 10 of 1,000 frames lost (exit code 0), took 2.54 s\n"
      "  job            role  frames    rate              lost           latency p50     p99\n"
      "  ping       pingpong   1,000  495 /s  396 kbit/s    10   1.00 %       250 ns  250 ns\n"
      "  ping.echo      echo   1,000  498 /s  398 kbit/s     4  0.400 %            -       -\n"
      "nothing held the jobs back; what lost 10 frames was not seen\n"
      "use --details for the rest\n");
}

TEST(Summary, OfAGroupOfRoundTripsCountsAnAnswerOnce) {
  for (const bool written : {false, true}) {
    SCOPED_TRACE(written);
    RunResult run = empty_run();
    add_round_trips(run, "a", written);
    add_round_trips(run, "b", written);
    report_as_group(run, "calls");
    EXPECT_EQ(
        summary_of(run),
        "shmifperf 0.1.0: passed, 20 of 2,000 frames lost (exit code 0), took 2.54 s\n"
        "  job            role  frames    rate              lost          latency p50     p99\n"
        "  group calls  4 jobs   2,000  990 /s  792 kbit/s    20  1.00 %       250 ns  250 ns\n"
        "nothing held the jobs back; what lost 20 frames was not seen\n"
        "use --details for the rest\n");
  }
  // Beside them in the group is a job whose receiver is another one of the group.
  RunResult run = empty_run();
  add_round_trips(run, "a");
  add_pair(run, "load", 3000, 10);
  run.jobs[3].peer_of.clear();
  report_as_group(run, "calls");
  EXPECT_NE(summary_of(run).find("\n  group calls  4 jobs   4,000  1.99 k/s  1.59 Mbit/s    20  "
                                 "0.500 %"),
            std::string::npos)
      << summary_of(run);
}

TEST(Summary, OfJobsThatSendBothWaysHasTheSumAndTheSlowerDirection) {
  RunResult run = empty_run();
  for (const char* name : {"a", "a.peer"}) {
    JobResult job = job_named(name, Role::txrx);
    const bool first = run.jobs.empty();
    count_in(job.tx, first ? 1000 : 3000);
    count_in(job.rx, first ? 2990 : 1000);
    job.latency = times(100, first ? 200 : 100);
    FlowResult flow;
    flow.sent = first ? 3000 : 1000;
    flow.received = first ? 2990 : 1000;
    flow.lost = first ? 10 : 0;
    job.flows = {flow};
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
  for (int i = 1; i <= 10; ++i) {
    const std::string row = "\n  j" + std::to_string(i) + ".sink rx_fps ";
    EXPECT_EQ(text.find(row) != std::string::npos, i <= 8) << row << text;
  }
  EXPECT_NE(text.find("\n  ... and 2 more jobs\n  job "), std::string::npos) << text;
}

SearchResult search_of(const std::string& job, std::optional<double> found) {
  SearchResult search;
  search.job = job;
  search.frame_bytes = 500;
  search.found_fps = found;
  if (found) search.found_bps = *found * 4000;
  search.trials = {{job, 500, 13000, 13000, 0.1, std::nullopt, std::nullopt, false},
                   {job, 500, 12500, 12500, 0, std::nullopt, std::nullopt, true}};
  return search;
}

TEST(Summary, OfASearchHasTheRateThatItFound) {
  RunResult run = run_of("line");
  add_pair(run, "noise");
  run.searches = {search_of("line", 12500)};
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: passed (exit code 0), took 2.54 s\n"
            "highest rate without loss (RFC 2544)\n"
            "  frame   job     found               first too high  trials\n"
            "  500 B  line  12.5 k/s  50.0 Mbit/s        13.0 k/s       2\n"
            "  job    role  frames      rate               lost       latency p50      p99\n"
            "  noise    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
            "nothing held the jobs back\n"
            "use --details for the rest\n")
      << "the frames of the searching job are those of one trial";
  run.repeats = {{"line", "found_fps", {12400, 12500, 12600}, 12500, 12400, 12600},
                 {"line.sink", "rx_fps", {1, 2, 3}, 2, 1, 3}};
  EXPECT_NE(summary_of(run).find("\n  line found_fps      3  12.5 k/s     1.99 %  12.4 k/s"),
            std::string::npos)
      << summary_of(run);
}

TEST(Summary, OfASearchThatFoundNothingSaysWhy) {
  RunResult run = run_of("line");
  run.searches = {search_of("line", std::nullopt)};
  run.searches[0].why_none = "its runtime was over";
  run.failures = {"job \"line\": the search found no rate: its runtime was over"};
  run.exit_code = 1;
  EXPECT_EQ(summary_of(run),
            "shmifperf 0.1.0: FAILED (exit code 1), took 2.54 s\n"
            "  FAILED    job \"line\": the search found no rate: its runtime was over\n"
            "highest rate without loss (RFC 2544)\n"
            "  frame   job  found     first too high  trials\n"
            "  500 B  line      -  -        13.0 k/s       2  its runtime was over\n"
            "nothing held the jobs back\n"
            "use --details for the rest\n");
}

TEST(Summary, OfManySearchesHasEightAndTheNumberOfTheRest) {
  RunResult run = empty_run();
  for (int i = 1; i <= 9; ++i) run.searches.push_back(search_of("s" + std::to_string(i), 1000 * i));
  const std::string text = summary_of(run);
  EXPECT_NE(text.find("\n  500 B   s8  "), std::string::npos) << text;
  EXPECT_EQ(text.find("s9"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  ... and 1 more search\nnothing held"), std::string::npos) << text;
}

TEST(Summary, OfARunThatWasStoppedSaysSo) {
  RunResult run = run_of("voip");
  run.stopped_by_signal = SIGINT;
  run.exit_code = 130;
  run.steady_state = "not reached: iops 2.00 %";
  EXPECT_EQ(
      summary_of(run),
      "shmifperf 0.1.0: stopped by SIGINT, no loss in 5,000 frames (exit code 130), took 2.54 s\n"
      "  steady state not reached: iops 2.00 %\n"
      "  job   role  frames      rate               lost       latency p50      p99\n"
      "  voip    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
      "nothing held the jobs back\n"
      "use --details for the rest\n");
  run.failures = {"job \"voip\": it hung"};
  EXPECT_EQ(
      summary_of(run).find("shmifperf 0.1.0: FAILED, no loss in 5,000 frames (exit code 130), "
                           "took 2.54 s, stopped by SIGINT\n"),
      0U)
      << summary_of(run);
}

TEST(Summary, NamesTheInstrumentsThatItLeavesOut) {
  RunResult run = run_of("voip");
  CounterResult counter;
  counter.name = "cycles";
  run.jobs[0].counters = {counter};
  const std::string text = summary_of(run);
  EXPECT_NE(text.find("\nuse --details for the rest (counters)\n"), std::string::npos) << text;
}

TEST(Summary, BreaksLinesAtTheWidthOfTheTerminal) {
  RunResult run = run_of("voip");
  run.warnings = {"a warning of so many words that the eighty columns of a terminal are too few"};
  EXPECT_EQ(summary_of(run, 80),
            "shmifperf 0.1.0: passed, no loss in 5,000 frames (exit code 0), took 2.54 s\n"
            "  warning   a warning of so many words that the eighty columns of a terminal are\n"
            "            too few\n"
            "  job   role  frames      rate               lost       latency p50      p99\n"
            "  voip    tx   5,000  2.50 k/s  2.00 Mbit/s     0  0 %      8.19 us  8.19 us\n"
            "nothing held the jobs back\n"
            "use --details for the rest\n");
}

}  // namespace
}  // namespace shmif::perf::summary_text
