#pragma once
// What was seen of the watched jobs in each interval, as plain data. The sampler writes it and the
// analysis reads it, so each works and is tested without the other.
//
// Every figure is what was added in one interval. A series has one step for each interval. A thread
// that began later or ended earlier has fewer.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "instruments/watch/process.hpp"
#include "instruments/why/cause.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

inline constexpr double kMicro = 1e-6;                 ///< seconds in a microsecond
inline constexpr std::uint16_t kNowhere = UINT16_MAX;  ///< there is no group or namespace

/// One interval of a thread.
struct TaskStep {
  std::uint32_t run_us = 0;   ///< time with a CPU
  std::uint32_t wait_us = 0;  ///< ready to run, without a CPU; counted when it gets one
  std::uint32_t voluntary = 0, involuntary = 0;  ///< switches
  std::uint32_t migrations = 0;
  std::uint32_t minor_faults = 0, major_faults = 0;
  std::int16_t cpu = -1;  ///< the CPU where it ran last
  std::uint16_t group = kNowhere;
  char state = '?';    ///< at the end of the interval, as in proc_pid_stat(5)
  bool known = true;   ///< false if a file could not be read at its begin or end
  bool moved = false;  ///< the allowed CPUs were changed, so it had to leave its CPU
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
  double born_s = 0;  ///< when it began; negative if before the watch
  bool ended = false;
  std::vector<TaskStep> steps{};
  std::vector<AffinityChange> changes{};
};

/// One interval of a CPU, if any of these figures is not 0.
struct CpuStep {
  std::uint16_t cpu = 0;
  std::uint32_t steal_us = 0, softirq_us = 0;
  std::uint32_t packets = 0, drops = 0, squeezes = 0;  ///< from softnet_stat
};
struct MachineStep {
  std::vector<CpuStep> cpus{};
  /// False if /proc/stat, or softnet_stat, could not be read at the begin or end of the interval.
  bool stolen_known = true, queues_known = true;
  /// How long at least one thread waited for memory, a CPU or a disk (PSI, "some").
  std::optional<std::uint32_t> memory_us{}, cpu_us{}, io_us{};
};

/// One interval of a control group of version 2, or of several groups of version 1 with the same
/// members.
struct GroupStep {
  std::uint32_t throttled_us = 0, throttled_periods = 0;
  std::uint32_t at_limit = 0;  ///< how often it reached its memory limit
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
  socket_memory,   ///< UDP: the kernel's memory for UDP was used up
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
  bool v4 = false, v6 = false;  ///< the IP versions of the lost packets
};
/// One interval of a network namespace. A count is empty if a table could not be read at the begin
/// or end of the interval, or if the kernel does not have the table.
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
  std::string neighbour{};  ///< a neighbour that did not answer
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
  std::optional<std::size_t> job{};  ///< the watched job that has the port, if any
  std::size_t first = 0;
  std::vector<PortStep> steps{};
};

/// One interval of a bus.
struct BusSeries {
  std::string bus{};
  std::string trouble{};  ///< why we stopped reading its counters; empty if we read to the end
  std::size_t first = 0;
  std::vector<std::uint32_t> takeovers{};  ///< of the lock
  /// The part of these that took the lock from a living holder. Before each, a sender waited for
  /// its whole patience.
  std::vector<std::uint32_t> takeovers_living{};
};

struct WatchedJob {
  std::string name{};
  /// Whether it sends or receives through network interfaces of its namespace. If not, packets that
  /// these drop do not concern it.
  bool uses_network = true;
  /// Whether its frames are in UDP datagrams or in TCP segments, so that the IP stack counts them.
  bool uses_udp = true, uses_tcp = true;
  /// The directions in which frames that it can lose pass these interfaces. If it sends to another
  /// watched job, that job counts the losses.
  bool sends = true, receives = true;
  std::vector<std::size_t> senders{};  ///< the jobs that send to it
  /// Its frames pass its own namespace, so the counts of the watching program's namespace do not
  /// concern it.
  bool is_host = false;
  std::vector<std::uint64_t> nets{};  ///< namespaces of its processes
};

struct WhySeries {
  double begin_s = 0;
  std::vector<double> ends_s{};  ///< of the intervals, in ascending order
  bool waits_known = true;       ///< the kernel counts run delays
  bool tasks_missed = false;     ///< some looks at living threads failed
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

  /// Notes why a source could not be read, once for each source.
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

/// What happened to a job's traffic in a period. Steps may have other borders than the intervals
/// above.
struct TrafficStep {
  double begin_s = 0, end_s = 0;
  std::uint64_t lost = 0, overruns = 0;
  std::optional<double> latency_max_ns{};
  std::optional<std::uint64_t> received{};
};
/// What a fault link did to the frames that were sent to a job.
struct FaultTraffic {
  std::string where{};    ///< the job whose end has the link
  std::string options{};  ///< "loss=1%"
  std::uint64_t frames = 0;
  std::uint64_t lost = 0;        ///< lost as requested, or held back until the end
  std::uint64_t queue_full = 0;  ///< too many waited for their delay or rate
};
struct JobTraffic {
  std::string job{};
  std::vector<TrafficStep> steps{};
  std::vector<FaultTraffic> faults{};
  /// The frames were lost by overruns of a port of a bus. Network interfaces and sockets cannot
  /// have lost them.
  bool of_port = false;
};

}  // namespace shmif::perf
