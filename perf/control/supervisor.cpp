#include "perf/control/supervisor.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {

// ---- Supervisor ----

namespace {

/// After SIGTERM or a hard stop, a job has this long until SIGKILL.
constexpr std::uint64_t kGrace = 1'000'000'000;

/// When the job should end by its own runtime; 0 if that is not known.
std::uint64_t own_end_ns(const ControlledJob& job) noexcept {
  const JobOptions& o = job.plan.options;
  const std::uint64_t start = job.block->start_ns.load(std::memory_order_acquire);
  if (start == 0 || o.runtime.count() == 0) return 0;
  return start + ns(o.start_delay) + ns(o.ramp_time) + ns(o.runtime) + 2 * ns(o.drain_time);
}

}  // namespace

void Supervisor::reap() {
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
    if (!run_.jobs[i].over() && run_.jobs[i].runner && run_.jobs[i].runner->ended()) finish(i);
  }
}

void Supervisor::finish(std::size_t i) {
  ControlledJob& job = run_.jobs[i];
  job.ended_ns = now_ns();
  const bool was_going = job.phase == ControlledJob::Phase::going;
  const JobExit& exit = job.runner->exit();
  const JobState state = job.block->state.load(std::memory_order_acquire);
  debug(Debug::process, [&] {
    std::string how = exit.signal   ? "was ended by signal " + std::to_string(*exit.signal)
                      : exit.status ? "ended with status " + std::to_string(*exit.status)
                                    : std::string("ended");
    return "job " + job.plan.options.name + ' ' + how + ", while " + name_of(state);
  });
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
  // This tells the receiver that no more frames will come. The job's block says what it has sent.
  job.flow->tx_done.store(true, std::memory_order_release);
  nobody_listens_to(i);
  if (!was_going) {
    job.never_started = true;
    if (!job.errors.empty()) {
      job.errors.front().insert(0, "did not start: ");
      if (!run_.options.continue_on_start_error) stop_all();
    }
  }
  after_the_end_of(i);
}

void Supervisor::nobody_listens_to(std::size_t i) {
  if (run_.plan[i].options.rw == Role::pingpong) {
    run_.jobs[i].flow->drained.store(true, std::memory_order_release);
  }
  for (const std::size_t from : run_.jobs[i].senders) {
    run_.jobs[from].flow->drained.store(true, std::memory_order_release);
  }
}

void Supervisor::gone(std::size_t i) {
  nobody_listens_to(i);
  after_the_end_of(i);
}

void Supervisor::after_the_end_of(std::size_t i) {
  const JobOptions& o = run_.jobs[i].plan.options;
  const bool failed = !run_.jobs[i].errors.empty();
  for (const std::size_t from : run_.jobs[i].senders) {
    // Frames that this sender sends can no longer be verified.
    if (!run_.jobs[from].flow->tx_done.load(std::memory_order_acquire)) stop(from);
  }
  if (o.exitall || (failed && o.exitall_on_error)) {
    debug(Debug::process, [&] {
      return "job " + o.name + " has " + (o.exitall ? "exitall" : "exitall_on_error") +
             ": its group " + run_.jobs[i].plan.group + " ends";
    });
    for (std::size_t other = 0; other < run_.jobs.size(); ++other) {
      if (run_.jobs[other].plan.group == run_.jobs[i].plan.group) stop(other);
    }
  }
  end_background_jobs();
}

void Supervisor::stop(std::size_t i) {
  ControlledJob& job = run_.jobs[i];
  if (job.over() || job.stop_ns != 0) return;
  job.stop_ns = now_ns();
  debug(Debug::process, [&] { return "orders job " + job.plan.options.name + " to stop"; });
  // A receiver ends when its senders have ended. Frames sent later would not be verified.
  for (const std::size_t from : job.senders) stop(from);
  if (job.phase == ControlledJob::Phase::going) {
    job.block->order.store(Order::stop, std::memory_order_release);
    return;
  }
  // The job has not begun, and will not begin.
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

void Supervisor::stop_all() {
  stopping_ = true;
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) stop(i);
}

void Supervisor::stop_hard() {
  if (hard_) return;
  debug(Debug::process, [] { return "stops all jobs at once"; });
  hard_ = true;
  hard_ns_ = now_ns();
  stop_all();
  for (ControlledJob& job : run_.jobs) {
    if (!job.over()) job.block->order.store(Order::abandon, std::memory_order_release);
  }
}

void Supervisor::end_background_jobs() {
  const bool all = std::ranges::all_of(
      run_.jobs, [](const ControlledJob& j) { return j.over() || j.plan.options.background; });
  if (!all) return;
  debug(Debug::process, [] { return "only background jobs are left: they end, too"; });
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) stop(i);
}

/// Notes when a job has nothing left to do but end: when it says so; or, if it only receives, when
/// all its senders have ended and the drain time is over.
void Supervisor::set_done_ns(std::size_t i, std::uint64_t now) {
  ControlledJob& job = run_.jobs[i];
  if (job.done_ns != 0) return;
  if (job.state() > JobState::verifying) job.done_ns = now;
  if (run_.plan[i].options.rw != Role::rx && run_.plan[i].options.rw != Role::echo) return;
  const auto ended = [&](std::size_t from) { return run_.jobs[from].over(); };
  if (job.senders.empty() || !std::ranges::all_of(job.senders, ended)) return;
  job.done_ns = now + drain_of(i);
}

/// How long a job may take to drain: to send its own frames, and to receive those sent to it.
std::uint64_t Supervisor::drain_of(std::size_t i) const {
  std::chrono::nanoseconds longest = run_.plan[i].options.drain_time;
  for (const std::size_t from : run_.jobs[i].senders) {
    longest = std::max(longest, run_.plan[from].options.drain_time);
  }
  return 2 * ns(longest);
}

/// When a job should have ended at the latest; 0 if that is not known. A job that only receives
/// lasts as long as its senders, whatever its own runtime is. The senders are checked first,
/// because it waits for them.
std::uint64_t Supervisor::latest_end_ns(std::size_t i) const {
  const ControlledJob& job = run_.jobs[i];
  if (job.done_ns != 0) return job.done_ns;
  const bool only_receives = !job.senders.empty() && !sends(job.plan.options.rw);
  const auto goes_on = [&](std::size_t from) { return !run_.jobs[from].over(); };
  if (only_receives && std::ranges::any_of(job.senders, goes_on)) return 0;
  if (job.stop_ns != 0) return job.stop_ns + drain_of(i);
  return only_receives ? 0 : own_end_ns(job);
}

void Supervisor::check_stuck(std::uint64_t now) {
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
    ControlledJob& job = run_.jobs[i];
    if (job.over() || !job.runner) continue;
    set_done_ns(i, now);
    const std::uint64_t expected = latest_end_ns(i);
    const bool overdue = expected != 0 && now > expected + ns(run_.options.stuck_timeout);
    if (hard_ && now > hard_ns_ + kGrace && job.killed_ns == 0) {
      job.fail("did not end within a second of a hard stop, while " +
               std::string(name_of(job.state())));
      job.killed_ns = now - kGrace;
    } else if (overdue && job.killed_ns == 0) {
      job.fail("is stuck: still " + std::string(name_of(job.state())) + ' ' +
               seconds_text(run_.options.stuck_timeout) + " after it should have ended");
      job.killed_ns = now;
      debug(Debug::process, [&] { return "job " + job.plan.options.name + " is stuck: SIGTERM"; });
      job.ended_by_us = true;
      job.block->order.store(Order::abandon, std::memory_order_release);
      job.runner->signal(SIGTERM);
    }
    if (job.killed_ns == 0 || now < job.killed_ns + kGrace) continue;
    job.ended_by_us = true;
    if (job.runner->is_thread()) {
      stuck_thread_ = true;
      job.phase = ControlledJob::Phase::over;
      job.flow->tx_done.store(true, std::memory_order_release);
      gone(i);
    } else {
      debug(Debug::process, [&] { return "job " + job.plan.options.name + ": SIGKILL"; });
      job.runner->signal(SIGKILL);
      job.runner->wait();
    }
  }
}

void Supervisor::leave_threads() {
  const std::uint64_t deadline = now_ns() + kGrace;
  for (ControlledJob& job : run_.jobs) {
    while (job.runner && job.runner->is_thread() && !job.runner->ended()) {
      if (now_ns() >= deadline) {
        stuck_thread_ = true;
        break;
      }
      sleep_a_tick();
    }
  }
}

// ---- Starter ----

namespace {

/// Time between the order to go and the start. Within it, every job sees the order and wakes up.
constexpr std::uint64_t kStartAhead = 5'000'000;

/// A job that gives up by itself after startup_timeout may take this long to say why.
constexpr std::uint64_t kTellTime = 500'000'000;

}  // namespace

void Starter::create_processes() {
  for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
    if (run_.jobs[i].plan.options.thread || run_.jobs[i].over()) continue;
    if (auto done = create_job(i); !done) fail_start(i, done.error().message);
  }
}

Result<void> Starter::create_job(std::size_t i) {
  auto runner = JobRunner::start(run_.plan[i].options.thread, [this, i] {
    return run_worker(
        {.plan = run_.plan, .setups = run_.setups, .run = run_.options, .memory = *run_.memory}, i);
  });
  if (!runner) return std::move(runner).error();
  run_.jobs[i].runner = *std::move(runner);
  debug(Debug::process, [&] {
    const PlannedJob& job = run_.plan[i];
    return "job " + job.options.name +
           (job.options.thread ? " is a thread"
                               : " is process " + std::to_string(run_.jobs[i].runner->pid()));
  });
  return {};
}

void Starter::step(RunControl& control) {
  if (!supervisor_.stopping()) {
    std::vector<std::size_t> ready;
    for (std::size_t i = 0; i < run_.jobs.size(); ++i) {
      const bool free = std::ranges::all_of(run_.jobs[i].plan.waits_for,
                                            [&](std::size_t w) { return run_.jobs[w].over(); });
      const bool waits =
          run_.jobs[i].phase == ControlledJob::Phase::waiting && run_.jobs[i].stop_ns == 0;
      if (waits && free) ready.push_back(i);
    }
    if (!ready.empty()) order_batch(ready);
  }
  for (Batch& batch : starting_) advance(batch, control);
  std::erase_if(starting_, [](const Batch& batch) { return batch.jobs.empty(); });
}

void Starter::order_batch(const std::vector<std::size_t>& ready) {
  Batch batch{{}, now_ns()};
  for (const std::size_t i : ready) {
    if (run_.jobs[i].over() || run_.jobs[i].stop_ns != 0) continue;  // an earlier job failed
    if (!run_.jobs[i].runner) {
      if (auto done = create_job(i); !done) {
        fail_start(i, done.error().message);
        continue;
      }
    }
    debug(Debug::process,
          [&] { return "orders job " + run_.plan[i].options.name + " to get ready"; });
    run_.jobs[i].phase = ControlledJob::Phase::starting;
    run_.jobs[i].block->order.store(Order::initialise, std::memory_order_release);
    batch.jobs.push_back(i);
  }
  starting_.push_back(std::move(batch));
}

void Starter::advance(Batch& batch, RunControl& control) {
  std::erase_if(batch.jobs, [&](std::size_t i) { return run_.jobs[i].over(); });
  const std::uint64_t now = now_ns();
  std::size_t ready = 0;
  // A job that has exited has failed, and must be reaped.
  const auto is_ready = [&](std::size_t i) {
    return run_.jobs[i].state() == JobState::initialised;
  };
  for (const std::size_t i : batch.jobs) ready += is_ready(i) ? 1U : 0U;
  if (ready != batch.ready) {
    batch.progress_ns = now;
    debug(Debug::process, [&] {
      return std::to_string(ready) + " of " + std::to_string(batch.jobs.size()) + " jobs are ready";
    });
  }
  batch.ready = ready;
  for (const std::size_t i : batch.jobs) {
    const auto time = run_.jobs[i].plan.options.startup_timeout;
    if (run_.jobs[i].over() || is_ready(i)) continue;
    if (now - batch.progress_ns <= ns(time) + kTellTime) continue;
    const bool created = run_.jobs[i].state() != JobState::not_created;
    fail_start(i, std::string(created ? "was not initialised" : "had not started") + " after " +
                      seconds_text(time) + " (startup_timeout)");
  }
  std::erase_if(batch.jobs, [&](std::size_t i) { return run_.jobs[i].over(); });
  if (batch.jobs.empty() || ready < batch.jobs.size() || supervisor_.stopping()) return;
  control.ready.store(true);
  if (control.start_at_ns.load() != RunControl::kHeld) begin(batch, control);
}

void Starter::begin(Batch& batch, RunControl& control) {
  const std::uint64_t soon = now_ns() + kStartAhead + batch.jobs.size() * 100'000;
  const std::uint64_t start = std::max(soon, control.start_at_ns.load());
  if (first_start_ns_ == 0) {
    first_start_ns_ = start;
    std::uint64_t none = 0;
    control.started_ns.compare_exchange_strong(none, start);
  }
  debug(Debug::process, [&] {
    return std::to_string(batch.jobs.size()) + " jobs start together in " +
           std::to_string((start - std::min(start, now_ns())) / 1000) + " us";
  });
  for (const std::size_t i : batch.jobs) {
    run_.jobs[i].block->start_ns.store(start, std::memory_order_release);
    run_.jobs[i].phase = ControlledJob::Phase::going;
  }
  for (const std::size_t i : batch.jobs) {
    run_.jobs[i].block->order.store(Order::go, std::memory_order_release);
  }
  batch.jobs.clear();
}

void Starter::fail_start(std::size_t i, const std::string& why) {
  ControlledJob& job = run_.jobs[i];
  debug(Debug::process, [&] { return "job " + job.plan.options.name + " did not start: " + why; });
  job.fail("did not start: " + why);
  job.never_started = true;
  job.block->order.store(Order::abandon, std::memory_order_release);
  if (job.runner) job.runner->signal(SIGKILL);
  job.ended_by_us = true;
  job.phase = ControlledJob::Phase::over;
  job.flow->tx_done.store(true, std::memory_order_release);
  supervisor_.gone(i);
  if (!run_.options.continue_on_start_error) supervisor_.stop_all();
}

}  // namespace shmif::perf
