#pragma once
// Watches the whole machine in each interval: steal, softirqs, queues of packets, pressure; and the
// ports of its buses.

#include <sys/types.h>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "instruments/watch/kernel_files.hpp"
#include "instruments/why/kernel_text.hpp"
#include "instruments/why/series.hpp"
#include "instruments/why/task_watch.hpp"
#include "shmif/bus.hpp"

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

/// Watches the ports of a bus through the counters of its port table. Threads: one at a time.
/// Blocks: never.
class PortWatch {
 public:
  /// Errors: those of Bus::open.
  static Result<PortWatch> open(const std::string& path);

  /// Adds a step to each port, except at the first look. `tasks` knows which jobs have the ports.
  void sample(WhySeries& series, const TaskWatch& tasks);

 private:
  struct Port {
    std::size_t number = 0;  ///< in `series.ports`
    PortCounters counts;
    std::uint64_t stalls = 0;
    std::set<pid_t> others;  ///< watched processes that do not have this port
  };
  PortWatch(std::string path, Bus bus) : path_(std::move(path)), bus_(std::move(bus)) {}

  std::optional<off_t> size_now(const BusInfo& info) const;
  /// Why the values read cannot be counters of the bus; empty if they can.
  std::string trouble_of(const BusInfo& info, double seconds) const;
  void note_deletion(const BusInfo& info, WhySeries& series);
  void give_up(WhySeries& series, const std::string& why);

  std::string path_;
  Bus bus_;
  std::optional<std::size_t> number_;                         ///< in `series.buses`
  std::map<std::pair<unsigned, std::uint32_t>, Port> ports_;  ///< by slot and incarnation
  std::uint64_t takeovers_dead_ = 0, takeovers_living_ = 0;
  std::uint64_t last_ = 0, epoch_ = 0;  ///< of the ring, at the last look
  off_t bytes_ = 0;                     ///< of the file, at the first look; 0 if already deleted
  bool given_up_ = false;
};

}  // namespace shmif::perf
