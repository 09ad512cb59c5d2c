#pragma once
// What was seen of the watched jobs, interval by interval, as plain data. The sampler fills it in
// and the analysis reads it, so each works and is tested without the other.
//
// Every figure is what was added in one interval. Series of all kinds have one step for each
// interval; a thread that came later or ended earlier has fewer.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/watch/process.hpp"
#include "perf/why/cause.hpp"

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
  std::vector<PortSeries> ports{};
  std::vector<BusSeries> buses{};
  std::vector<MissingSource> missing{};

  /// Notes, once for each source, why something was not seen.
  void miss(const std::string& source, const std::string& reason) {
    if (std::ranges::find(missing, source, &MissingSource::source) != missing.end()) return;
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
};
struct JobTraffic {
  std::string job{};
  std::vector<TrafficStep> steps{};
};

}  // namespace shmif::perf
