#pragma once
// The sources that find accesses. A source watches one process.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/watch/process.hpp"

namespace shmif::perf {

/// Memory with a name: a file, "[heap]", or what the target calls it.
struct NamedRange {
  AddressRange range;
  std::string name;
  std::uint64_t inode = 0;   ///< of the file; 0 if it is not a file
  std::uint64_t device = 0;  ///< as in heat::SharedRange; 0 if it is not known
  bool operator==(const NamedRange&) const = default;
};

/// How a source learns of accesses, and how exactly.
struct HeatProvenance {
  std::string source;         ///< "client", "written", "clear_refs" or "damon"
  std::string precision;      ///< "page", "sampled page", "mapping" or "region"
  std::string means;          ///< the kernel's files and calls that it uses
  std::string writes_reason;  ///< why writes are not measured; empty if they are
  /// How exactly reads are known if `accesses` of regions are only writes: "mapping". Otherwise
  /// empty.
  std::string reads_precision{};
  std::string reads_reason{};  ///< why reads are not known even for mappings
  std::string note{};          ///< what else a reader should know
};

/// In how many looks each mapping, as a whole, was accessed: read or written.
struct MappingLooks {
  struct Mapping {
    NamedRange memory;
    std::uint32_t accesses = 0;
  };
  std::uint32_t looks = 0;
  std::vector<Mapping> mappings;
};

/// Threads: one at a time. If a call fails with ESRCH, the target has ended.
class HeatSource {
 public:
  HeatSource() = default;
  HeatSource(const HeatSource&) = delete;
  HeatSource& operator=(const HeatSource&) = delete;
  virtual ~HeatSource() = default;

  virtual const HeatProvenance& provenance() const noexcept = 0;
  /// A call of ranges() may change this.
  virtual Looking looking() const noexcept = 0;
  /// CPU time that the last sample cost this process, which spent `here` on it, and the target.
  /// Samples are taken so rarely that this is at most HeatOptions::budget of the time.
  virtual std::chrono::nanoseconds cost(std::chrono::nanoseconds here) const noexcept = 0;
  /// Whether a sample costs the target time. If so, there are rests between samples. Otherwise the
  /// samples last longer instead, and miss no access.
  virtual bool burdens_target() const noexcept { return false; }
  /// The memory that it can watch now. Blocks: while the kernel or the target answers.
  virtual Result<std::vector<NamedRange>> ranges() = 0;
  /// Begins a sample: forgets which pages were accessed before. Blocks: as ranges().
  virtual Result<void> forget(Regions& regions) = 0;
  /// Ends a sample: tells the regions what was accessed. Blocks: as ranges().
  virtual Result<void> look(Regions& regions) = 0;
  /// Whether the source itself finds the regions of a whole window. look() is then called once in a
  /// window.
  virtual bool keeps_regions() const noexcept { return false; }
  /// The regions that the last look found.
  virtual std::vector<Region> take_regions() { return {}; }
  /// Releases the memory for another source. A later call of ranges() begins anew.
  virtual void let_go() {}
  /// Whether the source needs a call of ranges() before it can look again, because the target
  /// executes another program.
  virtual bool is_lost() const noexcept { return false; }
  /// What it also knows of mappings, since it began.
  virtual const MappingLooks& mappings() const noexcept {
    static const MappingLooks none;
    return none;
  }
  /// The number of the kernel thread that looks; 0 if there is none, or it is not known.
  virtual pid_t kernel_thread() const noexcept { return 0; }
  /// The most bytes accessed in one sample since the last call, if the source knows this better
  /// than the regions.
  virtual std::optional<std::uint64_t> take_working_set() { return std::nullopt; }
};

/// Whether the process lives, and has not begun to exit. Physical memory (number 0) never ends.
bool is_alive(const TaskId& process, const KernelFiles& files);

/// A mapping in a text such as /proc/PID/smaps.
struct MappingUse {
  NamedRange memory;
  bool is_accessible = false;  ///< reading, writing or executing is allowed
  std::uint64_t referenced_bytes = 0;
};
/// Errors: Errc::bad_argument for a text of another form.
Result<std::vector<MappingUse>> read_smaps(std::string_view text);

/// Finds whether each mapping, as a whole, was accessed: writes to /proc/PID/clear_refs, and reads
/// "Referenced" in /proc/PID/smaps. Works for any process, from Linux 2.6.22 on. This makes the
/// machine's page reclaim forget what the process used lately. Errors: EACCES or EPERM, with what
/// would help.
Result<std::unique_ptr<HeatSource>> watch_by_clear_refs(const TaskId& process,
                                                        const KernelFiles& files = KernelFiles());

/// Finds which pages a program writes: instruments/heat/written.cpp. `userfaultfd`: of the
/// program's memory, not used yet (instruments/watch/exec_stop.hpp). From Linux 6.7 on. Errors, of
/// this function or of ranges(): Errc::not_supported, also if the program executes another one;
/// Errc::busy.
Result<std::unique_ptr<HeatSource>> watch_by_written(const TaskId& process, UniqueFd userfaultfd,
                                                     const KernelFiles& files = KernelFiles());
/// Checks that this kernel and processor support watch_by_written(). Errors: Errc::not_supported;
/// the errno.
Result<void> expect_written();

/// Finds accesses to each page of the mappings that a process shares (shmif/heat_share.hpp).
/// `folder`: the directory that SHMIF_HEAT names for the process. Errors: Errc::not_supported if
/// the process does not take part, or its kernel does not support it; Errc::busy if another monitor
/// is connected. `found`: called when the process was found, before the request that makes it
/// register its memory. `files`: by_helper() if another user named the folder.
Result<std::unique_ptr<HeatSource>> watch_by_client(
    pid_t process, const std::string& folder, const std::function<void()>& found = [] {},
    const KernelFiles& files = KernelFiles());

/// A process that takes part. `pid` is its number here.
struct HeatClient {
  pid_t pid = 0;
  std::unique_ptr<HeatSource> source;  ///< connected; null if it cannot be watched
  std::string reason;                  ///< why `source` is null
  bool has_left = false;               ///< it went before it answered, as a program does that ends
};
/// The directory that SHMIF_HEAT named when the process began; empty if it was not set. Errors:
/// EACCES, ENOENT.
Result<std::string> heat_folder_of(pid_t pid, const KernelFiles& files = KernelFiles());
/// With up to this many pages, each sample looks at all of them: 16 MiB take about 100 us.
inline constexpr std::uint64_t kMaxPagesOfAll = 4096;
/// The client whose socket is `name` in `folder`. `pages_of_all`: if it shares more pages than
/// this, one page stands for a region. Errors: no process listens there, or not yet.
Result<HeatClient> heat_client_at(const std::string& folder, const std::string& name,
                                  std::uint64_t pages_of_all = kMaxPagesOfAll);
/// All clients in `folder`. `stops`: called between two clients, to end early. Blocks: at most a
/// second, even if many clients do not answer, and half a second more for each descriptor of a file
/// system that does not answer. `files`: as for watch_by_client().
Result<std::vector<HeatClient>> heat_clients(
    const std::string& folder, const std::function<bool()>& stops = [] { return false; },
    const KernelFiles& files = KernelFiles());

/// The directory in which processes that we start share their access heat. Makes a new one in
/// $TMPDIR or /tmp. SHMIF_HEAT names it while this object lives. The destructor removes the
/// directory and restores SHMIF_HEAT. Make this object before the processes start, and while no
/// other thread reads the environment.
class HeatFolder {
 public:
  HeatFolder();
  HeatFolder(const HeatFolder&) = delete;
  HeatFolder& operator=(const HeatFolder&) = delete;
  ~HeatFolder();

  /// Empty if it could not be made.
  std::string path() const { return folder_ ? folder_->path() : std::string(); }
  /// Why the directory could not be made; empty if it was.
  const std::string& reason() const noexcept { return reason_; }

 private:
  std::optional<base::TemporaryFolder> folder_;
  std::string reason_;
  std::optional<std::string> before_;  ///< the earlier value of SHMIF_HEAT
};

}  // namespace shmif::perf
