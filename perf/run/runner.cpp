#include "perf/run/runner.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "perf/run/controlled_job.hpp"
#include "perf/run/gather.hpp"
#include "perf/run/interval_log.hpp"
#include "perf/run/job_parts.hpp"
#include "perf/run/job_progress.hpp"
#include "perf/run/job_thread.hpp"
#include "perf/run/rate_watch.hpp"
#include "perf/run/run_memory.hpp"
#include "perf/run/steady_watch.hpp"
#include "perf/run/trigger.hpp"
#include "perf/run/worker.hpp"
#include "perf/stats/machine.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kTick = 5'000'000;
constexpr std::uint64_t kDisplayEvery = 100'000'000;
/// Between the word to go and the start, so that every job can hear of it and be awake by then.
constexpr std::uint64_t kStartAhead = 5'000'000;
/// A job that was sent SIGTERM, or a hard stop, has so long before SIGKILL.
constexpr std::uint64_t kGrace = 1'000'000'000;

std::uint64_t ns(std::chrono::nanoseconds time) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0));
}

std::string seconds_text(std::chrono::nanoseconds time) {
  std::string text = std::to_string(std::chrono::duration<double>(time).count());
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text + " s";
}

void sleep_a_tick() {
  const timespec tick{0, static_cast<long>(kTick)};
  (void)::nanosleep(&tick, nullptr);  // a signal is a reason to look
}

/// The jobs that are on one wire have the same key.
std::string wire_key(const PlannedJob& job) {
  return std::string(name_of(job.options.engine)) + '\0' + job.options.bus + '\0' +
         job.options.wire + '\0' + job.options.netdev + '\0' + job.options.filename;
}

}  // namespace

std::uint64_t latest_end_ns(const ControlledJob& job) noexcept {
  const JobOptions& o = job.plan.options;
  const std::uint64_t start = job.block->start_ns.load(std::memory_order_acquire);
  if (start == 0 || o.runtime.count() == 0) return 0;
  return start + ns(o.start_delay) + ns(o.ramp_time) + ns(o.runtime) + 2 * ns(o.drain_time);
}

struct Runner::Impl {
  RunOptions options;
  std::vector<PlannedJob> plan;
  std::vector<ControlledJob> jobs;  // as the plan
  std::unique_ptr<RunMemory> memory;
  std::vector<std::unique_ptr<Wire>> wires;
  std::vector<WorkerSetup> setups;  // as the jobs
  std::unique_ptr<RateWatch> rates;
  std::unique_ptr<SteadyWatch> steady;
  std::unique_ptr<Trigger> trigger;
  std::unique_ptr<IntervalLogs> logs;

  struct Batch {
    std::vector<std::size_t> jobs;
    std::uint64_t ordered_ns;
    std::uint64_t progress_ns;  // when the last of them made a step
    std::size_t ready = 0;
  };
  std::vector<Batch> starting;
  std::uint64_t first_start_ns = 0;
  std::uint64_t interval_ns = 0;
  std::uint64_t next_display_ns = 0, next_status_ns = 0;
  bool stopping = false;
  bool hard = false;
  std::uint64_t hard_ns = 0;
  bool stuck_thread = false;
  std::optional<CpuWindow> window;    // from the first start
  std::vector<std::string> failures;  // of the run as a whole
  RunControl* control = nullptr;

  RunResult result;

  Result<void> prepare();
  Result<void> make_wires();
  Result<void> place_hosts(const std::vector<std::size_t>& hosts, const Wire& bus);
  Result<void> create_job(std::size_t i);
  void start_batches();
  void order_batch(const std::vector<std::size_t>& ready);
  void advance(Batch& batch);
  void begin(Batch& batch);
  void fail_start(std::size_t i, const std::string& why);
  void reap();
  void finish(std::size_t i);
  void nobody_listens_to(std::size_t i);
  void after_the_end_of(std::size_t i);
  void stop(std::size_t i);
  void stop_all();
  void stop_hard();
  void end_background_jobs();
  void note_done(std::size_t i, std::uint64_t now);
  std::uint64_t drain_of(std::size_t i) const;
  void check_stuck(std::uint64_t now);
  void leave_threads();
  void keep(std::vector<IntervalResult>& curve, const IntervalResult& next) const;
  void collect_intervals();
  void watch_rates(std::uint64_t now);
  void listen(RunObserver* observer);
  void show(RunObserver* observer, std::uint64_t now);
  void tell_interval(RunObserver* observer, std::uint64_t now);
  RunProgress progress(std::uint64_t now) const;
  bool all_over() const {
    return std::ranges::all_of(jobs, [](const ControlledJob& j) { return j.over(); });
  }
};

// ---- Before the start ----

Result<void> Runner::Impl::prepare() {
  auto made = RunMemory::create(plan.size());
  if (!made) return std::move(made).error();
  memory = *std::move(made);
  std::chrono::nanoseconds longest{0};
  for (std::size_t i = 0; i < plan.size(); ++i) {
    jobs.push_back({.plan = plan[i], .block = &memory->job(i), .flow = &memory->flow(i)});
    longest = std::max(longest, plan[i].options.runtime);
  }
  // Curves of some hundred points, at most ten a second.
  interval_ns =
      longest > std::chrono::seconds(60) || longest.count() == 0 ? 1'000'000'000 : 100'000'000;
  auto opened = IntervalLogs::open(plan, options);
  if (!opened) return std::move(opened).error();
  logs = *std::move(opened);
  if (auto done = make_wires(); !done) return done;
  rates = std::make_unique<RateWatch>(jobs);
  steady = std::make_unique<SteadyWatch>(jobs);
  trigger = std::make_unique<Trigger>(options);
  // Processes first, all of them: a fork copies no threads.
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].plan.options.thread || jobs[i].over()) continue;
    if (auto done = create_job(i); !done) fail_start(i, done.error().message);
  }
  return {};
}

Result<void> Runner::Impl::make_wires() {
  std::map<std::string, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < jobs.size(); ++i) members[wire_key(jobs[i].plan)].push_back(i);
  const std::uint32_t nonce = make_nonce();
  setups.resize(jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    WorkerSetup& setup = setups[i];
    setup.index = i;
    setup.nonce = nonce;
    setup.interval_ns = logs->interval_ns(i, interval_ns);
    setup.end.name = jobs[i].plan.options.name;
    setup.end.mac = MacAddress::random();
    setup.end.sent = jobs[i].plan.options.fault;
    setup.end.received = jobs[i].plan.options.fault_rx;
    setup.end.promiscuous = hears_everything(plan, i);
  }
  for (const auto& [key, group] : members) {
    JobOptions medium = plan[group.front()].options;
    const bool hosts = medium.engine == EngineKind::host;
    if (hosts) medium.engine = EngineKind::bus;
    auto wire = make_wire(medium, group.size());
    if (!wire) return std::move(wire).error();
    for (std::size_t n = 0; n < group.size(); ++n) {
      setups[group[n]].wire = wire->get();
      setups[group[n]].end.index = n;
    }
    if (hosts) {
      if (auto done = place_hosts(group, **wire); !done) return done;
    }
    wires.push_back(*std::move(wire));
  }
  return {};
}

/// Gives the hosts on a bus their addresses, and tells each that of its peer.
Result<void> Runner::Impl::place_hosts(const std::vector<std::size_t>& hosts, const Wire& bus) {
  constexpr std::size_t kFirstPort = 40000;
  for (const std::size_t i : hosts) {
    auto address = host_address(plan[i].options, i);
    if (!address) {
      return Error(address.error().code,
                   "job \"" + plan[i].options.name + "\": " + address.error().message);
    }
    HostSetup& host = setups[i].host;
    host.bus = bus.address().substr(bus.address().find(':') + 1);
    host.address = *std::move(address);
    host.local = socket_address(host.address, static_cast<std::uint16_t>(kFirstPort + i % 20000));
  }
  for (const std::size_t i : hosts) {
    const std::size_t to = plan[i].to;
    if (to == kNoJob || std::ranges::find(hosts, to) == hosts.end()) continue;
    setups[i].host.remote = setups[to].host.local;
    const bool answers = plan[to].options.rw != Role::rx;
    if (answers) setups[to].host.remote = setups[i].host.local;
    // Of two that send to each other, the first listens.
    const bool mutual = plan[to].to == i;
    setups[to].host.listens = !mutual || to < i;
  }
  return {};
}

Result<void> Runner::Impl::create_job(std::size_t i) {
  auto runner = JobRunner::start(plan[i].options.thread, [this, i] {
    return run_worker({.plan = plan, .setups = setups, .run = options, .memory = *memory}, i);
  });
  if (!runner) return std::move(runner).error();
  jobs[i].runner = *std::move(runner);
  return {};
}

// ---- The start ----

void Runner::Impl::start_batches() {
  if (!stopping) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const bool free = std::ranges::all_of(jobs[i].plan.waits_for,
                                            [&](std::size_t w) { return jobs[w].over(); });
      if (jobs[i].phase == ControlledJob::Phase::waiting && free) ready.push_back(i);
    }
    if (!ready.empty()) order_batch(ready);
  }
  for (Batch& batch : starting) advance(batch);
  std::erase_if(starting, [](const Batch& batch) { return batch.jobs.empty(); });
}

void Runner::Impl::order_batch(const std::vector<std::size_t>& ready) {
  Batch batch{{}, now_ns(), now_ns()};
  for (const std::size_t i : ready) {
    if (!jobs[i].runner) {
      if (auto done = create_job(i); !done) {
        fail_start(i, done.error().message);
        continue;
      }
    }
    jobs[i].phase = ControlledJob::Phase::starting;
    jobs[i].block->order.store(Order::initialise, std::memory_order_release);
    batch.jobs.push_back(i);
  }
  starting.push_back(std::move(batch));
}

/// Looks whether everyone is ready, and who never will be.
void Runner::Impl::advance(Batch& batch) {
  std::erase_if(batch.jobs, [&](std::size_t i) { return jobs[i].over(); });
  const std::uint64_t now = now_ns();
  std::size_t ready = 0;
  for (const std::size_t i : batch.jobs) {
    const JobState state = jobs[i].state();
    if (state >= JobState::initialised) ++ready;
    if (state == JobState::not_created &&
        now - batch.ordered_ns > ns(jobs[i].plan.options.startup_timeout)) {
      fail_start(i, "was not there after " + seconds_text(jobs[i].plan.options.startup_timeout) +
                        " (startup_timeout)");
    }
  }
  if (ready != batch.ready) batch.progress_ns = now;
  batch.ready = ready;
  if (ready < batch.jobs.size() && now - batch.progress_ns > ns(options.startup_batch_timeout)) {
    for (const std::size_t i : batch.jobs) {
      if (jobs[i].over() || jobs[i].state() >= JobState::initialised) continue;
      fail_start(i, "was not initialised after " + seconds_text(options.startup_batch_timeout) +
                        " (startup_batch_timeout)");
    }
  }
  std::erase_if(batch.jobs, [&](std::size_t i) { return jobs[i].over(); });
  if (batch.jobs.empty() || ready < batch.jobs.size() || stopping) return;
  control->ready.store(true);
  if (control->start_at_ns.load() != RunControl::kHeld) begin(batch);
}

/// One start for all of them.
void Runner::Impl::begin(Batch& batch) {
  const std::uint64_t soon = now_ns() + kStartAhead + batch.jobs.size() * 100'000;
  const std::uint64_t start = std::max(soon, control->start_at_ns.load());
  if (first_start_ns == 0) {
    first_start_ns = start;
    control->started_ns.store(start);
    next_status_ns = start + status_interval_ns(options);
    window.emplace();
  }
  for (const std::size_t i : batch.jobs) {
    jobs[i].block->start_ns.store(start, std::memory_order_release);
    jobs[i].phase = ControlledJob::Phase::going;
  }
  for (const std::size_t i : batch.jobs) {
    jobs[i].block->order.store(Order::go, std::memory_order_release);
  }
  batch.jobs.clear();
}

void Runner::Impl::fail_start(std::size_t i, const std::string& why) {
  ControlledJob& job = jobs[i];
  job.fail("did not start: " + why);
  job.never_started = true;
  job.block->order.store(Order::abandon, std::memory_order_release);
  if (job.runner) job.runner->signal(SIGKILL);
  job.ended_by_us = true;
  job.phase = ControlledJob::Phase::over;
  job.flow->tx_done.store(true, std::memory_order_release);
  if (!options.continue_on_start_error) stop_all();
}

// ---- While it runs ----

void Runner::Impl::reap() {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (!jobs[i].over() && jobs[i].runner && jobs[i].runner->ended()) finish(i);
  }
}

void Runner::Impl::finish(std::size_t i) {
  ControlledJob& job = jobs[i];
  const bool was_going = job.phase == ControlledJob::Phase::going;
  const JobExit& exit = job.runner->exit();
  const JobState state = job.block->state.load(std::memory_order_acquire);
  if (!job.block->error.empty()) job.fail(job.block->error.get());
  if (exit.signal) {
    if (!job.ended_by_us) {
      job.fail("was killed by signal " + std::to_string(*exit.signal) + " (" +
               ::strsignal(*exit.signal) + ") while " + name_of(state));
    }
  } else if (state != JobState::exited) {
    job.fail(exit.status
                 ? "ended with status " + std::to_string(*exit.status) + " while " + name_of(state)
                 : std::string("vanished while ") + name_of(state));
  }
  job.phase = ControlledJob::Phase::over;
  // Whoever receives from it learns that no more will come. What it had sent is in its block.
  job.flow->tx_done.store(true, std::memory_order_release);
  nobody_listens_to(i);
  if (!was_going) {
    job.never_started = true;
    if (!job.errors.empty()) {
      job.errors.front().insert(0, "did not start: ");
      if (!options.continue_on_start_error) stop_all();
    }
  }
  after_the_end_of(i);
}

/// Those who sent to it need not wait until it has received all, nor those who answered it.
void Runner::Impl::nobody_listens_to(std::size_t i) {
  if (plan[i].options.rw == Role::pingpong) {
    jobs[i].flow->drained.store(true, std::memory_order_release);
  }
  for (std::size_t other = 0; other < jobs.size(); ++other) {
    if (plan[other].to == i) jobs[other].flow->drained.store(true, std::memory_order_release);
  }
}

void Runner::Impl::after_the_end_of(std::size_t i) {
  const JobOptions& o = jobs[i].plan.options;
  const bool failed = !jobs[i].errors.empty();
  for (std::size_t other = 0; other < jobs.size(); ++other) {
    // Nothing more of it can be verified.
    if (plan[other].to == i && !jobs[other].flow->tx_done.load(std::memory_order_acquire)) {
      stop(other);
    }
  }
  if (o.exitall || (failed && o.exitall_on_error)) {
    for (std::size_t other = 0; other < jobs.size(); ++other) {
      if (jobs[other].plan.group == jobs[i].plan.group) stop(other);
    }
  }
  end_background_jobs();
}

void Runner::Impl::stop(std::size_t i) {
  ControlledJob& job = jobs[i];
  if (job.over() || job.stop_ns != 0) return;
  job.stop_ns = now_ns();
  // A receiver ends when its senders have ended, and nobody would verify what they go on sending.
  for (std::size_t other = 0; other < jobs.size(); ++other) {
    if (plan[other].to == i) stop(other);
  }
  if (job.phase == ControlledJob::Phase::going) {
    job.block->order.store(Order::stop, std::memory_order_release);
    return;
  }
  // It has not begun, and will not.
  job.never_started = true;
  job.ended_by_us = true;
  job.block->order.store(Order::abandon, std::memory_order_release);
  if (job.phase == ControlledJob::Phase::waiting && !job.runner) {
    job.phase = ControlledJob::Phase::over;
    job.flow->tx_done.store(true, std::memory_order_release);
  } else if (job.runner && !job.runner->is_thread()) {
    job.runner->signal(SIGTERM);
  }
}

void Runner::Impl::stop_all() {
  stopping = true;
  for (std::size_t i = 0; i < jobs.size(); ++i) stop(i);
}

void Runner::Impl::stop_hard() {
  if (hard) return;
  hard = true;
  hard_ns = now_ns();
  stop_all();
  for (ControlledJob& job : jobs) {
    if (!job.over()) job.block->order.store(Order::abandon, std::memory_order_release);
  }
}

void Runner::Impl::end_background_jobs() {
  const bool all = std::ranges::all_of(
      jobs, [](const ControlledJob& j) { return j.over() || j.plan.options.background; });
  if (!all) return;
  for (std::size_t i = 0; i < jobs.size(); ++i) stop(i);
}

/// Notes when nothing but its end is left for a job to do: it says so, or it receives, and all that
/// sent to it have ended and been waited for.
void Runner::Impl::note_done(std::size_t i, std::uint64_t now) {
  ControlledJob& job = jobs[i];
  if (job.done_ns != 0) return;
  if (job.state() > JobState::verifying) job.done_ns = now;
  if (plan[i].options.rw != Role::rx && plan[i].options.rw != Role::echo) return;
  bool any = false;
  for (std::size_t from = 0; from < jobs.size(); ++from) {
    if (plan[from].to != i) continue;
    if (!jobs[from].over()) return;
    any = true;
  }
  if (any) job.done_ns = now + drain_of(i);
}

/// How long it may take a job to end, of its own frames and of those that are sent to it.
std::uint64_t Runner::Impl::drain_of(std::size_t i) const {
  std::chrono::nanoseconds longest = plan[i].options.drain_time;
  for (const PlannedJob& from : plan) {
    if (from.to == i) longest = std::max(longest, from.options.drain_time);
  }
  return 2 * ns(longest);
}

/// Ends who does not end by himself.
void Runner::Impl::check_stuck(std::uint64_t now) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ControlledJob& job = jobs[i];
    if (job.over() || !job.runner) continue;
    note_done(i, now);
    const std::uint64_t expected = job.done_ns != 0   ? job.done_ns
                                   : job.stop_ns != 0 ? job.stop_ns + drain_of(i)
                                                      : latest_end_ns(job);
    const bool overdue = expected != 0 && now > expected + ns(options.stuck_timeout);
    if (hard && now > hard_ns + kGrace && job.killed_ns == 0) {
      job.fail("did not end within a second of a hard stop, while " +
               std::string(name_of(job.state())));
      job.killed_ns = now - kGrace;
    } else if (overdue && job.killed_ns == 0) {
      job.fail("is stuck: still " + std::string(name_of(job.state())) + ' ' +
               seconds_text(options.stuck_timeout) + " after it should have ended");
      job.killed_ns = now;
      job.ended_by_us = true;
      job.runner->signal(SIGTERM);
    }
    if (job.killed_ns == 0 || now < job.killed_ns + kGrace) continue;
    job.ended_by_us = true;
    if (job.runner->is_thread()) {
      stuck_thread = true;
      job.phase = ControlledJob::Phase::over;
      job.flow->tx_done.store(true, std::memory_order_release);
    } else {
      job.runner->signal(SIGKILL);
      job.runner->wait();
    }
  }
}

/// Threads that could not start, or were stuck, may end yet. They use what this owns till then.
void Runner::Impl::leave_threads() {
  const std::uint64_t deadline = now_ns() + kGrace;
  for (ControlledJob& job : jobs) {
    while (job.runner && job.runner->is_thread() && !job.runner->ended()) {
      if (now_ns() >= deadline) {
        stuck_thread = true;
        break;
      }
      sleep_a_tick();
    }
  }
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
  if (auto why = trigger->check(now - std::min(now, first_start_ns), hit)) {
    result.warnings.push_back("the trigger fired: " + *why);
    for (ControlledJob& job : jobs) job.block->save_state.store(true, std::memory_order_relaxed);
    stop_all();
  }
}

// ---- What is known meanwhile ----

/// Adds an interval to a curve, which has no finer ones than interval_ns.
void Runner::Impl::keep(std::vector<IntervalResult>& curve, const IntervalResult& next) const {
  const double length = static_cast<double>(interval_ns) * 1e-9;
  // Intervals are closed a little after their time.
  const auto place = [&](double at_seconds) { return std::floor(at_seconds / length + 1e-3); };
  const double begin = next.at_seconds - next.seconds;
  if (!curve.empty() && place(curve.back().at_seconds - curve.back().seconds) == place(begin)) {
    extend(curve.back(), next);
  } else {
    curve.push_back(next);
  }
}

void Runner::Impl::collect_intervals() {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ControlledJob& job = jobs[i];
    const std::uint64_t written = job.block->intervals_written.load(std::memory_order_acquire);
    // Overwritten ones are lost to the curve, not to the sums.
    const std::uint64_t oldest = written > kIntervalBlocks / 2 ? written - kIntervalBlocks / 2 : 0;
    for (std::uint64_t n = std::max(job.intervals_read, oldest); n < written; ++n) {
      const IntervalResult next = read_interval(job.block->intervals[n % kIntervalBlocks]);
      logs->add(i, next);
      extend(job.untold, next);
      keep(job.intervals, next);
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
  if (run.window) run.result.machine.window = run.window->shares();
  if (const int signal = control.signal.load(); signal != 0) run.result.stopped_by_signal = signal;
  gather(run.jobs, *run.memory, run.result);
  run.result.steady_state = run.steady->describe();
  for (std::string& failure : run.failures) run.result.failures.push_back(std::move(failure));
  if (auto error = run.trigger->run_command()) run.result.failures.push_back(*error);
  return std::move(run.result);
}

}  // namespace shmif::perf
