#include "instruments/heat/session.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/nearest_rank.hpp"
#include "base/quantity.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/page_scan.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

using std::chrono::microseconds;

namespace {

constexpr const char* kHasEnded = "the process has ended";
constexpr const char* kHasNoFirstThread =
    "the first thread of the process has ended (pthread_exit(3)), so that /proc shows its memory "
    "no longer";
constexpr const char* kHasLeft =
    "the process shares its access heat no longer (it left its bus, or it is about to end)";

std::string both(const std::string& first, const std::string& second) {
  return first.empty() ? second : first + "; " + second;
}

std::string about(const TaskId& process) {
  return process.number == 0 ? "physical memory" : "process " + std::to_string(process.number);
}

void tell_refusal(const TaskId& process, const char* source, const std::string& why) {
  debug(Debug::heat, [&] { return about(process) + ": not by " + source + ": " + why; });
}

std::uint64_t accessed_bytes(const std::vector<Region>& regions) {
  std::uint64_t bytes = 0;
  for (const Region& region : regions) bytes += region.accesses > 0 ? region.bytes() : 0;
  return bytes;
}

}  // namespace

bool is_alive(const TaskId& process, const KernelFiles& files) {
  if (process.number == 0) return true;
  const std::string folder = "/proc/" + std::to_string(process.number);
  const auto stat = task_stat_in(folder, files);
  // A process that exits releases its memory first, then its sockets, and becomes a zombie later.
  const auto memory = files.read(folder + "/statm");
  if (memory && memory->starts_with("0 ")) return false;
  return stat && stat->start_ticks == process.start_ticks && stat->state != 'Z';
}

struct HeatSession::Target {
  explicit Target(const TaskId& watched) : process(watched) { result.process = watched; }

  /// It may have started just now: it may still execute its program, map files, or attach to a bus.
  bool is_young() const noexcept { return Clock::now() - added < std::chrono::seconds(1); }

  TaskId process;
  std::unique_ptr<HeatSource> source;
  std::optional<Regions> regions;
  HeatResult result;
  std::string clients;             ///< where it shares its access heat; empty if it does not
  std::string client_reason;       ///< why it does not take part, if there is a directory
  bool may_take_part_yet = false;  ///< search the clients for it again
  bool is_sampling = false;        ///< forget() was called
  std::uint32_t samples = 0;
  std::size_t windows = 0;
  Clock::time_point added = Clock::now();
  Clock::time_point window_begun, sample_begun, next_sample, next_update, next_search;
  Clock::duration forgetting{};  ///< time that it took to begin the sample
  Clock::duration rest{};        ///< from the begin of the last sample, to pay for its cost
};

HeatSession::HeatSession(HeatOptions options) : options_(std::move(options)), begun_(Clock::now()) {
  // A run watches its own jobs as clients. It needs no files that can wait, and a child that shares
  // its memory would cost the jobs page faults.
  if (options_.backend != HeatBackend::client) {
    options_.files = options_.files.by_helper(options_.stops);
  }
  // If the user does not name the directory of the clients, a process does.
  if (options_.clients.empty()) client_files_ = client_files_.by_helper(options_.stops);
}
HeatSession::~HeatSession() = default;
HeatSession::HeatSession(HeatSession&&) noexcept = default;

double HeatSession::seconds(Clock::time_point then) const noexcept {
  return std::chrono::duration<double>(then - begun_).count();
}

void HeatSession::add(const Process& process) {
  std::string why =
      "heat sees the pages only of a program that it begins (shmifperf heat -- PROGRAM) or that "
      "takes part (SHMIF_HEAT)";
  if (options_.files.has("/sys/kernel/mm/damon/admin")) {
    why += "; this kernel's DAMON sees pages of any process, as root (--backend damon)";
  }
  add(process, Error(Errc::not_supported, why));
}

void HeatSession::add(const Process& program, Result<UniqueFd> userfaultfd) {
  if (options_.backend == HeatBackend::damon) return add_to_damon({program.id()});
  auto target = std::make_unique<Target>(program.id());
  connect(*target, std::move(userfaultfd));
  targets_.push_back(std::move(target));
}

void HeatSession::add(const Process& process, std::unique_ptr<HeatSource> source) {
  auto target = std::make_unique<Target>(process.id());
  begin(*target, std::move(source));
  targets_.push_back(std::move(target));
}

void HeatSession::add_all(const std::vector<Process>& processes) {
  if (options_.backend != HeatBackend::damon) {
    for (const Process& each : processes) add(each);
    return;
  }
  std::vector<TaskId> tasks;
  tasks.reserve(processes.size());
  for (const Process& each : processes) tasks.push_back(each.id());
  if (options_.damon.space == DamonSpace::paddr) tasks = {TaskId()};
  if (!tasks.empty()) add_to_damon(tasks);
}

void HeatSession::add_to_damon(const std::vector<TaskId>& processes) {
  auto sources = watch_by_damon(processes, options_.attributes, options_.damon, options_.files,
                                options_.damon_record);
  for (std::size_t i = 0; i < processes.size(); ++i) {
    auto target = std::make_unique<Target>(processes[i]);
    if (processes[i].number == 0) target->result.name = "physical memory";
    if (sources) {
      begin(*target, std::move((*sources)[i]));
    } else {
      ++changes_;
      target->result.reason = sources.error().message;
      tell_refusal(target->process, "damon", target->result.reason);
    }
    targets_.push_back(std::move(target));
  }
}

void HeatSession::add_unwatched(const TaskId& process, const std::string& name,
                                const std::string& reason) {
  ++changes_;
  auto target = std::make_unique<Target>(process);
  target->result.name = name;
  target->result.reason = reason;
  targets_.push_back(std::move(target));
}

/// Finds the best source.
void HeatSession::connect(Target& target, Result<UniqueFd> userfaultfd) {
  const pid_t pid = target.process.number;
  std::string reason;
  const bool is_automatic = options_.backend == HeatBackend::automatic;
  if (is_automatic || options_.backend == HeatBackend::client) {
    target.clients = options_.clients;
    if (target.clients.empty()) {
      const auto own = heat_folder_of(pid, options_.files);
      if (own) target.clients = *own;
    }
    auto client = watch_by_client(pid, target.clients, [] {}, client_files_);
    if (client) return begin(target, *std::move(client));
    reason = client.error().message;
    tell_refusal(target.process, "client", reason);
    if (!target.clients.empty()) target.client_reason = reason;
    // It may not have attached its first port yet.
    target.may_take_part_yet =
        !target.clients.empty() && client.error().code != Errc::unsupported_file_system;
  }
  if (outlives_first_thread(target.process, options_.files)) {
    ++changes_;
    target.may_take_part_yet = false;
    target.result.reason = kHasNoFirstThread;
    return;
  }
  if (is_automatic || options_.backend == HeatBackend::written) {
    auto written = userfaultfd
                       ? watch_by_written(target.process, *std::move(userfaultfd), options_.files)
                       : Result<std::unique_ptr<HeatSource>>(userfaultfd.error());
    if (written) return begin(target, *std::move(written));
    tell_refusal(target.process, "written", written.error().message);
    reason = both(target.client_reason, written.error().message);
  }
  if (is_automatic || options_.backend == HeatBackend::clear_refs) {
    auto any = watch_by_clear_refs(target.process, options_.files);
    if (any) {
      begin(target, *std::move(any));
      if (is_automatic) target.result.fallback_reason = reason;
      return;
    }
    reason = any.error().message;
    tell_refusal(target.process, "clear_refs", reason);
  }
  ++changes_;
  target.result.reason = reason;
}

void HeatSession::begin(Target& target, std::unique_ptr<HeatSource> source) {
  ++changes_;
  target.source = std::move(source);
  target.result.reason.clear();
  target.result.fallback_reason.clear();
  if (target.source->provenance().source == "client") target.may_take_part_yet = false;
  start_regions(target);
  target.samples = 0;
  target.windows = 0;
  target.is_sampling = false;
  const auto now = Clock::now();
  target.window_begun = target.next_sample = now;
  target.next_update = now;
  target.result.windows.clear();
  target.result.mappings = {};
  debug(Debug::heat, [&] {
    const HeatProvenance& how = target.result.provenance;
    return about(target.process) + " is watched by " + how.source + ", of each " + how.precision +
           ", by " + how.means;
  });
}

void HeatSession::start_regions(Target& target) {
  target.result.provenance = target.source->provenance();
  const auto seed = static_cast<std::uint64_t>(target.process.number);
  target.regions.emplace(options_.attributes, target.source->looking(), page_bytes(), seed);
}

/// Copies the other facts that a source knows.
void HeatSession::learn(Target& target) {
  if (!target.source) return;
  target.result.provenance = target.source->provenance();
  target.result.mappings = target.source->mappings();
  target.result.kernel_thread = target.source->kernel_thread();
}

/// Handles a source that cannot go on. Tries another source if possible.
void HeatSession::fail(Target& target, const Error& why) {
  const bool may_change = options_.backend == HeatBackend::automatic &&
                          target.source->provenance().source == "written" &&
                          why.code != std::errc::no_such_process;
  auto other = may_change ? watch_by_clear_refs(target.process, options_.files)
                          : Result<std::unique_ptr<HeatSource>>(why);
  if (!other) return stop(target, why);
  tell_refusal(target.process, "written", why.message);
  begin(target, *std::move(other));
  target.result.fallback_reason = both(target.client_reason, why.message);
}

void HeatSession::stop(Target& target, const Error& why) {
  ++changes_;
  learn(target);
  const bool is_client = target.source && target.source->provenance().source == "client";
  target.source.reset();
  target.result.reason = why.message;
  // A process that is about to end fails calls with other errors, too: ptrace(2) says EPERM.
  target.result.has_ended = !is_alive(target.process, options_.files);
  target.result.has_left =
      !target.result.has_ended && is_client && why.code == std::errc::no_such_process;
  if (target.result.has_ended) target.result.reason = kHasEnded;
  if (target.result.has_left) target.result.reason = kHasLeft;
  debug(Debug::heat,
        [&] { return about(target.process) + " is watched no more: " + target.result.reason; });
  // The unfinished window has the last that is known, so keep it.
  if (target.samples > 0) end_window(target);
  target.may_take_part_yet = false;
}

void HeatSession::update(Target& target) {
  target.next_update = Clock::now() + options_.attributes.update;
  const std::string pid = std::to_string(target.process.number);
  if (const auto name = options_.files.read("/proc/" + pid + "/comm")) {
    target.result.name = name->substr(0, name->find('\n'));
  }
  auto ranges = target.source->ranges();
  if (!ranges) {
    fail(target, ranges.error());
    if (target.source && target.source->looking() == Looking::whole_ranges) update(target);
    return;
  }
  const bool more = ranges->size() != target.result.ranges.size();
  target.result.ranges = *std::move(ranges);
  // It may share so much memory by now that we can look only at some of the pages.
  if (target.source->looking() != target.regions->looking()) start_regions(target);
  std::vector<AddressRange> addresses;
  addresses.reserve(target.result.ranges.size());
  for (const NamedRange& each : target.result.ranges) addresses.push_back(each.range);
  if (more) {
    debug(Debug::heat, [&] {
      std::uint64_t bytes = 0;
      for (const AddressRange& each : addresses) bytes += each.bytes();
      return about(target.process) + " has " + std::to_string(addresses.size()) +
             " ranges to watch, " + std::to_string(bytes) + " bytes";
    });
  }
  target.regions->set_target(std::move(addresses));
}

void HeatSession::end_window(Target& target) {
  ++changes_;
  const auto now = Clock::now();
  HeatWindow window;
  if (target.source && target.source->keeps_regions()) {
    window.regions = target.source->take_regions();
    // The kernel has not ended a window since the last look.
    if (window.regions.empty()) {
      target.samples = 0;
      return;
    }
  }
  learn(target);
  window.begin_s = seconds(target.window_begun);
  window.end_s = seconds(now);
  window.samples = std::exchange(target.samples, 0);
  if (window.regions.empty()) {
    window.regions = target.regions->aggregate();
    window.working_set_bytes = target.regions->working_set_bytes();
  } else {
    window.samples = options_.attributes.samples_per_window();
    window.working_set_bytes = accessed_bytes(window.regions);
  }
  if (target.source) {
    if (const auto known = target.source->take_working_set()) window.working_set_bytes = *known;
  }
  target.window_begun = now;
  std::vector<HeatWindow>& windows = target.result.windows;
  if (windows.size() >= std::max<std::size_t>(options_.keep_windows, 1)) {
    windows.erase(windows.begin());
  }
  debug(Debug::heat, [&] {
    return about(target.process) + ", window " + std::to_string(target.windows + 1) + ": " +
           std::to_string(window.samples) + " samples, " + std::to_string(window.regions.size()) +
           " regions, " + std::to_string(window.working_set_bytes) + " bytes accessed";
  });
  windows.push_back(std::move(window));
  ++target.windows;
}

/// Ends a sample. Result: false if the target is no longer watched.
bool HeatSession::look(Target& target) {
  const auto begun = Clock::now();
  target.is_sampling = false;
  if (auto looked = target.source->look(*target.regions); !looked) {
    fail(target, looked.error());
    return false;
  }
  ++target.samples;
  const auto now = Clock::now();
  const std::chrono::duration<double> cost = target.source->cost(target.forgetting + (now - begun));
  target.rest = std::max<Clock::duration>(
      std::chrono::duration_cast<Clock::duration>(cost / options_.budget), {});
  target.result.rest_s = std::chrono::duration<double>(target.rest).count();
  target.next_sample = target.source->burdens_target() ? target.sample_begun + target.rest : now;
  // Checking only the time is not enough. A window begins a moment after the previous sample, so
  // its last sample could come a moment before its end.
  if (target.source->keeps_regions() ||
      target.samples >= options_.attributes.samples_per_window() ||
      now - target.window_begun >= options_.attributes.aggregation) {
    end_window(target);
  }
  return true;
}

/// Begins a sample.
void HeatSession::forget(Target& target) {
  const auto begun = Clock::now();
  // Update only between windows, because all samples of a window must be of the same addresses.
  if (target.samples == 0 &&
      (begun >= target.next_update || target.is_young() || target.source->is_lost())) {
    update(target);
    if (!target.source) return;
  }
  if (auto forgot = target.source->forget(*target.regions); !forgot) {
    return fail(target, forgot.error());
  }
  target.is_sampling = true;
  target.sample_begun = begun;
  target.forgetting = Clock::now() - begun;
  const Clock::duration step = target.source->keeps_regions() ? options_.attributes.aggregation
                                                              : options_.attributes.sampling;
  target.next_sample =
      begun + (target.source->burdens_target() ? step : std::max(step, target.rest));
}

void HeatSession::sample(Target& target) {
  if (target.is_sampling && !look(target)) return;
  if (Clock::now() >= target.next_sample) forget(target);
}

/// Checks whether the process takes part by now.
void HeatSession::search(Target& target) {
  constexpr std::chrono::milliseconds kSoon(10);
  target.next_search = Clock::now() + (target.is_young() ? kSoon : options_.attributes.update);
  auto client = watch_by_client(
      target.process.number, target.clients,
      [&] {
        if (!target.source) return;
        // The client registers its own memory, so release it. If the client then fails, do not ask
        // it again at once.
        target.source->let_go();
        target.next_search = Clock::now() + options_.attributes.update;
      },
      client_files_);
  if (client) {
    begin(target, *std::move(client));
  } else if (!is_alive(target.process, options_.files)) {
    stop(target, Error::from_errno(ESRCH, "cannot watch it"));
  }
}

HeatSession::Clock::time_point HeatSession::step() {
  // After a costly look comes a long rest. The process can end in it.
  constexpr std::chrono::milliseconds kEndCheck(100);
  auto next = Clock::time_point::max();
  for (const auto& target : targets_) {
    if (options_.stops()) return Clock::now();
    if (target->may_take_part_yet && Clock::now() >= target->next_search) search(*target);
    if (target->source && Clock::now() >= target->next_sample) sample(*target);
    if (target->source && target->next_sample > Clock::now() + kEndCheck) {
      if (!is_alive(target->process, options_.files)) {
        stop(*target, Error::from_errno(ESRCH, "cannot watch it"));
      } else {
        next = std::min(next, Clock::now() + kEndCheck);
      }
    }
    if (target->source) next = std::min(next, target->next_sample);
    if (target->may_take_part_yet) next = std::min(next, target->next_search);
  }
  return next;
}

void HeatSession::finish() {
  for (const auto& target : targets_) {
    if (target->source && !is_alive(target->process, options_.files)) {
      stop(*target, Error::from_errno(ESRCH, "cannot watch it"));
    }
    if (target->source && target->samples > 0) end_window(*target);
    target->source.reset();
    // It may have left because it was about to end.
    HeatResult& result = target->result;
    if (result.has_left && !is_alive(target->process, options_.files)) {
      ++changes_;
      result.has_left = false;
      result.has_ended = true;
      result.reason = kHasEnded;
    }
  }
}

bool HeatSession::is_watching() const noexcept {
  return std::ranges::any_of(
      targets_, [](const auto& target) { return target->source || target->may_take_part_yet; });
}

std::size_t HeatSession::windows() const noexcept {
  std::size_t most = 0;
  for (const auto& target : targets_) most = std::max(most, target->windows);
  return most;
}

std::vector<HeatResult> HeatSession::results() const {
  std::vector<HeatResult> results;
  results.reserve(targets_.size());
  for (const auto& target : targets_) results.push_back(target->result);
  return results;
}

std::vector<const HeatResult*> HeatSession::views() const {
  std::vector<const HeatResult*> views;
  views.reserve(targets_.size());
  for (const auto& target : targets_) views.push_back(&target->result);
  return views;
}

namespace {

constexpr const char* kOpenSandbox = "a sandbox (seccomp) that permits userfaultfd";
constexpr const char* kPageMonitor = "a kernel with CONFIG_PROC_PAGE_MONITOR";
constexpr std::pair kLinux67(6U, 7U);
constexpr const char* kOtherUser = "run it as the user of the watched program, or as root";

/// A recorded tree is of another machine, so calls of this kernel cannot test it.
bool is_this_machine(const KernelFiles& files) {
  return files.path("/") == "/";
}

/// Major and minor number of "6.18.44-generic".
std::pair<unsigned, unsigned> release_of(const KernelFiles& files) {
  const auto text = files.read("/proc/sys/kernel/osrelease");
  unsigned major = 0, minor = 0;
  if (!text || std::sscanf(text->c_str(), "%u.%u", &major, &minor) != 2) return {0, 0};
  return {major, minor};
}

/// Whether userfaultfd has these features. Result: 0, or an errno.
int try_userfaultfd(std::uint64_t features) {
  constexpr int kUserModeOnly = 1;
  const UniqueFd file(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly)));
  if (!file) return errno;
  uffdio_api arguments{};
  arguments.api = UFFD_API;
  arguments.features = features;
  return ::ioctl(file.get(), UFFDIO_API, &arguments) == 0 ? 0 : errno;
}

constexpr std::uint64_t kAsync = 1U << 15U;
constexpr std::uint64_t kShared = 1U << 12U;

/// The same as try_userfaultfd(). For a recorded tree, decides by the release of its kernel.
int find_userfaultfd(const KernelFiles& files, std::uint64_t features) {
  if (is_this_machine(files)) return try_userfaultfd(features);
  if (!files.read_number("/proc/sys/vm/unprivileged_userfaultfd")) return ENOSYS;
  const auto needed = (features & kAsync) != 0 ? kLinux67 : std::pair(5U, 19U);
  return release_of(files) >= needed ? 0 : EINVAL;
}

Capability client(const KernelFiles& files) {
  constexpr const char* kName = "heat.client";
  const int error = find_userfaultfd(files, kAsync | kShared);
  if (error == 0) {
    return {kName, Support::supported,
            "of programs that use the library and are started with SHMIF_HEAT=DIR", ""};
  }
  if (is_refusal(error)) {
    return {kName, Support::not_permitted,
            "userfaultfd(2): " + std::string(std::strerror(error)) +
                ", although it handles no faults of the kernel",
            kOpenSandbox};
  }
  if (error == ENOSYS) {
    return {kName, Support::not_supported,
            "userfaultfd(2): the kernel was built without CONFIG_USERFAULTFD", ""};
  }
  if (find_userfaultfd(files, kShared) == 0) {
    return {kName, Support::supported,
            "accesses alone: the kernel has no asynchronous write protection, so writes are not "
            "told apart",
            "Linux 6.7 or newer"};
  }
  return {kName, Support::not_supported,
          "userfaultfd(2): the kernel cannot write-protect shared memory", "Linux 5.19 or newer"};
}

Capability pagemap_scan(const KernelFiles& files) {
  constexpr const char* kName = "heat.pagemap_scan";
  const Capability without{kName, Support::not_supported,
                           "/proc/PID/pagemap has no PAGEMAP_SCAN: it is read page by page, and "
                           "writes are not told apart",
                           "Linux 6.7 or newer"};
  const Capability with{kName, Support::supported, "", ""};
  if (!is_this_machine(files)) return release_of(files) >= kLinux67 ? with : without;
  const auto scan = PageScan::of(::getpid());
  if (!scan) return lacking(kName, scan.error(), kOtherUser, kPageMonitor);
  return scan->means() == PageScan::Means::scan ? with : without;
}

Capability written(const KernelFiles& files) {
  constexpr const char* kName = "heat.written";
  Capability found{kName, Support::supported,
                   "of a program that heat begins (-- PROGRAM), each page that it writes; "
                   "reads are known of mappings",
                   ""};
  const auto scope = files.read_number("/proc/sys/kernel/yama/ptrace_scope");
  if (scope && (*scope > 2 || (*scope == 2 && ::geteuid() != 0))) {
    return {
        kName, Support::not_permitted,
        "a program cannot be stopped at its beginning: ptrace_scope is " + std::to_string(*scope),
        *scope == 2 ? "run it as root" : "another boot, with a lower ptrace_scope"};
  }
  if (!is_this_machine(files) && release_of(files) < kLinux67) {
    return {kName, Support::not_supported, "the kernel has no asynchronous write protection",
            "Linux 6.7 or newer"};
  }
  const auto possible = is_this_machine(files) ? expect_written() : Result<void>();
  return possible ? found : lacking(kName, possible.error(), kOpenSandbox);
}

Capability clear_refs(const KernelFiles& files) {
  constexpr const char* kName = "heat.clear_refs";
  for (const char* const file : {"/proc/self/clear_refs", "/proc/self/smaps"}) {
    if (files.has(file)) {
      std::error_code ignored;
      if (std::filesystem::is_regular_file(files.path(file), ignored)) continue;
      return {kName, Support::not_supported, files.path(file) + " is not a file", ""};
    }
    return {kName, Support::not_supported, files.path(file) + " does not exist", kPageMonitor};
  }
  const auto smaps = files.read("/proc/self/smaps");
  if (!smaps) return lacking(kName, smaps.error(), kOtherUser);
  if (smaps->find("\nReferenced:") == std::string::npos) {
    return {kName, Support::not_supported,
            files.path("/proc/self/smaps") + " does not tell what was referenced", ""};
  }
  return {kName, Support::supported,
          "of each mapping as a whole; reads and writes are not told apart", ""};
}

Capability damon(const KernelFiles& files) {
  constexpr const char* kName = "heat.damon";
  constexpr const char* kNumber = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds";
  if (!files.has("/sys/kernel/mm/damon/admin")) {
    return {kName, Support::not_supported,
            files.path("/sys/kernel/mm/damon/admin") + " does not exist",
            "a kernel with CONFIG_DAMON_SYSFS"};
  }
  const auto running = files.read_number(kNumber);
  if (!running) return lacking(kName, running.error(), "run it as root");
  const bool processes = damon_can_watch(DamonSpace::vaddr, files).value_or(true);
  const std::string lack = "this kernel's DAMON cannot watch processes";
  const std::string without = "heat without --backend damon, or a kernel with CONFIG_DAMON_VADDR";
  if (*running > 0) {
    return {kName, Support::not_permitted,
            files.path(kNumber) + " is " + std::to_string(*running) +
                ": somebody else uses DAMON, and is left alone" + (processes ? "" : "; " + lack),
            processes ? "end what uses DAMON" : without};
  }
  if (!processes) {
    const bool physical = damon_can_watch(DamonSpace::paddr, files).value_or(true);
    return {kName, Support::not_supported,
            lack + (physical ? ", only physical memory (--backend damon --ops paddr)" : ""),
            without};
  }
  return {kName, Support::supported, "of processes or of physical memory, with --backend damon",
          ""};
}

}  // namespace

std::vector<Capability> heat_capabilities(const KernelFiles& files) {
  return {client(files), pagemap_scan(files), written(files), clear_refs(files), damon(files)};
}

}  // namespace shmif::perf
