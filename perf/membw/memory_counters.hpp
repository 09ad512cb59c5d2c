#pragma once
// Finds the counters of memory controllers that count memory traffic, as sysfs describes them.
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
#include "perf/counters/event.hpp"
#include "perf/watch/kernel_files.hpp"

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

}  // namespace shmif::perf
