#include "perf/control/runner.hpp"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "perf/control/gather.hpp"
#include "perf/control/job_instruments.hpp"
#include "perf/control/run_state.hpp"
#include "perf/control/run_watch.hpp"
#include "perf/control/supervisor.hpp"
#include "perf/result/machine.hpp"
#include "perf/worker/worker.hpp"
#include "shmif/bus.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// The controller looks at its jobs this often.
constexpr std::uint64_t kTickNs = 5'000'000;
constexpr std::uint64_t kDisplayEvery = 100'000'000;

/// Ends a run when a file appears, when a time has passed, or when a job received a
/// matching frame. Then it runs a command. It fires only once.
class Trigger {
 public:
  explicit Trigger(const RunOptions& options) : options_(options) {}

  /// Whether anything can fire it.
  bool exists() const noexcept {
    return !options_.trigger_file.empty() || options_.trigger_timeout.count() > 0 ||
           !options_.trigger_match.empty();
  }
  /// Result: a text that says why it fires now; empty if it does not fire, or has fired before.
  /// Deletes the file, so that the file does not end the next run. `matched`: a job received a
  /// matching frame. `elsewhere`: the same trigger fired on another server, or on the client.
  std::optional<std::string> check(std::uint64_t since_start_ns, bool matched, bool elsewhere) {
    if (fired_) return std::nullopt;
    std::optional<std::string> why;
    if (!options_.trigger_file.empty() && ::access(options_.trigger_file.c_str(), F_OK) == 0) {
      why = "file " + options_.trigger_file + " appeared";
      if (::unlink(options_.trigger_file.c_str()) != 0) *why += " (but could not be removed)";
    } else if (options_.trigger_timeout.count() > 0 &&
               since_start_ns >= static_cast<std::uint64_t>(options_.trigger_timeout.count())) {
      why = "trigger-timeout has passed";
    } else if (matched) {
      why = "a frame matched \"" + options_.trigger_match + '"';
    } else if (elsewhere && exists()) {
      why = "it fired on another server, or on the client";
    }
    fired_ = why.has_value();
    return why;
  }
  /// A text for a debug line: what can fire it.
  std::string waits_for() const {
    std::string text;
    const auto add = [&text](const std::string& what) {
      text += (text.empty() ? "" : ", or ") + what;
    };
    if (!options_.trigger_file.empty()) add("file " + options_.trigger_file);
    if (options_.trigger_timeout.count() > 0) {
      add(std::to_string(options_.trigger_timeout.count() / 1'000'000) + " ms since the start");
    }
    if (!options_.trigger_match.empty())
      add("a frame that matches \"" + options_.trigger_match + '"');
    return text.empty() ? "there is no trigger" : "waits for " + text;
  }
  /// Runs the command, if the trigger fired and there is one. Result: a text that says what went
  /// wrong; empty after success. Blocks, and `ended_early`: as shmif::perf::run_command().
  std::optional<std::string> run_command(const std::function<bool()>& ended_early) {
    if (!fired_ || options_.trigger_command.empty()) return std::nullopt;
    if (!options_.allow_exec) {
      return "the trigger's command was not run: this server runs no commands (start it with "
             "--allow-exec)";
    }
    debug(Debug::trigger, [this] { return "runs " + options_.trigger_command.front(); });
    if (auto done = shmif::perf::run_command(options_.trigger_command, {}, ended_early); !done) {
      return "the trigger's command: " + done.error().message;
    }
    return std::nullopt;
  }

 private:
  const RunOptions& options_;
  bool fired_ = false;
};

/// A line of --debug=rate.
std::string told(const std::string& job, const IntervalResult& one) {
  std::string text = "job " + job + ": in " + std::to_string(one.seconds) + " s until " +
                     std::to_string(one.at_seconds) + " s, sent " + std::to_string(one.tx_frames) +
                     " frames, received " + std::to_string(one.rx_frames);
  if (one.lost_frames != 0) text += ", lost " + std::to_string(one.lost_frames);
  if (one.overruns != 0) text += ", overruns " + std::to_string(one.overruns);
  return text;
}

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

struct Runner::Impl {
  explicit Impl(RunState made) : run(std::move(made)) {}

  RunState run;
  Supervisor supervisor{run};
  Starter starter{run, supervisor};
  RateWatch rates{run.jobs};
  SteadyWatch steady{run.jobs};
  Trigger trigger{run.options};
  // Made at the start of the first jobs; empty if not wanted (why=0).
  std::optional<RunWatch> watch;
  std::uint64_t next_display_ns = 0, next_status_ns = 0;
  std::optional<CpuWindow> window;      // begins when the first job leaves its ramp
  std::vector<CpuShare> window_shares;  // until the last generator was done
  bool generating = false;
  std::unique_ptr<MemoryWatch> memory;      // null if not asked for
  std::unique_ptr<HeatFolder> heat_folder;  // null if not asked for
  std::unique_ptr<HeatWatch> heat;
  std::vector<CounterCurve> counters = std::vector<CounterCurve>(run.jobs.size());
  std::vector<bool> noticed;  // for each job: its notice was printed
  RunControl* control = nullptr;
  std::size_t far_ends_heard = 0;
  RunResult result;

  void step(RunObserver* observer);
  void keep(std::vector<IntervalResult>& curve, const IntervalResult& next,
            double start_seconds) const;
  void collect_intervals();
  void watch_cpus();
  void watch_jobs(std::uint64_t now);
  void watch_rates(std::uint64_t now);
  RunCauses causes();
  void gather_heat();
  void listen(RunObserver* observer);
  void hear_far_ends();
  void tell_notices(RunObserver* observer);
  void show(RunObserver* observer, std::uint64_t now);
  void tell_interval(RunObserver* observer, std::uint64_t now);
  RunProgress progress(std::uint64_t now) const;
};

// ---- While it runs ----

/// Watches the CPUs while a job measures: not during the first ramp, and not during the last drain.
void Runner::Impl::watch_cpus() {
  bool measures = false;
  bool generates = false;
  for (const ControlledJob& job : run.jobs) {
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
  if (memory) memory->look(window.has_value() && generating);
  if (heat) heat->look(starter.first_start_ns(), generating, window.has_value());
}

/// Looks at what holds the jobs back.
void Runner::Impl::watch_jobs(std::uint64_t now) {
  if (!run.options.why || starter.first_start_ns() == 0) return;
  if (!watch) watch.emplace(run, starter.first_start_ns());
  watch->look(now);
}

RunCauses Runner::Impl::causes() {
  if (watch) return watch->finish(result.jobs, now_ns());
  RunCauses none;
  none.why_unknown = run.options.why ? "no job began" : "it was turned off (why=0)";
  return none;
}

void Runner::Impl::watch_rates(std::uint64_t now) {
  for (const RateWatch::Trip& trip : rates.check(now)) {
    debug(Debug::rate, [&] {
      return "job " + run.jobs[trip.job].plan.options.name + " fails: " + trip.message;
    });
    run.jobs[trip.job].fail(trip.message);
    supervisor.stop(trip.job);
  }
  for (const std::size_t i : steady.check(now)) {
    debug(Debug::search, [&] { return "job " + run.jobs[i].plan.options.name + " is steady"; });
    supervisor.stop(i);
  }
}

void Runner::Impl::hear_far_ends() {
  const std::size_t count = control->far_end_count.load(std::memory_order_acquire);
  for (; far_ends_heard < count; ++far_ends_heard) {
    const RunControl::FarEnd& end = control->far_ends[far_ends_heard];
    for (ControlledJob& job : run.jobs) {
      if (job.plan.options.name != end.job.data()) continue;
      job.flow->far_sent.store(end.frames, std::memory_order_relaxed);
    }
  }
}

void Runner::Impl::listen(RunObserver* observer) {
  const int stops = control->stops.load();
  if (stops >= 1 && !supervisor.stopping()) {
    debug(Debug::process, [this] {
      const int signal = control->signal.load();
      return signal == 0 ? std::string("the run is told to stop")
                         : "signal " + std::to_string(signal) + " stops the run";
    });
  }
  if (stops >= 1 && !supervisor.stopping()) supervisor.stop_all();
  if (stops >= 2) supervisor.stop_hard();
  if (control->status.exchange(false) && observer != nullptr) {
    observer->on_status(progress(now_ns()));
  }
  hear_far_ends();
  if (starter.first_start_ns() == 0) return;
  bool hit = false;
  for (const ControlledJob& job : run.jobs) {
    hit |= job.block->trigger_hit.load(std::memory_order_acquire);
  }
  const std::uint64_t now = now_ns();
  const std::uint64_t begin = control->started_ns.load();  // start of the first of several runs
  if (auto why = trigger.check(now - std::min(now, begin), hit, control->trigger.load())) {
    debug(Debug::trigger,
          [&] { return "fires: " + *why + "; all jobs save their states and stop"; });
    result.warnings.push_back("the trigger fired: " + *why);
    result.trigger_fired = true;
    if (observer != nullptr) observer->on_trigger(*why);
    for (ControlledJob& job : run.jobs)
      job.block->save_state.store(true, std::memory_order_relaxed);
    supervisor.stop_all();
  }
}

void Runner::Impl::gather_heat() {
  if (!heat) return;
  auto of_jobs = heat->finish();
  for (std::size_t i = 0; i < of_jobs.size(); ++i) result.jobs[i].heat = std::move(of_jobs[i]);
}

// ---- What is known meanwhile ----

/// Adds an interval to the curve of a job that began at `start_seconds`. Intervals of the curve are
/// not shorter than interval_ns.
void Runner::Impl::keep(std::vector<IntervalResult>& curve, const IntervalResult& next,
                        double start_seconds) const {
  const double length = static_cast<double>(run.interval_ns) * 1e-9;
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

namespace {

/// Takes frames that arrived after all out of the newest intervals that counted them as lost.
void take_back_found(std::vector<IntervalResult>& curve) {
  std::uint64_t found = std::exchange(curve.back().found_frames, 0);
  for (auto at = curve.rbegin(); at != curve.rend() && found != 0; ++at) {
    const std::uint64_t here = std::min(at->lost_frames, found);
    at->lost_frames -= here;
    found -= here;
  }
}

}  // namespace

void Runner::Impl::collect_intervals() {
  for (std::size_t i = 0; i < run.jobs.size(); ++i) {
    ControlledJob& job = run.jobs[i];
    const std::uint64_t written = job.block->intervals_written.load(std::memory_order_acquire);
    // A job counts time from its own start. In a later batch, this is not the start of the run.
    const std::uint64_t start_ns = job.block->start_ns.load(std::memory_order_acquire);
    const double start =
        static_cast<double>(start_ns - std::min(start_ns, starter.first_start_ns())) * 1e-9;
    // Overwritten intervals are missing from the curve, but not from the sums.
    const std::uint64_t oldest = written > kIntervalBlocks / 2 ? written - kIntervalBlocks / 2 : 0;
    for (std::uint64_t n = std::max(job.intervals_read, oldest); n < written; ++n) {
      IntervalResult next = job.block->intervals[n % kIntervalBlocks].get();
      const bool kept = job.block->histograms != nullptr && written - n <= kHistogramBlocks / 2;
      debug(Debug::rate, [&] { return told(run.jobs[i].plan.options.name, next); });
      run.logs->add(i, next, start, kept ? &job.block->histograms[n % kHistogramBlocks] : nullptr);
      next.at_seconds += start;
      extend(job.untold, next);
      keep(job.intervals, next, start);
      take_back_found(job.intervals);
    }
    job.intervals_read = written;
    if (job.block->counter_log == nullptr) continue;
    counters[i].collect(*job.block->counter_log, run.setups[i].counters.size(), start);
  }
}

void Runner::Impl::tell_notices(RunObserver* observer) {
  noticed.resize(run.jobs.size());
  for (std::size_t i = 0; observer != nullptr && i < run.jobs.size(); ++i) {
    const ControlledJob& job = run.jobs[i];
    if (noticed[i] || job.phase != ControlledJob::Phase::going) continue;
    noticed[i] = true;
    const std::string notice = job.block->notice.get();
    if (!notice.empty()) observer->on_notice(job.plan.options.name + ": " + notice);
  }
}

RunProgress Runner::Impl::progress(std::uint64_t now) const {
  const bool begun = starter.first_start_ns() != 0 && now > starter.first_start_ns();
  const double at = begun ? static_cast<double>(now - starter.first_start_ns()) * 1e-9 : 0;
  return progress_of(run.jobs, at, now);
}

void Runner::Impl::show(RunObserver* observer, std::uint64_t now) {
  if (observer == nullptr || now < next_display_ns) return;
  next_display_ns = now + kDisplayEvery;
  observer->on_progress(progress(now));
  const std::uint64_t every = status_interval_ns(run.options);
  const std::uint64_t start = starter.first_start_ns();
  if (next_status_ns == 0 && start != 0) next_status_ns = start + every;
  if (start == 0 || now < next_status_ns) return;
  next_status_ns += ((now - next_status_ns) / every + 1) * every;
  tell_interval(observer, now);
}

void Runner::Impl::tell_interval(RunObserver* observer, std::uint64_t now) {
  RunProgress p = progress(now);
  for (std::size_t i = 0; i < run.jobs.size(); ++i) {
    p.jobs[i].last = std::exchange(run.jobs[i].untold, {});
    run.jobs[i].untold.found_frames = p.jobs[i].last.found_frames;  // observers have seen these
  }
  observer->on_interval(p);
}

namespace {

/// Prints what --debug=verify says about each flow at the end.
void tell_flows(const RunResult& result) {
  for (const JobResult& job : result.jobs) {
    for (const FlowResult& flow : job.flows) {
      debug(Debug::verify, [&] {
        return "flow from " + flow.from + " to " + flow.to + ": sent " + std::to_string(flow.sent) +
               ", received " + std::to_string(flow.received) + ", lost " +
               std::to_string(flow.lost) + ", duplicate " + std::to_string(flow.duplicates) +
               ", reordered " + std::to_string(flow.reordered) + ", corrupt " +
               std::to_string(flow.corrupt);
      });
    }
  }
}

}  // namespace

// ---- The whole ----

Runner::Runner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runner::~Runner() = default;
bool Runner::stuck() const noexcept {
  return impl_->supervisor.stuck_thread();
}

Result<std::unique_ptr<Runner>> Runner::create(const RunOptions& options,
                                               std::vector<PlannedJob> plan,
                                               std::shared_ptr<MadeCgroups> groups) {
  RunState run;
  run.cgroups = groups ? std::move(groups) : std::make_shared<MadeCgroups>();
  run.options = options;
  run.plan = std::move(plan);
  if (auto done = set_up(run); !done) return std::move(done).error();
  auto impl = std::make_unique<Impl>(std::move(run));
  if (impl->run.options.heat) impl->heat_folder = std::make_unique<HeatFolder>();
  debug(Debug::trigger, [&] { return impl->trigger.waits_for(); });
  impl->starter.create_processes();
  return std::unique_ptr<Runner>(new Runner(std::move(impl)));
}

void Runner::Impl::step(RunObserver* observer) {
  supervisor.reap();
  starter.step(*control);
  collect_intervals();
  const std::uint64_t now = now_ns();
  watch_cpus();
  watch_jobs(now);
  watch_rates(now);
  listen(observer);
  tell_notices(observer);
  supervisor.check_stuck(now);
  show(observer, now);
}

RunResult Runner::run(RunObserver* observer, RunControl& control) {
  Impl& impl = *impl_;
  impl.control = &control;
  // The instruments read the buses of the run, and somebody may truncate these.
  (void)install_sigbus_guard();
  impl.result.began = std::chrono::system_clock::now();
  if (impl.run.options.membw) impl.memory = std::make_unique<MemoryWatch>(impl.run);
  if (impl.heat_folder) impl.heat = std::make_unique<HeatWatch>(impl.run, *impl.heat_folder);
  while (!impl.run.all_over()) {  // runs until every job has ended or was ended
    impl.step(observer);
    if (!impl.run.all_over()) sleep_a_tick();
  }
  impl.supervisor.leave_threads();
  impl.collect_intervals();
  if (observer != nullptr && impl.starter.first_start_ns() != 0) {
    impl.tell_interval(observer, now_ns());
  }
  impl.result.lost_outputs = impl.run.logs->finish();
  for (std::string& left : impl.run.cgroups->remove()) {
    impl.result.warnings.push_back(std::move(left));
  }
  impl.result.ended = std::chrono::system_clock::now();
  impl.watch_cpus();
  impl.result.machine.window = std::move(impl.window_shares);
  if (const int signal = control.signal.load(); signal != 0) impl.result.stopped_by_signal = signal;
  if (impl.memory) {
    impl.result.membw = impl.memory->finish(impl.starter.first_start_ns(),
                                            impl.result.stopped_by_signal.has_value());
  }
  gather(impl.run.jobs, impl.result);
  if (debugs(Debug::verify)) tell_flows(impl.result);
  impl.gather_heat();
  impl.result.causes = impl.causes();
  for (std::size_t i = 0; i < impl.run.jobs.size(); ++i) {
    const std::span<const JobEvent> events = impl.run.setups[i].counters;
    const JobBlock& block = *impl.run.jobs[i].block;
    impl.result.jobs[i].counters = counter_results(events, block.counters);
    impl.result.jobs[i].counter_intervals = impl.counters[i].result(events, block.counters);
  }
  impl.result.steady_state = impl.steady.describe();
  impl.result.steady_states = impl.steady.results();
  const auto at_once = [&control] { return control.stops.load() > 1; };
  if (auto error = impl.trigger.run_command(at_once)) impl.result.failures.push_back(*error);
  return std::move(impl.result);
}

}  // namespace shmif::perf
