#pragma once
// Takes looks at watched processes, their machine and their buses, again and again.
//
// A look costs about 30 us for each running thread. So ten jobs at ten looks a second take less
// than 0.5 % of a CPU. A long watch looks less often. Otherwise its data would grow without limit,
// and nobody needs tenths of seconds of a whole day.

#include <sys/types.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "instruments/watch/capability.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/why/analysis.hpp"
#include "instruments/why/machine_watch.hpp"
#include "instruments/why/net_watch.hpp"
#include "instruments/why/series.hpp"
#include "instruments/why/task_watch.hpp"

namespace shmif::perf {

/// What `shmifperf why` can see on this machine. First "why" for the whole command, then an entry
/// for each source that some machines lack. Threads: any. Blocks: while the kernel reads the files.
std::vector<Capability> why_capabilities(const KernelFiles& files);

/// Threads: one at a time. Blocks: only for short reads.
class WhySampler {
 public:
  /// `origin_ns`: the time of CLOCK_MONOTONIC that counts as 0 s.
  WhySampler(const KernelFiles& files, std::uint64_t origin_ns,
             MachineSources sources = MachineSources::all);

  /// Adds a job. Result: its number.
  std::size_t add_job(WatchedJob job);
  std::size_t add_job(std::string name) { return add_job(WatchedJob{.name = std::move(name)}); }
  /// Watches a process and its children as part of a job. Result: false if there is no such process
  /// (it may have ended).
  bool add_process(std::size_t job, pid_t pid) { return tasks_.add(pid, job); }
  /// Watches one thread of a process, and the processes that the thread starts, as part of a job.
  bool add_thread(std::size_t job, pid_t thread) { return tasks_.add_thread(thread, job); }
  /// Errors: those of Bus::open.
  Result<void> add_bus(const std::string& path);

  /// Takes a look. The first look only notes the values of the counters. `now_ns`: of
  /// CLOCK_MONOTONIC.
  void sample(std::uint64_t now_ns);
  /// When the next look is due: `interval_ns` after the last one, or later in a long watch.
  std::uint64_t next_ns(std::uint64_t interval_ns) const noexcept;

  const WhySeries& series() const noexcept { return series_; }
  /// CPU time of all looks.
  double own_seconds() const noexcept { return own_seconds_; }
  /// The CPU time that a look usually takes: the smallest of the last few. The first look is left
  /// out, because it opens files.
  double usual_look_seconds() const noexcept;

 private:
  WhySeries series_;
  std::uint64_t origin_ns_, last_ns_ = 0;
  MachineWatch machine_;
  GroupWatch groups_;
  NetWatch nets_;
  TaskWatch tasks_;
  std::list<PortWatch> buses_;
  std::size_t looks_ = 0;
  double own_seconds_ = 0;
  std::array<double, 4> last_seconds_{};  ///< of the last looks
};

/// The losses of the watched ports of buses, as the traffic of their jobs.
std::vector<JobTraffic> traffic_of_ports(const WhySeries& series);

/// The whole machine, over the whole watch.
struct MachineSummary {
  /// Shares of the time of one CPU, summed over all CPUs; empty if /proc/stat could not be read.
  std::optional<double> steal, softirq;
  std::optional<std::uint64_t> queue_drops, squeezes;  ///< empty if softnet_stat could not be read
  /// Shares of the time for which a thread waited (PSI); empty if the kernel does not tell.
  std::optional<double> cpu_pressure, memory_pressure, io_pressure;
};

/// A bus, over the whole watch.
struct BusSummary {
  std::string bus;
  /// Why its counters are known only until `known_until_s`; empty if they are known to the end.
  std::string trouble;
  double known_until_s = 0;
  std::uint64_t takeovers = 0, lock_sleeps = 0, pauses = 0, stalls = 0, overruns = 0;
  double paused_s = 0;  ///< of all ports
};

/// All results of a watch, for the reports.
struct WhyResult {
  double seconds = 0;
  std::size_t looks = 0;  ///< intervals
  bool partial = false;   ///< ended by a signal
  double own_share = 0;   ///< CPU time of the looks, as a share of the time of one CPU
  std::vector<Cause> causes;
  std::vector<TaskSummary> tasks;
  MachineSummary machine;
  std::vector<BusSummary> buses;
  std::vector<MissingSource> missing;
  bool tasks_missed = false;  ///< some looks at living threads failed
};

WhyResult why_result(const WhySampler& sampler, std::span<const JobTraffic> traffic);

}  // namespace shmif::perf
