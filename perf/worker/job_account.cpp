#include "perf/worker/job_account.hpp"

#include "perf/verify/verify_state.hpp"
#include "perf/worker/host.hpp"

namespace shmif::perf {
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
