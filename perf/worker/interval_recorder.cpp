#include "perf/worker/interval_recorder.hpp"

#include <utility>
#include <vector>

#include "instruments/watch/clock.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

void TcpWatch::begin_window() noexcept {
  const auto state = end_.tcp();
  if (!state) return;
  before_window_ = *state;
  in_window_ = true;
}

void TcpWatch::end_window() noexcept {
  (void)look();
  in_window_ = false;
}

std::optional<TcpState> TcpWatch::look() noexcept {
  auto state = end_.tcp();
  if (!state || !in_window_) return state;
  const bool first = window_.samples == 0;
  window_.retransmits = grown_since<TcpSample>(before_window_, *state).retransmits;
  window_.mss_bytes = state->mss_bytes;
  window_.pmtu_bytes = state->pmtu_bytes;
  window_.cwnd_bytes_max = std::max(window_.cwnd_bytes_max, state->cwnd_bytes);
  window_.rtt_ns_min = first ? state->rtt_ns : std::min(window_.rtt_ns_min, state->rtt_ns);
  window_.rtt_ns_max = std::max(window_.rtt_ns_max, state->rtt_ns);
  rtt_ns_sum_ += state->rtt_ns;
  window_.rtt_ns_mean = rtt_ns_sum_ / ++window_.samples;
  window_.send_buffer_bytes = state->send_buffer_bytes;
  window_.receive_buffer_bytes = state->receive_buffer_bytes;
  window_.dscp = state->dscp;
  job_.congestion.set(state->congestion);
  job_.tcp.set(window_);
  return state;
}

std::optional<TcpSample> TcpWatch::close() noexcept {
  const auto state = look();
  if (!state) return std::nullopt;
  return grown_since<TcpSample>(std::exchange(before_interval_, *state), *state);
}

void IntervalRecorder::close(std::uint64_t now, End how) noexcept {
  const std::uint64_t end = now > start_ns_ ? now - start_ns_ : 0;
  if (end <= begin_ns_) return;
  const std::uint64_t number = job_.intervals_written.load(std::memory_order_relaxed);
  const auto seconds = [](std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; };
  now_.at_seconds = seconds(end);
  now_.seconds = seconds(end - begin_ns_);
  now_.ends_at_border = how == End::border;
  if (now_.latency_count != 0) {
    now_.latency_mean_ns =
        static_cast<double>(latency_sum_) / static_cast<double>(now_.latency_count);
    now_.latency_p50_ns = static_cast<double>(percentile(50));
    now_.latency_p99_ns = static_cast<double>(percentile(99));
    now_.latency_max_ns = static_cast<double>(latency_max_);
  }
  note_cpu();
  if (tcp_ != nullptr) now_.tcp = tcp_->close();
  job_.intervals[number % kIntervalBlocks].set(now_);
  if (job_.histograms != nullptr) publish_histogram(job_.histograms[number % kHistogramBlocks]);
  job_.intervals_written.store(number + 1, std::memory_order_release);
  begin_ns_ = end;
  // The next boundary after now. A stall makes one long interval, not many empty ones.
  next_ns_ = start_ns_ + (end / length_ns_ + 1) * length_ns_;
  if (now_.latency_count != 0) counts_.fill(0);
  now_ = {};
  latency_sum_ = latency_max_ = 0;
}

void IntervalRecorder::note_cpu() noexcept {
  if (!usage_of_) return;
  const CpuTime now = cpu_time_of(*usage_of_);
  // The kernel may later count time as user that it counted as system, or the reverse. So one of
  // the two may go back a little.
  const auto grown = [](std::uint64_t to, std::uint64_t from) {
    return static_cast<double>(to - std::min(to, from)) * 1e-9;
  };
  now_.cpu_user_seconds = grown(now.user_ns, cpu_.user_ns);
  now_.cpu_system_seconds = grown(now.system_ns, cpu_.system_ns);
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
  const std::uint64_t rank = std::max<std::uint64_t>(1, (now_.latency_count * per_cent + 99) / 100);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen < rank) continue;
    if (i < (2U << kSubBits)) return std::min<std::uint64_t>(i, latency_max_);
    const std::size_t shift = (i >> kSubBits) - 1;
    const std::uint64_t min = (std::uint64_t{i} - (shift << kSubBits)) << shift;
    return std::min(min + (std::uint64_t{1} << shift) - 1, latency_max_);
  }
  return latency_max_;
}

void JobMeter::open_counters() {
  if (setup_.counters.empty()) return;
  std::vector<JobEvent> events = setup_.counters;
  if (options_.thread && has_helpers()) {
    for (JobEvent& each : events) {
      each.reason =
          "not supported: the job is a thread with helper threads "
          "(without thread, they are counted)";
    }
  }
  counting_ = std::make_unique<JobCounting>(events, job_.counters, options_.thread);
  if (job_.counter_log != nullptr) {
    counting_->log_to(*job_.counter_log, setup_.counter_interval_ns);
  }
}

void JobMeter::start(End& end, std::uint64_t start_ns) {
  tcp_.emplace(end, job_);
  recorder_.emplace(job_, start_ns, setup_.interval_ns, &*tcp_, usage_of());
  if (counting_) counting_->begin_log(start_ns, now_ns());
}

void JobMeter::close_interval(std::uint64_t now, std::optional<std::uint64_t> ended_ns) {
  if (ended_ns && (!window_is_over_ || !recorder_->is_moment(*ended_ns, now))) {
    recorder_->border(*ended_ns);
  }
  recorder_->close(now);
}

void JobMeter::close_counted_interval(std::uint64_t now, std::optional<std::uint64_t> ended_ns) {
  if (!counting_) return;
  if (ended_ns) counting_->end_window(*ended_ns);
  counting_->close_interval(now);
}

void JobMeter::begin_window(std::uint64_t at_ns) {
  tcp_->begin_window();
  if (counting_) counting_->begin_window(at_ns);
  debug(Debug::rate, [] { return "its measured window begins"; });
  usage_.emplace(options_.thread ? Usage::Of::thread : Usage::Of::process);
  recorder_->border(at_ns);
}

void JobMeter::end_window(std::uint64_t at_ns) {
  window_is_over_ = true;
  tcp_->end_window();
  if (counting_) counting_->end_window(at_ns);
  keep_usage();
}

void JobMeter::finish() {
  if (!window_is_over_) tcp_->end_window();
  if (!window_is_over_ || used_since_) keep_usage();
}

void JobMeter::keep_usage() {
  if (!usage_) return;  // the window has not begun
  if (counting_) counting_->keep();
  if (!usage_of()) return;
  job_.cpu = usage_->so_far();
  job_.cpu_known.store(true, std::memory_order_release);
}

}  // namespace shmif::perf
