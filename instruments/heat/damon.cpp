#include "instruments/heat/damon.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <limits>
#include <thread>
#include <utility>

#include "base/quantity.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
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
Result<void> DamonContext::write(const std::string& name, std::uint64_t number) const {
  return write(name, std::to_string(number));
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
  if (auto created = context.write("nr_kdamonds", threads.size()); !created) {
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
    static_cast<void>(write("nr_kdamonds", 0));
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
  if (auto done = write(thread_folder(thread) + "contexts/nr_contexts", 1); !done) return done;
  if (const std::string lack = lack_of(setup.space, thread, files_); !lack.empty()) {
    return Error(Errc::not_supported, "cannot use DAMON: " + files_.path(operations_of(thread)) +
                                          " has no " + to_word(setup.space) + " (" + lack + ')');
  }
  if (auto done = write(context_of(thread) + "operations", to_word(setup.space)); !done) {
    return done;
  }
  if (auto done = set_attributes(thread, setup.attributes); !done) return done;
  if (auto done = set_target(thread, setup.space, setup.targets[thread]); !done) return done;
  return prepare_results(thread);
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

Result<void> DamonContext::set_attributes(std::size_t thread,
                                          const HeatAttributes& attributes) const {
  const std::string intervals = context_of(thread) + "monitoring_attrs/intervals/";
  const std::string regions = context_of(thread) + "monitoring_attrs/nr_regions/";
  const auto number = [](std::chrono::microseconds time) {
    return static_cast<std::uint64_t>(time.count());
  };
  const std::array<std::pair<std::string, std::uint64_t>, 5> values{
      {{intervals + "sample_us", number(attributes.sampling)},
       {intervals + "aggr_us", number(attributes.aggregation)},
       {intervals + "update_us", number(attributes.update)},
       {regions + "min", attributes.min_regions},
       {regions + "max", attributes.max_regions}}};
  for (const auto& [name, value] : values) {
    if (auto done = write(name, value); !done) return done;
  }
  return {};
}

Result<void> DamonContext::set_target(std::size_t thread, DamonSpace space,
                                      const DamonTarget& target) const {
  const std::string targets = context_of(thread) + "targets/";
  if (auto done = write(targets + "nr_targets", 1); !done) return done;
  if (space != DamonSpace::paddr) {
    const auto pid = static_cast<std::uint64_t>(target.pid);
    if (auto done = write(targets + "0/pid_target", pid); !done) return done;
  }
  if (space == DamonSpace::vaddr) return {};
  const std::string regions = targets + "0/regions/";
  if (auto done = write(regions + "nr_regions", target.ranges.size()); !done) return done;
  for (std::size_t i = 0; i < target.ranges.size(); ++i) {
    const std::string region = regions + std::to_string(i);
    if (auto done = write(region + "/start", target.ranges[i].begin); !done) return done;
    if (auto done = write(region + "/end", target.ranges[i].end); !done) return done;
  }
  return {};
}

/// Makes a scheme that applies to every region and only counts.
Result<void> DamonContext::prepare_results(std::size_t thread) const {
  if (auto done = write(context_of(thread) + "schemes/nr_schemes", 1); !done) return done;
  if (const std::string tried = kAdmin + scheme_of(thread) + "tried_regions"; !files_.has(tried)) {
    return Error(Errc::not_supported, "cannot use DAMON: " + files_.path(tried) +
                                          " does not exist (Linux 6.2 or newer is needed)");
  }
  const std::string pattern = scheme_of(thread) + "access_pattern/";
  for (const char* const each : {"sz", "nr_accesses", "age"}) {
    if (auto done = write(pattern + each + "/min", 0); !done) return done;
    constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
    const bool is_size = std::string_view(each) == "sz";
    const std::uint64_t most = is_size ? std::numeric_limits<std::uint64_t>::max() : kMax;
    if (auto done = write(pattern + each + "/max", most); !done) return done;
  }
  return write(scheme_of(thread) + "action", "stat");
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

}  // namespace shmif::perf
