#pragma once
// What the machine as a whole did in each interval: steal, softirqs, queues of packets, pressure;
// and the interfaces of network namespaces.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "perf/watch/kernel_files.hpp"
#include "perf/why/kernel_text.hpp"
#include "perf/why/repeated_file.hpp"
#include "perf/why/series.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never for long.
class MachineWatch {
 public:
  /// Notes in `series` what this machine does not have.
  MachineWatch(const KernelFiles& files, WhySeries& series);
  /// Reads all sources. Adds a step, unless this is the first time.
  void sample(WhySeries& series);

 private:
  struct Cpu {
    std::uint64_t steal = 0, softirq = 0, packets = 0, drops = 0, squeezes = 0;
  };
  struct Pressure {
    RepeatedFile file;
    std::uint64_t total = 0;
  };
  CpuStep& step_of(MachineStep& step, unsigned cpu);
  void add_ticks(MachineStep& step);
  void add_softnet(MachineStep& step);
  std::optional<std::uint32_t> pressure(Pressure& of);

  RepeatedFile stat_, softnet_;
  Pressure memory_, cpu_, io_;
  std::vector<Cpu> cpus_;
  std::vector<char> buffer_;
  std::uint64_t tick_us_;
  bool begun_ = false;
};

/// The interfaces of the namespaces of watched processes. Threads: one at a time.
class NetWatch {
 public:
  explicit NetWatch(const KernelFiles& files) : files_(files) {}

  /// The namespace of a process, which is watched from now on; 0 if it cannot be told.
  std::uint64_t find(pid_t pid);
  /// Adds a step to each interface. A namespace whose process has ended is let go: an open file
  /// would keep it.
  void sample(WhySeries& series);

 private:
  struct Device {
    std::size_t number = 0;  ///< in `series.devices`
    DeviceCounts counts;
    bool seen = false;
  };
  struct Net {
    pid_t pid = 0;
    RepeatedFile file;
    bool begun = false;
    std::map<std::string, Device> devices;
  };
  void read(std::uint64_t id, Net& net, WhySeries& series);

  const KernelFiles files_;
  std::map<std::uint64_t, Net> nets_;
  std::vector<char> buffer_;
};

}  // namespace shmif::perf
