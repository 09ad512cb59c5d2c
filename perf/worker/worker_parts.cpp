#include "perf/worker/command.hpp"
#include "perf/worker/job_parts.hpp"
#include "perf/worker/offload_end.hpp"
#include "perf/worker/placement.hpp"
#include "perf/worker/worker_impl.hpp"

namespace shmif::perf {

Result<void> Worker::prepare() {
  if (options_.exec_prerun.empty()) return {};
  const std::string output = file_name("prerun.txt");
  const auto stopped = [this] { return order() >= Order::stop; };
  if (auto done = run_command(options_.exec_prerun, output, stopped); !done) {
    return Error(done.error().code, "exec_prerun: " + done.error().message);
  }
  return {};
}

Result<void> Worker::initialise() {
  if (auto done = prepare(); !done) return done;
  if (options_.engine == EngineKind::host) {
    await_peer();
  } else if (auto done = take_place(options_); !done) {
    return done;
  }
  auto end = options_.engine == EngineKind::host ? open_host_end(options_, setup_.host, setup_.end)
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

Result<void> Worker::make_generator(const VerifyState& before) {
  if (!sends(options_.rw)) return {};
  auto source = make_source(context_, index_, before);
  if (!source) return std::move(source).error();
  job_.warning.set((*source)->warning());
  const std::size_t most = (*source)->most_bytes();
  if (most > end_->max_frame_bytes()) {
    return Error(Errc::frame_too_long, "frames of " + std::to_string(most) + " bytes do not fit " +
                                           end_->address() + ", which carries " +
                                           std::to_string(end_->max_frame_bytes()) +
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

Result<void> Worker::make_sink(VerifyState& before) {
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

Result<void> Worker::lock_memory() {
  if (!options_.lockmem) return {};
  if (generator_) {
    if (auto done = pin(generator_->source().memory()); !done) return done;
  }
  return sink_ ? pin(sink_->memory()) : Result<void>();
}

std::string Worker::file_name(const std::string& what) const {
  const std::string& folder = context_.run.aux_path;
  return (folder.empty() ? "" : folder + '/') + options_.name + '.' + what;
}

}  // namespace shmif::perf
