#pragma once
// RunMemory: what a run's controller and its jobs see of each other.
//
// Memory that is shared across fork, so a job that was killed leaves behind all it had counted.
// Every number has one writer: (J) the job whose block it is, (R) the job that receives the flow,
// (C) the controller. Where two are named, the second writes for a first that is gone: the
// controller ends flows of jobs that were killed (what is done stays done, whoever says so), and a
// receiver the window of such a sender. The error of an emulated host is its supervisor's once what
// runs in the guest has ended. Others read it at any time, and find each number whole, though not
// all of one moment; what is final is announced by a store with release order (`state`, `tx_done`).

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "bus/result.hpp"
#include "perf/run/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/stats/period.hpp"

namespace shmif::perf {

/// Nanoseconds of CLOCK_MONOTONIC, the clock of all times in here.
std::uint64_t now_ns() noexcept;

/// An option's time in the unit of all times in here; none is negative.
inline std::uint64_t ns(std::chrono::nanoseconds time) noexcept {
  return time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
}

/// A number with one writer.
class Tally {
 public:
  void add(std::uint64_t n) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(std::uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A short text with one writer, who writes it once.
template <std::size_t N>
class SharedText {
 public:
  /// Only the first text stays.
  void set(std::string_view text) noexcept {
    if (length_.load(std::memory_order_relaxed) != 0 || text.empty()) return;
    const std::size_t length = text.copy(text_.data(), N);
    length_.store(static_cast<std::uint32_t>(length), std::memory_order_release);
  }
  std::string get() const { return {text_.data(), length_.load(std::memory_order_acquire)}; }
  bool empty() const noexcept { return length_.load(std::memory_order_acquire) == 0; }

 private:
  std::atomic<std::uint32_t> length_{0};
  std::array<char, N> text_;
};

/// What the controller wants of a job.
enum class Order : std::uint32_t {
  wait,        ///< do nothing yet
  initialise,  ///< open devices, fill buffers
  go,          ///< begin at `start_ns`
  stop,        ///< send no more, drain, finish
  abandon,     ///< end at once
};

/// What a receiver counts of one flow. Frames of the measured window, but for `all`.
struct FlowArrivals {  // (R)
  Tally received;      ///< each once
  Tally all_received;
  Tally lost_so_far;
  Tally all_judged;  ///< `all_sent` when the receiver stopped listening; of replies, EchoBlock's
  Tally lost;        ///< when complete
  Tally duplicates, reordered, late, unverified;
  /// Till it is complete each damaged frame that came, then the fates of those that were sent, and
  /// the damaged copies beside them.
  Tally corrupt, truncated, corrupt_copies, truncated_copies;
  Tally last_arrival_ns;
  std::atomic<bool> complete{false};  ///< release: the receiver has said all it knows
  Tally jitter_ps;                    ///< and one more; 0: not known
  std::array<std::array<std::uint64_t, 2>, 16> gaps;
  Tally gap_count;
};

/// Counts of one flow, from job number `flow` to its receiver; of a job that asks, its sending, and
/// the replies that came back.
struct FlowBlock : FlowArrivals {
  // (J) of the sender.
  std::atomic<std::uint64_t> measure_from_ns{0};  ///< intended times from here on are measured
  std::atomic<std::uint64_t> window_end_ns{0};  ///< (J, R) when the last frame had gone; 0: not yet
  Tally rate_end_ns;  ///< up to when rates count: the last frame's time lasts until the next is due
  std::atomic<bool> tx_done{false};  ///< (J, C) release: the counts of the sender are final
  Tally first;      ///< the first number; not 0 where an earlier run is gone on with
  Tally all_sent;   ///< one more than the last number used
  Tally ramp_sent;  ///< of these, before the window
  std::atomic<bool> drained{false};  ///< (R, C) nothing more is waited for
};

/// Of a job that asks: what the one that echoes (E) knows of its requests and their replies.
struct EchoBlock {
  FlowArrivals requests;
  /// (E) Requests that were answered, each once: what the flow of replies has sent.
  ByPeriod<Tally> replies;
};

/// What a job sends in one period, and what happens to it meanwhile.
struct SentCounts {
  Tally frames, bytes, offered_frames, offered_bytes, skipped, refused, batches, errors;
};
/// What a job receives in one period, and what happens to it meanwhile.
struct ReceivedCounts {
  Tally frames, bytes, foreign, stale, batches, errors, overruns, overrun_frames;
};

/// What a job did in one interval. Written by it, read by the controller once `written` counts it.
struct IntervalBlock {
  Tally begin_ns, end_ns;  // from the start of those that began with it
  Tally tx_frames, tx_bytes, rx_frames, rx_bytes, lost_frames, overruns;
  Tally latency_count, latency_sum_ns, latency_p50_ns, latency_p99_ns, latency_max_ns;
  // Of a TCP connection; the segment size is 0 where the kernel did not say.
  Tally tcp_retransmits, tcp_rtt_ns, tcp_rttvar_ns, tcp_cwnd_bytes, tcp_mss_bytes, tcp_pmtu_bytes;
  Tally ends_at_border;  // 1: a border of the measured window ended it before its time
};
inline constexpr std::size_t kIntervalBlocks = 256;

/// The latencies of an interval, for write_hist_log. Bins are those of fio: value v lies in bin v
/// below 128, and above that in one of 64 to each power of two. The last one has all from 17 s.
inline constexpr std::size_t kHistogramBins = 1856;
using HistogramBlock = std::array<std::atomic<std::uint32_t>, kHistogramBins>;
/// Of interval number n, n % kHistogramBlocks is its place.
inline constexpr std::size_t kHistogramBlocks = 64;

/// A job's TCP connection (J), as it was when the job looked last.
struct TcpBlock {
  Tally retransmits, mss_bytes, pmtu_bytes, cwnd_bytes_max;
  Tally rtt_ns_min, rtt_ns_max, rtt_ns_sum, samples;  ///< 0 samples: nothing is known
  Tally send_buffer_bytes, receive_buffer_bytes, dscp;
  SharedText<16> congestion;
};

struct JobBlock {
  std::atomic<Order> order{Order::wait};                 // (C)
  std::atomic<JobState> state{JobState::not_created};    // (J) release
  std::atomic<std::uint64_t> start_ns{0};                // (C) before Order::go
  std::atomic<bool> save_state{false};                   // (C) before Order::stop: of a trigger
  std::atomic<bool> failed{false};                       // (J)
  SharedText<480> error;                                 // (J) the first
  SharedText<240> warning;                               // (J) before Order::go
  SharedText<128> address;                               // (J)
  std::atomic<bool> on_bus{false};                       // (J) of a host: its port hears others
  std::atomic<std::uint64_t> start_skew_ns{UINT64_MAX};  // (J) UINT64_MAX: not begun

  // (J) Counts of each period.
  ByPeriod<SentCounts> sent;
  ByPeriod<ReceivedCounts> received;
  // (J) Of the whole job: what is compared with the medium's counts, and shown meanwhile. Those of
  // `received` are probes of its flows, and these all frames.
  Tally all_tx_frames, all_tx_bytes, all_rx_frames, all_rx_bytes, all_foreign;
  SharedText<160> first_tx_error, first_rx_error;  // (J) of the window
  std::atomic<bool> measuring{false};              // (J) the first of its windows has begun
  std::atomic<std::uint64_t> window_begin_ns{0}, window_end_ns{0};
  Tally offered_until_ns;  // (J) by the pace, up to when it has offered
  std::atomic<bool> trigger_hit{false};

  void note_tx_error(Period period, std::error_code why) noexcept;
  void note_rx_error(Period period, std::error_code why) noexcept;

  // Written at the end (J).
  struct OptionalCount {
    Tally value;
    std::atomic<bool> known{false};
    void set(std::uint64_t count) noexcept {
      value.set(count);
      known.store(true, std::memory_order_release);
    }
    std::optional<std::uint64_t> get() const noexcept {
      if (!known.load(std::memory_order_acquire)) return std::nullopt;
      return value.get();
    }
  };
  OptionalCount wire_tx_frames, wire_tx_bytes, wire_rx_frames, wire_rx_bytes, wire_lost_frames,
      wire_overruns, wire_dropped_frames;
  /// Of an emulated host: by its kernel, between the job and its interface.
  OptionalCount kernel_tx_drops, kernel_rx_drops;
  /// Of an emulated host, over the measured window: of its port, which the job does not see.
  OptionalCount port_overruns, port_lost_frames;
  Tally wire_foreign;  ///< of an emulated host: what passed its port and was not the job's
  CpuResult cpu;
  std::atomic<bool> cpu_known{false};
  FaultsMade faults_sent, faults_received;
  std::atomic<bool> has_faults_sent{false}, has_faults_received{false};

  // (J) The newest intervals; of each, number % kIntervalBlocks is its place.
  std::atomic<std::uint64_t> intervals_written{0};  // release
  std::array<IntervalBlock, kIntervalBlocks> intervals;
  HistogramBlock* histograms = nullptr;  // (J) kHistogramBlocks of them; null: nobody asked
  TcpBlock tcp;

  // (J) Times of measured frames; see LatencyHistogram for who may read when.
  LatencyHistogram latency, service, spacing_error;
};

/// Threads: any. Blocks: never.
class RunMemory {
 public:
  /// Errors: the system's, when there is no memory.
  /// `with_histograms`: the jobs with a write_hist_log.
  static Result<std::unique_ptr<RunMemory>> create(
      std::size_t jobs, std::span<const std::size_t> with_histograms = {});
  RunMemory(const RunMemory&) = delete;
  RunMemory& operator=(const RunMemory&) = delete;
  ~RunMemory();

  std::size_t size() const noexcept { return jobs_.size(); }
  JobBlock& job(std::size_t i) noexcept { return jobs_[i]; }
  FlowBlock& flow(std::size_t i) noexcept { return flows_[i]; }
  EchoBlock& echo(std::size_t i) noexcept { return echoes_[i]; }  ///< of job `i`, which asks

 private:
  RunMemory(void* memory, std::size_t bytes, std::size_t jobs);
  void* memory_;
  std::size_t bytes_;
  std::span<JobBlock> jobs_;
  std::span<FlowBlock> flows_;
  std::span<EchoBlock> echoes_;
};

}  // namespace shmif::perf
