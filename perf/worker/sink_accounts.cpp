#include <sched.h>
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "perf/job/values.hpp"
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

// What a sink does with frames that are not as they should be: damaged, never sent, too late, or
// lost before it read them.

namespace {

/// Whether an unreadable frame is a damaged frame of `flow`, with its probe at `at`. At most one of
/// four marks may be wrong: magic, length, nonce and source. A frame that ends before the nonce has
/// lost most of these marks. Then its EtherType counts as well, if it has one, and two marks must
/// be right.
bool is_probe_of(const ExpectedFlow& flow, const FrameView& frame, std::size_t at) noexcept {
  if (frame.size() < kEthernetHeaderBytes) return false;
  const ProbeMarks marks = probe_marks(frame.bytes, at);
  unsigned right = 0;
  unsigned wrong = 0;
  const auto count = [&](bool is_right) { ++(is_right ? right : wrong); };
  if (marks.magic) count(*marks.magic);
  if (marks.length) count(*marks.length);
  if (flow.from) count(frame.source() == *flow.from);
  if (marks.nonce) {
    count(*marks.nonce == flow.nonce);
    return wrong <= 1;
  }
  const bool has_ip = flow.headers && flow.headers->ip != 0;
  const std::size_t end = has_ip ? flow.headers->ip : at;
  if (frame.size() < end) return right == 1;  // the source is all that is left
  const unsigned type = !has_ip ? kProbeEtherType : flow.headers->v6 ? 0x86dd : 0x0800;
  count((std::to_integer<unsigned>(frame.bytes[end - 2]) << 8U |
         std::to_integer<unsigned>(frame.bytes[end - 1])) == type);
  return wrong <= 1 && right >= 2;
}

/// The same for a frame whose nonce and source are unknown.
bool is_probe_of_any_run(std::span<const std::byte> frame, std::size_t at) noexcept {
  const ProbeMarks marks = probe_marks(frame, at);
  return marks.magic.value_or(false) && marks.length.value_or(false);
}

}  // namespace

// ---- Lost frames ----

/// Whether frames are missing because the medium was corrupt, and not because it overran this end.
bool Sink::met_corruption() noexcept {
  if (setup_.options.engine != EngineKind::bus) return false;
  const std::uint64_t now = end_.counters().corrupt.value_or(0);
  return now > std::exchange(corrupt_, now);
}

void Sink::overrun(std::uint64_t lost) {
  if (met_corruption()) {
    if (flows_.empty()) recorder_->lost(lost);
    receive_failed(Errc::corrupt);
    return;
  }
  // The lost frames were sent after the newest one that arrived. If that was a frame of the ramp,
  // the overrun began in the ramp.
  const Period period = after_ramp_frame_ ? Period::ramp : period_at(now_ns());
  job_.received[period].overruns.add(1);
  job_.received[period].overrun_frames.add(lost);
  if (setup_.pauses) {
    job_.note_error(ErrorClass::overrun, period,
                    std::to_string(lost) + (lost == 1 ? " frame was" : " frames were") +
                        " overwritten before the job had read " + (lost == 1 ? "it" : "them"));
  }
  recorder_->overrun();
  // If there are flows, the gap in their numbers will show the lost frames.
  if (flows_.empty()) recorder_->lost(lost);
  if (!error_.empty()) return;
  if (setup_.options.end_on_overrun) {
    error_ = "an overrun";
    ended_normally_ = true;
  } else if (setup_.pauses && !setup_.options.continue_on_error.overrun) {
    error_ = "an overrun, although senders wait for slow receivers on " + end_.address() +
             ": the job read nothing for longer than they wait, because it had no CPU, or was busy "
             "checking frames (with continue_on_error=overrun it goes on)";
  }
}

void Sink::receive_failed(std::error_code error) {
  if (error == Errc::link_ended && setup_.options.engine == EngineKind::pcap) {
    if (!error_.empty()) return;
    ended_normally_ = true;
    error_ = "the end of the capture";
    return;
  }
  // A peer that has sent everything closes its connection. The sequence numbers show whether
  // everything arrived.
  if (error == Errc::link_ended && has_flows() && is_draining()) {
    no_more_comes_ = true;
    return;
  }
  job_.note_rx_error(period_at(now_ns()), error);
  const bool fatal = ends_the_medium(error);
  const bool damaged = error == Errc::corrupt && setup_.options.engine == EngineKind::pcap;
  if (fatal || !setup_.options.continue_on_error.rx) {
    error_ = "cannot receive on " + end_.address() + ": " +
             (damaged ? "the capture is damaged, and the rest cannot be read" : error.message()) +
             (fatal ? "" : " (with continue_on_error=rx the job goes on)");
  }
}

// ---- Damaged frames ----

std::optional<Finding> Sink::damage_of(const FrameView& frame) const noexcept {
  const std::size_t said = probe_place(frame.bytes).at;
  // The senders of a record are unknown, so no mark may be wrong.
  bool is_ours = setup_.recorded != nullptr && is_probe_of_any_run(frame.bytes, said);
  std::size_t at = said;
  for (const auto& flow : flows_) {
    if (is_ours) break;
    if (flow->expected.replayed) continue;  // its frames have no probes
    const auto& headers = flow->expected.headers;
    const std::size_t known = headers ? headers->probe : flow->expected.probe_at;
    for (const std::size_t place : {known, said}) {
      if (is_ours || !is_probe_of(flow->expected, frame, place)) continue;
      is_ours = true;
      at = place;
    }
  }
  if (!is_ours) return std::nullopt;
  if (frame.size() < at + kProbeBytes) return Finding::truncated;
  const auto length = probe_length(frame.bytes.data() + at);
  return length && frame.size() < *length ? Finding::truncated : Finding::corrupt;
}

void Sink::take_damaged(const FrameView& frame, Finding finding, std::uint64_t now) {
  const bool corrupt = finding == Finding::corrupt;
  const std::optional<Probe> said = mend_probe(frame.bytes, place_of(frame));
  if (Flow* const flow = said ? flow_of(said->flow, said->nonce) : nullptr) {
    learn_window(*flow);
    flow->receiver.note_damaged(
        finding, may_have_sent(*flow, said->sequence, said->sequence) ? said : std::nullopt, now);
    flow->touched = true;
  } else if (Flow* const sender = flow_from(frame.source())) {
    learn_window(*sender);
    sender->receiver.note_damaged(finding, std::nullopt, now);
    sender->touched = true;
  } else if (setup_.options.other_end_elsewhere) {
    ++(corrupt ? flowless_corrupt_ : flowless_truncated_);
  }
  if (!setup_.options.verify) return;
  note_damage(said, corrupt, now);
  if (!setup_.options.continue_on_error.verify) {
    fail_verification(corrupt ? "a corrupt frame was received" : "a truncated frame was received");
  }
}

/// `said`: the probe of the damaged frame, as far as it could be read.
void Sink::note_damage(const std::optional<Probe>& said, bool corrupt, std::uint64_t now) {
  std::string what = "a frame";
  if (said) {
    const Flow* const flow = flow_of(said->flow, said->nonce);
    what = "frame " + std::to_string(said->sequence);
    if (flow != nullptr && !flow->expected.name.empty()) what += " of " + flow->expected.name;
  }
  job_.note_error(ErrorClass::verify, period_at(now),
                  what + (corrupt ? " was corrupt" : " was truncated"));
}

/// Finds the flow of a frame that does not say its flow. It takes the flow of the frame's sender,
/// because damage mostly leaves the addresses intact.
Sink::Flow* Sink::flow_from(MacAddress sender) noexcept {
  if (flows_.size() == 1) return flows_.front().get();
  const auto at =
      std::ranges::find_if(flows_, [&](const auto& flow) { return flow->expected.from == sender; });
  return at == flows_.end() ? nullptr : at->get();
}

// ---- Frames that nobody sent, or that came too late ----

/// Takes a sound frame with a number that its sender has not reached: somebody else has sent it.
void Sink::take_unsent(const Flow& flow, std::uint64_t number, std::uint64_t now, Totals& totals) {
  const Period period = period_at(now);
  ++totals.of[period].foreign;
  note_unsent(flow, 1, period, "frame " + std::to_string(number));
}

/// An error of verification, as damage is.
void Sink::note_unsent(const Flow& flow, std::uint64_t frames, Period period,
                       const std::string& what) {
  if (frames == 0 || !setup_.options.verify) return;
  const std::string name = flow.expected.name.empty() ? "its sender" : flow.expected.name;
  const std::string error = what + " was not sent by " + name;
  for (std::uint64_t i = 0; i < frames; ++i) job_.note_error(ErrorClass::verify, period, error);
  if (!setup_.options.continue_on_error.verify) {
    fail_verification("a frame was received that " + name + " has not sent");
  }
}

void Sink::too_late(const Flow& flow, std::uint64_t number, std::uint64_t latency_ns) {
  if (!error_.empty()) return;
  const auto text = [](std::uint64_t of_ns) {
    return time_text(std::chrono::nanoseconds(static_cast<std::int64_t>(of_ns)));
  };
  error_ = "frame " + std::to_string(number) + " of " + flow.expected.name + " took " +
           text(latency_ns) + ", longer than max_latency (" + text(flow.expected.max_latency_ns) +
           ')';
}

void Sink::fail_verification(const std::string& what) {
  if (!error_.empty() && !ended_normally_) return;
  error_ = what + " (with continue_on_error=verify the job goes on and counts them)";
  ended_normally_ = false;
}

}  // namespace shmif::perf
