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

#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/why/cause.hpp"

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
  double seconds = 0;                ///< divisor of rates; 0: no window
  std::uint64_t offered_frames = 0;  ///< tx: what the pace asked for, sent or not
  std::uint64_t offered_bytes = 0;
  /// tx: the time that the pace allows for these frames; divisor of offered rates. It is shorter
  /// than `seconds` if the job is limited by frames or bytes and did not keep its pace.
  double offered_seconds = 0;
  bool paced = false;  ///< tx: there is a pace, by rate, rate_iops or a capture
  /// tx that catches up by `limited` or `skip`: a frame that is late by no more than this is sent
  /// as usual.
  std::optional<std::uint64_t> catchup_tolerance_ns;
  std::uint64_t skipped_frames = 0;  ///< given up by rate_catchup=skip
  std::uint64_t refused_frames = 0;  ///< how often the engine took a frame only later
  std::uint64_t batches = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  std::uint64_t ramp_frames = 0;           ///< before the window
  std::uint64_t foreign_frames = 0;        ///< rx: not probes
  std::uint64_t stale_frames = 0;          ///< rx: probes of another run
  std::uint64_t begin_ns = 0, end_ns = 0;  ///< of the window, on CLOCK_MONOTONIC; 0: no window
  /// For a program (exec): frames and bytes are those that passed its port; the rest is not known.
  bool of_program = false;
};

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
  std::uint64_t received = 0;                ///< each once
  std::uint64_t lost = 0;                    ///< never arrived
  std::uint64_t corrupt = 0, truncated = 0;  ///< arrived damaged, and in no whole copy
  std::uint64_t late = 0;                    ///< arrived whole after the drain
  std::uint64_t cancelled = 0;               ///< sent after the receiver had ended
  std::uint64_t unverified = 0;              ///< arrived, but not checked in time
  std::uint64_t duplicates = 0;              ///< whole copies of frames that had arrived whole
  /// Damaged copies of frames that have another fate, or are already counted as damaged.
  std::uint64_t corrupt_copies = 0, truncated_copies = 0;
  std::uint64_t reordered = 0;  ///< among the received ones
  /// More frames received than sent, by the sender's count: the sender was killed before it could
  /// count its last batch, or a count is wrong. Losses are then not known. Only
  /// FlowReceiver::result() sets it; in the result of a run, the uncounted frames of a killed
  /// sender are added to `sent`.
  std::uint64_t unexplained = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> gaps;  ///< the first ones, [from, to)
  std::optional<double> jitter_ns;                            ///< RFC 3550, section 6.4.1
  bool verification_complete = true;
  /// Adds the counts of another flow. Jitter belongs to one flow, so the sum keeps the greatest.
  /// Names, gaps and `unexplained` stay as they are.
  FlowResult& operator+=(const FlowResult& other);
};

const char* word_of(FlowResult::Kind kind) noexcept;

/// The three counts of a job side by side. They include the frames of the ramp and foreign ones,
/// because the medium counts the whole job and knows no window.
struct CountsResult {
  std::uint64_t generator_tx = 0, receiver_rx = 0;
  WireCounters wire;
  std::uint64_t receiver_foreign = 0;
  std::uint64_t receiver_others = 0;  ///< among receiver_rx: not of its flows
  std::optional<bool> agree;          ///< empty: the engine keeps no counts
};

struct CpuResult {
  double user_seconds = 0, system_seconds = 0;
  std::uint64_t voluntary_switches = 0, involuntary_switches = 0;
  std::uint64_t minor_faults = 0, major_faults = 0;
  CpuResult& operator+=(const CpuResult& other) noexcept;
};

/// What the kernel tells about a job's TCP connection (tcp(7), TCP_INFO) at the end of an interval.
struct TcpSample {
  std::uint64_t retransmits = 0;  ///< segments, in the interval
  std::uint64_t rtt_ns = 0, rttvar_ns = 0;
  std::uint64_t cwnd_bytes = 0;
  std::uint64_t mss_bytes = 0, pmtu_bytes = 0;
};

/// The connection of a job of engine=host with proto=tcp, over the run.
struct TcpResult {
  std::uint64_t retransmits = 0;  ///< segments
  std::uint64_t mss_bytes = 0, pmtu_bytes = 0;
  std::uint64_t cwnd_bytes_max = 0;
  std::uint64_t rtt_ns_min = 0, rtt_ns_mean = 0, rtt_ns_max = 0;  ///< of the samples
  std::uint64_t samples = 0;
  std::uint64_t send_buffer_bytes = 0, receive_buffer_bytes = 0;
  std::uint64_t dscp = 0;
  std::string congestion;
};

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
  double at_seconds = 0;  ///< its end, since the start of the run's first jobs
  double seconds = 0;
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0;
  std::uint64_t lost_frames = 0;   ///< gaps noticed then; for a job without flows, from overruns
  std::uint64_t found_frames = 0;  ///< arrived in this interval; earlier ones counted them as lost
  std::uint64_t overruns = 0;
  std::uint64_t latency_count = 0;
  std::optional<double> latency_mean_ns, latency_p50_ns, latency_p99_ns, latency_max_ns;
  std::optional<double> cpu_user_seconds, cpu_system_seconds;  ///< CPU time that the job used
  std::optional<TcpSample> tcp;  ///< empty: no TCP, or the kernel did not tell
  /// The whole interval lies in the measured window, and it is not a short remainder. A border of
  /// the window ends an interval, so ramp and drain have intervals of their own.
  bool measured = true;
  bool ends_at_border = false;
};

struct HeatOfJob;  // perf/result/heat_of_job.hpp

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

struct MemoryOfRun;  // perf/result/memory_of_run.hpp

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

}  // namespace shmif::perf
