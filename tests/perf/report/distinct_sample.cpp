#include "tests/perf/report/distinct_sample.hpp"

#include <set>

#include "tests/perf/report/figures.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::test {

namespace {

using namespace shmif::perf;  // NOLINT(google-build-using-namespace): makes nothing but its types

/// Makes durations. No two of all that it makes are alike.
class OwnTimes {
 public:
  DistinctTimes next() {
    constexpr std::array<double, DistinctTimes::kPlaces> kShape{
        0.31, 0.53, 0.67, 0.83, 1, 1.3, 1.7, 2.3, 3.1, 17, 41, 101, 307};
    DistinctTimes times;
    times.times = ++made_;
    const double median = 20'000 * (0.69 + 0.31 * static_cast<double>(made_));
    for (std::size_t i = 0; i < kShape.size(); ++i) {
      auto bucket = LatencyHistogram::bucket_of(static_cast<std::uint64_t>(median * kShape.at(i)));
      while (!used_.insert(bucket).second) ++bucket;
      times.ns.at(i) = LatencyHistogram::greatest_of(bucket);
    }
    return times;
  }

 private:
  std::uint64_t made_ = 0;
  std::set<std::size_t> used_;
};

TrafficResult distinct_traffic(OwnValues& own, const std::string& error) {
  TrafficResult t;
  fill_figures(t, own);
  t.offered_frames *= 3;
  t.offered_bytes *= 3;
  t.first_error = error;
  t.begin_ns = own.count();
  t.end_ns = own.count();
  return t;
}

FlowResult distinct_flow(OwnValues& own) {
  FlowResult f;
  fill_figures(f, own);
  f.flow = static_cast<std::uint32_t>(own.count());
  f.sent *= 10;
  f.unexplained = own.count();
  const std::uint64_t gap = own.count() * 1000;
  f.gaps = {{gap, gap + 1}, {gap + own.count(), gap + 1'000'000 + own.count()}};
  return f;
}

IntervalResult distinct_interval(OwnValues& own) {
  IntervalResult i;
  fill_figures(i, own);
  i.found_frames = 0;
  i.cpu_user_seconds = own.seconds();
  i.cpu_system_seconds = own.seconds();
  fill_figures(i.tcp.emplace(), own);
  return i;
}

CountsResult distinct_counts(OwnValues& own) {
  CountsResult c;
  fill_figures(c, own);
  fill_figures(c.wire, own);
  c.receiver_others = own.count();
  return c;
}

TcpResult distinct_tcp(OwnValues& own, const std::string& congestion, std::uint64_t dscp) {
  TcpResult t;
  fill_figures(t, own);
  t.dscp = dscp;
  t.congestion = congestion;
  return t;
}

struct Named {
  const char* name;
  const char* group;
  EngineKind engine;
  JobState state;
};

JobResult distinct_job(OwnValues& own, const Named& named, std::uint64_t number,
                       const DistinctSample::Job& times) {
  const std::string name = named.name;
  const bool odd = number % 2 == 1;
  JobResult job;
  job.name = name;
  job.group = named.group;
  job.peer_of = name + "-owner";
  job.role = Role::txrx;
  job.engine = named.engine;
  job.address = name + "-address";
  job.state = named.state;
  job.passed = odd;
  job.errors = {name + " has one error", name + " has another"};
  job.exit_status = static_cast<int>(own.count());
  job.exit_signal = static_cast<int>(own.count());
  job.pid = static_cast<std::int64_t>(own.count());
  job.thread = !odd;
  // The first two jobs are the same load.
  job.options = {{"rate_catchup", "skip"}, {"bs", number < 2 ? "700" : "of-" + name}};
  job.runtime_seconds = own.seconds();
  job.tx = distinct_traffic(own, name + " could not send");
  job.tx.paced = !odd;
  job.rx = distinct_traffic(own, name + " could not receive");
  job.flows = {distinct_flow(own), distinct_flow(own)};
  job.flows[0].from = name + "-from-1";
  job.flows[0].to = name + "-to-1";
  job.flows[1].kind = FlowResult::Kind::reply;
  job.flows[1].from = name + "-from-2";
  job.flows[1].to = name + "-to-2";
  job.flows[number % 2].verification_complete = number == 4;
  job.counts = distinct_counts(own);
  job.counts.agree = !odd;
  job.overruns = own.count();
  job.overrun_frames = own.count();
  for (const ErrorClass error : kErrorClasses) {
    const std::string what = name + ' ' + word_of(error);
    job.errors_by_class[static_cast<std::size_t>(error)] = {own.count(), "first " + what,
                                                            "reason " + what};
  }
  fill_figures(job.cpu.emplace(), own);
  job.latency = times.latency.histogram();
  job.service = times.service.histogram();
  job.spacing_error = times.spacing_error.histogram();
  job.percentile_list = {30, 70};
  job.tcp = distinct_tcp(own, name + "-congestion", 21 + number);
  job.intervals = {distinct_interval(own), distinct_interval(own)};
  job.intervals[number % 2].measured = false;
  job.start_skew_ns = own.count();
  job.rate_ci_share = own.share();
  job.limit_fps = own.number() * 1000;
  return job;
}

GroupResult distinct_group(OwnValues& own, const char* name, const DistinctSample::Group& times,
                           const std::vector<JobResult>& jobs) {
  GroupResult g;
  g.name = name;
  for (const JobResult& job : jobs) {
    if (job.group == name) g.jobs.push_back(job.name);
  }
  g.tx = distinct_traffic(own, g.name + " could not send");
  g.rx = distinct_traffic(own, g.name + " could not receive");
  g.loss = distinct_flow(own);
  g.latency = times.latency.histogram();
  g.service = times.service.histogram();
  g.start_skew_ns = own.count();
  return g;
}

LinkResult distinct_link(OwnValues& own, const char* job, const char* direction) {
  LinkResult l;
  l.wire = std::string("wire-of-") + job;
  l.job = job;
  l.direction = direction;
  l.options = std::string("options-of-") + job;
  fill_figures(l.faults, own);
  return l;
}

SearchResult distinct_search(OwnValues& own, const char* job, Search kind) {
  SearchResult s;
  s.job = job;
  s.kind = kind;
  s.frame_bytes = static_cast<std::uint32_t>(own.count());
  s.found_fps = own.number();
  s.found_bps = own.number() * 1000;
  s.why_none = std::string("why-none-of-") + job;
  s.limit_fps = own.number() * 100;
  for (const double share_of_found : {0.7, 3.1, 2.3, 2.9}) {
    TrialResult t;
    t.job = std::string("trial-of-") + job;
    t.frame_bytes = static_cast<std::uint32_t>(own.count());
    t.offered_fps = *s.found_fps * share_of_found;
    t.achieved_fps = own.number();
    t.loss_share = own.share();
    t.latency_percentile_ns = own.number();
    t.sender_late_ns = own.number();
    t.passed = share_of_found < 1;
    s.trials.push_back(t);
  }
  s.shown = {.number = kind == Search::ndr ? 2 : 3, .offered_fps = own.number()};
  return s;
}

RepeatFigure distinct_repeat(OwnValues& own, const char* job, const char* figure) {
  RepeatFigure r;
  r.job = job;
  r.figure = figure;
  r.values = {own.number(), own.number(), own.number()};
  r.min = own.number();
  r.median = own.number();
  r.max = r.min + own.number();
  return r;
}

MachineResult distinct_machine(OwnValues& own) {
  MachineResult m;
  m.hostname = "the-hostname";
  m.kernel = "the-kernel";
  m.cpu_model = "the-model";
  m.clock_source = "the-clock";
  m.virtualization = "the-virtualization";
  m.cpus = static_cast<int>(own.count());
  m.memory_bytes = own.count() * 100'000;
  m.frequency_mhz = own.number();
  for (int i = 0; i < 2; ++i) {
    m.window.push_back({.cpu = static_cast<int>(own.count()),
                        .user = own.share(),
                        .system = own.share(),
                        .idle = own.share(),
                        .steal = own.share(),
                        .irq = own.share()});
  }
  return m;
}

SteadyStateResult distinct_steady_state(OwnValues& own, const char* job, bool share) {
  SteadyStateResult s;
  s.job = job;
  s.figure = share ? "bw" : "iops_slope";
  s.limit = own.number();
  s.limit_is_share = share;
  s.window_seconds = own.count();
  s.ramp_seconds = own.count();
  s.value = own.number();
  s.reached_at_seconds = own.count();
  return s;
}

Cause distinct_cause(OwnValues& own, const char* job, CauseKind kind) {
  Cause cause;
  cause.job = job;
  cause.cause = kind;
  cause.begin_s = own.number();
  cause.end_s = cause.begin_s + own.number();
  cause.share = own.share();
  cause.of_losses_share = own.share();
  cause.counted = kind == CauseKind::device_queue;
  cause.sentence = std::string("the-sentence-of-") + job;
  return cause;
}

RunCauses distinct_causes(OwnValues& own) {
  RunCauses all;
  all.why_unknown.clear();
  all.causes = {distinct_cause(own, "a", CauseKind::waited_for_cpu),
                distinct_cause(own, "d", CauseKind::device_queue)};
  all.seconds = own.number();
  all.looks = own.count();
  all.own_share = own.share();
  all.missing = {{"the-source", "the-reason"}};
  return all;
}

}  // namespace

std::shared_ptr<LatencyHistogram> DistinctTimes::histogram() const {
  auto histogram = std::make_shared<LatencyHistogram>();
  for (std::size_t i = 0; i < kPlaces; ++i) record(*histogram, ns.at(i), count_of(i));
  return histogram;
}

DistinctSample distinct_sample() {
  using namespace std::chrono;
  OwnValues own;
  OwnTimes times;
  DistinctSample sample;
  RunResult& run = sample.run;
  run.version = "the-version";
  run.command = {"the-command", "the argument"};
  run.began = system_clock::time_point(milliseconds(1763700000123));
  run.ended = run.began + milliseconds(32450);
  run.options = {{"output_format", "json+"}};
  run.exit_code = 143;
  run.stopped_by_signal = 15;
  run.steady_state = "the-steady-state";
  run.warnings = {"the-warning"};
  run.lost_outputs = {"the-lost-output"};
  run.failures = {"the-failure", "another-failure"};
  run.machine = distinct_machine(own);
  const std::array<Named, 5> names{{{"a", "few", EngineKind::bus, JobState::reaped},
                                    {"b", "few", EngineKind::packet, JobState::exited},
                                    {"c", "many", EngineKind::host, JobState::finishing},
                                    {"d", "many", EngineKind::tap, JobState::verifying},
                                    {"e", "many", EngineKind::udp, JobState::draining}}};
  for (std::uint64_t i = 0; i < names.size(); ++i) {
    sample.jobs.push_back({times.next(), times.next(), times.next()});
    run.jobs.push_back(distinct_job(own, names.at(i), i, sample.jobs.back()));
  }
  for (const char* name : {"few", "many"}) {
    sample.groups.push_back({times.next(), times.next()});
    run.groups.push_back(distinct_group(own, name, sample.groups.back(), run.jobs));
  }
  run.links = {distinct_link(own, "a", "sent"), distinct_link(own, "b", "received")};
  run.searches = {distinct_search(own, "a", Search::ndr), distinct_search(own, "c", Search::pdr)};
  run.searches[1].limited_by_maximum = true;
  run.repeats = {distinct_repeat(own, "a", figure_name::kRxFps),
                 distinct_repeat(own, "b", figure_name::kLatencyP99)};
  run.steady_states = {distinct_steady_state(own, "d", false),
                       distinct_steady_state(own, "e", true)};
  run.causes = distinct_causes(own);
  // With a single repetition, the medians are its own figures.
  RunResult only;
  only.jobs = run.jobs;
  only.groups = run.groups;
  only.searches = run.searches;
  run.repetitions = {only};
  run.shown_run = 6;
  return sample;
}

RunProgress distinct_progress() {
  OwnValues own;
  RunProgress progress;
  progress.at_seconds = own.seconds();
  progress.share = own.share();
  progress.left_seconds = own.seconds();
  const std::array<Named, 4> names{{{"a", "few", EngineKind::bus, JobState::running},
                                    {"b", "many", EngineKind::bus, JobState::draining},
                                    {"c", "few", EngineKind::bus, JobState::ramp},
                                    {"d", "many", EngineKind::bus, JobState::verifying}}};
  for (const Named& named : names) {
    JobProgress job;
    fill_figures(job, own);
    job.name = named.name;
    job.group = named.group;
    job.peer_of = job.name + "-owner";
    job.state = named.state;
    job.pid = static_cast<std::int64_t>(own.count());
    job.share = own.share();
    job.left_seconds = own.seconds();
    job.last = distinct_interval(own);
    progress.jobs.push_back(job);
  }
  progress.jobs[1].failed = true;
  return progress;
}

}  // namespace shmif::test
