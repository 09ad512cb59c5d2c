#include "perf/verify/flow_receiver.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {

namespace {

/// The share of the jitter that is left after this number of frames with the same transit time.
double decay_of_jitter(std::size_t frames) noexcept {
  static const auto kPowers = [] {
    std::array<double, 64> powers{};
    double power = 1;
    for (double& each : powers) each = std::exchange(power, power * 15 / 16);
    return powers;
  }();
  double left = 1;
  for (; frames >= kPowers.size(); frames -= kPowers.size() - 1) left *= kPowers.back();
  return left * kPowers[frames];
}

}  // namespace

Arrival classify(const ProbeReading& reading, std::uint32_t nonce) noexcept {
  switch (reading.finding) {
    case Finding::whole: return reading.probe.nonce == nonce ? Arrival::ours : Arrival::stale;
    case Finding::foreign: return Arrival::foreign;
    case Finding::truncated: return Arrival::truncated;
    case Finding::corrupt: break;
  }
  return Arrival::corrupt;
}

void FlowReceiver::note(const Probe& probe, std::size_t bytes, std::uint64_t now_ns) {
  const SequenceLedger::Verdict verdict = ledger_.note(probe.sequence);
  const bool twice = verdict == SequenceLedger::Verdict::duplicate;
  const std::uint64_t overtaken = verdict == SequenceLedger::Verdict::reordered ? 1 : 0;
  if (!only_damaged_.empty()) only_damaged_.erase(probe.sequence);
  if (period_of(probe) == Period::ramp) {
    if (!twice) ++counts_.ramp_received;
    return;
  }
  if (twice) {
    ++counts_.duplicates;
    return;
  }
  counts_.begin = std::min(counts_.begin, probe.sequence);
  counts_.end = std::max(counts_.end, SequenceLedger::behind(probe.sequence));
  if (now_ns >= drained_ns_) {
    ++counts_.late;
    return;
  }
  ++counts_.received;
  counts_.bytes += bytes;
  counts_.reordered += overtaken;
  note_times({probe.intended_ns, probe.sent_ns}, 1, now_ns);
}

std::optional<Period> FlowReceiver::note_train(const ProbeTrain& train, std::uint64_t now_ns) {
  const std::uint64_t end = train.first + train.frames();
  const bool in_order = train.first >= ledger_.end() && end > train.first;
  if (!in_order || !only_damaged_.empty() || now_ns >= drained_ns_) return std::nullopt;
  const auto period_at = [this](const ProbeTimes& times) {
    return perf::period_of(times.intended_ns, options_.measure_from_ns);
  };
  const Period period = period_at(train.times.front());
  const auto is_other = [&](const ProbeTimes& times) { return period_at(times) != period; };
  if (std::ranges::any_of(train.times, is_other)) return std::nullopt;
  ledger_.note_in_order(train.first, train.frames());
  if (period == Period::ramp) {
    counts_.ramp_received += train.frames();
    return period;
  }
  counts_.begin = std::min(counts_.begin, train.first);
  counts_.end = std::max(counts_.end, end);
  counts_.received += train.frames();
  counts_.bytes += train.bytes;
  by_equal_times(train.times, [&](const ProbeTimes& times, std::size_t frames) {
    note_times(times, frames, now_ns);
  });
  return period;
}

/// Notes the times of frames that arrived together and have the same times.
void FlowReceiver::note_times(const ProbeTimes& times, std::size_t frames,
                              std::uint64_t now_ns) noexcept {
  const auto since = [now_ns](std::uint64_t then_ns) {
    return now_ns > then_ns ? now_ns - then_ns : 0;
  };
  if (options_.latency != nullptr) options_.latency->record(since(times.intended_ns), frames);
  if (options_.service != nullptr) options_.service->record(since(times.sent_ns), frames);
  if (!options_.jitter) return;
  // RFC 3550, section 6.4.1, in order of arrival, with the intended time as the timestamp.
  const auto transit_ns = static_cast<std::int64_t>(now_ns - times.intended_ns);
  if (has_transit_) {
    const auto change = std::abs(static_cast<double>(transit_ns - transit_before_ns_));
    jitter_ns_ += (change - jitter_ns_) / 16;
  }
  if (frames > 1) jitter_ns_ *= decay_of_jitter(frames - 1);  // the same transit
  transit_before_ns_ = transit_ns;
  has_transit_ = true;
}

void FlowReceiver::note_damaged(Finding finding, const std::optional<Probe>& said,
                                std::uint64_t now_ns) {
  if (!std::exchange(told_damage_, true)) {
    debug(Debug::verify, [&] {
      return "the first damaged frame of flow " + std::to_string(options_.flow) +
             (said ? " says that its number is " + std::to_string(said->sequence)
                   : std::string(" has no number"));
    });
  }
  if (!said || only_damaged_.size() >= kMaxOnlyDamaged) {
    ++all_unknown_;
  } else {
    damaged_end_ = std::max(damaged_end_, SequenceLedger::behind(said->sequence));
    if (!ledger_.has(said->sequence)) only_damaged_.insert(said->sequence);
  }
  const std::uint64_t time_ns = said ? said->intended_ns : now_ns;
  if (perf::period_of(time_ns, options_.measure_from_ns) == Period::ramp) return;
  const bool truncated = finding == Finding::truncated;
  ++(truncated ? counts_.truncated : counts_.corrupt);
  if (said && damaged_.size() < kMaxDamaged) {
    damaged_.push_back({.number = said->sequence, .truncated = truncated});
  } else {
    ++(truncated ? truncated_unknown_ : corrupt_unknown_);
  }
}

std::uint64_t FlowReceiver::end_at(std::uint64_t end) {
  // Frames of the ramp have the smallest numbers, and late ones come when the end is known.
  const std::uint64_t others = std::min(ledger_.forget_from(end), counts_.received);
  counts_.received -= others;
  counts_.end = std::min(counts_.end, end);
  damaged_end_ = std::min(damaged_end_, end);
  return others;
}

std::uint64_t FlowReceiver::not_whole(std::uint64_t first, std::uint64_t end) const noexcept {
  const std::uint64_t numbers = end - std::min(first, end);
  return numbers - std::min(numbers, counts_.received + counts_.late + counts_.ramp_received);
}

std::uint64_t FlowReceiver::missing(std::uint64_t first, std::uint64_t end) const noexcept {
  const std::uint64_t absent = not_whole(first, end);
  return absent - std::min(absent, not_lost());
}

/// Decides which damaged arrivals are the fate of one of the `missing` frames with numbers from
/// `from` to `to`; the others are copies. Arrivals with an unknown number then stand for the rest
/// of the missing frames, as far as there are any.
void FlowReceiver::judge_damaged(std::uint64_t from, std::uint64_t to, std::uint64_t missing,
                                 FlowResult& result) const {
  std::vector<std::size_t> order(damaged_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(damaged_[i].number, i); });
  std::uint64_t left = missing;
  std::uint64_t before = UINT64_MAX;
  for (const std::size_t i : order) {
    const Damaged& each = damaged_[i];
    const bool again = each.number == before;
    before = each.number;
    const bool known = each.number >= from && each.number < to && !ledger_.has(each.number);
    const bool is_fate = !again && known && left != 0;
    if (is_fate) --left;
    const bool apart = !again && !is_fate && !ledger_.has(each.number);
    if (apart) ++(each.truncated ? result.truncated_apart : result.corrupt_apart);
    if (each.truncated) ++(is_fate ? result.truncated : result.truncated_copies);
    if (!each.truncated) ++(is_fate ? result.corrupt : result.corrupt_copies);
  }
  const auto guess = [&left](std::uint64_t unknown, std::uint64_t& fates, std::uint64_t& copies,
                             std::uint64_t& apart) {
    const std::uint64_t taken = std::min(unknown, left);
    left -= taken;
    fates += taken;
    copies += unknown - taken;
    apart += unknown - taken;
  };
  guess(corrupt_unknown_, result.corrupt, result.corrupt_copies, result.corrupt_apart);
  guess(truncated_unknown_, result.truncated, result.truncated_copies, result.truncated_apart);
}

FlowResult FlowReceiver::result(const FlowSent& sent, std::size_t max_gaps) const {
  FlowResult result;
  result.flow = options_.flow;
  result.sent = sent.frames;
  result.received = counts_.received;
  result.late = counts_.late;
  result.duplicates = counts_.duplicates;
  result.reordered = counts_.reordered;
  result.verification_complete = counts_.unverified == 0;
  if (has_transit_ && options_.jitter) result.jitter_ns = jitter_ns_;

  const std::uint64_t came = counts_.received + counts_.late;
  if (came > sent.frames) {
    // The sender's count is too small: it was killed before it could count its last batch.
    result.unexplained = came - sent.frames;
  }
  const std::uint64_t missing = sent.frames - std::min(came, sent.frames);
  const std::uint64_t from = sent.first + sent.ramp_frames;
  const std::uint64_t to = from + sent.numbers.value_or(sent.frames);
  judge_damaged(from, to, missing, result);
  const std::uint64_t absent = missing - result.corrupt - result.truncated;
  // Some of these may be duplicates or copies of frames that arrived; that was not checked.
  result.unverified = std::min(counts_.unverified, absent);
  result.lost = absent - result.unverified;
  for (const auto& gap : ledger_.gaps(from, to, max_gaps)) {
    result.gaps.emplace_back(gap.from, gap.to);
  }
  return result;
}

}  // namespace shmif::perf
