#include "perf/control/gather.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

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

}  // namespace shmif::perf
