#pragma once
// The machine that figures were measured on: what it is, and what else it did meanwhile.
//
// What cannot be found out is empty or nothing; no line of /proc is taken for granted.

#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "perf/run/run_result.hpp"

namespace shmif::perf {

/// This machine; `window` is left empty. `root` is put before /proc and /sys, for tests.
MachineResult describe_machine(const std::string& root = {});

/// What one CPU has done since it was started, in ticks of whatever length.
struct CpuTicks {
  int cpu = 0;
  std::uint64_t user = 0, system = 0, idle = 0, steal = 0, irq = 0;
  bool operator==(const CpuTicks&) const = default;
};
/// Of each CPU in the text of /proc/stat (proc_stat(5)): niced time is user's, waiting for I/O is
/// idle, irq and softirq are one. Lines that are no such line are skipped.
std::vector<CpuTicks> parse_cpu_ticks(std::string_view text);
/// The shares of the time between. CPUs that are in only one of the two, or passed no time, are
/// left out; what ran backwards (proc_stat(5) says that idle may) counts as 0.
std::vector<CpuShare> shares_between(const std::vector<CpuTicks>& begin,
                                     const std::vector<CpuTicks>& end);

/// What the CPUs do from when it is made. Threads: one at a time. Blocks: no longer than a read of
/// /proc/stat.
class CpuWindow {
 public:
  explicit CpuWindow(std::string path = "/proc/stat");
  /// Up to now; empty where the kernel does not tell. Ticks are 10 ms long as a rule, so a window
  /// of less than a second says little.
  std::vector<CpuShare> shares() const;

 private:
  std::string path_;
  std::vector<CpuTicks> begin_;
};

/// What a thread or a process has used since this was made. The sum of its two times is by the CPU
/// clock of the thread or process. That clock is exact for the calling thread; for other threads
/// that run it lags behind by up to a tick, some milliseconds, as getrusage() does for all of them.
/// Threads: for Of::thread, that which made it.
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
  /// Seconds of that; nothing where there is no such clock, as of children.
  static std::optional<double> clock_of(Of of) noexcept;

  Of of_;
  std::optional<double> begin_clock_;
  CpuResult begin_;
};

}  // namespace shmif::perf
