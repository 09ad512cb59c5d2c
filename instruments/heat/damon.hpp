#pragma once
// Uses DAMON, the kernel's own monitor of accesses, through /sys/kernel/mm/damon/admin
// (sysfs-kernel-mm-damon in the kernel's ABI documents).
//
// Each watched process gets its own kernel thread, with one context and one target. So regions of
// different processes are not mixed up, and a process that ends does not end the watch of the
// others.
//
// The directory belongs to the whole machine, not to this user: whoever creates kernel threads
// there removes those of others. So we write only if nr_kdamonds is 0, and set it to 0 again at the
// end. We do not touch what somebody else has put there meanwhile.
//
// The kernel shows the regions in files ("tried_regions" of a scheme that does nothing), from Linux
// 6.2 on.

#include <sys/types.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/heat/source.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

// Names the memory that DAMON watches, in the words of its users.

enum class DamonSpace : std::uint8_t {
  vaddr,   ///< all mappings of processes
  fvaddr,  ///< given ranges of processes
  paddr,   ///< given ranges of physical memory, without a process
};

struct DamonMemory {
  DamonSpace space = DamonSpace::vaddr;
  std::vector<AddressRange> ranges{};  ///< not for vaddr; empty for paddr: all physical memory
  bool operator==(const DamonMemory&) const = default;
};

/// "vaddr", "fvaddr", "paddr"; the kernel calls these operations.
const char* to_word(DamonSpace space) noexcept;
/// Errors: Errc::bad_argument for any other word.
Result<DamonSpace> read_damon_space(std::string_view word);

/// Reads address ranges such as "0x1000-0x3000,16384-20480": hexadecimal with 0x, otherwise
/// decimal. Each consists of whole pages, at least one, and does not begin before the end of the
/// previous range. At most 1024. Errors: Errc::bad_argument, and the message names the wrong word.
/// The whole text is then ignored.
Result<std::vector<AddressRange>> read_address_ranges(std::string_view text);

/// The text that read_address_ranges() reads back.
std::string address_ranges_text(const std::vector<AddressRange>& ranges);

/// Reads a space and its ranges. Each may be missing (nullptr). Errors: Errc::bad_argument, also if
/// the two do not fit together: fvaddr needs ranges, and vaddr must not have any.
Result<DamonMemory> read_damon_memory(const std::string* space, const std::string* ranges);

/// The machine's memory, as /proc/iomem lists it ("System RAM"). Errors: EPERM if the kernel hides
/// the addresses from this user; Errc::not_supported if it does not list memory; the errno. Blocks:
/// while the kernel answers.
Result<std::vector<AddressRange>> physical_memory(const KernelFiles& files = KernelFiles());

struct DamonTarget {
  pid_t pid = 0;                       ///< not for paddr
  std::vector<AddressRange> ranges{};  ///< not for vaddr
};

struct DamonSetup {
  HeatAttributes attributes;
  DamonSpace space = DamonSpace::vaddr;
  std::vector<DamonTarget> targets;  ///< exactly one for paddr
};

/// The numbers of our kernel threads, in the order of their directories; 0: not known yet. Threads:
/// any. Blocks: never.
class DamonRecord {
 public:
  void set(std::vector<pid_t> threads);
  std::vector<pid_t> threads() const;

 private:
  mutable std::mutex mutex_;
  std::vector<pid_t> threads_;
};

/// How many contexts the kernel has. A context is ours if nobody has made others since, and its
/// thread is the one in the record or has ended.
struct DamonContexts {
  std::uint64_t own = 0, foreign = 0;
};
/// Counts the contexts. `own`: the threads of a record. Errors: the errno, if the kernel does not
/// tell. Blocks: never.
Result<DamonContexts> count_damon_contexts(const std::vector<pid_t>& own, const KernelFiles& files);

/// Whether DAMON of this kernel can watch such memory. The kernel tells it where a context exists,
/// and by the names of its functions (/proc/kallsyms). Empty if it tells in neither way. Creates no
/// context. Blocks: while the kernel lists its functions.
std::optional<bool> damon_can_watch(DamonSpace space, const KernelFiles& files);

/// Calls `once`, and repeats it while the kernel returns EBUSY, for up to a tenth of a second.
/// Blocks: for that time.
Result<void> while_damon_is_busy(const std::function<Result<void>()>& once);

/// Our contexts in the kernel. Threads: one at a time. Blocks: while the kernel answers; regions()
/// up to an aggregation interval.
class DamonContext {
 public:
  /// Sets the contexts up and turns them on. If a step fails, removes what was set up. `record`:
  /// knows the contexts from before they exist until they are gone. Errors: Errc::busy if somebody
  /// uses DAMON; Errc::not_supported if the kernel does not have DAMON, or not this space; the
  /// errno of what the kernel refused.
  static Result<DamonContext> begin(const DamonSetup& setup,
                                    const KernelFiles& files = KernelFiles(),
                                    std::shared_ptr<DamonRecord> record = nullptr);
  DamonContext(DamonContext&& other) noexcept;
  DamonContext& operator=(DamonContext&&) = delete;
  /// Turns the contexts off, and removes them.
  ~DamonContext();

  /// Whether the context of a target still runs. The kernel turns it off when the target has ended.
  Result<bool> is_on(std::size_t target = 0) const;
  /// The regions of the target's last window that has ended.
  Result<std::vector<Region>> regions(std::size_t target = 0) const;
  /// The number of the kernel thread that watches a target; 0: not known.
  pid_t thread_of(std::size_t target) const noexcept {
    return target < threads_.size() ? threads_[target] : 0;
  }

 private:
  DamonContext(KernelFiles files, std::shared_ptr<DamonRecord> record)
      : files_(std::move(files)), record_(std::move(record)) {}
  Result<void> write(const std::string& name, const std::string& text) const;
  Result<void> command(std::size_t thread, const char* word) const;
  Result<void> set_up(const DamonSetup& setup);
  Result<void> set_up_context(std::size_t thread, const DamonSetup& setup);
  Result<void> turn_on(std::size_t thread);

  KernelFiles files_;
  std::shared_ptr<DamonRecord> record_;
  std::vector<pid_t> threads_;  ///< ours; 0: not known; empty if there are no threads
};

/// Watches memory with DAMON. Result: a source for each process, in the same order; for paddr one
/// source, and `processes` is ignored. Errors: as DamonContext::begin().
Result<std::vector<std::unique_ptr<HeatSource>>> watch_by_damon(
    const std::vector<TaskId>& processes, const HeatAttributes& attributes,
    const DamonMemory& memory, const KernelFiles& files = KernelFiles(),
    std::shared_ptr<DamonRecord> record = nullptr);

}  // namespace shmif::perf
