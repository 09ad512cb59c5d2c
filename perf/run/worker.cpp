#include "perf/run/worker.hpp"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "perf/run/command.hpp"
#include "perf/run/generator.hpp"
#include "perf/run/interval_recorder.hpp"
#include "perf/run/job_parts.hpp"
#include "perf/run/offload_end.hpp"
#include "perf/run/placement.hpp"
#include "perf/run/sink.hpp"
#include "perf/stats/machine.hpp"
#include "shmif/bus.hpp"

namespace shmif::perf {
namespace {

/// The longest sleep of a job that is at work, so that a stop reaches it.
constexpr std::uint64_t kLongestSleepNs = 50'000'000;
/// What is due so soon is waited for awake: a sleep may take that much longer than asked for.
constexpr std::uint64_t kSpinNs = 60'000;
/// What a receiver may be late with saying that it waits for nothing more.
constexpr std::uint64_t kPatienceWithReceiverNs = 200'000'000;

/// So long before the start jobs are awake.
constexpr std::uint64_t kAwakeBeforeNs = 2'000'000;

void sleep_until(std::uint64_t time_ns) {
  const timespec until{static_cast<time_t>(time_ns / 1'000'000'000),
                       static_cast<long>(time_ns % 1'000'000'000)};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

class Worker {
 public:
  Worker(const WorkerContext& context, std::size_t index)
      : context_(context),
        index_(index),
        plan_(context.plan[index]),
        options_(plan_.options),
        setup_(context.setups[index]),
        job_(context.memory.job(index)),
        flow_(context.memory.flow(index)) {}

  int run() {
    state(JobState::created);
    if (!await(Order::initialise, 5'000'000)) return leave();
    if (options_.engine != EngineKind::host) return work();
    ::setsid();
    if (!options_.exec.empty()) return run_program();
    return run_host(options_, setup_.host, setup_.end, job_, [this] {
      try {
        return work();
      } catch (const std::exception& error) {
        return fail(error.what());
      }
    });
  }

  /// Of an emulated host with a program of its own: what it inherits is taken outside, before it is
  /// made.
  int run_program() {
    if (auto done = make_ready(); !done) {
      return order() >= Order::stop ? leave() : fail(done.error().message);
    }
    const int status = run_host(options_, setup_.host, setup_.end, job_, {});
    error_ = job_.error.get();
    const bool began = job_.start_skew_ns.load(std::memory_order_relaxed) != UINT64_MAX;
    conclude(began);
    return error_.empty() ? status : 1;
  }

  /// All but the creation: what an emulated host does inside.
  int work() {
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

  int fail(const std::string& why) {
    if (error_.empty()) error_ = why;
    job_.error.set(error_);
    job_.failed.store(true, std::memory_order_relaxed);
    flow_.tx_done.store(true, std::memory_order_release);
    state(JobState::exited);
    return 1;
  }

 private:
  void state(JobState next) { job_.state.store(next, std::memory_order_release); }
  Order order() const { return job_.order.load(std::memory_order_acquire); }

  /// Result: false when it is to end instead.
  bool await(Order wanted, std::uint64_t look_every_ns) const {
    for (;;) {  // runs until ordered
      const Order now = order();
      if (now == wanted) return true;
      if (now == Order::stop || now == Order::abandon) return false;
      sleep_until(now_ns() + look_every_ns);
    }
  }

  /// It was never told to go.
  int leave() {
    flow_.tx_done.store(true, std::memory_order_release);
    state(JobState::exited);
    return 0;
  }

  // ---- Before the start ----

  /// What needs no device.
  Result<void> make_ready() {
    if (!options_.exec_prerun.empty()) {
      const std::string output = file_name("prerun.txt");
      const auto stopped = [this] { return order() >= Order::stop; };
      if (auto done = run_command(options_.exec_prerun, output, stopped); !done) {
        return Error(done.error().code, "exec_prerun: " + done.error().message);
      }
    }
    return take_place(options_);
  }

  Result<void> initialise() {
    if (auto done = make_ready(); !done) return done;
    if (options_.engine == EngineKind::host) await_peer();
    auto end = options_.engine == EngineKind::host
                   ? open_host_end(options_, setup_.host, setup_.end)
                   : setup_.wire->open_end(setup_.end);
    if (!end) return std::move(end).error();
    end_ = *std::move(end);
    if (options_.io_submit_mode == IoSubmit::offload) {
      end_ = make_offload_end(std::move(end_), options_.iodepth_batch);
    }
    has_faults_ = end_->faults_sent() || end_->faults_received();
    job_.address.set(end_->address());
    auto before = state_before(context_, index_);
    if (!before) return std::move(before).error();
    if (auto done = make_generator(*before); !done) return done;
    if (auto done = make_sink(*before); !done) return done;
    if (auto done = lock_memory(); !done) return done;
    return drop_privileges(options_);
  }

  Result<void> lock_memory() {
    if (!options_.lockmem) return {};
    if (generator_) {
      if (auto done = pin(generator_->source().memory()); !done) return done;
    }
    return sink_ ? pin(sink_->memory()) : Result<void>();
  }

  /// Until the host is on the bus that this one connects to: who asks for an address in vain asks
  /// again a second later.
  void await_peer() const {
    if (options_.proto != HostProtocol::tcp || setup_.host.listens || plan_.to == kNoJob) return;
    const JobBlock& peer = context_.memory.job(plan_.to);
    const std::uint64_t deadline = now_ns() + ns(options_.startup_timeout);
    while (!peer.on_bus.load(std::memory_order_acquire) && order() < Order::stop &&
           now_ns() < deadline) {
      sleep_until(now_ns() + 500'000);
    }
  }

  Result<void> make_generator(const VerifyState& before) {
    if (!sends(options_.rw)) return {};
    auto source = make_source(context_, index_, before);
    if (!source) return std::move(source).error();
    job_.warning.set((*source)->warning());
    const std::size_t most = (*source)->most_bytes();
    if (most > end_->max_frame_bytes()) {
      return Error(Errc::frame_too_long,
                   "frames of " + std::to_string(most) + " bytes do not fit " + end_->address() +
                       ", which carries " + std::to_string(end_->max_frame_bytes()) +
                       " (see bs and mtu)");
    }
    auto record = make_record(options_);
    if (!record) return std::move(record).error();
    const FlowState* const state = flow_from(before, options_.name);
    generator_.emplace(
        Generator::Setup{.options = options_,
                         .source = *std::move(source),
                         .record = *std::move(record),
                         .share = make_share(context_, index_),
                         .first_sequence = state != nullptr ? state->next_sequence : 0},
        *end_, job_, flow_);
    return {};
  }

  Result<void> make_sink(VerifyState& before) {
    if (!receives(options_.rw)) return {};
    if (!context_.run.trigger_match.empty()) {
      auto filter = FrameFilter::compile(context_.run.trigger_match);
      if (!filter) return std::move(filter).error();
      trigger_.emplace(*std::move(filter));
    }
    Sink::Setup sink{.options = options_, .flows = expected_flows(context_, index_, before)};
    sink.nonce = setup_.nonce;
    sink.trigger = trigger_ ? &*trigger_ : nullptr;
    sink.window = options_.rw == Role::pingpong ? &generator_->window() : nullptr;
    sink.echoes = options_.rw == Role::echo;
    sink.pauses = setup_.wire != nullptr && setup_.wire->capabilities().pauses;
    if (options_.verify_only) {
      sink.recorded = &flow_;
      sink.recorded_frames = recorded_frames(options_);
    }
    sink_.emplace(std::move(sink), *end_, job_);
    return sink_->prepare();
  }

  std::string file_name(const std::string& what) const {
    const std::string& folder = context_.run.aux_path;
    return (folder.empty() ? "" : folder + '/') + options_.name + '.' + what;
  }

  // ---- At work ----

  void start() {
    const std::uint64_t start = job_.start_ns.load(std::memory_order_acquire);
    recorder_.emplace(job_, start, setup_.interval_ns);
    begin_ns_ = start + ns(options_.start_delay);
    measure_from_ns_ = begin_ns_ + ns(options_.ramp_time);
    if (generator_) generator_->begin(begin_ns_, *recorder_);
    if (sink_) sink_->begin(*recorder_);
    if (options_.verify_only) flow_.measure_from_ns.store(start, std::memory_order_release);
    usage_.emplace(options_.thread ? Usage::Of::thread : Usage::Of::process);
    in_ramp_ = options_.ramp_time.count() > 0;
    state(in_ramp_ ? JobState::ramp : JobState::running);
    // All is made: what is measured as skew is nothing but how late it is. Each wake takes some 20
    // us of a CPU, one behind the other; who is awake already passes the CPU on in 5.
    sleep_until(start - std::min(start, kAwakeBeforeNs));
    while (now_ns() < start) ::sched_yield();
    job_.start_skew_ns.store(now_ns() - start, std::memory_order_relaxed);
    // Each that shares a CPU with others begins before any of them is far.
    ::sched_yield();
    // Only now: the kernel shares a CPU between sessions (sched_autogroup), and nobody could pass
    // it on to a job of another one.
    if (!options_.thread) ::setsid();
  }

  void loop() {
    for (;;) {  // runs until finished() or an order
      const std::uint64_t now = now_ns();
      recorder_->tick(now);
      if (!obey(now)) return;
      bool moved = false;
      if (generator_) moved = generator_->step(now);
      if (sink_ && sink_->step()) moved = true;
      if (finished(now)) return;
      if (!moved) idle(now);
    }
  }

  /// Result: false when it is to end at once.
  bool obey(std::uint64_t now) {
    const Order now_wanted = order();
    if (now_wanted == Order::go) return true;
    if (now_wanted == Order::abandon) return false;
    if (now_wanted == Order::stop && !stopped_) {
      stopped_ = true;
      if (generator_) generator_->stop(now);
    }
    return true;
  }

  bool finished(std::uint64_t now) {
    if (in_ramp_ && now >= measure_from_ns_) {
      in_ramp_ = false;
      usage_.emplace(options_.thread ? Usage::Of::thread : Usage::Of::process);
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
    // Listens to whatever comes.
    const std::uint64_t runtime = ns(options_.runtime);
    return stopped_ || (runtime != 0 && now >= measure_from_ns_ + runtime);
  }

  /// The receiver says when it has all; till then, faults on the way may have some of it. One that
  /// says nothing, for it is stuck, would have stopped listening by twice the drain time.
  bool all_arrived(std::uint64_t now) const {
    if (!generator_ || plan_.to == kNoJob) return true;
    if (flow_.drained.load(std::memory_order_acquire)) return true;
    const std::uint64_t end = job_.window_end_ns.load(std::memory_order_acquire);
    return now >= end + 2 * ns(options_.drain_time) + kPatienceWithReceiverNs;
  }

  bool fails(const std::string& why) {
    if (error_.empty()) error_ = why;
    return true;
  }

  void note_draining() {
    if (draining_) return;
    draining_ = true;
    keep_usage();
    state(JobState::draining);
  }

  void keep_usage() {
    job_.cpu = usage_->so_far();
    job_.cpu_known.store(true, std::memory_order_release);
  }

  /// Until when there is nothing to do, as far as that is known; `now`: there is something.
  std::uint64_t nothing_until(std::uint64_t now) {
    if (generator_ && !generator_->done()) {
      const std::uint64_t next = generator_->next_look_ns(now);
      if (next <= now + kSpinNs || generator_->spins(now)) return now;
      return std::min(now + kLongestSleepNs, next - kSpinNs);
    }
    return now + (draining_ ? 1'000'000 : kLongestSleepNs);  // at the end, others wait for it
  }

  /// Sleeps until there is something to do.
  void idle(std::uint64_t now) {
    if (generator_ && generator_->is_refused()) {
      end_->wait_to_send(std::chrono::milliseconds(sink_ ? 1 : 50));
      return;
    }
    const std::uint64_t until = nothing_until(now);
    const std::uint64_t began = now_ns();
    // Frames under way through faults go out while their end is used or waited for, and who only
    // sends uses it for its own frames alone.
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

  // ---- The end ----

  void finish() {
    if (!draining_) keep_usage();
    if (generator_) generator_->stop(now_ns());
    state(JobState::verifying);
    if (sink_) {
      sink_->finish();
      // Frames that waited to be checked may have been found damaged only now.
      if (!sink_->error().empty() && !sink_->ended_normally()) fails(sink_->error());
    }
    state(JobState::finishing);
    finish_sending();
    recorder_->close(now_ns());
    keep_counters();
    end_.reset();
    if (generator_) {
      if (auto done = generator_->finish_record(); !done) fails(done.error().message);
    }
    if (options_.verify_state_save || job_.save_state.load()) save_state();
    conclude(true);
  }

  /// `began`: what it was to do, so that there is something for exec_postrun to look at.
  void conclude(bool began) {
    if (began && !options_.exec_postrun.empty()) {
      const auto abandoned = [this] { return order() == Order::abandon; };
      const std::string output = file_name("postrun.txt");
      if (auto done = run_command(options_.exec_postrun, output, abandoned); !done) {
        fails("exec_postrun: " + done.error().message);
      }
    }
    if (!error_.empty()) {
      job_.error.set(error_);
      job_.failed.store(true, std::memory_order_relaxed);
    }
    state(JobState::exited);
  }

  /// What an engine had taken to send it later may meet an error when nobody sends any more.
  void finish_sending() {
    constexpr std::chrono::seconds kPatience{1};
    const End::Unsent left =
        end_->finish_sending(order() == Order::abandon ? std::chrono::seconds(0) : kPatience);
    if (left.error) {
      job_.tx_errors.add(1);
      job_.first_tx_error.set(left.error.message());
      if (ends_the_medium(left.error) || !options_.continue_on_error.tx) {
        fails("cannot send on " + end_->address() + ": " + left.error.message());
      }
    }
    if (left.frames != 0) {
      fails(std::to_string(left.frames) + " frames that were counted as sent were never taken by " +
            end_->address());
    }
  }

  void save_state() {
    VerifyState state{.job = options_.name, .options_hash = options_hash(options_)};
    if (sink_) state.flows = sink_->state();
    if (generator_) {
      FlowState* at = flow_from(state, options_.name);
      if (at == nullptr) at = &state.flows.emplace_back(FlowState{.from = options_.name});
      at->seed = options_.randseed;
      at->next_sequence = generator_->sequence();
      at->random_position = generator_->source().random_position();
    }
    const std::string folder = context_.run.aux_path.empty() ? "." : context_.run.aux_path;
    if (auto done = save_verify_state(verify_state_path(folder, options_.name), state); !done) {
      fails(done.error().message);
    }
  }

  void keep_counters() {
    keep_faults();
    const auto keep = [](JobBlock::OptionalCount& to, const std::optional<std::uint64_t>& from) {
      if (from) to.set(*from);
    };
    const WireCounters c = end_->counters();
    if (options_.engine == EngineKind::host) {  // the port has the rest
      if (const auto drops = interface_drops()) {
        job_.kernel_tx_drops.set(drops->sent);
        job_.kernel_rx_drops.set(drops->received + c.dropped_frames.value_or(0));
      }
      return;
    }
    keep(job_.wire_tx_frames, c.tx_frames);
    keep(job_.wire_tx_bytes, c.tx_bytes);
    keep(job_.wire_rx_frames, c.rx_frames);
    keep(job_.wire_rx_bytes, c.rx_bytes);
    keep(job_.wire_lost_frames, c.lost_frames);
    keep(job_.wire_overruns, c.overruns);
    keep(job_.wire_dropped_frames, c.dropped_frames);
  }

  void keep_faults() {
    if (const auto faults = end_->faults_sent()) {
      job_.faults_sent = *faults;
      job_.has_faults_sent.store(true, std::memory_order_release);
    }
    if (const auto faults = end_->faults_received()) {
      job_.faults_received = *faults;
      job_.has_faults_received.store(true, std::memory_order_release);
    }
  }

  const WorkerContext& context_;
  std::size_t index_;
  const PlannedJob& plan_;
  const JobOptions& options_;
  const WorkerSetup& setup_;
  JobBlock& job_;
  FlowBlock& flow_;

  std::unique_ptr<End> end_;
  bool has_faults_ = false;  // on the way from or to it
  std::optional<FrameFilter> trigger_;
  std::optional<Generator> generator_;
  std::optional<Sink> sink_;
  std::optional<IntervalRecorder> recorder_;
  std::uint64_t begin_ns_ = 0, measure_from_ns_ = 0;
  bool in_ramp_ = false;
  bool stopped_ = false;
  bool draining_ = false;
  std::optional<Usage> usage_;  // over the measured window
  std::string error_;
};

}  // namespace

int run_worker(const WorkerContext& context, std::size_t index) noexcept {
  // A bus that somebody truncates is an error of the job then, and does not kill it.
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
