#pragma once
// Looks at watched processes, their machine and their buses again and again.
//
// A look costs some 30 us for each thread that runs, so that ten jobs at ten looks a second take
// less than 0.5 % of a CPU. A long watch looks less often: its data would grow without limit
// otherwise, and nobody reads tenths of seconds of a day.

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/watch/kernel_files.hpp"
#include "perf/why/group_watch.hpp"
#include "perf/why/machine_watch.hpp"
#include "perf/why/net_watch.hpp"
#include "perf/why/port_watch.hpp"
#include "perf/why/series.hpp"
#include "perf/why/task_watch.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never for long.
class WhySampler {
 public:
  /// The time is 0 s at `origin_ns`, on CLOCK_MONOTONIC.
  WhySampler(const KernelFiles& files, std::uint64_t origin_ns,
             MachineSources sources = MachineSources::all);

  /// Result: the number of the job.
  std::size_t add_job(WatchedJob job);
  std::size_t add_job(std::string name) { return add_job(WatchedJob{.name = std::move(name)}); }
  /// Watches a process and its children as part of a job. Result: false if there is no such process
  /// (it may have ended).
  bool add_process(std::size_t job, pid_t pid) { return tasks_.add(pid, job); }
  /// Watches one thread of a process, and the processes that it makes, as part of a job.
  bool add_thread(std::size_t job, pid_t thread) { return tasks_.add_thread(thread, job); }
  /// Errors: those of Bus::open.
  Result<void> add_bus(const std::string& path);

  /// Takes a look. The first one only notes where the counters stand. `now_ns`: on CLOCK_MONOTONIC.
  void sample(std::uint64_t now_ns);
  /// When the next look is due: `interval_ns` after the last one, and later the longer the watch.
  std::uint64_t next_ns(std::uint64_t interval_ns) const noexcept;
  bool have_ended() const noexcept { return tasks_.have_ended(); }

  const WhySeries& series() const noexcept { return series_; }
  /// CPU time of all looks.
  double own_seconds() const noexcept { return own_seconds_; }
  /// CPU time that a look usually takes: the least of the last few. The first look opens files, so
  /// it does not count.
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

/// What the watched ports of buses lost, as the traffic of their jobs.
std::vector<JobTraffic> traffic_of_ports(const WhySeries& series);

}  // namespace shmif::perf
