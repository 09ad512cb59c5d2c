// Each figure of a run comes from the right count of the right job and group. The tests set the
// counts of the jobs, and no two counts are alike.

#include <array>
#include <memory>
#include <vector>

#include "perf/control/campaign.hpp"
#include "perf/control/gather.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::run_figures {
namespace {

using test::OwnValues;

constexpr std::uint64_t kRunStart = 5'000'000'000;

template <class T>
void fill(SharedFigures<T>& shared, OwnValues& own) {
  T figures;
  test::fill_figures(figures, own);
  shared.set(figures);
}

void fill(ReceivedCounts& counts, OwnValues& own) {
  fill<TrafficResult>(counts, own);
  for (Tally* tally : {&counts.overruns, &counts.overrun_frames}) tally->set(own.count());
}

void fill(LatencyHistogram& histogram, OwnValues& own) {
  histogram.record(own.count());
  histogram.record(own.count());
}

/// The time `seconds` after the start of job `number`.
std::uint64_t second_of(std::uint64_t number, std::uint64_t seconds) {
  return kRunStart + (number * 100 + seconds) * 1'000'000'000;
}

void fill(JobBlock& b, std::uint64_t number, OwnValues& own) {
  b.state = JobState::exited;
  b.start_ns = second_of(number, 0);
  b.start_skew_ns = own.count();
  for (const Period period : {Period::ramp, Period::window}) {
    fill(b.sent[period], own);
    fill(b.received[period], own);
  }
  for (Tally* tally :
       {&b.all_tx_frames, &b.all_tx_bytes, &b.all_rx_frames, &b.all_rx_bytes, &b.all_foreign}) {
    tally->set(own.count());
  }
  b.first_tx_error.set("sent " + std::to_string(number));
  b.first_rx_error.set("received " + std::to_string(number));
  b.address.set("address " + std::to_string(number));
  b.window_begin_ns = second_of(number, 2);
  b.window_end_ns = second_of(number, 13);
  b.offered_until_ns.set(second_of(number, 9));
  fill(b.wire, own);
  test::fill_figures(b.cpu, own);
  b.cpu_known = true;
  test::fill_figures(b.faults_sent, own);
  test::fill_figures(b.faults_received, own);
  b.has_faults_sent = b.has_faults_received = true;
  fill(b.tcp, own);
  b.congestion.set("reno");
  fill(b.latency, own);
  fill(b.service, own);
  fill(b.spacing_error, own);
}

void fill(FlowBlock& f, std::uint64_t number, OwnValues& own) {
  for (Tally* tally :
       {&f.received, &f.all_received, &f.lost_so_far, &f.all_lost_so_far, &f.lost, &f.duplicates,
        &f.reordered, &f.late, &f.unverified, &f.corrupt, &f.truncated, &f.corrupt_copies,
        &f.truncated_copies, &f.first, &f.ramp_sent, &f.jitter_ps}) {
    tally->set(own.count());
  }
  const std::uint64_t begin = f.first.get() + f.ramp_sent.get();
  const std::uint64_t cancelled = own.count();
  f.all_judged.set(begin + own.count() * 10);
  f.all_sent.set(f.all_judged.get() + cancelled);
  f.gaps[0] = {own.count(), own.count()};
  f.gaps[1] = {own.count(), own.count()};
  f.gap_count.set(2);
  f.complete = true;
  // The latest of these four times is the end.
  f.measure_from_ns = second_of(number, 3);
  f.window_end_ns = second_of(number, 14);
  f.rate_end_ns.set(second_of(number, 15));
  f.last_arrival_ns.set(second_of(number, 17));
}

/// Jobs "a" and "b" send to each other and to "c". "c" sends to nobody. The group "odd" has "a" and
/// "c"; the group "even" has "b".
struct CountedRun {
  std::vector<PlannedJob> plan = std::vector<PlannedJob>(3);
  std::unique_ptr<RunMemory> memory = RunMemory::create(3).value();
  std::vector<ControlledJob> jobs;

  CountedRun() {
    OwnValues own;
    for (std::size_t i = 0; i < plan.size(); ++i) {
      plan[i].options.name = std::string(1, static_cast<char>('a' + i));
      plan[i].options.rw = i == 2 ? Role::rx : Role::txrx;
      plan[i].options.engine = EngineKind::bus;
      plan[i].group = i == 1 ? "even" : "odd";
      jobs.push_back({.plan = plan[i], .block = &memory->job(i), .flow = &memory->flow(i)});
      jobs[i].phase = ControlledJob::Phase::over;
      fill(memory->job(i), i, own);
      fill(memory->flow(i), i, own);
    }
    plan[0].to = 1;
    plan[1].to = 0;
    jobs[0].senders = {1};
    jobs[1].senders = {0};
    jobs[2].senders = {0, 1};
  }
  RunResult gathered() {
    RunResult result;
    gather(jobs, result);
    return result;
  }
};

/// Expects that each count of a direction is the one of the same row in shared memory. Frames of
/// the ramp are those of the other period.
void expect_counts(const TrafficResult& shown, const SharedFigures<TrafficResult>& window,
                   const SharedFigures<TrafficResult>& ramp, Places direction) {
  const TrafficResult counted = window.get();
  for_each_member<TrafficResult>([&](const Figure<TrafficResult>& row, auto member) {
    if constexpr (std::is_same_v<decltype(member), std::uint64_t TrafficResult::*>) {
      if (!row.is_in(direction)) return;
      const std::uint64_t wanted = member == &TrafficResult::ramp_frames
                                       ? ramp[&TrafficResult::frames].get()
                                       : counted.*member;
      EXPECT_NE(wanted, 0U) << row.key;
      EXPECT_EQ(shown.*member, wanted) << row.key;
    }
  });
}

TEST(GatheredFigures, AreWhatAJobHasCountedInItsWindow) {
  CountedRun run;
  const RunResult result = run.gathered();
  for (std::size_t i = 0; i < 3; ++i) {
    const JobResult& job = result.jobs.at(i);
    const JobBlock& b = run.memory->job(i);
    expect_counts(job.tx, b.sent[Period::window], b.sent[Period::ramp], kOfSender);
    EXPECT_EQ(job.tx.first_error, "sent " + std::to_string(i));
    EXPECT_DOUBLE_EQ(job.tx.seconds, 11);
    EXPECT_DOUBLE_EQ(job.tx.offered_seconds, 7);
    const ReceivedCounts& received = b.received[Period::window];
    expect_counts(job.rx, received, b.received[Period::ramp], kOfReceiver);
    EXPECT_EQ(job.rx.first_error, "received " + std::to_string(i));
    EXPECT_EQ(job.overruns, received.overruns.get());
    EXPECT_EQ(job.overrun_frames, received.overrun_frames.get());
    EXPECT_EQ(job.address, "address " + std::to_string(i));
    EXPECT_EQ(job.start_skew_ns, b.start_skew_ns.load());
    EXPECT_EQ(job.latency->max(), b.latency.max());
    EXPECT_EQ(job.service->max(), b.service.max());
    EXPECT_EQ(job.spacing_error->max(), b.spacing_error.max());
  }
  // From the beginning of the first flow to the end of the last one.
  EXPECT_DOUBLE_EQ(result.jobs[0].rx.seconds, 14);
  EXPECT_DOUBLE_EQ(result.jobs[2].rx.seconds, 114);
  EXPECT_EQ(result.jobs[2].runtime_seconds, result.jobs[2].rx.seconds) << "the longer of both";
}

TEST(GatheredFigures, OfAFlowAreWhatItsReceiverHasCounted) {
  CountedRun run;
  const RunResult result = run.gathered();
  ASSERT_EQ(result.jobs[2].flows.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const FlowResult& flow = result.jobs[2].flows[i];
    const FlowBlock& f = run.memory->flow(i);
    EXPECT_EQ(flow.flow, i);
    EXPECT_EQ(flow.from, i == 0 ? "a" : "b");
    EXPECT_EQ(flow.to, "c");
    EXPECT_EQ(flow.sent, f.all_sent.get() - f.first.get() - f.ramp_sent.get());
    EXPECT_EQ(flow.received, f.received.get());
    EXPECT_EQ(flow.lost, f.lost.get());
    EXPECT_EQ(flow.corrupt, f.corrupt.get());
    EXPECT_EQ(flow.truncated, f.truncated.get());
    EXPECT_EQ(flow.late, f.late.get());
    EXPECT_EQ(flow.cancelled, f.all_sent.get() - f.all_judged.get());
    EXPECT_EQ(flow.unverified, f.unverified.get());
    EXPECT_EQ(flow.duplicates, f.duplicates.get());
    EXPECT_EQ(flow.corrupt_copies, f.corrupt_copies.get());
    EXPECT_EQ(flow.truncated_copies, f.truncated_copies.get());
    EXPECT_EQ(flow.reordered, f.reordered.get());
    EXPECT_DOUBLE_EQ(*flow.jitter_ns, static_cast<double>(f.jitter_ps.get() - 1) / 1000);
    ASSERT_EQ(flow.gaps.size(), 2U);
    EXPECT_EQ(flow.gaps[1], std::pair(f.gaps[1][0], f.gaps[1][1]));
  }
}

TEST(GatheredFigures, OfTheMediumTheKernelAndTheFaultsAreTheirs) {
  CountedRun run;
  const RunResult result = run.gathered();
  for (std::size_t i = 0; i < 3; ++i) {
    const JobResult& job = result.jobs.at(i);
    const JobBlock& b = run.memory->job(i);
    EXPECT_EQ(job.counts.generator_tx, b.all_tx_frames.get());
    EXPECT_EQ(job.counts.receiver_rx, b.all_rx_frames.get());
    EXPECT_EQ(job.counts.receiver_foreign, b.all_foreign.get());
    const WireCounters wire = b.wire.get();
    for_each_member<WireCounters>([&](const auto& row, auto member) {
      EXPECT_EQ(job.counts.wire.*member, wire.*member) << row.key;
    });
    ASSERT_TRUE(job.cpu);
    EXPECT_EQ(job.cpu->user_seconds, b.cpu.user_seconds);
    EXPECT_EQ(job.cpu->major_faults, b.cpu.major_faults);
    ASSERT_TRUE(job.tcp);
    for_each_member<TcpResult>([&](const auto& row, auto member) {
      if (row.key == std::string_view("congestion")) return;
      EXPECT_EQ((*job.tcp).*member, b.tcp.get().*member) << row.key;
    });
    EXPECT_EQ(job.tcp->congestion, "reno");
    const LinkResult& sent = result.links.at(2 * i);
    EXPECT_EQ(sent.direction, "sent");
    EXPECT_EQ(sent.job, job.name);
    EXPECT_EQ(sent.faults.lost, b.faults_sent.lost);
    EXPECT_EQ(sent.faults.under_way, b.faults_sent.under_way);
    const LinkResult& received = result.links.at(2 * i + 1);
    EXPECT_EQ(received.direction, "received");
    EXPECT_EQ(received.faults.lost, b.faults_received.lost);
  }
}

/// Expects that each count of `sum` is the sum of those of `a` and `b`.
void expect_sum(const TrafficResult& sum, const TrafficResult& a, const TrafficResult& b) {
  for_each_member<TrafficResult>([&](const Figure<TrafficResult>& row, auto member) {
    if constexpr (std::is_same_v<decltype(member), std::uint64_t TrafficResult::*>) {
      EXPECT_EQ(sum.*member, a.*member + b.*member) << row.key;
    }
  });
  EXPECT_EQ(sum.first_error, a.first_error);
}

TEST(GatheredFigures, OfAGroupAreTheSumsOfItsOwnJobs) {
  CountedRun run;
  const RunResult result = run.gathered();
  ASSERT_EQ(result.groups.size(), 2U);
  const GroupResult& odd = result.groups[0];
  const GroupResult& even = result.groups[1];
  const JobResult& a = result.jobs[0];
  const JobResult& b = result.jobs[1];
  const JobResult& c = result.jobs[2];
  EXPECT_EQ(odd.name, "odd");
  EXPECT_EQ(odd.jobs, (std::vector<std::string>{"a", "c"}));
  expect_sum(odd.tx, a.tx, c.tx);
  expect_sum(odd.rx, a.rx, c.rx);
  // From the beginning of the window of "a" to the end of that of "c".
  EXPECT_DOUBLE_EQ(odd.tx.seconds, 211);
  EXPECT_DOUBLE_EQ(odd.rx.seconds, 114);
  EXPECT_DOUBLE_EQ(odd.tx.offered_seconds, 7);
  EXPECT_EQ(even.jobs, std::vector<std::string>{"b"});
  expect_sum(even.tx, b.tx, {});
  expect_sum(even.rx, b.rx, {});
  const FlowResult& one = a.flows.at(0);
  ASSERT_EQ(c.flows.size(), 2U);
  for (const auto count :
       {&FlowResult::sent, &FlowResult::received, &FlowResult::lost, &FlowResult::corrupt,
        &FlowResult::truncated, &FlowResult::late, &FlowResult::cancelled, &FlowResult::unverified,
        &FlowResult::duplicates, &FlowResult::corrupt_copies, &FlowResult::truncated_copies,
        &FlowResult::reordered}) {
    EXPECT_EQ(odd.loss.*count, one.*count + c.flows[0].*count + c.flows[1].*count);
  }
  EXPECT_EQ(odd.loss.jitter_ns,
            std::max({*one.jitter_ns, *c.flows[0].jitter_ns, *c.flows[1].jitter_ns}));
  EXPECT_EQ(even.loss.lost, b.flows.at(0).lost);
  EXPECT_EQ(odd.latency->count(), 4U);
  EXPECT_EQ(odd.latency->min(), std::min(a.latency->min(), c.latency->min()));
  EXPECT_EQ(odd.latency->max(), std::max(a.latency->max(), c.latency->max()));
  EXPECT_DOUBLE_EQ(odd.latency->mean(), (a.latency->mean() + c.latency->mean()) / 2);
  EXPECT_DOUBLE_EQ(odd.service->mean(), (a.service->mean() + c.service->mean()) / 2);
  EXPECT_EQ(even.latency->max(), b.latency->max());
  EXPECT_EQ(odd.start_skew_ns, std::max(a.start_skew_ns, c.start_skew_ns));
  EXPECT_EQ(even.start_skew_ns, b.start_skew_ns);
}

// ---- Progress ----

TEST(ProgressFigures, AreWhatEachJobHasCountedSoFar) {
  CountedRun run;
  for (ControlledJob& job : run.jobs) {
    job.phase = ControlledJob::Phase::going;
    job.intervals.resize(2);
    job.intervals[0].tx_frames = 3;
    job.intervals[1].tx_frames = 5 + run.memory->job(0).all_foreign.get();
  }
  const RunProgress progress = progress_of(run.jobs, 12.5, second_of(2, 7));
  EXPECT_EQ(progress.at_seconds, 12.5);
  ASSERT_EQ(progress.jobs.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const JobProgress& job = progress.jobs[i];
    const JobBlock& b = run.memory->job(i);
    EXPECT_EQ(job.name, run.plan[i].options.name);
    EXPECT_EQ(job.group, run.plan[i].group);
    EXPECT_EQ(job.tx_frames, b.all_tx_frames.get());
    EXPECT_EQ(job.tx_bytes, b.all_tx_bytes.get());
    EXPECT_EQ(job.rx_frames, b.all_rx_frames.get());
    EXPECT_EQ(job.rx_bytes, b.all_rx_bytes.get());
    EXPECT_EQ(job.last.tx_frames, run.jobs[i].intervals[1].tx_frames) << "the newest";
  }
  const auto missed = [&](std::size_t flow) {
    return run.memory->flow(flow).all_lost_so_far.get();
  };
  EXPECT_EQ(progress.jobs[0].lost_frames, missed(1)) << "of what is sent to it";
  EXPECT_EQ(progress.jobs[1].lost_frames, missed(0));
  EXPECT_EQ(progress.jobs[2].lost_frames, missed(0) + missed(1));
}

}  // namespace

}  // namespace shmif::perf::run_figures

namespace shmif::perf::repeated_figures {

// Each figure and message of repeated runs comes from the right one of them.

namespace {

/// A run of a sender and its receiver. Its figures are those of a basic run multiplied by `times`;
/// only the rate of the sender is multiplied by `sent_times`.
RunResult run_times(double times, double sent_times) {
  const auto count = [&](double n) { return static_cast<std::uint64_t>(n * times); };
  RunResult run;
  for (const char* name : {"tx", "rx"}) {
    JobResult job;
    job.name = name;
    job.latency = std::make_shared<LatencyHistogram>();
    job.service = job.spacing_error = job.latency;
    run.jobs.push_back(job);
  }
  run.jobs[0].tx.frames = static_cast<std::uint64_t>(7'000 * sent_times);
  run.jobs[0].tx.seconds = 10;
  TrafficResult& rx = run.jobs[1].rx;
  rx.frames = count(5'000);
  rx.seconds = 20;
  FlowResult flow;
  flow.sent = 100'000;
  flow.received = 10;
  flow.corrupt = 11;
  flow.lost = count(1'300);
  run.jobs[1].flows = {flow, flow};
  // Percentiles are exact below 256 ns.
  record(*run.jobs[1].latency, count(17), 60);
  record(*run.jobs[1].latency, count(19), 39);
  run.jobs[1].latency->record(count(23));
  run.began = std::chrono::system_clock::time_point(std::chrono::seconds(count(100)));
  run.ended = run.began + std::chrono::seconds(1);
  return run;
}

constexpr std::array<double, 5> kTimes{2, 5, 3, 1, 9};
constexpr std::array<double, 5> kSentTimes{5, 9, 1, 2, 3};

RunResult five_runs() {
  std::vector<RunResult> runs;
  for (std::size_t i = 0; i < kTimes.size(); ++i) {
    runs.push_back(run_times(kTimes.at(i), kSentTimes.at(i)));
  }
  return all_of_repetitions(std::move(runs));
}

const RepeatFigure& repeat_of(const RunResult& run, const std::string& job,
                              const std::string& figure) {
  for (const RepeatFigure& each : run.repeats) {
    if (each.job == job && each.figure == figure) return each;
  }
  throw std::runtime_error("no repetitions of " + job + ' ' + figure);
}

TEST(RepeatedFigures, AreTheMedianAndTheEndsOfAllRunsInTheirOrder) {
  const RunResult run = five_runs();
  struct Row {
    const char *job, *figure;
    double once;
  };
  const double mean = (17 * 60 + 19 * 39 + 23) / 100.0;
  const std::vector<Row> rows{{"tx", "tx_fps", 700},        {"rx", "rx_fps", 250},
                              {"rx", "lost_share", 0.013},  {"rx", "latency_ns_mean", mean},
                              {"rx", "latency_ns_p50", 17}, {"rx", "latency_ns_p99", 19}};
  EXPECT_EQ(run.repeats.size(), rows.size());
  for (const Row& row : rows) {
    const RepeatFigure& figure = repeat_of(run, row.job, row.figure);
    ASSERT_EQ(figure.values.size(), 5U) << row.figure;
    const auto& times = row.job == std::string("tx") ? kSentTimes : kTimes;
    for (std::size_t i = 0; i < times.size(); ++i) {
      EXPECT_NEAR(figure.values[i], row.once * times.at(i), 1e-9) << row.figure;
    }
    EXPECT_NEAR(figure.median, row.once * 3, 1e-9) << row.figure;
    EXPECT_NEAR(figure.min, row.once, 1e-9) << row.figure;
    EXPECT_NEAR(figure.max, row.once * 9, 1e-9) << row.figure;
  }
}

TEST(RepeatedFigures, CountsAreThoseOfTheRunWithTheMedianRate) {
  const RunResult run = five_runs();
  EXPECT_EQ(run.shown_run, 2U);
  EXPECT_EQ(run.jobs.at(1).rx.frames, 15'000U);
  ASSERT_EQ(run.repetitions.size(), 5U);
  EXPECT_EQ(run.repetitions[4].jobs.at(1).rx.frames, 45'000U);
  EXPECT_EQ(run.began, std::chrono::system_clock::time_point(std::chrono::seconds(200)));
  EXPECT_EQ(run.ended, std::chrono::system_clock::time_point(std::chrono::seconds(901)));
}

TEST(RepeatedFigures, OfSearchesARunIsChosenByWhatItFound) {
  std::vector<RunResult> runs;
  for (const double found : {40.0, 20.0, 30.0}) {
    // By the rate of its traffic, another run would be chosen.
    const double times = found == 40 ? 2 : found == 20 ? 3 : 9;
    runs.push_back(run_times(times, times));
    SearchResult& search = runs.back().searches.emplace_back();
    search.job = "tx";
    search.found_fps = found;
  }
  const RunResult run = all_of_repetitions(std::move(runs));
  EXPECT_EQ(run.shown_run, 2U);
  const RepeatFigure& figure = repeat_of(run, "tx", "found_fps");
  EXPECT_EQ(figure.values, (std::vector<double>{40, 20, 30}));
  EXPECT_EQ(figure.median, 30);
  EXPECT_EQ(figure.min, 20);
  EXPECT_EQ(figure.max, 40);
}

// ---- Messages, causes, and which run is shown ----

using Words = std::vector<std::string>;

/// A run with that rate, and messages of its own besides one that each has.
RunResult run_of(std::uint64_t frames, const std::string& name) {
  RunResult run;
  JobResult& job = run.jobs.emplace_back();
  job.name = "a";
  job.tx.frames = frames;
  job.tx.seconds = 1;
  job.latency = job.service = job.spacing_error = std::make_shared<LatencyHistogram>();
  job.intervals.resize(3);
  run.groups.emplace_back().name = name;
  run.warnings = {"each", name};
  run.failures = {"failure of " + name};
  run.lost_outputs = {"output of " + name};
  return run;
}

TEST(RunsAsOne, KeepTheMessagesOfEachAndTheGroupsForMedians) {
  std::vector<RunResult> runs;
  runs.push_back(run_of(100, "slow"));
  runs.push_back(run_of(300, "fast"));
  runs.push_back(run_of(200, "middle"));
  const RunResult all = all_of_repetitions(std::move(runs));
  EXPECT_EQ(all.shown_run, 2U);
  EXPECT_EQ(all.jobs.at(0).intervals.size(), 3U);
  EXPECT_EQ(all.warnings, (Words{"each", "middle", "slow", "fast"}));
  EXPECT_EQ(all.failures, (Words{"failure of middle", "failure of slow", "failure of fast"}));
  EXPECT_EQ(all.lost_outputs, (Words{"output of middle", "output of slow", "output of fast"}));
  ASSERT_EQ(all.repetitions.size(), 3U);
  Words groups;
  for (const RunResult& run : all.repetitions) {
    EXPECT_TRUE(run.jobs.at(0).intervals.empty()) << "no median is made of them";
    for (const GroupResult& group : run.groups) groups.push_back(group.name);
  }
  EXPECT_EQ(groups, (Words{"slow", "fast", "middle"}));
}

/// What held the jobs of a run back, that somebody looked at so often for so long.
RunCauses causes_of(std::size_t looks, double seconds, double own_share, double share) {
  RunCauses causes;
  causes.why_unknown.clear();
  causes.looks = looks;
  causes.seconds = seconds;
  causes.own_share = own_share;
  Cause& cause = causes.causes.emplace_back();
  cause.share = share;
  cause.end_s = 1;
  return causes;
}

TEST(RunsAsOne, HaveTheCausesOfAllTheHeaviestFirst) {
  RunCauses all;
  add_causes(all, causes_of(3, 1, 0.5, 0.2));
  EXPECT_EQ(all.why_unknown, "") << "it was of none before";
  RunCauses second = causes_of(4, 3, 0.1, 0.6);
  second.missing = {{.source = "x", .reason = "a"}, {.source = "y", .reason = "b"}};
  add_causes(all, std::move(second));
  RunCauses third = causes_of(5, 4, 0.4, 0.4);
  third.missing = {{.source = "y", .reason = "c"}, {.source = "z", .reason = "d"}};
  add_causes(all, std::move(third));
  EXPECT_EQ(all.looks, 12U);
  EXPECT_EQ(all.seconds, 8);
  EXPECT_DOUBLE_EQ(all.own_share, (0.5 + 3 * 0.1 + 4 * 0.4) / 8);
  std::vector<double> shares;
  for (const Cause& cause : all.causes) shares.push_back(cause.share);
  EXPECT_EQ(shares, (std::vector<double>{0.6, 0.4, 0.2}));
  Words missing;
  for (const MissingSource& each : all.missing) missing.push_back(each.source + ' ' + each.reason);
  EXPECT_EQ(missing, (Words{"x a", "y b", "z d"})) << "each once, with its first reason";
}

TEST(RunsAsOne, HaveEachKindOfWarningOfEachJobOnce) {
  RunResult all = run_of(100, "a");
  all.warnings = {"a.1: late 3 times in 0.2 s"};
  RunResult more = run_of(100, "b");
  more.warnings = {"a.1: late 4,711 times in 1.25 s", "a.2: late 3 times in 0.2 s", "a.1: lost 3"};
  more.lost_outputs = {"output of a", "output of b"};
  keep_messages(all, std::move(more));
  EXPECT_EQ(all.warnings,
            (Words{"a.1: late 3 times in 0.2 s", "a.2: late 3 times in 0.2 s", "a.1: lost 3"}));
  EXPECT_EQ(all.lost_outputs, (Words{"output of a", "output of b"}));
}

}  // namespace

}  // namespace shmif::perf::repeated_figures
