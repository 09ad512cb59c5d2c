#pragma once
// Heat as characters: a strip of addresses, from cold to hot.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "perf/heat/regions.hpp"
#include "perf/heat/session.hpp"

namespace shmif::perf {

/// From never accessed to accessed in each sample. Any access at all is not the first.
inline constexpr std::string_view kHeatScale = " .:-=+*#%@";

/// The character for a share of the samples, 0 to 1.
char heat_character(double share) noexcept;

enum class HeatOf : std::uint8_t { accesses, writes };

/// The shares of samples in which each of `cells` equal parts of `range` was accessed, or written:
/// the means of the bytes in it.
std::vector<double> heat_of(const HeatWindow& window, AddressRange range, std::size_t cells,
                            HeatOf of = HeatOf::accesses);
/// The mean of all windows.
std::vector<double> heat_of(std::span<const HeatWindow> windows, AddressRange range,
                            std::size_t cells, HeatOf of = HeatOf::accesses);
std::string heat_strip(const std::vector<double>& shares);

/// "4.0 MiB".
std::string heat_bytes(std::uint64_t bytes);

}  // namespace shmif::perf
