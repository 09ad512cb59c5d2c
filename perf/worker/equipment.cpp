#include "perf/worker/equipment.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "perf/plan/planner.hpp"
#include "perf/verify/verify_state.hpp"
#include "perf/worker/host.hpp"
#include "perf/worker/job_traffic.hpp"
#include "perf/worker/offload_end.hpp"
#include "perf/worker/placement.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

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
