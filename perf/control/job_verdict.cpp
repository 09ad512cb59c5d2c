#include <algorithm>
#include <chrono>
#include <vector>

#include "base/text.hpp"
#include "perf/control/gather.hpp"
#include "perf/control/run_state.hpp"

namespace shmif::perf {
namespace {

double seconds_between(std::uint64_t from_ns, std::uint64_t to_ns) {
  return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9 : 0;
}

/// From the job's start to the end of its runtime; 0 if it has no runtime.
double length_of(const JobOptions& o) {
  if (o.runtime.count() == 0) return 0;
  return std::chrono::duration<double>(o.start_delay + o.ramp_time + o.runtime).count();
}

/// How much of its limits in frames and bytes the job has done: the greatest share; 0 if it has no
/// limits.
double sent_share(const JobOptions& o, const JobBlock& b) {
  const auto share = [](std::uint64_t done, std::uint64_t limit) {
    return limit == 0 ? 0 : static_cast<double>(done) / static_cast<double>(limit);
  };
  if (o.time_based && o.runtime.count() > 0) return 0;
  const std::uint64_t bytes = b.all_tx_bytes.get();
  return std::max({share(b.all_tx_frames.get(), o.number_ios),
                   share(bytes, o.size_bytes * std::max<std::uint64_t>(o.loops, 1)),
                   share(bytes, o.io_limit_bytes)});
}

class Estimator {
 public:
  Estimator(std::span<const ControlledJob> jobs, std::uint64_t now_ns)
      : jobs_(jobs), now_ns_(now_ns), known_(jobs.size()), left_(jobs.size()) {}

  /// Whether the run lasts as long as this job: it sends, or has a runtime.
  bool counts(std::size_t i) const {
    const JobOptions& o = jobs_[i].plan.options;
    const bool only_answers = o.rw == Role::rx || o.rw == Role::echo;
    return !o.background && (!only_answers || length_of(o) > 0);
  }

  std::optional<double> share(std::size_t i) const {
    const ControlledJob& job = jobs_[i];
    const JobOptions& o = job.plan.options;
    if (job.over()) return 1;
    const double length = length_of(o);
    const double sent = sent_share(o, *job.block);
    const bool limited = o.number_ios != 0 || o.size_bytes != 0 || o.io_limit_bytes != 0;
    if (length == 0 && !limited) return std::nullopt;
    return std::clamp(std::max(length > 0 ? gone(job) / length : 0, sent), 0.0, 1.0);
  }

  /// The time until the job ends, including the jobs that it waits for.
  std::optional<double> left(std::size_t i) {
    if (!known_[i]) {
      known_[i] = true;  // the plan has no cycles
      left_[i] = find_left(i);
    }
    return left_[i];
  }

 private:
  double gone(const ControlledJob& job) const {
    const std::uint64_t start = job.block->start_ns.load(std::memory_order_acquire);
    return start == 0 ? 0 : seconds_between(start, now_ns_);
  }

  std::optional<double> find_left(std::size_t i) {
    const ControlledJob& job = jobs_[i];
    if (job.over()) return 0;
    double before = 0;
    for (const std::size_t other : job.plan.waits_for) {
      if (!counts(other)) continue;
      const auto wait = left(other);
      if (!wait) return std::nullopt;
      before = std::max(before, *wait);
    }
    const double length = length_of(job.plan.options);
    const double done = sent_share(job.plan.options, *job.block);
    std::optional<double> own;
    if (length > 0) own = std::max(length - gone(job), 0.0);
    if (done > 0.01) {
      const double by_count = gone(job) * (1 - std::min(done, 1.0)) / done;
      own = own ? std::min(*own, by_count) : by_count;
    }
    return own ? std::optional(before + *own) : std::nullopt;
  }

  std::span<const ControlledJob> jobs_;
  std::uint64_t now_ns_;
  std::vector<bool> known_;
  std::vector<std::optional<double>> left_;
};

JobProgress job_progress(std::span<const ControlledJob> jobs, std::size_t number) {
  const ControlledJob& job = jobs[number];
  JobProgress p;
  p.name = job.plan.options.name;
  p.group = job.plan.group;
  p.peer_of = job.plan.peer_of;
  p.state = job.state();
  if (job.runner && !job.over()) p.pid = job.runner->pid();
  p.failed = !job.errors.empty() || job.block->failed.load();
  if (!job.intervals.empty()) p.last = job.intervals.back();
  p.tx_frames = job.block->all_tx_frames.get();
  p.tx_bytes = job.block->all_tx_bytes.get();
  p.rx_frames = job.block->all_rx_frames.get();
  p.rx_bytes = job.block->all_rx_bytes.get();
  for (const std::size_t i : flows_to(jobs, number)) {
    p.lost_frames += arrivals_of(jobs, i, number).all_lost_so_far.get();
  }
  return p;
}

}  // namespace

void extend(IntervalResult& sum, const IntervalResult& next) {
  if (sum.seconds == 0) {  // an empty sum has used no CPU time
    sum.cpu_user_seconds = sum.cpu_user_seconds.value_or(0);
    sum.cpu_system_seconds = sum.cpu_system_seconds.value_or(0);
  }
  const std::uint64_t count = sum.latency_count + next.latency_count;
  if (next.latency_mean_ns && count != 0) {
    const auto share = static_cast<double>(next.latency_count) / static_cast<double>(count);
    const double mean = sum.latency_mean_ns.value_or(0);
    sum.latency_mean_ns = mean + (*next.latency_mean_ns - mean) * share;
  }
  add_figures(sum, next);
  // A frame that arrived after all is no longer lost. The rest stays in found_frames.
  const std::uint64_t back = std::min(sum.lost_frames, sum.found_frames);
  sum.lost_frames -= back;
  sum.found_frames -= back;
  if (next.tcp) {
    if (!sum.tcp) sum.tcp.emplace();
    add_figures(*sum.tcp, *next.tcp);
  }
}

RunProgress progress_of(std::span<const ControlledJob> jobs, double at_seconds,
                        std::uint64_t now_ns) {
  RunProgress p;
  p.at_seconds = at_seconds;
  Estimator estimate(jobs, now_ns);
  bool known = false;
  bool unknown = false;
  double left = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    p.jobs.push_back(job_progress(jobs, i));
    p.jobs.back().share = estimate.share(i);
    p.jobs.back().left_seconds = estimate.left(i);
    if (!estimate.counts(i)) continue;
    const auto its = p.jobs.back().left_seconds;
    known = true;
    unknown = unknown || !its;
    left = std::max(left, its.value_or(0));
  }
  if (!known || unknown) return p;
  p.left_seconds = left;
  p.share = at_seconds + left > 0 ? at_seconds / (at_seconds + left) : 0;
  return p;
}

std::uint64_t status_interval_ns(const RunOptions& options) noexcept {
  return options.status_interval.count() > 0
             ? static_cast<std::uint64_t>(options.status_interval.count())
             : 1'000'000'000;
}

namespace {

/// Whether the job should have sent in its measured window, and did not. A job that reached its
/// limit in the ramp has no window. At a low rate, it is possible that no frame was due in the
/// window.
bool stood_still(const JobOptions& o, const TrafficResult& tx) {
  if (!sends(o.rw) || tx.of_program || tx.frames != 0 || !(tx.seconds > 0)) return false;
  // A job with thinktime or flow may have to wait for longer than its window.
  if (o.thinktime.count() != 0 || o.flow != 0) return false;
  if (tx.paced) return tx.offered_frames != 0;
  // Without a pace, a job that ends before its time has reached another limit.
  constexpr double kWhole = 0.9;
  const double runtime = std::chrono::duration<double>(o.runtime).count();
  return runtime > 0 && tx.seconds >= kWhole * runtime;
}

std::string window_text(const TrafficResult& of) {
  return seconds_text(std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(of.seconds)));
}

std::string standstill(const TrafficResult& tx) {
  const std::string due =
      !tx.paced ? "sent no frame"
      : tx.offered_frames == 1
          ? "did not send the 1 frame that was due"
          : "sent none of the " + std::to_string(tx.offered_frames) + " frames that were due";
  return due + " in its measured window of " + window_text(tx) + " (" +
         (tx.refused_frames != 0 ? "the engine took no frame; is it up?"
                                 : "the causes say what held it back") +
         ')';
}

/// How many frames were sent to the job in its measured window; 0 if any of them arrived.
std::uint64_t unheard(const JobOptions& o, const JobResult& result) {
  if (!receives(o.rw) || result.rx.of_program || result.rx.frames != 0) return 0;
  if (!(result.rx.seconds > 0)) return 0;
  FlowResult all;
  for (const FlowResult& flow : result.flows) all += flow;
  const std::uint64_t came = all.received + all.corrupt + all.truncated + all.late + all.unverified;
  return came == 0 ? all.lost : 0;
}

std::string deafness(const JobOptions& o, std::uint64_t sent, const JobResult& result) {
  // Only the other server knows whether it got the requests, and so whether there were replies.
  if (o.rw == Role::pingpong && o.other_end_elsewhere) {
    return "received no reply to the " + base::counted(sent, "request") +
           " of its measured window of " + window_text(result.rx) + " (did they reach " +
           o.hostname + ", and the replies " + result.address + "?)";
  }
  const std::string missed =
      sent == 1 ? "did not receive the 1 frame that was sent to it"
                : "received none of the " + std::to_string(sent) + " frames that were sent to it";
  return missed + " in its measured window of " + window_text(result.rx) + " (did " +
         (sent == 1 ? "it" : "they") + " reach " + result.address +
         "? the causes say what held it back)";
}

/// A hint why no frame may have been sent or received.
std::string hint_of(const ControlledJob& job, const JobResult& result) {
  const JobOptions& o = job.plan.options;
  if (result.tx.refused_frames != 0) return "the engine took no frame; is it up?";
  if (o.rw == Role::rx || o.rw == Role::echo) {
    if (result.rx.stale_frames != 0) {
      return "only frames of earlier runs came; verify_only checks those";
    }
    if (result.rx.foreign_frames != 0) return "only frames from other senders came";
    const auto sent_nothing = [](const FlowResult& flow) { return flow.sent == 0; };
    // What others than jobs of this run have sent is not known here.
    const bool none =
        !o.verify_only && !result.flows.empty() && std::ranges::all_of(result.flows, sent_nothing);
    return none ? "its senders sent nothing in the measured window"
                : "did its senders reach " + result.address + "?";
  }
  if (o.rate_fps.tx != 0 || o.rate_bps.tx != 0) {
    return "perhaps no frame was due at this rate: see rate, rate_iops and runtime";
  }
  return "see runtime, number_ios and size";
}

void judge_counts(const CountsResult& counts, JobResult& result) {
  if (counts.agree.value_or(true)) return;
  std::string text = "counts differ:";
  if (counts.wire.tx_frames && *counts.wire.tx_frames != counts.generator_tx) {
    text += " sent " + std::to_string(counts.generator_tx) + ", of which the wire counted " +
            std::to_string(*counts.wire.tx_frames) + ';';
  }
  if (counts.wire.rx_frames && *counts.wire.rx_frames != counts.receiver_rx) {
    text += " received " + std::to_string(counts.receiver_rx) + ", of which the wire counted " +
            std::to_string(*counts.wire.rx_frames) + ';';
  }
  text.pop_back();
  result.errors.push_back(text);
}

/// Errc::corrupt ends a job at once. But a port that found its way again returns no error.
void judge_medium(const CountsResult& counts, JobResult& result) {
  const std::uint64_t times = counts.wire.corrupt.value_or(0);
  if (times == 0) return;
  result.errors.push_back("found " + result.address + " corrupt " + base::counted(times, "time") +
                          ", so frames may be lost, and more than were counted (another "
                          "program has written into the bus; leave out 'bus', and the run makes "
                          "its own)");
}

void judge_flow(const FlowResult& flow, JobResult& result) {
  // Each frame has one fate.
  const std::uint64_t accounted = flow.received + flow.lost + flow.corrupt + flow.truncated +
                                  flow.late + flow.cancelled + flow.unverified;
  if (accounted != flow.sent && flow.received <= flow.sent) {
    result.errors.push_back("frames from \"" + flow.from + "\" do not add up: sent " +
                            std::to_string(flow.sent) + ", accounted for " +
                            std::to_string(accounted));
  }
  if (flow.received > flow.sent) {
    result.errors.push_back("more frames of \"" + flow.from + "\" were received than it sent: " +
                            std::to_string(flow.received) + " of " + std::to_string(flow.sent));
  }
  if (!flow.verification_complete && result.exit_signal) return;  // already reported
  if (!flow.verification_complete) {
    result.errors.push_back("the verification of frames from \"" + flow.from + "\" is incomplete");
  }
}

}  // namespace

void judge(const ControlledJob& job, JobResult& result, bool has_faults) {
  if (!job.never_started && result.errors.empty()) {
    judge_medium(result.counts, result);
    judge_counts(result.counts, result);
    for (const FlowResult& flow : result.flows) judge_flow(flow, result);
    // Frames of other senders do not count here.
    const CountsResult& counts = result.counts;
    const bool moved = counts.generator_tx != 0 || counts.receiver_rx > counts.receiver_others;
    // A run that was stopped early already says that.
    const bool whole = job.stop_ns == 0 && !job.plan.options.background;
    const bool still = stood_still(job.plan.options, result.tx);
    if (whole && still) result.errors.push_back(standstill(result.tx));
    const std::uint64_t lost =
        whole && moved && !has_faults ? unheard(job.plan.options, result) : 0;
    if (!still && lost != 0) result.errors.push_back(deafness(job.plan.options, lost, result));
    if (whole && !still && !moved) {
      result.errors.push_back("moved no frame (" + hint_of(job, result) + ')');
    }
  }
  result.passed = result.errors.empty() && !job.never_started;
}

}  // namespace shmif::perf
