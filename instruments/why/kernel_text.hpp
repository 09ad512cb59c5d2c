#pragma once
// Reads the kernel's texts about threads, CPUs, interfaces and control groups. Each reader accepts
// any text. A value that it does not find stays empty or zero. Threads: any. Blocks: never.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::perf {

/// /proc/PID/schedstat.
struct SchedStat {
  std::uint64_t run_ns = 0, wait_ns = 0, turns = 0;
};
std::optional<SchedStat> read_schedstat(std::string_view text);

/// From /proc/PID/sched, or from /proc/PID/status, which does not have migrations.
struct SwitchCounts {
  std::optional<std::uint64_t> migrations, voluntary, involuntary;
};
SwitchCounts read_sched(std::string_view text);
SwitchCounts read_status_switches(std::string_view text);
/// The allowed CPUs in /proc/PID/status: "0-3"; empty if the text does not have them.
std::string read_allowed(std::string_view text);
/// Whether a list such as "0-3,8" contains this number.
bool list_has(std::string_view list, int number);

/// A line "cpuN" of /proc/stat, in ticks since boot.
struct StolenTicks {
  unsigned cpu = 0;
  std::uint64_t softirq = 0, steal = 0;
};
std::vector<StolenTicks> read_cpu_ticks(std::string_view text);

/// A line of /proc/net/softnet_stat, since boot.
struct SoftnetCounts {
  unsigned cpu = 0;
  std::uint64_t packets = 0, drops = 0, squeezes = 0;
};
std::vector<SoftnetCounts> read_softnet(std::string_view text);

/// A line of /proc/net/dev.
struct DeviceCounts {
  std::string name;
  std::uint64_t rx_packets = 0, rx_drops = 0, tx_packets = 0, tx_drops = 0;
};
std::vector<DeviceCounts> read_devices(std::string_view text);

/// The total of the line "some" of a file of /proc/pressure, in microseconds.
std::optional<std::uint64_t> read_pressure(std::string_view text);

/// The number behind `key` in lines "KEY NUMBER", as in cpu.stat and memory.events.
std::optional<std::uint64_t> read_keyed(std::string_view text, std::string_view key);

/// Reads the number of `name` in the lines of `group` ("Udp"), in a text like /proc/net/snmp.
/// There, a line of numbers follows each line of names.
std::optional<std::uint64_t> read_paired(std::string_view text, std::string_view group,
                                         std::string_view name);

/// The sum of a column of a text like /proc/net/stat/arp_cache: a line of names, then lines of
/// hexadecimal numbers, one for each CPU.
std::optional<std::uint64_t> read_column(std::string_view text, std::string_view name);

/// The numbers of /proc/PID/task/TID/children.
std::vector<int> read_numbers(std::string_view text);

/// A file of the kernel that is read many times a second. KernelFiles opens a file for each read,
/// which costs more than most of these reads.
///
/// The file stays open from the first read on. So a file of a process never becomes the file of a
/// later process with the same number. Threads: one at a time.
class RepeatedFile {
 public:
  RepeatedFile() = default;
  explicit RepeatedFile(std::string path) : path_(std::move(path)) {}

  /// Reads the whole text into `buffer`, which grows as needed. Result: the text in `buffer`; empty
  /// if it cannot be read, and error() then says why. Blocks: while the kernel reads the file.
  std::optional<std::string_view> read(std::vector<char>& buffer);
  /// The errno of the last read; 0 if it succeeded.
  int error() const noexcept { return error_; }
  /// Why the last read failed, in words.
  std::string why() const;
  const std::string& path() const noexcept { return path_; }
  /// The next read opens the file again.
  void close() noexcept { file_.reset(); }

 private:
  std::string path_;
  UniqueFd file_;
  int error_ = 0;
};

/// The growth of a counter of the kernel from `before` to `now`; sets `before` to `now`. 0 if the
/// counter began again, for example after an exec by another thread; the largest number if the
/// growth does not fit.
inline std::uint32_t difference(std::uint64_t now, std::uint64_t& before) noexcept {
  const std::uint64_t then = std::exchange(before, now);
  return now < then ? 0
                    : static_cast<std::uint32_t>(std::min<std::uint64_t>(now - then, UINT32_MAX));
}

/// The same for a counter of 32 bits, which wraps to 0.
inline std::uint32_t difference32(std::uint32_t now, std::uint32_t& before) noexcept {
  const std::uint32_t grown = now - std::exchange(before, now);
  return grown < UINT32_MAX / 2 ? grown : 0;
}

}  // namespace shmif::perf
