#include <sched.h>

#include <algorithm>

#include "perf/worker/sink_flow.hpp"

namespace shmif::perf {
namespace {

/// If no frame has arrived for this long, no frame is on its way, unless it is delayed on purpose.
constexpr std::uint64_t kStillComingNs = 10'000'000;

void put_jitter_and_gaps(const FlowResult& result, FlowArrivals& block) {
  block.jitter_ps.set(result.jitter_ns ? static_cast<std::uint64_t>(*result.jitter_ns * 1000) + 1
                                       : 0);
  std::size_t n = 0;
  for (const auto& [from, to] : result.gaps) {
    if (n == block.gaps.size()) break;
    block.gaps[n++] = {from, to};
  }
  block.gap_count.set(n);
}

}  // namespace

void Sink::publish(const Totals& t) {
  for (const Period period : {Period::ramp, Period::window}) {
    const Totals::Of& of = t.of[period];
    ReceivedCounts& counts = job_.received[period];
    if (of.frames != 0) {
      counts[&TrafficResult::frames].add(of.frames);
      counts[&TrafficResult::bytes].add(of.bytes);
    }
    const std::uint64_t others = of.foreign + of.stale;
    if (others == 0) continue;
    counts[&TrafficResult::foreign_frames].add(of.foreign);
    counts[&TrafficResult::stale_frames].add(of.stale);
    job_.all_foreign.add(others);
  }
  job_.all_rx_frames.add(t.all_frames);
  job_.all_rx_bytes.add(t.all_bytes);
  recorder_->received(t.all_frames, t.all_bytes);
  for (const auto& flow : flows_) {
    if (!flow->touched) continue;
    flow->touched = false;
    note_lost(*flow, lost_so_far(*flow));
    if (has_flows()) publish(*flow);
  }
  if (setup_.recorded != nullptr) publish_recorded();
}

/// What others see of the counts meanwhile, and what is left of them if the job is killed.
void Sink::publish_recorded() {
  FlowBlock& block = *setup_.recorded;
  FlowCounts sum;
  std::uint64_t first = 0, last = 0, lost = 0;
  for (const auto& flow : flows_) {
    lost += flow->lost;
    sum.received += flow->receiver.counts().received;
    sum.late += flow->receiver.counts().late;
    if (flow->last_arrival_ns == 0) continue;
    if (first == 0) first = flow->first_arrival_ns;
    first = std::min(first, flow->first_arrival_ns);
    last = std::max(last, flow->last_arrival_ns);
  }
  block.received.set(sum.received);
  block.late.set(sum.late);
  block.all_lost_so_far.set(lost);
  block.first_arrival_ns.set(first);
  block.last_arrival_ns.set(last);
}

void Sink::sender_ends(std::uint64_t end_ns, std::uint64_t drain_ns) noexcept {
  if (setup_.recorded == nullptr) return;
  recorded_drain_ns_ = end_ns + drain_ns;
  setup_.recorded->window_end_ns.store(end_ns, std::memory_order_release);
  for (const auto& flow : flows_) flow->receiver.end_drain(recorded_drain_ns_);
}

bool Sink::has_all_of(std::uint64_t frames) {
  if (queue_ && queue_->waiting() != 0) deliver([this] { queue_->catch_up(); });
  if (flows_.size() != 1) return frames == 0;
  const FlowCounts& counts = flows_.front()->receiver.counts();
  return counts.received + counts.late >= frames;
}

/// If a later frame fills a gap, its loss is taken back.
void Sink::note_lost(Flow& flow, std::uint64_t lost) {
  if (lost > flow.lost) recorder_->lost(lost - flow.lost);
  if (lost < flow.lost) recorder_->found(flow.lost - lost);
  flow.lost = lost;
}

/// Frames of ramp and window that are missing, although later ones came.
std::uint64_t Sink::lost_so_far(const Flow& flow) const {
  const FlowReceiver& receiver = flow.receiver;
  if (setup_.recorded != nullptr) {
    // The first number in a flow of an earlier run is not known.
    const std::uint64_t absent = receiver.counts().lost_so_far();
    return absent - std::min(absent, receiver.not_lost());
  }
  const std::uint64_t missing = receiver.missing(flow.expected.block->first.get(), receiver.end());
  // A request that did not arrive whole has no reply, so no reply of it is lost.
  const std::uint64_t none =
      is_of_replies(flow) ? flow.expected.echo->requests.all_unanswered.get() : 0;
  return missing - std::min(missing, none);
}

/// All frames that are missing at the end, when the sender has said how many it sent.
std::uint64_t Sink::lost_of_all(const Flow& flow, std::uint64_t all_sent) const {
  const std::uint64_t first = flow.expected.block->first.get();
  // The number of a damaged frame may be damaged, too.
  const std::uint64_t end =
      has_counted_all(flow) ? all_sent : std::max(all_sent, flow.receiver.ledger().end());
  const std::uint64_t missing = flow.receiver.missing(first, end);
  if (!is_of_replies(flow)) return missing;
  const ByPeriod<Tally>& replies = flow.expected.echo->replies;
  const std::uint64_t sent = replies[Period::ramp].get() + replies[Period::window].get();
  const std::uint64_t none = end - first - std::min(end - first, sent);
  return missing - std::min(missing, none);
}

bool Sink::is_of_replies(const Flow& flow) const noexcept {
  return setup_.window != nullptr && flow.expected.echo != nullptr;
}

void Sink::publish(Flow& flow) {
  const FlowCounts& counts = flow.receiver.counts();
  FlowArrivals& block = *flow.expected.arrivals;
  block.received.set(counts.received + flow.replayed);
  block.all_received.set(counts.received + counts.ramp_received + counts.late);
  block.duplicates.set(counts.duplicates);
  block.reordered.set(counts.reordered);
  block.corrupt.set(counts.corrupt);
  block.truncated.set(counts.truncated);
  block.late.set(counts.late);
  block.lost_so_far.set(counts.lost_so_far());
  block.all_lost_so_far.set(flow.lost);
  const FlowReceiver& receiver = flow.receiver;
  block.all_unanswered.set(receiver.not_whole(flow.expected.block->first.get(), receiver.end()));
  block.first_transit_ns.set(flow.first_transit_ns);
  block.last_transit_ns.set(flow.last_transit_ns);
  block.last_arrival_ns.set(flow.last_arrival_ns);
}

bool Sink::is_draining() const noexcept {
  return std::ranges::all_of(flows_, [](const auto& flow) {
    return flow->expected.block->tx_done.load(std::memory_order_acquire);
  });
}

void Sink::deliver(const std::function<void()>& from_queue) {
  Totals totals;
  queued_totals_ = &totals;
  from_queue();
  publish(totals);
}

/// Frames that are received from `now` on are late in the flows whose drain time is over, also if
/// the sink slept when it ended. A flow that is not known to have ended is looked at again after
/// its drain time, so the senders' blocks are not read with each batch, unless that time is 0.
void Sink::end_drains(std::uint64_t now) {
  look_at_drains_ns_ = UINT64_MAX;
  if (!has_flows()) return;
  for (const auto& flow : flows_) {
    if (flow->drained) continue;
    const FlowBlock& block = *flow->expected.block;
    const bool ended = block.tx_done.load(std::memory_order_acquire);
    const std::uint64_t end = ended ? block.window_end_ns.load(std::memory_order_acquire) : 0;
    const std::uint64_t drain_end = (end == 0 ? now : end) + flow->expected.drain_ns;
    if (end != 0 && now >= drain_end) {
      flow->drained = true;
      flow->receiver.end_drain(drain_end);
    } else {
      look_at_drains_ns_ = std::min(look_at_drains_ns_, drain_end);
    }
  }
}

bool Sink::drained(std::uint64_t now) {
  // Everything has been sent, so the backlog is checked from now on.
  if (queue_ && queue_->waiting() != 0) deliver([this] { queue_->catch_up(); });
  bool all = true;
  for (const auto& flow : flows_) {
    FlowBlock& block = *flow->expected.block;
    if (!block.tx_done.load(std::memory_order_acquire)) return false;
    std::uint64_t end = block.window_end_ns.load(std::memory_order_acquire);
    if (end == 0) {
      // The sender was killed, and it is not known when it sent its last frame. The drain time
      // starts now.
      end = now;
      flow->killed = true;
      block.window_end_ns.store(now, std::memory_order_release);
    }
    const FlowCounts& counts = flow->receiver.counts();
    const std::uint64_t came =
        counts.received + counts.ramp_received + counts.late + flow->replayed;
    // In a replay, copies count as received, so it is complete only when no more frames arrive.
    const bool comes = flow->expected.replayed && now < flow->last_arrival_ns + kStillComingNs;
    const bool complete = !comes && came >= block.all_sent.get() - block.first.get();
    const std::uint64_t drain_end = end + flow->expected.drain_ns;
    if (has_counted_all(*flow)) flow->sent_end = block.all_sent.get();
    if (!complete && now >= drain_end && !flow->drained) {
      flow->drained = true;
      flow->receiver.end_drain(drain_end);
    }
    if (setup_.echoes) {
      // The pingpong job says so, unless it has closed its connection.
      all &= no_more_comes_ || block.drained.load(std::memory_order_acquire);
      continue;
    }
    // Missing frames may come late: the sink listens for another drain time.
    if (complete || no_more_comes_ || now >= drain_end + flow->expected.drain_ns) {
      block.drained.store(true, std::memory_order_release);
    } else {
      all = false;
    }
  }
  return all;
}

std::vector<FlowState> Sink::state() const {
  std::vector<FlowState> states;
  if (!has_flows()) return states;  // flows of any run, whose senders are not known
  states.reserve(flows_.size());
  for (const auto& flow : flows_) {
    states.push_back({.from = flow->expected.name, .received = flow->receiver.ledger().copy()});
  }
  return states;
}

void Sink::finish() {
  if (queue_) {
    deliver([this] { (void)queue_->finish(now_ns() + setup_.verify_patience_ns); });
  }
  if (setup_.recorded != nullptr) return finish_recorded();
  for (const auto& flow : flows_) {
    finish(*flow);
    flow->expected.arrivals->complete.store(true, std::memory_order_release);
    // For requests, the pingpong job says it, because it waits for the replies.
    if (!setup_.echoes) flow->expected.block->drained.store(true, std::memory_order_release);
  }
}

/// An echo job counts a reply after it has sent it, which may be just after the reply arrived here.
void Sink::settle_replies(const Flow& flow) const {
  constexpr std::uint64_t kPatienceNs = 200'000'000;  // in case the echo job was killed
  const FlowCounts& counts = flow.receiver.counts();
  const ByPeriod<Tally>& sent = flow.expected.echo->replies;
  const std::uint64_t until = now_ns() + kPatienceNs;
  while ((sent[Period::window].get() < counts.received + counts.late ||
          sent[Period::ramp].get() < counts.ramp_received) &&
         now_ns() < until) {
    ::sched_yield();
  }
}

void Sink::finish(Flow& flow) {
  const FlowBlock& sender = *flow.expected.block;
  FlowArrivals& block = *flow.expected.arrivals;
  const std::uint64_t first = sender.first.get();
  const std::uint64_t all_sent = sender.all_sent.get();
  const std::uint64_t all = all_sent - first;
  const std::uint64_t ramp = std::min(all, sender.ramp_sent.get());
  if (all != 0) learn_window(flow);  // perhaps none of them arrived
  block.all_judged.set(all_sent);
  if (flow.expected.replayed) {
    // It is not known which frames arrived twice, but the total says how many did.
    block.received.set(std::min(all, flow.replayed));
    block.duplicates.set(flow.replayed - std::min(all, flow.replayed));
    block.lost.set(all - std::min(all, flow.replayed));
    note_lost(flow, block.lost.get());
    block.all_lost_so_far.set(flow.lost);
    return;
  }
  if (has_counted_all(flow)) {
    // They came when the sender had not told how many it would send.
    note_unsent(flow, flow.receiver.end_at(all_sent), Period::window, "a frame");
  }
  FlowSent sent{.first = first, .ramp_frames = ramp, .frames = all - ramp};
  if (is_of_replies(flow)) {
    settle_replies(flow);
    sent.numbers = sent.frames;
    sent.frames = flow.expected.echo->replies[Period::window].get();
    block.all_judged.set(sent.frames);
  }
  const FlowResult result = flow.receiver.result(sent);
  // The sender may not have counted the last frames that arrived.
  block.all_judged.set(block.all_judged.get() + result.unexplained);
  block.received.set(result.received);
  block.lost.set(result.lost);
  note_lost(flow, lost_of_all(flow, all_sent));
  block.all_lost_so_far.set(flow.lost);
  block.duplicates.set(result.duplicates);
  block.reordered.set(result.reordered);
  block.corrupt.set(result.corrupt);
  block.truncated.set(result.truncated);
  block.corrupt_copies.set(result.corrupt_copies);
  block.truncated_copies.set(result.truncated_copies);
  block.late.set(result.late);
  block.unverified.set(result.unverified);
  put_jitter_and_gaps(result, block);
}

/// The missing frames of a record are the gaps between the first and the last number of each flow.
/// Only the sender knew how many were sent after the last one. Which numbers are missing is told if
/// there is one flow, because the numbers of several cannot be told apart.
void Sink::finish_recorded() {
  FlowBlock& block = *setup_.recorded;
  FlowResult sum;
  sum.corrupt_copies = sum.corrupt_apart = flowless_corrupt_;
  sum.truncated_copies = sum.truncated_apart = flowless_truncated_;
  for (const auto& flow : flows_) {
    const FlowCounts& counts = flow->receiver.counts();
    const std::uint64_t span = counts.end > counts.begin ? counts.end - counts.begin : 0;
    FlowResult one = flow->receiver.result({.first = counts.begin, .frames = span});
    one.sent = span;
    note_lost(*flow, one.lost);
    sum += one;
    if (setup_.options.other_end_elsewhere && flows_.size() == 1 && span != 0) {
      put_jitter_and_gaps(one, block);
      block.first_number.set(counts.begin);
      block.end_number.set(counts.end);
    }
    sum.corrupt_apart += one.corrupt_apart;
    sum.truncated_apart += one.truncated_apart;
  }
  publish_recorded();
  block.all_sent.set(sum.sent);
  block.all_judged.set(sum.sent);
  block.received.set(sum.received);
  block.lost.set(sum.lost);
  block.duplicates.set(sum.duplicates);
  block.reordered.set(sum.reordered);
  block.corrupt.set(sum.corrupt);
  block.truncated.set(sum.truncated);
  block.corrupt_copies.set(sum.corrupt_copies);
  block.truncated_copies.set(sum.truncated_copies);
  block.corrupt_apart.set(sum.corrupt_apart);
  block.truncated_apart.set(sum.truncated_apart);
  block.unverified.set(sum.unverified);
  // A sender on another server may have ended before.
  const std::uint64_t now = now_ns();
  const std::uint64_t ended =
      setup_.options.other_end_elsewhere ? block.window_end_ns.load() : UINT64_MAX;
  block.window_end_ns.store(std::min(now, ended), std::memory_order_release);
  block.complete.store(true, std::memory_order_release);
}

}  // namespace shmif::perf
