#include "perf/worker/worker.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <optional>
#include <random>

#include "instruments/watch/clock.hpp"
#include "instruments/watch/held_child.hpp"
#include "perf/verify/verify_state.hpp"
#include "perf/worker/equipment.hpp"
#include "perf/worker/placement.hpp"
#include "shmif/bus.hpp"
#include "shmif/debug/debug.hpp"
#include "tap/namespaces.hpp"

namespace shmif::perf {
namespace {

/// Result: the child's wait status; empty if it was killed.
std::optional<int> await_end(HeldChild& child, const std::function<bool()>& ended_early) {
  constexpr int kLookEveryMs = 20;
  for (;;) {  // runs until the child has ended or was killed
    if (const auto status = child.ended()) return status;
    if (ended_early()) {
      child.kill(SIGKILL);
      return std::nullopt;
    }
    pollfd end{child.descriptor(), POLLIN, 0};
    ::poll(&end, 1, kLookEveryMs);
  }
}

}  // namespace

Result<void> run_command(const std::vector<std::string>& argv, const std::string& output,
                         const std::function<bool()>& ended_early) {
  auto child =
      HeldChild::start({.argv = argv, .output = output, .no_input = true, .own_group = true});
  if (!child) return std::move(child).error();
  if (auto begun = child->release(); !begun) return begun;
  const auto status = await_end(*child, ended_early);
  if (!status) {
    return Error(Errc::bad_argument, argv[0] + " did not end in time, and was killed");
  }
  if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return {};
  const std::string how = WIFEXITED(*status) ? "status " + std::to_string(WEXITSTATUS(*status))
                                             : "signal " + std::to_string(WTERMSIG(*status));
  return Error(Errc::bad_argument,
               argv[0] + " ended with " + how +
                   (output.empty() ? "" : " (its output is in " + output + ')'));
}

namespace {

/// A working job sleeps at most this long, so that it notices a stop.
constexpr std::uint64_t kLongestSleepNs = 50'000'000;
/// A job spins if a time is this close, because a sleep may end this much too late.
constexpr std::uint64_t kSpinNs = 60'000;
/// A receiver may say this late that it has stopped waiting for frames.
constexpr std::uint64_t kPatienceWithReceiverNs = 200'000'000;

/// How long before the start the jobs wake up.
constexpr std::uint64_t kAwakeBeforeNs = 2'000'000;

/// Threads: one at a time.
class Worker {
 public:
  Worker(const WorkerContext& context, std::size_t index)
      : context_(context),
        plan_(context.plan[index]),
        options_(plan_.options),
        setup_(context.setups[index]),
        job_(context.memory.job(index)),
        flow_(context.memory.flow(index)),
        equipment_(context, index),
        meter_(options_, setup_, job_) {}

  int run();
  /// Ends the job at once. Result: the exit status.
  int fail(const std::string& why);

 private:
  /// For an emulated host that runs a program: the part outside the guest.
  int run_program();
  /// Everything after the creation. For an emulated host, this runs inside the guest.
  int work();
  void state(JobState next) {
    job_.state.store(next, std::memory_order_release);
    debug(Debug::process, [next] { return std::string("is ") + name_of(next); });
  }
  Order order() const { return job_.order.load(std::memory_order_acquire); }
  /// Waits for an order. Result: false if the job must end instead.
  bool await(Order wanted, std::uint64_t look_every_ns) const;
  /// Whether the controller has ordered the job to go, even if it has since ordered it to stop.
  bool was_started() const { return job_.start_ns.load(std::memory_order_acquire) != 0; }
  /// Ends a job that was never ordered to go.
  int leave();
  /// Keeps the first error, with which the job will end.
  void note_failure(const std::string& why) {
    if (error_.empty()) error_ = why;
    debug(Debug::process, [&] { return "ends because of an error: " + why; });
  }

  // Before the start.
  /// Runs its exec_prerun, as the job's user.
  Result<void> prepare();
  Result<void> initialise();
  /// Waits until the host that this one connects to is on the bus. If an address request is not
  /// answered, it is repeated only a second later.
  void await_peer() const;
  std::string file_name(const std::string& what) const;

  // At work.
  void start();
  void loop();
  /// Follows orders. Result: false if the job must end at once.
  bool obey(std::uint64_t now);
  bool finished(std::uint64_t now);
  /// Whether the receiver has all frames. The receiver says so, unless it is on another server;
  /// until then, faults may still hold some frames. If a receiver has said nothing by twice the
  /// drain time, it is stuck: otherwise it would have stopped listening by then.
  bool all_arrived(std::uint64_t now) const;
  /// Whether it has listened to a job on another server for as long as to one of the run: until its
  /// end, and for two drain times. That job has the same order to stop at about the same time.
  bool has_heard_out(std::uint64_t now);
  /// For has_heard_out(): notes when the sender ends.
  void sender_ends(std::uint64_t end_ns);
  void note_draining();
  /// When the first window of the job begins, for what it sends or what it receives; UINT64_MAX if
  /// that is not known yet.
  std::uint64_t window_begin_ns() const;
  /// Begins to measure the job's resource use when the window has begun.
  void note_window(std::uint64_t now);
  /// When the flows that the job receives ended: the last sender, or the last frame. Empty while
  /// one of their senders goes on, and if there are none.
  std::optional<std::uint64_t> flows_end(std::uint64_t now) const;
  void close_interval(std::uint64_t now);
  /// Notes that the job can send its first frame now.
  void note_begin(std::uint64_t now);
  /// Called after the first step.
  void let_others_begin();
  /// When the job has something to do again, as far as known; `now` if it has something to do now.
  std::uint64_t nothing_until(std::uint64_t now);
  /// Whether a request waits and the job must not sleep meanwhile (iodepth_batch_complete_min=0).
  bool polls_for_replies() const {
    return options_.iodepth_batch_complete_min == 0 && equipment_.generator &&
           options_.rw == Role::pingpong && !equipment_.generator->done() &&
           equipment_.generator->window().any_open();
  }
  /// Sleeps until there is something to do.
  void idle(std::uint64_t now);

  // The end.
  void finish();
  /// `began`: whether the job had work to do, so that exec_postrun has something to look at.
  void conclude(bool began);
  /// Waits for frames that an engine has taken but sends later. Their errors can come after the
  /// last send.
  void finish_sending();

  const WorkerContext& context_;
  const PlannedJob& plan_;
  const JobOptions& options_;
  const WorkerSetup& setup_;
  JobBlock& job_;
  FlowBlock& flow_;

  Equipment equipment_;
  JobMeter meter_;
  std::uint64_t begin_ns_ = 0, measure_from_ns_ = 0;
  std::uint64_t sender_end_ns_ = 0;  // of a sender on another server
  bool in_ramp_ = false;
  bool begun_ = false;
  bool stopped_ = false;
  bool draining_ = false;
  std::string error_;
};

int Worker::run() {
  state(JobState::created);
  if (!await(Order::initialise, 5'000'000)) return leave();
  if (options_.engine != EngineKind::host) return work();
  ::setsid();
  // Done outside the guest: the guest inherits it, and has no rights to do it.
  if (auto done = take_place(options_); !done) return fail(done.error().message);
  meter_.open_counters();
  if (!options_.exec.empty()) return run_program();
  const auto work_in_guest = [this] {
    meter_.leave_counters();  // the process that carries the frames has them
    try {
      return work();
    } catch (const std::exception& error) {
      return fail(error.what());
    }
  };
  return run_host(options_, setup_.host, setup_.end, job_, work_in_guest, meter_.counting());
}

int Worker::run_program() {
  if (auto done = prepare(); !done) {
    return order() >= Order::stop ? leave() : fail(done.error().message);
  }
  const int status = run_host(options_, setup_.host, setup_.end, job_, {}, meter_.counting());
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
  debug(Debug::process, [&] { return "fails: " + why; });
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
    // On a busy machine, a job may see its order to go only after the order to stop has replaced
    // it. It still starts, because others count on what it does then.
    if (now == Order::stop && wanted == Order::go && was_started()) return true;
    if (now == Order::stop || now == Order::abandon) return false;
    sleep_until(now_ns() + look_every_ns);
  }
}

int Worker::leave() {
  flow_.tx_done.store(true, std::memory_order_release);
  state(JobState::exited);
  return 0;
}

// ---- Before the start ----

Result<void> Worker::prepare() {
  if (options_.exec_prerun.empty()) return {};
  const std::string output = file_name("prerun.txt");
  debug(Debug::process, [&] { return "runs exec_prerun, output to " + output; });
  const auto stopped = [this] { return order() >= Order::stop; };
  const auto run = [&]() -> Result<std::vector<UniqueFd>> {
    if (auto dropped = drop_privileges(options_); !dropped) return std::move(dropped).error();
    if (auto done = run_command(options_.exec_prerun, output, stopped); !done) {
      return Error(done.error().code, "exec_prerun: " + done.error().message);
    }
    return std::vector<UniqueFd>{};
  };
  // The job itself still needs its rights, to open its devices.
  const bool stays = options_.uid.empty() && options_.gid.empty();
  auto done = stays ? run() : tap::run_forked(run);
  return done ? Result<void>() : std::move(done).error();
}

Result<void> Worker::initialise() {
  const bool in_guest = options_.engine == EngineKind::host;  // which has its place already
  if (auto done = in_guest ? Result<void>() : take_place(options_); !done) return done;
  if (auto done = prepare(); !done) return done;
  if (in_guest) {
    await_peer();
  } else {
    meter_.open_counters();
  }
  if (auto done = equipment_.make(); !done) return done;
  if (!options_.thread) {
    map_code_ahead();
    map_ahead({reinterpret_cast<std::byte*>(&job_), sizeof job_});
    map_ahead({reinterpret_cast<std::byte*>(&flow_), sizeof flow_});
  }
  return drop_privileges(options_);
}

void Worker::await_peer() const {
  if (options_.proto != HostProtocol::tcp || setup_.host.listens || plan_.to == kNoJob) return;
  const JobBlock& peer = context_.memory.job(plan_.to);
  const std::uint64_t deadline = now_ns() + ns(options_.startup_timeout);
  while (!peer.on_bus.load(std::memory_order_acquire) && order() < Order::stop &&
         now_ns() < deadline) {
    sleep_until(now_ns() + 500'000);
  }
}

std::string Worker::file_name(const std::string& what) const {
  const std::string& folder = context_.run.aux_path;
  return (folder.empty() ? "" : folder + '/') + options_.name + '.' + what;
}

// ---- At work ----

void Worker::start() {
  const std::uint64_t start = job_.start_ns.load(std::memory_order_acquire);
  meter_.start(*equipment_.end, start);
  begin_ns_ = start + ns(options_.start_delay);
  measure_from_ns_ = begin_ns_ + ns(options_.ramp_time);
  if (equipment_.generator) equipment_.generator->begin(begin_ns_, meter_.recorder());
  if (equipment_.sink) equipment_.sink->begin(meter_.recorder(), measure_from_ns_);
  if (options_.verify_only) flow_.measure_from_ns.store(start, std::memory_order_release);
  if (options_.verify_only && options_.other_end_elsewhere) {
    sender_ends(measure_from_ns_ + ns(options_.runtime));
  }
  in_ramp_ = options_.ramp_time.count() > 0;
  state(in_ramp_ ? JobState::ramp : JobState::running);
  // Everything is prepared, so the measured skew is only the lateness of the start. Waking a job
  // takes about 20 us of a CPU, one job after the other. A job that is already awake passes the CPU
  // on in 5 us.
  sleep_until(start - std::min(start, kAwakeBeforeNs));
  // A job that only receives listens at once, and sleeps when the others start, so that the senders
  // get the CPUs then. A capture file can wait: its frames are read in the window.
  const bool listens = !equipment_.generator && options_.engine != EngineKind::pcap;
  if (listens) begin_ns_ = now_ns();
  while (!listens && now_ns() < start) ::sched_yield();
  meter_.recorder().begin();
}

void Worker::note_begin(std::uint64_t now) {
  begun_ = true;
  const std::uint64_t common = equipment_.generator ? begin_ns_ : job_.start_ns.load();
  job_.start_skew_ns.store(now - std::min(now, common), std::memory_order_relaxed);
  debug(Debug::process, [&] {
    return "begins " + std::to_string(now - std::min(now, common)) + " ns after the common start";
  });
}

/// Each job that shares a CPU with others sends its first frame before any of them goes on.
void Worker::let_others_begin() {
  ::sched_yield();
  // Not earlier: the kernel divides a CPU among sessions (sched_autogroup), so a job can pass its
  // CPU on only to a job of its own session.
  if (!options_.thread) ::setsid();
}

void Worker::loop() {
  for (;;) {  // runs until finished() or an order
    const std::uint64_t now = now_ns();
    if (meter_.interval_is_over(now)) close_interval(now);
    if (!obey(now)) return;
    if (!job_.measuring.load(std::memory_order_relaxed)) note_window(now);
    if (meter_.counted_interval_is_over(now)) meter_.close_counted_interval(now, flows_end(now));
    const bool begins = !begun_ && now >= begin_ns_;
    if (begins) note_begin(now);
    bool moved = false;
    const bool polls = polls_for_replies();
    if (polls && equipment_.sink->step()) moved = true;
    if (equipment_.generator && equipment_.generator->step(now)) moved = true;
    if (!polls && equipment_.sink && equipment_.sink->step()) moved = true;
    if (begins) let_others_begin();
    meter_.note_work(moved);
    if (finished(now)) return;
    if (!moved && !polls_for_replies()) idle(now);
  }
}

std::uint64_t Worker::window_begin_ns() const {
  const std::uint64_t own = equipment_.generator ? measure_from_ns_ : UINT64_MAX;
  return equipment_.sink ? std::min(own, equipment_.sink->window_begin_ns()) : own;
}

void Worker::note_window(std::uint64_t now) {
  const std::uint64_t begin = window_begin_ns();
  if (period_of(now, begin) == Period::ramp) return;
  meter_.begin_window(std::min(now, begin));
  job_.measuring.store(true, std::memory_order_release);
}

bool Worker::obey(std::uint64_t now) {
  const Order now_wanted = order();
  if (now_wanted == Order::go) return true;
  if (now_wanted == Order::abandon) {
    debug(Debug::process, [] { return "is ordered to end at once"; });
    return false;
  }
  if (now_wanted == Order::stop && !stopped_) {
    stopped_ = true;
    debug(Debug::process, [] { return "is ordered to stop: it sends no more, and drains"; });
    if (equipment_.generator) equipment_.generator->stop(now);
    if (sender_end_ns_ > now) sender_ends(now);
  }
  return true;
}

void Worker::sender_ends(std::uint64_t end_ns) {
  sender_end_ns_ = end_ns;
  equipment_.sink->sender_ends(end_ns, ns(options_.drain_time));
}

/// Whether a job that listens to a sender on another server need listen no more.
bool Worker::has_heard_out(std::uint64_t now) {
  const std::uint64_t sent = flow_.far_sent.load(std::memory_order_relaxed);
  if (sent != UINT64_MAX && equipment_.sink->has_all_of(sent)) {
    if (now < sender_end_ns_) sender_ends(now);
    note_draining();
    return true;
  }
  if (now < sender_end_ns_) return false;
  note_draining();
  return now >= sender_end_ns_ + 2 * ns(options_.drain_time);
}

bool Worker::finished(std::uint64_t now) {
  if (in_ramp_ && now >= measure_from_ns_) {
    in_ramp_ = false;
    state(JobState::running);
  }
  if (equipment_.generator && !equipment_.generator->error().empty()) {
    note_failure(equipment_.generator->error());
    return true;
  }
  if (equipment_.sink && !equipment_.sink->error().empty()) {
    if (!equipment_.sink->ended_normally()) note_failure(equipment_.sink->error());
    return true;
  }
  if (equipment_.generator && !equipment_.generator->done()) return false;
  if (equipment_.sink && equipment_.sink->has_flows()) {
    if (!equipment_.sink->is_draining()) return false;
    note_draining();
    const bool has_all = equipment_.sink->drained(now);
    return all_arrived(now) && has_all;
  }
  if (equipment_.generator) {
    note_draining();
    return all_arrived(now);
  }
  // The job listens to any frames.
  if (sender_end_ns_ != 0) return has_heard_out(now);
  const std::uint64_t runtime = ns(options_.runtime);
  return stopped_ || (runtime != 0 && now >= measure_from_ns_ + runtime);
}

bool Worker::all_arrived(std::uint64_t now) const {
  if (!equipment_.generator) return true;
  const bool far = options_.other_end_elsewhere && equipment_.has_faults;
  if (plan_.to == kNoJob && !far) return true;
  if (flow_.drained.load(std::memory_order_acquire)) return true;
  const std::uint64_t end = job_.window_end_ns.load(std::memory_order_acquire);
  return now >= end + 2 * ns(options_.drain_time) + (far ? 0 : kPatienceWithReceiverNs);
}

std::optional<std::uint64_t> Worker::flows_end(std::uint64_t now) const {
  const bool have_ended =
      equipment_.sink && equipment_.sink->has_flows() && equipment_.sink->is_draining();
  if (!have_ended) return std::nullopt;
  return std::min(now, equipment_.sink->window_end_ns());
}

void Worker::close_interval(std::uint64_t now) {
  meter_.close_interval(now, flows_end(now));
}

void Worker::note_draining() {
  if (draining_) return;
  draining_ = true;
  const std::uint64_t now = now_ns();
  const std::uint64_t end = equipment_.sink ? std::min(now, equipment_.sink->window_end_ns()) : now;
  debug(Debug::rate, [&] {
    return "its measured window ended " + std::to_string(now - std::min(now, end)) +
           " ns ago: sent " + std::to_string(job_.all_tx_frames.get()) + " frames, received " +
           std::to_string(job_.all_rx_frames.get());
  });
  if (equipment_.sink) meter_.recorder().border(end);
  meter_.end_window(end);
  state(JobState::draining);
}

std::uint64_t Worker::nothing_until(std::uint64_t now) {
  if (equipment_.generator && !equipment_.generator->done()) {
    const std::uint64_t next = equipment_.generator->next_look_ns(now);
    if (next <= now + kSpinNs || equipment_.generator->spins(now)) return now;
    return std::min(now + kLongestSleepNs, next - kSpinNs);
  }
  return now + (draining_ ? 1'000'000 : kLongestSleepNs);  // at the end, others wait for this
}

void Worker::idle(std::uint64_t now) {
  if (equipment_.generator && equipment_.generator->is_refused()) {
    equipment_.end->wait_to_send(std::chrono::milliseconds(equipment_.sink ? 1 : 50));
    return;
  }
  const std::uint64_t until = std::min(nothing_until(now), meter_.next_ns());
  const std::uint64_t began = now_ns();
  // Frames delayed by faults go out only while the end is used or waited for. A job that only sends
  // uses its end only for its own frames.
  if (equipment_.has_faults && !equipment_.sink) {
    equipment_.end->wait(std::chrono::nanoseconds(until - std::min(until, began)));
  } else if (until <= began) {
    return;
  } else if (equipment_.sink || draining_) {
    equipment_.end->wait(std::chrono::nanoseconds(until - began));
  } else {
    sleep_until(until);
  }
}

// ---- The end ----

void Worker::finish() {
  meter_.finish();
  flow_.listened_until_ns.set(now_ns());
  if (equipment_.generator) equipment_.generator->stop(now_ns());
  state(JobState::verifying);
  if (equipment_.sink) {
    equipment_.sink->finish();
    // Frames that waited to be checked may be found damaged only now.
    if (!equipment_.sink->error().empty() && !equipment_.sink->ended_normally())
      note_failure(equipment_.sink->error());
  }
  state(JobState::finishing);
  finish_sending();
  close_interval(now_ns());
  meter_.close_counted_interval(now_ns());
  keep_counters(options_, equipment_, job_);
  equipment_.end.reset();
  if (equipment_.record) {
    if (auto done = equipment_.record->finish(); !done) note_failure(done.error().message);
  }
  if (options_.verify_state_save || job_.save_state.load()) {
    debug(Debug::verify, [&] {
      return "saves its state to " + verify_state_path(context_.run.aux_path, options_.name) +
             (options_.verify_state_save ? " (verify_state_save)" : " (the trigger fired)");
    });
    if (auto done = save_flows(options_, equipment_, context_.run.aux_path); !done) {
      note_failure(done.error().message);
    }
  }
  conclude(true);
}

void Worker::conclude(bool began) {
  if (began && !options_.exec_postrun.empty()) {
    const auto abandoned = [this] { return order() == Order::abandon; };
    const std::string output = file_name("postrun.txt");
    debug(Debug::process, [&] { return "runs exec_postrun, output to " + output; });
    if (auto done = run_command(options_.exec_postrun, output, abandoned); !done) {
      note_failure("exec_postrun: " + done.error().message);
    }
  }
  if (!error_.empty()) {
    job_.error.set(error_);
    job_.failed.store(true, std::memory_order_relaxed);
  }
  state(JobState::exited);
}

void Worker::finish_sending() {
  constexpr std::chrono::seconds kPatience{1};
  const End::Unsent left = equipment_.end->finish_sending(
      order() == Order::abandon ? std::chrono::seconds(0) : kPatience);
  if (left.error) {
    job_.note_tx_error(period_of(now_ns(), window_begin_ns()), left.error);
    if (ends_the_medium(left.error) || !options_.continue_on_error.tx) {
      note_failure("cannot send on " + equipment_.end->address() + ": " + left.error.message());
    }
  }
  if (left.frames != 0) {
    const bool one = left.frames == 1;
    note_failure(equipment_.end->address() + " never took " + std::to_string(left.frames) +
                 (one ? " frame that was" : " frames that were") + " counted as sent");
  }
}

}  // namespace

int run_worker(const WorkerContext& context, std::size_t index) noexcept {
  // If somebody truncates a bus, the job reports an error and is not killed.
  (void)install_sigbus_guard();
  const DebugSubject subject(context.plan[index].options.name);
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
