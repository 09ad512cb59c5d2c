#pragma once
// What people write on a command line: sizes, durations, numbers.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shmif::tools {

/// "4M", "65536": bytes, with K, M or G (powers of 1024, either case) behind them. Result: nothing
/// for anything else, a sign, a fraction, or more than 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;

/// Decimal digits only. Result: nothing for anything else or more than 64 bits.
std::optional<std::uint64_t> parse_count(std::string_view text) noexcept;

/// Octal permission bits, "0600" or "660", at most 0777.
std::optional<std::uint32_t> parse_mode(std::string_view text) noexcept;

/// Seconds with an optional fraction, "2" or "0.25", at most 10^9.
std::optional<std::chrono::nanoseconds> parse_seconds(std::string_view text) noexcept;

/// "4 MiB", "1.5 KiB", "14 B": for people.
std::string format_bytes(std::uint64_t bytes);

}  // namespace shmif::tools
