#include "perf/worker/sink_flow.hpp"

#include <algorithm>
#include <utility>

#include "perf/job/values.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kBatchFrames = 64;
/// If frames are longer than this on average, they are read where they lie: a copy would cost more
/// than the check whether they were overwritten meanwhile.
constexpr std::uint64_t kLongFrameBytes = 512;

/// The most frames to take from the engine at once.
std::size_t batch_frames(const JobOptions& job) noexcept {
  const bool limited = job.rw == Role::pingpong && job.iodepth_batch_complete_max != 0;
  return limited ? job.iodepth_batch_complete_max : kBatchFrames;
}
/// A sender counts a batch only after it has sent the batch. So it may not yet have counted this
/// many frames: the greatest iodepth_batch.
constexpr std::uint64_t kMaxUntold = 1024;

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

Sink::Sink(Setup setup, End& end, JobBlock& job)
    : setup_(std::move(setup)),
      end_(end),
      job_(job),
      batch_(batch_frames(setup_.options),
             std::max<std::size_t>(256U << 10U, 4 * end.max_frame_bytes())),
      times_of_train_(batch_.max_frames()),
      echoer_(end, job),
      // Recorded frames were sent long ago, so they have no latency.
      times_(!setup_.options.disable_lat && setup_.recorded == nullptr) {
  job_.overruns_are_errors.store(setup_.pauses, std::memory_order_relaxed);
  for (ExpectedFlow& expected : setup_.flows) add_flow(std::move(expected));
}

void Sink::add_flow(ExpectedFlow expected) {
  // In a round trip, the pingpong job keeps the times.
  const bool keeps_times = times_ && !setup_.echoes;
  const FlowReceiver::Options options{.flow = expected.flow,
                                      .measure_from_ns = UINT64_MAX,
                                      .latency = keeps_times ? &job_.latency : nullptr,
                                      .service = keeps_times ? &job_.service : nullptr,
                                      .jitter = times_};
  FlowReceiver receiver(options, std::move(expected.before));
  if (expected.arrivals == nullptr) expected.arrivals = expected.block;
  auto flow = std::make_unique<Flow>(Flow{std::move(expected), std::move(receiver)});
  if (flow->expected.remade) flow->maker.emplace(*flow->expected.remade);
  if (flow->expected.replayed) replayed_ = flow.get();
  has_headers_ = has_headers_ || flow->expected.headers;
  has_makers_ = has_makers_ || flow->maker;
  flows_.push_back(std::move(flow));
}

Result<void> Sink::prepare() {
  const JobOptions& o = setup_.options;
  // A pingpong or echo job checks each frame before the next one is sent.
  const bool at_once = setup_.echoes || setup_.window != nullptr;
  if (at_once || (o.verify_async == 0 && o.verify_backlog == 0)) return {};
  auto queue = VerifyQueue::start(
      {.threads = o.verify_async, .backlog = o.verify_backlog},
      [this](const FrameView& frame) { return read(frame); },
      [this](const CheckedFrame& frame) { take_checked(frame); });
  if (!queue) return std::move(queue).error();
  queue_ = *std::move(queue);
  return {};
}

Sink::~Sink() = default;

Sink::Flow* Sink::flow_of(std::uint32_t flow, std::uint32_t nonce) noexcept {
  // Few jobs receive more than one flow, and hardly any more than ten.
  for (const auto& each : flows_) {
    if (each->expected.flow == flow && each->expected.nonce == nonce) return each.get();
  }
  return nullptr;
}

/// The same, but the first frame of a flow of an earlier run adds that flow.
Sink::Flow* Sink::flow_of(const FrameView& frame, const Probe& probe) {
  Flow* const known = flow_of(probe.flow, probe.nonce);
  if (known != nullptr || setup_.recorded == nullptr) return known;
  ExpectedFlow expected{.flow = probe.flow, .from = frame.source(), .block = setup_.recorded};
  expected.nonce = probe.nonce;
  if (setup_.options.verify_regenerate && setup_.options.do_verify) {
    expected.remade = setup_.recorded_frames;
    expected.remade->flow = probe.flow;
    expected.remade->destination = frame.destination();
    expected.remade->source = frame.source();
  }
  add_flow(std::move(expected));
  Flow& flow = *flows_.back();
  flow.receiver.measure_from(0);
  flow.measured_from = true;
  return &flow;
}

/// Whether the sender of a flow has sent the numbers from `first` to `last`, or may be sending them
/// now.
bool Sink::may_have_sent(const Flow& flow, std::uint64_t first, std::uint64_t last) const noexcept {
  if (setup_.recorded != nullptr) return true;  // the recorded run is unknown
  const FlowCounts& counts = flow.receiver.counts();
  if (first >= counts.begin && last < counts.end + kMaxUntold) return true;
  const FlowBlock& block = *flow.expected.block;
  return first >= block.first.get() && last < block.all_sent.get() + kMaxUntold;
}

bool Sink::has_counted_all(const Flow& flow) const noexcept {
  const FlowBlock& block = *flow.expected.block;
  return !flow.killed && block.tx_done.load(std::memory_order_acquire) &&
         block.window_end_ns.load(std::memory_order_acquire) != 0;
}

/// Whether the number is so great that the sender has not reached it. Seldom reads the sender's
/// count, because the sender writes that all the time.
bool Sink::was_never_sent(Flow& flow, std::uint64_t number) const noexcept {
  if (number < flow.sent_end || setup_.recorded != nullptr) return false;
  const std::uint64_t untold = has_counted_all(flow) ? 0 : kMaxUntold;
  flow.sent_end = flow.expected.block->all_sent.get() + untold;
  return number >= flow.sent_end;
}

std::uint64_t Sink::window_begin_ns() const noexcept {
  if (setup_.recorded != nullptr) return 0;
  if (flows_.empty()) return own_begin_ns_;
  std::uint64_t first = UINT64_MAX;
  for (const auto& flow : flows_) {
    const auto begin = flow->expected.block->measure_from_ns.load(std::memory_order_acquire);
    if (begin != 0) first = std::min(first, begin);
  }
  return first;
}

std::uint64_t Sink::window_end_ns() const noexcept {
  std::uint64_t last = 0;
  for (const auto& flow : flows_) {
    const auto end = flow->expected.block->window_end_ns.load(std::memory_order_acquire);
    last = std::max({last, end, flow->last_arrival_ns});
  }
  return last;
}

/// The period of an event that is not a frame of a flow.
Period Sink::period_at(std::uint64_t now) noexcept {
  if (!in_window_) in_window_ = period_of(now, window_begin_ns()) == Period::window;
  return in_window_ ? Period::window : Period::ramp;
}

bool Sink::step() {
  batch_.clear();
  const ReceiveResult got = lends_ ? end_.lend(batch_) : end_.receive(batch_);
  if (got.lost != 0) overrun(got.lost);
  if (!batch_.frames().empty()) {
    take_batch();
  } else if (queue_ && queue_->waiting() != 0) {
    deliver([this] { queue_->flush(); });
  }
  if (got.error) receive_failed(got.error);
  return !batch_.frames().empty();
}

void Sink::take_batch() {
  const std::uint64_t now = now_ns();
  if (now >= look_at_drains_ns_) end_drains(now);
  Totals totals;
  queued_totals_ = &totals;
  if (lends_) {
    take_lent(now, totals);
  } else {
    take_frames(batch_.frames(), now, totals);
  }
  if (queue_) queue_->flush();
  note_replies(echoer_.flush(*recorder_));
  // A batch with only frames of the ramp belongs to the ramp, whenever it arrives.
  const bool only_ramp =
      totals.of[Period::ramp].frames != 0 && totals.of[Period::window].frames == 0;
  job_.received[only_ramp ? Period::ramp : period_at(now)][&TrafficResult::batches].add(1);
  publish(totals);
  lends_ =
      end_.lends() && may_take_trains() && totals.all_bytes > kLongFrameBytes * totals.all_frames;
}

/// Takes frames that others may overwrite at any time. After give_back(), uses only what was read
/// before, and only of the frames that are whole.
void Sink::take_lent(std::uint64_t now, Totals& totals) {
  const std::span<const FrameView> frames = batch_.frames();
  const ProbeTrain train = train_of(frames);
  const std::span<const FrameView> copies = copies_of(frames.subspan(train.frames()));
  const std::size_t torn = end_.give_back();
  const std::size_t torn_of_train = std::min(torn, train.frames());
  std::uint64_t torn_bytes = 0;
  for (const FrameView& frame : frames.first(torn_of_train)) torn_bytes += frame.size();
  take_train(train.behind(torn_of_train, torn_bytes),
             frames.first(train.frames()).subspan(torn_of_train), now, totals);
  take_frames(copies.subspan(torn - torn_of_train), now, totals);
}

std::span<const FrameView> Sink::copies_of(std::span<const FrameView> lent) {
  copies_.assign(lent.begin(), lent.end());
  std::size_t bytes = 0;
  for (const FrameView& frame : lent) bytes += frame.size();
  copied_bytes_.resize(std::max(copied_bytes_.size(), bytes));
  std::span<std::byte> room = copied_bytes_;
  for (FrameView& frame : copies_) {
    std::ranges::copy(frame.bytes, room.begin());
    frame.bytes = room.first(frame.size());
    room = room.subspan(frame.size());
  }
  return copies_;
}

void Sink::take_frames(std::span<const FrameView> frames, std::uint64_t now, Totals& totals) {
  while (!frames.empty()) {
    const ProbeTrain train = train_of(frames);
    const std::size_t taken = std::max<std::size_t>(train.frames(), 1);
    if (train.frames() != 0) {
      take_train(train, frames.first(taken), now, totals);
    } else {
      take_one(frames.front(), now, totals);
    }
    frames = frames.subspan(taken);
  }
}

void Sink::take_one(const FrameView& frame, std::uint64_t now, Totals& totals) {
  ++totals.all_frames;
  totals.all_bytes += frame.size();
  if (setup_.trigger != nullptr && setup_.trigger->matches(frame)) {
    job_.trigger_hit.store(true, std::memory_order_release);
    setup_.trigger = nullptr;  // one match is enough
  }
  if (queue_) {
    queue_->put(frame, now);
  } else {
    take(frame, read(frame), now, totals);
  }
}

/// Whether note_train() does everything that this sink has to do with a frame.
bool Sink::may_take_trains() const noexcept {
  return setup_.options.do_verify && !queue_ && setup_.trigger == nullptr && !setup_.echoes &&
         setup_.window == nullptr && setup_.recorded == nullptr && replayed_ == nullptr &&
         !has_headers_ && !has_makers_;
}

ProbeTrain Sink::train_of(std::span<const FrameView> frames) noexcept {
  if (!may_take_trains()) return {};
  const ProbeTrain train = read_train(frames, times_of_train_);
  if (train.frames() == 0 || train.checksum == Checksum::crc) return train;
  // If there is no CRC, a sequence number that no frame can have shows the damage.
  const Flow* const flow = train.nonce == setup_.nonce ? flow_of(train.flow, train.nonce) : nullptr;
  const bool is_possible =
      flow == nullptr || may_have_sent(*flow, train.first, train.first + train.frames() - 1);
  return is_possible ? train : ProbeTrain{};
}

/// Takes the frames of a train. Does not read their bytes, which may have been overwritten.
void Sink::take_train(const ProbeTrain& train, std::span<const FrameView> frames, std::uint64_t now,
                      Totals& totals) {
  if (frames.empty()) return;
  totals.all_frames += train.frames();
  totals.all_bytes += train.bytes;
  Flow* const flow = train.nonce == setup_.nonce ? flow_of(train.flow, train.nonce) : nullptr;
  if (flow != nullptr) {
    note_train(*flow, train, frames, now, totals);
    return;
  }
  auto& counts = totals.of[period_at(now)];
  (train.nonce == setup_.nonce ? counts.foreign : counts.stale) += train.frames();
}

void Sink::note_train(Flow& flow, const ProbeTrain& train, std::span<const FrameView> frames,
                      std::uint64_t now, Totals& totals) {
  learn_window(flow);
  flow.touched = true;
  const std::uint64_t last = train.first + train.frames() - 1;
  const bool all_sent = last >= train.first && !was_never_sent(flow, last);
  const auto period = all_sent ? flow.receiver.note_train(train, now) : std::nullopt;
  if (!period) {
    for (std::size_t i = 0; i < train.frames(); ++i) {
      const Probe probe = train.probe(i);
      if (was_never_sent(flow, probe.sequence)) {
        take_unsent(flow, probe.sequence, now, totals);
      } else {
        note_probe(flow, frames[i].size(), probe, now, totals);
      }
    }
    return;
  }
  after_ramp_frame_ = *period == Period::ramp;
  totals.of[*period].frames += train.frames();
  totals.of[*period].bytes += train.bytes;
  if (*period == Period::ramp) return;
  begin_window(now);
  flow.arrived(now, train.times.front().sent_ns);
  flow.arrived(now, train.times.back().sent_ns);
  std::uint64_t number = train.first;
  by_equal_times(train.times, [&](const ProbeTimes& times, std::size_t count) {
    note_latency(flow, number, now - std::min(now, times.intended_ns), count);
    number += count;
  });
}

/// The first reply to each request counts as sent by its flow; further replies are copies.
void Sink::note_replies(std::span<const Echoer::Sent> replies) {
  for (const Echoer::Sent& reply : replies) {
    const auto flow = std::ranges::find_if(
        flows_, [&](const auto& each) { return each->expected.flow == reply.flow; });
    if (flow == flows_.end() || (*flow)->expected.echo == nullptr) continue;
    const auto verdict = (*flow)->answered.note(reply.number);
    if (verdict == SequenceLedger::Verdict::duplicate) continue;
    (*flow)->expected.echo->replies[reply.period].add(1);
  }
}

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

ProbeReading Sink::read(const FrameView& frame) const noexcept {
  const ProbePlace place = place_of(frame);
  if (!setup_.options.do_verify) return peek_probe(frame.bytes, place);
  const ProbeReading reading = read_probe(frame.bytes, place);
  if (!has_headers_) return reading;
  if (reading.finding != Finding::whole || reading.checksum != Checksum::crc) return reading;
  // The CRC covers all but the checksum of UDP or TCP, and that checksum covers the rest. A UDP
  // checksum that became 0 would mean "no checksum".
  const auto flow = std::ranges::find(flows_, reading.probe.flow,
                                      [](const auto& each) { return each->expected.flow; });
  if (flow == flows_.end() || !(*flow)->expected.headers) return reading;
  const HeaderPlaces& places = *(*flow)->expected.headers;
  const bool right = places.transport_checksum == place.checksum_at &&
                     transport_checksum_is_right(frame.bytes, places);
  return right ? reading : ProbeReading{Finding::corrupt};
}

ProbePlace Sink::place_of(const FrameView& frame) const noexcept {
  const ProbePlace said = probe_place(frame.bytes);
  if (!has_headers_ || peek_probe(frame.bytes, said).finding != Finding::foreign) return said;
  for (const auto& flow : flows_) {
    if (!flow->expected.headers) continue;
    const HeaderPlaces& places = *flow->expected.headers;
    const ProbePlace known{places.probe, places.transport_checksum};
    if (peek_probe(frame.bytes, known).finding != Finding::foreign) return known;
  }
  return said;
}

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

void Sink::take_checked(const CheckedFrame& frame) {
  Totals& totals = *queued_totals_;
  if (!frame.checked) {
    if (Flow* const flow = flow_of(frame.frame, frame.reading.probe); flow != nullptr) {
      learn_window(*flow);
      flow->receiver.note_unverified(frame.reading.probe);
      flow->touched = true;
    }
    return;
  }
  take(frame.frame, frame.reading, frame.arrived_ns, totals);
}

void Sink::take(const FrameView& frame, const ProbeReading& reading, std::uint64_t now,
                Totals& totals) {
  const bool any_run = setup_.recorded != nullptr;
  switch (classify(reading, any_run ? reading.probe.nonce : setup_.nonce)) {
    case Arrival::ours: take_probe(frame, reading, now, totals); break;
    case Arrival::stale: take_other(frame, Arrival::stale, now, totals); break;
    case Arrival::foreign:
    case Arrival::corrupt:
    case Arrival::truncated:
      if (const auto damage = damage_of(frame)) {
        take_damaged(frame, *damage, now);
      } else {
        take_other(frame, Arrival::foreign, now, totals);
      }
      break;
  }
}

void Sink::take_other(const FrameView& frame, Arrival what, std::uint64_t now, Totals& totals) {
  // A capture may contain any frames: those of programs, or the probes of an earlier run.
  if (replayed_ != nullptr) return take_replayed(frame, now, totals);
  auto& counts = totals.of[period_at(now)];
  ++(what == Arrival::stale ? counts.stale : counts.foreign);
}

/// The receiver's own window begins with the first frame of the window. If frames take long to
/// arrive, the silence before them becomes an interval of its own.
void Sink::begin_window(std::uint64_t now) {
  if (std::exchange(has_frames_, true)) return;
  if (!recorder_->is_moment(recorder_->begin_ns(), now)) recorder_->border(now);
}

void Sink::take_replayed(const FrameView& frame, std::uint64_t now, Totals& totals) {
  ++totals.of[Period::window].frames;  // a replay has no ramp
  totals.of[Period::window].bytes += frame.size();
  // Frames without probes do not say when they were sent. The first frame was due when the window
  // began.
  if (replayed_->last_arrival_ns == 0) {
    const auto& begin = replayed_->expected.block->measure_from_ns;
    begin_window(now);
    replayed_->arrived(now, begin.load(std::memory_order_acquire));
  }
  replayed_->last_arrival_ns = now;
  replayed_->touched = true;
  ++replayed_->replayed;
}

void Sink::take_probe(const FrameView& frame, const ProbeReading& reading, std::uint64_t now,
                      Totals& totals) {
  const Probe& probe = reading.probe;
  // An echo job takes requests, and a pingpong job takes replies. A record contains both.
  const bool for_us = setup_.recorded != nullptr
                          ? probe.kind != Probe::Kind::reply
                          : (probe.kind == Probe::Kind::request) == setup_.echoes &&
                                (probe.kind == Probe::Kind::reply) == (setup_.window != nullptr);
  Flow* const flow = for_us ? flow_of(frame, probe) : nullptr;
  // A medium that floods also delivers frames for others.
  if (flow == nullptr) {
    ++totals.of[period_at(now)].foreign;
    return;
  }
  // If there is no CRC, a sequence number that no frame can have shows the damage.
  const bool damaged =
      reading.checksum == Checksum::none && !may_have_sent(*flow, probe.sequence, probe.sequence);
  if (damaged || (flow->maker && !flow->maker->payload_is_as_made(frame.bytes))) {
    take_damaged(frame, Finding::corrupt, now);
    return;
  }
  if (was_never_sent(*flow, probe.sequence)) {
    take_unsent(*flow, probe.sequence, now, totals);
    return;
  }
  learn_window(*flow);
  flow->touched = true;
  if (setup_.window != nullptr) (void)setup_.window->replied(probe.sequence);
  note_probe(*flow, frame.size(), probe, now, totals);
  // Every copy of a request gets a reply.
  if (setup_.echoes) {
    echoer_.add(frame, probe_offset(frame.bytes), probe, flow->receiver.period_of(probe));
  }
}

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

void Sink::note_probe(Flow& flow, std::size_t bytes, const Probe& probe, std::uint64_t now,
                      Totals& totals) {
  after_ramp_frame_ = flow.receiver.period_of(probe) == Period::ramp;
  const FlowCounts& counts = flow.receiver.counts();
  const std::uint64_t received_before = counts.received;
  const std::uint64_t ramp_before = counts.ramp_received;
  flow.receiver.note(probe, bytes, now);
  if (counts.received != received_before) {
    begin_window(now);
    flow.arrived(now, probe.sent_ns);
    ++totals.of[Period::window].frames;
    totals.of[Period::window].bytes += bytes;
    note_latency(flow, probe.sequence, now - std::min(now, probe.intended_ns), 1);
  } else if (counts.ramp_received != ramp_before) {
    ++totals.of[Period::ramp].frames;
    totals.of[Period::ramp].bytes += bytes;
  }
}

/// Notes that so many frames of the window, from `number` on, had this latency.
void Sink::note_latency(const Flow& flow, std::uint64_t number, std::uint64_t latency_ns,
                        std::size_t frames) {
  if (!times_ || setup_.echoes) return;
  recorder_->latency(latency_ns, static_cast<std::uint32_t>(frames));
  const std::uint64_t max = flow.expected.max_latency_ns;
  if (max != 0 && latency_ns > max) too_late(flow, number, latency_ns);
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

/// The sender of a flow publishes when its measured window begins, as soon as it knows.
void Sink::learn_window(Flow& flow) {
  if (flow.measured_from) return;
  flow.receiver.measure_from(flow.expected.block->measure_from_ns.load(std::memory_order_acquire));
  flow.measured_from = true;
}

void Sink::fail_verification(const std::string& what) {
  if (!error_.empty() && !ended_normally_) return;
  error_ = what + " (with continue_on_error=verify the job goes on and counts them)";
  ended_normally_ = false;
}

}  // namespace shmif::perf
