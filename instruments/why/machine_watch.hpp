#pragma once
// Watches the whole machine in each interval: steal, softirqs, queues of packets, pressure.

#include <cstdint>
#include <string>
#include <vector>

#include "instruments/watch/kernel_files.hpp"
#include "instruments/why/kernel_text.hpp"
#include "instruments/why/repeated_file.hpp"
#include "instruments/why/series.hpp"

namespace shmif::perf {

/// Which sources of the machine are read.
enum class MachineSources : std::uint8_t {
  all,
  /// Only those that can show a cause. The pressure of CPU and disk is only reported, and the
  /// queues of packets hold back only jobs that use network interfaces.
  of_causes,
};

/// Threads: one at a time. Blocks: only for short reads.
class MachineWatch {
 public:
  explicit MachineWatch(const KernelFiles& files, MachineSources sources = MachineSources::all);
  /// Reads the sources, and notes in `series` which of them cannot be read. Adds a step, except at
  /// the first call. A source that is left out is unknown, like one that cannot be read.
  void sample(WhySeries& series);

 private:
  /// Counters grow since boot. So a difference needs an earlier look at which they were read.
  struct Cpu {
    std::uint64_t steal = 0, softirq = 0;
    std::uint32_t packets = 0, drops = 0, squeezes = 0;  ///< 32 bits in the kernel
    std::size_t ticks_look = 0, softnet_look = 0;        ///< when they were read last
  };
  struct Pressure {
    RepeatedFile file;
    std::optional<std::uint64_t> total{};  ///< at the last look
  };
  CpuStep& step_of(MachineStep& step, unsigned cpu);
  Cpu& cpu_of(unsigned number);
  void add_ticks(MachineStep& step, WhySeries& series);
  void add_softnet(MachineStep& step, WhySeries& series);
  std::optional<std::uint32_t> pressure(Pressure& of, const char* source, WhySeries& series);

  RepeatedFile stat_, softnet_;
  Pressure memory_, cpu_, io_;
  std::vector<Cpu> cpus_;
  std::vector<char> buffer_;
  std::uint64_t tick_us_;
  MachineSources sources_;
  std::size_t looks_ = 0;
  bool had_ticks_ = false, had_softnet_ = false;  ///< at the last look
};

}  // namespace shmif::perf
