// Reading the records of sampled events.

#include <cstring>

#include "perf/counters/session_impl.hpp"

namespace shmif::perf {
namespace {

constexpr unsigned kHalfBits = 32;
constexpr std::uint64_t kHalf = 0xffffffffU;

/// The word at this place of a record; 0 if the record ends before.
std::uint64_t word_at(std::span<const std::byte> body, std::size_t at) noexcept {
  std::uint64_t value = 0;
  if (body.size() >= at + sizeof value) std::memcpy(&value, body.data() + at, sizeof value);
  return value;
}

}  // namespace

/// The PERF_SAMPLE_ bits of an event.
std::uint64_t CounterSession::Impl::sample_fields(const Sampling& sampling) noexcept {
  return kOwnFields | (sampling.fields & kOptionalFields) |
         (sampling.frequency != 0 ? std::uint64_t{PERF_SAMPLE_PERIOD} : 0);
}

void CounterSession::Impl::take_sample(SampleSink& sink, const perf_event_header& header,
                                       SampleCounts& counts) {
  const auto found = event_of_id_.find(word_at(record_, 0));
  if (found == event_of_id_.end()) return;
  const Sampling& sampling = events_[found->second]->setup.sampling;
  auto sample = read_sample(record_, sample_fields(sampling), chain_);
  if (!sample) return;
  if (sampling.period != 0) sample->period = sampling.period;
  sample->event = found->second;
  sample->in_kernel = (header.misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_KERNEL;
  ++counts.samples;
  sink.sample(*sample);
}

void CounterSession::Impl::take_record(SampleSink& sink, const perf_event_header& header,
                                       SampleCounts& counts) {
  const std::span<const std::byte> body(record_);
  constexpr std::size_t kName = 8;  // of a PERF_RECORD_COMM
  const std::uint64_t first = word_at(body, 0);
  switch (header.type) {
    case PERF_RECORD_SAMPLE: take_sample(sink, header, counts); return;
    case PERF_RECORD_LOST: counts.lost += word_at(body, sizeof first); return;
    case PERF_RECORD_LOST_SAMPLES: counts.lost += first; return;
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2:
      if (const auto mapping = read_mapping(body, header.type == PERF_RECORD_MMAP2)) {
        sink.mapped(*mapping);
      }
      return;
    case PERF_RECORD_FORK:  // the child's number, and the parent's
      sink.forked(static_cast<pid_t>(first >> kHalfBits), static_cast<pid_t>(first & kHalf));
      return;
    case PERF_RECORD_COMM:
      if ((header.misc & PERF_RECORD_MISC_COMM_EXEC) != 0 && body.size() > kName) {
        const auto* const name = reinterpret_cast<const char*>(body.data()) + kName;
        sink.executed(static_cast<pid_t>(first & kHalf),
                      {name, ::strnlen(name, body.size() - kName)});
      }
      return;
    default: return;
  }
}

Result<SampleCounts> CounterSession::Impl::read_samples(SampleSink& sink) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::read_samples); !may) return may.error();
  SampleCounts counts;
  for (Ring& ring : rings_) {
    // What comes meanwhile is for the next call, so a sampler of itself comes to an end.
    const std::uint64_t until = ring.ring.head();
    while (const auto header = ring.ring.next(record_, until)) take_record(sink, *header, counts);
  }
  return counts;
}

}  // namespace shmif::perf
