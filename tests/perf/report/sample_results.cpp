#include "tests/perf/report/sample_results.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

#include "bus/layout.hpp"
#include "perf/result/instruments_of_run.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::test {

namespace {

using namespace shmif::perf;  // NOLINT(google-build-using-namespace): makes nothing but its types

/// A stream of frames to draw results from.
struct Stream {
  std::string name = "bulk";
  EngineKind engine = EngineKind::bus;
  double fps = 100000;
  std::uint32_t frame_bytes = 594;
  double seconds = 30;
  double median_ns = 9000;
  double spread = 0.45;        // of the logarithm
  double tail_share = 0.0004;  // of frames that met a pause
  double tail_ns = 400000;
  double lost_per_second = 0;  // on the average, in two bursts
  std::uint64_t seed = 1;
};

std::shared_ptr<LatencyHistogram> draw_latencies(const Stream& s, double scale,
                                                 std::uint64_t frames) {
  std::mt19937_64 random(s.seed * 77 + static_cast<std::uint64_t>(scale * 100));
  std::lognormal_distribution<double> body(std::log(s.median_ns * scale), s.spread);
  std::exponential_distribution<double> tail(1 / s.tail_ns);
  std::bernoulli_distribution is_tail(s.tail_share);
  auto histogram = std::make_shared<LatencyHistogram>();
  // A sample of a sample: enough for smooth curves, and quick.
  constexpr std::uint64_t kDrawn = 60000;
  const std::uint64_t each = std::max<std::uint64_t>(1, frames / kDrawn);
  std::uint64_t left = frames;
  while (left > 0) {
    const std::uint64_t times = std::min(each, left);
    const double ns = body(random) + (is_tail(random) ? tail(random) : 0);
    record(*histogram, static_cast<std::uint64_t>(ns), times);
    left -= times;
  }
  return histogram;
}

std::vector<IntervalResult> draw_intervals(const Stream& s, bool sends, bool receives) {
  std::mt19937_64 random(s.seed);
  // Of their own: both ends draw the same frames.
  std::mt19937_64 times(s.seed + 1000);
  std::normal_distribution<double> time_wobble(1, 0.012);
  std::normal_distribution<double> wobble(1, 0.012);
  std::vector<IntervalResult> intervals;
  for (int i = 1; i <= static_cast<int>(s.seconds); ++i) {
    const bool burst = s.lost_per_second > 0 && (i == 9 || i == 21);
    IntervalResult one;
    one.at_seconds = i;
    one.seconds = 1;
    const auto sent = static_cast<std::uint64_t>(s.fps * wobble(random));
    const auto lost =
        burst ? static_cast<std::uint64_t>(s.lost_per_second * s.seconds / 2) : std::uint64_t{0};
    one.tx_frames = sends ? sent : 0;
    one.tx_bytes = one.tx_frames * s.frame_bytes;
    one.rx_frames = receives ? sent - lost : 0;
    one.rx_bytes = one.rx_frames * s.frame_bytes;
    one.lost_frames = receives ? lost : 0;
    one.overruns = receives && burst ? 1 : 0;
    if (receives) {
      const double longer = burst ? 6 : 1;
      one.latency_mean_ns = s.median_ns * 1.12 * time_wobble(times) * longer;
      one.latency_p50_ns = s.median_ns * time_wobble(times);
      one.latency_p99_ns = s.median_ns * 2.9 * time_wobble(times) * longer;
      one.latency_max_ns = s.tail_ns * 3 * time_wobble(times) * longer;
    }
    intervals.push_back(one);
  }
  return intervals;
}

JobResult named_job(const Stream& s, Role role) {
  JobResult job;
  job.name = s.name;
  job.group = "0";
  job.role = role;
  job.engine = s.engine;
  job.address = "bus:/dev/shm/shmifperf-bus0";
  job.state = JobState::reaped;
  job.passed = true;
  job.exit_status = 0;
  job.pid = 4711;
  job.options = {{"rw", "tx"},
                 {"rate_fps", std::to_string(static_cast<long>(s.fps))},
                 {"bs", std::to_string(s.frame_bytes)},
                 {"runtime", std::to_string(static_cast<long>(s.seconds)) + "s"}};
  job.runtime_seconds = s.seconds;
  job.start_skew_ns = 18000 + s.seed * 700;
  job.rate_ci_share = 0.0044;
  job.limit_fps = 9.4e6;
  job.cpu = CpuResult{s.seconds * 0.21, s.seconds * 0.05, 60000, 9, 312, 0};
  return job;
}

void count_traffic(TrafficResult& t, const std::vector<IntervalResult>& intervals, bool sent,
                   const Stream& s) {
  for (const IntervalResult& i : intervals) {
    t.frames += sent ? i.tx_frames : i.rx_frames;
    t.bytes += sent ? i.tx_bytes : i.rx_bytes;
    t.seconds += i.seconds;
  }
  t.batches = t.frames / 12;
  t.ramp_frames = static_cast<std::uint64_t>(s.fps);
  if (!sent) return;
  t.offered_frames = t.frames;
  t.offered_bytes = t.bytes;
  t.offered_seconds = t.seconds;
  t.paced = true;
}

/// The sender and the peer that was made for it.
std::pair<JobResult, JobResult> draw_pair(const Stream& s) {
  JobResult tx = named_job(s, Role::tx);
  tx.intervals = draw_intervals(s, true, false);
  count_traffic(tx.tx, tx.intervals, true, s);
  tx.spacing_error = draw_latencies(s, 0.08, tx.tx.frames);

  JobResult rx = named_job(s, Role::rx);
  rx.name = s.name + ".peer";
  rx.peer_of = s.name;
  rx.pid = 4712;
  rx.options = {};
  rx.start_skew_ns = 9000;
  rx.intervals = draw_intervals(s, false, true);
  count_traffic(rx.rx, rx.intervals, false, s);
  rx.latency = draw_latencies(s, 1, rx.rx.frames);
  rx.service = draw_latencies(s, 0.9, rx.rx.frames);
  rx.overruns = s.lost_per_second > 0 ? 2 : 0;
  rx.rx.foreign_frames = 3;

  FlowResult flow;
  flow.flow = 1;
  flow.from = tx.name;
  flow.to = rx.name;
  flow.sent = tx.tx.frames;
  flow.received = rx.rx.frames;
  flow.lost = flow.sent - flow.received;
  rx.overrun_frames = flow.lost;
  flow.jitter_ns = s.median_ns * 0.21;
  if (flow.lost > 0) flow.gaps = {{900017, 900017 + flow.lost / 2}, {2100400, 2100401}};
  rx.flows = {flow};

  const std::uint64_t all = tx.tx.frames + tx.tx.ramp_frames;
  tx.counts.generator_tx = all;
  tx.counts.wire.tx_frames = all;
  tx.counts.wire.tx_bytes = all * s.frame_bytes;
  tx.counts.agree = true;
  rx.counts.receiver_rx = all - flow.lost + 3;
  rx.counts.receiver_foreign = 3;
  rx.counts.wire.rx_frames = rx.counts.receiver_rx;
  rx.counts.wire.lost_frames = flow.lost;
  rx.counts.wire.overruns = rx.overruns;
  rx.counts.agree = true;
  return {tx, rx};
}

void group(RunResult& run) {
  GroupResult all;
  all.name = "0";
  all.latency = std::make_shared<LatencyHistogram>();
  all.service = std::make_shared<LatencyHistogram>();
  for (const JobResult& job : run.jobs) {
    all.jobs.push_back(job.name);
    all.tx.frames += job.tx.frames;
    all.tx.bytes += job.tx.bytes;
    all.tx.offered_frames += job.tx.offered_frames;
    all.tx.offered_bytes += job.tx.offered_bytes;
    all.tx.seconds = all.tx.offered_seconds = std::max(all.tx.seconds, job.tx.seconds);
    all.rx.frames += job.rx.frames;
    all.rx.bytes += job.rx.bytes;
    all.rx.seconds = std::max(all.rx.seconds, job.rx.seconds);
    if (job.latency) all.latency->merge(*job.latency);
    if (job.service) all.service->merge(*job.service);
    if (job.start_skew_ns) {
      all.start_skew_ns = std::max(all.start_skew_ns.value_or(0), *job.start_skew_ns);
    }
    for (const FlowResult& flow : job.flows) all.loss += flow;
  }
  run.groups = {all};
}

/// Watched for all of its time, except for what a kernel without PSI does not tell.
RunCauses watched() {
  RunCauses causes;
  causes.why_unknown.clear();
  causes.seconds = 30.1;
  causes.looks = 301;
  causes.own_share = 0.0012;
  causes.missing = {{"/proc/pressure/memory", "cannot open /proc/pressure/memory"}};
  return causes;
}

RunResult empty_run() {
  RunResult run;
  run.causes = watched();
  run.version = "0.1.0";
  run.command = {"shmifperf", "run", "--output-format=json+", "call.job"};
  run.began = std::chrono::system_clock::time_point(std::chrono::milliseconds(1763700000123));
  run.ended = run.began + std::chrono::milliseconds(32450);
  run.options = {{"output_format", "json+"}};
  run.machine.hostname = "bench1";
  run.machine.kernel = "Linux 6.1.0-18-amd64";
  run.machine.cpu_model = "Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz";
  run.machine.clock_source = "tsc";
  run.machine.virtualization = "kvm";
  run.machine.cpus = 2;
  run.machine.memory_bytes = 16725000000;
  run.machine.frequency_mhz = 2893.2;
  run.machine.window = {{0, 0.412, 0.103, 0.473, 0.002, 0.01}, {1, 0.388, 0.094, 0.511, 0, 0.007}};
  return run;
}

void add_pair(RunResult& run, const Stream& s) {
  auto [tx, rx] = draw_pair(s);
  run.jobs.push_back(std::move(tx));
  run.jobs.push_back(std::move(rx));
}

}  // namespace

RunResult failed_sample() {
  RunResult run = empty_run();
  add_pair(run, {.name = "voip",
                 .fps = 2000,
                 .frame_bytes = 214,
                 .median_ns = 14200,
                 .lost_per_second = 0.8,
                 .seed = 5});
  add_pair(run, {.name = "bulk",
                 .fps = 148000,
                 .frame_bytes = 1514,
                 .median_ns = 21000,
                 .tail_share = 0.003,
                 .lost_per_second = 740,
                 .seed = 7});
  JobResult& voip = run.jobs[1];
  voip.passed = false;
  voip.flows[0].reordered = 3;
  voip.flows[0].late = 1;
  voip.flows[0].lost -= 1;
  voip.errors = {"lost " + std::to_string(voip.flows[0].lost) + " of " +
                 std::to_string(voip.flows[0].sent) + " frames (continue_on_error=rx would go on)"};
  run.jobs[2].limit_fps = 160000;
  run.jobs[2].cpu->involuntary_switches = 1840;
  run.machine.window[1].steal = 0.031;
  run.failures = {"voip.peer: " + voip.errors[0]};
  run.exit_code = 1;
  run.warnings = {"the clock of CPU 1 was 40 ns behind that of CPU 0"};
  run.links = {{"bus:/dev/shm/shmifperf-bus0",
                "voip",
                "sent",
                {{60012, 0, 0, 3, 0, 0, 0}, 2},
                "reorder=0.005%"}};
  group(run);
  run.causes.causes = {
      {.job = "bulk.peer",
       .cause = CauseKind::waited_for_cpu,
       .begin_s = 2,
       .end_s = 4,
       .share = 0.61,
       .of_losses_share = 0.98,
       .sentence = "bulk.peer was runnable but not running for 61 % of 2.0 s to 4.0 s; 98 % of all "
                   "lost frames fell there"},
      {.job = "bulk.peer",
       .cause = CauseKind::migrated,
       .begin_s = 3.4,
       .end_s = 9,
       .share = 0.2,
       .of_losses_share = 0.01,
       .sentence = "bulk.peer was moved between CPUs 2,240 times from 3.4 s to 9.0 s; 1 % of all "
                   "lost frames fell there"},
      {.job = "voip",
       .cause = CauseKind::stopped,
       .begin_s = 12.5,
       .end_s = 12.8,
       .share = 1,
       .of_losses_share = std::nullopt,
       .sentence = "voip was stopped by a signal or a debugger for 100 % of 12.5 s to 12.8 s"}};
  return run;
}

RunResult quiet_sample(std::uint64_t seed, double slower) {
  RunResult run = empty_run();
  add_pair(run, {.name = "bulk",
                 .fps = 100000 * (1 - slower),
                 .median_ns = 9000 * (1 + slower),
                 .tail_ns = 400000 * (1 + slower),
                 .seed = seed});
  group(run);
  return run;
}

RunResult engines_sample() {
  RunResult run = empty_run();
  run.command = {"shmifperf",
                 "run",
                 "--rw=tx",
                 "--bs=imix",
                 "--rate=2Gbit",
                 "--runtime=30",
                 "--engine=bus,unix,packet,tap"};
  const std::pair<EngineKind, double> kinds[] = {{EngineKind::bus, 7000},
                                                 {EngineKind::unix_pair, 16000},
                                                 {EngineKind::packet, 31000},
                                                 {EngineKind::tap, 42000}};
  const char* names[] = {"load.bus", "load.unix", "load.packet", "load.tap"};
  for (std::size_t i = 0; i < 4; ++i) {
    add_pair(run, {.name = names[i],
                   .engine = kinds[i].first,
                   .fps = 400000 - 30000.0 * double(i),
                   .frame_bytes = 364,
                   .median_ns = kinds[i].second,
                   .lost_per_second = i == 3 ? 90.0 : 0,
                   .seed = i + 1});
    for (JobResult* job : {&run.jobs[2 * i], &run.jobs[2 * i + 1]}) {
      job->address = i == 0 ? "bus:/dev/shm/shmifperf-bus0" : names[i];
      job->options = {{"rw", "tx"},
                      {"bs", "imix"},
                      {"rate", "2Gbit"},
                      {"engine", names[i] + std::string("load.").size()}};
    }
    if (i == 1 || i == 2) {
      // Sockets count nothing of their own.
      for (JobResult* job : {&run.jobs[2 * i], &run.jobs[2 * i + 1]}) {
        job->counts.wire = {};
        job->counts.agree = std::nullopt;
        job->overruns = job->overrun_frames = std::nullopt;
      }
    }
  }
  group(run);
  return run;
}

RunResult search_sample() {
  RunResult run = quiet_sample();
  run.command = {"shmifperf", "run", "--bus", "/tmp/bus0", "--profile", "rfc2544"};
  for (const std::uint32_t size : {64U, 128U, 256U, 512U, 1024U, 1280U, 1518U}) {
    const double found = 6.1e6 / (1 + size / 300.0);
    SearchResult search;
    search.job = "rfc2544";
    search.frame_bytes = size;
    double low = 0;
    double high = found * 1.9;
    for (int i = 0; i < 9; ++i) {
      const double offered = i == 0 ? high : (low + high) / 2;
      const bool passed = offered <= found;
      (passed ? low : high) = offered;
      search.trials.push_back({"rfc2544", size, offered, std::min(offered, found),
                               passed ? 0 : 1 - found / offered, std::nullopt, passed});
    }
    search.found_fps = low;
    search.found_bps = low * size * 8;
    run.searches.push_back(search);
  }
  SearchResult none;
  none.job = "rfc2544";
  none.frame_bytes = 9000;
  none.why_none = "frames of 9,000 bytes are longer than the bus takes (1,514)";
  run.searches.push_back(none);
  run.repeats = {
      {"bulk.peer", "rx_fps", {99100, 100020, 100150, 99980, 101200}, 100020, 99100, 101200},
      {"bulk.peer", "latency_ns_p99", {25100, 26020, 25850, 31200, 25500}, 25850, 25100, 31200}};
  run.steady_state = "reached at 12 s: iops slope 0.1 %";
  run.steady_states = {{.job = "bulk",
                        .figure = "iops_slope",
                        .limit = 0.003,
                        .limit_is_share = true,
                        .window_seconds = 10,
                        .ramp_seconds = 2,
                        .value = 0.001,
                        .reached_at_seconds = 12}};
  return run;
}

RunResult apart_sample() {
  RunResult run = engines_sample();
  for (std::size_t i = 0; i < run.jobs.size(); ++i) {
    for (IntervalResult& interval : run.jobs[i].intervals) {
      interval.at_seconds += 31.0 * static_cast<double>(i / 2);
    }
    for (std::size_t n = 0; n < 3; ++n) run.jobs[i].intervals.at(n).measured = false;
  }
  return run;
}

RunResult unstarted_sample() {
  RunResult run = empty_run();
  JobResult job;
  job.name = "nothing";
  job.group = "0";
  job.engine = EngineKind::tap;
  job.state = JobState::created;
  job.errors = {"nothing: cannot create TAP device: Operation not permitted (needs CAP_NET_ADMIN)"};
  job.thread = true;
  run.jobs = {job};
  run.failures = job.errors;
  run.exit_code = 1;
  run.machine = {};
  GroupResult group;
  group.name = "0";
  group.jobs = {"nothing"};
  run.groups = {group};
  return run;
}

RunResult hostile_sample() {
  RunResult run = quiet_sample(3);
  const std::string evil =
      "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&lt;\"'`${1}";
  run.jobs[0].name = evil;
  run.jobs[1].name = "\x1b]0;owned\x07\x1b[2J;semi;colon\xff\xfe\n<!--";
  run.jobs[1].peer_of = evil;
  run.jobs[1].flows[0].from = evil;
  run.jobs[1].flows[0].to = run.jobs[1].name;
  run.jobs[0].options["description"] = evil;
  run.jobs[0].tx.errors = 1;
  run.jobs[0].tx.first_error = evil;
  run.command = {"shmifperf", "run", evil};
  run.machine.hostname = evil;
  run.warnings = {evil};
  run.failures = {evil};
  run.exit_code = 1;
  run.groups[0].name = evil;
  run.groups[0].jobs = {evil};
  return run;
}

RunResult counted_sample() {
  RunResult run = quiet_sample();
  JobResult& job = run.jobs.front();
  job.tx.frames = 2000;
  job.rx.frames = 0;
  job.counters = {
      {"task-clock", 3e6, "ns", false, 3'000'000, 3'000'000, "linux/perf_event.h", ""},
      {"cycles", 4e6, "", true, 3'000'000, 1'500'000, "linux/perf_event.h", ""},
      {"instructions", 10e6, "", false, 3'000'000, 3'000'000, "linux/perf_event.h", ""},
      {"cache-misses", {}, "", false, 0, 0, "linux/perf_event.h", "not supported: no such event"}};
  const CounterInterval::Count missing{{}, false, "not supported: no such event"};
  job.counter_intervals = {
      {1, 1, {{1e6, false, ""}, {1e6, true, ""}, {4e6, false, ""}, missing}},
      {2.5, 1.5, {{2e6, false, ""}, {{}, false, "no free counter"}, {6e6, false, ""}, missing}}};
  return run;
}

RunResult measured_sample() {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  RunResult run = quiet_sample();
  // The windows are from 2 s to 4 s of the run. The rates of the jobs' own windows are no help.
  for (JobResult& job : run.jobs) {
    job.intervals.clear();
    for (int end = 1; end <= 5; ++end) {
      IntervalResult interval;
      interval.at_seconds = end;
      interval.seconds = 1;
      interval.tx_frames = 70;
      job.intervals.push_back(interval);
    }
  }
  run.jobs.back().intervals[2].rx_frames = 1200;
  run.jobs.back().intervals[3].rx_frames = 800;
  run.jobs.back().intervals[4].rx_frames = 5000;
  auto memory = std::make_shared<MemoryOfRun>();
  memory->start_ns = 5 * kSecond;
  MemorySummary bus;
  bus.source = "software";
  bus.part = "bus";
  bus.origin = "/dev/shm/bus0";
  bus.level = MemoryLevel::copied;
  bus.window_s = 2;
  bus.samples = 2;
  bus.rates.reads = 1e6;
  bus.rates.writes = 2e6;
  bus.rates.total = 3e6;
  MemorySummary pmu;
  pmu.source = "pmu";
  pmu.origin = "/sys";
  pmu.rates = MemoryRates::not_measured("no PMU of a memory controller");
  memory->measured.sources = {bus, pmu};
  for (std::size_t number = 1; number <= 2; ++number) {
    MemoryReading of_bus;
    of_bus.begin_ns = (6 + number) * kSecond;
    of_bus.end_ns = (7 + number) * kSecond;
    of_bus.reads = 1e6;
    of_bus.writes = 2e6;
    of_bus.total = 3e6;
    MemoryReading of_pmu;
    of_pmu.reason = "no PMU of a memory controller";
    memory->measured.samples.push_back({number, 0, {of_bus, of_pmu}});
  }
  run.membw = memory;
  return run;
}

RunResult heated_sample() {
  constexpr std::uint64_t kRingBytes = 1U << 20U;
  constexpr std::uint64_t kAt = 1U << 30U;
  constexpr std::uint64_t kRingAt = kAt + bus::kRingOffset;
  constexpr std::uint64_t kPage = 4096;
  RunResult run = quiet_sample();
  HeatOfJob sender;
  sender.provenance = {"client", "page", "userfaultfd", ""};
  sender.mapping = "bulk@/dev/shm/bus0";
  sender.history.emplace(kRingBytes, kPage, 1.0);
  for (int second = 0; second < 4; ++second) {
    HeatWindow window{static_cast<double>(second), second + 1.0, 10, 0, {}};
    const std::uint64_t bytes = second < 2 ? kRingBytes / 4 : kRingBytes;
    window.regions = {{kAt, kAt + kPage, 5, 0, 0}, {kRingAt, kRingAt + bytes, 10, 10, 0}};
    sender.history->add(window, {kAt, kRingAt + 2 * kRingBytes});
  }
  HeatOfJob receiver;
  receiver.reason = "it is on no bus";
  run.jobs.front().heat = std::make_shared<const HeatOfJob>(std::move(sender));
  run.jobs.back().heat = std::make_shared<const HeatOfJob>(std::move(receiver));
  return run;
}

RunProgress sample_progress(double seconds) {
  const RunResult run = failed_sample();
  RunProgress progress;
  progress.at_seconds = seconds;
  progress.share = seconds / 30;
  progress.left_seconds = 30 - seconds;
  for (const JobResult& job : run.jobs) {
    JobProgress one;
    one.name = job.name;
    one.group = job.group;
    one.state = JobState::running;
    for (const IntervalResult& i : job.intervals) {
      if (i.at_seconds > seconds) break;
      one.last = i;
      one.tx_frames += i.tx_frames;
      one.tx_bytes += i.tx_bytes;
      one.rx_frames += i.rx_frames;
      one.rx_bytes += i.rx_bytes;
      one.lost_frames += i.lost_frames;
    }
    progress.jobs.push_back(one);
  }
  return progress;
}

const std::vector<std::string>& sample_names() {
  static const std::vector<std::string> kNames = {"failed",    "quiet",   "engines", "search",
                                                  "unstarted", "hostile", "distinct"};
  return kNames;
}

RunResult sample_named(const std::string& name) {
  if (name == "failed") return failed_sample();
  if (name == "quiet") return quiet_sample();
  if (name == "engines") return engines_sample();
  if (name == "search") return search_sample();
  if (name == "unstarted") return unstarted_sample();
  if (name == "hostile") return hostile_sample();
  if (name == "distinct") return distinct_sample().run;
  throw std::invalid_argument("no sample has the name " + name);
}

}  // namespace shmif::test
