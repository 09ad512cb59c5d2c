#pragma once
// What was seen of the watched jobs, interval by interval, as plain data. The sampler fills it in
// and the analysis reads it, so each works and is tested without the other.
//
// Every figure is what was added in one interval. Series of all kinds have one step for each
// interval; a thread that came later or ended earlier has fewer.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/watch/process.hpp"
#include "perf/why/cause.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

inline constexpr double kMicro = 1e-6;                 ///< seconds in a microsecond
inline constexpr std::uint16_t kNowhere = UINT16_MAX;  ///< no such group or namespace

/// One interval of a thread.
struct TaskStep {
  std::uint32_t run_us = 0;   ///< had a CPU
  std::uint32_t wait_us = 0;  ///< ready to run, without a CPU; counted when it gets one
  std::uint32_t voluntary = 0, involuntary = 0;  ///< switches
  std::uint32_t migrations = 0;
  std::uint32_t minor_faults = 0, major_faults = 0;
  std::int16_t cpu = -1;  ///< where it ran last
  std::uint16_t group = kNowhere;
  char state = '?';    ///< at the end of the interval, as in proc_pid_stat(5)
  bool known = true;   ///< false: a file could not be read at its begin or its end
  bool moved = false;  ///< the CPUs that it may use were changed, and it had to leave its own
};

/// A change of the CPUs that a thread may use.
struct AffinityChange {
  std::size_t interval = 0;
  std::string from{}, to{};  ///< "0-3"
};

struct TaskSeries {
  TaskId id;
  pid_t process = 0;
  std::string name{};
  std::size_t job = 0;    ///< its number in `WhySeries::jobs`
  std::size_t first = 0;  ///< its first interval
  char state_before = '?';
  double born_s = 0;  ///< when it began; negative: before the watch
  bool ended = false;
  std::vector<TaskStep> steps{};
  std::vector<AffinityChange> changes{};
};

/// One interval of a CPU on which anything of this happened.
struct CpuStep {
  std::uint16_t cpu = 0;
  std::uint32_t steal_us = 0, softirq_us = 0;
  std::uint32_t packets = 0, drops = 0, squeezes = 0;  ///< of softnet_stat
};
struct MachineStep {
  std::vector<CpuStep> cpus{};
  /// False: /proc/stat, or softnet_stat, could not be read at the begin or the end of the interval.
  bool stolen_known = true, queues_known = true;
  /// For how long at least one thread waited for memory, a CPU, a disk (PSI, "some").
  std::optional<std::uint32_t> memory_us{}, cpu_us{}, io_us{};
};

/// One interval of a control group: of version 2, or several of version 1 that have the same
/// members.
struct GroupStep {
  std::uint32_t throttled_us = 0, throttled_periods = 0;
  std::uint32_t at_limit = 0;  ///< how often it met its memory limit
  std::optional<std::uint32_t> memory_us{};
};
struct GroupSeries {
  std::string name{};         ///< "/rig", of the controller cpu
  std::string memory_name{};  ///< of the controller memory
  std::size_t first = 0;
  std::vector<GroupStep> steps{};
};

/// One interval of a network interface.
struct DeviceStep {
  std::uint64_t rx_packets = 0, rx_drops = 0, tx_packets = 0, tx_drops = 0;
};
struct DeviceSeries {
  std::string name{};
  std::uint64_t net = 0;  ///< inode of the network namespace
  std::size_t first = 0;
  std::vector<DeviceStep> steps{};
};

/// One interval of a queueing discipline.
struct QueueStep {
  std::uint64_t packets = 0, drops = 0;
};
struct QueueSeries {
  std::string interface{}, kind{};  ///< "eth0", "fq_codel"
  bool ingress = false;             ///< of packets that the interface has received
  std::uint64_t net = 0;
  std::size_t first = 0;
  std::vector<QueueStep> steps{};
};

/// Where the IP stack of a network namespace loses packets.
enum class NetLoss : std::uint8_t {
  receive_buffer,  ///< UDP: the buffer of a socket was full
  socket_memory,   ///< UDP: the kernel's memory for it was used up
  reassembly,      ///< fragments of a packet were missing
  listen_queue,    ///< TCP: a program did not accept its connections
  retransmits,     ///< TCP: segments that were sent again
  no_route,
  neighbour,  ///< nobody answered for the address (ARP, neighbour discovery)
};
inline constexpr std::size_t kNetLosses = 7;
struct NetCount {
  std::uint64_t lost = 0;
  std::uint64_t passed = 0;     ///< packets of the same kind that were not lost
  bool v4 = false, v6 = false;  ///< of which IP the lost ones were
};
/// One interval of a network namespace. A count is empty if a table could not be read at the begin
/// or the end of the interval, or the kernel does not have it.
struct NetStep {
  std::array<std::optional<NetCount>, kNetLosses> counts{};
  const std::optional<NetCount>& operator[](NetLoss loss) const {
    return counts.at(static_cast<std::size_t>(loss));
  }
  std::optional<NetCount>& operator[](NetLoss loss) {
    return counts.at(static_cast<std::size_t>(loss));
  }
};
struct NetSeries {
  std::uint64_t net = 0;    ///< inode of the namespace
  std::string neighbour{};  ///< one that did not answer
  std::size_t first = 0;
  std::vector<NetStep> steps{};
};

/// One interval of a port of a bus.
struct PortStep {
  std::uint32_t lock_sleeps = 0, pauses = 0, stalls = 0, overruns = 0;
  std::uint64_t paused_us = 0, frames = 0, lost_frames = 0;
};
struct PortSeries {
  std::string bus{}, name{};
  std::optional<std::size_t> job{};  ///< whose port it is, if it is a watched one's
  std::size_t first = 0;
  std::vector<PortStep> steps{};
};

/// One interval of a bus.
struct BusSeries {
  std::string bus{};
  std::string trouble{};  ///< why its counters were given up; empty: they were read to the end
  std::size_t first = 0;
  std::vector<std::uint32_t> takeovers{};  ///< of the lock
  /// Among them those from a living holder, for which a sender waited for all of its patience.
  std::vector<std::uint32_t> takeovers_living{};
};

struct WatchedJob {
  std::string name{};
  /// Whether it sends or receives through network interfaces of its namespace. If not, what these
  /// drop is none of its business.
  bool uses_network = true;
  /// What the IP stack counts for it: its frames are in UDP datagrams, or in TCP segments.
  bool uses_udp = true, uses_tcp = true;
  /// In which directions its frames pass these interfaces, as far as its losses are concerned: a
  /// job that sends to another job of the watch loses nothing, that one does.
  bool sends = true, receives = true;
  std::vector<std::size_t> senders{};  ///< the jobs that send to it
  /// Its frames pass a namespace of its own, so what the watching program's namespace counts is
  /// none of its business.
  bool is_host = false;
  std::vector<std::uint64_t> nets{};  ///< namespaces of its processes
};

struct WhySeries {
  double begin_s = 0;
  std::vector<double> ends_s{};  ///< of the intervals, growing
  bool waits_known = true;       ///< the kernel tells run delays
  bool tasks_missed = false;     ///< some looks at threads failed, though they had not ended
  std::vector<WatchedJob> jobs{};
  std::vector<TaskSeries> tasks{};
  std::vector<MachineStep> machine{};
  std::vector<GroupSeries> groups{};
  std::vector<DeviceSeries> devices{};
  std::vector<QueueSeries> queues{};
  std::vector<NetSeries> nets{};
  std::uint64_t own_net = 0;  ///< the namespace of the watching program
  std::vector<PortSeries> ports{};
  std::vector<BusSeries> buses{};
  std::vector<MissingSource> missing{};

  /// Notes, once for each source, why something was not seen.
  void miss(const std::string& source, const std::string& reason) {
    if (std::ranges::find(missing, source, &MissingSource::source) != missing.end()) return;
    debug(Debug::why, [&] { return "does not see " + source + ": " + reason; });
    missing.push_back({source, reason});
  }

  double begin_of(std::size_t interval) const {
    return interval == 0 ? begin_s : ends_s[interval - 1];
  }
  double seconds_of(std::size_t interval) const { return ends_s[interval] - begin_of(interval); }
};

/// What a job's traffic did in some time. Steps may have other borders than the intervals above.
struct TrafficStep {
  double begin_s = 0, end_s = 0;
  std::uint64_t lost = 0, overruns = 0;
  std::optional<double> latency_max_ns{};
  std::optional<std::uint64_t> received{};
};
/// What a fault link did to the frames that were sent to a job.
struct FaultTraffic {
  std::string where{};    ///< the job at whose end it is
  std::string options{};  ///< "loss=1%"
  std::uint64_t frames = 0;
  std::uint64_t lost = 0;        ///< as it was asked to, or held back until the end
  std::uint64_t queue_full = 0;  ///< too many waited for their delay or rate
};
struct JobTraffic {
  std::string job{};
  std::vector<TrafficStep> steps{};
  std::vector<FaultTraffic> faults{};
  /// Lost by overruns of a port of a bus: no network interface, and no socket, can have lost them.
  bool of_port = false;
};

}  // namespace shmif::perf
