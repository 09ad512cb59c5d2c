#pragma once
// Reads the kernel's texts about threads, CPUs, interfaces and control groups. Each reader accepts
// any text. A value that it does not find stays empty or zero.
//
// Threads: any. Blocks: never.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

}  // namespace shmif::perf
