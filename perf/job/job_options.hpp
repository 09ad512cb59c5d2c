#pragma once
// JobOptions and RunOptions: what a user asks for, as values. perf/option/option_table.hpp has
// their names, units, defaults and ranges in job files and on the command line.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shmif/faults.hpp"

namespace shmif::perf {

/// What a job does with frames (`rw`).
enum class Role : std::uint8_t {
  tx,        ///< sends; without `to`, a sink made for it receives and verifies
  rx,        ///< receives and verifies frames of the jobs that name it in `to`
  txrx,      ///< sends, and so does its peer
  echo,      ///< returns each request to its sender
  pingpong,  ///< sends requests, at most `iodepth` without a reply; measures the round trip
};

/// Whether a job of that role sends by itself; an echo job only answers.
constexpr bool sends(Role role) noexcept {
  return role == Role::tx || role == Role::txrx || role == Role::pingpong;
}
constexpr bool receives(Role role) noexcept {
  return role != Role::tx;
}

enum class EngineKind : std::uint8_t {
  bus,
  tap,
  packet,
  unix_pair,
  udp,
  stream,
  dgram,
  vde,
  pcap,
  null,
  host
};

/// One value for each direction: of the job, or with rw=txrx of its peer.
template <class T>
struct PerDirection {
  T tx{};
  T rx{};
};

/// Lengths of frames, without FCS.
struct FrameSizes {
  /// Sizes from `min` to `max` bytes, uniformly distributed in steps of one. `weight`: relative
  /// share of all frames.
  struct Part {
    std::uint32_t min = 64;
    std::uint32_t max = 64;
    std::uint32_t weight = 1;
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts{Part{}};
  bool operator==(const FrameSizes&) const = default;
};
/// The mix of Internet traffic that testers use: 7 frames of 64, 4 of 594 and 1 of 1518 bytes on
/// the wire; here without FCS (RFC 6985, section 4, "IMIX").
FrameSizes imix_sizes();

enum class RateProcess : std::uint8_t { linear, poisson };
/// What a stream does after a stall (`rate_catchup`).
enum class CatchUp : std::uint8_t {
  burst,    ///< sends all late frames at once: the offered load is kept
  limited,  ///< sends at twice the rate until the stream is on time
  skip,     ///< gives up the late frames; they count as offered, not as sent
};
enum class Payload : std::uint8_t { random, pattern, zero };
enum class IoSubmit : std::uint8_t { inline_, offload };
enum class CpuPolicy : std::uint8_t { shared, split };
/// Where a job takes its memory from (`numa_mem_policy`).
struct NumaPolicy {
  enum class Mode : std::uint8_t { unset, standard, prefer, bind, interleave, local };
  Mode mode = Mode::unset;
  std::vector<int> nodes;
  bool operator==(const NumaPolicy&) const = default;
};
/// Every node that is online, in a list of nodes.
inline constexpr int kAllNodes = -1;
enum class HostProtocol : std::uint8_t { udp, tcp };
/// The highest rate at which ... (`search`).
enum class Search : std::uint8_t {
  none,
  ndr,             ///< no frame is lost (RFC 2544, section 26.1)
  pdr,             ///< no more than `search_loss` is lost
  latency_target,  ///< `latency_percentile` of the frames stay within `latency_target`
};
/// Classes of errors that do not end a job (`continue_on_error`).
struct ErrorClasses {
  bool tx = false, rx = false, verify = false, overrun = false, lock = false;
};

/// As verify_state_load: the state that the client of a server has kept.
inline constexpr const char* kStateOfClient = "client";

/// A job, with the defaults of its options. A limit of 0 does not limit.
struct JobOptions {
  using Nanoseconds = std::chrono::nanoseconds;

  // ---- The job itself ----
  std::string name;
  std::string description;
  std::uint32_t numjobs = 1;
  bool thread = false;     ///< otherwise a process
  std::string wait_for;    ///< starts when every clone of that job has ended
  bool stonewall = false;  ///< starts when every job before it has ended
  Nanoseconds start_delay{0};
  bool new_group = false;  ///< begins a new reporting group
  bool group_reporting = false;
  bool exitall = false;           ///< when it ends, all jobs of its group do
  bool exitall_on_error = false;  ///< the same when it fails
  bool background = false;        ///< does not keep a run alive
  Nanoseconds startup_timeout = std::chrono::seconds(10);

  // ---- Traffic ----
  Role rw = Role::tx;
  std::string to;  ///< the job that receives; empty: a peer is made
  PerDirection<FrameSizes> bs;
  PerDirection<std::uint64_t> rate_bps;
  PerDirection<std::uint64_t> rate_fps;
  std::optional<std::uint32_t> rwmixtx;  ///< for rw=txrx with one rate for both, in per cent
  std::uint32_t rate_overhead_bytes = 0;
  RateProcess rate_process = RateProcess::linear;
  CatchUp rate_catchup = CatchUp::burst;
  PerDirection<std::uint64_t> rate_min_bps;
  PerDirection<std::uint64_t> rate_min_fps;
  Nanoseconds rate_cycle = std::chrono::seconds(1);
  Nanoseconds rate_settle = std::chrono::seconds(1);  ///< time before the minimum applies
  Nanoseconds thinktime{0};
  Nanoseconds thinktime_spin{0};
  std::uint64_t thinktime_blocks = 1;            ///< frames per burst
  std::uint32_t iodepth = 1;                     ///< requests without a reply
  std::uint32_t iodepth_batch = 32;              ///< most frames passed to the engine at once
  std::uint32_t iodepth_batch_complete_min = 1;  ///< 0: polls, and never sleeps
  std::uint32_t iodepth_batch_complete_max = 0;  ///< 0: as many as have come
  std::uint32_t iodepth_low = 0;  ///< the window opens again at this many; 0: at iodepth - 1
  std::uint32_t flow = 0;         ///< weight among the jobs that have one; 0: no weight
  IoSubmit io_submit_mode = IoSubmit::inline_;

  // ---- How long ----
  Nanoseconds runtime{0};
  bool time_based = false;
  Nanoseconds ramp_time{0};
  std::string server;  ///< HOST[:PORT] of the server that runs it; empty: this machine
  Nanoseconds drain_time = std::chrono::seconds(1);
  std::uint64_t loops = 1;
  std::uint64_t number_ios = 0;      ///< frames
  std::uint64_t size_bytes = 0;      ///< in one loop
  std::uint64_t io_limit_bytes = 0;  ///< in all loops

  // ---- Frames ----
  Payload payload = Payload::random;
  std::vector<std::byte> buffer_pattern;
  std::uint32_t buffer_compress_percentage = 0;
  std::uint64_t randseed = 1;
  std::optional<std::uint16_t> vlan;
  std::string headers;  ///< in the format of perf/frame/header_template.hpp; empty: only Ethernet

  // ---- Engine ----
  EngineKind engine = EngineKind::bus;
  /// `engine` was a list: plan_of() makes a job for each entry, with that engine in `engine`.
  std::vector<EngineKind> engines;
  std::string bus;   ///< empty: one is made for the run
  std::string wire;  ///< jobs of one engine with the same name share a wire
  std::uint64_t bus_size_bytes = 4U << 20U;
  std::uint32_t mtu = 1500;
  bool bus_pause = false;
  std::string netdev;    ///< engine=packet, tap: an existing interface; otherwise one is made
  std::string netns;     ///< where the interface is
  std::string socket;    ///< engine=stream, dgram, vde: where other programs are
  std::string filename;  ///< engine=pcap
  std::string hostname = "127.0.0.1";  ///< engine=udp
  std::uint16_t port = 0;
  bool no_peer = false;  ///< engine=udp: another program receives the frames
  bool allow_live = false;
  FaultOptions fault;     ///< for frames from this job
  FaultOptions fault_rx;  ///< for frames to this job
  // engine=host: a host on the bus, with its own interface and IP address.
  HostProtocol proto = HostProtocol::udp;
  std::uint32_t mss_bytes = 0;        ///< TCP_MAXSEG; 0: the kernel's
  std::uint64_t window_bytes = 0;     ///< of both socket buffers; 0: the kernel's
  std::string congestion;             ///< algorithm of TCP; empty: the kernel's
  std::optional<std::uint32_t> dscp;  ///< 0 to 63
  std::string ip;                     ///< CIDR; empty: the next of 198.18.0.0/15
  std::vector<std::string> exec;      ///< a program to run on the host, instead of traffic

  // ---- Verification ----
  bool verify = true;              ///< frames carry a CRC
  bool verify_regenerate = false;  ///< and are compared with what their seed generates
  bool do_verify = true;
  std::uint64_t verify_backlog = 0;  ///< check after this many frames; 0: at once
  std::uint32_t verify_async = 0;    ///< threads that check frames
  bool verify_only = false;          ///< checks frames of any earlier run
  /// For verify_only: what to add to the times in the frames to get times of this machine's clock.
  /// Empty: they have no meaning here, so there are no latencies.
  std::optional<std::int64_t> clock_shift_ns{};
  /// The other end of its flow is a job on another server. A receiver (verify_only) then listens as
  /// one whose sender runs for `runtime`: two drain times more, and what comes in the second one is
  /// late. It ends at once when it was told how many frames there are, and all of them have come.
  bool other_end_elsewhere = false;
  bool verify_state_save = false;
  std::string verify_state_load;
  std::vector<std::byte> verify_state;  ///< on a server: the state that the client has sent
  ErrorClasses continue_on_error;
  bool end_on_overrun = false;

  // ---- Latency and search ----
  bool disable_lat = false;
  Search search = Search::none;
  double search_loss = 0;            ///< share, for Search::pdr
  double search_resolution = 0.005;  ///< share of the rate
  std::uint64_t search_max_fps = 0;  ///< 0: measured by a trial at full speed
  Nanoseconds search_trial = std::chrono::seconds(2);
  Nanoseconds latency_target{0};
  double latency_percentile = 99;
  std::vector<double> percentile_list;  ///< 0 to 100; empty: the usual ones
  Nanoseconds max_latency{0};           ///< a longer latency fails the job; 0: no limit
  std::string steadystate;              ///< "iops:0.3%", "bw_slope:0.1%", ...
  Nanoseconds ss_dur{0};
  Nanoseconds ss_ramp{0};
  std::string counters;  ///< events to count, "task-clock,page-faults"; may be empty

  // ---- Replay and records ----
  std::string replay;             ///< a capture file to send
  double replay_time_scale = 1;   ///< 2: half as fast
  Nanoseconds replay_max_gap{0};  ///< of the replay; 0: as recorded
  bool replay_no_stall = false;   ///< no pauses, whatever the scale
  std::string write_pcap;
  std::string write_bw_log, write_iops_log, write_lat_log, write_hist_log;
  bool per_job_logs = true;  ///< otherwise the jobs with the same prefix share a log
  bool agg_logs = false;     ///< a shared log has their sums
  Nanoseconds log_avg = std::chrono::milliseconds(500);
  Nanoseconds log_hist = std::chrono::milliseconds(500);
  std::uint32_t log_hist_coarseness = 0;

  // ---- Privileges and place ----
  std::vector<int> cpus_allowed;
  CpuPolicy cpus_allowed_policy = CpuPolicy::shared;
  std::vector<int> peer_cpus_allowed;  ///< of the peer made for it
  std::optional<int> numa_node;        ///< both of the following: its CPUs, and bind to its memory
  std::vector<int> numa_cpu_nodes;
  NumaPolicy numa_mem_policy;
  std::optional<int> nice;
  std::optional<int> rtprio;  ///< SCHED_FIFO
  bool lockmem = false;
  bool hugepages = false;
  std::string uid, gid;  ///< numbers or names; applied after the devices are open
  std::string cgroup;
  std::uint32_t cgroup_weight = 0;  ///< cpu.weight; 0: the kernel's
  bool cgroup_nodelete = false;     ///< a group that the run made stays
  std::vector<std::string> exec_prerun, exec_postrun;

  // Where the job was written, for messages: "voip.job:12", "command line".
  std::string where;
  /// The same for each option that was given in a file or on the command line, by its full name.
  std::map<std::string, std::string> where_of;
  /// The options that were given, in order: full name, and value as it was written.
  std::vector<std::pair<std::string, std::string>> given;
  /// How many of them were given before the section of this job began.
  std::size_t given_before = 0;
};

/// Whether the job sends at a rate.
inline bool is_paced(const JobOptions& job) noexcept {
  return job.rate_fps.tx != 0 || job.rate_bps.tx != 0;
}

enum class OutputFormat : std::uint8_t { normal, json, json_plus, terse };

/// A place for the result.
struct OutputPlace {
  std::string path;                    ///< "-": standard output
  std::optional<OutputFormat> format;  ///< empty: those of output_format
  bool operator==(const OutputPlace&) const = default;
};

/// Options of a run as a whole.
struct RunOptions {
  using Nanoseconds = std::chrono::nanoseconds;
  std::vector<OutputPlace> outputs;  ///< empty: standard output
  /// Empty: json for files called *.json, and normal for all other places.
  std::vector<OutputFormat> output_format;
  bool details = false;         ///< the screen gets the whole text, not its summary
  std::string metrics_format;   ///< "influx": prints the intervals as lines on standard output
  std::string metrics_address;  ///< Prometheus, "127.0.0.1:9400"
  bool json_stream = false;
  Nanoseconds status_interval{0};
  enum class Eta : std::uint8_t { automatic, always, never } eta = Eta::automatic;
  std::uint32_t repeat = 1;
  bool why = true;  ///< find out what holds the jobs back
  bool continue_on_start_error = false;
  Nanoseconds stuck_timeout = std::chrono::seconds(300);
  bool allow_exec = true;  ///< false on a server, unless its options allow it
  std::string aux_path;    ///< directory for logs and states; empty: the current directory
  // The trigger: the first of these fires it, once.
  std::string trigger_file;
  Nanoseconds trigger_timeout{0};
  std::string trigger_match;  ///< a filter (pcap-filter(7)) that a received frame matches
  std::vector<std::string> trigger_command;
  bool membw = false;                  ///< measures memory bandwidth while frames are sent
  bool heat = false;                   ///< watches which parts of their bus the jobs use
  std::vector<std::string> job_files;  ///< the job files that were read, with their includes
  /// The options that were given, as in JobOptions.
  std::vector<std::pair<std::string, std::string>> given;
};

/// The whole input: the jobs in order, before numjobs multiplies them.
struct JobSet {
  RunOptions run;
  std::vector<JobOptions> jobs;
  std::vector<std::string> warnings;  ///< about files that most likely say what was not meant
};

}  // namespace shmif::perf
