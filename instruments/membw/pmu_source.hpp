#pragma once
// Measures memory bandwidth with the counters of the memory controllers, which sysfs describes.
//
// Intel: a PMU uncore_imc_N for each channel, with the events cas_count_read and cas_count_write
// (newer processors: one pair for each half, cas_count_read_sch0 and so on). Each event gets one
// counter for each socket. The PMUs uncore_imc_free_running_N count the same traffic a second time,
// and can neither be reset nor stopped, so they are not used.
//
// AMD: a PMU amd_umc_N for each channel (Linux 6.8, Zen 4), otherwise the data fabric, amd_df.
// Sysfs describes the fields of their events, but not the events. The numbers of the events come
// from AMD's Processor Programming References.

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/event.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/membw/source.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// A counter to open.
struct MemoryCounter {
  enum class Counts { reads, writes, both };

  std::string name;  ///< "uncore_imc_0/cas_count_read/ on CPU 28"
  Counts counts = Counts::reads;
  CounterEvent event{};
  int cpu = 0;
  double bytes_per_count = 0;
};

/// All counters of all memory controllers, or only those of one socket. Fails if one controller of
/// the machine cannot be used, because a part of the traffic would then pass for the whole. Errors:
/// Errc::not_supported if there is no such PMU; Errc::bad_argument and an errno for a
/// description that is missing or broken, with the file. Threads: any. Blocks: while it reads
/// files.
Result<std::vector<MemoryCounter>> find_memory_counters(const KernelFiles& files,
                                                        std::optional<unsigned> socket = {});

/// Where a CPU is: its socket, and the domain of its last-level cache, by which resctrl counts.
struct CpuPlace {
  unsigned socket = 0;
  unsigned l3_domain = 0;
};
/// Reads /sys/devices/system/cpu/cpuN: topology/physical_package_id, and the id of the level 3
/// cache. Errors: Errc::not_supported if the CPU has no such cache; those of KernelFiles. Threads:
/// any. Blocks: while it reads files.
Result<CpuPlace> place_of_cpu(const KernelFiles& files, unsigned cpu);

/// Counts the traffic of all programs, on the machine or on one socket. Each counter is scaled by
/// its own times, because a counter that shared its register with others ran only in a part of the
/// window.
class PmuSource final : public MemorySource {
 public:
  explicit PmuSource(KernelFiles files, std::optional<unsigned> socket = {},
                     KernelCounters& kernel = kernel_counters(), MonotonicClock clock = now_ns);
  ~PmuSource() override;

  std::string name() const override { return "pmu"; }
  std::string origin() const override;
  MemoryScope scope() const override {
    return socket_ ? MemoryScope::socket : MemoryScope::machine;
  }
  MemoryLevel level() const override { return MemoryLevel::dram; }

  Result<void> open(const std::vector<pid_t>& processes) override;
  Result<void> enable() override;
  Result<void> disable() override;
  MemoryReading read() override;
  Result<void> close() override;

 private:
  /// What the kernel returns. A reset does not change the times.
  struct RawCount {
    std::uint64_t value = 0, enabled_ns = 0, running_ns = 0;
  };
  struct Open {
    MemoryCounter counter;
    int file;
    RawCount before{};
  };
  Result<int> open_one(const MemoryCounter& counter) const;
  Result<void> control(const Open& each, unsigned long request, const char* what) const;
  Result<RawCount> count_of(const Open& each) const;
  void release() noexcept;

  KernelFiles files_;
  std::optional<unsigned> socket_;
  KernelCounters& kernel_;
  MonotonicClock clock_;
  std::vector<Open> open_;
  std::uint64_t begin_ns_ = 0, end_ns_ = 0;
};

}  // namespace shmif::perf
