#pragma once
// The machine that figures were measured on: its description, and what else it did meanwhile.
//
// A value that cannot be found out is empty. No line of /proc is assumed to exist.

#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "perf/result/run_result.hpp"

namespace shmif::perf {

/// Describes this machine, except `window`. `root` is put before /proc and /sys, for tests.
MachineResult describe_machine(const std::string& root = {});

/// What one CPU has done since it was started, in ticks of any length.
struct CpuTicks {
  int cpu = 0;
  std::uint64_t user = 0, system = 0, idle = 0, steal = 0, irq = 0;
  bool operator==(const CpuTicks&) const = default;
};
/// The ticks of each CPU in the text of /proc/stat (proc_stat(5)): nice time counts as user,
/// waiting for I/O as idle, irq and softirq together. Other lines are skipped.
std::vector<CpuTicks> parse_cpu_ticks(std::string_view text);
/// The shares of the time between. CPUs that are in only one of the two, or whose time did not
/// advance, are left out. A value that went backwards (proc_stat(5) says that idle may) counts as
/// 0.
std::vector<CpuShare> shares_between(const std::vector<CpuTicks>& begin,
                                     const std::vector<CpuTicks>& end);

/// What the CPUs do since this was made. Threads: one at a time. Blocks: only to read /proc/stat.
class CpuWindow {
 public:
  explicit CpuWindow(std::string path = "/proc/stat");
  /// The shares up to now; empty if the kernel does not tell. Ticks are usually 10 ms long, so a
  /// window of less than a second says little.
  std::vector<CpuShare> shares() const;

 private:
  std::string path_;
  std::vector<CpuTicks> begin_;
};

/// What a thread or a process has used since this was made. The sum of its two times comes from the
/// CPU clock of the thread or process. That clock is exact for the calling thread. For other
/// running threads it lags behind by up to a tick, a few milliseconds, as getrusage() does for all
/// threads. Threads: for Of::thread, the thread that made it.
class Usage {
 public:
  enum class Of : int {
    thread = RUSAGE_THREAD,
    process = RUSAGE_SELF,
    children = RUSAGE_CHILDREN,  ///< those that were waited for
  };
  explicit Usage(Of of) noexcept;
  CpuResult so_far() const noexcept;

 private:
  /// Seconds of its CPU clock; empty if there is no such clock, as for children.
  static std::optional<double> clock_of(Of of) noexcept;

  Of of_;
  std::optional<double> begin_clock_;
  CpuResult begin_;
};

/// The CPU time that a thread or process has used since it began.
struct CpuTime {
  std::uint64_t user_ns = 0, system_ns = 0;
};
/// Threads: any. Blocks: never; takes less than a microsecond.
CpuTime cpu_time_of(Usage::Of of) noexcept;

}  // namespace shmif::perf
