#pragma once
// Figures for people: three significant digits, a suitable unit, "-" for figures that were not
// measured. Plain ASCII, so one character is one column.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shmif::perf {

/// "1,234,567"
std::string format_count(std::optional<std::uint64_t> count);
/// "1 frame", "1,234 frames"
std::string format_counted(std::optional<std::uint64_t> count, const std::string& thing);
/// "850 ns", "12.3 us", "4.56 ms", "1.20 s"
std::string format_ns(std::optional<double> ns);
/// "30.0 s", "0.512 s", "2.00 ms"
std::string format_seconds(std::optional<double> seconds);
/// "1.54 Gbit/s"
std::string format_bps(std::optional<double> bps);
/// "950 /s", "1.54 M/s": frames per second
std::string format_fps(std::optional<double> fps);
/// "0 %", "0.0123 %", "99.9 %": a share, 0 to 1
std::string format_share(std::optional<double> share);
/// "64 B", "1.50 kB", "3.20 GB": powers of 1000, as in rates
std::string format_bytes(std::optional<std::uint64_t> bytes);
/// "15.6 GiB": memory
std::string format_memory(std::optional<std::uint64_t> bytes);
/// Whether `word` is a unit that follows a number here or in other messages: "ms", "%".
bool is_unit(std::string_view word);

}  // namespace shmif::perf
