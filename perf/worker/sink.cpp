#include "perf/worker/sink_flow.hpp"

#include <algorithm>
#include <utility>

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

}  // namespace

Sink::Sink(Setup setup, End& end, JobBlock& job)
    : setup_(std::move(setup)),
      end_(end),
      job_(job),
      batch_(batch_frames(setup_.options),
             std::max<std::size_t>(256U << 10U, 4 * end.max_frame_bytes())),
      times_of_train_(batch_.max_frames()),
      echoer_(end, job, setup_.record),
      // Recorded frames were sent long ago, or by another clock, so they have no latency.
      times_(!setup_.options.disable_lat &&
             (setup_.recorded == nullptr || setup_.options.clock_shift_ns)) {
  job_.overruns_are_errors.store(setup_.pauses, std::memory_order_relaxed);
  for (ExpectedFlow& expected : setup_.flows) add_flow(std::move(expected));
}

void Sink::add_flow(ExpectedFlow expected) {
  // In a round trip, the pingpong job keeps the times.
  const bool keeps_times = times_ && !setup_.echoes;
  // Jitter needs no common clock: it is of differences between transit times.
  const bool keeps_jitter =
      times_ || (setup_.options.other_end_elsewhere && !setup_.options.disable_lat);
  const FlowReceiver::Options options{.flow = expected.flow,
                                      .measure_from_ns = UINT64_MAX,
                                      .latency = keeps_times ? &job_.latency : nullptr,
                                      .service = keeps_times ? &job_.service : nullptr,
                                      .jitter = keeps_jitter};
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
  flow.receiver.end_drain(recorded_drain_ns_);
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
  if (setup_.recorded != nullptr) last = setup_.recorded->window_end_ns.load();
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
  const bool for_us =
      setup_.recorded != nullptr
          ? (setup_.echoes ? probe.kind == Probe::Kind::request : probe.kind != Probe::Kind::reply)
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
  if (setup_.recorded != nullptr && setup_.options.clock_shift_ns.value_or(0) != 0) {
    Probe here = probe;
    const auto shift = static_cast<std::uint64_t>(*setup_.options.clock_shift_ns);
    here.intended_ns += shift;  // modulo 2^64
    here.sent_ns += shift;
    note_probe(*flow, frame.size(), here, now, totals);
  } else {
    note_probe(*flow, frame.size(), probe, now, totals);
  }
  // Every copy of a request gets a reply.
  if (setup_.echoes) {
    echoer_.add(frame, probe_offset(frame.bytes), probe, flow->receiver.period_of(probe));
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

/// The sender of a flow publishes when its measured window begins, as soon as it knows. It has said
/// before with which number it begins.
void Sink::learn_window(Flow& flow) {
  if (flow.measured_from) return;
  flow.receiver.measure_from(flow.expected.block->measure_from_ns.load(std::memory_order_acquire));
  flow.receiver.begin_at(flow.expected.block->first.get());
  flow.measured_from = true;
}

}  // namespace shmif::perf
