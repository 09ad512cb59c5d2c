#include "perf/worker/interval_recorder.hpp"

#include <algorithm>

namespace shmif::perf {

void IntervalRecorder::close(std::uint64_t now, bool at_border) noexcept {
  const std::uint64_t end = now > start_ns_ ? now - start_ns_ : 0;
  if (end <= begin_ns_) return;
  const std::uint64_t number = job_.intervals_written.load(std::memory_order_relaxed);
  IntervalBlock& block = job_.intervals[number % kIntervalBlocks];
  block.begin_ns.set(begin_ns_);
  block.end_ns.set(end);
  block.tx_frames.set(now_.tx_frames);
  block.tx_bytes.set(now_.tx_bytes);
  block.rx_frames.set(now_.rx_frames);
  block.rx_bytes.set(now_.rx_bytes);
  block.lost_frames.set(now_.lost);
  block.found_frames.set(now_.found);
  block.overruns.set(now_.overruns);
  block.latency_count.set(now_.latencies);
  block.latency_sum_ns.set(now_.latency_sum);
  block.latency_p50_ns.set(percentile(50));
  block.latency_p99_ns.set(percentile(99));
  block.latency_max_ns.set(now_.latency_max);
  block.ends_at_border.set(at_border ? 1 : 0);
  note_cpu(block);
  if (tcp_ != nullptr) tcp_->close(block);
  if (job_.histograms != nullptr) publish_histogram(job_.histograms[number % kHistogramBlocks]);
  job_.intervals_written.store(number + 1, std::memory_order_release);
  begin_ns_ = end;
  // The next boundary after now. A stall makes one long interval, not many empty ones.
  next_ns_ = start_ns_ + (end / length_ns_ + 1) * length_ns_;
  if (now_.latencies != 0) counts_.fill(0);
  now_ = {};
}

void IntervalRecorder::note_cpu(IntervalBlock& block) noexcept {
  if (!usage_of_) return;
  const CpuTime now = cpu_time_of(*usage_of_);
  // The kernel may later count time as user that it counted as system, or the reverse. So one of
  // the two may go back a little.
  block.cpu_user_ns.set(1 + now.user_ns - std::min(now.user_ns, cpu_.user_ns));
  block.cpu_system_ns.set(1 + now.system_ns - std::min(now.system_ns, cpu_.system_ns));
  cpu_ = now;
}

/// The first buckets are the bins of a histogram log. Longer latencies go into the last bin.
void IntervalRecorder::publish_histogram(HistogramBlock& into) const noexcept {
  static_assert(kBuckets >= kHistogramBins);
  std::uint32_t rest = 0;
  for (std::size_t i = kHistogramBins - 1; i < kBuckets; ++i) rest += counts_[i];
  for (std::size_t i = 0; i + 1 < kHistogramBins; ++i) {
    into[i].store(counts_[i], std::memory_order_relaxed);
  }
  into[kHistogramBins - 1].store(rest, std::memory_order_relaxed);
}

std::uint64_t IntervalRecorder::percentile(unsigned per_cent) const noexcept {
  if (now_.latencies == 0) return 0;
  const std::uint64_t rank = std::max<std::uint64_t>(1, (now_.latencies * per_cent + 99) / 100);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen < rank) continue;
    if (i < (2U << kSubBits)) return std::min<std::uint64_t>(i, now_.latency_max);
    const std::size_t shift = (i >> kSubBits) - 1;
    const std::uint64_t min = (std::uint64_t{i} - (shift << kSubBits)) << shift;
    return std::min(min + (std::uint64_t{1} << shift) - 1, now_.latency_max);
  }
  return now_.latency_max;
}

}  // namespace shmif::perf
