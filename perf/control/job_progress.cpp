#include "perf/control/job_progress.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "perf/control/gather.hpp"

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

IntervalResult read_interval(const IntervalBlock& b) {
  IntervalResult r;
  r.at_seconds = static_cast<double>(b.end_ns.get()) * 1e-9;
  r.seconds = seconds_between(b.begin_ns.get(), b.end_ns.get());
  r.tx_frames = b.tx_frames.get();
  r.tx_bytes = b.tx_bytes.get();
  r.rx_frames = b.rx_frames.get();
  r.rx_bytes = b.rx_bytes.get();
  r.lost_frames = b.lost_frames.get();
  r.found_frames = b.found_frames.get();
  r.overruns = b.overruns.get();
  r.ends_at_border = b.ends_at_border.get() != 0;
  r.latency_count = b.latency_count.get();
  if (const std::uint64_t n = r.latency_count; n != 0) {
    r.latency_mean_ns = static_cast<double>(b.latency_sum_ns.get()) / static_cast<double>(n);
    r.latency_p50_ns = static_cast<double>(b.latency_p50_ns.get());
    r.latency_p99_ns = static_cast<double>(b.latency_p99_ns.get());
    r.latency_max_ns = static_cast<double>(b.latency_max_ns.get());
  }
  if (const std::uint64_t user = b.cpu_user_ns.get(); user != 0) {
    r.cpu_user_seconds = static_cast<double>(user - 1) * 1e-9;
    r.cpu_system_seconds = static_cast<double>(b.cpu_system_ns.get() - 1) * 1e-9;
  }
  if (b.tcp_mss_bytes.get() != 0) {
    r.tcp = TcpSample{.retransmits = b.tcp_retransmits.get(),
                      .rtt_ns = b.tcp_rtt_ns.get(),
                      .rttvar_ns = b.tcp_rttvar_ns.get(),
                      .cwnd_bytes = b.tcp_cwnd_bytes.get(),
                      .mss_bytes = b.tcp_mss_bytes.get(),
                      .pmtu_bytes = b.tcp_pmtu_bytes.get()};
  }
  return r;
}

void extend(IntervalResult& sum, const IntervalResult& next) {
  const auto greatest = [](std::optional<double>& of, const std::optional<double>& other) {
    if (other) of = std::max(of.value_or(0), *other);
  };
  const auto add = [](std::optional<double>& of, const std::optional<double>& other, bool first) {
    of = other && (of || first) ? std::optional(of.value_or(0) + *other) : std::nullopt;
  };
  add(sum.cpu_user_seconds, next.cpu_user_seconds, sum.seconds == 0);
  add(sum.cpu_system_seconds, next.cpu_system_seconds, sum.seconds == 0);
  sum.at_seconds = next.at_seconds;
  sum.seconds += next.seconds;
  sum.tx_frames += next.tx_frames;
  sum.tx_bytes += next.tx_bytes;
  sum.rx_frames += next.rx_frames;
  sum.rx_bytes += next.rx_bytes;
  // A frame that arrived after all is no longer lost. The rest stays in found_frames.
  sum.lost_frames += next.lost_frames;
  sum.found_frames += next.found_frames;
  const std::uint64_t back = std::min(sum.lost_frames, sum.found_frames);
  sum.lost_frames -= back;
  sum.found_frames -= back;
  sum.overruns += next.overruns;
  const std::uint64_t count = sum.latency_count + next.latency_count;
  if (next.latency_mean_ns && count != 0) {
    const auto share = static_cast<double>(next.latency_count) / static_cast<double>(count);
    const double mean = sum.latency_mean_ns.value_or(0);
    sum.latency_mean_ns = mean + (*next.latency_mean_ns - mean) * share;
  }
  sum.latency_count = count;
  greatest(sum.latency_p50_ns, next.latency_p50_ns);
  greatest(sum.latency_p99_ns, next.latency_p99_ns);
  greatest(sum.latency_max_ns, next.latency_max_ns);
  if (next.tcp) {
    const std::uint64_t before = sum.tcp ? sum.tcp->retransmits : 0;
    sum.tcp = next.tcp;
    sum.tcp->retransmits += before;
  }
  sum.measured = sum.measured && next.measured;
  sum.ends_at_border = next.ends_at_border;
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

}  // namespace shmif::perf
