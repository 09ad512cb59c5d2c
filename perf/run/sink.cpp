#include "perf/run/sink.hpp"

#include <algorithm>

namespace shmif::perf {
namespace {

constexpr std::size_t kBatchFrames = 64;
/// What cannot be sent back after so long is given up.
constexpr std::uint64_t kEchoPatienceNs = 1'000'000'000;
/// What has not been checked so long after the last frame stays unchecked.
constexpr std::uint64_t kVerifyPatienceNs = 10'000'000'000;

}  // namespace

struct Sink::Flow {
  ExpectedFlow expected;
  FlowReceiver receiver;
  std::uint64_t last_arrival_ns = 0;
  bool measured_from = false;  // its sender has said when its window begins
  bool drained = false;
  bool touched = false;        // in this batch
  std::uint64_t replayed = 0;  // frames, of one that is
};

/// Of one batch.
struct Sink::Totals {
  std::uint64_t frames = 0, bytes = 0, ramp_frames = 0, all_frames = 0, all_bytes = 0;
  std::uint64_t foreign = 0, stale = 0, corrupt = 0, truncated = 0, mismatched = 0;
};

Sink::Sink(Setup setup, End& end, JobBlock& job)
    : setup_(std::move(setup)),
      end_(end),
      job_(job),
      batch_(kBatchFrames, std::max<std::size_t>(256U << 10U, 4 * end.max_frame_bytes())),
      times_(!setup_.options.disable_lat) {
  for (ExpectedFlow& expected : setup_.flows) {
    const FlowReceiver::Options options{.flow = expected.flow,
                                        .measure_from_ns = UINT64_MAX,
                                        .latency = times_ ? &job.latency : nullptr,
                                        .service = times_ ? &job.service : nullptr,
                                        .jitter = times_};
    FlowReceiver receiver(options, std::move(expected.before));
    flows_.push_back(std::make_unique<Flow>(Flow{std::move(expected), std::move(receiver)}));
    if (flows_.back()->expected.replayed) replayed_ = flows_.back().get();
  }
}

Result<void> Sink::prepare() {
  const JobOptions& o = setup_.options;
  if (setup_.echoes || (o.verify_async == 0 && o.verify_backlog == 0)) return {};
  auto queue = VerifyQueue::start(
      {.threads = o.verify_async, .backlog = o.verify_backlog},
      [this](const FrameView& frame) { return read(frame); },
      [this](const CheckedFrame& frame) { take_checked(frame); });
  if (!queue) return std::move(queue).error();
  queue_ = *std::move(queue);
  return {};
}

Sink::~Sink() = default;

Sink::Flow* Sink::flow_of(std::uint32_t number) noexcept {
  // Few jobs receive more than one flow, and hardly any more than ten.
  for (const auto& flow : flows_) {
    if (flow->expected.flow == number) return flow.get();
  }
  return nullptr;
}

bool Sink::step() {
  batch_.clear();
  const ReceiveResult got = end_.receive(batch_);
  if (got.lost != 0) {
    job_.overruns.add(1);
    job_.overrun_frames.add(got.lost);
    recorder_->overrun();
    recorder_->lost(got.lost);
    if (setup_.options.end_on_overrun && error_.empty()) {
      error_ = "an overrun";
      ended_normally_ = true;
    }
  }
  if (got.error) {
    job_.rx_errors.add(1);
    job_.first_rx_error.set(got.error.message());
    if (is_final(got.error)) {
      error_ = "cannot receive on " + end_.address() + ": " + got.error.message();
    }
  }
  if (batch_.frames().empty()) return false;
  const std::uint64_t now = now_ns();
  Totals totals;
  queued_totals_ = &totals;
  for (const FrameView& frame : batch_.frames()) {
    ++totals.all_frames;
    totals.all_bytes += frame.size();
    if (setup_.trigger != nullptr && setup_.trigger->matches(frame)) {
      job_.trigger_hit.store(true, std::memory_order_release);
    }
    if (queue_) {
      queue_->put(frame, now);
    } else {
      take(frame, read(frame), now, totals);
    }
  }
  if (queue_) queue_->flush();
  flush_echoes();
  publish(totals);
  return true;
}

ProbeReading Sink::read(const FrameView& frame) const noexcept {
  const std::size_t at = probe_offset(frame.bytes);
  return setup_.options.do_verify ? read_probe(frame.bytes, at) : peek_probe(frame.bytes, at);
}

void Sink::take_checked(const CheckedFrame& frame) {
  Totals& totals = *queued_totals_;
  if (!frame.checked) {
    if (Flow* const flow = flow_of(frame.reading.probe.flow); flow != nullptr) {
      flow->receiver.note_unverified();
      flow->touched = true;
    }
    return;
  }
  take(frame.frame, frame.reading, frame.arrived_ns, totals);
}

void Sink::take(const FrameView& frame, const ProbeReading& reading, std::uint64_t now,
                Totals& totals) {
  switch (classify(reading, setup_.nonce)) {
    case Arrival::ours:
      take_probe(frame, probe_offset(frame.bytes), reading.probe, now, totals);
      break;
    case Arrival::stale: ++totals.stale; break;
    case Arrival::foreign:
      if (replayed_ != nullptr) {
        take_replayed(frame, now, totals);
      } else {
        ++totals.foreign;
      }
      break;
    case Arrival::corrupt:
    case Arrival::truncated: take_damaged(frame, reading.finding, totals); break;
  }
}

void Sink::take_replayed(const FrameView& frame, std::uint64_t now, Totals& totals) {
  ++totals.frames;
  totals.bytes += frame.size();
  replayed_->last_arrival_ns = now;
  replayed_->touched = true;
  ++replayed_->replayed;
}

void Sink::take_probe(const FrameView& frame, std::size_t at, const Probe& probe, std::uint64_t now,
                      Totals& totals) {
  Flow* const flow = flow_of(probe.flow);
  // A medium that floods shows frames of others; and a request is for who echoes, a reply for who
  // asked.
  if (flow == nullptr || (probe.kind == Probe::Kind::request) != setup_.echoes ||
      (probe.kind == Probe::Kind::reply) != (setup_.window != nullptr)) {
    ++totals.foreign;
    return;
  }
  if (!flow->measured_from) {
    flow->receiver.measure_from(
        flow->expected.block->measure_from_ns.load(std::memory_order_acquire));
    flow->measured_from = true;
  }
  flow->touched = true;
  flow->last_arrival_ns = now;
  if (setup_.echoes) {
    ++totals.frames;
    totals.bytes += frame.size();
    echo(frame, at, probe);
    return;
  }
  if (setup_.window != nullptr) (void)setup_.window->replied(probe.sequence);
  const FlowCounts& counts = flow->receiver.counts();
  const std::uint64_t received_before = counts.received;
  const std::uint64_t ramp_before = counts.ramp_received;
  flow->receiver.note(probe, frame.size(), now);
  if (counts.received != received_before) {
    ++totals.frames;
    totals.bytes += frame.size();
    if (times_) recorder_->latency(now > probe.intended_ns ? now - probe.intended_ns : 0);
  } else if (counts.ramp_received != ramp_before) {
    ++totals.ramp_frames;
  }
}

void Sink::take_damaged(const FrameView& frame, Finding finding, Totals& totals) {
  const bool corrupt = finding == Finding::corrupt;
  ++(corrupt ? totals.corrupt : totals.truncated);
  // By whom it was sent: what damages frames leaves their addresses alone, mostly.
  const MacAddress from = frame.source();
  for (const auto& flow : flows_) {
    if (flow->expected.from != from && flows_.size() > 1) continue;
    flow->receiver.note_damaged(finding);
    flow->touched = true;
    break;
  }
  if (setup_.options.verify && !setup_.options.continue_on_error.verify) {
    fail_verification(corrupt ? "a corrupt frame was received" : "a truncated frame was received");
  }
}

void Sink::fail_verification(const std::string& what) {
  if (error_.empty()) error_ = what + " (continue_on_error=verify goes on, and counts them)";
}

void Sink::echo(const FrameView& frame, std::size_t at, Probe probe) {
  if (echoes_.size() == echo_bytes_.size()) echo_bytes_.emplace_back();
  std::vector<std::byte>& bytes = echo_bytes_[echoes_.size()];
  bytes.assign(frame.bytes.begin(), frame.bytes.end());
  std::swap_ranges(bytes.begin(), bytes.begin() + 6, bytes.begin() + 6);
  probe.kind = Probe::Kind::reply;
  write_probe(bytes, at, probe);
  echoes_.emplace_back(bytes.data(), bytes.size());
}

void Sink::flush_echoes() {
  std::size_t sent = 0;
  std::uint64_t bytes = 0;
  std::uint64_t since = 0;
  while (sent < echoes_.size()) {
    const SendResult result = end_.send(std::span(echoes_).subspan(sent));
    for (std::size_t i = sent; i < sent + result.taken; ++i) bytes += echoes_[i].size();
    sent += result.taken;
    if (result.error) {
      job_.tx_errors.add(1);
      job_.first_tx_error.set(result.error.message());
      break;
    }
    if (sent == echoes_.size()) break;
    const std::uint64_t now = now_ns();
    if (since == 0) since = now;
    if (now - since > kEchoPatienceNs) break;
    job_.refused.add(1);
    end_.wait_to_send(std::chrono::milliseconds(10));
  }
  if (sent != 0) {
    job_.tx_frames.add(sent);
    job_.tx_bytes.add(bytes);
    job_.all_tx_frames.add(sent);
    job_.all_tx_bytes.add(bytes);
    job_.batches.add(1);
    recorder_->sent(sent, bytes);
  }
  echoes_.clear();
}

void Sink::publish(const Totals& t) {
  job_.rx_frames.add(t.frames);
  job_.rx_bytes.add(t.bytes);
  job_.all_rx_frames.add(t.all_frames);
  job_.all_rx_bytes.add(t.all_bytes);
  if (t.ramp_frames != 0) job_.ramp_rx_frames.add(t.ramp_frames);
  if (t.foreign != 0) job_.foreign.add(t.foreign);
  if (t.stale != 0) job_.stale.add(t.stale);
  if (t.corrupt != 0) job_.corrupt.add(t.corrupt);
  if (t.truncated != 0) job_.truncated.add(t.truncated);
  recorder_->received(t.all_frames, t.all_bytes);
  std::uint64_t lost = 0;
  for (const auto& flow : flows_) {
    const FlowCounts& counts = flow->receiver.counts();
    lost += counts.lost_so_far();
    if (!flow->touched || setup_.echoes) continue;
    flow->touched = false;
    FlowBlock& block = *flow->expected.block;
    block.received.set(counts.received + flow->replayed);
    block.all_received.set(counts.received + counts.ramp_received + counts.late);
    block.duplicates.set(counts.duplicates);
    block.reordered.set(counts.reordered);
    block.corrupt.set(counts.corrupt);
    block.truncated.set(counts.truncated);
    block.late.set(counts.late);
    block.lost_so_far.set(counts.lost_so_far());
    block.last_arrival_ns.set(flow->last_arrival_ns);
  }
  if (lost > lost_before_) recorder_->lost(lost - lost_before_);
  lost_before_ = lost;
}

bool Sink::is_draining() const noexcept {
  return std::ranges::all_of(flows_, [](const auto& flow) {
    return flow->expected.block->tx_done.load(std::memory_order_acquire);
  });
}

bool Sink::drained(std::uint64_t now) {
  bool all = true;
  for (const auto& flow : flows_) {
    FlowBlock& block = *flow->expected.block;
    if (!block.tx_done.load(std::memory_order_acquire)) return false;
    std::uint64_t end = block.window_end_ns.load(std::memory_order_acquire);
    if (end == 0) {
      // It was killed, and nobody knows when it sent its last: from now on, then.
      end = now;
      block.window_end_ns.store(now, std::memory_order_release);
    }
    if (setup_.echoes) {
      all &= block.drained.load(std::memory_order_acquire);  // the asker says so
      continue;
    }
    const FlowCounts& counts = flow->receiver.counts();
    const std::uint64_t came =
        counts.received + counts.ramp_received + counts.late + flow->replayed;
    const bool complete = came >= block.all_sent.get() - block.first.get();
    const std::uint64_t drain_end = end + flow->expected.drain_ns;
    if (!complete && now >= drain_end && !flow->drained) {
      flow->drained = true;
      flow->receiver.end_drain();
    }
    // What is missing may come late: it is listened for once as long again.
    if (complete || now >= drain_end + flow->expected.drain_ns) {
      block.drained.store(true, std::memory_order_release);
    } else {
      all = false;
    }
  }
  return all;
}

std::vector<FlowState> Sink::state() const {
  std::vector<FlowState> states;
  for (const auto& flow : flows_) {
    states.push_back({.flow = flow->expected.flow, .received = flow->receiver.ledger().copy()});
  }
  return states;
}

void Sink::finish(std::uint64_t cancelled) {
  if (setup_.echoes) return;
  if (queue_) {
    Totals totals;
    queued_totals_ = &totals;
    job_.unverified.set(queue_->finish(now_ns() + kVerifyPatienceNs));
    publish(totals);
  }
  for (const auto& flow : flows_) {
    finish(*flow, cancelled);
    flow->expected.block->complete.store(true, std::memory_order_release);
    flow->expected.block->drained.store(true, std::memory_order_release);
  }
}

void Sink::finish(Flow& flow, std::uint64_t cancelled) {
  FlowBlock& block = *flow.expected.block;
  const std::uint64_t first = block.first.get();
  const std::uint64_t ramp = block.ramp_sent.get();
  const std::uint64_t all = block.all_sent.get() - first;
  if (flow.expected.replayed) {
    block.missing.set(all - std::min(all, flow.replayed));
    return;
  }
  const FlowResult result = flow.receiver.result(
      {.first = first, .ramp_frames = ramp, .frames = all - ramp, .cancelled = cancelled});
  block.received.set(result.received);
  block.missing.set(result.lost);
  block.duplicates.set(result.duplicates);
  block.reordered.set(result.reordered);
  block.late.set(result.late);
  block.cancelled.set(result.cancelled);
  block.unverified.set(result.unverified);
  block.jitter_ps.set(result.jitter_ns ? static_cast<std::uint64_t>(*result.jitter_ns * 1000) + 1
                                       : 0);
  std::size_t n = 0;
  for (const auto& [from, to] : result.gaps) {
    if (n == block.gaps.size()) break;
    block.gaps[n++] = {from, to};
  }
  block.gap_count.set(n);
}

}  // namespace shmif::perf
