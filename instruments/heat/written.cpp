// Watches a program page by page. When the program began, it made a userfaultfd(2) for us
// (instruments/watch/exec_stop.hpp), which protects its memory against writes asynchronously: the
// kernel removes the protection at a write, and the writer does not wait for us. PAGEMAP_SCAN tells
// which pages have lost their protection, and protects them again.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/files.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/source.hpp"
#include "instruments/watch/exec_stop.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using Clock = std::chrono::steady_clock;

/// The time that the target loses at the first write to a protected page (measured: 0.7 to 0.9 us).
constexpr std::chrono::nanoseconds kWriteFaultTime(800);
/// Up to 1 GiB of writable memory, each look scans all pages, in less than 3 ms. In larger targets,
/// one page stands for a region.
constexpr std::uint64_t kMaxPagesOfAllWritten = std::uint64_t{1} << 18U;
/// In mappings of files up to this size (16 GiB), pages that are not present are protected, too.
/// The kernel makes page tables of 32 MiB for that.
constexpr std::uint64_t kMaxBytesToProtect = std::uint64_t{1} << 34U;
/// At most this many descriptors of the process are checked.
constexpr std::size_t kMaxDescriptors = 4096;

constexpr std::uint64_t kFeatureFault = 1U << 0U;    // UFFD_FEATURE_PAGEFAULT_FLAG_WP
constexpr std::uint64_t kFeatureShared = 1U << 12U;  // UFFD_FEATURE_WP_HUGETLBFS_SHMEM, Linux 5.19
constexpr std::uint64_t kFeatureUnpopulated = 1U << 13U;  // UFFD_FEATURE_WP_UNPOPULATED, 6.4
constexpr std::uint64_t kFeatureAsync = 1U << 15U;        // UFFD_FEATURE_WP_ASYNC, 6.7

int begin_protocol(const UniqueFd& file) noexcept {
  uffdio_api arguments{};
  arguments.api = UFFD_API;
  arguments.features = kFeatureFault | kFeatureShared | kFeatureUnpopulated | kFeatureAsync;
  return ::ioctl(file.get(), UFFDIO_API, &arguments) == 0 ? 0 : errno;
}

Error too_old() {
  return {Errc::not_supported,
          "the kernel has no asynchronous write protection (Linux 6.7 or newer)"};
}

/// Adds the CPU time that this thread uses while the object exists. On a busy machine, this is less
/// than the elapsed time.
class Stopwatch {
 public:
  explicit Stopwatch(std::chrono::nanoseconds& sum) : sum_(sum), begun_(now()) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() { sum_ += now() - begun_; }

 private:
  static std::chrono::nanoseconds now() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }
  std::chrono::nanoseconds& sum_;
  std::chrono::nanoseconds begun_;
};

struct WritableMapping {
  NamedRange memory;
  bool is_of_file = false;  ///< or shared; then reads also put pages into the page table
  bool operator==(const WritableMapping&) const = default;
};

std::vector<WritableMapping> read_writable(const std::string& maps) {
  std::vector<WritableMapping> found;
  for (const std::string_view each : base::lines_in(maps)) {
    const std::string line(each);
    const auto mapped = base::read_maps_line(line);
    const std::size_t permissions = line.find(' ');
    if (!mapped || permissions == std::string::npos || line.size() < permissions + 3) continue;
    const std::size_t name_at = line.find_first_of("/[");
    const std::string name = name_at == std::string::npos ? std::string() : line.substr(name_at);
    if (line[permissions + 2] != 'w' || name.starts_with("[v")) continue;
    const bool is_of_file = mapped->is_shared || name.starts_with('/');
    found.push_back({{{mapped->begin, mapped->end}, name, 0}, is_of_file});
  }
  return found;
}

class Written : public HeatSource {
 public:
  Written(const TaskId& process, UniqueFd file, PageScan scan, KernelFiles files)
      : process_(process),
        folder_("/proc/" + std::to_string(process.number)),
        files_(std::move(files)),
        file_(std::move(file)),
        scan_(std::move(scan)) {
    describe();
  }

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return looking_; }
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    const auto faults = std::chrono::duration<double>(faults_ * kWriteFaultTime) / share_of_cpu_;
    return scanning_ + std::chrono::duration_cast<std::chrono::nanoseconds>(faults);
  }
  void let_go() override {
    for (const WritableMapping& each : known_) {
      uffdio_range range{each.memory.range.begin, each.memory.range.bytes()};
      static_cast<void>(::ioctl(file_.get(), UFFDIO_UNREGISTER, &range));
    }
    known_.clear();
    tell("no page is protected any more");
  }
  bool is_lost() const noexcept override { return is_lost_ || known_.empty(); }
  const MappingLooks& mappings() const noexcept override { return mappings_; }

  Result<std::vector<NamedRange>> ranges() override {
    if (auto same = expect_same_process(); !same) return same.error();
    if (auto own = expect_no_own_userfaultfd(); !own) {
      let_go();
      return own.error();
    }
    if (is_lost_ || is_of_old_program()) {
      return Error(Errc::not_supported,
                   "the program has executed another one, of which heat does not see the pages "
                   "(give that one to heat: write `nice shmifperf heat -- PROGRAM` for `shmifperf "
                   "heat -- nice PROGRAM`)");
    }
    auto ranges = register_all();
    if (!ranges) return ranges;
    describe();
    is_fresh_ = false;
    return ranges;
  }

  Result<void> forget(Regions& regions) override {
    if (looking_ == Looking::chosen_pages) chosen_ = regions.choose();
    scanning_ = {};
    faults_ = 0;
    begun_ = Clock::now();
    cpu_begun_ = cpu_time();
    if (is_lost_ || (looking_ == Looking::all_pages && is_fresh_)) return {};
    const Stopwatch time(scanning_);
    if (looking_ == Looking::all_pages) return note_earlier_faults(scan_.take_written(span_));
    for (const std::uint64_t page : chosen_) {
      const auto seen = scan_.take_written({page, page + page_bytes()});
      if (!seen) return lost(seen.error());
    }
    return {};
  }

  Result<void> look(Regions& regions) override {
    if (is_lost_) return {};
    auto looked = look_at_pages(regions);
    is_fresh_ = looking_ == Looking::all_pages;
    learn_share_of_cpu();
    if (looked && !is_lost_) look_at_mappings();
    return looked;
  }

 private:
  void tell(const std::string& what) const {
    debug(Debug::heat, [&] { return "process " + std::to_string(process_.number) + ": " + what; });
  }
  /// The CPU time of the target; 0 if not known.
  std::chrono::duration<double> cpu_time() const noexcept {
    clockid_t clock{};
    timespec time{};
    if (::clock_getcpuclockid(process_.number, &clock) != 0) return {};
    if (::clock_gettime(clock, &time) != 0) return {};
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }
  /// Learns for how much of the time the target executes. If it sleeps, or others use the CPUs, its
  /// faults are a larger part of its own time.
  void learn_share_of_cpu() noexcept {
    constexpr double kLeast = 0.125;
    const std::chrono::duration<double> passed = Clock::now() - begun_;
    const auto used = cpu_time() - cpu_begun_;
    if (passed.count() > 0) share_of_cpu_ = std::clamp(used / passed, kLeast, 1.0);
  }

  Result<void> look_at_pages(Regions& regions) {
    const Stopwatch time(scanning_);
    return looking_ == Looking::all_pages ? look_at_all(regions) : look_at_chosen(regions);
  }

  Result<void> look_at_all(Regions& regions) {
    auto seen = scan_.take_written(span_);
    if (!seen) return lost(seen.error());
    for (const SeenPages& each : *seen) {
      faults_ += static_cast<std::int64_t>(each.range.bytes() / page_bytes());
    }
    // An empty range tells the regions that writes were measured and no page was written.
    if (seen->empty()) seen->push_back({{span_.begin, span_.begin}, {false, false}});
    regions.record_pages(*seen);
    return {};
  }

  Result<void> look_at_chosen(Regions& regions) {
    std::vector<Sighting> seen;
    seen.reserve(chosen_.size());
    for (const std::uint64_t page : chosen_) {
      const auto found = scan_.take_written({page, page + page_bytes()});
      if (!found) return lost(found.error());
      const bool is_written = !found->empty();
      // The page is protected again, so its next write costs a fault, too.
      faults_ += is_written ? 2 : 0;
      seen.push_back({is_written, is_written});
    }
    regions.record(seen);
    return {};
  }

  /// Looks at reads and writes of whole mappings, so rarely that it takes 1 % of the time.
  void look_at_mappings() {
    constexpr int kShare = 100;
    const auto begun = Clock::now();
    if (begun < next_reading_) return;
    const auto text = files_.read(folder_ + "/smaps");
    const auto uses = text ? read_smaps(*text) : Result<std::vector<MappingUse>>(text.error());
    const auto cleared = files_.write(folder_ + "/clear_refs", "1\n");
    next_reading_ = begun + kShare * (Clock::now() - begun);
    if (!uses || !cleared) {
      provenance_.reads_reason = uses ? cleared.error().message : uses.error().message;
      return;
    }
    // The first look would also show accesses from before the watch, so do not count it.
    if (!std::exchange(has_cleared_, true)) return;
    ++mappings_.looks;
    for (const MappingUse& use : *uses) count(use);
  }

  void count(const MappingUse& use) {
    if (!use.is_accessible || use.memory.name.starts_with("[v")) return;
    auto& all = mappings_.mappings;
    auto found = std::ranges::find_if(all, [&](const auto& each) {
      return each.memory.range.begin == use.memory.range.begin &&
             each.memory.name == use.memory.name;
    });
    if (found == all.end()) found = all.insert(all.end(), {use.memory, 0});
    found->memory = use.memory;
    found->accesses += use.referenced_bytes > 0 ? 1 : 0;
  }

  /// Handles an error of a scan: the process executes another program, or has ended.
  Result<void> lost(const Error& error) {
    if (error.code != std::errc::no_such_process) return error;
    is_lost_ = true;
    return expect_same_process();
  }
  /// Counts the pages that were written between the last look, which protected them, and this
  /// sample. The pages of new mappings were not protected, so their writes cost nothing.
  Result<void> note_earlier_faults(const Result<std::vector<SeenPages>>& seen) {
    if (!seen) return lost(seen.error());
    for (const SeenPages& each : *seen) {
      const bool was_protected = std::ranges::any_of(earlier_, [&](const auto& mapping) {
        const AddressRange& range = mapping.memory.range;
        return range.begin <= each.range.begin && each.range.begin < range.end;
      });
      if (was_protected) faults_ += static_cast<std::int64_t>(each.range.bytes() / page_bytes());
    }
    return {};
  }

  Result<void> expect_same_process() const {
    if (is_alive(process_, files_)) return {};
    return Error::from_errno(ESRCH, "cannot watch process " + std::to_string(process_.number));
  }

  /// Refuses a process that uses userfaultfd(2) itself. Its own registrations would fail on memory
  /// that we have registered.
  Result<void> expect_no_own_userfaultfd() const {
    const auto names = files_.list(folder_ + "/fd");
    if (!names) return {};  // ptrace gives a better reason
    for (std::size_t i = 0; i < std::min(names->size(), kMaxDescriptors); ++i) {
      std::array<char, 32> link{};
      const std::string path = folder_ + "/fd/" + (*names)[i];
      const ssize_t length = ::readlink(path.c_str(), link.data(), link.size());
      if (length > 0 && std::string_view(link.data(), static_cast<std::size_t>(length)) ==
                            "anon_inode:[userfaultfd]") {
        return Error(Errc::busy, "process " + std::to_string(process_.number) +
                                     " uses userfaultfd(2) itself (descriptor " + (*names)[i] +
                                     "); if its memory were watched, its own "
                                     "registrations would fail");
      }
    }
    return {};
  }

  bool is_of_old_program() const {
    const auto seen = scan_.present(AddressRange{});
    return !seen && seen.error().code == std::errc::no_such_process;
  }

  Result<std::vector<NamedRange>> register_all() {
    const auto maps = files_.read(folder_ + "/maps");
    if (!maps)
      return Error::from_errno(ESRCH, "cannot watch process " + std::to_string(process_.number));
    std::vector<WritableMapping> known;
    std::vector<NamedRange> ranges;
    refused_ = 0;
    for (const WritableMapping& each : read_writable(*maps)) {
      const AddressRange& range = each.memory.range;
      uffdio_register arguments{};
      arguments.range = {range.begin, range.bytes()};
      arguments.mode = UFFDIO_REGISTER_MODE_WP;
      if (::ioctl(file_.get(), UFFDIO_REGISTER, &arguments) != 0) {
        if (errno == ESRCH) break;  // it executes another program; the next look notices
        ++refused_;
        continue;
      }
      known.push_back(each);
      ranges.push_back(each.memory);
      if (each.is_of_file && range.bytes() <= kMaxBytesToProtect &&
          std::ranges::find(known_, each) == known_.end()) {
        uffdio_writeprotect protect{};
        protect.range = {range.begin, range.bytes()};
        protect.mode = UFFDIO_WRITEPROTECT_MODE_WP;
        static_cast<void>(::ioctl(file_.get(), UFFDIO_WRITEPROTECT, &protect));
      }
    }
    if (known != known_ || refused_ != 0) {
      tell("registered " + std::to_string(known.size()) + " writable mappings, " +
           std::to_string(refused_) + " refused");
    }
    earlier_ = std::exchange(known_, std::move(known));
    span_ = ranges.empty() ? AddressRange{}
                           : AddressRange{ranges.front().range.begin, ranges.back().range.end};
    return ranges;
  }

  void describe() {
    std::uint64_t pages = 0;
    for (const WritableMapping& each : known_) pages += each.memory.range.bytes() / page_bytes();
    looking_ = pages <= kMaxPagesOfAllWritten ? Looking::all_pages : Looking::chosen_pages;
    provenance_.source = "written";
    provenance_.precision = looking_ == Looking::all_pages ? "page" : "sampled page";
    provenance_.means = "userfaultfd, PAGEMAP_SCAN of /proc/PID/pagemap";
    provenance_.reads_precision = "mapping";
    provenance_.note =
        refused_ == 0 ? ""
                      : "writable mappings that cannot be watched: " + std::to_string(refused_) +
                            " (the kernel refuses them)";
  }

  TaskId process_;
  std::string folder_;
  KernelFiles files_;
  UniqueFd file_;  ///< the userfaultfd; closing it ends all protection
  PageScan scan_;
  bool is_lost_ = false;  ///< the process executes another program
  std::vector<WritableMapping> known_;
  std::vector<WritableMapping> earlier_;  ///< those before the last update
  AddressRange span_;                     ///< from the first to the last of these mappings
  Looking looking_ = Looking::all_pages;
  bool is_fresh_ = false;  ///< the last look has just protected all pages
  std::vector<std::uint64_t> chosen_;
  std::chrono::nanoseconds scanning_{};  ///< in the last sample
  std::int64_t faults_ = 0;  ///< of the target, caused by the last sample and the look before it
  std::size_t refused_ = 0;
  MappingLooks mappings_;
  Clock::time_point begun_{};  ///< of the sample
  std::chrono::duration<double> cpu_begun_{};
  double share_of_cpu_ = 1;
  bool has_cleared_ = false;
  Clock::time_point next_reading_{};
  HeatProvenance provenance_;
};

}  // namespace

Result<std::unique_ptr<HeatSource>> watch_by_written(const TaskId& process, UniqueFd userfaultfd,
                                                     const KernelFiles& files) {
  if (files.path("/") != "/") {
    return Error(Errc::not_supported, "it is a process of a recorded tree");
  }
  if (const int error = begin_protocol(userfaultfd); error != 0) {
    return error == EINVAL ? too_old() : Error::from_errno(error, "cannot use userfaultfd(2)");
  }
  auto scan = PageScan::of(process.number);
  if (!scan) return std::move(scan).error();
  if (scan->means() != PageScan::Means::scan) return too_old();
  return std::unique_ptr<HeatSource>(
      std::make_unique<Written>(process, std::move(userfaultfd), *std::move(scan), files));
}

Result<void> expect_written() {
  if (!can_call_at_exec()) {
    return Error(Errc::not_supported, "heat sees the pages that a program writes on x86-64 only");
  }
  constexpr int kUserModeOnly = 1;
  const UniqueFd file(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly)));
  if (!file) return Error::from_errno(errno, "userfaultfd(2)");
  if (const int error = begin_protocol(file); error != 0) {
    return error == EINVAL ? too_old() : Error::from_errno(error, "userfaultfd(2)");
  }
  return {};
}

}  // namespace shmif::perf
