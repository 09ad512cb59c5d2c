#pragma once
// The kernel's own monitor of accesses, DAMON, driven through /sys/kernel/mm/damon/admin
// (sysfs-kernel-mm-damon of the kernel's ABI documents).
//
// Each process that is watched gets a kernel thread of its own, with one context and one target. So
// the regions of one are not taken for those of another, and one that ends ends alone.
//
// The directory is the machine's, not this user's: creating kernel threads there removes those of
// others. So nothing is written unless nr_kdamonds is 0, and it becomes 0 again at the end. What
// somebody else has put there meanwhile is left alone.
//
// Kernels from 6.2 on tell the regions in files ("tried_regions" of a scheme that does nothing).
// Older ones tell them only by the tracepoint damon:damon_aggregated.

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/heat/attributes.hpp"
#include "perf/heat/damon_space.hpp"
#include "perf/heat/damon_trace.hpp"
#include "perf/heat/regions.hpp"
#include "perf/heat/source.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

struct DamonTarget {
  pid_t pid = 0;                       ///< not for paddr
  std::vector<AddressRange> ranges{};  ///< not for vaddr
};

struct DamonSetup {
  HeatAttributes attributes;
  DamonSpace space = DamonSpace::vaddr;
  std::vector<DamonTarget> targets;  ///< of paddr: one
};

/// The numbers of the kernel threads that are ours, in the order of their directories; 0: not known
/// yet. Threads: any. Blocks: never.
class DamonRecord {
 public:
  void set(std::vector<pid_t> threads);
  std::vector<pid_t> threads() const;

 private:
  mutable std::mutex mutex_;
  std::vector<pid_t> threads_;
};

/// The contexts that the kernel has. `own`: what a record says. A context is ours if nobody has
/// made others since, and its thread is that of the record or has ended.
struct DamonContexts {
  std::uint64_t own = 0, foreign = 0;
};
/// Errors: the errno, if the kernel does not tell. Blocks: never.
Result<DamonContexts> count_damon_contexts(const std::vector<pid_t>& own, const KernelFiles& files);

/// Does it, and again for up to a tenth of a second while the kernel says EBUSY. Blocks: as long.
Result<void> while_damon_is_busy(const std::function<Result<void>()>& once);

/// Contexts in the kernel that are ours. Threads: one at a time. Blocks: while the kernel answers;
/// regions() up to an aggregation interval.
class DamonContext {
 public:
  /// Sets them up and turns them on. What was set up is removed if a step fails. `record`: knows
  /// them from before they exist until they are gone. Errors: Errc::busy if somebody uses DAMON;
  /// Errc::not_supported if the kernel has none, or not this space; the errno of what the kernel
  /// refused.
  static Result<DamonContext> begin(const DamonSetup& setup,
                                    const KernelFiles& files = KernelFiles(),
                                    std::shared_ptr<DamonRecord> record = nullptr);
  DamonContext(DamonContext&& other) noexcept;
  DamonContext& operator=(DamonContext&&) = delete;
  /// Turns them off, and removes them.
  ~DamonContext();

  /// Whether that of a target still runs: the kernel turns it off when the target has ended.
  Result<bool> is_on(std::size_t target = 0) const;
  /// The regions of the last window of a target that has ended; of tracing kernels, those since the
  /// last call.
  Result<std::vector<Region>> regions(std::size_t target = 0);
  /// Number of the kernel's thread that watches a target; 0: not known.
  pid_t thread_of(std::size_t target) const noexcept {
    return target < threads_.size() ? threads_[target] : 0;
  }
  /// By which of the kernel's files they tell regions.
  const char* means() const noexcept;

 private:
  DamonContext(KernelFiles files, std::shared_ptr<DamonRecord> record)
      : files_(std::move(files)), record_(std::move(record)) {}
  Result<void> write(const std::string& name, const std::string& text) const;
  Result<void> write(const std::string& name, std::uint64_t number) const;
  Result<void> command(std::size_t thread, const char* word) const;
  Result<void> set_up(const DamonSetup& setup);
  Result<void> set_up_context(std::size_t thread, const DamonSetup& setup);
  Result<void> turn_on(std::size_t thread);
  Result<void> set_attributes(std::size_t thread, const HeatAttributes& attributes) const;
  Result<void> set_target(std::size_t thread, DamonSpace space, const DamonTarget& target) const;
  Result<void> prepare_results(std::size_t thread);
  Result<std::vector<Region>> tried_regions(std::size_t thread) const;

  KernelFiles files_;
  std::shared_ptr<DamonRecord> record_;
  std::vector<pid_t> threads_;      ///< ours; 0: not known; empty: there are none
  std::vector<DamonTrace> traces_;  ///< of each thread, if regions are traced
};

/// Watches memory by DAMON: a source for each process, in the same order; for paddr one source,
/// and the processes do not matter. Errors: as DamonContext::begin().
Result<std::vector<std::unique_ptr<HeatSource>>> watch_by_damon(
    const std::vector<TaskId>& processes, const HeatAttributes& attributes,
    const DamonMemory& memory, const KernelFiles& files = KernelFiles(),
    std::shared_ptr<DamonRecord> record = nullptr);

}  // namespace shmif::perf
