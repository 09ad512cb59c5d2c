#pragma once
// RunResult: everything that a run found out. perf/control/ makes it, perf/report/ turns it into
// JSON, and every other output is made from that JSON.
//
// A figure that was not measured is empty (std::nullopt, an empty histogram), never 0.

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instruments/why/cause.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "perf/stats/figure.hpp"
#include "perf/stats/latency_histogram.hpp"

namespace shmif::perf {

/// In the order in which a job passes through them.
enum class JobState : std::uint8_t {
  not_created,
  created,
  initialised,
  ramp,
  running,
  draining,
  verifying,
  finishing,
  exited,
  reaped,
};
/// "running"; and the letter that the progress line shows.
const char* name_of(JobState state) noexcept;
char letter_of(JobState state) noexcept;

/// One direction of a job over its measured window, as period_of() defines it. Only `ramp_frames`
/// counts frames of the ramp.
struct TrafficResult {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;  ///< divisor of rates; 0: no window
  std::uint64_t offered_frames = 0, offered_bytes = 0;
  double offered_seconds = 0;  ///< divisor of offered rates
  bool paced = false;
  std::optional<std::uint64_t> catchup_tolerance_ns;
  std::uint64_t skipped_frames = 0, refused_frames = 0;
  std::uint64_t batches = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  std::uint64_t ramp_frames = 0;
  std::uint64_t foreign_frames = 0, stale_frames = 0;
  std::uint64_t begin_ns = 0, end_ns = 0;  ///< of the window, on CLOCK_MONOTONIC; 0: no window
  /// For a program (exec): frames and bytes are those that passed its port; the rest is not known.
  bool of_program = false;
};
/// `amount` in each second; empty if there was no time.
inline std::optional<double> per_second(double amount, double seconds) noexcept {
  return seconds > 0 ? std::optional(amount / seconds) : std::nullopt;
}
inline constexpr Places kBothWays = kOfSender | kOfReceiver;
template <>
inline constexpr auto kRowsOf<TrafficResult> = rows_of<TrafficResult>({
    {"frames", &TrafficResult::frames, Sum::add, kBothWays | kOfProgram,
     "In the measured window, ramp_time excluded.", column("frames")},
    {"bytes", &TrafficResult::bytes, Sum::add, kBothWays | kOfProgram,
     "Of those frames, without FCS.", column("bytes", Format::bytes)},
    {"rate_fps",
     [](const TrafficResult& t) { return per_second(static_cast<double>(t.frames), t.seconds); },
     Sum::none, kBothWays | kOfProgram | kMoreIsBetter, "Frames per second.",
     column("rate", Format::fps)},
    {"rate_bps",
     [](const TrafficResult& t) { return per_second(static_cast<double>(t.bytes) * 8, t.seconds); },
     Sum::none,
     kBothWays | kOfProgram,
     "Bits of frames without FCS per second.",
     {.title = "", .page = "bit rate", .format = Format::bps}},
    {"offered_fps",
     [](const TrafficResult& t) {
       return per_second(static_cast<double>(t.offered_frames), t.offered_seconds);
     },
     Sum::none, kOfSender,
     "The pace that was asked for: offered_frames / offered_seconds. Without a pace, what was "
     "sent.",
     column("offered", Format::fps)},
    {"offered_bps",
     [](const TrafficResult& t) {
       return per_second(static_cast<double>(t.offered_bytes) * 8, t.offered_seconds);
     },
     Sum::none,
     kOfSender,
     nullptr,
     {.title = "", .page = "offered bit rate", .format = Format::bps}},
    {"seconds", &TrafficResult::seconds, Sum::none, kBothWays | kOfProgram,
     "The window: what rate_fps and rate_bps are divided by.", column("over", Format::seconds)},
    {"batches",
     &TrafficResult::batches,
     Sum::add,
     kBothWays,
     "Calls that moved at least one frame of the window.",
     {.title = "batches"}},
    {"refused_frames", &TrafficResult::refused_frames, Sum::add, kOfSender,
     "How often the engine took a frame only later.", column("refused")},
    {"skipped_frames", &TrafficResult::skipped_frames, Sum::add, kOfSender,
     "Given up by rate_catchup=skip.", column("skipped")},
    {"errors",
     &TrafficResult::errors,
     Sum::add,
     kBothWays,
     "Of calls, from the beginning of the window on.",
     {.page = "errors", .bad = true}},
    {"foreign_frames",
     &TrafficResult::foreign_frames,
     Sum::add,
     kOfReceiver,
     "Were no probes of shmifperf: ARP, neighbour discovery, pings, ...; from the beginning of the "
     "window on.",
     {.page = "foreign"}},
    {"stale_frames", &TrafficResult::stale_frames, Sum::add, kOfReceiver,
     "Probes of another run; from the beginning of the window on."},
    {"first_error", &TrafficResult::first_error, Sum::first, kBothWays | kOfProgram},
    {"ramp_frames", &TrafficResult::ramp_frames, Sum::add, kBothWays,
     "Before the window. In no other figure but `counts` and `intervals`, which are of the whole "
     "job."},
    {"offered_frames", &TrafficResult::offered_frames, Sum::add, kOfSender,
     "What the pace asked for, sent or not."},
    {"offered_bytes", &TrafficResult::offered_bytes, Sum::add, kOfSender},
    // The longest time of all jobs counts.
    {"offered_seconds", &TrafficResult::offered_seconds, Sum::greatest, kOfSender | kZeroIsNone,
     "The time that the pace had for offered_frames; shorter than seconds where a job with a limit "
     "in frames or bytes did not keep its pace."},
    {"paced", &TrafficResult::paced, Sum::any, kOfSender,
     "Whether there is a pace: rate, rate_iops or the times of a capture. Where less than 99 % of "
     "it left, a warning says so."},
    {"catchup_tolerance_ns", &TrafficResult::catchup_tolerance_ns, Sum::none,
     kOfSender | kOfProgram,
     "With rate_catchup=limited and skip: a frame that is less late than that is in no stall, and "
     "goes. null: rate_catchup=burst, or no pace."},
    {"of_program", &TrafficResult::of_program, Sum::any},
});

/// What happened to the frames of one flow, from one sender to one receiver. Each frame has exactly
/// one fate: sent = received + lost + corrupt + truncated + late + cancelled + unverified.
/// Additional copies are counted separately and change no fate.
struct FlowResult {
  enum class Kind : std::uint8_t {
    data,
    request,  ///< from a pingpong job to an echo job
    reply,    ///< back to the pingpong job
  };
  std::uint32_t flow = 0;
  Kind kind = Kind::data;
  std::string from, to;  ///< job names
  std::uint64_t sent = 0;
  std::uint64_t received = 0, lost = 0, corrupt = 0, truncated = 0, late = 0, cancelled = 0,
                unverified = 0;
  std::uint64_t duplicates = 0, corrupt_copies = 0, truncated_copies = 0;
  std::uint64_t reordered = 0;  ///< among the received ones
  /// More frames received than sent, by the sender's count: the sender was killed before it could
  /// count its last batch, or a count is wrong. Losses are then not known. Only
  /// FlowReceiver::result() sets it; in the result of a run, the uncounted frames of a killed
  /// sender are added to `sent`.
  std::uint64_t unexplained = 0;
  /// Among the damaged copies: those whose numbers the receiver does not know, or does not know to
  /// have been sent. Each may be the fate of a frame.
  std::uint64_t corrupt_apart = 0, truncated_apart = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> gaps;  ///< the first ones, [from, to)
  std::optional<double> jitter_ns;
  bool verification_complete = true;
  /// Adds the figures of another flow. Names, gaps and `unexplained` stay as they are.
  FlowResult& operator+=(const FlowResult& other);
};
template <>
inline constexpr auto kRowsOf<FlowResult> = rows_of<FlowResult>({
    {"sent_frames", &FlowResult::sent, Sum::add, kInResult,
     "Of the window, by intended time. Of replies: requests that were answered.", column("sent")},
    {"received_frames", &FlowResult::received, Sum::add, kInResult, "Each once.",
     column("received")},
    {"lost_frames", &FlowResult::lost, Sum::add, kInResult,
     "Did not come. sent is the sum of received, lost, corrupt, truncated, late, cancelled and "
     "unverified.",
     bad_column("lost")},
    {"lost_share",
     [](const FlowResult& f) {
       return per_second(static_cast<double>(f.lost), static_cast<double>(f.sent));
     },
     Sum::none,
     kInResult | kLessIsBetter,
     "lost / sent.",
     {.title = "", .page = "lost share", .format = Format::share}},
    {"duplicate_frames", &FlowResult::duplicates, Sum::add, kInResult,
     "Whole copies that came of frames which had come.", bad_column("duplicate")},
    {"reordered_frames", &FlowResult::reordered, Sum::add, kInResult,
     "Came after one that was sent later (RFC 4737).", bad_column("reordered")},
    {"corrupt_frames", &FlowResult::corrupt, Sum::add, kInResult,
     "Came with a byte that was not sent, and in no copy whole.", bad_column("corrupt")},
    {"truncated_frames", &FlowResult::truncated, Sum::add, kInResult,
     "Came without their end, and in no copy whole.", bad_column("truncated")},
    {"late_frames", &FlowResult::late, Sum::add, kInResult, "Came after drain_time.",
     column("late")},
    {"cancelled_frames", &FlowResult::cancelled, Sum::add, kInResult,
     "Sent to a receiver that had ended, or was killed.", column("cancelled")},
    {"unverified_frames", &FlowResult::unverified, Sum::add, kInResult,
     "Came, and were not checked when time ran out.", bad_column("unverified")},
    {"corrupt_copies", &FlowResult::corrupt_copies, Sum::add, kInResult,
     "Damaged copies beside the fates: of a frame that came whole, or damaged before."},
    {"truncated_copies", &FlowResult::truncated_copies, Sum::add, kInResult},
    {"jitter_ns", &FlowResult::jitter_ns, Sum::greatest, kInResult | kHasMedian,
     "RFC 3550, section 6.4.1; of several flows the greatest.", column("jitter", Format::ns)},
    {"verification_complete", &FlowResult::verification_complete, Sum::all, kInResult},
});

const char* word_of(FlowResult::Kind kind) noexcept;

/// The three counts of a job side by side. They include the frames of the ramp and foreign ones,
/// because the medium counts the whole job and knows no window.
struct CountsResult {
  std::uint64_t generator_tx = 0, receiver_rx = 0;
  WireCounters wire;
  std::uint64_t receiver_foreign = 0;
  std::uint64_t receiver_others = 0;  ///< among receiver_rx: not of its flows
  /// Empty: the engine keeps no counts, or does not know how many frames were lost.
  std::optional<bool> agree;
};
template <>
inline constexpr auto kRowsOf<CountsResult> = rows_of<CountsResult>({
    {"generator_tx_frames", &CountsResult::generator_tx, Sum::none, kInResult,
     "What this job sent."},
    {"receiver_rx_frames", &CountsResult::receiver_rx, Sum::none, kInResult,
     "What this job received."},
    {"receiver_foreign_frames", &CountsResult::receiver_foreign, Sum::none, kInResult,
     "Received frames that are not probes. For an emulated host it also counts other frames that "
     "passed its port in either direction, such as address resolution; these are in the bytes of "
     "the medium, but not in receiver_rx_frames, wire_tx_frames and wire_rx_frames."},
});

struct CpuResult {
  double user_seconds = 0, system_seconds = 0;
  std::uint64_t voluntary_switches = 0, involuntary_switches = 0;
  std::uint64_t minor_faults = 0, major_faults = 0;
  std::uint64_t frames = 0;  ///< sent and received in this time; only where a report needs them
  CpuResult& operator+=(const CpuResult& other) noexcept;
};
template <>
inline constexpr auto kRowsOf<CpuResult> = rows_of<CpuResult>({
    {"user_seconds", &CpuResult::user_seconds, Sum::add, kInResult | kHasMedian, nullptr,
     column("user", Format::seconds)},
    {"system_seconds", &CpuResult::system_seconds, Sum::add, kInResult | kHasMedian, nullptr,
     column("system", Format::seconds)},
    {"frames_per_busy_second",
     [](const CpuResult& c) {
       return per_second(static_cast<double>(c.frames), c.user_seconds + c.system_seconds);
     },
     Sum::none,
     kInResult,
     "Frames sent and received per second of CPU time.",
     {.title = "frames/CPU-s", .page = "frames per CPU-s", .format = Format::fps}},
    {"voluntary_switches", &CpuResult::voluntary_switches, Sum::add, kInResult,
     "Times it went to sleep.", column("slept")},
    {"involuntary_switches", &CpuResult::involuntary_switches, Sum::add, kInResult,
     "Times it was taken off its CPU.", column("interrupted")},
    {"minor_faults", &CpuResult::minor_faults, Sum::add, kInResult, nullptr, {.title = "faults"}},
    {"major_faults",
     &CpuResult::major_faults,
     Sum::add,
     kInResult,
     nullptr,
     {.title = "major faults"}},
});

/// The TCP connection of a job of engine=host with proto=tcp, over the run.
struct TcpResult {
  std::uint64_t retransmits = 0;
  std::uint64_t rtt_ns_min = 0, rtt_ns_mean = 0, rtt_ns_max = 0;
  std::uint64_t samples = 0;
  std::uint64_t cwnd_bytes_max = 0;
  std::uint64_t mss_bytes = 0, pmtu_bytes = 0;
  std::uint64_t send_buffer_bytes = 0, receive_buffer_bytes = 0;
  std::uint64_t dscp = 0;
  std::string congestion;
};
template <>
inline constexpr auto kRowsOf<TcpResult> = rows_of<TcpResult>({
    {"retransmits", &TcpResult::retransmits, Sum::none, kInResult,
     "Segments sent again in the measured window.", bad_column("retransmits")},
    {"rtt_ns_min", &TcpResult::rtt_ns_min, Sum::none, kInResult,
     "Of the samples, one at the end of each interval.", column("RTT min", Format::ns)},
    {"rtt_ns_mean", &TcpResult::rtt_ns_mean, Sum::none, kInResult, nullptr,
     column("mean", Format::ns)},
    {"rtt_ns_max", &TcpResult::rtt_ns_max, Sum::none, kInResult, nullptr,
     column("max", Format::ns)},
    {"samples", &TcpResult::samples, Sum::none, kInResult},
    {"snd_cwnd_bytes_max", &TcpResult::cwnd_bytes_max, Sum::none, kInResult,
     "The largest congestion window of the samples.", column("cwnd max", Format::exact_bytes)},
    {"mss_bytes", &TcpResult::mss_bytes, Sum::none, kInResult,
     "Payload of a segment that is sent, at the end.", column("MSS")},
    {"pmtu_bytes", &TcpResult::pmtu_bytes, Sum::none, kInResult},
    {"congestion", &TcpResult::congestion, Sum::none, kInResult, "The congestion control in use.",
     column("congestion", Format::text)},
    {"send_buffer_bytes", &TcpResult::send_buffer_bytes, Sum::none, kInResult,
     "Of the socket, as window asks for it: half of what the kernel calls SO_SNDBUF.",
     column("send buffer", Format::exact_bytes)},
    {"receive_buffer_bytes", &TcpResult::receive_buffer_bytes, Sum::none, kInResult, nullptr,
     column("receive buffer", Format::exact_bytes)},
    {"dscp", &TcpResult::dscp, Sum::none, kInResult, nullptr, column("DSCP")},
});

/// An event that was counted for a job, in its measured window.
struct CounterResult {
  std::string name;             ///< as the user wrote it
  std::optional<double> value;  ///< in `unit`; empty: not counted, and `reason` says why
  std::string unit;             ///< "ns"; empty: a number of events
  bool scaled = false;          ///< it was counted for a part of the time, and scaled to all of it
  std::uint64_t enabled_ns = 0, running_ns = 0;
  std::string source;  ///< what defines the name
  std::string reason;
};

/// The events of the option `counters` in one interval, in its order.
struct CounterInterval {
  struct Count {
    std::optional<double> value;  ///< as in CounterResult
    bool scaled = false;
    std::string reason;
  };
  double at_seconds = 0;  ///< its end, since the start of the run's first jobs
  double seconds = 0;
  std::vector<Count> counts;
};

/// One interval of a job, for curves.
struct IntervalResult {
  double at_seconds = 0;
  double seconds = 0;
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0;
  std::uint64_t lost_frames = 0;   ///< gaps noticed then; for a job without flows, from overruns
  std::uint64_t found_frames = 0;  ///< arrived in this interval; earlier ones counted them as lost
  std::uint64_t overruns = 0;
  std::uint64_t latency_count = 0;
  std::optional<double> latency_mean_ns, latency_p50_ns, latency_p99_ns, latency_max_ns;
  std::optional<double> cpu_user_seconds, cpu_system_seconds;  ///< CPU time that the job used
  std::optional<TcpSample> tcp;  ///< empty: no TCP, or the kernel did not tell
  bool measured = true;
  bool ends_at_border = false;  ///< a border of the measured window ended it early
};
/// Frames or bytes of an interval in each second, and its CPU time as a share of its length; empty
/// if the interval has no length, or the figure is not known.
inline std::optional<double> per_second(std::uint64_t count, const IntervalResult& interval) {
  return per_second(static_cast<double>(count), interval.seconds);
}
inline std::optional<double> share_of_cpu(const std::optional<double>& seconds,
                                          const IntervalResult& interval) {
  return seconds ? per_second(*seconds, interval.seconds) : std::nullopt;
}
consteval Column latency_gauge(const char* figure) {
  return {.metric = {.name = "shmifperf_latency_seconds",
                     .help = "Latency from the intended send time, in the last interval.",
                     .scale = 1e-9,
                     .label = "figure",
                     .value = figure}};
}
consteval Column cpu_gauge(const char* mode) {
  return {.metric = {.name = "shmifperf_cpu_ratio",
                     .help = "CPU time that the job used in the last interval; 1 is a whole CPU.",
                     .label = "mode",
                     .value = mode}};
}
inline constexpr Places kOfInterval = kInResult | kInStream | kInMessages;
template <>
inline constexpr auto kRowsOf<IntervalResult> = rows_of<IntervalResult>({
    {"at_seconds", &IntervalResult::at_seconds, Sum::newest, kOfInterval,
     "Its end, from the start of the run's first jobs."},
    {"seconds", &IntervalResult::seconds, Sum::add, kOfInterval, "Its length."},
    {"tx_frames", &IntervalResult::tx_frames, Sum::add, kOfInterval},
    {"tx_bytes", &IntervalResult::tx_bytes, Sum::add, kOfInterval},
    {"tx_fps", [](const IntervalResult& i) { return per_second(i.tx_frames, i); }, Sum::none,
     kInStream, nullptr, gauge("shmifperf_tx_fps", "Frames per second sent.")},
    {"tx_bps", [](const IntervalResult& i) { return per_second(i.tx_bytes * 8, i); }, Sum::none,
     kInStream, nullptr, gauge("shmifperf_tx_bps", "Bits per second sent.")},
    {"rx_frames", &IntervalResult::rx_frames, Sum::add, kOfInterval},
    {"rx_bytes", &IntervalResult::rx_bytes, Sum::add, kOfInterval},
    {"rx_fps", [](const IntervalResult& i) { return per_second(i.rx_frames, i); }, Sum::none,
     kInStream, nullptr, gauge("shmifperf_rx_fps", "Frames per second received.")},
    {"rx_bps", [](const IntervalResult& i) { return per_second(i.rx_bytes * 8, i); }, Sum::none,
     kInStream, nullptr, gauge("shmifperf_rx_bps", "Bits per second received.")},
    {"lost_frames", &IntervalResult::lost_frames, Sum::add, kOfInterval,
     "Frames of ramp and window that were noticed to be missing then, and never came, not even "
     "damaged; of a job that receives no flow, frames under overruns. The last interval has those "
     "that nothing came after."},
    {"found_frames", &IntervalResult::found_frames, Sum::add},
    {"overruns", &IntervalResult::overruns, Sum::add, kOfInterval},
    {"latency_count", &IntervalResult::latency_count, Sum::add, kInMessages},
    {"latency_mean_ns", &IntervalResult::latency_mean_ns, Sum::none, kOfInterval, nullptr,
     latency_gauge("mean")},
    {"latency_p50_ns", &IntervalResult::latency_p50_ns, Sum::greatest, kOfInterval, nullptr,
     latency_gauge("p50")},
    {"latency_p99_ns", &IntervalResult::latency_p99_ns, Sum::greatest, kOfInterval, nullptr,
     latency_gauge("p99")},
    {"latency_max_ns", &IntervalResult::latency_max_ns, Sum::greatest, kOfInterval, nullptr,
     latency_gauge("max")},
    {"cpu_user_seconds", &IntervalResult::cpu_user_seconds, Sum::add, kInMessages},
    {"cpu_system_seconds", &IntervalResult::cpu_system_seconds, Sum::add, kInMessages},
    {"cpu_user_share", [](const IntervalResult& i) { return share_of_cpu(i.cpu_user_seconds, i); },
     Sum::none, kInStream, nullptr, cpu_gauge("user")},
    {"cpu_system_share",
     [](const IntervalResult& i) { return share_of_cpu(i.cpu_system_seconds, i); }, Sum::none,
     kInStream, nullptr, cpu_gauge("system")},
    {"measured", &IntervalResult::measured, Sum::all, kInResult | kInMessages,
     "All of it lies in the measured window, and it is no stub of less than a tenth of the "
     "others. A border of the window ends an interval, so ramp and drain are others."},
    {"ends_at_border", &IntervalResult::ends_at_border, Sum::newest},
});

struct HeatOfJob;  // perf/result/instruments_of_run.hpp

/// The classes of errors that continue_on_error knows, in its order.
enum class ErrorClass : std::uint8_t { tx, rx, verify, overrun, lock };
inline constexpr std::array<ErrorClass, 5> kErrorClasses = {
    ErrorClass::tx, ErrorClass::rx, ErrorClass::verify, ErrorClass::overrun, ErrorClass::lock};
const char* word_of(ErrorClass error) noexcept;

/// The errors of a job that are of one class, from the beginning of its window on.
struct ClassErrors {
  std::optional<std::uint64_t> count;  ///< empty: not counted, and `reason` says why
  std::string first;
  std::string reason;
};
template <>
inline constexpr auto kRowsOf<ClassErrors> = rows_of<ClassErrors>({
    {"count", &ClassErrors::count, Sum::none, kInResult,
     "From the beginning of the window on; null: not counted."},
    {"first", &ClassErrors::first, Sum::none, kInResult, "The first of them; null: there is none."},
    {"reason", &ClassErrors::reason, Sum::none, kInResult, "Why they were not counted."},
});

/// `frames` frames of a flow had been sent before `time_ns` (CLOCK_MONOTONIC); all others were sent
/// then or later.
struct SentMark {
  std::uint64_t time_ns = 0;
  std::uint64_t frames = 0;
  bool operator==(const SentMark&) const = default;
};
/// What one end knows about a flow whose other end is on another server. Only both ends together
/// know which frames were lost (perf/remote/shares.hpp).
struct HalfFlow {
  // A receiver. Times of CLOCK_MONOTONIC.
  std::optional<std::uint64_t> listened_until_ns{};         ///< empty: not known
  std::uint64_t first_arrival_ns = 0, last_arrival_ns = 0;  ///< of frames of the window; 0: none
  std::uint64_t corrupt_apart = 0, truncated_apart = 0;     ///< as in FlowResult
  /// Of what it sent or received, [first, end). Of a receiver that was killed, or that received
  /// nothing, both are 0.
  std::uint64_t first_number = 0, end_number = 0;
  // A sender: its window, 0 if it is not known; and marks in no order.
  std::uint64_t window_begin_ns = 0, window_end_ns = 0;
  std::vector<SentMark> marks{};
  bool operator==(const HalfFlow&) const = default;
};

struct JobResult {
  std::string name;
  std::string group;
  std::string peer_of;  ///< if it is a peer made for another job: that job's name
  Role role = Role::tx;
  EngineKind engine = EngineKind::null;
  std::string address;  ///< address of its end
  JobState state = JobState::not_created;
  bool passed = false;
  std::vector<std::string> errors;  ///< readable messages; empty when passed
  std::optional<int> exit_status;   ///< of a process job
  std::optional<int> exit_signal;
  std::int64_t pid = 0;  ///< 0: a thread
  bool thread = false;
  std::map<std::string, std::string> options;  ///< those that were given

  std::optional<double> runtime_seconds;  ///< empty: no window, or the job did not report it
  TrafficResult tx, rx;
  std::vector<FlowResult> flows;  ///< those that it receives
  CountsResult counts;
  std::optional<std::uint64_t> overruns, overrun_frames;
  std::array<ClassErrors, kErrorClasses.size()> errors_by_class;  ///< indexed by ErrorClass
  std::optional<CpuResult> cpu;  ///< empty: killed too early, or it has helper threads
  // Shared because they are large; never null in a complete result.
  std::shared_ptr<LatencyHistogram> latency;  ///< since the intended time (pingpong: round trip)
  std::shared_ptr<LatencyHistogram> service;  ///< since the real time
  std::shared_ptr<LatencyHistogram> spacing_error;  ///< real minus intended time
  std::vector<double> percentile_list;              ///< asked for, besides the usual ones
  std::optional<TcpResult> tcp;                     ///< empty: no TCP
  std::vector<IntervalResult> intervals;
  /// How late it could send its first frame, or receive, after the common start and its
  /// start_delay.
  std::optional<std::uint64_t> start_skew_ns;
  /// Half width of the 95 % interval of the rate, as a share of its mean
  std::optional<double> rate_ci_share;
  std::optional<double> limit_fps;      ///< the harness's own limit for such frames, measured
  std::vector<CounterResult> counters;  ///< those that the option `counters` asked for
  std::vector<CounterInterval> counter_intervals;
  std::shared_ptr<const HeatOfJob> heat;  ///< null: it was not asked for
  std::optional<HalfFlow> half;           ///< if the other end of its flow is on another server
};

struct GroupResult {
  std::string name;
  std::vector<std::string> jobs;
  TrafficResult tx, rx;
  FlowResult loss;  ///< sums
  std::shared_ptr<LatencyHistogram> latency, service;
  std::optional<std::uint64_t> start_skew_ns;
};

struct LinkResult {
  std::string wire;  ///< "bus:/tmp/bus0"
  std::string job;
  std::string direction;  ///< "sent", "received"
  FaultsMade faults;
  std::string options;  ///< as parse_faults() reads them
};

/// One trial of a search.
struct TrialResult {
  std::string job;
  std::uint32_t frame_bytes = 0;  ///< 0: a mix
  double offered_fps = 0, achieved_fps = 0;
  double loss_share = 0;
  std::optional<double> latency_percentile_ns;
  std::optional<double> sender_late_ns;  ///< worst delay behind its own pace
  bool passed = false;
};
/// The trial of a search whose run is in the result, with its jobs, groups, links and curves.
struct ShownTrial {
  /// In `trials`, from 1. Empty: it was not judged, because it was at full speed, to find where to
  /// begin, or was cut off.
  std::optional<std::size_t> number;
  std::optional<double> offered_fps;  ///< empty: at full speed
};
struct SearchResult {
  std::string job;
  Search kind = Search::ndr;
  std::uint32_t frame_bytes = 0;
  std::optional<double> found_fps, found_bps;
  std::string why_none;
  /// The highest rate that was tried passed, so the true rate may be higher.
  bool limited_by_maximum = false;
  std::vector<TrialResult> trials;
  std::optional<ShownTrial> shown;  ///< empty: not known
  /// What the harness itself can send of such frames, paced as in a trial; empty: not measured.
  std::optional<double> limit_fps;
};
template <>
inline constexpr auto kRowsOf<SearchResult> = rows_of<SearchResult>({
    {"found_fps", &SearchResult::found_fps, Sum::none, kInResult | kHasMedian | kMoreIsBetter,
     "null: there is none, see why_none."},
    {"found_bps", &SearchResult::found_bps, Sum::none, kInResult | kHasMedian},
    {"why_none", &SearchResult::why_none, Sum::none, kInResult},
    {"limited_by_maximum", &SearchResult::limited_by_maximum, Sum::none, kInResult,
     "The highest rate that was tried passed: the true one may be higher."},
    {"limit_fps", &SearchResult::limit_fps, Sum::none, kInResult | kHasMedian,
     "What the harness itself can send of such frames, paced as in a trial; null: not measured."},
    {"limit_share",
     [](const SearchResult& s) {
       return s.found_fps && s.limit_fps ? per_second(*s.found_fps, *s.limit_fps) : std::nullopt;
     },
     Sum::none, kInResult, "found_fps as a share of limit_fps; 0.8 or more carries a warning."},
});

/// The steady state of a job that ends when it reaches it (`steadystate`).
struct SteadyStateResult {
  std::string job;
  std::string figure;  ///< "iops", "iops_slope", "bw", "bw_slope"
  double limit = 0;
  bool limit_is_share = false;       ///< share of the mean; otherwise frames or bits per second
  std::uint64_t window_seconds = 0;  ///< as used: whole seconds
  std::uint64_t ramp_seconds = 0;
  std::optional<double> value;  ///< of the newest complete window, in the unit of `limit`
  std::optional<std::uint64_t> reached_at_seconds;  ///< seconds of traffic; empty: not reached
};

struct CpuShare {
  int cpu = 0;
  double user = 0, system = 0, idle = 0, steal = 0, irq = 0;  ///< shares of the window, sum 1
};

struct MachineResult {
  std::string hostname, kernel, cpu_model, clock_source, virtualization;
  int cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::vector<CpuShare> window;  ///< during the measured window
  std::optional<double> frequency_mhz;
};

struct MemoryOfRun;  // perf/result/instruments_of_run.hpp

/// Names of a job's figures, used in repetitions and in comparisons.
namespace figure_name {
inline constexpr const char* kTxFps = "tx_fps";
inline constexpr const char* kRxFps = "rx_fps";
inline constexpr const char* kLostShare = "lost_share";
inline constexpr const char* kLatencyMean = "latency_ns_mean";
inline constexpr const char* kLatencyP50 = "latency_ns_p50";
inline constexpr const char* kLatencyP99 = "latency_ns_p99";
inline constexpr const char* kFoundFps = "found_fps";  ///< of its search
}  // namespace figure_name

/// `--repeat`: the values of one figure in all repetitions.
struct RepeatFigure {
  std::string job, figure;  ///< one of figure_name
  std::vector<double> values;
  double median = 0, min = 0, max = 0;
};

struct RunResult {
  std::string version;
  std::vector<std::string> command;
  std::chrono::system_clock::time_point began, ended;
  std::map<std::string, std::string> options;
  MachineResult machine;
  std::vector<JobResult> jobs;
  std::vector<GroupResult> groups;
  std::vector<LinkResult> links;
  std::vector<SearchResult> searches;
  std::vector<RepeatFigure> repeats;
  /// `--repeat`: the runs that were not cut off, in order, with jobs, groups and searches. All
  /// other members (counts, intervals, links) are those of run number `shown_run`.
  std::vector<RunResult> repetitions;
  std::size_t shown_run = 0;
  std::optional<std::string> steady_state;       ///< "reached at 12 s: iops slope 0.1 %"
  std::vector<SteadyStateResult> steady_states;  ///< the same as data, for each job that asked
  RunCauses causes;
  std::vector<std::string> warnings;
  std::vector<std::string> failures;  ///< empty: passed
  /// Outputs besides the figures that could not be written, for example logs. They do not decide
  /// whether the run passed, but the exit code is 1.
  std::vector<std::string> lost_outputs;
  std::shared_ptr<const MemoryOfRun> membw;  ///< null: it was not asked for
  bool trigger_fired = false;
  int exit_code = 0;
  std::optional<int> stopped_by_signal;
};

// The words of results for enumerations. They are those of job files, so values of a report can be
// passed to `shmifperf run`.
const char* word_of(Role role) noexcept;      ///< "tx", as in rw=
const char* word_of(Search search) noexcept;  ///< "ndr", as in search=
std::string word_of_signal(int signal);       ///< "SIGINT"; "signal 99" if it has no name

}  // namespace shmif::perf
