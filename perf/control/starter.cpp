#include "perf/control/starter.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
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
