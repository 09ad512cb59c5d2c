#include "perf/worker/generator.hpp"

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// If an engine takes no frame for this long, the job gives up.
constexpr std::uint64_t kNoProgressNs = 10'000'000'000;

/// How long to wait for a reply. Replies can be as late as the last frames, so they get the same
/// time.
std::uint64_t reply_patience_ns(const JobOptions& job) {
  constexpr std::uint64_t kWithoutDrainNs = 1'000'000'000;
  return job.drain_time.count() > 0 ? ns(job.drain_time) : kWithoutDrainNs;
}

/// 0 stands for "no limit" in the options.
std::uint64_t limit(std::uint64_t value) {
  return value == 0 ? UINT64_MAX : value;
}

}  // namespace

Generator::Generator(Setup setup, End& end, JobBlock& job, FlowBlock& flow)
    : options_(setup.options),
      end_(end),
      job_(job),
      flow_(flow),
      source_(std::move(setup.source)),
      record_(setup.record),
      share_(std::move(setup.share)),
      window_(setup.options.rw == Role::pingpong ? setup.options.iodepth : 1,
              setup.options.iodepth_low, setup.options.iodepth_batch_complete_min,
              reply_patience_ns(setup.options)),
      asks_(setup.options.rw == Role::pingpong),
      paced_(setup.options.rate_bps.tx != 0 || setup.options.rate_fps.tx != 0 ||
             (!setup.options.replay.empty() && !setup.options.replay_no_stall)),
      times_(paced_ && !setup.options.disable_lat),
      first_sequence_(setup.first_sequence),
      sequence_(setup.first_sequence) {
  flow.first.set(first_sequence_);
  flow.all_sent.set(sequence_);
  const std::size_t max =
      std::min<std::size_t>(std::max(options_.iodepth_batch, 1U), source_->max_frames());
  slots_.resize(max);
  views_.reserve(max);
  frames_left_ = limit(options_.number_ios);
  // With time_based, the loops are limited by time, not by bytes.
  const bool sized = options_.size_bytes != 0 && !options_.time_based;
  bytes_left_ = std::min(
      limit(options_.io_limit_bytes),
      sized ? options_.size_bytes * std::max<std::uint64_t>(options_.loops, 1) : UINT64_MAX);
}

void Generator::begin(std::uint64_t begin_ns, IntervalRecorder& recorder) {
  recorder_ = &recorder;
  begin_ns_ = begin_ns;
  progress_ns_ = begin_ns;
  measure_from_ns_ = begin_ns + ns(options_.ramp_time);
  if (options_.runtime.count() > 0) end_ns_ = measure_from_ns_ + ns(options_.runtime);
  source_->begin(begin_ns_, end_ns_, measure_from_ns_);
  debug(Debug::rate, [&] {
    const auto limit = [](std::uint64_t value) {
      return value == UINT64_MAX ? std::string("unlimited") : std::to_string(value);
    };
    return std::string(paced_ ? "sends at a fixed rate" : "sends as fast as it can") +
           "; limits: " + limit(frames_left_) + " frames, " + limit(bytes_left_) +
           " bytes; batches of up to " + std::to_string(slots_.size()) +
           (asks_ ? ", with up to " + std::to_string(options_.iodepth) + " requests without a reply"
                  : std::string());
  });
  flow_.measure_from_ns.store(measure_from_ns_, std::memory_order_release);
  job_.window_begin_ns.store(measure_from_ns_, std::memory_order_release);
}

/// How many frames may be sent, without regard to the pace.
std::size_t Generator::max_now(std::uint64_t now) {
  std::uint64_t max = std::min<std::uint64_t>(slots_.size(), frames_left_);
  if (asks_) {
    window_.expire(now);
    max = std::min<std::uint64_t>(max, window_.room());
  }
  if (share_) max = std::min(max, share_->room(sequence_ - first_sequence_));
  return static_cast<std::size_t>(max);
}

/// Takes from the schedule the frames to send now, within the limits.
void Generator::fill(std::uint64_t now) {
  // All frames taken before have left, so a pause may begin.
  if (const std::uint64_t until = source_->all_left(now); until != 0) spin_until_ns_ = until;
  if (share_ && share_->is_over()) {
    debug(Debug::rate, [] { return "its partner of rwmixtx sends no more"; });
    no_more_ = true;
    return;
  }
  const std::size_t count = source_->take(now, std::span(slots_).first(max_now(now)));
  if (source_->ended()) no_more_ = true;
  pending_ = std::span(slots_).first(count);
  if (bytes_left_ != UINT64_MAX) keep_to_bytes_left();
  if (frames_left_ != UINT64_MAX) frames_left_ -= pending_.size();
  if (frames_left_ == 0 || bytes_left_ == 0) no_more_ = true;
  make(now);
}

/// Drops the first frame that is longer than the bytes that are left, and all frames after it.
void Generator::keep_to_bytes_left() {
  const auto too_long = std::ranges::find_if(pending_, [this](const FrameSource::Slot& slot) {
    if (slot.bytes > bytes_left_) return true;
    bytes_left_ -= slot.bytes;
    return false;
  });
  if (too_long == pending_.end()) return;
  no_more_ = true;
  over_limit_ns_ = too_long->intended_ns;
  pending_ = pending_.first(static_cast<std::size_t>(too_long - pending_.begin()));
}

/// Makes refused frames again unchanged, except for the time when they are really sent.
void Generator::make(std::uint64_t now) {
  views_.clear();
  source_->make(sequence_, pending_, now, views_);
}

bool Generator::step(std::uint64_t now) {
  if (done_ || now < begin_ns_) return false;
  // Frames that are still refused at the end of the runtime were offered but not sent.
  if (now >= end_ns_) {
    finish(now);
    return false;
  }
  if (refused_) {
    make(now);
  } else if (!no_more_) {
    fill(now);
  }
  if (!pending_.empty()) return submit(now);
  if (no_more_) finish(now);
  return false;
}

bool Generator::submit(std::uint64_t now) {
  if (flow_.sent_log != nullptr) flow_.sent_log->note(now, sequence_ - first_sequence_);
  const SendResult result = end_.send(views_);
  const std::size_t taken = std::min(result.taken, pending_.size());
  if (taken != 0) account(taken, now);
  if (pending_.empty()) {
    refused_ = false;
    refused_known_ = 0;
    if (no_more_) finish(now_ns());  // the end includes the time of the last batch
  } else {
    refused(result, now);
  }
  return taken != 0;
}

void Generator::account(std::size_t taken, std::uint64_t now) {
  const std::span<const FrameSource::Slot> sent = pending_.first(taken);
  ByPeriod<FrameSource::Unsent> gone;
  for (const Period period : {Period::ramp, Period::window}) gone[period] = total(sent, period);
  for (std::size_t i = 0; times_ && i < taken; ++i) {
    if (period_of(sent[i]) == Period::window) {
      job_.spacing_error.record(now - sent[i].intended_ns);
    }
  }
  for (std::size_t i = 0; asks_ && i < taken; ++i) window_.sent(sequence_ + i, now);
  for (std::size_t i = 0; record_ != nullptr && i < taken; ++i) {
    record_->put(views_[i], now, sent[i].intended_ns);
  }
  pending_ = pending_.subspan(taken);
  sequence_ += taken;
  refused_known_ -= std::min(refused_known_, taken);
  progress_ns_ = now;

  flow_.all_sent.set(sequence_);  // before ramp_sent, which is part of it
  for (const Period period : {Period::ramp, Period::window}) {
    const FrameSource::Unsent& of = gone[period];
    if (of.frames == 0) continue;
    SentCounts& counts = job_.sent[period];
    counts[&TrafficResult::frames].add(of.frames);
    counts[&TrafficResult::bytes].add(of.bytes);
    counts[&TrafficResult::offered_frames].add(of.frames);
    counts[&TrafficResult::offered_bytes].add(of.bytes);
    // A batch that crosses the border counts in the window, because some of its frames do.
    const bool last = period == Period::window || gone[Period::window].frames == 0;
    if (last) counts[&TrafficResult::batches].add(1);
  }
  if (gone[Period::ramp].frames != 0) flow_.ramp_sent.add(gone[Period::ramp].frames);
  const std::uint64_t bytes = gone[Period::ramp].bytes + gone[Period::window].bytes;
  job_.all_tx_frames.add(taken);
  job_.all_tx_bytes.add(bytes);
  recorder_->sent(taken, bytes);
}

FrameSource::Unsent Generator::total(std::span<const FrameSource::Slot> slots,
                                     Period period) const noexcept {
  FrameSource::Unsent of;
  for (const FrameSource::Slot& slot : slots) {
    const bool counts = period_of(slot) == period;
    of.frames += counts ? 1 : 0;
    of.bytes += counts ? slot.bytes : 0;
  }
  return of;
}

void Generator::refused(const SendResult& result, std::uint64_t now) {
  if (!refused_ || now == progress_ns_) refused_since_ns_ = now;
  if (!refused_ && !told_refusal_) {
    told_refusal_ = true;  // tell it once: a full medium refuses all the time
    debug(Debug::rate, [&] {
      return end_.address() + " refuses a frame for the first time, sequence number " +
             std::to_string(sequence_) + ": " +
             (result.error ? result.error.message() : std::string("it is full")) +
             "; the frame is offered again";
    });
  }
  refused_ = true;
  for (const Period period : {Period::ramp, Period::window}) {
    job_.sent[period][&TrafficResult::refused_frames].add(
        total(pending_.subspan(refused_known_), period).frames);
  }
  refused_known_ = pending_.size();
  if (result.error) {
    job_.note_tx_error(period_of(pending_.front()), result.error);
    if (!may_go_on_after(result.error)) {
      error_ = "cannot send on " + end_.address() + ": " + result.error.message();
      finish(now);
      return;
    }
  }
  if (now < refused_since_ns_ + kNoProgressNs) return;
  error_ = "the engine has taken no frame for 10 s";
  finish(now);
}

bool Generator::may_go_on_after(std::error_code error) const noexcept {
  if (ends_the_medium(error)) return false;
  const bool lock = class_of_send_error(error) == ErrorClass::lock;
  return lock ? options_.continue_on_error.lock : options_.continue_on_error.tx;
}

std::uint64_t Generator::next_look_ns(std::uint64_t now) noexcept {
  constexpr std::uint64_t kOthersNs = 100'000;
  if (done_) return FrameSource::kNever;
  if (refused_) return 0;
  std::uint64_t next = source_->next_ns();
  if (asks_ && window_.room() == 0) next = window_.expire(now);
  if (is_held_by_others()) next = std::max(next, now + kOthersNs);
  return std::min(next, end_ns_);
}

void Generator::stop(std::uint64_t now) {
  if (done_) return;
  told_to_stop_ = now < end_ns_;
  end_ns_ = std::min(end_ns_, now);
  finish(now);
}

/// Counts the frames that were due by the pace and were not sent: the engine refused them until the
/// end, or they were never made.
void Generator::finish(std::uint64_t now) {
  done_ = true;
  refused_ = false;  // the job no longer waits for room
  // In a stream with a pace, a frame takes its time until the next one is due. This holds for the
  // last frame, too.
  const std::uint64_t next = paced_ ? source_->next_ns() : now;
  const bool by_limit = no_more_ && next != FrameSource::kNever && pending_.empty();
  const std::uint64_t end = std::min(by_limit ? std::max(now, next) : now, end_ns_);
  note_offered(end);
  recorder_->border(std::min(now, end));
  flow_.rate_end_ns.set(end);
  flow_.window_end_ns.store(std::min(now, end), std::memory_order_release);
  job_.window_end_ns.store(end, std::memory_order_release);
  flow_.tx_done.store(true, std::memory_order_release);
  debug(Debug::rate, [&] {
    const char* const why = !error_.empty() ? "because of an error"
                            : told_to_stop_ ? "because it was told to stop"
                            : no_more_      ? "at a limit of frames or bytes"
                                            : "at the end of its time";
    return std::string("stops sending, ") + why + ": " + std::to_string(sequence_) +
           " sequence numbers used, " + std::to_string(pending_.size()) + " frames not accepted";
  });
}

/// Counts what was offered besides the sent frames, and until when. A job that reached a limit was
/// not asked for more frames. Its pace allowed it the time until the next frame would have been
/// due, however long the job really took.
void Generator::note_offered(std::uint64_t end) {
  SentCounts& counts = job_.sent[Period::window];
  const FrameSource::Unsent refused = total(pending_, Period::window);
  counts[&TrafficResult::offered_frames].add(refused.frames);
  counts[&TrafficResult::offered_bytes].add(refused.bytes);
  const std::uint64_t due = over_limit_ns_ != 0 ? over_limit_ns_ : source_->due_ns();
  const std::uint64_t until = paced_ && no_more_ ? due : end;
  if (!no_more_ && end > begin_ns_) {
    const FrameSource::Unsent unmade = source_->give_up(end);
    counts[&TrafficResult::offered_frames].add(unmade.frames);
    counts[&TrafficResult::offered_bytes].add(unmade.bytes);
  }
  const FrameSource::Unsent skipped = source_->skipped();
  counts[&TrafficResult::skipped_frames].set(skipped.frames);
  counts[&TrafficResult::offered_frames].add(skipped.frames);
  counts[&TrafficResult::offered_bytes].add(skipped.bytes);
  job_.offered_until_ns.set(std::min(until, end_ns_));
}

}  // namespace shmif::perf
