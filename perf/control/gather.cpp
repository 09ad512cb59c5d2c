#include "perf/control/gather.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/text.hpp"
#include "perf/frame/schedule.hpp"
#include "perf/stats/confidence.hpp"

namespace shmif::perf {
namespace {

double seconds(std::uint64_t from_ns, std::uint64_t to_ns) {
  return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9 : 0;
}

/// Times on CLOCK_MONOTONIC; {0, 0} if there is no window.
using Span = std::pair<std::uint64_t, std::uint64_t>;

/// Sets the window of `traffic`. An incomplete window counts as no window.
void set_window(TrafficResult& traffic, Span window) {
  if (window.first == 0 || window.second <= window.first) window = {};
  std::tie(traffic.begin_ns, traffic.end_ns) = window;
  traffic.seconds = seconds(window.first, window.second);
}

/// The time from the beginning of the earlier window to the end of the later one.
Span around(Span a, Span b) {
  if (a.first == 0) return b;
  if (b.first == 0) return a;
  return {std::min(a.first, b.first), std::max(a.second, b.second)};
}

TrafficResult tx_of(const JobBlock& b, const JobOptions& o) {
  TrafficResult tx = b.sent[Period::window].get();
  tx.first_error = b.first_tx_error.get();
  tx.ramp_frames = b.sent[Period::ramp][&TrafficResult::frames].get();
  set_window(tx, {b.window_begin_ns.load(), b.window_end_ns.load()});
  const std::uint64_t until = b.offered_until_ns.get();
  tx.offered_seconds = until == 0 ? tx.seconds : seconds(b.window_begin_ns.load(), until);
  tx.paced = o.rate_fps.tx != 0 || o.rate_bps.tx != 0 || (!o.replay.empty() && !o.replay_no_stall);
  if (tx.paced && o.rate_catchup != CatchUp::burst) {
    tx.catchup_tolerance_ns = ns(ScheduleOptions{}.stall);
  }
  return tx;
}

TrafficResult rx_of(const JobBlock& b) {
  TrafficResult rx = b.received[Period::window].get();
  rx.first_error = b.first_rx_error.get();
  rx.ramp_frames = b.received[Period::ramp][&TrafficResult::frames].get();
  return rx;
}

/// The receiver's own window, by which its rates are divided. Compared with the sender's window, it
/// begins later by the transit time of the first frame, and ends later by that of the last one. So
/// a medium that only delays does not lower the rate. The window never ends before the last frame.
Span rx_window(std::span<const ControlledJob> jobs, std::size_t to,
               const std::vector<std::size_t>& flows) {
  Span window{UINT64_MAX, 0};
  for (const std::size_t i : flows) {
    const FlowBlock& flow = *jobs[i].flow;
    const FlowArrivals& arrivals = arrivals_of(jobs, i, to);
    const std::uint64_t begin = flow.measure_from_ns.load();
    if (begin == 0) continue;
    const std::uint64_t end = std::max(flow.window_end_ns.load(), flow.rate_end_ns.get());
    window.first = std::min(window.first, begin + arrivals.first_transit_ns.get());
    window.second = std::max({window.second, end == 0 ? 0 : end + arrivals.last_transit_ns.get(),
                              arrivals.last_arrival_ns.get()});
  }
  return window.first == UINT64_MAX ? Span{} : window;
}

/// How many frames a flow has sent in its window, and how many of these before its receiver
/// stopped.
struct Sent {
  std::uint64_t frames = 0;
  std::uint64_t judged = 0;
};

Sent sent_of(const ControlledJob& from, const FlowArrivals& arrivals, bool of_replies) {
  const std::uint64_t judged = arrivals.all_judged.get();
  if (of_replies) return {from.echo->replies[Period::window].get(), judged};
  const FlowBlock& f = *from.flow;
  const std::uint64_t begin = f.first.get() + f.ramp_sent.get();
  // A killed sender may have published only one of the two numbers.
  const auto behind = [begin](std::uint64_t number) { return number - std::min(number, begin); };
  return {behind(f.all_sent.get()), behind(judged)};
}

/// Fills in the fates of frames that never arrived whole, as the receiver counted them.
void take_fates(const FlowArrivals& a, FlowResult& r) {
  r.corrupt = a.corrupt.get();
  r.truncated = a.truncated.get();
  r.corrupt_copies = a.corrupt_copies.get();
  r.truncated_copies = a.truncated_copies.get();
  r.unverified = a.unverified.get();
  r.lost = a.lost.get();
}

/// The same for a receiver that was killed. Damaged frames are counted as they arrived. Lost frames
/// are those that it had missed by then. No receiver took the other frames.
void guess_fates(const FlowArrivals& a, FlowResult& r) {
  std::uint64_t left = r.sent - std::min(r.sent, r.received + r.late);
  const auto take = [&left](std::uint64_t max) {
    const std::uint64_t taken = std::min(max, left);
    left -= taken;
    return taken;
  };
  r.corrupt = take(a.corrupt.get());
  r.corrupt_copies = a.corrupt.get() - r.corrupt;
  r.truncated = take(a.truncated.get());
  r.truncated_copies = a.truncated.get() - r.truncated;
  const std::uint64_t missed = a.lost_so_far.get();
  r.lost = take(missed - std::min(missed, r.corrupt + r.truncated));
  r.cancelled = left;
}

/// In a pingpong job, the flow with the job's own number consists of the replies.
void name_ends(std::span<const ControlledJob> jobs, std::size_t number, std::size_t to,
               FlowResult& r) {
  const JobOptions& sender = jobs[number].plan.options;
  const bool asks = sender.rw == Role::pingpong;
  const bool replies = asks && number == to;
  const std::size_t from = replies ? jobs[number].plan.to : number;
  r.flow = static_cast<std::uint32_t>(number);
  r.from = from == kNoJob ? sender.name : jobs[from].plan.options.name;
  r.to = jobs[to].plan.options.name;
  if (jobs[to].plan.options.verify_only) r.from = "an earlier run";
  if (asks) r.kind = replies ? FlowResult::Kind::reply : FlowResult::Kind::request;
}

/// Whether the counts of a job are complete. A killed or stuck job may have sent a batch without
/// counting it.
bool has_counted_all(const ControlledJob& job) {
  return job.block->state.load(std::memory_order_acquire) == JobState::exited;
}

FlowResult flow_result(std::span<const ControlledJob> jobs, std::size_t number, std::size_t to) {
  const ControlledJob& from = jobs[number];
  const FlowArrivals& a = arrivals_of(jobs, number, to);
  FlowResult r;
  name_ends(jobs, number, to, r);
  // If no job counts the replies, each request should have had one.
  const bool echoed = from.plan.to != kNoJob && jobs[from.plan.to].plan.options.rw == Role::echo;
  const bool replied = r.kind == FlowResult::Kind::reply && echoed;
  const Sent sent = sent_of(from, a, replied);
  r.sent = sent.frames;
  r.received = a.received.get();
  r.duplicates = a.duplicates.get();
  r.reordered = a.reordered.get();
  r.late = a.late.get();
  if (!has_counted_all(replied ? jobs[from.plan.to] : from)) {
    r.sent = std::max(r.sent, r.received + r.late);  // frames that arrived were sent
  }
  const bool told = a.complete.load(std::memory_order_acquire);
  if (told) take_fates(a, r);
  if (!told) guess_fates(a, r);
  // Frames sent after the receiver had ended early are cancelled.
  if (told) r.cancelled = sent.frames - std::min(sent.frames, sent.judged);
  // A job that was stopped before it began, for example, has sent no frame. Then there is nothing
  // to verify.
  const bool nothing = from.flow->all_sent.get() == from.flow->first.get();
  r.verification_complete = nothing || (told && r.unverified == 0);
  for (std::size_t i = 0; i < a.gap_count.get(); ++i)
    r.gaps.emplace_back(a.gaps[i][0], a.gaps[i][1]);
  if (a.jitter_ps.get() != 0) r.jitter_ns = static_cast<double>(a.jitter_ps.get() - 1) / 1000;
  return r;
}

/// How many frames came out of a fault link when `frames` went in.
std::uint64_t behind_faults(std::uint64_t frames, const std::atomic<bool>& has_faults,
                            const FaultsMade& faults) {
  if (!has_faults.load(std::memory_order_acquire)) return frames;
  const std::uint64_t less = faults.lost + faults.queue_full + faults.under_way;
  return frames + faults.duplicated - std::min(frames + faults.duplicated, less);
}

/// The kernel of an emulated host may drop some of the job's frames. Its count of drops may include
/// other frames.
bool agree_but_for(std::uint64_t drops, std::uint64_t more, std::uint64_t fewer) {
  return more >= fewer && more - fewer <= drops;
}

std::uint64_t damaged_on_wire(std::span<const ControlledJob> jobs) {
  std::uint64_t damaged = 0;
  const auto add = [&damaged](const std::atomic<bool>& has_faults, const FaultsMade& made) {
    if (has_faults.load(std::memory_order_acquire)) damaged += made.corrupted + made.truncated;
  };
  for (const ControlledJob& job : jobs) {
    const JobBlock& b = *job.block;
    if (!b.faults_on_wire.load(std::memory_order_acquire)) continue;
    add(b.has_faults_sent, b.faults_sent);
    add(b.has_faults_received, b.faults_received);
  }
  return damaged;
}

/// `damaged`: frames of the run that faults damaged on the wire. The kernel of an emulated host
/// drops those that it receives.
CountsResult counts_of(const JobBlock& b, std::uint64_t damaged) {
  CountsResult c;
  c.generator_tx = b.all_tx_frames.get();
  c.receiver_rx = b.all_rx_frames.get();
  c.receiver_foreign = c.receiver_others = b.all_foreign.get();
  c.wire = b.wire.get();
  if (const auto tx = b.kernel_tx_drops.get(), rx = b.kernel_rx_drops.get(); tx && rx) {
    c.wire.dropped_frames = c.wire.dropped_frames.value_or(0) + *tx + *rx;
    // These are frames of address resolution and the like. With TCP, all segments are the kernel's
    // own.
    if (c.wire.tx_frames) c.receiver_foreign += b.wire_foreign.get();
  }
  // With faults before the wire, an end sees more or fewer frames than the medium. It is known how
  // many.
  const bool on_wire = b.faults_on_wire.load(std::memory_order_acquire);
  const std::uint64_t tx_drops = b.kernel_tx_drops.get().value_or(0);
  const std::uint64_t rx_drops = b.kernel_rx_drops.get().value_or(0) + (on_wire ? damaged : 0);
  if (c.wire.tx_frames) {
    const std::uint64_t left =
        on_wire ? c.generator_tx : behind_faults(c.generator_tx, b.has_faults_sent, b.faults_sent);
    c.agree = agree_but_for(tx_drops, left, *c.wire.tx_frames);
  }
  if (c.wire.rx_frames) {
    const std::uint64_t come =
        on_wire ? *c.wire.rx_frames
                : behind_faults(*c.wire.rx_frames, b.has_faults_received, b.faults_received);
    c.agree = c.agree.value_or(true) && agree_but_for(rx_drops, come, c.receiver_rx);
  }
  if (c.wire.lost_is_lower_bound && c.agree.value_or(false)) c.agree.reset();
  return c;
}

std::optional<double> rate_interval(const std::vector<IntervalResult>& intervals) {
  std::vector<double> rates;
  for (const IntervalResult& i : intervals) {
    const std::uint64_t frames = std::max(i.tx_frames, i.rx_frames);
    if (i.measured && frames != 0) rates.push_back(static_cast<double>(frames) / i.seconds);
  }
  if (rates.size() < 3) return std::nullopt;
  const auto rate = estimate(rates);
  return rate ? rate->half_width_share() : std::nullopt;
}

/// Marks the intervals that lie in the window. A job closes its intervals a little late.
void mark_measured(std::vector<IntervalResult>& intervals, std::uint64_t start_ns, Span window) {
  const double from = seconds(start_ns, window.first);
  const double to = seconds(start_ns, window.second);
  double longest = 0;
  for (const IntervalResult& i : intervals) longest = std::max(longest, i.seconds);
  for (IntervalResult& i : intervals) {
    // In a very short interval, one or two frames can make any rate.
    if (i.seconds < 0.1 * longest) i.measured = false;
    if (!i.measured) continue;
    const double slack = 0.02 * i.seconds;
    i.measured = i.at_seconds - i.seconds >= from - slack && i.at_seconds <= to + slack &&
                 i.at_seconds > from;
  }
}

/// Empty if the kernel gave no values in the measured window.
std::optional<TcpResult> tcp_of(const JobBlock& b) {
  TcpResult tcp = b.tcp.get();
  if (tcp.samples == 0) return std::nullopt;
  tcp.congestion = b.congestion.get();
  return tcp;
}

std::shared_ptr<LatencyHistogram> copy_of(const LatencyHistogram& histogram) {
  return std::make_shared<LatencyHistogram>(histogram);
}

/// When the first jobs began; 0 if no job began.
std::uint64_t first_start_ns(std::span<const ControlledJob> jobs) {
  std::uint64_t first = 0;
  for (const ControlledJob& job : jobs) {
    const std::uint64_t start = job.block->start_ns.load();
    if (start != 0 && (first == 0 || start < first)) first = start;
  }
  return first;
}

/// For shares.hpp: the job may send or receive.
HalfFlow half_of(const ControlledJob& job) {
  const FlowBlock& flow = *job.flow;
  HalfFlow half;
  if (flow.sent_log != nullptr) {
    half.marks = flow.sent_log->marks();
    half.window_begin_ns = job.block->window_begin_ns.load();
    half.window_end_ns = job.block->window_end_ns.load();
    half.first_number = flow.first.get();
    half.end_number = flow.all_sent.get();
  }
  if (!job.plan.options.verify_only) return half;
  // A job that was killed listened until it was killed, which was before its end was seen.
  const std::uint64_t until = flow.listened_until_ns.get();
  if (until != 0 || job.ended_ns != 0) half.listened_until_ns = until != 0 ? until : job.ended_ns;
  half.first_arrival_ns = flow.first_arrival_ns.get();
  half.last_arrival_ns = flow.last_arrival_ns.get();
  half.corrupt_apart = flow.corrupt_apart.get();
  half.truncated_apart = flow.truncated_apart.get();
  half.first_number = flow.first_number.get();
  half.end_number = flow.end_number.get();
  return half;
}

/// Which job it is, and how its process ended.
void describe_job(const ControlledJob& job, JobResult& r) {
  const JobBlock& b = *job.block;
  r.name = job.plan.options.name;
  r.group = job.plan.group;
  r.peer_of = job.plan.peer_of;
  r.role = job.plan.options.rw;
  r.engine = job.plan.options.engine;
  r.address = b.address.get();
  r.state = job.never_started ? job.block->state.load() : JobState::reaped;
  r.thread = job.plan.options.thread;
  for (const auto& [name, value] : job.plan.options.given) r.options[name] = value;
  if (job.plan.options.other_end_elsewhere) r.half = half_of(job);
  if (job.runner) {
    r.pid = job.runner->pid();
    r.exit_status = job.runner->exit().status;
    r.exit_signal = job.runner->exit().signal;
  }
}

/// Adds what a job sent and received, and when.
void add_traffic(std::span<const ControlledJob> jobs, std::size_t number, JobResult& r) {
  const ControlledJob& job = jobs[number];
  const JobBlock& b = *job.block;
  r.tx = tx_of(b, job.plan.options);
  r.rx = rx_of(b);
  r.tx.of_program = r.rx.of_program = !job.plan.options.exec.empty();
  const std::vector<std::size_t> flows = flows_to(jobs, number);
  set_window(r.rx, rx_window(jobs, number, flows));
  // An echo job sends replies as requests arrive.
  if (r.role == Role::echo) {
    set_window(r.tx, {r.rx.begin_ns, r.rx.end_ns});
    r.tx.offered_seconds = r.tx.seconds;
  }
  const double longest = std::max(r.tx.seconds, r.rx.seconds);
  if (longest > 0) r.runtime_seconds = longest;
  for (const std::size_t i : flows) {
    r.flows.push_back(flow_result(jobs, i, number));
  }
}

void add_overruns(const JobBlock& b, JobResult& r) {
  // For an emulated host, these are the counts of its port; the job itself sees no overruns.
  if (r.engine == EngineKind::host) {
    r.overruns = b.port_overruns.get();
    r.overrun_frames = b.port_lost_frames.get();
  } else if (engine_of(r.engine).capabilities.overruns && receives(r.role)) {
    r.overruns = b.received[Period::window].overruns.get();
    r.overrun_frames = b.received[Period::window].overrun_frames.get();
  }
}

/// Why a job cannot have errors of that class; empty if it can.
std::string why_no_errors(const ControlledJob& job, ErrorClass error) {
  const JobOptions& o = job.plan.options;
  if (!o.exec.empty()) return "a program reports its own errors";
  if (job.never_started) return "this job did not start";
  const bool is_sent = error == ErrorClass::tx || error == ErrorClass::lock;
  if (is_sent && o.rw == Role::rx) return "this job does not send";
  if (error == ErrorClass::lock && o.engine != EngineKind::bus) return "only a bus has a lock";
  if (is_sent) return "";
  if (!receives(o.rw)) return "this job does not receive";
  if (error == ErrorClass::verify && !o.verify) return "this job does not verify (verify=0)";
  const bool pauses = job.block->overruns_are_errors.load(std::memory_order_relaxed);
  if (error == ErrorClass::overrun && !pauses) {
    if (o.engine == EngineKind::host) return "the job of a host does not see overruns of its port";
    return "an overrun is an error only on a bus that pauses its senders (bus_pause)";
  }
  return "";
}

void add_errors_by_class(const ControlledJob& job, JobResult& r) {
  for (const ErrorClass error : kErrorClasses) {
    const auto index = static_cast<std::size_t>(error);
    ClassErrors& errors = r.errors_by_class[index];
    errors.reason = why_no_errors(job, error);
    if (!errors.reason.empty()) continue;
    errors.count = job.block->errors_by_class[index].count.get();
    errors.first = job.block->errors_by_class[index].first.get();
  }
}

void add_histograms(const ControlledJob& job, JobResult& r) {
  const JobBlock& b = *job.block;
  // The histograms of a stuck thread may change while they are read.
  const bool ended = !job.runner || job.runner->ended_already();
  r.latency = ended ? copy_of(b.latency) : std::make_shared<LatencyHistogram>();
  r.service = ended ? copy_of(b.service) : std::make_shared<LatencyHistogram>();
  r.spacing_error = ended ? copy_of(b.spacing_error) : std::make_shared<LatencyHistogram>();
}

JobResult job_result(std::span<const ControlledJob> jobs, std::size_t number) {
  const ControlledJob& job = jobs[number];
  const JobBlock& b = *job.block;
  JobResult r;
  describe_job(job, r);
  add_traffic(jobs, number, r);
  r.counts = counts_of(b, damaged_on_wire(jobs));
  add_overruns(b, r);
  add_errors_by_class(job, r);
  if (b.cpu_known.load(std::memory_order_acquire)) r.cpu = b.cpu;
  add_histograms(job, r);
  r.tcp = tcp_of(b);
  r.percentile_list = job.plan.options.percentile_list;
  r.intervals = job.intervals;
  mark_measured(r.intervals, first_start_ns(jobs),
                around({r.tx.begin_ns, r.tx.end_ns}, {r.rx.begin_ns, r.rx.end_ns}));
  if (b.start_skew_ns.load() != UINT64_MAX) r.start_skew_ns = b.start_skew_ns.load();
  r.rate_ci_share = rate_interval(r.intervals);
  r.errors = job.errors;
  return r;
}

void add(TrafficResult& sum, const TrafficResult& one) {
  add_figures(sum, one);
  // The jobs need not run at the same time.
  set_window(sum, around({sum.begin_ns, sum.end_ns}, {one.begin_ns, one.end_ns}));
}

void add(GroupResult& group, const JobResult& job) {
  group.jobs.push_back(job.name);
  add(group.tx, job.tx);
  add(group.rx, job.rx);
  for (const FlowResult& flow : job.flows) group.loss += flow;
  group.latency->merge(*job.latency);
  group.service->merge(*job.service);
  if (job.start_skew_ns) {
    group.start_skew_ns = std::max(group.start_skew_ns.value_or(0), *job.start_skew_ns);
  }
}

void add_links(const ControlledJob& job, RunResult& result) {
  const JobBlock& b = *job.block;
  const JobOptions& o = job.plan.options;
  if (b.has_faults_sent.load(std::memory_order_acquire)) {
    result.links.push_back({b.address.get(), o.name, "sent", b.faults_sent, to_string(o.fault)});
  }
  if (b.has_faults_received.load(std::memory_order_acquire)) {
    result.links.push_back(
        {b.address.get(), o.name, "received", b.faults_received, to_string(o.fault_rx)});
  }
}

/// Warns about frames that a job lost because it ended before it had read them.
void add_unread(const JobBlock& b, const JobResult& job, RunResult& result) {
  const std::uint64_t unread = b.unread_frames.get().value_or(0);
  std::uint64_t lost = 0;
  for (const FlowResult& flow : job.flows) lost += flow.lost;
  if (unread == 0 || lost == 0 || !job.errors.empty()) return;
  result.warnings.push_back(job.name + ": lost " + base::counted(lost, "frame") +
                            "; when its drain_time ended, it had " +
                            base::counted(unread, "frame") + " of " + job.address +
                            " still to read (give a longer drain_time)");
}

}  // namespace

void gather(std::span<const ControlledJob> jobs, RunResult& result) {
  std::map<std::string, std::size_t> group_of;
  const bool has_faults = std::ranges::any_of(jobs, [](const ControlledJob& job) {
    return job.block->has_faults_sent.load(std::memory_order_acquire) ||
           job.block->has_faults_received.load(std::memory_order_acquire);
  });
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    result.jobs.push_back(job_result(jobs, i));
    JobResult& job = result.jobs.back();
    judge(jobs[i], job, has_faults);
    add_links(jobs[i], result);
    add_unread(*jobs[i].block, job, result);
    const std::string warning = jobs[i].block->warning.get();
    if (!warning.empty()) result.warnings.push_back(job.name + ": " + warning);
    const auto [at, is_new] = group_of.try_emplace(job.group, result.groups.size());
    if (is_new) {
      GroupResult group;
      group.name = job.group;
      group.latency = std::make_shared<LatencyHistogram>();
      group.service = std::make_shared<LatencyHistogram>();
      result.groups.push_back(std::move(group));
    }
    add(result.groups[at->second], job);
    for (const std::string& error : job.errors) {
      // The two ends of a connection often fail alike.
      const auto says_it = [&](const std::string& failure) { return failure.ends_with(error); };
      if (!job.peer_of.empty() && std::ranges::any_of(result.failures, says_it)) continue;
      result.failures.push_back("job \"" + job.name + "\": " + error);
    }
  }
}

std::vector<std::size_t> flows_to(std::span<const ControlledJob> jobs, std::size_t to) {
  const JobOptions& job = jobs[to].plan.options;
  if (job.rw == Role::pingpong || job.verify_only) return {to};
  return jobs[to].senders;
}

const FlowArrivals& arrivals_of(std::span<const ControlledJob> jobs, std::size_t from,
                                std::size_t to) {
  const JobOptions& job = jobs[to].plan.options;
  if (job.rw == Role::echo && !job.verify_only) return jobs[from].echo->requests;
  return *jobs[from].flow;
}

}  // namespace shmif::perf
