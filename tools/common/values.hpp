#pragma once
// Command-line values that base/quantity.hpp does not read.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shmif::tools {

/// Octal permission bits, "0600" or "660", at most 0777.
std::optional<std::uint32_t> parse_mode(std::string_view text) noexcept;

/// A size as text for people: "4 MiB", "1.5 KiB", "14 B".
std::string format_bytes(std::uint64_t bytes);

/// A time as it was given on the command line, with its unit: "5 s" for "5", and "500ms" as it is.
std::string with_unit_of_time(const std::string& given);

}  // namespace shmif::tools
