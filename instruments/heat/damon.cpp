#include "instruments/heat/damon.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <limits>
#include <thread>
#include <utility>

#include "base/files.hpp"
#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/heat/page_scan.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

constexpr std::array<std::pair<DamonSpace, const char*>, 3> kSpaces{
    {{DamonSpace::vaddr, "vaddr"}, {DamonSpace::fvaddr, "fvaddr"}, {DamonSpace::paddr, "paddr"}}};
constexpr int kHexadecimal = 16;

std::optional<std::uint64_t> read_address(std::string_view text) {
  if (text.starts_with("0x")) return base::read_digits(text.substr(2), kHexadecimal);
  return base::read_digits(text);
}

/// Reads one range. Result: what is wrong with it; empty if it is right.
std::string read_range(std::string_view word, std::uint64_t least, AddressRange& into) {
  const std::size_t dash = word.find('-');
  if (dash == std::string_view::npos) return "is not a range (write BEGIN-END)";
  const auto begin = read_address(word.substr(0, dash));
  const auto end = read_address(word.substr(dash + 1));
  if (!begin || !end) return "is not a range (write BEGIN-END, as 0x1000-0x3000 or 4096-12288)";
  if (*begin >= *end) return "ends where it begins, or before";
  if (*begin % page_bytes() != 0 || *end % page_bytes() != 0) {
    return "is not in whole pages of " + std::to_string(page_bytes()) + " bytes";
  }
  if (*begin < least) return "begins before the end of the range before it";
  into = {*begin, *end};
  return {};
}

/// Reads a line such as "00100000-bfffffff : System RAM". The last address belongs to the range.
/// Lines for parts of such a range are indented.
std::optional<AddressRange> read_memory_line(std::string_view line) {
  constexpr std::string_view kName = " : System RAM";
  const std::size_t dash = line.find('-');
  if (!line.ends_with(kName) || dash == std::string_view::npos) return std::nullopt;
  line.remove_suffix(kName.size());
  const auto begin = base::read_digits(line.substr(0, dash), kHexadecimal);
  const auto last = base::read_digits(line.substr(dash + 1), kHexadecimal);
  if (!begin || !last || *last < *begin) return std::nullopt;
  return AddressRange{*begin, *last + 1};
}

}  // namespace

const char* to_word(DamonSpace space) noexcept {
  for (const auto& [each, word] : kSpaces) {
    if (each == space) return word;
  }
  return "";
}

Result<DamonSpace> read_damon_space(std::string_view word) {
  for (const auto& [each, name] : kSpaces) {
    if (word == name) return each;
  }
  return Error(Errc::bad_argument, '"' + base::printable(word) +
                                       "\" names no memory that DAMON watches (one of vaddr, "
                                       "fvaddr, paddr)");
}

Result<std::vector<AddressRange>> read_address_ranges(std::string_view text) {
  constexpr std::size_t kMax = 1024;
  std::vector<AddressRange> ranges;
  for (const std::string_view word : base::split(text, ',')) {
    const std::uint64_t least = ranges.empty() ? 0 : ranges.back().end;
    const std::string wrong = read_range(word, least, ranges.emplace_back());
    if (!wrong.empty()) {
      return Error(Errc::bad_argument, '"' + base::printable(word) + "\" " + wrong);
    }
    if (ranges.size() > kMax) return Error(Errc::bad_argument, "there are more than 1024 ranges");
  }
  return ranges;
}

std::string address_ranges_text(const std::vector<AddressRange>& ranges) {
  std::string text;
  for (const AddressRange& each : ranges) {
    text += (text.empty() ? "" : ",") + base::hex(each.begin) + '-' + base::hex(each.end);
  }
  return text;
}

Result<DamonMemory> read_damon_memory(const std::string* space, const std::string* ranges) {
  DamonMemory memory;
  if (space != nullptr) {
    const auto read = read_damon_space(*space);
    if (!read) return read.error();
    memory.space = *read;
  }
  if (ranges != nullptr) {
    auto read = read_address_ranges(*ranges);
    if (!read) return std::move(read).error();
    memory.ranges = *std::move(read);
  }
  if (memory.space == DamonSpace::vaddr && ranges != nullptr) {
    return Error(Errc::bad_argument, "vaddr has no ranges: it is all memory of the process");
  }
  if (memory.space == DamonSpace::fvaddr && ranges == nullptr) {
    return Error(Errc::bad_argument, "fvaddr needs ranges of the process's addresses");
  }
  return memory;
}

Result<std::vector<AddressRange>> physical_memory(const KernelFiles& files) {
  const auto text = files.read("/proc/iomem");
  if (!text) return text.error();
  std::vector<AddressRange> ranges;
  bool is_hidden = false;
  for (const std::string_view line : base::lines_in(*text)) {
    const auto range = read_memory_line(line);
    // Without the privilege, each line shows 00000000-00000000.
    if (range && *range == AddressRange{0, 1}) is_hidden = true;
    if (!range || is_hidden) continue;
    // Firmware may use a part of the first page.
    const std::uint64_t page = page_bytes();
    const AddressRange whole{(range->begin + page - 1) / page * page, range->end / page * page};
    if (whole.begin < whole.end) ranges.push_back(whole);
  }
  if (is_hidden) {
    return Error::from_errno(EPERM, "cannot read the addresses in " + files.path("/proc/iomem"),
                             "run it as root");
  }
  if (ranges.empty()) {
    return Error(Errc::not_supported, files.path("/proc/iomem") + " lists no System RAM");
  }
  return ranges;
}

namespace {

constexpr const char* kAdmin = "/sys/kernel/mm/damon/admin/kdamonds/";

std::string thread_folder(std::size_t thread) {
  return std::to_string(thread) + '/';
}
std::string context_of(std::size_t thread) {
  return thread_folder(thread) + "contexts/0/";
}
std::string scheme_of(std::size_t thread) {
  return context_of(thread) + "schemes/0/";
}

/// Reads the first word of a file.
Result<std::string> word_in(const KernelFiles& files, const std::string& name) {
  auto text = files.read(name);
  if (!text) return text;
  text->resize(std::min(text->find_first_of(" \n"), text->size()));
  return text;
}

/// The number of a kernel thread. 0 if there is no thread, or if the kernel does not tell now
/// because somebody changes the settings.
pid_t pid_of(std::size_t thread, const KernelFiles& files) {
  const auto pid = files.read_number(kAdmin + thread_folder(thread) + "pid");
  constexpr std::uint64_t kMax = std::numeric_limits<pid_t>::max();
  return pid && *pid <= kMax ? static_cast<pid_t>(*pid) : 0;
}

Result<Region> read_tried_region(const KernelFiles& files, const std::string& folder) {
  Region region;
  const auto begin = files.read_number(folder + "/start");
  const auto end = files.read_number(folder + "/end");
  const auto accesses = files.read_number(folder + "/nr_accesses");
  const auto age = files.read_number(folder + "/age");
  for (const auto* const each : {&begin, &end, &accesses, &age}) {
    if (!*each) return each->error();
  }
  region.begin = *begin;
  region.end = *end;
  region.accesses = static_cast<std::uint32_t>(*accesses);
  region.age = static_cast<std::uint32_t>(*age);
  return region;
}

/// Whether `words`, one to a line, has the word of this space.
bool has_space(const std::string& words, DamonSpace space) {
  return ('\n' + words + '\n').find('\n' + std::string(to_word(space)) + '\n') != std::string::npos;
}

std::string operations_of(std::size_t thread) {
  return kAdmin + context_of(thread) + "avail_operations";
}

/// Why DAMON cannot watch this space, and what can be done, if the kernel shows that in the files
/// of a thread. Otherwise empty.
std::string lack_of(DamonSpace space, std::size_t thread, const KernelFiles& files) {
  const auto words = files.read(operations_of(thread));
  if (!words || has_space(*words, space)) return "";
  return space == DamonSpace::paddr
             ? "this kernel's DAMON cannot watch physical memory: watch processes, with --ops "
               "vaddr, or boot a kernel with CONFIG_DAMON_PADDR"
             : "this kernel's DAMON cannot watch processes: leave --backend damon out, and heat "
               "watches them by other means; or boot a kernel with CONFIG_DAMON_VADDR";
}

/// Files below the directory of a thread, and what is written to them, in this order.
using Writes = std::vector<std::pair<std::string, std::string>>;

/// What is to be watched, and a scheme for it.
Writes writes_of(const DamonSetup& setup, const DamonTarget& target) {
  const std::string context = "contexts/0/", intervals = context + "monitoring_attrs/intervals/";
  const std::string regions = context + "monitoring_attrs/nr_regions/";
  const HeatAttributes& attributes = setup.attributes;
  Writes writes{{context + "operations", to_word(setup.space)},
                {intervals + "sample_us", std::to_string(attributes.sampling.count())},
                {intervals + "aggr_us", std::to_string(attributes.aggregation.count())},
                {intervals + "update_us", std::to_string(attributes.update.count())},
                {regions + "min", std::to_string(attributes.min_regions)},
                {regions + "max", std::to_string(attributes.max_regions)},
                {context + "targets/nr_targets", "1"}};
  const std::string its = context + "targets/0/";
  if (setup.space != DamonSpace::paddr) {
    writes.emplace_back(its + "pid_target", std::to_string(target.pid));
  }
  if (setup.space != DamonSpace::vaddr) {
    writes.emplace_back(its + "regions/nr_regions", std::to_string(target.ranges.size()));
    for (std::size_t i = 0; i < target.ranges.size(); ++i) {
      const std::string region = its + "regions/" + std::to_string(i);
      writes.emplace_back(region + "/start", std::to_string(target.ranges[i].begin));
      writes.emplace_back(region + "/end", std::to_string(target.ranges[i].end));
    }
  }
  writes.emplace_back(context + "schemes/nr_schemes", "1");
  return writes;
}

/// A scheme that applies to every region and only counts.
Writes counting_scheme() {
  const std::string scheme = "contexts/0/schemes/0/";
  const std::string most = std::to_string(std::numeric_limits<std::uint32_t>::max());
  Writes writes;
  for (const auto& [what, max] :
       Writes{{"sz", std::to_string(std::numeric_limits<std::uint64_t>::max())},
              {"nr_accesses", most},
              {"age", most}}) {
    std::string range = scheme;
    range.append("access_pattern/").append(what);
    writes.emplace_back(range + "/min", "0");
    writes.emplace_back(range + "/max", max);
  }
  writes.emplace_back(scheme + "action", "stat");
  return writes;
}

/// One target of a DamonContext that several sources share.
class DamonSource : public HeatSource {
 public:
  /// `given`: what the user wants to watch; empty: the process's mappings.
  DamonSource(std::shared_ptr<DamonContext> context, std::size_t target, const TaskId& process,
              KernelFiles files, const std::vector<AddressRange>& given, const std::string& name)
      : context_(std::move(context)),
        target_(target),
        process_(process),
        files_(std::move(files)),
        provenance_{"damon", "region", "DAMON, tried_regions of its schemes",
                    "DAMON does not tell reads from writes"} {
    for (const AddressRange& each : given) given_.push_back({each, name, 0});
  }

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return Looking::whole_ranges; }
  /// The kernel takes the samples itself.
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    return {};
  }
  bool keeps_regions() const noexcept override { return true; }

  Result<std::vector<NamedRange>> ranges() override {
    if (!given_.empty()) return given_;
    const auto text = files_.read("/proc/" + std::to_string(process_.number) + "/maps");
    if (!text) return Error::from_errno(ESRCH, "cannot watch it");
    std::vector<NamedRange> ranges;
    for (const std::string_view line : base::lines_in(*text)) {
      const auto mapped = base::read_maps_line(line);
      if (!mapped) continue;
      const std::size_t name = std::min(line.find_first_of("/["), line.size());
      ranges.push_back({{mapped->begin, mapped->end}, std::string(line.substr(name)), 0});
    }
    return ranges;
  }

  Result<void> forget(Regions& /*regions*/) override { return {}; }

  Result<void> look(Regions& /*regions*/) override {
    const auto on = context_->is_on(target_);
    if (!on) return on.error();
    if (!*on) return Error::from_errno(ESRCH, "DAMON has ended: cannot watch it");
    auto regions = context_->regions(target_);
    if (!regions) return std::move(regions).error();
    regions_ = *std::move(regions);
    return {};
  }

  pid_t kernel_thread() const noexcept override { return context_->thread_of(target_); }
  std::vector<Region> take_regions() override { return std::exchange(regions_, {}); }

 private:
  std::shared_ptr<DamonContext> context_;
  std::size_t target_;
  TaskId process_;
  KernelFiles files_;
  HeatProvenance provenance_;
  std::vector<NamedRange> given_;
  std::vector<Region> regions_;
};

}  // namespace

std::optional<bool> damon_can_watch(DamonSpace space, const KernelFiles& files) {
  if (const auto words = files.read(operations_of(0))) return has_space(*words, space);
  const auto functions = files.read("/proc/kallsyms");
  if (!functions || functions->find(" damon_select_ops") == std::string::npos) return std::nullopt;
  const char* const prefix = space == DamonSpace::paddr ? " damon_pa_" : " damon_va_";
  return functions->find(prefix) != std::string::npos;
}

void DamonRecord::set(std::vector<pid_t> threads) {
  const std::lock_guard guard(mutex_);
  threads_ = std::move(threads);
}

std::vector<pid_t> DamonRecord::threads() const {
  const std::lock_guard guard(mutex_);
  return threads_;
}

Result<DamonContexts> count_damon_contexts(const std::vector<pid_t>& own,
                                           const KernelFiles& files) {
  const auto all = files.read_number(std::string(kAdmin) + "nr_kdamonds");
  if (!all) return all.error();
  DamonContexts contexts;
  // If somebody writes another number of contexts, the kernel replaces all contexts.
  for (std::size_t i = 0; *all == own.size() && i < own.size(); ++i) {
    const pid_t now = pid_of(i, files);
    if (now == 0 || own[i] == 0 || now == own[i]) ++contexts.own;
  }
  contexts.foreign = *all - contexts.own;
  return contexts;
}

Result<void> while_damon_is_busy(const std::function<Result<void>()>& once) {
  constexpr int kTries = 100;
  auto done = once();
  for (int i = 1; i < kTries && !done; ++i) {
    if (done.error().code != std::errc::device_or_resource_busy) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    done = once();
  }
  return done;
}

Result<void> DamonContext::write(const std::string& name, const std::string& text) const {
  return files_.write(kAdmin + name, text + '\n');
}

/// The kernel refuses a command while somebody reads the number of a thread, or writes a file.
Result<void> DamonContext::command(std::size_t thread, const char* word) const {
  return while_damon_is_busy([&] { return write(thread_folder(thread) + "state", word); });
}

Result<DamonContext> DamonContext::begin(const DamonSetup& setup, const KernelFiles& files,
                                         std::shared_ptr<DamonRecord> record) {
  const std::string number = std::string(kAdmin) + "nr_kdamonds";
  if (!files.has(number)) {
    return Error(Errc::not_supported, "cannot use DAMON: " + files.path(number) +
                                          " does not exist (a kernel with CONFIG_DAMON_SYSFS, and "
                                          "root, are needed)");
  }
  const auto running = files.read_number(number);
  if (!running) return running.error();
  if (*running != 0) {
    const std::string file = files.path(number);
    const std::string lack = lack_of(setup.space, 0, files);
    return Error(Errc::busy,
                 "cannot use DAMON: " + file + " is " + std::to_string(*running) +
                     ", so somebody else uses it (end that program first; if it was killed, remove "
                     "what it left, as root: for f in " +
                     files.path(kAdmin) + "*/state; do echo off >$f; done; echo 0 >" + file +
                     (lack.empty() ? ")" : "; even then, " + lack + ')'));
  }
  DamonContext context(files, std::move(record));
  const std::vector<pid_t> threads(setup.targets.size(), 0);
  if (context.record_) context.record_->set(threads);
  if (auto created = context.write("nr_kdamonds", std::to_string(threads.size())); !created) {
    if (context.record_) context.record_->set({});
    return std::move(created).error();
  }
  context.threads_ = threads;
  if (auto set = context.set_up(setup); !set) return std::move(set).error();
  return context;
}

DamonContext::DamonContext(DamonContext&& other) noexcept
    : files_(std::move(other.files_)),
      record_(std::move(other.record_)),
      threads_(std::exchange(other.threads_, {})) {}

DamonContext::~DamonContext() {
  if (threads_.empty()) return;
  const auto now = count_damon_contexts(threads_, files_);
  if (now && now->own == threads_.size()) {
    // A thread that has ended by itself refuses this.
    for (std::size_t i = 0; i < threads_.size(); ++i) static_cast<void>(command(i, "off"));
    debug(Debug::heat, [] { return "DAMON is turned off, and has no contexts"; });
    static_cast<void>(write("nr_kdamonds", "0"));
  }
  if (record_) record_->set({});
}

Result<void> DamonContext::set_up(const DamonSetup& setup) {
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    if (auto done = set_up_context(i, setup); !done) return done;
  }
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    if (auto done = turn_on(i); !done) return done;
  }
  return {};
}

Result<void> DamonContext::set_up_context(std::size_t thread, const DamonSetup& setup) {
  const auto write_all = [&](const Writes& writes) -> Result<void> {
    for (const auto& [name, text] : writes) {
      if (auto done = write(thread_folder(thread) + name, text); !done) return done;
    }
    return {};
  };
  if (auto done = write_all({{"contexts/nr_contexts", "1"}}); !done) return done;
  if (const std::string lack = lack_of(setup.space, thread, files_); !lack.empty()) {
    return Error(Errc::not_supported, "cannot use DAMON: " + files_.path(operations_of(thread)) +
                                          " has no " + to_word(setup.space) + " (" + lack + ')');
  }
  if (auto done = write_all(writes_of(setup, setup.targets[thread])); !done) return done;
  if (const std::string tried = kAdmin + scheme_of(thread) + "tried_regions"; !files_.has(tried)) {
    return Error(Errc::not_supported, "cannot use DAMON: " + files_.path(tried) +
                                          " does not exist (Linux 6.2 or newer is needed)");
  }
  return write_all(counting_scheme());
}

Result<void> DamonContext::turn_on(std::size_t thread) {
  if (auto done = command(thread, "on"); !done) return done;
  // Others hold the kernel's lock only for moments.
  constexpr int kTries = 100;
  for (int i = 0; i < kTries && threads_[thread] == 0; ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    threads_[thread] = pid_of(thread, files_);
    if (!files_.has(kAdmin + thread_folder(thread) + "pid")) break;
  }
  debug(Debug::heat, [&] {
    return "DAMON works in thread " + std::to_string(threads_[thread]) + ", context " +
           std::to_string(thread);
  });
  if (record_) record_->set(threads_);
  return {};
}

Result<bool> DamonContext::is_on(std::size_t target) const {
  const auto state = word_in(files_, kAdmin + thread_folder(target) + "state");
  if (!state) return state.error();
  return *state != "off";
}

Result<std::vector<Region>> DamonContext::regions(std::size_t target) const {
  if (auto done = command(target, "update_schemes_tried_regions"); !done) {
    return std::move(done).error();
  }
  const std::string folder = kAdmin + scheme_of(target) + "tried_regions";
  const auto names = files_.list(folder);
  if (!names) return names.error();
  std::vector<Region> regions;
  for (const std::string& name : *names) {
    if (!base::read_digits(name)) continue;  // "total_bytes"
    std::string path = folder;
    path.append("/").append(name);
    auto region = read_tried_region(files_, path);
    if (!region) return std::move(region).error();
    regions.push_back(*region);
  }
  std::ranges::sort(regions, {}, &Region::begin);
  return regions;
}

Result<std::vector<std::unique_ptr<HeatSource>>> watch_by_damon(
    const std::vector<TaskId>& processes, const HeatAttributes& attributes,
    const DamonMemory& memory, const KernelFiles& files, std::shared_ptr<DamonRecord> record) {
  DamonSetup setup{attributes, memory.space, {}};
  const bool is_physical = memory.space == DamonSpace::paddr;
  auto ranges = memory.ranges;
  if (is_physical && ranges.empty()) {
    auto all = physical_memory(files);
    if (!all) return std::move(all).error();
    ranges = *std::move(all);
  }
  const std::vector<TaskId> watched = is_physical ? std::vector<TaskId>(1) : processes;
  setup.targets.reserve(watched.size());
  for (const TaskId& each : watched) setup.targets.push_back({each.number, ranges});
  auto begun = DamonContext::begin(setup, files, std::move(record));
  if (!begun) return std::move(begun).error();
  const auto context = std::make_shared<DamonContext>(*std::move(begun));
  std::vector<std::unique_ptr<HeatSource>> sources;
  sources.reserve(watched.size());
  for (std::size_t i = 0; i < watched.size(); ++i) {
    sources.push_back(std::make_unique<DamonSource>(context, i, watched[i], files, ranges,
                                                    is_physical ? "physical memory" : ""));
  }
  return sources;
}

}  // namespace shmif::perf
