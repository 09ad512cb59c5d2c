#include "perf/membw/pmu_source.hpp"

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace shmif::perf {
namespace {

using Counts = MemoryCounter::Counts;

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
