#include "instruments/membw/pmu_source.hpp"

#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <utility>

#include "base/quantity.hpp"
#include "instruments/counters/event_names.hpp"
#include "instruments/counters/event_text.hpp"

namespace shmif::perf {
namespace {

constexpr const char* kPmus = "/sys/bus/event_source/devices";
constexpr double kLineBytes = 64;  // one CAS command, or one beat of the data fabric
using Counts = MemoryCounter::Counts;

/// An event of a controller. These terms name it: "cas_count_read", "event=0x0a,rdwrmask=1".
struct Wanted {
  std::string name;
  Counts counts;
  std::string terms;
};

bool is_numbered(std::string_view name, std::string_view stem) {
  return name.starts_with(stem) && base::read_digits(name.substr(stem.size())).has_value();
}

std::string events_of(const std::string& pmu) {
  return std::string(kPmus) + '/' + pmu + "/events/";
}

/// The bytes of a unit; the kernel's `.unit` files name the unit.
std::optional<double> bytes_in(std::string_view unit) {
  constexpr std::array<std::pair<std::string_view, double>, 8> kUnits{{{"B", 1},
                                                                       {"Bytes", 1},
                                                                       {"KiB", 1024.0},
                                                                       {"MiB", 1048576.0},
                                                                       {"GiB", 1073741824.0},
                                                                       {"KB", 1e3},
                                                                       {"MB", 1e6},
                                                                       {"GB", 1e9}}};
  const auto* const found =
      std::ranges::find(kUnits, unit, &std::pair<std::string_view, double>::first);
  return found == kUnits.end() ? std::nullopt : std::optional<double>(found->second);
}

/// Adds the events of an Intel controller whose names begin with `stem`.
Result<void> add_named(const KernelFiles& files, const std::string& pmu,
                       const std::vector<std::string>& names, const std::string& stem,
                       Counts counts, std::vector<Wanted>& wanted) {
  const std::size_t before = wanted.size();
  for (const std::string& name : names) {
    if (name == stem || is_numbered(name, stem + "_sch")) wanted.push_back({name, counts, name});
  }
  if (wanted.size() != before) return {};
  return Error(Errc::not_supported, files.path(events_of(pmu)) + " has no event " + stem);
}

Result<std::vector<Wanted>> intel_events(const KernelFiles& files, const std::string& pmu) {
  const auto names = files.list(events_of(pmu));
  if (!names) return names.error();
  std::vector<Wanted> wanted;
  auto added = add_named(files, pmu, *names, "cas_count_read", Counts::reads, wanted);
  if (added) added = add_named(files, pmu, *names, "cas_count_write", Counts::writes, wanted);
  if (!added) return added.error();
  return wanted;
}

Result<std::vector<Wanted>> umc_events(const KernelFiles& /*files*/, const std::string& /*pmu*/) {
  return std::vector<Wanted>{{"umc_cas_cmd.rd", Counts::reads, "event=0x0a,rdwrmask=1"},
                             {"umc_cas_cmd.wr", Counts::writes, "event=0x0a,rdwrmask=2"}};
}

/// The family of the processor, from /proc/cpuinfo.
std::optional<std::uint64_t> cpu_family(const KernelFiles& files) {
  const auto text = files.read("/proc/cpuinfo");
  if (!text) return std::nullopt;
  const std::size_t line = text->find("cpu family");
  const std::size_t colon = text->find(':', line);
  if (line == std::string::npos || colon == std::string::npos) return std::nullopt;
  const std::size_t end = std::min(text->find('\n', colon), text->size());
  std::string_view value = std::string_view(*text).substr(colon + 1, end - colon - 1);
  while (value.starts_with(' ')) value.remove_prefix(1);
  return base::read_digits(value);
}

/// Bits 6 and up of the event's number hold the number of the channel.
std::string fabric_event(unsigned channel, std::uint64_t first, unsigned mask) {
  constexpr unsigned kChannelBit = 6;
  return "event=" + std::to_string(first + (std::uint64_t{channel} << kChannelBit)) +
         ",umask=" + std::to_string(mask);
}

Result<std::vector<Wanted>> fabric_events(const KernelFiles& files, const std::string& pmu) {
  constexpr std::uint64_t kZen1 = 0x17;
  constexpr std::uint64_t kZen3 = 0x19;
  constexpr std::uint64_t kZen5 = 0x1a;
  const auto family = cpu_family(files);
  const auto text = files.read(std::string(kPmus) + '/' + pmu + "/format/umask");
  if (!text) return text.error();
  const auto mask = read_format(*text);
  if (!mask) return mask.error();
  // The second version of the counters has more bits for the mask.
  const bool second = mask->ranges.size() > 1;
  std::vector<Wanted> wanted;
  if (family && !second && (*family == kZen1 || *family == kZen3)) {
    for (unsigned channel = 0; channel < 8; ++channel) {
      wanted.push_back({"dram_channel_data_controller_" + std::to_string(channel), Counts::both,
                        fabric_event(channel, 0x07, 0x38)});
    }
    return wanted;
  }
  if (!family || !second || (*family != kZen3 && *family != kZen5)) {
    return Error(Errc::not_supported, "the events of " + pmu + " are not known for this processor");
  }
  for (unsigned channel = 0; channel < 12; ++channel) {
    const auto add = [&](const char* name, Counts counts, unsigned bits) {
      wanted.push_back({name + std::to_string(channel), counts, fabric_event(channel, 0x1f, bits)});
    };
    if (*family == kZen5) {
      add("local_or_remote_socket_read_data_beats_dram_", Counts::reads, 0xffe);
      add("local_or_remote_socket_write_data_beats_dram_", Counts::writes, 0xfff);
      continue;
    }
    add("local_processor_read_data_beats_cs", Counts::reads, 0x7fe);
    add("remote_processor_read_data_beats_cs", Counts::reads, 0xbfe);
    add("local_processor_write_data_beats_cs", Counts::writes, 0x7ff);
    add("remote_processor_write_data_beats_cs", Counts::writes, 0xbff);
  }
  return wanted;
}

std::string folder_of_cpu(unsigned cpu) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(cpu);
}
Result<std::uint64_t> socket_of(const KernelFiles& files, unsigned cpu) {
  return files.read_number(folder_of_cpu(cpu) + "/topology/physical_package_id");
}

/// Makes a counter of the event, without its CPU.
Result<MemoryCounter> counter_of(const KernelFiles& files, const std::string& pmu,
                                 const Wanted& wanted) {
  auto event = EventNames::of_kernel(files).find(pmu + '/' + wanted.terms + '/');
  if (!event) return std::move(event).error();
  MemoryCounter counter;
  counter.name = pmu + '/' + wanted.name + '/';
  counter.counts = wanted.counts;
  counter.event = *std::move(event);
  counter.bytes_per_count = kLineBytes;
  if (counter.event.cpus.empty()) {
    return Error(Errc::bad_argument,
                 files.path(std::string(kPmus) + '/' + pmu + "/cpumask") + " names no CPUs");
  }
  if (wanted.name != wanted.terms) return counter;
  // We never guess how many bytes one count of a described event stands for.
  const std::string file = events_of(pmu) + wanted.name;
  const auto unit = bytes_in(counter.event.unit);
  if (!unit || !files.has(file + ".scale")) {
    return Error(Errc::bad_argument, !unit ? files.path(file + ".unit") +
                                                 " names no unit of bytes: \"" +
                                                 counter.event.unit + '"'
                                           : "there is no " + files.path(file + ".scale"));
  }
  counter.bytes_per_count = counter.event.scale * *unit;
  return counter;
}

using EventsOf = Result<std::vector<Wanted>> (*)(const KernelFiles&, const std::string&);

Result<std::vector<MemoryCounter>> counters_of(const KernelFiles& files,
                                               const std::vector<std::string>& pmus,
                                               EventsOf events, std::optional<unsigned> socket) {
  std::vector<MemoryCounter> counters;
  for (const std::string& pmu : pmus) {
    const auto wanted = events(files, pmu);
    if (!wanted) return wanted.error();
    for (const Wanted& each : *wanted) {
      const auto one = counter_of(files, pmu, each);
      if (!one) return one.error();
      for (const int cpu : one->event.cpus) {
        const auto its = socket ? socket_of(files, static_cast<unsigned>(cpu)) : 0;
        if (!its) return its.error();
        if (*its != socket.value_or(0)) continue;
        counters.push_back(*one);
        counters.back().name += " on CPU " + std::to_string(cpu);
        counters.back().cpu = cpu;
      }
    }
  }
  if (!counters.empty()) return counters;
  return Error(Errc::not_supported,
               "no memory controller belongs to socket " + std::to_string(socket.value_or(0)));
}

}  // namespace

Result<std::vector<MemoryCounter>> find_memory_counters(const KernelFiles& files,
                                                        std::optional<unsigned> socket) {
  const auto names = files.list(kPmus);
  if (!names) {
    return Error(Errc::not_supported, "the kernel describes no PMUs: " + names.error().message);
  }
  const auto numbered = [&](std::string_view stem) {
    std::vector<std::string> found;
    std::ranges::copy_if(*names, std::back_inserter(found),
                         [&](const std::string& name) { return is_numbered(name, stem); });
    return found;
  };
  if (const auto found = numbered("uncore_imc_"); !found.empty()) {
    return counters_of(files, found, intel_events, socket);
  }
  if (const auto found = numbered("amd_umc_"); !found.empty()) {
    return counters_of(files, found, umc_events, socket);
  }
  if (std::ranges::find(*names, "amd_df") != names->end()) {
    return counters_of(files, {"amd_df"}, fabric_events, socket);
  }
  const bool free_running = std::ranges::any_of(
      *names, [](const std::string& name) { return name.starts_with("uncore_imc_free_running"); });
  return Error(Errc::not_supported,
               "no PMU of a memory controller in " + files.path(kPmus) +
                   (free_running ? " but free-running ones, which can be neither reset nor stopped"
                                 : " (uncore_imc_N, amd_umc_N or amd_df)"));
}

Result<CpuPlace> place_of_cpu(const KernelFiles& files, unsigned cpu) {
  const std::string folder = folder_of_cpu(cpu);
  const auto socket = socket_of(files, cpu);
  if (!socket) return socket.error();
  const std::string caches = folder + "/cache/";
  const auto names = files.list(folder + "/cache");
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    if (!name.starts_with("index")) continue;
    const std::string cache = caches + name;
    const auto level = files.read_number(cache + "/level");
    constexpr std::uint64_t kLastLevel = 3;
    if (!level || *level != kLastLevel) continue;
    const auto id = files.read_number(cache + "/id");
    if (!id) return id.error();
    return CpuPlace{static_cast<unsigned>(*socket), static_cast<unsigned>(*id)};
  }
  return Error(Errc::not_supported, "CPU " + std::to_string(cpu) + " has no L3 cache in " +
                                        files.path(folder + "/cache"));
}

namespace {

/// The sum of all counters of one direction.
struct Direction {
  bool counted = false;  ///< at least one counter counts it
  double rate = 0;
  std::string missing;  ///< why it was not measured
};

void add_to(Direction& direction, double rate, const std::string& missing) {
  direction.counted = true;
  direction.rate += rate;
  if (direction.missing.empty()) direction.missing = missing;
}

std::optional<double> rate_of(const Direction& direction) {
  if (!direction.counted || !direction.missing.empty()) return std::nullopt;
  return direction.rate;
}

}  // namespace

PmuSource::PmuSource(KernelFiles files, std::optional<unsigned> socket, KernelCounters& kernel,
                     MonotonicClock clock)
    : files_(std::move(files)), socket_(socket), kernel_(kernel), clock_(std::move(clock)) {}

PmuSource::~PmuSource() {
  release();
}

std::string PmuSource::origin() const {
  return "perf_event_open, counters described in " + files_.path("/sys/bus/event_source/devices");
}

Result<int> PmuSource::open_one(const MemoryCounter& counter) const {
  EventAttr event;
  event.base.size = sizeof event.base;
  event.base.type = counter.event.type;
  event.base.config = counter.event.config;
  event.base.config1 = counter.event.config1;
  event.base.config2 = counter.event.config2;
  event.config3 = counter.event.config3;
  event.base.disabled = 1;
  event.base.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  const int file = kernel_.open(event, -1, counter.cpu, -1);
  if (file >= 0) return file;
  const char* const advice =
      -file == ENODEV ? "this machine does not have it, or the CPU is offline"
      : -file == EACCES || -file == EPERM
          ? "counters of the whole machine need CAP_PERFMON, or kernel.perf_event_paranoid at 0"
          : "";
  return Error::from_errno(-file, "cannot open " + counter.name, advice);
}

Result<void> PmuSource::control(const Open& each, unsigned long request, const char* what) const {
  const int result = kernel_.control(each.file, request, 0);
  if (result >= 0) return {};
  return Error::from_errno(-result, std::string("cannot ") + what + ' ' + each.counter.name);
}

Result<PmuSource::RawCount> PmuSource::count_of(const Open& each) const {
  RawCount count;
  const ssize_t got = kernel_.read(each.file, &count, sizeof count);
  if (got == sizeof count) return count;
  // A read gives no bytes if the kernel has put the counter into its error state.
  return Error::from_errno(got < 0 ? static_cast<int>(-got) : EIO,
                           "cannot read " + each.counter.name);
}

Result<void> PmuSource::open(const std::vector<pid_t>& /*processes*/) {
  release();
  auto counters = find_memory_counters(files_, socket_);
  if (!counters) return std::move(counters).error();
  if (files_.path("/") != "/" && &kernel_ == &kernel_counters()) {
    return Error(Errc::not_supported, "the memory controllers are described in " +
                                          files_.path("/sys") +
                                          ": counters of another machine cannot be opened here");
  }
  for (MemoryCounter& counter : *counters) {
    auto file = open_one(counter);
    if (!file) {
      release();
      return std::move(file).error();
    }
    open_.push_back({std::move(counter), *file});
  }
  return {};
}

Result<void> PmuSource::enable() {
  for (Open& each : open_) {
    const auto done = control(each, PERF_EVENT_IOC_RESET, "reset");
    auto before = done ? count_of(each) : Result<RawCount>(done.error());
    if (!before) return std::move(before).error();
    each.before = *before;
  }
  for (const Open& each : open_) {
    auto done = control(each, PERF_EVENT_IOC_ENABLE, "enable");
    if (done) continue;
    // Stop all counters if one fails. Report only the first error.
    for (const Open& other : open_) {
      static_cast<void>(control(other, PERF_EVENT_IOC_DISABLE, "disable"));
    }
    return done;
  }
  begin_ns_ = clock_();
  return {};
}

Result<void> PmuSource::disable() {
  end_ns_ = clock_();
  Result<void> first;
  for (const Open& each : open_) {
    auto done = control(each, PERF_EVENT_IOC_DISABLE, "disable");
    if (!done && first) first = std::move(done);
  }
  return first;
}

MemoryReading PmuSource::read() {
  MemoryReading reading;
  reading.begin_ns = begin_ns_;
  reading.end_ns = end_ns_;
  Direction reads;
  Direction writes;
  Direction both;
  for (const Open& each : open_) {
    const auto now = count_of(each);
    std::string missing;
    double rate = 0;
    if (!now) {
      missing = now.error().message;
    } else if (now->running_ns <= each.before.running_ns ||
               now->enabled_ns <= each.before.enabled_ns) {
      missing = each.counter.name +
                " was not counted: it never ran (other programs may use its registers)";
    } else {
      // A reset sets the count to 0, but not the times.
      const auto running = static_cast<double>(now->running_ns - each.before.running_ns);
      const auto enabled = static_cast<double>(now->enabled_ns - each.before.enabled_ns);
      const double count = static_cast<double>(now->value) * (enabled / running);
      rate = count * each.counter.bytes_per_count * 1e9 / enabled;
      reading.running_share = std::min(reading.running_share, running / enabled);
    }
    const Counts counts = each.counter.counts;
    add_to(counts == Counts::reads    ? reads
           : counts == Counts::writes ? writes
                                      : both,
           rate, missing);
  }
  reading.reads = rate_of(reads);
  reading.writes = rate_of(writes);
  reading.total = rate_of(both);
  if (reading.reads && reading.writes) reading.total = *reading.reads + *reading.writes;
  for (const Direction* each : {&reads, &writes, &both}) {
    if (reading.reason.empty()) reading.reason = each->missing;
  }
  if (both.counted && reading.reason.empty()) {
    reading.reason = "the data fabric of this processor does not tell reads from writes";
  }
  return reading;
}

Result<void> PmuSource::close() {
  release();
  return {};
}

void PmuSource::release() noexcept {
  for (const Open& each : open_) kernel_.close(each.file);
  open_.clear();
}

}  // namespace shmif::perf
