#pragma once
// A source of memory bandwidth: counters of the memory controllers, monitoring by the resctrl file
// system, or counts of the bytes that software copied.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/watch/clock.hpp"

namespace shmif::perf {

/// Tells whose traffic a source counts.
enum class MemoryScope {
  group,    ///< only of the watched processes
  socket,   ///< of all programs, at the memory of one socket
  machine,  ///< of all programs
};
/// What a source counts as a byte.
enum class MemoryLevel {
  copied,  ///< a byte that software copied; it may never have left a cache
  dram,    ///< a byte that went between the caches and the memory
};
enum class MemoryReport { reads, writes, total };

constexpr const char* word_of(MemoryScope scope) noexcept {
  switch (scope) {
    case MemoryScope::group: return "group";
    case MemoryScope::socket: return "socket";
    case MemoryScope::machine: return "machine";
  }
  return "";
}
constexpr const char* word_of(MemoryLevel level) noexcept {
  return level == MemoryLevel::dram ? "dram" : "copied";
}
constexpr const char* word_of(MemoryReport report) noexcept {
  switch (report) {
    case MemoryReport::reads: return "reads";
    case MemoryReport::writes: return "writes";
    case MemoryReport::total: return "total";
  }
  return "";
}

/// Bytes per second. A rate that was not measured is empty, and `reason` says why.
struct MemoryRates {
  std::optional<double> reads, writes, total;
  /// The part of `total` that went to the memory of the local node; empty if the source does not
  /// know.
  std::optional<double> local{};
  std::string reason{};

  const std::optional<double>& of(MemoryReport report) const noexcept {
    switch (report) {
      case MemoryReport::reads: return reads;
      case MemoryReport::writes: return writes;
      case MemoryReport::total: break;
    }
    return total;
  }
  static MemoryRates not_measured(std::string why) { return {{}, {}, {}, {}, std::move(why)}; }
};

/// What a source counted in one window.
struct MemoryReading : MemoryRates {
  std::uint64_t begin_ns = 0, end_ns = 0;  ///< of CLOCK_MONOTONIC, which the source itself reads
  /// The smallest share of the window in which a counter ran. Below 1, the rates are scaled.
  double running_share = 1;

  double window_s() const noexcept {
    return end_ns > begin_ns ? static_cast<double>(end_ns - begin_ns) / 1e9 : 0;
  }
};

/// CLOCK_MONOTONIC, or a clock of a test.
using MonotonicClock = std::function<std::uint64_t()>;

/// The order of calls: open(), then enable(), disable() and read() for each window, then close().
/// Threads: one at a time. Blocks: while system calls run and kernel files are read.
class MemorySource {
 public:
  MemorySource() = default;
  MemorySource(const MemorySource&) = delete;
  MemorySource& operator=(const MemorySource&) = delete;
  virtual ~MemorySource() = default;

  virtual std::string name() const = 0;  ///< "pmu", "resctrl" or "software"
  /// The name of this part, if the source has more than one: "bus", "io", "sockets", "devices".
  virtual std::string part() const { return {}; }
  /// The files or calls that its figures come from.
  virtual std::string origin() const = 0;
  virtual MemoryScope scope() const = 0;
  virtual MemoryLevel level() const = 0;

  /// Prepares to count for these processes; if `processes` is empty, for the whole machine. After
  /// an error, nothing is left open.
  virtual Result<void> open(const std::vector<pid_t>& processes) = 0;
  /// Begins a window at 0.
  virtual Result<void> enable() = 0;
  /// Ends the window.
  virtual Result<void> disable() = 0;
  /// What the source counted in the last window.
  virtual MemoryReading read() = 0;
  /// Releases all that open() took, and moves everything back. Afterwards open() may be called
  /// again. Errors: the first thing that could not be undone; everything else is undone all the
  /// same.
  virtual Result<void> close() = 0;
};

}  // namespace shmif::perf
