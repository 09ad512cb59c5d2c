#pragma once
// RunResult: everything a run found out. perf/run/ makes it, perf/report/ turns it into JSON, and
// every other output is made from that JSON.
//
// A figure that was not measured is nothing (std::nullopt, an empty histogram), never 0.

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

namespace shmif::perf {

/// In the order in which a job passes them.
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
/// "running", and the letter that the progress line shows.
const char* name_of(JobState state) noexcept;
char letter_of(JobState state) noexcept;

/// One direction of a job over its measured window, as period_of() cuts it: nothing but
/// `ramp_frames` is of the ramp.
struct TrafficResult {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;                ///< what rates are divided by; 0: no window
  std::uint64_t offered_frames = 0;  ///< of tx: by the pace, sent or not
  std::uint64_t offered_bytes = 0;
  /// Of tx: the time that the pace has for them, which offered rates are divided by. Shorter than
  /// `seconds` where a job that is limited by frames or bytes did not keep its pace.
  double offered_seconds = 0;
  bool paced = false;  ///< of tx: there is a pace, of rate, rate_iops or a capture
  /// Of a tx that catches up by `limited` or `skip`: a frame that is less late than that goes all
  /// the same.
  std::optional<std::uint64_t> catchup_tolerance_ns;
  std::uint64_t skipped_frames = 0;  ///< given up by rate_catchup=skip
  std::uint64_t refused_frames = 0;  ///< times the engine took one only later
  std::uint64_t batches = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  std::uint64_t ramp_frames = 0;           ///< before the window
  std::uint64_t foreign_frames = 0;        ///< of rx: no probes
  std::uint64_t stale_frames = 0;          ///< of rx: probes of another run
  std::uint64_t begin_ns = 0, end_ns = 0;  ///< of the window, on CLOCK_MONOTONIC; 0: none
  /// Of a program (exec): frames and bytes are what passed its port, and nobody knows the rest.
  bool of_program = false;
};

/// What became of the frames of one flow, from one sender to one receiver. Each frame has one fate:
/// sent = received + lost + corrupt + truncated + late + cancelled + unverified. Copies that came
/// besides stand beside that, and change no fate.
struct FlowResult {
  enum class Kind : std::uint8_t {
    data,
    request,  ///< of a job that asks, to the one that echoes
    reply,    ///< back
  };
  std::uint32_t flow = 0;
  Kind kind = Kind::data;
  std::string from, to;  ///< job names
  std::uint64_t sent = 0;
  std::uint64_t received = 0;                ///< each once
  std::uint64_t lost = 0;                    ///< never came
  std::uint64_t corrupt = 0, truncated = 0;  ///< came damaged, and in no copy whole
  std::uint64_t late = 0;                    ///< came whole after the drain
  std::uint64_t cancelled = 0;               ///< sent to a receiver that had ended
  std::uint64_t unverified = 0;              ///< arrived, and not checked when time ran out
  std::uint64_t duplicates = 0;              ///< whole copies of frames that had come whole
  /// Damaged copies of frames that have another fate, or that one already.
  std::uint64_t corrupt_copies = 0, truncated_copies = 0;
  std::uint64_t reordered = 0;  ///< of the received ones
  /// Received more often than sent, by the sender's count: it was killed before it could tell of
  /// its last batch, or a count is wrong. Then nothing is known of losses. Only of
  /// FlowReceiver::result(): in a result of a run, what a killed sender did not tell of is `sent`.
  std::uint64_t unexplained = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> gaps;  ///< first ones, [from, to)
  std::optional<double> jitter_ns;                            ///< RFC 3550, section 6.4.1
  bool verification_complete = true;
  /// Adds the counts of another; jitter is a figure of one flow, and of several the greatest. Whose
  /// it is, its gaps and `unexplained` stay as they are.
  FlowResult& operator+=(const FlowResult& other);
};

const char* word_of(FlowResult::Kind kind) noexcept;

/// The three counts of a claim, side by side. All frames, ramp and foreign ones too: the medium
/// counts those of the whole job, and knows no window.
struct CountsResult {
  std::uint64_t generator_tx = 0, receiver_rx = 0;
  WireCounters wire;
  std::uint64_t receiver_foreign = 0;
  std::uint64_t receiver_others = 0;  ///< of receiver_rx: not of its flows
  std::optional<bool> agree;          ///< nothing: the engine keeps no counts
};

struct CpuResult {
  double user_seconds = 0, system_seconds = 0;
  std::uint64_t voluntary_switches = 0, involuntary_switches = 0;
  std::uint64_t minor_faults = 0, major_faults = 0;
  CpuResult& operator+=(const CpuResult& other) noexcept;
};

/// What the kernel says of a job's TCP connection (tcp(7), TCP_INFO) at the end of an interval.
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

/// One interval of a job, for curves.
struct IntervalResult {
  double at_seconds = 0;  ///< its end, from the start of the run's first jobs
  double seconds = 0;
  std::uint64_t tx_frames = 0, tx_bytes = 0, rx_frames = 0, rx_bytes = 0;
  std::uint64_t lost_frames = 0;  ///< gaps that were noticed; without a flow, under overruns
  std::uint64_t overruns = 0;
  std::uint64_t latency_count = 0;
  std::optional<double> latency_mean_ns, latency_p50_ns, latency_p99_ns, latency_max_ns;
  std::optional<TcpSample> tcp;  ///< nothing: no TCP, or the kernel did not say
  /// All of it lies in the measured window, and it is no stub. A border of the window ends an
  /// interval, so ramp and drain are others.
  bool measured = true;
  bool ends_at_border = false;
};

struct JobResult {
  std::string name;
  std::string group;
  std::string peer_of;  ///< of a peer that was made for another job: its name
  Role role = Role::tx;
  EngineKind engine = EngineKind::null;
  std::string address;  ///< of its end
  JobState state = JobState::not_created;
  bool passed = false;
  std::vector<std::string> errors;  ///< for a person; empty when passed
  std::optional<int> exit_status;   ///< of a process job
  std::optional<int> exit_signal;
  std::int64_t pid = 0;  ///< 0: a thread
  bool thread = false;
  std::map<std::string, std::string> options;  ///< those that were given

  std::optional<double> runtime_seconds;  ///< nothing: it has no window, or did not tell of it
  TrafficResult tx, rx;
  std::vector<FlowResult> flows;  ///< of which it is the receiver
  CountsResult counts;
  std::optional<std::uint64_t> overruns, overrun_frames;
  std::optional<CpuResult> cpu;  ///< nothing: it was killed before, or has threads to help it
  // Shared, for they are large; never null in a result that is whole.
  std::shared_ptr<LatencyHistogram> latency;  ///< from the intended time (round trip: pingpong)
  std::shared_ptr<LatencyHistogram> service;  ///< from the real time
  std::shared_ptr<LatencyHistogram> spacing_error;  ///< real less intended time
  std::vector<double> percentile_list;              ///< asked for beside the usual ones
  std::optional<TcpResult> tcp;                     ///< nothing: no TCP
  std::vector<IntervalResult> intervals;
  /// When it could send its first frame, or receive, after the common start and its start_delay.
  std::optional<std::uint64_t> start_skew_ns;
  std::optional<double>
      rate_ci_share;                ///< half width of the 95 % interval of the rate, of its mean
  std::optional<double> limit_fps;  ///< the harness's own limit for such frames, measured
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

/// A trial of a search.
struct TrialResult {
  std::string job;
  std::uint32_t frame_bytes = 0;  ///< 0: a mix
  double offered_fps = 0, achieved_fps = 0;
  double loss_share = 0;
  std::optional<double> latency_percentile_ns;
  std::optional<double> sender_late_ns;  ///< behind its own pace, at worst
  bool passed = false;
};
struct SearchResult {
  std::string job;
  Search kind = Search::ndr;
  std::uint32_t frame_bytes = 0;
  std::optional<double> found_fps, found_bps;
  std::string why_none;
  /// The highest rate that was tried passed: the true one may be higher.
  bool limited_by_maximum = false;
  std::vector<TrialResult> trials;
  /// What the harness itself can send of such frames, paced as in a trial; nothing: not measured.
  std::optional<double> limit_fps;
};

/// What was found of the steady state that a job was to end at (`steadystate`).
struct SteadyStateResult {
  std::string job;
  std::string figure;  ///< "iops", "iops_slope", "bw", "bw_slope"
  double limit = 0;
  bool limit_is_share = false;       ///< of the mean; else frames or bits per second
  std::uint64_t window_seconds = 0;  ///< as it was used: whole seconds
  std::uint64_t ramp_seconds = 0;
  std::optional<double> value;  ///< of the newest whole window, in the unit of `limit`
  std::optional<std::uint64_t> reached_at_seconds;  ///< of traffic; nothing: not reached
};

struct CpuShare {
  int cpu = 0;
  double user = 0, system = 0, idle = 0, steal = 0, irq = 0;  ///< shares of the window, sum 1
};

struct MachineResult {
  std::string hostname, kernel, cpu_model, clock_source, virtualization;
  int cpus = 0;
  std::uint64_t memory_bytes = 0;
  std::vector<CpuShare> window;  ///< over the measured window
  std::optional<double> frequency_mhz;
};

/// What figures of a job are called, in repetitions and in comparisons alike.
namespace figure_name {
inline constexpr const char* kTxFps = "tx_fps";
inline constexpr const char* kRxFps = "rx_fps";
inline constexpr const char* kLostShare = "lost_share";
inline constexpr const char* kLatencyMean = "latency_ns_mean";
inline constexpr const char* kLatencyP50 = "latency_ns_p50";
inline constexpr const char* kLatencyP99 = "latency_ns_p99";
inline constexpr const char* kFoundFps = "found_fps";  ///< of its search
}  // namespace figure_name

/// `--repeat`: one figure over the repetitions.
struct RepeatFigure {
  std::string job, figure;  ///< one of figure_name
  std::vector<double> values;
  double median = 0, least = 0, most = 0;
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
  /// `--repeat`: the runs that nothing cut off, in their order, with jobs, groups and searches. All
  /// else here, of counts, intervals and links, is that of number `shown_run`.
  std::vector<RunResult> repetitions;
  std::size_t shown_run = 0;
  std::optional<std::string> steady_state;       ///< "reached at 12 s: iops slope 0.1 %"
  std::vector<SteadyStateResult> steady_states;  ///< the same as data, of each job that asked
  std::vector<std::string> warnings;
  std::vector<std::string> failures;  ///< empty: passed
  /// What was asked for beside the figures and could not be written, logs for one. The run has
  /// passed or not without them; the exit code is 1 all the same.
  std::vector<std::string> lost_outputs;
  bool trigger_fired = false;
  int exit_code = 0;
  std::optional<int> stopped_by_signal;
};

}  // namespace shmif::perf
