#include "perf/verify/flow_receiver.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace shmif::perf {

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
  if (probe.intended_ns < options_.measure_from_ns) {
    if (twice) {
      ++counts_.ramp_duplicates;
      return;
    }
    ++counts_.ramp_received;
    counts_.ramp_bytes += bytes;
    counts_.ramp_reordered += overtaken;
    return;
  }
  if (twice) {
    ++counts_.duplicates;
    return;
  }
  counts_.begin = std::min(counts_.begin, probe.sequence);
  counts_.end = std::max(counts_.end, probe.sequence + 1);
  if (now_ns >= drained_ns_) {
    ++counts_.late;
    return;
  }
  ++counts_.received;
  counts_.bytes += bytes;
  counts_.reordered += overtaken;
  note_times(probe, now_ns);
}

void FlowReceiver::note_times(const Probe& probe, std::uint64_t now_ns) noexcept {
  const auto since = [now_ns](std::uint64_t then_ns) {
    return now_ns > then_ns ? now_ns - then_ns : 0;
  };
  if (options_.latency != nullptr) options_.latency->record(since(probe.intended_ns));
  if (options_.service != nullptr) options_.service->record(since(probe.sent_ns));
  if (!options_.jitter) return;
  // RFC 3550, section 6.4.1, with the intended time as the timestamp: in order of arrival.
  const auto transit_ns = static_cast<std::int64_t>(now_ns - probe.intended_ns);
  if (has_transit_) {
    const auto change = std::abs(static_cast<double>(transit_ns - transit_before_ns_));
    jitter_ns_ += (change - jitter_ns_) / 16;
  }
  transit_before_ns_ = transit_ns;
  has_transit_ = true;
}

void FlowReceiver::note_damaged(Finding finding, const std::optional<Probe>& said,
                                std::uint64_t now_ns) {
  if ((said ? said->intended_ns : now_ns) < options_.measure_from_ns) return;
  if (said) {
    damaged_.push_back(said->sequence);
  } else {
    ++damaged_unknown_;
  }
  if (finding == Finding::corrupt) ++counts_.corrupt;
  if (finding == Finding::truncated) ++counts_.truncated;
}

/// How many of the numbers from `from` to `to` came damaged, and never whole.
std::uint64_t FlowReceiver::damaged_missing(std::uint64_t from, std::uint64_t to) const {
  std::vector<std::uint64_t> numbers = damaged_;
  std::ranges::sort(numbers);
  const auto twice = std::ranges::unique(numbers);
  numbers.erase(twice.begin(), twice.end());
  const auto missing = std::ranges::count_if(numbers, [&](std::uint64_t number) {
    return number >= from && number < to && !ledger_.has(number);
  });
  return static_cast<std::uint64_t>(missing);
}

FlowResult FlowReceiver::result(const FlowSent& sent, std::size_t most_gaps) const {
  FlowResult result;
  result.flow = options_.flow;
  result.sent = sent.frames;
  result.received = counts_.received;
  result.late = counts_.late;
  result.duplicates = counts_.duplicates;
  result.reordered = counts_.reordered;
  result.corrupt = counts_.corrupt;
  result.truncated = counts_.truncated;
  result.unverified = counts_.unverified;
  result.verification_complete = counts_.unverified == 0;
  if (has_transit_ && options_.jitter) result.jitter_ns = jitter_ns_;

  const std::uint64_t came = counts_.received + counts_.late;
  if (came > sent.frames) {
    // The sender's count is too small: it was killed before it could tell of its last batch.
    result.unexplained = came - sent.frames;
  }
  const std::uint64_t missing = sent.frames - std::min(came, sent.frames);
  const std::uint64_t from = sent.first + sent.ramp_frames;
  result.lost_damaged =
      std::min(missing, damaged_missing(from, from + sent.frames) + damaged_unknown_);
  // One that was given up may have come all the same, or damaged.
  result.cancelled = std::min(sent.cancelled, missing - result.lost_damaged);
  result.lost = missing - result.cancelled;
  for (const auto& gap : ledger_.gaps(from, from + sent.frames, most_gaps)) {
    result.gaps.emplace_back(gap.from, gap.to);
  }
  return result;
}

}  // namespace shmif::perf
