// In a result as JSON, each key holds the figure that it is named for, and the tests know each key.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/report/report.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"

namespace shmif::perf::figures_json {
namespace {

using Json = nlohmann::json;
using test::DistinctSample;
using test::DistinctTimes;
using test::Figures;

// ---- What each key should hold ----

/// The figures that are expected below `path`.
struct Wanted {
  Figures& all;
  std::string path;

  void put(const std::string& key, const Json& value) const { all[path + '.' + key] = value; }
  /// Expects the figure, and a reason of null: only a missing figure has a reason.
  void put_there(const std::string& key, const Json& value) const {
    put(key, value);
    put_no_reason(key);
  }
  void put_no_reason(const std::string& key) const { put(key + "_reason", nullptr); }
  Wanted below(const std::string& key) const { return {all, path + '.' + key}; }
  Wanted below(const std::string& key, std::size_t i) const {
    return below(key + '.' + std::to_string(i));
  }
};

double ratio(std::uint64_t a, double b) {
  return static_cast<double>(a) / b;
}

void want_traffic(const TrafficResult& t, const Wanted& at) {
  at.put("frames", t.frames);
  at.put("bytes", t.bytes);
  at.put("seconds", t.seconds);
  at.put("rate_fps", ratio(t.frames, t.seconds));
  at.put("rate_bps", ratio(t.bytes * 8, t.seconds));
  at.put("batches", t.batches);
  at.put("errors", t.errors);
  at.put("first_error", t.first_error);
  at.put("ramp_frames", t.ramp_frames);
}

void want_directions(const TrafficResult& tx, const TrafficResult& rx, const Wanted& at) {
  const Wanted sent = at.below("tx");
  want_traffic(tx, sent);
  sent.put("offered_frames", tx.offered_frames);
  sent.put("offered_bytes", tx.offered_bytes);
  sent.put("offered_seconds", tx.offered_seconds);
  sent.put("offered_fps", ratio(tx.offered_frames, tx.offered_seconds));
  sent.put("offered_bps", ratio(tx.offered_bytes * 8, tx.offered_seconds));
  sent.put("paced", tx.paced);
  sent.put("catchup_tolerance_ns", *tx.catchup_tolerance_ns);
  sent.put("skipped_frames", tx.skipped_frames);
  sent.put("refused_frames", tx.refused_frames);
  const Wanted received = at.below("rx");
  want_traffic(rx, received);
  received.put("foreign_frames", rx.foreign_frames);
  received.put("stale_frames", rx.stale_frames);
  at.put_no_reason("tx");
  at.put_no_reason("rx");
}

/// The standard deviation of the durations themselves.
double deviation(const DistinctTimes& times, double mean) {
  double squares = 0;
  for (std::size_t i = 0; i < DistinctTimes::kPlaces; ++i) {
    const double off = static_cast<double>(times.ns.at(i)) - mean;
    squares += static_cast<double>(times.count_of(i)) * off * off;
  }
  return std::sqrt(squares / static_cast<double>(times.count()));
}

void want_times(const DistinctTimes& times, const Wanted& at) {
  double sum = 0;
  for (std::size_t i = 0; i < DistinctTimes::kPlaces; ++i) {
    sum += static_cast<double>(times.ns.at(i)) * static_cast<double>(times.count_of(i));
    const std::size_t bucket = LatencyHistogram::bucket_of(times.ns.at(i));
    at.below("bins", i).put("0", LatencyHistogram::min_of(bucket));
    at.below("bins", i).put("1", times.ns.at(i));
    at.below("bins", i).put("2", times.count_of(i));
  }
  const double mean = sum / static_cast<double>(times.count());
  at.put("count", times.count());
  at.put("mean", mean);
  at.put("deviation", deviation(times, mean));
  at.put("min", times.ns[DistinctTimes::min]);
  at.put("p1", times.ns[DistinctTimes::p1]);
  at.put("p10", times.ns[DistinctTimes::p10]);
  at.put("p50", times.ns[DistinctTimes::p50]);
  at.put("p90", times.ns[DistinctTimes::p90]);
  at.put("p95", times.ns[DistinctTimes::p95]);
  at.put("p99", times.ns[DistinctTimes::p99]);
  at.put("p99_9", times.ns[DistinctTimes::p99_9]);
  at.put("p99_99", times.ns[DistinctTimes::p99_99]);
  at.put("p99_999", times.ns[DistinctTimes::p99_999]);
  at.put("max", times.ns[DistinctTimes::max]);
}

/// Also the percentiles of percentile_list.
void want_listed_times(const DistinctTimes& times, const Wanted& at) {
  want_times(times, at);
  at.put("percentile.30.000000", times.ns[DistinctTimes::p30]);
  at.put("percentile.70.000000", times.ns[DistinctTimes::p70]);
}

void want_fates(const FlowResult& f, const Wanted& at) {
  at.put("sent_frames", f.sent);
  at.put("received_frames", f.received);
  at.put("lost_frames", f.lost);
  at.put("lost_share", ratio(f.lost, static_cast<double>(f.sent)));
  at.put("duplicate_frames", f.duplicates);
  at.put("reordered_frames", f.reordered);
  at.put("corrupt_frames", f.corrupt);
  at.put("truncated_frames", f.truncated);
  at.put("late_frames", f.late);
  at.put("cancelled_frames", f.cancelled);
  at.put("unverified_frames", f.unverified);
  at.put("corrupt_copies", f.corrupt_copies);
  at.put("truncated_copies", f.truncated_copies);
  at.put("jitter_ns", *f.jitter_ns);
  at.put("verification_complete", f.verification_complete);
}

void want_loss(const std::vector<FlowResult>& flows, const Wanted& at) {
  FlowResult both = flows.at(0);
  add_figures(both, flows.at(1));
  // How rows add up is tested with the rows; here it is which ones do.
  EXPECT_EQ(both.jitter_ns, std::max(*flows[0].jitter_ns, *flows[1].jitter_ns));
  EXPECT_EQ(both.lost, flows[0].lost + flows[1].lost);
  want_fates(both, at);
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const Wanted flow = at.below("flows", i);
    want_fates(flows[i], flow);
    flow.put("flow", flows[i].flow);
    flow.put("kind", i == 0 ? "data" : "reply");
    flow.put("from", flows[i].from);
    flow.put("to", flows[i].to);
    for (std::size_t gap = 0; gap < flows[i].gaps.size(); ++gap) {
      flow.below("gaps", gap).put("0", flows[i].gaps[gap].first);
      flow.below("gaps", gap).put("1", flows[i].gaps[gap].second);
    }
  }
}

void want_tcp_sample(const TcpSample& tcp, const Wanted& at) {
  at.put("retransmits", tcp.retransmits);
  at.put("rtt_ns", tcp.rtt_ns);
  at.put("rttvar_ns", tcp.rttvar_ns);
  at.put("snd_cwnd_bytes", tcp.cwnd_bytes);
  at.put("mss_bytes", tcp.mss_bytes);
  at.put("pmtu_bytes", tcp.pmtu_bytes);
}

void want_interval(const IntervalResult& i, const Wanted& at) {
  at.put("at_seconds", i.at_seconds);
  at.put("seconds", i.seconds);
  at.put("tx_frames", i.tx_frames);
  at.put("tx_bytes", i.tx_bytes);
  at.put("rx_frames", i.rx_frames);
  at.put("rx_bytes", i.rx_bytes);
  at.put("lost_frames", i.lost_frames);
  at.put("overruns", i.overruns);
  at.put("latency_mean_ns", *i.latency_mean_ns);
  at.put("latency_p50_ns", *i.latency_p50_ns);
  at.put("latency_p99_ns", *i.latency_p99_ns);
  at.put("latency_max_ns", *i.latency_max_ns);
  at.put("measured", i.measured);
  want_tcp_sample(*i.tcp, at.below("tcp"));
}

void want_tcp(const TcpResult& t, const Wanted& at) {
  at.put("retransmits", t.retransmits);
  at.put("rtt_ns_min", t.rtt_ns_min);
  at.put("rtt_ns_mean", t.rtt_ns_mean);
  at.put("rtt_ns_max", t.rtt_ns_max);
  at.put("samples", t.samples);
  at.put("snd_cwnd_bytes_max", t.cwnd_bytes_max);
  at.put("mss_bytes", t.mss_bytes);
  at.put("pmtu_bytes", t.pmtu_bytes);
  at.put("congestion", t.congestion);
  at.put("send_buffer_bytes", t.send_buffer_bytes);
  at.put("receive_buffer_bytes", t.receive_buffer_bytes);
  at.put("dscp", t.dscp);
}

void want_counts(const CountsResult& c, const Wanted& at) {
  at.put("generator_tx_frames", c.generator_tx);
  at.put("receiver_rx_frames", c.receiver_rx);
  at.put("receiver_foreign_frames", c.receiver_foreign);
  at.put("wire_tx_frames", *c.wire.tx_frames);
  at.put("wire_tx_bytes", *c.wire.tx_bytes);
  at.put("wire_rx_frames", *c.wire.rx_frames);
  at.put("wire_rx_bytes", *c.wire.rx_bytes);
  at.put_there("wire_lost_frames", *c.wire.lost_frames);
  at.put("wire_lost_is_lower_bound", c.wire.lost_is_lower_bound);
  at.put("wire_overruns", *c.wire.overruns);
  at.put("wire_dropped_frames", *c.wire.dropped_frames);
  at.put("wire_corrupt", *c.wire.corrupt);
  at.put_there("agree", *c.agree);
}

void want_cpu(const CpuResult& c, std::uint64_t frames, const Wanted& at) {
  at.put("user_seconds", c.user_seconds);
  at.put("system_seconds", c.system_seconds);
  at.put("frames_per_busy_second", ratio(frames, c.user_seconds + c.system_seconds));
  at.put("voluntary_switches", c.voluntary_switches);
  at.put("involuntary_switches", c.involuntary_switches);
  at.put("minor_faults", c.minor_faults);
  at.put("major_faults", c.major_faults);
}

constexpr std::array<const char*, 5> kEngines{"bus", "packet", "host", "tap", "udp"};
constexpr std::array<const char*, 5> kStates{"reaped", "exited", "finishing", "verifying",
                                             "draining"};

void want_job(const JobResult& job, const DistinctSample::Job& times, std::size_t number,
              const Wanted& at) {
  at.put("jobname", job.name);
  at.put("groupname", job.group);
  at.put("peer_of", job.peer_of);
  at.put("rw", "txrx");
  at.put("engine", kEngines.at(number));
  at.put("address", job.address);
  at.put("state", kStates.at(number));
  at.put("passed", job.passed);
  at.put("error", job.errors[0] + "; " + job.errors[1]);
  at.put("errors.0", job.errors[0]);
  at.put("errors.1", job.errors[1]);
  at.put("exit_status", *job.exit_status);
  at.put("exit_signal", *job.exit_signal);
  at.put("pid", job.pid);
  at.put("thread", job.thread);
  for (const auto& [name, value] : job.options) at.put("options." + name, value);
  at.put("runtime_seconds", *job.runtime_seconds);
  want_directions(job.tx, job.rx, at);
  want_loss(job.flows, at.below("loss"));
  want_listed_times(times.latency, at.below("latency_ns"));
  want_listed_times(times.service, at.below("service_ns"));
  want_times(times.spacing_error, at.below("spacing_error_ns"));
  for (const char* key : {"loss", "latency_ns", "service_ns", "spacing_error_ns", "tcp", "cpu"}) {
    at.put_no_reason(key);
  }
  at.put_there("overruns", *job.overruns);
  at.put("overrun_frames", *job.overrun_frames);
  constexpr std::array kClasses{"tx", "rx", "verify", "overrun", "lock"};
  for (std::size_t i = 0; i < kClasses.size(); ++i) {
    const Wanted errors = at.below("errors_by_class").below(kClasses.at(i));
    errors.put("count", *job.errors_by_class.at(i).count);
    errors.put("first", job.errors_by_class.at(i).first);
    errors.put("reason", job.errors_by_class.at(i).reason);
  }
  want_tcp(*job.tcp, at.below("tcp"));
  want_counts(job.counts, at.below("counts"));
  want_cpu(*job.cpu, job.tx.frames + job.rx.frames, at.below("cpu"));
  at.put_there("start_skew_ns", *job.start_skew_ns);
  at.put_there("rate_ci95_share", *job.rate_ci_share);
  at.put_there("limit_fps", *job.limit_fps);
  // The share of the harness's limit is that of the faster direction.
  const double rate =
      std::max(ratio(job.tx.frames, job.tx.seconds), ratio(job.rx.frames, job.rx.seconds));
  at.put("limit_share", rate / *job.limit_fps);
  for (std::size_t i = 0; i < job.intervals.size(); ++i) {
    want_interval(job.intervals[i], at.below("intervals", i));
  }
}

void want_group(const RunResult& run, std::size_t number, const DistinctSample::Group& times,
                const Wanted& at) {
  const GroupResult& group = run.groups.at(number);
  at.put("groupname", group.name);
  for (std::size_t i = 0; i < group.jobs.size(); ++i) {
    at.put("jobnames." + std::to_string(i), group.jobs[i]);
  }
  want_directions(group.tx, group.rx, at);
  want_fates(group.loss, at.below("loss"));
  want_times(times.latency, at.below("latency_ns"));
  want_times(times.service, at.below("service_ns"));
  CpuResult sum;
  for (std::size_t i = number == 0 ? 0 : 2; i < (number == 0 ? 2 : 5); ++i) {
    add_figures(sum, *run.jobs.at(i).cpu);
  }
  want_cpu(sum, group.tx.frames + group.rx.frames, at.below("cpu"));
  at.put_there("start_skew_ns", *group.start_skew_ns);
  for (const char* key : {"loss", "latency_ns", "service_ns", "cpu"}) at.put_no_reason(key);
}

void want_link(const LinkResult& l, const Wanted& at) {
  at.put("wire", l.wire);
  at.put("jobname", l.job);
  at.put("direction", l.direction);
  at.put("options", l.options);
  at.put("frames", l.faults.frames);
  at.put("lost_frames", l.faults.lost);
  at.put("duplicated_frames", l.faults.duplicated);
  at.put("reordered_frames", l.faults.reordered);
  at.put("corrupted_frames", l.faults.corrupted);
  at.put("truncated_frames", l.faults.truncated);
  at.put("queue_full_frames", l.faults.queue_full);
  at.put("under_way_frames", l.faults.under_way);
}

void want_search(const SearchResult& s, const char* kind, const Wanted& at) {
  at.put("jobname", s.job);
  at.put("kind", kind);
  at.put("frame_bytes", s.frame_bytes);
  at.put("found_fps", *s.found_fps);
  at.put("found_bps", *s.found_bps);
  at.put("why_none", s.why_none);
  at.put("limited_by_maximum", s.limited_by_maximum);
  at.put("limit_fps", *s.limit_fps);
  at.put("limit_share", *s.found_fps / *s.limit_fps);
  at.put("shown_trial.number", *s.shown->number);
  at.put("shown_trial.offered_fps", *s.shown->offered_fps);
  at.put("shown_trial.passed", false);
  for (std::size_t i = 0; i < s.trials.size(); ++i) {
    const TrialResult& t = s.trials[i];
    const Wanted trial = at.below("trials", i);
    trial.put("jobname", t.job);
    trial.put("frame_bytes", t.frame_bytes);
    trial.put("offered_fps", t.offered_fps);
    trial.put("achieved_fps", t.achieved_fps);
    trial.put("lost_share", t.loss_share);
    trial.put("latency_percentile_ns", *t.latency_percentile_ns);
    trial.put("sender_late_ns", *t.sender_late_ns);
    trial.put("limit_share", t.offered_fps / *s.limit_fps);
    trial.put("passed", t.passed);
  }
}

void want_machine(const MachineResult& m, const Wanted& at) {
  at.put("hostname", m.hostname);
  at.put("kernel", m.kernel);
  at.put("cpu_model", m.cpu_model);
  at.put("cpus", m.cpus);
  at.put("frequency_mhz", *m.frequency_mhz);
  at.put("memory_bytes", m.memory_bytes);
  at.put("clock_source", m.clock_source);
  at.put("virtualization", m.virtualization);
  for (std::size_t i = 0; i < m.window.size(); ++i) {
    const Wanted cpu = at.below("cpu_window", i);
    cpu.put("cpu", m.window[i].cpu);
    cpu.put("user_share", m.window[i].user);
    cpu.put("system_share", m.window[i].system);
    cpu.put("idle_share", m.window[i].idle);
    cpu.put("steal_share", m.window[i].steal);
    cpu.put("irq_share", m.window[i].irq);
  }
}

void want_causes(const RunCauses& causes, Figures& all) {
  for (std::size_t i = 0; i < causes.causes.size(); ++i) {
    const Cause& cause = causes.causes[i];
    const Wanted at{all, "causes." + std::to_string(i)};
    at.put("job", cause.job);
    at.put("cause", i == 0 ? "waited_for_cpu" : "device_queue");
    at.put("begin_s", cause.begin_s);
    at.put("end_s", cause.end_s);
    at.put("share", cause.share);
    at.put("of_losses_share", *cause.of_losses_share);
    at.put("counted", i == 1);
    at.put("sentence", cause.sentence);
  }
  all["causes_reason"] = nullptr;
  const Wanted at{all, "why"};
  at.put("seconds", causes.seconds);
  at.put("looks", causes.looks);
  at.put("own_cpu_share", causes.own_share);
  at.put("missing.0.source", "the-source");
  at.put("missing.0.reason", "the-reason");
}

Figures wanted_of(const DistinctSample& sample) {
  const RunResult& run = sample.run;
  Figures all{{"shmifperf_version", "the-version"},
              {"format_version", 1},
              {"passed", false},
              {"exit_code", 143},
              {"stopped_by_signal", 15},
              {"failures.0", "the-failure"},
              {"failures.1", "another-failure"},
              {"time.began", "2025-11-21T04:40:00.123Z"},
              {"time.ended", "2025-11-21T04:40:32.573Z"},
              {"time.seconds", 32.45},
              {"command.0", "the-command"},
              {"command.1", "the argument"},
              {"options.output_format", "json+"},
              {"shown_run", 7},
              {"steady_state", "the-steady-state"}};
  want_machine(run.machine, {all, "machine"});
  for (std::size_t i = 0; i < run.jobs.size(); ++i) {
    want_job(run.jobs[i], sample.jobs.at(i), i, {all, "jobs." + std::to_string(i)});
  }
  for (std::size_t i = 0; i < run.groups.size(); ++i) {
    want_group(run, i, sample.groups.at(i), {all, "groups." + std::to_string(i)});
  }
  for (std::size_t i = 0; i < run.links.size(); ++i) {
    want_link(run.links[i], {all, "links." + std::to_string(i)});
  }
  want_search(run.searches.at(0), "ndr", {all, "searches.0"});
  want_search(run.searches.at(1), "pdr", {all, "searches.1"});
  for (std::size_t i = 0; i < run.repeats.size(); ++i) {
    const RepeatFigure& r = run.repeats[i];
    const Wanted at{all, "repeats." + std::to_string(i)};
    at.put("jobname", r.job);
    at.put("figure", r.figure);
    for (std::size_t n = 0; n < r.values.size(); ++n) {
      at.put("values." + std::to_string(n), r.values[n]);
    }
    at.put("median", r.median);
    at.put("min", r.min);
    at.put("max", r.max);
  }
  for (std::size_t i = 0; i < run.steady_states.size(); ++i) {
    const SteadyStateResult& s = run.steady_states[i];
    const Wanted at{all, "steady_states." + std::to_string(i)};
    at.put("jobname", s.job);
    at.put("figure", s.figure);
    at.put("limit", s.limit);
    at.put("limit_is_share", s.limit_is_share);
    at.put("window_seconds", s.window_seconds);
    at.put("ramp_seconds", s.ramp_seconds);
    at.put("value", *s.value);
    at.put("reached", true);
    at.put("reached_at_seconds", *s.reached_at_seconds);
  }
  want_causes(run.causes, all);
  return all;
}

/// Without the sentences about what went wrong, which distinct.txt has.
Figures shown_of(Bins bins) {
  Figures shown = test::flattened(Json::parse(to_json(test::distinct_sample().run, bins)));
  std::erase_if(shown, [](const auto& figure) {
    return figure.first.starts_with("warnings.") ||
           figure.first.find(".problems.") != std::string::npos;
  });
  return shown;
}

TEST(JsonFigures, EachKeyHoldsTheFigureThatItIsNamedForAndNoneIsUnknown) {
  test::expect_figures(wanted_of(test::distinct_sample()), shown_of(Bins::with));
}

TEST(JsonFigures, NoTwoNumbersOfTheSampleAreAlikeAndNoneIsNothing) {
  std::map<double, std::string> places;
  for (const auto& [place, value] : shown_of(Bins::without)) {
    if (place.ends_with("_reason")) continue;  // what is there needs none
    // The jitter of a job is the greatest of its flows'.
    if (place.ends_with(".loss.jitter_ns") && place.starts_with("jobs.")) continue;
    EXPECT_FALSE(value.is_null() || value.is_structured()) << place;
    if (!value.is_number()) continue;
    EXPECT_NE(value.get<double>(), 0) << place;
    const auto [other, is_new] = places.try_emplace(value.get<double>(), place);
    EXPECT_TRUE(is_new) << place << " and " << other->second << " are " << value;
  }
  EXPECT_GT(places.size(), 1000U);
}

}  // namespace
}  // namespace shmif::perf::figures_json
