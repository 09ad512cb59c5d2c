#include "perf/worker/worker.hpp"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <random>

#include "perf/worker/placement.hpp"
#include "perf/worker/worker_impl.hpp"
#include "shmif/bus.hpp"

namespace shmif::perf {
namespace {

/// The longest sleep of a working job, so that it notices a stop.
constexpr std::uint64_t kLongestSleepNs = 50'000'000;
/// A job spins until a time that is this close, because a sleep may end this much too late.
constexpr std::uint64_t kSpinNs = 60'000;
/// How late a receiver may say that it waits for no more frames.
constexpr std::uint64_t kPatienceWithReceiverNs = 200'000'000;

/// How long before the start the jobs wake up.
constexpr std::uint64_t kAwakeBeforeNs = 2'000'000;

}  // namespace

void sleep_until(std::uint64_t time_ns) {
  const timespec until{static_cast<time_t>(time_ns / 1'000'000'000),
                       static_cast<long>(time_ns % 1'000'000'000)};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

int Worker::run() {
  state(JobState::created);
  if (!await(Order::initialise, 5'000'000)) return leave();
  if (options_.engine != EngineKind::host) return work();
  ::setsid();
  // Outside of the guest, which has no rights for this and inherits it.
  if (auto done = take_place(options_); !done) return fail(done.error().message);
  if (!options_.exec.empty()) return run_program();
  return run_host(options_, setup_.host, setup_.end, job_, [this] {
    try {
      return work();
    } catch (const std::exception& error) {
      return fail(error.what());
    }
  });
}

int Worker::run_program() {
  if (auto done = prepare(); !done) {
    return order() >= Order::stop ? leave() : fail(done.error().message);
  }
  const int status = run_host(options_, setup_.host, setup_.end, job_, {});
  error_ = job_.error.get();
  const bool began = job_.start_skew_ns.load(std::memory_order_relaxed) != UINT64_MAX;
  conclude(began);
  return error_.empty() ? status : 1;
}

int Worker::work() {
  if (auto done = initialise(); !done) {
    return order() >= Order::stop ? leave() : fail(done.error().message);
  }
  state(JobState::initialised);
  if (!await(Order::go, 500'000)) return leave();
  start();
  loop();
  finish();
  return error_.empty() ? 0 : 1;
}

int Worker::fail(const std::string& why) {
  if (error_.empty()) error_ = why;
  job_.error.set(error_);
  job_.failed.store(true, std::memory_order_relaxed);
  flow_.tx_done.store(true, std::memory_order_release);
  state(JobState::exited);
  return 1;
}

bool Worker::await(Order wanted, std::uint64_t look_every_ns) const {
  for (;;) {  // runs until ordered
    const Order now = order();
    if (now == wanted) return true;
    if (now == Order::stop || now == Order::abandon) return false;
    sleep_until(now_ns() + look_every_ns);
  }
}

int Worker::leave() {
  flow_.tx_done.store(true, std::memory_order_release);
  state(JobState::exited);
  return 0;
}

void Worker::start() {
  const std::uint64_t start = job_.start_ns.load(std::memory_order_acquire);
  tcp_.emplace(*end_, job_);
  recorder_.emplace(job_, start, setup_.interval_ns, &*tcp_);
  begin_ns_ = start + ns(options_.start_delay);
  measure_from_ns_ = begin_ns_ + ns(options_.ramp_time);
  if (generator_) generator_->begin(begin_ns_, *recorder_);
  if (sink_) sink_->begin(*recorder_, measure_from_ns_);
  if (options_.verify_only) flow_.measure_from_ns.store(start, std::memory_order_release);
  in_ramp_ = options_.ramp_time.count() > 0;
  state(in_ramp_ ? JobState::ramp : JobState::running);
  // Everything is prepared, so the measured skew is only the lateness of the start. Waking a job
  // takes about 20 us of a CPU, one job after the other. A job that is already awake passes the CPU
  // on in 5 us.
  sleep_until(start - std::min(start, kAwakeBeforeNs));
  // A job that only receives listens at once, and sleeps when the others start, so that the senders
  // get the CPUs then. Frames of a file wait, and are read in the window.
  const bool listens = !generator_ && options_.engine != EngineKind::pcap;
  if (listens) begin_ns_ = now_ns();
  while (!listens && now_ns() < start) ::sched_yield();
}

void Worker::note_begin(std::uint64_t now) {
  begun_ = true;
  const std::uint64_t common = generator_ ? begin_ns_ : job_.start_ns.load();
  job_.start_skew_ns.store(now - std::min(now, common), std::memory_order_relaxed);
}

/// Each job that shares a CPU with others sends its first frame before any of them goes on.
void Worker::let_others_begin() {
  ::sched_yield();
  // Only now, because the kernel divides a CPU among sessions (sched_autogroup), and a job could
  // not pass its CPU on to a job of another session.
  if (!options_.thread) ::setsid();
}

void Worker::loop() {
  for (;;) {  // runs until finished() or an order
    const std::uint64_t now = now_ns();
    if (recorder_->is_over(now)) close_interval(now);
    if (!obey(now)) return;
    if (!job_.measuring.load(std::memory_order_relaxed)) note_window(now);
    const bool begins = !begun_ && now >= begin_ns_;
    if (begins) note_begin(now);
    bool moved = false;
    if (generator_) moved = generator_->step(now);
    if (sink_ && sink_->step()) moved = true;
    if (begins) let_others_begin();
    if (draining_ && moved != used_since_) {
      used_since_ = moved;
      if (!moved) keep_usage();
    }
    if (finished(now)) return;
    if (!moved) idle(now);
  }
}

std::uint64_t Worker::window_begin_ns() const {
  const std::uint64_t own = generator_ ? measure_from_ns_ : UINT64_MAX;
  return sink_ ? std::min(own, sink_->window_begin_ns()) : own;
}

void Worker::note_window(std::uint64_t now) {
  if (period_of(now, window_begin_ns()) == Period::ramp) return;
  tcp_->begin_window();
  usage_.emplace(options_.thread ? Usage::Of::thread : Usage::Of::process);
  recorder_->border(std::min(now, window_begin_ns()));
  job_.measuring.store(true, std::memory_order_release);
}

bool Worker::obey(std::uint64_t now) {
  const Order now_wanted = order();
  if (now_wanted == Order::go) return true;
  if (now_wanted == Order::abandon) return false;
  if (now_wanted == Order::stop && !stopped_) {
    stopped_ = true;
    if (generator_) generator_->stop(now);
  }
  return true;
}

bool Worker::finished(std::uint64_t now) {
  if (in_ramp_ && now >= measure_from_ns_) {
    in_ramp_ = false;
    state(JobState::running);
  }
  if (generator_ && !generator_->error().empty()) return fails(generator_->error());
  if (sink_ && !sink_->error().empty()) {
    return sink_->ended_normally() ? true : fails(sink_->error());
  }
  if (generator_ && !generator_->done()) return false;
  if (sink_ && sink_->has_flows()) {
    if (!sink_->is_draining()) return false;
    note_draining();
    const bool has_all = sink_->drained(now);
    return all_arrived(now) && has_all;
  }
  if (generator_) {
    note_draining();
    return all_arrived(now);
  }
  // Listens to any frames.
  const std::uint64_t runtime = ns(options_.runtime);
  return stopped_ || (runtime != 0 && now >= measure_from_ns_ + runtime);
}

bool Worker::all_arrived(std::uint64_t now) const {
  if (!generator_ || plan_.to == kNoJob) return true;
  if (flow_.drained.load(std::memory_order_acquire)) return true;
  const std::uint64_t end = job_.window_end_ns.load(std::memory_order_acquire);
  return now >= end + 2 * ns(options_.drain_time) + kPatienceWithReceiverNs;
}

/// An interval in which the last sender ended is cut there.
void Worker::close_interval(std::uint64_t now) {
  const bool ended = sink_ && sink_->has_flows() && sink_->is_draining();
  if (ended && !draining_) recorder_->border(std::min(now, sink_->window_end_ns()));
  recorder_->close(now);
}

void Worker::note_draining() {
  if (draining_) return;
  draining_ = true;
  tcp_->end_window();
  if (sink_) recorder_->border(std::min(now_ns(), sink_->window_end_ns()));
  keep_usage();
  state(JobState::draining);
}

void Worker::keep_usage() {
  if (!usage_) return;  // nothing was measured
  const bool has_helpers =
      options_.verify_async != 0 || options_.io_submit_mode == IoSubmit::offload;
  if (options_.thread && has_helpers) return;
  job_.cpu = usage_->so_far();
  job_.cpu_known.store(true, std::memory_order_release);
}

std::uint64_t Worker::nothing_until(std::uint64_t now) {
  if (generator_ && !generator_->done()) {
    const std::uint64_t next = generator_->next_look_ns(now);
    if (next <= now + kSpinNs || generator_->spins(now)) return now;
    return std::min(now + kLongestSleepNs, next - kSpinNs);
  }
  return now + (draining_ ? 1'000'000 : kLongestSleepNs);  // at the end, others wait for this
}

void Worker::idle(std::uint64_t now) {
  if (generator_ && generator_->is_refused()) {
    end_->wait_to_send(std::chrono::milliseconds(sink_ ? 1 : 50));
    return;
  }
  const std::uint64_t until = std::min(nothing_until(now), recorder_->next_ns());
  const std::uint64_t began = now_ns();
  // Frames delayed by faults go out only while the end is used or waited for. A job that only sends
  // uses its end only for its own frames.
  if (has_faults_ && !sink_) {
    end_->wait(std::chrono::nanoseconds(until - std::min(until, began)));
  } else if (until <= began) {
    return;
  } else if (sink_ || draining_) {
    end_->wait(std::chrono::nanoseconds(until - began));
  } else {
    sleep_until(until);
  }
}

int run_worker(const WorkerContext& context, std::size_t index) noexcept {
  // If somebody truncates a bus, the job reports an error and is not killed.
  (void)install_sigbus_guard();
  Worker worker(context, index);
  try {
    return worker.run();
  } catch (const std::exception& error) {
    return worker.fail(error.what());
  }
}

std::uint32_t make_nonce() {
  return std::random_device()();
}

}  // namespace shmif::perf
