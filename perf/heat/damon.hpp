#pragma once
// The kernel's own monitor of accesses, DAMON, driven through /sys/kernel/mm/damon/admin
// (sysfs-kernel-mm-damon of the kernel's ABI documents).
//
// The directory is the machine's, not this user's: creating kernel threads there removes those of
// others. So nothing is written unless nr_kdamonds is 0, and it becomes 0 again at the end.
//
// Kernels from 6.2 on tell the regions in files ("tried_regions" of a scheme that does nothing).
// Older ones tell them only by the tracepoint damon:damon_aggregated.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/heat/attributes.hpp"
#include "perf/heat/regions.hpp"
#include "perf/heat/source.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

enum class DamonSpace : std::uint8_t {
  vaddr,   ///< all mappings of processes
  fvaddr,  ///< given ranges of processes
  paddr,   ///< given ranges of physical memory; without a process
};

struct DamonTarget {
  pid_t pid = 0;                       ///< not for paddr
  std::vector<AddressRange> ranges{};  ///< not for vaddr
};

struct DamonSetup {
  HeatAttributes attributes;
  DamonSpace space = DamonSpace::vaddr;
  std::vector<DamonTarget> targets;
};

/// A line of the tracepoint damon_aggregated: one region of a target.
struct DamonTraced {
  std::uint64_t target = 0;
  std::uint64_t regions = 0;  ///< of this target in this window
  Region region;
};
/// Errors: Errc::bad_argument for a line of another form.
Result<DamonTraced> read_damon_trace(std::string_view line);

/// A context in the kernel that is ours. Threads: one at a time. Blocks: while the kernel answers;
/// regions() up to an aggregation interval.
class DamonContext {
 public:
  /// Sets it up and turns it on. What was set up is removed if a step fails. Errors: Errc::busy if
  /// somebody uses DAMON; Errc::not_supported if the kernel has none, or not this space; the errno
  /// of what the kernel refused.
  static Result<DamonContext> begin(const DamonSetup& setup,
                                    const KernelFiles& files = KernelFiles());
  DamonContext(DamonContext&& other) noexcept;
  DamonContext& operator=(DamonContext&&) = delete;
  /// Turns it off, and removes it.
  ~DamonContext();

  /// Whether it still runs: the kernel turns it off when all targets have ended.
  Result<bool> is_on() const;
  /// Changes the attributes while it runs. Errors: the errno; the old ones then go on.
  Result<void> commit(const HeatAttributes& attributes);
  /// The regions of the last window that has ended; of tracing kernels, those since the last call.
  Result<std::vector<Region>> regions();
  /// By which of the kernel's files it tells regions.
  const char* means() const noexcept;

 private:
  explicit DamonContext(KernelFiles files) : files_(std::move(files)) {}
  Result<void> write(const std::string& name, const std::string& text) const;
  Result<void> write(const std::string& name, std::uint64_t number) const;
  Result<void> set_up(const DamonSetup& setup);
  Result<void> set_attributes(const HeatAttributes& attributes) const;
  Result<void> set_targets(const DamonSetup& setup) const;
  Result<void> prepare_results();
  Result<void> prepare_trace();
  Result<std::vector<Region>> tried_regions() const;
  Result<std::vector<Region>> traced_regions();

  KernelFiles files_;
  bool is_ours_ = false;
  std::string trace_;  ///< directory of our instance; empty: none
  UniqueFd pipe_;      ///< what it traces
  std::string unread_;
};

/// Watches a process by DAMON. Errors: as DamonContext::begin().
Result<std::unique_ptr<HeatSource>> watch_by_damon(const TaskId& process,
                                                   const HeatAttributes& attributes,
                                                   const KernelFiles& files = KernelFiles());

}  // namespace shmif::perf
