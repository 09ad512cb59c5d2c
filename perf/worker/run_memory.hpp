#pragma once
// RunMemory: the memory in which a run's controller and its jobs see each other's state.
//
// The memory is shared across fork, so the counts of a killed job remain. Every number has one
// writer: (J) the job that owns the block, (R) the job that receives the flow, (C) the controller.
// Where two writers are named, the second writes in place of the first when the first is gone: the
// controller ends the flows of killed jobs (`tx_done` and `drained` never go back), and a receiver
// ends the window of a killed sender. The error of an emulated host is written by its supervisor
// once the program in the guest has ended. Others may read at any time. Each number is whole, but
// two numbers may be of different moments. A store with release order announces final numbers
// (`state`, `tx_done`).

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "instruments/watch/clock.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/figure.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/stats/period.hpp"

namespace shmif::perf {

/// Numbers that different processes write with each batch are not on one cache line: each would
/// wait for the other.
inline constexpr std::size_t kCacheLineBytes = 64;

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

/// The figures of a T (its rows with numbers) with one writer. Each is whole, but two may be of
/// different moments. Before set(), counts are 0, and optional counts are empty.
template <class T>
class SharedFigures {
 public:
  void set(const T& of) noexcept {
    std::size_t i = 0;
    for_each_member<T>([&](const auto&, auto member) { write(values_[i++], of.*member); });
  }
  T get() const noexcept {
    T of;
    std::size_t i = 0;
    for_each_member<T>([&](const auto&, auto member) { read(values_[i++], of.*member); });
    return of;
  }

  /// Which figure; found while the program is compiled. A member without a row does not compile.
  class Count {
   public:
    // NOLINTNEXTLINE(google-explicit-constructor): counts[&T::frames] reads as an index
    consteval Count(std::uint64_t T::* count) : at_(place_of(count)) {}

   private:
    friend SharedFigures;
    std::size_t at_;
  };
  /// One figure, to count while others read.
  Tally& operator[](Count which) noexcept { return values_[which.at_]; }
  const Tally& operator[](Count which) const noexcept { return values_[which.at_]; }

 private:
  static consteval std::size_t place_of(std::uint64_t T::* count) {
    std::size_t i = 0, found = kRowsOf<T>.size();
    for_each_member<T>([&](const auto&, auto member) {
      if constexpr (std::is_same_v<decltype(member), std::uint64_t T::*>) {
        if (member == count) found = i;
      }
      ++i;
    });
    if (found == kRowsOf<T>.size()) throw "the member has no row";
    return found;
  }

  static void write(Tally& to, std::uint64_t value) noexcept { to.set(value); }
  static void write(Tally& to, double value) noexcept {
    to.set(std::bit_cast<std::uint64_t>(value));
  }
  static void write(Tally& to, bool value) noexcept { to.set(value ? 1 : 0); }
  static void write(Tally& to, std::optional<std::uint64_t> value) noexcept {
    to.set(value ? *value + 1 : 0);
  }
  static void write(Tally& to, std::optional<double> value) noexcept {
    write(to, value.value_or(std::numeric_limits<double>::quiet_NaN()));
  }
  static void write(Tally&, const std::string&) noexcept {}
  static void read(const Tally& from, std::uint64_t& value) noexcept { value = from.get(); }
  static void read(const Tally& from, double& value) noexcept {
    value = std::bit_cast<double>(from.get());
  }
  static void read(const Tally& from, bool& value) noexcept { value = from.get() != 0; }
  static void read(const Tally& from, std::optional<std::uint64_t>& value) noexcept {
    const std::uint64_t plus_1 = from.get();
    value = plus_1 == 0 ? std::nullopt : std::optional(plus_1 - 1);
  }
  static void read(const Tally& from, std::optional<double>& value) noexcept {
    const auto number = std::bit_cast<double>(from.get());
    value = std::isnan(number) ? std::nullopt : std::optional(number);
  }
  static void read(const Tally&, std::string&) noexcept {}

  std::array<Tally, kRowsOf<T>.size()> values_;
};

/// A short text with one writer, which writes it once.
template <std::size_t N>
class SharedText {
 public:
  /// Only the first text is kept.
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

/// What the controller orders a job to do.
enum class Order : std::uint32_t {
  wait,        ///< do nothing yet
  initialise,  ///< open devices, fill buffers
  go,          ///< begin at `start_ns`
  stop,        ///< send no more, drain, finish
  abandon,     ///< end at once
};

/// What a receiver counts of one flow. All but `all_...` count frames of the measured window.
struct FlowArrivals {  // (R)
  Tally received;      ///< each frame once
  Tally all_received;
  Tally lost_so_far;
  /// `all_lost_so_far`: frames that are missing so far; a frame that arrived damaged, or was not
  /// checked, is not missing. `all_unanswered`, for requests: those that did not arrive whole, and
  /// so were not answered.
  Tally all_lost_so_far, all_unanswered;
  /// `all_sent` when the receiver stopped listening; for replies, the count in the EchoBlock.
  Tally all_judged;
  Tally lost;  ///< valid when complete
  Tally duplicates, reordered, late, unverified;
  /// Until `complete`, the first two count every damaged frame that arrived. After that, they count
  /// the frames that were sent and that arrived only damaged; the last two count the damaged
  /// copies.
  Tally corrupt, truncated, corrupt_copies, truncated_copies;
  Tally first_arrival_ns, last_arrival_ns;
  /// FlowResult::corrupt_apart and truncated_apart; and when the receiver stopped listening, 0: not
  /// yet. Only if the sender is on another server.
  Tally corrupt_apart, truncated_apart, listened_until_ns;
  Tally first_number, end_number;  ///< HalfFlow::first_number and end_number, likewise
  /// Transit times of the first and the last frame that arrived.
  Tally first_transit_ns, last_transit_ns;
  std::atomic<bool> complete{false};  ///< release: the receiver has written all its counts
  Tally jitter_ps;                    ///< plus 1; 0: not known
  std::array<std::array<std::uint64_t, 2>, 16> gaps;
  Tally gap_count;
};

/// When a sender had sent how many frames (J), as exactly as there is room: first of each batch,
/// later of every second one, and so on.
class SentLog {
 public:
  /// Notes that `frames` frames were sent before `time_ns`, and all others later.
  void note(std::uint64_t time_ns, std::uint64_t frames) noexcept {
    if (frames < next_) return;
    std::size_t count = count_.load(std::memory_order_relaxed);
    if (count == marks_.size()) count = thin_out();
    put(count, time_ns, frames);
    count_.store(count + 1, std::memory_order_release);
    next_ = frames + step_;
  }
  /// Each of them is true, also if the job was killed while it noted one.
  std::vector<SentMark> marks() const;

 private:
  struct Mark {
    std::atomic<std::uint64_t> time_ns{0}, frames{0};
  };
  /// If the job is killed in between, the mark says that more frames had been sent, never fewer.
  void put(std::size_t i, std::uint64_t time_ns, std::uint64_t frames) noexcept {
    marks_[i].frames.store(frames, std::memory_order_relaxed);
    marks_[i].time_ns.store(time_ns, std::memory_order_release);
  }
  std::size_t thin_out() noexcept {
    const std::size_t half = marks_.size() / 2;
    for (std::size_t i = 1; i < half; ++i) {
      put(i, marks_[2 * i].time_ns.load(std::memory_order_relaxed),
          marks_[2 * i].frames.load(std::memory_order_relaxed));
    }
    step_ *= 2;
    count_.store(half, std::memory_order_release);
    return half;
  }
  std::array<Mark, 1024> marks_{};
  std::atomic<std::size_t> count_{0};
  std::uint64_t next_ = 0, step_ = 1;
};

/// Counts of one flow, from job number `flow` to its receiver. For a pingpong job, they are about
/// its requests, and the replies that came back.
struct FlowBlock : FlowArrivals {
  // (J) of the sender.
  std::atomic<std::uint64_t> measure_from_ns{0};  ///< intended times from here on are measured
  /// (J, R) when the last frame was sent; 0: not yet
  std::atomic<std::uint64_t> window_end_ns{0};
  /// End of the time for rates: a frame takes its time until the next one is due
  Tally rate_end_ns;
  std::atomic<bool> tx_done{false};  ///< (J, C) release: the counts of the sender are final
  Tally first;                       ///< the first number; not 0 if an earlier run is continued
  std::atomic<bool> drained{false};  ///< (R, C) the receiver has stopped waiting for frames
  SentLog* sent_log = nullptr;       ///< null: the receiver is not on another server
  /// (C) How many frames the sender, on another server, has sent in all; UINT64_MAX: not known yet
  std::atomic<std::uint64_t> far_sent{UINT64_MAX};
  // The sender writes these with each batch. The receiver reads those above with each batch, and
  // would otherwise wait for their cache line.
  alignas(kCacheLineBytes) Tally all_sent;  ///< one more than the last number used
  Tally ramp_sent;                          ///< how many of these were sent before the window
};

/// For a pingpong job: what the echo job (E) knows about its requests and their replies.
struct EchoBlock {
  FlowArrivals requests;
  /// (E) Requests that were answered, each counted once. The flow of replies has sent this many.
  ByPeriod<Tally> replies;
};

/// What a job sends in one period, and its errors. Every count of TrafficResult has its place;
/// times and texts are elsewhere in the JobBlock.
using SentCounts = SharedFigures<TrafficResult>;
/// What a job receives in one period, and its errors.
struct ReceivedCounts : SharedFigures<TrafficResult> {
  Tally overruns, overrun_frames;
};

/// What a job did in one interval. The job writes it. The controller reads it once `written` counts
/// it. The times are since the common start of the job's batch.
class IntervalBlock {
 public:
  void set(const IntervalResult& interval) noexcept {
    figures_.set(interval);
    has_tcp_.set(interval.tcp ? 1 : 0);
    if (interval.tcp) tcp_.set(*interval.tcp);
  }
  IntervalResult get() const noexcept {
    IntervalResult interval = figures_.get();
    if (has_tcp_.get() != 0) interval.tcp = tcp_.get();
    return interval;
  }

 private:
  SharedFigures<IntervalResult> figures_;
  Tally has_tcp_;
  SharedFigures<TcpSample> tcp_;
};
inline constexpr std::size_t kIntervalBlocks = 256;

/// The latencies of an interval, for write_hist_log. The bins are fio's: a value v below 128 is in
/// bin v; above, each power of two has 64 bins. The last bin has all values from 17 s.
inline constexpr std::size_t kHistogramBins = 1856;
using HistogramBlock = std::array<std::atomic<std::uint32_t>, kHistogramBins>;
/// Interval number n is at index n % kHistogramBlocks.
inline constexpr std::size_t kHistogramBlocks = 64;

/// A job counts at most this many events.
inline constexpr std::size_t kMaxCounters = 16;
/// An event of a job (J), counted over the measured window so far.
struct CounterBlock {
  std::atomic<bool> measured{false};
  std::atomic<bool> user_space{false};  ///< counted in user space only: the kernel permits no more
  Tally value, enabled_ns, running_ns;
  SharedText<240> reason;  ///< why it is not counted
};

/// What a job counted in one interval. The job writes it. The controller reads it once `written`
/// counts it.
struct CounterIntervalBlock {
  struct Event {
    Tally value, enabled_ns, running_ns;
  };
  Tally begin_ns, end_ns;  // since the common start of the job's batch
  Tally counted;           // bit n: event number n was counted
  std::array<Event, kMaxCounters> events;
};
inline constexpr std::size_t kCounterIntervals = 64;
/// The newest intervals (J). Interval number n is at index n % kCounterIntervals.
struct CounterLog {
  std::atomic<std::uint64_t> written{0};  // release
  std::array<CounterIntervalBlock, kCounterIntervals> intervals;
};

/// The errors of one class, from the beginning of the window on.
struct ErrorBlock {
  Tally count;
  SharedText<160> first;
};

/// The class of an error of a send: lock, if other ports hold the lock or the space of the ring.
ErrorClass class_of_send_error(std::error_code why) noexcept;

struct alignas(kCacheLineBytes) JobBlock {
  std::atomic<Order> order{Order::wait};                 // (C)
  std::atomic<JobState> state{JobState::not_created};    // (J) release
  std::atomic<std::uint64_t> start_ns{0};                // (C) before Order::go
  std::atomic<bool> save_state{false};                   // (C) before Order::stop: a trigger fired
  std::atomic<bool> failed{false};                       // (J)
  SharedText<480> error;                                 // (J) the first error
  SharedText<240> warning;                               // (J) before Order::go
  SharedText<160> notice;                                // (J) before Order::go
  SharedText<128> address;                               // (J)
  std::atomic<bool> on_bus{false};                       // (J) of a host: its port receives frames
  std::atomic<std::uint64_t> start_skew_ns{UINT64_MAX};  // (J) UINT64_MAX: not started

  // (J) Counts for each period.
  ByPeriod<SentCounts> sent;
  ByPeriod<ReceivedCounts> received;
  // (J) Counts of the whole job, to compare with the medium's counts and to show during the run.
  // These count all frames; `received` counts only probes of the job's flows.
  Tally all_tx_frames, all_tx_bytes, all_rx_frames, all_rx_bytes, all_foreign;
  SharedText<160> first_tx_error, first_rx_error;                // (J) in the window
  std::array<ErrorBlock, kErrorClasses.size()> errors_by_class;  // (J) indexed by ErrorClass
  std::atomic<bool> overruns_are_errors{false};                  // (J) senders wait for receivers
  std::atomic<bool> measuring{false};                            // (J) its first window has begun
  std::atomic<std::uint64_t> window_begin_ns{0}, window_end_ns{0};
  Tally offered_until_ns;  // (J) by the pace: the end of the time for which it has offered frames
  std::atomic<bool> trigger_hit{false};

  /// Counts a failed call to send: in its class (tx or lock), and in `sent`.
  void note_tx_error(Period period, std::error_code why) noexcept;
  /// A call to receive that failed.
  void note_rx_error(Period period, std::error_code why) noexcept;
  /// Counts an error of the window, and keeps the first text of each class.
  void note_error(ErrorClass of, Period period, std::string_view what) noexcept;

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
  SharedFigures<WireCounters> wire;
  /// For an emulated host: frames that its kernel dropped between the job and its interface.
  OptionalCount kernel_tx_drops, kernel_rx_drops;
  /// For an emulated host, over the measured window: counts of its port, which the job itself does
  /// not see.
  OptionalCount port_overruns, port_lost_frames;
  OptionalCount unread_frames;  ///< End::unread() when the receiver ended
  Tally wire_foreign;           ///< for an emulated host: other frames that passed its port
  CpuResult cpu;
  std::atomic<bool> cpu_known{false};
  FaultsMade faults_sent, faults_received;
  std::atomic<bool> has_faults_sent{false}, has_faults_received{false};
  /// For an emulated host: the counts of the wire are those between the job and its faults.
  std::atomic<bool> faults_on_wire{false};

  // (J) The newest intervals. Interval number n is at index n % kIntervalBlocks.
  std::atomic<std::uint64_t> intervals_written{0};  // release
  std::array<IntervalBlock, kIntervalBlocks> intervals;
  HistogramBlock* histograms = nullptr;  // (J) kHistogramBlocks of them; null if not asked for
  // (J) The TCP connection as the job saw it last; with 0 samples, it is not known.
  SharedFigures<TcpResult> tcp;
  SharedText<16> congestion;
  std::array<CounterBlock, kMaxCounters> counters;  // (J) in the order of the option `counters`
  CounterLog* counter_log = nullptr;                // (J) null if no events are counted

  // (J) Times of measured frames. LatencyHistogram says who may read them when.
  LatencyHistogram latency, service, spacing_error;
};

/// Threads: any. Blocks: never.
class RunMemory {
 public:
  /// Errors: an errno, if there is no memory. `with_histograms`: the jobs with a
  /// write_hist_log. `with_counters`: those with the option `counters`. `with_sent_logs`: those
  /// that send to another server.
  static Result<std::unique_ptr<RunMemory>> create(
      std::size_t jobs, std::span<const std::size_t> with_histograms = {},
      std::span<const std::size_t> with_counters = {},
      std::span<const std::size_t> with_sent_logs = {});
  RunMemory(const RunMemory&) = delete;
  RunMemory& operator=(const RunMemory&) = delete;
  ~RunMemory() = default;

  JobBlock& job(std::size_t i) noexcept { return jobs_[i]; }
  FlowBlock& flow(std::size_t i) noexcept { return flows_[i]; }
  EchoBlock& echo(std::size_t i) noexcept { return echoes_[i]; }  ///< `i`: a pingpong job

 private:
  RunMemory(base::SharedMemory memory, std::size_t jobs);
  base::SharedMemory memory_;
  std::span<JobBlock> jobs_;
  std::span<FlowBlock> flows_;
  std::span<EchoBlock> echoes_;
};

}  // namespace shmif::perf
