#include "perf/worker/job_traffic.hpp"

#include <algorithm>
#include <numeric>

#include "perf/frame/frame_sizes.hpp"
#include "perf/worker/placement.hpp"

namespace shmif::perf {
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

}  // namespace

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

FrameMakerOptions recorded_frames(const JobOptions& job) {
  constexpr std::uint32_t kTaggedHeaderBytes = 18;
  const std::uint32_t max = SizeChooser(job.bs.tx, 0).max();
  return frame_maker_options(job, 0, std::max(max, job.mtu + kTaggedHeaderBytes));
}

}  // namespace shmif::perf
