// What a sink does with frames that are not as they should be: damaged, never sent, too late, or
// lost before it read them.

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "perf/job/values.hpp"
#include "perf/worker/sink_flow.hpp"

namespace shmif::perf {
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
