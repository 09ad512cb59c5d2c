#include "perf/worker/equipment.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "perf/frame/schedule.hpp"
#include "perf/plan/planner.hpp"
#include "perf/worker/host.hpp"
#include "perf/worker/placement.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// A thread that is told to end sleeps at most this long.
constexpr std::chrono::milliseconds kLook{20};

class OffloadEnd final : public End {
 public:
  OffloadEnd(std::unique_ptr<End> end, std::size_t batch)
      : end_(std::move(end)),
        filling_(batch, batch * room_of(*end_)),
        sending_(batch, batch * room_of(*end_)),
        thread_([this] { submit(); }) {}

  ~OffloadEnd() override {
    (void)finish_sending({});
    thread_.join();
  }

  SendResult send(std::span<const FrameView> frames) noexcept override {
    SendResult result;
    {
      const std::lock_guard lock(mutex_);
      result.error = std::exchange(error_, {});
      if (result.error) {
        changed_.notify_all();
        return result;
      }
      for (; result.taken < frames.size() && !filling_.full(); ++result.taken) {
        const FrameView& frame = frames[result.taken];
        if (frame.size() > filling_.room().size()) break;
        std::memcpy(filling_.room().data(), frame.bytes.data(), frame.size());
        filling_.push(frame);
      }
    }
    if (result.taken != 0) changed_.notify_all();
    return result;
  }

  ReceiveResult receive(FrameBatch& into) noexcept override { return end_->receive(into); }
  void wait(std::chrono::nanoseconds at_most) noexcept override { end_->wait(at_most); }
  void wait_to_send(std::chrono::nanoseconds at_most) noexcept override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, at_most, [this] { return !filling_.full() || error_; });
  }
  std::size_t max_frame_bytes() noexcept override { return end_->max_frame_bytes(); }
  std::string address() override { return end_->address(); }
  std::optional<FaultsMade> faults_sent() const noexcept override { return end_->faults_sent(); }
  std::optional<FaultsMade> faults_received() const noexcept override {
    return end_->faults_received();
  }
  Unsent finish_sending(std::chrono::nanoseconds patience) noexcept override {
    std::unique_lock lock(mutex_);
    ending_ = true;
    give_up_ = std::chrono::steady_clock::now() + patience;
    changed_.notify_all();
    changed_.wait(lock, [this] { return filling_.empty() && idle_; });
    return {unsent_, std::exchange(error_, {})};
  }
  WireCounters counters() noexcept override { return end_->counters(); }
  std::optional<std::uint64_t> unread() noexcept override { return end_->unread(); }

 private:
  static std::size_t room_of(End& end) { return end.max_frame_bytes() + 64; }

  void submit() {
    for (;;) {  // runs until it must end and all frames are sent
      {
        std::unique_lock lock(mutex_);
        idle_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !filling_.empty() || ending_; });
        if (filling_.empty()) return;
        std::swap(filling_, sending_);
        idle_ = false;
      }
      changed_.notify_all();
      send_all();
      sending_.clear();
    }
  }

  void send_all() {
    std::span<const FrameView> left = sending_.frames();
    while (!left.empty()) {
      const SendResult result = end_->send(left);
      left = left.subspan(std::min(result.taken, left.size()));
      if (gives_up_after(result, left.size())) return;
      if (result.taken == 0 && !result.error) end_->wait_to_send(kLook);
    }
  }

  /// The job gets an error once; then the frame is tried again, as the job itself would. Result:
  /// whether the `left` frames are given up, because the job has ended.
  bool gives_up_after(const SendResult& result, std::size_t left) {
    std::unique_lock lock(mutex_);
    if (result.error) {
      if (!error_) error_ = result.error;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !error_ || ending_; });
    }
    const bool over = ending_ && result.taken == 0 && (result.error || is_too_late());
    if (over) unsent_ += left;
    return over;
  }

  /// At the end, it soon gives up frames that the engine does not take.
  bool is_too_late() const { return std::chrono::steady_clock::now() >= give_up_; }

  std::unique_ptr<End> end_;
  std::mutex mutex_;
  std::condition_variable changed_;
  FrameBatch filling_, sending_;  // the second is used by the thread
  bool ending_ = false;
  std::chrono::steady_clock::time_point give_up_{};  // at the end, if the engine is full
  std::size_t unsent_ = 0;
  bool idle_ = true;
  std::error_code error_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<End> make_offload_end(std::unique_ptr<End> end, std::size_t batch) {
  return std::make_unique<OffloadEnd>(std::move(end), std::max<std::size_t>(batch, 1) * 4);
}

namespace {

/// Whether job `to` receives what job `i` sends. A pingpong job receives the replies as the flow
/// that has its own number.
bool is_flow_to(const WorkerContext& context, std::size_t i, std::size_t to) {
  const PlannedJob& sender = context.plan[i];
  if (context.plan[to].options.rw == Role::pingpong) return i == to;
  return sends(sender.options.rw) && sender.to == to;
}

/// Whether job `to` is an echo job of the run, which counts its replies.
bool is_echo(const WorkerContext& context, std::size_t to) {
  return to != kNoJob && context.plan[to].options.rw == Role::echo;
}

/// The port at which a job on a bus receives; empty if that was not said.
std::optional<MacAddress> named_port(const JobOptions& job) {
  return job.engine == EngineKind::bus ? MacAddress::parse(job.hostname) : std::nullopt;
}

/// The address to which job `i` sends. Without a receiver, that of the job itself.
MacAddress destination_of(const WorkerContext& context, std::size_t i) {
  const PlannedJob& job = context.plan[i];
  const auto elsewhere = job.options.no_peer ? named_port(job.options) : std::nullopt;
  return elsewhere.value_or(context.setups[job.to == kNoJob ? i : job.to].end.mac);
}

/// How the frames of flow `i` look when they arrive at job `index`. A reply has the addresses of
/// its request, swapped.
FrameMakerOptions made_again(const WorkerContext& context, std::size_t i, std::size_t index) {
  const PlannedJob& sender = context.plan[i];
  const std::uint32_t max = SizeChooser(sender.options.bs.tx, 0).max();
  FrameMakerOptions frames =
      frame_maker_options(sender.options, static_cast<std::uint32_t>(i), max);
  frames.source = context.setups[i].end.mac;
  frames.destination = destination_of(context, i);
  if (i == index && sender.options.rw == Role::pingpong)
    std::swap(frames.source, frames.destination);
  return frames;
}

/// Makes the frame source of job number `index`, which sends frames of `max_frame` bytes or less. A
/// replay leaves out longer ones. Errors: those of Replay::open().
Result<std::unique_ptr<FrameSource>> make_source(const WorkerContext& context, std::size_t index,
                                                 const VerifyState& before, std::size_t max_frame) {
  const PlannedJob& job = context.plan[index];
  if (!job.options.replay.empty()) return make_replay_source(job.options, max_frame);
  const FlowState* const state = flow_from(before, job.options.name);
  const bool asks = job.options.rw == Role::pingpong;
  return make_probe_source({.job = job.options,
                            .to = destination_of(context, index),
                            .from = context.setups[index].end.mac,
                            .flow = static_cast<std::uint32_t>(index),
                            .nonce = context.setups[index].nonce,
                            .kind = asks ? Probe::Kind::request : Probe::Kind::data,
                            .random_position = state != nullptr ? state->random_position : 0});
}

}  // namespace

bool hears_everything(std::span<const PlannedJob> plan, std::size_t index) {
  // The other run sends to the port of a job that has a named one.
  if (plan[index].options.verify_only) return !named_port(plan[index].options);
  return std::ranges::any_of(plan, [index](const PlannedJob& job) {
    if (job.to != index) return false;
    if (!job.options.replay.empty()) return true;
    if (job.options.headers.empty()) return false;
    const auto headers = HeaderTemplate::parse(job.options.headers);
    return headers && headers->has_own_destination();
  });
}

Result<VerifyState> state_before(const WorkerContext& context, std::size_t index) {
  const JobOptions& job = context.plan[index].options;
  if (job.verify_state_load.empty() && job.verify_state.empty()) return VerifyState{};
  const bool sent = !job.verify_state.empty();
  const std::string name = sent ? "of the client" : '"' + job.verify_state_load + '"';
  auto state = sent ? state_of_job(job.verify_state, name, job.name, options_hash(job))
                    : load_verify_state(job.verify_state_load, job.name, options_hash(job));
  if (!state) return state;
  for (const FlowState& flow : state->flows) {
    bool known = flow.from == job.name;
    for (std::size_t i = 0; i < context.plan.size() && !known; ++i) {
      known = is_flow_to(context, i, index) && context.plan[i].options.name == flow.from;
    }
    if (!known) {
      return Error(Errc::bad_argument, "cannot load verify state " + name +
                                           ": it has frames from job \"" + flow.from +
                                           "\", which sends nothing to job \"" + job.name +
                                           "\" in this run (jobs are identified by their names)");
    }
  }
  return state;
}

Result<std::unique_ptr<RecordWriter>> make_record(const JobOptions& job) {
  if (job.write_pcap.empty()) return std::unique_ptr<RecordWriter>();
  const auto user = AsJobUser::begin(job);
  if (!user) return user.error();
  auto made = RecordWriter::create(job.write_pcap);
  if (!made) return std::move(made).error();
  return std::make_unique<RecordWriter>(*std::move(made));
}

namespace {

/// For a job that sends at full speed with rwmixtx, and for its peer: each waits for the other.
std::optional<FlowShare> make_mix(const WorkerContext& context, std::size_t index) {
  const JobOptions& job = context.plan[index].options;
  const std::size_t partner = context.plan[index].to;
  const bool has_rate = job.rate_bps.tx != 0 || job.rate_fps.tx != 0;
  const bool alone = partner == kNoJob || partner == index;
  if (job.rw != Role::txrx || !job.rwmixtx || has_rate || alone) return std::nullopt;
  const std::uint32_t own = *job.rwmixtx;
  const std::uint32_t other = 100 - own;
  const std::uint32_t common = std::gcd(own, other);
  return FlowShare(own / common,
                   {{&context.memory.job(partner), &context.memory.flow(partner), other / common}},
                   FlowShare::End::with_the_first);
}

/// The flows that job number `index` receives. Moves out of `before` what the earlier run had
/// received of them.
std::vector<ExpectedFlow> expected_flows(const WorkerContext& context, std::size_t index,
                                         VerifyState& before) {
  const PlannedJob& job = context.plan[index];
  std::vector<ExpectedFlow> flows;
  for (std::size_t i = 0; i < context.plan.size(); ++i) {
    if (!is_flow_to(context, i, index)) continue;
    const JobOptions& sender = context.plan[i].options;
    const bool answered = job.options.rw == Role::pingpong;
    ExpectedFlow flow{.flow = static_cast<std::uint32_t>(i),
                      .name = sender.name,
                      .from = answered ? destination_of(context, index) : context.setups[i].end.mac,
                      .block = &context.memory.flow(i)};
    if (job.options.rw == Role::echo) {
      flow.echo = &context.memory.echo(i);
      flow.arrivals = &flow.echo->requests;
    } else if (i == index && is_echo(context, job.to)) {
      flow.echo = &context.memory.echo(i);
    }
    flow.drain_ns = static_cast<std::uint64_t>(sender.drain_time.count());
    // The lower one of the sender's and the receiver's limit applies.
    for (const JobOptions* const o : {&sender, &job.options}) {
      const auto max = static_cast<std::uint64_t>(o->max_latency.count());
      if (max != 0 && (flow.max_latency_ns == 0 || max < flow.max_latency_ns)) {
        flow.max_latency_ns = max;
      }
    }
    flow.replayed = !sender.replay.empty();
    flow.nonce = context.setups[index].nonce;
    if (sender.vlan) flow.probe_at += kVlanTagBytes;
    if (!sender.headers.empty() && !flow.replayed) {
      const auto headers = HeaderTemplate::parse(sender.headers).value();
      flow.headers = headers.places();
      if (headers.has_own_source()) flow.from.reset();
    }
    if (FlowState* const state = flow_from(before, sender.name)) {
      flow.before = std::move(state->received);
    }
    if (job.options.verify_regenerate && job.options.do_verify && !flow.replayed) {
      flow.remade = made_again(context, i, index);
    }
    flows.push_back(std::move(flow));
  }
  return flows;
}

/// The job's share among the jobs with weights; empty if it has no weight.
std::optional<FlowShare> make_share(const WorkerContext& context, std::size_t index) {
  if (auto mix = make_mix(context, index)) return mix;
  const std::uint32_t own = context.plan[index].options.flow;
  if (own == 0) return std::nullopt;
  std::vector<FlowShare::Other> others;
  for (std::size_t i = 0; i < context.plan.size(); ++i) {
    const std::uint32_t weight = context.plan[i].options.flow;
    if (i == index || weight == 0) continue;  // a peer has no weight
    others.push_back({&context.memory.job(i), &context.memory.flow(i), weight});
  }
  return FlowShare(own, std::move(others));
}

}  // namespace

FrameMakerOptions recorded_frames(const JobOptions& job) {
  constexpr std::uint32_t kTaggedHeaderBytes = 18;
  const std::uint32_t max = SizeChooser(job.bs.tx, 0).max();
  return frame_maker_options(job, 0, std::max(max, job.mtu + kTaggedHeaderBytes));
}

Result<void> Equipment::make() {
  if (auto done = open_end(); !done) return done;
  auto before = state_before(context_, index_);
  if (!before) return std::move(before).error();
  if (auto done = make_generator(*before); !done) return done;
  if (auto done = make_sink(*before); !done) return done;
  return lock_memory();
}

Result<void> Equipment::open_end() {
  const WorkerSetup& setup = context_.setups[index_];
  std::optional<AsJobUser> user;
  if (writes_capture(options_)) {
    auto begun = AsJobUser::begin(options_);
    if (!begun) return std::move(begun).error();
    user.emplace(*std::move(begun));
  }
  auto opened = options_.engine == EngineKind::host ? open_host_end(options_, setup.host, setup.end)
                                                    : setup.wire->open_end(setup.end);
  if (!opened) return std::move(opened).error();
  end = *std::move(opened);
  if (options_.io_submit_mode == IoSubmit::offload) {
    end = make_offload_end(std::move(end), options_.iodepth_batch);
  }
  has_faults = end->faults_sent() || end->faults_received();
  context_.memory.job(index_).address.set(end->address());
  debug(Debug::wire, [&] {
    return "has its end of " + end->address() + ", for frames up to " +
           std::to_string(end->max_frame_bytes()) + " bytes" + (has_faults ? ", with faults" : "") +
           (options_.io_submit_mode == IoSubmit::offload ? ", and a thread that sends" : "");
  });
  return {};
}

/// The packets of a host are recorded where they leave it (host.cpp).
Result<void> Equipment::open_record() {
  if (options_.engine == EngineKind::host) return {};
  auto made = make_record(options_);
  if (!made) return std::move(made).error();
  record = *std::move(made);
  return {};
}

Result<void> Equipment::make_generator(const VerifyState& before) {
  if (!sends(options_.rw)) return {};
  auto source = make_source(context_, index_, before, end->max_frame_bytes());
  if (!source) return std::move(source).error();
  JobBlock& job = context_.memory.job(index_);
  job.warning.set((*source)->warning());
  job.notice.set((*source)->notice());
  const std::size_t max = (*source)->max_bytes();
  if (max > end->max_frame_bytes()) {
    return Error(Errc::frame_too_long, "frames of " + std::to_string(max) + " bytes do not fit " +
                                           end->address() + ", which carries " +
                                           std::to_string(end->max_frame_bytes()) +
                                           " (see bs and mtu)");
  }
  if (auto done = open_record(); !done) return done;
  const FlowState* const state = flow_from(before, options_.name);
  if (state != nullptr) {
    debug(Debug::verify, [&] {
      return "continues with frame number " + std::to_string(state->next_sequence) + " (" +
             (options_.verify_state.empty() ? options_.verify_state_load : "sent by the client") +
             ')';
    });
  }
  generator.emplace(Generator::Setup{.options = options_,
                                     .source = *std::move(source),
                                     .record = record.get(),
                                     .share = make_share(context_, index_),
                                     .first_sequence = state != nullptr ? state->next_sequence : 0},
                    *end, job, context_.memory.flow(index_));
  return {};
}

Result<void> Equipment::make_sink(VerifyState& before) {
  if (!receives(options_.rw)) return {};
  if (!context_.run.trigger_match.empty()) {
    auto filter = FrameFilter::compile(context_.run.trigger_match);
    if (!filter) return std::move(filter).error();
    trigger_.emplace(*std::move(filter));
  }
  const WorkerSetup& setup = context_.setups[index_];
  Sink::Setup inputs{.options = options_, .flows = expected_flows(context_, index_, before)};
  inputs.nonce = setup.nonce;
  inputs.trigger = trigger_ ? &*trigger_ : nullptr;
  inputs.window = options_.rw == Role::pingpong ? &generator->window() : nullptr;
  inputs.echoes = options_.rw == Role::echo;
  if (inputs.echoes) {
    if (auto done = open_record(); !done) return done;
    inputs.record = record.get();
  }
  inputs.pauses = setup.wire != nullptr && setup.wire->capabilities().pauses;
  if (options_.verify_only) {
    inputs.recorded = &context_.memory.flow(index_);
    inputs.recorded_frames = recorded_frames(options_);
  }
  for (const ExpectedFlow& each : inputs.flows) {
    debug(Debug::verify, [&] {
      return "expects flow " + std::to_string(each.flow) + " from " + each.name +
             (each.replayed ? ", a replay: frames are counted, not verified" : "") +
             (!before.job.empty() ? ", continued from a saved state" : "") + ", and drains for " +
             std::to_string(each.drain_ns / 1'000'000) + " ms";
    });
  }
  sink.emplace(std::move(inputs), *end, context_.memory.job(index_));
  return sink->prepare();
}

Result<void> Equipment::lock_memory() {
  if (!options_.lockmem) return {};
  if (generator) {
    if (auto done = pin(generator->source().memory()); !done) return done;
  }
  return sink ? pin(sink->memory()) : Result<void>();
}

namespace {

/// Writes what the faults did to the frames.
void keep_faults(const End& end, JobBlock& block) {
  if (const auto faults = end.faults_sent()) {
    block.faults_sent = *faults;
    block.has_faults_sent.store(true, std::memory_order_release);
  }
  if (const auto faults = end.faults_received()) {
    block.faults_received = *faults;
    block.has_faults_received.store(true, std::memory_order_release);
  }
}

}  // namespace

void keep_counters(const JobOptions& job, const Equipment& equipment, JobBlock& block) {
  keep_faults(*equipment.end, block);
  WireCounters c = equipment.end->counters();
  if (job.engine == EngineKind::host) {  // the other counts come from the host's port
    if (const auto drops = interface_drops()) {
      block.kernel_tx_drops.set(drops->sent);
      block.kernel_rx_drops.set(drops->received + c.dropped_frames.value_or(0));
    }
    return;
  }
  // A port that no sink reads loses all frames of others, so these counts would be meaningless.
  if (!equipment.sink) c.lost_frames = c.overruns = std::nullopt;
  const auto unread = equipment.sink ? equipment.end->unread() : std::nullopt;
  if (unread) block.unread_frames.set(*unread);
  block.wire.set(c);
}

Result<void> save_flows(const JobOptions& job, const Equipment& equipment,
                        const std::string& folder) {
  VerifyState state{.job = job.name, .options_hash = options_hash(job)};
  if (equipment.sink) state.flows = equipment.sink->state();
  if (equipment.generator) {
    FlowState* at = flow_from(state, job.name);
    if (at == nullptr) at = &state.flows.emplace_back(FlowState{.from = job.name});
    at->seed = job.randseed;
    at->next_sequence = equipment.generator->sequence();
    at->random_position = equipment.generator->source().random_position();
  }
  return save_verify_state(verify_state_path(folder.empty() ? "." : folder, job.name), state);
}

}  // namespace shmif::perf
