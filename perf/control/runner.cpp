#include "perf/control/runner.hpp"

#include <time.h>

#include <cmath>
#include <utility>

#include "perf/control/gather.hpp"
#include "perf/control/job_progress.hpp"
#include "perf/control/runner_impl.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kDisplayEvery = 100'000'000;

}  // namespace

std::string seconds_text(std::chrono::nanoseconds time) {
  std::string text = std::to_string(std::chrono::duration<double>(time).count());
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text + " s";
}

void sleep_a_tick() {
  const timespec tick{0, static_cast<long>(kTickNs)};
  (void)::nanosleep(&tick, nullptr);  // returns early on a signal
}

// ---- While it runs ----

/// Watches the CPUs while something is measured: not during the first ramp, and not during the last
/// drain.
void Runner::Impl::watch_cpus() {
  bool measures = false;
  bool generates = false;
  for (const ControlledJob& job : jobs) {
    if (job.phase != ControlledJob::Phase::going) continue;
    const JobState state = job.state();
    measures |= state >= JobState::running;
    const bool has_sent = job.flow->tx_done.load(std::memory_order_acquire);
    const bool only_receives = !job.senders.empty() && !sends(job.plan.options.rw);
    generates |= state <= JobState::running && !has_sent && !only_receives;
  }
  if (measures && !window) window.emplace();
  if (generating && !generates && window) window_shares = window->shares();
  generating = generates;
}

void Runner::Impl::watch_rates(std::uint64_t now) {
  for (const RateWatch::Trip& trip : rates->check(now)) {
    jobs[trip.job].fail(trip.message);
    stop(trip.job);
  }
  for (const std::size_t i : steady->check(now)) stop(i);
}

void Runner::Impl::listen(RunObserver* observer) {
  const int stops = control->stops.load();
  if (stops >= 1 && !stopping) stop_all();
  if (stops >= 2) stop_hard();
  if (control->status.exchange(false) && observer != nullptr) {
    observer->on_status(progress(now_ns()));
  }
  if (first_start_ns == 0) return;
  bool hit = false;
  for (const ControlledJob& job : jobs) {
    hit |= job.block->trigger_hit.load(std::memory_order_acquire);
  }
  const std::uint64_t now = now_ns();
  const std::uint64_t begin = control->started_ns.load();  // start of the first of several runs
  if (auto why = trigger->check(now - std::min(now, begin), hit)) {
    result.warnings.push_back("the trigger fired: " + *why);
    result.trigger_fired = true;
    for (ControlledJob& job : jobs) job.block->save_state.store(true, std::memory_order_relaxed);
    stop_all();
  }
}

// ---- What is known meanwhile ----

/// Adds an interval to the curve of a job that began at `start_seconds`. Intervals of the curve are
/// not shorter than interval_ns.
void Runner::Impl::keep(std::vector<IntervalResult>& curve, const IntervalResult& next,
                        double start_seconds) const {
  const double length = static_cast<double>(interval_ns) * 1e-9;
  // Intervals are closed a little late.
  const auto place = [&](double at_seconds) {
    return std::floor((at_seconds - start_seconds) / length + 1e-3);
  };
  const double begin = next.at_seconds - next.seconds;
  if (!curve.empty() && !curve.back().ends_at_border &&
      place(curve.back().at_seconds - curve.back().seconds) == place(begin)) {
    extend(curve.back(), next);
  } else {
    curve.push_back(next);
  }
}

void Runner::Impl::collect_intervals() {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ControlledJob& job = jobs[i];
    const std::uint64_t written = job.block->intervals_written.load(std::memory_order_acquire);
    // A job counts time from its own start. In a later batch, this is not the start of the run.
    const std::uint64_t start_ns = job.block->start_ns.load(std::memory_order_acquire);
    const double start = static_cast<double>(start_ns - std::min(start_ns, first_start_ns)) * 1e-9;
    // Overwritten intervals are missing from the curve, not from the sums.
    const std::uint64_t oldest = written > kIntervalBlocks / 2 ? written - kIntervalBlocks / 2 : 0;
    for (std::uint64_t n = std::max(job.intervals_read, oldest); n < written; ++n) {
      IntervalResult next = read_interval(job.block->intervals[n % kIntervalBlocks]);
      const bool kept = job.block->histograms != nullptr && written - n <= kHistogramBlocks / 2;
      logs->add(i, next, kept ? &job.block->histograms[n % kHistogramBlocks] : nullptr);
      next.at_seconds += start;
      extend(job.untold, next);
      keep(job.intervals, next, start);
    }
    job.intervals_read = written;
  }
}

RunProgress Runner::Impl::progress(std::uint64_t now) const {
  const bool begun = first_start_ns != 0 && now > first_start_ns;
  const double at = begun ? static_cast<double>(now - first_start_ns) * 1e-9 : 0;
  return progress_of(jobs, at, now);
}

void Runner::Impl::show(RunObserver* observer, std::uint64_t now) {
  if (observer == nullptr || now < next_display_ns) return;
  next_display_ns = now + kDisplayEvery;
  observer->on_progress(progress(now));
  if (first_start_ns == 0 || now < next_status_ns) return;
  const std::uint64_t every = status_interval_ns(options);
  next_status_ns += ((now - next_status_ns) / every + 1) * every;
  tell_interval(observer, now);
}

void Runner::Impl::tell_interval(RunObserver* observer, std::uint64_t now) {
  RunProgress p = progress(now);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    p.jobs[i].last = std::exchange(jobs[i].untold, {});
  }
  observer->on_interval(p);
}

// ---- The whole ----

Runner::Runner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runner::~Runner() = default;
bool Runner::stuck() const noexcept {
  return impl_->stuck_thread;
}

Result<std::unique_ptr<Runner>> Runner::create(const RunOptions& options,
                                               std::vector<PlannedJob> plan) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->plan = std::move(plan);
  if (auto done = impl->prepare(); !done) return std::move(done).error();
  return std::unique_ptr<Runner>(new Runner(std::move(impl)));
}

RunResult Runner::run(RunObserver* observer, RunControl& control) {
  Impl& run = *impl_;
  run.control = &control;
  run.result.began = std::chrono::system_clock::now();
  while (!run.all_over()) {  // runs until every job has ended or was ended
    run.reap();
    run.start_batches();
    run.collect_intervals();
    const std::uint64_t now = now_ns();
    run.watch_cpus();
    run.watch_rates(now);
    run.listen(observer);
    run.check_stuck(now);
    run.show(observer, now);
    if (!run.all_over()) sleep_a_tick();
  }
  run.leave_threads();
  run.collect_intervals();
  if (observer != nullptr && run.first_start_ns != 0) run.tell_interval(observer, now_ns());
  run.result.lost_outputs = run.logs->finish();
  run.result.ended = std::chrono::system_clock::now();
  run.watch_cpus();
  run.result.machine.window = std::move(run.window_shares);
  if (const int signal = control.signal.load(); signal != 0) run.result.stopped_by_signal = signal;
  gather(run.jobs, *run.memory, run.result);
  run.result.steady_state = run.steady->describe();
  run.result.steady_states = run.steady->results();
  for (std::string& failure : run.failures) run.result.failures.push_back(std::move(failure));
  const auto at_once = [&control] { return control.stops.load() > 1; };
  if (auto error = run.trigger->run_command(at_once)) run.result.failures.push_back(*error);
  return std::move(run.result);
}

}  // namespace shmif::perf
