#include <chrono>

#include "perf/worker/command.hpp"
#include "perf/worker/worker_impl.hpp"

namespace shmif::perf {

void Worker::finish() {
  if (!draining_) tcp_->end_window();
  if (!draining_ || used_since_) keep_usage();
  if (generator_) generator_->stop(now_ns());
  state(JobState::verifying);
  if (sink_) {
    sink_->finish();
    // Frames that waited to be checked may be found damaged only now.
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

void Worker::conclude(bool began) {
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

void Worker::finish_sending() {
  constexpr std::chrono::seconds kPatience{1};
  const End::Unsent left =
      end_->finish_sending(order() == Order::abandon ? std::chrono::seconds(0) : kPatience);
  if (left.error) {
    job_.note_tx_error(period_of(now_ns(), window_begin_ns()), left.error);
    if (ends_the_medium(left.error) || !options_.continue_on_error.tx) {
      fails("cannot send on " + end_->address() + ": " + left.error.message());
    }
  }
  if (left.frames != 0) {
    const bool one = left.frames == 1;
    fails(end_->address() + " never took " + std::to_string(left.frames) +
          (one ? " frame that was" : " frames that were") + " counted as sent");
  }
}

void Worker::save_state() {
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

void Worker::keep_counters() {
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
  // A port that no sink reads loses all frames of others, so these counts would mean nothing.
  if (sink_) {
    keep(job_.wire_lost_frames, c.lost_frames);
    keep(job_.wire_overruns, c.overruns);
  }
  keep(job_.wire_dropped_frames, c.dropped_frames);
}

void Worker::keep_faults() {
  if (const auto faults = end_->faults_sent()) {
    job_.faults_sent = *faults;
    job_.has_faults_sent.store(true, std::memory_order_release);
  }
  if (const auto faults = end_->faults_received()) {
    job_.faults_received = *faults;
    job_.has_faults_received.store(true, std::memory_order_release);
  }
}

}  // namespace shmif::perf
