#pragma once
// Where accesses are learned from. A source watches one process.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "perf/heat/regions.hpp"
#include "perf/watch/kernel_files.hpp"
#include "perf/watch/process.hpp"

namespace shmif::perf {

/// Memory with a name: a file, "[heap]", or what the target calls it.
struct NamedRange {
  AddressRange range;
  std::string name;
  std::uint64_t inode = 0;  ///< of the file; 0: no file
  bool operator==(const NamedRange&) const = default;
};

/// How well a source knows.
struct HeatProvenance {
  std::string source;         ///< "client", "written", "clear_refs" or "damon"
  std::string precision;      ///< "page", "sampled page", "mapping" or "region"
  std::string means;          ///< the kernel's files and calls that tell it
  std::string writes_reason;  ///< why writes are not measured; empty: they are
  /// How well reads are known, if `accesses` of regions are writes alone: "mapping". Else empty.
  std::string reads_precision{};
  std::string reads_reason{};  ///< why not even so
  std::string note{};          ///< what else there is to know; empty: nothing
};

/// In how many looks a mapping as a whole was accessed: read or written.
struct MappingLooks {
  struct Mapping {
    NamedRange memory;
    std::uint32_t accesses = 0;
  };
  std::uint32_t looks = 0;
  std::vector<Mapping> mappings;
};

/// Threads: one at a time. All calls that fail with ESRCH mean that the target has ended.
class HeatSource {
 public:
  HeatSource() = default;
  HeatSource(const HeatSource&) = delete;
  HeatSource& operator=(const HeatSource&) = delete;
  virtual ~HeatSource() = default;

  virtual const HeatProvenance& provenance() const noexcept = 0;
  /// It may change when ranges() is called.
  virtual Looking looking() const noexcept = 0;
  /// CPU time that the last sample cost: of this process, which spent `here` on it, and of the
  /// target. Samples are taken as seldom as needed for that to be 1 % of the time.
  virtual std::chrono::nanoseconds cost(std::chrono::nanoseconds here) const noexcept = 0;
  /// Whether a sample costs the target time. There are rests between such samples; other samples
  /// last longer instead, and miss nothing.
  virtual bool burdens_target() const noexcept { return false; }
  /// What it can watch now. Blocks: while the kernel or the target answers.
  virtual Result<std::vector<NamedRange>> ranges() = 0;
  /// Begins a sample: forgets which pages were accessed before. Blocks: as ranges().
  virtual Result<void> forget(Regions& regions) = 0;
  /// Ends it: tells the regions what was accessed. Blocks: as ranges().
  virtual Result<void> look(Regions& regions) = 0;
  /// Whether it has regions of its own, of a whole window. A look is then made once in a window.
  virtual bool keeps_regions() const noexcept { return false; }
  /// Those that the last look found.
  virtual std::vector<Region> take_regions() { return {}; }
  /// Leaves the memory to another source. ranges() begins anew.
  virtual void let_go() {}
  /// Whether nothing is known until ranges() is called: the target executes another program.
  virtual bool is_lost() const noexcept { return false; }
  /// What it knows of mappings besides, since it began.
  virtual const MappingLooks& mappings() const noexcept {
    static const MappingLooks none;
    return none;
  }
  /// Number of the kernel's thread that looks; 0: none, or not known.
  virtual pid_t kernel_thread() const noexcept { return 0; }
  /// Bytes accessed in one sample, the most since this was asked last, if the source knows better
  /// than the regions.
  virtual std::optional<std::uint64_t> take_working_set() { return std::nullopt; }
};

/// A mapping in a text as /proc/PID/smaps.
struct MappingUse {
  NamedRange memory;
  bool is_accessible = false;  ///< reading or writing or executing is allowed
  std::uint64_t resident_bytes = 0;
  std::uint64_t referenced_bytes = 0;
};
/// Errors: Errc::bad_argument for a text of another form.
Result<std::vector<MappingUse>> read_smaps(std::string_view text);

/// Knows whether each mapping as a whole was accessed: writes to /proc/PID/clear_refs, and reads
/// "Referenced" in /proc/PID/smaps. Works for any process, from Linux 2.6.22 on. The machine's
/// page reclaim then forgets what this process used lately. Errors: EACCES or
/// EPERM, with what would help.
Result<std::unique_ptr<HeatSource>> watch_by_clear_refs(const TaskId& process,
                                                        const KernelFiles& files = KernelFiles());

/// Knows which pages any process writes: perf/heat/written.cpp. The process is stopped for a moment
/// when ranges() is called first, and when it has executed another program. From Linux 6.7 on.
/// Errors, here or then: Errc::not_supported, Errc::busy, EPERM, with what would help.
Result<std::unique_ptr<HeatSource>> watch_by_written(const TaskId& process,
                                                     const KernelFiles& files = KernelFiles());
/// Whether this kernel and processor can do that at all. Errors: Errc::not_supported; the errno.
Result<void> expect_written();

/// Knows each page of the mappings that a process shares (shmif/heat_share.hpp). `folder`: what
/// SHMIF_HEAT names there. Errors: Errc::not_supported if the process does not take part, or its
/// kernel cannot; Errc::busy if another monitor is connected.
/// `found`: called before the process is asked for what needs its memory.
Result<std::unique_ptr<HeatSource>> watch_by_client(
    pid_t process, const std::string& folder, const std::function<void()>& found = [] {});

/// A process that takes part, by the number that it has here.
struct HeatClient {
  pid_t pid = 0;
  std::unique_ptr<HeatSource> source;  ///< connected; none if it cannot be watched
  std::string reason;                  ///< why there is none
};
/// The directory that SHMIF_HEAT named when the process began; empty: none. Errors: EACCES, ENOENT.
Result<std::string> heat_folder_of(pid_t pid, const KernelFiles& files = KernelFiles());
/// Up to so many pages all of them are looked at in each sample: 16 MiB take about 100 us.
inline constexpr std::uint64_t kMaxPagesOfAll = 4096;
/// The one whose socket is `name` in `folder`. `pages_of_all`: if it shares more pages, one page
/// stands for a region. Errors: nobody listens there, or not yet.
Result<HeatClient> heat_client_at(const std::string& folder, const std::string& name,
                                  std::uint64_t pages_of_all = kMaxPagesOfAll);
/// All that take part in `folder`. `stops`: asked between two of them. Blocks: for a second at
/// most, however many do not answer, and half a second more for each descriptor of a file system
/// that does not answer.
Result<std::vector<HeatClient>> heat_clients(
    const std::string& folder, const std::function<bool()>& stops = [] { return false; });

}  // namespace shmif::perf
